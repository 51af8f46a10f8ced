//! `khub fold eval`: a predictor on chains of known structure, beside baselines and a control.

use super::predict::{open, predictor};
use super::{chains, structures};
use crate::failure::Failure;
use crate::show;
use folding::{Lead, Predictor, Report, Summary, report};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Judge predictions by known structures, beside baselines that need no network.
///
/// Every chain is predicted from its sequence alone. Intervals hold 95 % of bootstrap samples over chains. Contacts
/// are judged for chains of 30 residues and more.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub fold eval --weights folder\n  \
        khub fold eval --structures data/proteins/valid --train data/proteins/train --json")]
pub(crate) struct Args {
    /// What `khub fold train` left, or a folder of ESMFold from Hugging Face; else the baselines alone are judged.
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Without the library: what the network tells from a sequence that has no relatives.
    #[arg(long, requires = "weights")]
    alone: bool,
    /// The folder of PDB and mmCIF files to judge by; else `valid` of the data set `proteins`.
    #[arg(long, value_name = "DIR")]
    structures: Option<PathBuf>,
    /// The structures that baselines learn from; else `train` beside --structures.
    #[arg(long, value_name = "DIR")]
    train: Option<PathBuf>,
    /// The seed of intervals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let folder = structures(args.structures.as_deref(), "valid", "judge by")?;
    let judged = chains(&folder)?;
    let beside = || Some(folder.parent()?.join("train")).filter(|folder| folder.is_dir());
    let known = match args.train.clone().or_else(beside) {
        Some(folder) => chains(&folder)?,
        None => Vec::new(),
    };
    let style = ProgressStyle::with_template("{bar:30.cyan/blue} {pos} of {len} chains  {msg}");
    let bar = ProgressBar::new(judged.len() as u64).with_style(style.expect("the template is fixed"));
    let weights: Option<Box<dyn Predictor>> = match (&args.weights, args.alone) {
        (Some(path), true) => Some(Box::new(open(path)?.alone())),
        (Some(path), false) => Some(predictor(path)?),
        (None, _) => None,
    };
    let found = report(
        weights.as_deref(),
        &judged,
        &known,
        args.seed,
        &mut |what, done| {
            bar.set_message(what.to_owned());
            bar.set_position(done as u64);
        },
    );
    bar.finish_and_clear();
    if args.json {
        return show::json(&found);
    }
    show::print(&text(&found));
    Ok(())
}

/// The measures of the table, with what stands above their columns.
const COLUMNS: [(&str, &str); 4] = [
    ("contact_precision_l2_sep12", "contacts P@L/2"),
    ("tm_score", "TM-score"),
    ("lddt_ca", "lDDT-CA"),
    ("gdt_ts", "GDT-TS"),
];

fn text(found: &Report) -> String {
    let row = |name: &str, summary: &Summary| {
        let cells = COLUMNS
            .iter()
            .map(|(measure, _)| match summary.measures.get(measure) {
                Some(x) => format!("{:.3} ({:.3} to {:.3})", x.mean, x.low, x.high),
                None => String::new(),
            });
        std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    let mut notes = String::new();
    if let Some(own) = &found.predictor {
        rows.push(row("the network", own));
        if let Some(pearson) = own.confidence_pearson {
            notes.push_str(&format!(
                "confidence and true lDDT: Pearson {pearson:.3} over residues\n"
            ));
        }
    }
    if let Some(control) = &found.control {
        rows.push(row("the network on shuffled sequences", &control.summary));
        notes.push_str(&leads("its own on shuffled sequences", &control.lead));
        notes.push_str(&format!(
            "confidence above that of shuffled sequences by chance: p {:.5}\n",
            control.p_confidence
        ));
    }
    for baseline in &found.baselines {
        rows.push(row(baseline.name, &baseline.summary));
        notes.push_str(&leads(baseline.name, &baseline.lead));
    }
    let head: Vec<&str> = std::iter::once("")
        .chain(COLUMNS.iter().map(|(_, title)| *title))
        .collect();
    format!(
        "{} chains; baselines learned from {} others\n\n{}{notes}",
        show::grouped(found.chains as u64),
        show::grouped(found.known as u64),
        show::table(&head, &rows)
    )
}

/// How far the network leads somebody else in each measure.
fn leads(name: &str, leads: &BTreeMap<&str, Lead>) -> String {
    let told = leads.iter().filter_map(|(measure, Lead { by, p })| {
        let (_, title) = COLUMNS.iter().find(|(column, _)| column == measure)?;
        Some(format!(
            "{title} {:+.3} ({:+.3} to {:+.3}) p {p:.5}",
            by.mean, by.low, by.high
        ))
    });
    let told: Vec<String> = told.collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("above {name}: {}\n", told.join(", ")),
    }
}
