//! The state as askers see it.

use crate::hub::Shared;
use api::{JobView, Me, OpenRound, Orders, SiteJob};
use consortium::policy::Resource;
use consortium::{Action, Actor, Job, JobId, Phase, Presence, SiteId, State};

pub(crate) fn me(state: &State, actor: Actor) -> Me {
    let organisation = match &actor {
        Actor::Hub => None,
        Actor::Person(person) => state.people.get(person).map(|person| person.organisation.clone()),
        Actor::Site(site) => state.sites.get(site).map(|site| site.owner.clone()),
    };
    let home = organisation
        .as_ref()
        .and_then(|id| state.organisations.get(id))
        .map(|o| o.home);
    Me {
        actor,
        organisation,
        home,
    }
}

pub(crate) fn job(shared: &Shared, job: &Job) -> JobView {
    JobView {
        seq: *shared.changed.borrow(),
        committed: job.committed(),
        spent: job.spent(),
        used: job.used(),
        progress: shared.progress_of(job.id),
        job: job.clone(),
    }
}

pub(crate) fn may_read(state: &State, actor: &Actor, job: &Job) -> bool {
    state.permit(actor, Action::Read, &Resource::Job(job)).is_ok()
}

/// The job at `site`, if `actor` may know about it.
pub(crate) fn job_that_holds(state: &State, actor: &Actor, site: &SiteId) -> Option<JobId> {
    let active = state.active.iter().filter_map(|id| state.jobs.get(id));
    let mut holds = active.filter(|job| {
        job.members
            .get(site)
            .is_some_and(|m| m.presence != Presence::Left)
    });
    holds.find(|job| may_read(state, actor, job)).map(|job| job.id)
}

/// What `site` is to do; closed rounds from `from` on.
pub(crate) fn orders(state: &State, site: &SiteId, from: u32) -> Orders {
    let active = state.active.iter().filter_map(|id| state.jobs.get(id));
    Orders {
        jobs: active.filter_map(|job| site_job(job, site, from)).collect(),
    }
}

fn site_job(job: &Job, site: &SiteId, from: u32) -> Option<SiteJob> {
    let member = job
        .members
        .get(site)
        .filter(|member| member.presence != Presence::Left)?;
    let open = job.open_round().and_then(|round| {
        let contributed = round.updates.get(site).map(|update| update.digest);
        let interval = *round.members.get(site)?;
        Some(OpenRound {
            number: round.number,
            interval,
            contributed,
        })
    });
    let closed = job
        .rounds
        .iter()
        .filter(|round| round.is_closed() && round.number >= from);
    // The digests that other sites reached are their business, and would wake this one for nothing.
    let closed = closed.cloned().map(|mut round| {
        round.outer.retain(|other, _| other == site);
        round
    });
    // A meter reading or a progress must not change what a site is told, or it would never sleep.
    let presence = match member.presence {
        Presence::Present(_) => Presence::Present(consortium::Time(0)),
        other => other,
    };
    Some(SiteJob {
        id: job.id,
        spec: job.spec.clone(),
        label: job.label,
        phase: job.phase.clone(),
        attempt: member.attempt,
        presence,
        lead: job.lead() == Some(site),
        results: job.phase == Phase::Finishing && !job.outputs.is_empty(),
        closed: closed.collect(),
        open,
    })
}
