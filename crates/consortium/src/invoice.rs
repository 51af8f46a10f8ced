//! What the consortium owes a site's owner for a month: an invoice, made from what was metered, compared with the
//! site's own bill, and paid. Once issued its lines stay as they are; what comes later, and what is corrected, goes
//! on the next one. `invoice/rules.rs` says what may be asked, `invoice/reconcile.rs` where a bill differs,
//! `invoice/step.rs` what comes next.

mod reconcile;
pub(crate) mod rules;
mod step;

pub use reconcile::{Difference, Reason};
pub use step::InvoiceStep;

use crate::id::{as_text, month_pattern, slug_pattern};
use crate::policy::Resource;
use crate::{
    Account, Action, Actor, AwardId, FlopSeconds, JobId, Month, PersonId, Presence, Price, ProjectId, Site,
    SiteId, State, Time, Transfer, Usage, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// An invoice's number: there is one for each month and site. Reads and writes as `2021-09/national-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend(
    "pattern" = concat!("^", month_pattern!(), "/", slug_pattern!(), "$"),
    "examples" = ["2021-09/national-1"]
))]
pub struct InvoiceId {
    /// Whose machines.
    pub site: SiteId,
    /// When it was settled.
    pub month: Month,
}

/// What is owed for a site and a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// Its number.
    pub id: InvoiceId,
    /// What was settled in the month, by job.
    pub lines: BTreeMap<JobId, Vec<Line>>,
    /// What was corrected since the invoice before, in order.
    pub corrections: Vec<Correction>,
    /// When it was issued; a draft without.
    pub issued: Option<Issued>,
    /// The site's own, as it last handed it in.
    pub bill: Option<Bill>,
    /// Why a dispute is over, if there was one and it is.
    pub resolved: Option<String>,
    /// What was paid, in order.
    pub payments: Vec<Payment>,
}

/// What was settled for a job, at one price and for one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Whose job.
    pub project: ProjectId,
    /// What it was paid from.
    pub award: AwardId,
    /// The price that was in force when the job was placed, won per PFLOP-hour.
    pub price: Price,
    /// The month in which the use was over; an earlier one than the invoice's if its reading came late.
    pub of: Month,
    /// Compute.
    pub compute: FlopSeconds,
    /// Money.
    pub won: Won,
}

/// So much more (above zero) or less for a job of an invoice that was issued already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Correction {
    /// The invoice that was disputed.
    pub invoice: InvoiceId,
    /// For which job.
    pub job: JobId,
    /// The award that pays, or gets it back.
    pub award: AwardId,
    /// Money.
    pub won: Won,
    /// Why.
    pub ground: String,
}

/// When an invoice was fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Issued {
    /// The site's first is 1.
    pub serial: u32,
    /// When.
    pub at: Time,
}

/// What a site says that it is owed for a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Each job or project once.
    pub lines: Vec<BillLine>,
}

/// What a site asks for a job, or for all jobs of a project that have no line of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillLine {
    /// For what.
    pub of: Billed,
    /// Money.
    pub won: Won,
    /// Compute, if the site says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<FlopSeconds>,
}

/// What a line of a bill is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Billed {
    /// One job.
    Job(JobId),
    /// All jobs of a project that have no line of their own.
    Project(ProjectId),
}

/// Money that a site's owner has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    /// Money.
    pub won: Won,
    /// When it was noted.
    pub at: Time,
    /// By whom.
    pub by: PersonId,
    /// The bank's reference, or what else it rests on.
    pub reference: String,
}

/// How far an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceState {
    /// More may come.
    Draft,
    /// Fixed; the site's bill isn't in.
    Issued,
    /// The site's bill is the same, to the won.
    Agreed,
    /// The site's bill differs.
    Disputed,
    /// It differed, and the office has decided.
    Resolved,
    /// All of it is paid.
    Paid,
}

