//! `khub fold pack`: a folder of structures as one file, which a job across sites can read.

use super::{chains, structures};
use crate::failure::Failure;
use crate::show;
use folding::net::Library;
use serde::Serialize;
use std::path::PathBuf;

/// Put structures into one file, for a job across sites.
///
/// What goes into it are the chains of 2 to 1,024 residues: types, N, CA and C. A job of the programme folding takes
/// library.chains, in which relatives and templates are looked up, and valid.chains, by which the result is judged.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub fold pack --structures proteins/train -o library.chains\n  \
        khub put library.chains --project folds --label open"
)]
pub(crate) struct Args {
    /// The folder of PDB and mmCIF files; else `train` of the data set `proteins`.
    #[arg(long, value_name = "DIR")]
    structures: Option<PathBuf>,
    /// The file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Packed {
    chains: usize,
    residues: usize,
    /// Of those that were read, such as can't be used.
    left_out: usize,
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let folder = structures(args.structures.as_deref(), "train", "pack")?;
    let chains = chains(&folder)?;
    let library = Library::of(&chains);
    if library.is_empty() {
        return Err(Failure::file(
            &folder,
            "no chain of it has 2 to 1,024 residues with N, CA and C",
        ));
    }
    library.save(&args.output).map_err(Failure::new)?;
    let packed = Packed {
        chains: library.len(),
        residues: library.residues(),
        left_out: chains.len() - library.len(),
        file: args.output.clone(),
    };
    if args.json {
        return show::json(&packed);
    }
    let [kept, residues, left_out] =
        [packed.chains, packed.residues, packed.left_out].map(|count| show::grouped(count as u64));
    show::print(&format!(
        "{}: {kept} chains of {residues} residues, {left_out} left out\n",
        packed.file.display()
    ));
    Ok(())
}
