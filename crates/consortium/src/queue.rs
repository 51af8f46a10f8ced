//! The queue: who waits, who runs, and what starts or stops next.
//!
//! This is the core of placement, over plain numbers: whoever has jobs and sites fills a [`Queue`] and asks it for
//! the next moves. The hub does, from its state, and `khub simulate` replays a workload through it.
//!
//! ```
//! use consortium::queue::{Ask, Entitled, Machines, Move, Queue, Rules, Shape};
//!
//! let site = Machines { nodes: 16, gpus: 8, kind: 0, price: 900 };
//! let project = |organisation| Entitled { organisation, organisation_weight: 1, weight: 1 };
//! let mut queue = Queue::new(vec![site], vec![project(0), project(1)], Rules::fair());
//! let anywhere = queue.allow(&[0]);
//! let shape = Shape { gpus: 64, sites: 1, allowed: anywhere, near: anywhere };
//! let ask = |id, project| Ask { id, project, shape, submitted: 0, length_ms: 3_600_000, latest: None, fixed: false };
//! for (id, project) in [(1, 0), (2, 0), (3, 1)] {
//!     queue.submit(ask(id, project));
//! }
//! // The second place goes to the other organisation, though it came last.
//! let started: Vec<u64> = queue.round(0, &mut |_, _| true).iter().map(|m| queue.id(m.job())).collect();
//! assert_eq!(started, [1, 3]);
//! ```
//!
//! Jobs of one project that ask for the same, are about as long and have had about as much stand in one
//! *lane*, oldest first. A round looks at the heads of lanes only, and a shape that fits nowhere is not tried
//! again, so its cost goes with what starts and with the number of lanes, not with the length of the queue.

mod backfill;
mod foresee;
mod pool;
mod preempt;
mod rules;
mod share;

pub use foresee::Foreseen;
pub use pool::Machines;
pub use rules::{Levels, Order, Preemption, Rules, Weights};
pub use share::Entitled;

use backfill::Reservation;
use pool::{Held, Pool};
use share::Shares;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

/// A job's number in a queue; [`Queue::submit`] gives it.
pub type Handle = u32;

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Tells it from all others, also where all else is the same.
    pub id: u64,
    /// Whose it is.
    pub project: u32,
    /// What it asks of sites.
    pub shape: Shape,
    /// When it was submitted, in milliseconds.
    pub submitted: u64,
    /// How long it is thought to run, in milliseconds.
    pub length_ms: u64,
    /// It must have started by then.
    pub latest: Option<u64>,
    /// Once it runs it is never stopped for another.
    pub fixed: bool,
}

/// What a job asks of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// GPUs at each site; 0 asks for all of the site's.
    pub gpus: u32,
    /// How many sites together, all or none.
    pub sites: u32,
    /// The sites that it may run on, by [`Queue::allow`].
    pub allowed: u32,
    /// The sites that have its inputs already: to be there is worth [`NEARNESS`] percent of the price.
    pub near: u32,
}

/// What being near the data is worth, in percent of a site's price.
pub const NEARNESS: u64 = 5;

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// The job runs on these sites from now on.
    Start {
        /// Which.
        job: Handle,
        /// Where.
        sites: Vec<u32>,
    },
    /// The job stops and waits again.
    Preempt {
        /// Which.
        job: Handle,
    },
}

impl Move {
    /// Whose move it is.
    pub fn job(&self) -> Handle {
        match self {
            Self::Start { job, .. } | Self::Preempt { job } => *job,
        }
    }
}

/// Who waits and who runs.
#[derive(Debug, Clone)]
pub struct Queue {
    rules: Rules,
    pools: Vec<Pool>,
    shares: Shares,
    /// Sets of sites, as they were given: ascending.
    sets: Vec<Vec<u32>>,
    shapes: Vec<Fit>,
    shape_of: Known<Shape>,
    /// How many different questions of room there are.
    rooms: u32,
    room_of: BTreeMap<(u32, u32, u32), u32>,
    jobs: Vec<Job>,
    lanes: Vec<Lane>,
    lane_of: Known<LaneKey>,
    /// Lanes by project, without most of the empty ones.
    lanes_at: Vec<Vec<u32>>,
    runs: Vec<Run>,
    unused: Vec<u32>,
    /// Runs by site.
    at: Vec<Vec<u32>>,
    waiting: usize,
    all_gpus: u64,
    /// Whose start the last round has reserved.
    reserved: Option<Handle>,
}

