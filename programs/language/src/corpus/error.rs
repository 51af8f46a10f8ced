//! Why there is no text, and what to try.

use std::io;
use std::path::PathBuf;

/// Why there is no text, and what to try.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Nothing is there.
    #[error("there is no file or folder {0}: check the name, or give the whole path")]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("{path} can't be read: {error}")]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A device, a pipe or a socket.
    #[error("{0} is no file and no folder: write its text to a file first")]
    Kind(PathBuf),
    /// A folder without text files.
    #[error(
        "folder {0} has no .txt, .tsv, .jsonl or .parquet file (folders inside it are not looked at): name the \
         file itself"
    )]
    NoFiles(PathBuf),
    /// A file without a byte.
    #[error("{0} is empty: was it copied whole?")]
    Empty(String),
    /// Only white space.
    #[error("{0} has no text, only blank lines or rows: is it the right file?")]
    NoText(String),
    /// Text in another encoding, or no text at all.
    #[error("{path} is not UTF-8 at line {line}, byte {byte}: {try_this}")]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// In which line; counts from 1.
        line: usize,
        /// The first byte of the file that is wrong; counts from 1.
        byte: usize,
        /// How to convert it.
        try_this: &'static str,
    },
    /// A `.tsv` file that is no table.
    #[error(
        "{path} has {columns} tab-separated columns at line {line} and {wanted} at line 1: mend the line, or \
         rename the file to .txt to take whole lines"
    )]
    Columns {
        /// Which file.
        path: PathBuf,
        /// The first other line; counts from 1.
        line: usize,
        /// Its columns.
        columns: usize,
        /// The first line's.
        wanted: usize,
    },
    /// A line that is no JSON object, or whose text is none.
    #[error("{path} line {line}, column {column}: {what}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// Which character of the line; counts from 1.
        column: usize,
        /// What is wrong there, and what to try.
        what: String,
    },
    /// No field or column of the wanted name, or none that is text.
    #[error("{place} has no {}: it has {}; --text-field names another", wanted(.field), listed(.has))]
    NoField {
        /// Which file, and where in it.
        place: String,
        /// The wanted name; empty if any text would have done.
        field: String,
        /// What is there instead.
        has: Vec<String>,
    },
    /// A Parquet file that is not whole, or is written in a way that can't be read.
    #[error("{path} can't be read as Parquet: {what}")]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to try.
        what: String,
    },
    /// Too little to learn anything.
    #[error("{name} has {bytes} bytes of text and {wanted} are needed at least: add more text")]
    TooSmall {
        /// What.
        name: String,
        /// How much it has.
        bytes: u64,
        /// How much it takes.
        wanted: u64,
    },
}

fn wanted(field: &str) -> String {
    if field.is_empty() {
        "field of text".to_owned()
    } else {
        format!("field {field:?}")
    }
}

/// The names, as many as a line has room for.
fn listed(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> = names
        .iter()
        .take(MOST)
        .map(|name| format!("{name:.60}"))
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{} and {} more", shown.join(", "), count - MOST),
        _ => shown.join(", "),
    }
}
