//! Training one model at several sites over slow links (DiLoCo, arXiv 2311.08105, and its streaming form,
//! arXiv 2501.18512).
//!
//! A round: every site starts from what all agree on, trains alone for many steps on its own interval of the
//! data, and sends how far it came in one fragment of the model, with a codec that its link has room for.
//! Everyone adds up the same updates in the same order and takes one outer step, so all sites agree on the
//! same bits again, and so does anybody who replays the rounds from the log.
//!
//! ```
//! use sync::{encode, fragments, Codec, Contribution, Outer, OuterConfig, Scale, Update};
//!
//! let fragments = fragments(&[200, 100], 2); // a model of two tensors, of which a round sends one
//! let mut seoul = Outer::new(vec![1.0f32; 300], OuterConfig::default());
//! let mut daejeon = seoul.clone();
//!
//! // Each site moved every weight by -0.5 and by -0.25: the update says "what is agreed minus where I am".
//! // What four bits can't tell of it waits in the site's residual for the fragment's next turn.
//! let mut residual = vec![0.0; 200];
//! let updates = [
//!     Update::parse(&encode(Codec::Int4, &[0.5; 200], Some(&mut residual))?)?,
//!     Update::parse(&encode(Codec::Int8, &[0.25; 200], None)?)?,
//! ];
//! let round = [&updates[0], &updates[1]].map(|update| Contribution { weight: 1000, scale: Scale::WHOLE, update });
//! seoul.step(fragments[0].clone(), &round)?;
//! daejeon.step(fragments[0].clone(), &round)?;
//! assert_eq!(seoul.digest(), daejeon.digest());
//! assert!(seoul.params()[0] < 1.0 && seoul.params()[200] == 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`codec`] is the update on the wire, [`fragments`] what a round sends of a model, [`outer`] the step,
//! [`inspect()`] what can be told of updates before they count, [`private`] how they are summed up unseen, [`local`] what a site has of its own while updates
//! travel, [`contract`] how a site and the program that trains talk to each other, [`socket`] where they meet if not
//! on standard input and output. [`paper`] reckons what models cost that are too large to be tried.

pub mod codec;
pub mod contract;
mod fragment;
mod inspect;
pub mod local;
pub mod outer;
pub mod paper;
pub mod private;
#[cfg(unix)]
pub mod socket;

pub use codec::{Codec, CodecError, Link, Update, encode};
pub use contract::{Accepted, Came, Found, HeldOut, JobFolder, Order, Said, Written};
pub use fragment::fragments;
pub use inspect::{Findings, Inspection, Loss, inspect};
pub use local::{Fate, Local, Own, Sent};
pub use outer::{Contribution, Outer, OuterConfig, OuterError, Scale};
pub use private::Form;
