//! Where a site's bill differs from the consortium's invoice, and what is likely the reason.

use super::{Bill, BillLine, Billed, Invoice, Line};
use crate::{FlopSeconds, Job, JobId, Month, SiteId, State, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A line in which invoice and bill aren't the same to the won.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// For what.
    pub of: Billed,
    /// What the invoice has.
    pub invoiced: Won,
    /// The compute that was metered for it.
    pub metered: FlopSeconds,
    /// What the bill has.
    pub billed: Won,
    /// The compute that the bill tells.
    pub compute: Option<FlopSeconds>,
    /// Why, as far as the figures tell.
    pub reason: Reason,
}

/// Why a line may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The consortium has placed no such job, or none of such a project, at the site.
    Unknown,
    /// What is missing of the month is settled on a later invoice.
    MeteredLater,
    /// It is use of an earlier month, which that month's bill may have.
    Earlier,
    /// The bill doesn't have it.
    NotBilled,
    /// It is nothing but parts of a won.
    Rounding,
    /// The compute is the same, and the price isn't.
    Price,
    /// The compute differs, or isn't told.
    Duration,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "was never placed here",
            Self::MeteredLater => "the rest is on a later invoice",
            Self::Earlier => "is of an earlier month",
            Self::NotBilled => "not billed",
            Self::Rounding => "parts of a won",
            Self::Price => "the price",
            Self::Duration => "the compute",
        })
    }
}

impl Invoice {
    /// Where the bill differs, jobs first; nowhere without a bill. Corrections are no part of it: they belong to
    /// invoices before this one.
    pub fn differences(&self, state: &State) -> Vec<Difference> {
        let Some(bill) = &self.bill else { return Vec::new() };
        let of_bill = bill.lines_by_what();
        let mut parts: BTreeMap<Billed, Vec<&Line>> = BTreeMap::new();
        for of in of_bill.keys() {
            parts.insert((*of).clone(), Vec::new());
        }
        for (job, lines) in &self.lines {
            let of = self.billed_as(&of_bill, *job);
            parts.entry(of).or_default().extend(lines);
        }
        let around = Around::new(self, state);
        let compared = parts.into_iter().filter_map(|(of, lines)| {
            let billed = of_bill.get(&of).copied();
            around.compare(of, billed, &lines)
        });
        compared.collect()
    }

    /// The line of the bill that has the job, or should have it.
    pub(super) fn billed_as(&self, of_bill: &BTreeMap<&Billed, &BillLine>, job: JobId) -> Billed {
        let of_job = Billed::Job(job);
        let lines = self.lines.get(&job).and_then(|lines| lines.first());
        let of_project = lines.map(|line| Billed::Project(line.project.clone()));
        of_project
            .filter(|project| !of_bill.contains_key(&of_job) && of_bill.contains_key(project))
            .unwrap_or(of_job)
    }
}

impl Bill {
    pub(super) fn lines_by_what(&self) -> BTreeMap<&Billed, &BillLine> {
        self.lines.iter().map(|line| (&line.of, line)).collect()
    }
}

/// What is known around an invoice and its bill. Each part is looked for once, and only if something differs: a bill may
/// have a hundred thousand lines, and the consortium as many jobs.
struct Around<'a> {
    month: Month,
    /// What of this month, or one before it, is on a later invoice.
    later: LazyCell<BTreeSet<Billed>, Box<dyn FnOnce() -> BTreeSet<Billed> + 'a>>,
    /// What was ever placed at the site.
    placed: LazyCell<BTreeSet<Billed>, Box<dyn FnOnce() -> BTreeSet<Billed> + 'a>>,
}

impl<'a> Around<'a> {
    fn new(invoice: &'a Invoice, state: &'a State) -> Self {
        Self {
            month: invoice.id.month,
            later: LazyCell::new(Box::new(|| later(invoice, state))),
            placed: LazyCell::new(Box::new(|| placed(&invoice.id.site, state))),
        }
    }

    fn compare(&self, of: Billed, billed: Option<&BillLine>, lines: &[&Line]) -> Option<Difference> {
        let invoiced: Won = lines.iter().map(|line| line.won).sum();
        let metered = lines.iter().fold(FlopSeconds(0), |sum, line| sum + line.compute);
        let won = billed.map_or(Won(0), |line| line.won);
        if won == invoiced {
            return None;
        }
        let compute = billed.and_then(|line| line.compute);
        let same = compute.is_some_and(|compute| is_told_alike(compute, metered));
        let parts = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let reason = match billed {
            _ if lines.is_empty() && !self.placed.contains(&of) => Reason::Unknown,
            None if lines.iter().all(|line| line.of < self.month) => Reason::Earlier,
            None => Reason::NotBilled,
            Some(_) if won > invoiced && self.later.contains(&of) => Reason::MeteredLater,
            Some(_) if won.0.abs_diff(invoiced.0) <= parts.unsigned_abs() => Reason::Rounding,
            Some(_) if same => Reason::Price,
            Some(_) => Reason::Duration,
        };
        Some(Difference {
            of,
            invoiced,
            metered,
            billed: won,
            compute,
            reason,
        })
    }
}

/// Jobs and projects with something of the invoice's month, or of one before it, on a later invoice.
fn later(invoice: &Invoice, state: &State) -> BTreeSet<Billed> {
    let later = state.invoices_of(&invoice.id.site);
    let later = later.filter(|it| it.id.month > invoice.id.month);
    let lines = later.flat_map(|it| it.lines.iter());
    let lines = lines.flat_map(|(job, lines)| lines.iter().map(move |line| (job, line)));
    lines
        .filter(|(_, line)| line.of <= invoice.id.month)
        .flat_map(|(job, line)| [Billed::Job(*job), Billed::Project(line.project.clone())])
        .collect()
}

/// Jobs that were ever placed at the site, and their projects.
fn placed(site: &SiteId, state: &State) -> BTreeSet<Billed> {
    let here = |job: &&Job| {
        let past = job.past.iter().any(|past| past.site == *site);
        past || job.members.contains_key(site)
    };
    let jobs = state.jobs.values().filter(here);
    jobs.flat_map(|job| [Billed::Job(job.id), Billed::Project(job.spec.project.clone())])
        .collect()
}

/// Bills tell PFLOP-hours with nine decimals at most.
fn is_told_alike(one: FlopSeconds, other: FlopSeconds) -> bool {
    const NANO: u128 = 3_600_000_000;
    one.0.abs_diff(other.0) < NANO
}
