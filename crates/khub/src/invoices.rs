//! `khub invoices`: what is owed for sites, month by month, compared with their owners' bills, corrected and paid.

mod bill;
mod sheet;

use crate::artifact::word;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::{Client, InvoiceSheet, InvoiceView, WhichInvoices};
use consortium::{InvoiceId, InvoiceState, InvoiceStep, JobId, Month, SiteId, Won};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Look at what is owed for sites by month, issue it, bill, correct and pay.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Draft(Draft),
    Issue(Issue),
    Bill(HandIn),
    Correct(Correct),
    Pay(Pay),
}

/// List the invoices of your organisation's sites, or all for the office and auditors.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub invoices list\n  khub invoices list --month 2021-09 --state disputed --as office\n  \
    khub invoices list --site hangang-1 --json"
)]
struct List {
    /// Only those of one site.
    #[arg(long)]
    site: Option<SiteId>,
    /// Only those of one month, as 2021-09.
    #[arg(long)]
    month: Option<Month>,
    /// Only those that are so far: draft, issued, agreed, disputed, resolved or paid.
    #[arg(long, value_parser = word::<InvoiceState>)]
    state: Option<InvoiceState>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Print an invoice: its jobs and corrections, the site's bill, where that differs, and payments.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub invoices show 2021-09/hangang-1\n  khub invoices show 2021-09/hangang-1 --format csv > invoice.csv"
)]
struct Show {
    /// Which: MONTH/SITE.
    invoice: InvoiceId,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    connect: Connect,
}

/// Print what is owed for a site so far: its first invoice that isn't issued.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub invoices draft hangang-1")]
struct Draft {
    /// Which site.
    site: SiteId,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    connect: Connect,
}

/// As what an invoice is printed.
#[derive(clap::Args)]
struct How {
    /// As what?
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// As JSON.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    /// A row for each line and each correction
    Csv,
}

/// Fix an invoice once its month is over. What is told later, and what is corrected, goes on the next.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub invoices issue 2021-09/hangang-1 --as office")]
struct Issue {
    /// Which: MONTH/SITE.
    invoice: InvoiceId,
    #[command(flatten)]
    connect: Connect,
}

/// Hand in a site's own bill, and say where it differs.
///
/// The file is CSV with the columns job or project, won, and pflop_hours if the bill tells it. A line for a project is
/// for all of its jobs that have none of their own. While the two differ another bill may take its place.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub invoices bill --example > bill.csv\n  khub invoices bill 2021-09/hangang-1 bill.csv"
)]
struct HandIn {
    /// For which invoice: MONTH/SITE.
    #[arg(required_unless_present = "example")]
    invoice: Option<InvoiceId>,
    /// The file, in UTF-8.
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print an example of such a file, and do nothing.
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Decide on a bill that differs. What is corrected goes on the site's next invoice.
///
/// Of what differs the site may be granted all, a part or nothing. Jobs that aren't named stay as they are.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub invoices correct 2021-09/hangang-1 --job job-7=-200 --ground 'minutes of 12 October' --as office\n  \
    khub invoices correct 2021-09/hangang-1 --ground 'the meter is right: minutes of 12 October' --as office"
)]
struct Correct {
    /// Which: MONTH/SITE.
    invoice: InvoiceId,
    /// So many won more for a job, or less, as JOB=WON; may be given several times.
    #[arg(long = "job", value_name = "PART", value_parser = part)]
    jobs: Vec<(JobId, Won)>,
    /// Why; the site's owner reads it.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// Note that a site's owner was paid. khub itself moves no money at a bank.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub invoices pay 2021-09/hangang-1 --reference 'transfer 20211012-3' --as office\n  \
    khub invoices pay 2021-09/hangang-1 --won 500000 --reference 'transfer 20211012-3' --as office"
)]
struct Pay {
    /// Which: MONTH/SITE.
    invoice: InvoiceId,
    /// So much; else all that is left.
    #[arg(long)]
    won: Option<i64>,
    /// The bank's reference, or what else it rests on.
    #[arg(long)]
    reference: String,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => args.how.print(&args.connect.client()?.invoice(&args.invoice)?),
        Command::Draft(args) => draft(args),
        Command::Issue(args) => {
            let client = args.connect.client()?;
            client.issue_invoice(&args.invoice)?;
            tell(&client, &args.invoice)
        }
        Command::Bill(args) => hand_in(args),
        Command::Correct(args) => correct(args),
        Command::Pay(args) => {
            let client = args.connect.client()?;
            client.pay_invoice(&args.invoice, args.won.map(Won), &args.reference)?;
            tell(&client, &args.invoice)
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let invoices = args.connect.client()?.invoices(&WhichInvoices {
        site: args.site.clone(),
        month: args.month,
        state: args.state,
    })?;
    let row = |view: &InvoiceView| {
        vec![
            view.id.to_string(),
            view.owner.to_string(),
            view.state.to_string(),
            view.settled.0.to_string(),
            view.corrected.0.to_string(),
            view.total.0.to_string(),
            view.unpaid.0.to_string(),
            view.step.to_string(),
        ]
    };
    let head = [
        "invoice",
        "owner",
        "state",
        "settled",
        "corrected",
        "total",
        "not paid",
        "next",
    ];
    show::told(&invoices, args.json, |all| {
        show::table(&head, &all.iter().map(row).collect::<Vec<_>>())
    })
}

fn draft(args: &Draft) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let drafts = client.invoices(&WhichInvoices {
        site: Some(args.site.clone()),
        state: Some(InvoiceState::Draft),
        month: None,
    })?;
    let none = || {
        Failure::new(format_args!(
            "there is no draft of an invoice for site {}",
            args.site
        ))
        .hint("`khub invoices list` has those that you may see; one begins when something is settled")
    };
    let first = drafts.first().ok_or_else(none)?;
    args.how.print(&client.invoice(&first.id)?)
}

