//! Every bit of a seal counts.

use crate::log::keep;
use crate::story::Story;
use consortium::Time;
use store::{Reader, Sealer, StoreError, seals};

#[test]
fn a_flipped_bit_of_a_seal_is_found() {
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(1));
    keep(dir.path(), &story);
    assert_eq!(seals(dir.path()).unwrap(), []);
    let head = Reader::open(dir.path()).unwrap().verify().unwrap();
    let mut sealer = Sealer::open(dir.path()).unwrap();
    sealer.seal(head.records, head.head, Time(7)).unwrap();
    let key = sealer.key();
    drop(sealer);
    let mut sealer = Sealer::open(dir.path()).unwrap();
    assert_eq!(sealer.key(), key, "a hub keeps its key");
    sealer.seal(head.records, head.head, Time(8)).unwrap();
    let made = seals(dir.path()).unwrap();
    assert_eq!(made.len(), 2);
    assert!(made.iter().all(|seal| seal.is_signed() && seal.key == key));

    let path = dir.path().join("seals.jsonl");
    let text = std::fs::read(&path).unwrap();
    for place in 0..text.len() {
        let mut flipped = text.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(&path, &flipped).unwrap();
        let fooled = match seals(dir.path()) {
            Ok(read) => read.len() == 2 && read.iter().all(|seal| seal.is_signed() && seal.key == key),
            Err(StoreError::Damaged { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        assert!(!fooled, "byte {place}");
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    Sealer::open(dir.path()).unwrap();
    let mode = std::fs::metadata(dir.path().join("seal.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(dir.path().join("seal.key"), "no key").unwrap();
    assert!(matches!(
        Sealer::open(dir.path()),
        Err(StoreError::Damaged { .. })
    ));
}
