//! `khub audit`, `backup` and `restore` on a hub's real folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn khub(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_khub"))
        .args(args)
        .output()
        .unwrap()
}

fn good(args: &[&str]) -> String {
    let output = khub(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn bad(args: &[&str]) -> String {
    let output = khub(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_log_that_was_made_anew_is_told_from_the_one_that_was_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second, kept, noted) = (at("first"), at("second"), at("backup"), at("noted"));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
    let example = example.to_str().unwrap();
    for folder in [&first, &second] {
        good(&["found", example, "--folder", folder]);
        let said = good(&["audit", "verify", "--folder", folder]);
        assert!(
            said.contains("1 seals of key") && said.contains("the ledger balances"),
            "{said}"
        );
    }
    fs::copy(format!("{first}/seals.jsonl"), &noted).unwrap();
    good(&["audit", "verify", "--folder", &first, "--seal", &noted]);
    let said = bad(&["audit", "verify", "--folder", &second, "--seal", &noted]);
    assert!(
        said.contains("was made with another key") || said.contains("is of another log"),
        "{said}"
    );

    // The same log elsewhere still is what was sealed.
    good(&["backup", &kept, "--folder", &first]);
    let third = at("third");
    good(&["restore", &kept, "--folder", &third]);
    good(&["audit", "verify", "--folder", &third, "--seal", &noted]);
    let log = good(&["audit", "export", "--folder", &third]);
    assert_eq!(log, good(&["audit", "export", "--folder", &first]));
    assert!(log.lines().count() > 10 && log.lines().all(|line| line.contains("\"hash\":\"blake3:")));
    assert!(bad(&["restore", &kept, "--folder", &third]).contains("has a log already"));
}