/// What can be asked about an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceCommand {
    /// Fix it.
    Issue,
    /// Hand in the site's own bill.
    Bill(Bill),
    /// Decide on a dispute: what is corrected, by job, and why.
    Resolve {
        /// So much more, or less. Jobs that aren't named stay as they are.
        corrections: BTreeMap<JobId, Won>,
        /// Why.
        ground: String,
    },
    /// Note that so much was paid.
    Pay {
        /// Money; all that is left of the invoice without.
        won: Option<Won>,
        /// The bank's reference, or what else it rests on.
        reference: String,
    },
}

/// What can have happened to an invoice; the transfers that belong to it follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the nouns of the glossary")]
pub enum InvoiceEvent {
    /// It is fixed.
    Issued { invoice: InvoiceId },
    /// The site has handed in its own bill.
    Billed {
        invoice: InvoiceId,
        bill: Bill,
        by: PersonId,
    },
    /// The office has decided on a dispute.
    Resolved {
        invoice: InvoiceId,
        corrections: Vec<Correction>,
        ground: String,
    },
    /// So much of it was paid.
    Paid { invoice: InvoiceId, payment: Payment },
}

impl Invoice {
    fn draft(id: InvoiceId) -> Self {
        Self {
            id,
            lines: BTreeMap::new(),
            corrections: Vec::new(),
            issued: None,
            bill: None,
            resolved: None,
            payments: Vec::new(),
        }
    }

    /// What was settled.
    pub fn settled(&self) -> Won {
        self.lines.values().flatten().map(|line| line.won).sum()
    }

    /// What corrections of earlier invoices come to.
    pub fn corrected(&self) -> Won {
        self.corrections.iter().map(|correction| correction.won).sum()
    }

    /// What it comes to: below zero if more was taken back than was settled.
    pub fn total(&self) -> Won {
        self.settled() + self.corrected()
    }

    /// What of it isn't paid.
    pub fn unpaid(&self) -> Won {
        let paid: Won = self.payments.iter().map(|payment| payment.won).sum();
        self.total() - paid
    }

    /// How far it is.
    pub fn state(&self, state: &State) -> InvoiceState {
        match &self.bill {
            _ if self.issued.is_none() => InvoiceState::Draft,
            _ if !self.payments.is_empty() && self.unpaid() == Won(0) => InvoiceState::Paid,
            _ if self.resolved.is_some() => InvoiceState::Resolved,
            None => InvoiceState::Issued,
            Some(_) if self.differences(state).is_empty() => InvoiceState::Agreed,
            Some(_) => InvoiceState::Disputed,
        }
    }
}

impl State {
    /// Whether `actor` may know what is owed for `site`.
    pub fn sees_invoices(&self, actor: &Actor, site: &Site) -> bool {
        let may = |action, resource: Resource<'_>| self.policy.ask(self, actor, action, &resource).allowed;
        may(Action::Audit, Resource::Consortium) || may(Action::Bill, Resource::Site(site))
    }

    fn invoices_of(&self, site: &SiteId) -> impl Iterator<Item = &Invoice> {
        let first = InvoiceId {
            site: site.clone(),
            month: Month::of(Time(0)),
        };
        self.invoices
            .range(first..)
            .map(|(_, invoice)| invoice)
            .take_while(move |invoice| invoice.id.site == *site)
    }

    /// The invoice that takes what happens at `at`: that of the month, or a later one if that is issued, which can be
    /// when a clock was set back.
    fn open_invoice(&mut self, site: &SiteId, at: Time) -> &mut Invoice {
        let issued = self.invoices_of(site).filter(|invoice| invoice.issued.is_some());
        let next = issued.last().map(|invoice| invoice.id.month.next());
        let id = InvoiceId {
            site: site.clone(),
            month: next.map_or(Month::of(at), |next| next.max(Month::of(at))),
        };
        self.invoices
            .entry(id.clone())
            .or_insert_with(|| Invoice::draft(id))
    }
}

