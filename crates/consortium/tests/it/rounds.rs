//! Rounds: who takes part, on which samples, what counts, and what becomes of those who fall silent.

use crate::world::{World, id, output, person, site, spec, update};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Codec, CodecSpec, Command, Event, Interval, JobId, JobSpec, Label, Pace, Phase, Presence,
    Reading, Refusal, RoundSpec, SiteId, State, Time, Update, Usage, apply,
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

/// A job that bada and hangang have joined.
fn on_two_sites(rounds: RoundSpec) -> (World, JobId) {
    let mut world = World::founded();
    let job = world.submit(JobSpec { rounds, ..spec() });
    world.join(job, &["bada", "hangang"]);
    (world, job)
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
    let open = world
        .job(job)
        .open_rounds()
        .next()
        .expect("bada is still awaited");
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
    let (mut world, job) = on_two_sites(rounds(4, 1));
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
    let (mut world, job) = on_two_sites(rounds(4, 1));
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

/// An open job of four rounds on three sites, all there.
fn three_sites() -> (World, JobId) {
    let mut world = World::founded();
    let asked = JobSpec {
        label: Label::Open,
        sites: 3,
        rounds: rounds(4, 1),
        ..spec()
    };
    let job = world.submit(asked);
    world.join(job, &["bada", "hangang", "rhein"]);
    (world, job)
}

#[test]
fn the_majority_decides_whose_weights_are_wrong() {
    let (mut world, job) = three_sites();
    for name in ["bada", "hangang", "rhein"] {
        world.contribute(job, 0, name).unwrap();
    }
    // The first to tell is the one that went wrong, and it has kept a checkpoint already.
    world.applied(job, 0, "bada", "wrong").unwrap();
    world.checkpoint(job, 0, "bada").unwrap();
    world.applied(job, 0, "hangang", "weights").unwrap();
    let word = |world: &World| ["bada", "hangang", "rhein"].map(|name| presence(world, job, name));
    let here = Presence::Present(world.now);
    assert_eq!(word(&world), [here; 3], "one against one: the third decides");
    world.applied(job, 0, "rhein", "weights").unwrap();
    assert_eq!(word(&world), [Presence::Diverged, here, here]);
    let round = &world.job(job).rounds[0];
    assert_eq!(round.outer_digest(), Some(update("weights").digest));
    assert_eq!(round.outer.len(), 2);
    assert_eq!(world.job(job).checkpoint, None, "nobody joins from wrong weights");
    world.join(job, &["bada"]);
    world.applied(job, 0, "bada", "weights").unwrap();
    assert_eq!(presence(&world, job, "bada"), here);
}

#[test]
fn a_dispute_does_not_wait_for_the_lost() {
    let (mut world, job) = three_sites();
    for name in ["bada", "hangang", "rhein"] {
        world.contribute(job, 0, name).unwrap();
    }
    world.applied(job, 0, "hangang", "weights").unwrap();
    world.applied(job, 0, "bada", "other weights").unwrap();
    assert!(world.job(job).rounds[0].is_disputed());
    world.lose(job, "rhein");
    assert_eq!(
        presence(&world, job, "hangang"),
        Presence::Diverged,
        "of two, the first site stands"
    );
    assert_eq!(presence(&world, job, "bada"), Presence::Present(world.now));
}

#[test]
fn with_an_overlap_the_next_round_is_open_while_updates_travel() {
    let overlapping = RoundSpec {
        count: 4,
        fragments: 2,
        overlap: 1,
        ..spec().rounds
    };
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: overlapping,
        ..spec()
    });
    world.join(job, &["bada", "hangang"]);
    let open = |world: &World| Vec::from_iter(world.job(job).open_rounds().map(|round| round.number));
    assert_eq!(open(&world), [0, 1]);
    assert_eq!(
        given(&world, job),
        [("bada".into(), 200, 300), ("hangang".into(), 300, 400)]
    );

    world.contribute(job, 0, "bada").unwrap();
    world.contribute(job, 1, "bada").unwrap();
    assert_eq!(
        open(&world),
        [0, 1],
        "round 1 has a quorum, and closes after round 0"
    );
    world.wait(30);
    assert_eq!(open(&world), [1, 2], "round 0 closed without hangang");
    assert_eq!(
        given(&world, job)[0],
        ("bada".into(), 100, 200),
        "its samples are taken up first"
    );
    world.wait(29);
    assert_eq!(open(&world), [1, 2], "which has a whole window for round 1");
    world.contribute(job, 1, "hangang").unwrap();
    assert_eq!(open(&world), [2, 3]);
    world.train(job);
    assert_eq!(
        open(&world),
        [3],
        "what is left over waits for all rounds of the count"
    );
    world.train(job);
    assert_eq!(open(&world), [4]);
    assert_eq!(given(&world, job), [("bada".into(), 700, 800)]);
    world.train(job);
    assert_eq!(world.job(job).phase, Phase::Finishing);
}

