//! Who may do what, in Cedar: readable files under `policies/`, denied by default, every decision with the
//! names of the policies that made it.
//!
//! ```
//! use consortium::{Action, Actor, Policy, State, policy::Resource};
//! let state = State::default();
//! let hub = state.policy.ask(&state, &Actor::Hub, Action::Administer, &Resource::Consortium);
//! assert_eq!(hub.policies, ["hub-founds-the-consortium"]);
//! let nobody = Actor::Person("nobody".parse().unwrap());
//! assert!(!state.policy.ask(&state, &nobody, Action::Administer, &Resource::Consortium).allowed);
//! ```

use crate::{
    Actor, Artifact, ArtifactKind, Call, Case, Home, Job, JobId, JobSpec, Label, OrganisationId, PersonId,
    Project, ProjectId, Refusal, Role, Run, Site, SiteId, Standing, Tenure,
};
use crate::{Member, State};
use cedar_policy as cedar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

mod known;

pub(crate) use known::{Known, Principal, Question};

/// The policy the project ships: the text of `policies/consortium.cedar`.
pub const SHIPPED: &str = include_str!("../policies/consortium.cedar");
const SCHEMA: &str = include_str!("../policies/khub.cedarschema");

/// Something a person or a site may want to do; the schema says with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Admit, appropriate, award, issue credentials.
    Administer,
    /// Read the ledger and the log.
    Audit,
    /// Bring files to a project, submit and cancel its jobs.
    Contribute,
    /// Learn about a job, read an artifact's bytes.
    Read,
    /// Receive a job's weights and updates.
    Hold,
    /// Propose something to a call.
    Propose,
    /// Review a proposal.
    Review,
    /// Decide what comes of a proposal, and who reviews it.
    Decide,
    /// Read what reviews say of a proposal.
    ReadReviews,
    /// Know who was asked to review a proposal, who has a conflict with it, and whose a review is.
    ReadReviewers,
    /// Know what is owed for a site, and hand in the site's own bill.
    Bill,
}

