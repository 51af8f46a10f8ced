//! `khub put` and `khub fetch` with hubs and clients that are killed in the middle.

use crate::run::{Process, found, serve};
use api::{Client, UploadView};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

const BYTES: usize = 60_000_000;

struct Place {
    folder: tempfile::TempDir,
    hub: Option<Process>,
    url: String,
    token: String,
    member: Client,
}

impl Place {
    fn new() -> Self {
        let folder = found();
        let (hub, url) = serve(folder.path().to_str().unwrap(), "127.0.0.1:0");
        let token = std::fs::read_to_string(folder.path().join("credentials/minji")).unwrap();
        let token = token.trim().to_owned();
        let member = Client::new(&url, &token).unwrap();
        let file: Vec<u8> = (0..BYTES).map(|i| (i / 17 % 251) as u8).collect();
        std::fs::write(folder.path().join("large"), file).unwrap();
        Self {
            folder,
            hub: Some(hub),
            url,
            token,
            member,
        }
    }

    fn file(&self) -> String {
        self.folder.path().join("large").to_str().unwrap().to_owned()
    }

    fn restart_hub(&mut self) {
        self.hub.take().unwrap().kill();
        let at = self.url.strip_prefix("http://").unwrap();
        let (hub, _) = serve(self.folder.path().to_str().unwrap(), at);
        self.hub = Some(hub);
    }

    fn put(&self) -> Vec<String> {
        let file = self.file();
        let words = ["put", &file, "--project", "korean-reviews", "--hub", &self.url];
        let words = words.into_iter().map(str::to_owned);
        words.chain(["--token".to_owned(), self.token.clone()]).collect()
    }

    /// The one upload, as soon as it is as wanted.
    fn until(&self, wanted: impl Fn(&UploadView) -> bool) -> UploadView {
        loop {
            let uploads = self.member.uploads().unwrap();
            if let Some(upload) = uploads.into_iter().find(&wanted) {
                return upload;
            }
            std::thread::yield_now();
        }
    }
}

fn khub(words: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_khub"))
        .args(words)
        .output()
        .unwrap()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn an_upload_survives_a_killed_client_and_a_killed_hub() {
    let mut place = Place::new();
    // A client, killed once something is there.
    let client = Process::khub(&words(&place.put()));
    let there = place.until(|it| it.offset > 0);
    client.kill();
    let told: UploadView = place.until(|it| it.offset >= there.offset);
    let after = place.member.uploads().unwrap();
    assert_eq!((after.len(), after[0].id.as_str()), (1, told.id.as_str()));

    // A hub, killed while a piece comes.
    if !told.complete {
        let from = place.until(|_| true).offset as usize;
        let all = std::fs::read(place.file()).unwrap();
        let mut line = append(&place, &told.id, from, &all);
        // Of the killed client's more may have come meanwhile: then the hub refuses it, and is beyond `from` anyhow.
        let _ = line.write_all(&all[from..(from + 1_000_000).min(BYTES)]);
        place.until(|it| it.complete || it.offset > from as u64);
    }
    place.restart_hub();
    let back = place.until(|_| true);
    assert!(back.id == told.id && back.offset >= told.offset, "{back:?}");

    // Whoever goes on sends the rest, while the hub is killed once more.
    let mut put = Command::new(env!("CARGO_BIN_EXE_khub"));
    let putting = put.args(place.put()).stdout(std::process::Stdio::piped()).spawn();
    place.until(|it| it.complete || it.offset > back.offset);
    place.restart_hub();
    let put = putting.unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(put.stdout).unwrap();
    // It may have been at the last word when the hub was killed, and be asked for it again.
    let text = match put.status.success() {
        true => text,
        false => String::from_utf8(khub(&place.put()).stdout).unwrap(),
    };
    let id = text.trim().parse().expect(&text);
    fetched_whole(&place, &id);
}

#[test]
fn an_upload_in_pieces_arrives_whole() {
    let place = Place::new();
    let file = place.file();
    let (digest, bytes) = api::measure(Path::new(&file)).unwrap();
    let project: consortium::ProjectId = "korean-reviews".parse().unwrap();
    let id = consortium::ArtifactId { project, digest };
    let (said, offsets) = std::sync::mpsc::channel();
    let client = place
        .member
        .clone()
        .in_pieces()
        .telling(move |done, _| said.send(done).unwrap());
    client.upload(Path::new(&file), &id).unwrap();
    drop(client);
    assert_eq!(offsets.iter().max(), Some(bytes));
    let upload = place.until(|_| true);
    assert!(upload.complete && upload.offset == bytes, "{upload:?}");
}

/// A connection on which the hub takes bytes for an upload.
fn append(place: &Place, id: &str, from: usize, all: &[u8]) -> TcpStream {
    let mut line = TcpStream::connect(place.url.strip_prefix("http://").unwrap()).unwrap();
    let (token, length) = (&place.token, all.len() - from);
    write!(
        line,
        "PATCH /api/v1/uploads/{id} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\n\
         upload-offset: {from}\r\nupload-complete: ?1\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    line
}

/// Fetched by a client that is killed in the middle, and by the next one.
fn fetched_whole(place: &Place, id: &consortium::ArtifactId) {
    let to = place.folder.path().join("fetched");
    let name = format!("fetched.{}.part", &id.digest.hex()[..16]);
    let part = place.folder.path().join(name);
    let (id, target) = (id.to_string(), to.to_str().unwrap().to_owned());
    let fetch = [
        "fetch",
        &id,
        "--output",
        &target,
        "--hub",
        &place.url,
        "--token",
        &place.token,
    ];
    let client = Process::khub(&fetch);
    let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
    while size(&part) == 0 && !to.exists() {
        std::thread::yield_now();
    }
    client.kill();
    let fetch: Vec<String> = fetch.map(str::to_owned).into();
    let done = khub(&fetch);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::read(&to).unwrap() == std::fs::read(place.file()).unwrap());
    assert!(!part.exists());
}

#[test]
fn leftovers_are_shown_and_go() {
    let place = Place::new();
    let bytes = b"of a crash";
    let digest = consortium::Digest::of(bytes).hex();
    let folder = place.folder.path().join("artifacts").join(&digest[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(&digest[2..]), bytes).unwrap();
    let office = std::fs::read_to_string(place.folder.path().join("credentials/office")).unwrap();
    let collect = |more: &[&str]| {
        let words = ["collect", "--hub", &place.url, "--token", office.trim()];
        let words: Vec<String> = words.iter().chain(more).map(ToString::to_string).collect();
        String::from_utf8(khub(&words).stdout).unwrap()
    };
    let would = collect(&["--dry-run"]);
    assert!(
        would.contains(&digest) && would.contains("would go: 10 bytes"),
        "{would}"
    );
    let gone = collect(&[]);
    assert!(
        gone.contains(&digest) && gone.contains("gone: 10 bytes"),
        "{gone}"
    );
    assert!(collect(&[]).contains("gone: 0 bytes") && !folder.join(&digest[2..]).exists());
}
