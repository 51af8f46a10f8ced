//! Answers of the hub. Requests are the nouns of `consortium` themselves.

use consortium::{
    Abilities, Account, Action, Actor, Amount, Artifact, ArtifactId, AwardId, Codec, Contact, Digest,
    FlopSeconds, FlopsPerSecond, Holder, Home, Interval, Job, JobId, JobSpec, Label, MaskKey, Member,
    OfferTerms, Organisation, OrganisationId, Past, Person, PersonId, Phase, Presence, Programme, ProjectId,
    Proposed, Round, RoundSpec, Scope, Site, SiteId, Standing, Time, Update, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether the hub is there, and how far its log has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The hub's version.
    pub version: String,
    /// The last record of its log.
    pub seq: u64,
}

/// Who the bearer of a token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// A person or a site.
    pub actor: Actor,
    /// Whom it belongs to.
    pub organisation: Option<OrganisationId>,
    /// Where that is at home.
    pub home: Option<Home>,
}

/// A command is carried out and safe in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// The last record of the log.
    pub seq: u64,
    /// The job it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The attempt it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// Ask for a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// For whom it shall speak.
    pub holder: Holder,
    /// After how many days it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// How far it goes.
    #[serde(default)]
    pub scope: Scope,
}

/// A new credential. The hub keeps only the token's digest, so this is the one time it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Issued {
    /// The bearer token.
    pub token: String,
}

/// A job as its people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// The log's last record when it was looked at.
    pub seq: u64,
    /// All that the log says of it.
    pub job: Job,
    /// How many rounds are closed.
    pub committed: u32,
    /// Money spent so far.
    pub spent: Won,
    /// Compute used so far.
    pub used: FlopSeconds,
    /// What its sites said last; not in the log, so a new hub doesn't know it.
    pub progress: BTreeMap<SiteId, Progress>,
}

/// A job in a list. Its candidates, its rounds and what it runs are told with the job alone: a list of whole jobs is a
/// hundred times as long, and who looks for a job doesn't look at them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobLine {
    /// Its number.
    pub id: JobId,
    /// What it was called.
    pub name: String,
    /// Who pays.
    pub project: ProjectId,
    /// By whom it was asked for.
    pub submitter: PersonId,
    /// When.
    pub submitted: Time,
    /// The stricter of what was asked for and what goes in.
    pub label: Label,
    /// How far it is.
    pub phase: Phase,
    /// GPUs that it takes; all of its sites' if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// How its sites train together; of a batch job nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// Which award pays; known once placed.
    pub award: Option<AwardId>,
    /// When it was placed.
    pub placed: Option<Time>,
    /// The sites it was placed on.
    pub members: BTreeMap<SiteId, Member>,
    /// Earlier stays of a batch job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Past>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Money spent so far.
    pub spent: Won,
    /// Compute used so far.
    pub used: FlopSeconds,
}

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Training {
    /// What was asked for.
    pub rounds: RoundSpec,
    /// How many rounds are closed.
    pub committed: u32,
    /// The last round's codec, where the job leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
}

impl JobLine {
    /// What a list tells of `job`.
    pub fn of(job: &Job) -> Self {
        let training = || Training {
            rounds: job.spec.rounds.clone(),
            committed: job.committed(),
            codec: job.codec(),
        };
        Self {
            id: job.id,
            name: job.spec.name.clone(),
            project: job.spec.project.clone(),
            submitter: job.submitter.clone(),
            submitted: job.submitted,
            label: job.label,
            phase: job.phase.clone(),
            gpus: job.spec.gpus,
            training: job.spec.batch.is_none().then(training),
            award: job.award.clone(),
            placed: job.placed,
            members: job.members.clone(),
            past: job.past.clone(),
            ended: job.ended,
            spent: job.spent(),
            used: job.used(),
        }
    }

    /// What its sites are to it, and what they were in earlier stays.
    pub fn stays(&self) -> impl Iterator<Item = &Member> {
        let past = self.past.iter().map(|past| &past.member);
        past.chain(self.members.values())
    }
}

/// How a site gets on with a job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// In which round.
    pub round: u32,
    /// Its step in the schedule.
    pub step: u64,
    /// Loss, nats a token.
    pub loss: f32,
    /// Tokens since the program started.
    pub tokens: u64,
    /// Speed of late.
    pub tokens_per_s: f32,
}

