//! The hub's pages for people: one small static page at `/`, which asks `/api/v1` with the person's session or the token
//! that they paste, and the structure viewer Mol*, if its files are in the assets folder.
//!
//! The page is in the binary. It loads nothing from other hosts, and its Content-Security-Policy forbids it to. What
//! stands here is the same for everyone: what an asker may know is decided where `/api/v1` answers.

use crate::extract::{At, No};
use crate::hub::Shared;
use api::Problem;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio_util::io::ReaderStream;

const SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Mol* evaluates text as code when it starts. In this sandbox it has no origin, so it can't come by the token, and
/// it can ask nothing of any host.
const VIEWER: &str = "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-eval'; \
    style-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let file =
        |kind, security, text: &'static str| get(move || async move { told(kind, security, text.into()) });
    let script = |text| file(JS, SECURITY, text);
    Router::new()
        .route("/", file(HTML, SECURITY, include_str!("pages/index.html")))
        .route(
            "/assets/khub.css",
            file(CSS, SECURITY, include_str!("pages/khub.css")),
        )
        .route("/assets/khub.js", script(include_str!("pages/khub.js")))
        .route("/assets/parts.js", script(include_str!("pages/parts.js")))
        .route("/assets/calls.js", script(include_str!("pages/calls.js")))
        .route("/assets/invoices.js", script(include_str!("pages/invoices.js")))
        .route("/assets/runs.js", script(include_str!("pages/runs.js")))
        .route("/assets/device.js", script(include_str!("pages/device.js")))
        .route("/assets/sign-in.js", script(include_str!("pages/sign-in.js")))
        .route("/assets/words.js", script(include_str!("pages/words.js")))
        .route("/assets/structure.js", script(include_str!("pages/structure.js")))
        .route(
            "/assets/viewer.html",
            file(HTML, VIEWER, include_str!("pages/viewer.html")),
        )
        .route("/assets/viewer.js", script(include_str!("pages/viewer.js")))
        .route("/assets/molstar/{file}", get(molstar))
}

/// A page for whoever comes back from the provider and isn't let in: why, in both languages.
pub(crate) fn not_signed_in(problem: &Problem) -> Response {
    let korean = match problem.kind.as_str() {
        "provider" => "인증 제공자가 응답하지 않거나 응답이 올바르지 않습니다. 잠시 후 다시 시도하세요.",
        "not-invited" => {
            "이 계정으로 등록된 사람이 없습니다. 사업단에 초대를 요청하고, 받은 초대 코드로 로그인하세요."
        }
        "stale" => "이 브라우저에서 시작하지 않았거나 시간이 지난 로그인입니다. 처음부터 다시 시작하세요.",
        "denied" => "인증 제공자가 로그인을 허락하지 않았습니다.",
        _ => "로그인이 거부되었습니다.",
    };
    let hint = problem
        .hint
        .as_deref()
        .map(|hint| format!("<p>{}</p>", as_text(hint)));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>khub</title>\
         <link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/assets/khub.css\"></head>\
         <body data-page=\"not-signed-in\"><main><h1>로그인하지 못했습니다 · You aren't signed in</h1>\
         <div class=\"no\" role=\"alert\"><p lang=\"ko\">{korean}</p><p>{}</p>{}</div>\
         <p><a href=\"/\">khub</a></p></main></body></html>\n",
        as_text(&problem.detail),
        hint.unwrap_or_default(),
    );
    let mut response = told(HTML, SECURITY, page.into());
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Text as HTML has it.
fn as_text(text: &str) -> String {
    let of = |c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        other => String::from(other),
    };
    text.chars().map(of).collect()
}

fn told(kind: &'static str, security: &'static str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, security),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// One of the three files that `dev/molstar` brings, and no other.
async fn molstar(State(shared): State<Arc<Shared>>, At(name): At<String>) -> Result<Response, No> {
    let kind = match name.as_str() {
        "molstar.js" => JS,
        "molstar.css" => CSS,
        "LICENSE" => TEXT,
        _ => return Err(missing("Mol* has no such file").into()),
    };
    let path = shared.assets.join("molstar").join(&name);
    match tokio::fs::File::open(&path).await {
        Ok(file) => {
            let body = Body::from_stream(ReaderStream::with_capacity(file, 256 << 10));
            Ok(told(kind, SECURITY, body))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(missing("this hub has no structure viewer; `dev/molstar` brings it").into())
        }
        Err(error) => Err(Problem::new(500, "internal", format!("{}: {error}", path.display())).into()),
    }
}

fn missing(what: &str) -> Problem {
    Problem::new(404, "not-found", what)
}
