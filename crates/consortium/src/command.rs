//! What can be asked of the consortium, and by whom.

use crate::watch::Terms;
use crate::{
    Abilities, ArtifactId, ArtifactKind, Award, AwardCommand, AwardId, CallCommand, Credential, Digest,
    Holder, InvitationCommand, InvoiceCommand, InvoiceId, JobId, JobSpec, Label, MaskKey, MoneyCommand,
    OfferCommand, Organisation, PeopleCommand, Person, PersonId,
};
use crate::{
    Exit, OrganisationId, Project, Publication, Report, RunCommand, RunId, Seeds, Site, SiteId, Standing,
    Update, Usage, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The hub itself: founding the consortium, and what time alone brings about.
    Hub,
    /// A person.
    Person(PersonId),
    /// The process beside a site's machines.
    Site(SiteId),
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Put another policy in force.
    AdoptPolicy(String),
    /// Let an organisation in.
    Admit(Organisation),
    /// Suspend an organisation, let it go, or have it back.
    SetStanding {
        /// Which.
        organisation: OrganisationId,
        /// How it stands from now on.
        standing: Standing,
        /// What that rests on.
        ground: String,
    },
    /// Propose to make an artifact less closed, or agree to that.
    Release {
        /// Which.
        artifact: ArtifactId,
        /// The label it shall have.
        to: Label,
    },
    /// Let a person act for an organisation.
    AddPerson(Person),
    /// Change their roles, their standing, or who works in which project.
    People(PeopleCommand),
    /// Invite somebody, take that back, or let in who comes.
    Invitation(InvitationCommand),
    /// Add a place with machines, at its owner's price.
    AddSite(Site),
    /// Take another offer of a site's owner, or rate a sort of GPU.
    Offer(OfferCommand),
    /// A site's process says what it can do.
    TellAbilities(Abilities),
    /// Open a project.
    OpenProject(Project),
    /// Take money from the ministry for a fiscal year.
    Appropriate {
        /// The fiscal year.
        year: u16,
        /// The money.
        won: Won,
    },
    /// Carry over what is left of a year's money, or give it back.
    Money(MoneyCommand),
    /// Give this year's money, and compute, to a project; when the hub founds the consortium, that of any year.
    Grant(Award),
    /// Watch for machines that are held idle, by these terms; or don't any more.
    SetWatch(Option<Terms>),
    /// Give an award back what was taken because of a job that held machines idle.
    GiveBack {
        /// Which job.
        job: JobId,
        /// What that rests on.
        ground: String,
    },
    /// Call for proposals, propose, review, judge.
    Call(CallCommand),
    /// Change an award, end it, take back what it doesn't use.
    Award(AwardId, AwardCommand),
    /// Issue, compare, correct or pay what is owed to a site's owner.
    Invoice(InvoiceId, InvoiceCommand),
    /// Let the holder of a token speak for someone.
    IssueCredential {
        /// The token's digest.
        token: Digest,
        /// What it is good for.
        #[serde(flatten)]
        credential: Credential,
    },
    /// Let a token speak for nobody any more.
    RevokeCredential {
        /// The token's digest.
        token: Digest,
    },
    /// Keep some bytes in a project.
    Register(Output),
    /// Begin a run, add to it, end it.
    Run(RunId, RunCommand),
    /// Put a project's files together as a model under a name.
    Publish(Publication),
    /// Ask for a job.
    Submit(JobSpec),
    /// End a job.
    Cancel(JobId),
    /// A site is ready to take part in a job; begins a new attempt.
    Join {
        /// Which job.
        job: JobId,
    },
    /// A site's update for an open round.
    Contribute {
        /// Which job.
        job: JobId,
        /// Which round.
        round: u32,
        /// The site's attempt.
        attempt: u32,
        /// What it learned.
        update: Update,
    },
    /// A site has inspected the updates of a round that is to close.
    Inspect {
        /// Which job.
        job: JobId,
        /// Which round.
        round: u32,
        /// The site's attempt.
        attempt: u32,
        /// What it found.
        report: Report,
    },
    /// A site tells with which key the others are to make masks with it.
    TellKey {
        /// Which job.
        job: JobId,
        /// The site's attempt.
        attempt: u32,
        /// The public half; the other one never leaves the site.
        key: MaskKey,
    },
    /// A site has its masks of a round lifted.
    Unmask {
        /// Which job.
        job: JobId,
        /// Which round.
        round: u32,
        /// The site's attempt.
        attempt: u32,
        /// What they were made from.
        seeds: Seeds,
    },
    /// A site applied a closed round and tells the digest of what it got.
    Applied {
        /// Which job.
        job: JobId,
        /// Which round.
        round: u32,
        /// The site's attempt.
        attempt: u32,
        /// Weights and outer momentum.
        outer: Digest,
    },
    /// A site has put what all agree on after a round into the store.
    Checkpoint {
        /// Which job.
        job: JobId,
        /// The last round that is in it.
        round: u32,
        /// The site's attempt.
        attempt: u32,
        /// The bytes.
        digest: Digest,
        /// Their size.
        bytes: u64,
    },
    /// A site has lost what it had of its own and goes on from what all agree on.
    Reset {
        /// Which job.
        job: JobId,
        /// The site's attempt.
        attempt: u32,
        /// The rounds that are applied to what it begins with.
        applied: u32,
    },
    /// What a site has used.
    Meter {
        /// Which job.
        job: JobId,
        /// The reading.
        reading: Reading,
    },
    /// The lead site hands in the results, or another site has nothing left to do.
    Leave {
        /// Which job.
        job: JobId,
        /// The site's attempt.
        attempt: u32,
        /// What came out; only the lead has any.
        outputs: Vec<Output>,
    },
    /// The program stopped with an error.
    Fail {
        /// Which job.
        job: JobId,
        /// The site's attempt.
        attempt: u32,
        /// What it said.
        message: String,
    },
    /// A batch job's stay is over.
    End {
        /// Which job.
        job: JobId,
        /// The site's attempt.
        attempt: u32,
        /// How it ended.
        exit: Exit,
        /// What came out.
        outputs: Vec<Output>,
    },
    /// The hub has not heard from a site for too long.
    Lose {
        /// Which job.
        job: JobId,
        /// Which site.
        site: SiteId,
        /// The attempt that is lost.
        attempt: u32,
    },
    /// Time has passed, or something happened: what follows from it? Asked until nothing does.
    Tick,
}

