//! Why the consortium said no.

use serde::{Deserialize, Serialize};

/// What sort of no it is; the edge turns it into a status code and an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The thing named isn't there, or the asker may not know that it is.
    NotFound,
    /// A policy decides against it.
    Forbidden,
    /// It contradicts what has already happened.
    Conflict,
    /// The request itself makes no sense.
    Invalid,
    /// The award doesn't cover it.
    Insufficient,
}

/// A refused request: what is wrong, in words for the person who asked, and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What sort of no.
    pub kind: RefusalKind,
    /// What is wrong.
    pub message: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The policies that decided, when policy did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            policies: Vec::new(),
        }
    }

    pub(crate) fn not_found(noun: &str, name: impl std::fmt::Display) -> Self {
        Self::new(RefusalKind::NotFound, format!("there is no {noun} {name}"))
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message)
    }

    /// A policy's no.
    pub fn forbidden(message: impl Into<String>, policies: Vec<String>) -> Self {
        Self {
            policies,
            ..Self::new(RefusalKind::Forbidden, message)
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}
