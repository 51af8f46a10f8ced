//! `khub data`: data sets that are here, not here or not whole, and text that becomes tokens.

use crate::errors::Terminal;
use insta::assert_snapshot;
use serde_json::Value;
use std::fs;

#[test]
fn its_pages_read_as_they_were_written() {
    let mut terminal = Terminal::new();
    for command in ["", "list ", "get ", "verify ", "prepare "] {
        terminal.run(&format!("khub data {command}--help"));
    }
    assert_snapshot!("data_help", terminal.shown);
}

#[test]
fn data_sets_that_are_not_here() {
    let mut terminal = Terminal::new();
    terminal.run("khub data list");
    // The port of the discard service, which nobody runs any more.
    terminal.run("KHUB_NSMC_URL=http://127.0.0.1:9 khub data get nsmc");
    terminal.run("khub data get proteins");
    terminal.run("khub data get prtoeins");
    terminal.run("khub data verify");
    terminal.run("khub data verify traces");
    assert_snapshot!("data_nowhere", terminal.shown);
}

#[test]
fn data_sets_that_are_not_whole() {
    let mut terminal = Terminal::new();
    terminal.write("data/nsmc/train.tsv", "10\t좋다\n");
    terminal.write("data/nsmc/ratings_test.txt", "");
    terminal.write("data/traces/philly-seed0.swf", vec![b'7'; 911_232]);
    terminal.write("data/traces/notes/more.swf", "");
    terminal.write("data/traces/.hidden", "");
    terminal.run("KHUB_DATA=data khub data list");
    terminal.run("KHUB_DATA=data khub data verify");
    terminal.run("KHUB_DATA=data khub data verify nsmc --json");
    terminal.run("KHUB_DATA=data khub data get traces --to copy");
    terminal.run("KHUB_DATA=data khub data get traces --json");
    assert_snapshot!("data_damaged", terminal.shown);
    assert!(!terminal.path("copy").exists());
}

/// Reviews as JSON lines, no two the same.
fn reviews(count: usize) -> String {
    let words = ["영화가", "재밌다", "정말", "별로", "good", "최고의", "시간이"];
    let review = |i: usize| {
        let words: Vec<&str> = (0..5).map(|k| words[(i / 7usize.pow(k) + i) % 7]).collect();
        format!("{{\"id\":{i},\"document\":\"{i}번째 {}\"}}\n", words.join(" "))
    };
    (0..count).map(review).collect()
}

#[test]
fn text_is_prepared_once() {
    let terminal = Terminal::new();
    terminal.write("reviews.jsonl", reviews(600));
    let prepare = |options: &str| -> Value {
        let output = terminal.output(&format!(
            "khub data prepare reviews.jsonl -o out --json {options}"
        ));
        let json = output.strip_prefix("exit code 0\n---- standard output\n");
        serde_json::from_str(json.unwrap_or_else(|| panic!("{output}"))).unwrap()
    };
    let first = prepare("--vocab 300");
    assert_eq!((&first["already"], &first["vocab"]), (&false.into(), &300.into()));
    let of = |part: &str, name: &str| first[part][name].as_f64().unwrap();
    assert_eq!(of("train", "documents") + of("valid", "documents"), 600.0);
    assert_eq!(
        of("valid", "bytes") / of("valid", "tokens"),
        of("valid", "bytes_per_token")
    );
    let file = |name: &str| fs::read(terminal.path(name)).unwrap();
    let (tokens, note) = (file("out/train.tokens"), file("out/prepared.json"));
    let count = u64::from_le_bytes(tokens[24..32].try_into().unwrap());
    assert_eq!(count as f64, of("train", "tokens"));

    let changes = [
        ("--vocab 300", true),
        ("--vocab 299", false),
        ("--vocab 300 --train-bytes 9000", false),
        ("--vocab 300 --text-field id", false),
    ];
    for (options, already) in &changes[..3] {
        assert_eq!(prepare(options)["already"], *already, "{options}");
    }
    let refused = terminal.output(&format!("khub data prepare reviews.jsonl {}", changes[3].0));
    assert!(
        refused.contains("a number was found where the text belongs"),
        "{refused}"
    );

    // Files that were changed behind its back are made anew, and of the same bytes.
    prepare("--vocab 300");
    terminal.write("out/train.tokens", &tokens[..tokens.len() - 2]);
    assert_eq!(prepare("--vocab 300")["already"], false);
    assert!(file("out/train.tokens") == tokens && file("out/prepared.json") == note);
}

#[test]
fn text_that_cannot_be_prepared() {
    let mut terminal = Terminal::new();
    terminal.write("good.jsonl", reviews(400));
    terminal.write("cut.jsonl", reviews(400).trim_end_matches("\"}\n"));
    terminal.write("list.json", format!("[{}]", reviews(1).trim_end()));
    terminal.write("fields.jsonl", reviews(2) + "{\"body\": \"good\"}\n");
    terminal.write("noise.parquet", [0xA7; 500]);
    terminal.run("khub data prepare good.jsonl -o out --vocab 400");
    terminal.run("khub data prepare good.jsonl -o out --vocab 400");
    for data in [
        "missing.jsonl",
        "cut.jsonl",
        "list.json",
        "fields.jsonl",
        "noise.parquet",
    ] {
        terminal.run(&format!("khub data prepare {data}"));
    }
    terminal.run("khub data prepare good.jsonl --text-field text");
    terminal.run("khub data prepare good.jsonl --vocab 5");
    assert_snapshot!("data_prepare", terminal.shown);
}
