//! Batch jobs: any command at one site, and what follows from how it ends.

use crate::world::{World, id, output, person, reserved, site, spec};
use consortium::explain::Start;
use consortium::{
    Abilities, Again, Batch, Command, Event, Exit, JobId, JobSpec, Kind, Label, Phase, Stop, Time, Won,
    explain,
};

fn batch(gpus: u32, batch: Batch) -> JobSpec {
    JobSpec {
        sites: 1,
        gpus: Some(gpus),
        label: Label::Open,
        batch: Some(Box::new(Batch {
            script: "#!/bin/sh\ntrue\n".into(),
            ..batch
        })),
        ..spec()
    }
}

fn end(world: &mut World, job: JobId, exit: Exit) -> Vec<Event> {
    let outputs = if exit == Exit::Done {
        vec![output("result")]
    } else {
        Vec::new()
    };
    world.end(job, "hangang", exit, outputs)
}

fn run(world: &mut World, job: JobId, minutes: u64) {
    world.join(job, &["hangang"]);
    world.wait(minutes * 60);
    world
        .meter(job, "hangang", minutes * 60_000)
        .expect("it was there so long");
}

#[test]
fn a_command_runs_and_pays_for_its_part() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(2, Batch::default()));
    run(&mut world, job, 10);
    assert_eq!(
        world.job(job).spent(),
        Won(1_000),
        "a quarter of the site for ten of twenty minutes"
    );
    end(&mut world, job, Exit::Done);
    assert_eq!(
        (&world.job(job).phase, world.job(job).outputs.len()),
        (&Phase::Done, 1)
    );
    world.assert_settled(job);
}

#[test]
fn an_image_needs_a_site_that_runs_containers() {
    let mut world = World::with_gpus();
    let image = |image: &str| {
        batch(
            1,
            Batch {
                image: Some(image.into()),
                ..Batch::default()
            },
        )
    };
    for wrong in ["", "alpine", "inputs/nothing", "--bind=/://", "/images/a\nb.sif"] {
        let refusal = world
            .ask(person("minji"), Command::Submit(image(wrong)))
            .unwrap_err();
        assert!(refusal.to_string().contains("batch.image"), "{refusal}");
    }
    let job = world.submit(image("docker://alpine"));
    let explanation = explain(&world.state, world.job(job), world.now);
    assert_eq!(
        explanation.sites[0].because,
        "it runs no containers, and the job names an image"
    );
    assert_eq!(explanation.start, Some(Start::Never));
    assert_eq!(
        explanation.changes,
        ["hangang can run containers, or the job names no image"]
    );
    let able = |containers: &[&str]| {
        Command::TellAbilities(Abilities {
            containers: containers.iter().map(ToString::to_string).collect(),
            limits: "none".into(),
            ..Abilities::default()
        })
    };
    assert!(world.ask(person("director"), able(&["apptainer"])).is_err());
    assert!(world.ask(site("hangang"), able(&["a\tb"])).is_err());
    world.must(site("hangang"), able(&["apptainer"]));
    assert_eq!(world.job(job).phase, Phase::Running);
    assert_eq!(world.must(site("hangang"), able(&["apptainer"])), []);
}

#[test]
fn who_fails_is_started_again_as_often_as_it_wants() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(
        8,
        Batch {
            retries: 1,
            ..Batch::default()
        },
    ));
    run(&mut world, job, 3);
    end(&mut world, job, Exit::Failed("exit code 3".into()));
    let past = &world.job(job).past;
    assert_eq!(
        (past.len(), &past[0].why),
        (1, &Again::Failed("exit code 3".into()))
    );
    assert_eq!(world.job(job).phase, Phase::Running, "placed again at once");
    // A late word of the first stay is refused.
    let late = world.ask(
        site("hangang"),
        Command::End {
            job,
            attempt: 1,
            exit: Exit::Done,
            outputs: Vec::new(),
        },
    );
    assert!(late.is_err());
    run(&mut world, job, 3);
    assert_eq!(world.attempt(job, "hangang"), 2);
    assert_eq!(world.job(job).spent(), Won(2_400), "both stays are paid for");
    end(&mut world, job, Exit::Failed("exit code 4".into()));
    let reason = "at hangang: exit code 4".into();
    assert_eq!(world.job(job).phase, Phase::Failed { reason });
    world.assert_settled(job);
}