/// What it is to be done with.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The whole.
    Consortium,
    /// A project.
    Project(&'a Project),
    /// An artifact.
    Artifact(&'a Artifact),
    /// A job.
    Job(&'a Job),
    /// What somebody logs of a try.
    Run(&'a Run),
    /// A call for proposals.
    Call(&'a Call),
    /// A proposal, and what has come of it.
    Proposal(&'a Case),
    /// A place with machines.
    Site(&'a Site),
    /// A job that is only being asked for.
    Planned(&'a JobSpec, Label),
}

/// Yes or no, and which policies said so. Empty on a no: nothing permits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// The `@id` of the policies that decided.
    pub policies: Vec<String>,
}

/// A policy that was checked against the schema.
#[derive(Clone)]
pub struct Policy {
    text: String,
    set: cedar::PolicySet,
    /// By an action's name, the policies that can have a say about it: Cedar evaluates all that it is given, and most are
    /// about other actions.
    of_action: BTreeMap<&'static str, cedar::PolicySet>,
    mentions: Mentions,
    known: Known,
}

/// What is written out in a policy's text, as Cedar parsed it: comments don't count.
#[derive(Clone, Default)]
struct Mentions {
    words: BTreeSet<String>,
    attributes: BTreeSet<String>,
    /// Attributes of which more is asked than `resource.ATTRIBUTE.contains(principal)`.
    compared: BTreeSet<String>,
    /// Kinds of things of which a single one is named.
    named: BTreeSet<String>,
}

/// What is wrong with a policy's text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy can't be adopted: {0}")]
pub struct BadPolicy(String);

impl Policy {
    /// Parses a policy and checks it against the schema: unknown attributes and actions are errors here,
    /// not surprises at the first decision.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let parsed = cedar::PolicySet::from_str(text).map_err(|e| BadPolicy(e.to_string()))?;
        if let Some(template) = parsed.templates().min_by_key(|template| template.to_string()) {
            let name = template.annotation("id").unwrap_or("without @id");
            return Err(BadPolicy(format!(
                "policy {name} has a slot (?principal or ?resource), and nothing ever fills it"
            )));
        }
        let mut set = cedar::PolicySet::new();
        let mut mentions = Mentions::default();
        // Cedar keeps policies and errors in no order; the same text gets the same answer here.
        let mut policies: Vec<_> = parsed.policies().collect();
        policies.sort_by_key(ToString::to_string);
        for policy in policies {
            let name = policy.annotation("id").filter(|id| !id.is_empty());
            let name = name.ok_or_else(|| BadPolicy(format!("a policy has no @id(\"...\"): {policy}")))?;
            let named = policy.new_id(cedar::PolicyId::new(name));
            let parts = policy.to_json().map_err(|e| BadPolicy(e.to_string()))?;
            mentions.gather(&parts);
            set.add(named).map_err(|e| BadPolicy(e.to_string()))?;
        }
        let (schema, _) =
            cedar::Schema::from_cedarschema_str(SCHEMA).map_err(|e| BadPolicy(e.to_string()))?;
        let verdict = cedar::Validator::new(schema).validate(&set, cedar::ValidationMode::Strict);
        let errors: BTreeSet<String> = verdict.validation_errors().map(in_words).collect();
        if !errors.is_empty() {
            return Err(BadPolicy(Vec::from_iter(errors).join("; ")));
        }
        Ok(Self {
            text: text.to_owned(),
            of_action: by_action(&set)?,
            set,
            mentions,
            known: Known::default(),
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names a single artifact, call, job, project, proposal or run, so that two with the same attributes may be told apart.
    pub(crate) fn names_one(&self) -> bool {
        let named = &self.mentions.named;
        ["Artifact", "Call", "Job", "Project", "Proposal", "Run"]
            .iter()
            .any(|kind| named.contains(*kind))
    }

    /// Whether all that it asks of a resource's `set` is if the principal is in it.
    pub(crate) fn asks_for_principal_in(&self, set: &str) -> bool {
        !self.mentions.compared.contains(set)
    }

    /// The label as this policy knows it. A policy from when there were two says nothing of the others; to it, what
    /// isn't open is restricted.
    fn word_for(&self, label: Label) -> String {
        let word = label.to_string();
        let newer = matches!(label, Label::Consortium | Label::Security);
        if newer && !self.mentions.words.contains(&word) {
            return Label::Restricted.to_string();
        }
        word
    }

    /// The text of the policy with this `@id`.
    pub fn text_of(&self, id: &str) -> Option<String> {
        let policy = self.set.policy(&cedar::PolicyId::new(id))?;
        Some(policy.to_string())
    }

    /// The answers that were given before, whatever the state was.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// May `actor` do `action` with `resource`?
    pub fn ask(&self, state: &State, actor: &Actor, action: Action, resource: &Resource<'_>) -> Decision {
        let denied = Decision {
            allowed: false,
            policies: Vec::new(),
        };
        // A policy from before there were standings says nothing of them.
        if !self.mentions.attributes.contains("standing") && !state.takes_part(actor) {
            return denied;
        }
        // Nor does one from before there were proposals say that nobody judges their own.
        if let (Resource::Proposal(case), Actor::Person(person)) = (resource, actor)
            && !self.mentions.attributes.contains("conflicted")
            && state.has_conflict(case, person)
            && !case.proposal.people.contains(person)
        {
            return denied;
        }
        let principal = principal_entity(&Principal::of(state, actor));
        let resource = resource_entity(self, state, resource);
        let request = cedar::Request::new(
            principal.uid(),
            uid("Action", action.name()),
            resource.uid(),
            cedar::Context::empty(),
            None,
        );
        let Ok(request) = request else { return denied };
        let Ok(entities) = cedar::Entities::from_entities([principal, resource], None) else {
            return denied;
        };
        let set = self.of_action.get(action.name()).unwrap_or(&self.set);
        let answer = cedar::Authorizer::new().is_authorized(&request, set, &entities);
        let mut policies: Vec<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        Decision {
            allowed: answer.decision() == cedar::Decision::Allow,
            policies,
        }
    }
}

impl Mentions {
    /// From a policy as JSON: `{"Value": "open"}`, `{"attr": "label"}`, `{"__entity": {"type": "Job", "id": "job-1"}}`.
    fn gather(&mut self, part: &Value) {
        match part {
            Value::Object(fields) => {
                if let Some(Value::String(word)) = fields.get("Value") {
                    self.words.insert(word.clone());
                }
                if let Some(Value::String(attribute)) = fields.get("attr") {
                    self.attributes.insert(attribute.clone());
                    self.compared.insert(attribute.clone());
                }
                if let (Some(Value::String(kind)), Some(_)) = (fields.get("type"), fields.get("id")) {
                    self.named.insert(kind.clone());
                }
                match fields.get("contains").and_then(principal_in) {
                    Some(set) => drop(self.attributes.insert(set)),
                    None => fields.values().for_each(|part| self.gather(part)),
                }
            }
            Value::Array(parts) => parts.iter().for_each(|part| self.gather(part)),
            _ => {}
        }
    }
}

/// The `members` of `resource.members.contains(principal)`, from the operands of its `contains`.
fn principal_in(operands: &Value) -> Option<String> {
    let is = |part: &Value, variable: &str| part.get("Var").is_some_and(|name| name == variable);
    let access = operands.get("left")?.get(".")?;
    let simple = is(access.get("left")?, "resource") && is(operands.get("right")?, "principal");
    let attribute = access.get("attr")?.as_str()?;
    simple.then(|| attribute.to_owned())
}

impl Decision {
    /// The decision as a result, refused in words: who may not do what.
    pub fn require(self, what: impl FnOnce() -> String) -> Result<(), Refusal> {
        if self.allowed {
            return Ok(());
        }
        let because = match self.policies.as_slice() {
            [] => "no policy permits it".to_owned(),
            names => format!("policy {}", names.join(", ")),
        };
        let hint = "ask the programme office, which decides who works in a project and what is released";
        Err(Refusal::forbidden(format!("{}: {because}", what()), self.policies).hint(hint))
    }
}

impl State {
    /// Whether `actor` may do `action` with `resource`; the refusal says why not.
    pub fn permit(&self, actor: &Actor, action: Action, resource: &Resource<'_>) -> Result<(), Refusal> {
        let decision = self.policy.ask(self, actor, action, resource);
        decision.require(|| format!("{actor} may not {} {}", action.verb(), resource.without_name()))
    }

    /// The project, if `actor` may contribute to it. Only its own people hear why they may not: to all others it isn't there,
    /// whether it is or not.
    pub fn project_for(&self, actor: &Actor, id: &ProjectId) -> Result<&Project, Refusal> {
        let absent = || {
            Refusal::not_found("project", format!("{id} in which {actor} works"))
                .hint("`khub projects` lists those that one may know of")
        };
        let found = self.projects.get(id).ok_or_else(absent)?;
        let works_in = matches!(actor, Actor::Person(person) if found.members.contains(person));
        match self.permit(actor, Action::Contribute, &Resource::Project(found)) {
            Err(refusal) if works_in => Err(refusal),
            Err(_) => Err(absent()),
            Ok(()) => Ok(found),
        }
    }
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Administer,
        Self::Audit,
        Self::Contribute,
        Self::Read,
        Self::Hold,
        Self::Propose,
        Self::Review,
        Self::Decide,
        Self::ReadReviews,
        Self::ReadReviewers,
        Self::Bill,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Administer => "administer",
            Self::Audit => "audit",
            Self::Contribute => "contribute",
            Self::Read => "read",
            Self::Hold => "hold",
            Self::Propose => "propose",
            Self::Review => "review",
            Self::Decide => "decide",
            Self::ReadReviews => "read-reviews",
            Self::ReadReviewers => "read-reviewers",
            Self::Bill => "bill",
        }
    }

    /// As a word before what it is done with.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Contribute => "contribute to",
            Self::Hold => "receive the weights of",
            Self::Propose => "propose to",
            Self::Decide => "decide on",
            Self::ReadReviews => "read the reviews of",
            Self::ReadReviewers => "know the reviewers of",
            Self::Bill => "bill for",
            other => other.name(),
        }
    }
}

impl Resource<'_> {
    /// For those who may not read it: they may know nothing of an artifact but its digest.
    pub fn without_name(&self) -> String {
        match self {
            Self::Artifact(artifact) => format!("{} ({})", artifact.id, artifact.label),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consortium => f.write_str("the consortium"),
            Self::Project(project) => write!(f, "project {}", project.id),
            Self::Artifact(artifact) => write!(
                f,
                "{} ({} of project {})",
                artifact.name, artifact.label, artifact.id.project
            ),
            Self::Job(job) => write!(f, "{} ({})", job.id, job.label),
            Self::Run(run) => write!(f, "run {} ({})", run.id, run.label),
            Self::Call(call) => write!(f, "call {} ({})", call.id, call.label),
            Self::Proposal(case) => write!(f, "proposal {}", case.proposal.id),
            Self::Site(site) => write!(f, "site {}", site.id),
            Self::Planned(spec, label) => write!(f, "job {} ({label})", spec.name),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} policies)", self.set.policies().count())
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::parse(SHIPPED).expect("the shipped policy is parsed in a test")
    }
}

impl Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn in_words(error: &cedar::ValidationError) -> String {
    let (name, error) = (error.policy_id(), error.to_string());
    let what = error.strip_prefix(&format!("for policy `{name}`, "));
    format!("policy {name}: {}", what.unwrap_or(&error))
}

// ---- entities: what Cedar sees of the state ----------------------------------------------------------

/// The schema has no groups of actions, so a policy is about those that it names, or about all.
fn by_action(set: &cedar::PolicySet) -> Result<BTreeMap<&'static str, cedar::PolicySet>, BadPolicy> {
    let about = |action: Action| {
        let action = uid("Action", action.name());
        let says = |policy: &&cedar::Policy| match policy.action_constraint() {
            cedar::ActionConstraint::Any => true,
            cedar::ActionConstraint::Eq(named) => named == action,
            cedar::ActionConstraint::In(named) => named.contains(&action),
        };
        let set = cedar::PolicySet::from_policies(set.policies().filter(says).cloned());
        set.map_err(|e| BadPolicy(e.to_string()))
    };
    let sets = Action::ALL.into_iter();
    sets.map(|action| Ok((action.name(), about(action)?))).collect()
}

fn uid(kind: &str, id: &str) -> cedar::EntityUid {
    let kind = cedar::EntityTypeName::from_str(kind).expect("entity types are written in this file");
    cedar::EntityUid::from_type_name_and_id(kind, cedar::EntityId::new(id))
}

fn text(value: &str) -> cedar::RestrictedExpression {
    cedar::RestrictedExpression::new_string(value.to_owned())
}

fn set_of(uids: impl Iterator<Item = cedar::EntityUid>) -> cedar::RestrictedExpression {
    cedar::RestrictedExpression::new_set(uids.map(cedar::RestrictedExpression::new_entity_uid))
}

#[allow(
    clippy::disallowed_types,
    reason = "Cedar asks for a HashSet; this one is empty"
)]
fn entity(uid: cedar::EntityUid, attributes: Vec<(&str, cedar::RestrictedExpression)>) -> cedar::Entity {
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let parents = std::collections::HashSet::new();
    cedar::Entity::new(uid, attributes, parents).expect("attributes are plain strings and sets")
}

