//! The quickstart as a person runs it, on the primer: whole, interrupted, and run again.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The quickstart of `rounds` rounds in `folder`, with nothing to train on but the primer: the download
/// comes from `from`, and so does not come.
fn quickstart(folder: &Path, rounds: u32, from: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
    command
        .args([
            "quickstart",
            "--json",
            "--samples",
            "160",
            "--rounds",
            &rounds.to_string(),
        ])
        .env_clear()
        .env("HOME", folder)
        .env("KHUB_NSMC_URL", from)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A server on loopback that gives one visitor the wrong bytes.
fn wrong_bytes() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut visitor, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = visitor.read(&mut request).unwrap();
        visitor
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwrong")
            .unwrap();
    });
    url
}

fn result(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {told}"))
}

#[test]
fn the_whole_path_on_the_primer() {
    let folder = tempfile::tempdir().unwrap();
    let output = quickstart(folder.path(), 2, &wrong_bytes()).output().unwrap();
    let json = result(&output);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("gave 5 bytes with digest"),
        "a download that isn't right is said: {told}"
    );
    assert!(json["corpus"].as_str().unwrap().contains("primer"), "{json}");
    assert!(
        told.contains("restricted-stays-closed-to-foreign-partners"),
        "{told}"
    );

    let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{key} of {json}"));
    assert_eq!(number("rounds"), 2.0);
    assert!(
        number("bits_per_byte_last") < number("bits_per_byte_first"),
        "{json}"
    );
    assert!(
        number("bytes_between_sites") * 10.0 < number("bytes_if_synchronous"),
        "{json}"
    );
    assert!(number("tokens") > 0.0 && number("pflop_hours") > 0.0, "{json}");
    // However long it took: the two sites ask 9.0 and 9.4 million won, and what is less than a won is left at each.
    let (least, most) = (9.0e6 * number("pflop_hours"), 9.4e6 * number("pflop_hours"));
    assert!((least - 2.0..=most).contains(&number("spent_krw")), "{json}");
    assert_eq!(
        (number("member_status"), number("partner_status")),
        (200.0, 403.0)
    );
    assert_eq!(json["ledger_balanced"], true);
    let digests: Vec<&Value> = json["outer_digests"].as_object().unwrap().values().collect();
    assert!(digests.len() == 2 && digests[0] == digests[1], "{json}");
    assert!(!json["sample"].as_str().unwrap().trim().is_empty());
    let kept = std::fs::read(folder.path().join("khub-data/quickstart.json")).unwrap();
    assert_eq!(kept, output.stdout, "the file says what was printed");

    let again = result(
        &quickstart(folder.path(), 2, "http://127.0.0.1:9")
            .output()
            .unwrap(),
    );
    assert_eq!(again, json, "run again, it shows the same run");
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_stops_everything_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = quickstart(folder.path(), 3, "http://127.0.0.1:9")
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        told.any(|line| line.unwrap().starts_with("round  1/3")),
        "the first round is told"
    );
    interrupt(&child);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());

    let json = result(
        &quickstart(folder.path(), 3, "http://127.0.0.1:9")
            .output()
            .unwrap(),
    );
    assert_eq!(json["rounds"], 3);
    let verify = Command::new(env!("CARGO_BIN_EXE_khub"))
        .args(["ledger", "verify"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        verify.status.success(),
        "{}",
        String::from_utf8_lossy(&verify.stderr)
    );
}

#[cfg(target_os = "linux")]
fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// The command lines of processes that work in `folder`.
#[cfg(target_os = "linux")]
fn processes_of(folder: &Path) -> Vec<String> {
    let here = folder.as_os_str().to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let works_here = |process: &Path| {
        std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.to_string_lossy().starts_with(&here))
    };
    all.map(|entry| entry.path())
        .filter(|process| works_here(process))
        .filter_map(|process| std::fs::read_to_string(process.join("cmdline")).ok())
        .filter(|line| !line.is_empty())
        .collect()
}
