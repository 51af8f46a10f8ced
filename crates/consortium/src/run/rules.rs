//! What may be done with a run, and by whom. Whoever may not read one hears what they would hear if it weren't there.

use super::{Run, RunCommand, RunEvent, RunId, RunStatus};
use crate::decide::{check_name, find, keeping, strictest};
use crate::policy::Resource;
use crate::{
    Action, Actor, Artifact, ArtifactId, ArtifactKind, Digest, Event, JobId, Label, PersonId, ProjectId,
    Refusal, Sight, State, Time,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Characters of a key, of a parameter's value and of a tag's: as MLflow's own server has them.
const LONGEST_KEY: usize = 250;
const LONGEST_PARAM: usize = 6_000;
const LONGEST_TAG: usize = 8_000;
const LONGEST_NAME: usize = 500;
const LONGEST_PATH: usize = 500;

/// State is in memory and the log is for ever, so nobody fills either: bytes of parameters and tags that are ever
/// written to a run and to a project's runs together.
const NOTED_OF_RUN: u64 = 1 << 20;
const NOTED_OF_PROJECT: u64 = 64 << 20;
const RUNS_OF_PROJECT: usize = 20_000;
const FILES_OF_RUN: usize = 1_000;
const FILE_BYTES_OF_PROJECT: u64 = 256 << 30;
/// What an event costs besides its texts, in bytes.
const SMALL: u64 = 64;

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    id: RunId,
    command: &RunCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    if let RunCommand::Begin { .. } = command {
        return begin(state, actor, id, command);
    }
    let run = own(state, actor, id)?;
    if run.deleted.is_some() && !matches!(command, RunCommand::Delete | RunCommand::Restore) {
        let why = format!("run {id} is deleted, so nothing is added to it");
        return Err(Refusal::conflict(why).hint("restore it first"));
    }
    let event = match command {
        RunCommand::Begin { .. } => None,
        RunCommand::Note { params, tags } => note(run, params, tags)?,
        RunCommand::Untag(key) => Some(untag(run, key)?),
        RunCommand::Update { status, ended, name } => update(run, *status, *ended, name.as_deref(), now)?,
        RunCommand::Delete => run.deleted.is_none().then_some(RunEvent::Deleted),
        RunCommand::Restore => run.deleted.is_some().then_some(RunEvent::Restored),
        RunCommand::Restrict(label) => return restrict(state, actor, run, *label),
        RunCommand::File { path, digest, bytes } => return file(state, actor, run, path, *digest, *bytes),
    };
    let Some(event) = event else { return Ok(Vec::new()) };
    fits(state, run, written(&event))?;
    Ok(vec![Event::Run(id, event)])
}

impl State {
    /// The run, if `actor` may read it; else it isn't there.
    pub fn run_for(&self, actor: &Actor, id: RunId) -> Result<&Run, Refusal> {
        let run = self.runs.all.get(&id).map(Arc::as_ref);
        let run = run.filter(|run| self.permit(actor, Action::Read, &Resource::Run(run)).is_ok());
        run.ok_or_else(|| Refusal::not_found("run", id).hint("`khub runs list` lists those you may read"))
    }
}

/// The run, if `actor` has begun it and still works in its project.
fn own<'a>(state: &'a State, actor: &Actor, id: RunId) -> Result<&'a Run, Refusal> {
    let run = state.run_for(actor, id)?;
    if *actor != Actor::Person(run.by.clone()) {
        let why = format!("only {}, who has begun run {id}, may change it", run.by);
        return Err(Refusal::forbidden(why, Vec::new()).hint("begin a run of your own"));
    }
    let project = find(&state.projects, "project", &run.project)?;
    state.permit(actor, Action::Contribute, &Resource::Project(project))?;
    Ok(run)
}

