//! What an actor may do with many things at once: Cedar is asked once for all that it can't tell apart.
//!
//! A decision follows from the policy, the actor and the resource's attributes. So things with the same attributes get
//! the same answer, and a listing of a hundred thousand jobs asks a few dozen times. Only a policy that names a
//! single one could tell two of them apart; under such a policy each is asked about. Of a set, as a project's members, mostly
//! nothing counts but whether the actor is in it: then all projects are alike that the actor doesn't work in.
//!
//! ```
//! use consortium::{Action, Actor, Sight, State};
//! let state = State::default();
//! let mut sight = Sight::new(&state, &Actor::Hub, Action::Read);
//! assert!(state.jobs.values().all(|job| sight.sees_job(job)));
//! ```

use crate::policy::{Decision, Principal, Question, Resource};
use crate::{
    Action, Actor, Artifact, Call, Case, Job, Label, OrganisationId, PersonId, Project, ProjectId, Run,
    SiteId, State,
};
use std::collections::{BTreeMap, BTreeSet};

/// The answers for one actor and one action, as far as they were needed.
#[derive(Debug)]
pub struct Sight<'a> {
    state: &'a State,
    actor: Actor,
    principal: Principal,
    action: Action,
    shares: bool,
    /// Of which sets the policy asks nothing but whether the principal is in it.
    asks: Asks,
    known: BTreeMap<Attributes<'a>, Decision>,
}

#[derive(Debug, Clone, Copy)]
struct Asks {
    members: bool,
    sites: bool,
    by: bool,
}

/// All that Cedar is told of a resource but its name; see `resource_entity`, which this follows.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attributes<'a> {
    Artifact {
        label: Label,
        members: Part<&'a ProjectId>,
        sites: Part<BTreeSet<&'a SiteId>>,
        by: Part<&'a BTreeSet<PersonId>>,
    },
    Job {
        label: Label,
        members: Part<&'a ProjectId>,
        sites: Part<BTreeSet<&'a SiteId>>,
    },
    Run {
        label: Label,
        members: Part<&'a ProjectId>,
        by: Part<&'a PersonId>,
    },
    Call(Label),
    Project(Part<&'a ProjectId>),
    Proposal {
        people: &'a BTreeSet<PersonId>,
        organisations: BTreeSet<&'a OrganisationId>,
        conflicted: BTreeSet<&'a PersonId>,
        judged: bool,
        readers: BTreeSet<&'a PersonId>,
    },
}

/// What counts of a set.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<T> {
    /// Whether the actor is in it.
    Has(bool),
    /// All of it, or whose it is.
    All(T),
}

impl<'a> Sight<'a> {
    /// Of `actor`, who would do `action`.
    pub fn new(state: &'a State, actor: &Actor, action: Action) -> Self {
        Self {
            state,
            actor: actor.clone(),
            principal: Principal::of(state, actor),
            action,
            shares: !state.policy.names_one(),
            asks: Asks {
                members: state.policy.asks_for_principal_in("members"),
                sites: state.policy.asks_for_principal_in("sites"),
                by: state.policy.asks_for_principal_in("by"),
            },
            known: BTreeMap::new(),
        }
    }

    /// Whether it may be done with this artifact.
    pub fn sees_artifact(&mut self, artifact: &'a Artifact) -> bool {
        let attributes = Attributes::Artifact {
            label: artifact.label,
            members: self.members(&artifact.id.project),
            sites: self.sites(|| self.state.sites_that_need(artifact)),
            by: self.people(self.asks.by, &artifact.by, |by, person| by.contains(person)),
        };
        self.answer(attributes, &Resource::Artifact(artifact))
    }

    /// Whether it may be done with this job.
    pub fn sees_job(&mut self, job: &'a Job) -> bool {
        self.answer(self.attributes_of_job(job), &Resource::Job(job))
    }

    /// The same, with the policies that decide.
    pub fn decides_job(&mut self, job: &'a Job) -> Decision {
        self.decide(self.attributes_of_job(job), &Resource::Job(job), Decision::clone)
    }

    /// Whether it may be done with this run.
    pub fn sees_run(&mut self, run: &'a Run) -> bool {
        let attributes = Attributes::Run {
            label: self.state.label_of_run(run),
            members: self.members(&run.project),
            by: self.people(self.asks.by, &run.by, PartialEq::eq),
        };
        self.answer(attributes, &Resource::Run(run))
    }

