//! Uploads that go on where they broke off: bytes come in any number of pieces, and what was told to have come is on
//! the disk.
//!
//! ```
//! use consortium::{Digest, Time};
//! use store::{Blobs, UploadLimits, Uploads, Wanted};
//! let dir = std::env::temp_dir().join(format!("khub-uploads-example-{}", std::process::id()));
//! let (blobs, limits) = (Blobs::open(&dir)?, UploadLimits::default());
//! let uploads = Uploads::open(&blobs, limits)?;
//! let (project, digest) = ("reviews".parse()?, Digest::of(b"weights"));
//! let upload = uploads.begin(&Wanted { account: "minji".into(), project, digest, bytes: 7 }, Time(0), 0)?;
//! let turn = upload.take();
//! turn.append(0, b"wei")?;
//! drop((turn, uploads)); // the hub is killed, and starts again
//!
//! let uploads = Uploads::open(&blobs, limits)?;
//! let upload = uploads.find("minji", upload.id()).expect("it is there");
//! let turn = upload.take();
//! assert_eq!(turn.offset()?, 3);
//! turn.append(3, b"ghts")?;
//! let hold = turn.finish(&blobs)?;
//! assert_eq!(blobs.reader(&hold.digest())?.read_all(7)?, b"weights");
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each has a folder `uploads/ID` beside the artifacts: `about.json`, which never changes, and `bytes`, whose length is the
//! offset. When all bytes are there and have the digest that was said, the file gets its name among the artifacts; so an
//! upload without `bytes` is complete.
//!
//! One at a time appends: whoever takes the [`Turn`] ends that of whoever had it before, at their next piece. So a
//! connection that has died without a sign is in nobody's way.

use crate::blobs::{BlobError, Blobs, ignore_gone};
use crate::blocks::BlockHasher;
use crate::folder::sync_dir;
use crate::hold::Hold;
use crate::reading;
use consortium::{Digest, ProjectId, Time};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes are written before they are synced, so that the end of an upload doesn't wait for all of them.
const SYNC_EVERY: u64 = 64 << 20;

/// All uploads under way, and those that are complete and haven't expired.
#[derive(Debug)]
pub struct Uploads {
    dir: PathBuf,
    blobs: Blobs,
    limits: UploadLimits,
    all: Mutex<BTreeMap<String, Arc<Upload>>>,
}

/// What one account may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// How many uploads under way.
    pub number: usize,
    /// How many bytes that no record names: of uploads under way all that are announced.
    pub bytes: u64,
    /// How many bytes in one upload.
    pub largest: u64,
    /// How long an upload may take, milliseconds.
    pub age: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            number: 32,
            bytes: 256 << 30,
            largest: 64 << 30,
            age: 7 * 24 * 3_600_000,
        }
    }
}

/// An upload that somebody would begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Whose it is.
    pub account: String,
    /// For which project.
    pub project: ProjectId,
    /// What the bytes are.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
}

/// One upload.
#[derive(Debug)]
pub struct Upload {
    id: String,
    about: About,
    folder: PathBuf,
    /// The number of the turn that may append.
    turn: AtomicU64,
    part: Mutex<Part>,
    /// Held by whoever completes it, which may take long.
    finishing: Mutex<()>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    #[serde(flatten)]
    wanted: Wanted,
    expires: Time,
}

#[derive(Debug)]
enum Part {
    /// So many bytes are there.
    Open {
        offset: u64,
        /// Of these bytes; none after a start of the hub, and then they are read again in the end.
        hasher: Option<Box<BlockHasher>>,
        /// Open while bytes come, with the number of those that aren't synced.
        file: Option<(File, u64)>,
    },
    /// All are there, under their name.
    Complete(Hold),
    /// It was cancelled, has expired, or had the wrong bytes.
    Gone,
}

/// The right to append, until somebody else takes it.
#[derive(Debug)]
pub struct Turn {
    upload: Arc<Upload>,
    number: u64,
}

