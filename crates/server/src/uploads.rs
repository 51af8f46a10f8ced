//! Uploads that go on where they broke off, after the IETF's draft *Resumable Uploads for HTTP*
//! (draft-ietf-httpbis-resumable-upload-12): `Upload-Offset`, `Upload-Complete`, `Upload-Length` and `Upload-Limit` mean what
//! they mean there, and an upload is asked for, appended to and cancelled as there. It is begun in this API's way:
//! with the digest and the number of the bytes, which come later.
//!
//! Only whoever began an upload knows of it: to anybody else it isn't there.

use crate::artifacts::not_kept;
use crate::extract::{Answer, Ask, At, Bearer, Body, Json, No};
use crate::hub::Shared;
use crate::openapi::{Operation, Routes, Tells};
use crate::part::Part;
use api::{Bytes, Problem, UploadView};
use axum::body::{Body as Stream, HttpBody};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use consortium::{Actor, ProjectId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use store::{BlobError, Turn, Upload, UploadError, Wanted};
use tokio::task::block_in_place;

pub(crate) fn routes() -> Routes {
    Routes::about("artifacts")
        .get("/uploads", "One's own uploads", list)
        .post(
            "/projects/{project}/uploads",
            "Begin an upload, or find the one of the same bytes",
            begin,
        )
        .get(
            "/uploads/{upload}",
            "How far an upload is; whoever still appends to it is stopped",
            look,
        )
        .patch("/uploads/{upload}", "Append bytes to an upload", append)
        .delete("/uploads/{upload}", "Cancel an upload", cancel)
}

const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const LIMIT: HeaderName = HeaderName::from_static("upload-limit");

/// The name of an upload.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct UploadId(#[schemars(regex(pattern = "^[0-9a-f]{32}$"))] String);

/// An upload, in JSON and in the draft's headers.
struct Told {
    status: StatusCode,
    view: UploadView,
    limit: String,
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let Self { status, view, limit } = self;
        let headers = [
            (OFFSET, view.offset.to_string()),
            (COMPLETE, if view.complete { "?1" } else { "?0" }.to_owned()),
            (LENGTH, view.bytes.to_string()),
            (LIMIT, limit),
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::LOCATION, format!("/api/v1/uploads/{}", view.id)),
        ];
        (status, headers, axum::Json(view)).into_response()
    }
}

const TOLD: [&str; 6] = [
    "Upload-Offset",
    "Upload-Complete",
    "Upload-Length",
    "Upload-Limit",
    "Cache-Control",
    "Location",
];

impl Tells for Told {
    fn tell(operation: &mut Operation<'_>) {
        operation.gives::<UploadView>(&TOLD);
    }
}

/// An upload that was begun just now, or before.
struct Begun(Told);

impl IntoResponse for Begun {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Tells for Begun {
    fn tell(operation: &mut Operation<'_>) {
        operation.makes::<UploadView>(&TOLD);
    }
}

/// A piece of an upload.
struct Piece {
    offset: u64,
    complete: bool,
    body: Stream,
}

impl<S: Send + Sync> FromRequest<S> for Piece {
    type Rejection = No;