/// A site as everyone in the consortium sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteView {
    /// The site and its offer.
    pub site: Site,
    /// Milliseconds since the hub last heard from its process; none if it never did.
    pub silent_ms: Option<u64>,
    /// What its process has said it can do; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Abilities>,
    /// The job that holds its machines, where the asker may know it.
    pub job: Option<JobId>,
}

/// An organisation and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrganisationView {
    /// The organisation.
    #[serde(flatten)]
    pub organisation: Organisation,
    /// Whether it takes part.
    #[serde(default)]
    pub standing: Standing,
    /// Since when it stands so; none if it was never otherwise.
    #[serde(default)]
    pub since: Option<Time>,
    /// What that rests on, for whoever may audit.
    #[serde(default)]
    pub ground: Option<String>,
}

/// A person, how they stand and where they work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PersonView {
    /// The person.
    #[serde(flatten)]
    pub person: Person,
    /// Whether they take part, whatever their organisation does.
    pub standing: Standing,
    /// Since when; none if it was never otherwise.
    pub since: Option<Time>,
    /// What that rests on.
    pub ground: Option<String>,
    /// The projects they work in.
    pub projects: Vec<ProjectId>,
}

/// An offer of a site's owner; the last one is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferView {
    /// Counted from 1.
    pub version: u32,
    /// What it says.
    #[serde(flatten)]
    pub terms: OfferTerms,
    /// Since when.
    pub since: Time,
    /// What it rests on, for those who may audit; nothing of the one that a site came with.
    pub ground: Option<String>,
}

/// How fast a GPU of one sort is taken to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RatingView {
    /// The sort.
    pub gpu: String,
    /// FLOP/s of one.
    pub rated: FlopsPerSecond,
    /// Since when.
    pub since: Time,
    /// What that rests on, for those who may audit.
    pub ground: Option<String>,
}

/// A release that one person has proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseView {
    /// Of which artifact, with its label of now and its lineage.
    pub artifact: Artifact,
    /// What is proposed, and by whom.
    #[serde(flatten)]
    pub proposed: Proposed,
}

/// A project, for whoever may know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectView {
    /// Its name in addresses.
    pub id: ProjectId,
    /// What it is about.
    pub title: String,
    /// Whose project it is.
    pub organisation: OrganisationId,
    /// Under which programme.
    pub programme: Programme,
}

/// A programme's leaderboard: what those reports say that the asker may read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Board {
    /// Which programme.
    pub programme: Programme,
    /// One ranking for each set that was judged on and each measure that ranks.
    pub rankings: Vec<Ranking>,
}

/// Results that can be compared, the best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranking {
    /// The data that all of them were judged on.
    pub judged_on: Digest,
    /// The measure that decides.
    pub rank_by: String,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// The results.
    pub results: Vec<Ranked>,
}

/// One result, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// The job that made the report; none if a person brought it.
    pub job: Option<JobId>,
    /// The job's name, or the report's if the asker may not know the job.
    pub name: String,
    /// The report.
    pub report: ArtifactId,
    /// How far it may go.
    pub label: Label,
    /// Whose project it is of.
    pub organisation: OrganisationId,
    /// Values by measure.
    pub scores: BTreeMap<String, f64>,
}

/// Every account, and the check that they balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerView {
    /// What each account holds.
    pub accounts: Vec<(Account, Amount)>,
    /// What is wrong with them; none if they balance.
    pub wrong: Option<String>,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostingView {
    /// The log's record that it is in.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// Whose account.
    pub account: Account,
    /// Money, to or from it.
    pub won: Won,
    /// Compute, to or from it.
    pub compute: FlopSeconds,
}

/// What a site is to do. A site compares it with what it has done; nobody tells it single steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Orders {
    /// The jobs placed on it.
    pub jobs: Vec<SiteJob>,
}