/// Where something is that was seen before. Only ever asked for one key, so its order doesn't matter.
#[allow(clippy::disallowed_types, reason = "never iterated over")]
type Known<K> = std::collections::HashMap<K, u32>;

/// A shape with what follows from it.
#[derive(Debug, Clone)]
struct Fit {
    shape: Shape,
    /// Shapes that need the same room: where one finds none, no other does.
    room: u32,
    /// The sites it may run on and that are large enough, cheapest first, with what they cost it.
    candidates: Vec<(u64, u32)>,
}

#[derive(Debug, Clone)]
struct Job {
    ask: Ask,
    shape: u32,
    /// Milliseconds it has run, before its present start.
    attained_ms: u64,
    /// Since when it waits.
    since: u64,
    preempted: u16,
    state: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Waiting,
    Running(u32),
    Gone,
}

#[derive(Debug, Clone, Default)]
struct Run {
    job: Handle,
    start: u64,
    held: Places,
    gpus: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LaneKey {
    project: u32,
    shape: u32,
    level: u8,
    /// Its expected time, in steps of a fifth and less.
    length: u8,
    due: bool,
}

#[derive(Debug, Clone)]
struct Lane {
    key: LaneKey,
    /// When it was submitted or must start, its id, and who it is.
    jobs: VecDeque<(u64, u64, Handle)>,
    sorted: bool,
    /// Whether it is among its project's lanes.
    listed: bool,
}

/// Nodes at each of a job's sites.
type Places = Vec<(u32, Vec<Held>)>;
/// Among the lanes of a project: the smaller goes first.
type Rank = (u64, u64, u64);
/// Among organisations: what they hold, and what they used lately.
type Standing = (u64, u64);

impl Queue {
    /// An empty queue for these sites and projects, which are known by their index from now on.
    pub fn new(sites: Vec<Machines>, projects: Vec<Entitled>, rules: Rules) -> Self {
        let kinds = sites.iter().map(|s| usize::from(s.kind) + 1).max().unwrap_or(1);
        let mut totals = vec![0; kinds];
        for site in &sites {
            totals[usize::from(site.kind)] += site.all();
        }
        Self {
            all_gpus: totals.iter().sum(),
            at: vec![Vec::new(); sites.len()],
            lanes_at: vec![Vec::new(); projects.len()],
            shares: Shares::new(projects, totals, rules.half_life_ms),
            pools: sites.into_iter().map(Pool::new).collect(),
            rules,
            sets: Vec::new(),
            shapes: Vec::new(),
            shape_of: Known::new(),
            rooms: 0,
            room_of: BTreeMap::new(),
            jobs: Vec::new(),
            lanes: Vec::new(),
            lane_of: Known::new(),
            runs: Vec::new(),
            unused: Vec::new(),
            waiting: 0,
            reserved: None,
        }
    }

    /// Lets the queue's time begin at `now`; whatever is told of earlier times doesn't fade until then.
    #[must_use]
    pub fn from(mut self, now: u64) -> Self {
        self.shares.begin(now);
        self
    }

