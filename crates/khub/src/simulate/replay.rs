//! A workload replayed: each submission and each end is an event, and after it the queue is asked what moves.
//!
//! The queue is `consortium::queue`, the placement queue. It is told what a hub would know: who asks for how much,
//! the requested time if the workload has it, and otherwise what the same user's jobs took before. The real run
//! time decides when a job ends, and nothing else.

use super::swf::{Trace, Traced};
use consortium::queue::{Ask, Entitled, Handle, Machines, Move, Queue, Rules, Shape};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// What a replay assumes.
#[derive(Debug, Clone)]
pub(crate) struct Assumed {
    pub(crate) rules: Rules,
    /// Whether the queue is told the real run times; for comparison only, nobody knows them.
    pub(crate) clairvoyant: bool,
    /// What it costs a job to be stopped and to go on, in seconds of all its GPUs: writing a checkpoint,
    /// starting again, reading it, and the steps since the last one.
    pub(crate) restart_s: u64,
}

/// What became of a workload.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// In the order of the trace.
    pub(crate) jobs: Vec<Done>,
    pub(crate) groups: BTreeMap<i64, Service>,
    /// GPU-milliseconds held, by site.
    pub(crate) held: Vec<u128>,
    pub(crate) preemptions: u64,
    /// GPU-milliseconds of work done from the first submission to the last, and all there were.
    pub(crate) worked: u128,
    pub(crate) there: u128,
    /// When the last job was submitted.
    pub(crate) last: u64,
}

/// What became of a job.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    /// Milliseconds since the workload began.
    pub(crate) end: u64,
    pub(crate) preempted: u16,
}

/// What a group got while somebody waited.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Service {
    /// GPU-milliseconds that it held.
    pub(crate) held: u128,
    /// GPU-milliseconds of its max-min fair share: of what it wanted at each moment, as much as an equal
    /// division among the groups gives it.
    pub(crate) fair: u128,
}

/// While somebody waits the queue is asked this often, also when nothing happens: minimum run times pass.
const EVERY_MS: u64 = 600_000;
/// How many past jobs of a user an estimate looks at.
const PAST: usize = 50;
/// What a user's first job is thought to take.
const UNKNOWN_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    End(u32, u32),
    Submit(u32),
    Look,
}

struct Replay<'a> {
    trace: &'a Trace,
    assumed: &'a Assumed,
    queue: Queue,
    /// The group of each project.
    groups: Vec<u32>,
    sites: u32,
    largest: u32,
    now: u64,
    events: BinaryHeap<Reverse<(u64, What)>>,
    looks_at: Option<u64>,
    handles: Vec<Handle>,
    jobs: Vec<Going>,
    past: BTreeMap<(i64, i64), VecDeque<u64>>,
    projects: BTreeMap<(i64, i64), u32>,
    /// GPUs running and wanted, by group.
    running: Vec<u64>,
    wanted: Vec<u64>,
    service: Vec<Service>,
    held: Vec<u128>,
    /// GPU-milliseconds held until the last submission, without what restarts cost.
    worked: u128,
    last: u64,
    all: u64,
}

#[derive(Debug, Clone, Default)]
struct Going {
    left_ms: u64,
    started: u64,
    sites: Vec<u32>,
    starts: u32,
    done: Done,
}

/// Replays `trace` on `sites`. `tell` hears how many jobs have ended at each moment.
pub(crate) fn replay(trace: &Trace, sites: &[Machines], assumed: &Assumed, tell: &dyn Fn(u64)) -> Replayed {
    let mut replay = Replay::new(trace, sites, assumed);
    let first = replay.now;
    while let Some(Reverse((at, what))) = replay.events.pop() {
        let mut ended = 0;
        replay.pass(at);
        let mut what = Some(what);
        while let Some(now) = what {
            match now {
                What::End(job, start) => ended += u64::from(replay.end(job, start)),
                What::Submit(job) => replay.submit(job),
                What::Look => replay.looks_at = None,
            }
            let also = replay
                .events
                .peek()
                .is_some_and(|Reverse((other, _))| *other == at);
            what = if also {
                replay.events.pop().map(|Reverse((_, what))| what)
            } else {
                None
            };
        }
        replay.place();
        tell(ended);
    }
    Replayed {
        jobs: replay.jobs.iter().map(|job| job.done).collect(),
        preemptions: replay.jobs.iter().map(|job| u64::from(job.done.preempted)).sum(),
        groups: group_numbers(trace).into_iter().zip(replay.service).collect(),
        last: replay.last,
        held: replay.held,
        worked: replay.worked,
        there: u128::from(replay.all) * u128::from(replay.last - first),
    }
}

