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

/// One run, as khub tells it. All times in seconds.
#[derive(Debug, Deserialize)]
struct Run {
    fill_s: f64,
    first_round_s: f64,
    idle_round_s: f64,
    refill_round_s: f64,
    preempting_round_s: f64,
    from_nothing_s: f64,
    placed: u64,
}

/// Medians.
#[derive(Debug, Serialize)]
struct Report {
    jobs: u32,
    nodes: u32,
    placed: u64,
    fill_s: f64,
    first_round_s: f64,
    from_nothing_s: f64,
    idle_round_s: f64,
    refill_round_s: f64,
    preempting_round_s: f64,
    armada_published_s: Option<f64>,
}

impl Report {
    fn new(asked: &Asked, runs: &[Run]) -> Self {
        let median = |time: &dyn Fn(&Run) -> f64| {
            let mut times: Vec<f64> = runs.iter().map(time).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        Self {
            jobs: asked.jobs,
            nodes: asked.nodes,
            placed: runs[0].placed,
            fill_s: median(&|run| run.fill_s),
            first_round_s: median(&|run| run.first_round_s),
            from_nothing_s: median(&|run| run.from_nothing_s),
            idle_round_s: median(&|run| run.idle_round_s),
            refill_round_s: median(&|run| run.refill_round_s),
            preempting_round_s: median(&|run| run.preempting_round_s),
            armada_published_s: ((asked.jobs, asked.nodes) == (320_000, 1_000)).then_some(ARMADA_S),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |name: &str, seconds: f64| vec![name.to_owned(), format!("{seconds:.3}")];
        let mut rows = vec![
            vec![
                format!("{} jobs, {} nodes", self.jobs, self.nodes),
                "s".to_owned(),
            ],
            row("all jobs into the queue", self.fill_s),
            row("the first round, on free machines", self.first_round_s),
            row("both together", self.from_nothing_s),
            row("a round where nothing can start", self.idle_round_s),
            row("a round after one job in twenty has ended", self.refill_round_s),
            row("a round that stops jobs for others", self.preempting_round_s),
        ];
        rows.extend(
            self.armada_published_s
                .map(|s| row("Armada's published round, on their machine", s)),
        );
        f.write_str(table(&rows).trim_end())
    }
}
