//! Placement: which sites a job runs on, with a reason for every site, taken or not.
//!
//! The order is the [`queue`](crate::queue)'s. What is told to it comes from here: which sites a job is entitled
//! to, what they ask, what is free, whether an award pays. Before a job starts, what counts is the policy's answer for exactly
//! this job at exactly these sites.

use crate::batch::{Again, waits_for};
use crate::queue::{Ask, Entitled, Foreseen, Handle, Machines, Move, Queue, Rules, Shape};
use crate::{Account, Action, Actor, AwardId, Digest, FlopSeconds, FlopsPerSecond, Job, JobId};
use crate::{
    OrganisationId, Phase, Placed, Presence, Price, Project, ProjectId, Sight, Site, SiteId, State, Time, Won,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What was found about one site for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The site.
    pub site: SiteId,
    /// What was found.
    pub verdict: Verdict,
}

/// Why a site was taken or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It runs there.
    Taken {
        /// Won per PFLOP-hour.
        price: Price,
    },
    /// It may run there, and enough cheaper sites were found.
    Dearer {
        /// Won per PFLOP-hour.
        price: Price,
    },
    /// Another job holds the machines.
    Busy {
        /// Which.
        job: JobId,
    },
    /// Other jobs hold too many of the GPUs.
    Full {
        /// How many are free.
        free: u32,
        /// How many it wants.
        wanted: u32,
    },
    /// The policy doesn't let the site's owner receive the job's weights.
    Closed {
        /// The policies that decided.
        policies: Vec<String>,
    },
    /// It has fewer GPUs than the job wants.
    Small {
        /// How many it has.
        gpus: u32,
        /// How many the job wants.
        wanted: u32,
    },
    /// It has another sort of GPU.
    Other {
        /// Which it has, if that is known.
        gpu: Option<String>,
        /// Which the job wants.
        wanted: String,
    },
    /// It runs no containers, and the job names an image.
    Bare,
    /// It could run there, if there were as many such sites as the job wants.
    TooFew {
        /// How many there are.
        eligible: u32,
        /// How many it wants.
        wanted: u32,
    },
    /// No award of the project covers the sites together.
    Unaffordable {
        /// What all sites together would have set aside.
        needed: Won,
    },
    /// Free, and kept free for a job that is ahead and that this one would delay.
    Kept {
        /// For which.
        job: JobId,
    },
}

/// How many of the latest jobs are looked at for who has used how much and which sites have which inputs.
const REMEMBERED: usize = 256;

/// What a round of the queue comes to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Who stops so that others can start.
    pub(crate) stops: Vec<JobId>,
    pub(crate) placings: Vec<Placing>,
}

/// A job that has found its sites, the award that pays, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) job: JobId,
    pub(crate) award: AwardId,
    pub(crate) sites: Vec<Placed>,
    pub(crate) candidates: Vec<Candidate>,
}

/// Who the numbers of a [`Queue`] are. Neither sites nor jobs ever go, so they are the same in all later states.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    sites: Vec<SiteId>,
    /// Who holds GPUs of each site, and how many.
    holders: Vec<Vec<(JobId, u32)>>,
    /// The active jobs, by their handle in the queue.
    jobs: Vec<JobId>,
}

/// The state as the queue sees it.
pub(crate) struct Scene<'a> {
    pub(crate) state: &'a State,
    sites: Vec<&'a Site>,
    /// What each site may hold.
    sights: Vec<Sight<'a>>,
    board: Cow<'a, Board>,
}

/// What awards have left while a round places one job after the other.
#[derive(Debug, Default)]
struct Purse(BTreeMap<AwardId, (Won, FlopSeconds)>);

/// What a project has asked for before: the job's inputs by their names.
type Inputs<'a> = (&'a ProjectId, &'a BTreeMap<String, Digest>);

/// All that can be placed now.
pub(crate) fn place(state: &State, now: Time) -> Turn {
    if state.active_jobs().all(|job| job.phase != Phase::Queued) {
        return Turn::default();
    }
    let (mut scene, mut queue) = Scene::new(state, now);
    scene.round(&mut queue, now)
}

impl<'a> Scene<'a> {
    /// What a board is in a state that has all of its sites and jobs.
    pub(crate) fn of(state: &'a State, board: Cow<'a, Board>) -> Self {
        let sites = board.sites.iter().filter_map(|id| state.sites.get(id));
        let sites: Vec<&Site> = sites.collect();
        let holds = |site: &&Site| Sight::new(state, &Actor::Site(site.id.clone()), Action::Hold);
        Self {
            sights: sites.iter().map(holds).collect(),
            sites,
            board,
            state,
        }
    }

    pub(crate) fn into_board(self) -> Board {
        self.board.into_owned()
    }

