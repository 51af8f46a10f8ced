//! How a site and the program that trains talk: a folder, and JSON lines on standard input and output. Any
//! program in any language can be a job.
//!
//! ```text
//! job.toml       what to do: a JobFile
//! inputs/NAME    the files it reads
//! checkpoint/    the program's own; it survives a stop
//! updates/       one update a site and round
//! outer/         what all sites agree on, as it is kept for those who join later
//! outputs/       what comes out, with report.json: what the program says of itself at the end
//! metrics.jsonl  a line a step, and one a round that was applied
//! ```
//!
//! The site writes [`Order`]s, the program answers with [`Said`]. End of input means: stop at once; a program
//! never outlives its site.
//!
//! ```
//! use sync::Order;
//! let order: Order = Order::read(r#"{"do":"train","round":3,"first":1280,"end":1920}"#)?;
//! assert_eq!(order, Order::Train { round: 3, first: 1280, end: 1920, codec: None });
//! # Ok::<(), sync::contract::BadLine>(())
//! ```
//!
//! With an overlap, a round is trained while the one before it is not applied yet. A program goes on from its
//! own weights and lets [`crate::Local`] keep account of what it has sent and what has come back.

use crate::private::{Form, Summand, is_summand};
use crate::{Codec, Contribution, Scale, Update};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What `job.toml` says. The site writes it, the program reads it.
///
/// ```toml
/// name = "korean-small"
/// job = "job-7"
/// site = "seoul"
/// program = "language"
/// label = "restricted"
///
/// [inputs]
/// "train.tokens" = "blake3:..."
///
/// [rounds]
/// count = 12
/// samples = 640
/// fragments = 4
/// overlap = 1
/// codec = "int4"
///
/// [settings]
/// width = 192
/// ```
///
/// The site passes the settings on unread; a program puts a type of its own in their place:
///
/// ```
/// #[derive(Default, serde::Deserialize)]
/// #[serde(deny_unknown_fields, default)]
/// struct Settings { width: usize }
///
/// let text = r#"{
///     "name": "korean-small", "job": "job-7", "site": "seoul", "program": "language", "label": "open",
///     "inputs": {}, "rounds": {"count": 12, "samples": 640}, "settings": {"width": 192}
/// }"#; // JSON here, TOML on disk
/// let job: sync::contract::JobFile<Settings> = serde_json::from_str(text)?;
/// assert_eq!((job.rounds.count, job.settings.width), (12, 192));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFile<S = serde_json::Value> {
    /// The job's name for people.
    pub name: String,
    /// The job's number, as in `job-7`.
    pub job: String,
    /// The site this folder is at.
    pub site: String,
    /// The program.
    pub program: String,
    /// How far what comes out may travel.
    pub label: String,
    /// The digest of every file in `inputs/`, by its name.
    pub inputs: BTreeMap<String, String>,
    /// How the sites train together.
    pub rounds: Rounds,
    /// The program's own.
    #[serde(default)]
    pub settings: S,
}

/// How the sites train together, as far as a program needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// How many rounds, if every site's update comes in each. More may follow, for samples that were left over.
    pub count: u32,
    /// How many samples a site takes in a round.
    pub samples: u64,
    /// Into how many fragments the model is cut.
    #[serde(default = "one")]
    pub fragments: u32,
    /// How many rounds may be trained beyond the last one that is applied.
    #[serde(default)]
    pub overlap: u32,
    /// How updates are written, unless the order to train says otherwise.
    #[serde(default = "int8")]
    pub codec: Codec,
    /// In a private job, how far a weight may go in a round, in thousandths: updates are written for a sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<u32>,
}

impl Rounds {
    /// So many rounds of so many samples: the model whole, nothing overlapping, int8.
    pub const fn new(count: u32, samples: u64) -> Self {
        Self {
            count,
            samples,
            fragments: 1,
            overlap: 0,
            codec: Codec::Int8,
            clip: None,
        }
    }

