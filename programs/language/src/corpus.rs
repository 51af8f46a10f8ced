//! Text to learn from and text to be judged by, out of what people have: a file, a table or a folder.
//!
//! ```
//! use language::{Corpus, Limits};
//! let text: String = (0..500).map(|i| format!("{i}번째 영화는 정말 재미있었다\n")).collect();
//! let corpus = Corpus::from_text("reviews", &text, Limits::default())?;
//! assert_eq!(corpus.train.len() + corpus.valid.len(), 500);
//! # Ok::<(), language::CorpusError>(())
//! ```
//!
//! What the documents are:
//!
//! - of a table, lines of as many tab-separated columns each: the column with most letters, without a header;
//! - of JSON lines (`.jsonl`, `.ndjson`, `.json`), one object each: the field `text`, `document` or `content`,
//!   else the field of strings with most letters;
//! - of Parquet (`.parquet`): the column that is chosen like such a field, by its first row group;
//! - of other text, with a blank line for every twelve lines or fewer: its paragraphs;
//! - of other text: its lines;
//! - of a folder: those of its files with these endings and `.txt`, by name; folders inside are not looked at.
//!
//! A folder may say what to learn from and what to be judged by: `train.tsv` and `valid.tsv`, the same with
//! another of the endings, or NSMC's `ratings_train.txt` and `ratings_test.txt`. Other files in it are left
//! alone then. Where no file says what to be judged by, every k-th document is kept back for that. Text stays
//! as it is, but for carriage returns and a byte order mark; a document above 4,096 bytes is cut.
//!
//! All text of a corpus is in memory while it is read. Of a Parquet file there is that, one page, and nothing
//! of the other columns.

mod content;
mod error;
mod files;
mod json;
mod parquet;
mod text;

pub use error::CorpusError;

use content::Content;
use files::{at, text_files};
use std::fs;
use std::path::Path;

/// Documents to learn from and documents to be judged by. None is in both, though two may say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// Where the text is from, for people.
    pub source: String,
    /// What to learn from.
    pub train: Vec<String>,
    /// What to be judged by.
    pub valid: Vec<String>,
    /// Bytes of text that were found, before the limits.
    pub found_bytes: u64,
}

/// The most text to take. Of more, documents are taken from all over it, at even distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes to learn from; 6,000 at least.
    pub train_bytes: u64,
    /// Bytes to be judged by; 2,000 at least.
    pub valid_bytes: u64,
}

impl Default for Limits {
    /// What a laptop learns from in some minutes.
    fn default() -> Self {
        Self {
            train_bytes: 8_000_000,
            valid_bytes: 400_000,
        }
    }
}

/// Bytes to learn from: less gives no vocabulary worth the name.
const LEAST_TRAIN: u64 = 6_000;
/// Bytes to be judged by: some samples of a short sequence.
const LEAST_VALID: u64 = 2_000;
/// Kept back of a text that has nothing else to be judged by.
const VALID_PERCENT: u64 = 3;
/// Files to learn from and to be judged by, when a folder has both.
const PAIRS: [(&str, &str); 7] = [
    ("train.tsv", "valid.tsv"),
    ("train.txt", "valid.txt"),
    ("train.jsonl", "valid.jsonl"),
    ("train.ndjson", "valid.ndjson"),
    ("train.json", "valid.json"),
    ("train.parquet", "valid.parquet"),
    ("ratings_train.txt", "ratings_test.txt"),
];

impl Corpus {
    /// Reads a file or a folder.
    pub fn read(path: &Path, limits: Limits) -> Result<Self, CorpusError> {
        Self::read_field(path, None, limits)
    }

    /// Reads a file or a folder and takes the text of the field or column called `field`, where there are
    /// fields; with None, of the one that looks most like text.
    pub fn read_field(path: &Path, field: Option<&str>, limits: Limits) -> Result<Self, CorpusError> {
        let metadata = fs::metadata(path).map_err(at(path))?;
        if metadata.is_dir() {
            return Self::read_folder(path, field, limits);
        }
        if !metadata.is_file() {
            return Err(CorpusError::Kind(path.to_owned()));
        }
        let content = Content::read(path, field)?;
        let all = found(path, &content, field)?;
        Self::keep_back(path.display().to_string(), &all, limits)
    }

    /// Takes a text that is in memory already. Its name is for people and errors; its ending says what the text
    /// has to be, a table (`.tsv`) or JSON lines (`.jsonl`).
    pub fn from_text(name: &str, text: &str, limits: Limits) -> Result<Self, CorpusError> {
        let file = Path::new(name);
        let content = Content::of(file, text.to_owned(), None)?;
        Self::keep_back(name.to_owned(), &found(file, &content, None)?, limits)
    }

    /// Bytes of the documents to learn from.
    pub fn train_bytes(&self) -> u64 {
        bytes(&self.train)
    }

    /// Bytes of the documents to be judged by.
    pub fn valid_bytes(&self) -> u64 {
        bytes(&self.valid)
    }