    /// Whether it may be done with this project.
    pub fn sees_project(&mut self, project: &'a Project) -> bool {
        let attributes = Attributes::Project(self.members(&project.id));
        self.answer(attributes, &Resource::Project(project))
    }

    /// Whether it may be done with this call.
    pub fn sees_call(&mut self, call: &'a Call) -> bool {
        self.answer(Attributes::Call(call.label), &Resource::Call(call))
    }

    /// Whether it may be done with this proposal.
    pub fn sees_proposal(&mut self, case: &'a Case) -> bool {
        let attributes = Attributes::Proposal {
            people: &case.proposal.people,
            organisations: self.state.parties(case),
            conflicted: case.conflicted().collect(),
            judged: case.judged.is_some(),
            readers: case.readers().collect(),
        };
        self.answer(attributes, &Resource::Proposal(case))
    }

    fn attributes_of_job(&self, job: &'a Job) -> Attributes<'a> {
        Attributes::Job {
            label: job.label,
            members: self.members(&job.spec.project),
            sites: self.sites(|| job.members.keys().filter(|_| job.is_active()).collect()),
        }
    }

    fn members(&self, project: &'a ProjectId) -> Part<&'a ProjectId> {
        self.people(self.asks.members, project, |project, person| {
            let project = self.state.projects.get(project);
            project.is_some_and(|project| project.members.contains(person))
        })
    }

    fn people<T: ?Sized>(
        &self,
        asks_for_principal: bool,
        all: &'a T,
        has: impl FnOnce(&T, &PersonId) -> bool,
    ) -> Part<&'a T> {
        match (asks_for_principal, &self.actor) {
            (false, _) => Part::All(all),
            (true, Actor::Person(person)) => Part::Has(has(all, person)),
            (true, _) => Part::Has(false),
        }
    }

    fn sites(&self, all: impl FnOnce() -> BTreeSet<&'a SiteId>) -> Part<BTreeSet<&'a SiteId>> {
        match (self.asks.sites, &self.actor) {
            (false, _) => Part::All(all()),
            (true, Actor::Site(site)) => Part::Has(all().contains(site)),
            (true, _) => Part::Has(false),
        }
    }

    fn answer(&mut self, attributes: Attributes<'a>, resource: &Resource<'_>) -> bool {
        self.decide(attributes, resource, |decision| decision.allowed)
    }

    fn decide<T>(
        &mut self,
        attributes: Attributes<'a>,
        resource: &Resource<'_>,
        tell: impl FnOnce(&Decision) -> T,
    ) -> T {
        let policy = &self.state.policy;
        let ask = || policy.ask(self.state, &self.actor, self.action, resource);
        if !self.shares {
            return tell(&ask());
        }
        let known =
            self.known
                .entry(attributes)
                .or_insert_with_key(|attributes| match attributes.question() {
                    Some(question) => policy.known().answer(&self.principal, self.action, question, ask),
                    None => ask(),
                });
        tell(known)
    }
}

impl State {
    /// May `site` hold the job: its inputs, its weights and updates?
    pub(crate) fn may_hold(&self, site: &SiteId, job: &Job) -> bool {
        Sight::new(self, &Actor::Site(site.clone()), Action::Hold).sees_job(job)
    }
}

impl Attributes<'_> {
    /// As what doesn't change with the state, if it can be said so.
    fn question(&self) -> Option<Question> {
        Some(match self {
            Self::Artifact {
                label,
                members: Part::Has(member),
                sites: Part::Has(site),
                by: Part::Has(by),
            } => Question::Artifact {
                label: *label,
                member: *member,
                site: *site,
                by: *by,
            },
            Self::Job {
                label,
                members: Part::Has(member),
                sites: Part::Has(site),
            } => Question::Job {
                label: *label,
                member: *member,
                site: *site,
            },
            Self::Run {
                label,
                members: Part::Has(member),
                by: Part::Has(by),
            } => Question::Run {
                label: *label,
                member: *member,
                by: *by,
            },
            Self::Call(label) => Question::Call(*label),
            Self::Project(Part::Has(member)) => Question::Project { member: *member },
            _ => return None,
        })
    }
}
