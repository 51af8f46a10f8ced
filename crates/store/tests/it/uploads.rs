//! Uploads that break off, in one process and in killed ones.

use crate::damage::Dice;
use consortium::{Digest, Time};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use store::{BlobError, Blobs, Turn, UploadError, UploadLimits, Uploads, Wanted};

const FOLDER: &str = "KHUB_TEST_UPLOAD_FOLDER";
const LIMITS: UploadLimits = UploadLimits {
    number: 3,
    bytes: 10_000_000,
    largest: 5_000_000,
    age: 1_000,
};

struct Place {
    blobs: Blobs,
    uploads: Uploads,
}

impl Place {
    /// As a hub does at its start.
    fn open(dir: &Path) -> Self {
        let blobs = Blobs::open(dir).unwrap();
        let uploads = Uploads::open(&blobs, LIMITS).unwrap();
        Self { blobs, uploads }
    }

    fn begin(&self, wanted: &Wanted) -> Result<Turn, UploadError> {
        Ok(self.uploads.begin(wanted, Time(0), 0)?.take())
    }
}

fn wanted(account: &str, bytes: &[u8]) -> Wanted {
    Wanted {
        account: account.into(),
        project: "reviews".parse().unwrap(),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
    }
}

fn bytes(count: u64) -> Vec<u8> {
    (0..count).map(|i| (i / 13 % 251) as u8).collect()
}

/// How many files and folders there are of uploads.
fn folders(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("uploads")).unwrap().count()
}

#[test]
fn pieces_come_in_their_order_and_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let all = bytes(1_700_000);
    let wanted = wanted("minji", &all);
    let first = place.begin(&wanted).unwrap();
    first.append(0, &all[..700_000]).unwrap();
    let gap = first.append(700_001, b"x").unwrap_err();
    assert!(
        matches!(
            gap,
            UploadError::Elsewhere {
                offset: 700_000,
                given: 700_001
            }
        ),
        "{gap}"
    );
    let early = first.finish(&place.blobs).unwrap_err();
    assert!(
        matches!(early, UploadError::TooShort { offset: 700_000, .. }),
        "{early}"
    );
    // The same bytes again are the same upload, and whoever takes it ends the one before.
    let second = place.begin(&wanted).unwrap();
    assert_eq!(second.offset().unwrap(), 700_000);
    let late = first.append(700_000, b"x").unwrap_err();
    assert!(matches!(late, UploadError::Superseded), "{late}");
    assert!(matches!(first.finish(&place.blobs), Err(UploadError::Superseded)));
    second.append(700_000, &all[700_000..]).unwrap();
    let long = second.append(all.len() as u64, b"x").unwrap_err();
    assert!(matches!(long, UploadError::TooLong { .. }), "{long}");
    for _ in 0..2 {
        let hold = second.finish(&place.blobs).unwrap();
        assert_eq!((hold.digest(), hold.bytes()), (wanted.digest, wanted.bytes));
    }
    assert!(matches!(second.append(0, b"x"), Err(UploadError::Complete)));
    assert_eq!(second.offset().unwrap(), wanted.bytes);
    let kept = place.blobs.reader(&wanted.digest).unwrap();
    assert_eq!(kept.read_all(u64::MAX).unwrap(), all);
}

#[test]
fn it_goes_on_after_a_start_and_is_hashed_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let all = bytes(1_300_000);
    let wanted = wanted("minji", &all);
    for (from, to) in [(0, 1), (1, 600_000), (600_000, 600_000), (600_000, 1_300_000)] {
        let place = Place::open(dir.path());
        let turn = place.begin(&wanted).unwrap();
        assert_eq!(turn.offset().unwrap(), from as u64);
        turn.append(from as u64, &all[from..to]).unwrap();
    }
    let place = Place::open(dir.path());
    place.begin(&wanted).unwrap().finish(&place.blobs).unwrap();
    drop(place);
    // Complete it stays, also after a start, until it expires.
    let place = Place::open(dir.path());
    let upload = place.uploads.begin(&wanted, Time(0), 0).unwrap();
    assert_eq!(upload.progress(), (wanted.bytes, true));
    assert_eq!(place.uploads.complete().len(), 1);
    assert!(place.uploads.expired(Time(999)).is_empty());
    assert_eq!(place.uploads.expired(Time(1_000)).len(), 1);
    place.uploads.end(&upload).unwrap();
    assert_eq!(folders(dir.path()), 0);
    assert!(place.blobs.has(&wanted.digest), "only its hold is gone");
}

