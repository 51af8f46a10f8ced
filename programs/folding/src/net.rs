//! The network that folds: trained here, from single sequences and the structures it was trained on.
//!
//! ```text
//! sequence -> relatives    -> trunk -> distances, torsions -> templates   -> backbone -> confidence
//!             (alignments)    (nn)     (probabilities)        (threading)    (fold)      (regression)
//! ```
//!
//! Weights hold the library too: the training chains' sequences and backbones. So they are as restricted as the
//! structures they were made from.

mod confidence;
mod examples;
mod fold;
mod geometry;
mod job;
mod library;
mod metrics;
mod relatives;
mod session;
mod templates;
#[cfg(test)]
mod tests;
mod trunk;
mod weights;

pub use examples::Changes;
pub use job::{JobSettings, run};
pub use library::Library;
pub use session::{Looked, NetError, Pace, Settings, Summary, Told, train};
pub use trunk::Shape;
pub use weights::{LONGEST, Weights};