fn home(home: Option<Home>) -> cedar::RestrictedExpression {
    // Whoever isn't known counts as foreign: the closed side.
    text(if home == Some(Home::Domestic) {
        "domestic"
    } else {
        "foreign"
    })
}

fn standing(standing: Option<Standing>) -> cedar::RestrictedExpression {
    // Whoever isn't known takes no part.
    text(&standing.unwrap_or(Standing::Left).to_string())
}

fn principal_entity(principal: &Principal) -> cedar::Entity {
    let name = |organisation: &Option<OrganisationId>| {
        text(organisation.as_ref().map_or("", OrganisationId::as_str))
    };
    match principal {
        Principal::Hub => entity(uid("Hub", "hub"), vec![("home", home(Some(Home::Domestic)))]),
        Principal::Person {
            id,
            home,
            organisation,
            standing,
            roles,
        } => {
            let roles = roles.iter().map(|role| match role {
                Role::Office => text("office"),
                Role::Auditor => text("auditor"),
                Role::Cleared => text("cleared"),
            });
            let attributes = vec![
                ("home", self::home(*home)),
                ("organisation", name(organisation)),
                ("standing", self::standing(*standing)),
                ("roles", cedar::RestrictedExpression::new_set(roles)),
            ];
            entity(uid("Person", id.as_str()), attributes)
        }
        Principal::Site {
            id,
            home,
            owner,
            standing,
            tenure,
        } => {
            let tenure = match tenure {
                None => "",
                Some(Tenure::Rented) => "rented",
                Some(Tenure::Member) => "member",
                Some(Tenure::National) => "national",
            };
            let attributes = vec![
                ("home", self::home(*home)),
                ("owner", name(owner)),
                ("standing", self::standing(*standing)),
                ("tenure", text(tenure)),
            ];
            entity(uid("Site", id.as_str()), attributes)
        }
    }
}