fn group_numbers(trace: &Trace) -> Vec<i64> {
    let mut groups: Vec<i64> = trace.jobs.iter().map(|job| job.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

impl<'a> Replay<'a> {
    fn new(trace: &'a Trace, sites: &[Machines], assumed: &'a Assumed) -> Self {
        let groups = group_numbers(trace);
        let organisation = |job: &Traced| groups.binary_search(&job.group).unwrap_or_default() as u32;
        let mut projects: BTreeMap<(i64, i64), u32> = BTreeMap::new();
        let mut entitled = Vec::new();
        for job in &trace.jobs {
            projects.entry((job.group, job.user)).or_insert_with(|| {
                entitled.push(Entitled {
                    organisation: organisation(job),
                    organisation_weight: 1,
                    weight: 1,
                });
                entitled.len() as u32 - 1
            });
        }
        let submit = |(i, job): (usize, &Traced)| Reverse((job.submitted * 1_000, What::Submit(i as u32)));
        Self {
            groups: entitled.iter().map(|e| e.organisation).collect(),
            queue: Queue::new(sites.to_vec(), entitled, assumed.rules.clone()),
            events: trace.jobs.iter().enumerate().map(submit).collect(),
            sites: sites.len() as u32,
            largest: sites
                .iter()
                .map(|s| u32::try_from(s.all()).unwrap_or(u32::MAX))
                .max()
                .unwrap_or(0),
            all: sites.iter().map(Machines::all).sum(),
            held: vec![0; sites.len()],
            handles: vec![Handle::MAX; trace.jobs.len()],
            jobs: vec![Going::default(); trace.jobs.len()],
            running: vec![0; groups.len()],
            wanted: vec![0; groups.len()],
            service: vec![Service::default(); groups.len()],
            past: BTreeMap::new(),
            now: trace.jobs.first().map_or(0, |job| job.submitted * 1_000),
            last: trace.jobs.last().map_or(0, |job| job.submitted * 1_000),
            worked: 0,
            looks_at: None,
            trace,
            assumed,
            projects,
        }
    }

    /// Counts what was held, and what each group should have held, until `at`.
    fn pass(&mut self, at: u64) {
        let millis = u128::from(at - self.now);
        self.now = at;
        if at <= self.last {
            self.worked += u128::from(self.running.iter().sum::<u64>()) * millis;
        }
        if millis == 0 || self.queue.waiting() == 0 {
            return;
        }
        let fair = max_min(self.all, &self.wanted);
        for (group, service) in self.service.iter_mut().enumerate() {
            service.held += u128::from(self.running[group]) * millis;
            service.fair += (fair[group] * millis) >> 16;
        }
    }

    fn submit(&mut self, job: u32) {
        let traced = &self.trace.jobs[job as usize];
        let all: Vec<u32> = (0..self.sites).collect();
        let allowed = self.queue.allow(&all);
        let sites = traced.gpus.div_ceil(self.largest.max(1)).max(1);
        let project = self.projects[&(traced.group, traced.user)];
        let handle = self.queue.submit(Ask {
            id: job.into(),
            project,
            shape: Shape {
                gpus: traced.gpus.div_ceil(sites),
                sites,
                allowed,
                near: allowed,
            },
            submitted: self.now,
            length_ms: self.estimate(traced),
            latest: None,
            fixed: false,
        });
        self.handles[job as usize] = handle;
        self.jobs[job as usize].left_ms = traced.ran * 1_000;
        self.wanted[self.groups[project as usize] as usize] += u64::from(traced.gpus);
    }

    /// What a hub would reckon with.
    fn estimate(&self, job: &Traced) -> u64 {
        if self.assumed.clairvoyant {
            return job.ran * 1_000;
        }
        if let Some(requested) = job.requested {
            return requested * 1_000;
        }
        let Some(past) = self.past.get(&(job.group, job.user)) else {
            return UNKNOWN_MS;
        };
        let mut past: Vec<u64> = past.iter().copied().collect();
        past.sort_unstable();
        past[past.len() * 3 / 4]
    }

    fn end(&mut self, job: u32, start: u32) -> bool {
        let going = &mut self.jobs[job as usize];
        if going.starts != start || going.sites.is_empty() {
            return false; // it was stopped before that
        }
        let traced = &self.trace.jobs[job as usize];
        going.done.end = self.now;
        let (sites, started) = (std::mem::take(&mut going.sites), going.started);
        let group = self.group(job);
        self.running[group] -= u64::from(traced.gpus);
        self.wanted[group] -= u64::from(traced.gpus);
        self.count(job, &sites, started);
        self.queue.end(self.handles[job as usize], self.now);
        let past = self.past.entry((traced.group, traced.user)).or_default();
        past.push_back(traced.ran * 1_000);
        if past.len() > PAST {
            past.pop_front();
        }
        true
    }

    fn group(&self, job: u32) -> usize {
        let traced = &self.trace.jobs[job as usize];
        self.groups[self.projects[&(traced.group, traced.user)] as usize] as usize
    }

    fn count(&mut self, job: u32, sites: &[u32], started: u64) {
        let gpus = self.trace.jobs[job as usize]
            .gpus
            .div_ceil(sites.len().max(1) as u32);
        for site in sites {
            self.held[*site as usize] += u128::from(gpus) * u128::from(self.now - started);
        }
    }

    /// Lets the queue move until nothing does.
    fn place(&mut self) {
        loop {
            let moves = self.queue.round(self.now, &mut |_, _| true);
            let again = moves.iter().any(|m| matches!(m, Move::Preempt { .. }));
            for next in moves {
                let job = self.queue.id(next.job()) as u32;
                let group = self.group(job);
                let gpus = u64::from(self.trace.jobs[job as usize].gpus);
                let going = &mut self.jobs[job as usize];
                match next {
                    Move::Start { sites, .. } => {
                        (going.sites, going.started) = (sites, self.now);
                        going.starts += 1;
                        self.running[group] += gpus;
                        let end = self.now + going.left_ms;
                        self.events.push(Reverse((end, What::End(job, going.starts))));
                    }
                    Move::Preempt { .. } => {
                        let (sites, started) = (std::mem::take(&mut going.sites), going.started);
                        let restart = self.assumed.restart_s * 1_000;
                        going.left_ms = going.left_ms - (self.now - started) + restart;
                        going.done.preempted += 1;
                        if self.now <= self.last {
                            let lost = u128::from(gpus) * u128::from(restart);
                            self.worked = self.worked.saturating_sub(lost);
                        }
                        self.running[group] -= gpus;
                        self.count(job, &sites, started);
                    }
                }
            }
            if !again {
                break;
            }
        }
        let patient = self.assumed.rules.preemption.is_none();
        if self.queue.waiting() > 0 && !patient && self.looks_at.is_none() {
            self.looks_at = Some(self.now + EVERY_MS);
            self.events.push(Reverse((self.now + EVERY_MS, What::Look)));
        }
    }
}

/// `all` divided among those who want so much: nobody gets more than they want, and who gets less than they
/// want gets no less than anyone else. In parts of 2^-16.
fn max_min(all: u64, wanted: &[u64]) -> Vec<u128> {
    let mut order: Vec<usize> = (0..wanted.len()).filter(|i| wanted[*i] > 0).collect();
    order.sort_by_key(|i| wanted[*i]);
    let mut left = u128::from(all) << 16;
    let mut shares = vec![0; wanted.len()];
    for (done, i) in order.iter().enumerate() {
        let share = (u128::from(wanted[*i]) << 16).min(left / (order.len() - done) as u128);
        shares[*i] = share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64, submitted: u64, ran: u64, gpus: u32, group: i64) -> Traced {
        Traced {
            number,
            submitted,
            ran,
            gpus,
            requested: None,
            user: group,
            group,
        }
    }

    fn replayed(jobs: Vec<Traced>, gpus: u32, rules: Rules) -> Replayed {
        let trace = Trace {
            jobs,
            ..Trace::default()
        };
        let site = Machines {
            nodes: 1,
            gpus,
            kind: 0,
            price: 1,
        };
        let assumed = Assumed {
            rules,
            clairvoyant: false,
            restart_s: 300,
        };
        replay(&trace, &[site], &assumed, &|_| {})
    }

    #[test]
    fn jobs_end_when_they_have_run_and_not_before() {
        let done = replayed(
            vec![job(1, 10, 100, 1, 1), job(2, 10, 50, 1, 1)],
            1,
            Rules::fcfs(),
        );
        assert_eq!(
            (done.jobs[0].end, done.jobs[1].end, done.preemptions),
            (110_000, 160_000, 0)
        );
        assert_eq!((done.held[0], done.worked, done.there), (150_000, 0, 0));
    }

    #[test]
    fn being_stopped_costs_time_and_no_work_is_lost() {
        // Two days of work for one group, and a short job of another that comes after two hours.
        let (day, last) = (86_400, 200_000);
        let jobs = vec![
            job(1, 0, day, 1, 1),
            job(2, 0, day, 1, 1),
            job(3, 7_200, 600, 1, 2),
            job(4, last, 1, 1, 2),
        ];
        let done = replayed(jobs, 2, Rules::fair());
        let ends: Vec<u64> = done.jobs.iter().map(|job| job.end / 1_000).collect();
        assert_eq!(
            (done.preemptions, ends),
            (1, vec![day + 600 + 300, day, 7_800, last + 1])
        );
        assert_eq!(done.held[0], u128::from(2 * day + 600 + 300 + 1) * 1_000);
        assert_eq!(
            done.worked,
            u128::from(2 * day + 600) * 1_000,
            "restarts are no work"
        );
        // While somebody waited, one of the two GPUs was its fair share.
        let service = done.groups[&2];
        assert_eq!((service.held, service.fair), (600_000, 600_000));
    }

    #[test]
    fn fair_shares_fill_what_others_leave() {
        let one = |n: u64| u128::from(n) << 16;
        assert_eq!(max_min(9, &[1, 100, 4]), [one(1), one(4), one(4)]);
        assert_eq!(max_min(10, &[0, 3, 3]), [0, one(3), one(3)]);
        assert_eq!(max_min(10, &[]), []);
    }
}
