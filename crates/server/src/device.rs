//! Signing in where there is no browser, as `khub login` does: the device authorization grant of RFC 8628, with the hub
//! itself as the authorization server, so that any provider will do, or none.
//!
//! | request | who asks | what for |
//! |---|---|---|
//! | `POST /oauth/device_authorization` | the device | a code for itself, and one that its person types |
//! | `GET`, `POST /api/v1/devices` | the person, signed in | what the code would let in; yes or no |
//! | `POST /oauth/token` | the device, again and again | its token, once the person has said yes |
//!
//! What waits is in memory alone: codes hold for ten minutes, and a hub that starts anew has forgotten them, which the
//! device is told as if the time were over.

use crate::extract::{Answer, Ask, Bearer, Body, Json, Stranger};
use crate::hub::{Shared, digest, secret};
use crate::openapi::Routes;
use api::{DeviceAnswer, DeviceCodes, DeviceView, Problem};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use consortium::{Actor, Credential, Digest, Holder, PersonId, Scope, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a code holds, milliseconds.
const CODE_MILLIS: u64 = 600_000;
/// For how long the token is good, milliseconds: 30 days.
const TOKEN_MILLIS: u64 = 30 * 24 * 3_600 * 1_000;
/// By how much longer a device that asks too often has to wait, seconds (RFC 8628, section 3.5).
const SLOWER_S: u64 = 5;
/// Of one address, and of all.
const MOST_OF_ONE: usize = 20;
const MOST: usize = 2_000;
/// Without vowels, so that no words come about, and without what looks alike (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(crate) fn routes() -> Routes {
    Routes::about("sign-in")
        .get("/devices", "What asks to be let in under a code", look)
        .or(&[404])
        .post(
            "/devices",
            "Let in what asks under a code as oneself, or don't",
            answer,
        )
}

pub(crate) fn oauth() -> Router<Arc<Shared>> {
    Router::new()
        .route("/oauth/device_authorization", post(authorize))
        .route("/oauth/token", post(token))
        .route("/.well-known/oauth-authorization-server", get(metadata))
}

/// Devices that wait to be let in, by the digest of the code that each keeps for itself.
pub(crate) struct Devices {
    /// How many seconds lie between two of a device's questions.
    every: u64,
    waiting: Mutex<BTreeMap<Digest, Device>>,
}

#[derive(Clone)]
struct Device {
    /// What the person types, without the hyphen.
    code: String,
    scope: Scope,
    from: Option<IpAddr>,
    began: Time,
    /// How many seconds it has to wait between two questions, and when it asked last.
    every: u64,
    asked: Option<Time>,
    answer: Option<DeviceIs>,
}

#[derive(Clone)]
enum DeviceIs {
    LetIn(PersonId),
    Refused,
}

/// What a device that asks for its token is told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Nobody has answered yet.
    Pending,
    /// The same, and it asks too often.
    SlowDown,
    Denied,
    Expired,
    /// Its code was used, or never given.
    Unknown,
    LetIn(PersonId, Scope),
}

impl Devices {
    pub(crate) fn new(every: u64) -> Self {
        Self {
            every,
            waiting: Mutex::default(),
        }
    }

    /// Notes a device that wants in; false if too many wait already.
    fn add(&self, own: Digest, device: Device, now: Time) -> bool {
        let mut waiting = self.waiting();
        // Those that are over are kept as long again, so that they are told so.
        waiting.retain(|_, it| now.since(it.began) < 2 * CODE_MILLIS);
        let of_one = waiting
            .values()
            .filter(|it| it.from == device.from && it.holds_at(now));
        if waiting.len() >= MOST || of_one.count() >= MOST_OF_ONE {
            return false;
        }
        waiting.insert(own, device);
        true
    }

    /// What waits under the code that a person has typed.
    fn find(&self, code: &str, now: Time) -> Option<Device> {
        let code = letters_of(code);
        let waiting = self.waiting();
        let mut open = waiting
            .values()
            .filter(|it| it.answer.is_none() && it.holds_at(now));
        open.find(|it| it.code == code).cloned()
    }

    /// Notes the person's word; false if nothing waits under the code.
    fn answer(&self, code: &str, answer: DeviceIs, now: Time) -> bool {
        let code = letters_of(code);
        let mut waiting = self.waiting();
        let mut open = waiting
            .values_mut()
            .filter(|it| it.answer.is_none() && it.holds_at(now));
        let found = open.find(|it| it.code == code);
        found.map(|it| it.answer = Some(answer)).is_some()
    }

