//! The SQLite file: its tables, its format number, how it is opened.

use crate::StoreError;
use crate::error::Fault;
use crate::folder::{Folder, sync_dir};
use rusqlite::{Connection, OpenFlags};

/// The format that this program writes, and the newest that it reads.
pub(crate) const FORMAT: i64 = 1;

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

/// Opens the database of the one hub that holds the folder's lock, and makes it if there is none.
pub(crate) fn open_to_write(folder: &Folder) -> Result<Connection, StoreError> {
    let path = folder.database();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let opened = || -> Result<_, Fault> {
        let db = open(folder, flags)?;
        Ok((format(&db)?, db))
    };
    let (format, db) = opened().map_err(|fault| fault.at(&path))?;
    check_format(folder, format.unwrap_or(FORMAT))?;
    let prepare = || -> Result<(), Fault> {
        // A commit is on the disk when it returns (FULL), and readers never wait for it (WAL).
        db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "full")?;
        db.pragma_update(None, "foreign_keys", true)?;
        if format.is_none() {
            db.execute_batch(TABLES)?;
        }
        Ok(())
    };
    prepare().map_err(|fault| fault.at(&path))?;
    sync_dir(&folder.dir).map_err(StoreError::io(&folder.dir))?;
    Ok(db)
}

/// Opens the database to read; a hub may be writing at the same time.
pub(crate) fn open_to_read(folder: &Folder) -> Result<Connection, StoreError> {
    let path = folder.database();
    let missing = || StoreError::Missing {
        dir: folder.dir.clone(),
    };
    if !path.is_file() {
        return Err(missing());
    }
    let opened = || -> Result<_, Fault> {
        let db = open(folder, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok((format(&db)?, db))
    };
    let (format, db) = opened().map_err(|fault| fault.at(&path))?;
    check_format(folder, format.ok_or_else(missing)?)?;
    Ok(db)
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

fn check_format(folder: &Folder, found: i64) -> Result<(), StoreError> {
    let path = folder.database();
    match found {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::Newer {
            path,
            found,
            known: FORMAT,
        }),
        _ => {
            let what = format!("its format number is {found}, which no khub has written");
            Err(StoreError::Damaged { path, what })
        }
    }
}