    /// Names a set of sites for use in shapes.
    pub fn allow(&mut self, sites: &[u32]) -> u32 {
        let mut set = sites.to_vec();
        set.sort_unstable();
        set.dedup();
        let known = self.sets.iter().position(|known| *known == set);
        known.unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        }) as u32
    }

    /// The number that tells `job` from all others outside of this queue.
    pub fn id(&self, job: Handle) -> u64 {
        self.jobs[job as usize].ask.id
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whose start the last round has reserved: nothing goes before it that would delay it.
    pub fn reserved(&self) -> Option<Handle> {
        self.reserved
    }

    /// What a project's organisation and itself hold, in millionths of all: of the kind of GPU of which they hold
    /// the largest part, by weight.
    pub fn shares(&self, project: u32) -> (u64, u64) {
        let millionths = |share: u64| ((u128::from(share) * 1_000_000) >> 32) as u64;
        (
            millionths(self.shares.of_organisation(project)),
            millionths(self.shares.of_project(project)),
        )
    }

    /// How many GPUs are held.
    pub fn held(&self) -> u64 {
        self.all_gpus - self.pools.iter().map(|pool| pool.free_gpus).sum::<u64>()
    }

    /// Use from before the queue was there, in GPU-milliseconds, that ended so long ago.
    pub fn remember(&mut self, project: u32, gpu_millis: u128, ago_ms: u64) {
        self.shares.remember(project, gpu_millis, ago_ms);
    }

    /// Puts a job in the queue.
    pub fn submit(&mut self, ask: Ask) -> Handle {
        let (job, shape) = (self.jobs.len() as Handle, self.shape(ask.shape));
        self.jobs.push(Job {
            ask,
            shape,
            attained_ms: 0,
            since: ask.submitted,
            preempted: 0,
            state: Status::Waiting,
        });
        self.enter(job);
        job
    }

    /// Puts a job in the queue that has run before: so long, and stopped so many times.
    pub fn resume(&mut self, ask: Ask, attained_ms: u64, preempted: u16, since: u64) -> Handle {
        let job = self.submit(ask);
        self.leave(job);
        let known = &mut self.jobs[job as usize];
        (known.attained_ms, known.preempted, known.since) = (attained_ms, preempted, since);
        known.state = Status::Waiting;
        self.enter(job);
        job
    }

    /// Lets a waiting job run on `sites` since `start`, wherever there is room and also where there is none:
    /// it does so already.
    pub fn runs(&mut self, job: Handle, sites: &[u32], start: u64) {
        let gpus = self.jobs[job as usize].ask.shape.gpus;
        let place = |site: &u32| {
            let pool = &self.pools[*site as usize];
            (
                *site,
                pool.find(gpus, None).unwrap_or_else(|| pool.whatever(gpus)),
            )
        };
        let held = sites.iter().map(place).collect();
        self.leave(job);
        self.start(job, held, start);
    }

    /// A job has ended, or isn't wanted any more.
    pub fn end(&mut self, job: Handle, now: u64) {
        self.shares.advance(now);
        match self.jobs[job as usize].state {
            Status::Waiting => self.leave(job),
            Status::Running(_) => self.stop(job, now),
            Status::Gone => {}
        }
        self.jobs[job as usize].state = Status::Gone;
    }

    /// What happens next, all of it, at `now`. `pay` is asked before a job starts whether its award covers
    /// these sites, and keeps count itself. A move that stops a job comes before the one it makes room for.
    ///
    /// After a round that has stopped something there may be more to start: ask again until nothing moves.
    pub fn round(&mut self, now: u64, pay: &mut dyn FnMut(Handle, &[u32]) -> bool) -> Vec<Move> {
        self.shares.advance(now);
        let mut moves = Vec::new();
        let mut stopped = Vec::new();
        let mut hopeless = vec![false; self.rooms as usize];
        let mut stops = preempt::Stops::default();
        let mut reservation: Option<Reservation> = None;
        let mut line = self.line_up(now);
        let mut open = self.wanted_rooms();
        while let Some((lane, job)) = line.next(self) {
            let room = self.shapes[self.jobs[job as usize].shape as usize].room as usize;
            if open == 0 && self.rules.preemption.is_none() {
                break; // nobody finds any
            }
            let mut place = if hopeless[room] {
                None
            } else {
                self.room(job, now, reservation.as_ref())
            };
            let mut victims = Vec::new();
            if place.is_none() {
                if !hopeless[room] && (reservation.is_none() || !self.has_room(job)) {
                    hopeless[room] = true;
                    open = open.saturating_sub(1);
                }
                let found = self.victims(job, now, reservation.as_ref(), &mut stops);
                (victims, place) =
                    found.map_or((Vec::new(), None), |(victims, place)| (victims, Some(place)));
            }
            let Some(place) = place else {
                reservation = reservation.or_else(|| self.reserve(job, now));
                continue;
            };
            let sites: Vec<u32> = place.iter().map(|(site, _)| *site).collect();
            if !pay(job, &sites) {
                continue;
            }
            if !victims.is_empty() {
                hopeless.fill(false);
            }
            for victim in victims {
                self.requeue(victim, now);
                stopped.push(victim);
                moves.push(Move::Preempt { job: victim });
            }
            let ends = self.thought_end(job, now);
            if let Some(reservation) = reservation.as_mut().filter(|r| ends > r.at) {
                place
                    .iter()
                    .for_each(|(site, nodes)| reservation.takes(*site, nodes));
            }
            self.take_head(lane);
            self.start(job, place, now);
            moves.push(Move::Start { job, sites });
            line.again(self, lane, now);
        }
        for job in stopped {
            self.enter(job);
        }
        self.reserved = reservation.map(|reservation| reservation.job);
        moves
    }

    /// How many different questions of room those who wait have.
    fn wanted_rooms(&self) -> usize {
        let lanes = self.lanes_at.iter().flatten();
        let rooms: BTreeSet<u32> = lanes
            .map(|lane| self.shapes[self.lanes[*lane as usize].key.shape as usize].room)
            .collect();
        rooms.len()
    }

    // ---- lanes -----------------------------------------------------------------------------------------

    fn shape(&mut self, shape: Shape) -> u32 {
        if let Some(known) = self.shape_of.get(&shape) {
            return *known;
        }
        let rooms = &mut self.rooms;
        let room = *self
            .room_of
            .entry((shape.gpus, shape.sites, shape.allowed))
            .or_insert_with(|| {
                *rooms += 1;
                *rooms - 1
            });
        let near = &self.sets[shape.near as usize];
        let cost = |site: u32| {
            let percent = if near.binary_search(&site).is_ok() {
                100 - NEARNESS
            } else {
                100
            };
            self.pools[site as usize].machines.price.saturating_mul(percent)
        };
        let large = |site: &&u32| self.pools[**site as usize].suits(shape.gpus);
        let sites = self.sets[shape.allowed as usize].iter().filter(large);
        let mut candidates: Vec<(u64, u32)> = sites.map(|site| (cost(*site), *site)).collect();
        candidates.sort_unstable();
        self.shapes.push(Fit {
            shape,
            room,
            candidates,
        });
        let known = self.shapes.len() as u32 - 1;
        self.shape_of.insert(shape, known);
        known
    }

    fn lane_key(&self, job: &Job) -> LaneKey {
        LaneKey {
            project: job.ask.project,
            shape: job.shape,
            level: self.rules.level(self.had(job, 0)),
            length: length_class(job.ask.length_ms),
            due: job.ask.latest.is_some(),
        }
    }

    fn enter(&mut self, job: Handle) {
        let known = &self.jobs[job as usize];
        let key = self.lane_key(known);
        let order = known.ask.latest.unwrap_or(known.ask.submitted);
        let entry = (order, known.ask.id, job);
        let lanes = &mut self.lanes;
        let at = *self.lane_of.entry(key).or_insert_with(|| {
            lanes.push(Lane {
                key,
                jobs: VecDeque::new(),
                sorted: true,
                listed: false,
            });
            lanes.len() as u32 - 1
        });
        let lane = &mut self.lanes[at as usize];
        if !lane.listed {
            lane.listed = true;
            self.lanes_at[key.project as usize].push(at);
        }
        lane.sorted &= lane.jobs.back().is_none_or(|last| *last < entry);
        lane.jobs.push_back(entry);
        self.waiting += 1;
    }

    fn leave(&mut self, job: Handle) {
        let known = &self.jobs[job as usize];
        let Some(lane) = self.lane_of.get(&self.lane_key(known)) else {
            return;
        };
        let jobs = &mut self.lanes[*lane as usize].jobs;
        // Whoever leaves has mostly come last, or is the first.
        let last = jobs.back().is_some_and(|(_, _, last)| *last == job);
        let at = if last {
            Some(jobs.len() - 1)
        } else {
            jobs.iter().position(|(_, _, other)| *other == job)
        };
        if let Some(at) = at {
            jobs.remove(at);
            self.waiting -= 1;
        }
    }

    fn take_head(&mut self, lane: u32) {
        if self.lanes[lane as usize].jobs.pop_front().is_some() {
            self.waiting -= 1;
        }
    }

    /// GPU-milliseconds a job has had, with those of `running_ms`.
    fn had(&self, job: &Job, running_ms: u64) -> u128 {
        let shape = job.ask.shape;
        let gpus = u128::from(shape.gpus.max(1)) * u128::from(shape.sites.max(1));
        u128::from(job.attained_ms + running_ms) * gpus
    }

    /// The level that a waiting job counts as: whoever has waited long goes up.
    fn level(&self, job: &Job, now: u64) -> u8 {
        let level = self.rules.level(self.had(job, 0));
        let Order::Fair(levels) = &self.rules.order else {
            return level;
        };
        if job
            .ask
            .latest
            .is_some_and(|latest| latest <= now.saturating_add(DUE_SOON_MS))
        {
            return 0;
        }
        let up = now.saturating_sub(job.since) / levels.patience_ms.max(1);
        level.saturating_sub(u8::try_from(up).unwrap_or(u8::MAX))
    }

    fn rank(&self, lane: &Lane, now: u64) -> Option<Rank> {
        let (order, id, job) = *lane.jobs.front()?;
        let job = &self.jobs[job as usize];
        let first = match &self.rules.order {
            Order::Arrival => return Some((job.ask.submitted, id, 0)),
            Order::Multifactor(weights) => {
                let waited = now.saturating_sub(job.ask.submitted);
                let gpus = self.wanted(job);
                let factor = self.shares.factor(job.ask.project);
                return Some((
                    u64::MAX - weights.priority(waited, factor, gpus, self.all_gpus),
                    job.ask.submitted,
                    id,
                ));
            }
            Order::Fair(_) => {
                // Due is before all others that are as high, soonest first.
                let soon = job
                    .ask
                    .latest
                    .is_some_and(|latest| latest <= now.saturating_add(DUE_SOON_MS));
                u64::from(self.level(job, now)) * 2 + u64::from(!soon)
            }
        };
        Some((first, order, id))
    }

    /// Projects that stand together: those of an organisation, or all where organisations don't matter.
    fn group(&self, project: u32) -> u32 {
        match self.rules.order {
            Order::Fair(_) => self.shares.projects[project as usize].organisation,
            Order::Arrival | Order::Multifactor(_) => 0,
        }
    }

    fn standing(&self, group: u32) -> Standing {
        match self.rules.order {
            Order::Fair(_) => self.shares.standing(group),
            Order::Arrival | Order::Multifactor(_) => (0, 0),
        }
    }

    fn standing_inside(&self, project: u32) -> u64 {
        match self.rules.order {
            Order::Fair(_) => self.shares.of_project(project),
            Order::Arrival | Order::Multifactor(_) => 0,
        }
    }

    /// GPUs that a job takes in all; at sites of different sizes, as if at the first of them.
    fn wanted(&self, job: &Job) -> u64 {
        let fit = &self.shapes[job.shape as usize];
        let site = fit.candidates.first().map_or(0, |(_, site)| *site);
        let each = self
            .pools
            .get(site as usize)
            .map_or(0, |pool| pool.wanted(job.ask.shape.gpus));
        each * u64::from(job.ask.shape.sites)
    }

    fn line_up(&mut self, now: u64) -> Line {
        let lanes = &mut self.lanes;
        for listed in &mut self.lanes_at {
            listed.retain(|lane| {
                let lane = &mut lanes[*lane as usize];
                lane.listed = !lane.jobs.is_empty();
                if !lane.sorted {
                    lane.jobs.make_contiguous().sort_unstable();
                    lane.sorted = true;
                }
                lane.listed
            });
        }
        let ranked = |lane: &u32| Some(Reverse((self.rank(&self.lanes[*lane as usize], now)?, *lane)));
        let lanes: Vec<BinaryHeap<_>> = self
            .lanes_at
            .iter()
            .map(|lanes| lanes.iter().filter_map(ranked).collect())
            .collect();
        let groups = (0..lanes.len() as u32).map(|project| self.group(project) + 1);
        let groups = groups.max().unwrap_or(0);
        let mut line = Line {
            lanes,
            projects: vec![BinaryHeap::new(); groups as usize],
            organisations: (0..groups)
                .map(|group| Reverse((self.standing(group), group)))
                .collect(),
        };
        for project in 0..line.lanes.len() as u32 {
            line.push(self, project);
        }
        line
    }

    // ---- starting and stopping ---------------------------------------------------------------------------

    /// The cheapest sites that have room now; among equally cheap ones the fullest.
    fn room(&self, job: Handle, now: u64, reserved: Option<&Reservation>) -> Option<Places> {
        let known = &self.jobs[job as usize];
        let fit = &self.shapes[known.shape as usize];
        let (gpus, sites) = (fit.shape.gpus, fit.shape.sites as usize);
        let ends = self.thought_end(job, now);
        let spare = |site: u32| {
            reserved
                .filter(|r| r.job != job && ends > r.at)
                .and_then(|r| r.spare(site))
        };
        let mut found: Vec<(u64, u64, u32)> = Vec::with_capacity(sites);
        for (cost, site) in &fit.candidates {
            if found.len() >= sites && found.last().is_some_and(|last| last.0 < *cost) {
                break;
            }
            let pool = &self.pools[*site as usize];
            let fits = match spare(*site) {
                None => pool.fits(gpus),
                some => pool.find(gpus, some).is_some(),
            };
            if fits {
                found.push((*cost, pool.free_gpus, *site));
            }
        }
        if found.len() < sites || sites == 0 {
            return None;
        }
        found.sort_unstable();
        let place = |(_, _, site): &(u64, u64, u32)| {
            Some((*site, self.pools[*site as usize].find(gpus, spare(*site))?))
        };
        found[..sites].iter().map(place).collect()
    }

    /// Whether there is room for it, whatever is reserved.
    fn has_room(&self, job: Handle) -> bool {
        let fit = &self.shapes[self.jobs[job as usize].shape as usize];
        let free = |(_, site): &&(u64, u32)| self.pools[*site as usize].fits(fit.shape.gpus);
        fit.candidates
            .iter()
            .filter(free)
            .take(fit.shape.sites as usize)
            .count()
            >= fit.shape.sites as usize
    }

    /// When a waiting job would be thought to end if it started now.
    fn thought_end(&self, job: Handle, now: u64) -> u64 {
        let job = &self.jobs[job as usize];
        now.saturating_add(job.ask.length_ms.saturating_sub(job.attained_ms))
    }

    fn start(&mut self, job: Handle, held: Places, now: u64) {
        let project = self.jobs[job as usize].ask.project;
        let mut gpus = 0;
        for (site, nodes) in &held {
            let pool = &mut self.pools[*site as usize];
            pool.take(nodes);
            let here = nodes.iter().map(|h| u64::from(h.gpus)).sum();
            self.shares.hold(project, pool.machines.kind, here);
            gpus += here;
        }
        let run = self.unused.pop().unwrap_or_else(|| {
            self.runs.push(Run::default());
            self.runs.len() as u32 - 1
        });
        for (site, _) in &held {
            self.at[*site as usize].push(run);
        }
        self.runs[run as usize] = Run {
            job,
            start: now,
            held,
            gpus,
        };
        self.jobs[job as usize].state = Status::Running(run);
    }

    /// Takes what a running job holds; what it has had is kept.
    fn stop(&mut self, job: Handle, now: u64) {
        let Status::Running(run) = self.jobs[job as usize].state else {
            return;
        };
        let project = self.jobs[job as usize].ask.project;
        let Run { start, held, .. } = std::mem::take(&mut self.runs[run as usize]);
        for (site, nodes) in &held {
            let pool = &mut self.pools[*site as usize];
            pool.give_back(nodes);
            let here = nodes.iter().map(|h| u64::from(h.gpus)).sum();
            self.shares.let_go(project, pool.machines.kind, here);
            self.at[*site as usize].retain(|other| *other != run);
        }
        self.unused.push(run);
        self.jobs[job as usize].attained_ms += now.saturating_sub(start);
    }

    /// Stops a running job so that it can wait again; it is in no lane yet.
    fn requeue(&mut self, job: Handle, now: u64) {
        self.stop(job, now);
        let known = &mut self.jobs[job as usize];
        (known.state, known.since) = (Status::Waiting, now);
        known.preempted = known.preempted.saturating_add(1);
    }

    /// When a run is thought to end. One that has outlived what was thought takes as long again.
    fn ends(&self, run: &Run, now: u64) -> u64 {
        let job = &self.jobs[run.job as usize];
        let thought = run
            .start
            .saturating_add(job.ask.length_ms.saturating_sub(job.attained_ms));
        if thought > now {
            return thought;
        }
        now.saturating_add((now.saturating_sub(run.start) + job.attained_ms).max(1))
    }
}

