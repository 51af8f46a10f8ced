//! A batch: rows of tokens, what is to be predicted, and who sees whom.

use nn::{Batch, Error, IGNORE, Mask};

/// Rows of as many tokens each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    t: usize,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    positions: Vec<u32>,
    /// For documents packed in a row: the first token of the row that each token sees, and the one behind
    /// the last.
    spans: Option<Vec<(u32, u32)>>,
}

impl Rows {
    /// Rows of `t + 1` tokens each, of which the last `t` are predicted from what stands before them.
    pub fn new(tokens: &[u32], t: usize) -> Self {
        let rows = || tokens.chunks_exact(t + 1);
        Self {
            t,
            tokens: rows().flat_map(|row| &row[..t]).copied().collect(),
            targets: rows().flat_map(|row| &row[1..]).copied().collect(),
            positions: rows().flat_map(|_| 0..t as u32).collect(),
            spans: None,
        }
    }

    /// The same, and what comes after a token `end` is another document: it sees nothing before that token,
    /// which stands at position 0, as where a text is generated.
    pub fn packed(tokens: &[u32], t: usize, end: u32) -> Self {
        let mut rows = Self::new(tokens, t);
        let mut spans = Vec::with_capacity(rows.tokens.len());
        for (tokens, positions) in rows
            .tokens
            .chunks_exact(t)
            .zip(rows.positions.chunks_exact_mut(t))
        {
            let mut start = 0;
            for ((i, token), position) in (0u32..).zip(tokens).zip(positions) {
                if *token == end {
                    start = i;
                }
                *position = i - start;
                spans.push((start, i + 1));
            }
        }
        rows.spans = Some(spans);
        rows
    }

    /// One sequence that goes on at `position`; nothing is predicted.
    pub fn reading(tokens: &[u32], position: usize) -> Self {
        Self {
            t: tokens.len(),
            tokens: tokens.to_vec(),
            targets: vec![IGNORE; tokens.len()],
            positions: (position as u32..).take(tokens.len()).collect(),
            spans: None,
        }
    }

    /// Tokens in a row.
    pub fn t(&self) -> usize {
        self.t
    }

    /// What is read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What is to be predicted after each token; [`IGNORE`] is nothing.
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// Where each token stands in its document.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Which tokens each sees.
    pub fn mask(&self) -> Mask<'_> {
        self.spans.as_deref().map_or(Mask::Causal, Mask::Spans)
    }

    pub(super) fn check(&self, vocab: usize, context: usize) -> Result<(), Error> {
        if self.tokens.is_empty() {
            return Err(Error::Shape(format!(
                "no row of {} tokens and one to predict",
                self.t
            )));
        }
        let read = self
            .tokens
            .iter()
            .chain(self.targets.iter().filter(|&&target| target != IGNORE));
        if let Some(&token) = read.clone().find(|&&token| token as usize >= vocab) {
            return Err(Error::Token { token, vocab });
        }
        if self
            .positions
            .iter()
            .any(|&position| position as usize >= context)
        {
            return Err(Error::Shape(format!(
                "the sequence is longer than the model's context of {context}"
            )));
        }
        Ok(())
    }
}

impl Batch for Rows {
    fn weight(&self) -> u64 {
        self.targets.iter().filter(|&&target| target != IGNORE).count() as u64
    }
}