/// A job as a site that it is placed on sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SiteJob {
    /// Which job.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// How far the results may go.
    pub label: Label,
    /// How far it is.
    pub phase: Phase,
    /// The site's attempt; 0 before the first.
    pub attempt: u32,
    /// Whether the hub takes the site for present.
    pub presence: Presence,
    /// Whether it is the site to write the results.
    pub lead: bool,
    /// Whether the results are in.
    pub results: bool,
    /// Whether all that are there have told what the last round led to, and told the same; then the results
    /// can be handed in.
    pub agreed: bool,
    /// Whether an update of the site ever counted: it had something of its own.
    pub contributed: bool,
    /// What a site begins with that has nothing of its own.
    pub checkpoint: Option<KeptOuter>,
    /// What a batch job is to find in `checkpoint/`.
    #[serde(default)]
    pub kept: BTreeMap<String, Digest>,
    /// How many rounds are closed.
    #[serde(default)]
    pub committed: u32,
    /// Those of them from the one that was asked for.
    pub closed: Vec<Round>,
    /// Those of them that this site's update counts in.
    pub counted: Vec<u32>,
    /// The open rounds that the site takes part in.
    pub open: Vec<OpenRound>,
    /// Updates that the site is to inspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<ToInspect>,
    /// Masks that the site is to have lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmask: Option<ToUnmask>,
    /// Of a batch job: for whom it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behalf: Option<Behalf>,
    /// The other sites in the job: those with an address may be asked for what its sites share, and may ask this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<SiteId, Contact>,
}

/// For whom a site runs a batch job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Behalf {
    /// Who asked for it.
    pub person: PersonId,
    /// The award that pays.
    pub award: AwardId,
    /// The organisation that has it.
    pub organisation: OrganisationId,
}

/// Some of what a batch job wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPart {
    /// The attempt that wrote it, and where it runs; none has begun if it's 0.
    pub attempt: u32,
    /// The text.
    pub text: String,
    /// Where the next part begins, in bytes.
    pub next: u64,
    /// Whether the job has ended.
    pub ended: bool,
}

/// What all sites agreed on after a round, as the hub keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptOuter {
    /// The last round that is in it.
    pub round: u32,
    /// The artifact.
    pub digest: Digest,
    /// The digest of weights and outer momentum that stands in the log.
    pub outer: Digest,
}

/// Bytes that were uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bytes {
    /// Their digest.
    pub digest: Digest,
    /// Their number.
    pub bytes: u64,
}

/// An upload that goes on where it broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadView {
    /// Its name.
    pub id: String,
    /// The project that it is for.
    pub project: ProjectId,
    /// What the bytes are to be.
    pub digest: Digest,
    /// How many there are to be.
    pub bytes: u64,
    /// How many are there.
    pub offset: u64,
    /// Whether all are there and the right ones: then a command may name them.
    pub complete: bool,
    /// When it goes.
    pub expires: Time,
}

/// Bytes in the hub's store that no record of the log names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftoversView {
    /// How many things these are.
    pub count: u64,
    /// All their bytes.
    pub bytes: u64,
    /// Whole bytes that nothing names: the first thousand.
    pub unnamed: Vec<Bytes>,
    /// How many uploads that have expired.
    pub uploads: u64,
    /// How many files that came in halfway.
    pub fragments: u64,
}

/// The site's part in an open round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenRound {
    /// Which.
    pub number: u32,
    /// What to train on.
    pub interval: Interval,
    /// How many rounds, from the first on, must be applied before.
    pub needs: u32,
    /// The update the hub has from it already.
    pub contributed: Option<Digest>,
    /// How the update is to be written, where the job leaves that open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// In a private job, the keys that its members make masks with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<SiteId, MaskKey>,
}

/// The masks of a private round that a site is to have lifted: its own, and those it shares with members that have no part in
/// the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToUnmask {
    /// Which round.
    pub round: u32,
    /// Those members, and their keys.
    pub with: BTreeMap<SiteId, MaskKey>,
}

/// The updates of a round that is to close, before any of them counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToInspect {
    /// Which round.
    pub round: u32,
    /// What came.
    pub updates: BTreeMap<SiteId, Update>,
}

/// Whether someone may do something, and which policies decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ruling {
    /// Who.
    pub who: String,
    /// What they would do.
    pub action: Action,
    /// With what.
    pub what: String,
    /// Yes or no.
    pub allowed: bool,
    /// The policies that decided; none on a no means that nothing permits it.
    pub policies: Vec<RulingPolicy>,
}

/// A policy that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RulingPolicy {
    /// Its `@id`.
    pub id: String,
    /// What it says, in Cedar.
    pub text: String,
}
