//! FASTA: sequences under titles. And A3M, FASTA's way to write an alignment.

use super::Wrong;
use crate::{AminoAcid, Sequence};

/// The sequences of a FASTA file.
///
/// A sequence may end in `*`, as translated genes do. Lines that begin with `;` are comments. The letters of rare
/// and ambiguous residues become [`AminoAcid::Unknown`].
///
/// # Errors
/// If there is none, if a title has no sequence, or if a character stands for no residue.
pub fn parse_fasta(bytes: &[u8]) -> Result<Vec<Sequence>, Wrong> {
    let mut sequences = Vec::new();
    for entry in entries(bytes)? {
        let mut residues = Vec::new();
        let last = entry.letters.len().saturating_sub(1);
        for (i, letter) in entry.letters.iter().enumerate() {
            match residue(letter)? {
                Some(kind) => residues.push(kind),
                None if letter.byte == b'*' && i == last => {}
                None if b"-.".contains(&letter.byte) => {
                    let what = "a gap in a sequence: alignments are read from files that end in .a3m";
                    return Err(letter.wrong(what.to_owned()));
                }
                None => return Err(letter.is_none()),
            }
        }
        if residues.is_empty() {
            return Err(entry.empty());
        }
        sequences.push(Sequence {
            name: entry.name,
            residues,
        });
    }
    Ok(sequences)
}

/// Sequences set one below the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// The first sequence, which the others are aligned with.
    pub query: Sequence,
    /// The query's row and all others.
    pub rows: Vec<Row>,
}

/// One sequence of an alignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The first word of its title.
    pub name: String,
    /// For each column its residue; None where it has a gap.
    pub residues: Vec<Option<AminoAcid>>,
    /// For each column how many residues of it, which no column has room for, stand before.
    pub inserted: Vec<usize>,
}

/// The alignment of an A3M file: capital letters and `-` stand in columns, small letters between them, `.` is
/// nothing.
///
/// # Errors
/// If there is no sequence, if a row has another number of columns than the first, or if a character stands for no
/// residue.
pub fn parse_a3m(bytes: &[u8]) -> Result<Alignment, Wrong> {
    let mut rows: Vec<Row> = Vec::new();
    let mut query = None;
    for entry in entries(bytes)? {
        let (mut residues, mut inserted, mut waiting) = (Vec::new(), Vec::new(), 0);
        let mut whole = Vec::new();
        for letter in &entry.letters {
            let kind = residue(letter)?;
            match (letter.byte, kind) {
                (b'.', _) => continue,
                (b'a'..=b'z', Some(kind)) => {
                    waiting += 1;
                    whole.push(kind);
                    continue;
                }
                (b'-', _) => residues.push(None),
                (_, Some(kind)) => {
                    residues.push(Some(kind));
                    whole.push(kind);
                }
                (_, None) => return Err(letter.is_none()),
            }
            inserted.push(std::mem::take(&mut waiting));
        }
        if whole.is_empty() {
            return Err(entry.empty());
        }
        let wanted = rows
            .first()
            .map_or(residues.len(), |first: &Row| first.residues.len());
        if residues.len() != wanted {
            let found = residues.len();
            return Err(entry.wrong(format!(
                "a row of {found} columns in an alignment of {wanted}: columns are capital letters and `-`"
            )));
        }
        query.get_or_insert(Sequence {
            name: entry.name.clone(),
            residues: whole,
        });
        rows.push(Row {
            name: entry.name,
            residues,
            inserted,
        });
    }
    let query = query.expect("there is an entry");
    Ok(Alignment { query, rows })
}

/// A title and the characters below it.
struct Entry {
    name: String,
    line: usize,
    letters: Vec<Letter>,
}

#[derive(Clone, Copy)]
struct Letter {
    byte: u8,
    line: usize,
    column: usize,
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Wrong> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut entries: Vec<Entry> = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if let Some(title) = text.strip_prefix(b">") {
            let title = String::from_utf8_lossy(title);
            let name = title.split_whitespace().next().unwrap_or("").to_owned();
            let letters = Vec::new();
            entries.push(Entry { name, line, letters });
            continue;
        }
        if text.starts_with(b";") {
            continue;
        }
        let letters = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| !byte.is_ascii_whitespace());
        let mut letters = letters.map(|(i, byte)| Letter {
            byte: *byte,
            line,
            column: i + 1,
        });
        match entries.last_mut() {
            Some(entry) => entry.letters.extend(letters),
            None => {
                if let Some(letter) = letters.next() {
                    return Err(letter.wrong("no title: a line `>NAME` belongs before".to_owned()));
                }
            }
        }
    }
    if entries.is_empty() {
        return Err(Wrong {
            line: 1,
            column: 1,
            what: "no sequence: a line `>NAME` and a line of letters belong here".to_owned(),
        });
    }
    Ok(entries)
}

/// The residue that a letter stands for; None for another printable character.
fn residue(letter: &Letter) -> Result<Option<AminoAcid>, Wrong> {
    if !letter.byte.is_ascii_graphic() {
        let byte = letter.byte;
        return Err(letter.wrong(format!(
            "a byte {byte:#04x}, which is no letter: is it a FASTA file?"
        )));
    }
    Ok(AminoAcid::from_letter(letter.byte.into()))
}

impl Letter {
    fn is_none(&self) -> Wrong {
        let letter = char::from(self.byte);
        self.wrong(format!("{letter:?} stands for no amino acid"))
    }

    fn wrong(&self, what: String) -> Wrong {
        Wrong {
            line: self.line,
            column: self.column,
            what,
        }
    }
}

impl Entry {
    fn empty(&self) -> Wrong {
        self.wrong(format!("title {:?} has no residues below it", self.name))
    }

    fn wrong(&self, what: String) -> Wrong {
        Wrong {
            line: self.line,
            column: 1,
            what,
        }
    }
}
