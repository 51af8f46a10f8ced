//! A PostgreSQL server of a test's own, by `xtask/postgres.sh`. Other crates' tests take this file in as well.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Gone when it is dropped, and when the test is killed.
pub(crate) struct Server {
    script: Child,
    pub(crate) url: String,
}

impl Server {
    /// None where there is no PostgreSQL, which is told; in CI there must be one.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/postgres.sh");
        let mut script = Command::new(script)
            .args(["fsync=off", "max_connections=30"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        if url.is_empty() {
            let code = script.wait().unwrap().code();
            assert_eq!(code, Some(77), "xtask/postgres.sh failed");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI has no PostgreSQL");
            eprintln!("skipped: there is no PostgreSQL here");
            return None;
        }
        let url = url.trim().to_owned();
        Some(Self { script, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
