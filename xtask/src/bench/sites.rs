//! `cargo xtask bench sites`: what training across sites costs in loss, and what it saves in bytes, at equal
//! tokens against synchronous data parallel.
//!
//! One run has the whole batch in every step. The others share the same samples among 2, 4 or 8 sites, which
//! meet only in rounds. Synchronous training would send the gradient in bf16 around a ring in every step:
//! 2 (n - 1) / n * 2 bytes a weight from each of n sites (Patarasuk and Yuan 2009). A site of khub sends its
//! update once; it gets the others' from the artifact store.
//!
//! Hidden matrices are moved by Muon. With a peer, PyTorch trains across as many sites as OpenDiLoCo does
//! (`xtask/python/train_sites.py`), with AdamW, and so does khub once more: the same first weights, samples and
//! rates. And khub has Muon move each matrix in every thirtieth step, which takes hardly more time than AdamW. All
//! sites of a run take turns on this machine, khub's and PyTorch's alike.

use super::Common;
use super::place::Place;
use super::table::table;
use super::worker::Worker;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// How many sites, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8])]
    sites: Vec<u64>,
    /// Codecs, one run each
    #[arg(long, value_delimiter = ',', default_values_t = ["int4".to_owned(), "sparse".to_owned()])]
    codecs: Vec<String>,
    /// Steps of every run
    #[arg(long)]
    steps: Option<u64>,
    /// The Python with PyTorch that trains as OpenDiLoCo does; `auto` installs one below the target folder
    #[arg(long, value_name = "PYTHON|auto")]
    peer: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Trains and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, asked.peer.as_deref())?;
    let folder = place.folder.join("sites");
    let folder = folder.to_str().ok_or("the target folder's name is no text")?;
    let threads = asked.common.threads();
    let train = |sites: u64, codec: &str, more: &[&str]| {
        let sites_text = sites.to_string();
        let steps = asked.steps.map(|steps| steps.to_string());
        let mut arguments = vec![
            "sites",
            "--dir",
            folder,
            "--threads",
            &threads,
            "--sites",
            &sites_text,
            "--codec",
            codec,
        ];
        arguments.extend(more);
        if let Some(steps) = &steps {
            arguments.extend(["--steps", steps]);
        }
        let name = match sites {
            1 => "synchronous".to_owned(),
            _ => format!("{sites} sites, {codec}"),
        };
        course(&name, &mut place.khub(&arguments), &place.logs())
    };
    let synchronous = train(1, "fp32", &[])?;
    let mut rows = Vec::new();
    let mut add = |sites, how: &str, course: &Course| rows.push(Row::new(&synchronous, sites, how, course));
    for codec in &asked.codecs {
        for sites in &asked.sites {
            add(*sites, codec, &train(*sites, codec, &[])?);
        }
    }
    for sites in &asked.sites {
        let Some(mut peer) = place.peer("train_sites.py", &[folder, "--threads", &threads]) else {
            break;
        };
        add(
            *sites,
            "int4, Muon every 30",
            &train(*sites, "int4", &["--muon-every", "30"])?,
        );
        add(
            *sites,
            "int4, AdamW",
            &train(*sites, "int4", &["--adamw", "--leave"])?,
        );
        let theirs = course(&format!("{sites} sites, PyTorch"), &mut peer, &place.logs())?;
        add(*sites, "OpenDiLoCo in PyTorch", &theirs);
    }
    asked.common.print(&Report { synchronous, rows })
}

/// A line of the worker.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    /// So many steps are done, and their mean loss.
    Step { step: u64, loss: f64 },
    /// The last line.
    End(Course),
}

/// A training run.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Course {
    valid_loss: f64,
    parameters: u64,
    steps: u64,
    tokens: u64,
    /// Bytes of all updates of one site.
    sent: u64,
    /// Bytes of the others' updates, which each site takes.
    received: u64,
    seconds: f64,
    version: String,
}

