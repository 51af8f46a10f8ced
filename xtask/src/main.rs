//! The project's own chores.
//!
//! ```text
//! cargo xtask test             all that a change must pass
//! cargo xtask test clippy      one step of it
//! cargo xtask tidy             how far the tree keeps its own rules
//! cargo xtask picture OUT.txt  captured terminal output as an SVG
//! cargo xtask sim --seeds 10000  simulated stories of cross-site training, with faults
//! cargo xtask mpi              ranks of MPI against workers of one machine, to the bit
//! cargo xtask bench train-step khub's speed, memory and learning, alone or beside PyTorch's
//! cargo xtask faults sites     a run whose processes are killed and whose links are cut
//! cargo xtask schemathesis     the hub against its OpenAPI document
//! cargo xtask python           the wheel with real PyTorch, beside khub's own program in one run
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the terminal"
)]

mod bench;
mod faults;
mod mpi;
mod picture;
mod python;
mod schemathesis;
mod sim;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Chore {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// Check a change: format, clippy, tests, docs, tidy; stops at the first that fails
    Test {
        /// Only these steps
        steps: Vec<test::Step>,
    },
    /// Measure the tree against xtask/tidy.toml: one line per rule, one line per finding
    Tidy,
    /// Print captured terminal output as an SVG of a terminal window
    Picture {
        /// Plain text with ANSI colours, as `script` or `tee` leaves it
        file: PathBuf,
        /// What stands in the window's title bar
        #[arg(long, default_value = "khub")]
        title: String,
    },
    /// Train with ranks of MPI and with workers of one machine, and compare; installs Open MPI if it is missing
    Mpi,
    /// Tell simulated stories of cross-site training in which things go wrong; `-- --help` has the options
    Sim {
        /// `--seeds N`, `--from N`, `--json`, `--threads N`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure khub's speed, memory and learning, alone or beside PyTorch's
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Run khub's processes on bad links, and kill some
    Faults {
        #[command(subcommand)]
        what: faults::What,
    },
    /// Ask a hub everything that its OpenAPI document says can be asked, and what it says can't
    Schemathesis(schemathesis::Args),
    /// Test the wheel with real PyTorch, beside khub's own program in one run
    Python(python::Args),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace");
    let done = match Chore::parse().which {
        Which::Test { steps } => test::run(root, &steps),
        Which::Tidy => tidy::run(root),
        Which::Picture { file, title } => picture::run(&file, &title),
        Which::Mpi => mpi::run(root),
        Which::Sim { arguments } => sim::run(root, &arguments),
        Which::Bench { what } => bench::run(root, &what),
        Which::Faults { what } => faults::run(root, &what),
        Which::Schemathesis(args) => schemathesis::run(root, &args),
        Which::Python(args) => python::run(root, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_command_explains_itself() {
        let chore = super::Chore::command();
        chore.clone().debug_assert();
        for command in chore.get_subcommands() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
        }
    }
}
