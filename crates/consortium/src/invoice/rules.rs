//! What may be asked about an invoice, and what follows.

use super::{
    Bill, Billed, Correction, Invoice, InvoiceCommand, InvoiceEvent, InvoiceId, InvoiceState, Payment,
};
use crate::call::rules::{somebody, written};
use crate::policy::Resource;
use crate::{Account, Action, Actor, Event, JobId, PersonId, Refusal, State, Time, Transfer, Won};
use std::collections::{BTreeMap, BTreeSet};

const MOST_GROUND: usize = 10_000;
const MOST_LINES: usize = 100_000;
/// Of a line, so that every sum of a bill can be counted.
const MOST_WON: i64 = 10_000_000_000_000;

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    id: &InvoiceId,
    command: &InvoiceCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let invoice = find(state, actor, id)?;
    if let InvoiceCommand::Bill(bill) = command {
        let site = &state.sites[&id.site]; // it was found
        state.permit(actor, Action::Bill, &Resource::Site(site))?;
        let (by, _) = somebody(state, actor)?;
        return take_bill(state, invoice, bill, by);
    }
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    match command {
        InvoiceCommand::Resolve { corrections, ground } => resolve(state, invoice, corrections, ground),
        InvoiceCommand::Pay { won, reference } => {
            let (by, _) = somebody(state, actor)?;
            pay(state, invoice, *won, reference, by, now)
        }
        _ => issue(state, invoice, now),
    }
}

/// To whoever may not know of it, it isn't there.
fn find<'a>(state: &'a State, actor: &Actor, id: &InvoiceId) -> Result<&'a Invoice, Refusal> {
    let missing = || {
        Refusal::not_found("invoice", id)
            .hint("`khub invoices list` has them; nothing was settled in other months")
    };
    let site = state.sites.get(&id.site).ok_or_else(missing)?;
    let invoice = state.invoices.get(id).ok_or_else(missing)?;
    state
        .sees_invoices(actor, site)
        .then_some(invoice)
        .ok_or_else(missing)
}

fn issue(state: &State, invoice: &Invoice, now: Time) -> Result<Vec<Event>, Refusal> {
    let id = &invoice.id;
    if invoice.issued.is_some() {
        return Err(Refusal::conflict(format!("invoice {id} is issued already")));
    }
    if now < id.month.next().begins() {
        return Err(Refusal::conflict(format!("the month of invoice {id} isn't over"))
            .hint(format!("issue it in {}", id.month.next())));
    }
    if let Some(before) = state.first_draft(&id.site).filter(|first| first.id != *id) {
        return Err(Refusal::conflict(format!("invoice {} comes first", before.id))
            .hint(format!("`khub invoices issue {}` before {id}", before.id)));
    }
    let invoice = id.clone();
    Ok(vec![Event::Invoice(InvoiceEvent::Issued { invoice })])
}

fn take_bill(state: &State, invoice: &Invoice, bill: &Bill, by: &PersonId) -> Result<Vec<Event>, Refusal> {
    let id = &invoice.id;
    match invoice.state(state) {
        InvoiceState::Draft => {
            return Err(Refusal::conflict(format!("invoice {id} isn't issued yet"))
                .hint("hand the bill in once the office has issued the invoice"));
        }
        InvoiceState::Issued | InvoiceState::Disputed if invoice.payments.is_empty() => {}
        settled => {
            return Err(Refusal::conflict(format!(
                "invoice {id} is {settled}, and has its bill"
            )));
        }
    }
    if bill.lines.is_empty() || bill.lines.len() > MOST_LINES {
        return Err(
            Refusal::invalid(format!("the bill has {} lines", bill.lines.len()))
                .hint(format!("lines takes 1 to {MOST_LINES}")),
        );
    }
    let mut seen = BTreeSet::new();
    for (n, line) in (1..).zip(&bill.lines) {
        let wrong =
            |field: &str, what: String| Refusal::invalid(format!("line {n} of the bill: {field} {what}"));
        if !(0..=MOST_WON).contains(&line.won.0) {
            return Err(wrong("won", format!("is {}", line.won.0)).hint(format!("won takes 0 to {MOST_WON}")));
        }
        if line.compute.is_some_and(|compute| compute.0 < 0) {
            return Err(wrong("compute", "is below zero".into()).hint("tell what was used, or leave it out"));
        }
        if !seen.insert(&line.of) {
            return Err(
                wrong("of", format!("is {} once more", line.of)).hint("tell each job or project once")
            );
        }
    }
    Ok(vec![Event::Invoice(InvoiceEvent::Billed {
        invoice: id.clone(),
        bill: bill.clone(),
        by: by.clone(),
    })])
}

