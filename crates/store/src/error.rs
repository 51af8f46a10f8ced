//! What can go wrong with the log.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why the log can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was ever kept here.
    #[error("{place} has no khub data; run `khub quickstart` or `khub serve` first")]
    Missing {
        /// The folder or the database that was to have it.
        place: String,
    },
    /// Another hub writes here.
    #[error("another hub already runs on {place}; stop it first, or choose another place")]
    Busy {
        /// The folder or the database that both want.
        place: String,
    },
    /// This program is too old for it.
    #[error(
        "{place} was written by a newer khub (format {found}, this one knows {known}); \
         use that version or another place"
    )]
    Newer {
        /// The database.
        place: String,
        /// Its format.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// It isn't what was written.
    #[error("{place} is damaged: {what}; restore it from a backup")]
    Damaged {
        /// The database.
        place: String,
        /// What is wrong, and at which record.
        what: String,
    },
    /// The log is whole, and something that is made from it differs from it.
    #[error(
        "the log in {place} is whole, but {what}; the hub's decisions rest on the log alone, and what differs \
         can be made again from it"
    )]
    Stale {
        /// The database.
        place: String,
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
    /// It isn't empty, and something was to be put there from a backup.
    #[error("{place} has a log already; restore to an empty place, or move that one away")]
    Occupied {
        /// Where.
        place: String,
    },
    /// The database said no, for another reason than damage: a full disk, missing permissions, a lost connection.
    #[error("{place}: {why}")]
    Database {
        /// The database.
        place: String,
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

/// What went wrong inside the database, whose place the caller knows.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It isn't what was written.
    Damaged(String),
    /// It said no for another reason.
    Refused(String),
}

impl Fault {
    /// The same for someone who doesn't know which database was asked.
    pub(crate) fn at(self, place: &str) -> StoreError {
        let place = place.to_owned();
        match self {
            Self::Damaged(what) => StoreError::Damaged { place, what },
            Self::Refused(why) => StoreError::Database { place, why },
        }
    }

    pub(crate) fn damaged(what: impl fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }

    /// What it says.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Damaged(text) | Self::Refused(text) => text,
        }
    }
}
