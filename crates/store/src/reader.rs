//! Reading the log and its read side, also from another process and while a hub writes; and proving that all
//! of it fits together.

use crate::database::{Access, Database, Place, transact};
use crate::error::Fault;
use crate::log::{Head, Record, Row, check_note, hash_of, walk};
use crate::postings::Pages;
use crate::snapshot::{self, Snapshot};
use crate::{Posting, StoreError, database, postings};
use consortium::{Digest, Event, JobId, Ledger, State, Transfer, apply};
use std::cell::RefCell;

/// A log, open to read. Each call sees the log as it is at one moment.
#[derive(Debug)]
pub struct Reader {
    db: RefCell<Box<dyn Database>>,
}

/// What was found by [`Reader::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// How many postings they have.
    pub postings: u64,
    /// The last record's hash, which covers the whole log. Whoever notes it together with `records` can tell
    /// later whether anything up to there was rewritten.
    pub head: Digest,
    /// Who holds how much, by all postings.
    pub ledger: Ledger,
}

impl Reader {
    /// Opens the log at `place`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Newer`] if a newer khub wrote it,
    /// [`StoreError::Damaged`] if it is something else.
    pub fn open(place: impl Into<Place>) -> Result<Self, StoreError> {
        let db = RefCell::new(database::open_to_read(&place.into())?);
        Ok(Self { db })
    }

    /// The records from number `from` on, `limit` of them at most; each is checked against the one before.
    pub fn records(&self, from: u64, limit: u64) -> Result<Vec<Record>, StoreError> {
        self.at_one_moment(|db| {
            let seq = from.saturating_sub(1);
            let mut records = Vec::new();
            if let Some(hash) = hash_of(db, seq)? {
                walk(db, Head { seq, hash }, limit, |_, row| {
                    records.push(row.record()?);
                    Ok(())
                })?;
            }
            Ok(records)
        })
    }

    /// The ledger's lines in the order of the log: all of them, or those of one job.
    pub fn postings(&self, job: Option<JobId>) -> Result<Vec<Posting>, StoreError> {
        self.at_one_moment(|db| {
            let mut pages = Pages::new(job);
            std::iter::from_fn(|| pages.next(db)).collect()
        })
    }

    /// Proves the whole log: recomputes every hash from the first record on, replays all events, checks that
    /// no account is ever below zero and that the ledger sums to zero; then compares the postings and the
    /// snapshot with what the replay gave.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first record that is wrong; [`StoreError::Stale`] if the log is whole
    /// and something that is made from it differs.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        // Read before the log is: a hub that runs may confirm more in between, never less.
        let noted = self.db.borrow().noted();
        let snapshot = snapshot::load(self.db.borrow_mut().as_mut());
        let (verified, stale) = self.at_one_moment(|db| prove(db, noted, snapshot))?;
        match stale {
            Some(what) => Err(StoreError::Stale {
                place: self.db.borrow().place().to_owned(),
                what,
            }),
            None => Ok(verified),
        }
    }

    pub(crate) fn at_one_moment<T>(
        &self,
        read: impl FnOnce(&mut dyn Database) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut db = self.db.borrow_mut();
        let done = transact(db.as_mut(), Access::Read, read);
        done.map_err(|fault| fault.at(db.place()))
    }
}

/// The whole log, and what differs from it.
fn prove(
    db: &mut dyn Database,
    noted: Option<Head>,
    snapshot: Result<Option<Snapshot>, String>,
) -> Result<(Verified, Option<String>), Fault> {
    let (snapshot, stale) = match snapshot {
        Ok(snapshot) => (snapshot, None),
        Err(what) => (None, Some(what)),
    };
    let mut proof = Proof {
        state: State::default(),
        postings: 0,
        kept: Pages::new(None),
        snapshot,
        stale,
    };
    proof.compare_snapshot(0);
    let end = walk(db, Head::genesis(), u64::MAX, |db, row| proof.record(db, &row))?;
    if let Some(noted) = noted {
        check_note(db, &end, &noted)?;
    }
    proof
        .state
        .ledger
        .audit()
        .map_err(|why| Fault::damaged(format!("after record {}, {why}", end.seq)))?;
    proof.compare_rest(db);
    if let Some(found) = db.check()? {
        proof.stale.get_or_insert(found);
    }
    let ledger = proof.state.ledger;
    let verified = Verified {
        records: end.seq,
        postings: proof.postings,
        head: end.hash,
        ledger,
    };
    Ok((verified, proof.stale))
}

/// A replay that looks at everything on its way.
struct Proof {
    state: State,
    postings: u64,
    /// The rows of the table of postings that were not compared yet.
    kept: Pages,
    snapshot: Option<Snapshot>,
    /// The first thing that differs from the log. Told only when the log is known to be whole.
    stale: Option<String>,
}

impl Proof {
    fn record(&mut self, db: &mut dyn Database, row: &Row) -> Result<(), Fault> {
        let record = row.record()?;
        let seq = record.seq;
        let transfers = record.events.iter().filter_map(|event| match event {
            Event::Posted(transfer) => Some(transfer.clone()),
            _ => None,
        });
        let transfers: Vec<Transfer> = transfers.collect();
        let short = |e| Fault::damaged(format!("record {seq} can't have happened: {e}"));
        self.state.ledger.check(&transfers).map_err(short)?;
        for event in &record.events {
            apply(&mut self.state, event, record.at);
        }
        for posting in postings::of_events(seq, record.at, &record.events) {
            self.compare_posting(db, &posting);
        }
        self.compare_snapshot(seq);
        Ok(())
    }

    fn compare_posting(&mut self, db: &mut dyn Database, made: &Posting) {
        self.postings += 1;
        let (seq, account) = (made.seq, &made.account);
        let what = match self.kept.next(db) {
            Some(Ok(kept)) if kept == *made => return,
            Some(Err(fault)) => format!("the postings of record {seq} can't be read ({})", fault.text()),
            _ => format!("the table of postings differs at record {seq}, account {account}"),
        };
        self.stale.get_or_insert(what);
    }

    fn compare_snapshot(&mut self, seq: u64) {
        if let Some(snapshot) = self.snapshot.take_if(|snapshot| snapshot.seq == seq)
            && snapshot.state != self.state
        {
            self.stale
                .get_or_insert(format!("the snapshot at record {seq} has another state"));
        }
    }

    /// What the table of postings has beyond the log's.
    fn compare_rest(&mut self, db: &mut dyn Database) {
        let what = match self.kept.next(db) {
            None => return,
            Some(Ok(kept)) => format!(
                "the table of postings has more than the log, of record {}",
                kept.seq
            ),
            Some(Err(fault)) => format!(
                "the table of postings can't be read to its end ({})",
                fault.text()
            ),
        };
        self.stale.get_or_insert(what);
    }
}