#[test]
fn who_starts_again_finds_its_checkpoint() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(1, Batch::default()));
    let mut lose = |kept: &[&str]| {
        run(&mut world, job, 1);
        let lost = Exit::Lost("node alpha1 failed".into());
        let kept = kept.iter().map(|name| output(name)).collect();
        world.end(job, "hangang", lost, kept);
        world.job(job).kept.clone()
    };
    assert!(lose(&[]).is_empty());
    let kept = lose(&["weights", "step"]);
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["step.bin", "weights.bin"]);
    assert_eq!(lose(&[]), kept, "it was lost before it wrote another");
    assert_eq!(lose(&["step"]).len(), 1, "the last one counts");
    // A log from before there were checkpoints.
    let (why, kept) = (Again::Preempted, Vec::new());
    let old = Event::Requeued { job, why, kept };
    let text = serde_json::to_string(&old).unwrap();
    assert!(!text.contains("kept"), "{text}");
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), old);
}

#[test]
fn lost_machines_are_no_failure_of_the_job() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(1, Batch::default()));
    for lost in 0..5 {
        run(&mut world, job, 1);
        end(&mut world, job, Exit::Lost("node alpha1 failed".into()));
        assert_eq!(world.job(job).past.len(), lost + 1);
    }
    run(&mut world, job, 1);
    end(&mut world, job, Exit::Lost("node alpha1 failed".into()));
    assert!(
        matches!(world.job(job).phase, Phase::Failed { .. }),
        "but not for ever"
    );
}

#[test]
fn an_array_is_as_many_jobs_and_others_come_after_them() {
    let mut world = World::with_gpus();
    let first = world.submit(batch(
        1,
        Batch {
            array: vec![4, 7],
            ..Batch::default()
        },
    ));
    let second = JobId(first.0 + 1);
    let index = |job: JobId| world.job(job).spec.batch.as_ref().unwrap().index;
    assert_eq!((index(first), index(second)), (Some(4), Some(7)));
    let after = world.submit(batch(
        1,
        Batch {
            after: vec![first, second],
            ..Batch::default()
        },
    ));
    assert_eq!(world.job(after).phase, Phase::Queued);
    let explanation = explain(&world.state, world.job(after), world.now);
    assert_eq!(explanation.summary, "job-3 waits for job-1 to be done");
    for job in [first, second] {
        run(&mut world, job, 1);
        end(&mut world, job, Exit::Done);
    }
    assert_eq!(world.job(after).phase, Phase::Running);
    let never = world.submit(batch(
        1,
        Batch {
            after: vec![after],
            ..Batch::default()
        },
    ));
    world.join(after, &["hangang"]);
    end(&mut world, after, Exit::TimedOut);
    assert!(matches!(&world.job(never).phase, Phase::Failed { reason } if reason.contains("job-3")));
}

#[test]
fn a_site_is_told_to_stop_and_says_what_was_used() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(8, Batch::default()));
    run(&mut world, job, 5);
    world.must(person("minji"), Command::Cancel(job));
    let why = Stop::Cancelled;
    assert_eq!(world.job(job).phase, Phase::Stopping { why });
    world.wait(60);
    world
        .meter(job, "hangang", 6 * 60_000)
        .expect("it is still there");
    end(&mut world, job, Exit::Stopped);
    assert_eq!(
        (&world.job(job).phase, world.job(job).spent()),
        (&Phase::Cancelled, Won(2_400))
    );
    world.assert_settled(job);
}

#[test]
fn nobody_waits_for_a_site_that_has_not_begun_or_does_not_answer() {
    let mut world = World::with_gpus();
    let job = world.submit(batch(8, Batch::default()));
    world.must(person("minji"), Command::Cancel(job));
    assert_eq!(world.job(job).phase, Phase::Cancelled);
    let job = world.submit(batch(8, Batch::default()));
    world.join(job, &["hangang"]);
    world.must(person("minji"), Command::Cancel(job));
    assert_eq!(world.job(job).phase, Phase::Stopping { why: Stop::Cancelled });
    world.must(person("minji"), Command::Cancel(job));
    assert_eq!(world.job(job).phase, Phase::Cancelled, "asked twice");
    world.assert_settled(job);
}

