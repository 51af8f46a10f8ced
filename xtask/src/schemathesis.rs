//! `cargo xtask schemathesis`: a hub that runs is asked everything that its OpenAPI document says can be asked, and much
//! that it says can't.
//!
//! The quickstart's consortium is founded and trains a little, and something is proposed to a call, so that there are
//! jobs, artifacts, money and a proposal. Then Schemathesis asks as its programme office, a researcher, a foreign
//! partner, a site, and nobody, with all its checks; `xtask/schemathesis/schemathesis.toml` has what it is told. In
//! the end the logs are verified.
//!
//! Needs Python 3.10 or newer. The first time it makes an environment in the target folder.

use crate::python::{Environment, step, target_folder};
use crate::test::cargo_command;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How the hub is asked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many requests are made up for each operation, at most; those that follow from the document's bounds come before
    #[arg(long, default_value_t = 30)]
    examples: u32,
    /// What is made up follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// As whom: names of the quickstart's people and sites, or nobody
    #[arg(
        long = "as",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = ASKERS
    )]
    askers: Vec<String>,
    /// More arguments for `schemathesis run`
    #[arg(last = true)]
    more: Vec<OsString>,
}

const ASKERS: &str = "office,minji,ingrid,hangang-1,nobody";
/// A hub that doesn't answer after this hangs.
const LONGEST_START: Duration = Duration::from_secs(60);

