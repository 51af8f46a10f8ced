//! Why a job is where it is: every site with the reason for or against it, in words.

use crate::batch::waits_for;
use crate::inspection;
use crate::place::{Board, Candidate, Placing, Scene, Verdict};
use crate::queue::{Foreseen, Handle, Queue};
use crate::watch;
use crate::{Job, JobId, Label, OrganisationId, Phase, Price, ProjectId, SiteId, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The answer to "why?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// How far the job is, in a sentence.
    pub summary: String,
    /// Every site, in words.
    pub sites: Vec<Reason>,
    /// Of a job that waits: its place in the queue, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// Of a job that waits: when it is to be expected to start, if every job takes all of its wall time and no
    /// other comes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// What would let a waiting job start, each by itself or with others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What is to be said of machines that it holds idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    /// Of a job whose updates are inspected: whose were rejected, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<String>,
}

/// When a waiting job is to be expected to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// By this time.
    By(Time),
    /// After this time; further than that nothing is reckoned.
    After(Time),
    /// Not as things are: something has to change.
    Never,
}

/// A job that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Its place in the queue, counted from 1.
    pub place: u64,
    /// Which.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: ProjectId,
    /// The project's organisation.
    pub organisation: Option<OrganisationId>,
    /// What the organisation holds, in millionths of all GPUs: who holds less goes first.
    pub share_millionths: u64,
    /// Since when it waits.
    pub since: Time,
    /// For what, in a few words.
    pub why: String,
}

/// One site's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The site and what was found.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Whose site it is, and from where.
    pub owner: String,
    /// The reason in words.
    pub because: String,
}

/// The queue at one moment: who stands where in it, who holds what, and what starts. Every active job is looked at to make
/// one. It serves all who ask until an event [moves the queue](crate::Event::moves_the_queue) or some time has gone by.
#[derive(Debug)]
pub struct Outlook {
    board: Board,
    queue: Queue,
    line: Vec<Handle>,
    /// What starts at this very moment.
    placed: Vec<Placing>,
    /// What each project's organisation holds, in millionths of all GPUs.
    shares: BTreeMap<ProjectId, u64>,
    now: Time,
}

impl Outlook {
    /// The queue at `now`.
    pub fn new(state: &State, now: Time) -> Self {
        let (mut scene, mut queue) = Scene::new(state, now);
        let line = queue.line(now.0);
        let projects = state.projects.keys().zip(0..);
        let shares = projects.map(|(id, project)| (id.clone(), queue.shares(project).0));
        let shares = shares.collect();
        let placed = scene.round(&mut queue, now).placings;
        Self {
            shares,
            board: scene.into_board(),
            queue,
            line,
            placed,
            now,
        }
    }

    /// Of which moment it is.
    pub fn at(&self) -> Time {
        self.now
    }
}

/// Explains `job`: as judged at its placement, or as it stands at `now` if it still waits.
pub fn explain(state: &State, job: &Job, now: Time) -> Explanation {
    explain_by(state, job, || Arc::new(Outlook::new(state, now)))
}

/// The same by an outlook that was made of `state`, or of one before it; it is asked for only if the job waits.
pub fn explain_by(state: &State, job: &Job, outlook: impl FnOnce() -> Arc<Outlook>) -> Explanation {
    let reasons = |candidates: Vec<Candidate>| {
        let reasons = candidates
            .into_iter()
            .map(|candidate| reason(state, job, candidate));
        reasons.collect()
    };
    let idle = watch::in_words(state, job);
    if job.phase != Phase::Queued {
        return Explanation {
            summary: summary(job, None),
            sites: reasons(job.candidates.clone()),
            place: None,
            start: None,
            changes: Vec::new(),
            idle,
            rejected: inspection::in_words(job),
        };
    }
    let outlook = outlook();
    let mut look = Look::new(state, &outlook);
    let candidates = look.candidates(job);
    if let Some(before) = waits_for(state, job) {
        return Explanation {
            summary: format!("{} waits for {} to be done", job.id, before.id),
            sites: reasons(candidates),
            place: None,
            start: None,
            changes: vec![format!("{} is done", before.id)],
            idle,
            rejected: Vec::new(),
        };
    }
    let at = look.at(job);
    let place = at.map(|at| at as u64 + 1);
    Explanation {
        summary: summary(job, place),
        changes: changes(job, &candidates),
        sites: reasons(candidates),
        place,
        start: at.map(|at| look.start(at)),
        idle,
        rejected: Vec::new(),
    }
}

