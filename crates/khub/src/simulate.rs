//! `khub simulate`: a workload replayed through the placement queue.

mod plot;
mod replay;
mod report;
mod sites;
mod swf;

use crate::data::sets;
use crate::failure::Failure;
use crate::show;
use clap::ValueEnum;
use consortium::queue::{Machines, Rules};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use replay::{Assumed, replay};
use report::Report;
use std::fs;
use std::path::{Path, PathBuf};
use swf::Trace;

/// Replay a workload through the placement queue, under one policy or all of them.
///
/// The workload is in Standard Workload Format. Sites are TOML, `[[site]]` with `name` and `gpus`, and if
/// wanted `gpus_per_node`, `price` (won for a GPU for an hour) and `owner`. Policies know what a hub knows: the
/// requested time, or where there is none what the same user's jobs took before; never the real run time.
/// docs/placement.md says how they decide and what the figures mean.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub simulate --trace philly.swf --sites sites.toml\n  \
        khub simulate --trace traces --sites sites.toml --policy fair --json\n  \
        khub simulate --trace philly.swf --sites sites.toml --plot waits.svg\n\n\
        sites.toml:\n  [[site]]\n  name = \"hangang\"\n  gpus = 128\n  price = 3200"
)]
pub(crate) struct Args {
    /// The workload: a file, or the name of a data set that has one (`khub data list`).
    #[arg(long, value_name = "FILE|NAME")]
    trace: PathBuf,
    /// The sites.
    #[arg(long, value_name = "FILE")]
    sites: PathBuf,
    /// One policy; all of them are compared if not given.
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Draw the waiting times as SVG into this file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What policies think that jobs take.
    #[arg(long, value_enum, default_value_t = Lengths::Estimated)]
    lengths: Lengths,
    /// What it costs a job to be stopped and to go on, in seconds of all its GPUs.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    restart: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// First come, first served, with EASY backfill.
    FcfsBackfill,
    /// Slurm's multifactor formula at its manual's example weights, with EASY backfill.
    SlurmMultifactor,
    /// Fair shares, levels by what a job has had, preemption; with EASY backfill.
    Fair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lengths {
    /// As a hub knows them.
    Estimated,
    /// As long as they really take, which nobody knows; for comparison.
    Real,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = fs::read_to_string(&args.sites).map_err(|e| Failure::unread(&args.sites, &e))?;
    let sites = sites::parse(&text).map_err(|why| {
        Failure::file(&args.sites, why.trim_end()).hint("`khub simulate --help` has an example")
    })?;
    let path = trace_file(&args.trace)?;
    let bytes = fs::read(&path).map_err(|e| Failure::unread(&path, &e))?;
    let trace = Trace::parse(&bytes).map_err(|why| {
        Failure::file(&path, why).hint("a workload in Standard Workload Format has 18 numbers a line")
    })?;
    let machines: Vec<Machines> = sites.iter().map(sites::Site::machines).collect();
    check(&path, &trace, &machines)?;

    let policies = args
        .policy
        .map_or_else(|| Policy::value_variants().to_vec(), |policy| vec![policy]);
    let bar = bar(trace.jobs.len() * policies.len());
    let simulate = |policy: &Policy| {
        let assumed = Assumed {
            rules: policy.rules(),
            clairvoyant: args.lengths == Lengths::Real,
            restart_s: args.restart,
        };
        let done = replay(&trace, &machines, &assumed, &|ended| bar.inc(ended));
        Report::new(policy.name(), &trace, &sites, &done)
    };
    let reports: Vec<Report> = policies.par_iter().map(simulate).collect();
    bar.finish_and_clear();
    if let Some(path) = &args.plot {
        nn::write_whole(path, plot::svg(&reports).as_bytes()).map_err(|error| Failure::file(path, error))?;
    }
    match (args.json, args.policy) {
        (true, Some(_)) => show::json(&reports[0]),
        (true, None) => show::json(&reports),
        (false, _) => {
            show::print(&report::table(&reports));
            Ok(())
        }
    }
}

/// The file that is meant: one that is there, else a data set's.
fn trace_file(asked: &Path) -> Result<PathBuf, Failure> {
    let set = asked
        .to_str()
        .filter(|_| !asked.exists())
        .and_then(|name| sets::named(name).ok());
    let Some(set) = set else {
        return Ok(asked.to_owned());
    };
    let missing = || {
        Failure::new(format_args!(
            "data set {} is not on this machine, or has no workload",
            set.name
        ))
        .hint(format!("`khub data get {}`, or the name of a file", set.name))
    };
    let found = set.find().ok_or_else(missing)?;
    let mut files = found
        .form
        .files()
        .into_iter()
        .map(|file| found.path.join(file.path));
    files
        .find(|path| path.extension().is_some_and(|e| e == "swf") && path.is_file())
        .ok_or_else(missing)
}

fn check(path: &Path, trace: &Trace, sites: &[Machines]) -> Result<(), Failure> {
    if trace.jobs.is_empty() {
        return Err(Failure::file(path, "there is no job in it that ran"));
    }
    let all: u64 = sites.iter().map(Machines::all).sum();
    let smallest = sites.iter().map(Machines::all).min().unwrap_or(0);
    let largest = sites.iter().map(Machines::all).max().unwrap_or(0);
    let too_large = trace.jobs.iter().find(|job| {
        let gpus = u64::from(job.gpus);
        gpus > largest && (gpus > all || gpus.div_ceil(gpus.div_ceil(largest)) > smallest)
    });
    match too_large {
        Some(job) => Err(Failure::file(
            path,
            format_args!(
                "job {} takes {} GPUs, and the sites have {all}",
                job.number, job.gpus
            ),
        )
        .hint("more sites, or larger ones: a job that is larger than a site runs on equal parts of several")),
        None => Ok(()),
    }
}

fn bar(jobs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} jobs, {eta} to go");
    ProgressBar::new(jobs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Policy {
    fn rules(self) -> Rules {
        match self {
            Self::FcfsBackfill => Rules::fcfs(),
            Self::SlurmMultifactor => Rules::multifactor(),
            Self::Fair => Rules::fair(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::FcfsBackfill => "fcfs-backfill",
            Self::SlurmMultifactor => "slurm-multifactor",
            Self::Fair => "fair",
        }
    }
}
