use super::*;
use crate::step::tests::job;

#[test]
fn a_round_that_an_earlier_program_applied_is_told() {
    let mut stay = Stay::new(job(2), "seoul".parse().unwrap(), 0, Duration::ZERO);
    stay.done = Done {
        fetched: true,
        attempt: Some(1),
        started: true,
        ..Done::default()
    };
    let outer = Digest::of(b"weights");
    let ready = Said::Ready {
        committed: 2,
        outer: outer.to_string(),
        fresh: false,
    };
    let mut chores = VecDeque::new();
    stay.hear(ready, Duration::ZERO, &mut chores);
    let told = Command::Applied {
        job: JobId(1),
        round: 1,
        attempt: 1,
        outer,
    };
    assert_eq!(
        stay.next(1, false, Duration::ZERO, &mut chores),
        Some(Do::Ask(told))
    );
}

/// A job that leaves its codec to the links gets to know what they carried, and how long the training took.
#[test]
fn what_the_link_carried_is_told_with_the_update() {
    let at = Duration::from_millis;
    let mut job = job(0);
    job.spec.rounds.codec = consortium::CodecSpec::Auto;
    job.open[0].codec = Some(Codec::Int4);
    let mut stay = Stay::new(job, "seoul".parse().unwrap(), 0, Duration::ZERO);
    stay.done = Done {
        fetched: true,
        attempt: Some(1),
        started: true,
        committed: Some(0),
        ..Done::default()
    };
    let mut chores = VecDeque::new();
    let train = Order::Train {
        round: 0,
        first: 0,
        end: 64,
        codec: Some(sync::Codec::Int4),
    };
    assert_eq!(stay.next(1, false, at(100), &mut chores), Some(Do::Order(train)));
    let said = Said::Update {
        round: 0,
        file: "updates/u".into(),
        tokens: 64,
        steps: 1,
        loss: 1.0,
        parameters: 9,
    };
    stay.hear(said, at(5_100), &mut chores);
    let upload = stay.next(2, false, at(6_000), &mut chores).unwrap();
    assert_eq!(
        stay.next(3, false, at(6_500), &mut chores),
        None,
        "its bytes are under way"
    );
    let stored = Answer::Uploaded(Digest::of(b"u"), 1_000);
    assert!(
        stay.answered(2, &upload, Ok(stored), at(8_000), &mut chores)
            .is_ok()
    );
    let Some(Do::Ask(Command::Contribute { update, .. })) = stay.next(4, false, at(8_000), &mut chores)
    else {
        panic!("it is handed in");
    };
    let pace = Pace {
        sent: 1_000,
        sending_ms: 2_000,
        training_ms: 5_000,
        ..Pace::default()
    };
    assert_eq!(update.pace, Some(pace));
    assert_eq!(stay.pace, Pace::default(), "and told once");
}