    /// Everyone who waits and everyone who runs.
    pub(crate) fn new(state: &'a State, now: Time) -> (Self, Queue) {
        let sites: Vec<&Site> = state.sites.values().collect();
        let site_of: BTreeMap<&SiteId, u32> = state.sites.keys().zip(0..).collect();
        let project_of: BTreeMap<&ProjectId, u32> = state.projects.keys().zip(0..).collect();
        let mut queue = empty(state, &sites).from(now.0);
        let near = remember(state, now, &mut queue, &site_of, &project_of);
        let board = Board {
            sites: state.sites.keys().cloned().collect(),
            holders: vec![Vec::new(); sites.len()],
            jobs: Vec::new(),
        };
        let mut scene = Self::of(state, Cow::Owned(board));
        let nowhere = queue.allow(&[]);
        // A site works in no project: only a policy that asks for more than that can tell two of them apart.
        let policy = &state.policy;
        let apart = policy.names_one() || !policy.asks_for_principal_in("members");
        let mut classes = BTreeMap::new();
        for job in state.active_jobs() {
            let Some(project) = project_of.get(&job.spec.project) else {
                continue;
            };
            let waits = job.phase == Phase::Queued;
            // One that is to stop makes room at once: the site starts nothing on machines that are not free.
            let gone = matches!(job.phase, Phase::Stopping { .. });
            if gone || (waits && waits_for(state, job).is_some()) {
                continue;
            }
            let class = (
                apart.then_some(*project),
                job.label,
                job.spec.gpu.as_deref(),
                job.spec.has_image(),
            );
            let allowed = if waits {
                *classes
                    .entry(class)
                    .or_insert_with(|| queue.allow(&scene.open(job)))
            } else {
                nowhere
            };
            // Mostly nothing is known of inputs, and comparing them is dear where many wait.
            let near = (!job.spec.inputs.is_empty())
                .then(|| near.get(&(&job.spec.project, &job.spec.inputs)))
                .flatten();
            let near = near.map_or(nowhere, |sites| queue.allow(sites));
            let handle = submit(&mut queue, job, ask(job, *project, allowed, near));
            scene.board.to_mut().jobs.push(job.id);
            if !waits {
                let held = job
                    .members
                    .iter()
                    .filter(|(_, member)| member.presence != Presence::Left);
                let held: Vec<u32> = held.filter_map(|(site, _)| site_of.get(site).copied()).collect();
                queue.runs(handle, &held, job.placed.unwrap_or(job.submitted).0);
                scene.hold(job, &held);
            }
        }
        (scene, queue)
    }

    /// Everything that can start now, with the sites, the money and the reasons.
    pub(crate) fn round(&mut self, queue: &mut Queue, now: Time) -> Turn {
        let mut purse = Purse::default();
        let mut placings = Vec::new();
        let moves = queue.round(now.0, &mut |handle, sites| {
            let Some(job) = self.job(handle) else { return false };
            let may_hold = |site: &u32| self.sights[*site as usize].sees_job(job);
            if !sites.iter().all(may_hold) {
                return false;
            }
            let placed = self.reserve(job, sites);
            let Some(award) = purse.pay(self.state, &job.spec.project, &placed) else {
                return false;
            };
            placings.push(Placing {
                job: job.id,
                award,
                sites: placed,
                candidates: self.verdicts(job, Some(sites), None),
            });
            self.hold(job, sites);
            true
        });
        let stops = moves.into_iter().filter_map(|m| match m {
            Move::Preempt { job } => Some(self.board.jobs[job as usize]),
            Move::Start { .. } => None,
        });
        Turn {
            stops: stops.collect(),
            placings,
        }
    }

    /// When `job` is to be expected to start.
    pub(crate) fn foresee(&self, queue: Queue, job: Handle, now: Time) -> Foreseen {
        let mut purse = Purse::default();
        queue.foresee(job, now.0, &mut |handle, sites| {
            let pays = |job: &'a Job| purse.pay(self.state, &job.spec.project, &self.reserve(job, sites));
            self.job(handle).and_then(pays).is_some()
        })
    }

