//! Where things lie: khub's binary, the peers' Python, the folder for what a bench leaves.

use super::Common;
use crate::python::{environment, step, target_folder};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The places of a run.
#[derive(Debug)]
pub(super) struct Place {
    /// The program to measure.
    khub: PathBuf,
    /// `xtask/python`.
    scripts: PathBuf,
    /// The folder for what a bench leaves: logs, models, tokens.
    pub(super) folder: PathBuf,
    /// The peers' interpreter; None if khub runs alone.
    python: Option<PathBuf>,
}

impl Place {
    /// Builds khub, and the peers' environment if `peer` is `auto`.
    pub(super) fn prepare(root: &Path, common: &Common, peer: Option<&str>) -> Result<Self, String> {
        let target = target_folder(root)?;
        let scripts = root.join("xtask/python");
        let python = match peer {
            None => None,
            Some("auto") => Some(environment(root, &target)?),
            Some(python) => Some(python.into()),
        };
        let khub = khub(root, common.khub.as_deref())?;
        Ok(Self {
            khub,
            scripts,
            folder: target.join("bench"),
            python,
        })
    }

    /// khub itself.
    pub(super) fn program(&self) -> PathBuf {
        self.khub.clone()
    }

    /// `khub bench ARGUMENTS`.
    pub(super) fn khub(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.khub);
        command.arg("bench").args(arguments);
        command
    }

    /// `python xtask/python/SCRIPT ARGUMENTS`, or None if khub runs alone.
    pub(super) fn peer(&self, script: &str, arguments: &[&str]) -> Option<Command> {
        let mut command = Command::new(self.python.as_ref()?);
        // Without a byte-code cache the tree stays as it is.
        command
            .arg(self.scripts.join(script))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Some(command)
    }

    /// The folder for logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }
}

/// The khub that was given, or one that is built.
pub(crate) fn khub(root: &Path, given: Option<&Path>) -> Result<PathBuf, String> {
    match given {
        Some(program) => Ok(program.to_owned()),
        None => build(root, &target_folder(root)?),
    }
}

fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--release", "-p", "khub"]);
    step(&mut command)?;
    Ok(target.join("release/khub"))
}
