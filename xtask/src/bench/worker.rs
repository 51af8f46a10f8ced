//! A process that takes one turn each time it is asked, over lines of JSON.
//!
//! `xtask/python/lines.py` tells the protocol; khub speaks the same. A worker that dies, or says something
//! else than it should, is an error that names it and quotes its last words.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// A worker's first line, when it has warmed up.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Ready {
    /// Always true; it tells this line from the others.
    pub(super) ready: bool,
    /// How many weights its model has.
    pub(super) params: u64,
    /// What computes, for people.
    pub(super) version: String,
    /// The most memory it had held before it made its model.
    pub(super) import_rss_bytes: Option<u64>,
}

/// What a worker tells of one turn.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Turn {
    /// Wall-clock time of the turn.
    pub(super) seconds: f64,
    /// The loss of a training step, in nats a token.
    pub(super) loss: Option<f64>,
    /// How many tokens were generated, or residues read.
    pub(super) tokens: Option<u64>,
    /// Which ones, or which is the likeliest at each place.
    pub(super) ids: Option<Vec<u32>>,
}

/// A worker's last line.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct End {
    /// The most memory it has held at once.
    pub(super) peak_rss_bytes: u64,
}

/// A running worker. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    /// What errors call it.
    pub(super) name: String,
    child: Arc<Mutex<Child>>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Worker {
    /// Starts `command`. What it writes to stderr goes to `NAME.log` in the folder `logs`.
    pub(super) fn start(name: &str, command: &mut Command, logs: &Path) -> Result<Self, String> {
        let log = logs.join(format!("{name}.log"));
        let stderr = fs::create_dir_all(logs)
            .and_then(|()| File::create(&log))
            .map_err(|e| format!("{}: {e}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| format!("{name} did not start: {}: {e}", command.get_program().display()))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let child = Arc::new(Mutex::new(child));
        running().push(Arc::clone(&child));
        Ok(Self {
            name: name.into(),
            child,
            stdin,
            stdout,
            log,
        })
    }

    /// Asks for a turn and waits for its answer.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, word: &str) -> Result<T, String> {
        // A worker that is gone can't be written to; what it said last is in its log.
        if writeln!(self.stdin, "{word}").is_err() {
            return Err(self.failure("ended before its turn"));
        }
        self.hear()
    }

    /// Waits for a line.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) => Err(self.failure("ended without an answer")),
            Ok(_) => serde_json::from_str(&line)
                .map_err(|e| self.failure(&format!("said `{}`, which is no answer: {e}", line.trim_end()))),
            Err(e) => Err(self.failure(&format!("said something that is no text: {e}"))),
        }
    }

    /// Lets it finish: it must exit, and well.
    pub(super) fn finish(self) -> Result<(), String> {
        let status = self.lock().wait();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failure(&format!("ended badly ({status})"))),
            Err(e) => Err(self.failure(&format!("can't be waited for: {e}"))),
        }
    }

    /// `what` happened, and what the worker wrote to its log last.
    fn failure(&self, what: &str) -> String {
        const LAST: usize = 20;
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST)..];
        let mut text = format!("{} {what}", self.name);
        for line in last {
            text.push_str("\n  ");
            text.push_str(line);
        }
        if lines.len() > LAST {
            text.push_str(&format!("\nits whole log: {}", self.log.display()));
        }
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut child = self.lock();
        // Both fail only where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        running().retain(|other| !Arc::ptr_eq(other, &self.child));
    }
}

/// Every worker that lives, for the interrupt.
static RUNNING: Mutex<Vec<Arc<Mutex<Child>>>> = Mutex::new(Vec::new());

fn running() -> std::sync::MutexGuard<'static, Vec<Arc<Mutex<Child>>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C and a polite kill end the workers first, then this process with 130.
pub(super) fn end_all_on_interrupt() -> Result<(), String> {
    ctrlc::set_handler(|| {
        for child in running().iter() {
            // A locked one is being waited for: it ends by itself.
            if let Ok(mut child) = child.try_lock() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        std::process::exit(130);
    })
    .map_err(|e| format!("Ctrl-C can't be listened to: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that runs `script` in a shell.
    fn fake(script: &str) -> (Worker, tempfile::TempDir) {
        let logs = tempfile::tempdir().unwrap();
        let worker = Worker::start("fake", Command::new("sh").args(["-c", script]), logs.path()).unwrap();
        (worker, logs)
    }

    #[test]
    fn it_answers_when_asked() {
        let (mut worker, _logs) = fake(
            r#"echo '{"ready":true,"params":5,"version":"fake 1"}'
               read word; echo "{\"seconds\":0.5,\"loss\":1.5,\"note\":\"$word\"}"
               read word; echo "{\"peak_rss_bytes\":1000}""#,
        );
        let ready: Ready = worker.hear().unwrap();
        assert_eq!((ready.params, ready.version.as_str()), (5, "fake 1"));
        assert_eq!(ready.import_rss_bytes, None);
        let turn: Turn = worker.ask("step").unwrap();
        assert_eq!((turn.seconds, turn.loss), (0.5, Some(1.5)));
        let end: End = worker.ask("end").unwrap();
        assert_eq!(end.peak_rss_bytes, 1000);
        worker.finish().unwrap();
    }

    #[test]
    fn a_bad_worker_is_named_and_quoted() {
        let cases = [
            (
                "echo no room >&2; exit 3",
                "fake ended without an answer\n  no room",
            ),
            ("echo loading...", "fake said `loading...`, which is no answer: "),
            ("echo '{\"seconds\":\"two\"}'", "expected f64"),
            ("echo '{\"second\":2}'", "missing field `seconds`"),
            ("echo '{\"seconds\":NaN}'", "which is no answer"),
            ("printf '\\377\\n'", "no text"),
        ];
        for (script, expected) in cases {
            let (mut worker, _logs) = fake(script);
            let error = worker.hear::<Turn>().unwrap_err();
            assert!(error.contains(expected), "{script}: {error}");
        }
    }

    #[test]
    fn a_long_log_is_cut_and_pointed_to() {
        let (mut worker, _logs) = fake("for i in $(seq 1 50); do echo line $i >&2; done");
        let error = worker.hear::<Turn>().unwrap_err();
        assert!(
            error.contains("\n  line 31\n") && !error.contains("line 30\n"),
            "{error}"
        );
        assert!(error.contains("fake.log"), "{error}");
    }

    #[test]
    fn an_exit_code_is_told() {
        let (worker, _logs) = fake("exit 4");
        let error = worker.finish().unwrap_err();
        assert!(error.contains("ended badly") && error.contains('4'), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let logs = tempfile::tempdir().unwrap();
        let error = Worker::start("eager", &mut Command::new("no-such-python"), logs.path()).unwrap_err();
        assert!(
            error.starts_with("eager did not start: no-such-python"),
            "{error}"
        );
    }

    #[test]
    fn a_dropped_worker_is_killed() {
        let (mut worker, _logs) = fake("echo '{\"peak_rss_bytes\":1}'; read forever");
        let _: End = worker.hear().unwrap();
        let child = Arc::clone(&worker.child);
        drop(worker);
        assert!(child.lock().unwrap().try_wait().unwrap().is_some());
        assert!(!running().iter().any(|other| Arc::ptr_eq(other, &child)));
    }
}
