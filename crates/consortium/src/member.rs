//! Who and what the consortium knows: organisations, people, sites, projects, awards, artifacts.

use crate::{
    ArtifactId, AwardId, FlopSeconds, FlopsPerSecond, JobId, OrganisationId, PersonId, Price, ProjectId,
};
use crate::{Digest, SiteId, Time, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What an organisation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A company.
    Company,
    /// A university.
    University,
    /// A research institute.
    Institute,
    /// A public body, the programme office among them.
    Public,
}

/// Where an organisation is at home. A foreign organisation is a partner: it may help with anything open to
/// help, and restricted results stay closed to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// In Korea.
    Domestic,
    /// Elsewhere.
    Foreign,
}

/// An organisation of the consortium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Organisation {
    /// Its name in addresses.
    pub id: OrganisationId,
    /// Its name in English.
    pub name: String,
    /// Its name in Korean.
    pub name_ko: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is at home.
    pub home: Home,
}

/// What a person may do beyond their projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the consortium: admits, appropriates, awards, releases.
    Office,
    /// Reads the ledger and the log.
    Auditor,
    /// May read what is a matter of security, where they may read at all.
    Cleared,
}

/// A person who acts for an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Their name in addresses.
    pub id: PersonId,
    /// Whom they act for.
    pub organisation: OrganisationId,
    /// What they may do beyond their projects.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
}

/// How the consortium came by a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tenure {
    /// Rented from its owner by the programme office.
    Rented,
    /// A member's own machines, lent.
    Member,
    /// The consortium's own centre.
    National,
}

/// A place with machines, and what its owner asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Its name in addresses.
    pub id: SiteId,
    /// Whose machines they are.
    pub owner: OrganisationId,
    /// How the consortium came by it.
    pub tenure: Tenure,
    /// The speed that is metered and paid.
    pub rated: FlopsPerSecond,
    /// The owner's offer, won per PFLOP-hour.
    pub price: Price,
    /// How many GPUs jobs may share; a site of one goes to one job at a time, whatever machines it has.
    #[serde(default = "crate::round::one", skip_serializing_if = "is_one")]
    pub gpus: u32,
    /// What sort of GPU, in the words of the consortium's jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// What a PFLOP-hour costs the consortium more than the same machines idle; all of the price if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marginal: Option<Price>,
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

/// A research programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Programme {
    /// Hyperscale models.
    Language,
    /// Protein structure.
    Folding,
    /// Speech from EEG.
    Speech,
    /// Self-improving drone control.
    Flight,
    /// Design of realistic virtual space-time.
    Worlds,
}

impl fmt::Display for Programme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Language => "language",
            Self::Folding => "folding",
            Self::Speech => "speech",
            Self::Flight => "flight",
            Self::Worlds => "worlds",
        })
    }
}

/// A project: people who work on one thing, with awards to spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// Its name in addresses.
    pub id: ProjectId,
    /// What it is about.
    pub title: String,
    /// Whose project it is.
    pub organisation: OrganisationId,
    /// Under which programme.
    pub programme: Programme,
    /// Who works on it; partners may be among them.
    pub members: BTreeSet<PersonId>,
}

/// Money and compute given to a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Award {
    /// Its name in addresses.
    pub id: AwardId,
    /// To whom.
    pub project: ProjectId,
    /// Money.
    pub won: Won,
    /// Compute.
    pub compute: FlopSeconds,
}

/// How far something may travel. Ordered: what is made from several things takes the strictest label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// Anyone with an account may read it.
    Open,
    /// Every domestic member may read it.
    Consortium,
    /// Sensitive: only its project's domestic members and the programme office may read it.
    #[serde(alias = "sensitive")]
    Restricted,
    /// The same, if they are cleared for matters of security; machines other than the national centre's never
    /// get it.
    Security,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Consortium => "consortium",
            Self::Restricted => "restricted",
            Self::Security => "security",
        })
    }
}

/// What an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// Something to train on.
    Dataset,
    /// Turns text into tokens.
    Tokenizer,
    /// What one site learned in one round.
    Update,
    /// What all sites of a job agree on after a round.
    Checkpoint,
    /// A neural network's weights.
    Model,
    /// What a job says of itself at the end.
    Report,
    /// Numbers logged on the way.
    Metrics,
}

/// Some bytes that a project keeps, where they come from, and how far they may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Project and digest.
    pub id: ArtifactId,
    /// A file name for it.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Its size.
    pub bytes: u64,
    /// How far it may go: never less strict than what it was made from, unless two people have released it.
    pub label: Label,
    /// The job that made it; none if a person brought it.
    pub job: Option<JobId>,
    /// What it was made from, in the same project.
    pub made_from: Vec<Digest>,
    /// The people who have brought it; none if a job made it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub by: BTreeSet<PersonId>,
}

/// Whom a credential speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// A person.
    Person(PersonId),
    /// The process beside a site's machines.
    Site(SiteId),
}

/// How much a token is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All that its holder may do.
    #[default]
    Full,
    /// Only what changes nothing.
    Read,
}

/// Whom a token speaks for, how long and how far. The log knows a token by its digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// For whom it speaks.
    pub holder: Holder,
    /// From when on it is worth nothing; none for as long as nobody revokes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// How far it goes.
    #[serde(default, skip_serializing_if = "Scope::is_full")]
    pub scope: Scope,
    /// Whether it is a browser's session: that travels in a cookie, and a token never does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session: bool,
}

impl Credential {
    /// One without limits.
    pub fn full(holder: Holder) -> Self {
        Self {
            holder,
            expires: None,
            scope: Scope::Full,
            session: false,
        }
    }

    /// Whether it is still worth something at `now`.
    pub fn holds_at(&self, now: Time) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl Scope {
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
}
