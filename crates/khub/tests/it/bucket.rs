//! `khub serve --artifacts s3://...`, with a real server behind it.

#[path = "../../../store/tests/it/s3.rs"]
mod s3;

use crate::hub::server as postgres;
use crate::run::{Process, found, listening};
use api::Client;
use consortium::{ArtifactId, Digest};
use s3::{Line, Server, settings};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BYTES: usize = 30_000_000;
const BUCKET: &str = "s3://khub/artifacts";

/// A hub's folder, a file to bring, and a token for it.
struct Place {
    folder: tempfile::TempDir,
    token: String,
}

impl Place {
    fn new() -> Self {
        let folder = found();
        let token = std::fs::read_to_string(folder.path().join("credentials/minji")).unwrap();
        let token = token.trim().to_owned();
        let file: Vec<u8> = (0..BYTES).map(|i| (i / 19 % 251) as u8).collect();
        std::fs::write(folder.path().join("large"), file).unwrap();
        Self { folder, token }
    }

    fn file(&self) -> String {
        self.folder.path().join("large").to_str().unwrap().to_owned()
    }

    fn digest(&self) -> Digest {
        Digest::of(&std::fs::read(self.file()).unwrap())
    }

    fn client(&self, url: &str) -> Client {
        Client::new(url, &self.token).unwrap()
    }

    fn put(&self, url: &str) -> Command {
        let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
        khub.args(["put", &self.file(), "--project", "korean-reviews"]);
        khub.args(["--hub", url, "--token", &self.token]);
        khub
    }

    /// Whether the hub at `url` gives the file as it is.
    fn is_had_from(&self, url: &str, id: &ArtifactId) {
        let to = self.folder.path().join("fetched");
        let _ = std::fs::remove_file(&to);
        self.client(url).save(id, &to).unwrap();
        assert!(std::fs::read(&to).unwrap() == std::fs::read(self.file()).unwrap());
    }
}

fn hub(folder: &Path, endpoint: &str, more: &[&str]) -> Command {
    let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
    khub.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--artifacts",
        BUCKET,
        "--folder",
    ]);
    khub.arg(folder).args(more).envs(settings(endpoint));
    khub
}

fn serve(folder: &Path, endpoint: &str, more: &[&str]) -> (Process, String) {
    listening(&mut hub(folder, endpoint, more))
}

