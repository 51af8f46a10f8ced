//! What a job may set, and what follows from it.
//!
//! ```
//! use language::{JobSettings, Settings};
//! use sync::contract::Rounds;
//!
//! let settings = Settings { batch: 32, ..Settings::default() };
//! settings.check(Rounds::new(12, 640))?;
//! let error = settings.check(Rounds::new(12, 650)).unwrap_err();
//! assert_eq!(error.to_string(), "setting rounds.samples is 650: it takes a multiple of batch, which is 32");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::ModelConfig;
use program::{BadSetting, JobSettings};
use serde::{Deserialize, Serialize};
use sync::OuterConfig;
use sync::contract::Rounds;
use train::TrainConfig;

/// The settings of a job. Each has a default; a key that is none of them is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Size of the residual stream.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; as many as query heads if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Inner size of the SwiGLU; 8/3 of the width, up to a multiple of 16, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Whether the head uses the embedding's weights.
    pub tied: bool,
    /// Seed of the first weights and of the data order.
    pub seed: u64,
    /// Tokens predicted in a sample.
    pub seq: usize,
    /// Samples in a step.
    pub batch: usize,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// Steps until it is reached.
    pub warmup: u64,
    /// The learning rate of the last step, as a part of the highest.
    pub floor: f32,
    /// Decay of matrices.
    pub weight_decay: f32,
    /// The longest gradient.
    pub clip: f32,
    /// How far the outer step goes.
    pub outer: OuterConfig,
    /// Threads; 0 takes every processor. The weights don't depend on it.
    pub threads: usize,
    /// How many of the validation tokens the model is judged by; 0 takes all.
    pub evaluate_tokens: u64,
}

/// Tokens of a step: what is kept of its forward pass is some kilobytes for each.
const MOST_STEP_TOKENS: usize = 1 << 20;

impl Default for Settings {
    /// As `nn` and `train` have it: a model that trains in minutes on a laptop.
    fn default() -> Self {
        let (shape, training) = (ModelConfig::default(), TrainConfig::default());
        Self {
            width: shape.width,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: None,
            hidden: None,
            tied: shape.tied,
            seed: training.seed,
            seq: shape.context,
            batch: training.batch,
            learning_rate: training.learning_rate,
            warmup: training.warmup,
            floor: training.floor,
            weight_decay: training.weight_decay,
            clip: training.clip,
            outer: OuterConfig::default(),
            threads: 0,
            evaluate_tokens: 1 << 16,
        }
    }
}

impl Settings {
    /// The shape of the model, for a vocabulary of `vocab` tokens.
    pub fn shape(&self, vocab: usize) -> ModelConfig {
        ModelConfig {
            vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            hidden: self
                .hidden
                .unwrap_or((self.width.saturating_mul(8) / 3).next_multiple_of(16)),
            // The context costs no weights; a model trained on short samples may still write a paragraph.
            context: self.seq.max(ModelConfig::default().context),
            tied: self.tied,
            ..ModelConfig::default()
        }
    }
}

impl JobSettings for Settings {
    fn check(&self, rounds: Rounds) -> Result<(), BadSetting> {
        let step_tokens = self.batch.saturating_mul(self.seq);
        if !(1..=MOST_STEP_TOKENS).contains(&step_tokens) {
            return Err(BadSetting {
                key: "batch * seq",
                value: step_tokens.to_string(),
                wanted: format!("1 to {MOST_STEP_TOKENS} tokens a step"),
            });
        }
        program::check(rounds, self.batch, self.outer, self.threads)
    }

    fn training(&self, rounds: Rounds) -> TrainConfig {
        let steps_a_round = rounds.samples / self.batch.max(1) as u64;
        TrainConfig {
            batch: self.batch,
            learning_rate: self.learning_rate,
            warmup: self.warmup,
            steps: u64::from(rounds.count).saturating_mul(steps_a_round),
            floor: self.floor,
            weight_decay: self.weight_decay,
            clip: self.clip,
            seed: self.seed,
            ..TrainConfig::default()
        }
    }

    fn outer(&self) -> OuterConfig {
        self.outer
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync::contract::JobFile;

    const ROUNDS: Rounds = Rounds::new(4, 64);

    fn job(settings: &str) -> Result<JobFile<Settings>, toml::de::Error> {
        let job = "name = 'n'\njob = 'job-1'\nsite = 's'\nprogram = 'language'\nlabel = 'open'\n\
                   inputs = {}\nrounds = { count = 4, samples = 64 }\n";
        toml::from_str(&format!("{job}[settings]\n{settings}"))
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(job("").unwrap().settings, Settings::default());
        Settings::default().check(ROUNDS).unwrap();
        let shape = Settings::default().shape(ModelConfig::default().vocab);
        assert_eq!(shape, ModelConfig::default());
    }

    #[test]
    fn a_wrong_key_or_type_is_shown_where_it_stands() {
        for (settings, expected) in [
            ("widht = 64", "unknown field `widht`"),
            ("width = 'wide'", "width = 'wide'"),
            ("seed = -1", "seed = -1"),
            ("outer = { speed = 1 }", "unknown field `speed`"),
        ] {
            let error = job(settings).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("line 9"), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let cases = [
            ("batch = 0", "batch * seq is 0"),
            ("batch = 65536", "batch * seq is 8388608: it takes 1 to 1048576"),
            (
                "batch = 24",
                "rounds.samples is 64: it takes a multiple of batch, which is 24",
            ),
            (
                "outer = { learning_rate = 0, momentum = 0.9 }",
                "outer.learning_rate is 0",
            ),
            (
                "outer = { learning_rate = nan, momentum = 0.9 }",
                "outer.learning_rate is NaN",
            ),
            (
                "outer = { learning_rate = 0.7, momentum = 1 }",
                "outer.momentum is 1",
            ),
            ("threads = 5000", "threads is 5000"),
        ];
        for (settings, expected) in cases {
            let job = job(settings).unwrap();
            let error = job.settings.check(job.rounds).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for rounds in [Rounds { count: 0, ..ROUNDS }, Rounds { samples: 0, ..ROUNDS }] {
            let error = Settings::default().check(rounds).unwrap_err().to_string();
            assert!(error.contains("setting rounds."), "{error}");
        }
    }

    #[test]
    fn what_is_not_said_follows_from_what_is() {
        let settings = job("width = 256\nheads = 4\nseq = 32").unwrap().settings;
        let shape = settings.shape(100);
        assert_eq!((shape.kv_heads(), shape.hidden, shape.context), (4, 688, 128));
        shape.check().unwrap();
        assert_eq!(settings.training(ROUNDS).steps, 4 * (64 / 16));
    }
}
