//! Models as Hugging Face has them: a folder that `transformers` loads, in and out.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use language::{ExportOptions, Family, ModelConfig, export, import};
//! use nn::Model;
//! let model = Model::new(Family::new(ModelConfig::preset("tiny").expect("there is one"))?, 7);
//! let folder = dir.path().join("small");
//! export(&model, &folder, &ExportOptions::default())?;
//! assert_eq!(import(&folder)?.model.params, model.params, "the same bits");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | folder has | what for |
//! |---|---|
//! | `config.json` | the shape; `config.rs` says which fields count |
//! | `model.safetensors`, or shards and `model.safetensors.index.json` | the weights |
//! | `tokenizer.json`, `tokenizer_config.json` | text to tokens and back |
//! | `generation_config.json`, `README.md` | for those who use an exported model |

mod card;
pub(crate) mod config;
mod error;
mod export;
mod folder;
mod import;
mod shards;
#[cfg(test)]
mod tests;

pub use card::Card;
pub use error::HfError;
pub use export::{ExportOptions, export};
pub use import::{Imported, import};

use crate::Architecture;

/// The shape of the tensor `name` in a file. GPT-2 published its linear weights with a column for each thing
/// that they make (`Conv1D`); khub has a row for it.
pub(crate) fn shape_in_file(family: Architecture, name: &str, shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if is_transposed(family, name) {
        shape.reverse();
    }
    shape
}

pub(crate) fn is_transposed(family: Architecture, name: &str) -> bool {
    let published = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];
    family == Architecture::Gpt2 && published.iter().any(|end| name.ends_with(end))
}

/// Writes the matrix `from`, of rows of `cols`, to `to` with rows and columns exchanged.
fn transpose(from: &[f32], cols: usize, to: &mut [f32]) {
    let rows = from.len() / cols.max(1);
    for (i, row) in from.chunks_exact(cols.max(1)).enumerate() {
        for (j, x) in row.iter().enumerate() {
            to[j * rows + i] = *x;
        }
    }
}
