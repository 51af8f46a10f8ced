//! What a site keeps between rounds, so that a stop at any moment costs at most the round it was in.
//!
//! One file, `checkpoint/state.safetensors`, replaced whole. It holds what all sites agree on (the weights,
//! the outer momentum, every round's digest), what is this site's own (its weights, what its codec could not
//! tell, the optimiser's moments), and for each update that is under way what there was before it. The words
//! about them are one JSON text.
//!
//! What all agree on can also be kept alone, for those who join later: `outer.params` and `outer.momentum` as
//! flat tensors and the words about them, the same bytes from every site.

use nn::{Checkpoint, CheckpointError};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use sync::contract::JobFile;
use sync::{Codec, Contribution, Fate, Local, Outer, OuterConfig, OuterError, Own, Said, Sent};
use train::Moments;

/// Where a site is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// What all sites agree on.
    pub(crate) agreed: Agreed,
    /// This site's own weights, and its updates that are under way.
    pub(crate) local: Local,
    /// This site's moments.
    pub(crate) moments: Moments,
    /// What was trained for each update that is under way.
    pub(crate) trained: Vec<Trained>,
}

/// What all sites agree on.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreed {
    /// Weights and outer momentum.
    pub outer: Outer,
    /// The digest after each round that is applied.
    pub digests: Vec<String>,
    /// Tokens of all updates that are applied, of every site.
    pub tokens: u64,
}

/// A round's training whose update is written and whose commit is to come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trained {
    /// What was asked for.
    pub(crate) interval: (u64, u64),
    /// What was answered: a [`Said::Update`].
    pub(crate) answer: Said,
    /// The moments before it.
    pub(crate) before: Moments,
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
    job: JobFile,
    agreed: AgreedWords,
    /// The digest of all that is the site's own.
    own: String,
    adamw_step: u64,
    trained: Vec<TrainedWords>,
}

/// All of an [`Agreed`] but its numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgreedWords {
    outer: String,
    digests: Vec<String>,
    tokens: u64,
}

#[derive(Serialize, Deserialize)]
struct TrainedWords {
    round: u32,
    range: Range<usize>,
    interval: (u64, u64),
    answer: Said,
    adamw_step: u64,
}

/// The key of the words in the file. One key, because the file keeps several in no order.
const WORDS: &str = "state";

impl State {
    /// Before the first round, or after what others have agreed on: nothing of one's own. `moments` are of
    /// nothing yet.
    pub(crate) fn new(agreed: Agreed, codec: Codec, moments: Moments) -> Self {
        Self {
            local: Local::new(&agreed.outer, codec),
            agreed,
            moments,
            trained: Vec::new(),
        }
    }

    /// Rounds that are applied.
    pub(crate) fn committed(&self) -> u32 {
        self.agreed.committed()
    }

    /// Takes back the update at `place` and all after it.
    pub(crate) fn undo(&mut self, place: usize) {
        self.local.undo(place);
        if let Some(first) = self.trained.drain(place..).next() {
            self.moments = first.before;
        }
    }