#[test]
fn every_round_sends_a_fragment_and_the_last_all() {
    let cut = RoundSpec {
        count: 6,
        fragments: 3,
        ..spec().rounds
    };
    let sent = Vec::from_iter((0..6).map(|round| cut.fragment(round)));
    assert_eq!(sent, [Some(0), Some(1), Some(2), Some(0), Some(1), None]);
    assert_eq!(spec().rounds.fragment(0), None);
    assert_eq!(spec().rounds.described(None), "updates in int8");
    let streaming = RoundSpec {
        overlap: 1,
        codec: CodecSpec::Int4,
        ..cut.clone()
    };
    let words = "updates in int4, a fragment of 3 a round, while the next round is trained";
    assert_eq!(streaming.described(None), words);
    let by_link = RoundSpec {
        codec: CodecSpec::Auto,
        ..spec().rounds
    };
    let words = "updates in sparse by the slowest link";
    assert_eq!(by_link.described(Some(Codec::Sparse)), words);
    let kept = RoundSpec {
        checkpoint_every: 2,
        ..cut
    };
    assert_eq!(
        [0, 1, 2, 3, 5].map(|round| kept.keeps_checkpoint(round)),
        [false, true, false, true, true]
    );
}

#[test]
fn a_checkpoint_is_kept_for_those_who_join() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        rounds: rounds(4, 1),
        ..spec()
    });
    world.join(job, &["bada"]);
    world.wait(30);
    let early = world.checkpoint(job, 0, "bada").unwrap_err();
    assert_eq!(early.message, "site bada has not applied round 0 of job-1");
    for _ in 0..2 {
        world.train(job);
    }
    world.checkpoint(job, 1, "bada").unwrap();
    assert_eq!(
        world.checkpoint(job, 0, "bada").unwrap(),
        [],
        "there is a later one"
    );
    let kept = world.job(job).checkpoint.clone().unwrap();
    let artifact = world.artifact(kept.digest);
    assert_eq!((kept.round, artifact.label), (1, Label::Restricted));
    let read = Resource::Artifact(artifact);
    let may = |name| world.state.permit(&site(name), Action::Read, &read).is_ok();
    assert_eq!(["bada", "hangang", "rhein"].map(may), [true, true, false]);
}

#[test]
fn what_a_site_lost_of_its_own_is_in_the_log() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada", "hangang"]);
    let reset = |world: &mut World, name: &str, applied| {
        let attempt = world.attempt(job, name);
        world.ask(
            site(name),
            Command::Reset {
                job,
                attempt,
                applied,
            },
        )
    };
    assert_eq!(reset(&mut world, "bada", 0).unwrap(), [], "it had nothing yet");
    world.train(job);
    world.lose(job, "bada");
    world.join(job, &["bada"]);
    let too_far = reset(&mut world, "bada", 2).unwrap_err();
    assert_eq!(
        too_far.message,
        "2 rounds of job-1 can't be applied, 1 are closed"
    );
    let logged = Event::Reset {
        job,
        site: id("bada"),
        attempt: 2,
        applied: 1,
    };
    assert_eq!(reset(&mut world, "bada", 1).unwrap(), [logged]);
    assert_eq!(reset(&mut world, "bada", 1).unwrap(), [], "told twice");
    assert_eq!(world.job(job).members[&id::<SiteId>("bada")].reset, Some(2));
}