/// A meter reading: totals since the attempt began, so that a reading told twice counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// The site's attempt.
    pub attempt: u32,
    /// Totals of the attempt.
    pub total: Usage,
}

/// Bytes that are in the store and are now to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Where and what.
    pub id: ArtifactId,
    /// A file name.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Its size.
    pub bytes: u64,
    /// The least strict label it may have; what it was made from may make it stricter.
    pub label: Label,
    /// What it was made from, in the same project.
    #[serde(default)]
    pub made_from: Vec<Digest>,
}

/// A command, who asks, and a key under which it is done at most once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub actor: Actor,
    /// Asked again with the same key, it is not done again.
    pub key: Option<String>,
    /// What.
    pub command: Command,
}

impl Request {
    /// A request without a key.
    pub fn new(actor: Actor, command: Command) -> Self {
        Self {
            actor,
            key: None,
            command,
        }
    }

    /// The same under a key.
    #[must_use]
    pub fn keyed(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }

    /// Keys of two actors never meet.
    pub(crate) fn scoped_key(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("{} {key}", self.actor))
    }

    pub(crate) fn digest(&self) -> Digest {
        let command = serde_json::to_vec(&self.command).expect("commands are plain data");
        Digest::of(&command)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.pad("hub"),
            Self::Person(person) => write!(f, "person {person}"),
            Self::Site(site) => write!(f, "site {site}"),
        }
    }
}

impl From<Holder> for Actor {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Person(person) => Self::Person(person),
            Holder::Site(site) => Self::Site(site),
        }
    }
}
