//! Where things lie: khub's binary, the peers' Python, the folder for what a bench leaves.

use super::Common;
use cargo_metadata::MetadataCommand;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
            Some("auto") => Some(environment(&scripts, &target.join("bench-venv"))?),
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

/// Where cargo builds.
pub(crate) fn target_folder(root: &Path) -> Result<PathBuf, String> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .map_err(|e| format!("cargo metadata failed: {e}"))?;
    Ok(metadata.target_directory.into())
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

/// The Python of the virtual environment `folder`, made with `requirements.txt` unless that was done before.
fn environment(scripts: &Path, folder: &Path) -> Result<PathBuf, String> {
    let requirements = scripts.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).map_err(|e| format!("{}: {e}", requirements.display()))?;
    let installed = folder.join("requirements.txt");
    let python = folder.join("bin/python");
    if fs::read_to_string(&installed).is_ok_and(|had| had == wanted) {
        return Ok(python);
    }
    step(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    step(
        Command::new(&python)
            .args(["-m", "pip", "install", "-r"])
            .arg(&requirements),
    )?;
    // Written last: a broken-off installation is taken up again.
    fs::write(&installed, wanted).map_err(|e| format!("{}: {e}", installed.display()))?;
    Ok(python)
}

/// Runs `command` with all it prints on stderr, where progress goes.
pub(crate) fn step(command: &mut Command) -> Result<(), String> {
    eprintln!("$ {command:?}");
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed ({status})")),
        Err(e) => Err(format!("{command:?} did not start: {e}")),
    }
}
