//! Models under a name: a project's files, each an artifact with its own label, put together as revisions that
//! never change. What a name may be read for is decided file by file, so nothing here is about who may see it.

use crate::{Actor, ArtifactId, Digest, Event, ModelId, ProjectId, Refusal, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is to be published: all files of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Publication {
    /// Under which name.
    pub model: ModelId,
    /// The project that has the files.
    pub project: ProjectId,
    /// Paths, as `config.json` or `onnx/model.onnx`, and the artifacts under them.
    pub files: BTreeMap<String, Digest>,
}

/// One state of a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Covers the files and all revisions before.
    pub commit: Digest,
    /// When it was published.
    pub at: Time,
    /// Paths and artifacts.
    pub files: BTreeMap<String, Digest>,
}

/// A model that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The project that has its files.
    pub project: ProjectId,
    /// Oldest first; never empty.
    pub revisions: Vec<Revision>,
}

/// A model's files are few; this keeps every listing of them small.
const MOST_FILES: usize = 1_000;

impl Published {
    /// The revision that `name` means: `main` is the newest, anything else the beginning of a commit in hex, of
    /// seven digits at least.
    pub fn revision(&self, name: &str) -> Option<&Revision> {
        if name == "main" {
            return self.revisions.last();
        }
        let hex = name.len() >= 7 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let mut newest_first = self.revisions.iter().rev();
        newest_first.find(|revision| hex && revision.commit.hex().starts_with(name))
    }
}

/// What comes of `publication`: an event, or none if it is what is there already.
pub(crate) fn publish(
    state: &State,
    actor: &Actor,
    publication: &Publication,
) -> Result<Vec<Event>, Refusal> {
    let Publication {
        model,
        project,
        files,
    } = publication;
    let found = state.project_for(actor, project)?;
    if found.organisation != model.organisation {
        return Err(Refusal::invalid(format!(
            "project {project} is of {}, so its models can't be under {}",
            found.organisation, model.organisation
        )));
    }
    let known = state.models.get(model);
    if let Some(other) = known.filter(|known| known.project != *project) {
        return Err(
            Refusal::conflict(format!("project {} has a model {model}", other.project))
                .hint("choose another name"),
        );
    }
    if files.is_empty() || files.len() > MOST_FILES {
        return Err(Refusal::invalid(format!(
            "a model has 1 to {MOST_FILES} files, not {}",
            files.len()
        )));
    }
    for (path, digest) in files {
        check_path(path)?;
        let id = ArtifactId {
            project: project.clone(),
            digest: *digest,
        };
        if !state.artifacts.contains_key(&id) {
            return Err(Refusal::not_found("artifact", &id)
                .hint("`khub publish` uploads a folder's files before it publishes them"));
        }
    }
    let last = known.and_then(|known| known.revisions.last());
    if last.is_some_and(|last| last.files == *files) {
        return Ok(Vec::new());
    }
    let parent = last.map(|last| last.commit);
    let covered = serde_json::to_vec(&(model, parent, files)).expect("names and digests are plain data");
    Ok(vec![Event::Published {
        publication: publication.clone(),
        commit: Digest::of(&covered),
    }])
}

pub(crate) fn apply(state: &mut State, publication: &Publication, commit: Digest, at: Time) {
    let model = state.models.entry(publication.model.clone());
    let model = model.or_insert_with(|| Published {
        project: publication.project.clone(),
        revisions: Vec::new(),
    });
    model.revisions.push(Revision {
        commit,
        at,
        files: publication.files.clone(),
    });
}

/// A path that is the same file on any system, and below the folder it is fetched to.
fn check_path(path: &str) -> Result<(), Refusal> {
    let plain = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty()
            && !part.starts_with('.')
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+'))
    };
    if path.len() <= 200 && path.split('/').all(plain) {
        return Ok(());
    }
    Err(
        Refusal::invalid(format!("{path:?} can't be the path of a model's file")).hint(
            "letters, digits and . - _ + in each part, no dot in front, parts apart by /, 200 bytes at most",
        ),
    )
}
