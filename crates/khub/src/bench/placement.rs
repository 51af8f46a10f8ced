//! `khub bench place`: rounds of placement over a queue in memory, each timed.

use crate::failure::Failure;
use crate::show;
use consortium::queue::{Ask, Entitled, Handle, Machines, Move, Queue, Rules, Shape};
use serde_json::json;
use std::time::Instant;

/// Rounds of placement over a long queue.
#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(long, default_value_t = 320_000)]
    jobs: u32,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..))]
    nodes: u32,
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
        let start = Instant::now();
        let n = what();
        seconds.push(start.elapsed().as_secs_f64());
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
        "fill_s",
        "first_round_s",
        "idle_round_s",
        "refill_round_s",
        "preempting_round_s",
    ];
    let mut report = json!({
        "jobs": args.jobs, "nodes": args.nodes, "gpus": u64::from(args.nodes) * 8, "sites": SITES,
        "organisations": ORGANISATIONS, "projects": ORGANISATIONS * PROJECTS,
        "placed": placed, "refilled": refilled, "moved_by_preemption": moved,
    });
    for (name, seconds) in names.iter().zip(seconds) {
        report[*name] = seconds.into();
    }
    report["from_nothing_s"] = json!(
        report["fill_s"].as_f64().unwrap_or_default() + report["first_round_s"].as_f64().unwrap_or_default()
    );
    show::print(&format!("{report}\n"));
    Ok(())
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
    };
    (0..jobs).map(ask).collect()
}
