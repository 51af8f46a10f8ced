//! How to train, as a configuration file says it.
//!
//! ```
//! use train::{Curve, Rule, TrainConfig};
//! let config = TrainConfig { optimizer: Rule::Muon, schedule: Curve::Wsd, ..TrainConfig::default() };
//! assert!(config.check().is_ok());
//! let error = TrainConfig { decay: 2.0, ..config }.check().unwrap_err();
//! assert_eq!(error.to_string(), "training setting decay is 2: it takes 0 to 1");
//! ```

use crate::{Curve, Error, Schedule};
use serde::{Deserialize, Serialize};

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Samples in a step.
    pub batch: usize,
    /// Parts of a step whose gradients are added up: activations are kept for one part at a time. With
    /// several workers each cuts its own share.
    pub parts: usize,
    /// What values between operations are.
    pub precision: Precision,
    /// What moves the parameters.
    pub optimizer: Rule,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// How it goes down.
    pub schedule: Curve,
    /// Steps until the highest is reached.
    pub warmup: u64,
    /// Steps until the lowest is reached.
    pub steps: u64,
    /// The lowest, as a part of the highest.
    pub floor: f32,
    /// The part of the steps in which the schedule `wsd` goes down.
    pub decay: f32,
    /// Decay of matrices.
    pub weight_decay: f32,
    /// The longest gradient.
    pub clip: f32,
    /// Decay of the gradient's running mean.
    pub beta1: f32,
    /// Decay of its square's.
    pub beta2: f32,
    /// Decay of Muon's momentum.
    pub momentum: f32,
    /// Steps from one of Muon's moves of a matrix to its next. Each goes as far as so many would, by a momentum that
    /// has taken every step's gradient in.
    pub muon_every: u64,
    /// Seed of the data order.
    pub seed: u64,
}

/// What values between operations are. Parameters, moments and sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with f32's range: faster where the processor multiplies them, and half the activations.
    Bf16,
}

/// What moves the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// AdamW, all of them.
    #[default]
    AdamW,
    /// Muon, where [`crate::hidden`] says so, and AdamW the others. It takes AdamW's learning rate and decay.
    Muon,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: 16,
            parts: 1,
            precision: Precision::F32,
            optimizer: Rule::AdamW,
            learning_rate: 2e-3,
            schedule: Curve::Cosine,
            warmup: 20,
            steps: 500,
            floor: 0.1,
            decay: 0.2,
            weight_decay: 0.1,
            clip: 1.0,
            beta1: 0.9,
            beta2: 0.95,
            momentum: 0.95,
            muon_every: 1,
            seed: 1,
        }
    }
}

impl TrainConfig {
    /// Refuses what can't be trained with, naming the field and what it may be.
    pub fn check(&self) -> Result<(), Error> {
        self.check_counts()?;
        let above_zero = |x: f32| (x.is_finite() && x > 0.0, "it takes numbers above 0");
        let part = |x: f32| ((0.0..=1.0).contains(&x), "it takes 0 to 1");
        let below_one = |x: f32| ((0.0..1.0).contains(&x), "it takes 0 up to, not including, 1");
        let rules: [(&'static str, f32, (bool, &'static str)); 8] = [
            (
                "learning_rate",
                self.learning_rate,
                above_zero(self.learning_rate),
            ),
            ("floor", self.floor, part(self.floor)),
            ("decay", self.decay, part(self.decay)),
            (
                "weight_decay",
                self.weight_decay,
                ((0.0..=10.0).contains(&self.weight_decay), "it takes 0 to 10"),
            ),
            ("clip", self.clip, above_zero(self.clip)),
            ("beta1", self.beta1, below_one(self.beta1)),
            ("beta2", self.beta2, below_one(self.beta2)),
            ("momentum", self.momentum, below_one(self.momentum)),
        ];
        match rules.into_iter().find(|(_, _, (ok, _))| !ok) {
            Some((field, value, (_, wanted))) => Err(setting(field, &value, wanted)),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), Error> {
        if !(1..=1 << 16).contains(&self.batch) {
            return Err(setting("batch", &self.batch, "it takes 1 to 65536"));
        }
        if !(1..=self.batch).contains(&self.parts) {
            return Err(setting("parts", &self.parts, "it takes 1 to batch"));
        }
        if self.muon_every == 0 {
            return Err(setting("muon_every", &self.muon_every, "it takes 1 or more"));
        }
        Ok(())
    }

    /// The learning rate by step.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            curve: self.schedule,
            peak: self.learning_rate,
            warmup: self.warmup,
            steps: self.steps,
            floor: self.floor,
            decay: self.decay,
        }
    }
}

fn setting(field: &'static str, value: &dyn ToString, wanted: &'static str) -> Error {
    Error::Setting {
        field,
        value: value.to_string(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_name() {
        let cases = [
            ("batch = 0", "batch is 0"),
            ("parts = 17", "parts is 17: it takes 1 to batch"),
            ("muon_every = 0", "muon_every is 0: it takes 1 or more"),
            ("beta2 = 1.0", "beta2 is 1"),
            ("learning_rate = nan", "learning_rate is NaN"),
            ("decay = -0.5", "decay is -0.5: it takes 0 to 1"),
            (
                "momentum = 1",
                "momentum is 1: it takes 0 up to, not including, 1",
            ),
        ];
        for (text, expected) in cases {
            let config: TrainConfig = toml::from_str(text).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn words_are_read_and_wrong_ones_told_what_there_is() {
        let text = "optimizer = 'muon'\nschedule = 'wsd'\nprecision = 'bf16'";
        let config: TrainConfig = toml::from_str(text).unwrap();
        let words = (config.optimizer, config.schedule, config.precision);
        assert_eq!(words, (Rule::Muon, Curve::Wsd, Precision::Bf16));
        let cases = [
            ("optimizer = 'sgd'", "expected `adamw` or `muon`"),
            ("schedule = 'linear'", "expected `cosine` or `wsd`"),
            ("precision = 'f16'", "expected `f32` or `bf16`"),
            ("optimiser = 'muon'", "unknown field `optimiser`"),
        ];
        for (text, expected) in cases {
            let error = toml::from_str::<TrainConfig>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
