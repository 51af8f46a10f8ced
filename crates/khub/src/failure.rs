//! What goes wrong, for the person at the terminal: what, where, and what to try.

use ::site::SiteError;
use api::{ApiError, Problem};
use std::path::Path;
use std::{fmt, io};

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

    /// A file that the person named and that can't be read.
    pub(crate) fn unread(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(format_args!("there is no file {}", path.display()))
                .hint("check the name, or give the whole path"),
            _ => Self::file(path, error),
        }
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
            ApiError::Strange { .. } => Self::new(error)
                .hint("check --hub or KHUB_HUB: a hub's address is like http://127.0.0.1:7777"),
            ApiError::Wrong { .. } => Self::new(error).hint("fetch it again"),
            ApiError::BrokeOff { .. } => {
                Self::new(error).hint("the same again: it goes on where it broke off")
            }
            ApiError::File { .. } => Self::new(error),
        }
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Api(error) => error.into(),
            SiteError::Exchange(_) => Self::new(error).hint("`khub site --help` shows --serve and --reach"),
            SiteError::NotASite(_) | SiteError::File { .. } | SiteError::Masks(_) => Self::new(error),
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
plainly!(server::HubError, store::StoreError, consortium::BadId);
