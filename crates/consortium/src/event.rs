//! What can have happened. The log of these is the truth; an event that is in it is never changed, so new
//! kinds may be added here and old ones only read.

use crate::batch::{Again, Stop};
use crate::place::Candidate;
use crate::watch::{Notice, Taken, Terms};
use crate::{
    Abilities, Artifact, ArtifactId, Award, AwardEvent, AwardId, CallEvent, Codec, Credential, Digest,
    Interval, InvitationEvent, InvoiceEvent, JobId, JobSpec, Label, MaskKey, MoneyEvent, OfferEvent,
    Organisation, PeopleEvent, Person, PersonId,
};
use crate::{
    OrganisationId, OuterCheckpoint, Placed, Project, Publication, Rejection, Remembered, Report, RunEvent,
    RunId, Scale, Seeds, Site, SiteId, Standing, Transfer, Update, Usage, Won,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the nouns of the glossary")]
pub enum Event {
    /// A policy is in force.
    PolicyAdopted { text: String },
    /// An organisation was let in.
    Admitted(Organisation),
    /// An organisation takes part, or doesn't.
    StandingSet {
        organisation: OrganisationId,
        standing: Standing,
        ground: String,
    },
    /// Somebody would make an artifact less closed.
    ReleaseProposed {
        artifact: ArtifactId,
        to: Label,
        by: PersonId,
    },
    /// Two people made an artifact less closed.
    Released {
        artifact: ArtifactId,
        to: Label,
        by: [PersonId; 2],
    },
    /// A person acts for an organisation.
    PersonAdded(Person),
    /// Something happened to people.
    People(PeopleEvent),
    /// Something happened to an invitation; who comes by it follows.
    Invitation(InvitationEvent),
    /// A site is there.
    SiteAdded(Site),
    /// Something happened to offers.
    Offer(OfferEvent),
    /// A site's process has said what it can do.
    AbilitiesTold { site: SiteId, abilities: Abilities },
    /// A project is open.
    ProjectOpened(Project),
    /// The ministry gave money; a transfer follows.
    Appropriated { year: u16, won: Won },
    /// Something happened to what was left of a year's money; a transfer follows.
    Money(MoneyEvent),
    /// A project has an award; a transfer follows.
    Granted(Award),
    /// Something happened to a call or a proposal.
    Call(CallEvent),
    /// Something happened to an award; transfers may follow.
    Award(AwardEvent),
    /// Something happened to an invoice; transfers may follow.
    Invoice(InvoiceEvent),
    /// A token speaks for someone.
    CredentialIssued {
        token: Digest,
        #[serde(flatten)]
        credential: Credential,
    },
    /// A token speaks for nobody any more.
    CredentialRevoked { token: Digest },
    /// An artifact is kept; or its label became stricter, and with it the label of all that was made from it;
    /// or it is known to be made from more.
    Kept(Artifact),
    /// Something happened to a run.
    Run(RunId, RunEvent),
    /// A model has a new revision.
    Published {
        publication: Publication,
        commit: Digest,
    },
    /// A job was asked for.
    Submitted {
        job: JobId,
        spec: Box<JobSpec>,
        submitter: PersonId,
        label: Label,
    },
    /// A job has sites; transfers follow.
    Placed {
        job: JobId,
        award: AwardId,
        sites: Vec<Placed>,
        candidates: Vec<Candidate>,
    },
    /// A site began an attempt.
    Joined { job: JobId, site: SiteId, attempt: u32 },
    /// A site fell silent.
    Lost { job: JobId, site: SiteId, attempt: u32 },
    /// A site's weights differ from those that stand; its word on this round and later ones doesn't count.
    Diverged {
        job: JobId,
        site: SiteId,
        round: u32,
        outer: Digest,
    },
    /// A round is open; or it was open, and these sites take part as well.
    RoundOpened {
        job: JobId,
        round: u32,
        members: Vec<(SiteId, Interval)>,
        /// How its updates are written, where the job leaves that open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        codec: Option<Codec>,
    },
    /// An update counts, if its round closes with it.
    Contributed {
        job: JobId,
        round: u32,
        site: SiteId,
        update: Update,
    },
    /// A round is closed: these updates count, in this order; what was not used goes back to the queue.
    RoundClosed {
        job: JobId,
        round: u32,
        accepted: Vec<(SiteId, Digest)>,
        returned: Vec<Interval>,
        /// Whether it is the job's last. Where a log doesn't say, it is the one that the job's count tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<bool>,
        /// How much of an update counts, where that isn't all of it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        scales: BTreeMap<SiteId, Scale>,
        /// Whose updates came and don't count, and why.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        rejected: BTreeMap<SiteId, Rejection>,
    },
    /// An open round takes no more updates: those that came are to be inspected.
    InspectionBegan { job: JobId, round: u32 },
    /// A site has inspected a round's updates.
    Inspected {
        job: JobId,
        round: u32,
        site: SiteId,
        report: Report,
    },
    /// A site tells with which key the others are to make masks with it.
    KeyTold { job: JobId, site: SiteId, key: MaskKey },
    /// An open round takes no more updates: the masks of those that came are to be lifted, but for those of sites that
    /// are gone.
    UnmaskingBegan {
        job: JobId,
        round: u32,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        gone: BTreeSet<SiteId>,
    },
    /// A site has told the seeds of its masks.
    Unmasked {
        job: JobId,
        round: u32,
        site: SiteId,
        seeds: Seeds,
    },
    /// A site has no part in the job any more: the last so many of its updates were rejected.
    StruckOut { job: JobId, site: SiteId, strikes: u32 },
    /// A site applied a round, and says what it got.
    Applied {
        job: JobId,
        round: u32,
        site: SiteId,
        outer: Digest,
    },
    /// What all agree on after a round is kept, for those who join later.
    Checkpointed { job: JobId, checkpoint: OuterCheckpoint },
    /// A site goes on without what it had of its own: it has only what all agree on after so many rounds.
    Reset {
        job: JobId,
        site: SiteId,
        attempt: u32,
        applied: u32,
    },
    /// A site has used so much in all of an attempt; a transfer follows if that is worth a won or a
    /// FLOP-second.
    Metered {
        job: JobId,
        site: SiteId,
        attempt: u32,
        total: Usage,
        charged: Won,
    },
    /// A site has nothing left to do.
    Left {
        job: JobId,
        site: SiteId,
        outputs: Vec<Artifact>,
    },
    /// A batch job's site is to stop it.
    Stopping { job: JobId, why: Stop },
    /// A batch job waits again, with what it had as a checkpoint; transfers that release what was set aside follow.
    Requeued {
        job: JobId,
        why: Again,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<Artifact>,
    },
    /// A job ended; transfers that release what was set aside follow.
    Ended { job: JobId, outcome: Outcome },
    /// The consortium watches for machines that are held idle, by these terms; or doesn't.
    WatchSet { terms: Option<Terms> },
    /// A job holds machines idle, for so many milliseconds in a row, and what came of it; a transfer follows if its award
    /// was reduced.
    HeldIdle {
        job: JobId,
        site: SiteId,
        notice: Notice,
        idle: u64,
        percent: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken: Option<Taken>,
    },
    /// An award gets back what was taken because of a job; transfers follow.
    GivenBack { job: JobId, ground: String },
    /// Money or compute moved.
    Posted(Transfer),
    /// A key was used.
    Remembered { key: String, what: Remembered },
}

impl Event {
    /// Whether a job that waits may be able to start by this, or another place in the line be its due. Of these few it is
    /// known that it isn't so; what follows from them may be of the others.
    pub fn moves_the_queue(&self) -> bool {
        !matches!(
            self,
            Self::Appropriated { .. }
                | Self::CredentialIssued { .. }
                | Self::CredentialRevoked { .. }
                | Self::Run(..)
                | Self::Contributed { .. }
                | Self::InspectionBegan { .. }
                | Self::Inspected { .. }
                | Self::KeyTold { .. }
                | Self::UnmaskingBegan { .. }
                | Self::Unmasked { .. }
                | Self::Applied { .. }
                | Self::Checkpointed { .. }
                | Self::Metered { .. }
                | Self::Posted(_)
                | Self::Remembered { .. }
        )
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With results.
    Done,
    /// Without.
    Failed {
        /// Why.
        reason: String,
    },
    /// By its people.
    Cancelled,
}
