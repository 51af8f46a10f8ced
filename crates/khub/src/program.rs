//! `khub program`: what a site starts as a child process. Its standard input and output are the contract's.

use crate::failure::Failure;
use std::io::{BufReader, stdin, stdout};
use std::path::PathBuf;
use sync::JobFolder;
use sync::socket::OWN_VARIABLE;

/// Run a program for a site: orders on standard input, answers on standard output.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which program.
    #[arg(value_enum)]
    name: Name,
    /// The job's folder.
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    Language,
    Folding,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let folder = JobFolder::new(&args.folder);
    let (orders, said) = (BufReader::new(stdin()), stdout());
    let own = std::env::var_os(OWN_VARIABLE).map(PathBuf::from);
    match args.name {
        Name::Language => language::run(&folder, orders, said),
        Name::Folding => folding::net::run(&folder, own.as_deref(), orders, said),
    }
    .map_err(Failure::new)
}