fn resource_entity(policy: &Policy, state: &State, resource: &Resource<'_>) -> cedar::Entity {
    let guarded =
        |uid, label: Label, project: &ProjectId, sites: BTreeSet<&SiteId>, by: &BTreeSet<PersonId>| {
            let members = state.projects.get(project).map(|p| &p.members);
            let attributes = vec![
                ("by", people(by.iter())),
                ("label", text(&policy.word_for(label))),
                ("members", people(members.into_iter().flatten())),
                (
                    "sites",
                    set_of(sites.into_iter().map(|site| self::uid("Site", site.as_str()))),
                ),
            ];
            entity(uid, attributes)
        };
    match resource {
        Resource::Consortium => entity(uid("Consortium", "khub"), Vec::new()),
        Resource::Project(project) => entity(
            uid("Project", project.id.as_str()),
            vec![("members", people(project.members.iter()))],
        ),
        Resource::Artifact(artifact) => {
            let id = uid("Artifact", &artifact.id.to_string());
            guarded(
                id,
                artifact.label,
                &artifact.id.project,
                state.sites_that_need(artifact),
                &artifact.by,
            )
        }
        Resource::Job(job) => {
            let sites = job.members.keys().filter(|_| job.is_active()).collect();
            guarded(
                uid("Job", &job.id.to_string()),
                job.label,
                &job.spec.project,
                sites,
                &BTreeSet::new(),
            )
        }
        Resource::Run(run) => guarded(
            uid("Run", &run.id.to_string()),
            state.label_of_run(run),
            &run.project,
            BTreeSet::new(),
            &[run.by.clone()].into(),
        ),
        Resource::Call(call) => {
            let attributes = vec![
                ("by", people([].iter())),
                ("label", text(&policy.word_for(call.label))),
                ("members", people([].iter())),
                ("sites", set_of([].into_iter())),
            ];
            entity(uid("Call", call.id.as_str()), attributes)
        }
        Resource::Proposal(case) => proposal_entity(policy, state, case),
        Resource::Site(site) => principal_entity(&Principal::of(state, &Actor::Site(site.id.clone()))),
        Resource::Planned(spec, label) => guarded(
            uid("Job", &JobId(0).to_string()),
            *label,
            &spec.project,
            BTreeSet::new(),
            &BTreeSet::new(),
        ),
    }
}

