//! Opening, appending, reading.

use crate::story::{Story, state_of};
use consortium::{Account, Actor, Event, JobId, State, Time, Won};
use std::path::Path;
use store::{Entry, Reader, Store, StoreError};

/// A log of `story` in `dir`, closed.
pub(crate) fn keep(dir: &Path, story: &Story) {
    let (mut store, state) = Store::open(dir).unwrap();
    assert_eq!((store.seq(), state), (0, State::default()));
    for entries in story.entries.chunks(3) {
        store.append(entries).unwrap();
    }
}

/// The database, for changes that khub doesn't make.
pub(crate) fn sqlite(dir: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(dir.join("khub.db")).unwrap();
    db.pragma_update(None, "synchronous", "off").unwrap();
    db
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    let nested = dir.path().join("made/with its parents");
    keep(&nested, &story);
    let (mut store, state) = Store::open(&nested).unwrap();
    assert_eq!(state, story.state);
    assert_eq!(store.seq(), story.entries.len() as u64);
    assert_eq!(store.append(&[]).unwrap(), store.seq());

    // Read while a hub has it open, as entries in the order and the words they were given.
    let reader = Reader::open(&nested).unwrap();
    let records = reader.records(1, u64::MAX).unwrap();
    let read = |r: &store::Record| Entry {
        actor: r.actor.clone(),
        at: r.at,
        events: r.events.clone(),
    };
    assert_eq!(records.iter().map(read).collect::<Vec<_>>(), story.entries);
    assert_eq!(reader.records(0, 2).unwrap(), records[..2]);
    assert_eq!(reader.records(5, 4).unwrap(), records[4..8]);
    assert_eq!(reader.records(store.seq() + 1, 4).unwrap(), []);
    assert_eq!(reader.records(u64::MAX, 4).unwrap(), []);

    let more = Entry {
        actor: Actor::Hub,
        at: Time(u64::MAX),
        events: vec![],
    };
    let seq = store.append(std::slice::from_ref(&more)).unwrap();
    let verified = reader.verify().unwrap();
    assert_eq!(verified.records, seq);
    assert_eq!(verified.head, reader.records(seq, 1).unwrap()[0].hash);
    assert_eq!(verified.ledger, story.state.ledger);
}

#[test]
fn postings_of_a_job_are_all_that_it_moved() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    keep(dir.path(), &story);
    let reader = Reader::open(dir.path()).unwrap();
    let all = reader.postings(None).unwrap();
    assert_eq!(all.len() as u64, reader.verify().unwrap().postings);
    let total: i64 = all.iter().map(|posting| posting.won.0).sum();
    assert_eq!(total, 0);

    let job = JobId(1);
    let of_job = reader.postings(Some(job)).unwrap();
    let expected: Vec<_> = all
        .iter()
        .filter(|posting| posting.job == Some(job))
        .cloned()
        .collect();
    assert_eq!(of_job, expected);
    let moved = |wanted: fn(&Account) -> bool| -> Won {
        of_job
            .iter()
            .filter(|posting| wanted(&posting.account))
            .map(|posting| posting.won)
            .sum()
    };
    let spent = story.state.jobs[&job].spent();
    assert!(spent > Won(0));
    assert_eq!(moved(|account| matches!(account, Account::Earned(_))), spent);
    assert_eq!(moved(|account| matches!(account, Account::Award(_))), -spent);
    assert_eq!(moved(|account| matches!(account, Account::Reserved(..))), Won(0));
    assert_eq!(reader.postings(Some(JobId(9))).unwrap(), []);
}

#[test]
fn one_hub_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let busy = Store::open(dir.path()).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    assert!(
        busy.to_string().starts_with("another hub already runs on"),
        "{busy}"
    );
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_store_may_move_to_the_thread_that_writes() {
    fn moves<T: Send + 'static>() {}
    moves::<Store>();
    moves::<Reader>();
    moves::<store::BlobWriter>();
}

#[test]
fn a_folder_without_a_log_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("nowhere"), dir.path().to_owned()] {
        let missing = Reader::open(&path).unwrap_err();
        assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
        assert_eq!(
            missing.to_string(),
            format!(
                "{} has no khub data; run `khub quickstart` or `khub serve` first",
                path.display()
            )
        );
    }
    // A hub that was killed as it made its files leaves an empty one.
    std::fs::write(dir.path().join("khub.db"), "").unwrap();
    assert!(matches!(
        Reader::open(dir.path()),
        Err(StoreError::Missing { .. })
    ));
    assert_eq!(Store::open(dir.path()).unwrap().1, State::default());
}

#[test]
fn a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &Story::of_jobs(1));
    for (format, newer) in [(2, true), (i64::MAX, true), (0, false), (-1, false)] {
        sqlite(dir.path())
            .execute("UPDATE meta SET value = ?", [format])
            .unwrap();
        let before = std::fs::read(dir.path().join("khub.db")).unwrap();
        for error in [
            Store::open(dir.path()).unwrap_err(),
            Reader::open(dir.path()).unwrap_err(),
        ] {
            match error {
                StoreError::Newer { found, known: 1, .. } => assert_eq!((found, newer), (format, true)),
                StoreError::Damaged { .. } => assert!(!newer),
                other => panic!("{other}"),
            }
        }
        assert!(std::fs::read(dir.path().join("khub.db")).unwrap() == before);
    }
}

