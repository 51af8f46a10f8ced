//! Signing in with a provider, and sessions.
//!
//! | request | what for |
//! |---|---|
//! | `POST /api/v1/sign-in` | where the browser has to go; a cookie keeps what it has to come back with |
//! | `GET /sign-in/callback` | where the provider sends it back to: the code becomes an identity, and that a session |
//! | `DELETE /api/v1/session` | sign out |
//!
//! A session is a credential like a token, for half a day, and travels in a cookie that scripts can't read and other
//! sites' pages don't send (`SameSite=Strict`). What changes something is taken with a cookie only if the browser says that
//! the hub's own page asks: by `Sec-Fetch-Site`, or where a browser doesn't send that, by `Origin`. So there is no token
//! against forgery to keep, to hand to every page, and to leak.

use crate::extract::{Answer, Ask, Body, Json, No, Own, Stranger, WithCookies};
use crate::hub::{Shared, digest, secret};
use crate::openapi::Routes;
use crate::pages;
use crate::provider::{Errand, Provider};
use api::{Acceptance, Done, Problem, SignInView, SignInWith, ToProvider};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use consortium::{Actor, Command, Credential, Holder, Identity, PersonId, Request, SignIn};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long a session holds, seconds: half a day.
const SESSION_S: u64 = 12 * 3_600;
/// How long somebody may take at the provider, seconds.
const ATTEMPT_S: u64 = 600;

pub(crate) fn routes() -> Routes {
    Routes::about("sign-in")
        .get("/sign-in", "How people sign in here", how)
        .post(
            "/sign-in",
            "Begin to sign in with the provider, by an invitation the first time",
            begin,
        )
        .or(&[409, 502])
        .delete(
            "/session",
            "Sign out: the token or session that the request carries is worth nothing any more",
            sign_out,
        )
}

pub(crate) fn callback() -> Router<Arc<Shared>> {
    Router::new().route("/sign-in/callback", get(come_back))
}

/// What a browser keeps while its person is at the provider.
#[derive(Serialize, Deserialize)]
struct Attempt {
    state: String,
    nonce: String,
    verifier: String,
    /// Where in the pages to go on.
    page: String,
    invitation: Option<Acceptance>,
}

async fn how(State(shared): State<Arc<Shared>>) -> Answer<SignInView> {
    let provider = shared.provider.as_ref().map(|it| it.issuer().to_owned());
    Ok(Json(SignInView { provider }))
}

async fn begin(
    State(shared): State<Arc<Shared>>,
    _: Stranger,
    headers: HeaderMap,
    Body(asked): Body<SignInWith>,
) -> Result<WithCookies<ToProvider>, No> {
    shared.is_own_page(&headers)?;
    let provider = shared.provider()?;
    let attempt = Attempt {
        state: secret("")?,
        nonce: secret("")?,
        verifier: secret("")?,
        page: asked.page.filter(|page| is_page(page)).unwrap_or_default(),
        invitation: asked.invitation,
    };
    let kept = serde_json::to_vec(&attempt).expect("an attempt is plain data");
    let kept = shared.cookie(ATTEMPT, &URL_SAFE_NO_PAD.encode(kept), ATTEMPT_S, "Lax");
    let redirect = shared.redirect();
    let address = provider.turn(move |provider| provider.address(&attempt.errand(&redirect)));
    let address = address.await?;
    Ok(WithCookies(ToProvider { address }, vec![kept]))
}

/// What the provider has the browser say.
#[derive(Deserialize)]
struct Said {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

async fn come_back(
    State(shared): State<Arc<Shared>>,
    stranger: Stranger,
    headers: HeaderMap,
    Ask(said): Ask<Said>,
) -> Response {
    let over = shared.cookie(ATTEMPT, "", 0, "Lax");
    let attempt = cookie_of(&headers, &shared.cookie_name(ATTEMPT)).and_then(|kept| Attempt::read(&kept));
    match signed_in(&shared, &stranger, attempt, said).await {
        Ok((page, session)) => {
            let headers = [(header::LOCATION, format!("/{page}"))];
            with_cookies((StatusCode::SEE_OTHER, headers).into_response(), &[over, session])
        }
        Err(problem) => with_cookies(pages::not_signed_in(&problem), &[over]),
    }
}

/// Where to go on, and the session's cookie.
async fn signed_in(
    shared: &Arc<Shared>,
    stranger: &Stranger,
    attempt: Option<Attempt>,
    said: Said,
) -> Result<(String, String), Problem> {
    let provider = shared.provider()?;
    let came_back = |attempt: &Attempt| said.state.as_deref() == Some(&attempt.state);
    let attempt = attempt.filter(came_back).ok_or_else(|| shared.stale())?;
    let code = match said {
        Said {
            error: Some(error), ..
        } => {
            let error: String = error.chars().take(100).collect();
            let detail = format!("the provider didn't let you in: {error:?}");
            return Err(
                Problem::new(403, "denied", detail).hint("sign in there as yourself, and agree to it")
            );
        }
        // RFC 9207: a code of another provider's would be shown to this one.
        Said {
            iss: Some(issuer), ..
        } if issuer != provider.issuer() => return Err(shared.stale()),
        Said { code: Some(code), .. } => code,
        Said { .. } => return Err(shared.stale()),
    };
    let Attempt { page, invitation, .. } = &attempt;
    let (page, invitation, redirect) = (page.clone(), invitation.clone(), shared.redirect());
    let identity = provider.turn(move |provider| provider.identity(&code, &attempt.errand(&redirect)));
    let identity = identity.await?;
    let person = match invitation {
        Some(acceptance) => {
            shared
                .welcome(stranger, &acceptance, SignIn::Identity(identity))
                .await?
        }
        None => shared.bound(&identity)?,
    };
    Ok((page, shared.session(person).await?))
}

async fn sign_out(State(shared): State<Arc<Shared>>, own: Own) -> Result<WithCookies<Done>, No> {
    let command = Command::RevokeCredential { token: own.token };
    let granted = shared.ask(Request::new(own.actor, command)).await?;
    let over = shared.cookie(SESSION, "", 0, "Strict");
    let done = Done {
        seq: granted.seq,
        job: None,
        attempt: None,
    };
    Ok(WithCookies(done, vec![over]))
}

impl Attempt {
    fn read(kept: &str) -> Option<Self> {
        let attempt: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(kept).ok()?).ok()?;
        (attempt.page.is_empty() || is_page(&attempt.page)).then_some(attempt)
    }

