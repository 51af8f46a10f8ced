//! The files of a corpus on the disk.

use super::{CorpusError, json};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Endings of files that are read in any folder.
const ENDINGS: [&str; 5] = ["txt", "tsv", "jsonl", "ndjson", "parquet"];

/// The files of a folder that are read, by name, without hidden ones.
///
/// What ends in `.json` is mostly something else, such as settings: it is taken if its first line is an object.
pub(super) fn text_files(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let read = has_ending(&path, &ENDINGS)
            || has_ending(&path, &["json"]) && path.is_file() && json::begins_with_object(&path)?;
        if !hidden && read && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default();
    endings.iter().any(|one| ending.eq_ignore_ascii_case(one))
}

pub(super) fn read_text(path: &Path) -> Result<String, CorpusError> {
    let bytes = fs::read(path).map_err(at(path))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        CorpusError::NotUtf8 {
            path: path.to_owned(),
            line: 1 + bytes[..good].iter().filter(|&&byte| byte == b'\n').count(),
            byte: good + 1,
            try_this: match bytes {
                [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "convert it with iconv -f UTF-16 -t UTF-8",
                _ => "convert it with iconv -f CP949 -t UTF-8",
            },
        }
    })
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> CorpusError {
    let path = path.to_owned();
    move |error| match error.kind() {
        ErrorKind::NotFound => CorpusError::Missing(path),
        _ => CorpusError::File { path, error },
    }
}
