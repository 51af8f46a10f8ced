//! `cargo xtask bench`: khub's speed, memory and learning, alone or beside PyTorch's; placement's speed; and the hub's.
//!
//! ```text
//! cargo xtask bench train-step --size S --dtype f32 --peer auto
//! cargo xtask bench moe
//! cargo xtask bench generate --size M --peer python3
//! cargo xtask bench fold --peer auto
//! cargo xtask bench loss --peer auto --json
//! cargo xtask bench codec
//! cargo xtask bench sites
//! cargo xtask bench place --jobs 1000000 --nodes 10000
//! cargo xtask bench hub
//! cargo xtask bench reads
//! cargo xtask bench artifacts --gigabytes 4
//! ```
//!
//! Whoever is measured is a `Worker`: a process that waits until it is asked for one turn. So khub and its
//! peers take turns on the same machine in the same minute ([`race`]), and whatever else the machine does
//! meets all of them alike.

mod artifacts;
mod codec;
mod fold;
mod generate;
mod hub;
mod loss;
mod moe;
mod place;
mod placement;
mod race;
mod reads;
mod sites;
mod table;
mod train_step;
mod worker;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub(crate) use place::khub;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// One training step of a GPT-2-like model: tokens a second and memory
    TrainStep(train_step::Asked),
    /// A training step of a mixture of experts beside the dense one, both by khub
    Moe(moe::Asked),
    /// Generate text by greedy choice: tokens a second
    Generate(generate::Asked),
    /// Read protein sequences with ESM-2 of random weights: residues a second
    Fold(fold::Asked),
    /// Train on real text from the same first weights: the losses on the way and at the end
    Loss(loss::Asked),
    /// Write and read updates of cross-site training: GB/s on one core
    Codec(codec::Asked),
    /// Train across sites and synchronously: loss and bytes at equal tokens
    Sites(sites::Asked),
    /// Rounds of placement over a long queue: seconds
    Place(placement::Asked),
    /// A hub under many clients on SQLite and PostgreSQL: commands a second, kills, take-over
    Hub(hub::Asked),
    /// Read a hub that has been there for years: milliseconds
    Reads(reads::Asked),
    /// A large artifact down from the hub and up to it, beside nginx: GB/s and memory
    Artifacts(artifacts::Asked),
}

/// Measures and prints. An interrupt ends the workers too.
pub(crate) fn run(root: &Path, what: &What) -> Result<(), String> {
    worker::end_all_on_interrupt()?;
    match what {
        What::TrainStep(asked) => train_step::run(root, asked),
        What::Moe(asked) => moe::run(root, asked),
        What::Generate(asked) => generate::run(root, asked),
        What::Fold(asked) => fold::run(root, asked),
        What::Loss(asked) => loss::run(root, asked),
        What::Codec(asked) => codec::run(root, asked),
        What::Sites(asked) => sites::run(root, asked),
        What::Place(asked) => placement::run(root, asked),
        What::Hub(asked) => hub::run(root, asked),
        What::Reads(asked) => reads::run(root, asked),
        What::Artifacts(asked) => artifacts::run(root, asked),
    }
}

/// What every bench may be asked.
#[derive(Debug, Args)]
struct Common {
    /// Threads of each worker; all of the machine if not given
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Print only one line of JSON
    #[arg(long)]
    json: bool,
    /// A program that stands in for khub, which is then not built
    #[arg(long, hide = true)]
    khub: Option<PathBuf>,
}

impl Common {
    /// How many threads each worker takes, as an argument.
    fn threads(&self) -> String {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all).to_string()
    }

    /// Prints `report` in the form that was asked for.
    fn print(&self, report: &(impl Serialize + fmt::Display)) -> Result<(), String> {
        if self.json {
            let json = serde_json::to_string(report).map_err(|e| format!("the report is no JSON: {e}"))?;
            println!("{json}");
        } else {
            println!("{report}");
        }
        Ok(())
    }
}

/// The models of the bench.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Size {
    /// 4 layers of 256, vocabulary 8192: 7.4 million weights
    S,
    /// 6 layers of 512, vocabulary 16384: 35.9 million weights
    M,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::M => "M",
        }
    }

    /// Tokens predicted in a training step: batch times sequence.
    fn tokens_per_step(self) -> u64 {
        match self {
            Self::S => 8 * 256,
            Self::M => 4 * 512,
        }
    }
}

/// Numbers that a step computes with.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    /// f32 throughout
    F32,
    /// bf16 in the matrix products, f32 weights
    Bf16,
}

impl Dtype {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}
