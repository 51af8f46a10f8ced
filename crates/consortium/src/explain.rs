//! Why a job is where it is: every site with the reason for or against it, in words.

use crate::place::{Candidate, Verdict, place};
use crate::{Job, Phase, State};
use serde::{Deserialize, Serialize};

/// The answer to "why?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// How far the job is, in a sentence.
    pub summary: String,
    /// Every site, in words.
    pub sites: Vec<Reason>,
}

/// One site's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The site and what was found.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Whose site it is, and from where.
    pub owner: String,
    /// The reason in words.
    pub because: String,
}

/// Explains `job`: as judged at its placement, or as it stands now if it still waits.
pub fn explain(state: &State, job: &Job) -> Explanation {
    let waiting = job.phase == Phase::Queued;
    let candidates = if waiting {
        place(state, job).candidates
    } else {
        job.candidates.clone()
    };
    let sites = candidates
        .into_iter()
        .map(|candidate| reason(state, job, candidate))
        .collect();
    Explanation {
        summary: summary(state, job),
        sites,
    }
}

fn summary(state: &State, job: &Job) -> String {
    let on = || {
        job.members
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    match &job.phase {
        Phase::Queued => {
            let ahead = |id: &&crate::JobId| **id < job.id && state.jobs[*id].phase == Phase::Queued;
            let place = state.active.iter().filter(ahead).count() + 1;
            format!("{} waits for sites, number {place} in the queue", job.id)
        }
        Phase::Running => format!(
            "{} runs on {}, {} of {} rounds closed, {}",
            job.id,
            on(),
            job.committed(),
            job.spec.rounds.count,
            job.spec.rounds.described()
        ),
        Phase::Finishing => format!(
            "{} has closed all rounds on {} and writes its results",
            job.id,
            on()
        ),
        Phase::Done => format!("{} ran on {} and is done", job.id, on()),
        Phase::Failed { reason } => format!("{} failed: {reason}", job.id),
        Phase::Cancelled => format!("{} was cancelled", job.id),
    }
}

fn reason(state: &State, job: &Job, candidate: Candidate) -> Reason {
    let organisation = state
        .sites
        .get(&candidate.site)
        .and_then(|site| state.organisations.get(&site.owner));
    let owner = organisation.map_or_else(String::new, |o| match o.home {
        crate::Home::Domestic => o.name.clone(),
        crate::Home::Foreign => format!("{}, foreign partner", o.name),
    });
    let because = match &candidate.verdict {
        Verdict::Taken { price } => format!("taken, at {} won a PFLOP-hour", price.0),
        Verdict::Dearer { price } => {
            let cheaper = match job.spec.sites {
                1 => "1 cheaper site was".to_owned(),
                sites => format!("{sites} cheaper sites were"),
            };
            format!(
                "not needed: {cheaper} enough (this one asks {} won a PFLOP-hour)",
                price.0
            )
        }
        Verdict::Busy { job } => format!("its machines are held by {job}; wait until that ends"),
        Verdict::Closed { policies } if policies.is_empty() => {
            "no policy lets it receive the weights".to_owned()
        }
        Verdict::Closed { policies } => {
            format!(
                "it may not receive {} weights: policy {}",
                job.label,
                policies.join(", ")
            )
        }
        Verdict::TooFew { eligible, wanted } => {
            format!(
                "free, but the job wants {wanted} sites together and only {eligible} can be had; ask for fewer sites or wait"
            )
        }
        Verdict::Unaffordable { needed } => {
            format!(
                "no award of project {} has {needed} left and the compute; shorten wall_minutes or ask for an award",
                job.spec.project
            )
        }
    };
    Reason {
        candidate,
        owner,
        because,
    }
}
