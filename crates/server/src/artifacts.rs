//! Artifacts: how bytes come in, and the one function that lets them out.

use crate::desk;
use crate::extract::{Answer, At, Bearer, Body, Json, Key, No};
use crate::hub::Shared;
use api::{Done, Problem};
use axum::Router;
use axum::body::{Body as Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use consortium::policy::Resource;
use consortium::{Action, Actor, Artifact, ArtifactId, Command, Digest, Output, ProjectId};
use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::io::ReaderStream;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/bytes/{digest}", put(bring).layer(DefaultBodyLimit::disable()))
        .route("/projects/{project}/artifacts", get(list).post(register))
        .route("/projects/{project}/artifacts/{digest}", get(fetch))
}

/// Every byte of an artifact leaves the hub here and nowhere else.
fn let_out(shared: &Shared, actor: &Actor, id: &ArtifactId) -> Result<(File, Artifact), Problem> {
    let state = shared.read()?;
    let artifact = desk::readable(&state, actor, id)?;
    let internal = |e: store::BlobError| Problem::new(500, "internal", e.to_string());
    let file = shared.blobs.open_file(&id.digest).map_err(internal)?;
    Ok((file, artifact.clone()))
}

async fn fetch(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((project, digest)): At<(ProjectId, Digest)>,
) -> Result<Response, No> {
    let (file, artifact) = let_out(&shared, &bearer.actor, &ArtifactId { project, digest })?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, artifact.bytes.to_string()),
        (header::ETAG, format!("\"{}\"", artifact.id.digest.hex())),
    ];
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
    Ok((headers, Bytes::from_stream(stream)).into_response())
}

async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(project): At<ProjectId>,
) -> Answer<Vec<Artifact>> {
    let state = shared.read()?;
    if !state.projects.contains_key(&project) {
        return Err(Problem::new(404, "not-found", format!("there is no project {project}")).into());
    }
    let of_project = state
        .artifacts
        .values()
        .filter(|artifact| artifact.id.project == project);
    let readable = |artifact: &&Artifact| {
        state
            .permit(&bearer.actor, Action::Read, &Resource::Artifact(artifact))
            .is_ok()
    };
    Ok(Json(of_project.filter(readable).cloned().collect()))
}

/// Takes bytes in. They belong to nothing, and nobody can read them, until a command names them.
async fn bring(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(digest): At<Digest>,
    request: Request,
) -> Answer<()> {
    let refused = |e: store::BlobError| {
        let status = if e.is_senders_fault() { 422 } else { 500 };
        Problem::new(
            status,
            if status == 422 { "invalid" } else { "internal" },
            e.to_string(),
        )
    };
    let mut writer = shared
        .blobs
        .begin(Some(digest), shared.largest)
        .map_err(refused)?;
    let mut body = request.into_body();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|e| Problem::new(400, "interrupted", format!("the upload broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        tokio::task::block_in_place(|| writer.write(&data)).map_err(refused)?;
    }
    tokio::task::block_in_place(|| writer.finish()).map_err(refused)?;
    shared.note_upload(&bearer.actor, digest);
    Ok(Json(()))
}

async fn register(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    At(project): At<ProjectId>,
    Body(output): Body<Output>,
) -> Answer<Done> {
    if output.id.project != project {
        let detail = format!(
            "the artifact is of project {}, the address of {project}",
            output.id.project
        );
        return Err(Problem::new(422, "invalid", detail).into());
    }
    shared.require_upload(&bearer.actor, output.id.digest, output.bytes)?;
    shared
        .carry_out(bearer.actor, key, Command::Register(output))
        .await
}

impl Shared {
    /// The bytes are here, as many as said, and `actor` has shown that they have them: whoever only knows a
    /// digest gets nothing for it.
    pub(crate) fn require_upload(&self, actor: &Actor, digest: Digest, bytes: u64) -> Result<(), Problem> {
        let invalid = |detail| Problem::new(422, "not-uploaded", detail);
        if !self.has_uploaded(actor, digest) {
            let hint = format!("PUT them at /api/v1/bytes/{digest} first, then ask again");
            return Err(invalid(format!("the hub has no bytes of {digest} from {actor}")).hint(hint));
        }
        match self.blobs.size(&digest) {
            Some(size) if size == bytes => Ok(()),
            Some(size) => Err(invalid(format!("{digest} has {size} bytes, not {bytes}"))),
            None => Err(invalid(format!("the bytes of {digest} are gone"))),
        }
    }
}
