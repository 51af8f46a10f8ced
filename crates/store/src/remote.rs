//! A folder of artifacts as a cache in front of a bucket.
//!
//! - Bytes get their name in the folder after the bucket has them, so what has a name can be had from either.
//! - What isn't in the folder is fetched, once for all who ask for it at a time, and gets its name there if it has the
//!   digest.
//! - What the bucket has and was used longest ago leaves the folder when there is too much. Whoever reads it right then
//!   has the file open.
//! - While bytes are removed from the bucket nobody puts the same bytes there: they wait.

use crate::blobs::{BlobError, Blobs};
use crate::bucket::{Bucket, Object};
use crate::cache::Cache;
use crate::{reading, unfinished};
use consortium::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// The file in the folder that says in front of which bucket it is. It is written once the bucket has all that was there.
pub(crate) const IN_FRONT_OF: &str = "bucket";

/// How many files go into the bucket at a time when a folder becomes its cache.
const BRING_AT_ONCE: usize = 8;

/// The bucket behind a folder.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) bucket: Bucket,
    /// Of the hub that writes.
    epoch: u64,
    pub(crate) cache: Cache,
    fetching: Mutex<BTreeMap<Digest, Fetched>>,
    doomed: Mutex<BTreeSet<Digest>>,
    spared: Condvar,
    evicting: Mutex<()>,
}

/// A file that is being fetched, or was just now.
type Fetched = Arc<OnceLock<Result<File, Arc<BlobError>>>>;

/// Bytes that are being removed from the bucket, until this is dropped.
pub(crate) struct Doomed<'a> {
    remote: &'a Remote,
    digests: Vec<Digest>,
}

impl Remote {
    pub(crate) fn new(bucket: Bucket, epoch: u64, cache: u64) -> Self {
        Self {
            bucket,
            epoch,
            cache: Cache::new(cache),
            fetching: Mutex::default(),
            doomed: Mutex::default(),
            spared: Condvar::new(),
            evicting: Mutex::default(),
        }
    }

    /// Has the bucket keep the bytes of the file at `path`, which are whole and right. `dir` gets notes of what is
    /// unfinished.
    pub(crate) fn keep(&self, digest: &Digest, path: &Path, bytes: u64, dir: &Path) -> Result<(), BlobError> {
        let mut doomed = lock(&self.doomed);
        while doomed.contains(digest) {
            doomed = self.spared.wait(doomed).unwrap_or_else(PoisonError::into_inner);
        }
        drop(doomed);
        let file = File::open(path).map_err(BlobError::io(path))?;
        let object = Object {
            digest: *digest,
            epoch: self.epoch,
            bytes,
        };
        Ok(self.bucket.put(&object, &file, dir)?)
    }

