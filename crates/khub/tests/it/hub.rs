//! A hub under 32 clients, killed again and again; and a second one that takes over.

#[path = "../../../store/tests/it/server.rs"]
pub(crate) mod server;

use serde_json::Value;
use std::process::Command;

#[test]
fn killed_under_32_writers_it_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    bench(&["--folder", folder, "--kills", "20"]);
}

#[test]
fn on_postgresql_neither_and_another_hub_takes_over() {
    let Some(server) = server::Server::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let on = ["--folder", folder, "--database", &server.url];
    let report = bench(&[&on[..], &["--kills", "20", "--take-over"]].concat());
    for how in ["killed_s", "stopped_s"] {
        let seconds = report["take_over"][how].as_f64().unwrap();
        assert!(seconds < 10.0, "{how}: {seconds}");
    }
}

/// Fails if a confirmed command is lost or was done twice, or the ledger doesn't balance.
fn bench(args: &[&str]) -> Value {
    let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
    let output = khub.args(["bench", "hub"]).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
