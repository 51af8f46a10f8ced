//! The state as askers see it.

use crate::hub::Shared;
use api::{JobView, Me, PersonView, Problem};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, ArtifactId, Digest, Job, JobId, Person, PersonId, Presence, Project, ProjectId, Sight,
    SiteId, State,
};
use std::collections::{BTreeMap, BTreeSet};

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

/// Of each person, the projects that they work in, for a list of people.
pub(crate) struct Rolls<'a> {
    state: &'a State,
    projects: BTreeMap<&'a PersonId, Vec<ProjectId>>,
}

impl<'a> Rolls<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        let mut projects: BTreeMap<&PersonId, Vec<ProjectId>> = BTreeMap::new();
        for project in state.projects.values() {
            for person in &project.members {
                projects.entry(person).or_default().push(project.id.clone());
            }
        }
        Self { state, projects }
    }

    pub(crate) fn view(&self, person: &Person) -> PersonView {
        let stands = self.state.people_standings.get(&person.id);
        PersonView {
            person: person.clone(),
            standing: self.state.person_standing(&person.id),
            since: stands.map(|it| it.since),
            ground: stands.map(|it| it.ground.clone()),
            projects: self.projects.get(&person.id).cloned().unwrap_or_default(),
        }
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
    let mut eyes = Eyes::of(state, actor);
    let known = state.projects.values().filter(|project| eyes.know(project));
    known.map(|project| &project.id).collect()
}

/// The same of one; who may not know of it hears that it isn't there.
pub(crate) fn known_project(state: &State, actor: &Actor, id: &ProjectId) -> Result<(), Problem> {
    let mut eyes = Eyes::of(state, actor);
    let known = state.projects.get(id).is_some_and(|project| eyes.know(project));
    let unknown = || Problem::new(404, "not-found", format!("there is no project {id}"));
    known.then_some(()).ok_or_else(unknown)
}

/// What decides whether somebody knows of a project.
struct Eyes<'a> {
    state: &'a State,
    audits: bool,
    contributes: Sight<'a>,
    reads: Sight<'a>,
}

impl<'a> Eyes<'a> {
    fn of(state: &'a State, actor: &Actor) -> Self {
        Self {
            state,
            audits: audits(state, actor),
            contributes: Sight::new(state, actor, Action::Contribute),
            reads: Sight::new(state, actor, Action::Read),
        }
    }

    fn know(&mut self, project: &'a Project) -> bool {
        let first = ArtifactId {
            project: project.id.clone(),
            digest: Digest([0; 32]),
        };
        let artifacts = self.state.artifacts.range(first..).map(|(_, artifact)| artifact);
        let mut artifacts = artifacts.take_while(|artifact| artifact.id.project == project.id);
        self.audits
            || self.contributes.sees_project(project)
            || self
                .state
                .runs
                .of_project(&project.id)
                .any(|run| self.reads.sees_run(run))
            || artifacts.any(|artifact| self.reads.sees_artifact(artifact))
            || self
                .state
                .jobs_of(&project.id)
                .any(|job| self.reads.sees_job(job))
    }
}

pub(crate) fn may_read(state: &State, actor: &Actor, job: &Job) -> bool {
    state.permit(actor, Action::Read, &Resource::Job(job)).is_ok()
}

/// The oldest job at each site of which `actor` may know.
pub(crate) fn jobs_that_hold<'a>(state: &'a State, actor: &Actor) -> BTreeMap<&'a SiteId, JobId> {
    let mut sight = Sight::new(state, actor, Action::Read);
    let mut holds = BTreeMap::new();
    for job in state.active_jobs() {
        let here = job.members.iter().filter(|(_, it)| it.presence != Presence::Left);
        for (site, _) in here {
            if !holds.contains_key(site) && sight.sees_job(job) {
                holds.insert(site, job.id);
            }
        }
    }
    holds
}
