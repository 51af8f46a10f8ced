//! ESM-2 and ESMFold (Lin et al. 2023, Science 379, 1123) as Hugging Face has them: folders of `config.json` and
//! safetensors, such as `facebook/esm2_t6_8M_UR50D` and `facebook/esmfold_v1`. They are run, not trained.
//!
//! ```text
//! sequence -> language model -> states of all layers -> trunk, three times over -> frames, psi -> backbone
//!             (language)                                (trunk)                    (structure)
//! ```
//!
//! What they compute is compared with `transformers` in small configurations of random weights. The published
//! weights, of up to 8 GB, were not run here.

mod config;
mod fold;
mod language;
mod rows;
mod structure;
mod tensors;
mod trunk;

pub use fold::{EsmFold, Folded};
pub use language::{Esm2, LONGEST};

use nn::CheckpointError;
use std::path::Path;

/// Whether a folder has a `config.json`: then it is of Hugging Face's kind.
pub fn is_hugging_face(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

fn wrong(what: String) -> nn::Error {
    CheckpointError::content(what).into()
}
