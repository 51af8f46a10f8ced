//! `khub train` and what goes on from its results: training, being killed, several workers, judging, export
//! and import, and what is said when something is wrong.

use crate::errors::Terminal;
use insta::assert_snapshot;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const RECIPE: &str = "[model]\npreset = 'tiny'\nwidth = 32\nhidden = 64\n\
    [data]\ntext = 'reviews.txt'\nvocab = 300\nseq = 32\napart = true\n\
    [train]\nbatch = 4\nsteps = 24\nwarmup = 4\n[run]\nevaluate_every = 8\nsave_every = 4\n";

#[test]
fn its_pages_read_as_they_were_written() {
    let mut terminal = Terminal::new();
    for command in ["train", "eval", "generate", "import", "export"] {
        terminal.run(&format!("khub {command} --help"));
    }
    terminal.run("khub train --presets");
    assert_snapshot!("train_help", terminal.shown);
}

#[test]
fn what_is_wrong_is_named() {
    let mut terminal = prepared(RECIPE);
    let files = [
        ("typo.toml", RECIPE.replace("hidden", "hiden")),
        ("kind.toml", RECIPE.replace("steps = 24", "steps = 'many'")),
        ("preset.toml", RECIPE.replace("tiny", "gpt5")),
        (
            "large.toml",
            RECIPE
                .replace("tiny", "gpt3-175b")
                .replace("width = 32\nhidden = 64\n", ""),
        ),
        ("gone.toml", RECIPE.replace("reviews.txt", "gone.txt")),
        (
            "vocab.toml",
            RECIPE.replace("width = 32", "width = 32\nvocab = 100"),
        ),
        ("seq.toml", RECIPE.replace("seq = 32", "seq = 4096")),
    ];
    for (name, text) in &files {
        terminal.write(name, text);
    }
    terminal.write(
        "wild.toml",
        RECIPE.replace("batch = 4", "batch = 4\nlearning_rate = 1e30\nclip = 1e30"),
    );
    terminal.run("khub train missing.toml");
    for (name, _) in &files {
        // How much memory is free is another number on every machine.
        let said = terminal.output(&format!("khub train {name}"));
        let said = said.split(" at least, and ").next().unwrap().to_owned();
        terminal.shown.push_str(&format!("$ khub train {name}\n{said}\n"));
    }
    let said = terminal.output("khub train wild.toml");
    assert!(
        said.contains("the loss became") && said.contains("at step"),
        "{said}"
    );
    assert_snapshot!("train_errors", terminal.shown);
}

#[test]
fn a_killed_run_goes_on_and_comes_to_the_same_model() {
    let terminal = prepared(RECIPE);
    let whole = result(&terminal, "khub train run.toml -o whole --json");
    assert_eq!(
        (whole["steps"].as_u64(), whole["tokens"].as_u64()),
        (Some(24), Some(24 * 4 * 32))
    );
    assert!(whole["last"]["loss"].as_f64() < whole["first"]["loss"].as_f64());
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "report.json",
        "metrics.jsonl",
        "loss.svg",
    ] {
        assert!(terminal.path("whole").join(file).exists(), "{file}");
    }

    let mut killed = start(&terminal, "stopped");
    until_step(&terminal.path("stopped/metrics.jsonl"), 9, &mut killed);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let resumed = result(&terminal, "khub train run.toml -o stopped --json");
    assert_eq!(resumed["last"], whole["last"]);
    let read = |path: &str| fs::read(terminal.path(path)).unwrap();
    assert!(read("whole/model.safetensors") == read("stopped/model.safetensors"));
    let steps = |run: &str| {
        let text = String::from_utf8(read(&format!("{run}/metrics.jsonl"))).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = |line: Value| {
            (
                line["step"].clone(),
                line["loss"].clone(),
                line["valid_loss"].clone(),
            )
        };
        lines.map(told).collect::<Vec<_>>()
    };
    assert_eq!(steps("whole"), steps("stopped"), "every step once");

    terminal.write("run.toml", RECIPE.replace("warmup = 4", "warmup = 5"));
    let said = terminal.output("khub train run.toml -o stopped");
    assert!(
        said.contains("stopped has a run of another training file"),
        "{said}"
    );
}

#[test]
fn workers_train_what_one_trains() {
    let terminal = prepared(RECIPE);
    let one = result(&terminal, "khub train run.toml -o one --json");
    let two = result(&terminal, "khub train run.toml -o two --workers 2 --json");
    let loss = |run: &Value| run["last"]["loss"].as_f64().unwrap();
    assert!((loss(&one) - loss(&two)).abs() < 1e-4, "{one} {two}");
}

#[test]
fn a_model_goes_out_and_comes_back() {
    let recipe = RECIPE.replace("steps = 24", "steps = 8\nprecision = 'bf16'\noptimizer = 'muon'");
    let terminal = prepared(&recipe);
    result(&terminal, "khub train run.toml -o small --json");
    let judged = result(&terminal, "khub eval --model small --text reviews.txt --json");
    assert!(
        judged["bits_per_byte"]
            .as_f64()
            .is_some_and(|bits| bits > 0.5 && bits < 5.0),
        "{judged}"
    );
    let well = |line: &str| {
        let said = terminal.output(line);
        assert!(said.starts_with("exit code 0"), "{said}");
        said
    };
    well("khub export --model small --hf out --licence CC0-1.0");
    assert!(
        fs::read_to_string(terminal.path("out/README.md"))
            .unwrap()
            .contains("cc0-1.0")
    );
    well("khub import out -o back");
    let text = well("khub generate --model small --temperature 0 --tokens 12 a");
    for line in [
        "--model out",
        "--model back",
        "--model small --stream",
        "--model small/model.safetensors",
    ] {
        assert_eq!(
            well(&format!("khub generate {line} --temperature 0 --tokens 12 a")),
            text
        );
    }
    let told = well("khub train run.toml --plan --json");
    assert!(told.contains("\"bytes_of_state\""), "{told}");
}

/// A terminal in a folder with a text and a training file.
fn prepared(recipe: &str) -> Terminal {
    let terminal = Terminal::new();
    let words = ["영화가", "재밌다", "정말", "별로", "good", "최고의", "시간이"];
    let word = |i: usize, k: u32| words[(i / 7usize.pow(k) + i) % 7];
    let line = |i: usize| format!("{i}번째 {} {} {}\n", word(i, 0), word(i, 1), word(i, 2));
    terminal.write("reviews.txt", (0..900).map(line).collect::<String>());
    terminal.write("run.toml", recipe);
    terminal
}

/// What a command prints as JSON when all is well.
fn result(terminal: &Terminal, line: &str) -> Value {
    let said = terminal.output(line);
    let json = said.find('{').map_or("", |start| &said[start..]);
    assert!(said.starts_with("exit code 0"), "{said}");
    serde_json::Deserializer::from_str(json)
        .into_iter()
        .next()
        .unwrap()
        .unwrap()
}

fn start(terminal: &Terminal, folder: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
    command
        .args(["train", "run.toml", "-o", folder])
        .current_dir(terminal.path("."));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until a run has noted a step; yields in between, since a file can't be waited for.
fn until_step(metrics: &Path, step: usize, run: &mut Child) {
    loop {
        let lines = File::open(metrics).map_or(0, |file| BufReader::new(file).lines().count());
        if lines > step {
            return;
        }
        assert!(
            run.try_wait().unwrap().is_none(),
            "the run ended before step {step}"
        );
        std::thread::yield_now();
    }
}
