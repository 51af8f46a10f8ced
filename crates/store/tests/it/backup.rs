//! A backup is the whole log, and only a whole backup is restored.

use crate::damage::Dice;
use crate::log::keep;
use crate::story::Story;
use std::path::Path;
use store::{Reader, Store, StoreError, backup, restore};

#[test]
fn what_is_restored_is_what_was_backed_up() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    keep(&from, &story);
    let hub = Store::open(&from).unwrap(); // a hub may be running
    let mut text = Vec::new();
    let done = backup(&from, &mut text, &mut Vec::new()).unwrap();
    drop(hub);
    assert_eq!(
        restore(&to, Path::new("b"), &mut text.as_slice(), None).unwrap(),
        done
    );
    assert_eq!(Store::open(&to).unwrap().1, story.state);
    let (a, b) = (Reader::open(&from).unwrap(), Reader::open(&to).unwrap());
    assert_eq!(a.verify().unwrap(), b.verify().unwrap());
    assert_eq!(a.postings(None).unwrap(), b.postings(None).unwrap());

    let again = restore(&to, Path::new("b"), &mut text.as_slice(), None).unwrap_err();
    assert!(matches!(again, StoreError::Occupied { .. }), "{again}");
}

#[test]
fn a_damaged_backup_leaves_nothing_behind() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    let from = dir.path().join("from");
    keep(&from, &story);
    let mut text = Vec::new();
    backup(&from, &mut text, &mut Vec::new()).unwrap();
    let mut dice = Dice::new(5);
    let mut cases: Vec<Vec<u8>> = (0..60)
        .map(|_| {
            let mut flipped = text.clone();
            flipped[dice.below(text.len())] ^= 1 << dice.below(8);
            flipped
        })
        // A digest in capitals is the same digest.
        .filter(|flipped: &Vec<u8>| !flipped.eq_ignore_ascii_case(&text))
        .collect();
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    cases.extend([0, 1, 2, lines.len() - 1].map(|n| lines[..n].concat()));
    cases.push([&text, lines[3]].concat());
    cases.extend((0..20).map(|_| (0..dice.below(2_000)).map(|_| dice.below(256) as u8).collect()));
    for (n, case) in cases.iter().enumerate() {
        let to = dir.path().join(n.to_string());
        let refused = restore(&to, Path::new("b"), &mut case.as_slice(), None);
        let refused = refused.expect_err(&String::from_utf8_lossy(case));
        let told = matches!(
            refused,
            StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Io { .. }
        );
        assert!(told, "{n}: {refused}");
        assert_eq!(Store::open(&to).unwrap().0.seq(), 0, "{n}");
    }
}
