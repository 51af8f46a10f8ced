//! Measures of a predicted structure, in f64, each as its paper defines it.

mod backbone;
mod confidence;
mod contacts;
mod lddt;
mod statistics;
pub(crate) mod superpose;
mod tm;

pub use backbone::{Dihedrals, Region, clashes, dihedral, dihedrals};
pub use confidence::{Bin, pearson, reliability};
pub use contacts::{CONTACT, ContactSettings, beta, contact_precision, true_contacts};
pub use lddt::{Lddt, lddt, lddt_ca};
pub use statistics::{Interval, interval, mean, paired_p};
pub use superpose::{Motion, rmsd, superpose};
pub use tm::{Superposed, tm_score};