/// Why an upload doesn't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The account has as many as it may.
    #[error("{number} uploads are under way, which is the most that one account may have")]
    TooMany {
        /// How many.
        number: usize,
    },
    /// The account has brought as much as it may.
    #[error(
        "with these there would be {bytes} bytes that nothing names yet, and {limit} is the most of one account"
    )]
    TooMuch {
        /// With the new ones.
        bytes: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The bytes don't begin where those that are there end.
    #[error("{offset} bytes are there, so the next piece begins there, not at {given}")]
    Elsewhere {
        /// How many are there.
        offset: u64,
        /// Where the piece begins.
        given: u64,
    },
    /// There are more bytes than were announced.
    #[error("more bytes came than the {bytes} that were announced")]
    TooLong {
        /// How many were announced.
        bytes: u64,
    },
    /// Not all bytes are there.
    #[error("{offset} of {bytes} bytes are there, so it isn't complete")]
    TooShort {
        /// How many are there.
        offset: u64,
        /// How many were announced.
        bytes: u64,
    },
    /// Somebody else goes on with it.
    #[error("another request goes on with this upload")]
    Superseded,
    /// It is complete, and takes nothing more.
    #[error("the upload is complete")]
    Complete,
    /// It isn't there any more.
    #[error("the upload was cancelled or has expired")]
    Gone,
    /// The bytes are wrong, or the file system said no.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

impl Uploads {
    /// Finds what is there; what was only half begun goes.
    pub fn open(blobs: &Blobs, limits: UploadLimits) -> Result<Self, BlobError> {
        let dir = blobs.dir.join("uploads");
        let failed = BlobError::io(&dir);
        fs::create_dir_all(&dir)
            .and_then(|()| fs::read_dir(&dir)?.collect::<io::Result<Vec<_>>>())
            .map_err(failed)
            .and_then(|entries| {
                let mut all = BTreeMap::new();
                for folder in entries.into_iter().map(|entry| entry.path()) {
                    match Upload::find(&folder, blobs)? {
                        Some(upload) => drop(all.insert(upload.id.clone(), Arc::new(upload))),
                        None => remove(&folder).map_err(BlobError::io(&folder))?,
                    }
                }
                Ok(Self {
                    dir: dir.clone(),
                    blobs: blobs.clone(),
                    limits,
                    all: Mutex::new(all),
                })
            })
    }

    /// Begins an upload; if the account has one of the same bytes for the same project, it is that one. `unnamed` tells
    /// how many bytes of the account there are in other ways that no record names.
    pub fn begin(&self, wanted: &Wanted, now: Time, unnamed: u64) -> Result<Arc<Upload>, UploadError> {
        let Wanted { account, bytes, .. } = wanted;
        let mut all = lock(&self.all);
        let mut own = all.values().filter(|it| it.about.wanted.account == *account);
        let same = |it: &&Arc<Upload>| it.about.wanted == *wanted && it.is_there() && it.about.expires > now;
        if let Some(same) = own.clone().find(same) {
            return Ok(Arc::clone(same));
        }
        if *bytes > self.limits.largest {
            let limit = self.limits.largest;
            return Err(BlobError::TooLarge { limit }.into());
        }
        let (mut number, mut announced) = (0, 0);
        for upload in own.by_ref().filter(|it| it.is_under_way()) {
            number += 1;
            announced += upload.about.wanted.bytes;
        }
        if number >= self.limits.number {
            return Err(UploadError::TooMany { number });
        }
        let with_these = announced.saturating_add(unnamed).saturating_add(*bytes);
        if with_these > self.limits.bytes {
            return Err(UploadError::TooMuch {
                bytes: with_these,
                limit: self.limits.bytes,
            });
        }
        let about = About {
            wanted: wanted.clone(),
            expires: now.plus(self.limits.age),
        };
        let upload = Arc::new(Upload::begin(&self.dir, about)?);
        all.insert(upload.id.clone(), Arc::clone(&upload));
        Ok(upload)
    }

    /// The upload, if it is the account's own.
    pub fn find(&self, account: &str, id: &str) -> Option<Arc<Upload>> {
        let all = lock(&self.all);
        let found = all.get(id).filter(|it| it.about.wanted.account == account);
        found.filter(|it| it.is_there()).cloned()
    }

    /// All of an account, in the order of their names.
    pub fn of(&self, account: &str) -> Vec<Arc<Upload>> {
        let own = |it: &&Arc<Upload>| it.about.wanted.account == account && it.is_there();
        lock(&self.all).values().filter(own).cloned().collect()
    }

    /// Those that are complete, with what keeps their bytes.
    pub fn complete(&self) -> Vec<(Arc<Upload>, Hold)> {
        let all = lock(&self.all);
        let complete = all.values().filter_map(|upload| match &*lock(&upload.part) {
            Part::Complete(hold) => Some((Arc::clone(upload), hold.clone())),
            _ => None,
        });
        complete.collect()
    }

    /// Ends an upload: its bytes go, unless it is complete; then only its hold of them does.
    pub fn end(&self, upload: &Upload) -> Result<(), BlobError> {
        lock(&self.all).remove(&upload.id);
        *lock(&upload.part) = Part::Gone;
        remove(&upload.folder).map_err(BlobError::io(&upload.folder))
    }

    /// What `now` is too old, or isn't there any more; with the number of bytes that lie there.
    pub fn expired(&self, now: Time) -> Vec<(Arc<Upload>, u64)> {
        let all = lock(&self.all);
        let old = all
            .values()
            .filter(|it| it.about.expires <= now || !it.is_there());
        old.map(|it| (Arc::clone(it), it.bytes_on_disk())).collect()
    }

    /// Where they lie.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// What one account may have.
    pub fn limits(&self) -> UploadLimits {
        self.limits
    }
}

impl Upload {
    fn begin(dir: &Path, about: About) -> Result<Self, BlobError> {
        let mut random = [0; 16];
        let drawn = SystemRandom::new().fill(&mut random);
        drawn.map_err(|_| BlobError::io(dir)(io::Error::other("the machine gives no random numbers")))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = dir.join(&id);
        let write = || {
            fs::create_dir(&folder)?;
            File::create(folder.join(BYTES))?.sync_all()?;
            let part = folder.join("about.json.part");
            let mut file = File::create(&part)?;
            file.write_all(&serde_json::to_vec(&about)?)?;
            file.sync_all()?;
            fs::rename(part, folder.join(ABOUT))?;
            sync_dir(&folder)?;
            sync_dir(dir)
        };
        write().map_err(BlobError::io(&folder))?;
        let part = Part::Open {
            offset: 0,
            hasher: Some(Box::default()),
            file: None,
        };
        Ok(Self::new(id, about, folder, part))
    }

    /// The upload that lies in `folder`, if it was begun and its bytes are there.
    fn find(folder: &Path, blobs: &Blobs) -> Result<Option<Self>, BlobError> {
        let failed = BlobError::io(folder);
        let Some(id) = folder.file_name().and_then(|name| name.to_str()) else {
            return Ok(None);
        };
        let about = match fs::read(folder.join(ABOUT)) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(failed(e)),
            Ok(text) => serde_json::from_slice::<About>(&text).ok(),
        };
        let Some(about) = about else { return Ok(None) };
        let Wanted { digest, bytes, .. } = about.wanted;
        let part = match cut_off(&folder.join(BYTES), bytes) {
            Ok(offset) => {
                let hasher = (offset == 0).then(Box::default);
                let file = None;
                Part::Open { offset, hasher, file }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let hold = blobs.holds.take(digest, bytes);
                match blobs.kept(&digest)? {
                    Some(size) if size == bytes => Part::Complete(hold),
                    _ => return Ok(None),
                }
            }
            Err(e) => return Err(failed(e)),
        };
        Ok(Some(Self::new(id.to_owned(), about, folder.to_owned(), part)))
    }

    fn new(id: String, about: About, folder: PathBuf, part: Part) -> Self {
        Self {
            id,
            about,
            folder,
            turn: AtomicU64::new(0),
            part: Mutex::new(part),
            finishing: Mutex::default(),
        }
    }

    /// Its name, which nobody guesses.
    pub fn id(&self) -> &String {
        &self.id
    }

    /// What it is of, and whose.
    pub fn wanted(&self) -> &Wanted {
        &self.about.wanted
    }

    /// Until when it has to be complete.
    pub fn expires(&self) -> Time {
        self.about.expires
    }

    /// How many bytes are there, as far as somebody who doesn't go on with it needs to know; and whether it is
    /// complete.
    pub fn progress(&self) -> (u64, bool) {
        match &*lock(&self.part) {
            Part::Open { offset, .. } => (*offset, false),
            Part::Complete(_) => (self.about.wanted.bytes, true),
            Part::Gone => (0, false),
        }
    }

    /// Goes on with it, instead of whoever did before.
    pub fn take(self: &Arc<Self>) -> Turn {
        let number = self.turn.fetch_add(1, Ordering::SeqCst) + 1;
        let upload = Arc::clone(self);
        Turn { upload, number }
    }

    fn check(&self, part: &Part, at: u64, count: u64) -> Result<(), UploadError> {
        let (bytes, given) = (self.about.wanted.bytes, at);
        match *part {
            Part::Open { offset, .. } if at != offset => Err(UploadError::Elsewhere { offset, given }),
            Part::Open { offset, .. } if count > bytes - offset => Err(UploadError::TooLong { bytes }),
            Part::Open { .. } => Ok(()),
            Part::Complete(_) => Err(UploadError::Complete),
            Part::Gone => Err(UploadError::Gone),
        }
    }

    fn is_there(&self) -> bool {
        !matches!(&*lock(&self.part), Part::Gone)
    }

    fn is_under_way(&self) -> bool {
        matches!(&*lock(&self.part), Part::Open { .. })
    }

    fn bytes_on_disk(&self) -> u64 {
        match &*lock(&self.part) {
            Part::Open { offset, .. } => *offset,
            _ => 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(BYTES)
    }
}

impl Turn {
    /// How many bytes are there, for good: they are synced first.
    pub fn offset(&self) -> Result<u64, UploadError> {
        let path = self.upload.path();
        match &mut *self.part()? {
            Part::Open { offset, file, .. } => {
                if let Some((file, unsynced)) = file.take().filter(|(_, unsynced)| *unsynced > 0) {
                    let _ = unsynced;
                    file.sync_data().map_err(BlobError::io(&path))?;
                }
                Ok(*offset)
            }
            Part::Complete(hold) => Ok(hold.bytes()),
            Part::Gone => Err(UploadError::Gone),
        }
    }

    /// Whether so many bytes could be added at `at`.
    pub fn expect(&self, at: u64, count: u64) -> Result<(), UploadError> {
        self.upload.check(&*self.part()?, at, count)
    }

    /// Adds a piece that begins at `at`.
    pub fn append(&self, at: u64, piece: &[u8]) -> Result<(), UploadError> {
        let path = self.upload.path();
        let mut part = self.part()?;
        self.upload.check(&part, at, piece.len() as u64)?;
        let Part::Open {
            offset,
            hasher,
            file: open,
        } = &mut *part
        else {
            return Err(UploadError::Gone);
        };
        let mut write = || -> io::Result<()> {
            let (file, unsynced) = match open {
                Some(open) => open,
                None => {
                    let mut file = OpenOptions::new().write(true).open(&path)?;
                    file.seek(SeekFrom::Start(*offset))?;
                    open.insert((file, 0))
                }
            };
            let written = file.write_all(piece);
            if written.is_err() {
                // Half a piece is none.
                file.set_len(*offset)?;
                file.seek(SeekFrom::Start(*offset))?;
            }
            written?;
            *unsynced += piece.len() as u64;
            if *unsynced >= SYNC_EVERY {
                file.sync_data()?;
                *unsynced = 0;
            }
            Ok(())
        };
        write().map_err(BlobError::io(&path))?;
        *offset += piece.len() as u64;
        if let Some(hasher) = hasher {
            hasher.update(piece);
        }
        Ok(())
    }

    /// Completes it: if the bytes are all there and the right ones, they get their name. Wrong ones go. Whoever asks while
    /// somebody else completes it waits for that.
    pub fn finish(&self, blobs: &Blobs) -> Result<Hold, UploadError> {
        let _alone = lock(&self.upload.finishing);
        let (path, Wanted { digest, bytes, .. }) = (self.upload.path(), self.upload.wanted());
        let (expected, bytes) = (*digest, *bytes);
        let hasher = match &mut *self.part()? {
            Part::Open { offset, .. } if *offset < bytes => {
                let offset = *offset;
                return Err(UploadError::TooShort { offset, bytes });
            }
            Part::Open { hasher, .. } => hasher.take(),
            Part::Complete(hold) => return Ok(hold.clone()),
            Part::Gone => return Err(UploadError::Gone),
        };
        // From here on nothing is appended, because all is there, and others may look at it.
        let io = || BlobError::io(&path);
        let file = File::open(&path).map_err(io())?;
        file.sync_all().map_err(io())?;
        let blocks = match hasher {
            Some(hasher) => hasher.finish(),
            None => reading::hash(&file).map_err(io())?,
        };
        let found = blocks.digest();
        if found != expected {
            *lock(&self.upload.part) = Part::Gone;
            remove(&self.upload.folder).map_err(io())?;
            return Err(BlobError::Wrong { expected, found }.into());
        }
        let hold = blobs.adopt(&path, &blocks, bytes)?;
        let mut part = lock(&self.upload.part);
        if matches!(*part, Part::Gone) {
            // It was given up meanwhile: so the bytes are nobody's, and are collected.
            return Err(UploadError::Gone);
        }
        *part = Part::Complete(hold.clone());
        Ok(hold)
    }

    /// The part, as long as nobody else has taken the turn.
    fn part(&self) -> Result<MutexGuard<'_, Part>, UploadError> {
        let part = lock(&self.upload.part);
        if self.upload.turn.load(Ordering::SeqCst) != self.number {
            return Err(UploadError::Superseded);
        }
        Ok(part)
    }
}

const ABOUT: &str = "about.json";
const BYTES: &str = "bytes";

/// How many bytes are in the file, `most` at most; what is beyond goes, and the others are safe.
fn cut_off(path: &Path, most: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let offset = file.metadata()?.len().min(most);
    file.set_len(offset)?;
    // What a killed hub had written and not synced is told from now on.
    file.sync_all()?;
    Ok(offset)
}

/// What says that it was begun goes first, so that half of a removal is all of it at the next start.
fn remove(folder: &Path) -> io::Result<()> {
    if folder.is_file() {
        return fs::remove_file(folder);
    }
    ignore_gone(fs::remove_file(folder.join(ABOUT)))?;
    ignore_gone(fs::remove_dir_all(folder))
}

/// What is done under these locks leaves things whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
