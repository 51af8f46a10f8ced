//! The one thread that decides. A batch of requests becomes one transaction of the log, so that the price of
//! a safe commit is shared by whoever asks at the same time. It decides on a state of its own. Readers have another, which
//! follows when the log has the events: so nobody sees a state that isn't committed, and nobody waits for a decision or a
//! commit to see one. The price is that the state is held twice.

use crate::desk::{self, Granted};
use crate::hub::Shared;
use crate::tally::Tally;
use consortium::{Command, Refusal, Request, State, Time, decide};
use std::time::Instant;
use store::{Hold, Measured, Sealer, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

/// The most requests that share a commit.
const BATCH: usize = 256;
/// How many records may follow a snapshot at least: replaying them is what a start of the hub costs.
const SNAPSHOT_EVERY: u64 = 2_000;
/// The same as a part of the log: a snapshot has all of the state, so with a log that grows, snapshots must
/// become rarer, or the hub would do little else.
const SNAPSHOT_PART: u64 = 4;

/// A request and where its answer goes.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// What the request's run has measured.
    pub(crate) measured: Vec<Measured>,
    /// Of the bytes that it names, until the log does.
    pub(crate) holds: Vec<Hold>,
    pub(crate) answer: oneshot::Sender<Result<Granted, Refusal>>,
}

/// What the thread has to itself.
pub(crate) struct Writer<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) store: Store,
    /// After all that the log has, and while a batch is carried out after that as well.
    pub(crate) state: State,
    pub(crate) tally: Tally,
}

impl Writer<'_> {
    /// Decides until nobody is left to ask; then keeps a snapshot. Ends early if the log can't be written: what
    /// is in memory is then ahead of the truth, and the hub must not go on.
    pub(crate) fn run(mut self, sealer: Sealer, mut asked: mpsc::Receiver<Asked>) {
        let mut snapshot = self.store.seq();
        let mut seals = Seals {
            sealer,
            last: self.store.seq(),
            at: self.shared.now(),
        };
        let mut batch = Vec::new();
        while let Some(first) = asked.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH {
                let Ok(next) = asked.try_recv() else { break };
                batch.push(next);
            }
            let now = self.shared.now();
            let done = self.weigh(&mut batch, now);
            if let Err(error) = done.and_then(|()| self.carry_out(&mut batch, now)) {
                self.shared.break_off(&error.to_string());
                return;
            }
            if self.store.seq() >= snapshot + SNAPSHOT_EVERY.max(snapshot / SNAPSHOT_PART) {
                self.keep_snapshot();
                snapshot = self.store.seq();
            }
            seals.make(&self.store, self.shared.now(), false);
        }
        seals.make(&self.store, self.shared.now(), true);
        if self.store.seq() > snapshot {
            self.keep_snapshot();
        }
    }

    /// Takes out what would measure more than is kept, and answers it. Whether it is allowed is asked first: who may not
    /// add to a run learns nothing of its bounds.
    fn weigh(&mut self, batch: &mut Vec<Asked>, now: Time) -> Result<(), StoreError> {
        if batch.iter().all(|asked| asked.measured.is_empty()) {
            return Ok(());
        }
        for asked in std::mem::take(batch) {
            let weighed = match (&asked.request.command, asked.measured.as_slice()) {
                (_, []) => Ok(()),
                (Command::Run(id, _), measured) => {
                    let decided = decide(&self.state, &asked.request, now);
                    match (decided, self.state.runs.all.get(id)) {
                        (Ok(_), Some(run)) => self.tally.take(&mut self.store, run, measured)?,
                        // It is refused below, or it would begin the run and measure at once, which nobody asks.
                        _ => Ok(()),
                    }
                }
                _ => Ok(()),
            };
            match weighed {
                Ok(()) => batch.push(asked),
                Err(refusal) => drop(asked.answer.send(Err(refusal))),
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, batch: &mut Vec<Asked>, now: Time) -> Result<(), StoreError> {
        let (mut requests, mut measured, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for asked in batch.drain(..) {
            requests.push(asked.request);
            measured.push(asked.measured);
            waiting.push((asked.answer, asked.holds));
        }
        let desk::Turn { entries, answers } = desk::carry_out(&mut self.state, &requests, now);
        let granted = measured
            .into_iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok());
        let measured: Vec<Measured> = granted.flat_map(|(measured, _)| measured).collect();
        if entries.is_empty() && measured.is_empty() {
            // Also a hub with nothing to write must know when another has taken over.
            self.store.keep_alive()?;
        } else {
            let start = Instant::now();
            self.store.append_with(&entries, &measured)?;
            self.shared.counts.note_commit(start.elapsed());
            self.shared.show(&entries);
        }
        let seq = self.store.seq();
        for ((answer, holds), granted) in waiting.into_iter().zip(answers) {
            // What is named now stays without them, and what was refused may go.
            drop(holds);
            // Whoever asked may have gone away; what was decided stands.
            let _ = answer.send(granted.map(|granted| Granted { seq, ..granted }));
        }
        if !entries.is_empty() {
            self.shared.changed.send_replace(seq);
        }
        Ok(())
    }

    /// A snapshot only makes the next start faster, so a failure to keep one is no failure.
    fn keep_snapshot(&mut self) {
        let _ = self.store.snapshot(&self.state);
    }
}

/// When the log is sealed.
struct Seals {
    sealer: Sealer,
    /// The last record that is sealed, and when that was.
    last: u64,
    at: Time,
}

/// A log that grows is sealed once a minute, and when the hub stops.
const SEAL_MILLIS: u64 = 60_000;

impl Seals {
    fn make(&mut self, store: &Store, now: Time, last: bool) {
        let due = last || now.since(self.at) >= SEAL_MILLIS;
        if !due || store.seq() == self.last {
            return;
        }
        // Without it the log proves a minute's work less; no reason to stop everyone.
        if self.sealer.seal(store.seq(), store.head(), now).is_ok() {
            self.last = store.seq();
        }
        self.at = now;
    }
}