/// Of each difference the office may grant the site a part, all or nothing.
fn resolve(
    state: &State,
    invoice: &Invoice,
    corrections: &BTreeMap<JobId, Won>,
    ground: &str,
) -> Result<Vec<Event>, Refusal> {
    let id = &invoice.id;
    written("ground", ground, MOST_GROUND)?;
    let found = invoice.state(state);
    if found != InvoiceState::Disputed {
        return Err(Refusal::conflict(format!(
            "invoice {id} is {found}, not disputed"
        )));
    }
    let bill = invoice.bill.as_ref();
    let of_bill = bill.map(Bill::lines_by_what).unwrap_or_default();
    let mut granted: BTreeMap<Billed, i128> = BTreeMap::new();
    let mut made = Vec::new();
    for (job, won) in corrections {
        let lines = invoice.lines.get(job).and_then(|lines| lines.first());
        let line = lines.ok_or_else(|| {
            Refusal::conflict(format!(
                "{job} isn't on invoice {id}, so there is no award to pay for it"
            ))
            .hint("leave it out; what is metered later comes on the next invoice")
        })?;
        *granted.entry(invoice.billed_as(&of_bill, *job)).or_default() += i128::from(won.0);
        made.push(Correction {
            invoice: id.clone(),
            job: *job,
            award: line.award.clone(),
            won: *won,
            ground: ground.to_owned(),
        });
        let settled: Won = invoice.lines[job].iter().map(|line| line.won).sum();
        if won.0 == 0 || won.0 < -settled.0 {
            return Err(
                Refusal::invalid(format!("{job} can't be corrected by {} won", won.0)).hint(format!(
                    "a correction is not 0, and takes at most {} won back",
                    settled.0
                )),
            );
        }
    }
    let differences = invoice.differences(state);
    for (of, won) in granted {
        let differs = differences.iter().find(|difference| difference.of == of);
        let by = differs.map_or(0, |it| i128::from(it.billed.0) - i128::from(it.invoiced.0));
        if !(by.min(0)..=by.max(0)).contains(&won) {
            return Err(Refusal::invalid(format!(
                "the bill differs by {by} won for {of}, and the corrections come to {won}"
            ))
            .hint("correct by a part of what differs, in the same direction"));
        }
    }
    let transfers: Vec<Transfer> = made.iter().map(Correction::transfer).collect();
    let mut events = vec![Event::Invoice(InvoiceEvent::Resolved {
        invoice: id.clone(),
        corrections: made,
        ground: ground.to_owned(),
    })];
    events.extend(transfers.into_iter().map(Event::Posted));
    Ok(events)
}

fn pay(
    state: &State,
    invoice: &Invoice,
    won: Option<Won>,
    reference: &str,
    by: &PersonId,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let id = &invoice.id;
    written("reference", reference, MOST_GROUND)?;
    let found = invoice.state(state);
    if matches!(
        found,
        InvoiceState::Draft | InvoiceState::Disputed | InvoiceState::Paid
    ) {
        return Err(Refusal::conflict(format!("invoice {id} is {found}"))
            .hint("what is paid is issued, not disputed, and not paid already"));
    }
    let unpaid = invoice.unpaid();
    let won = won.unwrap_or(unpaid);
    let earned = Account::Earned(id.site.clone());
    if won <= Won(0) || won > state.payable(invoice) {
        let held = state.ledger.balance(&earned).won;
        return Err(Refusal::conflict(format!(
            "{} won can't be paid on invoice {id}: {} are left of it, and the site has {} to get in all",
            won.0, unpaid.0, held.0
        ))
        .hint("what was taken back since is set off on the next invoice; name a smaller amount"));
    }
    let payment = Payment {
        won,
        at: now,
        by: by.clone(),
        reference: reference.to_owned(),
    };
    let transfer = Transfer::won(earned, Account::PaidOut(id.site.clone()), won);
    let invoice = id.clone();
    Ok(vec![
        Event::Invoice(InvoiceEvent::Paid { invoice, payment }),
        Event::Posted(transfer),
    ])
}
