//! Jobs: what was asked for, where it runs, how far it is.

use crate::batch::{Again, Batch, Stop};
use crate::place::Candidate;
use crate::round::{Interval, OuterCheckpoint, Round, RoundSpec};
use crate::watch::Watch;
use crate::{
    ArtifactId, AwardId, Digest, FlopSeconds, FlopsPerSecond, JobId, Label, PersonId, Price, ProjectId,
};
use crate::{MaskKey, SiteId, Time, Won};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A job as its submitter asks for it. On disk it is TOML:
///
/// ```toml
/// name = "korean-small"
/// project = "korean-reviews"
/// program = "language"
/// label = "restricted"
/// sites = 2
/// wall_minutes = 20
///
/// [inputs]
/// "train.tokens" = "blake3:..."
///
/// [rounds]
/// count = 12
/// samples = 640
/// quorum = 1
/// grace_seconds = 30
/// fragments = 4       # a round sends a quarter of the model
/// overlap = 1         # while it travels, training goes on
/// codec = "int4"      # fp32, int8, int4 or sparse; or auto: what the slowest link has room for
/// checkpoint_every = 50
///
/// [rounds.mode.inspected]     # an update is looked at before it counts
/// held_out = "valid.tokens"   # one of the inputs; [rounds.mode.private] hides each by itself instead
///
/// [settings]          # the program's own; the rules don't read them
/// width = 192
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A name for people.
    pub name: String,
    /// Who pays, and who may read what comes out.
    pub project: ProjectId,
    /// Which program runs; none in a batch job.
    #[serde(default)]
    pub program: String,
    /// How far the results may go, at the least strict; inputs may make it stricter.
    pub label: Label,
    /// How many sites train together.
    #[serde(default = "crate::round::one")]
    pub sites: u32,
    /// How long each site is held at most; this much is reserved.
    pub wall_minutes: u32,
    /// GPUs of a batch job; all of the site's if not told. A training takes all of its sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// What sort of GPU; any if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// So many minutes after its submission it should be done: towards the end it goes before others of its
    /// project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_minutes: Option<u32>,
    /// Files of the project that the program reads, by the name it knows them under.
    #[serde(default)]
    pub inputs: BTreeMap<String, Digest>,
    /// How the sites train together.
    #[serde(default)]
    pub rounds: RoundSpec,
    /// The program's own settings.
    #[serde(default)]
    pub settings: serde_json::Value,
    /// A command that runs at one site, instead of a training in rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Box<Batch>>,
}

impl JobSpec {
    /// Whether it runs in a container.
    pub(crate) fn has_image(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.image.is_some())
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// Waits for sites; `khub explain` says for what.
    Queued,
    /// Has sites; rounds go on.
    Running,
    /// The last round is closed; the lead site writes the results.
    Finishing,
    /// A batch job whose site has been told to stop it.
    Stopping {
        /// Why.
        why: Stop,
    },
    /// Finished, settled.
    Done,
    /// Ended without results.
    Failed {
        /// Why.
        reason: String,
    },
    /// Ended by its people.
    Cancelled,
}

impl Phase {
    /// Whether such a job holds or waits for machines.
    pub fn is_active(&self) -> bool {
        matches!(
            self,
            Self::Queued | Self::Running | Self::Finishing | Self::Stopping { .. }
        )
    }
}

/// What one site is to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// What was agreed at placement.
    pub placed: Placed,
    /// Counts the site's stays in the job; messages of an earlier stay are refused.
    pub attempt: u32,
    /// Whether it is there.
    pub presence: Presence,
    /// What it has used, by attempt.
    pub usage: BTreeMap<u32, Usage>,
    /// What has been paid for it.
    pub charged: Won,
    /// The last attempt that began without what the site had of its own (weights it had not sent yet, moments
    /// and what its codec rounded off), because that was lost.
    #[serde(default)]
    pub reset: Option<u32>,
    /// How busy its machines are.
    #[serde(default, skip_serializing_if = "Watch::is_new")]
    pub watch: Watch,
    /// How many of its last updates were rejected, in a row.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub strikes: u32,
    /// With which the others make masks with it, in a private job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<MaskKey>,
}