/// It is restricted, and its people are those who have brought it: so partners read their own.
fn proposal_entity(policy: &Policy, state: &State, case: &Case) -> cedar::Entity {
    let own = &case.proposal.people;
    let parties = state
        .parties(case)
        .into_iter()
        .map(|organisation| text(organisation.as_str()));
    let attributes = vec![
        ("by", people(own.iter())),
        ("conflicted", people(case.conflicted())),
        (
            "judged",
            cedar::RestrictedExpression::new_bool(case.judged.is_some()),
        ),
        ("label", text(&policy.word_for(Label::Restricted))),
        ("members", people(own.iter())),
        ("organisations", cedar::RestrictedExpression::new_set(parties)),
        ("reviewers", people(case.readers())),
        ("sites", set_of([].into_iter())),
    ];
    entity(uid("Proposal", &case.proposal.id.to_string()), attributes)
}

fn people<'a>(people: impl Iterator<Item = &'a PersonId>) -> cedar::RestrictedExpression {
    set_of(people.map(|person| uid("Person", person.as_str())))
}

impl State {
    pub(super) fn home_of_person(&self, person: &PersonId) -> Option<Home> {
        let organisation = &self.people.get(person)?.organisation;
        Some(self.organisations.get(organisation)?.home)
    }

    pub(super) fn home_of_site(&self, site: &SiteId) -> Option<Home> {
        let owner = &self.sites.get(site)?.owner;
        Some(self.organisations.get(owner)?.home)
    }