/// So long before its latest start a job with a deadline goes before others of its project.
const DUE_SOON_MS: u64 = 3_600_000;

/// Lengths within about a fifth are one class: 0 for nothing, then four classes from each power of two to the
/// next.
fn length_class(millis: u64) -> u8 {
    if millis < 4 {
        return millis as u8;
    }
    let power = millis.ilog2();
    let quarter = (millis >> (power - 2)) & 3;
    (power * 4 + quarter as u32) as u8
}

/// The heads of all lanes, in the order of the rules. Standings only grow while jobs start, so one that is out
/// of date is put back where it belongs when its turn comes.
#[derive(Debug)]
struct Line {
    /// By project.
    lanes: Vec<BinaryHeap<Reverse<(Rank, u32)>>>,
    /// By organisation, so that what one project takes doesn't move each of the others.
    projects: Vec<BinaryHeap<Reverse<(u64, Rank, u32)>>>,
    organisations: BinaryHeap<Reverse<(Standing, u32)>>,
}

impl Line {
    fn push(&mut self, queue: &Queue, project: u32) {
        if let Some(Reverse((rank, _))) = self.lanes[project as usize].peek() {
            let entry = Reverse((queue.standing_inside(project), *rank, project));
            self.projects[queue.group(project) as usize].push(entry);
        }
    }