    /// To be called while nobody gets a hold: whoever gets one later finds them here.
    pub(crate) fn doom(&self, digests: Vec<Digest>) -> Doomed<'_> {
        lock(&self.doomed).extend(digests.iter().copied());
        let remote = self;
        Doomed { remote, digests }
    }

    /// The objects of each digest, the newest last.
    pub(crate) fn objects(&self) -> Result<BTreeMap<Digest, Vec<Object>>, BlobError> {
        let mut objects = BTreeMap::<_, Vec<_>>::new();
        for object in self.bucket.objects()? {
            objects.entry(object.digest).or_default().push(object);
        }
        Ok(objects)
    }

    /// The file of `digest`, fetched into the folder.
    pub(crate) fn fetched(&self, blobs: &Blobs, digest: &Digest) -> Result<File, BlobError> {
        let fetched = Arc::clone(lock(&self.fetching).entry(*digest).or_default());
        let done = fetched.get_or_init(|| self.fetch(blobs, digest).map_err(Arc::new));
        // Whoever comes from now on looks into the folder first.
        let mut fetching = lock(&self.fetching);
        if fetching.get(digest).is_some_and(|it| Arc::ptr_eq(it, &fetched)) {
            fetching.remove(digest);
        }
        drop(fetching);
        match done {
            // All reads say where they begin, so they can share the file.
            Ok(file) => file.try_clone().map_err(BlobError::io(&blobs.path(digest))),
            Err(error) => Err(BlobError::Shared(Arc::clone(error))),
        }
    }

    fn fetch(&self, blobs: &Blobs, digest: &Digest) -> Result<File, BlobError> {
        // Another may have had it fetched since it was looked for.
        if let Ok(file) = File::open(blobs.path(digest)) {
            return Ok(file);
        }
        let missing = || BlobError::Missing {
            digest: *digest,
            place: self.bucket.address().to_string(),
        };
        let object = self.bucket.find(digest)?.ok_or_else(missing)?;
        self.cache.note(*digest, object.bytes);
        self.make_room(blobs);
        let fetched = || {
            let mut writer = blobs.begin(Some(*digest), object.bytes)?;
            self.bucket.get(&object, &mut |piece| writer.write(piece))?;
            writer.finish_copy()
        };
        let fetched = fetched().map_err(|error| self.bucket.damaged(&object, error));
        match fetched {
            Ok(_) => self.cache.note(*digest, object.bytes),
            Err(_) => self.cache.forget(digest),
        }
        fetched
    }

    /// Removes from the folder what the bucket has, and was used longest ago, if there is too much.
    pub(crate) fn make_room(&self, blobs: &Blobs) {
        // Another who does the same goes on until there is room.
        let Ok(_alone) = self.evicting.try_lock() else {
            return;
        };
        let mut kept = BTreeSet::new();
        while let Some(digest) = self.cache.surplus(&kept) {
            match (blobs.size(&digest), self.bucket.find(&digest)) {
                (None, _) => self.cache.forget(&digest),
                (Some(bytes), Ok(Some(object))) if object.bytes == bytes => {
                    self.cache.forget(&digest);
                    let _ = fs::remove_file(blobs.path(&digest));
                    let _ = fs::remove_file(blobs.blocks_path(&digest));
                }
                // Only the folder has it.
                (_, Ok(_)) => {
                    kept.insert(digest);
                }
                // There will be room when the bucket is back.
                (_, Err(_)) => return,
            }
        }
    }

    /// Takes the folder as it is found: the bucket gets what only the folder has, unless that was done before, and what
    /// killed hubs have left unfinished is given up.
    pub(crate) fn take_over(&self, blobs: &Blobs) -> Result<(), BlobError> {
        unfinished::give_up(&blobs.dir, &self.bucket, true)?;
        let address = self.bucket.address().to_string();
        match in_front_of(&blobs.dir)? {
            Some(before) if before == address => {}
            Some(bucket) => return Err(blobs.is_cache(bucket)),
            None => {
                self.bring_all(blobs)?;
                note_in_front_of(&blobs.dir, &address).map_err(BlobError::io(&blobs.dir))?;
            }
        }
        for (digest, bytes) in by_last_use(blobs)? {
            self.cache.note(digest, bytes);
        }
        self.make_room(blobs);
        Ok(())
    }

    /// Several at a time: most are small, and the bucket is far away.
    fn bring_all(&self, blobs: &Blobs) -> Result<(), BlobError> {
        let there = self.objects()?;
        let mut missing = blobs.all().map_err(BlobError::io(&blobs.dir))?;
        missing.retain(|(digest, bytes)| {
            let newest = there.get(digest).and_then(|objects| objects.last());
            newest.is_none_or(|object| object.bytes != *bytes)
        });
        let next = AtomicUsize::new(0);
        let bring = || {
            while let Some((digest, bytes)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.bring(blobs, digest, *bytes)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let bringing: Vec<_> = (0..BRING_AT_ONCE).map(|_| scope.spawn(bring)).collect();
            let mut brought = bringing
                .into_iter()
                .map(|it| it.join().expect("nothing in it panics"));
            brought.try_for_each(|brought| brought)
        })
    }

    fn bring(&self, blobs: &Blobs, digest: &Digest, bytes: u64) -> Result<(), BlobError> {
        let path = blobs.path(digest);
        let file = File::open(&path).map_err(BlobError::io(&path))?;
        let blocks = reading::hash(&file).map_err(BlobError::io(&path))?;
        // What is damaged is told to whoever reads it.
        if blocks.digest() != *digest {
            return Ok(());
        }
        self.keep(digest, &path, bytes, &blobs.dir)
    }
}

impl Drop for Doomed<'_> {
    fn drop(&mut self) {
        let mut doomed = lock(&self.remote.doomed);
        for digest in &self.digests {
            doomed.remove(digest);
        }
        drop(doomed);
        self.remote.spared.notify_all();
    }
}

/// The bucket that the folder is in front of, if it is.
pub(crate) fn in_front_of(dir: &Path) -> Result<Option<String>, BlobError> {
    let path = dir.join(IN_FRONT_OF);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(BlobError::Io { path, why }),
    }
}

fn note_in_front_of(dir: &Path, address: &str) -> io::Result<()> {
    let (path, part) = (dir.join(IN_FRONT_OF), dir.join("bucket.part"));
    let mut file = File::create(&part)?;
    writeln!(file, "{address}")?;
    file.sync_all()?;
    fs::rename(part, path)?;
    crate::folder::sync_dir(dir)
}

/// All files with a name, what was used longest ago first, as far as the system tells.
fn by_last_use(blobs: &Blobs) -> Result<Vec<(Digest, u64)>, BlobError> {
    let all = blobs.all().map_err(BlobError::io(&blobs.dir))?;
    let mut all: Vec<(SystemTime, (Digest, u64))> = all
        .into_iter()
        .filter_map(|file| {
            let found = fs::metadata(blobs.path(&file.0)).ok()?;
            let times = [found.accessed(), found.modified()].into_iter().flatten();
            Some((times.max()?, file))
        })
        .collect();
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, file)| file).collect())
}

/// What is done under these locks leaves things whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
