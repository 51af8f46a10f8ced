//! The log in one SQLite file.

use crate::database::{Access, Database, FORMAT, RawPosting, RawRecord, RawSnapshot, check_format};
use crate::error::Fault;
use crate::folder::{Folder, HeadNote, sync_dir};
use crate::log::{Head, Row};
use crate::points::{RawLast, RawPlace, RawPoint};
use crate::{Posting, StoreError, points, postings};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// `log` is the truth; `postings` and `snapshot` are made from it. Compute has 128 bits and so is text; other
/// numbers are SQLite's signed 64 bits, with the bits of ours.
const TABLES: &str = "
BEGIN IMMEDIATE;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES ('format', 1);
CREATE TABLE log (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL, -- milliseconds since 1970-01-01 UTC
    actor  TEXT NOT NULL,    -- JSON
    events TEXT NOT NULL,    -- JSON
    hash   BLOB NOT NULL
) STRICT;
CREATE TABLE postings (
    seq     INTEGER NOT NULL REFERENCES log (seq),
    n       INTEGER NOT NULL, -- counts the record's postings from 0
    at      INTEGER NOT NULL,
    job     INTEGER,
    account TEXT NOT NULL,
    won     INTEGER NOT NULL,
    compute TEXT NOT NULL,    -- FLOP-seconds
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX postings_of_job ON postings (job, seq, n);
CREATE TABLE snapshot (
    seq    INTEGER PRIMARY KEY, -- the last record that the state has in it
    khub   TEXT NOT NULL,       -- the version that wrote it
    state  TEXT NOT NULL,       -- JSON
    digest BLOB NOT NULL
) STRICT;
COMMIT;
";

/// What runs have measured; see `points.rs`. Files of older versions get these tables when a hub opens them.
const POINTS: &str = "
CREATE TABLE IF NOT EXISTS points (
    run   TEXT NOT NULL,
    key   TEXT NOT NULL,
    step  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    value INTEGER NOT NULL, -- the bits of a floating-point number
    PRIMARY KEY (run, key, step, at, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measured (
    run    TEXT NOT NULL,
    key    TEXT NOT NULL,
    points INTEGER NOT NULL, -- how many there are
    step   INTEGER NOT NULL, -- the newest of them
    at     INTEGER NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
";

/// A folder with the file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    // Fields are dropped in this order: the database is closed before another hub may have the folder.
    db: Connection,
    place: String,
    folder: Folder,
    note: Option<HeadNote>,
    _lock: Option<File>,
}

impl Sqlite {
    /// For the one hub that holds the folder's lock; makes folder and file if there are none.
    pub(crate) fn open_to_write(dir: &Path) -> Result<Self, StoreError> {
        let folder = Folder::new(dir);
        let lock = folder.lock()?;
        let place = folder.database().display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let opened = || -> Result<_, Fault> {
            let db = open(&folder, flags)?;
            Ok((format(&db)?, db))
        };
        let (format, db) = opened().map_err(|fault| fault.at(&place))?;
        check_format(&place, format.unwrap_or(FORMAT))?;
        let prepare = || -> Result<(), Fault> {
            // A commit is on the disk when it returns (FULL), and readers never wait for it (WAL).
            db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            db.pragma_update(None, "synchronous", "full")?;
            db.pragma_update(None, "foreign_keys", true)?;
            if format.is_none() {
                db.execute_batch(TABLES)?;
            }
            db.execute_batch(POINTS)?;
            Ok(())
        };
        prepare().map_err(|fault| fault.at(&place))?;
        sync_dir(&folder.dir).map_err(StoreError::io(&folder.dir))?;
        Ok(Self {
            db,
            place,
            folder,
            note: None,
            _lock: Some(lock),
        })
    }

    /// A hub may be writing at the same time.
    pub(crate) fn open_to_read(dir: &Path) -> Result<Self, StoreError> {
        let folder = Folder::new(dir);
        let place = folder.database().display().to_string();
        let missing = || StoreError::Missing {
            place: dir.display().to_string(),
        };
        if !folder.database().is_file() {
            return Err(missing());
        }
        let opened = || -> Result<_, Fault> {
            let db = open(&folder, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            Ok((format(&db)?, db))
        };
        let (format, db) = opened().map_err(|fault| fault.at(&place))?;
        check_format(&place, format.ok_or_else(missing)?)?;
        Ok(Self {
            db,
            place,
            folder,
            note: None,
            _lock: None,
        })
    }
}

fn open(folder: &Folder, flags: OpenFlags) -> Result<Connection, Fault> {
    // A connection is used by one thread at a time, which Rust checks; SQLite needn't.
    let db = Connection::open_with_flags(folder.database(), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // What SQLite advises for files that may be damaged or somebody else's.
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(db)
}

/// The format number, or none if nothing was ever written.
fn format(db: &Connection) -> Result<Option<i64>, Fault> {
    let count = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    if count("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'")? > 0 {
        return Ok(Some(count("SELECT value FROM meta WHERE key = 'format'")?));
    }
    if count("SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(Fault::damaged(
            "it is an SQLite file, but not one that khub wrote",
        ));
    }
    // A hub that was killed while it made the file leaves one page at most.
    if count("PRAGMA page_count")? > 1 {
        return Err(Fault::damaged("it has pages, but no tables"));
    }
    Ok(None)
}

impl Sqlite {
    /// Whether a hub of this version has opened the file to write.
    fn has_points(&self) -> Result<bool, Fault> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'measured'";
        Ok(self.db.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0)
    }
}

impl Database for Sqlite {
    fn place(&self) -> &str {
        &self.place
    }

    fn begin(&mut self, access: Access) -> Result<(), Fault> {
        Ok(self.db.execute_batch(match access {
            Access::Read => "BEGIN",
            Access::Write => "BEGIN IMMEDIATE",
        })?)
    }

    fn end(&mut self, keep: bool) -> Result<(), Fault> {
        Ok(self.db.execute_batch(if keep { "COMMIT" } else { "ROLLBACK" })?)
    }

    fn records(&mut self, from: i64, limit: i64) -> Result<Vec<Result<RawRecord, String>>, Fault> {
        let sql = "SELECT seq, at, actor, events, hash FROM log WHERE seq >= ? ORDER BY seq LIMIT ?";
        let mut select = self.db.prepare(sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(RawRecord {
                seq: row.get(0)?,
                at: row.get(1)?,
                actor: row.get(2)?,
                events: row.get(3)?,
                hash: row.get(4)?,
            })
        };
        let rows = select.query_map(params![from, limit], read)?;
        Ok(rows.map(|row| row.map_err(|e| e.to_string())).collect())
    }

    fn hash_of(&mut self, seq: i64) -> Result<Option<Vec<u8>>, Fault> {
        let sql = "SELECT hash FROM log WHERE seq = ?";
        Ok(self.db.query_row(sql, [seq], |row| row.get(0)).optional()?)
    }

    fn add_records(&mut self, rows: &[Row]) -> Result<(), Fault> {
        let sql = "INSERT INTO log (seq, at, actor, events, hash) VALUES (?, ?, ?, ?, ?)";
        let mut insert = self.db.prepare(sql)?;
        for row in rows {
            let (seq, at) = (row.head.seq.cast_signed(), row.at.0.cast_signed());
            insert.execute(params![seq, at, row.actor, row.events, row.head.hash.0])?;
        }
        Ok(())
    }

    fn postings(
        &mut self,
        after: (i64, i64),
        limit: i64,
        job: Option<i64>,
    ) -> Result<Vec<RawPosting>, Fault> {
        // Two statements, so that each has the index that fits.
        let sql = match job {
            None => {
                "SELECT seq, n, at, job, account, won, compute FROM postings
                 WHERE (seq, n) > (?1, ?2) ORDER BY seq, n LIMIT ?3"
            }
            Some(_) => {
                "SELECT seq, n, at, job, account, won, compute FROM postings
                 WHERE job = ?4 AND (seq, n) > (?1, ?2) ORDER BY seq, n LIMIT ?3"
            }
        };
        let mut select = self.db.prepare(sql)?;
        let values = [Some(after.0), Some(after.1), Some(limit), job];
        let used = if job.is_some() { 4 } else { 3 };
        let rows = select.query_map(rusqlite::params_from_iter(&values[..used]), |row| {
            Ok(RawPosting {
                seq: row.get(0)?,
                n: row.get(1)?,
                at: row.get(2)?,
                job: row.get(3)?,
                account: row.get(4)?,
                won: row.get(5)?,
                compute: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn add_postings(&mut self, postings: &[Posting]) -> Result<(), Fault> {
        let sql =
            "INSERT INTO postings (seq, n, at, job, account, won, compute) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let mut insert = self.db.prepare(sql)?;
        for (n, posting) in postings::counted(postings) {
            insert.execute(params![
                posting.seq.cast_signed(),
                n,
                posting.at.0.cast_signed(),
                posting.job.map(|job| job.0.cast_signed()),
                posting.account.to_string(),
                posting.won.0,
                posting.compute.0.to_string()
            ])?;
        }
        Ok(())
    }

    fn clear_postings(&mut self) -> Result<(), Fault> {
        self.db.execute("DELETE FROM postings", [])?;
        Ok(())
    }

    fn add_points(&mut self, points: &[RawPoint]) -> Result<(), Fault> {
        let mut new: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        let sql =
            "INSERT INTO points (run, key, step, at, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let mut insert = self.db.prepare(sql)?;
        for RawPoint { run, key, place } in points {
            let (step, at, value) = place;
            let added = insert.execute(params![run, key, step, at, value])?;
            *new.entry((run, key)).or_default() += i64::from(added > 0);
        }
        let sql = "INSERT INTO measured (run, key, points, step, at, value) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET points = points + excluded.points";
        let mut count = self.db.prepare(sql)?;
        let sql = "UPDATE measured SET step = ?3, at = ?4, value = ?5
             WHERE run = ?1 AND key = ?2 AND (step, at, value) < (?3, ?4, ?5)";
        let mut renew = self.db.prepare(sql)?;
        for ((run, key), (step, at, value)) in points::newest(points) {
            let new = new.get(&(run, key)).copied().unwrap_or_default();
            count.execute(params![run, key, new, step, at, value])?;
            renew.execute(params![run, key, step, at, value])?;
        }
        Ok(())
    }

    fn points(
        &mut self,
        run: &str,
        key: &str,
        after: Option<RawPlace>,
        limit: i64,
    ) -> Result<Vec<RawPlace>, Fault> {
        if !self.has_points()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT step, at, value FROM points
             WHERE run = ?1 AND key = ?2 AND (?3 OR (step, at, value) > (?4, ?5, ?6)) ORDER BY step, at, value LIMIT ?7";
        let (all, (step, at, value)) = (after.is_none(), after.unwrap_or_default());
        let mut select = self.db.prepare(sql)?;
        let rows = select.query_map(params![run, key, all, step, at, value, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn all_points(&mut self, after: Option<&RawPoint>, limit: i64) -> Result<Vec<RawPoint>, Fault> {
        if !self.has_points()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT run, key, step, at, value FROM points
             WHERE (run, key, step, at, value) > (?, ?, ?, ?, ?) ORDER BY run, key, step, at, value LIMIT ?";
        // No run has an empty name.
        let (run, key, (step, at, value)) =
            after.map_or(("", "", RawPlace::default()), |it| (&it.run, &it.key, it.place));
        let mut select = self.db.prepare(sql)?;
        let rows = select.query_map(params![run, key, step, at, value, limit], |row| {
            Ok(RawPoint {
                run: row.get(0)?,
                key: row.get(1)?,
                place: (row.get(2)?, row.get(3)?, row.get(4)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn last_points(&mut self, runs: &[String], keys: Option<&[String]>) -> Result<Vec<RawLast>, Fault> {
        if !self.has_points()? {
            return Ok(Vec::new());
        }
        let read = |row: &rusqlite::Row<'_>| {
            Ok(RawLast {
                run: row.get(0)?,
                key: row.get(1)?,
                points: row.get(2)?,
                place: (row.get(3)?, row.get(4)?, row.get(5)?),
            })
        };
        let mut all = Vec::new();
        let sql = "SELECT run, key, points, step, at, value FROM measured WHERE run = ?";
        let mut of_run = self.db.prepare(sql)?;
        let mut of_key = self.db.prepare(&format!("{sql} AND key = ?"))?;
        for run in runs {
            match keys {
                None => all.extend(of_run.query_map([run], read)?.collect::<Result<Vec<_>, _>>()?),
                Some(keys) => {
                    for key in keys {
                        all.extend(of_key.query_row([run, key], read).optional()?);
                    }
                }
            }
        }
        Ok(all)
    }

    fn count_points(&mut self) -> Result<Vec<(String, i64)>, Fault> {
        let mut select = self
            .db
            .prepare("SELECT run, sum(points) FROM measured GROUP BY run")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn snapshot(&mut self) -> Result<Option<RawSnapshot>, Fault> {
        let sql = "SELECT seq, khub, state, digest FROM snapshot ORDER BY seq DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(RawSnapshot {
                seq: row.get(0)?,
                khub: row.get(1)?,
                state: row.get(2)?,
                digest: row.get(3)?,
            })
        };
        Ok(self.db.query_row(sql, [], read).optional()?)
    }

    fn replace_snapshot(&mut self, snapshot: &RawSnapshot) -> Result<(), Fault> {
        self.db.execute("DELETE FROM snapshot", [])?;
        let sql = "INSERT INTO snapshot (seq, khub, state, digest) VALUES (?, ?, ?, ?)";
        let RawSnapshot {
            seq,
            khub,
            state,
            digest,
        } = snapshot;
        self.db.execute(sql, params![seq, khub, state, digest])?;
        Ok(())
    }

    /// Indexes and free pages, which reading the tables doesn't touch.
    fn check(&mut self) -> Result<Option<String>, Fault> {
        let found: String = self
            .db
            .pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        Ok((found != "ok").then(|| format!("SQLite's own check finds: {found}")))
    }

    fn noted(&self) -> Option<Head> {
        self.folder.noted_head()
    }

    fn note(&mut self, head: &Head) {
        // The log has the records, whatever becomes of the note; an old note is a weaker proof, no false one.
        if self.note.is_none() {
            self.note = HeadNote::create(&self.folder).ok();
        }
        if let Some(note) = &mut self.note {
            let _ = note.write(head);
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if tells_damage(&error) {
            Self::Damaged(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
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
