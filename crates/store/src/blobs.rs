//! Artifacts' bytes, named by their digest: `ab/cdef...` for the digest `blake3:abcdef...`.
//!
//! ```
//! use store::Blobs;
//! let dir = std::env::temp_dir().join(format!("khub-blobs-example-{}", std::process::id()));
//! let blobs = Blobs::open(&dir)?;
//! let (digest, bytes) = blobs.put(&mut "weights".as_bytes(), None, 1 << 20)?;
//! assert_eq!(bytes, 7);
//! assert_eq!(blobs.reader(&digest)?.read_all(1 << 20)?, b"weights");
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file gets its name only when all of its bytes are on the disk and have the right digest. Until then it
//! is `incoming-...`, locked by its writer; what a killed writer left is not locked, and goes at the next
//! [`Blobs::open`]. Beside a file of several blocks lies `....blocks`, by which a part of it is checked
//! ([`BlobReader`]); it can be made again at any time.
//!
//! Bytes that no record of the log names may be collected ([`Blobs::collect`]), unless somebody has a [`Hold`] of them.
//!
//! The folder may be a cache in front of a bucket ([`Blobs::in_front_of`]), which then has all bytes that have a name.

use crate::blocks::{BlockHasher, Blocks};
use crate::bucket::Bucket;
use crate::bucket_error::BucketError;
use crate::folder::sync_dir;
use crate::hold::{Hold, Holds};
use crate::reading::{BlobReader, Seen};
use crate::remote::{self, Remote};
use consortium::Digest;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const INCOMING: &str = "incoming-";

/// A folder of artifacts' bytes. Any number of threads and processes may share it; one collects.
#[derive(Debug, Clone)]
pub struct Blobs {
    pub(crate) dir: PathBuf,
    pub(crate) holds: Arc<Holds>,
    /// What was read of late, and found right.
    pub(crate) seen: Arc<Seen>,
    /// What is behind the folder, if something is.
    pub(crate) remote: Option<Arc<Remote>>,
}

/// Why bytes can't be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// They are other bytes than was said. Nothing was kept.
    #[error("the bytes are {found}, not {expected} as was said; send them again")]
    Wrong {
        /// What was said.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
    /// There are too many. Nothing was kept.
    #[error("there are more than {limit} bytes, which is the most that is taken")]
    TooLarge {
        /// How many there may be.
        limit: u64,
    },
    /// Whoever sends them stopped. Nothing was kept.
    #[error("the bytes broke off: {0}")]
    BrokeOff(io::Error),
    /// They were never kept here.
    #[error("there are no bytes of {digest} in {place}")]
    Missing {
        /// Of what.
        digest: Digest,
        /// The folder or bucket where they should be.
        place: String,
    },
    /// They were kept, and have changed since.
    #[error("{} is damaged: its bytes are {found}; put the artifact again or restore it from a backup", path.display())]
    Damaged {
        /// The file; its name says what they were.
        path: PathBuf,
        /// What they are now.
        found: Digest,
    },
    /// The bucket has other bytes than were put there.
    #[error(
        "{object} is damaged: its bytes are {found}; put the artifact again or restore the bucket's older version"
    )]
    DamagedInBucket {
        /// The object; its name says what they were.
        object: String,
        /// What they are now.
        found: Digest,
    },
    /// The folder is a cache, and has only some of the bytes.
    #[error(
        "{} is a cache in front of {bucket}; start with --artifacts {bucket}, or copy all that the bucket has elsewhere \
         and remove {}",
        dir.display(), dir.join(remote::IN_FRONT_OF).display()
    )]
    IsCache {
        /// The folder.
        dir: PathBuf,
        /// Where the bytes are.
        bucket: String,
    },
    /// The bucket said no, or nothing.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What several asked for at a time failed for all of them.
    #[error("{0}")]
    Shared(Arc<Self>),
    /// The file system said no.
    #[error("{}: {why}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        why: io::Error,
    },
}

impl BlobError {
    /// Whether it was for the sender to do better.
    pub fn is_senders_fault(&self) -> bool {
        matches!(
            self,
            Self::Wrong { .. } | Self::TooLarge { .. } | Self::BrokeOff(_)
        )
    }

    /// Whether it may go well the next time: the bucket doesn't do its part.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Bucket(_) => true,
            Self::Shared(error) => error.may_pass(),
            _ => false,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::Io {
            path: path.to_owned(),
            why,
        }
    }
}