    async fn from_request(request: Request, _: &S) -> Result<Self, No> {
        let (offset, complete) = (
            text(request.headers(), &OFFSET),
            text(request.headers(), &COMPLETE),
        );
        let malformed = |detail: &str| Problem::new(400, "malformed", detail);
        let offset = offset.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let offset = offset.and_then(|text| text.parse().ok()).ok_or_else(|| {
            malformed("the Upload-Offset header says where the bytes begin: a whole number")
                .hint("ask for the upload first; its Upload-Offset is where to go on")
        })?;
        let complete = match complete {
            None | Some("?0") => false,
            Some("?1") => true,
            Some(_) => return Err(malformed("the Upload-Complete header is ?0 or ?1").into()),
        };
        let body = request.into_body();
        Ok(Self {
            offset,
            complete,
            body,
        })
    }
}

impl Tells for Piece {
    fn tell(operation: &mut Operation<'_>) {
        operation.takes_bytes_as("application/partial-upload");
        operation.may_fail(&[400, 413]);
        operation.needs(
            "Upload-Offset",
            &json!({"type": "integer", "minimum": 0, "maximum": 1_u64 << 53}),
            "Where these bytes begin: how many are there.",
        );
        operation.reads(
            "Upload-Complete",
            &json!({"type": "string", "enum": ["?0", "?1"]}),
            "Whether these are the last; then all are checked.",
        );
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or(""))
}

async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<String>>,
) -> Answer<Vec<UploadView>> {
    let own = shared.uploads.of(&bearer.actor.to_string());
    let own = part.of(own.iter(), |it| it.id());
    Ok(Json(own.map(|it| view(it)).collect()))
}

async fn begin(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(project): At<ProjectId>,
    Body(Bytes { digest, bytes }): Body<Bytes>,
) -> Result<Begun, No> {
    shared.may_bring(&bearer.actor, &project)?;
    let account = bearer.actor.to_string();
    let unnamed = shared.custody.unnamed(&account, Some(digest));
    let wanted = Wanted {
        account,
        project,
        digest,
        bytes,
    };
    let begun = block_in_place(|| shared.uploads.begin(&wanted, shared.now(), unnamed));
    let upload = begun.map_err(|e| refused(&e))?;
    let mut told = shared.tell(&upload);
    told.status = StatusCode::CREATED;
    Ok(Begun(told))
}

/// Nobody appends any more when this is answered, so what it says stands.
async fn look(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(UploadId(id)): At<UploadId>,
) -> Result<Told, No> {
    let upload = shared.own_upload(&bearer.actor, &id)?;
    loop {
        let turn = upload.take();
        match block_in_place(|| turn.offset()) {
            // A request that was on its way for long has come just now.
            Err(UploadError::Superseded) => {}
            Err(error) => return Err(refused(&error).into()),
            Ok(_) => return Ok(shared.tell(&upload)),
        }
    }
}

async fn append(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(UploadId(id)): At<UploadId>,
    piece: Piece,
) -> Result<Told, Response> {
    let upload = shared.own_upload(&bearer.actor, &id).map_err(answered)?;
    let may = shared.may_bring(&bearer.actor, &upload.wanted().project);
    may.map_err(answered)?;
    let no = |error: &UploadError| shared.refuse(&upload, error);
    let turn = upload.take();
    let came = take_in(&turn, piece.offset, piece.body).await;
    // Also of what broke off the hub has what it has.
    let synced = block_in_place(|| turn.offset());
    came.map_err(|came| match came {
        Came::Refused(error) => no(&error),
        Came::BrokeOff(problem) => answered(problem),
    })?;
    synced.map_err(|e| no(&e))?;
    if piece.complete {
        let (at, account, until) = (Arc::clone(&shared), bearer.actor.to_string(), upload.expires());
        let finish = move || {
            let hold = turn.finish(&at.blobs)?;
            at.custody.note_until(account, hold, until, false);
            Ok::<(), UploadError>(())
        };
        let finished = shared.in_time("checking and keeping the bytes", finish).await;
        finished.map_err(answered)?.map_err(|e| no(&e))?;
    }
    Ok(shared.tell(&upload))
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(UploadId(id)): At<UploadId>,
) -> Answer<()> {
    let upload = shared.own_upload(&bearer.actor, &id)?;
    // Whoever appends is stopped by it.
    drop(upload.take());
    let ended = block_in_place(|| shared.uploads.end(&upload));
    ended.map_err(|e| refused(&e.into()))?;
    Ok(Json(()))
}

/// Why not all of a piece was taken.
enum Came {
    Refused(UploadError),
    BrokeOff(Problem),
}

