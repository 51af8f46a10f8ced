//! Tells many stories on all cores: `cargo xtask sim` is this.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the terminal"
)]

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::{Failure, Told};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells the stories of many seeds, and those again that fail.
#[derive(Parser)]
struct Args {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed; a failure is told again with its seed and `--seeds 1`
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Print the sums as JSON
    #[arg(long)]
    json: bool,
    /// Threads; all cores if it isn't given
    #[arg(long)]
    threads: Option<usize>,
}

/// What all stories together had.
#[derive(Debug, Default, serde::Serialize)]
struct Sums {
    stories: u64,
    failed: Vec<u64>,
    jobs: usize,
    rounds: usize,
    spoiled: u64,
    rejected: u64,
    stale: u64,
    scaled: u64,
    sums: u64,
    gone: u64,
    handed: u64,
    events: u64,
    records: usize,
    simulated_hours: f64,
    seconds: f64,
    faults: BTreeMap<&'static str, u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bar = ProgressBar::new(args.seeds);
    let style = "{bar:40} {pos}/{len} stories, {per_sec}, {eta} to go {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well formed"));
    let (next, sums, began) = (AtomicU64::new(0), Mutex::new(Sums::default()), Instant::now());
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or(1) {
            scope.spawn(|| {
                loop {
                    let story = next.fetch_add(1, Ordering::Relaxed);
                    if story >= args.seeds {
                        return;
                    }
                    let told = sim::run(args.from + story);
                    sums.lock().expect("no story panics").add(told, &bar);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut sums = sums.into_inner().expect("no story panics");
    sums.failed.sort_unstable();
    sums.seconds = began.elapsed().as_secs_f64();
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&sums).expect("sums are plain data")
        );
    } else {
        sums.print();
    }
    if sums.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Sums {
    fn add(&mut self, told: Result<Told, Failure>, bar: &ProgressBar) {
        self.stories += 1;
        match told {
            Ok(told) => {
                self.jobs += told.jobs;
                self.rounds += told.rounds;
                self.spoiled += told.spoiled;
                self.rejected += told.rejected;
                self.stale += told.stale;
                self.scaled += told.scaled;
                self.sums += told.sums;
                self.gone += told.gone;
                self.handed += told.handed;
                self.events += told.events;
                self.records += told.records;
                self.simulated_hours += told.took.as_secs_f64() / Duration::from_secs(3600).as_secs_f64();
                for (fault, times) in told.faults {
                    *self.faults.entry(fault).or_default() += times;
                }
            }
            Err(failure) => {
                bar.suspend(|| eprintln!("{failure}\n"));
                self.failed.push(failure.seed);
                bar.set_message(format!("{} failed", self.failed.len()));
            }
        }
        bar.inc(1);
    }

    fn print(&self) {
        println!(
            "{} stories in {:.0} s, {} failed",
            self.stories,
            self.seconds,
            self.failed.len()
        );
        println!(
            "{} jobs, {} committed rounds, {} records, {} events, {:.0} simulated hours",
            self.jobs, self.rounds, self.records, self.events, self.simulated_hours
        );
        println!(
            "{} of {} spoiled updates rejected, {} stale ones of honest sites, {} updates scaled",
            self.rejected, self.spoiled, self.stale, self.scaled
        );
        println!(
            "{} sums of private rounds, {} updates left out of them",
            self.sums, self.gone
        );
        println!("{} files that sites had from each other", self.handed);
        for (fault, times) in &self.faults {
            println!("{times:>8}  {fault}");
        }
    }
}
