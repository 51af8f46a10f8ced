//! Uploads over HTTP: as the draft has them, who may, and what a collection leaves.

use crate::world::{Hands, World, output};
use api::Client;
use consortium::{ArtifactId, Digest, Holder, Label};
use serde_json::{Value, json};
use server::HubConfig;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use store::UploadLimits;

const DAY: u64 = 24 * 3_600_000;

/// A status, headers in small letters, and a body.
struct Told {
    status: u16,
    head: String,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

/// Somebody who speaks HTTP by hand.
struct Asker {
    at: String,
    token: String,
}

impl Asker {
    fn person(world: &World, name: &str) -> Self {
        Self::of(world, Holder::Person(name.parse().unwrap()))
    }

    fn of(world: &World, holder: Holder) -> Self {
        Self {
            at: world.hub.url().strip_prefix("http://").unwrap().to_owned(),
            token: world.hub.issue(holder).unwrap(),
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        let length = body.len().to_string();
        let mut line = self.begin(method, path, &[headers, &[("content-length", &length)]].concat());
        // The hub may answer and close before it has all of what it refuses; the answer tells.
        if let Err(error) = line.write_all(body) {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        let mut answer = Vec::new();
        line.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Told {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase().replace("\r\n", "\n"),
            body: body.to_owned(),
        }
    }

    /// A request whose body is yet to be sent.
    fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut line = TcpStream::connect(&self.at).unwrap();
        let mut head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\nauthorization: Bearer {}\r\n",
            self.token
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        line.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        line
    }

    fn upload(&self, project: &str, bytes: &[u8]) -> Told {
        let wanted = json!({"digest": Digest::of(bytes), "bytes": bytes.len()}).to_string();
        self.ask(
            "POST",
            &format!("/projects/{project}/uploads"),
            &[],
            wanted.as_bytes(),
        )
    }

    fn append(&self, path: &str, offset: usize, complete: &str, bytes: &[u8]) -> Told {
        let offset = offset.to_string();
        let headers = [
            ("upload-offset", offset.as_str()),
            ("upload-complete", complete),
            ("content-type", "application/partial-upload"),
        ];
        self.ask("PATCH", path, &headers, bytes)
    }
}

/// Where an upload is, for its owner.
fn path(told: &Told) -> String {
    format!("/uploads/{}", told.json()["id"].as_str().unwrap())
}

#[test]
fn an_upload_as_the_draft_has_it() {
    let world = World::new();
    let minji = Asker::person(&world, "minji");
    let all: Vec<u8> = (0..900_000_u32).map(|i| (i / 5 % 251) as u8).collect();
    let begun = minji.upload("reviews", &all);
    assert_eq!(begun.status, 201);
    let at = path(&begun);
    assert_eq!(begun.header("location"), Some(format!("/api/v1{at}").as_str()));
    assert_eq!(begun.header("upload-offset"), Some("0"));
    assert_eq!(begun.header("upload-complete"), Some("?0"));
    assert_eq!(begun.header("cache-control"), Some("no-store"));
    let limit = begun.header("upload-limit").unwrap();
    assert!(
        limit.contains("max-size=68719476736") && limit.contains("max-age=604"),
        "{limit}"
    );

    let first = minji.append(&at, 0, "?0", &all[..300_000]);
    assert_eq!(
        (first.status, first.header("upload-offset")),
        (200, Some("300000"))
    );
    // What breaks off in the middle of a piece is there as far as it came.
    let headers = [("upload-offset", "300000"), ("content-length", "600000")];
    let mut line = minji.begin("PATCH", &at, &headers);
    line.write_all(&all[300_000..400_000]).unwrap();
    drop(line);
    let mut told = minji.ask("HEAD", &at, &[], &[]);
    while told.header("upload-offset") == Some("300000") {
        // It is still on its way; whoever asks stops it, so what isn't there yet is sent again.
        let more = minji.append(&at, 300_000, "?0", &all[300_000..400_000]);
        assert!(more.status == 200 || more.status == 409, "{}", more.body);
        told = minji.ask("HEAD", &at, &[], &[]);
    }
    assert_eq!(told.header("upload-length"), Some("900000"), "{}", told.head);
    let there: usize = told.header("upload-offset").unwrap().parse().unwrap();
    assert!((300_001..=400_000).contains(&there), "{there}");

    let elsewhere = minji.append(&at, there + 1, "?0", b"x");
    assert_eq!(
        (elsewhere.status, elsewhere.header("upload-offset")),
        (409, Some(there.to_string().as_str()))
    );
    assert_eq!(elsewhere.json()["type"], "mismatching-upload-offset");
    let early = minji.append(&at, there, "?1", b"");
    assert_eq!(
        (early.status, &early.json()["type"]),
        (400, &json!("inconsistent-upload-length"))
    );
    let long = minji.append(&at, there, "?0", &vec![0; 900_001 - there]);
    assert_eq!(
        (long.status, &long.json()["type"]),
        (400, &json!("inconsistent-upload-length"))
    );
    for wrong in ["", "-1", "1.5", "+3", "99999999999999999999"] {
        let headers = [("upload-offset", wrong)];
        assert_eq!(minji.ask("PATCH", &at, &headers, b"x").status, 400, "{wrong}");
    }

    // A hub that starts again goes on with it, and has what is complete.
    let world = world.restarted();
    let minji = Asker::person(&world, "minji");
    let there: usize = {
        let told = minji.ask("GET", &at, &[], &[]);
        told.json()["offset"].as_u64().unwrap() as usize
    };
    let last = minji.append(&at, there, "?1", &all[there..]);
    assert_eq!(
        (last.status, &last.json()["complete"]),
        (200, &json!(true)),
        "{}",
        last.body
    );
    let more = minji.append(&at, all.len(), "?1", b"");
    assert_eq!(
        (more.status, &more.json()["type"]),
        (400, &json!("completed-upload"))
    );
    let world = world.restarted();
    let member = world.person("minji");
    let sent = output(&all, Label::Restricted);
    register(&world, &sent);
    let to = world.folder.path().join("fetched");
    assert_eq!(member.save(&sent.id, &to).unwrap(), 900_000);
    assert_eq!(std::fs::read(&to).unwrap(), all);
}

/// Keeps what minji has uploaded.
fn register(world: &World, sent: &consortium::Output) {
    let minji = Asker::person(world, "minji");
    let body = serde_json::to_vec(sent).unwrap();
    let headers = [("content-type", "application/json")];
    let told = minji.ask("POST", "/projects/reviews/artifacts", &headers, &body);
    assert_eq!(told.status, 200, "{}", told.body);
}

#[test]
fn an_upload_is_its_owners_alone() {
    let world = World::new();
    let minji = Asker::person(&world, "minji");
    let at = path(&minji.upload("reviews", b"secret bytes"));
    let mut others: Vec<Asker> = ["head", "jun", "ingrid"]
        .map(|name| Asker::person(&world, name))
        .into();
    others.push(Asker::of(&world, Holder::Site("a".parse().unwrap())));
    for other in &others {
        let told = [
            other.ask("GET", &at, &[], &[]),
            other.append(&at, 0, "?1", b"secret bytes"),
            other.ask("DELETE", &at, &[], &[]),
        ];
        for told in told {
            assert_eq!(told.status, 404, "{}", told.body);
            let unknown = other.ask("GET", "/uploads/00000000000000000000000000000000", &[], &[]);
            let id = at.strip_prefix("/uploads/").unwrap();
            let same = told.body.replace(id, "00000000000000000000000000000000");
            assert_eq!(same, unknown.body, "it is told as one that never was");
        }
        assert_eq!(other.ask("GET", "/uploads", &[], &[]).json(), json!([]));
    }
    assert_eq!(
        minji.ask("GET", "/uploads", &[], &[]).json()[0]["bytes"],
        json!(12)
    );
    // Who may bring something to a project, and who not.
    for (who, status) in [("minji", 201), ("ingrid", 201), ("jun", 404), ("head", 404)] {
        let told = Asker::person(&world, who).upload("reviews", b"other bytes");
        assert_eq!(told.status, status, "{who}: {}", told.body);
    }
    assert_eq!(minji.upload("nothing", b"x").status, 404);
    assert_eq!(others[3].upload("reviews", b"x").status, 403, "it has no job");
    assert_eq!(minji.ask("DELETE", &at, &[], &[]).status, 200);
    assert_eq!(minji.ask("GET", &at, &[], &[]).status, 404);
}

#[test]
fn an_account_has_only_so_much_under_way() {
    let world = World::with(|config| HubConfig {
        uploads: UploadLimits {
            number: 2,
            bytes: 1_000,
            largest: 600,
            ..UploadLimits::default()
        },
        ..config
    });
    let minji = Asker::person(&world, "minji");
    let at = path(&minji.upload("reviews", &[1; 600]));
    assert_eq!(minji.upload("reviews", &[2; 601]).status, 413);
    let much = minji.upload("reviews", &[3; 500]);
    assert_eq!((much.status, &much.json()["type"]), (409, &json!("too-much")));
    assert_eq!(minji.upload("reviews", &[4; 400]).status, 201);
    let many = minji.upload("reviews", &[5; 1]);
    assert!(
        many.status == 409 && many.body.contains("2 uploads"),
        "{}",
        many.body
    );
    assert_eq!(minji.ask("DELETE", &at, &[], &[]).status, 200);
    assert_eq!(minji.upload("reviews", &[5; 1]).status, 201);
    // What came in one request and isn't named counts as well, and what is named doesn't.
    let ingrid = world.person("ingrid");
    let first = world.bring(&ingrid, &[6; 600], Label::Open);
    let digest = Digest::of(&[7; 600]);
    let put = |bytes: &[u8]| {
        let asker = Asker::person(&world, "ingrid");
        asker.ask("PUT", &format!("/bytes/{digest}"), &[], bytes).status
    };
    assert_eq!(put(&[7; 600]), 422);
    std::fs::write(world.folder.path().join("first"), [6; 600]).unwrap();
    ingrid.put(&world.folder.path().join("first"), &first).unwrap();
    assert_eq!(put(&[7; 600]), 200);
}

#[test]
fn a_file_goes_on_where_it_broke_off() {
    let world = World::new();
    let path = world.folder.path().join("large");
    let all: Vec<u8> = (0..9_000_000_u32).map(|i| (i / 9 % 251) as u8).collect();
    std::fs::write(&path, &all).unwrap();
    let sent = output(&all, Label::Restricted);
    // A part of it is there from before, and the client sends only the rest.
    let minji = Asker::person(&world, "minji");
    let at = self::path(&minji.upload("reviews", &all));
    assert_eq!(minji.append(&at, 0, "?0", &all[..8_000_000]).status, 200);
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = std::sync::Arc::clone(&heard);
    let client = world
        .person("minji")
        .telling(move |done, of| hears.lock().unwrap().push((done, of)));
    client.put(&path, &sent).unwrap();
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.first(), Some(&(8_000_000, 9_000_000)));
    assert_eq!(heard.last(), Some(&(9_000_000, 9_000_000)));
    // The same for a download; what lies there of something else is no part of it.
    let to = world.folder.path().join("fetched");
    let part = world
        .folder
        .path()
        .join(format!("fetched.{}.part", &sent.id.digest.hex()[..16]));
    for before in [
        &all[..8_999_999],
        &all[..],
        b"something else",
        &vec![1; 9_000_001],
        b"",
    ] {
        std::fs::write(&part, before).unwrap();
        assert_eq!(client.save(&sent.id, &to).unwrap(), 9_000_000);
        assert!(std::fs::read(&to).unwrap() == all && !part.exists());
    }
}

#[test]
fn a_part_is_sent_only_of_what_it_is_a_part_of() {
    let world = World::new();
    let member = world.person("minji");
    let sent = world.bring(&member, b"0123456789", Label::Open);
    member.put(&world.folder.path().join("to-send"), &sent).unwrap();
    let minji = Asker::person(&world, "minji");
    let at = format!("/projects/reviews/artifacts/{}", sent.id.digest);
    let tag = format!("\"{}\"", sent.id.digest.hex());
    let weak = format!("W/{tag}");
    for (condition, status, bytes) in [
        (None, 206, "6789"),
        (Some(tag.as_str()), 206, "6789"),
        (Some("\"other\""), 200, "0123456789"),
        (Some(weak.as_str()), 200, "0123456789"),
        (Some("Sun, 29 Nov 2026 12:00:00 GMT"), 200, "0123456789"),
    ] {
        let mut headers = vec![("range", "bytes=6-")];
        headers.extend(condition.map(|condition| ("if-range", condition)));
        let told = minji.ask("GET", &at, &headers, &[]);
        assert_eq!(
            (told.status, told.body.as_str()),
            (status, bytes),
            "{condition:?}"
        );
        assert_eq!(told.header("etag"), Some(tag.as_str()));
    }
}

#[test]
fn what_is_damaged_is_told_and_not_sent() {
    let world = World::new();
    let member = world.person("minji");
    let all = vec![7; 2_000_000];
    let sent = world.bring(&member, &all, Label::Open);
    member.put(&world.folder.path().join("to-send"), &sent).unwrap();
    let hex = sent.id.digest.hex();
    let path = world
        .folder
        .path()
        .join("artifacts")
        .join(&hex[..2])
        .join(&hex[2..]);
    let to = world.folder.path().join("fetched");
    for at in [9, 1_999_999] {
        let mut damaged = all.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = member.save(&sent.id, &to).unwrap_err();
        // In the first block it is told; later the transfer ends.
        let is_told = error.to_string().contains("is damaged");
        assert_eq!(is_told, at == 9, "{error}");
        assert!(!to.exists());
    }
    std::fs::write(&path, &all).unwrap();
    assert_eq!(member.save(&sent.id, &to).unwrap(), 2_000_000);
}

#[test]
fn leftovers_are_collected_by_the_office_and_by_the_hub() {
    let hands = Hands::default();
    let world = World::with(|config| hands.of(config));
    let (head, member) = (world.person("head"), world.person("minji"));
    let kept = world.bring(&member, b"kept", Label::Open);
    member.put(&world.folder.path().join("to-send"), &kept).unwrap();
    world.bring(&member, b"left behind", Label::Open);
    let minji = Asker::person(&world, "minji");
    minji.append(&path(&minji.upload("reviews", b"half of it")), 0, "?0", b"half");
    let nothing = |client: &Client| client.leftovers().unwrap().count == 0;
    assert!(nothing(&head), "both may still be named");
    assert_eq!(member.leftovers().unwrap_err().status(), Some(403));
    assert_eq!(member.collect().unwrap_err().status(), Some(403));

    hands.advance(DAY);
    // The hub may be at it by itself; what it leaves, the office's request takes.
    let gone = head.collect().unwrap();
    assert!(gone.count <= 1, "{gone:?}");
    let digest = Digest::of(b"left behind");
    let there = |digest: Digest| {
        let (folder, file) = (&digest.hex()[..2], &digest.hex()[2..]);
        world
            .folder
            .path()
            .join("artifacts")
            .join(folder)
            .join(file)
            .exists()
    };
    assert!(!there(digest) && there(kept.id.digest));
    assert_eq!(member.uploads().unwrap().len(), 1, "it has a week");
    hands.advance(7 * DAY);
    // By itself, once an hour of its clock.
    while !member.uploads().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert!(nothing(&head) && there(kept.id.digest));
    let id = ArtifactId {
        digest,
        ..kept.id.clone()
    };
    assert_eq!(member.fetch(&id).map(drop).unwrap_err().status(), Some(404));
}