    /// How the update of a round is to be written that was trained on samples `first..end`; `codec` is what the order
    /// to train says.
    pub fn form(&self, codec: Option<Codec>, (first, end): (u64, u64)) -> Form {
        let codec = codec.unwrap_or(self.codec);
        match self.clip {
            None => Form::Alone(codec),
            Some(clip) => Form::Summed(Summand {
                codec,
                clip,
                samples: end.saturating_sub(first),
                of: self.samples,
            }),
        }
    }

    /// The weights that `round` sends, of a model that is cut into `fragments`: one in turn, and from
    /// round `count - 1` on all, so that nothing that was learned is left at a site.
    ///
    /// ```
    /// let rounds = sync::contract::Rounds { fragments: 2, ..sync::contract::Rounds::new(6, 64) };
    /// let fragments = sync::fragments(&[4, 4], 2);
    /// let sent: Vec<_> = [0, 1, 2, 5, 6].map(|round| rounds.sends(round, &fragments)).into();
    /// assert_eq!(sent, [0..4, 4..8, 0..4, 0..8, 0..8]);
    /// ```
    pub fn sends(&self, round: u32, fragments: &[Range<usize>]) -> Range<usize> {
        match fragments.get(round as usize % fragments.len().max(1)) {
            Some(fragment) if round.saturating_add(1) < self.count => fragment.clone(),
            _ => 0..fragments.last().map_or(0, |last| last.end),
        }
    }
}

fn one() -> u32 {
    1
}

fn int8() -> Codec {
    Codec::Int8
}

/// From the site to the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Train on samples `first..end` of the data order and write an update.
    Train {
        /// Which round; counts from 0.
        round: u32,
        /// The first sample.
        first: u64,
        /// The sample after the last.
        end: u64,
        /// How the update is to be written; none stands for what [`Rounds::codec`] says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        codec: Option<Codec>,
    },
    /// A round is closed: apply these updates in this order. Asked again, it is answered again.
    Commit {
        /// Which round.
        round: u32,
        /// The updates that count; a round of none changes nothing that is agreed.
        updates: Vec<Accepted>,
    },
    /// Round `round` is the next to be applied, and its updates don't count yet: say what there is to be said of each.
    Inspect {
        /// Which round.
        round: u32,
        /// The updates that came, in site order. Their bytes may be anything.
        updates: Vec<Came>,
        /// What they are to be tried on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_out: Option<HeldOut>,
    },
    /// Write what all sites agree on after the last round that is applied, for those who join later. From
    /// every site these are the same bytes.
    Save {
        /// That round.
        round: u32,
    },
    /// Begin with what [`Order::Save`] wrote at another site: it takes the place of the rounds up to that one,
    /// and of everything of one's own.
    Restore {
        /// The last round that is in it.
        round: u32,
        /// Where it lies, from the job's folder.
        file: String,
        /// The digest of weights and outer momentum that is in the log.
        outer: String,
    },
    /// All rounds are applied, at least as many as `count`: write the results.
    Finish,
}

/// An update that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose.
    pub site: String,
    /// Its weight in the mean.
    pub tokens: u64,
    /// How much of it counts.
    #[serde(default, skip_serializing_if = "Scale::is_whole")]
    pub scale: Scale,
    /// Where it lies, from the job's folder.
    pub file: String,
}

impl Accepted {
    /// The updates of a round by their files, each of which `read` brings once: in a private job one tells what all come to.
    ///
    /// # Errors
    /// The first file that can't be read or is no update, and why.
    pub fn read<E: fmt::Display>(
        all: &[Self],
        read: impl Fn(&str) -> Result<Vec<u8>, E>,
    ) -> Result<BTreeMap<&str, Update>, (&str, String)> {
        let mut updates = BTreeMap::new();
        for Self { file, .. } in all {
            if !updates.contains_key(file.as_str()) {
                let bytes = read(file).map_err(|error| (file.as_str(), error.to_string()))?;
                let update = Update::parse(&bytes).map_err(|error| (file.as_str(), error.to_string()))?;
                updates.insert(file.as_str(), update);
            }
        }
        Ok(updates)
    }

