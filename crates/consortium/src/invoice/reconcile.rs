//! Where a site's bill differs from the consortium's invoice, and what is likely the reason.

use super::{BillLine, Billed, Invoice, Line};
use crate::{FlopSeconds, JobId, State, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A line in which invoice and bill aren't the same to the won.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// For what.
    #[serde(flatten)]
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

impl Invoice {
    /// Where the bill differs, jobs first; nowhere without a bill. Corrections are no part of it: they belong to
    /// invoices before this one.
    pub fn differences(&self, state: &State) -> Vec<Difference> {
        let Some(bill) = &self.bill else { return Vec::new() };
        let mut billed: BTreeMap<Billed, Option<&BillLine>> = bill
            .lines
            .iter()
            .map(|line| (line.of.clone(), Some(line)))
            .collect();
        let mut jobs: BTreeMap<Billed, BTreeSet<JobId>> = BTreeMap::new();
        for job in self.lines.keys() {
            let of = self.billed_as(*job);
            billed.entry(of.clone()).or_insert(None);
            jobs.entry(of).or_default().insert(*job);
        }
        let none = BTreeSet::new();
        let compared = billed.into_iter().filter_map(|(of, line)| {
            let jobs = jobs.get(&of).unwrap_or(&none);
            self.compare(state, of, line, jobs)
        });
        compared.collect()
    }

    /// The line of the bill that has the job, or should have it.
    pub(super) fn billed_as(&self, job: JobId) -> Billed {
        let has = |of: &Billed| {
            let mut lines = self.bill.iter().flat_map(|bill| &bill.lines);
            lines.any(|line| line.of == *of)
        };
        let project = self
            .lines
            .get(&job)
            .and_then(|lines| lines.first())
            .map(|line| Billed::Project(line.project.clone()));
        project
            .filter(|project| !has(&Billed::Job(job)) && has(project))
            .unwrap_or(Billed::Job(job))
    }

    fn compare(
        &self,
        state: &State,
        of: Billed,
        billed: Option<&BillLine>,
        jobs: &BTreeSet<JobId>,
    ) -> Option<Difference> {
        let lines: Vec<&Line> = jobs.iter().flat_map(|job| &self.lines[job]).collect();
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
            _ if lines.is_empty() && !self.was_ever(state, &of) => Reason::Unknown,
            None if lines.iter().all(|line| line.of < self.id.month) => Reason::Earlier,
            None => Reason::NotBilled,
            Some(_) if won > invoiced && self.comes_later(state, &of) => Reason::MeteredLater,
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

    /// Whether a job, or one of the project's, was placed at the site.
    fn was_ever(&self, state: &State, of: &Billed) -> bool {
        let here = |job: &crate::Job| {
            let past = job.past.iter().any(|past| past.site == self.id.site);
            past || job.members.contains_key(&self.id.site)
        };
        match of {
            Billed::Job(job) => state.jobs.get(job).is_some_and(here),
            Billed::Project(project) => {
                let mut jobs = state.jobs.values();
                jobs.any(|job| job.spec.project == *project && here(job))
            }
        }
    }

    /// Whether something of this month is on a later invoice.
    fn comes_later(&self, state: &State, of: &Billed) -> bool {
        let covers = |job: &JobId, line: &Line| match of {
            Billed::Job(billed) => billed == job,
            Billed::Project(project) => *project == line.project,
        };
        let mut later = state
            .invoices_of(&self.id.site)
            .filter(|it| it.id.month > self.id.month);
        later.any(|invoice| {
            let mut lines = invoice
                .lines
                .iter()
                .flat_map(|(job, lines)| lines.iter().map(move |line| (job, line)));
            lines.any(|(job, line)| line.of <= self.id.month && covers(job, line))
        })
    }
}

/// Bills tell PFLOP-hours with nine decimals at most.
fn is_told_alike(one: FlopSeconds, other: FlopSeconds) -> bool {
    const NANO: u128 = 3_600_000_000;
    one.0.abs_diff(other.0) < NANO
}
