//! `khub fold`: protein structures from sequences, and how good they are.

mod eval;
mod pack;
mod predict;
mod score;
mod split;
mod train;

use crate::data::sets;
use crate::failure::Failure;
use clap::Subcommand;
use folding::{Chain, FormatError};
use std::path::{Path, PathBuf};

/// Fold protein sequences, train the network that does it, and judge structures.
///
/// A sequence or a FASTA file becomes a structure, with the confidence of each residue as B-factors, beside it the
/// expected errors (.pae.json) and a picture of the contacts (.contacts.png). The network is one that was trained
/// here on the structures it was given: it knows little of proteins that resemble none of them.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  khub fold train -o folder\n  \
        khub fold MKTAYIAKQRQISFVKSHFSRQ --weights folder -o mine.cif\n  \
        khub fold eval --weights folder\n  \
        khub fold split --structures my-structures -o my-split\n  khub fold score model.cif true.pdb"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    predict: predict::Args,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Args),
    Eval(eval::Args),
    Split(split::Args),
    Pack(pack::Args),
    Score(score::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => predict::run(&args.predict),
        Some(Command::Train(args)) => train::run(args),
        Some(Command::Eval(args)) => eval::run(args),
        Some(Command::Split(args)) => split::run(args),
        Some(Command::Pack(args)) => pack::run(args),
        Some(Command::Score(args)) => score::run(args),
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

/// The folder that was asked for, or else that part of the data set `proteins`, to do something with.
fn structures(asked: Option<&Path>, part: &str, purpose: &str) -> Result<PathBuf, Failure> {
    let folder = asked.map(Path::to_owned).or_else(|| known_part(part));
    folder.ok_or_else(|| {
        Failure::new(format_args!("there are no structures to {purpose}"))
            .hint("--structures DIR, or KHUB_DATA with the data set `proteins` (`khub data list`)")
    })
}

/// The part of the known set of proteins that is called `part`, if it is here.
fn known_part(part: &str) -> Option<PathBuf> {
    let set = sets::named("proteins").ok()?.find()?;
    Some(set.path.join(part)).filter(|folder| folder.is_dir())
}