    /// What a device is told that asks for its token; a token is told once.
    fn ask(&self, own: Digest, now: Time) -> Told {
        let mut waiting = self.waiting();
        let Some(device) = waiting.get_mut(&own) else {
            return Told::Unknown;
        };
        if !device.holds_at(now) {
            return Told::Expired;
        }
        let early = device
            .asked
            .is_some_and(|asked| now.since(asked) < device.every * 1_000);
        device.asked = Some(now);
        let told = match &device.answer {
            None if early => {
                device.every += SLOWER_S;
                return Told::SlowDown;
            }
            None => return Told::Pending,
            Some(DeviceIs::Refused) => Told::Denied,
            Some(DeviceIs::LetIn(person)) => Told::LetIn(person.clone(), device.scope),
        };
        waiting.remove(&own);
        told
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Digest, Device>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    fn holds_at(&self, now: Time) -> bool {
        now.since(self.began) < CODE_MILLIS
    }
}

// ---- the device ----

#[derive(Deserialize)]
struct Wanted {
    /// `read` for a token that changes nothing.
    scope: Option<String>,
}

async fn authorize(State(shared): State<Arc<Shared>>, stranger: Stranger, body: Bytes) -> Response {
    let Ok(wanted) = serde_urlencoded::from_bytes::<Wanted>(&body) else {
        return refused("invalid_request");
    };
    let scope = match wanted.scope.as_deref() {
        None | Some("" | "full") => Scope::Full,
        Some("read") => Scope::Read,
        Some(_) => return refused("invalid_scope"),
    };
    let (own, code) = match (secret("device_"), new_code()) {
        (Ok(own), Ok(code)) => (own, code),
        (Err(problem), _) | (_, Err(problem)) => return crate::extract::No::from(problem).into_response(),
    };
    let now = shared.now();
    let device = Device {
        code: letters_of(&code),
        scope,
        from: stranger.address,
        began: now,
        every: shared.devices.every,
        asked: None,
        answer: None,
    };
    if !shared.devices.add(digest(&own), device, now) {
        return told(
            StatusCode::TOO_MANY_REQUESTS,
            &json!({"error": "temporarily_unavailable"}),
        );
    }
    let page = format!("{}/#/device", shared.public);
    let codes = DeviceCodes {
        device_code: own,
        verification_uri_complete: format!("{page}/{code}"),
        verification_uri: page,
        user_code: code,
        expires_in: CODE_MILLIS / 1_000,
        interval: shared.devices.every,
    };
    told(StatusCode::OK, &json!(codes))
}

#[derive(Deserialize)]
struct Asked {
    grant_type: String,
    device_code: Option<String>,
}

async fn token(State(shared): State<Arc<Shared>>, stranger: Stranger, body: Bytes) -> Response {
    let Ok(asked) = serde_urlencoded::from_bytes::<Asked>(&body) else {
        return refused("invalid_request");
    };
    let own = match asked {
        Asked { grant_type, .. } if grant_type != GRANT => return refused("unsupported_grant_type"),
        Asked {
            device_code: Some(own),
            ..
        } => own,
        Asked { .. } => return refused("invalid_request"),
    };
    let now = shared.now();
    let (person, scope) = match shared.devices.ask(digest(&own), now) {
        Told::LetIn(person, scope) => (person, scope),
        Told::Pending => return refused("authorization_pending"),
        Told::SlowDown => return refused("slow_down"),
        Told::Denied => return refused("access_denied"),
        Told::Expired => return refused("expired_token"),
        Told::Unknown => {
            shared.lockout.note(stranger.address);
            return refused("invalid_grant");
        }
    };
    let credential = Credential {
        expires: Some(now.plus(TOKEN_MILLIS)),
        scope,
        ..Credential::full(Holder::Person(person.clone()))
    };
    match shared.issue(Actor::Person(person), credential).await {
        Ok(token) => told(
            StatusCode::OK,
            &json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_MILLIS / 1_000}),
        ),
        Err(problem) => crate::extract::No::from(problem).into_response(),
    }
}

/// RFC 8414, for programs other than khub's.
async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    let hub = &shared.public;
    let about = json!({
        "issuer": hub,
        "device_authorization_endpoint": format!("{hub}/oauth/device_authorization"),
        "token_endpoint": format!("{hub}/oauth/token"),
        "grant_types_supported": [GRANT],
        "token_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["full", "read"],
    });
    told(StatusCode::OK, &about)
}

fn refused(error: &str) -> Response {
    told(StatusCode::BAD_REQUEST, &json!({ "error": error }))
}

fn told(status: StatusCode, what: &Value) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, axum::Json(what)).into_response()
}

// ---- the person ----

/// Which device.
#[derive(Deserialize, JsonSchema)]
struct Typed {
    /// The code that the device shows.
    code: String,
}

async fn look(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    stranger: Stranger,
    Ask(typed): Ask<Typed>,
) -> Answer<DeviceView> {
    may_answer(&bearer.actor)?;
    let found = shared.devices.find(&typed.code, shared.now());
    let device = found.ok_or_else(|| shared.no_device(&stranger))?;
    Ok(Json(DeviceView {
        scope: device.scope,
        from: device.from.map(|address| address.to_string()),
        began: device.began,
        expires: device.began.plus(CODE_MILLIS),
    }))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    stranger: Stranger,
    Body(said): Body<DeviceAnswer>,
) -> Answer<DeviceAnswer> {
    let person = may_answer(&bearer.actor)?;
    let answer = if said.allow {
        DeviceIs::LetIn(person)
    } else {
        DeviceIs::Refused
    };
    if !shared.devices.answer(&said.code, answer, shared.now()) {
        return Err(shared.no_device(&stranger).into());
    }
    Ok(Json(said))
}

