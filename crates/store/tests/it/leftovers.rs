//! What nothing names goes; what anything will name stays, in whatever order things happen.

use crate::damage::Dice;
use consortium::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{Blobs, CollectError, Hold, Leftovers};

const FOLDER: &str = "KHUB_TEST_COLLECT_FOLDER";

fn put(blobs: &Blobs, text: &str) -> Hold {
    let mut writer = blobs.begin(None, 1_000).unwrap();
    writer.write(text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

fn collect(blobs: &Blobs, named: &[Digest]) -> Leftovers {
    let named: BTreeSet<Digest> = named.iter().copied().collect();
    blobs.collect(&mut || Some(named.clone()), &mut || true).unwrap()
}

#[test]
fn what_is_named_or_held_stays() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let [named, held, left] = ["named", "held", "left"].map(|text| put(&blobs, text));
    let (is_named, is_left) = (named.digest(), left.digest());
    drop((named, left));
    let coming = blobs.begin(None, 1_000).unwrap();
    let again = held.clone();
    drop(held);
    assert_eq!(
        blobs.leftovers(&[is_named].into()).unwrap().unnamed,
        [(is_left, 4)]
    );
    let gone = collect(&blobs, &[is_named]);
    assert_eq!((gone.unnamed.as_slice(), gone.bytes()), (&[(is_left, 4)][..], 4));
    assert!(blobs.has(&is_named) && blobs.has(&again.digest()) && !blobs.has(&is_left));
    coming.finish().unwrap();
    drop(again);
    assert_eq!(collect(&blobs, &[is_named]).unnamed.len(), 2);
    assert_eq!(collect(&blobs, &[is_named]), Leftovers::default());
}

#[test]
fn fragments_go() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let bytes = vec![7; 2_000_000];
    let (digest, _) = blobs.put(&mut bytes.as_slice(), None, u64::MAX).unwrap();
    let list = blobs.path(&digest).with_extension("blocks");
    assert_eq!(collect(&blobs, &[digest]), Leftovers::default());
    std::fs::write(dir.path().join("incoming-1-2"), "half of").unwrap();
    let found = blobs.leftovers(&BTreeSet::new()).unwrap();
    assert_eq!(
        (found.unnamed.len(), found.fragments, found.fragment_bytes),
        (1, 1, 7)
    );
    let gone = collect(&blobs, &[]);
    assert_eq!((gone.unnamed.len(), gone.fragments), (1, 2));
    assert!(!list.exists());
}

#[test]
fn a_hub_that_no_longer_writes_collects_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let digest = put(&blobs, "another hub's").digest();
    let refused = blobs
        .collect(&mut || Some(BTreeSet::new()), &mut || {
            // Moved aside, it is there for whoever asks.
            let reader = Blobs::open(dir.path()).unwrap().reader(&digest).unwrap();
            assert_eq!(reader.read_all(100).unwrap(), b"another hub's");
            false
        })
        .unwrap_err();
    assert!(matches!(refused, CollectError::NotTheWriter), "{refused}");
    assert!(blobs.has(&digest));
    assert!(blobs.collect(&mut || None, &mut || true).is_err());
    assert!(blobs.has(&digest));
}

