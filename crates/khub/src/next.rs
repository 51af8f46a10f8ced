//! `khub next`: what waits for the asker.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::{awards, invoices, money, proposals, show};
use api::{Client, WhichInvoices, WhichProposals};
use consortium::FiscalYear;
use serde::Serialize;
use std::collections::BTreeSet;

/// Say what waits for you: proposals to revise, to review or to judge, conflicts to declare, appeals, invoices to issue, to
/// bill, to decide on or to pay, money of a fiscal year that is over, each with its command.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub next\n  khub next --as office --json | jq -r '.[].command'")]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// One thing to do.
#[derive(Serialize)]
struct Task {
    /// A proposal's name, an award's or an invoice's; a fiscal year.
    what: String,
    /// What is to be done with it.
    next: String,
    /// How.
    command: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let reviews = client.reviews()?;
    let to_review: BTreeSet<_> = reviews.iter().map(|view| &view.proposal).collect();
    let proposals = client.proposals(&WhichProposals::default())?;
    let others = proposals
        .iter()
        .filter(|view| !to_review.contains(&view.proposal.id));
    let steps = others.map(|view| (&view.proposal.id, &view.step));
    let steps = steps.chain(reviews.iter().map(|view| (&view.proposal, &view.step)));
    let of_proposals = steps.filter(|(_, step)| step.is_to_do()).map(|(id, step)| Task {
        what: id.to_string(),
        next: step.to_string(),
        command: proposals::command(id, step).unwrap_or_default(),
    });
    let awards = client.awards(None)?;
    let of_awards = awards
        .iter()
        .filter(|view| view.step.is_to_do())
        .map(|view| Task {
            what: view.award.id.to_string(),
            next: view.step.to_string(),
            command: awards::command(view).unwrap_or_default(),
        });
    let invoices = client.invoices(&WhichInvoices::default())?;
    let of_invoices = invoices
        .iter()
        .filter(|view| view.step.is_to_do())
        .map(|view| Task {
            what: view.id.to_string(),
            next: view.step.to_string(),
            command: invoices::command(view).unwrap_or_default(),
        });
    let of_money = of_money(&client)?;
    let tasks: Vec<Task> = of_proposals
        .chain(of_awards)
        .chain(of_invoices)
        .chain(of_money)
        .collect();
    show::told(&tasks, args.json, |tasks| {
        if tasks.is_empty() {
            return "nothing waits for you\n".to_owned();
        }
        let row = |task: &Task| vec![task.what.clone(), task.next.clone(), task.command.clone()];
        show::table(
            &["what", "next", "command"],
            &tasks.iter().map(row).collect::<Vec<_>>(),
        )
    })
}

/// What is left of fiscal years that are over; nothing for whom that doesn't concern.
fn of_money(client: &Client) -> Result<Vec<Task>, Failure> {
    let money = match client.money() {
        Err(refused) if refused.status() == Some(403) => return Ok(Vec::new()),
        money => money?,
    };
    let due = money.years.iter().filter(|year| year.is_due(money.this));
    let task = |year: &FiscalYear| Task {
        what: format!("fiscal year {}", money::name(year.year)),
        next: format!("is over: carry over {} or give it back", year.left),
        command: money::command(year, money.this),
    };
    Ok(due.map(task).collect())
}
