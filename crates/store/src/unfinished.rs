//! Notes of objects in parts that aren't complete: a bucket shows nobody what a killed hub has left there.

use crate::blobs::{BlobError, ignore_gone, incoming};
use crate::bucket::Bucket;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub(crate) const UNFINISHED: &str = "unfinished-";

/// An object in parts that isn't complete, as the bucket knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) id: String,
}

/// A file that tells of one. It is locked as long as somebody works on the object, and stays if they are killed.
#[derive(Debug)]
pub(crate) struct Note {
    path: PathBuf,
    _locked: File,
}

impl Note {
    pub(crate) fn write(dir: &Path, unfinished: &Unfinished) -> io::Result<Self> {
        let (mut file, path) = incoming(dir, UNFINISHED)?;
        file.write_all(&serde_json::to_vec(unfinished)?)?;
        file.sync_all()?;
        let _locked = file;
        Ok(Self { path, _locked })
    }

    /// The object is complete, or given up.
    pub(crate) fn remove(self) {
        // What stays is looked at again, and is no object in parts any more.
        let _ = fs::remove_file(self.path);
    }
}

/// Gives up what nobody works on any more, if it is to go; returns how many there are.
pub(crate) fn give_up(dir: &Path, bucket: &Bucket, go: bool) -> Result<u64, BlobError> {
    let mut count = 0;
    for (path, locked) in abandoned(dir).map_err(BlobError::io(dir))? {
        count += 1;
        if !go {
            continue;
        }
        // A torn note was written before anything was sent.
        if let Ok(unfinished) = serde_json::from_reader::<_, Unfinished>(&locked) {
            bucket.give_up(&unfinished)?;
        }
        ignore_gone(fs::remove_file(&path)).map_err(BlobError::io(&path))?;
    }
    Ok(count)
}

fn abandoned(dir: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(UNFINISHED)) {
            continue;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
            continue; // gone meanwhile
        };
        if file.try_lock().is_ok() {
            found.push((path, file));
        }
    }
    Ok(found)
}
