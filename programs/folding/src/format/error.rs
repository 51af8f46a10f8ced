//! What is wrong with a file, and where.

use std::io;
use std::path::PathBuf;

/// What is wrong with a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Wrong {
    /// Counts from 1.
    pub line: usize,
    /// Which byte of the line; counts from 1.
    pub column: usize,
    /// What is wrong there, and what to try.
    pub what: String,
}

/// Why a file gives no sequences or structures.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It can't be read or written.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It isn't well formed.
    #[error("{} {wrong}", .path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: Wrong,
    },
    /// Its name doesn't tell its format.
    #[error("{}: the name must end in .pdb, .ent, .cif or .mmcif", .0.display())]
    Ending(PathBuf),
    /// A folder without structures.
    #[error("folder {} has no file that ends in .pdb, .ent, .cif or .mmcif", .0.display())]
    NoStructures(PathBuf),
    /// Structures without a protein.
    #[error("{} has no protein chain", .0.display())]
    NoChain(PathBuf),
}