#[test]
fn wrong_bytes_and_cancelled_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let wanted = wanted("minji", b"said");
    let turn = place.begin(&wanted).unwrap();
    turn.append(0, b"sent").unwrap();
    let wrong = turn.finish(&place.blobs).unwrap_err();
    assert!(
        matches!(wrong, UploadError::Blobs(BlobError::Wrong { .. })),
        "{wrong}"
    );
    assert!(matches!(turn.append(4, b""), Err(UploadError::Gone)));
    assert!(!place.blobs.has(&wanted.digest) && folders(dir.path()) == 0);

    let upload = place.uploads.begin(&wanted, Time(0), 0).unwrap();
    let turn = upload.take();
    turn.append(0, b"sa").unwrap();
    place.uploads.end(&upload).unwrap();
    assert!(matches!(turn.append(2, b"id"), Err(UploadError::Gone)));
    assert_eq!(folders(dir.path()), 0);
    assert!(place.uploads.find("minji", upload.id()).is_none());
}

#[test]
fn an_account_has_so_much_and_sees_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(dir.path());
    let begin =
        |account: &str, text: &[u8], unnamed| place.uploads.begin(&wanted(account, text), Time(0), unnamed);
    let first = begin("minji", b"1", 0).unwrap();
    begin("minji", b"2", 0).unwrap();
    begin("minji", b"3", 0).unwrap();
    let many = begin("minji", b"4", 0).unwrap_err();
    assert!(matches!(many, UploadError::TooMany { number: 3 }), "{many}");
    assert_eq!(begin("minji", b"1", 0).unwrap().id(), first.id());
    let much = begin("ingrid", b"1", LIMITS.bytes).unwrap_err();
    assert!(
        matches!(
            much,
            UploadError::TooMuch {
                bytes: 10_000_001,
                ..
            }
        ),
        "{much}"
    );
    let large = Wanted {
        bytes: LIMITS.largest + 1,
        ..wanted("ingrid", b"1")
    };
    let large = place.uploads.begin(&large, Time(0), 0).unwrap_err();
    assert!(
        matches!(large, UploadError::Blobs(BlobError::TooLarge { .. })),
        "{large}"
    );
    assert!(place.uploads.find("ingrid", first.id()).is_none());
    assert!(place.uploads.of("ingrid").is_empty());
    assert_eq!(place.uploads.of("minji").len(), 3);
}

#[test]
fn what_was_half_begun_is_no_upload() {
    let dir = tempfile::tempdir().unwrap();
    drop(Place::open(dir.path()).begin(&wanted("minji", b"whole")).unwrap());
    let uploads = dir.path().join("uploads");
    for (name, about) in [
        ("a", None),
        ("b", Some("{")),
        ("c", Some("")),
        ("d", Some("{\"account\":1}")),
    ] {
        let folder = uploads.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("bytes"), "").unwrap();
        if let Some(about) = about {
            std::fs::write(folder.join("about.json"), about).unwrap();
        }
    }
    std::fs::write(uploads.join("file"), "").unwrap();
    let place = Place::open(dir.path());
    assert_eq!((place.uploads.of("minji").len(), folders(dir.path())), (1, 1));
}

/// What was told to be there is there, wherever the hub was killed; and in the end all of it.
#[test]
fn killed_anywhere_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(7);
    let mut told = 0;
    for round in 0.. {
        let mut child = start(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut kept = false;
        let mut hear = |line: &str| {
            kept |= line == "kept";
            let Some(offset) = line.strip_prefix("there ") else {
                return;
            };
            let offset: u64 = offset.parse().unwrap();
            assert!(
                offset >= told,
                "round {round}: {told} bytes were there, and now {offset}"
            );
            told = offset;
        };
        for line in lines.by_ref() {
            hear(&line);
            if line.starts_with("there") && dice.below(12) == 0 {
                break;
            }
        }
        child.kill().unwrap();
        lines.for_each(|line| hear(&line));
        child.wait().unwrap();
        if kept {
            assert!(round > 0, "it was killed at least once");
            break;
        }
    }
    let place = Place::open(dir.path());
    let kept = place
        .blobs
        .reader(&wanted("minji", &bytes(TOTAL)).digest)
        .unwrap();
    assert_eq!(kept.read_all(u64::MAX).unwrap(), bytes(TOTAL));
}

const TOTAL: u64 = 4_000_000;

/// Run by the test above in a process of its own.
#[test]
fn child_that_uploads_in_pieces() {
    let Some(dir) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let place = Place::open(&dir);
    let all = bytes(TOTAL);
    let turn = place.begin(&wanted("minji", &all)).unwrap();
    let mut out = std::io::stdout();
    loop {
        let offset = turn.offset().unwrap() as usize;
        writeln!(out, "\nthere {offset}").unwrap();
        let to = (offset + 70_001).min(all.len());
        if offset == to {
            turn.finish(&place.blobs).unwrap();
            writeln!(out, "\nkept").unwrap();
            return;
        }
        for (n, piece) in all[offset..to].chunks(9_999).enumerate() {
            turn.append((offset + n * 9_999) as u64, piece).unwrap();
        }
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "uploads::child_that_uploads_in_pieces", "--nocapture"])
        .env(FOLDER, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
