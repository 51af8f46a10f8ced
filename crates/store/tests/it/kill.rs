//! A hub is killed at any moment. What it had confirmed is there.

use crate::damage::Dice;
use crate::story::state_of;
use consortium::{Account, Actor, Digest, Event, Time, Transfer, Won};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::{Blobs, Entry, Reader, Store};

const FOLDER: &str = "KHUB_TEST_KILL_FOLDER";

#[test]
fn what_was_confirmed_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(4);
    let mut confirmed = 0;
    for round in 0..8 {
        let wanted = 1 + dice.below(60);
        let mut child = start("kill::child_that_appends", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child goes on until it is killed");
            if let Some(seq) = line.strip_prefix("confirmed ") {
                confirmed = seq.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        // What it said between the last line that was read and its end counts as well.
        for line in lines {
            confirmed = line
                .strip_prefix("confirmed ")
                .map_or(confirmed, |seq| seq.parse().unwrap());
        }
        child.wait().unwrap();

        let verified = Reader::open(dir.path()).unwrap().verify().unwrap();
        assert!(
            verified.records >= confirmed,
            "round {round}: {} of {confirmed}",
            verified.records
        );
        let expected: Vec<Entry> = (1..=verified.records).map(entry).collect();
        let (store, state) = Store::open(dir.path()).unwrap();
        assert_eq!(
            (store.seq(), state),
            (verified.records, state_of(&expected)),
            "round {round}"
        );
        let records = Reader::open(dir.path()).unwrap().records(1, u64::MAX).unwrap();
        assert!(
            records
                .iter()
                .zip(&expected)
                .all(|(record, entry)| record.events == entry.events)
        );
    }
}

/// Run by the test above in a process of its own.
#[test]
fn child_that_appends() {
    let Some(dir) = folder() else { return };
    let (mut store, mut state) = Store::open(&dir).unwrap();
    for batch in 1_u64.. {
        let entries: Vec<Entry> = (0..=batch % 7).map(|n| entry(store.seq() + 1 + n)).collect();
        let seq = store.append(&entries).unwrap();
        println!("\nconfirmed {seq}");
        for entry in &entries {
            for event in &entry.events {
                consortium::apply(&mut state, event, entry.at);
            }
        }
        if batch % 16 == 0 {
            store.snapshot(&state).unwrap();
        }
    }
}

#[test]
fn what_a_killed_upload_leaves_goes_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("kill::child_that_uploads", dir.path());
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.take_while(|line| line != "begun").count() > 0);
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files(), 1);
    Blobs::open(dir.path()).unwrap();
    assert_eq!(files(), 1, "the upload goes on");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(), 1);
    Blobs::open(dir.path()).unwrap();
    assert_eq!(files(), 0);
}

/// Run by the test above in a process of its own.
#[test]
fn child_that_uploads() {
    let Some(dir) = folder() else { return };
    let mut writer = Blobs::open(&dir).unwrap().begin(None, 1_000).unwrap();
    writer.write(b"half of").unwrap();
    println!("\nbegun");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap(); // nothing comes
}

/// What record `seq` says.
fn entry(seq: u64) -> Entry {
    let money = Transfer::won(Account::Source, Account::Pool(None), Won(seq.cast_signed()));
    let token = Digest::of(&seq.to_le_bytes());
    let credential = consortium::Credential::full(consortium::Holder::Person("yuna".parse().unwrap()));
    let events = vec![
        Event::Posted(money),
        Event::CredentialIssued { token, credential },
    ];
    Entry {
        actor: Actor::Hub,
        at: Time(seq),
        events,
    }
}

pub(crate) fn start(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}