pub(crate) fn run(root: &Path, args: &Args) -> Result<(), String> {
    let target = target_folder(root)?;
    let program = environment(root, &target).make()?.with_file_name("schemathesis");
    step(cargo_command(root).args(["build", "--workspace", "--all-targets", "--locked"]))?;
    let all = target.join("schemathesis");
    let _ = fs::remove_dir_all(&all);
    fs::create_dir_all(&all).map_err(|e| format!("{}: {e}", all.display()))?;
    let set = Stage {
        khub: target.join("debug/khub"),
        folder: all.join("set"),
    };
    let config = set.set(root)?;
    let mut failed = Vec::new();
    for asker in &args.askers {
        // Each begins with the same: an office may suspend whoever comes after it.
        let stage = set.copy(all.join(asker))?;
        let hub = stage.serve()?;
        let mut schemathesis = Command::new(&program);
        schemathesis.arg("--config-file").arg(&config);
        schemathesis.args(["run", &format!("{}/api/v1/openapi.json", hub.url)]);
        schemathesis.args([
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing,stateful",
        ]);
        // Whoever signs out asks nothing more; that has tests of its own.
        schemathesis.args(["--exclude-path", "/session"]);
        schemathesis.args(["--seed", &args.seed.to_string()]);
        schemathesis.args(["--max-examples", &args.examples.to_string()]);
        // Its folder of what failed before would make a run depend on the one before.
        schemathesis.args(["--generation-database", "none", "--continue-on-failure"]);
        if asker != "nobody" {
            let token = stage.token(asker)?;
            schemathesis.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        schemathesis.args(&args.more).current_dir(&stage.folder);
        eprintln!("\n=== as {asker} ===");
        if let Err(why) = step(&mut schemathesis) {
            failed.push(asker.as_str());
            eprintln!("{why}");
        }
        hub.end()?;
        stage.khub(&["audit", "verify"])?;
    }
    if failed.is_empty() {
        println!("no failure, as {}; the logs are sound", args.askers.join(", "));
        return Ok(());
    }
    Err(format!("there were failures as {}", failed.join(", ")))
}

/// A short run for `cargo xtask test`.
pub(crate) fn run_briefly(root: &Path) -> Result<(), String> {
    let args = Args {
        examples: 5,
        seed: 1,
        askers: vec!["office".to_owned(), "hangang-1".to_owned()],
        more: Vec::new(),
    };
    run(root, &args)
}

/// What keeps the hub from being asked in `cargo xtask test`.
pub(crate) fn obstacle(root: &Path) -> Result<Option<String>, String> {
    let why = "Schemathesis isn't installed in the target folder; `cargo xtask schemathesis` does it once";
    let is_ready = environment(root, &target_folder(root)?).is_ready();
    Ok((!is_ready).then(|| why.to_owned()))
}

fn environment(root: &Path, target: &Path) -> Environment {
    Environment {
        folder: target.join("schemathesis-venv"),
        requirements: root.join("xtask/schemathesis/requirements.txt"),
    }
}

/// Where the hub's things are.
struct Stage {
    khub: PathBuf,
    folder: PathBuf,
}

impl Stage {
    /// Puts in what the hub is asked for; returns the configuration that names it.
    fn set(&self, root: &Path) -> Result<PathBuf, String> {
        self.khub(&[
            "quickstart",
            "--fresh",
            "--json",
            "--rounds",
            "2",
            "--samples",
            "8",
        ])?;
        let hub = self.serve()?;
        let file = |name: &str| root.join("xtask/schemathesis").join(name).display().to_string();
        self.khub(&["calls", "open", &file("call.toml"), "--as", "office"])?;
        self.khub(&["proposals", "propose", &file("proposal.toml"), "--as", "minji"])?;
        let of_artifact = |it: &Value| Some(it["id"].as_str()?.split_once('/')?.1.to_owned());
        let digests = self.listed(&["artifacts", "korean-reviews"], of_artifact)?;
        self.write("digests.txt", &digests)?;
        let of_invoice = |it: &Value| Some(it["id"].as_str()?.split_once('/')?.0.to_owned());
        let months = self.listed(&["invoices", "list", "--as", "office"], of_invoice)?;
        self.write("months.txt", &months)?;
        hub.end()?;
        let config = fs::read_to_string(file("schemathesis.toml")).map_err(|e| e.to_string())?;
        self.write("schemathesis.toml", &config)
    }

    /// The same in another folder.
    fn copy(&self, folder: PathBuf) -> Result<Self, String> {
        step(Command::new("cp").arg("-r").arg(&self.folder).arg(&folder))?;
        Ok(Self {
            khub: self.khub.clone(),
            folder,
        })
    }

    /// Of the things that a command lists a word each, in quotes on a line of its own.
    fn listed(&self, arguments: &[&str], word: fn(&Value) -> Option<String>) -> Result<String, String> {
        let mut khub = Command::new(&self.khub);
        khub.args(arguments).arg("--json").arg("--folder");
        let told = khub.arg(&self.folder).stdin(Stdio::null()).output();
        let told = told.map_err(|e| format!("{khub:?}: {e}"))?;
        let all: Vec<Value> = serde_json::from_slice(&told.stdout).map_err(|e| format!("{khub:?}: {e}"))?;
        let words = all.iter().filter_map(word);
        Ok(words.map(|word| format!("\"{word}\"\n")).collect())
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Runs a command of khub on the folder.
    fn khub(&self, arguments: &[&str]) -> Result<(), String> {
        let mut khub = Command::new(&self.khub);
        step(khub.args(arguments).arg("--folder").arg(&self.folder))
    }

    fn token(&self, name: &str) -> Result<String, String> {
        let file = self.folder.join("credentials").join(name);
        let token = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(token.trim().to_owned())
    }

    /// Starts the hub on a free port. It waits for no news, and locks nobody out: that has tests of its own.
    fn serve(&self) -> Result<Hub, String> {
        let address = self.folder.join("hub.json");
        let _ = fs::remove_file(&address);
        let mut serve = Command::new(&self.khub);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--longest-wait", "0"]);
        serve.args(["--unknown-tokens", &u32::MAX.to_string()]);
        serve.arg("--folder").arg(&self.folder);
        let log = self.folder.join("serve.log");
        let log = fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        serve.stdin(Stdio::null()).stdout(log).stderr(errors);
        let process = serve
            .spawn()
            .map_err(|e| format!("{}: {e}", self.khub.display()))?;
        let mut hub = Hub {
            process,
            url: String::new(),
        };
        let began = Instant::now();
        while began.elapsed() < LONGEST_START {
            let told: Option<Value> = fs::read(&address)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(url) = told.as_ref().and_then(|told| told["url"].as_str()) {
                url.clone_into(&mut hub.url);
                return Ok(hub);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the hub of {} doesn't start", self.folder.display()))
    }
}

/// A hub that runs; it ends with this.
struct Hub {
    process: Child,
    url: String,
}

impl Hub {
    /// Ends it; one that has ended by itself has failed.
    fn end(mut self) -> Result<(), String> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the hub ended by itself ({status})")),
            Err(e) => Err(format!("the hub: {e}")),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
