use consortium::{Refusal, RefusalKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

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
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
