//! A hub in a process of its own, to be measured, stopped and killed.

use crate::failure::Failure;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use store::Place;

/// A `khub serve` that doesn't outlive its bench. It limits nobody's rate.
pub(super) struct Process {
    child: Child,
    lines: Mutex<BufReader<ChildStdout>>,
    url: OnceLock<String>,
}

impl Process {
    /// One that answers.
    pub(super) fn serve(folder: &Path, database: Option<&Place>) -> Result<Self, Failure> {
        let hub = Self::start(folder, database)?;
        hub.url()?;
        Ok(hub)
    }

    /// One that may be standing by.
    pub(super) fn start(folder: &Path, database: Option<&Place>) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe().map_err(Failure::new)?);
        command.args(["serve", "--rate", "0", "--listen", "127.0.0.1:0", "--folder"]);
        command.arg(folder).stdout(Stdio::piped());
        if let Some(database) = database {
            command.arg("--database").arg(database.url());
        }
        let mut child = command.spawn().map_err(Failure::new)?;
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self {
            child,
            lines: lines.into(),
            url: OnceLock::new(),
        })
    }

    /// Where it answers; waits until it does.
    pub(super) fn url(&self) -> Result<String, Failure> {
        if let Some(url) = self.url.get() {
            return Ok(url.clone());
        }
        let line = self.until("answers at")?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.ok_or_else(|| Failure::new(format_args!("the hub says {line:?}")))?;
        Ok(self.url.get_or_init(|| url.to_owned()).clone())
    }

    /// The first line that has `words` in it.
    pub(super) fn until(&self, words: &str) -> Result<String, Failure> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).map_err(Failure::new)? == 0 {
                return Err(Failure::new(format_args!(
                    "the hub ended before it said {words:?}"
                )));
            }
            if line.contains(words) {
                return Ok(line);
            }
        }
    }

    pub(super) fn signal(&self, name: &str) -> Result<(), Failure> {
        let mut kill = Command::new("kill");
        let done = kill.args(["-s", name, &self.child.id().to_string()]).status();
        match done.map_err(Failure::new)?.success() {
            true => Ok(()),
            false => Err(Failure::new("the hub is gone already")),
        }
    }

    /// SIGKILL: no process can prepare for it.
    pub(super) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
