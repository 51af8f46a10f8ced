//! A folder as a cache in front of a real bucket.

use crate::s3::{Line, Server, settings, with_keys};
use consortium::Digest;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;
use store::{BlobError, Blobs, Bucket, BucketConfig, BucketError, Leftovers};

const LARGE: usize = 20_000_000;

fn log() -> Digest {
    Digest::of(b"the first record")
}

fn config(endpoint: &str, prefix: &str) -> BucketConfig {
    BucketConfig {
        address: format!("s3://khub/{prefix}").parse().unwrap(),
        settings: settings(endpoint),
        cache: 1 << 30,
    }
}

fn open(dir: &Path, config: &BucketConfig) -> Result<Blobs, BlobError> {
    let bucket = Bucket::open(config)?;
    Blobs::in_front_of(dir, bucket, &log(), config.cache)
}

fn put(blobs: &Blobs, bytes: &[u8]) -> Digest {
    blobs.put(&mut &bytes[..], None, u64::MAX).unwrap().0
}

fn read(blobs: &Blobs, digest: &Digest) -> Result<Vec<u8>, BlobError> {
    blobs.reader(digest)?.read_all(1 << 30)
}

fn collect(blobs: &Blobs, named: &[Digest]) -> Leftovers {
    let named: BTreeSet<Digest> = named.iter().copied().collect();
    blobs.collect(&mut || Some(named.clone()), &mut || true).unwrap()
}

/// What the bucket has below `prefix`: digests in hexadecimal, epochs and sizes.
fn objects(server: &Server, prefix: &str) -> Vec<(String, u64, u64)> {
    let object = |(path, bytes): (String, u64)| {
        let mut parts = path.strip_prefix(prefix)?.split('/').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, bytes))
    };
    server.files(prefix).into_iter().filter_map(object).collect()
}

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE).map(|i| (i / 13 % 251) as u8 ^ seed).collect()
}

#[test]
fn bytes_are_in_the_bucket_once_and_come_from_there() {
    let Some(server) = Server::start() else { return };
    let config = config(&server.endpoint, "a/b");
    let (here, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blobs = open(here.path(), &config).unwrap();
    let all = [Vec::new(), b"small".to_vec(), vec![7; 8 << 20], large(0)];
    let digests: Vec<Digest> = all.iter().map(|bytes| put(&blobs, bytes)).collect();
    assert_eq!(put(&blobs, &all[1]), digests[1]);

    let mut expected: Vec<_> = all.iter().zip(&digests).collect();
    expected.sort_by_key(|(_, digest)| **digest);
    let expected: Vec<_> = expected
        .iter()
        .map(|(bytes, digest)| (digest.hex(), 1, bytes.len() as u64))
        .collect();
    assert_eq!(objects(&server, "a/b"), expected);
    assert_eq!(server.files(".uploads"), [], "nothing is unfinished");

    let other = open(fresh.path(), &config).unwrap();
    for (bytes, digest) in all.iter().zip(&digests) {
        assert!(!other.has(digest));
        assert!(read(&other, digest).unwrap() == *bytes);
        assert!(other.has(digest));
    }
    let nothing = read(&other, &Digest::of(b"nothing")).unwrap_err().to_string();
    assert!(nothing.ends_with("in s3://khub/a/b"), "{nothing}");

    // What nothing names goes from both.
    let would = blobs.leftovers(&[digests[3]].into()).unwrap();
    assert_eq!((would.unnamed.len(), would.fragments), (3, 0));
    let gone = collect(&blobs, &[digests[3]]);
    assert_eq!(gone.unnamed, would.unnamed);
    assert_eq!(objects(&server, "a/b"), [(digests[3].hex(), 1, LARGE as u64)]);
    assert!(blobs.has(&digests[3]) && !blobs.has(&digests[1]));
    assert_eq!(collect(&blobs, &[digests[3]]), Leftovers::default());
}

#[test]
fn readers_of_one_artifact_fetch_it_once() {
    let Some(server) = Server::start() else { return };
    let line = Line::to(&server);
    let (here, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = large(1);
    let digest = put(
        &open(here.path(), &config(&server.endpoint, "p")).unwrap(),
        &bytes,
    );
    let other = open(fresh.path(), &config(&line.endpoint, "p")).unwrap();
    let begin = Barrier::new(6);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                begin.wait();
                assert!(read(&other, &digest).unwrap() == bytes);
            });
        }
    });
    let parts = format!("GET /khub/p/{}/1", digest.hex());
    assert_eq!(line.asked(&parts), LARGE.div_ceil(8 << 20));
}

