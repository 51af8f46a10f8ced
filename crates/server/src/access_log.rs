//! The access log: a line of JSON for each answer, for whoever runs the hub and for their log collector.
//!
//! ```json
//! {"time":"2026-11-29T15:04:05.123+09:00","id":"5f0c7e1a90b3d244","from":"10.0.0.7","who":"person minji","method":"GET",
//!  "path":"/api/v1/jobs","status":200,"ms":0.4}
//! ```
//!
//! It has no query and no header, so no token comes into it. An id that the request brings in `X-Request-Id` is
//! kept; the answer has it, too.

use crate::hub::Shared;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use consortium::{Actor, Day, Time};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

const ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 100;

/// Where the lines go, if anywhere.
pub(crate) struct AccessLog {
    to: Option<Mutex<Box<dyn Write + Send>>>,
}

/// Who a request's token speaks for; filled in where the token is looked at.
#[derive(Clone, Default)]
pub(crate) struct Who(pub(crate) Arc<OnceLock<Actor>>);

impl AccessLog {
    /// Lines are added to the file; `-` is the standard error.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let to: Option<Box<dyn Write + Send>> = match path {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(io::stderr())),
            Some(path) => Some(Box::new(file(path)?)),
        };
        Ok(Self {
            to: to.map(Mutex::new),
        })
    }

    fn write<'a>(&self, line: impl FnOnce() -> Line<'a>) {
        let Some(to) = &self.to else { return };
        let mut text = serde_json::to_vec(&line()).expect("a line is plain data");
        text.push(b'\n');
        // A full disk of the access log is no reason to refuse anyone.
        let _ = to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text);
    }
}

/// Names each request, and writes a line when it is answered.
pub(crate) async fn note(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let log = &shared.access_log;
    let began = Instant::now();
    let brought = request.headers().get(&ID).and_then(|id| id.to_str().ok());
    let id = match brought.filter(|id| (1..=LONGEST_ID).contains(&id.len())) {
        Some(id) => id.to_owned(),
        None => new_id(),
    };
    let who = Who::default();
    request.extensions_mut().insert(who.clone());
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map(|info| info.0.ip());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next.run(request).await;
    log.write(|| Line {
        time: clock(shared.now()),
        id: &id,
        from,
        who: who.0.get().map(ToString::to_string),
        method: method.as_str(),
        path: uri.path(),
        status: response.status().as_u16(),
        ms: began.elapsed().as_micros() as f64 / 1e3,
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(ID, id);
    }
    response
}

/// By chance: a count would tell everyone how much the others ask.
fn new_id() -> String {
    let mut id = [0; 8];
    // Without random numbers no token can be made either, and that is told there.
    let _ = getrandom::fill(&mut id);
    format!("{:016x}", u64::from_ne_bytes(id))
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    method: &'a str,
    path: &'a str,
    status: u16,
    ms: f64,
}

/// As RFC 3339 has it, by Korea's clock as all of khub's days are.
fn clock(at: Time) -> String {
    let day = Day::of(at);
    let millis = at.0 - day.begins().0;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{day}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}+09:00")
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_korea_s() {
        assert_eq!(clock(Time(1_640_962_799_999)), "2021-12-31T23:59:59.999+09:00");
        assert_eq!(clock(Time(1_640_962_800_000)), "2022-01-01T00:00:00.000+09:00");
    }
}