    /// Applies a round; `counts` says whether this site's update is in it. On an error nothing has changed.
    pub(crate) fn apply(
        &mut self,
        round: u32,
        range: Range<usize>,
        updates: &[Contribution<'_>],
        counts: bool,
    ) -> Result<(), OuterError> {
        let agreed = &mut self.agreed;
        match self
            .local
            .apply(&mut agreed.outer, round, range, updates, counts)?
        {
            Fate::Absent => {}
            Fate::Counted(place) => drop(self.trained.remove(place)),
            Fate::Undone(place) => self.undo(place),
        }
        let agreed = &mut self.agreed;
        agreed.digests.push(agreed.outer.digest());
        agreed.tokens += updates.iter().map(|update| update.weight).sum::<u64>();
        Ok(())
    }

    /// Writes it, all or nothing.
    pub(crate) fn save(&self, path: &Path, job: &JobFile) -> Result<(), CheckpointError> {
        let (own, sent) = self.local.parts();
        let mut checkpoint = Checkpoint::default();
        self.agreed.push(&mut checkpoint);
        push_own(&mut checkpoint, "own", own, &self.moments);
        for (i, (trained, sent)) in self.trained.iter().zip(sent).enumerate() {
            push(&mut checkpoint, &format!("sent.{i}.weights"), &sent.weights);
            let before = format!("sent.{i}.before");
            push_own(&mut checkpoint, &before, &sent.before, &trained.before);
        }
        let trained = self.trained.iter().zip(sent);
        let words = Words {
            job: job.clone(),
            agreed: self.agreed.words(),
            own: digest_of_own(&checkpoint),
            adamw_step: self.moments.step,
            trained: trained
                .map(|(trained, sent)| TrainedWords {
                    round: sent.round,
                    range: sent.range.clone(),
                    interval: trained.interval,
                    answer: trained.answer.clone(),
                    adamw_step: trained.before.step,
                })
                .collect(),
        };
        let words = serde_json::to_string(&words).expect("words are plain data");
        checkpoint.metadata.insert(WORDS.into(), words);
        checkpoint.write(path)
    }

    /// Reads what [`State::save`] wrote for the same job; `new` is the moments of nothing yet. None if there
    /// is no file.
    pub(crate) fn load(
        path: &Path,
        job: &JobFile,
        config: OuterConfig,
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
        let state = Self::restored(&checkpoint, words, config, new).map_err(|e| damaged(e.to_string()))?;
        Ok(Some(state))
    }

    fn restored(
        checkpoint: &Checkpoint,
        words: Words,
        config: OuterConfig,
        new: &Moments,
    ) -> Result<Self, String> {
        let all = new.m.len();
        let codec = words.job.rounds.codec;
        if digest_of_own(checkpoint) != words.own {
            return Err("the site's own numbers are not the ones whose digest it tells".into());
        }
        let agreed = Agreed::restored(checkpoint, words.agreed, all, config)?;
        let part = |name: &str, step: u64| read_own(checkpoint, name, codec, new, step);
        let (own, moments) = part("own", words.adamw_step).map_err(|e| e.to_string())?;
        let (mut sent, mut trained) = (Vec::new(), Vec::new());
        for (i, words) in words.trained.into_iter().enumerate() {
            let range = words.range;
            if range.start > range.end || range.end > all {
                return Err(format!(
                    "an update of weights {}..{} of {all}",
                    range.start, range.end
                ));
            }
            let name = format!("sent.{i}");
            let weights = tensor(checkpoint, &format!("{name}.weights"), range.len());
            let before = part(&format!("{name}.before"), words.adamw_step);
            let (before, moments) = before.map_err(|e| e.to_string())?;
            sent.push(Sent {
                round: words.round,
                range,
                weights: weights.map_err(|e| e.to_string())?,
                before,
            });
            trained.push(Trained {
                interval: words.interval,
                answer: words.answer,
                before: moments,
            });
        }
        Ok(Self {
            agreed,
            local: Local::restored(own, sent),
            moments,
            trained,
        })
    }
}

impl Agreed {
    /// Before the first round.
    pub fn new(params: Vec<f32>, config: OuterConfig) -> Self {
        Self {
            outer: Outer::new(params, config),
            digests: Vec::new(),
            tokens: 0,
        }
    }

    /// Rounds that are applied.
    pub fn committed(&self) -> u32 {
        u32::try_from(self.digests.len()).expect("rounds are counted in 32 bits")
    }

    /// Writes it for those who join later.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let mut checkpoint = Checkpoint::default();
        let words = serde_json::to_string(&self.words()).expect("words are plain data");
        checkpoint.metadata.insert(WORDS.into(), words);
        self.push(&mut checkpoint);
        checkpoint.write(path)
    }

