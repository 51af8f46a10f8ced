//! The pages' files as a browser gets them; `crates/khub/tests/it/pages.rs` opens them in one.

use crate::world::World;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// The head and the body of the answer to a GET without a token.
fn get(world: &World, path: &str) -> (String, String) {
    let url = world.hub.url();
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn pages_may_load_nothing_from_elsewhere() {
    let world = World::new();
    for path in [
        "/",
        "/assets/khub.js",
        "/assets/parts.js",
        "/assets/calls.js",
        "/assets/device.js",
        "/assets/sign-in.js",
        "/assets/words.js",
        "/assets/structure.js",
        "/assets/khub.css",
    ] {
        let (head, body) = get(&world, path);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let strict = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';";
        assert!(
            head.contains(strict) && head.contains("nosniff"),
            "{path}: {head}"
        );
        assert!(!body.contains("://"), "{path} names a host");
    }
    let (head, _) = get(&world, "/assets/viewer.html");
    assert!(
        head.contains("content-security-policy: sandbox allow-scripts; default-src 'none';"),
        "{head}"
    );
    assert!(
        !head.contains("connect-src") && !head.contains("allow-same-origin"),
        "{head}"
    );
}

#[test]
fn of_the_assets_folder_mol_star_is_served_and_nothing_else() {
    let world = World::new();
    let folder = world.folder.path().join("assets/molstar");
    let (head, body) = get(&world, "/assets/molstar/molstar.js");
    assert!(
        head.starts_with("HTTP/1.1 404") && body.contains("dev/molstar"),
        "{head} {body}"
    );
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["molstar.js", "other.js"] {
        std::fs::write(folder.join(name), "let it = 1;").unwrap();
    }
    let (head, body) = get(&world, "/assets/molstar/molstar.js");
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("let it = 1;"),
        "{head} {body}"
    );
    for path in [
        "other.js",
        "..%2F..%2Fseal.key",
        "%2Fetc%2Fpasswd",
        "../molstar/molstar.js",
    ] {
        let (head, _) = get(&world, &format!("/assets/molstar/{path}"));
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
    }
}
