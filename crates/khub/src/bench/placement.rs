//! `khub bench place`: rounds of placement over a queue in memory, each timed.

use crate::failure::Failure;
use crate::show;
use consortium::queue::{Ask, Entitled, Handle, Machines, Move, Queue, Rules, Shape};
use consortium::{
    Account, Actor, Award, Command, Event, FlopSeconds, FlopsPerSecond, Home, JobId, JobSpec, Kind, Label,
    Organisation, Phase, Price, Programme, Project, Request, RoundSpec, Site, State, Tenure, Time, Transfer,
    Won, apply, decide, explain,
};
use serde_json::json;
use std::time::Instant;

/// Rounds of placement over a long queue.
#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(long, default_value_t = 320_000)]
    jobs: u32,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..))]
    nodes: u32,
    /// Jobs that wait while one of them is explained.
    #[arg(long, default_value_t = 100_000)]
    waiting: u32,
}

const SITES: u32 = 10;
const ORGANISATIONS: u32 = 10;
/// Of each organisation.
const PROJECTS: u32 = 10;
const HOUR: u64 = 3_600_000;

/// Prints one line of JSON.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let site = |i: u32| Machines {
        nodes: (args.nodes + i) / SITES,
        gpus: 8,
        kind: (i % 2) as u16,
        price: [900, 1_200, 0, 700][i as usize % 4],
    };
    let project = |i: u32| Entitled {
        organisation: i / PROJECTS,
        organisation_weight: 1 + i / PROJECTS % 3,
        weight: 1,
    };
    let projects = (0..ORGANISATIONS * PROJECTS).map(project).collect();
    let mut queue = Queue::new((0..SITES).map(site).collect(), projects, Rules::fair());
    let asks = asks(args.jobs, &mut queue);

    let mut seconds = Vec::new();
    let mut time = |what: &mut dyn FnMut() -> usize| {
        let mut n = 0;
        seconds.push(timed(&mut || n = what()));
        n
    };
    time(&mut || asks.iter().map(|ask| queue.submit(*ask)).count());
    let mut started: Vec<Handle> = Vec::new();
    let now = u64::from(args.jobs);
    let placed = time(&mut || {
        started.extend(queue.round(now, &mut |_, _| true).iter().map(Move::job));
        started.len()
    });
    time(&mut || queue.round(now + 1, &mut |_, _| true).len());
    for job in started.iter().step_by(20) {
        queue.end(*job, now + HOUR / 2);
    }
    let refilled = time(&mut || queue.round(now + HOUR / 2, &mut |_, _| true).len());
    let moved = time(&mut || queue.round(now + 2 * HOUR, &mut |_, _| true).len());
    let names = [
        "fill",
        "first_round",
        "idle_round",
        "refill_round",
        "preempting_round",
    ];
    let mut report = json!({
        "jobs": args.jobs, "nodes": args.nodes, "gpus": u64::from(args.nodes) * 8, "sites": SITES,
        "organisations": ORGANISATIONS, "projects": ORGANISATIONS * PROJECTS,
        "placed": placed, "refilled": refilled, "moved_by_preemption": moved,
    });
    for (name, (wall, cpu)) in names.iter().zip(seconds) {
        report[*name] = json!({ "wall_s": wall, "cpu_s": cpu });
    }
    let (wall, cpu) = explain_the_last(args.waiting).ok_or_else(|| Failure::new("no such consortium"))?;
    report["explain"] = json!({ "jobs": args.waiting, "wall_s": wall, "cpu_s": cpu });
    show::print(&format!("{report}\n"));
    Ok(())
}

/// Seconds by the clock, and on the processor.
fn timed(what: &mut dyn FnMut()) -> (f64, f64) {
    let (start, cpu) = (Instant::now(), on_cpu());
    what();
    let wall = start.elapsed().as_secs_f64();
    (
        wall,
        on_cpu().zip(cpu).map_or(wall, |(after, before)| after - before),
    )
}

/// Seconds that this thread has been on a processor: what it would take alone, where others work too. None on
/// systems that don't tell.
fn on_cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanos as f64 / 1e9)
}

