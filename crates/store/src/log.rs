//! The log's records and the chain that holds them together.
//!
//! ```text
//! hash 0 = BLAKE3("khub log 1")
//! hash n = BLAKE3(hash n-1, n, at, length of actor, actor, length of events, events)
//! ```
//!
//! Numbers are 64 bits, little endian; actor and events are the JSON text in the database, byte for byte, so
//! that the chain can be checked by a program that knows nothing of events.

use crate::StoreError;
use crate::database::{Database, RawRecord};
use crate::error::Fault;
use consortium::{Actor, Digest, Event, Time};

/// How many records are read at once.
const PAGE: u64 = 1_000;

/// What one request, or the passage of time, brought about: one record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Who asked.
    pub actor: Actor,
    /// When.
    pub at: Time,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// An entry as the log has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// Who asked.
    pub actor: Actor,
    /// When.
    pub at: Time,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Covers this record and all before it.
    pub hash: Digest,
}

/// The end of a log: the number of its last record, 0 if there is none, and the hash that covers all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

impl Head {
    /// The end of the empty log.
    pub(crate) fn genesis() -> Self {
        Self {
            seq: 0,
            hash: Digest::of(b"khub log 1"),
        }
    }

    /// The end after one more record.
    fn next(&self, at: Time, actor: &str, events: &str) -> Self {
        let seq = self.seq + 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash.0);
        hasher.update(&seq.to_le_bytes());
        hasher.update(&at.0.to_le_bytes());
        for text in [actor, events] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Self {
            seq,
            hash: Digest(hasher.finalize().into()),
        }
    }
}

/// A record as text, its hash checked.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) head: Head,
    pub(crate) at: Time,
    pub(crate) actor: String,
    pub(crate) events: String,
}

impl Row {
    /// An entry as the record after `head`. What would not be read back as it is now is refused: a log with
    /// such a record could never be replayed.
    pub(crate) fn write(entry: &Entry, head: &Head) -> Result<Self, StoreError> {
        let what = || format!("the events of {}", entry.actor);
        let unkeepable = |why: String| StoreError::Unkeepable { what: what(), why };
        let text = |json: Result<String, serde_json::Error>| json.map_err(|e| unkeepable(e.to_string()));
        let actor = text(serde_json::to_string(&entry.actor))?;
        let events = text(serde_json::to_string(&entry.events))?;
        let row = Self {
            head: head.next(entry.at, &actor, &events),
            at: entry.at,
            actor,
            events,
        };
        match row.entry() {
            Ok(read) if read == *entry => Ok(row),
            Ok(_) => Err(unkeepable("they read back as something else".into())),
            Err(why) => Err(unkeepable(format!("they would not be read back ({why})"))),
        }
    }

    /// What it says.
    pub(crate) fn record(&self) -> Result<Record, Fault> {
        let seq = self.head.seq;
        let broken = |e| Fault::damaged(format!("record {seq} has its hash, but makes no sense ({e})"));
        let Entry { actor, at, events } = self.entry().map_err(broken)?;
        Ok(Record {
            seq,
            actor,
            at,
            events,
            hash: self.head.hash,
        })
    }

    fn entry(&self) -> Result<Entry, serde_json::Error> {
        let actor = serde_json::from_str(&self.actor)?;
        let events = serde_json::from_str(&self.events)?;
        Ok(Entry {
            actor,
            at: self.at,
            events,
        })
    }
}

/// Calls `each` with the records after `after`, `limit` of them at most. Each is checked against the one
/// before first. Returns where it stopped.
pub(crate) fn walk(
    db: &mut dyn Database,
    after: Head,
    limit: u64,
    mut each: impl FnMut(&mut dyn Database, Row) -> Result<(), Fault>,
) -> Result<Head, Fault> {
    let mut head = after;
    let mut left = limit;
    while left > 0 {
        // Numbers below 1 are nobody's, so a row that has one must be met and not passed over.
        let from = match head.seq {
            0 => i64::MIN,
            seq => seq.saturating_add(1).cast_signed(),
        };
        let wanted = left.min(PAGE);
        let page = db.records(from, wanted.cast_signed())?;
        let found = page.len() as u64;
        for raw in page {
            let row = follow(raw, &head)?;
            head = row.head;
            each(db, row)?;
        }
        if found < wanted {
            break;
        }
        left -= found;
    }
    Ok(head)
}