    fn read_folder(folder: &Path, field: Option<&str>, limits: Limits) -> Result<Self, CorpusError> {
        for (train, valid) in PAIRS {
            let (train, valid) = (folder.join(train), folder.join(valid));
            if train.is_file() && valid.is_file() {
                return Self::read_pair(&train, &valid, field, limits);
            }
        }
        let files = text_files(folder)?;
        if files.is_empty() {
            return Err(CorpusError::NoFiles(folder.to_owned()));
        }
        let contents = files
            .iter()
            .map(|file| Content::read(file, field))
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::new();
        for (file, content) in files.iter().zip(&contents) {
            all.extend(content.documents(file, field)?);
        }
        let count = files.len();
        let files = if count == 1 { "file" } else { "files" };
        let source = format!("{} ({count} {files})", folder.display());
        if all.is_empty() {
            return Err(CorpusError::NoText(source));
        }
        Self::keep_back(source, &all, limits)
    }

    fn read_pair(
        train: &Path,
        valid: &Path,
        field: Option<&str>,
        limits: Limits,
    ) -> Result<Self, CorpusError> {
        let contents = (Content::read(train, field)?, Content::read(valid, field)?);
        let all = (
            found(train, &contents.0, field)?,
            found(valid, &contents.1, field)?,
        );
        check_size(&train.display().to_string(), &all.0, LEAST_TRAIN)?;
        check_size(&valid.display().to_string(), &all.1, LEAST_VALID)?;
        let limits = limits.with_the_least();
        Ok(Self {
            source: format!("{} and {}", train.display(), valid.display()),
            train: chosen(&all.0, &spread(&all.0, limits.train_bytes)),
            valid: chosen(&all.1, &spread(&all.1, limits.valid_bytes)),
            found_bytes: bytes(&all.0) + bytes(&all.1),
        })
    }

    /// Splits `all` in what to learn from and what to be judged by.
    fn keep_back(source: String, all: &[&str], limits: Limits) -> Result<Self, CorpusError> {
        check_size(&source, all, LEAST_TRAIN + LEAST_VALID)?;
        let limits = limits.with_the_least();
        let found_bytes = bytes(all);
        let part = (found_bytes / 100 * VALID_PERCENT).max(LEAST_VALID);
        let kept = spread(all, part.min(limits.valid_bytes));
        let rest: Vec<&str> = (0..all.len())
            .filter(|i| kept.binary_search(i).is_err())
            .map(|i| all[i])
            .collect();
        Ok(Self {
            source,
            train: chosen(&rest, &spread(&rest, limits.train_bytes)),
            valid: chosen(all, &kept),
            found_bytes,
        })
    }
}

impl Limits {
    fn with_the_least(self) -> Self {
        Self {
            train_bytes: self.train_bytes.max(LEAST_TRAIN),
            valid_bytes: self.valid_bytes.max(LEAST_VALID),
        }
    }
}

/// The documents of a file; an error if there are none.
fn found<'a>(file: &Path, content: &'a Content, field: Option<&str>) -> Result<Vec<&'a str>, CorpusError> {
    let name = || file.display().to_string();
    if content.is_empty() {
        return Err(CorpusError::Empty(name()));
    }
    let documents = content.documents(file, field)?;
    if documents.is_empty() {
        return Err(CorpusError::NoText(name()));
    }
    Ok(documents)
}

/// Which documents to take for about `budget` bytes, or a little less: at even distances over all of them,
/// at least one.
fn spread(documents: &[&str], budget: u64) -> Vec<usize> {
    let (all, total) = (documents.len() as u64, bytes(documents));
    if total <= budget {
        return (0..documents.len()).collect();
    }
    let part = |count: u64, of: u64| (u128::from(count) * u128::from(budget) / u128::from(of)) as u64;
    let mut count = part(all, total).max(1);
    loop {
        let picks: Vec<usize> = (0..count)
            .map(|i| ((2 * i + 1) * all / (2 * count)) as usize)
            .collect();
        let taken: u64 = picks.iter().map(|&i| documents[i].len() as u64).sum();
        if taken <= budget || count == 1 {
            return picks;
        }
        count = part(count, taken).clamp(1, count - 1);
    }
}

fn chosen(documents: &[&str], picks: &[usize]) -> Vec<String> {
    picks.iter().map(|&i| documents[i].replace('\r', "")).collect()
}

fn check_size(name: &str, documents: &[&str], wanted: u64) -> Result<(), CorpusError> {
    let bytes = bytes(documents);
    if bytes < wanted {
        return Err(CorpusError::TooSmall {
            name: name.to_owned(),
            bytes,
            wanted,
        });
    }
    Ok(())
}

fn bytes<S: AsRef<str>>(documents: &[S]) -> u64 {
    documents
        .iter()
        .map(|document| document.as_ref().len() as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_even_and_keeps_its_budget() {
        let texts: Vec<String> = (0..1_000).map(|i| "x".repeat(1 + i * 37 % 200)).collect();
        let documents: Vec<&str> = texts.iter().map(String::as_str).collect();
        for budget in [300, 5_000, 50_000, 90_000] {
            let picks = spread(&documents, budget);
            let taken = bytes(&chosen(&documents, &picks));
            assert!(taken <= budget && taken * 2 > budget, "{taken} of {budget}");
            assert!(picks.is_sorted() && picks.windows(2).all(|two| two[0] < two[1]));
            let early = picks.iter().filter(|&&i| i < 500).count();
            assert!(
                early.abs_diff(picks.len() - early) <= 1,
                "{early} of {}",
                picks.len()
            );
        }
        assert_eq!(spread(&documents, u64::MAX).len(), 1_000);
        assert_eq!(spread(&documents, 0).len(), 1);
        assert!(spread(&[], 0).is_empty());
    }
}
