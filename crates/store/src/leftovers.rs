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

use crate::blobs::{BlobError, Blobs, ignore_gone, sweep};
use consortium::Digest;
use std::collections::BTreeSet;
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
    /// What else lay about: files that came in halfway, lists of blocks without their bytes.
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

impl Leftovers {
    /// All their bytes.
    pub fn bytes(&self) -> u64 {
        self.fragment_bytes + self.unnamed.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

impl Blobs {
    /// What could be collected now.
    pub fn leftovers(&self, named: &BTreeSet<Digest>) -> Result<Leftovers, BlobError> {
        let mut found = self.fragments(false).map_err(BlobError::io(&self.dir))?;
        let all = self.all().map_err(BlobError::io(&self.dir))?;
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
        let io = BlobError::io(&self.dir);
        let all = self.all().map_err(io)?;
        let mut unnamed = Vec::new();
        for turn in all.chunks(TURN) {
            let moved = self.move_aside(turn, named)?;
            if moved.is_empty() {
                continue;
            }
            if !still_writes() {
                self.put_back()?;
                return Err(CollectError::NotTheWriter);
            }
            for (digest, bytes) in moved {
                let path = self.aside(&digest);
                ignore_gone(fs::remove_file(&path)).map_err(BlobError::io(&path))?;
                unnamed.push((digest, bytes));
            }
        }
        let fragments = self.fragments(true).map_err(BlobError::io(&self.dir))?;
        Ok(Leftovers { unnamed, ..fragments })
    }

    /// The decision: nobody gets a hold while it is made.
    fn move_aside(
        &self,
        turn: &[(Digest, u64)],
        named: &mut dyn FnMut() -> Option<BTreeSet<Digest>>,
    ) -> Result<Vec<(Digest, u64)>, CollectError> {
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
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(BlobError::io(&aside)(e).into()),
            }
        }
        Ok(moved)
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
    fn all(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for folder in folders(&self.dir)? {
            for digest in digests(&self.dir.join(&folder), &folder)? {
                found.extend(self.size(&digest).map(|bytes| (digest, bytes)));
            }
        }
        Ok(found)
    }

    /// What isn't whole, and goes if it is to.
    fn fragments(&self, go: bool) -> io::Result<Leftovers> {
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
