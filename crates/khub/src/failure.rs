//! What goes wrong, for the person at the terminal: what, where, and what to try.

use api::{ApiError, Problem};
use std::fmt;
use std::path::Path;

/// The end of a command that didn't succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    /// The exit code: 1 for a failure, 3 where the consortium said no, 130 after Ctrl-C.
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            code: 1,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// A file that can't be used.
    pub(crate) fn file(path: &Path, why: impl fmt::Display) -> Self {
        Self::new(format_args!("{}: {why}", path.display()))
    }

    pub(crate) fn interrupted() -> Self {
        Self {
            code: 130,
            ..Self::new("stopped by Ctrl-C")
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            writeln!(f, "  try: {hint}")?;
        }
        Ok(())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            message: problem.detail,
            hint: problem.hint,
            code: 3,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(problem) => (*problem).into(),
            ApiError::Unreachable { .. } => {
                Self::new(error).hint("start it with `khub serve`, or name another with --hub or KHUB_HUB")
            }
            other => Self::new(other),
        }
    }
}

/// Errors of the libraries that say all there is to say.
macro_rules! plainly {
    ($($error:ty),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        }
    )+};
}
plainly!(
    server::HubError,
    ::site::SiteError,
    store::StoreError,
    consortium::BadId
);
