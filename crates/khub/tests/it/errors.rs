//! What khub says when something is wrong, as the person at the terminal reads it: whole commands with their
//! exit code and all they print. Each message says what is wrong, where, and what to try.
//!
//! After a message has changed on purpose, `INSTA_UPDATE=always cargo test -p khub` writes the snapshots anew.
//! Then read them: as somebody who sees the message for the first time, and late at night.

use insta::assert_snapshot;
use language::Tokenizer;
use server::{Hub, HubConfig};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn text_that_nothing_can_be_learnt_from() {
    let mut terminal = Terminal::new();
    terminal.write("empty.txt", "");
    terminal.write("cut.txt", b"one\ntwo\nthree \xED\x95\n");
    terminal.write("small.txt", "one\ntwo\nthree\n");
    terminal.write("folder/notes.md", "one\ntwo\nthree\n");
    for data in ["missing.txt", "empty.txt", "cut.txt", "small.txt", "folder"] {
        terminal.khub(&["quickstart", "--data", data]);
    }
    assert_snapshot!("text", terminal.shown);
}

#[test]
fn a_hub_that_cannot_start() {
    let mut terminal = Terminal::new();
    let someone = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = someone.local_addr().unwrap().to_string();
    terminal.khub(&["serve", "--listen", &taken]);
    let _hub = terminal.hub();
    terminal.khub(&["serve"]);
    assert_snapshot!("serve", terminal.shown);
}

#[test]
fn a_data_folder_that_cannot_be_read() {
    let mut terminal = Terminal::new();
    terminal.write("noise/khub.db", [0xA7; 5_000]);
    drop(terminal.hub());
    terminal.make_newer();
    terminal.khub(&["serve"]);
    terminal.khub(&["ledger", "verify"]);
    terminal.khub(&["ledger", "verify", "--folder", "nowhere"]);
    terminal.khub(&["ledger", "verify", "--folder", "noise"]);
    terminal.khub(&["serve", "--folder", "noise"]);
    assert_snapshot!("folder", terminal.shown);
}

#[test]
fn a_model_that_cannot_write() {
    let mut terminal = Terminal::new();
    let texts = vec!["영화가 재밌다".to_owned(); 20];
    let tokenizer = Tokenizer::learn(&texts, 257).unwrap();
    tokenizer.write(&terminal.path("tokenizer.json")).unwrap();
    let config = nn::Config {
        vocab: 300,
        layers: 1,
        ..nn::Config::default()
    };
    let model = nn::Model::new(config, 1).unwrap();
    let path = terminal.path("model.safetensors");
    model.to_checkpoint().write(&path).unwrap();
    let whole = fs::read(path).unwrap();
    terminal.write("cut.safetensors", &whole[..whole.len() / 2]);
    for model in ["missing.safetensors", "cut.safetensors", "model.safetensors"] {
        terminal.khub(&["generate", "--model", model, "영화가"]);
    }
    let other = ["--tokenizer", "missing.json"];
    terminal.khub(&[&["generate", "--model", "model.safetensors"], &other[..]].concat());
    assert_snapshot!("model", terminal.shown);
}

#[test]
fn a_hub_that_is_not_there() {
    let mut terminal = Terminal::new();
    terminal.khub(&["jobs"]);
    // The discard service, which nobody runs any more.
    let nobody = [("KHUB_HUB", "http://127.0.0.1:9"), ("KHUB_TOKEN", "khub_mine")];
    terminal.khub_where(&nobody, &["jobs"]);
    terminal.write("site.token", "khub_mine\n");
    let site = ["site", "--credential", "site.token", "--folder", "site"];
    terminal.khub_where(&nobody[..1], &site);
    assert_snapshot!("no_hub", terminal.shown);
}

#[test]
fn someone_whom_the_hub_does_not_know() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    let (hub, forged) = (("KHUB_HUB", hub.url()), ("KHUB_TOKEN", "khub_forged".to_owned()));
    let (at_hub, as_forger) = ([(hub.0, &*hub.1)], [(hub.0, &*hub.1), (forged.0, &*forged.1)]);
    terminal.khub_where(&as_forger, &["jobs"]);
    terminal.khub_where(&at_hub, &["jobs", "--as", "nobody"]);
    terminal.write("forged.token", "khub_forged\n");
    for credential in ["missing.token", "forged.token", "khub-data/credentials/minji"] {
        let site = ["site", "--credential", credential, "--folder", "site"];
        terminal.khub_where(&at_hub, &site);
    }
    assert_snapshot!("credentials", terminal.shown);
}