/// Another organisation with a project and money.
fn newcomer(world: &mut World) {
    for command in [
        Command::Admit(consortium::Organisation {
            id: id("nuri"),
            name: "Nuri".into(),
            name_ko: "누리".into(),
            kind: Kind::Company,
            home: consortium::Home::Domestic,
        }),
        Command::OpenProject(consortium::Project {
            id: id("second"),
            title: "A second project".into(),
            organisation: id("nuri"),
            programme: consortium::Programme::Language,
            members: [id("minji")].into(),
        }),
        Command::Grant(consortium::Award {
            id: id("other"),
            project: id("second"),
            won: Won(1_000_000),
            compute: consortium::FlopSeconds::from_pflop_hours(100),
        }),
    ] {
        world.must(consortium::Actor::Hub, command);
    }
}

#[test]
fn who_is_preempted_waits_again_and_is_not_stopped_at_once() {
    let mut world = World::with_gpus();
    newcomer(&mut world);
    let long = |project: &str, gpus| JobSpec {
        project: id(project),
        wall_minutes: 300,
        ..batch(gpus, Batch::default())
    };
    let (held, stays) = (world.submit(long("reviews", 4)), world.submit(long("reviews", 4)));
    for job in [held, stays] {
        world.join(job, &["hangang"]);
    }
    let newcomer = world.submit(long("second", 4));
    assert_eq!(
        world.job(newcomer).phase,
        Phase::Queued,
        "nobody is stopped in the first hour"
    );
    let start = explain(&world.state, world.job(newcomer), world.now).start;
    assert_eq!(start, Some(Start::By(Time(world.now.0 + 300 * 60_000))));
    world.wait(3_600);
    let stopped = [held, stays].map(|job| world.job(job).phase.clone());
    let stopping = |phase: &&Phase| matches!(phase, Phase::Stopping { why: Stop::Preempted });
    assert_eq!(
        stopped.iter().filter(stopping).count(),
        1,
        "half of the site is enough"
    );
    assert_eq!(world.job(newcomer).phase, Phase::Running);
    let victim = if stopped[0] == Phase::Running { stays } else { held };
    world.meter(victim, "hangang", 3_600_000).expect("it ran so long");
    end(&mut world, victim, Exit::Stopped);
    let job = world.job(victim);
    assert_eq!(
        (&job.phase, &job.past[0].why),
        (&Phase::Queued, &Again::Preempted)
    );
    assert_eq!(
        world.won(&reserved(victim, "hangang")),
        0,
        "what was set aside is free again"
    );
    world.wait(2 * 3_600);
    assert_eq!(
        world.job(newcomer).phase,
        Phase::Running,
        "who was stopped stops nobody"
    );
}

#[test]
fn a_site_that_may_not_hold_it_any_more_is_told_to_stop() {
    let mut world = World::with_gpus();
    let input = world.register("data", Label::Open, &[]);
    let job = world.submit(JobSpec {
        inputs: [("data".to_owned(), input)].into(),
        ..batch(8, Batch::default())
    });
    run(&mut world, job, 1);
    let closed = "@id(\"nobody\") forbid (principal is Site, action == Action::\"hold\", resource);";
    let policy = format!("{}\n{closed}", consortium::policy::SHIPPED);
    world.must(person("director"), Command::AdoptPolicy(policy));
    let why = Stop::Preempted;
    assert_eq!(world.job(job).phase, Phase::Stopping { why });
    end(&mut world, job, Exit::Stopped);
    assert_eq!(world.job(job).phase, Phase::Queued, "no site may hold it");
}

#[test]
fn what_is_no_batch_job_is_refused() {
    let mut world = World::with_gpus();
    let with = |change: fn(&mut JobSpec)| {
        let mut spec = batch(1, Batch::default());
        change(&mut spec);
        spec
    };
    let cases = [
        with(|spec| spec.sites = 2),
        with(|spec| spec.gpus = Some(0)),
        with(|spec| spec.batch.as_mut().unwrap().script = "true".into()),
        with(|spec| spec.batch.as_mut().unwrap().index = Some(1)),
        with(|spec| spec.batch.as_mut().unwrap().after = vec![JobId(9)]),
        with(|spec| spec.batch.as_mut().unwrap().array = vec![0; 1_001]),
        JobSpec {
            gpus: Some(1),
            ..spec()
        },
    ];
    for spec in cases {
        let asked = format!("{spec:?}");
        assert!(
            world.ask(person("minji"), Command::Submit(spec)).is_err(),
            "{asked}"
        );
    }
}
