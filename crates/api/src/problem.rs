use consortium::{Refusal, RefusalKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why the hub said no, as `application/problem+json` (RFC 9457) with what to try and who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A word that names the sort of problem: `forbidden`, `not-found`, `conflict`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, for the person who asked.
    pub detail: String,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The policies that decided, when policy did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// In how many seconds to try again; the header `Retry-After` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u16>,
}

impl Problem {
    /// A problem of the edge: the request didn't even reach the rules.
    pub fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status,
            detail: detail.into(),
            hint: None,
            policies: Vec::new(),
            retry_after_s: None,
        }
    }

    /// With what to try.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// With when to try again, in whole seconds.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1_000);
        Self {
            retry_after_s: Some(u16::try_from(seconds).unwrap_or(u16::MAX)),
            ..self
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, kind) = match refusal.kind {
            RefusalKind::NotFound => (404, "not-found"),
            RefusalKind::Forbidden => (403, "forbidden"),
            RefusalKind::Conflict => (409, "conflict"),
            RefusalKind::Invalid => (422, "invalid"),
            RefusalKind::Insufficient => (402, "insufficient"),
        };
        Self {
            kind: kind.to_owned(),
            status,
            detail: refusal.message,
            hint: refusal.hint,
            policies: refusal.policies,
            retry_after_s: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
