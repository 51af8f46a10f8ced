//! Training one model at several sites over slow links (DiLoCo, arXiv 2311.08105).
//!
//! A round: every site starts from the same weights, trains alone for many steps on its own interval of the
//! data, and sends only how far it came, as one byte a weight. Everyone adds up the same updates in the same
//! order and takes one outer step, so all sites hold the same bits again, and so does anybody who replays
//! the rounds from the log.
//!
//! ```
//! use sync::{encode, Contribution, Outer, OuterConfig, Update};
//!
//! let start = vec![1.0f32; 300];
//! let mut seoul = Outer::new(start.clone(), OuterConfig::default());
//! let mut daejeon = seoul.clone();
//!
//! // Each site moved every weight by -0.5 and by -0.25: the update says "start minus where I am".
//! let updates = [Update::parse(&encode(&[0.5; 300])?)?, Update::parse(&encode(&[0.25; 300])?)?];
//! let round = [Contribution { weight: 1000, update: &updates[0] }, Contribution { weight: 1000, update: &updates[1] }];
//! seoul.step(&round)?;
//! daejeon.step(&round)?;
//! assert_eq!(seoul.digest(), daejeon.digest());
//! assert!(seoul.params[0] < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`codec`] is the update on the wire, [`outer`] the step, [`contract`] how a site and the program that
//! trains talk to each other.

pub mod codec;
pub mod contract;
pub mod outer;

pub use codec::{CodecError, Update, encode};
pub use contract::{Accepted, JobFolder, Order, Said, Written};
pub use outer::{Contribution, Outer, OuterConfig, OuterError};
