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
//! - of text with a blank line for every twelve lines or fewer: its paragraphs;
//! - of other text: its lines;
//! - of a folder: those of its `.txt` and `.tsv` files, by name; folders inside are not looked at.
//!
//! A folder may say what to learn from and what to be judged by: `train.tsv` and `valid.tsv`, the same with
//! `.txt`, or NSMC's `ratings_train.txt` and `ratings_test.txt`. Other files in it are left alone then.
//! Where no file says what to be judged by, every k-th document is kept back for that. Text stays as it is,
//! but for carriage returns and a byte order mark; a document above 4,096 bytes is cut.

use std::cmp::Reverse;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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
        "folder {0} has no .txt and no .tsv file (folders inside it are not looked at): name the file itself"
    )]
    NoFiles(PathBuf),
    /// A file without a byte.
    #[error("{0} is empty: was it copied whole?")]
    Empty(String),
    /// Only white space.
    #[error("{0} has no text, only blank lines: is it the right file?")]
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

/// Bytes to learn from: less gives no vocabulary worth the name.
const LEAST_TRAIN: u64 = 6_000;
/// Bytes to be judged by: some samples of a short sequence.
const LEAST_VALID: u64 = 2_000;
/// Kept back of a text that has nothing else to be judged by.
const VALID_PERCENT: u64 = 3;
/// Bytes of the longest document.
const LONGEST: usize = 4_096;
/// Lines a paragraph may have on average.
const PARAGRAPH_LINES: usize = 12;
/// Files to learn from and to be judged by, when a folder has both.
const PAIRS: [(&str, &str); 3] = [
    ("train.tsv", "valid.tsv"),
    ("train.txt", "valid.txt"),
    ("ratings_train.txt", "ratings_test.txt"),
];

impl Corpus {
    /// Reads a file or a folder.
    pub fn read(path: &Path, limits: Limits) -> Result<Self, CorpusError> {
        let metadata = fs::metadata(path).map_err(at(path))?;
        if metadata.is_dir() {
            return Self::read_folder(path, limits);
        }
        if !metadata.is_file() {
            return Err(CorpusError::Kind(path.to_owned()));
        }
        let text = read_text(path)?;
        Self::keep_back(path.display().to_string(), &found(path, &text)?, limits)
    }

    /// Takes a text that is in memory already. Its name is for people and errors; with the ending `.tsv` the
    /// text has to be a table.
    pub fn from_text(name: &str, text: &str, limits: Limits) -> Result<Self, CorpusError> {
        Self::keep_back(name.to_owned(), &found(Path::new(name), text)?, limits)
    }

    /// Bytes of the documents to learn from.
    pub fn train_bytes(&self) -> u64 {
        bytes(&self.train)
    }

    /// Bytes of the documents to be judged by.
    pub fn valid_bytes(&self) -> u64 {
        bytes(&self.valid)
    }

    fn read_folder(folder: &Path, limits: Limits) -> Result<Self, CorpusError> {
        for (train, valid) in PAIRS {
            let (train, valid) = (folder.join(train), folder.join(valid));
            if train.is_file() && valid.is_file() {
                return Self::read_pair(&train, &valid, limits);
            }
        }
        let files = text_files(folder)?;
        if files.is_empty() {
            return Err(CorpusError::NoFiles(folder.to_owned()));
        }
        let texts = files
            .iter()
            .map(|file| read_text(file))
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::new();
        for (file, text) in files.iter().zip(&texts) {
            all.extend(documents(file, text)?);
        }
        let count = files.len();
        let files = if count == 1 { "file" } else { "files" };
        let source = format!("{} ({count} {files})", folder.display());
        if all.is_empty() {
            return Err(CorpusError::NoText(source));
        }
        Self::keep_back(source, &all, limits)
    }

    fn read_pair(train: &Path, valid: &Path, limits: Limits) -> Result<Self, CorpusError> {
        let texts = (read_text(train)?, read_text(valid)?);
        let all = (found(train, &texts.0)?, found(valid, &texts.1)?);
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

/// The documents of a text; an error if there are none.
fn found<'a>(file: &Path, text: &'a str) -> Result<Vec<&'a str>, CorpusError> {
    let name = || file.display().to_string();
    if text.is_empty() {
        return Err(CorpusError::Empty(name()));
    }
    let documents = documents(file, text)?;
    if documents.is_empty() {
        return Err(CorpusError::NoText(name()));
    }
    Ok(documents)
}

/// The documents of a text, with its carriage returns still in them.
fn documents<'a>(file: &Path, text: &'a str) -> Result<Vec<&'a str>, CorpusError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole = match column(file, text)? {
        Some(column) => column,
        None => paragraphs_or_lines(text),
    };
    let parts = whole.into_iter().flat_map(cut);
    Ok(parts.filter(|part| !is_blank(part)).collect())
}

