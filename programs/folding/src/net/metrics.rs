//! `metrics.jsonl`: a line for each step, and for each look at the held-out chains.

use super::session::{Looked, NetError, at};
use nn::write_whole;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use train::{Losses, Step};

/// The file, and what is in it.
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    lines: Vec<Line>,
}

/// A line: a step, or a look at the held-out chains before it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Step {
        step: u64,
        loss: f32,
        gradient: f32,
        rate: f32,
        residues: u64,
        residues_per_s: f64,
    },
    Looked {
        step: u64,
        valid_loss: f64,
        contact_precision_l2_sep12: f64,
    },
}

impl Metrics {
    /// Goes on before `step`: what is there of later steps is taken again.
    pub(super) fn open(path: PathBuf, step: u64) -> Result<Self, NetError> {
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            text => text.unwrap_or_default(),
        };
        let known = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let before = |line: &Line| match line {
            Line::Step { step: at, .. } | Line::Looked { step: at, .. } => *at < step,
        };
        let lines: Vec<Line> = known.filter(before).collect();
        let text: String = lines.iter().map(Line::text).collect();
        write_whole(&path, text.as_bytes()).map_err(at(&path))?;
        let file = File::options().append(true).open(&path).map_err(at(&path))?;
        Ok(Self { path, file, lines })
    }

    pub(super) fn step(&mut self, step: &Step, residues_per_s: f64) -> Result<(), NetError> {
        self.add(Line::Step {
            step: step.step,
            loss: step.loss,
            gradient: step.gradient,
            rate: step.rate,
            residues: step.tokens,
            residues_per_s,
        })
    }

    pub(super) fn looked(&mut self, step: u64, looked: Looked) -> Result<(), NetError> {
        self.add(Line::Looked {
            step,
            valid_loss: looked.loss,
            contact_precision_l2_sep12: looked.contact_precision,
        })
    }

    fn add(&mut self, line: Line) -> Result<(), NetError> {
        self.lines.push(line);
        self.file
            .write_all(line.text().as_bytes())
            .map_err(at(&self.path))
    }

    pub(super) fn looked_at(&self, wanted: u64) -> Option<Looked> {
        self.lines.iter().find_map(|line| match *line {
            Line::Looked {
                step,
                valid_loss,
                contact_precision_l2_sep12,
            } if step == wanted => Some(Looked {
                loss: valid_loss,
                contact_precision: contact_precision_l2_sep12,
            }),
            _ => None,
        })
    }

    pub(super) fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        for line in &self.lines {
            match *line {
                Line::Step { step, loss, .. } => losses.train.push((step, loss)),
                Line::Looked { step, valid_loss, .. } => losses.valid.push((step, valid_loss as f32)),
            }
        }
        losses
    }
}

impl Line {
    fn text(&self) -> String {
        let line = serde_json::to_string(self).expect("metrics are plain data");
        format!("{line}\n")
    }
}