async fn take_in(turn: &Turn, offset: u64, mut body: Stream) -> Result<(), Came> {
    let mut at = offset;
    // Before anything comes: where it begins, and as far as that is told where it ends.
    let told = body.size_hint().lower();
    turn.expect(at, told).map_err(Came::Refused)?;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let broke = |e: axum::Error| {
            Came::BrokeOff(Problem::new(
                400,
                "interrupted",
                format!("the upload broke off: {e}"),
            ))
        };
        let Ok(data) = frame.map_err(broke)?.into_data() else {
            continue;
        };
        block_in_place(|| turn.append(at, &data)).map_err(Came::Refused)?;
        at += data.len() as u64;
    }
    Ok(())
}

fn view(upload: &Upload) -> UploadView {
    let (offset, complete) = upload.progress();
    let Wanted {
        project,
        digest,
        bytes,
        ..
    } = upload.wanted();
    UploadView {
        id: upload.id().clone(),
        project: project.clone(),
        digest: *digest,
        bytes: *bytes,
        offset,
        complete,
        expires: upload.expires(),
    }
}

impl Shared {
    /// Whether `actor` may bring bytes for `project`: who may contribute to it, and a site that has a job of it.
    fn may_bring(&self, actor: &Actor, project: &ProjectId) -> Result<(), Problem> {
        let state = self.read()?;
        let Actor::Site(site) = actor else {
            return Ok(state.project_for(actor, project).map(drop)?);
        };
        let mut jobs = state.active_jobs().filter(|job| job.spec.project == *project);
        if jobs.any(|job| job.members.contains_key(site)) {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "forbidden",
            format!("site {site} has no job of project {project}"),
        ))
    }

    fn own_upload(&self, actor: &Actor, id: &str) -> Result<Arc<Upload>, Problem> {
        let found = self.uploads.find(&actor.to_string(), id);
        found.ok_or_else(|| gone(id))
    }

    fn tell(&self, upload: &Upload) -> Told {
        let seconds = upload.expires().since(self.now()) / 1_000;
        Told {
            status: StatusCode::OK,
            view: view(upload),
            limit: format!("max-size={}, max-age={seconds}", self.uploads.limits().largest),
        }
    }

    /// A no to a piece, with how far the upload is, as the draft wants it.
    fn refuse(&self, upload: &Upload, error: &UploadError) -> Response {
        let no = answered(refused(error));
        match error {
            UploadError::Elsewhere { .. } | UploadError::TooShort { .. } => {
                let told = view(upload);
                let offset = [(OFFSET, told.offset.to_string()), (COMPLETE, "?0".to_owned())];
                (offset, no).into_response()
            }
            _ => no,
        }
    }
}

fn gone(id: &str) -> Problem {
    Problem::new(404, "not-found", format!("there is no upload {id}"))
        .hint("it may have expired; begin it again")
}

fn answered(problem: Problem) -> Response {
    No::from(problem).into_response()
}

fn refused(error: &UploadError) -> Problem {
    let text = error.to_string();
    match error {
        UploadError::TooMany { .. } | UploadError::TooMuch { .. } => {
            Problem::new(409, "too-much", text).hint("`khub uploads` lists yours, and cancels one")
        }
        UploadError::Elsewhere { .. } => Problem::new(409, "mismatching-upload-offset", text),
        UploadError::Superseded => Problem::new(409, "conflict", text),
        UploadError::TooLong { .. } | UploadError::TooShort { .. } => {
            Problem::new(400, "inconsistent-upload-length", text)
        }
        UploadError::Complete => Problem::new(400, "completed-upload", text),
        UploadError::Gone => Problem::new(404, "not-found", text).hint("begin it again"),
        UploadError::Blobs(error @ BlobError::TooLarge { .. }) => {
            Problem::new(413, "too-large", error.to_string())
        }
        UploadError::Blobs(error) if error.is_senders_fault() => Problem::new(422, "invalid", text),
        UploadError::Blobs(error) => not_kept(error),
    }
}
