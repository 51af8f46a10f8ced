//! Runs: what people log of their tries, with the tools of their own. A run belongs to a project and to the person who
//! began it, and has a label; all of it is read by those who may read an artifact with that label that this person
//! has brought. Measured points are many, so they aren't in the log: `store` has them beside it, and the rules only
//! say who may add some.

pub(crate) mod rules;

pub use rules::check_key;

use crate::{ArtifactId, Digest, JobId, Label, PersonId, ProjectId, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A run, named by chance: 32 hexadecimal digits, so that a name tells nothing of other runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{32}$", "examples" = ["0123456789abcdef0123456789abcdef"]))]
pub struct RunId(pub [u8; 16]);

/// How far a run has come, by what its program says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It goes on.
    #[default]
    Running,
    /// It will begin.
    Scheduled,
    /// It ended as it should.
    Finished,
    /// It ended with an error.
    Failed,
    /// Somebody ended it.
    Killed,
}

/// What somebody logs of one try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The project that it belongs to.
    pub project: ProjectId,
    /// Who began it; nobody else adds to it.
    pub by: PersonId,
    /// What people call it; several may be called the same.
    pub name: String,
    /// How far it may travel, at least; see [`State::label_of_run`].
    pub label: Label,
    /// The job that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The project's artifacts that it uses; what it brings forth is made from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_from: Vec<Digest>,
    /// How far it has come.
    pub status: RunStatus,
    /// When it began, by its program's clock.
    pub started: Time,
    /// When it ended, by the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Since when it is put aside: it is listed only where that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Time>,
    /// What it was begun with; a parameter that has a value keeps it.
    pub params: BTreeMap<String, String>,
    /// What is said of it.
    pub tags: BTreeMap<String, String>,
    /// Its files by their paths, each an artifact of the project.
    pub files: BTreeMap<String, Digest>,
    /// How many bytes of parameters and tags were ever written to it.
    #[serde(default)]
    pub noted: u64,
}

/// Something to be done with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunCommand {
    /// Begin it.
    Begin {
        /// In which project.
        project: ProjectId,
        /// What people shall call it.
        name: String,
        /// When it began.
        started: Time,
        /// Its label; else that of the strictest job of the project that its person may read, or restricted.
        label: Option<Label>,
        /// The job that it is of.
        job: Option<JobId>,
        /// What it uses.
        made_from: Vec<Digest>,
        /// What is said of it.
        tags: BTreeMap<String, String>,
    },
    /// Add parameters and tags; points that are measured come beside this, and ask for the same permission.
    Note {
        /// New parameters.
        params: BTreeMap<String, String>,
        /// New tags, or other values for those that are there.
        tags: BTreeMap<String, String>,
    },
    /// Take a tag away.
    Untag(String),
    /// Tell how far it has come, or call it something else.
    Update {
        /// How far.
        status: Option<RunStatus>,
        /// When it ended.
        ended: Option<Time>,
        /// Its new name.
        name: Option<String>,
    },
    /// Make it more closed, with all its files.
    Restrict(Label),
    /// Keep a file of it; its bytes are in the store.
    File {
        /// Its path.
        path: String,
        /// Its bytes.
        digest: Digest,
        /// How many.
        bytes: u64,
    },
    /// Put it aside. Nothing of it is lost.
    Delete,
    /// Have it back.
    Restore,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in the commands")]
pub enum RunEvent {
    /// It is there.
    Began(Box<Run>),
    /// It has these parameters and tags besides what it had.
    Noted {
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        tags: BTreeMap<String, String>,
    },
    /// A tag is gone.
    Untagged { key: String },
    /// It has come so far, or is called so.
    Updated {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<RunStatus>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Time>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// It is more closed; its files follow.
    Restricted { label: Label },
    /// It has a file.
    Filed {
        path: String,
        digest: Digest,
        bytes: u64,
    },
    /// It is put aside.
    Deleted,
    /// It is back.
    Restored,
}

/// All runs, and what each project has of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// Runs by name; whoever searches them holds on to them without copying their texts.
    pub all: BTreeMap<RunId, Arc<Run>>,
    /// What projects have: the bounds are theirs.
    pub of: BTreeMap<ProjectId, OfProject>,
}

/// What a project has of runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfProject {
    /// Which.
    pub runs: BTreeSet<RunId>,
    /// How many bytes of parameters and tags were ever written to them.
    pub noted: u64,
    /// How many bytes of files were ever kept for them.
    pub bytes: u64,
}

impl Runs {
    /// A project's, in the order of their names.
    pub fn of_project(&self, project: &ProjectId) -> impl Iterator<Item = &Arc<Run>> {
        let of = self.of.get(project).into_iter().flat_map(|of| &of.runs);
        of.filter_map(|id| self.all.get(id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl State {
    /// How far a run may travel: never less strict than its job and what it uses, also when those became stricter later.
    pub fn label_of_run(&self, run: &Run) -> Label {
        let job = run.job.and_then(|job| self.jobs.get(&job)).map(|job| job.label);
        let used = run.made_from.iter().filter_map(|digest| {
            let id = ArtifactId {
                project: run.project.clone(),
                digest: *digest,
            };
            Some(self.artifacts.get(&id)?.label)
        });
        used.chain(job).fold(run.label, Label::max)
    }
}

pub(crate) fn apply(state: &mut State, id: RunId, event: &RunEvent, at: Time) {
    let runs = &mut state.runs;
    if let RunEvent::Began(run) = event {
        let of = runs.of.entry(run.project.clone()).or_default();
        of.runs.insert(id);
        of.noted += run.noted;
        runs.all.insert(id, Arc::new((**run).clone()));
        return;
    }
    let Some(run) = runs.all.get_mut(&id) else { return };
    let of = runs.of.entry(run.project.clone()).or_default();
    let run = Arc::make_mut(run);
    let written = rules::written(event);
    run.noted += written;
    of.noted += written;
    match event {
        RunEvent::Began(_) => {}
        RunEvent::Noted { params, tags } => {
            run.params.extend(params.clone());
            run.tags.extend(tags.clone());
        }
        RunEvent::Untagged { key } => {
            run.tags.remove(key);
        }
        RunEvent::Updated { status, ended, name } => {
            run.status = status.unwrap_or(run.status);
            run.ended = ended.or(run.ended);
            if let Some(name) = name {
                run.name.clone_from(name);
            }
        }
        RunEvent::Restricted { label } => run.label = run.label.max(*label),
        RunEvent::Filed { path, digest, bytes } => {
            of.bytes += bytes;
            run.files.insert(path.clone(), *digest);
        }
        RunEvent::Deleted => run.deleted = Some(at),
        RunEvent::Restored => run.deleted = None,
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&hex)
    }
}

impl FromStr for RunId {
    type Err = crate::BadId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let number = (text.len() == 32 && text.bytes().all(digit)).then(|| u128::from_str_radix(text, 16));
        match number {
            Some(Ok(number)) => Ok(Self(number.to_be_bytes())),
            _ => {
                let given = text.chars().take(80).collect();
                Err(crate::BadId::new("run", given, "32 of 0-9 and a-f"))
            }
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = crate::BadId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
        })
    }
}
