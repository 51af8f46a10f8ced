//! What one file holds, whatever its format: text with its form still to be found, or rows.

use super::files::{has_ending, read_text};
use super::{CorpusError, json, parquet, text};
use std::path::Path;

/// Bytes of the longest document.
const LONGEST: usize = 4_096;

/// Names that fields and columns of text have, the best first.
pub(super) const TEXT_FIELDS: [&str; 3] = ["text", "document", "content"];

/// A file's content.
#[derive(Debug)]
pub(super) enum Content {
    /// Lines, paragraphs or a table.
    Text(String),
    /// The texts of a file that says itself where each ends.
    Rows(Rows),
}

/// Many texts in one string, which takes less memory than a string each.
#[derive(Debug, Default)]
pub(super) struct Rows {
    text: String,
    ends: Vec<usize>,
}

impl Content {
    /// Reads the file at `path` in the format that its ending says.
    pub(super) fn read(path: &Path, field: Option<&str>) -> Result<Self, CorpusError> {
        if has_ending(path, &["parquet"]) {
            return Ok(Self::Rows(parquet::read(path, field)?));
        }
        Self::of(path, read_text(path)?, field)
    }

    /// Takes the text of a file called `file`.
    pub(super) fn of(file: &Path, text: String, field: Option<&str>) -> Result<Self, CorpusError> {
        if has_ending(file, &json::ENDINGS) {
            return Ok(Self::Rows(json::rows(file, &text, field)?));
        }
        Ok(Self::Text(text))
    }

    /// Whether there is not a byte.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// The documents, with their carriage returns still in them.
    pub(super) fn documents(&self, file: &Path, field: Option<&str>) -> Result<Vec<&str>, CorpusError> {
        let whole = match self {
            Self::Text(text) => text::rows(file, text, field)?,
            Self::Rows(rows) => rows.iter().collect(),
        };
        let parts = whole.into_iter().flat_map(cut);
        Ok(parts.filter(|part| !is_blank(part)).collect())
    }
}

impl Rows {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let row = &self.text[start..end];
            start = end;
            row
        })
    }
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

pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// How many letters a text has: the field with most of them is the one to learn from.
pub(super) fn letters(text: &str) -> u64 {
    text.chars().filter(|c| c.is_alphabetic()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
