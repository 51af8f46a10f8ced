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

use crate::blocks::{BlockHasher, Blocks};
use crate::folder::sync_dir;
use crate::hold::{Hold, Holds};
use crate::reading::{BlobReader, Seen};
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
    #[error("there are no bytes of {digest} in {}", dir.display())]
    Missing {
        /// Of what.
        digest: Digest,
        /// Where they should be.
        dir: PathBuf,
    },
    /// They were kept, and have changed since.
    #[error("{} is damaged: its bytes are {found}; put the artifact again or restore it from a backup", path.display())]
    Damaged {
        /// The file; its name says what they were.
        path: PathBuf,
        /// What they are now.
        found: Digest,
    },
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
        std::fs::create_dir_all(dir).map_err(BlobError::io(dir))?;
        sweep(dir, true, &mut |_| {}).map_err(BlobError::io(dir))?;
        let blobs = Self {
            dir: dir.to_owned(),
            holds: Arc::default(),
            seen: Arc::default(),
        };
        blobs.put_back()?;
        Ok(blobs)
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
        let (file, path) = incoming(&self.dir)?;
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

    /// Whether the bytes of `digest` are here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// How many bytes `digest` has, if they are here.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let found = std::fs::metadata(self.path(digest)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// Where the bytes of `digest` are, if they are here.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let (folder, file) = hex.split_at(2);
        self.dir.join(folder).join(file)
    }

    /// The bytes of `digest`, to be read in parts, each of which is checked.
    pub fn reader(&self, digest: &Digest) -> Result<BlobReader, BlobError> {
        BlobReader::open(self, digest)
    }

    /// The file of `digest`.
    pub(crate) fn open_file(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.path(digest);
        let opened = match File::open(&path) {
            // A hub that had stopped being the writer may just have moved it.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.put_back_one(digest) => File::open(&path),
            opened => opened,
        };
        opened.map_err(|why| match why.kind() {
            io::ErrorKind::NotFound => BlobError::Missing {
                digest: *digest,
                dir: self.dir.clone(),
            },
            _ => BlobError::Io { path, why },
        })
    }

    /// Where the values of a file's blocks are kept.
    pub(crate) fn blocks_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension("blocks")
    }

    /// Keeps bytes that lie whole and safe in the file at `from`, whose blocks are these: the name first gets a hold,
    /// then the file its name.
    pub(crate) fn adopt(&self, from: &Path, blocks: &Blocks, bytes: u64) -> io::Result<Hold> {
        let digest = blocks.digest();
        let hold = self.holds.take(digest, bytes);
        let path = self.path(&digest);
        let folder = path.parent().expect("the path of a blob has a folder");
        std::fs::create_dir_all(folder)?;
        std::fs::rename(from, &path)?;
        if blocks.len() > 1 {
            // Without it, or with a torn one, the file is hashed once more.
            let _ = std::fs::write(self.blocks_path(&digest), blocks.to_bytes());
        }
        sync_dir(folder)?;
        sync_dir(&self.dir)?;
        Ok(hold)
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
        if self.bytes > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        let blocks = std::mem::take(&mut self.hasher).finish();
        let found = blocks.digest();
        if let Some(expected) = self.expected.filter(|expected| *expected != found) {
            return Err(BlobError::Wrong { expected, found });
        }
        let hold = self.keep(&blocks).map_err(BlobError::io(&self.path))?;
        self.kept = true;
        Ok(hold)
    }

    /// The bytes first, then the name, then the folders that have the name.
    fn keep(&self, blocks: &Blocks) -> io::Result<Hold> {
        if self.file.metadata()?.len() != self.bytes {
            return Err(io::Error::other(
                "a piece wasn't written, so the bytes are not whole",
            ));
        }
        self.file.sync_all()?;
        self.blobs.adopt(&self.path, blocks, self.bytes)
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

/// A new file for bytes on their way in, and its name. It stays locked as long as it is open.
fn incoming(dir: &Path) -> Result<(File, PathBuf), BlobError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{INCOMING}{}-{n}", std::process::id()));
        let made = OpenOptions::new()
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
            Err(e) => return Err(BlobError::Io { path, why: e }),
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
