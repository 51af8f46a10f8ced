//! `cargo xtask bench loss`: does khub learn as well as PyTorch does, from the same start and the same text?
//!
//! khub trains first and leaves its first weights, its tokens in their order and its settings in a folder;
//! `xtask/python/train_loss.py` reads them, and tells what stands in there.

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
    /// The Python with PyTorch to measure against; `auto` installs one below the target folder
    #[arg(long, value_name = "PYTHON|auto")]
    peer: Option<String>,
    /// How many steps
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[command(flatten)]
    common: Common,
}

/// Trains and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, asked.peer.as_deref())?;
    let folder = place.folder.join("loss");
    let folder = folder.to_str().ok_or("the target folder's name is no text")?;
    let (threads, steps) = (asked.common.threads(), asked.steps.to_string());
    let mut khub = place.khub(&["loss", "--dir", folder, "--steps", &steps, "--threads", &threads]);
    let khub = train("khub", &mut khub, &place.logs(), asked.steps)?;
    let torch = match place.peer("train_loss.py", &[folder, "--threads", &threads]) {
        Some(mut command) => Some(train("torch", &mut command, &place.logs(), asked.steps)?),
        None => None,
    };
    asked.common.print(&Report::new(khub, torch))
}

/// A line of a worker that trains by itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A step, and the loss before its update.
    Step { step: u32, loss: f64 },
    /// The last line.
    End { valid_loss: f64, version: String },
}

/// A training run.
#[derive(Debug, Serialize)]
struct Course {
    version: String,
    first_loss: f64,
    last_loss: f64,
    valid_loss: f64,
    #[serde(skip)]
    losses: Vec<f64>,
}

/// Lets `command` train and hears it out.
fn train(name: &str, command: &mut Command, logs: &Path, steps: u32) -> Result<Course, String> {
    eprintln!("{name}: training");
    let mut worker = Worker::start(name, command, logs)?;
    let mut losses = Vec::new();
    let told = steps.div_ceil(20);
    loop {
        match worker.hear()? {
            Line::Step { step, loss } => {
                if step as usize != losses.len() {
                    return Err(format!("{name} told of step {step} after {} steps", losses.len()));
                }
                losses.push(loss);
                if (step + 1) % told == 0 {
                    eprintln!("{name}: step {}/{steps}, loss {loss:.4}", step + 1);
                }
            }
            Line::End { valid_loss, version } => {
                worker.finish()?;
                if losses.len() != steps as usize {
                    return Err(format!(
                        "{name} made {} steps where {steps} were asked for",
                        losses.len()
                    ));
                }
                return Ok(Course {
                    version,
                    first_loss: losses[0],
                    last_loss: losses[losses.len() - 1],
                    valid_loss,
                    losses,
                });
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    khub: Course,
    #[serde(skip_serializing_if = "Option::is_none")]
    torch: Option<Course>,
    #[serde(flatten)]
    gaps: Option<Gaps>,
}

/// khub's losses against PyTorch's.
#[derive(Debug, Serialize)]
struct Gaps {
    /// khub's final validation loss less PyTorch's, as a part of PyTorch's: below zero, khub's is lower.
    relative_gap: f64,
    /// The largest difference between their losses at the same step, in nats.
    largest_step_gap: f64,
}

impl Report {
    fn new(khub: Course, torch: Option<Course>) -> Self {
        let gaps = torch.as_ref().map(|torch| Gaps {
            relative_gap: (khub.valid_loss - torch.valid_loss) / torch.valid_loss,
            largest_step_gap: (khub.losses.iter().zip(&torch.losses))
                .map(|(ours, theirs)| (ours - theirs).abs())
                .fold(0.0, f64::max),
        });
        Self { khub, torch, gaps }
    }
}

impl Course {
    fn row(&self, name: &str) -> Vec<String> {
        let losses = [self.first_loss, self.last_loss, self.valid_loss];
        let mut row = vec![format!("{name} ({})", self.version)];
        row.extend(losses.map(|loss| format!("{loss:.5}")));
        row
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["loss in nats a token", "first", "last", "validation"];
        let mut rows = vec![head.map(String::from).to_vec(), self.khub.row("khub")];
        rows.extend(self.torch.as_ref().map(|torch| torch.row("torch")));
        f.write_str(&table(&rows))?;
        if let Some(gaps) = &self.gaps {
            writeln!(
                f,
                "validation loss against PyTorch's  {:+.4} %",
                gaps.relative_gap * 100.0
            )?;
            write!(
                f,
                "largest difference at a step      {:.6}",
                gaps.largest_step_gap
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that prints `lines`, trained for two steps.
    fn told(lines: &str) -> Result<Course, String> {
        let logs = tempfile::tempdir().unwrap();
        train("fake", Command::new("printf").arg(lines), logs.path(), 2)
    }

    #[test]
    fn two_runs_are_compared() {
        let khub =
            told(r#"{"step":0,"loss":9.0}\n{"step":1,"loss":5.5}\n{"valid_loss":5.05,"version":"a"}\n"#);
        let torch =
            told(r#"{"step":0,"loss":9.0}\n{"step":1,"loss":5.25}\n{"valid_loss":5,"version":"b"}\n"#);
        let report = Report::new(khub.unwrap(), Some(torch.unwrap()));
        let gaps = report.gaps.as_ref().unwrap();
        assert!((gaps.relative_gap - 0.01).abs() < 1e-12, "{gaps:?}");
        assert_eq!(gaps.largest_step_gap, 0.25);
        assert!(report.to_string().contains("+1.0000 %"), "{report}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["khub"]["last_loss"], &json["torch"]["valid_loss"]),
            (&5.5.into(), &5.0.into())
        );
    }

    #[test]
    fn a_run_that_is_no_run_is_told() {
        let cases = [
            (r#"{"step":0,"loss":9.0}\n"#, "fake ended without an answer"),
            (r#"{"step":1,"loss":9.0}\n"#, "fake told of step 1 after 0 steps"),
            (
                r#"{"step":0,"loss":9.0}\n{"valid_loss":5,"version":"a"}\n"#,
                "fake made 1 steps where 2",
            ),
            (r"epoch 1\n", "fake said `epoch 1`, which is no answer"),
        ];
        for (lines, expected) in cases {
            let error = told(lines).unwrap_err();
            assert!(error.starts_with(expected), "{lines}: {error}");
        }
    }
}
