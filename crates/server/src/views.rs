//! The state as askers see it.

use crate::hub::Shared;
use api::{JobView, Me, PersonView, Problem};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, ArtifactId, Digest, Job, JobId, Person, Presence, Project, ProjectId, Sight, SiteId, State,
};
use std::collections::BTreeSet;

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

/// The projects of which `actor` may know anything: who works in one, whoever may audit, and whoever may read something
/// of it.
pub(crate) fn known_projects<'a>(state: &'a State, actor: &'a Actor) -> BTreeSet<&'a ProjectId> {
    let (audits, mut sight) = (audits(state, actor), Sight::new(state, actor, Action::Read));
    let all = state.projects.values();
    let known = all.filter(|project| audits || knows(state, actor, &mut sight, project));
    known.map(|project| &project.id).collect()
}

/// The same of one; who may not know of it hears that it isn't there.
pub(crate) fn known_project(state: &State, actor: &Actor, id: &ProjectId) -> Result<(), Problem> {
    let mut sight = Sight::new(state, actor, Action::Read);
    let project = state.projects.get(id);
    let known =
        project.is_some_and(|project| audits(state, actor) || knows(state, actor, &mut sight, project));
    let unknown = || Problem::new(404, "not-found", format!("there is no project {id}"));
    known.then_some(()).ok_or_else(unknown)
}

fn knows<'a>(state: &'a State, actor: &'a Actor, sight: &mut Sight<'a>, project: &'a Project) -> bool {
    let works_in = state.permit(actor, Action::Contribute, &Resource::Project(project));
    let first = ArtifactId {
        project: project.id.clone(),
        digest: Digest([0; 32]),
    };
    let artifacts = state.artifacts.range(first..).map(|(_, artifact)| artifact);
    let mut artifacts = artifacts.take_while(|artifact| artifact.id.project == project.id);
    let mut jobs = state.jobs.values().filter(|job| job.spec.project == project.id);
    works_in.is_ok()
        || state.runs.of_project(&project.id).any(|run| sight.sees_run(run))
        || artifacts.any(|artifact| sight.sees_artifact(artifact))
        || jobs.any(|job| sight.sees_job(job))
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
