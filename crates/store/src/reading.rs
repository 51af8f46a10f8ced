//! How bytes leave the store: no block of them unchecked.
//!
//! A block is right if the hub has hashed it, when it hands it out or within the hour before, and the file hasn't
//! changed since: it is the same file, as long, and neither written to nor exchanged, as the system says (device,
//! inode, length, and the times of change of content and of inode, which nobody but the system sets).
//! So bytes that many fetch are hashed once an hour, and what a disk has lost is noticed within the hour.

use crate::blobs::{BlobError, Blobs};
use crate::blocks::{BLOCK, BlockHasher, Blocks};
use consortium::Digest;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a block is taken for right after it was.
const TRUSTED_FOR: Duration = Duration::from_secs(3_600);
/// Of how many blocks it is remembered at most; a few megabytes.
const MOST_BLOCKS: usize = 1 << 18;

/// Bytes to be read in parts.
#[derive(Debug)]
pub struct BlobReader {
    blobs: Blobs,
    digest: Digest,
    file: File,
    is: Identity,
    known: OnceLock<Arc<Known>>,
}

/// What a file is to the system; another content would change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Identity {
    fn from(found: Metadata) -> Self {
        Self {
            place: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What is known of a file.
#[derive(Debug)]
struct Known {
    is: Identity,
    since: Instant,
    blocks: Arc<Blocks>,
    /// A bit for each block that was found right since then.
    right: Vec<AtomicU64>,
}

/// What is known of the files that were read of late.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<Digest, Arc<Known>>>);

impl BlobReader {
    /// How many bytes are read at a time.
    pub const BLOCK: u64 = BLOCK as u64;

    pub(crate) fn of(blobs: &Blobs, digest: &Digest, file: File) -> Result<Self, BlobError> {
        let found = file.metadata().map_err(BlobError::io(&blobs.path(digest)))?;
        blobs.note_used(digest, found.len());
        Ok(Self {
            blobs: blobs.clone(),
            digest: *digest,
            file,
            is: found.into(),
            known: OnceLock::new(),
        })
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.is.bytes
    }

    /// Puts the block with byte `at` into `buffer`, checked, and says how many of its bytes are before that one.
    /// There has to be a byte there.
    pub fn block_at(&self, at: u64, buffer: &mut Vec<u8>) -> Result<usize, BlobError> {
        let known = self.known()?;
        let index = at / Self::BLOCK;
        let from = self.make_room(index, buffer);
        let read = self.file.read_exact_at(buffer, from);
        read.map_err(BlobError::io(&self.path()))?;
        let is = Identity::from(self.file.metadata().map_err(BlobError::io(&self.path()))?);
        if is == known.is && known.is_right(index) {
            return Ok((at - from) as usize);
        }
        if !known.blocks.has(index, buffer) {
            return Err(self.damaged());
        }
        known.note_right(index);
        Ok((at - from) as usize)
    }

    /// The same, if that takes no waiting: the block was found right of late, and the system has it in memory.
    pub fn block_at_once(&self, at: u64, buffer: &mut Vec<u8>) -> Option<usize> {
        let index = at / Self::BLOCK;
        let known = self.known.get().filter(|known| known.is_right(index))?;
        let from = self.make_room(index, buffer);
        if !read_what_is_in_memory(&self.file, buffer, from) {
            return None;
        }
        let is = Identity::from(self.file.metadata().ok()?);
        (is == known.is).then_some((at - from) as usize)
    }

    /// Makes `buffer` as long as a block is, and says where that begins.
    fn make_room(&self, index: u64, buffer: &mut Vec<u8>) -> u64 {
        let from = index * Self::BLOCK;
        let length = Self::BLOCK.min(self.is.bytes.saturating_sub(from));
        buffer.resize(length as usize, 0);
        from
    }

    /// All of them, if they are `limit` at most.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>, BlobError> {
        if self.is.bytes > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let (mut bytes, mut block) = (Vec::new(), Vec::new());
        while (bytes.len() as u64) < self.is.bytes {
            self.block_at(bytes.len() as u64, &mut block)?;
            bytes.append(&mut block);
        }
        if bytes.is_empty() && !self.known()?.blocks.has(0, &[]) {
            return Err(self.damaged());
        }
        Ok(bytes)
    }

    /// Where the bytes lie.
    pub fn path(&self) -> PathBuf {
        self.blobs.path(&self.digest)
    }

    fn known(&self) -> Result<&Known, BlobError> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let known = match self.blobs.seen.find(&self.digest) {
            Some(known) if known.is == self.is && known.since.elapsed() < TRUSTED_FOR => known,
            Some(stale) if stale.is.bytes == self.is.bytes => self.remember(Arc::clone(&stale.blocks)),
            _ => self.remember(Arc::new(self.blocks()?)),
        };
        Ok(self.known.get_or_init(|| known))
    }

    fn remember(&self, blocks: Arc<Blocks>) -> Arc<Known> {
        let words = Blocks::count(self.is.bytes).div_ceil(64).max(1);
        let known = Arc::new(Known {
            is: self.is,
            since: Instant::now(),
            blocks,
            right: (0..words).map(|_| AtomicU64::new(0)).collect(),
        });
        self.blobs.seen.note(self.digest, Arc::clone(&known));
        known
    }

    /// From the file beside; if there is none that is right, from all the bytes.
    fn blocks(&self) -> Result<Blocks, BlobError> {
        if Blocks::count(self.is.bytes) <= 1 {
            return Ok(Blocks::single(self.digest));
        }
        let path = self.blobs.blocks_path(&self.digest);
        let kept = std::fs::read(&path).ok();
        let kept = kept.and_then(|text| Blocks::from_bytes(self.digest, self.is.bytes, &text));
        if let Some(blocks) = kept {
            return Ok(blocks);
        }
        let blocks = hash(&self.file).map_err(BlobError::io(&self.path()))?;
        if blocks.digest() != self.digest {
            return Err(self.damaged());
        }
        // It only saves the next reader the time.
        let _ = std::fs::write(&path, blocks.to_bytes());
        Ok(blocks)
    }

    fn damaged(&self) -> BlobError {
        let path = self.path();
        match hash(&self.file) {
            Ok(blocks) => BlobError::Damaged {
                path,
                found: blocks.digest(),
            },
            Err(why) => BlobError::Io { path, why },
        }
    }
}