fn said(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn a_fresh_folder_on_the_same_bucket_has_everything() {
    let Some(server) = Server::start() else { return };
    let place = Place::new();
    let (first, url) = serve(place.folder.path(), &server.endpoint, &[]);
    let id: ArtifactId = said(place.put(&url).output().unwrap()).trim().parse().unwrap();
    let name = format!("artifacts/{}/1", place.digest().hex());
    assert!(server.files("artifacts").contains(&(name, BYTES as u64)));
    place.is_had_from(&url, &id);
    drop(first);

    // The log goes elsewhere by a backup; the bytes are where they are.
    let (backup, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let khub = |words: &[&str], from: &Path| {
        let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
        khub.args(words)
            .arg("--folder")
            .arg(from)
            .envs(settings(&server.endpoint));
        said(khub.output().unwrap())
    };
    let to = backup.path().to_str().unwrap();
    let text = khub(&["backup", to], place.folder.path());
    assert!(
        text.contains("and no artifacts") && text.contains(&format!("in {BUCKET} alone")),
        "{text}"
    );
    khub(&["restore", to], fresh.path());
    let (second, url) = serve(fresh.path(), &server.endpoint, &["--artifacts-cache", "1MB"]);
    place.is_had_from(&url, &id);
    drop(second);

    // Or the bytes go with it, and nobody needs the bucket.
    let (whole, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = whole.path().to_str().unwrap();
    let text = khub(&["backup", to, "--artifacts", BUCKET], place.folder.path());
    assert!(text.contains("and 1 artifacts"), "{text}");
    assert!(khub(&["restore", to], alone.path()).contains("and 1 artifacts"));
    let (_third, url) = crate::run::serve(alone.path().to_str().unwrap(), "127.0.0.1:0");
    place.is_had_from(&url, &id);
}

#[test]
fn a_hub_killed_while_the_bucket_takes_bytes_has_confirmed_nothing_and_lost_nothing() {
    let Some(server) = Server::start() else { return };
    let (place, line) = (Place::new(), Line::to(&server));
    let (first, url) = serve(place.folder.path(), &line.endpoint, &[]);
    line.stand_still_after(29_000_000);
    let putting = Process::of(place.put(&url).stdout(Stdio::piped()).stderr(Stdio::null()));
    line.until_it_stands();
    server.until_a_part_is_there();
    // All has come; the bucket has a part of it; and nobody waits for anybody else's upload.
    let client = place.client(&url);
    let upload = &client.uploads().unwrap()[0];
    assert_eq!((upload.offset, upload.complete), (BYTES as u64, false));
    first.kill();
    line.cut();
    line.mend();
    assert_eq!(
        putting.kill_and_read(),
        "",
        "it was never told that they are kept"
    );
    let named = |server: &Server| {
        let files = server.files("artifacts");
        let name = format!("artifacts/{}/", place.digest().hex());
        files
            .into_iter()
            .filter(|(path, _)| path.starts_with(&name))
            .count()
    };
    assert_eq!(named(&server), 0);

    // What is unfinished goes, and what has come to the hub is there.
    let (_second, url) = serve(place.folder.path(), &server.endpoint, &[]);
    assert_eq!(server.files(".uploads"), []);
    let upload = place.client(&url).uploads().unwrap().remove(0);
    assert_eq!((upload.offset, upload.complete), (BYTES as u64, false));
    let id = said(place.put(&url).output().unwrap()).trim().parse().unwrap();
    assert_eq!(named(&server), 1);
    place.is_had_from(&url, &id);
}

#[test]
fn a_hub_without_its_bucket_says_so_at_once_and_one_that_loses_it_goes_on() {
    let Some(server) = Server::start() else { return };
    let place = Place::new();
    let wrong = settings("http://127.0.0.1:9");
    let output = hub(place.folder.path(), &server.endpoint, &[])
        .envs(wrong)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("s3://khub/artifacts can't be reached at http://127.0.0.1:9"),
        "{text}"
    );
    assert!(!text.contains("khub-secret"));

    let line = Line::to(&server);
    let (_hub, url) = serve(place.folder.path(), &line.endpoint, &[]);
    let id: ArtifactId = said(place.put(&url).output().unwrap()).trim().parse().unwrap();
    line.cut();
    // What is in the folder is had, and what isn't in the bucket isn't taken.
    place.is_had_from(&url, &id);
    let small = b"more".as_slice();
    let put = ureq::put(format!("{url}/api/v1/bytes/{}", Digest::of(small)))
        .config()
        .http_status_as_error(false)
        .build()
        .header("authorization", format!("Bearer {}", place.token))
        .send(small);
    let mut answer = put.unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert_eq!(answer.status(), 503, "{text}");
    assert!(
        text.contains("can't be reached") && text.contains("ask again"),
        "{text}"
    );
}

#[test]
fn a_hub_that_takes_over_has_the_bytes() {
    let (Some(server), Some(database)) = (Server::start(), postgres::Server::start()) else {
        return;
    };
    let (place, other) = (Place::new(), tempfile::tempdir().unwrap());
    let backup = tempfile::tempdir().unwrap();
    let to = backup.path().to_str().unwrap();
    for words in [["backup", to, "--folder"], ["restore", to, "--folder"]] {
        let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
        khub.args(words).arg(place.folder.path());
        if words[0] == "restore" {
            khub.args(["--database", &database.url]);
        }
        said(khub.output().unwrap());
    }
    let on = ["--database", &database.url];
    let (first, url) = serve(place.folder.path(), &server.endpoint, &on);
    let mut second = hub(other.path(), &server.endpoint, &on);
    let mut second = Process::of(second.stdout(Stdio::piped()));
    let mut said_by_second = BufReader::new(second.stdout()).lines().map_while(Result::ok);
    assert!(said_by_second.next().unwrap().contains("stands by"));
    let id: ArtifactId = said(place.put(&url).output().unwrap()).trim().parse().unwrap();
    first.kill();
    let line = said_by_second.next().unwrap();
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect(&line);
    place.is_had_from(url, &id);
    assert_eq!(
        server.files("artifacts").len(),
        2,
        "the bytes, and whose they are"
    );
}