    /// Reads what [`Agreed::write`] wrote after `round`; `outer` is the digest that the log has of it.
    pub fn read(
        path: &Path,
        round: u32,
        outer: &str,
        params: usize,
        config: OuterConfig,
    ) -> Result<Self, String> {
        let checkpoint = Checkpoint::read(path).map_err(|e| e.to_string())?;
        let words = checkpoint.metadata(WORDS).map_err(|e| e.to_string())?;
        let words: AgreedWords = serde_json::from_str(words).map_err(|e| e.to_string())?;
        let agreed = Self::restored(&checkpoint, words, params, config)?;
        if agreed.digests.last().map(String::as_str) != Some(outer)
            || agreed.digests.len() != round as usize + 1
        {
            return Err(format!(
                "it is not what the log has of round {round}, which is {outer}"
            ));
        }
        Ok(agreed)
    }

    /// The words to keep in a larger checkpoint.
    pub fn words(&self) -> AgreedWords {
        AgreedWords {
            outer: self.outer.digest(),
            digests: self.digests.clone(),
            tokens: self.tokens,
        }
    }

    /// Puts the numbers into a larger checkpoint.
    pub fn push(&self, checkpoint: &mut Checkpoint) {
        push(checkpoint, "outer.params", self.outer.params());
        push(checkpoint, "outer.momentum", self.outer.momentum());
    }

    /// What was put into a larger checkpoint, if it is whole.
    pub fn restored(
        checkpoint: &Checkpoint,
        words: AgreedWords,
        params: usize,
        config: OuterConfig,
    ) -> Result<Self, String> {
        let tensor = |name: &str| tensor(checkpoint, name, params).map_err(|e| e.to_string());
        let outer = Outer::restored(tensor("outer.params")?, tensor("outer.momentum")?, config);
        let last = words.digests.last().unwrap_or(&words.outer);
        if outer.digest() != words.outer || *last != words.outer {
            return Err("its weights are not the ones whose digest it tells".into());
        }
        Ok(Self {
            outer,
            digests: words.digests,
            tokens: words.tokens,
        })
    }
}

/// Of everything that not all sites agree on.
fn digest_of_own(checkpoint: &Checkpoint) -> String {
    let tensors = checkpoint.tensors.iter();
    let mut own: Vec<_> = tensors.filter(|(name, ..)| !name.starts_with("outer.")).collect();
    own.sort_by(|(a, ..), (b, ..)| a.cmp(b)); // a file has an order of its own
    sync::local::digest(own.iter().map(|(.., values)| values.as_slice()))
}

fn push(checkpoint: &mut Checkpoint, name: &str, values: &[f32]) {
    // A codec that tells all has no residual.
    if !values.is_empty() {
        checkpoint.push(name, &[values.len()], values.to_vec());
    }
}

fn push_own(checkpoint: &mut Checkpoint, name: &str, own: &Own, moments: &Moments) {
    push(checkpoint, &format!("{name}.params"), &own.params);
    push(checkpoint, &format!("{name}.residual"), &own.residual);
    push(checkpoint, &format!("{name}.m"), &moments.m);
    push(checkpoint, &format!("{name}.v"), &moments.v);
}

fn read_own(
    checkpoint: &Checkpoint,
    name: &str,
    codec: Codec,
    new: &Moments,
    step: u64,
) -> Result<(Own, Moments), CheckpointError> {
    let all = new.m.len();
    let tensor = |part: &str, len: usize| tensor(checkpoint, &format!("{name}.{part}"), len);
    let own = Own {
        params: tensor("params", all)?,
        residual: tensor("residual", Local::residual(codec, all))?,
    };
    let moments = Moments {
        m: tensor("m", all)?,
        v: tensor("v", new.v.len())?,
        step,
    };
    Ok((own, moments))
}

fn tensor(checkpoint: &Checkpoint, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
    if len == 0 {
        return Ok(Vec::new());
    }
    checkpoint.tensor(name, &[len]).map(<[f32]>::to_vec)
}

