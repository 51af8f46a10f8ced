//! `khub fold`: protein structures from sequences, and how good they are.

mod eval;
mod score;
mod split;

use crate::data::sets;
use crate::failure::Failure;
use clap::Subcommand;
use folding::{Chain, FormatError};
use std::path::{Path, PathBuf};

/// Judge, split and compare protein structures.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub fold eval --structures data/proteins/valid\n  \
        khub fold split --structures my-structures -o my-split\n  khub fold score model.cif true.pdb"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Eval(eval::Args),
    Split(split::Args),
    Score(score::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Eval(args) => eval::run(args),
        Command::Split(args) => split::run(args),
        Command::Score(args) => score::run(args),
    }
}

/// The chains of a file or folder.
fn chains(path: &Path) -> Result<Vec<Chain>, Failure> {
    folding::read_structures(path).map_err(failed)
}

/// What is wrong with a file of structures or sequences, and what to try.
fn failed(error: FormatError) -> Failure {
    match error {
        FormatError::File { path, error } => Failure::unread(&path, &error),
        other => Failure::new(other),
    }
}

/// The part of the known set of proteins that is called `part`, if it is here.
fn known_part(part: &str) -> Option<PathBuf> {
    let set = sets::named("proteins").ok()?.find()?;
    Some(set.path.join(part)).filter(|folder| folder.is_dir())
}