impl Known {
    fn is_right(&self, index: u64) -> bool {
        let bits = self.right[(index / 64) as usize].load(Ordering::Relaxed);
        bits & (1 << (index % 64)) != 0
    }

    fn note_right(&self, index: u64) {
        self.right[(index / 64) as usize].fetch_or(1 << (index % 64), Ordering::Relaxed);
    }
}

impl Seen {
    fn find(&self, digest: &Digest) -> Option<Arc<Known>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    /// What was noted longest ago goes, if there is too much.
    fn note(&self, digest: Digest, known: Arc<Known>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(digest, known);
        let weight = |known: &Arc<Known>| known.blocks.len() + 16;
        let mut total: usize = all.values().map(weight).sum();
        while total > MOST_BLOCKS && all.len() > 1 {
            let oldest = all.iter().min_by_key(|(_, known)| known.since);
            let Some(oldest) = oldest.map(|(digest, _)| *digest) else {
                return;
            };
            total -= all.remove(&oldest).as_ref().map_or(0, weight);
        }
    }
}

/// Fills `buffer` from the byte `from` on, if all of it is in the system's memory.
#[cfg(target_os = "linux")]
fn read_what_is_in_memory(file: &File, buffer: &mut [u8], from: u64) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut done = 0;
    while done < buffer.len() {
        let rest = io::IoSliceMut::new(&mut buffer[done..]);
        match preadv2(file, &mut [rest], from + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(count) if count > 0 => done += count,
            _ => return false,
        }
    }
    true
}

/// Other systems don't tell.
#[cfg(not(target_os = "linux"))]
fn read_what_is_in_memory(_: &File, _: &mut [u8], _: u64) -> bool {
    false
}

/// The blocks of a file, wherever it was read last.
pub(crate) fn hash(file: &File) -> io::Result<Blocks> {
    let mut buffer = vec![0; BLOCK];
    let mut hasher = BlockHasher::default();
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