fn begin(state: &State, actor: &Actor, id: RunId, command: &RunCommand) -> Result<Vec<Event>, Refusal> {
    let RunCommand::Begin {
        project,
        name,
        started,
        label,
        job,
        made_from,
        tags,
    } = command
    else {
        return Ok(Vec::new());
    };
    let project = state.project_for(actor, project)?;
    let Actor::Person(person) = actor else {
        return Err(Refusal::invalid(format!("{actor} can't begin a run; people do")));
    };
    if state.runs.all.contains_key(&id) {
        return Err(Refusal::conflict(format!("run {id} exists already")));
    }
    check_called(name)?;
    check_tags(tags)?;
    let made_from = used(state, actor, &project.id, *job, made_from)?;
    let least = label.unwrap_or_else(|| usual_label(state, actor, &project.id));
    let of_job = job.and_then(|job| state.jobs.get(&job)).map(|job| job.label);
    let label = strictest(state, &project.id, made_from.iter(), least)?.max(of_job.unwrap_or(least));
    let run = Run {
        id,
        project: project.id.clone(),
        by: person.clone(),
        name: name.clone(),
        label,
        job: *job,
        made_from,
        status: RunStatus::Running,
        started: *started,
        ended: None,
        deleted: None,
        params: BTreeMap::new(),
        tags: tags.clone(),
        files: BTreeMap::new(),
        noted: SMALL + name.len() as u64 + size(tags),
    };
    // Whoever may not read what they log may not log it either.
    state.permit(actor, Action::Read, &Resource::Run(&run))?;
    let runs = state.runs.of.get(&project.id).map_or(0, |of| of.runs.len());
    if runs >= RUNS_OF_PROJECT {
        let why = format!(
            "project {} has {RUNS_OF_PROJECT} runs, which is the most",
            project.id
        );
        return Err(full(why));
    }
    fits(state, &run, 0)?;
    Ok(vec![Event::Run(id, RunEvent::Began(Box::new(run)))])
}

/// What a run uses: what it says, and its job's inputs. Whoever may not read one of these doesn't learn that it is there.
fn used(
    state: &State,
    actor: &Actor,
    project: &ProjectId,
    job: Option<JobId>,
    said: &[Digest],
) -> Result<Vec<Digest>, Refusal> {
    for digest in said {
        let id = ArtifactId {
            project: project.clone(),
            digest: *digest,
        };
        let artifact = state.artifacts.get(&id);
        let reads = |artifact: &&Artifact| {
            let read = state.permit(actor, Action::Read, &Resource::Artifact(artifact));
            read.is_ok()
        };
        if artifact.filter(reads).is_none() {
            return Err(Refusal::not_found("artifact", id));
        }
    }
    let Some(job) = job else { return Ok(said.to_vec()) };
    let found = state.jobs.get(&job).filter(|job| job.spec.project == *project);
    let found = found.filter(|job| state.permit(actor, Action::Read, &Resource::Job(job)).is_ok());
    let found = found.ok_or_else(|| {
        let why = format!("in project {project}, {job}");
        Refusal::not_found("job", why).hint("khub.job names a job of the run's own project")
    })?;
    let all: BTreeSet<Digest> = said.iter().chain(found.spec.inputs.values()).copied().collect();
    Ok(all.into_iter().collect())
}

/// As strict as the strictest of the project's jobs. Of jobs that its person may not read nothing is to be learned
/// here, so they don't count.
fn usual_label(state: &State, actor: &Actor, project: &ProjectId) -> Label {
    let mut sight = Sight::new(state, actor, Action::Read);
    let labels = state
        .jobs_of(project)
        .filter(|job| sight.sees_job(job))
        .map(|job| job.label);
    labels.max().unwrap_or(Label::Restricted)
}

fn note(
    run: &Run,
    params: &BTreeMap<String, String>,
    tags: &BTreeMap<String, String>,
) -> Result<Option<RunEvent>, Refusal> {
    for (key, value) in params {
        check_key("parameter", key)?;
        check_length("the value of parameter", key, value, LONGEST_PARAM)?;
        if let Some(known) = run.params.get(key).filter(|known| *known != value) {
            let short = |text: &str| text.chars().take(80).collect::<String>();
            let why = format!(
                "parameter {key:?} of run {} is {:?} already, and not {:?}",
                run.id,
                short(known),
                short(value)
            );
            return Err(Refusal::invalid(why)
                .hint("a parameter keeps its value; begin another run, nested if you like"));
        }
    }
    check_tags(tags)?;
    let new =
        |known: &BTreeMap<String, String>, told: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            let told = told.iter().filter(|(key, value)| known.get(*key) != Some(*value));
            told.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
    let (params, tags) = (new(&run.params, params), new(&run.tags, tags));
    let is_new = !params.is_empty() || !tags.is_empty();
    Ok(is_new.then_some(RunEvent::Noted { params, tags }))
}

