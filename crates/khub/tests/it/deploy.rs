//! The units in `deploy/` as systemd reads them.

use std::path::Path;
use std::process::Command;

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for name in ["khub.service", "khub-site.service"] {
        let text = std::fs::read_to_string(deploy.join(name)).unwrap();
        // It wants to see what would be started.
        let text = text.replace("/usr/local/bin/khub", env!("CARGO_BIN_EXE_khub"));
        let unit = folder.path().join(name);
        std::fs::write(&unit, text).unwrap();
        verify.arg(unit);
    }
    let Ok(output) = verify.output() else {
        assert!(std::env::var_os("CI").is_none(), "CI has systemd-analyze");
        return eprintln!("skipped: it takes systemd-analyze");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
