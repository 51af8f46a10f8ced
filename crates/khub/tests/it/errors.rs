//! What khub says when something is wrong, as the person at the terminal reads it: whole commands, with their
//! exit code and all that they print. Each says what is wrong, where, and what to try.
//!
//! When a message has changed on purpose, `INSTA_UPDATE=always cargo test -p khub --test it errors` writes
//! the snapshots anew. Then read them, as somebody does who meets the message for the first time.

use insta::assert_snapshot;
use language::Tokenizer;
use server::{Hub, HubConfig};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn text_that_nothing_can_be_learnt_from() {
    let mut terminal = Terminal::new();
    terminal.write("empty.txt", "");
    // "영화" as Korean Windows has written it for long.
    terminal.write("cp949.txt", b"one\ntwo\nthree \xBF\xB5\xC8\xAD\n");
    terminal.write("small.txt", "one\ntwo\nthree\n");
    terminal.write("notes/one.md", "one\ntwo\nthree\n");
    for data in ["missing.txt", "empty.txt", "cp949.txt", "small.txt", "notes"] {
        terminal.run(&format!("khub quickstart --data {data}"));
    }
    assert_snapshot!("text", terminal.shown);
}

#[test]
fn a_hub_that_cannot_start() {
    let mut terminal = Terminal::new();
    let someone = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = someone.local_addr().unwrap();
    terminal.run(&format!("khub serve --listen {taken}"));
    let _hub = terminal.hub();
    terminal.run("khub serve");
    assert_snapshot!("serve", terminal.shown);
}

#[test]
fn a_data_folder_that_cannot_be_read() {
    let mut terminal = Terminal::new();
    drop(terminal.hub());
    make_newer(&terminal.path("khub-data/khub.db"));
    terminal.write("noise/khub.db", [0xA7; 5_000]);
    terminal.run("khub serve");
    terminal.run("khub ledger verify");
    terminal.run("khub ledger verify --folder missing");
    terminal.run("khub ledger verify --folder noise");
    assert_snapshot!("folder", terminal.shown);
}

/// Makes a data folder's database one of format 2.
///
/// The format is a row's value. SQLite keeps a table's definition as text, so that text of the same length
/// makes of the value a computed one; a row that is a byte longer would have to move.
fn make_newer(database: &Path) {
    let (stored, computed) = (b"value INTEGER NOT NULL\n", b"v INT,value INT AS (2)\n");
    let mut bytes = fs::read(database).unwrap();
    let at = bytes
        .windows(stored.len())
        .position(|window| window == stored)
        .unwrap();
    bytes[at..at + stored.len()].copy_from_slice(computed);
    fs::write(database, bytes).unwrap();
}

#[test]
fn a_model_that_cannot_be_read() {
    let mut terminal = Terminal::new();
    let config = language::ModelConfig {
        vocab: 300,
        width: 12,
        layers: 1,
        ..language::ModelConfig::default()
    };
    let model = nn::Model::new(language::Family::new(config).unwrap(), 1);
    let model = language::to_checkpoint(&model);
    model.write(&terminal.path("model.safetensors")).unwrap();
    let whole = fs::read(terminal.path("model.safetensors")).unwrap();
    terminal.write("cut.safetensors", &whole[..whole.len() / 2]);
    let bytes_alone = Tokenizer::learn(&["영화".to_owned()], 257).unwrap();
    bytes_alone.write(&terminal.path("tokenizer.json")).unwrap();
    terminal.run("khub generate --model missing.safetensors");
    terminal.run("khub generate --model cut.safetensors");
    terminal.run("khub generate --model model.safetensors");
    terminal.run("khub generate --model model.safetensors --tokenizer missing.json");
    assert_snapshot!("model", terminal.shown);
}

#[test]
fn no_hub() {
    let mut terminal = Terminal::new();
    terminal.run("khub jobs");
    // The port of the discard service, which nobody runs any more.
    terminal.run("KHUB_HUB=http://127.0.0.1:9 KHUB_TOKEN=khub_mine khub jobs");
    terminal.write("site.token", "khub_mine\n");
    terminal.run("KHUB_HUB=http://127.0.0.1:9 khub site --credential site.token --folder site");
    assert_snapshot!("no_hub", terminal.shown);
}