    /// The next lane and its head; the lane is out of the line until [`Line::again`].
    fn next(&mut self, queue: &Queue) -> Option<(u32, Handle)> {
        loop {
            let Reverse((standing, group)) = self.organisations.pop()?;
            if queue.standing(group) != standing {
                self.organisations.push(Reverse((queue.standing(group), group)));
            } else if let Some(found) = self.next_of(queue, group) {
                self.organisations.push(Reverse((standing, group)));
                return Some(found);
            }
        }
    }

    fn next_of(&mut self, queue: &Queue, group: u32) -> Option<(u32, Handle)> {
        loop {
            let Reverse((standing, rank, project)) = self.projects[group as usize].pop()?;
            let lanes = &mut self.lanes[project as usize];
            let best = lanes.peek().map(|Reverse((rank, _))| *rank);
            if best != Some(rank) {
                continue; // this lane's turn is over, and the next one of the project is in the line already
            }
            if queue.standing_inside(project) != standing {
                self.push(queue, project);
                continue;
            }
            let Reverse((_, lane)) = lanes.pop()?;
            self.push(queue, project);
            let (_, _, job) = queue.lanes[lane as usize].jobs.front()?;
            return Some((lane, *job));
        }
    }

    /// Puts a lane back with its next head.
    fn again(&mut self, queue: &Queue, lane: u32, now: u64) {
        let project = queue.lanes[lane as usize].key.project;
        if let Some(rank) = queue.rank(&queue.lanes[lane as usize], now) {
            self.lanes[project as usize].push(Reverse((rank, lane)));
            self.push(queue, project);
        }
    }
}
