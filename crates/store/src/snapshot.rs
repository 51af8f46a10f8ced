//! The state at some record, so that a start of the hub needn't replay the whole log. A cache: what is in any
//! way doubtful is not used, and the log is replayed from the start.

use crate::StoreError;
use crate::database::{Access, Database, RawSnapshot, transact};
use crate::log::{Head, hash_of};
use consortium::{Digest, State};

/// Counts up when the rules see more in the same events than they did before.
const SHAPE: u32 = 3;

/// Another version may see more in the same events, and ships another policy, which is in force until one is adopted. So
/// each makes its own snapshot.
fn version() -> String {
    let policy = Digest::of(consortium::policy::SHIPPED.as_bytes()).hex();
    format!(
        "{}.{SHAPE} with policy {}",
        env!("CARGO_PKG_VERSION"),
        &policy[..16]
    )
}

/// The state after record `seq`.
pub(crate) struct Snapshot {
    pub(crate) seq: u64,
    pub(crate) state: State,
}

/// Keeps `state` as the one after the record at `head`, and drops older snapshots.
pub(crate) fn keep(db: &mut dyn Database, head: &Head, state: &State) -> Result<(), StoreError> {
    let text = serde_json::to_string(state).map_err(|e| unkeepable(&e.to_string()))?;
    // A state that reads back as another would be a wrong one after the next start.
    let read: State = serde_json::from_str(&text).map_err(|e| unkeepable(&e.to_string()))?;
    if read != *state {
        return Err(unkeepable("it reads back as something else"));
    }
    let version = version();
    let snapshot = RawSnapshot {
        seq: head.seq.cast_signed(),
        digest: digest(head, &version, &text).0.to_vec(),
        khub: version,
        state: text,
    };
    let kept = transact(db, Access::Write, |db| db.replace_snapshot(&snapshot));
    kept.map_err(|fault| fault.at(db.place()))
}

/// The last snapshot; none if there is none or another version made it; what is wrong with it if something
/// is.
///
/// It is read in a transaction of its own: PostgreSQL takes no more questions in one that has failed.
pub(crate) fn load(db: &mut dyn Database) -> Result<Option<Snapshot>, String> {
    let loaded = transact(db, Access::Read, |db| Ok(load_within(db)));
    loaded.unwrap_or_else(|fault| Err(fault.text()))
}

fn load_within(db: &mut dyn Database) -> Result<Option<Snapshot>, String> {
    let unreadable = |why: &str| format!("the snapshot can't be read ({why})");
    let raw = db.snapshot().map_err(|fault| unreadable(&fault.text()))?;
    let Some(raw) = raw else { return Ok(None) };
    let seq = raw.seq.cast_unsigned();
    let hash = hash_of(db, seq).map_err(|_| format!("the snapshot's record {seq} can't be read"))?;
    let hash = hash.ok_or_else(|| format!("the snapshot is of record {seq}, which is not in the log"))?;
    let kept: [u8; 32] = raw
        .digest
        .try_into()
        .map_err(|_| unreadable("its digest is no digest"))?;
    if digest(&Head { seq, hash }, &raw.khub, &raw.state) != Digest(kept) {
        return Err(format!(
            "the snapshot at record {seq} doesn't have the digest that it was written with"
        ));
    }
    if raw.khub != version() {
        return Ok(None);
    }
    let state = serde_json::from_str(&raw.state).map_err(|e| unreadable(&e.to_string()))?;
    Ok(Some(Snapshot { seq, state }))
}

/// Covers the log up to the snapshot as well: a snapshot of another log is not this one's.
fn digest(head: &Head, version: &str, state: &str) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"khub snapshot 1");
    hasher.update(&head.hash.0);
    hasher.update(&head.seq.to_le_bytes());
    for text in [version, state] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    Digest(hasher.finalize().into())
}

fn unkeepable(why: &str) -> StoreError {
    StoreError::Unkeepable {
        what: "the snapshot".into(),
        why: why.into(),
    }
}
