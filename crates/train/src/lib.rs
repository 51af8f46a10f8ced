//! The loop around a model: which samples come when, how the parameters move, and how a run goes on after a
//! stop as if there had been none.
//!
//! ```
//! use nn::{Config, Model};
//! use train::{Flow, Samples, TrainConfig, Trainer};
//!
//! struct Counting;
//! impl Samples for Counting {
//!     fn len(&self) -> u64 { 100 }
//!     fn write(&self, sample: u64, row: &mut [u32]) {
//!         row.iter_mut().zip(sample as u32..).for_each(|(token, next)| *token = next % 32);
//!     }
//! }
//!
//! let shape = Config { vocab: 32, width: 16, layers: 1, heads: 2, kv_heads: 2, hidden: 32, context: 8, ..Config::default() };
//! let config = TrainConfig { batch: 4, seq: 8, warmup: 2, steps: 20, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(Model::new(shape, 1)?, config)?;
//! let report = trainer.train(&Counting, 0, 80, &mut |_| Flow::GoOn)?;
//! assert_eq!(report.steps, 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adamw;
mod order;
mod schedule;
mod trainer;

pub use adamw::AdamW;
pub use order::Order;
pub use schedule::Schedule;
pub use trainer::{Error, Flow, Report, Step, TrainConfig, Trainer, evaluate};

/// Rows of tokens to train on or to be judged by.
pub trait Samples: Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `row`, one token longer than what is predicted, with sample number `sample`.
    fn write(&self, sample: u64, row: &mut [u32]);
}