/// How long it takes to explain the last of so many waiting jobs: ten projects, ten sites of 64 GPUs, all held.
fn explain_the_last(waiting: u32) -> Option<(f64, f64)> {
    let mut state = State::default();
    let at = Time(1_000_000);
    let mut happen = |event: Event| apply(&mut state, &event, at);
    happen(Event::Admitted(Organisation {
        id: "gaon".parse().ok()?,
        name: "Gaon University".into(),
        name_ko: "가온대학교".into(),
        kind: Kind::University,
        home: Home::Domestic,
    }));
    for i in 0..10 {
        happen(Event::SiteAdded(Site {
            id: format!("site-{i}").parse().ok()?,
            owner: "gaon".parse().ok()?,
            tenure: Tenure::Member,
            rated: FlopsPerSecond(1_000_000_000_000),
            price: Price(1_000 + i),
            gpus: 64,
            gpu: None,
            marginal: None,
        }));
        let project = Project {
            id: format!("project-{i}").parse().ok()?,
            title: "A project".into(),
            organisation: "gaon".parse().ok()?,
            programme: Programme::Language,
            members: [].into(),
        };
        let (id, compute) = (
            format!("award-{i}").parse().ok()?,
            FlopSeconds::from_pflop_hours(1_000_000),
        );
        let award = Award {
            id,
            project: project.id.clone(),
            won: Won(1_000_000_000),
            compute,
        };
        let to = Account::Award(award.id.clone());
        happen(Event::ProjectOpened(project));
        happen(Event::Posted(Transfer::both(
            Account::Source,
            to,
            award.won,
            award.compute,
        )));
        happen(Event::Granted(award));
    }
    for i in 0..waiting {
        happen(Event::Submitted {
            job: JobId(u64::from(i) + 1),
            spec: Box::new(JobSpec {
                name: "one of many".into(),
                project: format!("project-{}", i % 10).parse().ok()?,
                program: "language".into(),
                label: Label::Open,
                sites: 1 + i % 3 / 2,
                wall_minutes: 10 << (i % 7),
                gpus: Some([1, 2, 4, 8, 16, 64][i as usize % 6]),
                gpu: None,
                due_minutes: None,
                batch: None,
                inputs: [].into(),
                rounds: RoundSpec {
                    count: 1,
                    samples: 1,
                    quorum: 1,
                    grace_seconds: 0,
                    ..RoundSpec::default()
                },
                settings: json!({}),
            }),
            submitter: "minji".parse().ok()?,
            label: Label::Open,
        });
    }
    // What can start does, as in a hub; then everyone else waits.
    let tick = Request::new(Actor::Hub, Command::Tick);
    for event in decide(&state, &tick, at).ok()? {
        apply(&mut state, &event, at);
    }
    let last = state.jobs.values().rev().find(|job| job.phase == Phase::Queued)?;
    let mut told = 0;
    let times = timed(&mut || told = explain(&state, last, at).sites.len());
    (told == 10).then_some(times)
}

/// Jobs of all sizes by everyone: most small, some for two sites together, a quarter kept off half of the sites.
fn asks(jobs: u32, queue: &mut Queue) -> Vec<Ask> {
    let everywhere = queue.allow(&Vec::from_iter(0..SITES));
    let somewhere = queue.allow(&[0, 2, 3, 5, 7]);
    let nowhere = queue.allow(&[]);
    let mut state = 1_u64;
    let mut roll = |n: u64| {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    };
    let ask = |id: u32| Ask {
        id: id.into(),
        project: roll((ORGANISATIONS * PROJECTS).into()) as u32,
        shape: Shape {
            gpus: [1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 32][roll(12) as usize],
            sites: if roll(50) == 0 { 2 } else { 1 },
            allowed: if roll(4) == 0 { somewhere } else { everywhere },
            near: nowhere,
        },
        submitted: id.into(),
        length_ms: 60_000 << roll(11),
        latest: None,
        fixed: false,
    };
    (0..jobs).map(ask).collect()
}