/// Four who bring the same few bytes again and again and have them named, and one who collects all the while. Whatever
/// the order: what is named is there.
#[test]
fn no_order_loses_what_is_named() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        // Stands for the log, and forgets, so that the same bytes are leftovers again; but not what another names, too.
        let log: Mutex<BTreeMap<Digest, u32>> = Mutex::default();
        let (running, collected) = (AtomicBool::new(true), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let bringers: Vec<_> = (0..4)
                .map(|n| {
                    let (blobs, log) = (&blobs, &log);
                    scope.spawn(move || {
                        let mut dice = Dice::new(seed * 100 + n);
                        for _ in 0..60 {
                            bring_and_name(blobs, log, &mut dice);
                        }
                    })
                })
                .collect();
            let collector = scope.spawn(|| {
                let mut dice = Dice::new(seed * 100 + 99);
                while running.load(Ordering::Relaxed) {
                    let still = dice.below(4) > 0;
                    let gone = blobs.collect(
                        &mut || Some(log.lock().unwrap().keys().copied().collect()),
                        &mut || still,
                    );
                    if let Ok(gone) = gone {
                        collected.fetch_add(gone.unnamed.len() as u64, Ordering::Relaxed);
                    }
                }
            });
            let brought: Vec<_> = bringers.into_iter().map(|bringer| bringer.join()).collect();
            // First, or one that failed would be waited for in vain.
            running.store(false, Ordering::Relaxed);
            collector.join().unwrap();
            brought.into_iter().for_each(|brought| brought.unwrap());
        });
        assert!(collected.load(Ordering::Relaxed) > 0, "seed {seed}");
        for digest in log.lock().unwrap().keys() {
            assert!(blobs.has(digest), "seed {seed}");
        }
    }
}

/// As the hub does: bytes come and are held; a command names them while it has a hold; then the log has them.
fn bring_and_name(blobs: &Blobs, log: &Mutex<BTreeMap<Digest, u32>>, dice: &mut Dice) {
    let text = format!("bytes {}", dice.below(5));
    let hold = put(blobs, &text);
    let digest = hold.digest();
    if dice.below(3) == 0 {
        return; // it is never named
    }
    let of_the_command = hold.clone();
    if dice.below(2) == 0 {
        drop(hold);
    }
    if dice.below(2) == 0 {
        std::thread::yield_now();
    }
    *log.lock().unwrap().entry(digest).or_default() += 1;
    drop(of_the_command);
    let read = blobs.reader(&digest).and_then(|reader| reader.read_all(100));
    assert_eq!(read.unwrap(), text.as_bytes());
    if dice.below(2) == 0 {
        let mut log = log.lock().unwrap();
        let times = log.get_mut(&digest).expect("it is named");
        *times -= 1;
        if *times == 0 {
            log.remove(&digest);
        }
    }
}

/// Killed in the middle of a collection, the next start finds all that is named.
#[test]
fn a_killed_collection_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(11);
    for round in 0..4 {
        let blobs = Blobs::open(dir.path()).unwrap();
        for n in 0..KEPT {
            put(&blobs, &format!("kept {n}"));
        }
        for n in 0..90 {
            put(&blobs, &format!("left {round} {n}"));
        }
        drop(blobs);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "leftovers::child_that_collects", "--nocapture"])
            .env(FOLDER, dir.path())
            .env("KHUB_TEST_COLLECT_TURNS", dice.below(3).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.wait().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        for n in 0..KEPT {
            assert!(blobs.has(&kept(n)), "round {round}: {n}");
        }
        let aside = dir.path().join("aside");
        let strays = std::fs::read_dir(aside).map_or(0, Iterator::count);
        assert_eq!(strays, 0, "round {round}");
    }
}

/// How many are named.
const KEPT: u64 = 10;

fn kept(n: u64) -> Digest {
    Digest::of(format!("kept {n}").as_bytes())
}

/// Run by the test above in a process of its own, which ends as if killed when it has asked so often whether it still
/// writes: what it took for unnamed is moved aside then. If it is killed at once, it doesn't know of anything that is
/// named, as a hub that was stopped for long wouldn't.
#[test]
fn child_that_collects() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let turns = std::env::var("KHUB_TEST_COLLECT_TURNS").unwrap();
    let mut turns: u64 = turns.parse().unwrap();
    let blobs = Blobs::open(&dir).unwrap();
    let knows: BTreeSet<Digest> = (0..KEPT).filter(|_| turns > 0).map(kept).collect();
    let _ = blobs.collect(&mut || Some(knows.clone()), &mut || {
        if turns <= 1 {
            std::process::abort();
        }
        turns -= 1;
        true
    });
}
