//! A job from submission to settlement, story by story. [`crate::world`] says who is who.

use crate::world::{World, earned, first_award, id, output, person, spec};
use consortium::{ArtifactId, Command, Label, Phase, RefusalKind, Won};

#[test]
fn a_job_runs_from_submission_to_settlement() {
    let mut world = World::founded();
    let job = world.submit(spec());
    assert_eq!(world.job(job).phase, Phase::Running);
    assert_eq!(world.won(&first_award()), 1_000_000 - 9_000 - 8_000);

    world.join(job, &["bada", "hangang"]);
    world.wait(60);
    world.meter(job, "bada", 60_000).unwrap();
    world.meter(job, "hangang", 60_000).unwrap();
    world.train(job);
    world.train(job);
    assert_eq!(world.job(job).phase, Phase::Finishing);

    let early = world.leave(job, "hangang", &[]).unwrap_err();
    assert_eq!(early.message, "the results of job-1 are not in yet");
    let empty = world.leave(job, "bada", &[]).unwrap_err();
    assert_eq!(empty.message, "site bada leads job-1 and has no results");
    world.leave(job, "bada", &[output("model")]).unwrap();
    let twice = world.leave(job, "hangang", &[output("another")]).unwrap_err();
    assert_eq!(twice.message, "job-1 has its results");
    world.leave(job, "hangang", &[]).unwrap();

    let done = world.job(job);
    assert_eq!(
        (&done.phase, done.committed(), done.next_sample),
        (&Phase::Done, 2, 400)
    );
    let model = ArtifactId {
        project: id("reviews"),
        digest: output("model").id.digest,
    };
    assert_eq!(done.outputs, [model]);
    assert_eq!(
        world.artifact(output("model").id.digest).label,
        Label::Restricted,
        "as the job is"
    );
    assert_eq!(done.spent(), Won(450 + 400), "charged is what was metered");
    assert_eq!(
        (world.won(&earned("hangang")), world.won(&earned("bada"))),
        (450, 400)
    );
    world.assert_settled(job);
}

#[test]
fn cancelling_gives_back_what_was_set_aside() {
    let mut world = World::founded();
    let (running, waiting) = (world.submit(spec()), world.submit(spec()));
    world.join(running, &["bada"]);
    world.wait(60);
    world.meter(running, "bada", 60_000).unwrap();

    let stranger = world.ask(person("jun"), Command::Cancel(running)).unwrap_err();
    assert_eq!(stranger.kind, RefusalKind::Forbidden);
    world.must(person("anna"), Command::Cancel(waiting));
    world.must(person("anna"), Command::Cancel(running));
    assert_eq!(world.job(running).phase, Phase::Cancelled);
    world.assert_settled(running);
    let again = world.ask(person("anna"), Command::Cancel(running)).unwrap_err();
    assert_eq!(again.message, "job-1 has ended");
    let late = world.meter(running, "bada", 61_000).unwrap_err();
    assert_eq!(late.message, "job-1 has ended");
}

#[test]
fn a_program_that_stops_ends_the_job_and_gives_back_the_rest() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada"]);
    world.fail(job, "bada", "out of memory").unwrap();
    let reason = "the program at bada stopped: out of memory".to_owned();
    assert_eq!(world.job(job).phase, Phase::Failed { reason });
    world.assert_settled(job);
}

#[test]
fn wall_time_that_is_used_up_ends_the_job_with_a_hint() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    world.wait(20 * 60);
    world.meter(job, "bada", 20 * 60_000 - 1).unwrap();
    assert_eq!(world.job(job).phase, Phase::Running);
    world.meter(job, "bada", 20 * 60_000 + 3_000).unwrap();
    let reason = "site bada was held for all of the 20 minutes that were reserved; ask for more wall_minutes";
    assert_eq!(
        world.job(job).phase,
        Phase::Failed {
            reason: reason.into()
        }
    );
    assert_eq!(
        world.won(&earned("bada")),
        8_000,
        "and not a won more than was set aside"
    );
    world.assert_settled(job);
}

/// Done is done: the results are in, whatever the other sites say or don't say afterwards.
#[test]
fn a_job_that_has_its_results_does_not_fail() {
    let with_results = || {
        let mut world = World::founded();
        let job = world.submit(spec());
        world.join(job, &["bada", "hangang"]);
        world.train(job);
        world.train(job);
        world.leave(job, "bada", &[output("model")]).unwrap();
        (world, job)
    };
    let (mut world, job) = with_results();
    world.fail(job, "hangang", "no space left on device").unwrap();
    assert_eq!(world.job(job).phase, Phase::Done);
    world.assert_settled(job);

    let (mut world, job) = with_results();
    world.wait(20 * 60);
    world.meter(job, "hangang", 20 * 60_000).unwrap();
    assert_eq!(world.job(job).phase, Phase::Done);
    world.assert_settled(job);
}