/// A site's part in a placement, at the price of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// Where.
    pub site: SiteId,
    /// Won per PFLOP-hour.
    pub price: Price,
    /// The speed that is metered.
    pub rated: FlopsPerSecond,
    /// Money set aside.
    pub reserved: Won,
    /// Compute set aside.
    pub reserved_compute: FlopSeconds,
}

/// Whether a placed site is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Placed, not heard of yet.
    Expected,
    /// In the job since then.
    Present(Time),
    /// Was there, then silent; may come back.
    Lost,
    /// Its weights differ from the others'; it may come back and replay the rounds.
    Diverged,
    /// Had nothing left to do.
    Left,
}

/// What a site used in one attempt; every number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Time the machines were held.
    pub millis: u64,
    /// Bytes of updates sent.
    pub sent: u64,
    /// Bytes of other sites' updates received.
    pub received: u64,
    /// Milliseconds of that time in which the site saw how busy the machines were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub watched: u64,
    /// Milliseconds of those in which they were: of several GPUs, the mean.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub busy: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde has it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde has it")]
fn is_none_yet(n: &u32) -> bool {
    *n == 0
}

/// A job and all that has become of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// By whom.
    pub submitter: PersonId,
    /// When.
    pub submitted: Time,
    /// The stricter of what was asked for and what goes in.
    pub label: Label,
    /// How far it is.
    pub phase: Phase,
    /// Which award pays; known once placed.
    pub award: Option<AwardId>,
    /// When it was placed.
    pub placed: Option<Time>,
    /// Every site and why it was taken or not, as judged at placement.
    pub candidates: Vec<Candidate>,
    /// The sites it was placed on.
    pub members: BTreeMap<SiteId, Member>,
    /// All rounds so far; the last may be open, with an overlap the last few.
    pub rounds: Vec<Round>,
    /// The last checkpoint for those who join.
    #[serde(default)]
    pub checkpoint: Option<OuterCheckpoint>,
    /// Intervals that a closed round did not use; taken up first.
    pub returned: Vec<Interval>,
    /// The first sample nobody has been given yet.
    pub next_sample: u64,
    /// Its label, the policy or a standing has changed since its sites were chosen, so some may not hold it any more.
    #[serde(default)]
    pub reconsider: bool,
    /// What came out.
    pub outputs: Vec<ArtifactId>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Earlier stays of a batch job: it ran once more after each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Past>,
    /// What a batch job had in `checkpoint/` when it last had to wait again: its next start finds it there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, Digest>,
}

/// A stay at a site after which the job waited again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    /// Where.
    pub site: SiteId,
    /// What it was to the job.
    pub member: Member,
    /// When it was over.
    pub ended: Time,
    /// Why the job ran once more.
    pub why: Again,
}

impl Job {
    /// Whether it holds or waits for machines.
    pub fn is_active(&self) -> bool {
        self.phase.is_active()
    }

    /// How many rounds are closed.
    pub fn committed(&self) -> u32 {
        u32::try_from(self.rounds.len() - self.open_rounds().count()).unwrap_or(u32::MAX)
    }

    /// The round that closes next, if one is open.
    pub fn open_round(&self) -> Option<&Round> {
        self.open_rounds().next()
    }

    /// The rounds that are open, in order. They close in order, so they are the last ones.
    pub fn open_rounds(&self) -> impl Iterator<Item = &Round> {
        let open = self.rounds.iter().rev().take_while(|round| !round.is_closed());
        let first = self.rounds.len() - open.count();
        self.rounds[first..].iter()
    }

    /// Samples that the job is to use: what its sites take in `count` rounds if all of them are always there.
    pub fn promised(&self) -> u64 {
        let rounds = &self.spec.rounds;
        let a_round = rounds.samples.saturating_mul(self.spec.sites.into());
        a_round.saturating_mul(rounds.count.into())
    }

