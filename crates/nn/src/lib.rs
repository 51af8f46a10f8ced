//! A decoder-only transformer on a CPU, with every derivative written by hand.
//!
//! There is no graph and no tape: [`Model::loss_and_gradient`] runs a fixed list of fused operations forwards
//! and backwards over one arena of activations, [`Scratch`]. All parameters are one flat vector, so that the
//! optimiser, a checkpoint, an update between sites and a digest all speak of the same thing.
//!
//! ```
//! use nn::{Config, Model, Scratch};
//! let config = Config { vocab: 64, width: 16, layers: 1, heads: 2, kv_heads: 1, hidden: 32, context: 8, ..Config::default() };
//! let model = Model::new(config, 7)?;
//! let mut scratch = Scratch::new(&model.config, 2, 8);
//! let tokens: Vec<u32> = (0..18).collect(); // two rows of 8 tokens and the one to predict after them
//! let mut gradient = vec![0.0; model.params.len()];
//! let nats = model.loss_and_gradient(&mut scratch, &tokens, &mut gradient)?;
//! assert!((nats - 64f32.ln()).abs() < 0.1, "a new model knows nothing: {nats}");
//! # Ok::<(), nn::Error>(())
//! ```
//!
//! The same seed and data give the same bits whatever the number of threads: every reduction is cut into
//! parts of a fixed size and added up in a fixed order. Across machines this holds for processors with the
//! same vector extensions (AVX-512, AVX2 with FMA, or neither), since these round differently. What must be
//! the same everywhere, the step that joins the sites' work, is in `sync` and uses none of this.

pub mod checkpoint;
mod config;
mod decoder;
mod model;
mod ops;

pub use checkpoint::{Checkpoint, CheckpointError, write_whole};
pub use config::{Config, Layout, Tensor};
pub use decoder::Decoder;
pub use model::{Model, Scratch};

/// What can be wrong with a model or with what it is given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting out of range.
    #[error("model setting {field} is {value}: {wanted}")]
    Setting {
        /// Which setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        wanted: String,
    },
    /// A token the vocabulary doesn't have.
    #[error(
        "token {token} is not in a vocabulary of {vocab}; was the text tokenised with another tokeniser?"
    )]
    Token {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocab: usize,
    },
    /// Data that is no whole number of rows, or more than was planned for.
    #[error("{0}")]
    Shape(String),
    /// A checkpoint that can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
