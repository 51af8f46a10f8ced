//! Rounds: who takes part, on which samples, what counts, and what becomes of those who fall silent.

use crate::world::{World, id, output, person, site, spec, update};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Command, Event, Interval, JobId, JobSpec, Label, Phase, Presence, Reading, Refusal,
    RoundSpec, SiteId, Time, Update, Usage,
};

/// What each site of the last round was given.
fn given(world: &World, job: JobId) -> Vec<(String, u64, u64)> {
    let members = world
        .job(job)
        .rounds
        .last()
        .map(|round| round.members.clone())
        .unwrap_or_default();
    members
        .iter()
        .map(|(site, interval)| (site.to_string(), interval.first, interval.end))
        .collect()
}

fn rounds(count: u32, quorum: u32) -> RoundSpec {
    RoundSpec {
        count,
        quorum,
        ..spec().rounds
    }
}

fn presence(world: &World, job: JobId, site: &str) -> Presence {
    world.job(job).members[&id::<SiteId>(site)].presence
}

#[test]
fn the_first_round_waits_a_while_for_all_sites() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada"]);
    assert!(world.job(job).rounds.is_empty(), "hangang may still come");
    assert!(world.wait(29).is_empty());
    world.wait(1);
    assert_eq!(given(&world, job), [("bada".into(), 0, 100)]);
    world.join(job, &["hangang"]);
    assert_eq!(
        given(&world, job).len(),
        1,
        "a site comes in at a round's beginning"
    );
    world.train(job);
    assert_eq!(
        given(&world, job),
        [("bada".into(), 100, 200), ("hangang".into(), 200, 300)]
    );

    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: rounds(2, 2),
        ..spec()
    });
    world.join(job, &["bada"]);
    world.wait(60 * 60);
    assert!(world.job(job).rounds.is_empty(), "one site is no quorum");
    world.join(job, &["hangang"]);
    assert_eq!(
        given(&world, job),
        [("bada".into(), 0, 100), ("hangang".into(), 100, 200)]
    );
}

#[test]
fn a_round_closes_when_all_have_contributed() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    world.contribute(job, 0, "hangang").unwrap();
    let open = world.job(job).open_round().expect("bada is still awaited");
    assert_eq!(open.quorum_at, Some(world.now));
    let happened = world.contribute(job, 0, "bada").unwrap();
    let closed = happened.iter().find_map(|event| match event {
        Event::RoundClosed {
            accepted, returned, ..
        } => Some((accepted.clone(), returned.clone())),
        _ => None,
    });
    let by = |name: &str| (id::<SiteId>(name), update(&format!("{job} 0 {name}")).digest);
    assert_eq!(
        closed,
        Some((vec![by("bada"), by("hangang")], vec![])),
        "in site order"
    );
}

#[test]
fn a_lost_sites_interval_is_given_out_first() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: rounds(4, 1),
        ..spec()
    });
    world.join(job, &["bada", "hangang"]);
    world.contribute(job, 0, "hangang").unwrap();
    assert!(
        world.wait(29).is_empty(),
        "bada has until the grace window is over"
    );
    world.wait(1);
    assert!(world.job(job).rounds[0].is_closed());
    assert_eq!(
        given(&world, job),
        [("bada".into(), 0, 100), ("hangang".into(), 200, 300)]
    );
    let late = world.contribute(job, 0, "bada").unwrap_err();
    assert_eq!(late.message, "round 0 of job-1 is not open");

    world.lose(job, "bada");
    world.contribute(job, 1, "hangang").unwrap();
    assert_eq!(
        given(&world, job),
        [("hangang".into(), 0, 100)],
        "nobody is waited for who is lost"
    );
    world.join(job, &["bada"]);
    world.train(job);
    assert_eq!(
        given(&world, job),
        [("bada".into(), 300, 400), ("hangang".into(), 400, 500)]
    );
    assert_eq!(world.job(job).returned, []);
}

