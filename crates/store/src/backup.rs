//! A log as one file of text, and what runs have measured as another, to be kept elsewhere and put back into either database.
//!
//! ```text
//! {"khub_log":1,"records":812,"head":"blake3:..."}
//! {"seq":1,"at":1625097600000,"actor":"\"hub\"","events":"[...]","hash":"blake3:..."}
//! ```
//!
//! Actor and events are the very texts of the database, so the chain of the copy is the chain of the log. The
//! first line says what follows, so a file that was cut short is told from a whole one.

use crate::database::{Access, Database, FORMAT, Place, RawRecord, transact};
use crate::error::Fault;
use crate::log::{Head, Row, follow, walk};
use crate::{Posting, StoreError, database, points, postings};
use consortium::{Digest, State, apply};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;

/// How many records go into the database at once.
const PAGE: usize = 1_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Title {
    khub_log: i64,
    records: u64,
    head: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    at: u64,
    actor: String,
    events: String,
    hash: Digest,
}

/// What a backup has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// How many records.
    pub records: u64,
    /// The last one's hash.
    pub head: Digest,
    /// How many points, of all runs.
    pub points: u64,
}

/// Writes the log at `place` to `out` and what runs have measured to `points`, both as they are at one moment; a hub may
/// be running. Every record is checked on the way.
pub fn backup(
    place: impl Into<Place>,
    out: &mut dyn Write,
    points: &mut dyn Write,
) -> Result<BackedUp, StoreError> {
    let mut db = database::open_to_read(&place.into())?;
    let name = db.place().to_owned();
    let failed = std::cell::Cell::new(None);
    // What the disk says is not the database's fault, so it is told apart.
    let unwritten = |why: std::io::Error| {
        let fault = Fault::Refused(why.to_string());
        failed.set(Some(why));
        fault
    };
    let done = transact(db.as_mut(), Access::Read, |db| {
        let noted = db.noted();
        let end = walk(db, Head::genesis(), u64::MAX, |_, _| Ok(()))?;
        if let Some(noted) = noted {
            crate::log::check_note(db, &end, &noted)?;
        }
        let mut put = |line: String| writeln!(out, "{line}").map_err(unwritten);
        let title = Title {
            khub_log: FORMAT,
            records: end.seq,
            head: end.hash,
        };
        put(json(&title))?;
        walk(db, Head::genesis(), end.seq, |_, row| {
            let Row {
                head,
                at,
                actor,
                events,
            } = row;
            put(json(&Line {
                seq: head.seq,
                at: at.0,
                actor,
                events,
                hash: head.hash,
            }))
        })?;
        let points = points::write_all(db, points, unwritten)?;
        Ok(BackedUp {
            records: end.seq,
            head: end.hash,
            points,
        })
    });
    done.map_err(|fault| match failed.take() {
        Some(why) => StoreError::Io {
            path: "the backup".into(),
            why,
        },
        None => fault.at(&name),
    })
}

/// Puts the log that `text` has, the file `from`, at `place`, which must be empty, with the points of `measured`, which
/// backups of older versions don't have. All of it or nothing: the chain is checked, every event is read, and the last
/// record must be the one that the first line names.
pub fn restore(
    place: impl Into<Place>,
    from: &Path,
    text: &mut dyn BufRead,
    measured: Option<(&Path, &mut dyn BufRead)>,
) -> Result<BackedUp, StoreError> {
    let mut db = database::open_to_write(&place.into())?;
    let (name, source) = (db.place().to_owned(), from.display().to_string());
    let taken = db.hash_of(1).map_err(|fault| fault.at(&name))?;
    if taken.is_some() {
        return Err(StoreError::Occupied { place: name });
    }
    let mut lines = text.lines();
    let mut next =
        || -> Result<Option<String>, StoreError> { lines.next().transpose().map_err(StoreError::io(from)) };
    let damaged = |what: String| StoreError::Damaged {
        place: source.clone(),
        what,
    };
    let title = next()?.unwrap_or_default();
    let title: Title = serde_json::from_str(&title)
        .map_err(|e| damaged(format!("its first line is not that of a backup ({e})")))?;
    database::check_format(&source, title.khub_log)?;
    let mut broken = None;
    let restored = transact(db.as_mut(), Access::Write, |db| {
        let read = || -> Result<Option<RawRecord>, StoreError> {
            let Some(line) = next()? else { return Ok(None) };
            let line: Line = serde_json::from_str(&line)
                .map_err(|e| damaged(format!("a line is not a record's ({e})")))?;
            Ok(Some(RawRecord {
                seq: line.seq.cast_signed(),
                at: line.at.cast_signed(),
                actor: line.actor,
                events: line.events,
                hash: line.hash.0.to_vec(),
            }))
        };
        let head = fill(db, read, &title).map_err(|error| match error {
            Filling::Fault(fault) => fault,
            Filling::Source(error) => {
                broken = Some(error);
                Fault::Refused("the backup can't be read".into())
            }
            Filling::Damaged(what) => {
                broken = Some(damaged(what));
                Fault::Refused("the backup is damaged".into())
            }
        })?;
        let Some((path, text)) = measured else {
            return Ok((head, 0));
        };
        let points = points::read_all(db, text)?.map_err(|what| {
            let place = path.display().to_string();
            broken = Some(StoreError::Damaged { place, what });
            Fault::Refused("the backup is damaged".into())
        })?;
        Ok((head, points))
    });
    let (head, points) = restored.map_err(|fault| broken.take().unwrap_or_else(|| fault.at(&name)))?;
    db.note(&head);
    Ok(BackedUp {
        records: head.seq,
        head: head.hash,
        points,
    })
}

/// Whose fault it is that a log can't be restored.
enum Filling {
    Fault(Fault),
    Source(StoreError),
    Damaged(String),
}

fn fill(
    db: &mut dyn Database,
    mut read: impl FnMut() -> Result<Option<RawRecord>, StoreError>,
    title: &Title,
) -> Result<Head, Filling> {
    let mut head = Head::genesis();
    let mut state = State::default();
    loop {
        let (mut rows, mut made) = (Vec::new(), Vec::<Posting>::new());
        while rows.len() < PAGE {
            let Some(raw) = read().map_err(Filling::Source)? else {
                break;
            };
            let wrong = |fault: Fault| Filling::Damaged(fault.text());
            let row = follow(Ok(raw), &head).map_err(wrong)?;
            head = row.head;
            let record = row.record().map_err(wrong)?;
            for event in &record.events {
                apply(&mut state, event, record.at);
            }
            made.extend(postings::of_events(head.seq, row.at, &record.events));
            rows.push(row);
        }
        if rows.is_empty() {
            break;
        }
        db.add_records(&rows).map_err(Filling::Fault)?;
        db.add_postings(&made).map_err(Filling::Fault)?;
    }
    if (head.seq, head.hash) != (title.records, title.head) {
        return Err(Filling::Damaged(format!(
            "it ends at record {}, and its first line promises {} to {}",
            head.seq, title.records, title.head
        )));
    }
    let audit = state.ledger.audit();
    audit.map_err(|why| Filling::Damaged(format!("its ledger is wrong: {why}")))?;
    Ok(head)
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("lines are plain data")
}
