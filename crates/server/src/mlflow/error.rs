//! A no in MLflow's form: `{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is no run ..."}`.

use crate::extract::Refused;
use api::Problem;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

/// The sort of a problem that is a route that isn't there.
pub(super) const NO_ENDPOINT: &str = "no-endpoint";

/// Problems get the form that these clients read; anything else stays as it is.
pub(super) async fn in_their_form(response: Response) -> Response {
    let Some(Refused(problem)) = response.extensions().get().cloned() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    let (status, code) = code(&problem);
    parts.status = status;
    let hint = problem.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    let message = format!("{}{hint}", problem.detail);
    let body = json!({ "error_code": code, "message": message }).to_string();
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

fn code(problem: &Problem) -> (StatusCode, &'static str) {
    let code = match problem.status {
        401 => "UNAUTHENTICATED",
        402 => "RESOURCE_LIMIT_EXCEEDED",
        403 => "PERMISSION_DENIED",
        404 if problem.kind == NO_ENDPOINT => "ENDPOINT_NOT_FOUND",
        404 => "RESOURCE_DOES_NOT_EXIST",
        405 => "BAD_REQUEST",
        409 => "RESOURCE_CONFLICT",
        429 => "REQUEST_LIMIT_EXCEEDED",
        503 => "TEMPORARILY_UNAVAILABLE",
        500.. => "INTERNAL_ERROR",
        _ => "INVALID_PARAMETER_VALUE",
    };
    // MLflow knows no 422: what a server doesn't take is a parameter's value.
    let status = if problem.status == 422 {
        400
    } else {
        problem.status
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, code)
}