/// What a reading settles goes on an invoice. Called while `state` is as it was before the reading.
pub(crate) fn settle(
    state: &mut State,
    job: JobId,
    site: &SiteId,
    reading: (u32, Usage),
    won: Won,
    at: Time,
) {
    let (attempt, total) = reading;
    let Some(known) = state.jobs.get(&job) else { return };
    let (Some(member), Some(award)) = (known.members.get(site), known.award.clone()) else {
        return;
    };
    let mut after = member.clone();
    after.usage.insert(attempt, total);
    let compute = after.used() + -member.used();
    if (won, compute) == (Won(0), FlopSeconds(0)) {
        return;
    }
    let over = match member.presence {
        Presence::Present(since) => since.plus(total.millis).min(at),
        _ => at,
    };
    let new = Line {
        project: known.spec.project.clone(),
        award,
        price: member.placed.price,
        of: Month::of(over),
        compute,
        won,
    };
    let lines = state.open_invoice(site, at).lines.entry(job).or_default();
    let same = |line: &&mut Line| (line.price, line.of, &line.award) == (new.price, new.of, &new.award);
    match lines.iter_mut().find(same) {
        Some(line) => {
            line.compute += new.compute;
            line.won += new.won;
        }
        None => lines.push(new),
    }
}

/// Changes `state` by one `event` that happened at `at`.
pub(crate) fn apply(state: &mut State, event: &InvoiceEvent, at: Time) {
    match event {
        InvoiceEvent::Issued { invoice } => {
            let issued = state.invoices_of(&invoice.site).filter(|it| it.issued.is_some());
            let serial = u32::try_from(issued.count() + 1).unwrap_or(u32::MAX);
            with(state, invoice, |it| it.issued = Some(Issued { serial, at }));
        }
        InvoiceEvent::Billed { invoice, bill, .. } => {
            with(state, invoice, |it| it.bill = Some(bill.clone()));
        }
        InvoiceEvent::Resolved {
            invoice,
            corrections,
            ground,
        } => {
            with(state, invoice, |it| it.resolved = Some(ground.clone()));
            for correction in corrections {
                if state.is_closed(&correction.award) {
                    state.agenda.closing.insert(correction.award.clone());
                }
                let open = state.open_invoice(&invoice.site, at);
                open.corrections.push(correction.clone());
            }
        }
        InvoiceEvent::Paid { invoice, payment } => {
            with(state, invoice, |it| it.payments.push(payment.clone()));
        }
    }
}

fn with(state: &mut State, invoice: &InvoiceId, change: impl FnOnce(&mut Invoice)) {
    if let Some(invoice) = state.invoices.get_mut(invoice) {
        change(invoice);
    }
}

impl Correction {
    /// The posting that it is: what was paid too much goes back to the award, what is still owed comes from it.
    fn transfer(&self) -> Transfer {
        let earned = Account::Earned(self.invoice.site.clone());
        let award = Account::Award(self.award.clone());
        match self.won < Won(0) {
            true => Transfer::won(earned, award, -self.won),
            false => Transfer::won(award, earned, self.won),
        }
    }
}

impl fmt::Display for InvoiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.month, self.site))
    }
}

impl FromStr for InvoiceId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (month, site) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} is no invoice; write it as 2021-09/national-1"))?;
        Ok(Self {
            month: month.parse()?,
            site: site.parse().map_err(|e: crate::BadId| e.to_string())?,
        })
    }
}

as_text!(InvoiceId, id => id.to_string());

impl fmt::Display for InvoiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
            Self::Agreed => "agreed",
            Self::Disputed => "disputed",
            Self::Resolved => "resolved",
            Self::Paid => "paid",
        })
    }
}

impl fmt::Display for Billed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => f.pad(&job.to_string()),
            Self::Project(project) => f.pad(&format!("project {project}")),
        }
    }
}
