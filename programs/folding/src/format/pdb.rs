//! The PDB format, version 3.3 (wwpdb.org/documentation/file-format): a record a line, values by columns.

use super::atoms::{Collector, Listed};
use super::{Structure, Wrong};
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// The protein chains of a PDB file's first model.
///
/// Of several places of an atom, those of the alternative that was seen most are taken. Modified residues count
/// as what they were, by a MODRES record or a list of ours. What follows a chain's TER is no part of it. Records
/// that tell nothing about atoms are skipped.
///
/// # Errors
/// If an ATOM or HETATM record is cut short or has a value that can't be read.
pub fn parse_pdb(bytes: &[u8]) -> Result<Structure, Wrong> {
    let mut collector = Collector::default();
    // Chains that are whole: what comes later under their name are ligands and water.
    let mut ended: HashSet<&str> = HashSet::new();
    let mut last = "";
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = Line {
            number,
            bytes: line.strip_suffix(b"\r").unwrap_or(line),
        };
        match line.columns(1..=6).trim_ascii_end() {
            b"ATOM" | b"HETATM" => {
                last = line.text(22..=22)?;
                collector.add(&line.atom(last, !ended.contains(last))?);
            }
            b"MODRES" => collector.modified(line.text(13..=15)?, line.text(25..=27)?),
            // Many programs write no more than the word, so the chain is that of the atom before.
            b"TER" => {
                ended.insert(last);
            }
            // The first model is all that is read.
            b"ENDMDL" => break,
            _ => {}
        }
    }
    Ok(collector.finish())
}

/// A record. Columns count from 1, as in the format's documentation.
struct Line<'a> {
    number: usize,
    bytes: &'a [u8],
}

impl<'a> Line<'a> {
    fn atom(&self, chain: &'a str, polymer: bool) -> Result<Listed<'a>, Wrong> {
        let name = self.text(13..=16)?;
        let alone = self.columns(13..=14) == b"CA";
        Ok(Listed {
            chain,
            number: self.number(23..=26, "the residue's number")?,
            insertion: self.letter(27)?,
            residue: self.text(18..=20)?,
            // Calcium begins a column before the carbon called CA.
            atom: if alone && name == "CA" { "calcium" } else { name },
            alternative: self.letter(17)?,
            at: [
                self.coordinate(31..=38, "x")?,
                self.coordinate(39..=46, "y")?,
                self.coordinate(47..=54, "z")?,
            ],
            occupancy: self.optional(55..=60, "the occupancy", 1.0)?,
            b_factor: self.optional(61..=66, "the B-factor", 0.0)?,
            polymer,
        })
    }

    /// The bytes in these columns, as far as the line goes.
    fn columns(&self, columns: RangeInclusive<usize>) -> &'a [u8] {
        let end = (*columns.end()).min(self.bytes.len());
        let start = (columns.start() - 1).min(end);
        &self.bytes[start..end]
    }

    fn text(&self, columns: RangeInclusive<usize>) -> Result<&'a str, Wrong> {
        let column = *columns.start();
        let bytes = self.columns(columns).trim_ascii();
        match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Ok(text),
            _ => Err(self.wrong(column, "a byte that isn't ASCII: is it a PDB file?".to_owned())),
        }
    }

    fn letter(&self, column: usize) -> Result<Option<char>, Wrong> {
        Ok(self.text(column..=column)?.chars().next())
    }

    fn number<T: std::str::FromStr>(&self, columns: RangeInclusive<usize>, what: &str) -> Result<T, Wrong> {
        let (start, end) = (*columns.start(), *columns.end());
        let text = self.text(columns)?;
        text.parse().map_err(|_| {
            let found = match text {
                "" => "nothing".to_owned(),
                text => format!("{text:?}"),
            };
            self.wrong(
                start,
                format!("{found} in columns {start} to {end}, where {what} belongs"),
            )
        })
    }

    fn coordinate(&self, columns: RangeInclusive<usize>, what: &str) -> Result<f32, Wrong> {
        let start = *columns.start();
        let value: f32 = self.number(columns, what)?;
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.wrong(start, format!("{what} is {value}: it must be a finite number")))
    }

    fn optional(&self, columns: RangeInclusive<usize>, what: &str, missing: f32) -> Result<f32, Wrong> {
        match self.text(columns.clone())? {
            "" => Ok(missing),
            _ => self.coordinate(columns, what),
        }
    }

    fn wrong(&self, column: usize, what: String) -> Wrong {
        Wrong {
            line: self.number,
            column,
            what,
        }
    }
}
