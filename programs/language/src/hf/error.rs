//! Why a model doesn't come in or go out, and what to try.

use crate::TokenizerError;
use nn::CheckpointError;
use std::io;
use std::path::PathBuf;

/// Why a model doesn't come in or go out, and what to try.
#[derive(Debug, thiserror::Error)]
pub enum HfError {
    /// A file or folder can't be reached.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A folder without weights.
    #[error(
        "{0} has neither model.safetensors nor model.safetensors.index.json: only safetensors are read; \
         `save_pretrained` of a recent transformers writes them"
    )]
    NoWeights(PathBuf),
    /// A JSON file that is none, or of another kind.
    #[error("{path} can't be used: {what}; fetch it again")]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A field of `config.json` that is missing, or asks for what khub doesn't compute.
    #[error("{path}: {field} is {value}: {wanted}")]
    Field {
        /// Which `config.json`.
        path: PathBuf,
        /// Which field.
        field: String,
        /// Its value.
        value: String,
        /// What it may be, and why.
        wanted: String,
    },
    /// A model that `transformers` can't have.
    #[error("transformers can't have this model: {field} is {value}: {why}")]
    NotTheirs {
        /// Which setting of the model.
        field: &'static str,
        /// Its value.
        value: String,
        /// Why not, and what to try.
        why: &'static str,
    },
    /// Weights of another model than `config.json` describes, by their number.
    #[error("{path} describes a model of {described} parameters, and its files hold {held}")]
    Size {
        /// Which `config.json`.
        path: PathBuf,
        /// Parameters that it describes.
        described: u64,
        /// Elements in the files.
        held: u64,
    },
    /// A tensor of another shape than `config.json` describes.
    #[error("tensor {name} has shape {is:?} in {path}, and config.json makes it {wanted:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// Which file.
        path: PathBuf,
        /// Its shape there.
        is: Vec<usize>,
        /// Its shape in the model.
        wanted: Vec<usize>,
    },
    /// Tensors that the model has and the files don't, or the other way round.
    #[error(
        "the files in {dir} don't fit its config.json: tensors that are missing: {}; that the model doesn't \
         have: {}",
        listed(.missing),
        listed(.unknown)
    )]
    Names {
        /// Which folder.
        dir: PathBuf,
        /// Not in the files.
        missing: Vec<String>,
        /// Only in the files.
        unknown: Vec<String>,
    },
    /// A head of its own where `config.json` says that it is the embedding.
    #[error(
        "lm_head.weight in {path} is not the embedding, and config.json's tie_word_embeddings is true: set it \
         to false if the head is right, or take the tensor out"
    )]
    Head {
        /// Which file.
        path: PathBuf,
    },
    /// Shards that don't fit together.
    #[error("{path} is of no use: {what}; fetch it and the files it names again")]
    Index {
        /// The index, or the shard.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A folder that nobody should write over.
    #[error("nothing was written to {path}: {what}; name another folder")]
    Target {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        what: String,
    },
    /// A tokeniser of another model.
    #[error(
        "{path} has {tokenizer} tokens and the model {model}: take the tokenizer.json that came with the \
         model"
    )]
    Mismatch {
        /// The tokeniser.
        path: PathBuf,
        /// Its tokens.
        tokenizer: usize,
        /// The model's.
        model: usize,
    },
    /// A shape that khub can't have.
    #[error("{path}: {error}")]
    Model {
        /// Which `config.json`.
        path: PathBuf,
        /// What is wrong with it, in khub's words.
        error: nn::Error,
    },
    /// A file of weights that can't be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file that is no tokeniser of khub's.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Names to tell someone; of many, the first.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        0 => "none".into(),
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}
