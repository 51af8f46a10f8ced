//! Where what awards were given is: used, set aside for jobs, taken because of idle machines, or left.

use crate::{Account, Amount, Award, AwardId, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an award was given, and where that is. The four sum to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holdings {
    /// What it was given so far, less what was taken back.
    pub given: Amount,
    /// What its jobs have used.
    pub used: Amount,
    /// What is set aside for its running jobs.
    pub held: Amount,
    /// What was taken from it because a job held machines idle.
    pub reduced: Amount,
    /// What can still be spent.
    pub left: Amount,
}

impl State {
    /// Of every award.
    pub fn holdings(&self) -> BTreeMap<&AwardId, Holdings> {
        let new = |award: &Award| Holdings {
            given: Amount {
                won: award.won,
                compute: award.compute,
            },
            left: self.ledger.balance(&Account::Award(award.id.clone())),
            ..Holdings::default()
        };
        let mut all: BTreeMap<_, _> = self.awards.iter().map(|(id, it)| (id, new(it))).collect();
        for job in self.idled.iter().filter_map(|id| self.jobs.get(id)) {
            for stay in job.stays() {
                if let Some(taken) = &stay.watch.taken
                    && let Some(of) = all.get_mut(&taken.award)
                {
                    of.reduced = of.reduced.saturating_add(taken.amount());
                }
            }
        }
        for job in self.active_jobs() {
            if let Some(of) = job.award.as_ref().and_then(|award| all.get_mut(award)) {
                for site in job.members.keys() {
                    let aside = self.ledger.balance(&Account::Reserved(job.id, site.clone()));
                    of.held = of.held.saturating_add(aside);
                }
            }
        }
        for of in all.values_mut() {
            of.used = of.given.without(of.left).without(of.held).without(of.reduced);
        }
        all
    }
}