#[test]
fn a_damaged_object_is_found_when_it_is_read_and_mended_when_it_comes_again() {
    let Some(server) = Server::start() else { return };
    let config = config(&server.endpoint, "p");
    let (here, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blobs = open(here.path(), &config).unwrap();
    let digest = put(&blobs, b"weights");
    let path = format!("p/{}/1", digest.hex());
    server.overwrite(&path, b"weighty");

    let other = open(fresh.path(), &config).unwrap();
    let error = read(&other, &digest).unwrap_err();
    assert!(!error.may_pass());
    let error = error.to_string();
    assert!(error.contains(&format!("s3://khub/{path} is damaged")), "{error}");
    assert!(error.contains(&Digest::of(b"weighty").to_string()), "{error}");
    assert!(!other.has(&digest), "nothing of it is kept");
    assert_eq!(read(&blobs, &digest).unwrap(), b"weights", "who has it has it");

    put(&other, b"weights");
    let third = tempfile::tempdir().unwrap();
    assert_eq!(
        read(&open(third.path(), &config).unwrap(), &digest).unwrap(),
        b"weights"
    );
}

#[test]
fn the_folder_keeps_what_was_used_last_and_what_only_it_has() {
    let Some(server) = Server::start() else { return };
    let config = BucketConfig {
        cache: 3_000_000,
        ..config(&server.endpoint, "p")
    };
    let here = tempfile::tempdir().unwrap();
    let blobs = open(here.path(), &config).unwrap();
    let bytes = |n: u8| vec![n; 1_000_000];
    let digests: Vec<Digest> = (0..3).map(|n| put(&blobs, &bytes(n))).collect();
    let there = |wanted: &[Digest]| -> Vec<bool> { wanted.iter().map(|it| blobs.has(it)).collect() };
    assert_eq!(there(&digests), [true; 3]);
    // The first is used, so the second goes; who reads it has it back, and the third goes.
    read(&blobs, &digests[0]).unwrap();
    let open_all_the_time = blobs.reader(&digests[1]).unwrap();
    read(&blobs, &digests[2]).unwrap();
    read(&blobs, &digests[0]).unwrap();
    let fourth = put(&blobs, &bytes(3));
    assert_eq!(there(&digests), [true, false, true]);
    assert!(blobs.has(&fourth));
    assert!(open_all_the_time.read_all(1 << 20).unwrap() == bytes(1));
    assert!(read(&blobs, &digests[1]).unwrap() == bytes(1));
    assert_eq!(there(&digests), [true, true, false]);

    // What somebody removed from the bucket isn't removed here.
    server.remove(&format!("p/{}/1", digests[0].hex()));
    let more: Vec<Digest> = (4..8).map(|n| put(&blobs, &bytes(n))).collect();
    assert!(blobs.has(&digests[0]) && !blobs.has(&digests[1]) && !blobs.has(&fourth));
    assert_eq!(there(&more), [false, false, true, true]);
    drop(blobs);

    // A smaller bound holds from the next start on.
    let smaller = BucketConfig {
        cache: 1_500_000,
        ..config
    };
    let blobs = open(here.path(), &smaller).unwrap();
    let kept = [digests[0], more[2], more[3]].map(|it| blobs.has(&it));
    assert!(kept[0] && kept.iter().filter(|it| **it).count() == 2, "{kept:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let Some(server) = Server::start() else { return };
    let here = tempfile::tempdir().unwrap();
    let good = config(&server.endpoint, "p");
    let error = |config: &BucketConfig| open(here.path(), config).unwrap_err().to_string();
    let wrong = |settings: Vec<(String, String)>| {
        error(&BucketConfig {
            settings,
            ..good.clone()
        })
    };
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let text = wrong(settings(&nobody));
    assert!(text.contains(&format!("can't be reached at {nobody}")), "{text}");
    let text = wrong(with_keys(&server.endpoint, "khub-key", "guessed"));
    assert!(
        text.contains("refuses us") && text.contains("SignatureDoesNotMatch"),
        "{text}"
    );
    let text = wrong(with_keys(&server.endpoint, "nobody", "guessed"));
    assert!(
        text.contains("refuses us") && text.contains("InvalidAccessKeyId"),
        "{text}"
    );
    let text = wrong(with_keys(&server.endpoint, "reader-key", "reader-secret"));
    assert!(text.contains("refuses us when putting an object"), "{text}");
    let text = wrong(with_keys(&server.endpoint, "khub-key", "")[..3].to_vec());
    assert!(text.contains("AWS_... variables"), "{text}");
    assert!(!text.contains("khub-secret"));
    let mut other = good.clone();
    other.address = "s3://elsewhere/p".parse().unwrap();
    let text = error(&other);
    assert!(text.contains("there is no bucket of s3://elsewhere/p"), "{text}");

    // Nothing of all that was taken for a start.
    assert!(!here.path().join("bucket").exists());
    open(here.path(), &good).unwrap();
    let foreign = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&good).unwrap();
    let foreign = Blobs::in_front_of(foreign.path(), bucket, &Digest::of(b"another"), 1);
    let text = foreign.unwrap_err().to_string();
    assert!(text.contains("another consortium"), "{text}");
}

#[test]
fn a_bucket_that_goes_in_the_middle_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let line = Line::to(&server);
    let here = tempfile::tempdir().unwrap();
    let blobs = open(here.path(), &config(&line.endpoint, "p")).unwrap();
    let bytes = large(2);
    let digest = Digest::of(&bytes);
    line.stand_still_after(19_000_000);
    let failed = std::thread::scope(|scope| {
        let putting = scope.spawn(|| blobs.put(&mut bytes.as_slice(), Some(digest), u64::MAX));
        line.until_it_stands();
        server.until_a_part_is_there();
        line.cut();
        putting.join().unwrap().unwrap_err()
    });
    assert!(failed.may_pass());
    assert!(
        matches!(failed, BlobError::Bucket(BucketError::Unreachable { .. })),
        "{failed}"
    );
    assert!(!blobs.has(&digest));
    assert_eq!(objects(&server, "p"), []);
    // A read doesn't wait for ever, and what the folder has is read without the bucket.
    let away = blobs.reader(&digest).unwrap_err();
    assert!(
        away.may_pass() && away.to_string().contains("can't be reached"),
        "{away}"
    );

    line.mend();
    assert_ne!(server.files(".uploads"), [], "parts are there that nobody sees");
    let would = blobs.leftovers(&BTreeSet::new()).unwrap();
    assert_eq!(would.fragments, 1);
    assert_eq!(collect(&blobs, &[]).fragments, 1);
    assert_eq!(server.files(".uploads"), []);
    assert_eq!(put(&blobs, &bytes), digest);
    assert_eq!(objects(&server, "p"), [(digest.hex(), 1, LARGE as u64)]);
    line.cut();
    assert!(read(&blobs, &digest).unwrap() == bytes);
}

