//! Requests that are asked twice, make no sense, or come from those who may not ask.

use crate::world::{World, id, output, person, site, spec, update};
use consortium::{
    Actor, ArtifactId, Command, Event, JobId, JobSpec, Label, Output, Person, RefusalKind, Request,
    RoundSpec, State, Won, decide,
};
use serde_json::json;

#[test]
fn a_key_is_for_one_request_of_one_actor() {
    let mut world = World::founded();
    let ask = |who: &str, spec| Request::new(person(who), Command::Submit(spec)).keyed("monday");
    world.request(&ask("minji", spec())).unwrap();
    assert_eq!(
        world.request(&ask("minji", spec())).unwrap(),
        [],
        "asked again, not done again"
    );
    assert_eq!(world.state.jobs.len(), 1);
    assert_eq!(world.state.remembered_job(&ask("minji", spec())), Some(JobId(1)));

    let other = JobSpec { sites: 1, ..spec() };
    let conflict = world.request(&ask("minji", other)).unwrap_err();
    assert_eq!(conflict.kind, RefusalKind::Conflict);
    assert_eq!(
        conflict.message,
        "idempotency key \"monday\" was used for another request"
    );

    let open = JobSpec {
        label: Label::Open,
        ..spec()
    };
    world.request(&ask("anna", open)).unwrap();
    assert_eq!(
        world.state.jobs.len(),
        2,
        "the key of another person is another key"
    );
    // A person and a site may share a name, and still don't share keys.
    let joined = Request::new(site("bada"), Command::Join { job: JobId(1) }).keyed("monday");
    world.must(
        Actor::Hub,
        Command::AddPerson(Person {
            id: id("bada"),
            organisation: id("bada"),
            roles: [].into(),
        }),
    );
    world.request(&joined).unwrap();
    let refused = world.request(&ask("bada", spec())).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::NotFound, "not a conflict of keys");
}

#[test]
fn a_refused_request_leaves_its_key_free() {
    let mut world = World::founded();
    let early = Request::new(site("bada"), Command::Join { job: JobId(1) }).keyed("hello");
    assert_eq!(world.request(&early).unwrap_err().kind, RefusalKind::NotFound);
    world.submit(spec());
    assert!(matches!(
        world.request(&early).unwrap()[0],
        Event::Joined { attempt: 1, .. }
    ));
}

#[test]
fn a_spec_that_makes_no_sense_is_refused_with_what_to_try() {
    let world = World::founded();
    let check = |spec: JobSpec, message: &str, hint: &str| {
        let request = Request::new(person("minji"), Command::Submit(spec));
        let refusal = decide(&world.state, &request, world.now).unwrap_err();
        assert_eq!(
            (
                refusal.message.as_str(),
                refusal.hint.as_deref().unwrap_or_default()
            ),
            (message, hint)
        );
    };
    let rounds = spec().rounds;
    check(
        JobSpec { sites: 0, ..spec() },
        "sites is 0",
        "sites takes 1 to 1000",
    );
    check(
        JobSpec {
            wall_minutes: u32::MAX,
            ..spec()
        },
        "wall_minutes is 4294967295",
        "wall_minutes takes 1 to 129600",
    );
    check(
        JobSpec {
            rounds: RoundSpec {
                quorum: 3,
                ..rounds.clone()
            },
            ..spec()
        },
        "rounds.quorum is 3",
        "rounds.quorum takes 1 to 2",
    );
    check(
        JobSpec {
            rounds: RoundSpec {
                samples: u64::MAX,
                ..rounds.clone()
            },
            ..spec()
        },
        "rounds.samples is 18446744073709551615",
        "rounds.samples takes 1 to 1099511627776",
    );
    check(
        JobSpec {
            rounds: RoundSpec {
                overlap: 2,
                ..rounds.clone()
            },
            ..spec()
        },
        "rounds.overlap is 2",
        "rounds.overlap takes 0 to 1",
    );
    check(
        JobSpec {
            rounds: RoundSpec {
                fragments: 3,
                ..rounds.clone()
            },
            ..spec()
        },
        "3 fragments in 2 rounds: a round sends one, so some would never be sent before the end",
        "ask for more rounds, with fewer samples each, or for fewer fragments",
    );
    check(
        JobSpec {
            rounds: RoundSpec {
                count: 1,
                overlap: 1,
                ..rounds.clone()
            },
            ..spec()
        },
        "an overlap with a round after the only one",
        "leave rounds.overlap out, or ask for more rounds",
    );
    let all = RoundSpec {
        count: 1_000_000,
        samples: 1 << 40,
        ..rounds
    };
    check(
        JobSpec {
            sites: 1_000,
            rounds: all,
            ..spec()
        },
        "1000 sites would take 1099511627776 samples in each of 1000000 rounds",
        "ask for at most 9223372036854775807 samples in all",
    );
    check(
        JobSpec {
            name: String::new(),
            ..spec()
        },
        "a job of project reviews has no name of 1 to 100 characters",
        "",
    );
    check(
        JobSpec {
            program: "../language".into(),
            ..spec()
        },
        "\"../language\" can't name a program or an input",
        "use letters, digits, dots, hyphens and underscores, and no dot in front",
    );
    let inputs = [("train.tokens".to_owned(), update("nowhere").digest)].into();
    let missing = ArtifactId {
        project: id("reviews"),
        digest: update("nowhere").digest,
    };
    check(
        JobSpec { inputs, ..spec() },
        &format!("there is no artifact {missing}"),
        "upload it to the project first: `khub put FILE --project P`",
    );
}

