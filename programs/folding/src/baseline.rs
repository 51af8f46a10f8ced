//! What a network has to beat: predictions that need no network.

mod contacts;
mod nearest;
mod secondary;

pub use contacts::{Logistic, Separation};
pub use nearest::Nearest;
pub use secondary::{Helix, Secondary};
