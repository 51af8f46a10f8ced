//! `khub simulate` from outside.

use crate::errors::Terminal;
use insta::assert_snapshot;
use serde_json::Value;

const SITES: &str =
    "[[site]]\nname = 'a'\ngpus = 4\nprice = 3600\n[[site]]\nname = 'b'\ngpus = 4\nowner = 'x'\n";

/// Two groups: one asks for everything at once, the other for a little now and then.
fn trace() -> String {
    let job = |number: u64, submitted: u64, ran: u64, gpus: u32, group: u32| {
        format!("{number} {submitted} -1 {ran} {gpus} -1 -1 {gpus} -1 -1 1 {group} {group} -1 -1 -1 -1 -1\n")
    };
    let many = (0..40).map(|i| job(i, i, 20_000 + 500 * i, 1 + (i % 4) as u32, 1));
    let few = (0..20).map(|i| job(100 + i, 1_000 + 3_000 * i, 300, 1, 2));
    many.chain(few).collect()
}

#[test]
fn policies_are_compared_on_the_same_workload() {
    let mut terminal = Terminal::new();
    terminal.write("sites.toml", SITES);
    terminal.write("jobs.swf", trace());
    terminal.run("khub simulate --trace jobs.swf --sites sites.toml --plot waits.svg");
    assert_snapshot!("simulate", terminal.shown);
    assert!(
        std::fs::read_to_string(terminal.path("waits.svg"))
            .unwrap()
            .ends_with("</svg>\n")
    );
    let json = terminal.output("khub simulate --trace jobs.swf --sites sites.toml --policy fair --json");
    let json: Value = serde_json::from_str(&json[json.find('{').unwrap()..]).unwrap();
    for field in [
        "mean_wait_s",
        "p95_wait_s",
        "mean_slowdown",
        "utilisation",
        "jain_by_group",
        "makespan_s",
        "cost_krw",
    ] {
        assert!(json[field].is_number(), "{field}: {json}");
    }
}

#[test]
fn what_cannot_be_replayed() {
    let mut terminal = Terminal::new();
    terminal.write("sites.toml", SITES);
    terminal.write("jobs.swf", trace());
    terminal.write("bad.swf", "; one\n1 2 3\n");
    terminal.write("huge.swf", "1 0 -1 10 64 -1 -1 64 -1 -1 1 1 1 -1 -1 -1 -1 -1\n");
    terminal.write("empty.swf", "; nothing\n");
    terminal.write("typo.toml", "[[site]]\nname = 'a'\ngpu = 4\n");
    for (trace, sites) in [
        ("bad.swf", "sites.toml"),
        ("huge.swf", "sites.toml"),
        ("empty.swf", "sites.toml"),
        ("gone.swf", "sites.toml"),
        ("proteins", "sites.toml"),
        ("jobs.swf", "typo.toml"),
    ] {
        terminal.run(&format!("khub simulate --trace {trace} --sites {sites}"));
    }
    terminal.run("khub simulate --help");
    assert_snapshot!("simulate_errors", terminal.shown);
}
