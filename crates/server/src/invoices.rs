//! Invoices: the business of a site's owner and of whoever may audit. To everyone else they aren't there, and an owner
//! isn't told which award pays.

use crate::extract::{Answer, Ask, At, Bearer, Json, Key};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Part, fits};
use api::{Done, InvoiceCorrection, InvoiceLine, InvoiceSheet, InvoiceView, Problem, WhichInvoices};
use axum::extract::State;
use consortium::{
    Actor, AwardId, Command, FlopSeconds, Invoice, InvoiceCommand, InvoiceId, JobId, Month, SiteId,
    State as Consortium, Time, Won,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("invoices")
        .get("/invoices", "What is owed for sites, by site and month", invoices)
        .get("/invoices/{month}/{site}", "An invoice", invoice)
        .post(
            "/invoices/{month}/{site}/issue",
            "Fix an invoice whose month is over",
            issue,
        )
        .of_invoice(
            "/invoices/{month}/{site}/bill",
            "Hand in the site's own bill, or another one while they differ",
            InvoiceCommand::Bill,
        )
        .of_invoice(
            "/invoices/{month}/{site}/corrections",
            "Decide on a bill that differs: what is corrected on the next invoice, by job, and why",
            |(corrections, ground): (BTreeMap<JobId, Won>, String)| InvoiceCommand::Resolve {
                corrections,
                ground,
            },
        )
        .of_invoice(
            "/invoices/{month}/{site}/payments",
            "Note a payment: so much, or null for all that is left, and the bank's reference",
            |(won, reference)| InvoiceCommand::Pay { won, reference },
        )
}

impl Routes {
    /// A POST to an invoice that is one command of the rules, made from the body.
    fn of_invoice<T: DeserializeOwned + JsonSchema + Send + 'static>(
        self,
        path: &'static str,
        summary: &'static str,
        make: impl Fn(T) -> InvoiceCommand + Clone + Send + Sync + 'static,
    ) -> Self {
        self.command_at(path, summary, move |at, body| {
            Command::Invoice(number(at), make(body))
        })
    }
}

async fn issue(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    At(at): At<(Month, SiteId)>,
) -> Answer<Done> {
    let command = Command::Invoice(number(at), InvoiceCommand::Issue);
    shared.carry_out(bearer.actor, key, command).await
}

async fn invoices(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<InvoiceId>>,
    Ask(which): Ask<WhichInvoices>,
) -> Answer<Vec<InvoiceView>> {
    let state = shared.read()?;
    let mut seen = BTreeMap::new();
    let mut sees = |id: &InvoiceId| match state.sites.get(&id.site) {
        Some(site) => *seen
            .entry(&site.id)
            .or_insert_with(|| state.sees_invoices(&bearer.actor, site)),
        None => false,
    };
    let wanted = state.invoices.values().filter(|invoice| {
        fits(which.site.as_ref(), &invoice.id.site)
            && fits(which.month.as_ref(), &invoice.id.month)
            && sees(&invoice.id)
            && which.state.is_none_or(|it| it == invoice.state(&state))
    });
    let views = part.of(wanted, |invoice| &invoice.id);
    let now = shared.now();
    Ok(Json(
        views
            .filter_map(|invoice| view(&state, &bearer.actor, invoice, now))
            .collect(),
    ))
}

async fn invoice(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(at): At<(Month, SiteId)>,
) -> Answer<InvoiceSheet> {
    let state = shared.read()?;
    let id = number(at);
    let site = state.sites.get(&id.site);
    let sees = site.is_some_and(|site| state.sees_invoices(&bearer.actor, site));
    let known = state.invoices.get(&id).filter(|_| sees);
    let found = known.and_then(|invoice| sheet(&state, &bearer.actor, invoice, shared.now()));
    // In the very words of the rules, which say the same of what isn't there.
    let missing = || {
        Problem::new(404, "not-found", format!("there is no invoice {id}"))
            .hint("`khub invoices list` has them; nothing was settled in other months")
    };
    Ok(Json(found.ok_or_else(missing)?))
}

fn view(state: &Consortium, actor: &Actor, invoice: &Invoice, now: Time) -> Option<InvoiceView> {
    let lines = invoice.lines.values().flatten();
    Some(InvoiceView {
        id: invoice.id.clone(),
        owner: state.sites.get(&invoice.id.site)?.owner.clone(),
        state: invoice.state(state),
        issued: invoice.issued.clone(),
        compute: lines.fold(FlopSeconds(0), |sum, line| sum + line.compute),
        settled: invoice.settled(),
        corrected: invoice.corrected(),
        total: invoice.total(),
        unpaid: invoice.unpaid(),
        step: state.next_step_of_invoice(invoice, actor, now),
    })
}

fn sheet(state: &Consortium, actor: &Actor, invoice: &Invoice, now: Time) -> Option<InvoiceSheet> {
    let audits = crate::views::audits(state, actor);
    let told = |award: &AwardId| audits.then(|| award.clone());
    let lines = invoice.lines.iter();
    let lines = lines.flat_map(|(job, lines)| lines.iter().map(move |line| (*job, line)));
    let lines = lines.map(|(job, line)| InvoiceLine {
        job,
        project: line.project.clone(),
        award: told(&line.award),
        price: line.price,
        of: line.of,
        compute: line.compute,
        won: line.won,
    });
    let corrections = invoice.corrections.iter().map(|it| InvoiceCorrection {
        invoice: it.invoice.clone(),
        job: it.job,
        award: told(&it.award),
        won: it.won,
        ground: it.ground.clone(),
    });
    Some(InvoiceSheet {
        invoice: view(state, actor, invoice, now)?,
        lines: lines.collect(),
        corrections: corrections.collect(),
        bill: invoice.bill.clone(),
        differences: invoice.differences(state),
        resolved: invoice.resolved.clone(),
        payments: invoice.payments.clone(),
    })
}

fn number((month, site): (Month, SiteId)) -> InvoiceId {
    InvoiceId { site, month }
}