/// Two of three sites are a quorum. One comes late and one of the first two falls silent: the round that is
/// open can't reach its quorum by itself, and a quorum of sites is there.
#[test]
fn a_late_site_takes_part_in_a_round_that_could_not_close_without_it() {
    let mut world = World::founded();
    let asked = JobSpec {
        label: Label::Open,
        sites: 3,
        rounds: rounds(2, 2),
        ..spec()
    };
    let job = world.submit(asked);
    world.join(job, &["bada", "hangang"]);
    world.wait(30);
    world.join(job, &["rhein"]);
    assert_eq!(given(&world, job).len(), 2, "rhein waits for the next round");
    world.contribute(job, 0, "bada").unwrap();
    world.lose(job, "hangang");
    let expected = [
        ("bada".into(), 0, 100),
        ("hangang".into(), 100, 200),
        ("rhein".into(), 200, 300),
    ];
    assert_eq!(given(&world, job), expected);
    world.contribute(job, 0, "rhein").unwrap();
    assert!(world.job(job).rounds[0].is_closed());
    assert_eq!(
        given(&world, job),
        [("bada".into(), 100, 200), ("rhein".into(), 300, 400)]
    );
}

#[test]
fn a_site_that_comes_again_has_a_new_attempt() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    world.lose(job, "bada");
    assert_eq!(presence(&world, job, "bada"), Presence::Lost);
    let silent = world.contribute(job, 0, "bada").unwrap_err();
    assert_eq!(silent.message, "attempt 1 of site bada in job-1 is over");
    assert_eq!(
        silent.hint.as_deref(),
        Some("join again; the new attempt replaces every earlier one")
    );

    world.join(job, &["bada"]);
    assert_eq!(world.attempt(job, "bada"), 2);
    let (attempt, bada) = (1, site("bada"));
    let stale = [
        Command::Contribute {
            job,
            round: 0,
            attempt,
            update: update("old"),
        },
        Command::Applied {
            job,
            round: 0,
            attempt,
            outer: update("old").digest,
        },
        Command::Meter {
            job,
            reading: Reading {
                attempt,
                total: Usage::default(),
            },
        },
        Command::Leave {
            job,
            attempt,
            outputs: vec![],
        },
        Command::Fail {
            job,
            attempt,
            message: "old".into(),
        },
    ];
    for command in stale {
        let refusal = world.ask(bada.clone(), command.clone()).unwrap_err();
        assert_eq!(
            refusal.message, "attempt 1 of site bada in job-1 is over",
            "{command:?}"
        );
    }
    let lost = Command::Lose {
        job,
        site: id("bada"),
        attempt,
    };
    assert_eq!(
        world.must(Actor::Hub, lost),
        [],
        "the attempt that was lost is over already"
    );
    world.contribute(job, 0, "bada").unwrap();
}

#[test]
fn only_updates_that_make_sense_count() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    let mut contribute = |name: &str, round, update| {
        let attempt = 1;
        world.ask(
            site(name),
            Command::Contribute {
                job,
                round,
                attempt,
                update,
            },
        )
    };
    let good = || update("good");
    let with = |tokens, parameters| Update {
        tokens,
        parameters,
        ..update("odd")
    };
    let mut check = |name: &str, round, update, expected: &str| {
        let refusal: Refusal = contribute(name, round, update).unwrap_err();
        assert_eq!(refusal.message, expected);
    };
    check("bada", 0, with(0, 1_000_000), "an update of 0 tokens");
    check(
        "bada",
        0,
        with(u64::MAX, 1_000_000),
        "an update of 18446744073709551615 tokens",
    );
    check("bada", 1, good(), "round 1 of job-1 is not open");
    check("rhein", 0, good(), "there is no place of this site in job-1");
    contribute("bada", 0, good()).unwrap();
    assert_eq!(contribute("bada", 0, good()).unwrap(), [], "told twice");
    let mut check = |name: &str, round, update, expected: &str| {
        let refusal: Refusal = contribute(name, round, update).unwrap_err();
        assert_eq!(refusal.message, expected);
    };
    check(
        "bada",
        0,
        update("other"),
        "site bada gave another update for round 0 already",
    );
    check(
        "hangang",
        0,
        with(1, 5),
        "an update of 5 parameters for a model of 1000000",
    );
}

