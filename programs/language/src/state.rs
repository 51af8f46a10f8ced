//! What a site keeps between rounds, so that a stop at any moment costs at most the round it was in.
//!
//! One file, `checkpoint/state.safetensors`, replaced whole. It holds what all sites agree on (the weights,
//! the outer momentum, every round's digest), what is this site's own (the optimiser's moments), and what it has
//! trained since (the moments that its next commit adopts). The words about them are one JSON text.

use crate::settings::Settings;
use nn::{Checkpoint, CheckpointError};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;
use sync::contract::JobFile;
use sync::{Outer, Said};
use train::Moments;

/// Where a site is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// What all sites agree on.
    pub(crate) outer: Outer,
    /// The digest after each round that is applied.
    pub(crate) digests: Vec<String>,
    /// Tokens of all updates that are applied, of every site.
    pub(crate) tokens: u64,
    /// This site's moments after the last round that it trained in and that is applied.
    pub(crate) moments: Moments,
    /// What it has trained for the round that is not applied yet.
    pub(crate) trained: Option<Trained>,
}

/// A round's training whose update is written and whose commit is to come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trained {
    /// What was asked for.
    pub(crate) interval: (u64, u64),
    /// What was answered: a [`Said::Update`].
    pub(crate) answer: Said,
    /// The moments at its end.
    pub(crate) moments: Moments,
}

/// Why a state can't be gone on from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its bytes are not what was written; the rounds have to be replayed.
    #[error("{0}")]
    Damaged(String),
    /// It belongs to something else, and nobody should overwrite it.
    #[error("{0}")]
    Foreign(String),
    /// It can't be reached.
    #[error(transparent)]
    File(CheckpointError),
}

/// All of a state but its numbers.
#[derive(Serialize, Deserialize)]
struct Words {
    job: JobFile<Settings>,
    outer: String,
    digests: Vec<String>,
    tokens: u64,
    adamw_step: u64,
    trained: Option<TrainedWords>,
}

#[derive(Serialize, Deserialize)]
struct TrainedWords {
    interval: (u64, u64),
    answer: Said,
    adamw_step: u64,
}

/// The key of the words in the file. One key, because the file keeps several in no order.
const WORDS: &str = "state";

impl State {
    /// Before the first round; `moments` are of nothing yet.
    pub(crate) fn new(params: Vec<f32>, job: &JobFile<Settings>, moments: Moments) -> Self {
        Self {
            outer: Outer::new(params, job.settings.outer),
            digests: Vec::new(),
            tokens: 0,
            moments,
            trained: None,
        }
    }

    /// Rounds that are applied.
    pub(crate) fn committed(&self) -> u32 {
        u32::try_from(self.digests.len()).expect("rounds are counted in 32 bits")
    }

    /// Writes it, all or nothing.
    pub(crate) fn save(&self, path: &Path, job: &JobFile<Settings>) -> Result<(), CheckpointError> {
        let words = Words {
            job: job.clone(),
            outer: self.outer.digest(),
            digests: self.digests.clone(),
            tokens: self.tokens,
            adamw_step: self.moments.step,
            trained: self.trained.as_ref().map(|trained| TrainedWords {
                interval: trained.interval,
                answer: trained.answer.clone(),
                adamw_step: trained.moments.step,
            }),
        };
        let words = serde_json::to_string(&words).expect("words are plain data");
        let mut checkpoint = Checkpoint::default();
        checkpoint.metadata.insert(WORDS.into(), words);
        let mut push = |name: &str, values: &[f32]| checkpoint.push(name, &[values.len()], values.to_vec());
        push("outer.params", self.outer.params());
        push("outer.momentum", self.outer.momentum());
        push("adamw.m", &self.moments.m);
        push("adamw.v", &self.moments.v);
        if let Some(trained) = &self.trained {
            push("trained.m", &trained.moments.m);
            push("trained.v", &trained.moments.v);
        }
        checkpoint.write(path)
    }

    /// Reads what [`State::save`] wrote for the same job; `new` is the moments of nothing yet. None if there
    /// is no file.
    pub(crate) fn load(
        path: &Path,
        job: &JobFile<Settings>,
        new: &Moments,
    ) -> Result<Option<Self>, Unusable> {
        let checkpoint = match Checkpoint::read(path) {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::File { error, .. }) if error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error @ CheckpointError::File { .. }) => return Err(Unusable::File(error)),
            Err(error) => return Err(Unusable::Damaged(error.to_string())),
        };
        let damaged =
            |what: String| Unusable::Damaged(format!("checkpoint {} is damaged: {what}", path.display()));
        let words = checkpoint.metadata(WORDS).map_err(|e| damaged(e.to_string()))?;
        let words: Words = serde_json::from_str(words).map_err(|e| damaged(e.to_string()))?;
        check_job(path, &words.job, job)?;
        let state = Self::restored(&checkpoint, &words, new).map_err(|e| damaged(e.to_string()))?;
        let last = state.digests.last().unwrap_or(&words.outer);
        if state.outer.digest() != words.outer || last != &words.outer {
            return Err(damaged(
                "its weights are not the ones whose digest it tells".into(),
            ));
        }
        Ok(Some(state))
    }

    fn restored(checkpoint: &Checkpoint, words: &Words, new: &Moments) -> Result<Self, CheckpointError> {
        let (all, some) = (new.m.len(), new.v.len());
        let tensor = |name: &str, len: usize| checkpoint.tensor(name, &[len]).map(<[f32]>::to_vec);
        let moments = |name: &str, step: u64| {
            Ok(Moments {
                m: tensor(&format!("{name}.m"), all)?,
                v: tensor(&format!("{name}.v"), some)?,
                step,
            })
        };
        let trained = words.trained.as_ref().map(|trained| {
            Ok(Trained {
                interval: trained.interval,
                answer: trained.answer.clone(),
                moments: moments("trained", trained.adamw_step)?,
            })
        });
        let outer = (tensor("outer.params", all)?, tensor("outer.momentum", all)?);
        Ok(Self {
            outer: Outer::restored(outer.0, outer.1, words.job.settings.outer),
            digests: words.digests.clone(),
            tokens: words.tokens,
            moments: moments("adamw", words.adamw_step)?,
            trained: trained.transpose()?,
        })
    }
}

