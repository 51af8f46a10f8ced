//! The one writer of a log.

use crate::error::Fault;
use crate::folder::{Folder, HeadNote};
use crate::log::{Head, Row, check_note, walk};
use crate::{Entry, StoreError, database, postings, snapshot};
use consortium::{State, apply};
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The log of one hub, open to be added to. Only one can be open on a folder at a time.
///
/// Dropping it closes the log cleanly; a kill is as safe, and only leaves a little more to do to the next
/// start.
#[derive(Debug)]
pub struct Store {
    // Fields are dropped in this order: the database is closed before another hub may have the folder.
    db: Connection,
    path: PathBuf,
    head: Head,
    note: HeadNote,
    _lock: File,
}

impl Store {
    /// Opens the log in folder `dir`, makes both if need be, and rebuilds the state from it. Every record is
    /// checked against the one before; those after the last snapshot are replayed.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another hub has the folder, [`StoreError::Newer`] if a newer khub wrote it,
    /// [`StoreError::Damaged`] with the record if it isn't what was written.
    pub fn open(dir: &Path) -> Result<(Self, State), StoreError> {
        let folder = Folder::new(dir);
        let lock = folder.lock()?;
        let path = folder.database();
        let db = database::open_to_write(&folder)?;
        let (head, state) = replay(&db, folder.noted_head()).map_err(|fault| fault.at(&path))?;
        let mut note = HeadNote::create(&folder)?;
        note.write(&head).map_err(StoreError::io(&folder.dir))?;
        Ok((
            Self {
                db,
                path,
                head,
                note,
                _lock: lock,
            },
            state,
        ))
    }

    /// Adds `entries` in one transaction, with their postings, and returns the number of the last record.
    /// When this returns `Ok` they survive a kill and a power cut; when it returns an error none of them is
    /// in the log.
    pub fn append(&mut self, entries: &[Entry]) -> Result<u64, StoreError> {
        let mut rows = Vec::with_capacity(entries.len());
        let mut head = self.head;
        for entry in entries {
            let row = Row::write(entry, &head)?;
            head = row.head;
            rows.push(row);
        }
        self.commit(&rows, entries)
            .map_err(|fault| fault.at(&self.path))?;
        if head != self.head {
            self.head = head;
            // The log has them, whatever becomes of the note; an old note is a weaker proof, no false one.
            let _ = self.note.write(&head);
        }
        Ok(self.head.seq)
    }

    /// The number of the last record; 0 if there is none.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }

    /// Keeps `state`, which must be the state at [`Store::seq`], so that the next start needn't replay what
    /// came before. Older snapshots are dropped.
    pub fn snapshot(&mut self, state: &State) -> Result<(), StoreError> {
        snapshot::keep(&mut self.db, &self.path, &self.head, state)
    }

    /// Makes the table of postings again from the log.
    pub fn rebuild_read_side(&mut self) -> Result<(), StoreError> {
        let mut rebuild = || -> Result<(), Fault> {
            let transaction = self.db.transaction()?;
            transaction.execute("DELETE FROM postings", [])?;
            walk(&transaction, Head::genesis(), u64::MAX, |row| {
                let record = row.record()?;
                let made = postings::of_events(record.seq, record.at, &record.events);
                postings::insert(&transaction, made)
            })?;
            Ok(transaction.commit()?)
        };
        rebuild().map_err(|fault| fault.at(&self.path))
    }

    fn commit(&mut self, rows: &[Row], entries: &[Entry]) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.db.transaction()?;
        for (row, entry) in rows.iter().zip(entries) {
            row.insert(&transaction)?;
            postings::insert(
                &transaction,
                postings::of_events(row.head.seq, entry.at, &entry.events),
            )?;
        }
        Ok(transaction.commit()?)
    }
}

/// Checks the whole chain and rebuilds the state, from the snapshot if that can be used.
fn replay(db: &Connection, noted: Option<Head>) -> Result<(Head, State), Fault> {
    let (from, mut state) = match snapshot::load(db) {
        Ok(Some(snapshot)) => (snapshot.seq, snapshot.state),
        Ok(None) | Err(_) => (0, State::default()),
    };
    let end = walk(db, Head::genesis(), u64::MAX, |row| {
        if row.head.seq > from {
            let record = row.record()?;
            for event in &record.events {
                apply(&mut state, event, record.at);
            }
        }
        Ok(())
    })?;
    if let Some(noted) = noted {
        check_note(db, &end, &noted)?;
    }
    Ok((end, state))
}