#[test]
fn entries_are_kept_together_or_not_at_all() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let (mut store, _) = Store::open(dir.path()).unwrap();
    let mut unkeepable = story.entries.iter().find(|entry| has_job(entry)).unwrap().clone();
    let deep = (0..126).fold(serde_json::Value::Null, |inside, _| vec![inside].into());
    for event in &mut unkeepable.events {
        if let Event::Submitted { spec, .. } = event {
            spec.settings = deep.clone();
        }
    }
    let fine = Entry {
        actor: Actor::Hub,
        at: Time(0),
        events: vec![],
    };
    let refused = store.append(&[fine.clone(), unkeepable]).unwrap_err();
    assert!(matches!(refused, StoreError::Unkeepable { .. }), "{refused}");
    let before = story.entries.len() as u64;
    assert_eq!(store.seq(), before);
    assert_eq!(store.append(&[fine]).unwrap(), before + 1);
    assert_eq!(
        Reader::open(dir.path()).unwrap().verify().unwrap().records,
        before + 1
    );
}

fn has_job(entry: &Entry) -> bool {
    entry
        .events
        .iter()
        .any(|event| matches!(event, Event::Submitted { .. }))
}

#[test]
fn a_snapshot_and_the_rest_are_the_whole() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    for at in [0, 1, 20, story.entries.len()] {
        let dir = dir.path().join(at.to_string());
        let (mut store, _) = Store::open(&dir).unwrap();
        store.append(&story.entries[..at / 2]).unwrap();
        store.snapshot(&state_of(&story.entries[..at / 2])).unwrap();
        store.append(&story.entries[at / 2..at]).unwrap();
        store.snapshot(&state_of(&story.entries[..at])).unwrap();
        store.append(&story.entries[at..]).unwrap();
        drop(store);
        assert_eq!(Store::open(&dir).unwrap().1, story.state, "{at}");
        Reader::open(&dir).unwrap().verify().unwrap();
        let kept: i64 = sqlite(&dir)
            .query_row("SELECT count(*) FROM snapshot", [], |r| r.get(0))
            .unwrap();
        assert_eq!(kept, 1);
    }
}

#[test]
fn a_snapshot_is_used_and_verified() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let (mut store, mut state) = Store::open(dir.path()).unwrap();
    state.organisations.clear();
    store.snapshot(&state).unwrap(); // a lie
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().1, state);
    let stale = Reader::open(dir.path()).unwrap().verify().unwrap_err();
    let seq = story.entries.len();
    assert!(
        stale
            .to_string()
            .contains(&format!("the snapshot at record {seq} has another state")),
        "{stale}"
    );
}

#[test]
fn a_doubtful_snapshot_is_ignored_and_reported() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    let cases = [
        (
            "UPDATE snapshot SET state = replace(state, 'gaon', 'noag')",
            Some("digest"),
        ),
        (
            "UPDATE snapshot SET state = CAST(x'ff' AS TEXT)",
            Some("can't be read"),
        ),
        ("UPDATE snapshot SET digest = x'00'", Some("can't be read")),
        ("UPDATE snapshot SET digest = zeroblob(32)", Some("digest")),
        ("UPDATE snapshot SET seq = seq - 1", Some("digest")),
        (
            "UPDATE snapshot SET seq = 1000",
            Some("record 1000, which is not in the log"),
        ),
        ("UPDATE snapshot SET khub = '0.0.9'", Some("digest")),
        ("DROP TABLE snapshot", Some("can't be read")),
        ("DELETE FROM snapshot", None),
    ];
    for (change, reported) in cases {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("khub.db"), copy.path().join("khub.db")).unwrap();
        let (mut store, state) = Store::open(copy.path()).unwrap();
        store.snapshot(&state).unwrap();
        drop(store);
        sqlite(copy.path()).execute(change, []).unwrap();
        let verified = Reader::open(copy.path()).unwrap().verify();
        match (verified, reported) {
            (Err(e @ StoreError::Stale { .. }), Some(text)) => {
                assert!(e.to_string().contains(text), "{change}: {e}");
            }
            (verified, reported) => assert!(verified.is_ok() && reported.is_none(), "{change}: {verified:?}"),
        }
        assert_eq!(Store::open(copy.path()).unwrap().1, story.state, "{change}");
    }
}

#[test]
fn the_read_side_is_made_again_as_it_was() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    keep(dir.path(), &story);
    let reader = Reader::open(dir.path()).unwrap();
    let (all, of_job) = (
        reader.postings(None).unwrap(),
        reader.postings(Some(JobId(2))).unwrap(),
    );
    assert!(!of_job.is_empty());
    let changes = [
        "DELETE FROM postings",
        "DELETE FROM postings WHERE seq = (SELECT max(seq) FROM postings)",
        "UPDATE postings SET won = won + 1 WHERE account = 'pool:2021'",
        "UPDATE postings SET compute = 'much'",
        "UPDATE postings SET account = 'the office'",
        "UPDATE postings SET job = NULL",
        "INSERT INTO postings SELECT 1000, n, at, job, account, won, compute FROM postings WHERE seq = 8",
    ];
    for change in changes {
        let db = sqlite(dir.path());
        db.pragma_update(None, "foreign_keys", false).unwrap();
        assert!(db.execute(change, []).unwrap() > 0, "{change}");
        let stale = reader.verify().unwrap_err();
        assert!(matches!(stale, StoreError::Stale { .. }), "{change}: {stale}");
        Store::open(dir.path()).unwrap().0.rebuild_read_side().unwrap();
        reader.verify().unwrap();
        assert_eq!(reader.postings(None).unwrap(), all, "{change}");
        assert_eq!(reader.postings(Some(JobId(2))).unwrap(), of_job, "{change}");
    }
}