#[test]
fn weights_that_differ_are_found_out() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: rounds(4, 1),
        ..spec()
    });
    world.join(job, &["bada", "hangang"]);
    let open = world.applied(job, 0, "bada", "weights").unwrap_err();
    assert_eq!(open.message, "round 0 of job-1 is not closed");
    world.contribute(job, 0, "bada").unwrap();
    world.contribute(job, 0, "hangang").unwrap();
    world.applied(job, 0, "bada", "weights").unwrap();
    assert_eq!(
        world.applied(job, 0, "bada", "weights").unwrap(),
        [],
        "told twice"
    );
    world.applied(job, 0, "hangang", "other weights").unwrap();
    assert_eq!(presence(&world, job, "hangang"), Presence::Diverged);
    assert_eq!(presence(&world, job, "bada"), Presence::Present(world.now));
    assert!(world.contribute(job, 1, "hangang").is_err());

    world.join(job, &["hangang"]);
    world.applied(job, 0, "hangang", "weights").unwrap();
    assert_eq!(presence(&world, job, "hangang"), Presence::Present(world.now));
    let outer = &world.job(job).rounds[0].outer;
    assert_eq!(outer.len(), 2, "both sites told the same");
}

#[test]
fn when_the_lead_is_lost_the_next_site_writes_the_results() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: rounds(1, 1),
        ..spec()
    });
    world.join(job, &["bada", "hangang"]);
    let early = world.leave(job, "bada", &[output("model")]).unwrap_err();
    assert_eq!(early.message, "job-1 has rounds left");
    world.contribute(job, 0, "bada").unwrap();
    world.contribute(job, 0, "hangang").unwrap();
    world.lose(job, "bada");
    let unready = world.leave(job, "hangang", &[output("model")]).unwrap_err();
    assert_eq!(
        unready.message,
        "site hangang has not applied the last round of job-1"
    );
    world.applied(job, 0, "hangang", "weights").unwrap();
    world.leave(job, "hangang", &[output("model")]).unwrap();
    assert_eq!(world.job(job).phase, Phase::Done);
    world.assert_settled(job);
}

/// Training is deterministic, so the same job asked for again makes the same updates.
#[test]
fn sites_read_updates_that_an_earlier_job_made_as_well() {
    let mut world = World::founded();
    for _ in 0..2 {
        let job = world.submit(spec());
        world.join(job, &["bada", "hangang"]);
        let same = Command::Contribute {
            job,
            round: 0,
            attempt: 1,
            update: update("the same bits"),
        };
        world.must(site("bada"), same);
        let made = Actor::Site(id("hangang"));
        let artifact = world.artifact(update("the same bits").digest);
        let read = Resource::Artifact(artifact);
        world.state.permit(&made, Action::Read, &read).unwrap();
        world.must(person("minji"), Command::Cancel(job));
        let artifact = world.artifact(update("the same bits").digest);
        let read = Resource::Artifact(artifact);
        assert!(
            world.state.permit(&made, Action::Read, &read).is_err(),
            "no longer needed"
        );
    }
}

/// Whoever says "this is my update" of other bytes may still not read them.
#[test]
fn a_site_gets_no_file_by_calling_it_an_update() {
    let mut world = World::founded();
    let secret = world.register("secret", Label::Restricted, &[]);
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    let update = Update {
        digest: secret,
        ..update("claimed")
    };
    let (round, attempt) = (0, 1);
    let claim = Command::Contribute {
        job,
        round,
        attempt,
        update,
    };
    world.must(site("bada"), claim);
    let file = Resource::Artifact(world.artifact(secret));
    assert!(world.state.permit(&site("bada"), Action::Read, &file).is_err());
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    world.contribute(job, 0, "bada").unwrap();
    world.now = Time(0);
    assert!(world.tick().is_empty());
    let refusal = world.meter(job, "bada", 6_000).unwrap_err();
    assert_eq!(
        refusal.message,
        "site bada reports 6000 ms in an attempt that began 0 ms ago"
    );
    assert_eq!(refusal.hint.as_deref(), Some("check the site's clock"));
    let given = world.job(job).rounds[0].members[&id::<SiteId>("bada")];
    assert_eq!(given, Interval { first: 0, end: 100 });
    world.contribute(job, 0, "hangang").unwrap();
    world.train(job);
    assert_eq!(world.job(job).phase, Phase::Finishing);
}
