//! A token file as samples of one length.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("train.tokens");
//! use language::{Rows, Tokens, Windows};
//! use train::Samples;
//! Tokens::write(&path, 300, 11, [0, 72, 105, 299, 0])?;
//! let tokens = Tokens::open(&path)?;
//! let windows = Windows::new(&tokens, 2);
//! assert_eq!((windows.len(), windows.batch(&[1])), (2, Rows::new(&[105, 299, 0], 2)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Rows, Tokens};
use train::Samples;

/// Samples of `seq + 1` tokens. Each begins with the last token of the one before, so that every token but
/// the first is predicted once; what is left at the end and fills no sample is left out.
#[derive(Debug, Clone, Copy)]
pub struct Windows<'a> {
    tokens: &'a Tokens,
    seq: usize,
    apart: Option<u32>,
}

impl<'a> Windows<'a> {
    /// Samples that predict `seq` tokens each; at least one.
    pub fn new(tokens: &'a Tokens, seq: usize) -> Self {
        assert!(seq > 0, "a sample predicts something");
        Self {
            tokens,
            seq,
            apart: None,
        }
    }

    /// The same, and documents in a sample, which the token `end` parts, don't see each other.
    pub fn apart(self, end: u32) -> Self {
        Self {
            apart: Some(end),
            ..self
        }
    }
}

impl Samples<Rows> for Windows<'_> {
    fn len(&self) -> u64 {
        self.tokens.len_tokens().saturating_sub(1) / self.seq as u64
    }

    fn batch(&self, samples: &[u64]) -> Rows {
        let mut tokens = Vec::with_capacity(samples.len() * (self.seq + 1));
        for &sample in samples {
            assert!(
                sample < self.len(),
                "there are {} samples, not {sample}",
                self.len()
            );
            tokens.extend(self.tokens.read(sample * self.seq as u64, self.seq + 1));
        }
        match self.apart {
            Some(end) => Rows::packed(&tokens, self.seq, end),
            None => Rows::new(&tokens, self.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        for (count, seq, samples) in [
            (0u16, 1, 0),
            (1, 1, 0),
            (2, 1, 1),
            (9, 4, 2),
            (8, 4, 1),
            (4, 4, 0),
        ] {
            Tokens::write(&path, 100, 0, 0..count).unwrap();
            let tokens = Tokens::open(&path).unwrap();
            let windows = Windows::new(&tokens, seq);
            assert_eq!(windows.len(), samples, "{count} tokens, seq {seq}");
            let mut predicted = Vec::new();
            for sample in 0..samples {
                let rows = windows.batch(&[sample]);
                assert_eq!(rows.tokens()[0] + 1, rows.targets()[0]);
                predicted.extend_from_slice(rows.targets());
            }
            assert_eq!(predicted, (1..=samples as u32 * seq as u32).collect::<Vec<_>>());
        }
    }
}
