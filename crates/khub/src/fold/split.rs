//! `khub fold split`: chains to learn from and chains to be judged on.

use super::chains;
use crate::failure::Failure;
use crate::show;
use folding::{Alike, Chain, Check, Sequence, SplitSettings, check, mmcif, split};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Split chains so that none to be judged on is like one to learn from, and check a split.
///
/// Two chains are alike if they share more than --most of their four-residue words, of those of the chain with fewer.
/// Chains that are linked by likeness stay together. Either part is a folder of mmCIF files, one for each chain. The
/// check compares all pairs of chains of different parts by words and by alignment.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub fold split --structures my-structures -o my-split\n  \
        khub fold split --structures my-structures -o my-split --valid 0.05 --most 0.2\n  \
        khub fold split --check data/proteins/train data/proteins/valid"
)]
pub(crate) struct Args {
    /// A folder of PDB and mmCIF files.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "check",
        requires = "output"
    )]
    structures: Option<PathBuf>,
    /// The folder for the two parts, `train` and `valid`.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Which part of the chains is to be judged on.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    valid: f64,
    /// The most words that two chains of different parts may share.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    most: f64,
    /// Another seed gives another split.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only check two folders: one to learn from and one to be judged on.
    #[arg(long, num_args = 2, value_names = ["TRAIN", "VALID"], conflicts_with_all = ["structures", "output"])]
    check: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

#[derive(Serialize)]
struct Told {
    train: usize,
    valid: usize,
    /// Groups of chains that are alike; none if there was only a check.
    groups: Option<usize>,
    #[serde(flatten)]
    check: Check,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (train, valid, groups) = match (args.check.as_slice(), &args.structures, &args.output) {
        ([train, valid], _, _) => (chains(train)?, chains(valid)?, None),
        (_, Some(structures), Some(output)) => {
            let (train, valid, groups) = divide(args, chains(structures)?)?;
            write(&output.join("train"), &train)?;
            write(&output.join("valid"), &valid)?;
            (train, valid, Some(groups))
        }
        _ => unreachable!("clap asks for both"),
    };
    let sequences = |chains: &[Chain]| chains.iter().map(Chain::sequence).collect::<Vec<Sequence>>();
    let told = Told {
        train: train.len(),
        valid: valid.len(),
        groups,
        check: check(&sequences(&train), &sequences(&valid)),
    };
    if args.json {
        return show::json(&told);
    }
    if let Some(groups) = told.groups {
        show::print(&format!(
            "{} groups of chains that are alike\n",
            show::grouped(groups as u64)
        ));
    }
    let percent = |found: &Option<Alike>| match found {
        Some(Alike { share, train, valid }) => format!("{:.1} %  {train} and {valid}", 100.0 * share),
        None => "no pair to compare".to_owned(),
    };
    show::print(&format!(
        "train  {} chains\nvalid  {} chains\nthe most alike of different parts:\n  by words      {}\n  \
         by alignment  {}\n",
        show::grouped(told.train as u64),
        show::grouped(told.valid as u64),
        percent(&told.check.words),
        percent(&told.check.identity),
    ));
    Ok(())
}

fn divide(args: &Args, chains: Vec<Chain>) -> Result<(Vec<Chain>, Vec<Chain>, usize), Failure> {
    let sequences: Vec<Sequence> = chains.iter().map(Chain::sequence).collect();
    let settings = SplitSettings {
        most: args.most,
        valid: args.valid,
        seed: args.seed,
    };
    let parts = split(&sequences, settings);
    if parts.valid.is_empty() || parts.train.is_empty() {
        return Err(Failure::new(format_args!(
            "{} chains in {} groups leave one part empty",
            chains.len(),
            parts.groups
        ))
        .hint("more structures, or another --valid or --most"));
    }
    let judged: BTreeSet<usize> = parts.valid.into_iter().collect();
    let numbered = chains.into_iter().enumerate();
    let (valid, train): (Vec<_>, Vec<_>) = numbered.partition(|(i, _)| judged.contains(i));
    let bare = |part: Vec<(usize, Chain)>| part.into_iter().map(|(_, chain)| chain).collect();
    Ok((bare(train), bare(valid), parts.groups))
}

/// Writes each chain to a file of its name. The folder must be new: what is left of another split would be read too.
fn write(folder: &Path, chains: &[Chain]) -> Result<(), Failure> {
    if folder.exists() {
        return Err(Failure::file(folder, "is there already").hint("another folder, or delete this one"));
    }
    fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
    for chain in chains {
        let path = folder.join(format!("{}.cif", chain.id));
        nn::write_whole(&path, mmcif(chain, false).as_bytes())
            .map_err(|error| Failure::file(&path, error))?;
    }
    Ok(())
}
