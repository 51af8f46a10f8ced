//! What to train and how, as a TOML file says it.
//!
//! ```
//! use language::Recipe;
//! let recipe = Recipe::parse(r#"
//!     [model]
//!     preset = "laptop"      # `khub train --presets` lists them; a field below replaces the preset's
//!     width = 256
//!     heads = 8
//!
//!     [data]
//!     text = "reviews.tsv"   # or set = "nsmc", or prepared = "folder"
//!     vocab = 8192
//!
//!     [train]
//!     steps = 2000
//!     precision = "bf16"
//! "#)?;
//! assert_eq!((recipe.model(8192)?.layers, recipe.train.steps), (4, 2000));
//! let error = Recipe::parse("[train]\nsteps = 'many'").unwrap_err();
//! assert!(error.to_string().contains("line 2"));
//! # Ok::<(), language::RecipeError>(())
//! ```

use crate::{ModelConfig, presets};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use toml::{Table, Value};
use train::TrainConfig;

/// A training file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// The model: a preset's name under `preset`, and fields of [`ModelConfig`] that differ from it.
    pub model: Table,
    /// What it learns from.
    pub data: Data,
    /// How.
    pub train: TrainConfig,
    /// What is told and kept on the way.
    pub run: Pace,
}

/// What a model learns from: one of `text`, `set` and `prepared`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// A file, or a folder of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// The field or column of it that is the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_field: Option<String>,
    /// A data set that khub knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// A folder that `khub data prepare` made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<PathBuf>,
    /// The most tokens in the vocabulary.
    pub vocab: usize,
    /// The most bytes to learn from, taken from all over the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_bytes: Option<u64>,
    /// The most bytes to be judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_bytes: Option<u64>,
    /// Tokens predicted in a sample; the model's context, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<usize>,
    /// Whether documents in one sample are kept from seeing each other.
    pub apart: bool,
}

/// What is told and kept on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Steps between two looks at the validation text.
    pub evaluate_every: u64,
    /// How many of its tokens the model is judged by; 0 takes all.
    pub evaluate_tokens: u64,
    /// Steps between two checkpoints.
    pub save_every: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// Whether blocks are computed again on the way back: less memory, a third more time.
    pub recompute: bool,
}

/// Why a training file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// No TOML, a key that is none, or a value of another kind.
    #[error("{0}")]
    Toml(String),
    /// No such preset.
    #[error("[model] has preset = {0:?}; the presets are {list}", list = preset_names())]
    Preset(String),
    /// A field of the model.
    #[error("[model]: {0}")]
    Model(String),
    /// Not one source of text.
    #[error("[data] names {0} of text, set and prepared: it takes one of them")]
    Sources(usize),
    /// A setting out of range.
    #[error("{0}")]
    Setting(String),
}

impl Default for Data {
    fn default() -> Self {
        Self {
            text: None,
            text_field: None,
            set: None,
            prepared: None,
            vocab: 8_192,
            train_bytes: None,
            valid_bytes: None,
            seq: None,
            apart: false,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            evaluate_every: 100,
            evaluate_tokens: 1 << 15,
            save_every: 100,
            keep: 2,
            recompute: false,
        }
    }
}

impl Recipe {
    /// Reads a training file. What can be checked without the data is checked.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|error| RecipeError::Toml(error.to_string()))?;
        recipe.model(2)?;
        let train = recipe.train.check();
        train.map_err(|error| RecipeError::Setting(error.to_string()))?;
        let data = &recipe.data;
        let named = [data.text.is_some(), data.set.is_some(), data.prepared.is_some()];
        let named = named.into_iter().filter(|named| *named).count();
        if named > 1 {
            return Err(RecipeError::Sources(named));
        }
        let pace = &recipe.run;
        let every = [
            ("evaluate_every", pace.evaluate_every),
            ("save_every", pace.save_every),
            ("keep", pace.keep as u64),
        ];
        match every.into_iter().find(|(_, every)| *every == 0) {
            Some((field, _)) => Err(RecipeError::Setting(format!(
                "[run] has {field} = 0: it takes 1 or more"
            ))),
            None => Ok(recipe),
        }
    }

    /// The model's shape; its vocabulary is `vocab` where the file says nothing of it.
    pub fn model(&self, vocab: usize) -> Result<ModelConfig, RecipeError> {
        let mut fields = self.model.clone();
        let preset = match fields.remove("preset") {
            None => ModelConfig::default(),
            Some(Value::String(name)) => ModelConfig::preset(&name).ok_or(RecipeError::Preset(name))?,
            Some(other) => return Err(RecipeError::Preset(other.to_string())),
        };
        let mut whole = Table::try_from(&preset).expect("a config is plain data");
        if !self.model.contains_key("vocab") {
            fields.insert("vocab".into(), Value::Integer(vocab as i64));
        }
        whole.extend(fields);
        let config: ModelConfig = whole
            .try_into()
            .map_err(|error| RecipeError::Model(error.to_string().trim().to_owned()))?;
        config
            .check()
            .map_err(|error| RecipeError::Model(error.to_string()))?;
        Ok(config)
    }

    /// The whole of it, with what follows from presets and defaults: two runs that say the same train the
    /// same.
    pub fn text(&self) -> String {
        toml::to_string(self).expect("a training file is plain data")
    }
}

fn preset_names() -> String {
    let names: Vec<&str> = presets().iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("[model]\npreset = 'gpt5'", "the presets are tiny, laptop"),
            ("[model]\nwidht = 64", "unknown field `widht`"),
            (
                "[model]\nfamily = 'bert'",
                "expected one of `gpt2`, `llama`, `mixtral`",
            ),
            (
                "[model]\nheads = 5",
                "heads is 5: width 192 must be a multiple of it",
            ),
            ("[train]\nprecision = 'f16'", "expected `f32` or `bf16`"),
            ("[train]\nbatch = 0", "batch is 0"),
            ("[data]\ntext = 'a'\nset = 'nsmc'", "[data] names 2"),
            ("[run]\nkeep = 0", "keep = 0"),
            ("[modle]", "unknown field `modle`"),
            ("model", "line 1"),
        ];
        for (text, expected) in cases {
            let error = Recipe::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn its_text_is_the_same_file() {
        let recipe = Recipe::parse("[model]\npreset = 'tiny'\n[train]\nsteps = 7").unwrap();
        assert_eq!(Recipe::parse(&recipe.text()).unwrap(), recipe);
    }
}
