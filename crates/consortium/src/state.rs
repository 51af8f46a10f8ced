//! What the consortium knows; rebuilt from the log at any time.

use crate::watch::Terms;
use crate::{
    Abilities, Agenda, Artifact, ArtifactId, Award, AwardId, Call, CallId, Case, Course, Credential, Digest,
    Identity, Invitation, Invoice, InvoiceId, Job, JobId, Ledger, Organisation, OrganisationId,
};
use crate::{
    ModelId, Offer, Person, PersonId, Policy, Project, ProjectId, ProposalId, Proposed, Published, Rating,
    Runs, Site, SiteId, Stands, Won, YearEnd,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state that all decisions are made on. Changed only by [`crate::apply()`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The policy in force.
    pub policy: Policy,
    /// Who is in.
    pub organisations: BTreeMap<OrganisationId, Organisation>,
    /// How they stand and since when; active since they were admitted without an entry.
    #[serde(default)]
    pub standings: BTreeMap<OrganisationId, Stands>,
    /// Who acts for them.
    pub people: BTreeMap<PersonId, Person>,
    /// How people stand and since when; active since they were added without an entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people_standings: BTreeMap<PersonId, Stands>,
    /// Whose the accounts are that people sign in with; nobody's without an entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identities: BTreeMap<Identity, PersonId>,
    /// Who is invited and hasn't come yet, by the digest of the invitation's code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub invitations: BTreeMap<Digest, Invitation>,
    /// Places with machines.
    pub sites: BTreeMap<SiteId, Site>,
    /// What their owners have asked so far; the last of each is what the site has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offers: BTreeMap<SiteId, Vec<Offer>>,
    /// How fast a GPU of a sort is taken to be, and was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ratings: BTreeMap<String, Vec<Rating>>,
    /// What their processes have said they can do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub abilities: BTreeMap<SiteId, Abilities>,
    /// Projects.
    pub projects: BTreeMap<ProjectId, Project>,
    /// Awards.
    pub awards: BTreeMap<AwardId, Award>,
    /// What is known of awards besides what they hold.
    #[serde(default)]
    pub courses: BTreeMap<AwardId, Course>,
    /// What time will bring them.
    #[serde(default)]
    pub agenda: Agenda,
    /// Calls for proposals.
    #[serde(default)]
    pub calls: BTreeMap<CallId, Call>,
    /// What was proposed to them, and what has come of it.
    #[serde(default)]
    pub proposals: BTreeMap<ProposalId, Case>,
    /// Money given by the ministry, by fiscal year.
    pub appropriations: BTreeMap<u16, Won>,
    /// What the office did with what was left of them, the first first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub year_ends: Vec<YearEnd>,
    /// Whom a token speaks for, by the token's digest; the token itself is known to its holder alone.
    pub credentials: BTreeMap<Digest, Credential>,
    /// Artifacts of all projects.
    pub artifacts: BTreeMap<ArtifactId, Artifact>,
    /// Releases that one person has proposed.
    #[serde(default)]
    pub proposed: BTreeMap<ArtifactId, Proposed>,
    /// Models under their names.
    #[serde(default)]
    pub models: BTreeMap<ModelId, Published>,
    /// All jobs ever.
    pub jobs: BTreeMap<JobId, Job>,
    /// The jobs that hold or wait for machines.
    pub active: BTreeSet<JobId>,
    /// The jobs of each project that has any.
    pub jobs_by_project: BTreeMap<ProjectId, BTreeSet<JobId>>,
    /// The jobs that each person has asked for.
    pub jobs_by_person: BTreeMap<PersonId, BTreeSet<JobId>>,
    /// The jobs that have held machines idle so long that something was taken for it, given back since or not.
    pub idled: BTreeSet<JobId>,
    /// Who holds how much.
    pub ledger: Ledger,
    /// What is owed to sites' owners, by site and month; a month in which nothing was settled has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub invoices: BTreeMap<InvoiceId, Invoice>,
    /// When machines count as held idle, and what follows; nobody is watched without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Terms>,
    /// What people log of their tries.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub runs: Runs,
    /// Idempotency keys that were used, and what for.
    pub remembered: BTreeMap<String, Remembered>,
}

/// A request that was carried out under a key: asked again, it is answered again and not done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The digest of what was asked, so that a key can't stand for two things.
    pub request: Digest,
    /// The job it made, if it made one.
    pub job: Option<JobId>,
}

impl State {
    /// The job that `request` made when it was asked before under the same key.
    pub fn remembered_job(&self, request: &crate::Request) -> Option<JobId> {
        self.remembered.get(&request.scoped_key()?)?.job
    }

    /// A project's jobs, oldest first.
    pub fn jobs_of<'a>(&'a self, project: &ProjectId) -> impl DoubleEndedIterator<Item = &'a Job> + use<'a> {
        let jobs = self.jobs_by_project.get(project).into_iter().flatten();
        jobs.filter_map(|id| self.jobs.get(id))
    }

    /// The jobs that a person has asked for, oldest first.
    pub fn jobs_by<'a>(&'a self, person: &PersonId) -> impl DoubleEndedIterator<Item = &'a Job> + use<'a> {
        let jobs = self.jobs_by_person.get(person).into_iter().flatten();
        jobs.filter_map(|id| self.jobs.get(id))
    }

    /// A project's active jobs, oldest first.
    pub(crate) fn active_jobs_of(&self, project: &ProjectId) -> impl Iterator<Item = &Job> {
        let jobs = self.jobs_by_project.get(project);
        let active = jobs.into_iter().flat_map(|jobs| jobs.intersection(&self.active));
        active.filter_map(|id| self.jobs.get(id))
    }

    /// The active jobs, oldest first. Neighbours in `active` are mostly neighbours in `jobs`, too, and to step from
    /// one to the next is much cheaper than to look each up.
    pub fn active_jobs(&self) -> impl Iterator<Item = &Job> {
        let mut jobs = self.jobs.range(..);
        self.active.iter().filter_map(move |id| match jobs.next() {
            Some((next, job)) if next == id => Some(job),
            _ => {
                jobs = self.jobs.range(id..);
                jobs.next().filter(|(found, _)| *found == id).map(|(_, job)| job)
            }
        })
    }
}
