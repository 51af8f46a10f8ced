//! The one writer of a log.

use crate::database::{Access, Database, Place, transact};
use crate::error::Fault;
use crate::log::{Head, Row, check_note, walk};
use crate::points::RawPoint;
use crate::snapshot::Snapshot;
use crate::{Entry, Measured, Posting, StoreError, database, points, postings, snapshot};
use consortium::{Digest, State, apply};

/// The log of one hub, open to be added to. Only one can be open at a place at a time.
///
/// Dropping it closes the log cleanly; a kill is as safe, and only leaves a little more to do to the next
/// start.
#[derive(Debug)]
pub struct Store {
    db: Box<dyn Database>,
    head: Head,
}

impl Store {
    /// Opens the log at `place`, makes it if need be, and rebuilds the state from it. Every record is
    /// checked against the one before; those after the last snapshot are replayed.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another hub writes there, [`StoreError::Newer`] if a newer khub wrote it,
    /// [`StoreError::Damaged`] with the record if it isn't what was written.
    pub fn open(place: impl Into<Place>) -> Result<(Self, State), StoreError> {
        let mut db = database::open_to_write(&place.into())?;
        let snapshot = snapshot::load(db.as_mut()).ok().flatten();
        let replayed = transact(db.as_mut(), Access::Read, |db| replay(db, snapshot));
        let (head, state) = replayed.map_err(|fault| fault.at(db.place()))?;
        db.note(&head);
        Ok((Self { db, head }, state))
    }

    /// Adds `entries` in one transaction, with their postings, and returns the number of the last record.
    /// When this returns `Ok` they survive a kill and a power cut; when it returns an error none of them is
    /// in the log.
    pub fn append(&mut self, entries: &[Entry]) -> Result<u64, StoreError> {
        self.append_with(entries, &[])
    }

    /// The same, with what runs have measured.
    pub fn append_with(&mut self, entries: &[Entry], measured: &[Measured]) -> Result<u64, StoreError> {
        let mut rows = Vec::with_capacity(entries.len());
        let mut head = self.head;
        for entry in entries {
            let row = Row::write(entry, &head)?;
            head = row.head;
            rows.push(row);
        }
        if rows.is_empty() && measured.is_empty() {
            return Ok(self.head.seq);
        }
        let made = rows.iter().zip(entries).flat_map(|(row, entry)| {
            let seq = row.head.seq;
            postings::of_events(seq, entry.at, &entry.events)
        });
        let made: Vec<Posting> = made.collect();
        let points: Vec<RawPoint> = measured.iter().map(Measured::raw).collect();
        let db = self.db.as_mut();
        let added = transact(db, Access::Write, |db| {
            db.add_records(&rows)?;
            db.add_postings(&made)?;
            db.add_points(&points)
        });
        added.map_err(|fault| fault.at(db.place()))?;
        self.head = head;
        self.db.note(&head);
        Ok(self.head.seq)
    }

    pub(crate) fn reading<T>(
        &mut self,
        read: impl FnOnce(&mut dyn Database) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let done = points::reading(self.db.as_mut(), read);
        done.map_err(|fault| fault.at(self.db.place()))
    }

    /// The number of the last record; 0 if there is none.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }

    /// The hash of the last record, which covers the whole log.
    pub fn head(&self) -> Digest {
        self.head.hash
    }

    /// The hash of the first record; none if the log is empty.
    pub fn first(&mut self) -> Result<Option<Digest>, StoreError> {
        self.reading(|db| crate::log::hash_of(db, 1))
    }

    /// Keeps `state`, which must be the state at [`Store::seq`], so that the next start needn't replay what
    /// came before. Older snapshots are dropped.
    pub fn snapshot(&mut self, state: &State) -> Result<(), StoreError> {
        snapshot::keep(self.db.as_mut(), &self.head, state)
    }

    /// Makes the table of postings again from the log.
    pub fn rebuild_read_side(&mut self) -> Result<(), StoreError> {
        let db = self.db.as_mut();
        let rebuilt = transact(db, Access::Write, |db| {
            db.clear_postings()?;
            walk(db, Head::genesis(), u64::MAX, |db, row| {
                let record = row.record()?;
                let made: Vec<Posting> = postings::of_events(record.seq, record.at, &record.events).collect();
                db.add_postings(&made)
            })
        });
        rebuilt.map(drop).map_err(|fault| fault.at(db.place()))
    }

    /// Shows whoever stands by that this writer lives, and asks whether it still is the writer. To be called
    /// every second or oftener; it does something once a second at most.
    pub fn keep_alive(&mut self) -> Result<(), StoreError> {
        let kept = self.db.keep_alive();
        kept.map_err(|fault| fault.at(self.db.place()))
    }
}

/// Checks the whole chain and rebuilds the state, from the snapshot if that can be used.
fn replay(db: &mut dyn Database, snapshot: Option<Snapshot>) -> Result<(Head, State), Fault> {
    let noted = db.noted();
    let (from, mut state) = match snapshot {
        Some(snapshot) => (snapshot.seq, snapshot.state),
        None => (0, State::default()),
    };
    let end = walk(db, Head::genesis(), u64::MAX, |_, row| {
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
