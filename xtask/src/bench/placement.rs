//! `cargo xtask bench place`: how long a round of placement takes, with how many jobs in the queue.

use super::Common;
use super::place::Place;
use super::table::table;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Jobs in the queue
    #[arg(long, default_value_t = 320_000)]
    jobs: u32,
    /// Nodes of 8 GPUs, over ten sites
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..))]
    nodes: u32,
    /// How many times; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    #[command(flatten)]
    common: Common,
}

/// Armada's published figure for a round over 320,000 jobs and 1,000 nodes: theirs, on a machine of theirs.
const ARMADA_S: f64 = 1.3;

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let (jobs, nodes) = (asked.jobs.to_string(), asked.nodes.to_string());
    let mut runs = Vec::new();
    for _ in 0..asked.runs {
        let mut command = place.khub(&["place", "--jobs", &jobs, "--nodes", &nodes]);
        let output = command.output().map_err(|e| format!("khub doesn't start: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "khub failed: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let run: Run = serde_json::from_slice(&output.stdout).map_err(|e| format!("khub's answer: {e}"))?;
        runs.push(run);
    }
    asked.common.print(&Report::new(asked, &runs))
}

/// One run, as khub tells it.
#[derive(Debug, Deserialize)]
struct Run {
    placed: u64,
    #[serde(flatten)]
    times: Times,
}

/// The parts of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Times {
    fill: Time,
    first_round: Time,
    idle_round: Time,
    refill_round: Time,
    preempting_round: Time,
    explain: Time,
}

/// By the clock, and on the processor: on a machine that others use too, the second is what it takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Time {
    wall_s: f64,
    cpu_s: f64,
}

/// Medians.
#[derive(Debug, Serialize)]
struct Report {
    jobs: u32,
    nodes: u32,
    placed: u64,
    #[serde(flatten)]
    times: Times,
    from_nothing: Time,
    armada_published_s: Option<f64>,
}

impl Report {
    fn new(asked: &Asked, runs: &[Run]) -> Self {
        let median = |time: &dyn Fn(&Times) -> Time| {
            let of = |part: &dyn Fn(Time) -> f64| {
                let mut times: Vec<f64> = runs.iter().map(|run| part(time(&run.times))).collect();
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            };
            Time {
                wall_s: of(&|time| time.wall_s),
                cpu_s: of(&|time| time.cpu_s),
            }
        };
        Self {
            jobs: asked.jobs,
            nodes: asked.nodes,
            placed: runs[0].placed,
            times: Times {
                fill: median(&|times| times.fill),
                first_round: median(&|times| times.first_round),
                idle_round: median(&|times| times.idle_round),
                refill_round: median(&|times| times.refill_round),
                preempting_round: median(&|times| times.preempting_round),
                explain: median(&|times| times.explain),
            },
            from_nothing: median(&|times| Time {
                wall_s: times.fill.wall_s + times.first_round.wall_s,
                cpu_s: times.fill.cpu_s + times.first_round.cpu_s,
            }),
            armada_published_s: ((asked.jobs, asked.nodes) == (320_000, 1_000)).then_some(ARMADA_S),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |name: &str, time: Time| {
            let seconds = |s: f64| format!("{s:.3}");
            vec![name.to_owned(), seconds(time.wall_s), seconds(time.cpu_s)]
        };
        let head = format!("{} jobs, {} nodes", self.jobs, self.nodes);
        let mut rows = vec![
            vec![head, "s".to_owned(), "s on the processor".to_owned()],
            row("all jobs into the queue", self.times.fill),
            row("the first round, on free machines", self.times.first_round),
            row("both together", self.from_nothing),
            row("a round where nothing can start", self.times.idle_round),
            row(
                "a round after one job in twenty has ended",
                self.times.refill_round,
            ),
            row("a round that stops jobs for others", self.times.preempting_round),
            row("explain, with 100,000 jobs in a hub's queue", self.times.explain),
        ];
        if let Some(seconds) = self.armada_published_s {
            let name = "Armada's published round, on their machine".to_owned();
            rows.push(vec![name, format!("{seconds:.1}"), String::new()]);
        }
        f.write_str(table(&rows).trim_end())
    }
}
