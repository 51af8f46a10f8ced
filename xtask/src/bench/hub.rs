//! `cargo xtask bench hub`: a hub under many clients, on SQLite and on PostgreSQL; and how it bears being killed.

use super::Common;
use super::place::Place;
use super::table::table;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Clients, each with one command open at a time
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long they write, s
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Kill the hub so often instead, and look after each kill whether anything is lost or was done twice
    #[arg(long, default_value_t = 0)]
    kills: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Submit simple jobs instead, and count those that come to a site
    #[arg(long)]
    submits: bool,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let mut rows = vec![("SQLite".to_owned(), one(&place, asked, None)?)];
    match Server::start(root)? {
        Some(server) => rows.push(("PostgreSQL".to_owned(), one(&place, asked, Some(&server.url))?)),
        None => eprintln!("PostgreSQL is left out: it isn't installed here"),
    }
    asked.common.print(&Report { rows })
}

fn one(place: &Place, asked: &Asked, database: Option<&str>) -> Result<Value, String> {
    let folder = place.folder.join("hub");
    let _ = fs::remove_dir_all(&folder);
    let path = folder.to_str().ok_or("the target folder's name is not UTF-8")?;
    let (clients, seconds) = (asked.clients.to_string(), asked.seconds.to_string());
    let (kills, seed) = (asked.kills.to_string(), asked.seed.to_string());
    let mut command = place.khub(&[
        "hub",
        "--folder",
        path,
        "--clients",
        &clients,
        "--seconds",
        &seconds,
    ]);
    command.args(["--kills", &kills, "--seed", &seed]);
    if asked.submits {
        command.arg("--submits");
    }
    if let Some(url) = database {
        command.args(["--database", url]);
        if !asked.submits {
            command.arg("--take-over");
        }
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("khub doesn't start: {e}"))?;
    if !output.status.success() {
        return Err("khub failed".to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("khub's answer: {e}"))
}

/// A PostgreSQL server that really writes to the disk.
pub(super) struct Server {
    script: Child,
    pub(super) url: String,
}

impl Server {
    pub(super) fn start(root: &Path) -> Result<Option<Self>, String> {
        let started = Command::new(root.join("xtask/postgres.sh"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut script = started.map_err(|e| format!("xtask/postgres.sh: {e}"))?;
        let mut url = String::new();
        let lines = script.stdout.take().expect("it is piped");
        let read = BufReader::new(lines).read_line(&mut url);
        read.map_err(|e| format!("xtask/postgres.sh: {e}"))?;
        let url = url.trim().to_owned();
        Ok((!url.is_empty()).then_some(Self { script, url }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<(String, Value)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "",
            "commands/s",
            "p50 ms",
            "p99 ms",
            "kills",
            "killed, s",
            "stopped, s",
            "confirmed",
            "jobs/s",
            "to a site, p50 ms",
            "p99 ms",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (name, report) in &self.rows {
            let number = |path: &str, digits: usize| {
                let number = report.pointer(path).and_then(Value::as_f64);
                number.map_or(String::new(), |number| format!("{number:.digits$}"))
            };
            rows.push(vec![
                name.clone(),
                number("/throughput/commands_per_s", 0),
                number("/throughput/p50_ms", 1),
                number("/throughput/p99_ms", 1),
                number("/kills/rounds", 0),
                number("/take_over/killed_s", 2),
                number("/take_over/stopped_s", 2),
                number("/verified/confirmed", 0),
                number("/submits/jobs_per_s", 0),
                number("/submits/dispatch_p50_ms", 1),
                number("/submits/dispatch_p99_ms", 1),
            ]);
        }
        f.write_str(table(&rows).trim_end())
    }
}
