//! The state as askers see it.

use crate::hub::Shared;
use api::{JobView, Me, PersonView};
use consortium::policy::Resource;
use consortium::{Action, Actor, Job, JobId, Person, Presence, SiteId, State};

/// Whether `actor` may look at the consortium's books.
pub(crate) fn audits(state: &State, actor: &Actor) -> bool {
    state.permit(actor, Action::Audit, &Resource::Consortium).is_ok()
}

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

pub(crate) fn person(state: &State, person: &Person) -> PersonView {
    let stands = state.people_standings.get(&person.id);
    let works_in = state
        .projects
        .values()
        .filter(|project| project.members.contains(&person.id));
    PersonView {
        person: person.clone(),
        standing: state.person_standing(&person.id),
        since: stands.map(|it| it.since),
        ground: stands.map(|it| it.ground.clone()),
        projects: works_in.map(|project| project.id.clone()).collect(),
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
    let active = state.active_jobs();
    let mut holds = active.filter(|job| {
        job.members
            .get(site)
            .is_some_and(|m| m.presence != Presence::Left)
    });
    holds.find(|job| may_read(state, actor, job)).map(|job| job.id)
}
