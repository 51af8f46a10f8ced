//! `cargo xtask python`: the wheel with real PyTorch, beside khub's own program in one run.
//!
//! Needs Python 3.11 or newer. The first time it makes an environment in the target folder, with what
//! `xtask/python/requirements.txt` pins; that is some gigabytes.

use crate::test::cargo_command;
use cargo_metadata::MetadataCommand;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How the wheel is tested.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// A Python that has what the requirements pin, instead of an environment of our own
    #[arg(long, value_name = "PROGRAM")]
    with: Option<PathBuf>,
    /// Build the wheel with maturin, as for users, and test that, instead of the build that is at hand
    #[arg(long)]
    wheel: bool,
    /// Arguments for pytest
    #[arg(last = true)]
    pytest: Vec<OsString>,
}

/// Builds it and runs its tests.
pub(crate) fn run(root: &Path, args: &Args) -> Result<(), String> {
    let target = target_folder(root)?;
    let python = match &args.with {
        Some(python) => python.clone(),
        None => environment(root, &target)?,
    };
    // With all targets of the workspace, dependencies have the features with which the tests have them built.
    step(cargo_command(root).args(["build", "--workspace", "--all-targets", "--locked"]))?;
    let stage = target.join("wheel");
    match args.wheel {
        true => install(root, &python, &stage)?,
        false => gather(root, &target.join("debug"), &stage)?,
    }
    let binary = target.join("debug/khub");
    // Without a byte-code cache the tree stays as it is.
    let mut pytest = Command::new(&python);
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .args(&args.pytest)
        .current_dir(root.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", &stage)
        .env("PYTHONSAFEPATH", "1")
        .env("KHUB_BINARY", binary);
    step(&mut pytest)
}

/// What keeps the wheel from being tested in `cargo xtask test`.
pub(crate) fn obstacle(root: &Path) -> Result<Option<String>, String> {
    let why =
        "PyTorch isn't installed in the target folder; `cargo xtask python` does it once (some gigabytes)";
    let is_ready = shared(root, &target_folder(root)?).is_ready();
    Ok((!is_ready).then(|| why.to_owned()))
}

/// The Python of the environment that the benches and the wheel share, made unless that was done before.
pub(crate) fn environment(root: &Path, target: &Path) -> Result<PathBuf, String> {
    shared(root, target).make()
}

fn shared(root: &Path, target: &Path) -> Environment {
    Environment {
        folder: target.join("bench-venv"),
        requirements: root.join("xtask/python/requirements.txt"),
    }
}

/// A Python environment in the target folder, with what a file in `xtask` pins.
pub(crate) struct Environment {
    pub(crate) folder: PathBuf,
    pub(crate) requirements: PathBuf,
}

impl Environment {
    /// Its Python; it is made unless that was done before.
    pub(crate) fn make(&self) -> Result<PathBuf, String> {
        let python = self.folder.join("bin/python");
        if self.is_made() {
            return Ok(python);
        }
        step(Command::new("python3").args(["-m", "venv"]).arg(&self.folder))?;
        step(
            Command::new(&python)
                .args(["-m", "pip", "install", "-r"])
                .arg(&self.requirements),
        )?;
        // Written last: a broken-off installation is taken up again.
        let installed = self.folder.join("requirements.txt");
        fs::copy(&self.requirements, &installed).map_err(|e| format!("{}: {e}", installed.display()))?;
        Ok(python)
    }

    /// Whether `cargo xtask test` may use it: CI makes it, a person is asked to.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_made() || std::env::var("CI").is_ok_and(|ci| ci == "true")
    }

    fn is_made(&self) -> bool {
        let wanted = fs::read(&self.requirements);
        let had = fs::read(self.folder.join("requirements.txt"));
        wanted.is_ok_and(|wanted| had.is_ok_and(|had| had == wanted))
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(root: &Path) -> Result<PathBuf, String> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .map_err(|e| format!("cargo metadata failed: {e}"))?;
    Ok(metadata.target_directory.into())
}

/// The package from what cargo has just built.
fn gather(root: &Path, built: &Path, stage: &Path) -> Result<(), String> {
    let package = stage.join("khub");
    let _ = fs::remove_dir_all(stage);
    let copy = |from: &Path, to: &OsStr| {
        let failed = |e| format!("{}: {e}", from.display());
        fs::copy(from, package.join(to)).map(drop).map_err(failed)
    };
    fs::create_dir_all(&package).map_err(|e| format!("{}: {e}", package.display()))?;
    let folder = root.join("python/khub");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension() == Some(OsStr::new("py")) {
            copy(&path, path.file_name().expect("a file has a name"))?;
        }
    }
    let library = built.join(format!(
        "{}_khub{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    copy(&library, OsStr::new("_khub.abi3.so"))
}

/// The package from a wheel.
fn install(root: &Path, python: &Path, stage: &Path) -> Result<(), String> {
    let wheels = stage.with_file_name("wheels");
    let _ = fs::remove_dir_all(stage);
    let _ = fs::remove_dir_all(&wheels);
    let pip = |arguments: &[&str]| {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "--quiet"])
            .args(arguments)
            .current_dir(root);
        pip
    };
    step(
        pip(&["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"])
            .arg(&wheels)
            .arg("./python"),
    )?;
    let entries = fs::read_dir(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    let built = entries.filter_map(|entry| Some(entry.ok()?.path()));
    step(
        pip(&["install", "--no-deps", "--no-index", "--target"])
            .arg(stage)
            .args(built),
    )
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