#[test]
fn a_full_bucket_takes_nothing_and_keeps_what_it_has() {
    let one_volume = ["-volume.max=1", "-master.volumeSizeLimitMB=1"];
    let Some(server) = Server::start_with(&one_volume) else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    let blobs = open(here.path(), &config(&server.endpoint, "p")).unwrap();
    let bytes = |n: u8| vec![n; 3_000_000];
    let first = put(&blobs, &bytes(0));
    let full = blobs.put(&mut bytes(1).as_slice(), None, u64::MAX).unwrap_err();
    assert!(full.may_pass());
    let full = full.to_string();
    assert!(
        full.contains("s3://khub/p failed when putting an object (InternalError") && full.contains("quota"),
        "{full}"
    );
    assert_eq!(objects(&server, "p"), [(first.hex(), 1, 3_000_000)]);
    assert!(!blobs.has(&Digest::of(&bytes(1))));
    assert!(read(&blobs, &first).unwrap() == bytes(0));
}

#[test]
fn a_folder_that_was_alone_gives_all_it_has_to_the_bucket() {
    let Some(server) = Server::start() else { return };
    let here = tempfile::tempdir().unwrap();
    let alone = Blobs::open(here.path()).unwrap();
    let [right, damaged] = [put(&alone, b"right"), put(&alone, b"damaged")];
    std::fs::write(alone.path(&damaged), b"damagee").unwrap();
    drop(alone);
    let config = config(&server.endpoint, "p");
    let blobs = open(here.path(), &config).unwrap();
    assert_eq!(objects(&server, "p"), [(right.hex(), 1, 5)]);
    let text = read(&blobs, &damaged).unwrap_err().to_string();
    assert!(text.contains("damaged: its bytes are"), "{text}");
    drop(blobs);

    // From now on it is a cache, of this bucket.
    let text = Blobs::open(here.path()).unwrap_err().to_string();
    assert!(
        text.contains("is a cache in front of s3://khub/p; start with --artifacts s3://khub/p"),
        "{text}"
    );
    let mut other = config.clone();
    other.address = "s3://khub/q".parse().unwrap();
    assert!(matches!(
        open(here.path(), &other),
        Err(BlobError::IsCache { .. })
    ));
    open(here.path(), &config).unwrap();
}

