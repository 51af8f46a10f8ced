//! `khub money`: the ministry's money by fiscal year, and what becomes of what is left when a year is over.

use crate::budget::day;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::MoneyView;
use consortium::{Book, FiscalYear, MoneyCommand, Went, Won, YearEnd};

/// Look at the money of each fiscal year, book more, and decide what becomes of what is left.
///
/// What is awarded for a year is paid from that year's money alone. When the year is over, what nobody was awarded is
/// carried into the year that runs, on some ground, or given back to the ministry.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Appropriate(Appropriate),
    Carry(Carry),
    Return(Return),
}

/// List where the money of each fiscal year is, and what was decided at its end.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub money list --as office\n  khub money list --as office --json")]
struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Book money that the ministry gives for a fiscal year.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub money appropriate 2022 9000000000 --as office")]
struct Appropriate {
    /// For which year.
    year: u16,
    /// How much, in won.
    won: i64,
    #[command(flatten)]
    connect: Connect,
}

/// Carry what is left of a fiscal year that is over into the year that runs.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub money carry 2021 2022 --ground 'approved on 20 January' --as office\n  \
    khub money carry undated 2022 --won 500000 --ground 'letter of 3 March' --as office"
)]
struct Carry {
    /// Of which year; `undated` is what an older khub kept in one pool.
    #[arg(value_parser = year)]
    from: Year,
    /// The year that runs.
    to: u16,
    /// So much; else all that is left.
    #[arg(long)]
    won: Option<i64>,
    /// What that rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// Note that what is left of a fiscal year goes back to the ministry. khub itself moves no money at a bank.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub money return 2021 --as office\n  khub money return 2021 --won 500000 --as office"
)]
struct Return {
    /// Of which year; `undated` is what an older khub kept in one pool.
    #[arg(value_parser = year)]
    from: Year,
    /// So much; else all that is left.
    #[arg(long)]
    won: Option<i64>,
    #[command(flatten)]
    connect: Connect,
}

/// A fiscal year, or none.
#[derive(Debug, Clone, Copy)]
struct Year(Option<u16>);

const UNDATED: &str = "undated";

fn year(text: &str) -> Result<Year, String> {
    if text == UNDATED {
        return Ok(Year(None));
    }
    let wanted = |_| format!("{text:?} is no year; write it as 2021, or `{UNDATED}`");
    text.parse().map(|year| Year(Some(year))).map_err(wanted)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (connect, json) = match &args.command {
        Command::List(args) => (&args.connect, args.json),
        Command::Appropriate(args) => {
            args.connect.client()?.appropriate(args.year, Won(args.won))?;
            (&args.connect, false)
        }
        Command::Carry(args) => {
            let command = MoneyCommand::Carry {
                from: args.from.0,
                to: args.to,
                won: args.won.map(Won),
                ground: args.ground.clone(),
            };
            args.connect.client()?.end_year(&command)?;
            (&args.connect, false)
        }
        Command::Return(args) => {
            let (from, won) = (args.from.0, args.won.map(Won));
            args.connect
                .client()?
                .end_year(&MoneyCommand::Return { from, won })?;
            (&args.connect, false)
        }
    };
    show::told(&connect.client()?.money()?, json, in_words)
}

fn in_words(money: &MoneyView) -> String {
    let mut text = show::table(&HEAD, &rows(&money.years));
    for end in &money.year_ends {
        text.push_str(&decided(end));
    }
    let due = money.years.iter().filter(|year| year.is_due(money.this));
    let due = due.map(|year| format!("{} is over, and {} is left of it\n", name(year.year), year.left));
    text.push_str(&due.collect::<String>());
    text
}

fn decided(end: &YearEnd) -> String {
    let (on, of, won, by) = (day(end.at), name(end.year), end.won, &end.by);
    match &end.went {
        Went::Carried { to, ground } => format!("{on}: {won} of {of} carried into {to} by {by}: {ground}\n"),
        Went::Returned => format!("{on}: {won} of {of} given back by {by}\n"),
    }
}

/// The columns of money by fiscal year, in tables and in CSV.
pub(crate) const HEAD: [&str; 8] = [
    "year",
    "appropriated",
    "carried_in",
    "awarded",
    "spent",
    "carried_out",
    "returned",
    "left",
];

/// Each fiscal year's row under [`HEAD`].
pub(crate) fn rows(years: &[FiscalYear]) -> Vec<Vec<String>> {
    let row = |year: &FiscalYear| {
        let sums = sums(year).map(|won| won.0.to_string());
        [&[name(year.year)][..], &sums[..]].concat()
    };
    years.iter().map(row).collect()
}

/// A fiscal year's sums, in the order of [`HEAD`].
pub(crate) fn sums(year: &FiscalYear) -> [Won; 7] {
    let Book {
        appropriated,
        carried_in,
        awarded,
        carried_out,
        returned,
    } = year.book;
    [
        appropriated,
        carried_in,
        awarded,
        year.spent,
        carried_out,
        returned,
        year.left,
    ]
}

pub(crate) fn name(year: Option<u16>) -> String {
    year.map_or(UNDATED.to_owned(), |year| year.to_string())
}

/// How the office decides about what is left of a year that is over, in the year `this`.
pub(crate) fn command(year: &FiscalYear, this: u16) -> String {
    format!("khub money carry {} {this} --ground TEXT", name(year.year))
}