/// The name, the site and the label may change; what the numbers come from may not.
fn check_job(path: &Path, theirs: &JobFile<Settings>, ours: &JobFile<Settings>) -> Result<(), Unusable> {
    let path = path.display();
    let foreign = |what: String| {
        let hint = "give the job a folder of its own, or remove checkpoint/ to start it over";
        Err(Unusable::Foreign(format!("checkpoint {path} {what}; {hint}")))
    };
    if theirs.job != ours.job {
        return foreign(format!("belongs to {}, and job.toml is {}", theirs.job, ours.job));
    }
    let parts = [
        ("inputs", theirs.inputs == ours.inputs),
        ("rounds", theirs.rounds == ours.rounds),
        ("settings", theirs.settings == ours.settings),
    ];
    match parts.into_iter().find(|(_, same)| !same) {
        Some((part, _)) => foreign(format!(
            "of {} was made with other {part} than job.toml has",
            ours.job
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use sync::contract::Rounds;

    fn job() -> JobFile<Settings> {
        JobFile {
            name: "n".into(),
            job: "job-7".into(),
            site: "seoul".into(),
            program: "language".into(),
            label: "open".into(),
            inputs: BTreeMap::new(),
            rounds: Rounds {
                count: 3,
                samples: 16,
            },
            settings: Settings::default(),
        }
    }

    fn state() -> State {
        let moments = |x: f32| Moments {
            m: vec![x; 5],
            v: vec![-x; 5],
            step: 4,
        };
        let mut state = State::new(vec![0.5; 5], &job(), moments(1.0));
        let momentum = vec![0.0, 0.0, 0.0, 0.0, 0.25];
        state.outer = Outer::restored(vec![0.5; 5], momentum, job().settings.outer);
        state.tokens = u64::MAX;
        state.digests = vec!["blake3:0".into(), state.outer.digest()];
        state.trained = Some(Trained {
            interval: (16, 32),
            answer: Said::Note { message: "m".into() },
            moments: moments(0.1),
        });
        state
    }

    fn nothing_yet() -> Moments {
        Moments::new(5, 5)
    }

    #[test]
    fn a_state_survives_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint/state.safetensors");
        let load = || State::load(&path, &job(), &nothing_yet()).unwrap();
        assert_eq!(load(), None);
        for trained in [state().trained, None] {
            let state = State { trained, ..state() };
            state.save(&path, &job()).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(load().unwrap(), state);
            state.save(&path, &job()).unwrap();
            assert!(
                fs::read(&path).unwrap() == bytes,
                "the same state is the same bytes"
            );
        }
    }

    #[test]
    fn any_bytes_give_a_state_or_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        state().save(&path, &job()).unwrap();
        let whole = fs::read(&path).unwrap();
        let load = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            State::load(&path, &job(), &nothing_yet())
        };
        for cut in 0..whole.len() {
            let error = load(&whole[..cut]).unwrap_err();
            assert!(matches!(error, Unusable::Damaged(_)), "cut at {cut}: {error}");
        }
        for i in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[i] ^= 1 << (i % 7);
            let _ = load(&flipped);
        }
        // One more parameter than the file has.
        let other = Moments::new(6, 6);
        fs::write(&path, &whole).unwrap();
        let error = State::load(&path, &job(), &other).unwrap_err().to_string();
        assert!(error.contains("shape [5], not [6]"), "{error}");
    }

    #[test]
    fn what_the_numbers_come_from_may_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        state().save(&path, &job()).unwrap();
        let check = |change: fn(&mut JobFile<Settings>), expected: &str| {
            let mut job = job();
            change(&mut job);
            let error = State::load(&path, &job, &nothing_yet())
                .err()
                .map(|e| e.to_string());
            assert!(error.unwrap_or_default().contains(expected), "{expected}");
        };
        check(
            |job| job.job = "job-8".into(),
            "belongs to job-7, and job.toml is job-8",
        );
        check(|job| job.rounds.samples = 32, "with other rounds");
        check(|job| job.settings.clip = 0.5, "with other settings");
        check(
            |job| drop(job.inputs.insert("train.tokens".into(), "blake3:1".into())),
            "with other inputs",
        );
        let renamed = JobFile {
            name: "other".into(),
            ..job()
        };
        assert!(State::load(&path, &renamed, &nothing_yet()).unwrap().is_some());
    }
}