#[test]
fn who_brings_what_is_being_removed_waits_and_keeps_it() {
    let Some(server) = Server::start() else { return };
    let here = tempfile::tempdir().unwrap();
    let blobs = open(here.path(), &config(&server.endpoint, "p")).unwrap();
    let digest = put(&blobs, b"left");
    std::thread::scope(|scope| {
        let mut bringing = None;
        let gone = blobs.collect(&mut || Some(BTreeSet::new()), &mut || {
            // It is decided; now somebody brings the same.
            let mut writer = blobs.begin(Some(digest), 10).unwrap();
            writer.write(b"left").unwrap();
            bringing = Some(scope.spawn(|| writer.finish().unwrap()));
            true
        });
        assert_eq!(gone.unwrap().unnamed, [(digest, 4)]);
        let hold = bringing.unwrap().join().unwrap();
        assert_eq!(hold.digest(), digest);
    });
    assert_eq!(objects(&server, "p"), [(digest.hex(), 1, 4)]);
    assert!(blobs.has(&digest));
}

#[test]
fn a_hub_that_was_taken_over_from_removes_nothing_of_the_new_ones() {
    let Some(server) = Server::start() else { return };
    let config = config(&server.endpoint, "p");
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = open(here.path(), &config).unwrap();
    let digest = put(&old, b"weights");
    let mut new = None;
    let gone = old.collect(&mut || Some(BTreeSet::new()), &mut || {
        // The database has just said yes, and then the other takes over, and its log names the bytes.
        let blobs = open(there.path(), &config).unwrap();
        put(&blobs, b"weights");
        new = Some(blobs);
        true
    });
    assert_eq!(gone.unwrap().unnamed, [(digest, 7)]);
    let new = new.unwrap();
    assert_eq!(objects(&server, "p"), [(digest.hex(), 2, 7)]);
    let third = tempfile::tempdir().unwrap();
    assert_eq!(
        read(&open(third.path(), &config).unwrap(), &digest).unwrap(),
        b"weights"
    );

    // Of two objects the older one goes.
    let last = open(third.path(), &config).unwrap();
    put(&last, b"weights");
    assert_eq!(objects(&server, "p").len(), 2);
    let gone = collect(&last, &[digest]);
    assert_eq!(
        (gone.unnamed.len(), gone.fragments, gone.fragment_bytes),
        (0, 1, 7)
    );
    assert_eq!(objects(&server, "p"), [(digest.hex(), 4, 7)]);
    drop(new);
}
