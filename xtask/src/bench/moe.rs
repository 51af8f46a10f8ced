//! `cargo xtask bench moe`: what a mixture of experts costs khub, beside the dense model of the same width.

use super::place::Place;
use super::race::{Course, Figures, REST, Rules, race};
use super::table::table;
use super::{Common, Size};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Which model
    #[arg(long, value_enum, default_value = "S")]
    size: Size,
    /// How many steps of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let threads = asked.common.threads();
    let workers = ["dense", "moe"].map(|family| {
        let size = asked.size.name();
        let arguments = [
            "train-step",
            "--size",
            size,
            "--family",
            family,
            "--threads",
            &threads,
        ];
        (family, place.khub(&arguments))
    });
    let rules = Rules {
        word: "step",
        rounds: asked.steps.into(),
        rest: REST,
        logs: &place.logs(),
    };
    let courses = race(workers.into(), &rules)?;
    asked
        .common
        .print(&Report::new(asked.size, &courses[0], &courses[1]))
}

#[derive(Debug, Serialize)]
struct Report {
    size: &'static str,
    dense: Figures,
    moe: Figures,
    /// The mixture's tokens a second over the dense model's.
    ratio: f64,
}

impl Report {
    fn new(size: Size, dense: &Course, moe: &Course) -> Self {
        Self {
            size: size.name(),
            dense: dense.figures(size.tokens_per_step()),
            moe: moe.figures(size.tokens_per_step()),
            ratio: dense.seconds() / moe.seconds(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = Figures::COLUMNS.map(String::from).to_vec();
        let rows = [head, self.dense.row("dense"), self.moe.row("moe")];
        write!(f, "size {}\n{}", self.size, table(&rows))?;
        write!(
            f,
            "speed of the mixture against the dense model  {:.2}",
            self.ratio
        )
    }
}