/// The hash of record `seq`, if there is one.
pub(crate) fn hash_of(db: &mut dyn Database, seq: u64) -> Result<Option<Digest>, Fault> {
    if seq == 0 {
        return Ok(Some(Head::genesis().hash));
    }
    let Some(hash) = db.hash_of(seq.cast_signed())? else {
        return Ok(None);
    };
    let wrong = |_| Fault::damaged(format!("the hash of record {seq} is no hash"));
    Ok(Some(Digest(hash.try_into().map_err(wrong)?)))
}

/// Checks that the log, which ends at `end`, has the record that was `noted` when it was confirmed.
pub(crate) fn check_note(db: &mut dyn Database, end: &Head, noted: &Head) -> Result<(), Fault> {
    let seq = noted.seq;
    if seq > end.seq {
        let what = format!(
            "it ends at record {}, but record {seq} was confirmed (khub.head says so): the rest is gone, perhaps \
             with khub.db-wal",
            end.seq
        );
        return Err(Fault::Damaged(what));
    }
    if hash_of(db, seq)? != Some(noted.hash) {
        let what = format!("record {seq} is not the one that was confirmed: khub.head has another hash");
        return Err(Fault::Damaged(what));
    }
    Ok(())
}

/// The row as the record after `head`, if it is that.
pub(crate) fn follow(raw: Result<RawRecord, String>, head: &Head) -> Result<Row, Fault> {
    let wanted = head.seq + 1;
    let damaged = |what: &str| Fault::damaged(format!("record {wanted} {what}"));
    let raw = raw.map_err(|why| damaged(&format!("can't be read ({why})")))?;
    if raw.seq.cast_unsigned() != wanted {
        return Err(damaged(&format!("is missing; {} is in its place", raw.seq)));
    }
    let at = Time(raw.at.cast_unsigned());
    let next = head.next(at, &raw.actor, &raw.events);
    if next.hash.0.as_slice() != raw.hash {
        return Err(damaged(
            "was changed: it doesn't have the hash that it was written with",
        ));
    }
    Ok(Row {
        head: next,
        at,
        actor: raw.actor,
        events: raw.events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(settings: &str) -> Entry {
        let spec = format!(
            r#"{{"name": "x", "project": "p", "program": "language", "label": "open", "sites": 1, "wall_minutes": 1,
                 "inputs": {{}}, "rounds": {{"count": 1, "samples": 1, "quorum": 1, "grace_seconds": 0}},
                 "settings": {settings}}}"#
        );
        let submitted = Event::Submitted {
            job: consortium::JobId(1),
            spec: serde_json::from_str(&spec).unwrap(),
            submitter: "yuna".parse().unwrap(),
            label: consortium::Label::Open,
        };
        Entry {
            actor: Actor::Hub,
            at: Time(u64::MAX),
            events: vec![submitted],
        }
    }

    #[test]
    fn the_chain_is_what_the_top_of_this_file_says() {
        let mut bytes = blake3::hash(b"khub log 1").as_bytes().to_vec();
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(*b"\x05\0\0\0\0\0\0\0\"hub\"\x02\0\0\0\0\0\0\0[]");
        let empty = Entry {
            actor: Actor::Hub,
            at: Time(0x0102),
            events: vec![],
        };
        let row = Row::write(&empty, &Head::genesis()).unwrap();
        assert_eq!(
            row.head,
            Head {
                seq: 1,
                hash: Digest::of(&bytes)
            }
        );
    }

    #[test]
    fn numbers_come_back_with_every_bit() {
        for number in [
            "0.1",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "5e-324",
            "-0.0",
        ] {
            Row::write(&entry(number), &Head::genesis()).unwrap();
        }
        for bits in (0..2_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !(1 << 62)) {
            let number = f64::from_bits(bits);
            let row = Row::write(&entry(&format!("{number:?}")), &Head::genesis()).unwrap();
            let Event::Submitted { spec, .. } = &row.entry().unwrap().events[0] else {
                panic!()
            };
            assert_eq!(spec.settings.as_f64().map(f64::to_bits), Some(bits), "{number:?}");
        }
    }

    #[test]
    fn what_could_not_be_replayed_is_not_written() {
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Row::write(&entry(&deep(120)), &Head::genesis()).is_ok());
        let refused = Row::write(&entry(&deep(126)), &Head::genesis())
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("the events of hub can't be kept"),
            "{refused}"
        );
    }
}
