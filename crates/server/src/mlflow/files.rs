//! A run's files, by the way that goes through the server. Each is an artifact of the run's project, with the run's
//! label and lineage, and its bytes leave through `let_out` as any artifact's do.

use super::Told;
use super::words;
use crate::artifacts::{let_out_in_time, stream, take_in};
use crate::extract::{Ask, At, Bearer, Json, No};
use crate::hub::Shared;
use crate::runs::search;
use api::Problem;
use axum::extract::{Request as Upload, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use consortium::{ArtifactId, Command, Digest, ProjectId, Request, Run, RunCommand, RunId, decide};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct OfRun {
    run_id: Option<String>,
    run_uuid: Option<String>,
    #[serde(default)]
    path: String,
}

/// The files and folders in a folder of a run, with their whole paths.
pub(super) async fn of_run(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(asked): Ask<OfRun>,
) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    let root = search::one(&shared, &bearer.actor, run).await?.files_at();
    let state = shared.read()?;
    let run = state.run_for(&bearer.actor, run)?;
    let files = below(&state, run, asked.path.trim_matches('/'));
    Ok(Json(json!({ "root_uri": root, "files": told(files) })))
}

#[derive(Deserialize)]
pub(super) struct Below {
    #[serde(default)]
    path: String,
}

/// The same by `PROJECT/RUN/artifacts/FOLDER`, with names alone.
pub(super) async fn list(State(shared): State<Arc<Shared>>, bearer: Bearer, Ask(asked): Ask<Below>) -> Told {
    let parts: Vec<&str> = asked.path.trim_matches('/').splitn(4, '/').collect();
    let (project, run) = match parts.as_slice() {
        [project, run, "artifacts", ..] => (*project, words::run_id(Some((*run).to_owned()), None)?),
        _ => return Err(no_folder(&asked.path).into()),
    };
    let state = shared.read()?;
    let run = state.run_for(&bearer.actor, run)?;
    if run.project.as_str() != project {
        return Err(no_folder(&asked.path).into());
    }
    let folder = parts.get(3).copied().unwrap_or_default();
    let names = below(&state, run, folder).into_iter().map(|(path, size)| {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        (name, size)
    });
    Ok(Json(json!({ "files": told(names.collect()) })))
}

/// What is in a folder: of files the size, of folders none. Of a file, itself.
fn below(state: &consortium::State, run: &Run, folder: &str) -> BTreeMap<String, Option<u64>> {
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let size = |digest: &Digest| {
        let id = artifact_of(run, *digest);
        state.artifacts.get(&id).map(|artifact| artifact.bytes)
    };
    let mut found = BTreeMap::new();
    for (path, digest) in &run.files {
        if path == folder {
            found.insert(path.clone(), size(digest));
        }
        let Some(rest) = path.strip_prefix(&prefix) else {
            continue;
        };
        match rest.split_once('/') {
            Some((inner, _)) => found.insert(format!("{prefix}{inner}"), None),
            None => found.insert(path.clone(), size(digest)),
        };
    }
    found
}

fn told(files: BTreeMap<String, Option<u64>>) -> Vec<Value> {
    let one = |(path, size): (String, Option<u64>)| match size {
        None => json!({ "path": path, "is_dir": true }),
        Some(size) => json!({ "path": path, "is_dir": false, "file_size": size }),
    };
    files.into_iter().map(one).collect()
}

pub(super) async fn fetch(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((project, run, path)): At<(String, String, String)>,
    asked: HeaderMap,
) -> Result<Response, No> {
    let run = words::run_id(Some(run), None)?;
    let absent = || Problem::new(404, "not-found", format!("run {run} has no file {path:?}"));
    let id = {
        let state = shared.read()?;
        let run = state.run_for(&bearer.actor, run)?;
        let digest = run.files.get(&path).filter(|_| run.project.as_str() == project);
        artifact_of(run, *digest.ok_or_else(absent)?)
    };
    let (reader, artifact) = let_out_in_time(&shared, &bearer.actor, &id).await?;
    stream(reader, &artifact, &asked).await
}

/// Keeps a file. What would be refused for any reason is refused before its bytes are taken.
pub(super) async fn keep(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((project, run, path)): At<(String, String, String)>,
    upload: Upload,
) -> Told {
    let run: RunId = words::run_id(Some(run), None)?;
    let length = upload.headers().get(header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let needed = || {
        let why = "a file comes with its length";
        Problem::new(400, "malformed", why).hint("send the header Content-Length")
    };
    let length = length.ok_or_else(needed)?;
    let request = |digest, bytes| {
        let path = path.clone();
        let command = RunCommand::File { path, digest, bytes };
        Request::new(bearer.actor.clone(), Command::Run(run, command))
    };
    {
        let state = shared.read()?;
        let known = state.run_for(&bearer.actor, run)?;
        if known.project.as_str() != project {
            return Err(Problem::new(
                404,
                "not-found",
                format!("there is no run {run} in project {project}"),
            )
            .into());
        }
        decide(&state, &request(Digest([0; 32]), length), shared.now())?;
    }
    let hold = take_in(&shared, &bearer.actor, None, length, upload.into_body()).await?;
    shared.ask(request(hold.digest(), hold.bytes())).await?;
    Ok(Json(json!({})))
}

fn artifact_of(run: &Run, digest: Digest) -> ArtifactId {
    let project: ProjectId = run.project.clone();
    ArtifactId { project, digest }
}

fn no_folder(path: &str) -> Problem {
    let path: String = path.chars().take(80).collect();
    Problem::new(
        404,
        "not-found",
        format!("there is no folder of a run's at {path:?}"),
    )
    .hint("files lie at PROJECT/RUN/artifacts")
}
