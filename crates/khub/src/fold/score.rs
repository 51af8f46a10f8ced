//! `khub fold score`: one structure beside another of the same protein.

use super::chains;
use crate::failure::Failure;
use crate::show;
use folding::{Chain, compare};
use std::path::{Path, PathBuf};

/// Compare a structure with the true one of the same protein.
///
/// The first chain of each file is taken. Residues belong together by place if both have the same sequence, else by
/// number. Measures are shares, 0 to 1; the RMSD is in angstrom, over what both have.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub fold score model.cif true.pdb\n  khub fold score model.cif true.pdb --json"
)]
pub(crate) struct Args {
    /// The structure to judge: PDB or mmCIF.
    model: PathBuf,
    /// The true structure, whose length counts.
    reference: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (model, reference) = (first(&args.model)?, first(&args.reference)?);
    let matched = model.matched_to(&reference).ok_or_else(|| {
        Failure::new(format_args!(
            "{} and {} have no residue in common",
            model.id, reference.id
        ))
        .hint("number the residues of both alike: they belong together by their numbers")
    })?;
    let scores = compare(&matched, &reference);
    if args.json {
        return show::json(&scores);
    }
    let row = |(name, value): (&&str, &f64)| vec![(*name).to_owned(), format!("{value:.4}")];
    let rows: Vec<_> = scores.measures.iter().map(row).collect();
    show::print(&show::table(&["measure", "value"], &rows));
    Ok(())
}

fn first(path: &Path) -> Result<Chain, Failure> {
    let first = chains(path)?.into_iter().next();
    Ok(first.expect("a file that can be read has a chain"))
}
