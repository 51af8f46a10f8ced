//! Artifacts: how bytes come in, and the one function that lets them out.

use crate::desk;
use crate::extract::{Answer, Ask, At, Bearer, Body, Json, Key, No};
use crate::hub::Shared;
use crate::openapi::{Operation, Routes, Tells};
use crate::outgoing::Outgoing;
use crate::part::{Limit, fits};
use crate::views::known_project;
use api::{Done, Problem};
use axum::body::{Body as Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use consortium::{
    Action, Actor, Artifact, ArtifactId, ArtifactKind, Command, Digest, Label, Output, ProjectId, Sight,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use store::{BlobReader, Blobs, Hold};
use tokio::task::block_in_place;

pub(crate) fn routes() -> Routes {
    Routes::about("artifacts")
        .put("/bytes/{digest}", "Bring bytes, for a command to name", bring)
        .get(
            "/projects/{project}/artifacts",
            "A project's artifacts that one may read",
            list,
        )
        .post(
            "/projects/{project}/artifacts",
            "Keep bytes in a project",
            register,
        )
        .command(
            "/models",
            "Put a project's artifacts together as a model under a name",
            Command::Publish,
        )
        .get(
            "/projects/{project}/artifacts/{digest}",
            "An artifact's bytes, all or a range",
            fetch,
        )
}

/// The same as [`let_out`], for those who can't wait until it is fetched from the bucket: they are told to ask again.
pub(crate) async fn let_out_in_time(
    shared: &Arc<Shared>,
    actor: &Actor,
    id: &ArtifactId,
) -> Result<(BlobReader, Artifact), Problem> {
    if let (Some(reader), artifact) = let_out(shared, actor, id, Blobs::reader_here)? {
        return Ok((reader, artifact));
    }
    let (at, actor, id) = (Arc::clone(shared), actor.clone(), id.clone());
    let fetching = "fetching the artifact from its bucket";
    shared
        .in_time(fetching, move || let_out(&at, &actor, &id, Blobs::reader))
        .await?
}

/// Every byte of an artifact leaves the hub here and nowhere else.
pub(crate) fn let_out<T>(
    shared: &Shared,
    actor: &Actor,
    id: &ArtifactId,
    open: impl FnOnce(&Blobs, &Digest) -> Result<T, store::BlobError>,
) -> Result<(T, Artifact), Problem> {
    let artifact = {
        let state = shared.read()?;
        desk::readable(&state, actor, id)?.clone()
    };
    let opened = open(&shared.blobs, &id.digest);
    Ok((opened.map_err(|e| not_kept(&e))?, artifact))
}

/// Bytes that can't be kept or had, for no fault of whoever asks.
pub(crate) fn not_kept(error: &store::BlobError) -> Problem {
    let text = error.to_string();
    match error.may_pass() {
        true => {
            Problem::new(503, "unavailable", text).hint("ask again; it is for the hub's operator to mend")
        }
        false => Problem::new(500, "internal", text),
    }
}

async fn fetch(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((project, digest)): At<(ProjectId, Digest)>,
    asked: HeaderMap,
) -> Result<Download, No> {
    let id = ArtifactId { project, digest };
    let out = let_out_in_time(&shared, &bearer.actor, &id).await;
    let out = out.map_err(|problem| {
        let hides = |state: &consortium::State| known_project(state, &bearer.actor, &id.project).is_err();
        match problem.status == 403 && shared.read().is_ok_and(|state| hides(&state)) {
            true => desk::absent(&id),
            false => problem,
        }
    });
    let (reader, artifact) = out?;
    stream(reader, &artifact, &asked).await.map(Download)
}

/// An artifact's bytes.
struct Download(Response);

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Tells for Download {
    fn tell(operation: &mut Operation<'_>) {
        let range = json!({"type": "string"});
        operation.reads(
            "Range",
            &range,
            "Which bytes: one range is taken, anything else is answered with all.",
        );
        operation.reads(
            "If-Range",
            &json!({"type": "string"}),
            "The ETag of which a part is there already: of anything else all is answered.",
        );
        let bytes = Some(("application/octet-stream", json!({})));
        operation.answer(200, "All of it.", bytes.clone(), &["ETag", "Accept-Ranges"]);
        operation.answer(
            206,
            "The range.",
            bytes,
            &["ETag", "Accept-Ranges", "Content-Range"],
        );
        operation.may_fail(&[416]);
    }
}

/// The bytes of an artifact that was let out: all, or from where a broken-off download goes on.
pub(crate) async fn stream(
    reader: BlobReader,
    artifact: &Artifact,
    asked: &HeaderMap,
) -> Result<Response, No> {
    let bytes = reader.bytes();
    let tag = format!("\"{}\"", artifact.id.digest.hex());
    let header = |name| asked.get(name).and_then(|value| value.to_str().ok());
    // A part fits only what it is a part of.
    let is_same = header(header::IF_RANGE).is_none_or(|known| known == tag);
    let range = header(header::RANGE).filter(|_| is_same);
    let (status, from, to) = match range.map(|range| part(range, bytes)) {
        // What can't be read as a range may be answered in full, says HTTP.
        None | Some(Part::All) => (StatusCode::OK, 0, bytes),
        Some(Part::Of { from, to }) => (StatusCode::PARTIAL_CONTENT, from, to),
        Some(Part::Beyond) => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{bytes}"))];
            let beyond = Problem::new(416, "beyond", format!("{} has {bytes} bytes", artifact.id));
            return Ok((range, No::from(beyond)).into_response());
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, (to - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
    ];
    let body = Outgoing::begin(reader, from..to).await;
    let body = body.map_err(|e| not_kept(&e))?;
    let mut response = (status, headers, Bytes::new(body)).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{bytes}", to - 1);
        let range = range.parse().expect("digits are a header");
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    All,
    Of { from: u64, to: u64 },
    Beyond,
}

/// One range of bytes; several at once are answered with all.
fn part(range: &str, bytes: u64) -> Part {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Part::All;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(from), _) if from >= bytes => Part::Beyond,
        (Ok(from), Ok(last)) if last >= from => Part::Of {
            from,
            to: bytes.min(last.saturating_add(1)),
        },
        (Ok(from), Err(_)) if last.is_empty() => Part::Of { from, to: bytes },
        (Err(_), Ok(0)) if first.is_empty() => Part::Beyond,
        (Err(_), Ok(end)) if first.is_empty() && bytes > 0 => Part::Of {
            from: bytes.saturating_sub(end),
            to: bytes,
        },
        _ => Part::All,
    }
}

async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(project): At<ProjectId>,
    Ask(wanted): Ask<Wanted>,
) -> Answer<Vec<Artifact>> {
    let state = shared.read()?;
    known_project(&state, &bearer.actor, &project)?;
    // They are in the order of project and digest.
    let digest = wanted.after.unwrap_or(Digest([0; 32]));
    let from = ArtifactId { project, digest };
    let of_project = state.artifacts.range(&from..).map(|(_, artifact)| artifact);
    let of_project = of_project.take_while(|artifact| artifact.id.project == from.project);
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let seen = of_project.filter(|it| wanted.fits(it) && sight.sees_artifact(it));
    Ok(Json(seen.take(wanted.limit.get()).cloned().collect()))
}

