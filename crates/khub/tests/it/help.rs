//! The command line's own pages, as `--help` prints them.

use crate::errors::Terminal;
use insta::assert_snapshot;

#[test]
fn every_page_reads_as_it_was_written() {
    let mut terminal = Terminal::new();
    terminal.run("khub --help");
    for command in ["quickstart", "submit", "explain", "fetch", "site"] {
        terminal.run(&format!("khub {command} --help"));
    }
    assert_snapshot!("help", terminal.shown);
}

#[test]
fn the_pages_of_calls_and_awards() {
    let mut terminal = Terminal::new();
    for command in [
        "next",
        "calls",
        "calls open",
        "proposals",
        "proposals award",
        "reviews",
        "reviews declare",
        "reviews give",
        "awards",
        "awards notice",
    ] {
        terminal.run(&format!("khub {command} --help"));
    }
    assert_snapshot!("help_awards", terminal.shown);
}

#[test]
fn the_pages_of_invoices() {
    let mut terminal = Terminal::new();
    for command in ["", "list", "show", "draft", "issue", "bill", "correct", "pay"] {
        terminal.run(&format!("khub invoices {command} --help"));
    }
    assert_snapshot!("help_invoices", terminal.shown);
}

#[test]
fn the_pages_of_money() {
    let mut terminal = Terminal::new();
    for command in ["", "list", "appropriate", "carry", "return"] {
        terminal.run(&format!("khub money {command} --help"));
    }
    assert_snapshot!("help_money", terminal.shown);
}

#[test]
fn the_pages_of_runs() {
    let mut terminal = Terminal::new();
    for command in ["runs", "runs list", "runs show", "runs compare"] {
        terminal.run(&format!("khub {command} --help"));
    }
    assert_snapshot!("help_runs", terminal.shown);
}

#[test]
fn a_shell_can_complete_commands() {
    let script = Terminal::new().output("khub completion bash");
    assert!(script.starts_with("exit code 0\n"), "{script}");
    assert!(script.contains("quickstart"), "{script}");
}