/// Lets `command` train and hears it out.
fn course(name: &str, command: &mut Command, logs: &Path) -> Result<Course, String> {
    eprintln!("{name}: training");
    let mut worker = Worker::start(name, command, logs)?;
    loop {
        match worker.hear()? {
            Line::Step { step, loss } => eprintln!("{name}: step {step}, loss {loss:.4}"),
            Line::End(course) => {
                worker.finish()?;
                return Ok(course);
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    synchronous: Course,
    rows: Vec<Row>,
}

/// One run across sites beside the synchronous one.
#[derive(Debug, Serialize)]
struct Row {
    sites: u64,
    codec: String,
    course: Course,
    /// Its validation loss less the synchronous one's, in percent of that.
    gap_percent: f64,
    /// What synchronous data parallel would have sent in bf16 for every byte that a site sent.
    fewer_bytes: f64,
}

impl Row {
    fn new(synchronous: &Course, sites: u64, codec: &str, course: &Course) -> Self {
        let ring = 2.0 * (sites - 1) as f64 / sites as f64 * 2.0 * synchronous.parameters as f64;
        Self {
            sites,
            codec: codec.to_owned(),
            gap_percent: (course.valid_loss / synchronous.valid_loss - 1.0) * 100.0,
            fewer_bytes: ring * synchronous.steps as f64 / course.sent as f64,
            course: course.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "",
            "validation loss",
            "gap",
            "sent MB",
            "received MB",
            "fewer bytes",
            "seconds",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        let seconds = |course: &Course| format!("{:.0}", course.seconds);
        let loss = format!("{:.4}", self.synchronous.valid_loss);
        let mut first = vec!["synchronous".to_owned(), loss];
        first.extend(["", "", "", ""].map(String::from));
        first.push(seconds(&self.synchronous));
        rows.push(first);
        for row in &self.rows {
            let mb = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
            rows.push(vec![
                format!("{} sites, {}", row.sites, row.codec),
                format!("{:.4}", row.course.valid_loss),
                format!("{:+.2} %", row.gap_percent),
                mb(row.course.sent),
                mb(row.course.received),
                format!("{:.0} x", row.fewer_bytes),
                seconds(&row.course),
            ]);
        }
        f.write_str(&table(&rows))?;
        let Course {
            parameters, tokens, ..
        } = self.synchronous;
        write!(
            f,
            "{parameters} weights, {tokens} tokens each; losses in nats a token"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that prints `lines`.
    fn told(lines: &str) -> Result<Course, String> {
        let logs = tempfile::tempdir().unwrap();
        course("fake", Command::new("printf").arg(lines), logs.path())
    }

    fn end(loss: f64, sent: u64) -> String {
        format!(
            r#"{{"step":60,"loss":5.5}}\n{{"valid_loss":{loss},"parameters":1000,"steps":100,"tokens":7,"sent":{sent},"received":0,"seconds":1,"version":"a"}}\n"#
        )
    }

    #[test]
    fn gap_and_bytes_are_against_the_synchronous_run() {
        let synchronous = told(&end(5.0, 0)).unwrap();
        let row = Row::new(&synchronous, 4, "int4", &told(&end(5.1, 1000)).unwrap());
        // A ring of four sends 2 * 3/4 * 2 bytes of each of 1,000 weights in each of 100 steps.
        assert_eq!(row.fewer_bytes, 300.0);
        assert!((row.gap_percent - 2.0).abs() < 1e-9);
        let report = Report {
            synchronous,
            rows: vec![row],
        }
        .to_string();
        assert!(report.contains("+2.00 %") && report.contains("300 x"), "{report}");
    }

    #[test]
    fn a_run_that_ends_early_is_told() {
        let error = told(r#"{"step":60,"loss":5.5}\n"#).unwrap_err();
        assert!(error.starts_with("fake ended without an answer"), "{error}");
    }
}