/// The text column of a table; None for what is no table.
fn column<'a>(file: &Path, text: &'a str) -> Result<Option<Vec<&'a str>>, CorpusError> {
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let cells = |line: &str| line.split('\t').count();
    let wanted = lines().next().map_or(1, |(_, line)| cells(line));
    let odd = lines().find(|(_, line)| cells(line) != wanted);
    let called_table = has_ending(file, &["tsv"]);
    match odd {
        Some((index, line)) if called_table => {
            return Err(CorpusError::Columns {
                path: file.to_owned(),
                line: index + 1,
                columns: cells(line),
                wanted,
            });
        }
        Some(_) => return Ok(None),
        None if wanted == 1 => return Ok(None),
        None => {}
    }
    let mut rows: Vec<Vec<&str>> = lines().map(|(_, line)| line.split('\t').collect()).collect();
    if rows.len() > 1 && has_header(&rows) {
        rows.remove(0);
    }
    let letters = |column: usize| -> usize {
        let cells = rows.iter().map(|row| row[column]);
        cells
            .map(|cell| cell.chars().filter(|c| c.is_alphabetic()).count())
            .sum()
    };
    // The first of several with as many.
    let text_column = (0..wanted).max_by_key(|&column| (letters(column), Reverse(column)));
    Ok(text_column.map(|column| rows.iter().map(|row| row[column]).collect()))
}

/// A first row is a header if it has a word where every other row has a number.
fn has_header(rows: &[Vec<&str>]) -> bool {
    let is_number = |cell: &str| cell.trim().parse::<f64>().is_ok();
    let (first, others) = (&rows[0], &rows[1..]);
    (0..first.len())
        .any(|column| !is_number(first[column]) && others.iter().all(|row| is_number(row[column])))
}

fn paragraphs_or_lines(text: &str) -> Vec<&str> {
    let paragraphs = paragraphs(text);
    let lines: Vec<&str> = text.lines().filter(|line| !is_blank(line)).collect();
    if paragraphs.len() > 1 && paragraphs.len() * PARAGRAPH_LINES >= lines.len() {
        paragraphs
    } else {
        lines
    }
}

/// What stands between blank lines.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        let next = end + line.len();
        if is_blank(line) {
            paragraphs.push(&text[start..end]);
            start = next;
        }
        end = next;
    }
    paragraphs.push(&text[start..end]);
    let inside = paragraphs.into_iter().filter(|paragraph| !is_blank(paragraph));
    inside
        .map(|paragraph| paragraph.trim_end_matches(['\r', '\n']))
        .collect()
}

/// A document in parts of at most [`LONGEST`] bytes, each but the last up to a space if there is one.
fn cut(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.len() <= LONGEST {
            let last = std::mem::take(&mut text);
            return (!last.is_empty()).then_some(last);
        }
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let end = text[..end].rfind([' ', '\n']).map_or(end, |space| space + 1);
        let (part, rest) = text.split_at(end);
        text = rest;
        Some(part)
    })
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

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The text files of a folder, by name, without hidden ones.
fn text_files(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && has_ending(&path, &["txt", "tsv"]) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default();
    endings.iter().any(|one| ending.eq_ignore_ascii_case(one))
}

fn read_text(path: &Path) -> Result<String, CorpusError> {
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

fn at(path: &Path) -> impl FnOnce(io::Error) -> CorpusError {
    let path = path.to_owned();
    move |error| match error.kind() {
        ErrorKind::NotFound => CorpusError::Missing(path),
        _ => CorpusError::File { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_whatever_the_form() {
        let header = "id\tdocument\tlabel\n1\t좋다\t1\n2\t별로 one\t0\n";
        let cases: [(&str, &str, &[&str]); 16] = [
            ("a.txt", "one\ntwo\n\nthree\n", &["one\ntwo", "three"]),
            ("a.txt", "one\r\ntwo\r\n \r\nthree", &["one\r\ntwo", "three"]),
            ("a.txt", "one\ntwo\nthree\n\n", &["one", "two", "three"]),
            ("a.txt", "\u{feff}one\r\n\r\n", &["one"]),
            ("a.txt", "  one \n\u{3000}\n two", &["  one ", " two"]),
            ("a.txt", "", &[]),
            ("a.txt", " \n\t\n", &[]),
            ("nsmc.tsv", "10\t좋다\n1\t나쁘다 very\n", &["좋다", "나쁘다 very"]),
            ("table.txt", "10\t좋다\n1\t나쁘다\n", &["좋다", "나쁘다"]),
            ("ratings_train.txt", header, &["좋다", "별로 one"]),
            ("no table.txt", "a\tb\nc\n", &["a\tb", "c"]),
            ("one column.tsv", "좋다\n나쁘다\n", &["좋다", "나쁘다"]),
            (
                "gaps.tsv",
                "1\t좋다\r\n\r\n2\t\r\n3\t나쁘다\r\n",
                &["좋다", "나쁘다"],
            ),
            ("one row.tsv", "rating\ttext here", &["text here"]),
            (
                "words.tsv",
                "good\tit was\nbad\tit was not",
                &["it was", "it was not"],
            ),
            ("last.tsv", "ab\tcd\ne\tf", &["ab", "e"]),
        ];
        for (name, text, expected) in cases {
            assert_eq!(
                documents(Path::new(name), text).unwrap(),
                expected,
                "{name} {text:?}"
            );
        }
    }

    #[test]
    fn a_blank_line_now_and_then_makes_no_paragraphs() {
        let mut text = "a line\n".repeat(40);
        text.insert(70, '\n');
        assert_eq!(documents(Path::new("a"), &text).unwrap().len(), 40);
    }

    #[test]
    fn long_documents_are_cut_and_lose_nothing() {
        let solid = "가".repeat(5_000);
        let words = "영화 ".repeat(3_000);
        for text in [solid.as_str(), words.as_str(), " ", &format!(" {solid}")] {
            let parts: Vec<&str> = cut(text).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= LONGEST));
        }
        assert!(cut(&words).all(|part| part.ends_with(' ')));
        assert_eq!(cut("").count(), 0);
    }

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