    /// Samples in the queue: those that came back, and those that nobody has been given yet.
    pub fn waiting(&self) -> u64 {
        let returned: u64 = self.returned.iter().map(Interval::samples).sum();
        returned + self.promised().saturating_sub(self.next_sample)
    }

    /// Whether the wall time that is left at every site has room for two rounds as long as the `closed` ones were:
    /// one for samples in the queue, and as long again for the results.
    pub fn has_room(&self, closed: u32) -> bool {
        let closed = i128::from(closed.max(1));
        let mut members = self.members.values();
        members.all(|member| {
            let used = member.used().0;
            used + 2 * (used / closed) <= member.placed.reserved_compute.0
        })
    }

    /// The sites that are there, in site order.
    pub fn present(&self) -> impl Iterator<Item = (&SiteId, &Member)> {
        self.members.iter().filter(|(_, member)| member.is_present())
    }

    /// The site that writes the results: the first that is there.
    pub fn lead(&self) -> Option<&SiteId> {
        self.present().map(|(site, _)| site).next()
    }

    /// The last round's codec, where the job leaves it open.
    pub fn codec(&self) -> Option<crate::Codec> {
        self.rounds.last()?.codec
    }

    /// Whether all that are there have told what the last round led to, and told the same.
    pub fn is_agreed(&self) -> bool {
        let Some(last) = self.rounds.last() else {
            return false;
        };
        let mut present = self.present();
        present.all(|(site, _)| last.outer.contains_key(site)) && !self.rounds.iter().any(Round::is_disputed)
    }

    /// Whether some site learned `update` in one of the rounds. Who asks mostly asks for the last ones.
    pub(crate) fn has_update(&self, update: &Digest) -> bool {
        let updates = self.rounds.iter().rev().flat_map(|round| round.updates.values());
        updates.map(|known| known.digest).any(|known| known == *update)
    }

    /// Whether `digest` is a checkpoint of it.
    pub(crate) fn has_checkpoint(&self, digest: &Digest) -> bool {
        let of_rounds = self.checkpoint.iter().map(|kept| &kept.digest);
        of_rounds.chain(self.kept.values()).any(|kept| kept == digest)
    }

    /// Money spent so far.
    pub fn spent(&self) -> Won {
        self.stays().map(|member| member.charged).sum()
    }

    /// Compute used so far, as far as it was reserved.
    pub fn used(&self) -> FlopSeconds {
        self.stays().map(Member::used).sum()
    }

    /// What its sites are to it, and what they were in earlier stays.
    pub fn stays(&self) -> impl Iterator<Item = &Member> {
        let past = self.past.iter().map(|past| &past.member);
        past.chain(self.members.values())
    }

    /// The last attempt of `site` in an earlier stay.
    pub(crate) fn attempts_before(&self, site: &SiteId) -> u32 {
        let here = self.past.iter().filter(|past| past.site == *site);
        here.map(|past| past.member.attempt).max().unwrap_or(0)
    }
}

impl Usage {
    /// What a meter shows that has told both: its numbers never go back.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self {
            millis: self.millis.max(other.millis),
            sent: self.sent.max(other.sent),
            received: self.received.max(other.received),
            watched: self.watched.max(other.watched),
            busy: self.busy.max(other.busy),
        }
    }
}

impl Member {
    /// Whether the site is there now.
    pub fn is_present(&self) -> bool {
        matches!(self.presence, Presence::Present(_))
    }

    /// All attempts together. A meter that has come to its last number stays there.
    pub fn total(&self) -> Usage {
        self.usage.values().fold(Usage::default(), |sum, u| Usage {
            millis: sum.millis.saturating_add(u.millis),
            sent: sum.sent.saturating_add(u.sent),
            received: sum.received.saturating_add(u.received),
            watched: sum.watched.saturating_add(u.watched),
            busy: sum.busy.saturating_add(u.busy),
        })
    }

    /// Compute used, never more than what was reserved.
    pub fn used(&self) -> FlopSeconds {
        self.placed
            .rated
            .during(self.total().millis)
            .min(self.placed.reserved_compute)
    }
}