    /// What each site has in the outer step, of the updates in their files.
    ///
    /// # Panics
    /// If one is missing there.
    pub fn contributions<'u>(all: &[Self], updates: &'u BTreeMap<&str, Update>) -> Vec<Contribution<'u>> {
        let contributions = all.iter().map(|accepted| Contribution {
            weight: accepted.tokens,
            scale: accepted.scale,
            update: &updates[accepted.file.as_str()],
        });
        contributions.collect()
    }
}

/// An update that has come and may not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Came {
    /// Whose.
    pub site: String,
    /// Where it lies, from the job's folder.
    pub file: String,
}

/// Samples that nobody trains on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The input that has them.
    pub input: String,
    /// How many, from the first on.
    pub samples: u64,
}

/// What there is to be said of an update. All of it is integers, which every reader of JSON takes for the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Whose.
    pub site: String,
    /// Its norm, as [`crate::Update::norm`] has it; none if its bytes are no update of this round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<u64>,
    /// Held-out loss of what is agreed with this update alone, in millionths of a nat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<i64>,
}

/// From the program to the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Said {
    /// Started, from a checkpoint or from the beginning; or what was to be restored was no good, and it stands
    /// where it stood.
    Ready {
        /// Rounds that are applied already.
        committed: u32,
        /// The digest of weights and outer momentum.
        outer: String,
        /// Nothing of its own was found: no weights beyond what is agreed, no moments.
        #[serde(default)]
        fresh: bool,
    },
    /// Something worth a line in the site's log.
    Note {
        /// What.
        message: String,
    },
    /// A step was taken.
    Progress {
        /// In which round.
        round: u32,
        /// Its number in the schedule.
        step: u64,
        /// Loss, nats a token.
        loss: f32,
        /// Tokens since the program started.
        tokens: u64,
        /// Speed of late.
        tokens_per_s: f32,
    },
    /// An update is written.
    Update {
        /// For which round.
        round: u32,
        /// Where, from the job's folder.
        file: String,
        /// Tokens it was trained on.
        tokens: u64,
        /// Steps it took.
        steps: u32,
        /// Mean loss, nats a token.
        loss: f32,
        /// Weights.
        parameters: u64,
    },
    /// A round's updates are inspected.
    Inspected {
        /// Of which round.
        round: u32,
        /// Held-out loss of what is agreed, in millionths of a nat; none if the program has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        /// Of each update, in their order.
        found: Vec<Found>,
    },
    /// The order to save is carried out.
    Saved {
        /// The last round that is in it.
        round: u32,
        /// Where it lies, from the job's folder.
        file: String,
    },
    /// A round is applied and safe in the checkpoint; or all rounds up to it are, by a restored one.
    Committed {
        /// Which.
        round: u32,
        /// The digest of weights and outer momentum.
        outer: String,
    },
    /// The results are written.
    Done {
        /// What and where.
        outputs: Vec<Written>,
    },
    /// It can't go on; it exits after saying so.
    Failed {
        /// Why.
        message: String,
    },
}

/// A file that came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// A name for it.
    pub name: String,
    /// Where it lies, from the job's folder.
    pub file: String,
    /// What it is: `model`, `tokenizer`, `report` or `metrics`.
    pub kind: String,
}

/// A line that is none of the contract's.
#[derive(Debug, thiserror::Error)]
#[error("a line that the contract doesn't know: {beginning:?}: {error}")]
pub struct BadLine {
    beginning: String,
    error: serde_json::Error,
}

impl Order {
    /// Reads one line.
    pub fn read(line: &str) -> Result<Self, BadLine> {
        read(line)
    }

    /// As one line, with its end.
    pub fn line(&self) -> String {
        line(self)
    }
}

impl Said {
    /// Reads one line.
    pub fn read(line: &str) -> Result<Self, BadLine> {
        read(line)
    }

    /// As one line, with its end.
    pub fn line(&self) -> String {
        line(self)
    }
}