    fn errand<'a>(&'a self, redirect: &'a str) -> Errand<'a> {
        Errand {
            state: &self.state,
            nonce: &self.nonce,
            verifier: &self.verifier,
            redirect,
        }
    }
}

/// Only a place in the hub's own pages.
fn is_page(page: &str) -> bool {
    page.len() <= 500 && page.starts_with("#/") && page.bytes().all(|b| b.is_ascii_graphic())
}

const SESSION: &str = "khub";
const ATTEMPT: &str = "khub-attempt";

impl Shared {
    /// The session that a request carries.
    pub(crate) fn session_of(&self, headers: &HeaderMap) -> Option<String> {
        cookie_of(headers, &self.cookie_name(SESSION))
    }

    /// Whether the browser says that the hub's own page asks. Other programs don't carry a cookie that isn't theirs.
    pub(crate) fn is_own_page(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let said = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let is_own = match (said("sec-fetch-site"), said("origin")) {
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => origin == self.public,
            (None, None) => false,
        };
        if is_own {
            return Ok(());
        }
        let detail = "with a session, only the hub's own pages may ask for this";
        let hint = format!(
            "open {} itself; whoever runs the hub says by --public-url where that is",
            self.public
        );
        Err(Problem::new(403, "forbidden", detail).hint(hint))
    }

    fn provider(&self) -> Result<&Arc<Provider>, Problem> {
        self.provider.as_ref().ok_or_else(|| {
            Problem::new(409, "conflict", "nobody signs in with a provider at this hub")
                .hint("sign in with a token; `khub login` takes an invitation")
        })
    }

    /// Whose identity it is.
    fn bound(&self, identity: &Identity) -> Result<PersonId, Problem> {
        let known = self.read()?.identities.get(identity).cloned();
        known.ok_or_else(|| {
            // Nothing of the consortium: whoever has an account at the provider comes this far.
            let detail = "you have signed in at the provider, and aren't known by that account here";
            Problem::new(403, "not-invited", detail)
                .hint("ask the programme office for an invitation, and sign in with its code")
        })
    }

    /// A new session's cookie.
    async fn session(&self, person: PersonId) -> Result<String, Problem> {
        let actor = Actor::Person(person.clone());
        if let Some(why) = self.read()?.kept_out(&actor) {
            return Err(Problem::new(403, "forbidden", why));
        }
        let credential = Credential {
            expires: Some(self.now().plus(SESSION_S * 1_000)),
            session: true,
            ..Credential::full(Holder::Person(person))
        };
        let session = secret("session_")?;
        let token = digest(&session);
        let command = Command::IssueCredential { token, credential };
        self.ask(Request::new(actor, command)).await?;
        Ok(self.cookie(SESSION, &session, SESSION_S, "Strict"))
    }

    fn stale(&self) -> Problem {
        let detail = "this sign-in was not begun in this browser, or too long ago";
        Problem::new(400, "stale", detail).hint(format!("begin again at {}", self.public))
    }

    /// Where the provider sends browsers back to.
    fn redirect(&self) -> String {
        format!("{}/sign-in/callback", self.public)
    }

    /// Beyond loopback, where the hub is reached by TLS, a cookie travels by TLS alone.
    fn is_secure(&self) -> bool {
        self.public.starts_with("https://")
    }

    fn cookie_name(&self, name: &str) -> String {
        if self.is_secure() {
            format!("__Host-{name}")
        } else {
            name.to_owned()
        }
    }

    fn cookie(&self, name: &str, value: &str, seconds: u64, same_site: &str) -> String {
        let name = self.cookie_name(name);
        let secure = if self.is_secure() { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}")
    }
}

fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.find_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name && !value.is_empty()).then(|| value.to_owned())
    })
}

pub(crate) fn with_cookies(mut response: Response, cookies: &[String]) -> Response {
    let values = cookies
        .iter()
        .filter_map(|cookie| HeaderValue::from_str(cookie).ok());
    for value in values {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
