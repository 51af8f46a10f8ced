//! Artifacts' bytes on a real disk.

use consortium::Digest;
use std::io::{self, Read};
use std::path::Path;
use store::{BlobError, BlobReader, Blobs};

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

fn read(blobs: &Blobs, digest: &Digest) -> Result<Vec<u8>, BlobError> {
    blobs.reader(digest)?.read_all(1 << 30)
}

#[test]
fn bytes_come_back_by_their_digest() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&dir.path().join("artifacts")).unwrap();
    for size in [0, 1, 70_000, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let digest = Digest::of(&bytes);
        assert!(!blobs.has(&digest));
        for _ in 0..2 {
            let kept = blobs.put(&mut bytes.as_slice(), Some(digest), size).unwrap();
            assert_eq!(kept, (digest, size));
        }
        assert_eq!(blobs.size(&digest), Some(size));
        assert_eq!(read(&blobs, &digest).unwrap(), bytes);
        let hex = digest.hex();
        assert!(
            blobs
                .path(&digest)
                .ends_with(format!("artifacts/{}/{}", &hex[..2], &hex[2..]))
        );
    }
    assert_eq!(
        files(dir.path()).len(),
        5,
        "and a list of the blocks of the largest"
    );
    let missing = blobs.reader(&Digest::of(b"other")).unwrap_err();
    assert!(
        missing.to_string().starts_with("there are no bytes of blake3:"),
        "{missing}"
    );
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    struct Breaks;
    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the line is dead"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let (said, sent) = (Digest::of(b"said"), Digest::of(b"sent"));

    let wrong = blobs.put(&mut "sent".as_bytes(), Some(said), 100).unwrap_err();
    let text = wrong.to_string();
    assert!(
        text.contains(&said.to_string()) && text.contains(&sent.to_string()),
        "{text}"
    );
    let large = blobs.put(&mut "sent".as_bytes(), None, 3).unwrap_err();
    assert!(matches!(large, BlobError::TooLarge { limit: 3 }), "{large}");
    let broken = blobs
        .put(&mut "se".as_bytes().chain(Breaks), None, 100)
        .unwrap_err();
    assert!(broken.to_string().contains("the line is dead"), "{broken}");
    assert!([wrong, large, broken].iter().all(BlobError::is_senders_fault));

    let mut writer = blobs.begin(None, 3).unwrap();
    writer.write(b"sen").unwrap();
    assert!(writer.write(b"t").is_err());
    assert!(
        writer.finish().is_err(),
        "what was refused once is not kept later"
    );
    drop(blobs.begin(Some(said), 100).unwrap());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn damage_is_named_and_mended_by_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let (digest, _) = blobs.put(&mut "weights".as_bytes(), None, 100).unwrap();
    for damage in ["weighty", "weight", "", "weights and more"] {
        std::fs::write(blobs.path(&digest), damage).unwrap();
        let found = read(&blobs, &digest).unwrap_err();
        assert!(matches!(found, BlobError::Damaged { .. }), "{found}");
        assert!(
            found
                .to_string()
                .contains(&Digest::of(damage.as_bytes()).to_string()),
            "{found}"
        );
        blobs.put(&mut "weights".as_bytes(), Some(digest), 100).unwrap();
        assert_eq!(read(&blobs, &digest).unwrap(), b"weights");
    }
    assert!(matches!(
        blobs.reader(&digest).unwrap().read_all(6),
        Err(BlobError::TooLarge { limit: 6 })
    ));
}

#[test]
fn many_put_the_same_bytes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![7; 300_000];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    // Opening sweeps, and must leave the others' unfinished files alone.
                    let blobs = Blobs::open(dir.path()).unwrap();
                    let (digest, _) = blobs.put(&mut bytes.as_slice(), None, 1 << 20).unwrap();
                    assert_eq!(read(&blobs, &digest).unwrap(), bytes);
                }
            });
        }
    });
    assert_eq!(files(dir.path()).len(), 1);
}

/// Of a damaged file every block that is right leaves, and none that isn't: also after it was read, also without the list
/// of its blocks, and also if the list is damaged.
#[test]
fn a_damaged_block_never_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let block = BlobReader::BLOCK;
    let bytes: Vec<u8> = (0..3 * block + 9).map(|i| (i / 11 % 251) as u8).collect();
    let (digest, _) = blobs.put(&mut bytes.as_slice(), None, u64::MAX).unwrap();
    let path = blobs.path(&digest);
    let list = path.with_extension("blocks");
    let right = |blobs: &Blobs| -> Vec<bool> {
        let reader = match blobs.reader(&digest) {
            Ok(reader) => reader,
            Err(error) => panic!("{error}"),
        };
        let mut buffer = Vec::new();
        let mut one = |index| reader.block_at(index * block + 5, &mut buffer).is_ok();
        (0..4).map(&mut one).collect()
    };
    assert_eq!(right(&blobs), [true; 4]);
    assert_eq!(read(&blobs, &digest).unwrap(), bytes);

    // A disk that loses a bit changes nothing that the system notes; this does, as any write.
    let mut damaged = bytes.clone();
    damaged[block as usize + 77] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(right(&blobs), [true, false, true, true]);
    let told = read(&blobs, &digest).unwrap_err();
    assert!(matches!(told, BlobError::Damaged { .. }), "{told}");
    let fresh = || Blobs::open(dir.path()).unwrap();
    assert_eq!(right(&fresh()), [true, false, true, true]);
    std::fs::remove_file(&list).unwrap();
    assert_eq!(
        right(&fresh()),
        [false; 4],
        "without a list nothing of it is proved"
    );
    assert!(!list.exists());

    std::fs::write(&path, &bytes).unwrap();
    for wrong in [&b""[..], b"nonsense", &[0; 128]] {
        std::fs::write(&list, wrong).unwrap();
        assert_eq!(right(&fresh()), [true; 4]);
        assert_eq!(std::fs::read(&list).unwrap().len(), 128, "it is made again");
    }
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(read(&blobs, &digest).is_err() && read(&fresh(), &digest).is_err());
}