/// Who waits, first in the queue first. What each waits for is only reckoned for those that are told.
pub struct Line<'a> {
    look: Look<'a>,
    /// The jobs that wait for machines, and then those that wait for other jobs.
    jobs: Vec<&'a Job>,
    known: BTreeMap<Wish<'a>, String>,
}

/// Jobs that ask for the same wait for the same: project, label, sites, GPUs and their sort, minutes, an image.
type Wish<'a> = (&'a ProjectId, Label, u32, Option<u32>, Option<&'a str>, u32, bool);

impl<'a> Line<'a> {
    /// The queue by an outlook that was made of `state`, or of one before it.
    pub fn new(state: &'a State, outlook: &'a Outlook) -> Self {
        let look = Look::new(state, outlook);
        let in_line = outlook.line.iter().filter_map(|handle| look.scene.job(*handle));
        let queued = state.active_jobs().filter(|job| job.phase == Phase::Queued);
        let later = queued.filter(|job| waits_for(state, job).is_some());
        Self {
            jobs: in_line.chain(later).collect(),
            known: BTreeMap::new(),
            look,
        }
    }

    /// The jobs with their places, counted from 1.
    pub fn places(&self) -> impl Iterator<Item = (u64, &'a Job)> {
        (1..).zip(self.jobs.iter().copied())
    }

    /// What is to be said of the job at `place`.
    pub fn tell(&mut self, place: u64, job: &'a Job) -> Waiting {
        let (state, spec) = (self.look.scene.state, &job.spec);
        let wish = (
            &spec.project,
            job.label,
            spec.sites,
            spec.gpus,
            spec.gpu.as_deref(),
            spec.wall_minutes,
            spec.has_image(),
        );
        let look = &mut self.look;
        let why = match waits_for(state, job) {
            Some(before) => format!("{} has to be done before", before.id),
            None => self
                .known
                .entry(wish)
                .or_insert_with(|| in_short(&look.candidates(job)))
                .clone(),
        };
        let project = state.projects.get(&spec.project);
        Waiting {
            place,
            job: job.id,
            name: spec.name.clone(),
            project: spec.project.clone(),
            organisation: project.map(|project| project.organisation.clone()),
            share_millionths: self.look.outlook.shares.get(&spec.project).copied().unwrap_or(0),
            since: job.submitted,
            why,
        }
    }
}

/// The queue of an outlook, in a state that has come of the outlook's.
struct Look<'a> {
    scene: Scene<'a>,
    outlook: &'a Outlook,
}

impl<'a> Look<'a> {
    fn new(state: &'a State, outlook: &'a Outlook) -> Self {
        Self {
            scene: Scene::of(state, Cow::Borrowed(&outlook.board)),
            outlook,
        }
    }

    /// How many stand before a job in the line, if it does.
    fn at(&self, job: &Job) -> Option<usize> {
        let mut line = self.outlook.line.iter();
        line.position(|handle| self.outlook.queue.id(*handle) == job.id.0)
    }

    fn candidates(&mut self, job: &'a Job) -> Vec<Candidate> {
        if let Some(placing) = self.outlook.placed.iter().find(|placing| placing.job == job.id) {
            return placing.candidates.clone();
        }
        let kept = self
            .outlook
            .queue
            .reserved()
            .map(|handle| JobId(self.outlook.queue.id(handle)));
        self.scene
            .verdicts(job, None, kept.filter(|other| *other != job.id))
    }

