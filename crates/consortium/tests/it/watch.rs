//! Machines that are held idle: who is told, what is taken, and how it is given back.

use crate::world::{World, id, person, site, spec};
use consortium::watch::{Notice, Terms};
use consortium::{
    Account, Batch, Command, Event, Exit, FlopSeconds, JobId, JobSpec, Label, Reading, Usage, Won, explain,
};

const TERMS: Terms = Terms {
    busy_percent: 10,
    sample_seconds: 300,
    report_minutes: 10,
    warn_minutes: 20,
    reduce_minutes: 40,
    reduce_percent: 10,
};

/// A world that watches, with a job that runs.
fn watching() -> (World, JobId) {
    let mut world = World::with_gpus();
    world.must(person("director"), Command::SetWatch(Some(TERMS)));
    let job = start(&mut world);
    (world, job)
}

fn start(world: &mut World) -> JobId {
    let script = "#!/bin/sh\ntrue\n".into();
    let job = world.submit(JobSpec {
        sites: 1,
        gpus: Some(1),
        label: Label::Open,
        wall_minutes: 100,
        batch: Some(Box::new(Batch {
            script,
            ..Batch::default()
        })),
        ..spec()
    });
    world.join(job, &["hangang"]);
    job
}

/// Lets minutes pass, in which the job's machines were busy for so much; what was said of it.
fn pass(world: &mut World, job: JobId, minutes: u64, percent: u64) -> Vec<Notice> {
    let mut notices = Vec::new();
    for _ in 0..minutes {
        world.wait(60);
        let before = world.job(job).members[&id("hangang")].total();
        let total = Usage {
            millis: before.millis + 60_000,
            watched: before.watched + 60_000,
            busy: before.busy + 600 * percent,
            ..before
        };
        let attempt = world.attempt(job, "hangang");
        let reading = Reading { attempt, total };
        for event in world.must(site("hangang"), Command::Meter { job, reading }) {
            if let Event::HeldIdle { notice, .. } = event {
                notices.push(notice);
            }
        }
    }
    notices
}

fn left(world: &World) -> (Won, FlopSeconds) {
    let left = world.state.ledger.balance(&Account::Award(id("first")));
    (left.won, left.compute)
}

fn idle_words(world: &World, job: JobId) -> String {
    explain(&world.state, world.job(job), world.now)
        .idle
        .unwrap_or_default()
}

#[test]
fn who_holds_machines_idle_is_reported_then_warned_then_pays() {
    let (mut world, job) = watching();
    let before = left(&world);
    assert_eq!(pass(&mut world, job, 9, 3), []);
    assert_eq!(idle_words(&world, job), "");
    assert_eq!(pass(&mut world, job, 1, 3), [Notice::Reported]);
    let words = idle_words(&world, job);
    assert!(
        words.contains("idle for 10 minutes") && words.contains("busy for 3 %"),
        "{words}"
    );
    assert!(
        words.contains("after 40 minutes award first is reduced by 10 %"),
        "{words}"
    );
    assert_eq!(pass(&mut world, job, 10, 3), [Notice::Warned]);
    assert_eq!(left(&world), before);
    assert_eq!(pass(&mut world, job, 20, 3), [Notice::Reduced]);
    let after = left(&world);
    assert_eq!(after.0, before.0 - Won(before.0.0 / 10));
    assert_eq!(after.1, before.1 - FlopSeconds(before.1.0 / 10));
    assert!(idle_words(&world, job).contains("award first was reduced by"));
    // Once for a stay, however long it goes on.
    assert_eq!(pass(&mut world, job, 45, 0), []);

    let give_back = |ground: &str| Command::GiveBack {
        job,
        ground: ground.into(),
    };
    for (who, ground) in [("minji", "it was busy"), ("director", "  ")] {
        assert!(world.ask(person(who), give_back(ground)).is_err(), "{who}");
    }
    world.must(person("director"), give_back("the driver told nothing"));
    assert_eq!(left(&world), before);
    assert!(world.ask(person("director"), give_back("again")).is_err());
    assert_eq!(pass(&mut world, job, 5, 0), [], "nor is it taken again");
}

#[test]
fn who_gets_to_work_again_is_forgiven() {
    let (mut world, job) = watching();
    assert_eq!(pass(&mut world, job, 25, 0), [Notice::Reported, Notice::Warned]);
    assert_eq!(pass(&mut world, job, 5, 10), []);
    assert_eq!(idle_words(&world, job), "");
    assert_eq!(pass(&mut world, job, 20, 9), [Notice::Reported, Notice::Warned]);
}

#[test]
fn what_nobody_saw_is_held_against_nobody() {
    let (mut world, job) = watching();
    world.wait(90 * 60);
    world.meter(job, "hangang", 90 * 60_000).unwrap();
    assert_eq!(world.job(job).members[&id("hangang")].watch.notice, None);
    // Nor can a site have watched for longer than it held.
    let total = Usage {
        millis: 91 * 60_000,
        watched: u64::MAX,
        busy: u64::MAX,
        ..Usage::default()
    };
    let reading = Reading { attempt: 1, total };
    world.wait(60);
    world.must(site("hangang"), Command::Meter { job, reading });
    let total = world.job(job).members[&id("hangang")].total();
    assert_eq!((total.watched, total.busy), (total.millis, total.millis));
}

#[test]
fn two_jobs_of_one_award_are_reduced_one_after_the_other() {
    let (mut world, job) = watching();
    world.must(
        person("director"),
        Command::SetWatch(Some(Terms {
            reduce_percent: 100,
            ..TERMS
        })),
    );
    let other = start(&mut world);
    for minute in 1..=40_u64 {
        world.now = world.now.plus(60_000);
        for job in [job, other] {
            let millis = minute * 60_000;
            let total = Usage {
                millis,
                watched: millis,
                ..Usage::default()
            };
            let reading = Reading { attempt: 1, total };
            // Both before anything follows.
            let meter = consortium::Request::new(site("hangang"), Command::Meter { job, reading });
            world.request_only(&meter).unwrap();
        }
        world.tick();
    }
    assert_eq!(left(&world), (Won(0), FlopSeconds(0)));
    // What was taken goes back after the jobs have ended, too.
    for job in [job, other] {
        world.end(job, "hangang", Exit::Done, Vec::new());
    }
    let some = left(&world);
    world.must(
        person("director"),
        Command::GiveBack {
            job,
            ground: "a mistake".into(),
        },
    );
    assert!(left(&world).0 > some.0);
}

#[test]
fn terms_are_the_offices_to_set_and_have_an_order() {
    let mut world = World::with_gpus();
    let set = |terms| Command::SetWatch(Some(terms));
    assert!(world.ask(person("minji"), set(TERMS)).is_err());
    for wrong in [
        Terms {
            busy_percent: 0,
            ..TERMS
        },
        Terms {
            busy_percent: 101,
            ..TERMS
        },
        Terms {
            sample_seconds: 0,
            ..TERMS
        },
        Terms {
            warn_minutes: 9,
            ..TERMS
        },
        Terms {
            reduce_minutes: 19,
            ..TERMS
        },
        Terms {
            reduce_percent: 101,
            ..TERMS
        },
    ] {
        let refusal = world.ask(person("director"), set(wrong)).unwrap_err();
        assert!(refusal.to_string().contains("watch."), "{refusal}");
    }
    world.must(person("director"), set(TERMS));
    assert_eq!(world.must(person("director"), set(TERMS)), []);
    world.must(person("director"), Command::SetWatch(None));
    let job = start(&mut world);
    assert_eq!(pass(&mut world, job, 50, 0), []);
}
