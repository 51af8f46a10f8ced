//! What every programme's settings must tell, and what no job may set.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync::OuterConfig;
use sync::contract::Rounds;
use train::TrainConfig;

/// The settings of a programme's jobs: each has a default, and a key that is none of them is an error.
pub trait JobSettings: Clone + Default + Serialize + DeserializeOwned {
    /// Refuses what can't be, before anything is opened.
    ///
    /// # Errors
    /// Which setting, what it is, and what it takes.
    fn check(&self, rounds: Rounds) -> Result<(), BadSetting>;

    /// How a site trains. The schedule spans all rounds.
    fn training(&self, rounds: Rounds) -> TrainConfig;

    /// How far the outer step goes.
    fn outer(&self) -> OuterConfig;

    /// Threads; 0 takes every processor.
    fn threads(&self) -> usize;
}

/// A setting out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting {key} is {value}: it takes {wanted}")]
pub struct BadSetting {
    /// Which.
    pub key: &'static str,
    /// What it is.
    pub value: String,
    /// What it takes.
    pub wanted: String,
}

/// Refuses what no programme can do: `nn` and `train` know no rounds.
///
/// ```
/// use sync::{OuterConfig, contract::Rounds};
/// let error = program::check(Rounds::new(12, 650), 32, OuterConfig::default(), 0).unwrap_err();
/// assert_eq!(error.to_string(), "setting rounds.samples is 650: it takes a multiple of batch, which is 32");
/// ```
///
/// # Errors
/// The first setting that is out of range.
pub fn check(rounds: Rounds, batch: usize, outer: OuterConfig, threads: usize) -> Result<(), BadSetting> {
    let whole_steps = rounds.samples > 0 && rounds.samples.is_multiple_of(batch.max(1) as u64);
    let rules: [(&'static str, String, bool, String); 5] = [
        (
            "rounds.count",
            rounds.count.to_string(),
            rounds.count > 0,
            "1 or more".into(),
        ),
        // A short last step would make the others' schedule a different one.
        (
            "rounds.samples",
            rounds.samples.to_string(),
            whole_steps,
            format!("a multiple of batch, which is {batch}"),
        ),
        (
            "outer.learning_rate",
            outer.learning_rate.to_string(),
            outer.learning_rate.is_finite() && outer.learning_rate > 0.0,
            "numbers above 0".into(),
        ),
        (
            "outer.momentum",
            outer.momentum.to_string(),
            (0.0..1.0).contains(&outer.momentum),
            "0 up to, not including, 1".into(),
        ),
        (
            "threads",
            threads.to_string(),
            threads <= 1024,
            "0 to 1024".into(),
        ),
    ];
    match rules.into_iter().find(|(_, _, ok, _)| !ok) {
        Some((key, value, _, wanted)) => Err(BadSetting { key, value, wanted }),
        None => Ok(()),
    }
}
