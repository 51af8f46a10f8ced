//! The programme language: text to tokens to a language model.

mod corpus;
mod finish;
mod generate;
mod hf;
mod job;
mod judge;
mod models;
mod prepare;
mod recipe;
mod session;
mod settings;
mod tokenizer;
mod tokens;
mod twin;
mod windows;

pub use corpus::{Corpus, CorpusError, Limits};
pub use generate::{GenerateConfig, GenerateError, generate, load};
pub use hf::{Card, ExportOptions, HfError, Imported, export, import};
pub use job::run;
pub use judge::{Judged, judge_tokens};
pub use models::{Architecture, Decoder, Experts, Family, ModelConfig, Rows, presets};
pub use models::{from_checkpoint, to_checkpoint};
pub use prepare::{PrepareError, Prepared, Stage, prepare};
pub use program::{BadSetting, JobSettings, RunError};
pub use recipe::{Data, Pace, Recipe, RecipeError};
pub use session::{SessionError, Summary, Told, train_recipe};
pub use settings::Settings;
pub use tokenizer::{END, Tokenizer, TokenizerError};
pub use tokens::{Tokens, TokensError};
pub use twin::{Placed, Twin};
pub use windows::Windows;

/// khub's own bilingual text, Korean and English: what there is to learn from where no other text can be had.
pub const PRIMER: &str = include_str!("../data/primer.txt");