    fn start(&self, at: usize) -> Start {
        let Outlook { queue, line, now, .. } = self.outlook;
        match self.scene.foresee(queue.clone(), line[at], *now) {
            Foreseen::At(at) => Start::By(Time(at)),
            Foreseen::After(after) => Start::After(Time(after)),
            Foreseen::Never => Start::Never,
        }
    }
}

fn summary(job: &Job, place: Option<u64>) -> String {
    let on = || {
        job.members
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    match &job.phase {
        Phase::Stopping { .. } => format!("{} is being stopped on {}", job.id, on()),
        Phase::Running if job.spec.batch.is_some() => format!("{} runs on {}", job.id, on()),
        Phase::Queued => {
            let place = place.map_or_else(String::new, |place| format!(", number {place} in the queue"));
            format!("{} waits for sites{place}", job.id)
        }
        Phase::Running => format!(
            "{} runs on {}, {}, {}",
            job.id,
            on(),
            closed(job),
            job.spec.rounds.described(job.codec())
        ),
        Phase::Finishing => format!(
            "{} has closed all rounds on {} and writes its results",
            job.id,
            on()
        ),
        Phase::Done => format!("{} ran on {} and is done", job.id, on()),
        Phase::Failed { reason } => format!("{} failed: {reason}", job.id),
        Phase::Cancelled => format!("{} was cancelled", job.id),
    }
}

fn closed(job: &Job) -> String {
    let (closed, count) = (job.committed(), job.spec.rounds.count);
    match closed.checked_sub(count) {
        Some(0) => format!("all {count} rounds closed, more for samples that were left over"),
        Some(more) => format!("all {count} rounds closed, and {more} for samples that were left over"),
        None => format!("{closed} of {count} rounds closed"),
    }
}

fn reason(state: &State, job: &Job, candidate: Candidate) -> Reason {
    let organisation = state
        .sites
        .get(&candidate.site)
        .and_then(|site| state.organisations.get(&site.owner));
    let owner = organisation.map_or_else(String::new, |o| match o.home {
        crate::Home::Domestic => o.name.clone(),
        crate::Home::Foreign => format!("{}, foreign partner", o.name),
    });
    let because = match &candidate.verdict {
        Verdict::Taken { price } => format!("taken, at {}", asked(state, &candidate.site, *price)),
        Verdict::Dearer { price } => {
            let cheaper = match job.spec.sites {
                1 => "1 cheaper site was".to_owned(),
                sites => format!("{sites} cheaper sites were"),
            };
            let asked = asked(state, &candidate.site, *price);
            format!("not needed: {cheaper} enough (this one asks {asked})")
        }
        Verdict::Busy { job } => format!("its machines are held by {job}; wait until that ends"),
        Verdict::Full { free, wanted } => {
            format!("{free} of its GPUs are free, and the job wants {wanted}; wait until others end")
        }
        Verdict::Small { gpus, wanted } => {
            format!("too small: it has {gpus} GPUs, and the job wants {wanted} at a site")
        }
        Verdict::Other {
            gpu: Some(gpu),
            wanted,
        } => format!("it has {gpu}, and the job wants {wanted}"),
        Verdict::Other { gpu: None, wanted } => {
            format!("nobody has said which GPUs it has, and the job wants {wanted}")
        }
        Verdict::Bare => "it runs no containers, and the job names an image".to_owned(),
        Verdict::Kept { job } => {
            format!("kept free for {job}, which is ahead and would start later otherwise")
        }
        Verdict::Closed { policies } if policies.is_empty() => {
            "no policy lets it receive the weights".to_owned()
        }
        Verdict::Closed { policies } => {
            format!(
                "it may not receive {} weights: policy {}",
                job.label,
                policies.join(", ")
            )
        }
        Verdict::TooFew { eligible, wanted } => {
            format!(
                "free, but the job wants {wanted} sites together and only {eligible} can be had; ask for fewer sites or wait"
            )
        }
        Verdict::Unaffordable { needed } => {
            format!(
                "no award of project {} has {needed} left and the compute; shorten wall_minutes or ask for an award",
                job.spec.project
            )
        }
    };
    Reason {
        candidate,
        owner,
        because,
    }
}

/// A site's price, and what of it use costs more than idleness, which is what sites are compared by.
fn asked(state: &State, site: &SiteId, price: Price) -> String {
    let marginal = state.sites.get(site).and_then(|site| site.marginal);
    let than_idle = marginal.filter(|marginal| *marginal != price);
    let than_idle = than_idle.map_or_else(String::new, |more| format!(", {} of it more than idle", more.0));
    format!("{} won a PFLOP-hour{than_idle}", price.0)
}

/// What would let the job start, in the order of its sites.
fn changes(job: &Job, candidates: &[Candidate]) -> Vec<String> {
    let mut told = BTreeSet::new();
    let changes = candidates.iter().filter_map(|candidate| {
        let site = &candidate.site;
        Some(match &candidate.verdict {
            Verdict::Busy { job } => format!("{job} ends at {site}"),
            Verdict::Full { free, wanted } => format!("{} more GPUs become free at {site}", wanted - free),
            Verdict::Kept { job } => format!("{job} starts"),
            Verdict::Small { gpus, .. } => format!("it asks for at most {gpus} GPUs, as {site} has"),
            Verdict::TooFew { eligible, wanted } => {
                format!("it asks for {eligible} sites instead of {wanted}")
            }
            Verdict::Unaffordable { needed } => {
                format!(
                    "project {} has an award with {needed} left, or it asks for less wall time",
                    job.spec.project
                )
            }
            Verdict::Closed { .. } => format!("the programme office opens what is {} to {site}", job.label),
            Verdict::Bare => format!("{site} can run containers, or the job names no image"),
            Verdict::Other { .. } | Verdict::Taken { .. } | Verdict::Dearer { .. } => return None,
        })
    });
    changes.filter(|change| told.insert(change.clone())).collect()
}

/// The reason that is nearest to a start: what is missing at the sites that are closest to taking it.
fn in_short(candidates: &[Candidate]) -> String {
    let nearest = candidates.iter().min_by_key(|candidate| match candidate.verdict {
        Verdict::Taken { .. } | Verdict::Dearer { .. } => 0,
        Verdict::Kept { .. } => 1,
        Verdict::Unaffordable { .. } => 2,
        Verdict::TooFew { .. } => 3,
        Verdict::Full { .. } => 4,
        Verdict::Busy { .. } => 5,
        Verdict::Small { .. } => 6,
        Verdict::Other { .. } => 7,
        Verdict::Bare => 8,
        Verdict::Closed { .. } => 9,
    });
    match nearest.map(|candidate| (&candidate.site, &candidate.verdict)) {
        None => "there is no site".to_owned(),
        Some((site, verdict)) => match verdict {
            Verdict::Taken { .. } | Verdict::Dearer { .. } => "starts at this moment".to_owned(),
            Verdict::Kept { job } => format!("{site} is kept free for {job}"),
            Verdict::Unaffordable { needed } => format!("no award has {needed} left"),
            Verdict::TooFew { eligible, wanted } => format!("{eligible} of {wanted} sites can be had"),
            Verdict::Full { free, wanted } => format!("{free} of {wanted} GPUs are free at {site}"),
            Verdict::Busy { job } => format!("{job} holds {site}"),
            Verdict::Small { wanted, .. } => format!("no site has {wanted} GPUs"),
            Verdict::Other { wanted, .. } => format!("no site has {wanted}"),
            Verdict::Bare => "no site runs containers".to_owned(),
            Verdict::Closed { .. } => "no site is entitled to it".to_owned(),
        },
    }
}
