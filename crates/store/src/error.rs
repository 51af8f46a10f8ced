//! What can go wrong with the log.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why the log can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was ever kept here.
    #[error("{} has no khub data; run `khub quickstart` or `khub serve` first", dir.display())]
    Missing {
        /// The folder that was to have it.
        dir: PathBuf,
    },
    /// Another hub writes here.
    #[error("another hub already runs on {}; stop it first, or choose another folder", dir.display())]
    Busy {
        /// The folder that both want.
        dir: PathBuf,
    },
    /// This program is too old for it.
    #[error(
        "{} was written by a newer khub (format {found}, this one knows {known}); \
         use that version or another folder",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// It isn't what was written.
    #[error("{} is damaged: {what}; restore the folder from a backup", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong, and at which record.
        what: String,
    },
    /// The log is whole, and something that is made from it differs from it.
    #[error(
        "the log in {} is whole, but {what}; the hub's decisions rest on the log alone, and what differs \
         can be made again from it",
        path.display()
    )]
    Stale {
        /// The database.
        path: PathBuf,
        /// What differs, and at which record.
        what: String,
    },
    /// It would not be read back as it was meant. Nothing was written.
    #[error("{what} can't be kept: {why}")]
    Unkeepable {
        /// Whose events, or the snapshot.
        what: String,
        /// Why.
        why: String,
    },
    /// The file system said no.
    #[error("{}: {why}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        why: io::Error,
    },
    /// SQLite said no, for another reason than damage: a full disk, missing permissions.
    #[error("{}: {why}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::Io {
            path: path.to_owned(),
            why,
        }
    }
}

/// What went wrong inside the database, whose path the caller knows.
#[derive(Debug)]
pub(crate) enum Fault {
    Damaged(String),
    Sqlite(rusqlite::Error),
}

impl Fault {
    /// The same for someone who doesn't know which database was asked.
    pub(crate) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Damaged(what) => StoreError::Damaged { path, what },
            Self::Sqlite(error) if tells_damage(&error) => {
                let what = error.to_string();
                StoreError::Damaged { path, what }
            }
            Self::Sqlite(error) => {
                let why = error.to_string();
                StoreError::Sqlite { path, why }
            }
        }
    }

    pub(crate) fn damaged(what: impl fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether it says that the file is not what khub wrote. The statements here are fixed, so a table, column or
/// type that doesn't fit them (`Unknown`: "no such table") is the file's fault as well.
fn tells_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase, TypeMismatch, Unknown};
    match error.sqlite_error_code() {
        Some(code) => {
            matches!(
                code,
                ConstraintViolation | DatabaseCorrupt | NotADatabase | TypeMismatch | Unknown
            )
        }
        None => true,
    }
}
