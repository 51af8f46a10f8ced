//! A few tokens at a time, with what attention remembers of the earlier ones kept.

use super::{Family, Rows};
use nn::{Bf16, Cache, Element, Error, Model, Network, Pool, Tape};

/// A sequence that a model is reading or writing.
#[derive(Debug)]
pub struct Decoder<'a> {
    model: &'a Model<Family>,
    pool: Pool<f32>,
    cache: Cache,
    halves: Option<Vec<Bf16>>,
}

impl<'a> Decoder<'a> {
    /// An empty sequence.
    pub fn new(model: &'a Model<Family>) -> Self {
        Self {
            model,
            pool: Pool::default(),
            cache: Cache::default(),
            halves: None,
        }
    }

    /// The same with weights of 16 bits: nearly twice as fast, since a token waits for every weight to come
    /// from memory, and rounded.
    pub fn halved(model: &'a Model<Family>) -> Self {
        let halves = model.params.iter().map(|x| Bf16::of(*x)).collect();
        Self {
            halves: Some(halves),
            ..Self::new(model)
        }
    }

    /// How many more tokens fit.
    pub fn room(&self) -> usize {
        self.model.network.config().context - self.cache.position()
    }

    /// Reads tokens; returns a logit for each token that may come next.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        // On a thread of the pool: from outside, each of a token's dozens of products would wait to be taken
        // in and for its answer.
        rayon::scope(|_| self.feed_within(tokens))
    }

    fn feed_within(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let network = &self.model.network;
        if self.room() < tokens.len() {
            return Err(Error::Shape(format!(
                "the sequence fills the model's context of {}",
                network.config().context
            )));
        }
        let rows = Rows::reading(tokens, self.cache.position());
        network.check(&rows)?;
        let logits = {
            let mut tape = Tape::remembering(&self.pool, &self.model.params, &mut self.cache);
            if let Some(halves) = &self.halves {
                tape = tape.with_halves(halves);
            }
            let h = network.hidden(&mut tape, &rows);
            let last = tape.rows(&h, h.rows - 1..h.rows);
            let logits = tape.linear(&last, network.head(), None);
            tape.read(&logits)
        };
        self.cache.advance(tokens.len());
        Ok(logits)
    }
}
