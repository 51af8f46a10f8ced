//! What a site keeps between rounds, as khub's own programs do: one file, `checkpoint/state.safetensors`,
//! replaced whole. The optimiser's state is PyTorch's; it lies in files of its own, and this one says which of
//! them count.

use nn::{Checkpoint, CheckpointError};
use program::{Agreed, AgreedWords};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use sync::contract::JobFile;
use sync::{Contribution, Fate, Local, OuterConfig, OuterError, Own, Said, Sent};

/// Where a site is.
#[derive(Debug)]
pub(crate) struct State {
    /// What all sites agree on.
    pub(crate) agreed: Agreed,
    /// This site's own weights, and its updates that are under way.
    pub(crate) local: Local,
    /// The name of the optimiser's state; none before the first step.
    pub(crate) moments: Option<String>,
    /// What was trained for each update that is under way.
    pub(crate) trained: Vec<Trained>,
}

/// A round's training whose commit is to come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trained {
    /// What was asked for.
    pub(crate) interval: (u64, u64),
    /// What was answered: a [`Said::Update`].
    pub(crate) answer: Said,
    /// The optimiser's state before it.
    pub(crate) before: Option<String>,
}

/// A job and the model that is trained in it.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) job: JobFile,
    pub(crate) outer: OuterConfig,
    /// Every tensor's name and shape.
    pub(crate) layout: String,
    /// Of all tensors together.
    pub(crate) weights: usize,
}

/// All of a state but its numbers.
#[derive(Serialize, Deserialize)]
struct Words {
    job: JobFile,
    layout: String,
    agreed: AgreedWords,
    /// The digest of the site's own numbers.
    own: String,
    moments: Option<String>,
    /// Round, range and words of each.
    trained: Vec<(u32, Range<usize>, Trained)>,
}

/// Why a state can't be gone on from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its bytes are not what was written; the rounds have to be replayed.
    #[error("{0}")]
    Damaged(String),
    /// It belongs to something else, and nobody should overwrite it; or it can't be reached.
    #[error("{0}")]
    Kept(String),
}

/// The key of the words in the file.
const WORDS: &str = "state";

impl State {
    /// Nothing of one's own.
    pub(crate) fn new(agreed: Agreed, kind: &Kind) -> Self {
        Self {
            local: Local::new(&agreed.outer, kind.job.rounds.codec),
            agreed,
            moments: None,
            trained: Vec::new(),
        }
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
    pub(crate) fn save(&self, path: &Path, kind: &Kind) -> Result<(), CheckpointError> {
        let (own, sent) = self.local.parts();
        let trained = sent.iter().zip(&self.trained);
        let mut checkpoint = Checkpoint::default();
        push_own(&mut checkpoint, "own", own);
        for (i, sent) in sent.iter().enumerate() {
            checkpoint.push(
                &format!("sent.{i}.weights"),
                &[sent.weights.len()],
                sent.weights.clone(),
            );
            push_own(&mut checkpoint, &format!("sent.{i}.before"), &sent.before);
        }
        let words = Words {
            job: kind.job.clone(),
            layout: kind.layout.clone(),
            agreed: self.agreed.words(),
            own: digest_of_own(&checkpoint),
            moments: self.moments.clone(),
            trained: trained
                .map(|(sent, trained)| (sent.round, sent.range.clone(), trained.clone()))
                .collect(),
        };
        let words = serde_json::to_string(&words).expect("words are plain data");
        checkpoint.metadata.insert(WORDS.into(), words);
        self.agreed.push(&mut checkpoint);
        checkpoint.write(path)
    }

    /// Reads what [`State::save`] wrote for the same job and model. None if there is no file.
    pub(crate) fn load(path: &Path, kind: &Kind) -> Result<Option<Self>, Unusable> {
        let checkpoint = match Checkpoint::read(path) {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::File { error, .. }) if error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error @ CheckpointError::File { .. }) => return Err(Unusable::Kept(error.to_string())),
            Err(error) => return Err(Unusable::Damaged(error.to_string())),
        };
        let path = path.display();
        let damaged = |what: String| Unusable::Damaged(format!("checkpoint {path} is damaged: {what}"));
        let words = checkpoint.metadata(WORDS).map_err(|e| damaged(e.to_string()))?;
        let words: Words = serde_json::from_str(words).map_err(|e| damaged(e.to_string()))?;
        let (theirs, ours) = (&words.job, &kind.job);
        let parts = [
            ("job number", theirs.job == ours.job),
            ("inputs", theirs.inputs == ours.inputs),
            ("rounds", theirs.rounds == ours.rounds),
            ("settings", theirs.settings == ours.settings),
            ("tensors", words.layout == kind.layout),
        ];
        if let Some((part, _)) = parts.iter().find(|(_, same)| !same) {
            return Err(Unusable::Kept(format!(
                "checkpoint {path} of {} was made with another {part} than {} has here; give the job a folder of \
                 its own, or remove checkpoint/ to start it over",
                theirs.job, ours.job
            )));
        }
        Self::restored(&checkpoint, words, kind)
            .map(Some)
            .map_err(damaged)
    }

    fn restored(checkpoint: &Checkpoint, words: Words, kind: &Kind) -> Result<Self, String> {
        if digest_of_own(checkpoint) != words.own {
            return Err("the site's own numbers are not the ones whose digest it tells".into());
        }
        let agreed = Agreed::restored(checkpoint, words.agreed, kind.weights, kind.outer)?;
        let own = read_own(checkpoint, "own", kind)?;
        let (mut sent, mut trained) = (Vec::new(), Vec::new());
        for (i, (round, range, words)) in words.trained.into_iter().enumerate() {
            if range.start > range.end || range.end > kind.weights {
                return Err(format!("an update of weights {range:?} of {}", kind.weights));
            }
            sent.push(Sent {
                round,
                weights: tensor(checkpoint, &format!("sent.{i}.weights"), range.len())?,
                range,
                before: read_own(checkpoint, &format!("sent.{i}.before"), kind)?,
            });
            trained.push(words);
        }
        Ok(Self {
            agreed,
            local: Local::restored(own, sent),
            moments: words.moments,
            trained,
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

fn push_own(checkpoint: &mut Checkpoint, name: &str, own: &Own) {
    checkpoint.push(&format!("{name}.params"), &[own.params.len()], own.params.clone());
    // A codec that tells all has no residual.
    if !own.residual.is_empty() {
        checkpoint.push(
            &format!("{name}.residual"),
            &[own.residual.len()],
            own.residual.clone(),
        );
    }
}

fn read_own(checkpoint: &Checkpoint, name: &str, kind: &Kind) -> Result<Own, String> {
    let residual = Local::residual(kind.job.rounds.codec, kind.weights);
    Ok(Own {
        params: tensor(checkpoint, &format!("{name}.params"), kind.weights)?,
        residual: match residual {
            0 => Vec::new(),
            residual => tensor(checkpoint, &format!("{name}.residual"), residual)?,
        },
    })
}

fn tensor(checkpoint: &Checkpoint, name: &str, len: usize) -> Result<Vec<f32>, String> {
    let values = checkpoint.tensor(name, &[len]).map_err(|e| e.to_string());
    values.map(<[f32]>::to_vec)
}