#[test]
fn when_the_lead_is_lost_the_next_site_writes_the_results() {
    let (mut world, job) = on_two_sites(rounds(1, 1));
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

/// A data set turns out to be restricted while a partner's site trains on it.
#[test]
fn a_site_that_may_not_hold_the_job_any_more_is_shut_out() {
    for (quorum, goes_on) in [(1, true), (2, false)] {
        let mut world = World::founded();
        let data = world.register("data", Label::Open, &[]);
        let rounds = RoundSpec {
            quorum,
            ..spec().rounds
        };
        let job = world.submit(JobSpec {
            label: Label::Open,
            inputs: [("train.tokens".to_owned(), data)].into(),
            rounds,
            ..spec()
        });
        world.join(job, &["rhein", "bada"]);
        world.register("data", Label::Restricted, &[]);
        let ended = world.job(job).phase.clone();
        if goes_on {
            let rhein = &world.job(job).members[&id::<SiteId>("rhein")];
            assert_eq!(rhein.presence, Presence::Left);
            world.contribute(job, 0, "bada").unwrap();
            assert!(world.job(job).rounds[0].is_closed(), "nobody waits for it");
        } else {
            let Phase::Failed { reason } = ended else {
                panic!("{ended:?}");
            };
            assert!(reason.contains("rhein may not hold the job"), "{reason}");
            world.assert_settled(job);
        }
    }
}

/// A job of two rounds on two sites, of which bada falls silent in the first: it ends when all four intervals are
/// used, and hangang alone takes what is left.
#[test]
fn a_job_ends_when_its_samples_are_used() {
    let (mut world, job) = on_two_sites(rounds(2, 1));
    world.lose(job, "bada");
    let mut taken = Vec::new();
    for round in 0..4 {
        assert_eq!(world.job(job).phase, Phase::Running, "round {round}");
        world.contribute(job, round, "hangang").unwrap();
        let members = &world.job(job).rounds[round as usize].members;
        taken.push(members[&id::<SiteId>("hangang")].first);
    }
    assert_eq!(taken, [100, 0, 200, 300]);
    assert_eq!(world.job(job).phase, Phase::Finishing);
    assert_eq!((world.job(job).returned.len(), world.job(job).waiting()), (0, 0));
}

/// Fewer intervals are left than sites are there, and than a quorum has: as many sites take part.
#[test]
fn the_last_interval_needs_one_site() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        label: Label::Open,
        sites: 3,
        rounds: rounds(1, 2),
        ..spec()
    });
    world.join(job, &["bada", "hangang", "rhein"]);
    world.contribute(job, 0, "hangang").unwrap();
    world.contribute(job, 0, "rhein").unwrap();
    world.wait(30);
    assert_eq!(given(&world, job), [("bada".into(), 0, 100)]);
    // Who has it falls silent, and is not waited for while others are there.
    world.lose(job, "bada");
    assert_eq!(world.job(job).rounds[1].updates.len(), 0);
    assert!(world.job(job).rounds[1].is_closed());
    assert_eq!(given(&world, job), [("hangang".into(), 0, 100)]);
    let late = world.contribute(job, 1, "bada").unwrap_err();
    assert_eq!(late.message, "attempt 1 of site bada in job-1 is over");
    world.lose(job, "hangang");
    world.lose(job, "rhein");
    assert!(world.wait(60 * 60).is_empty(), "nobody is there");
    world.join(job, &["rhein"]);
    assert_eq!(given(&world, job), [("rhein".into(), 0, 100)]);
    world.contribute(job, 3, "rhein").unwrap();
    assert_eq!(world.job(job).phase, Phase::Finishing);
}

/// The wall time would be over before the results are in.
#[test]
fn what_there_is_no_time_for_is_left_over() {
    let minutes = u64::from(spec().wall_minutes);
    // Two more of three rounds' mean length fit in after three fifths.
    for (used, more) in [(minutes * 3 / 5, true), (minutes * 3 / 5 + 1, false)] {
        let (mut world, job) = on_two_sites(rounds(2, 1));
        world.lose(job, "bada");
        world.contribute(job, 0, "hangang").unwrap();
        world.contribute(job, 1, "hangang").unwrap();
        world.wait(used * 60);
        assert_eq!(world.job(job).committed(), 2);
        world.meter(job, "hangang", used * 60_000).unwrap();
        world.contribute(job, 2, "hangang").unwrap();
        let expected = if more { Phase::Running } else { Phase::Finishing };
        assert_eq!(
            world.job(job).phase,
            expected,
            "after {used} of {minutes} minutes"
        );
    }
}