impl Blobs {
    /// Opens or makes the folder `dir`, and removes what killed writers have left in it.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let blobs = Self::in_folder(dir)?;
        match remote::in_front_of(dir)? {
            Some(bucket) => Err(blobs.is_cache(bucket)),
            None => Ok(blobs),
        }
    }

    /// Opens or makes the folder `dir` as a cache of `cache` bytes in front of a bucket, for the hub that writes the log
    /// that begins with the record of the hash `log`. What only the folder has goes into the bucket first.
    pub fn in_front_of(dir: &Path, bucket: Bucket, log: &Digest, cache: u64) -> Result<Self, BlobError> {
        let epoch = bucket.claim(log)?;
        let mut blobs = Self::in_folder(dir)?;
        let remote = Arc::new(Remote::new(bucket, epoch, cache));
        blobs.remote = Some(Arc::clone(&remote));
        remote.take_over(&blobs)?;
        Ok(blobs)
    }

    /// The bucket of which the folder `dir` is a cache, if it is one.
    pub fn bucket_behind(dir: &Path) -> Result<Option<String>, BlobError> {
        remote::in_front_of(dir)
    }

    fn in_folder(dir: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(dir).map_err(BlobError::io(dir))?;
        sweep(dir, true, &mut |_| {}).map_err(BlobError::io(dir))?;
        let blobs = Self {
            dir: dir.to_owned(),
            holds: Arc::default(),
            seen: Arc::default(),
            remote: None,
        };
        blobs.put_back()?;
        Ok(blobs)
    }

    pub(crate) fn is_cache(&self, bucket: String) -> BlobError {
        let dir = self.dir.clone();
        BlobError::IsCache { dir, bucket }
    }

    /// Keeps all that `reader` gives, `limit` bytes at most, and returns the digest and the number of bytes.
    /// When this returns `Ok` they survive a power cut; otherwise nothing is left behind. Bytes that are here
    /// already are replaced by the same bytes, which mends a damaged file.
    pub fn put(
        &self,
        reader: &mut dyn Read,
        expected: Option<Digest>,
        limit: u64,
    ) -> Result<(Digest, u64), BlobError> {
        let mut writer = self.begin(expected, limit)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return writer.finish().map(|kept| (kept.digest(), kept.bytes())),
                Ok(n) => writer.write(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(BlobError::BrokeOff(e)),
            }
        }
    }

    /// The same as [`Blobs::put`], for bytes that come piece by piece.
    pub fn begin(&self, expected: Option<Digest>, limit: u64) -> Result<BlobWriter, BlobError> {
        let (file, path) = incoming(&self.dir, INCOMING).map_err(BlobError::io(&self.dir))?;
        Ok(BlobWriter {
            file,
            path,
            blobs: self.clone(),
            hasher: BlockHasher::default(),
            bytes: 0,
            expected,
            limit,
            kept: false,
        })
    }

    /// Whether the bytes of `digest` are in the folder.
    pub fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// How many bytes `digest` has, if they are in the folder.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let found = std::fs::metadata(self.path(digest)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// How many bytes `digest` has, if they are in the folder or the bucket.
    pub(crate) fn kept(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        match (self.size(digest), &self.remote) {
            (None, Some(remote)) => Ok(remote.bucket.find(digest)?.map(|object| object.bytes)),
            (size, _) => Ok(size),
        }
    }

    /// Where the bytes of `digest` are, if they are in the folder.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let (folder, file) = hex.split_at(2);
        self.dir.join(folder).join(file)
    }

    /// The bytes of `digest`, to be read in parts, each of which is checked. They are fetched from the bucket if need be.
    pub fn reader(&self, digest: &Digest) -> Result<BlobReader, BlobError> {
        match (self.reader_here(digest)?, &self.remote) {
            (Some(reader), _) => Ok(reader),
            (None, Some(remote)) => BlobReader::of(self, digest, remote.fetched(self, digest)?),
            (None, None) => Err(BlobError::Missing {
                digest: *digest,
                place: self.dir.display().to_string(),
            }),
        }
    }

    /// The same, if they are in the folder, which takes no waiting.
    pub fn reader_here(&self, digest: &Digest) -> Result<Option<BlobReader>, BlobError> {
        let path = self.path(digest);
        let opened = match File::open(&path) {
            // A hub that had stopped being the writer may just have moved it.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.put_back_one(digest) => File::open(&path),
            opened => opened,
        };
        match opened {
            Ok(file) => BlobReader::of(self, digest, file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(BlobError::Io { path, why }),
        }
    }

    /// A file of the folder was used just now.
    pub(crate) fn note_used(&self, digest: &Digest, bytes: u64) {
        if let Some(remote) = &self.remote {
            remote.cache.note(*digest, bytes);
        }
    }

    /// Where the values of a file's blocks are kept.
    pub(crate) fn blocks_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension("blocks")
    }

    /// Keeps bytes that lie whole and safe in the file at `from`, whose blocks are these: the name first gets a hold,
    /// then the bucket the bytes, then the file its name.
    pub(crate) fn adopt(&self, from: &Path, blocks: &Blocks, bytes: u64) -> Result<Hold, BlobError> {
        let digest = blocks.digest();
        let hold = self.holds.take(digest, bytes);
        if let Some(remote) = &self.remote {
            remote.keep(&digest, from, bytes, &self.dir)?;
        }
        self.give_name(from, blocks).map_err(BlobError::io(from))?;
        self.note_used(&digest, bytes);
        if let Some(remote) = &self.remote {
            remote.make_room(self);
        }
        Ok(hold)
    }

    fn give_name(&self, from: &Path, blocks: &Blocks) -> io::Result<()> {
        let digest = blocks.digest();
        let path = self.path(&digest);
        let folder = path.parent().expect("the path of a blob has a folder");
        std::fs::create_dir_all(folder)?;
        std::fs::rename(from, &path)?;
        if blocks.len() > 1 {
            // Without it, or with a torn one, the file is hashed once more.
            let _ = std::fs::write(self.blocks_path(&digest), blocks.to_bytes());
        }
        sync_dir(folder)?;
        sync_dir(&self.dir)
    }
}

