//! `khub program`: what a site starts as a child process. Its standard input and output are the contract's.

use crate::failure::Failure;
use std::io::{BufReader, stdin, stdout};
use std::path::PathBuf;
use sync::JobFolder;

/// Run a program for a site: orders on standard input, answers on standard output.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which program.
    #[arg(value_parser = ["language"])]
    name: String,
    /// The job's folder.
    #[arg(long)]
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let folder = JobFolder::new(&args.folder);
    language::run(&folder, BufReader::new(stdin()), stdout()).map_err(Failure::new)
}
