//! The programme folding: protein sequences to structures, and honest measures of both.
//!
//! ```
//! use folding::{Sequence, parse_pdb};
//!
//! let text = "ATOM      1  CA  GLY A   7      11.104   6.134  -6.504  1.00  0.00           C\n";
//! let chains = parse_pdb(text.as_bytes())?.chains;
//! assert_eq!(chains[0].sequence().to_string(), "G");
//! assert_eq!(chains[0].residues[0].ca(), Some([11.104, 6.134, -6.504]));
//! assert!("MKV*".parse::<Sequence>().is_err());
//! # Ok::<(), folding::Wrong>(())
//! ```

mod align;
mod amino;
mod baseline;
mod build;
mod chain;
pub mod esm;
mod evaluate;
mod format;
pub mod measure;
pub mod net;
mod prediction;
mod random;
mod report;
mod split;

pub use align::{Aligned, align};
pub use amino::AminoAcid;
pub use baseline::{Helix, Logistic, Nearest, Secondary, Separation};
pub use build::backbone;
pub use chain::{Atom, Chain, Point, Residue, Sequence, distance};
pub use evaluate::{CONTACT_MEASURES, CONTACTS_FROM, Lead, MEMORY, Scores, Summary, evaluate};
pub use evaluate::{compare, evaluate_contacts, lead, predict_all, score, shuffled, summarise};
pub use format::{
    Alignment, FormatError, Row, Structure, Wrong, parse_a3m, parse_fasta, parse_mmcif, parse_pdb,
};
pub use format::{TooLong, contact_map_png, mmcif, pae_json, pdb, read_sequences, read_structures};
pub use prediction::{Prediction, Predictor, Square};
pub use random::Random;
pub use report::{Baseline, Control, Report, report};
pub use split::{Alike, Check, Split, SplitSettings, check, split};
