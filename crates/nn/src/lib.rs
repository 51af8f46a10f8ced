//! Neural networks on a CPU, trained at the speed of its vector units.
//!
//! A network is one file: a [`Layout`] of named parameters in one flat vector, and a function that records
//! coarse operations on a [`Tape`]. The flat vector is what the optimiser, a checkpoint, an update between
//! sites and a digest all speak of.
//!
//! ```
//! use nn::{Batch, Element, Error, Gelu, Init, Layout, Model, Network, Param, Pool, Tape};
//!
//! /// Guesses a number's last bit from its row of a table.
//! struct Parity { layout: Layout, table: Param, up: Param, head: Param }
//! struct Numbers { numbers: Vec<u32>, bits: Vec<u32> }
//!
//! impl Batch for Numbers {
//!     fn weight(&self) -> u64 { self.numbers.len() as u64 }
//! }
//! impl Network for Parity {
//!     type Batch = Numbers;
//!     fn layout(&self) -> &Layout { &self.layout }
//!     fn check(&self, _: &Numbers) -> Result<(), Error> { Ok(()) }
//!     fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, batch: &'a Numbers) {
//!         let x = tape.embed(&batch.numbers, self.table);
//!         let h = tape.linear(&x, self.up, None);
//!         let h = tape.gelu(&h, Gelu::Exact);
//!         tape.cross_entropy(&h, self.head, &batch.bits);
//!     }
//! }
//!
//! let mut layout = Layout::default();
//! let table = layout.add("table", &[16, 8], Init::Normal(1.0));
//! let up = layout.add("up", &[32, 8], Init::Normal(0.3));
//! let head = layout.add("head", &[2, 32], Init::Normal(0.3));
//! let mut model = Model::new(Parity { layout, table, up, head }, 1);
//! let batch = Numbers { numbers: (0..16).collect(), bits: (0..16).map(|i| i % 2).collect() };
//! let (pool, mut gradient) = (Pool::<f32>::default(), vec![0.0; model.params.len()]);
//! for _ in 0..50 {
//!     model.loss_and_gradient(&pool, &batch, &mut gradient)?;
//!     model.params.iter_mut().zip(&gradient).for_each(|(p, g)| *p -= g);
//! }
//! assert!(model.loss(&pool, &batch)? < 0.1, "fifty steps are enough");
//! # Ok::<(), Error>(())
//! ```
//!
//! A tape computes in f32 or in [`Bf16`]: values between operations are of that type, products have it as
//! operands and sum in f32, everything within an operation is f32, and so are the parameters.
//!
//! The same seed and data give the same bits whatever the number of threads: every reduction is cut into
//! parts of a fixed size and added up in a fixed order. Across machines this holds for processors with the
//! same vector extensions (AMX, AVX-512 with or without BF16, AVX2 with FMA, or none), since these round
//! differently. What must be the same everywhere, the step that joins the sites' work, is in `sync` and uses
//! none of this.

mod cache;
pub mod checkpoint;
mod kernel;
mod layout;
mod matrix;
mod model;
mod ops;
mod pool;
mod simd;
mod tape;
mod update;

pub use cache::Cache;
pub use checkpoint::{Checkpoint, CheckpointError, write_whole};
pub use kernel::{Bf16, Element, Math};
pub use layout::{Init, Layout, Param, Tensor};
pub use matrix::{Matrix, matmul};
pub use model::{Batch, Model, Network};
pub use ops::activation::Gelu;
pub use ops::attention::{Heads, Mask};
pub use ops::convolution::Window;
pub use ops::experts::{Route, Router};
pub use ops::loss::{Classes, IGNORE};
pub use ops::pairs::{Outer, Square};
pub use ops::rope::Rope;
pub use pool::Pool;
pub use tape::{Tape, Var};
pub use update::{AdamW, sum_of_squares};

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
    /// Data of a size that can't be taken.
    #[error("{0}")]
    Shape(String),
    /// A checkpoint that can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