/// The name, the site and the label may change; what the numbers come from may not.
fn check_job(path: &Path, theirs: &JobFile, ours: &JobFile) -> Result<(), Unusable> {
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

    fn job() -> JobFile {
        JobFile {
            name: "n".into(),
            job: "job-7".into(),
            site: "seoul".into(),
            program: "language".into(),
            label: "open".into(),
            inputs: BTreeMap::new(),
            rounds: Rounds::new(3, 16),
            settings: serde_json::json!({"clip": 1.0}),
        }
    }

    /// In the middle of a job whose updates overlap.
    fn state() -> State {
        let moments = |x: f32| Moments {
            m: vec![x; 5],
            v: vec![-x; 5],
            step: 4,
        };
        let momentum = vec![0.0, 0.0, 0.0, 0.0, 0.25];
        let outer = Outer::restored(vec![0.5; 5], momentum, OuterConfig::default());
        let agreed = Agreed {
            digests: vec!["blake3:0".into(), outer.digest()],
            outer,
            tokens: u64::MAX,
        };
        let mut state = State::new(agreed, Codec::Int8, moments(1.0));
        for (round, range) in [(2, 0..3), (3, 3..5)] {
            let outer = &state.agreed.outer;
            state
                .local
                .send(outer, round, range, vec![0.3 / round as f32; 5], Codec::Int8)
                .unwrap();
            state.trained.push(Trained {
                interval: (16, 32),
                answer: Said::Note { message: "m".into() },
                before: moments(0.1),
            });
        }
        state
    }

    fn open(path: &Path, job: &JobFile) -> Result<Option<State>, Unusable> {
        State::load(path, job, OuterConfig::default(), &Moments::new(5, 5))
    }

    #[test]
    fn a_state_survives_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint/state.safetensors");
        let load = || open(&path, &job()).unwrap();
        assert_eq!(load(), None);
        let mut nothing_sent = state();
        nothing_sent.undo(0);
        for state in [state(), nothing_sent] {
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
            open(&path, &job())
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
        // What all agree on is for anybody, so it is looked at as closely.
        let agreed = dir.path().join("outer.safetensors");
        let read = |bytes: &[u8], outer: &str| {
            fs::write(&agreed, bytes).unwrap();
            Agreed::read(&agreed, 1, outer, 5, OuterConfig::default())
        };
        state().agreed.write(&agreed).unwrap();
        let bytes = fs::read(&agreed).unwrap();
        let outer = state().agreed.outer.digest();
        assert_eq!(read(&bytes, &outer), Ok(state().agreed));
        assert!(
            read(&bytes, "blake3:0")
                .unwrap_err()
                .contains("not what the log has of round 1")
        );
        for i in 0..bytes.len() {
            assert!(read(&bytes[..i], &outer).is_err());
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << (i % 7);
            let _ = read(&flipped, &outer);
        }
        // One more parameter than the file has.
        let other = Moments::new(6, 6);
        fs::write(&path, &whole).unwrap();
        let error = State::load(&path, &job(), OuterConfig::default(), &other)
            .unwrap_err()
            .to_string();
        assert!(error.contains("shape [5], not [6]"), "{error}");
    }

    #[test]
    fn what_the_numbers_come_from_may_not_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        state().save(&path, &job()).unwrap();
        let check = |change: fn(&mut JobFile), expected: &str| {
            let mut job = job();
            change(&mut job);
            let error = open(&path, &job).err().map(|e| e.to_string());
            assert!(error.unwrap_or_default().contains(expected), "{expected}");
        };
        check(
            |job| job.job = "job-8".into(),
            "belongs to job-7, and job.toml is job-8",
        );
        check(|job| job.rounds.samples = 32, "with other rounds");
        check(
            |job| job.settings = serde_json::json!({"clip": 0.5}),
            "with other settings",
        );
        check(
            |job| drop(job.inputs.insert("train.tokens".into(), "blake3:1".into())),
            "with other inputs",
        );
        let renamed = JobFile {
            name: "other".into(),
            ..job()
        };
        assert!(open(&path, &renamed).unwrap().is_some());
    }
}
