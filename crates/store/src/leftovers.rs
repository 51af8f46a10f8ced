//! Leftovers: bytes in the store that no record of the log names, and how they go.
//!
//! They come of crashes, of uploads that were broken off or never named, and of commands that were refused. What
//! may go is decided in one place ([`Blobs::collect`]), where three things make sure that nothing is lost:
//!
//! 1. Whoever brings bytes has a [`crate::Hold`] of them before they have their name, and a command that names them has one
//!    until its record is committed. While the decision is made nobody gets a hold. So bytes without a hold that
//!    the log doesn't name *then* can be named only by whoever brings them again.
//! 2. What goes is first moved aside. Who brings the same bytes meanwhile gets a file of their own under the name.
//! 3. Only then is the log asked whether this hub still writes to it. If another has taken over, which may have named
//!    some of it long ago, all is put back; so it is at a start after a kill, and when such bytes are asked for.
//!
//! What was moved aside is removed for good only after that.
//!
//! In a bucket nothing can be moved aside. Instead 2. whoever brings bytes of which the removal was decided waits until
//! they are gone, and then puts them there; and what another hub that has taken over puts there has a name of its own
//! ([`crate::bucket`]), which isn't among those that were found before the decision.

use crate::blobs::{BlobError, Blobs, ignore_gone, sweep};
use crate::bucket::Object;
use crate::remote::Doomed;
use crate::unfinished;
use consortium::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where what goes is moved to.
const ASIDE: &str = "aside";
/// How many names are decided on at a time, while nobody gets a hold.
const TURN: usize = 256;

/// What there is, or was, to collect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Whole bytes that nothing names, and how many they are.
    pub unnamed: Vec<(Digest, u64)>,
    /// What else lay about: files that came in halfway, lists of blocks without their bytes, objects of a bucket that
    /// aren't complete or have a newer one.
    pub fragments: u64,
    /// How many bytes these were.
    pub fragment_bytes: u64,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The hub isn't the one that writes to the log, or can't tell.
    #[error("this hub doesn't write to the log any more, so it collects nothing")]
    NotTheWriter,
    /// The file system said no.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// What is to go, and was moved aside.
struct Moved<'a> {
    moved: Vec<(Digest, u64)>,
    /// Whoever brings it again waits as long as this is there.
    doomed: Option<Doomed<'a>>,
}

impl Leftovers {
    /// All their bytes.
    pub fn bytes(&self) -> u64 {
        self.fragment_bytes + self.unnamed.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// Adds the objects that have a newer one, and returns them.
    fn count_spare(&mut self, objects: &BTreeMap<Digest, Vec<Object>>) -> Vec<Object> {
        let older = objects
            .values()
            .filter_map(|objects| Some(objects.split_last()?.1));
        let spare: Vec<Object> = older.flatten().copied().collect();
        self.fragments += spare.len() as u64;
        self.fragment_bytes += spare.iter().map(|object| object.bytes).sum::<u64>();
        spare
    }
}

impl Blobs {
    /// What could be collected now.
    pub fn leftovers(&self, named: &BTreeSet<Digest>) -> Result<Leftovers, BlobError> {
        let mut found = self.fragments(false)?;
        let objects = self.objects()?;
        found.count_spare(&objects);
        let all = self.all_with(&objects)?;
        let held = self.holds.close();
        found.unnamed = all;
        found
            .unnamed
            .retain(|(digest, _)| !held.has(digest) && !named.contains(digest));
        Ok(found)
    }

    /// Removes what no record of the log names and nobody holds. `named` tells what the log names as of now,
    /// and `still_writes` whether this process still is the one that writes to it, which nobody but the log's database
    /// knows.
    pub fn collect(
        &self,
        named: &mut dyn FnMut() -> Option<BTreeSet<Digest>>,
        still_writes: &mut dyn FnMut() -> bool,
    ) -> Result<Leftovers, CollectError> {
        self.put_back()?;
        let mut objects = self.objects()?;
        let mut unnamed = Vec::new();
        for turn in self.all_with(&objects)?.chunks(TURN) {
            let Moved { moved, doomed } = self.move_aside(turn, named)?;
            if moved.is_empty() {
                continue;
            }
            if !still_writes() {
                self.put_back()?;
                return Err(CollectError::NotTheWriter);
            }
            for (digest, _) in &moved {
                let path = self.aside(digest);
                ignore_gone(fs::remove_file(&path)).map_err(BlobError::io(&path))?;
            }
            let gone = moved.iter().filter_map(|(digest, _)| objects.remove(digest));
            self.remove_objects(&gone.flatten().collect::<Vec<_>>())?;
            drop(doomed);
            unnamed.extend(moved);
        }
        let mut gone = self.fragments(true)?;
        let spare = gone.count_spare(&objects);
        if !spare.is_empty() && still_writes() {
            self.remove_objects(&spare)?;
        }
        Ok(Leftovers { unnamed, ..gone })
    }

