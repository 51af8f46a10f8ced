//! What the log asks of a database, and the places where there is one.
//!
//! Rows go in and come out as they are. What they mean and whether they fit together is checked above this
//! interface, in the same way for both databases.

use crate::error::Fault;
use crate::log::{Head, Row};
use crate::points::{RawLast, RawPlace, RawPoint};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::{Posting, StoreError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: i64 = 1;

/// Where a hub keeps its log. As text: a folder, or `postgresql://user:password@host/database`.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// In a folder, with SQLite.
    Folder(PathBuf),
    /// In PostgreSQL, by its connection string.
    Postgres(String),
}

impl Place {
    /// As it can be parsed again, with the password.
    pub fn url(&self) -> String {
        match self {
            Self::Folder(dir) => dir.display().to_string(),
            Self::Postgres(url) => url.clone(),
        }
    }
}

/// A database, opened to read or to write.
pub(crate) trait Database: fmt::Debug + Send {
    /// As people know it, without a password.
    fn place(&self) -> &str;

    /// Begins a transaction. To read: all until its end is seen as it is now. To write: nobody else writes,
    /// and if somebody has taken the log over, this is where it is told.
    fn begin(&mut self, access: Access) -> Result<(), Fault>;
    /// Ends the transaction. What was written and is to be kept is safe when this returns.
    fn end(&mut self, keep: bool) -> Result<(), Fault>;

    /// The records numbered `from` and more, in order, `limit` at most; or what is wrong with one.
    fn records(&mut self, from: i64, limit: i64) -> Result<Vec<Result<RawRecord, String>>, Fault>;
    /// The hash of a record, if there is one.
    fn hash_of(&mut self, seq: i64) -> Result<Option<Vec<u8>>, Fault>;
    /// Adds records.
    fn add_records(&mut self, rows: &[Row]) -> Result<(), Fault>;

    /// The postings behind `after`, a record and a place in it, in order, `limit` at most; all or of one job.
    fn postings(&mut self, after: (i64, i64), limit: i64, job: Option<i64>)
    -> Result<Vec<RawPosting>, Fault>;
    /// Adds the postings of some records; those of a record are counted from 0.
    fn add_postings(&mut self, postings: &[Posting]) -> Result<(), Fault>;
    /// Drops all postings.
    fn clear_postings(&mut self) -> Result<(), Fault>;

    /// Adds points, each once; those that are there already change nothing.
    fn add_points(&mut self, points: &[RawPoint]) -> Result<(), Fault>;
    /// A run's points under a name behind `after`, in order, `limit` at most.
    fn points(
        &mut self,
        run: &str,
        key: &str,
        after: Option<RawPlace>,
        limit: i64,
    ) -> Result<Vec<RawPlace>, Fault>;
    /// The points behind `after`, in the order of their columns, `limit` at most.
    fn all_points(&mut self, after: Option<&RawPoint>, limit: i64) -> Result<Vec<RawPoint>, Fault>;
    /// The newest points of these runs; of all names or of these.
    fn last_points(&mut self, runs: &[String], keys: Option<&[String]>) -> Result<Vec<RawLast>, Fault>;
    /// The runs that have points, and how many.
    fn count_points(&mut self) -> Result<Vec<(String, i64)>, Fault>;

    /// The last snapshot.
    fn snapshot(&mut self) -> Result<Option<RawSnapshot>, Fault>;
    /// Puts a snapshot in the place of all others.
    fn replace_snapshot(&mut self, snapshot: &RawSnapshot) -> Result<(), Fault>;

    /// What the database's own check finds.
    fn check(&mut self) -> Result<Option<String>, Fault> {
        Ok(None)
    }
    /// The last confirmed record, as far as it was noted outside the database.
    fn noted(&self) -> Option<Head> {
        None
    }
    /// Notes the last confirmed record outside the database.
    fn note(&mut self, _head: &Head) {}
    /// Shows others that this writer is alive, if it hasn't just done so.
    fn keep_alive(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A record's columns.
#[derive(Debug)]
pub(crate) struct RawRecord {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) events: String,
    pub(crate) hash: Vec<u8>,
}

/// A posting's columns.
#[derive(Debug)]
pub(crate) struct RawPosting {
    pub(crate) seq: i64,
    pub(crate) n: i64,
    pub(crate) at: i64,
    pub(crate) job: Option<i64>,
    pub(crate) account: String,
    pub(crate) won: i64,
    pub(crate) compute: String,
}

/// A snapshot's columns.
#[derive(Debug)]
pub(crate) struct RawSnapshot {
    pub(crate) seq: i64,
    pub(crate) khub: String,
    pub(crate) state: String,
    pub(crate) digest: Vec<u8>,
}

/// Opens the database for the one hub that writes; makes it if there is none.
pub(crate) fn open_to_write(place: &Place) -> Result<Box<dyn Database>, StoreError> {
    Ok(match place {
        Place::Folder(dir) => Box::new(Sqlite::open_to_write(dir)?),
        Place::Postgres(url) => Box::new(Postgres::open_to_write(url)?),
    })
}

/// Opens the database to read; a hub may be writing at the same time.
pub(crate) fn open_to_read(place: &Place) -> Result<Box<dyn Database>, StoreError> {
    Ok(match place {
        Place::Folder(dir) => Box::new(Sqlite::open_to_read(dir)?),
        Place::Postgres(url) => Box::new(Postgres::open_to_read(url)?),
    })
}

/// Carries out `work` in a transaction, which is undone if it fails.
pub(crate) fn transact<T>(
    db: &mut dyn Database,
    access: Access,
    work: impl FnOnce(&mut dyn Database) -> Result<T, Fault>,
) -> Result<T, Fault> {
    db.begin(access)?;
    match work(db) {
        Ok(done) => db.end(access == Access::Write).map(|()| done),
        Err(fault) => {
            // A transaction that can't be undone goes with its connection.
            let _ = db.end(false);
            Err(fault)
        }
    }
}

pub(crate) fn check_format(place: &str, found: i64) -> Result<(), StoreError> {
    let place = place.to_owned();
    match found {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::Newer {
            place,
            found,
            known: FORMAT,
        }),
        _ => {
            let what = format!("its format number is {found}, which no khub has written");
            Err(StoreError::Damaged { place, what })
        }
    }
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = ["postgresql://", "postgres://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        Ok(if is_url {
            Self::Postgres(text.to_owned())
        } else {
            Self::Folder(text.into())
        })
    }
}

impl From<&Path> for Place {
    fn from(dir: &Path) -> Self {
        Self::Folder(dir.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(dir: &PathBuf) -> Self {
        Self::Folder(dir.clone())
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

impl fmt::Display for Place {
    /// Without a password, which has no business in a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(dir) => dir.display().fmt(f),
            Self::Postgres(url) => f.write_str(&crate::postgres::without_password(url)),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
