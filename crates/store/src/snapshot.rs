//! The state at some record, so that a start of the hub needn't replay the whole log. A cache: what is in any
//! way doubtful is not used, and the log is replayed from the start.

use crate::StoreError;
use crate::error::Fault;
use crate::log::{Head, hash_of};
use consortium::{Digest, State};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;

/// Another version may see more in the same events, so it makes its own snapshot.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The state after record `seq`.
pub(crate) struct Snapshot {
    pub(crate) seq: u64,
    pub(crate) state: State,
}

/// Keeps `state` as the one after the record at `head`, and drops older snapshots.
pub(crate) fn keep(db: &mut Connection, path: &Path, head: &Head, state: &State) -> Result<(), StoreError> {
    let text = serde_json::to_string(state).map_err(|e| unkeepable(&e.to_string()))?;
    // A state that reads back as another would be a wrong one after the next start.
    let read: State = serde_json::from_str(&text).map_err(|e| unkeepable(&e.to_string()))?;
    if read != *state {
        return Err(unkeepable("it reads back as something else"));
    }
    let mut write = || -> Result<(), rusqlite::Error> {
        let transaction = db.transaction()?;
        transaction.execute("DELETE FROM snapshot", [])?;
        let sql = "INSERT INTO snapshot (seq, khub, state, digest) VALUES (?, ?, ?, ?)";
        let digest = digest(head, VERSION, &text).0;
        transaction.execute(sql, params![head.seq.cast_signed(), VERSION, text, digest])?;
        transaction.commit()
    };
    write().map_err(|e| Fault::from(e).at(path))
}

/// The last snapshot; none if there is none or another version made it; what is wrong with it if something
/// is.
pub(crate) fn load(db: &Connection) -> Result<Option<Snapshot>, String> {
    let sql = "SELECT seq, khub, state, digest FROM snapshot ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, i64>(0)?.cast_unsigned(),
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
        ))
    };
    let row = db.query_row(sql, [], read).optional();
    let unreadable = |e: &dyn std::fmt::Display| format!("the snapshot can't be read ({e})");
    let Some((seq, version, text, kept)) = row.map_err(|e| unreadable(&e))? else {
        return Ok(None);
    };
    let (version, text): (String, String) = (version, text);
    let hash = hash_of(db, seq).map_err(|_| format!("the snapshot's record {seq} can't be read"))?;
    let hash = hash.ok_or_else(|| format!("the snapshot is of record {seq}, which is not in the log"))?;
    if digest(&Head { seq, hash }, &version, &text) != Digest(kept) {
        return Err(format!(
            "the snapshot at record {seq} doesn't have the digest that it was written with"
        ));
    }
    if version != VERSION {
        return Ok(None);
    }
    let state = serde_json::from_str(&text).map_err(|e| unreadable(&e))?;
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