    /// Whose handle in the queue it is.
    pub(crate) fn job(&self, handle: Handle) -> Option<&'a Job> {
        self.state.jobs.get(&self.board.jobs[handle as usize])
    }

    /// Every site, in the order of their names: for a job that was just given `taken`, or that waits, maybe
    /// because what is free is kept for another.
    pub(crate) fn verdicts(
        &mut self,
        job: &'a Job,
        taken: Option<&[u32]>,
        kept: Option<JobId>,
    ) -> Vec<Candidate> {
        let sites = 0..self.sites.len();
        let mut verdicts: Vec<Verdict> = sites.map(|i| self.verdict(job, i)).collect();
        let is_open = |i: &u32| matches!(verdicts[*i as usize], Verdict::Taken { .. });
        let mut open: Vec<u32> = (0..count(verdicts.len())).filter(is_open).collect();
        open.sort_by_key(|i| (marginal(self.sites[*i as usize]), *i));
        let eligible = count(open.len());
        let cheapest = &open[..open.len().min(job.spec.sites as usize)];
        let placed = self.reserve(job, cheapest);
        let pays = Purse::default()
            .pay(self.state, &job.spec.project, &placed)
            .is_some();
        for i in &open {
            let price = self.sites[*i as usize].price;
            verdicts[*i as usize] = match (taken, kept.filter(|_| pays)) {
                (Some(taken), _) if taken.contains(i) => Verdict::Taken { price },
                (Some(_), _) => Verdict::Dearer { price },
                _ if eligible < job.spec.sites => Verdict::TooFew {
                    eligible,
                    wanted: job.spec.sites,
                },
                (None, Some(other)) => Verdict::Kept { job: other },
                (None, None) => Verdict::Unaffordable {
                    needed: total(&placed).0,
                },
            };
        }
        let candidate = |(site, verdict): (&&Site, Verdict)| Candidate {
            site: site.id.clone(),
            verdict,
        };
        self.sites.iter().zip(verdicts).map(candidate).collect()
    }

    /// What is to be said of one site by itself; one that could be taken is.
    fn verdict(&mut self, job: &'a Job, i: usize) -> Verdict {
        let site = self.sites[i];
        let decision = self.sights[i].decides_job(job);
        if !decision.allowed {
            return Verdict::Closed {
                policies: decision.policies,
            };
        }
        if let Some(wanted) = job.spec.gpu.as_ref().filter(|gpu| site.gpu.as_ref() != Some(gpu)) {
            return Verdict::Other {
                gpu: site.gpu.clone(),
                wanted: wanted.clone(),
            };
        }
        if !self.state.can_contain(job, &site.id) {
            return Verdict::Bare;
        }
        let wanted = job.spec.gpus.unwrap_or(site.gpus);
        if wanted > site.gpus {
            return Verdict::Small {
                gpus: site.gpus,
                wanted,
            };
        }
        let others = || self.board.holders[i].iter().filter(|(other, _)| *other != job.id);
        let held = others().fold(0_u32, |sum, (_, gpus)| sum.saturating_add(*gpus));
        let free = site.gpus.saturating_sub(held);
        if free >= wanted {
            return Verdict::Taken { price: site.price };
        }
        let mut others = others();
        match (others.next(), others.next()) {
            (Some((job, _)), None) => Verdict::Busy { job: *job },
            _ => Verdict::Full { free, wanted },
        }
    }

    /// The sites that may hold jobs like this one, have the right sort of GPU and can run its image.
    fn open(&mut self, job: &'a Job) -> Vec<u32> {
        let sort = |site: &Site| job.spec.gpu.is_none() || site.gpu == job.spec.gpu;
        let fits = |site: &Site| sort(site) && self.state.can_contain(job, &site.id);
        let sites = (0..).zip(&self.sites).zip(&mut self.sights);
        let open = sites.filter_map(|((i, site), sight)| (fits(site) && sight.sees_job(job)).then_some(i));
        open.collect()
    }

    fn hold(&mut self, job: &Job, sites: &[u32]) {
        let holders = &mut self.board.to_mut().holders;
        for site in sites {
            let gpus = job.spec.gpus.unwrap_or(self.sites[*site as usize].gpus);
            holders[*site as usize].push((job.id, gpus));
        }
    }

    /// What the whole wall time costs at each of `sites`.
    fn reserve(&self, job: &Job, sites: &[u32]) -> Vec<Placed> {
        let placed = |site: &u32| {
            let site = self.sites[*site as usize];
            let rated = part_of(site, job.spec.gpus);
            let compute = rated.during(u64::from(job.spec.wall_minutes) * 60_000);
            Placed {
                site: site.id.clone(),
                price: site.price,
                rated,
                reserved: site.price.reserve(compute),
                reserved_compute: compute,
            }
        };
        sites.iter().map(placed).collect()
    }
}

impl Purse {
    /// The first of the project's awards, by name, that covers all of it.
    fn pay(&mut self, state: &State, project: &ProjectId, placed: &[Placed]) -> Option<AwardId> {
        let (won, compute) = total(placed);
        if won == Won::MAX {
            return None; // more than can be counted
        }
        let award = state
            .awards
            .values()
            .filter(|award| award.project == *project && !state.is_closed(&award.id))
            .find(|award| {
                let held = state.ledger.balance(&Account::Award(award.id.clone()));
                let (gone, used) = self.0.get(&award.id).copied().unwrap_or_default();
                held.won - gone >= won && held.compute - used >= compute
            })?;
        let (gone, used) = self.0.entry(award.id.clone()).or_default();
        *gone += won;
        *used += compute;
        Some(award.id.clone())
    }
}

