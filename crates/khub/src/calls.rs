//! `khub calls`: invitations to propose projects.

use crate::artifact::word;
use crate::budget;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::form::Form;
use crate::show;
use api::CallView;
use consortium::{Call, CallId, Day, Label, Programme};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Look at calls for proposals, and open them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Open(Open),
    Prolong(Prolong),
}

/// List the calls that you may read.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub calls list\n  khub calls list --programme language --json")]
struct List {
    /// Only those of one programme: language, folding, speech, flight or worlds.
    #[arg(long, value_parser = word::<Programme>)]
    programme: Option<Programme>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Print a call: what is wanted, until when, and what may be awarded.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub calls show language-2026")]
struct Show {
    /// Which.
    call: CallId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Open a call from a file.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub calls open --example > call.toml\n  khub calls open call.toml --as office"
)]
struct Open {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    connect: Connect,
}

/// Let a call close on another day. Nothing of it may have been judged yet.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub calls prolong language-2026 --until 2026-03-13 --as office")]
struct Prolong {
    /// Which.
    call: CallId,
    /// The last day, in Korea.
    #[arg(long, value_name = "DAY")]
    until: Day,
    #[command(flatten)]
    connect: Connect,
}

const EXAMPLE: &str = include_str!("../call.toml");

/// A call as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: CallId,
    programme: Programme,
    title: String,
    title_ko: String,
    text: String,
    label: Label,
    opens: String,
    closes: String,
    reviews: u32,
    #[serde(default)]
    budget: BTreeMap<String, budget::Part>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => {
            let view = args.connect.client()?.call(&args.call)?;
            show::told(&view, args.json, in_words)
        }
        Command::Open(args) => open(args),
        Command::Prolong(args) => {
            let client = args.connect.client()?;
            client.prolong(&args.call, args.until.ends())?;
            show::print(&format!("{} takes proposals until {}\n", args.call, args.until));
            Ok(())
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let calls = args.connect.client()?.calls(args.programme)?;
    let row = |view: &CallView| {
        let call = &view.call;
        vec![
            call.id.to_string(),
            call.title.clone(),
            call.programme.to_string(),
            call.label.to_string(),
            budget::day(call.opens),
            budget::day(call.closes),
            budget::both(budget::whole(&call.budget)),
            next(view),
        ]
    };
    let head = [
        "call",
        "title",
        "programme",
        "label",
        "opens",
        "closes",
        "budget",
        "next",
    ];
    show::told(&calls, args.json, |all| {
        show::table(&head, &all.iter().map(row).collect::<Vec<_>>())
    })
}

fn open(args: &Open) -> Result<(), Failure> {
    let Some(call) = args.form.filled(EXAMPLE, read)? else {
        return Ok(());
    };
    let client = args.connect.client()?;
    client.open_call(&call)?;
    show::print(&in_words(&client.call(&call.id)?));
    Ok(())
}

fn read(text: &str) -> Result<Call, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let day = |field: &str, text: &str| -> Result<Day, String> {
        text.parse().map_err(|why| format!("{field}: {why}"))
    };
    Ok(Call {
        opens: day("opens", &file.opens)?.begins(),
        closes: day("closes", &file.closes)?.ends(),
        id: file.id,
        programme: file.programme,
        title: file.title,
        title_ko: file.title_ko,
        text: file.text.trim().to_owned(),
        label: file.label,
        reviews: file.reviews,
        budget: budget::of_parts(file.budget)?,
    })
}

/// What whoever looks at it can do now.
fn next(view: &CallView) -> String {
    match (view.is_open, view.may_propose) {
        (true, true) => format!("propose until {}", budget::day(view.call.closes)),
        (true, false) => "open, for domestic members".to_owned(),
        (false, _) => "takes no proposals now".to_owned(),
    }
}

fn in_words(view: &CallView) -> String {
    let call = &view.call;
    let budgets = match &view.left {
        Some(left) => budget::table(&[("budget", &call.budget), ("not awarded", left)]),
        None => budget::table(&[("budget", &call.budget)]),
    };
    let propose = match (view.is_open, view.may_propose) {
        (true, true) => {
            "\nnext: khub proposals propose --example > proposal.toml, then khub proposals propose proposal.toml\n"
        }
        _ => "",
    };
    format!(
        "{}: {} ({})\nprogramme {}, {}, {} to {}; {} reviews a proposal\n{}\n\n{}\n\n{budgets}{propose}",
        call.id,
        call.title,
        call.title_ko,
        call.programme,
        call.label,
        budget::day(call.opens),
        budget::day(call.closes),
        call.reviews,
        next(view),
        call.text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_call_and_what_is_wrong_is_told() {
        let call = read(EXAMPLE).unwrap();
        assert_eq!(
            (budget::day(call.opens), budget::day(call.closes)),
            ("2026-01-05".into(), "2026-02-27".into())
        );
        assert_eq!(call.budget[&2027], budget::amount(300_000_000, 150));
        for (old, new, told) in [
            ("2026-01-05", "5 January", "opens: \"5 January\" is no day"),
            ("[budget.2027]", "[budget.next]", "\"next\" is no year"),
            ("reviews =", "readers =", "unknown field `readers`"),
            ("\"open\"", "\"public\"", "unknown variant `public`"),
        ] {
            let why = read(&EXAMPLE.replace(old, new)).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
