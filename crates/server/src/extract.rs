//! What handlers take in and give out. Every failure on the way is a [`Problem`]: which part of the request
//! is wrong, and what to try.

use crate::access_log::Who;
use crate::hub::{Hearing, Shared, digest};
use crate::session::with_cookies;
use api::Problem;
use axum::extract::{
    ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Query, Request,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use consortium::{Actor, Credential, Digest, Holder, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// The most JSON in one request.
const LARGEST_BODY: usize = 16 << 20;

/// A no, on its way out.
pub(crate) struct No(Problem);

/// A no that is written already, for what gives it another form.
#[derive(Clone)]
pub(crate) struct Refused(pub(crate) Problem);

/// What handlers answer.
pub(crate) type Answer<T> = Result<Json<T>, No>;

/// An answer as JSON.
pub(crate) struct Json<T>(pub(crate) T);

/// An answer as JSON, and cookies to keep.
pub(crate) struct WithCookies<T>(pub(crate) T, pub(crate) Vec<String>);

/// Who asks, by the bearer token or the session. While a site's request is open, the site counts as heard.
pub(crate) struct Bearer {
    pub(crate) actor: Actor,
    _hearing: Option<Hearing>,
}

/// Who asks and by which token, how far it may go: for what ends it.
pub(crate) struct Own {
    pub(crate) actor: Actor,
    pub(crate) token: Digest,
}

/// Somebody without a token, who brings a secret of another sort. Who tries many is locked out, as with tokens.
pub(crate) struct Stranger {
    pub(crate) address: Option<IpAddr>,
}

/// The request's body, from JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// The parts of the address that stand in braces.
pub(crate) struct At<T>(pub(crate) T);

/// What stands behind the question mark.
pub(crate) struct Ask<T>(pub(crate) T);

/// The `Idempotency-Key` header.
pub(crate) struct Key(pub(crate) String);

impl FromRequestParts<Arc<Shared>> for Bearer {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, No> {
        let Known { holder, scope, .. } = known(parts, shared)?;
        if scope == Scope::Read && !reads(&parts.method) {
            let no = Problem::new(
                403,
                "forbidden",
                "this token is for reading, and this would change something",
            );
            return Err(no.hint("use a token of full scope").into());
        }
        let hearing = match &holder {
            Holder::Site(site) => Some(shared.hear(site)),
            Holder::Person(_) => None,
        };
        Ok(Self {
            actor: Actor::from(holder),
            _hearing: hearing,
        })
    }
}

impl FromRequestParts<Arc<Shared>> for Own {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, No> {
        let Known { holder, token, .. } = known(parts, shared)?;
        let actor = Actor::from(holder);
        Ok(Self { actor, token })
    }
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// What the hub knows of the token or session that a request carries.
struct Known {
    token: Digest,
    holder: Holder,
    scope: Scope,
}

fn known(parts: &Parts, shared: &Shared) -> Result<Known, No> {
    let unknown = |detail: &str| Problem::new(401, "unauthorised", detail);
    let header = parts.headers.get(header::AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let session = shared.session_of(&parts.headers).filter(|_| token.is_none());
    let token = token.or(session.as_deref()).ok_or_else(|| {
        unknown("the request carries no bearer token")
            .hint("send the header `Authorization: Bearer khub_...`")
    })?;
    let address = address(parts);
    shared.lockout.check(address)?;
    let token = digest(token.trim());
    let known = shared.read()?.credentials.get(&token).cloned();
    let known = known.filter(|it| it.holds_at(shared.now()) && it.session == session.is_some());
    let Some(Credential { holder, scope, .. }) = known else {
        shared.lockout.note(address);
        return Err(unknown("the hub doesn't know this token, or it has expired")
            .hint(
                "`khub login` brings another; else ask the programme office for a credential or an invitation",
            )
            .into());
    };
    let actor = Actor::from(holder.clone());
    if let Some(Who(who)) = parts.extensions.get() {
        let _ = who.set(actor.clone());
    }
    shared.rate.take(&actor, Instant::now())?;
    if session.is_some() && !reads(&parts.method) {
        shared.is_own_page(&parts.headers)?;
    }
    takes_part(&actor, shared)?;
    Ok(Known { token, holder, scope })
}

impl FromRequestParts<Arc<Shared>> for Stranger {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, No> {
        let address = address(parts);
        shared.lockout.check(address)?;
        Ok(Self { address })
    }
}

fn address(parts: &Parts) -> Option<IpAddr> {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map(|info| info.0.ip())
}

/// Who is suspended or gone, or whose organisation is, is told so, whatever they ask.
fn takes_part(actor: &Actor, shared: &Shared) -> Result<(), Problem> {
    let state = shared.read()?;
    let Some(why) = state.kept_out(actor) else {
        return Ok(());
    };
    Err(Problem::new(403, "forbidden", why).hint("ask the programme office, which decides about standing"))
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Key {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, No> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(None);
        };
        let key = value.to_str().ok().filter(|key| (1..=200).contains(&key.len()));
        let wrong = || {
            Problem::new(
                400,
                "malformed",
                "the Idempotency-Key header takes 1 to 200 ASCII characters",
            )
        };
        Ok(Some(Self(key.ok_or_else(wrong)?.to_owned())))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = No;

    async fn from_request(request: Request, _: &S) -> Result<Self, No> {
        let limit = || {
            Problem::new(
                413,
                "too-large",
                format!("a body of at most {LARGEST_BODY} bytes is taken"),
            )
        };
        let bytes = axum::body::to_bytes(request.into_body(), LARGEST_BODY)
            .await
            .map_err(|_| limit())?;
        let wrong = |e: serde_json::Error| {
            Problem::new(400, "malformed", format!("the body isn't what is wanted: {e}"))
        };
        let read = serde_json::from_slice(&bytes).or_else(|error| with_whole_numbers(&bytes).ok_or(error));
        Ok(Self(read.map_err(wrong)?))
    }
}

/// What is written in `json` if `7.0` is taken for 7: in JSON they are the same number, and some writers know no other.
fn with_whole_numbers<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let mut value = serde_json::from_slice(json).ok()?;
    make_whole(&mut value);
    serde_json::from_value(value).ok()
}

fn make_whole(value: &mut Value) {
    /// All whole numbers up to here have a floating-point number of their own.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= LARGEST);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        _ => {}
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, No> {
        let found = <Path<T> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        let wrong =
            |e: axum::extract::rejection::PathRejection| Problem::new(400, "malformed", e.body_text());
        Ok(Self(found.map_err(wrong)?.0))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, No> {
        let found = Query::<T>::from_request_parts(parts, state).await;
        let wrong =
            |e: axum::extract::rejection::QueryRejection| Problem::new(400, "malformed", e.body_text());
        Ok(Self(found.map_err(wrong)?.0))
    }
}

impl<T: Into<Problem>> From<T> for No {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: Serialize> IntoResponse for WithCookies<T> {
    fn into_response(self) -> Response {
        with_cookies(Json(self.0).into_response(), &self.1)
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).expect("problems are plain data");
        let media = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, media, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.0.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Refused(self.0));
        response
    }
}

pub(crate) async fn no_such_address(uri: Uri) -> Result<Infallible, No> {
    let hint = "the interface is under /api/v1";
    Err(
        Problem::new(404, "not-found", format!("there is nothing at {}", uri.path()))
            .hint(hint)
            .into(),
    )
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Result<Infallible, No> {
    Err(Problem::new(405, "not-allowed", format!("{} takes no {method}", uri.path())).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        type Wanted = (u16, i64, f64);
        let read = |json: &str| with_whole_numbers::<Wanted>(json.as_bytes());
        assert_eq!(read("[2021.0, -3e2, 1.5]"), Some((2021, -300, 1.5)));
        for bad in [
            "[2021.5, 0, 0]",
            "[1e300, 0, 0]",
            "[0, 1e19, 0]",
            "[-1.0, 0, 0]",
            "[0, 0",
            "7.0",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
