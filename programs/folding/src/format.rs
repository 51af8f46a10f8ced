//! Files with sequences and structures.

mod atoms;
mod cif;
mod error;
mod fasta;
mod pdb;
mod picture;
#[cfg(test)]
mod tests;
mod write;

pub use cif::parse_mmcif;
pub use error::{FormatError, Wrong};
pub use fasta::{Alignment, Row, parse_a3m, parse_fasta};
pub use pdb::parse_pdb;
pub use picture::contact_map_png;
pub use write::{TooLong, mmcif, pae_json, pdb};

use crate::{Chain, Sequence};
use std::fs;
use std::path::{Path, PathBuf};

/// What a file of a structure has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Structure {
    /// The protein chains of its first model, in the order of the file.
    pub chains: Vec<Chain>,
}

type Parse = fn(&[u8]) -> Result<Structure, Wrong>;

/// How the names of structures end, with how each is read.
const ENDINGS: [(&str, Parse); 4] = [
    ("pdb", parse_pdb),
    ("ent", parse_pdb),
    ("cif", parse_mmcif),
    ("mmcif", parse_mmcif),
];

/// The chains of a structure's file, or of all such files in a folder, in the order of their names.
///
/// Files of a folder without a protein chain are passed over.
///
/// # Errors
/// If a file can't be read or isn't well formed, or if there is no chain at all.
pub fn read_structures(path: &Path) -> Result<Vec<Chain>, FormatError> {
    let failed = |error| unread(path, error);
    let none = || FormatError::NoChain(path.to_owned());
    if !path.is_dir() {
        let chains = read_file(path)?;
        return if chains.is_empty() {
            Err(none())
        } else {
            Ok(chains)
        };
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if parser(&file).is_some() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(FormatError::NoStructures(path.to_owned()));
    }
    files.sort();
    let mut chains = Vec::new();
    for file in files {
        chains.extend(read_file(&file)?);
    }
    if chains.is_empty() {
        Err(none())
    } else {
        Ok(chains)
    }
}

/// The sequences of a FASTA file; of a file that ends in `.a3m`, the one that the others are aligned with.
///
/// # Errors
/// If the file can't be read or isn't well formed.
pub fn read_sequences(path: &Path) -> Result<Vec<Sequence>, FormatError> {
    let bytes = fs::read(path).map_err(|error| unread(path, error))?;
    let aligned = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("a3m"));
    let sequences = match aligned {
        true => parse_a3m(&bytes).map(|alignment| vec![alignment.query]),
        false => parse_fasta(&bytes),
    };
    sequences.map_err(|wrong| FormatError::Wrong {
        path: path.to_owned(),
        wrong,
    })
}

fn read_file(path: &Path) -> Result<Vec<Chain>, FormatError> {
    let bytes = fs::read(path).map_err(|error| unread(path, error))?;
    let parse = parser(path).ok_or_else(|| FormatError::Ending(path.to_owned()))?;
    let wrong = |wrong| FormatError::Wrong {
        path: path.to_owned(),
        wrong,
    };
    let mut chains = parse(&bytes).map_err(wrong)?.chains;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if let [only] = chains.as_mut_slice() {
        only.id = stem.into_owned();
    } else {
        for chain in &mut chains {
            chain.id = format!("{stem}_{}", chain.id);
        }
    }
    Ok(chains)
}

fn parser(path: &Path) -> Option<Parse> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let found = ENDINGS.iter().find(|(known, _)| *known == ending);
    found.map(|(_, parse)| *parse)
}

fn unread(path: &Path, error: std::io::Error) -> FormatError {
    FormatError::File {
        path: path.to_owned(),
        error,
    }
}