fn may_answer(actor: &Actor) -> Result<PersonId, Problem> {
    match actor {
        Actor::Person(person) => Ok(person.clone()),
        other => Err(Problem::new(
            403,
            "forbidden",
            format!("{other} lets nobody in; people do"),
        )),
    }
}

impl Shared {
    /// Who tries codes is locked out in the end, signed in or not.
    fn no_device(&self, stranger: &Stranger) -> Problem {
        self.lockout.note(stranger.address);
        Problem::new(404, "not-found", "nothing waits under this code, or not any more")
            .hint("compare it with what `khub login` shows; a code holds for ten minutes")
    }
}

/// A code that people type: two groups of four letters.
fn new_code() -> Result<String, Problem> {
    let mut code = String::new();
    while code.len() < 9 {
        if code.len() == 4 {
            code.push('-');
        }
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(|e| Problem::new(500, "internal", e.to_string()))?;
        // The last of the 256 would make some letters likelier than others.
        if let Some(letter) = LETTERS.get(usize::from(byte[0] % 20)).filter(|_| byte[0] < 240) {
            code.push(char::from(*letter));
        }
    }
    Ok(code)
}

/// However somebody types it.
fn letters_of(code: &str) -> String {
    let letters = code.chars().filter(char::is_ascii_alphabetic).take(20);
    letters.map(|letter| letter.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(code: &str, scope: Scope) -> Device {
        Device {
            code: code.into(),
            scope,
            from: None,
            began: Time(0),
            every: 5,
            asked: None,
            answer: None,
        }
    }

    fn own(word: &str) -> Digest {
        Digest::of(word.as_bytes())
    }

    fn minji() -> DeviceIs {
        DeviceIs::LetIn("minji".parse().unwrap())
    }

    #[test]
    fn a_device_is_let_in_once() {
        let devices = Devices::new(5);
        assert!(devices.add(own("a"), device("BCDFGHJK", Scope::Read), Time(0)));
        assert_eq!(devices.ask(own("a"), Time(0)), Told::Pending);
        assert!(devices.find("bcdf-ghjk ", Time(1)).is_some());
        assert!(!devices.answer("BCDF-GHJL", minji(), Time(1)));
        assert!(devices.answer("BCDF-GHJK", minji(), Time(1)));
        // Nobody else may answer now.
        assert!(devices.find("BCDF-GHJK", Time(2)).is_none());
        assert!(!devices.answer("BCDF-GHJK", DeviceIs::Refused, Time(2)));
        let person = "minji".parse().unwrap();
        assert_eq!(
            devices.ask(own("a"), Time(5_000)),
            Told::LetIn(person, Scope::Read)
        );
        assert_eq!(devices.ask(own("a"), Time(10_000)), Told::Unknown);
    }

    #[test]
    fn who_asks_too_often_has_to_wait_longer_each_time() {
        let devices = Devices::new(5);
        devices.add(own("a"), device("BCDFGHJK", Scope::Full), Time(0));
        let ask = |at| devices.ask(own("a"), Time(at));
        assert_eq!(ask(0), Told::Pending);
        assert_eq!(ask(4_999), Told::SlowDown);
        assert_eq!(ask(4_999 + 9_999), Told::SlowDown);
        assert_eq!(ask(4_999 + 9_999 + 15_000), Told::Pending);
    }

    #[test]
    fn what_is_over_or_refused_is_told_so() {
        let devices = Devices::new(5);
        devices.add(own("a"), device("BCDFGHJK", Scope::Full), Time(0));
        devices.add(own("b"), device("LMNPQRST", Scope::Full), Time(0));
        devices.answer("LMNPQRST", DeviceIs::Refused, Time(1));
        assert_eq!(devices.ask(own("b"), Time(2)), Told::Denied);
        assert!(!devices.answer("BCDFGHJK", minji(), Time(CODE_MILLIS)));
        assert_eq!(devices.ask(own("a"), Time(CODE_MILLIS)), Told::Expired);
        assert_eq!(devices.ask(own("c"), Time(CODE_MILLIS)), Told::Unknown);
    }

    #[test]
    fn one_address_has_so_many_codes_and_no_more() {
        let devices = Devices::new(5);
        let added = (0..30).filter(|n| devices.add(own(&n.to_string()), device("X", Scope::Full), Time(0)));
        assert_eq!(added.count(), MOST_OF_ONE);
        assert!(devices.add(own("later"), device("X", Scope::Full), Time(CODE_MILLIS)));
    }

    #[test]
    fn codes_are_two_groups_of_letters() {
        let code = new_code().unwrap();
        assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
        let letters = letters_of(&code);
        assert!(
            letters.len() == 8 && letters.bytes().all(|b| LETTERS.contains(&b)),
            "{code}"
        );
    }
}