/// The log is JSON, and readers of JSON stop at some depth: what is written must be read again.
#[test]
fn settings_are_no_deeper_than_the_log_can_hold() {
    let nested = |levels: usize| {
        let settings = (0..levels).fold(json!({}), |inner, _| json!({ "in": inner }));
        JobSpec { settings, ..spec() }
    };
    let mut world = World::founded();
    let refusal = world
        .ask(person("minji"), Command::Submit(nested(100)))
        .unwrap_err();
    assert_eq!(
        refusal.message,
        "the settings are nested more than 32 levels deep"
    );
    world.submit(nested(31));
    let json = serde_json::to_string(&world.state).unwrap();
    assert!(serde_json::from_str::<State>(&json).unwrap() == world.state);
}

/// What a setting is in the log, it is in the state, to the last bit.
#[test]
fn numbers_in_settings_survive_the_log() {
    let all_over = (1..2_000_u64).map(|seed| f64::from_bits(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    for number in all_over.filter(|number| number.is_finite()) {
        let settings = json!({ "rate": number, "count": number.to_bits() });
        let event = Event::Submitted {
            job: JobId(1),
            spec: Box::new(JobSpec { settings, ..spec() }),
            submitter: id("minji"),
            label: Label::Open,
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "{number:e}");
    }
}

/// Names of artifacts become file names on people's machines.
#[test]
fn an_artifact_s_name_leads_nowhere() {
    let mut world = World::founded();
    let register = |name: &str| {
        let output = Output {
            name: name.to_owned(),
            ..output("bytes")
        };
        Command::Register(output)
    };
    for bad in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "a\nb",
        &"x".repeat(201),
    ] {
        let refusal = world.ask(person("minji"), register(bad)).unwrap_err();
        assert!(
            refusal.message.contains("can't name an artifact"),
            "{bad:?}: {}",
            refusal.message
        );
    }
    for good in ["model.safetensors", "한국어 모델.bin", "a..b"] {
        world.ask(person("minji"), register(good)).unwrap();
    }
}

#[test]
fn who_is_not_entitled_hears_why() {
    let mut world = World::founded();
    let job = world.submit(spec());
    let mut check = |actor: Actor, command: Command, expected: &str| {
        let shown = format!("{actor} asks {command:?}");
        assert_eq!(
            world.ask(actor, command).unwrap_err().message,
            expected,
            "{shown}"
        );
    };
    let appropriate = Command::Appropriate {
        year: 2022,
        won: Won(1),
    };
    check(
        person("minji"),
        appropriate,
        "person minji may not administer the consortium: no policy permits it",
    );
    check(
        person("jun"),
        Command::Submit(spec()),
        "there is no project reviews in which person jun works",
    );
    check(
        person("anna"),
        Command::Submit(spec()),
        "person anna may not read job korean-small (restricted): \
         policy restricted-stays-closed-to-foreign-partners",
    );
    check(
        Actor::Hub,
        Command::Submit(spec()),
        "hub can't submit jobs; people do",
    );
    check(
        person("minji"),
        Command::Join { job },
        "person minji is not a site; only sites join jobs",
    );
    check(
        site("rhein"),
        Command::Join { job },
        "there is no place of this site in job-1",
    );
    check(
        site("bada"),
        Command::Join { job: JobId(9) },
        "there is no job job-9",
    );
    let fail = Command::Fail {
        job,
        attempt: 0,
        message: String::new(),
    };
    check(
        site("bada"),
        fail.clone(),
        "attempt 0 of site bada in job-1 is over",
    );
    check(
        person("minji"),
        fail,
        "person minji is not a site; only sites report on jobs",
    );
    let lose = Command::Lose {
        job,
        site: id("bada"),
        attempt: 0,
    };
    check(
        site("bada"),
        lose,
        "site bada may not administer the consortium: no policy permits it",
    );
}