fn untag(run: &Run, key: &str) -> Result<RunEvent, Refusal> {
    if !run.tags.contains_key(key) {
        return Err(Refusal::not_found("tag", format!("{key:?} of run {}", run.id)));
    }
    Ok(RunEvent::Untagged { key: key.to_owned() })
}

fn update(
    run: &Run,
    status: Option<RunStatus>,
    ended: Option<Time>,
    name: Option<&str>,
    now: Time,
) -> Result<Option<RunEvent>, Refusal> {
    if let Some(name) = name {
        check_called(name)?;
    }
    let is_over = matches!(
        status,
        Some(RunStatus::Finished | RunStatus::Failed | RunStatus::Killed)
    );
    let ended = ended.or_else(|| is_over.then_some(run.ended.unwrap_or(now)));
    let status = status.filter(|status| *status != run.status);
    let ended = ended.filter(|ended| run.ended != Some(*ended));
    let name = name.filter(|name| *name != run.name).map(str::to_owned);
    let is_new = status.is_some() || ended.is_some() || name.is_some();
    Ok(is_new.then_some(RunEvent::Updated { status, ended, name }))
}

fn restrict(state: &State, actor: &Actor, run: &Run, label: Label) -> Result<Vec<Event>, Refusal> {
    let is = state.label_of_run(run);
    if label == is {
        return Ok(Vec::new());
    }
    if label < is {
        let why = format!(
            "run {} is {is}, and a run never gets less closed than it is",
            run.id
        );
        return Err(Refusal::conflict(why).hint("say khub.label when a run begins"));
    }
    let closed = Run { label, ..run.clone() };
    state.permit(actor, Action::Read, &Resource::Run(&closed))?;
    let mut events = vec![Event::Run(run.id, RunEvent::Restricted { label })];
    let files: BTreeSet<&Digest> = run.files.values().collect();
    for digest in files {
        let id = ArtifactId {
            project: run.project.clone(),
            digest: *digest,
        };
        if let Some(artifact) = state.artifacts.get(&id).filter(|artifact| artifact.label < label) {
            let artifact = artifact.clone();
            events.push(Event::Kept(Artifact { label, ..artifact }));
        }
    }
    Ok(events)
}

fn file(
    state: &State,
    actor: &Actor,
    run: &Run,
    path: &str,
    digest: Digest,
    bytes: u64,
) -> Result<Vec<Event>, Refusal> {
    let name = check_path(path)?;
    if run.files.get(path) == Some(&digest) {
        return Ok(Vec::new());
    }
    if run.files.len() >= FILES_OF_RUN && !run.files.contains_key(path) {
        let why = format!("run {} has {FILES_OF_RUN} files, which is the most", run.id);
        return Err(full(why).hint("put many small files into one archive"));
    }
    let kept = state.runs.of.get(&run.project).map_or(0, |of| of.bytes);
    if kept.saturating_add(bytes) > FILE_BYTES_OF_PROJECT {
        let why = format!(
            "the runs of project {} would keep more than {} GiB of files, which is the most",
            run.project,
            FILE_BYTES_OF_PROJECT >> 30
        );
        return Err(full(why).hint("keep what is that large with `khub put`"));
    }
    let label = strictest(state, &run.project, run.made_from.iter(), state.label_of_run(run))?;
    let by: PersonId = run.by.clone();
    let artifact = Artifact {
        id: ArtifactId {
            project: run.project.clone(),
            digest,
        },
        name: name.to_owned(),
        kind: kind_of(path),
        bytes,
        label,
        job: None,
        made_from: run.made_from.clone(),
        by: [by].into(),
    };
    state.permit(actor, Action::Read, &Resource::Artifact(&artifact))?;
    let path = path.to_owned();
    let filed = RunEvent::Filed { path, digest, bytes };
    fits(state, run, written(&filed))?;
    let mut events = keeping(state, artifact);
    events.push(Event::Run(run.id, filed));
    Ok(events)
}

