//! The loop around a model: which samples come when, how the parameters move, and how a run goes on after a
//! stop as if there had been none.
//!
//! ```
//! # use nn::{Batch, Element, Error, Init, Layout, Model, Network, Param, Tape};
//! use train::{Flow, Samples, TrainConfig, Trainer};
//! # struct Next { layout: Layout, table: Param, head: Param }
//! # struct Numbers(Vec<u32>, Vec<u32>);
//! # impl Batch for Numbers { fn weight(&self) -> u64 { self.0.len() as u64 } }
//! # impl Network for Next {
//! #     type Batch = Numbers;
//! #     fn layout(&self) -> &Layout { &self.layout }
//! #     fn check(&self, _: &Numbers) -> Result<(), Error> { Ok(()) }
//! #     fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, batch: &'a Numbers) {
//! #         let x = tape.embed(&batch.0, self.table);
//! #         tape.cross_entropy(&x, self.head, &batch.1);
//! #     }
//! # }
//! # let mut layout = Layout::default();
//! # let table = layout.add("table", &[32, 8], Init::Normal(1.0));
//! # let head = layout.add("head", &[32, 8], Init::Normal(0.1));
//! # let network = Next { layout, table, head };
//!
//! /// After every number comes the next.
//! struct Counting;
//! impl Samples<Numbers> for Counting {
//!     fn len(&self) -> u64 { 31 }
//!     fn batch(&self, samples: &[u64]) -> Numbers {
//!         let numbers: Vec<u32> = samples.iter().map(|&sample| sample as u32).collect();
//!         Numbers(numbers.clone(), numbers.iter().map(|number| number + 1).collect())
//!     }
//! }
//!
//! let config = TrainConfig { batch: 4, warmup: 2, steps: 20, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(Model::new(network, 1), config)?;
//! let report = trainer.train(&Counting, 0, 80, &mut |_| Flow::GoOn)?;
//! assert_eq!(report.steps, 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod group;
#[cfg(feature = "mpi")]
mod mpi;
mod muon;
mod optimizer;
mod order;
mod plot;
mod saved;
mod saver;
mod schedule;
#[cfg(test)]
mod toy;
mod trainer;
#[cfg(unix)]
mod workers;

#[cfg(feature = "mpi")]
pub use crate::mpi::Mpi;
pub use config::{Precision, Rule, TrainConfig};
pub use group::{AllReduce, Alone, GroupError};
pub use optimizer::{Moments, Optimizer, hidden};
pub use order::Order;
pub use plot::Losses;
pub use saved::{Saved, load_latest};
pub use saver::Saver;
pub use schedule::{Curve, Schedule};
pub use trainer::{Error, Flow, Report, Step, Trainer, evaluate};
#[cfg(unix)]
pub use workers::Workers;

/// What to train on or to be judged by, as batches of type `B`.
pub trait Samples<B>: Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These samples.
    fn batch(&self, samples: &[u64]) -> B;
}