    /// What the bucket has, if there is one: of each digest the newest last.
    fn objects(&self) -> Result<BTreeMap<Digest, Vec<Object>>, BlobError> {
        let remote = self.remote.as_ref();
        remote.map_or_else(|| Ok(BTreeMap::new()), |remote| remote.objects())
    }

    fn remove_objects(&self, objects: &[Object]) -> Result<(), BlobError> {
        match &self.remote {
            Some(remote) if !objects.is_empty() => Ok(remote.bucket.remove(objects)?),
            _ => Ok(()),
        }
    }

    /// All that the folder or the bucket has, with their sizes.
    fn all_with(&self, objects: &BTreeMap<Digest, Vec<Object>>) -> Result<Vec<(Digest, u64)>, BlobError> {
        let newest = objects.values().filter_map(|objects| objects.last());
        let mut all: BTreeMap<Digest, u64> = newest.map(|object| (object.digest, object.bytes)).collect();
        all.extend(self.all().map_err(BlobError::io(&self.dir))?);
        Ok(all.into_iter().collect())
    }

    /// The decision: nobody gets a hold while it is made.
    fn move_aside(
        &self,
        turn: &[(Digest, u64)],
        named: &mut dyn FnMut() -> Option<BTreeSet<Digest>>,
    ) -> Result<Moved<'_>, CollectError> {
        let held = self.holds.close();
        // Asked after the holds: whoever has let go of one has its record in the log.
        let named = named().ok_or(CollectError::NotTheWriter)?;
        let mut moved = Vec::new();
        for (digest, bytes) in turn {
            if held.has(digest) || named.contains(digest) {
                continue;
            }
            let aside = self.aside(digest);
            let made = fs::create_dir_all(self.dir.join(ASIDE));
            let done = made.and_then(|()| fs::rename(self.path(digest), &aside));
            match done {
                Ok(()) => moved.push((*digest, *bytes)),
                // The bucket may have it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.remote.is_some() => {
                    moved.push((*digest, *bytes));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(BlobError::io(&aside)(e).into()),
            }
        }
        let digests = moved.iter().map(|(digest, _)| *digest).collect();
        let doomed = self.remote.as_ref().map(|remote| {
            moved.iter().for_each(|(digest, _)| remote.cache.forget(digest));
            remote.doom(digests)
        });
        Ok(Moved { moved, doomed })
    }

    /// Everything that was moved aside gets its name again.
    pub(crate) fn put_back(&self) -> Result<(), BlobError> {
        let aside = self.dir.join(ASIDE);
        for digest in digests(&aside, "").map_err(BlobError::io(&aside))? {
            self.put_back_one(&digest);
        }
        Ok(())
    }

    /// The same for one, if it was moved. Says whether it was.
    pub(crate) fn put_back_one(&self, digest: &Digest) -> bool {
        let path = self.path(digest);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::rename(self.aside(digest), &path)).is_ok()
    }

    fn aside(&self, digest: &Digest) -> PathBuf {
        self.dir.join(ASIDE).join(digest.hex())
    }

    /// All that have a name, with their sizes.
    pub(crate) fn all(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for folder in folders(&self.dir)? {
            for digest in digests(&self.dir.join(&folder), &folder)? {
                found.extend(self.size(&digest).map(|bytes| (digest, bytes)));
            }
        }
        Ok(found)
    }

    /// What isn't whole, and goes if it is to.
    fn fragments(&self, go: bool) -> Result<Leftovers, BlobError> {
        let mut found = self.fragments_here(go).map_err(BlobError::io(&self.dir))?;
        if let Some(remote) = &self.remote {
            found.fragments += unfinished::give_up(&self.dir, &remote.bucket, go)?;
        }
        Ok(found)
    }

    fn fragments_here(&self, go: bool) -> io::Result<Leftovers> {
        let mut found = Leftovers::default();
        let mut note = |bytes| {
            found.fragments += 1;
            found.fragment_bytes += bytes;
        };
        sweep(&self.dir, go, &mut note)?;
        for folder in folders(&self.dir)? {
            for name in names(&self.dir.join(&folder))? {
                let path = self.dir.join(&folder).join(name);
                let is_list = path.extension().is_some_and(|extension| extension == "blocks");
                if is_list && !path.with_extension("").exists() {
                    note(fs::metadata(&path).map_or(0, |found| found.len()));
                    if go {
                        // Whoever brings the bytes right now loses a list that is made again.
                        ignore_gone(fs::remove_file(&path))?;
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The folders that names begin with.
fn folders(dir: &Path) -> io::Result<Vec<String>> {
    let names = names(dir)?.into_iter();
    Ok(names.filter(|name| name.len() == 2).collect())
}

/// The digests that `prefix` and a file's name in `dir` make.
fn digests(dir: &Path, prefix: &str) -> io::Result<Vec<Digest>> {
    let names = names(dir)?.into_iter();
    Ok(names
        .filter_map(|name| format!("blake3:{prefix}{name}").parse().ok())
        .collect())
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}