/// Which part of a project's artifacts.
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Only what comes after this one: the last of the part before.
    after: Option<Digest>,
    /// How many at most.
    #[serde(default)]
    limit: Limit,
    /// Only those of one sort.
    kind: Option<ArtifactKind>,
    /// Only those with one label.
    label: Option<Label>,
}

impl Wanted {
    fn fits(&self, artifact: &Artifact) -> bool {
        self.after != Some(artifact.id.digest)
            && fits(self.kind.as_ref(), &artifact.kind)
            && fits(self.label.as_ref(), &artifact.label)
    }
}

/// Takes bytes in. They belong to nothing, and nobody can read them, until a command names them.
async fn bring(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(digest): At<Digest>,
    request: Request,
) -> Answer<()> {
    take_in(
        &shared,
        &bearer.actor,
        Some(digest),
        u64::MAX,
        request.into_body(),
    )
    .await?;
    Ok(Json(()))
}

/// Bytes of a body that `actor` brings into the store, `limit` at most.
pub(crate) async fn take_in(
    shared: &Shared,
    actor: &Actor,
    expected: Option<Digest>,
    limit: u64,
    mut body: Bytes,
) -> Result<Hold, Problem> {
    let refused = |e: store::BlobError| match e.is_senders_fault() {
        true => Problem::new(422, "invalid", e.to_string()),
        false => not_kept(&e),
    };
    let (account, limits) = (actor.to_string(), shared.uploads.limits());
    let unnamed = shared.custody.unnamed(&account, expected);
    let most = limits.largest.min(limits.bytes.saturating_sub(unnamed));
    let begun = shared.blobs.begin(expected, limit.min(most));
    let mut writer = begun.map_err(refused)?;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|e| Problem::new(400, "interrupted", format!("the upload broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        block_in_place(|| writer.write(&data)).map_err(refused)?;
    }
    let hold = block_in_place(|| writer.finish()).map_err(refused)?;
    shared.custody.note(account, hold.clone(), shared.now());
    Ok(hold)
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
    shared
        .carry_out(bearer.actor, key, Command::Register(output))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_http_has_them() {
        let of = |from, to| Part::Of { from, to };
        for (range, expected) in [
            ("bytes=0-", of(0, 10)),
            ("bytes=3-", of(3, 10)),
            ("bytes=3-3", of(3, 4)),
            ("bytes=3-99", of(3, 10)),
            ("bytes=-4", of(6, 10)),
            ("bytes=-99", of(0, 10)),
            ("bytes=10-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=5-2", Part::All),
            ("bytes=1-2,4-5", Part::All),
            ("bytes=", Part::All),
            ("lines=1-2", Part::All),
            ("bytes=18446744073709551615-18446744073709551615", Part::Beyond),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
        assert_eq!(part("bytes=-5", 0), Part::All);
    }
}