    /// Sites in a running job that reads `artifact`, or whose update or checkpoint it is. An earlier job may have made the
    /// same bytes: training is deterministic.
    pub(crate) fn sites_that_need(&self, artifact: &Artifact) -> BTreeSet<&SiteId> {
        let needs = |job: &&Job| {
            let input = || {
                let mut inputs = job.spec.inputs.values();
                inputs.any(|digest| *digest == artifact.id.digest)
            };
            let made = || match artifact.kind {
                ArtifactKind::Update => job.has_update(&artifact.id.digest),
                ArtifactKind::Checkpoint => job.has_checkpoint(&artifact.id.digest),
                _ => false,
            };
            artifact.job == Some(job.id) || input() || made()
        };
        let still_in = |member: &&Member| member.presence != crate::Presence::Left;
        let jobs = self.active_jobs_of(&artifact.id.project).filter(needs);
        jobs.flat_map(|job| {
            job.members
                .iter()
                .filter(move |(_, m)| still_in(m))
                .map(|(site, _)| site)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also of a policy that is about every action, of one that is about several, and of one that is about one.
    #[test]
    fn an_action_is_decided_by_the_policies_about_it_as_by_all() {
        let more = r#"@id("any") permit (principal, action, resource == Project::"p");
            @id("two") forbid (principal is Person, action in [Action::"contribute", Action::"audit"], resource);
            @id("one") permit (principal is Site, action == Action::"hold", resource);"#;
        for text in [SHIPPED.to_owned(), more.to_owned(), format!("{SHIPPED}{more}")] {
            let policy = Policy::parse(&text).unwrap();
            let request = |actor: &str, action: Action, resource: &str| {
                let [actor, resource] = [actor, resource].map(|uid| uid.parse().unwrap());
                let context = cedar::Context::empty();
                cedar::Request::new(actor, uid("Action", action.name()), resource, context, None).unwrap()
            };
            let decide = |set: &cedar::PolicySet, request: &cedar::Request| {
                let answer = cedar::Authorizer::new().is_authorized(request, set, &cedar::Entities::empty());
                let reasons: BTreeSet<String> =
                    answer.diagnostics().reason().map(ToString::to_string).collect();
                (answer.decision(), reasons)
            };
            for actor in [r#"Hub::"hub""#, r#"Person::"p""#, r#"Site::"s""#] {
                for resource in [r#"Consortium::"khub""#, r#"Project::"p""#, r#"Job::"job-1""#] {
                    for action in Action::ALL {
                        let request = request(actor, action, resource);
                        let few = decide(&policy.of_action[action.name()], &request);
                        assert_eq!(
                            few,
                            decide(&policy.set, &request),
                            "{actor} {action:?} {resource}"
                        );
                    }
                }
            }
        }
    }
}