fn hand_in(args: &HandIn) -> Result<(), Failure> {
    let (Some(invoice), Some(file)) = (&args.invoice, &args.file) else {
        show::print(bill::EXAMPLE);
        return Ok(());
    };
    let text = std::fs::read(file).map_err(|e| Failure::unread(file, &e))?;
    let hint = "compare it with one that works, as `khub invoices bill --example` prints it";
    let bill = bill::read(&text).map_err(|why| Failure::file(file, why).hint(hint))?;
    let client = args.connect.client()?;
    client.bill(invoice, &bill)?;
    show::print(&sheet::in_words(&client.invoice(invoice)?));
    Ok(())
}

fn correct(args: &Correct) -> Result<(), Failure> {
    let mut corrections = BTreeMap::new();
    for (job, won) in &args.jobs {
        if corrections.insert(*job, *won).is_some() {
            return Err(Failure::new(format_args!("--job names {job} twice")).hint("name each job once"));
        }
    }
    let client = args.connect.client()?;
    client.correct_invoice(&args.invoice, &corrections, &args.ground)?;
    tell(&client, &args.invoice)
}

/// A job's correction on the command line: `job-7=-200`.
fn part(text: &str) -> Result<(JobId, Won), String> {
    let wanted = || format!("{text:?} is no correction; write it as job-7=-200, in won");
    let (job, won) = text.split_once('=').ok_or_else(wanted)?;
    let job = job.parse().map_err(|_| wanted())?;
    let won = won.replace('_', "").parse().map_err(|_| wanted())?;
    Ok((job, Won(won)))
}

impl How {
    fn print(&self, invoice: &InvoiceSheet) -> Result<(), Failure> {
        show::told(
            invoice,
            self.json,
            match self.format {
                Format::Table => sheet::in_words,
                Format::Csv => sheet::csv,
            },
        )
    }
}

/// How the invoice stands now.
fn tell(client: &Client, id: &InvoiceId) -> Result<(), Failure> {
    let view = client.invoice(id)?.invoice;
    show::print(&format!(
        "{id} is {}: {}, {} not paid\n{}",
        view.state,
        view.total,
        view.unpaid,
        next(&view)
    ));
    Ok(())
}

fn next(view: &InvoiceView) -> String {
    let command = command(view).map(|command| format!(": {command}"));
    format!("next: {}{}\n", view.step, command.unwrap_or_default())
}

/// How what comes next is done; none if there is nothing to do but wait.
pub(crate) fn command(view: &InvoiceView) -> Option<String> {
    let id = &view.id;
    match view.step {
        InvoiceStep::Issue => Some(format!("khub invoices issue {id}")),
        InvoiceStep::Bill => Some(format!("khub invoices bill {id} FILE")),
        InvoiceStep::Correct => Some(format!("khub invoices correct {id} --job JOB=WON --ground WHY")),
        InvoiceStep::Pay { most } => Some(format!(
            "khub invoices pay {id} --won {} --reference REFERENCE",
            most.0
        )),
        InvoiceStep::AwaitEnd { .. }
        | InvoiceStep::AwaitEarlier
        | InvoiceStep::AwaitIssue
        | InvoiceStep::AwaitDecision
        | InvoiceStep::AwaitPayment
        | InvoiceStep::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_read_as_they_are_meant() {
        assert_eq!(part("job-7=-2_000"), Ok((JobId(7), Won(-2_000))));
        for bad in ["job-7", "job-7=", "7=1", "job-7=1.5", "=", ""] {
            let why = part(bad).unwrap_err();
            assert!(why.contains("job-7=-200"), "{why}");
        }
    }
}
