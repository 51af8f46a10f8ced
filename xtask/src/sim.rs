//! `cargo xtask sim`: many simulated stories of cross-site training, at full speed on all cores. The stories
//! and what must hold in them are `crates/sim`.

use std::path::Path;
use std::process::Command;

/// Tells stories; `arguments` are those of `crates/sim/examples/stories.rs`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "sim",
            "--example",
            "stories",
            "--",
        ])
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo did not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("a story went wrong; its seed and commit stand above".to_owned())
    }
}
