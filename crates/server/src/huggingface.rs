//! The part of the Hugging Face Hub's protocol that reads models. With `HF_ENDPOINT` set to the hub's address and
//! a token of khub's, `huggingface_hub` and `transformers` fetch what `khub publish` has published, and a token
//! that may not read a model gets the answer that those clients know: the repository is gated.
//!
//! | request | what for |
//! |---|---|
//! | `GET /api/models/O/M`, `.../revision/R` | what the revision is and which files it has |
//! | `GET /api/models/O/M/tree/R[/PATH]` | the files below a path, with sizes |
//! | `HEAD` and `GET /O/M/resolve/R/FILE` | a file; a part of it with `Range` |
//! | `GET /api/whoami-v2` | whose token it is |
//!
//! A file's bytes leave through `let_out`, as any artifact's do. Who may not read all of a model's files isn't
//! told their names.

use crate::artifacts::{let_out_in_time, stream};
use crate::desk;
use crate::extract::{Ask, At, Bearer, Json, No};
use crate::hub::Shared;
use api::Problem;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use consortium::{Actor, ArtifactId, ModelId, Published, Revision};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/whoami-v2", get(whoami))
        .route("/api/models/{organisation}/{name}", get(newest))
        .route(
            "/api/models/{organisation}/{name}/revision/{revision}",
            get(about),
        )
        .route("/api/models/{organisation}/{name}/tree/{revision}", get(tree))
        .route(
            "/api/models/{organisation}/{name}/tree/{revision}/{*path}",
            get(tree_below),
        )
        .route("/{organisation}/{name}/resolve/{revision}/{*path}", get(file))
}

type Told<T> = Result<T, Gone>;

/// A no with the name that these clients look for in a header.
struct Gone {
    code: &'static str,
    problem: Problem,
}

/// One revision of a model, all of which the asker may read.
struct Found {
    model: ModelId,
    published: Published,
    revision: Revision,
    /// Sizes, in the order of the files.
    bytes: Vec<u64>,
}

/// The model, if `actor` may read every file of it.
fn find(shared: &Shared, actor: &Actor, name: (&str, &str), revision: &str) -> Told<Found> {
    let absent = |code, detail: String| Gone {
        code,
        problem: Problem::new(404, "not-found", detail),
    };
    let unknown = || absent("RepoNotFound", format!("there is no model {}/{}", name.0, name.1));
    let model: ModelId = format!("{}/{}", name.0, name.1).parse().map_err(|_| unknown())?;
    let state = shared.read().map_err(unavailable)?;
    let published = state.models.get(&model).ok_or_else(unknown)?;
    let newest = published.revisions.last().ok_or_else(unknown)?;
    let wanted = published.revision(revision);
    let mut bytes = Vec::new();
    for digest in wanted.unwrap_or(newest).files.values() {
        let id = ArtifactId {
            project: published.project.clone(),
            digest: *digest,
        };
        // Asked of the newest if there is no such revision, so that nobody learns which there are.
        let artifact = desk::readable(&state, actor, &id).map_err(|problem| gated(&model, problem))?;
        bytes.push(artifact.bytes);
    }
    let wanted =
        wanted.ok_or_else(|| absent("RevisionNotFound", format!("{model} has no revision {revision}")))?;
    Ok(Found {
        model,
        published: published.clone(),
        revision: wanted.clone(),
        bytes,
    })
}

fn unavailable(problem: Problem) -> Gone {
    let code = "Unavailable";
    Gone { code, problem }
}

fn gated(model: &ModelId, problem: Problem) -> Gone {
    // The refusal names a file; the policies name none.
    let because = match problem.policies.as_slice() {
        [] => "no policy permits it".to_owned(),
        policies => format!("policy {}", policies.join(", ")),
    };
    let detail = format!("access to model {model} is restricted: {because}");
    Gone {
        code: "GatedRepo",
        problem: Problem {
            status: 403,
            detail,
            ..problem
        },
    }
}

async fn newest(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((organisation, name)): At<(String, String)>,
) -> Told<Json<Value>> {
    let found = find(&shared, &bearer.actor, (&organisation, &name), "main")?;
    Ok(Json(found.in_their_words()))
}

async fn about(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((organisation, name, revision)): At<(String, String, String)>,
) -> Told<Json<Value>> {
    let found = find(&shared, &bearer.actor, (&organisation, &name), &revision)?;
    Ok(Json(found.in_their_words()))
}

