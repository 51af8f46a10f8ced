//! A folder that is written beside its place and put there whole.

use super::HfError;
use super::config::WRITTEN_BY;
use super::shards::{INDEX, SINGLE};
use nn::write_whole;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A folder in the making. Dropped before [`Folder::put`], it leaves nothing.
#[derive(Debug)]
pub(super) struct Folder {
    /// Where it will be.
    place: PathBuf,
    /// Where it is until then.
    part: PathBuf,
}

impl Folder {
    /// An empty folder beside `place`, which has to be free: nothing is there, or an empty folder, or an
    /// earlier export.
    pub(super) fn beside(place: &Path) -> Result<Self, HfError> {
        let at = |error| failed(place, error);
        // Of a link to a folder, the folder is replaced.
        let place = match fs::canonicalize(place) {
            Ok(place) => place,
            Err(error) if error.kind() == ErrorKind::NotFound => place.to_owned(),
            Err(error) => return Err(at(error)),
        };
        if place.exists() {
            check_free(&place)?;
        }
        let part = hidden(&place, ".part").ok_or_else(|| taken(&place, "it has no name".into()))?;
        // What an export left that was killed.
        remove(&part).map_err(|error| failed(&part, error))?;
        fs::create_dir_all(&part).map_err(|error| failed(&part, error))?;
        Ok(Self { place, part })
    }

    /// Where a file of it is written.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.part.join(name)
    }

    /// Writes a small file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), HfError> {
        let path = self.file(name);
        write_whole(&path, bytes).map_err(|error| failed(&path, error))
    }

    /// Puts it in its place. An earlier export goes aside first and is removed after: killed between the two,
    /// both are there, under hidden names.
    pub(super) fn put(self) -> Result<(), HfError> {
        let (place, part) = (&self.place, &self.part);
        let at = |error| failed(place, error);
        let old = hidden(place, ".old").expect("it has a name");
        sync(part).map_err(at)?;
        if place.exists() {
            remove(&old).map_err(at)?;
            fs::rename(place, &old).map_err(at)?;
        }
        if let Err(error) = fs::rename(part, place) {
            let _ = fs::rename(&old, place);
            return Err(at(error));
        }
        sync(
            place
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )
        .map_err(at)?;
        remove(&old).map_err(at)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After it was put in its place there is nothing here.
        let _ = remove(&self.part);
    }
}

/// Refuses what isn't an earlier export, with files of such only.
fn check_free(place: &Path) -> Result<(), HfError> {
    let at = |error| failed(place, error);
    if !place.is_dir() {
        return Err(taken(place, "it is a file".into()));
    }
    let entries = fs::read_dir(place).map_err(at)?;
    let names: Vec<OsString> = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()
        .map_err(at)?;
    if names.is_empty() {
        return Ok(());
    }
    let other = names.iter().filter(|name| !is_ours(&name.to_string_lossy()));
    if let Some(other) = other.min() {
        return Err(taken(place, format!("it has {other:?}, which no export wrote")));
    }
    let config = fs::read(place.join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    match config.get(WRITTEN_BY) {
        Some(_) => Ok(()),
        None => Err(taken(place, "it has a model that no export wrote".into())),
    }
}

/// Whether an export writes files of that name.
fn is_ours(name: &str) -> bool {
    let others = [
        "README.md",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        SINGLE,
        INDEX,
    ];
    let is_shard = name.starts_with("model-") && name.ends_with(".safetensors");
    is_shard || others.contains(&name)
}

/// The hidden name beside a folder.
fn hidden(place: &Path, end: &str) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(place.file_name()?);
    name.push(".khub-export");
    name.push(end);
    Some(place.with_file_name(name))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(path: &Path, error: io::Error) -> HfError {
    let path = path.to_owned();
    HfError::File { path, error }
}

fn taken(path: &Path, what: String) -> HfError {
    let path = path.to_owned();
    HfError::Target { path, what }
}
