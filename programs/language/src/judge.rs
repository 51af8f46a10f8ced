//! How well a model guesses a text it wasn't trained on.

use crate::{Family, Rows, Tokens, Windows};
use nn::{Model, Pool};
use serde::Serialize;
use std::f64::consts::LN_2;
use train::Samples;

/// Some samples of a text, always the same ones.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    windows: Windows<'a>,
    tokens_a_byte: f64,
    samples: u64,
    batch: usize,
    seq: usize,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// Mean loss, nats a token.
    pub loss: f64,
    /// Bits for a byte of the text: what can be compared between vocabularies.
    pub bits_per_byte: f64,
    /// Tokens that were guessed.
    pub tokens: u64,
}

impl<'a> Judge<'a> {
    /// Judges by the first `tokens` of `valid`, as far as they fill samples; 0 takes all.
    pub(crate) fn new(valid: &'a Tokens, seq: usize, batch: usize, tokens: u64) -> Self {
        let windows = Windows::new(valid, seq);
        let asked = match tokens {
            0 => windows.len(),
            tokens => (tokens / seq as u64).max(1),
        };
        Self {
            samples: asked.min(windows.len()),
            windows,
            tokens_a_byte: valid.len_tokens() as f64 / valid.text_bytes().max(1) as f64,
            batch,
            seq,
        }
    }

    /// The same, and documents in a sample, which the token `end` parts, don't see each other.
    pub(crate) fn apart(self, end: u32) -> Self {
        Self {
            windows: self.windows.apart(end),
            ..self
        }
    }

    /// Nats a token over the samples, turned into bits and multiplied by the tokens a byte of the whole text:
    /// the bytes of just these samples are not known without the tokeniser, so the text is taken to be as
    /// dense everywhere.
    pub(crate) fn judge(&self, model: &Model<Family>) -> Result<Judged, train::Error> {
        let loss = train::evaluate(model, &self.windows, self.samples, self.batch)?;
        Ok(Judged {
            loss,
            bits_per_byte: loss / LN_2 * self.tokens_a_byte,
            tokens: self.samples * self.seq as u64,
        })
    }
}

/// Judges by every token of a text of `bytes` bytes but the first, which has nothing before it. Windows of
/// `seq` tokens see nothing of each other; the last may be shorter.
pub fn judge_tokens(
    model: &Model<Family>,
    tokens: &[u32],
    bytes: u64,
    seq: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Judged, nn::Error> {
    let pool = Pool::<f32>::default();
    let (mut nats, mut guessed) = (0f64, 0u64);
    let mut first = 0;
    while first + 1 < tokens.len() {
        let row = &tokens[first..tokens.len().min(first + seq + 1)];
        let t = row.len() - 1;
        nats += model.loss(&pool, &Rows::new(row, t))? * t as f64;
        guessed += t as u64;
        first += t;
        progress(guessed);
    }
    Ok(Judged {
        loss: nats / guessed.max(1) as f64,
        bits_per_byte: nats / LN_2 / bytes.max(1) as f64,
        tokens: guessed,
    })
}