#[test]
fn somebody_whom_the_hub_does_not_know() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    let hub = format!("KHUB_HUB={}", hub.url());
    terminal.write("forged.token", "khub_forged\n");
    terminal.run(&format!("{hub} KHUB_TOKEN=khub_forged khub jobs"));
    terminal.run(&format!("{hub} khub jobs --as nobody"));
    for credential in ["missing.token", "forged.token", "khub-data/credentials/minji"] {
        terminal.run(&format!(
            "{hub} khub site --credential {credential} --folder site"
        ));
    }
    assert_snapshot!("credentials", terminal.shown);
}

#[test]
fn what_is_not_there_or_not_understood() {
    let mut terminal = Terminal::new();
    let hub = terminal.hub();
    terminal.write("unknown.toml", format!("colour = \"red\"\n{JOB}"));
    terminal.write("type.toml", JOB.replace("sites = 2", "sites = \"two\""));
    terminal.write("syntax.toml", JOB.replace("sites = 2", "sites = "));
    terminal.write("less.toml", JOB.replace("wall_minutes = 10", ""));
    for job in ["missing", "unknown", "type", "syntax", "less"] {
        terminal.run(&format!("khub submit {job}.toml"));
    }
    terminal.run("khub explain job-x");
    terminal.run(&format!("KHUB_HUB={} khub explain job-9", hub.url()));
    terminal.run("khub fetch bad-id -o model.safetensors");
    assert_snapshot!("jobs", terminal.shown);
}

/// A job that would do.
const JOB: &str = r#"name = "tiny"
project = "korean-reviews"
program = "language"
label = "restricted"
sites = 2
wall_minutes = 10
inputs = {}
rounds = { count = 2, samples = 64, quorum = 1, grace_seconds = 20 }
settings = {}
"#;

/// A terminal in an empty folder, and all that it has shown.
pub(crate) struct Terminal {
    folder: TempDir,
    pub(crate) shown: String,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            shown: String::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A hub of the example's consortium on `khub-data`, with everyone's credential there.
    pub(crate) fn hub(&self) -> Hub {
        self.write("consortium.toml", include_str!("../../example.toml"));
        let founded = self.output("khub found consortium.toml");
        assert!(founded.contains("exit code 0"), "{founded}");
        Hub::start(&HubConfig::new(self.path("khub-data"))).unwrap()
    }

    /// Runs a line such as `KHUB_TOKEN=khub_mine khub jobs`, and shows it with what came of it.
    pub(crate) fn run(&mut self, line: &str) {
        let output = self.output(line);
        self.shown.push_str(&portable(&format!("$ {line}\n{output}\n")));
    }

    /// What comes of a line. It is read as a shell does, but that there are no quotes and no variables yet.
    pub(crate) fn output(&self, line: &str) -> String {
        let (variables, arguments) = line.split_once("khub ").unwrap();
        let variables = variables
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", self.folder.path())
            .envs(variables)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let stdout = text(process.0.stdout.take().unwrap());
        let stderr = text(process.0.stderr.take().unwrap());
        let ended = |text: Receiver<String>| text.recv_timeout(PATIENCE).expect("the command ends");
        let (stdout, stderr) = (ended(stdout), ended(stderr));
        let code = process.0.wait().unwrap().code().expect("it ends by itself");
        let mut output = format!("exit code {code}\n");
        for (name, text) in [("standard output", stdout), ("standard error", stderr)] {
            if !text.is_empty() {
                output.push_str(&format!("---- {name}\n{text}"));
            }
        }
        output
    }
}

/// How long a command may take that is to fail at once: a hub that starts after all would go on for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that doesn't outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Mostly it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that comes from `pipe`, as soon as it has ended.
fn text(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        // A test that has lost its patience hears nothing more.
        let _ = sender.send(text);
    });
    receiver
}

/// `text` as every machine and every run shows it: without the numbers of ports and of the system's errors,
/// and without spaces at the ends of lines, which editors take away.
fn portable(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
    let numbered = [("127.0.0.1:", "PORT"), ("(os error ", "NUMBER")];
    numbered.iter().fold(lines.join("\n"), |text, (before, name)| {
        let mut parts = text.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |done, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            done + before + name + rest
        })
    })
}