/// Bytes on their way in. Dropped before [`BlobWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    path: PathBuf,
    blobs: Blobs,
    hasher: BlockHasher,
    bytes: u64,
    expected: Option<Digest>,
    limit: u64,
    kept: bool,
}

impl BlobWriter {
    /// Adds a piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), BlobError> {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        if self.bytes > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hasher.update(piece);
        self.file.write_all(piece).map_err(BlobError::io(&self.path))
    }

    /// Checks the digest and gives the bytes their name. Nobody collects them as long as the hold is there.
    pub fn finish(mut self) -> Result<Hold, BlobError> {
        let blocks = self.check()?;
        let hold = self.blobs.adopt(&self.path, &blocks, self.bytes)?;
        self.kept = true;
        Ok(hold)
    }

    /// The same for bytes that the bucket has. Returns the file.
    pub(crate) fn finish_copy(mut self) -> Result<File, BlobError> {
        let blocks = self.check()?;
        let named = self.blobs.give_name(&self.path, &blocks);
        named.map_err(BlobError::io(&self.path))?;
        self.kept = true;
        self.file.try_clone().map_err(BlobError::io(&self.path))
    }

    /// The blocks of bytes that are all on the disk, and the right ones.
    fn check(&mut self) -> Result<Blocks, BlobError> {
        if self.bytes > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        let blocks = std::mem::take(&mut self.hasher).finish();
        let found = blocks.digest();
        if let Some(expected) = self.expected.filter(|expected| *expected != found) {
            return Err(BlobError::Wrong { expected, found });
        }
        self.sync().map_err(BlobError::io(&self.path))?;
        Ok(blocks)
    }

    fn sync(&self) -> io::Result<()> {
        if self.file.metadata()?.len() != self.bytes {
            return Err(io::Error::other(
                "a piece wasn't written, so the bytes are not whole",
            ));
        }
        self.file.sync_all()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.kept {
            // There is nobody to tell; the next start of the hub tries again.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A new file whose name begins so, for what isn't whole yet, and its name. It stays locked as long as it is open.
pub(crate) fn incoming(dir: &Path, begins: &str) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{begins}{}-{n}", std::process::id()));
        let made = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|file| {
                file.lock()?;
                // Somebody may have swept it away before it was locked.
                Ok(path.try_exists()?.then_some(file))
            });
        match made {
            Ok(Some(file)) => return Ok((file, path)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

/// Finds what came in halfway and has no living writer, and removes it if it is to go; `tell` hears of each file's size.
pub(crate) fn sweep(dir: &Path, go: bool, tell: &mut dyn FnMut(u64)) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(INCOMING)) {
            continue;
        }
        match OpenOptions::new()
            .write(true)
            .open(&path)
            .map(|file| (file.try_lock(), file))
        {
            Ok((Ok(()), locked)) => {
                tell(locked.metadata()?.len());
                if go {
                    ignore_gone(std::fs::remove_file(&path))?;
                }
            }
            Ok((Err(TryLockError::WouldBlock), _)) => {} // its writer lives
            Ok((Err(TryLockError::Error(e)), _)) => return Err(e),
            Err(e) => ignore_gone(Err(e))?,
        }
    }
    Ok(())
}

/// A writer that finishes meanwhile takes its file away itself.
pub(crate) fn ignore_gone(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|e| {
        if e.kind() == io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(e)
        }
    })
}