/// What a file most likely is, by its name; other systems say no more of it.
fn kind_of(path: &str) -> ArtifactKind {
    let ending = path.rsplit('.').next().unwrap_or_default();
    match ending {
        "safetensors" | "pt" | "pth" | "onnx" | "ckpt" | "pkl" => ArtifactKind::Model,
        "csv" | "parquet" | "txt" | "jsonl" | "npy" | "npz" => ArtifactKind::Dataset,
        _ => ArtifactKind::Metrics,
    }
}

/// Bytes of keys and values.
fn size(of: &BTreeMap<String, String>) -> u64 {
    let bytes = of
        .iter()
        .map(|(key, value)| key.len() as u64 + value.len() as u64 + SMALL);
    bytes.sum()
}

/// What an event counts against the bounds.
pub(super) fn written(event: &RunEvent) -> u64 {
    let texts = match event {
        RunEvent::Noted { params, tags } => size(params) + size(tags),
        RunEvent::Updated { name, .. } => name.as_ref().map_or(0, |name| name.len() as u64),
        _ => 0,
    };
    SMALL + texts
}

fn fits(state: &State, run: &Run, more: u64) -> Result<(), Refusal> {
    let noted = run.noted.saturating_add(more);
    if noted > NOTED_OF_RUN {
        let why = format!(
            "run {} would have more than {} KiB of parameters and tags, which is the most",
            run.id,
            NOTED_OF_RUN >> 10
        );
        return Err(full(why));
    }
    let new = !state.runs.all.contains_key(&run.id);
    let more = if new { noted } else { more };
    let of_project = state.runs.of.get(&run.project).map_or(0, |of| of.noted);
    if of_project.saturating_add(more) > NOTED_OF_PROJECT {
        let why = format!(
            "the runs of project {} would have more than {} MiB of parameters and tags, which is the most",
            run.project,
            NOTED_OF_PROJECT >> 20
        );
        return Err(full(why));
    }
    Ok(())
}

fn full(why: String) -> Refusal {
    Refusal::invalid(why).hint("keep what is large as a file")
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    for (key, value) in tags {
        check_key("tag", key)?;
        check_length("the value of tag", key, value, LONGEST_TAG)?;
    }
    Ok(())
}

/// The letters that MLflow takes in names, of which none makes a path leave its folder.
pub fn check_key(noun: &str, key: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    let is_path = !key.starts_with('/') && key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if key.chars().count() <= LONGEST_KEY && key.chars().all(plain) && is_path {
        return Ok(());
    }
    let given: String = key.chars().take(80).collect();
    Err(Refusal::invalid(format!("{given:?} can't name a {noun}")).hint(format!(
        "up to {LONGEST_KEY} letters, digits, spaces and _ - . : /, and no part of a path that is empty or dots"
    )))
}

fn check_length(what: &str, key: &str, value: &str, most: usize) -> Result<(), Refusal> {
    let length = value.chars().count();
    if length <= most && !value.contains('\0') {
        return Ok(());
    }
    let why = format!("{what} {key:?} has {length} characters");
    Err(Refusal::invalid(why).hint(format!(
        "up to {most}, none of them NUL; keep what is longer as a file"
    )))
}

fn check_called(name: &str) -> Result<(), Refusal> {
    check_length("the name", "of the run", name, LONGEST_NAME)
}

/// The file's own name in a path that stays below its run on any system.
fn check_path(path: &str) -> Result<&str, Refusal> {
    let parts = || path.split('/');
    if path.chars().count() > LONGEST_PATH || parts().any(|part| check_name(part).is_err()) {
        let given: String = path.chars().take(80).collect();
        return Err(Refusal::invalid(format!("{given:?} can't be the path of a run's file")).hint(format!(
            "up to {LONGEST_PATH} characters; parts apart by /, none with a dot in front, a backslash or a colon"
        )));
    }
    Ok(parts().next_back().unwrap_or(path))
}
