//! `cargo xtask bench reads`: how long a hub with years behind it takes to answer.

use super::Common;
use super::hub::Server;
use super::place::Place;
use super::table::table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Jobs that the hub has had
    #[arg(long, default_value_t = 100_000)]
    jobs: u32,
    /// People it knows
    #[arg(long, default_value_t = 5_000)]
    people: u32,
    /// Reads a second, of all clients together
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// How long they read, s
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let mut hubs = vec![("SQLite", one(&place, asked, None)?)];
    match Server::start(root)? {
        Some(server) => hubs.push(("PostgreSQL", one(&place, asked, Some(&server.url))?)),
        None => eprintln!("PostgreSQL is left out: it isn't installed here"),
    }
    asked.common.print(&Report { hubs })
}

fn one(place: &Place, asked: &Asked, database: Option<&str>) -> Result<Hub, String> {
    let folder = place.folder.join("reads");
    let _ = fs::remove_dir_all(&folder);
    let path = folder.to_str().ok_or("the target folder's name is not UTF-8")?;
    let mut command = place.khub(&["reads", "--folder", path]);
    command.args([
        "--jobs",
        &asked.jobs.to_string(),
        "--people",
        &asked.people.to_string(),
    ]);
    command.args([
        "--rate",
        &asked.rate.to_string(),
        "--seconds",
        &asked.seconds.to_string(),
    ]);
    if let Some(url) = database {
        command.args(["--database", url]);
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("khub doesn't start: {e}"))?;
    let _ = fs::remove_dir_all(&folder);
    if !output.status.success() {
        return Err("khub failed".to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("khub's answer: {e}"))
}

/// What was read of one hub.
#[derive(Debug, Serialize, Deserialize)]
struct Hub {
    organisations: u64,
    people: u64,
    jobs: u64,
    postings: u64,
    records: u64,
    all: Times,
    asks: BTreeMap<String, Times>,
    hidden: BTreeMap<String, Apart>,
}

/// What somebody may not know of, beside what nobody has.
#[derive(Debug, Serialize, Deserialize)]
struct Apart {
    hidden: Times,
    missing: Times,
    /// How often, of one of each, what is hidden took longer: 0.5 tells nothing.
    told_apart: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Times {
    n: u64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    hubs: Vec<(&'static str, Hub)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, hub) in &self.hubs {
            writeln!(
                f,
                "{name}: {} organisations, {} people, {} jobs, {} postings, {} records",
                hub.organisations, hub.people, hub.jobs, hub.postings, hub.records
            )?;
            let mut rows = vec![
                ["read", "times", "p50 ms", "p99 ms", "longest"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            let all = [("all", &hub.all)];
            for (what, times) in all
                .into_iter()
                .chain(hub.asks.iter().map(|(it, times)| (it.as_str(), times)))
            {
                let ms = [times.p50_ms, times.p99_ms, times.longest_ms].map(|ms| format!("{ms:.1}"));
                let mut row = vec![what.to_owned(), times.n.to_string()];
                row.extend(ms);
                rows.push(row);
            }
            writeln!(f, "{}", table(&rows).trim_end())?;
            for (kind, it) in &hub.hidden {
                let (hidden, missing) = (it.hidden.p50_ms, it.missing.p50_ms);
                writeln!(
                    f,
                    "{kind}: hidden {hidden:.2} ms, missing {missing:.2} ms; hidden took longer {:.1} % of the time",
                    100.0 * it.told_apart
                )?;
            }
        }
        Ok(())
    }
}
