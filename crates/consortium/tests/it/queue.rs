//! The queue, hunted with random workloads: what is checked is counted by the test itself, from the moves alone.

use consortium::queue::{
    Ask, Entitled, Handle, Levels, Machines, Move, Order, Preemption, Queue, Rules, Shape,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A workload on some sites.
#[derive(Debug, Clone)]
struct Workload {
    sites: Vec<Machines>,
    projects: Vec<Entitled>,
    rules: Rules,
    /// By time of submission.
    jobs: Vec<Asked>,
}

#[derive(Debug, Clone)]
struct Asked {
    project: u32,
    gpus: u32,
    sites: u32,
    allowed: Vec<u32>,
    submitted: u64,
    thought_ms: u64,
    takes_ms: u64,
    latest: Option<u64>,
}

fn workload() -> impl Strategy<Value = Workload> {
    let site = (1_u32..5, 1_u32..9, 0_u16..2, 0_u64..4);
    let sites = prop::collection::vec(
        site.prop_map(|(nodes, gpus, kind, price)| Machines {
            nodes,
            gpus,
            kind,
            price,
        }),
        1..4,
    );
    let project = (0_u32..3, 1_u32..3);
    let projects = prop::collection::vec(
        project.prop_map(|(organisation, weight)| Entitled {
            organisation,
            organisation_weight: organisation + 1,
            weight,
        }),
        1..5,
    );
    (sites, projects, rules()).prop_flat_map(|(sites, projects, rules)| {
        let (n, p) = (sites.len() as u32, projects.len() as u32);
        let jobs = prop::collection::vec(job(n, p), 1..60);
        jobs.prop_map(move |mut jobs| {
            jobs.sort_by_key(|job| job.submitted);
            Workload {
                sites: sites.clone(),
                projects: projects.clone(),
                rules: rules.clone(),
                jobs,
            }
        })
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let fair = Rules {
        order: Order::Fair(Levels {
            bounds: vec![HOUR, 4 * HOUR],
            patience_ms: 12 * HOUR,
        }),
        half_life_ms: 24 * HOUR,
        preemption: Some(Preemption {
            min_run_ms: 20 * MINUTE,
        }),
    };
    prop_oneof![1 => Just(Rules::fcfs()), 1 => Just(Rules::multifactor()), 3 => Just(fair)]
}

fn job(sites: u32, projects: u32) -> impl Strategy<Value = Asked> {
    let who = (
        0..projects,
        0_u64..12 * HOUR,
        prop::option::weighted(0.1, 0..24 * HOUR),
    );
    let what = (0_u32..12, prop_oneof![4 => Just(1_u32), 1 => 2_u32..4]);
    let allowed = prop::collection::btree_set(0..sites, 1..=sites as usize);
    let lengths = (MINUTE..6 * HOUR, MINUTE..6 * HOUR);
    (who, what, allowed, lengths).prop_map(|(who, what, allowed, (thought_ms, takes_ms))| Asked {
        project: who.0,
        submitted: who.1,
        latest: who.2,
        gpus: what.0,
        sites: what.1,
        allowed: allowed.into_iter().collect(),
        thought_ms,
        takes_ms,
    })
}

/// A queue and what the moves say of it.
struct Played {
    queue: Queue,
    sites: Vec<Machines>,
    jobs: Vec<Asked>,
    min_run_ms: u64,
    free: Vec<u64>,
    handles: BTreeMap<u64, Handle>,
    /// Who runs, since when and where.
    running: BTreeMap<u64, (u64, Vec<u32>)>,
    /// Milliseconds run so far, and how often each was stopped.
    ran: BTreeMap<u64, u64>,
    stops: BTreeMap<u64, u64>,
    ended: BTreeSet<u64>,
    told: Vec<(u64, Move)>,
}

impl Played {
    fn new(workload: &Workload) -> Self {
        Self {
            queue: Queue::new(
                workload.sites.clone(),
                workload.projects.clone(),
                workload.rules.clone(),
            ),
            free: workload.sites.iter().map(Machines::all).collect(),
            sites: workload.sites.clone(),
            jobs: workload.jobs.clone(),
            min_run_ms: workload.rules.preemption.map_or(0, |rules| rules.min_run_ms),
            handles: BTreeMap::new(),
            running: BTreeMap::new(),
            ran: BTreeMap::new(),
            stops: BTreeMap::new(),
            ended: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    fn submit(&mut self, id: u64) {
        let asked = &self.jobs[id as usize];
        let shape = Shape {
            gpus: asked.gpus,
            sites: asked.sites,
            allowed: self.queue.allow(&asked.allowed),
            near: self.queue.allow(&[]),
        };
        let ask = Ask {
            id,
            project: asked.project,
            shape,
            submitted: asked.submitted,
            length_ms: asked.thought_ms,
            latest: asked.latest,
            fixed: false,
        };
        self.handles.insert(id, self.queue.submit(ask));
    }

    fn gpus(&self, id: u64, site: u32) -> u64 {
        match self.jobs[id as usize].gpus {
            0 => self.sites[site as usize].all(),
            gpus => gpus.into(),
        }
    }

    fn stop(&mut self, id: u64, now: u64) {
        let (since, sites) = self.running.remove(&id).expect("only who runs stops");
        *self.ran.entry(id).or_default() += now - since;
        for site in sites {
            self.free[site as usize] += self.gpus(id, site);
        }
    }

    /// Rounds until nothing moves, each move checked.
    fn place(&mut self, now: u64) {
        for round in 0.. {
            assert!(round < 1_000, "at one moment something always moves");
            let moves = self.queue.round(now, &mut |_, _| true);
            if moves.is_empty() {
                break;
            }
            for next in moves {
                let id = self.queue.id(next.job());
                match &next {
                    Move::Start { sites, .. } => self.check_start(id, sites, now),
                    Move::Preempt { .. } => {
                        let stops = self.stops.entry(id).or_default();
                        *stops += 1;
                        let (since, least) = (self.running[&id].0, self.min_run_ms * *stops);
                        assert!(
                            now - since >= least,
                            "stopped for the {stops}. time after {} ms",
                            now - since
                        );
                        self.stop(id, now);
                    }
                }
                self.told.push((id, next));
            }
        }
        let held: u64 = self.sites.iter().map(Machines::all).sum::<u64>() - self.free.iter().sum::<u64>();
        assert_eq!(self.queue.held(), held);
    }

    fn check_start(&mut self, id: u64, sites: &[u32], now: u64) {
        let asked = &self.jobs[id as usize];
        let distinct: BTreeSet<u32> = sites.iter().copied().collect();
        assert_eq!(
            (distinct.len(), sites.len()),
            (asked.sites as usize, asked.sites as usize)
        );
        assert!(
            sites.iter().all(|site| asked.allowed.contains(site)),
            "{id} is not entitled to {sites:?}"
        );
        for site in sites {
            let gpus = self.gpus(id, *site);
            let left = self.free[*site as usize].checked_sub(gpus);
            self.free[*site as usize] = left.unwrap_or_else(|| panic!("site {site} is over its capacity"));
        }
        assert!(self.running.insert(id, (now, sites.to_vec())).is_none() && !self.ended.contains(&id));
    }

    /// All jobs to their end; each one that is not too large must get there.
    fn play(&mut self) {
        let mut now = 0;
        let mut next = 0;
        while self.ended.len() + self.too_large() < self.jobs.len() {
            assert!(now < 400 * 24 * HOUR, "somebody never starts");
            while next < self.jobs.len() && self.jobs[next].submitted <= now {
                self.submit(next as u64);
                next += 1;
            }
            let done = |(id, (since, _)): (&u64, &(u64, Vec<u32>))| {
                let ran = self.ran.get(id).copied().unwrap_or(0) + now - since;
                (ran >= self.jobs[*id as usize].takes_ms).then_some(*id)
            };
            for id in self.running.iter().filter_map(done).collect::<Vec<_>>() {
                self.stop(id, now);
                self.queue.end(self.handles[&id], now);
                self.ended.insert(id);
            }
            self.place(now);
            now += 7 * MINUTE;
        }
    }

    fn too_large(&self) -> usize {
        let fits = |asked: &Asked, site: u32| {
            asked.gpus == 0 || u64::from(asked.gpus) <= self.sites[site as usize].all()
        };
        let room = |asked: &Asked| asked.allowed.iter().filter(|site| fits(asked, **site)).count();
        self.jobs
            .iter()
            .filter(|asked| room(asked) < asked.sites as usize)
            .count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_site_is_overfull_and_everyone_gets_there(workload in workload()) {
        let mut played = Played::new(&workload);
        played.play();
        prop_assert_eq!(played.running.len(), 0);
    }

    #[test]
    fn the_order_of_submission_calls_does_not_matter(workload in workload(), seed in any::<u64>()) {
        let mut order: Vec<u64> = (0..workload.jobs.len() as u64).collect();
        let submitted = |order: &[u64]| {
            let mut played = Played::new(&workload);
            order.iter().for_each(|id| played.submit(*id));
            for hour in 0..6 {
                played.place(12 * HOUR + hour * HOUR);
            }
            let place = |(id, m): &(u64, Move)| match m {
                Move::Start { sites, .. } => (*id, Some(sites.clone())),
                Move::Preempt { .. } => (*id, None),
            };
            played.told.iter().map(place).collect::<Vec<_>>()
        };
        let first = submitted(&order);
        order.sort_by_key(|id| (id + 1).wrapping_mul(seed | 1).rotate_left(17));
        prop_assert_eq!(first, submitted(&order));
    }
}

// ---- told by hand ----------------------------------------------------------------------------------------

fn one_site(gpus: u32, organisations: u32, rules: Rules) -> Queue {
    let site = Machines {
        nodes: 1,
        gpus,
        kind: 0,
        price: 1,
    };
    let project = |organisation| Entitled {
        organisation,
        organisation_weight: 1,
        weight: 1,
    };
    Queue::new(vec![site], (0..organisations).map(project).collect(), rules)
}

fn ask(queue: &mut Queue, id: u64, project: u32, gpus: u32, submitted: u64, hours: u64) -> Handle {
    let allowed = queue.allow(&[0]);
    let shape = Shape {
        gpus,
        sites: 1,
        allowed,
        near: allowed,
    };
    queue.submit(Ask {
        id,
        project,
        shape,
        submitted,
        length_ms: hours * HOUR,
        latest: None,
        fixed: false,
    })
}

fn ids(queue: &Queue, moves: &[Move]) -> Vec<u64> {
    moves.iter().map(|m| queue.id(m.job())).collect()
}

#[test]
fn backfill_fills_what_is_free_and_delays_nobody() {
    let mut queue = one_site(8, 1, Rules::fcfs());
    ask(&mut queue, 1, 0, 6, 0, 10);
    ask(&mut queue, 2, 0, 8, 1, 1); // waits for all of the site, until hour 10
    ask(&mut queue, 3, 0, 1, 2, 11); // would still run then
    ask(&mut queue, 4, 0, 2, 3, 9);
    let moves = queue.round(4, &mut |_, _| true);
    assert_eq!(ids(&queue, &moves), [1, 4]);
}

#[test]
fn nobody_starves_in_a_stream_of_others() {
    for rules in [Rules::fcfs(), Rules::multifactor(), Rules::fair()] {
        // A job for the whole site, while small ones of others and of its own project never cease to come.
        let mut queue = one_site(8, 2, rules.clone());
        ask(&mut queue, 0, 0, 8, 0, 1);
        let mut ends: Vec<(u64, Handle)> = Vec::new();
        let started = (0..14 * 24 * 12).find(|step| {
            let now = step * 5 * MINUTE;
            ends.extract_if(.., |(end, _)| *end <= now)
                .for_each(|(_, job)| queue.end(job, now));
            for (k, project) in [(1, 0), (2, 1), (3, 1)] {
                ask(&mut queue, step * 4 + k, project, 1, now, 2);
            }
            let moves = queue.round(now, &mut |_, _| true);
            ends.extend(moves.iter().map(|m| (now + 2 * HOUR, m.job())));
            ids(&queue, &moves).contains(&0)
        });
        assert!(started.is_some(), "{rules:?}");
    }
}

#[test]
fn what_was_stopped_gets_to_its_end() {
    // One GPU; a job of four days, and each hour another one of an hour: there is never a free moment.
    let mut queue = one_site(1, 1, Rules::fair());
    let long = ask(&mut queue, 0, 0, 1, 0, 96);
    let mut left = BTreeMap::from([(long, 96 * HOUR)]);
    let mut running: Option<(Handle, u64)> = None;
    let mut stops = 0;
    let ended = (0..365 * 24).find(|hour| {
        let now = hour * HOUR;
        if let Some((job, _)) = running.filter(|(job, since)| now - since >= left[job]) {
            queue.end(job, now);
            running = None;
            if job == long {
                return true;
            }
        }
        let short = ask(&mut queue, hour + 1, 0, 1, now, 1);
        left.insert(short, HOUR);
        for next in queue.round(now, &mut |_, _| true) {
            match next {
                Move::Start { job, .. } => running = Some((job, now)),
                Move::Preempt { job } => {
                    let (_, since) = running.take().expect("somebody ran");
                    *left.get_mut(&job).expect("it was asked for") -= now - since;
                    stops += 1;
                }
            }
        }
        false
    });
    assert!(
        ended.is_some() && (1..=14).contains(&stops),
        "ended {ended:?}, stopped {stops} times"
    );
}

#[test]
fn a_share_is_got_back_and_not_taken_back_again() {
    let mut queue = one_site(8, 2, Rules::fair());
    for id in 0..8 {
        ask(&mut queue, id, 0, 1, 0, 100);
    }
    assert_eq!(queue.round(0, &mut |_, _| true).len(), 8);
    for id in 10..18 {
        ask(&mut queue, id, 1, 1, 1, 100);
    }
    assert_eq!(
        queue.round(2, &mut |_, _| true).len(),
        0,
        "nobody has run for the minimum time"
    );
    let moves = queue.round(HOUR, &mut |_, _| true);
    let stopped = moves.iter().filter(|m| matches!(m, Move::Preempt { .. })).count();
    assert_eq!((stopped, moves.len()), (4, 8), "half of the site each: {moves:?}");
    // From then on jobs of the same project take turns, and the halves stay as they are.
    for hour in 2..50 {
        for next in queue.round(hour * HOUR, &mut |_, _| true).chunks_exact(2) {
            let theirs = |m: &Move| queue.id(m.job()) >= 10;
            assert_eq!(theirs(&next[0]), theirs(&next[1]), "{next:?}");
        }
    }
}

#[test]
fn an_award_that_does_not_cover_a_job_stops_only_that() {
    let mut queue = one_site(8, 2, Rules::fair());
    ask(&mut queue, 1, 0, 4, 0, 1);
    ask(&mut queue, 2, 1, 4, 1, 1);
    let moves = queue.round(2, &mut |job, _| job != 0);
    assert_eq!(ids(&queue, &moves), [2]);
}

#[test]
fn cheaper_sites_come_first_and_data_is_worth_five_percent() {
    let site = |price| Machines {
        nodes: 1,
        gpus: 8,
        kind: 0,
        price,
    };
    let project = Entitled {
        organisation: 0,
        organisation_weight: 1,
        weight: 1,
    };
    for (prices, near, expected) in [
        ([100, 90], vec![], 1),
        ([100, 96], vec![0], 0),
        ([100, 94], vec![0], 1),
        ([0, 0], vec![], 0),
    ] {
        let mut queue = Queue::new(prices.map(site).to_vec(), vec![project], Rules::fair());
        let (allowed, near) = (queue.allow(&[0, 1]), queue.allow(&near));
        let shape = Shape {
            gpus: 1,
            sites: 1,
            allowed,
            near,
        };
        queue.submit(Ask {
            id: 1,
            project: 0,
            shape,
            submitted: 0,
            length_ms: HOUR,
            latest: None,
            fixed: false,
        });
        let moves = queue.round(0, &mut |_, _| true);
        assert_eq!(
            moves,
            [Move::Start {
                job: 0,
                sites: vec![expected]
            }],
            "{prices:?}"
        );
    }
}

#[test]
fn who_is_due_goes_first_within_its_project() {
    let mut queue = one_site(1, 1, Rules::fair());
    let allowed = queue.allow(&[0]);
    let shape = Shape {
        gpus: 1,
        sites: 1,
        allowed,
        near: allowed,
    };
    for (id, latest) in [(1, None), (2, Some(90 * MINUTE)), (3, Some(30 * MINUTE))] {
        queue.submit(Ask {
            id,
            project: 0,
            shape,
            submitted: id,
            length_ms: HOUR,
            latest,
            fixed: false,
        });
    }
    let moves = queue.round(10, &mut |_, _| true);
    assert_eq!(ids(&queue, &moves), [3]);
}

#[test]
fn who_has_used_less_lately_goes_first() {
    let mut queue = one_site(1, 2, Rules::multifactor());
    queue.remember(0, 1_000 * u128::from(HOUR), 0);
    queue.remember(1, 900 * u128::from(HOUR), 0);
    ask(&mut queue, 1, 0, 1, 0, 1);
    ask(&mut queue, 2, 1, 1, 0, 1);
    let moves = queue.round(1, &mut |_, _| true);
    assert_eq!(ids(&queue, &moves), [2]);
}
