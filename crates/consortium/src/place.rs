//! Placement: which sites a job runs on. Entitlement first, then whether the machines are free, then the
//! price; and a reason for every site, taken or not.

use crate::policy::Resource;
use crate::{Action, Actor, AwardId, Job, JobId, Placed, Price, Site, SiteId, State, Won};
use serde::{Deserialize, Serialize};

/// What was found about one site for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The site.
    pub site: SiteId,
    /// What was found.
    pub verdict: Verdict,
}

/// Why a site was taken or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It runs there.
    Taken {
        /// Won per PFLOP-hour.
        price: Price,
    },
    /// It may run there, and enough cheaper sites were found.
    Dearer {
        /// Won per PFLOP-hour.
        price: Price,
    },
    /// Another job holds the machines.
    Busy {
        /// Which.
        job: JobId,
    },
    /// The policy doesn't let the site's owner receive the job's weights.
    Closed {
        /// The policies that decided.
        policies: Vec<String>,
    },
    /// It could run there, if there were as many such sites as the job wants.
    TooFew {
        /// How many there are.
        eligible: u32,
        /// How many it wants.
        wanted: u32,
    },
    /// No award of the project covers the sites together.
    Unaffordable {
        /// What all sites together would have set aside.
        needed: Won,
    },
}

/// What placement found: the sites it runs on and the award that pays, or neither; and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) placed: Option<(AwardId, Vec<Placed>)>,
    pub(crate) candidates: Vec<Candidate>,
}

/// Judges every site for `job`, which is not placed yet. Ties in price go by site name: the same state
/// always gives the same answer.
pub(crate) fn place(state: &State, job: &Job) -> Placing {
    let mut verdicts: Vec<(&Site, Verdict)> = state
        .sites
        .values()
        .map(|site| (site, eligible(state, job, site)))
        .collect();
    verdicts.sort_by_key(|(site, _)| (site.price, site.id.clone()));

    let wanted = job.spec.sites as usize;
    let open = |verdict: &Verdict| matches!(verdict, Verdict::Taken { .. });
    let found = verdicts.iter().filter(|(_, v)| open(v)).count();
    let mut placed = None;
    if found < wanted {
        let verdict = Verdict::TooFew {
            eligible: count(found),
            wanted: job.spec.sites,
        };
        replace(&mut verdicts, open, &verdict);
    } else {
        let mut left = wanted;
        for (site, verdict) in verdicts.iter_mut().filter(|(_, v)| open(v)) {
            if left == 0 {
                *verdict = Verdict::Dearer { price: site.price };
            }
            left = left.saturating_sub(1);
        }
        let sites: Vec<Placed> = verdicts
            .iter()
            .filter(|(_, v)| open(v))
            .map(|(site, _)| reserve(job, site))
            .collect();
        let needed = sites.iter().fold(Won(0), |sum, s| sum.saturating_add(s.reserved));
        let compute = sites.iter().map(|s| s.reserved_compute).sum();
        let award = || state.award_for(&job.spec.project, needed, compute);
        match (needed < Won::MAX).then(award).flatten() {
            Some(award) => placed = Some((award.id.clone(), sites)),
            None => replace(&mut verdicts, open, &Verdict::Unaffordable { needed }),
        }
    }
    let mut candidates: Vec<Candidate> = verdicts
        .into_iter()
        .map(|(site, verdict)| Candidate {
            site: site.id.clone(),
            verdict,
        })
        .collect();
    candidates.sort_by(|a, b| a.site.cmp(&b.site));
    Placing { placed, candidates }
}

/// Entitlement, then whether the machines are free; what passes is taken until the price decides.
fn eligible(state: &State, job: &Job, site: &Site) -> Verdict {
    let actor = Actor::Site(site.id.clone());
    let decision = state.policy.ask(state, &actor, Action::Hold, &Resource::Job(job));
    if !decision.allowed {
        return Verdict::Closed {
            policies: decision.policies,
        };
    }
    match state.job_at(&site.id).filter(|other| *other != job.id) {
        Some(job) => Verdict::Busy { job },
        None => Verdict::Taken { price: site.price },
    }
}

/// What the whole wall time at `site` costs.
fn reserve(job: &Job, site: &Site) -> Placed {
    let compute = site.rated.during(u64::from(job.spec.wall_minutes) * 60_000);
    Placed {
        site: site.id.clone(),
        price: site.price,
        rated: site.rated,
        reserved: site.price.reserve(compute),
        reserved_compute: compute,
    }
}

fn replace(verdicts: &mut [(&Site, Verdict)], which: impl Fn(&Verdict) -> bool, with: &Verdict) {
    for (_, verdict) in verdicts.iter_mut().filter(|(_, v)| which(v)) {
        *verdict = with.clone();
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