/// Logs of before say nothing of the last round: there a job ended after `count` rounds, whatever was left.
#[test]
fn a_log_that_does_not_tell_the_last_round_means_what_it_meant() {
    let (mut world, job) = on_two_sites(rounds(2, 1));
    world.lose(job, "bada");
    world.contribute(job, 0, "hangang").unwrap();
    world.contribute(job, 1, "hangang").unwrap();
    assert_eq!(world.job(job).phase, Phase::Running, "bada's samples are left");
    let told = world.log.iter().take_while(|(event, _)| {
        !matches!(event, Event::RoundOpened { round: 2, .. }) // which such a log has not
    });
    let mut older = World::founded();
    older.now = world.now;
    older.state = State::default();
    older.log = Vec::new();
    for (event, at) in told {
        let mut json = serde_json::to_value(event).unwrap();
        if let Some(closed) = json.get_mut("round-closed") {
            closed
                .as_object_mut()
                .unwrap()
                .remove("last")
                .expect("it is told now");
        }
        let event: Event = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            json,
            "read and written alike"
        );
        apply(&mut older.state, &event, *at);
        older.log.push((event, *at));
    }
    assert_eq!(older.job(job).phase, Phase::Finishing);
    assert_eq!(older.tick(), [], "and nothing follows from it now");
    older.applied(job, 1, "hangang", "weights").unwrap();
    older.leave(job, "hangang", &[output("model")]).unwrap();
    assert_eq!(older.job(job).phase, Phase::Done);
    assert!(older.replayed() == older.state);
}

/// Two sites in an overlapping job that leaves the codec to the links; each tells its pace with every update.
#[test]
fn the_slowest_link_of_those_who_take_part_decides_about_the_codec() {
    let by_link = RoundSpec {
        count: 8,
        samples: 10,
        codec: CodecSpec::Auto,
        ..rounds(8, 1)
    };
    let (mut world, job) = on_two_sites(by_link);
    let pace = |kbit: u64| Pace {
        sent: kbit * 125,
        sending_ms: 1_000,
        received: 1_000_000,
        receiving_ms: 1,
        training_ms: 10_000,
    };
    let train = |world: &mut World, round: u32, kbit: [u64; 2]| {
        let codec = world.job(job).rounds[round as usize].codec.unwrap();
        for (name, kbit) in ["bada", "hangang"].into_iter().zip(kbit) {
            let attempt = world.job(job).members[&id::<SiteId>(name)].attempt;
            let told = Command::Contribute {
                job,
                round,
                attempt,
                update: Update {
                    bytes: codec.bytes(1_000_000),
                    pace: Some(pace(kbit)),
                    ..update(&format!("{name} {round}"))
                },
            };
            world.must(site(name), told);
        }
        codec
    };
    // A million weights have five seconds: 8.1 Mbit in int8, 4.1 in int4.
    let links = [
        ([10_000, 10_000], Codec::Int8), // nothing is known yet
        ([10_000, 1_613], Codec::Int8),
        ([10_000, 1_612], Codec::Int8),
        ([813, 10_000], Codec::Int4),
        ([812, 10_000], Codec::Int4),
        ([10_000, 10_000], Codec::Sparse),
        ([10_000, 10_000], Codec::Int8),
    ];
    for (round, (kbit, codec)) in (0..).zip(links) {
        assert_eq!(train(&mut world, round, kbit), codec, "round {round}");
    }
    let opened = world.log.iter().filter_map(|(event, _)| match event {
        Event::RoundOpened { codec, .. } => Some(*codec),
        _ => None,
    });
    let told = world.job(job).rounds.iter().map(|round| round.codec);
    assert!(opened.eq(told), "the log has it");
    let summary = consortium::explain(&world.state, world.job(job), world.now).summary;
    assert!(
        summary.contains("updates in int8 by the slowest link"),
        "{summary}"
    );
}

/// What a job of before says of its codec, and what its log has of its rounds, means what it meant.
#[test]
fn a_job_that_names_its_codec_has_none_of_its_rounds() {
    let (mut world, job) = on_two_sites(rounds(2, 1));
    world.train(job);
    let opened = world.log.iter().filter_map(|(event, _)| match event {
        Event::RoundOpened { .. } => Some(serde_json::to_value(event).unwrap()),
        _ => None,
    });
    for event in opened {
        let told = event["round-opened"].as_object().unwrap();
        assert!(
            told.keys()
                .all(|key| ["job", "round", "members"].contains(&key.as_str())),
            "{event}"
        );
    }
    assert_eq!(world.job(job).codec(), None);
}