#[derive(Deserialize)]
struct Deep {
    #[serde(default)]
    recursive: Option<String>,
}

async fn tree(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((organisation, name, revision)): At<(String, String, String)>,
    Ask(deep): Ask<Deep>,
) -> Told<Json<Value>> {
    find(&shared, &bearer.actor, (&organisation, &name), &revision)?.below("", &deep)
}

async fn tree_below(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((organisation, name, revision, path)): At<(String, String, String, String)>,
    Ask(deep): Ask<Deep>,
) -> Told<Json<Value>> {
    let prefix = format!("{}/", path.trim_end_matches('/'));
    find(&shared, &bearer.actor, (&organisation, &name), &revision)?.below(&prefix, &deep)
}

async fn file(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((organisation, name, revision, path)): At<(String, String, String, String)>,
    asked: HeaderMap,
) -> Result<Response, Gone> {
    let found = find(&shared, &bearer.actor, (&organisation, &name), &revision)?;
    let digest = found
        .revision
        .files
        .get(&path)
        .ok_or_else(|| found.no_entry(&path))?;
    let id = ArtifactId {
        project: found.published.project.clone(),
        digest: *digest,
    };
    let out = let_out_in_time(&shared, &bearer.actor, &id).await;
    let (reader, artifact) = out.map_err(|problem| match problem.status {
        500.. => unavailable(problem),
        _ => gated(&found.model, problem),
    })?;
    let mut response = match stream(reader, &artifact, &asked).await {
        Ok(response) => response,
        Err(no) => return Ok(no.into_response()),
    };
    put(&mut response, "x-repo-commit", &found.commit());
    Ok(response)
}

async fn whoami(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Result<Json<Value>, No> {
    let state = shared.read()?;
    let me = crate::views::me(&state, bearer.actor);
    Ok(Json(json!({
        "type": "user",
        "name": me.actor.to_string(),
        "orgs": me.organisation.into_iter().map(|id| json!({ "name": id })).collect::<Vec<_>>(),
    })))
}

impl Found {
    /// As long as the clients' git hashes, which they keep folders by.
    fn commit(&self) -> String {
        self.revision.commit.hex()[..40].to_owned()
    }

    fn in_their_words(&self) -> Value {
        let files = self.revision.files.keys().zip(&self.bytes);
        let siblings: Vec<Value> = files
            .map(|(path, bytes)| json!({ "rfilename": path, "size": bytes }))
            .collect();
        json!({
            "id": self.model, "modelId": self.model, "author": self.model.organisation,
            "sha": self.commit(), "private": true, "disabled": false, "gated": false,
            "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
        })
    }

    /// The files behind `prefix`, and where it isn't asked for in depth the folders there.
    fn below(&self, prefix: &str, deep: &Deep) -> Told<Json<Value>> {
        let deep = deep
            .recursive
            .as_deref()
            .is_some_and(|text| matches!(text, "1" | "true" | "True"));
        let mut entries: Vec<Value> = Vec::new();
        for ((path, digest), bytes) in self.revision.files.iter().zip(&self.bytes) {
            let Some(rest) = path.strip_prefix(prefix) else {
                continue;
            };
            let entry = match rest.split_once('/') {
                Some((folder, _)) if !deep => json!({
                    "type": "directory", "oid": self.commit(), "size": 0, "path": format!("{prefix}{folder}"),
                }),
                _ => json!({ "type": "file", "oid": digest.hex()[..40], "size": bytes, "path": path }),
            };
            // Files are in order, so those of a folder lie together.
            if entries.last() != Some(&entry) {
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            return Err(self.no_entry(prefix.trim_end_matches('/')));
        }
        Ok(Json(Value::Array(entries)))
    }

    fn no_entry(&self, path: &str) -> Gone {
        Gone {
            code: "EntryNotFound",
            problem: Problem::new(
                404,
                "not-found",
                format!("revision {} of {} has no {path:?}", self.commit(), self.model),
            ),
        }
    }
}

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        let detail = self.problem.detail.clone();
        let mut response = No::from(self.problem).into_response();
        put(&mut response, "x-error-code", self.code);
        put(&mut response, "x-error-message", &detail);
        response
    }
}

/// A header; what can't be in one is left out of it.
fn put(response: &mut Response, name: &'static str, text: &str) {
    let plain: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    if let Ok(value) = HeaderValue::from_str(&plain) {
        response.headers_mut().insert(name, value);
    }
}
