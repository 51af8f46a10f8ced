//! The programme language: text to tokens to a language model.

mod corpus;
mod finish;
mod generate;
mod prepare;
mod run;
mod settings;
mod state;
mod tokenizer;
mod tokens;

pub use corpus::{Corpus, CorpusError, Limits};
pub use generate::{GenerateConfig, GenerateError, generate, load};
pub use prepare::{PrepareError, Prepared, Stage, prepare};
pub use run::{RunError, run};
pub use settings::{BadSetting, Settings};
pub use tokenizer::{END, Tokenizer, TokenizerError};
pub use tokens::{Tokens, TokensError, Windows};

/// khub's own bilingual text, Korean and English: what there is to learn from where no other text can be had.
pub const PRIMER: &str = include_str!("../data/primer.txt");
