//! Bytes change. The answer is an error or the state that was meant, never another state and never a panic.

use crate::log::{keep, sqlite};
use crate::story::Story;
use consortium::{Account, Actor, Event, State, Time, Transfer, Won};
use std::path::Path;
use store::{Entry, Reader, Store, StoreError};

/// Numbers that look random, the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn every_flipped_byte_of_a_record_is_found() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let (db, reader) = (sqlite(dir.path()), Reader::open(dir.path()).unwrap());
    let whole = reader.verify().unwrap();
    let last = i64::try_from(story.entries.len()).unwrap();
    for seq in [1, last / 2, last] {
        for column in ["actor", "events", "hash"] {
            let select = format!("SELECT CAST({column} AS BLOB) FROM log WHERE seq = ?");
            let bytes: Vec<u8> = db.query_row(&select, [seq], |row| row.get(0)).unwrap();
            let kind = if column == "hash" { "BLOB" } else { "TEXT" };
            let update = format!("UPDATE log SET {column} = CAST(? AS {kind}) WHERE seq = ?");
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << (place % 8);
                db.execute(&update, rusqlite::params![changed, seq]).unwrap();
                let found = reader.verify().unwrap_err().to_string();
                assert!(
                    found.contains(&format!("record {seq} ")),
                    "byte {place} of {column}: {found}"
                );
            }
            db.execute(&update, rusqlite::params![bytes, seq]).unwrap();
        }
        for bit in 0..64 {
            let flip = "UPDATE log SET at = (at | ?1) - (at & ?1) WHERE seq = ?2"; // SQLite has no xor
            let flip = || {
                db.execute(flip, rusqlite::params![(1_u64 << bit).cast_signed(), seq])
                    .unwrap()
            };
            flip();
            assert!(reader.verify().is_err(), "bit {bit} of the time");
            flip();
        }
    }
    assert_eq!(reader.verify().unwrap(), whole);
}

#[test]
fn records_that_are_missing_or_moved_are_found() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let last = story.entries.len();
    let cases = [
        ("DELETE FROM log".to_owned(), "it ends at record 0".to_owned()),
        (
            "DELETE FROM log WHERE seq = 1".into(),
            "record 1 is missing".into(),
        ),
        (
            "DELETE FROM log WHERE seq = 7".into(),
            "record 7 is missing".into(),
        ),
        (
            format!("DELETE FROM log WHERE seq = {last}"),
            format!("record {last} was confirmed"),
        ),
        (
            "UPDATE log SET seq = -seq WHERE seq = 4".into(),
            "record 1 is missing; -4 is in its place".into(),
        ),
        (
            "UPDATE log SET events = (SELECT events FROM log WHERE seq = 3) WHERE seq = 4".into(),
            "record 4".into(),
        ),
        (
            format!("INSERT INTO log SELECT {last} + 1, at, actor, events, hash FROM log WHERE seq = 2"),
            "was changed".into(),
        ),
        ("DROP TABLE log".into(), "no such table".into()),
        (
            "ALTER TABLE log RENAME COLUMN hash TO hush".into(),
            "no such column".into(),
        ),
        ("DELETE FROM meta".into(), "no rows".into()),
        ("DROP TABLE meta".into(), "not one that khub wrote".into()),
    ];
    for (change, text) in cases {
        let copy = tempfile::tempdir().unwrap();
        copy_log(dir.path(), copy.path());
        sqlite(copy.path())
            .execute_batch(&format!("PRAGMA foreign_keys = off; {change}"))
            .unwrap();
        let verified = Reader::open(copy.path()).and_then(|reader| reader.verify());
        for found in [verified.unwrap_err(), Store::open(copy.path()).unwrap_err()] {
            assert!(matches!(found, StoreError::Damaged { .. }), "{change}: {found}");
            assert!(found.to_string().contains(&text), "{change}: {found}");
        }
    }
}