/// A queue for the state's sites and projects.
fn empty(state: &State, sites: &[&Site]) -> Queue {
    let kinds: BTreeSet<Option<&str>> = sites.iter().map(|site| site.gpu.as_deref()).collect();
    let kind = |site: &Site| kinds.iter().position(|kind| *kind == site.gpu.as_deref());
    let machines = |site: &&Site| Machines {
        nodes: 1,
        gpus: site.gpus,
        kind: kind(site)
            .and_then(|kind| u16::try_from(kind).ok())
            .unwrap_or(u16::MAX),
        price: marginal(site).0.unsigned_abs(),
    };
    let organisations: BTreeMap<&OrganisationId, u32> = state.organisations.keys().zip(0..).collect();
    let entitled = |project: &Project| Entitled {
        organisation: organisations.get(&project.organisation).copied().unwrap_or(0),
        organisation_weight: 1,
        weight: 1,
    };
    Queue::new(
        sites.iter().map(machines).collect(),
        state.projects.values().map(entitled).collect(),
        Rules::fair(),
    )
}

/// What the latest jobs tell: who has used how much, and which sites have which inputs already.
fn remember<'a>(
    state: &'a State,
    now: Time,
    queue: &mut Queue,
    site_of: &BTreeMap<&SiteId, u32>,
    project_of: &BTreeMap<&ProjectId, u32>,
) -> BTreeMap<Inputs<'a>, Vec<u32>> {
    let mut near: BTreeMap<Inputs<'a>, Vec<u32>> = BTreeMap::new();
    let placed = state.jobs.values().rev().filter(|job| !job.members.is_empty());
    for job in placed.take(REMEMBERED) {
        let (project, inputs) = (&job.spec.project, &job.spec.inputs);
        if !inputs.is_empty() {
            let sites = job.members.keys().filter_map(|site| site_of.get(site).copied());
            near.entry((project, inputs)).or_default().extend(sites);
        }
        let used = job.members.iter().map(|(site, member)| {
            let all = state.sites.get(site).map_or(1, |site| site.gpus);
            u128::from(member.total().millis) * u128::from(job.spec.gpus.unwrap_or(all))
        });
        if let Some(project) = project_of.get(project) {
            let ago = job.ended.map_or(0, |ended| now.since(ended));
            queue.remember(*project, used.sum(), ago);
        }
    }
    near
}

/// Puts a job in the queue, with what it has had in earlier stays.
fn submit(queue: &mut Queue, job: &Job, ask: Ask) -> Handle {
    let Some(last) = job.past.last() else {
        return queue.submit(ask);
    };
    let stopped = job.past.iter().filter(|past| past.why == Again::Preempted);
    let stopped = u16::try_from(stopped.count()).unwrap_or(u16::MAX);
    let had = job.past.iter().map(|past| past.member.total().millis).sum();
    queue.resume(ask, had, stopped, last.ended.0)
}

fn ask(job: &Job, project: u32, allowed: u32, near: u32) -> Ask {
    let length_ms = u64::from(job.spec.wall_minutes) * 60_000;
    let due = job
        .spec
        .due_minutes
        .map(|minutes| job.submitted.plus(u64::from(minutes) * 60_000));
    Ask {
        id: job.id.0,
        project,
        shape: Shape {
            gpus: job.spec.gpus.unwrap_or(0),
            sites: job.spec.sites,
            allowed,
            near,
        },
        submitted: job.submitted.0,
        length_ms,
        // A training's sites keep their weights together: none of them can be stopped and go on later.
        fixed: job.spec.batch.is_none(),
        latest: due.map(|due| due.0.saturating_sub(length_ms)),
    }
}

/// What an hour of use costs more than an hour of idleness: all of a rented site's price, and of a site of our
/// own what its owner says.
fn marginal(site: &Site) -> Price {
    site.marginal.unwrap_or(site.price)
}

/// The part of a site's rated speed that goes with so many of its GPUs.
fn part_of(site: &Site, gpus: Option<u32>) -> FlopsPerSecond {
    let all = u128::from(site.gpus.max(1));
    let part = u128::from(site.rated.0) * u128::from(gpus.unwrap_or(site.gpus)) / all;
    FlopsPerSecond(u64::try_from(part).unwrap_or(u64::MAX).max(1))
}

fn total(placed: &[Placed]) -> (Won, FlopSeconds) {
    let won = placed
        .iter()
        .fold(Won(0), |sum, site| sum.saturating_add(site.reserved));
    (won, placed.iter().map(|site| site.reserved_compute).sum())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