/// Where things lie in a job's folder.
#[derive(Debug, Clone)]
pub struct JobFolder {
    root: PathBuf,
}

impl JobFolder {
    /// The folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to do.
    pub fn job(&self) -> PathBuf {
        self.root.join("job.toml")
    }

    /// A file to read.
    pub fn input(&self, name: &str) -> PathBuf {
        self.root.join("inputs").join(name)
    }

    /// The program's own.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// A line a step.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// A path that the contract tells from the folder.
    pub fn file(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The file name of what all agree on after `round`, from the folder.
    pub fn outer_file(round: u32) -> String {
        format!("outer/{round:06}.safetensors")
    }

    /// The file name of an update, from the folder.
    pub fn update_file(round: u32, site: &str) -> String {
        format!("updates/{round:06}-{site}.update")
    }

    /// That of an update under masks, as it travels in a private job.
    pub fn masked_file(round: u32, site: &str) -> String {
        format!("updates/{round:06}-{site}.masked")
    }

    /// That of what a round's updates come to in a private job.
    pub fn sum_file(round: u32) -> String {
        format!("updates/{round:06}-all.sum")
    }

    /// Whether a program has written all of an update: a site takes nothing else for one.
    pub fn is_whole(bytes: &[u8]) -> bool {
        Update::parse(bytes).is_ok() || is_summand(bytes)
    }
}

fn read<T: DeserializeOwned>(line: &str) -> Result<T, BadLine> {
    let beginning = || line.chars().take(60).collect();
    serde_json::from_str(line).map_err(|error| BadLine {
        beginning: beginning(),
        error,
    })
}

fn line(message: &impl Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("messages are plain data");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_lines() {
        let orders = [
            Order::Train {
                round: 1,
                first: 2,
                end: 3,
                codec: Some(Codec::Sparse),
            },
            Order::Commit {
                round: 1,
                updates: vec![Accepted {
                    site: "a".into(),
                    tokens: 5,
                    scale: 7.try_into().unwrap(),
                    file: "updates/000001-a.update".into(),
                }],
            },
            Order::Inspect {
                round: 1,
                updates: vec![Came {
                    site: "a".into(),
                    file: "updates/000001-a.update".into(),
                }],
                held_out: Some(HeldOut {
                    input: "valid.tokens".into(),
                    samples: 64,
                }),
            },
            Order::Save { round: 1 },
            Order::Restore {
                round: 1,
                file: JobFolder::outer_file(1),
                outer: "blake3:0".into(),
            },
            Order::Finish,
        ];
        for order in orders {
            assert_eq!(Order::read(&order.line()).unwrap(), order);
        }
        let said = Said::Done {
            outputs: vec![Written {
                name: "m".into(),
                file: "outputs/m".into(),
                kind: "model".into(),
            }],
        };
        assert_eq!(Said::read(&said.line()).unwrap(), said);
        let said = Said::Inspected {
            round: 1,
            before: Some(5_000_000),
            found: vec![Found {
                site: "a".into(),
                norm: None,
                loss: Some(i64::MAX),
            }],
        };
        assert_eq!(Said::read(&said.line()).unwrap(), said);
        // As it was before updates were scaled.
        let whole: Accepted = serde_json::from_str(r#"{"site":"a","tokens":5,"file":"f"}"#).unwrap();
        assert_eq!(whole.scale, Scale::WHOLE);
        let more = r#"{"site":"a","tokens":5,"scale":65537,"file":"f"}"#;
        assert!(serde_json::from_str::<Accepted>(more).is_err());
    }

    #[test]
    fn a_strange_line_is_quoted() {
        for line in [
            "",
            "hello from a library that prints",
            "{\"do\":\"dance\"}",
            "{\"do\":\"train\"}",
        ] {
            let error = Order::read(line).unwrap_err().to_string();
            assert!(
                error.contains("the contract doesn't know")
                    && error.contains(&line.chars().take(5).collect::<String>().replace('"', "\\\"")),
                "{error}"
            );
        }
    }
}