/// A chain proves what was written, not that it was allowed.
#[test]
fn money_from_nowhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path()).unwrap();
    let award = || Account::Award("a-1".parse().unwrap());
    let forged = [
        Transfer::won(Account::Pool(None), award(), Won(5)),
        Transfer::won(Account::Source, Account::Pool(None), Won(5)),
    ];
    for transfer in forged {
        let events = vec![Event::Posted(transfer)];
        store
            .append(&[Entry {
                actor: Actor::Hub,
                at: Time(0),
                events,
            }])
            .unwrap();
    }
    let found = Reader::open(dir.path())
        .unwrap()
        .verify()
        .unwrap_err()
        .to_string();
    assert!(
        found.contains("record 1 can't have happened: account pool holds KRW 0"),
        "{found}"
    );
}

#[test]
fn flipped_bytes_of_the_file() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let (mut store, state) = Store::open(dir.path()).unwrap();
    store.snapshot(&state).unwrap();
    drop(store);
    let bytes = std::fs::read(dir.path().join("khub.db")).unwrap();
    let mut dice = Dice::new(1);
    let header = (0..108).map(|place| (place, 1 << (place % 8)));
    let anywhere = (0..250).map(|_| (dice.below(bytes.len()), 1 << dice.below(8)));
    let mut errors = 0;
    for (place, bit) in header.chain(anywhere).collect::<Vec<(usize, u8)>>() {
        let mut changed = bytes.clone();
        changed[place] ^= bit;
        errors += u32::from(survives(dir.path(), "khub.db", &changed, &story.state));
    }
    assert!(errors > 100, "{errors} of 358 flips were found");
}

#[test]
fn flipped_bytes_of_what_a_killed_hub_leaves() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    let (mut store, _) = Store::open(dir.path()).unwrap();
    store.append(&story.entries).unwrap();
    for file in ["khub.db-wal", "khub.head"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        let mut dice = Dice::new(2);
        for _ in 0..60 {
            let mut changed = bytes.clone();
            changed[dice.below(bytes.len())] ^= 1 << dice.below(8);
            survives(dir.path(), file, &changed, &story.state);
        }
        for _ in 0..10 {
            survives(dir.path(), file, &bytes[..dice.below(bytes.len())], &story.state);
        }
    }
    // The newest records go with the file that SQLite keeps them in; the note of the head tells.
    let copy = tempfile::tempdir().unwrap();
    copy_log(dir.path(), copy.path());
    std::fs::remove_file(copy.path().join("khub.db-wal")).unwrap();
    let found = Store::open(copy.path()).unwrap_err().to_string();
    assert!(found.contains("khub.db-wal"), "{found}");
}

#[test]
fn files_cut_short_and_files_of_anything() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let bytes = std::fs::read(dir.path().join("khub.db")).unwrap();
    let mut dice = Dice::new(3);
    for _ in 0..40 {
        let cut = &bytes[..dice.below(bytes.len())];
        assert!(
            survives(dir.path(), "khub.db", cut, &story.state),
            "cut at {}",
            cut.len()
        );
        let noise: Vec<u8> = (0..dice.below(10_000)).map(|_| dice.below(256) as u8).collect();
        assert!(
            survives(dir.path(), "khub.db", &noise, &story.state),
            "{} bytes of noise",
            noise.len()
        );
    }
}

/// Puts `changed` in the place of `file` in a copy of the log in `dir`: opening and verifying it gives an
/// error or `meant`. Whether it was an error.
fn survives(dir: &Path, file: &str, changed: &[u8], meant: &State) -> bool {
    let copy = tempfile::tempdir().unwrap();
    copy_log(dir, copy.path());
    std::fs::write(copy.path().join(file), changed).unwrap();
    let verified = Reader::open(copy.path()).and_then(|reader| reader.verify());
    if let Ok(verified) = &verified {
        assert_eq!(verified.ledger, meant.ledger);
    }
    match Store::open(copy.path()) {
        Ok((_, state)) => assert!(state == *meant, "another state"),
        Err(StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Database { .. }) => {
            return true;
        }
        Err(other) => panic!("{other}"),
    }
    verified.is_err()
}

fn copy_log(from: &Path, to: &Path) {
    for file in ["khub.db", "khub.db-wal", "khub.head"] {
        if from.join(file).exists() {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
}
