//! The one thread that decides. A batch of requests becomes one transaction of the log, so that the price of
//! a safe commit is shared by whoever asks at the same time. Nobody sees a state that isn't committed: the
//! lock on the state is held until the log has it.

use crate::desk::{self, Granted};
use crate::hub::Shared;
use crate::tally::Tally;
use consortium::{Command, Refusal, Request, Time, decide};
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

/// Decides until nobody is left to ask; then keeps a snapshot. Ends early if the log can't be written: what
/// is in memory is then ahead of the truth, and the hub must not go on.
pub(crate) fn run(
    shared: &Shared,
    mut store: Store,
    mut tally: Tally,
    sealer: Sealer,
    mut asked: mpsc::Receiver<Asked>,
) {
    let mut snapshot = store.seq();
    let mut seals = Seals {
        sealer,
        last: store.seq(),
        at: shared.now(),
    };
    let mut batch = Vec::new();
    while let Some(first) = asked.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH {
            let Ok(next) = asked.try_recv() else { break };
            batch.push(next);
        }
        let done = weigh(shared, &mut store, &mut tally, &mut batch, shared.now())
            .and_then(|()| carry_out(shared, &mut store, &mut batch, shared.now()));
        if let Err(error) = done {
            shared.break_off(&error.to_string());
            return;
        }
        if store.seq() >= snapshot + SNAPSHOT_EVERY.max(snapshot / SNAPSHOT_PART) {
            keep_snapshot(shared, &mut store);
            snapshot = store.seq();
        }
        seals.make(&store, shared.now(), false);
    }
    seals.make(&store, shared.now(), true);
    if store.seq() > snapshot {
        keep_snapshot(shared, &mut store);
    }
}

/// Takes out what would measure more than is kept, and answers it. Whether it is allowed is asked first: who may not add to
/// a run learns nothing of its bounds.
fn weigh(
    shared: &Shared,
    store: &mut Store,
    tally: &mut Tally,
    batch: &mut Vec<Asked>,
    now: Time,
) -> Result<(), StoreError> {
    if batch.iter().all(|asked| asked.measured.is_empty()) {
        return Ok(());
    }
    let Ok(state) = shared.read() else { return Ok(()) };
    for asked in std::mem::take(batch) {
        let weighed = match (&asked.request.command, asked.measured.as_slice()) {
            (_, []) => Ok(()),
            (Command::Run(id, _), measured) => {
                match (decide(&state, &asked.request, now), state.runs.all.get(id)) {
                    (Ok(_), Some(run)) => tally.take(store, run, measured)?,
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

fn carry_out(
    shared: &Shared,
    store: &mut Store,
    batch: &mut Vec<Asked>,
    now: Time,
) -> Result<(), StoreError> {
    let mut state = shared.write();
    let (mut requests, mut measured, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for asked in batch.drain(..) {
        requests.push(asked.request);
        measured.push(asked.measured);
        waiting.push((asked.answer, asked.holds));
    }
    let desk::Turn { entries, answers } = desk::carry_out(&mut state, &requests, now);
    let granted = measured
        .into_iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok());
    let measured: Vec<Measured> = granted.flat_map(|(measured, _)| measured).collect();
    let kept = if entries.is_empty() && measured.is_empty() {
        // Also a hub with nothing to write must know when another has taken over.
        store.keep_alive()
    } else {
        let start = Instant::now();
        let kept = store.append_with(&entries, &measured).map(drop);
        shared.counts.note_commit(start.elapsed());
        kept
    };
    if let Err(error) = kept {
        // Said while the lock is held, so that nobody reads what isn't committed.
        shared.break_off(&error.to_string());
        return Err(error);
    }
    drop(state);
    let seq = store.seq();
    for ((answer, holds), granted) in waiting.into_iter().zip(answers) {
        // What is named now stays without them, and what was refused may go.
        drop(holds);
        // Whoever asked may have gone away; what was decided stands.
        let _ = answer.send(granted.map(|granted| Granted { seq, ..granted }));
    }
    if !entries.is_empty() {
        shared.changed.send_replace(seq);
    }
    Ok(())
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

/// A snapshot only makes the next start faster, so a failure to keep one is no failure.
fn keep_snapshot(shared: &Shared, store: &mut Store) {
    if let Ok(state) = shared.read() {
        let _ = store.snapshot(&state);
    }
}
