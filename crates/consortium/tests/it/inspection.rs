//! The mode inspected: who finds what of an update, what counts, and what becomes of a site whose updates don't.

use crate::world::{World, id, site, spec, update};
use consortium::{
    Bounds, Command, Event, Found, Interval, JobId, JobSpec, Label, Mode, Phase, Presence, Refusal,
    Rejection, Report, RoundSpec, Scale, SiteId, Update, explain,
};
use std::collections::BTreeMap;

const SITES: [&str; 3] = ["bada", "hangang", "rhein"];

/// What a site tells of one update: its norm if it can be read, and then the held-out loss with it. Without it that is
/// 1,000,000.
type Tells<'a> = (&'a str, Option<u64>, i64);

const FINE: i64 = 900_000;
const BAD: i64 = 1_100_000;

fn inspected(bounds: Bounds) -> JobSpec {
    JobSpec {
        label: Label::Open,
        sites: 3,
        rounds: RoundSpec {
            count: 4,
            mode: Some(Mode::Inspected(bounds)),
            ..spec().rounds
        },
        ..spec()
    }
}

/// A job that three sites have joined.
fn on_three_sites(bounds: Bounds) -> (World, JobId) {
    let mut world = World::founded();
    let job = world.submit(inspected(bounds));
    world.join(job, &SITES);
    (world, job)
}

/// All of them have contributed to the round.
fn all_came(world: &mut World, job: JobId, round: u32) {
    for name in SITES {
        world.contribute(job, round, name).expect("it is due");
    }
}

fn report(tells: &[Tells<'_>]) -> Report {
    let found = tells.iter().map(|(site, norm, loss)| {
        let loss = norm.map(|_| *loss);
        (id(site), Found { norm: *norm, loss })
    });
    Report {
        before: Some(1_000_000),
        found: found.collect(),
    }
}

fn tell(
    world: &mut World,
    job: JobId,
    round: u32,
    name: &str,
    tells: &[Tells<'_>],
) -> Result<Vec<Event>, Refusal> {
    let (attempt, report) = (world.attempt(job, name), report(tells));
    world.ask(
        site(name),
        Command::Inspect {
            job,
            round,
            attempt,
            report,
        },
    )
}

/// Everyone tells the same.
fn all_tell(world: &mut World, job: JobId, round: u32, tells: &[Tells<'_>]) {
    for name in SITES {
        tell(world, job, round, name, tells).expect("it is asked for");
    }
}

/// What the round closed with: whose updates count, by how much, and whose don't.
type Closed = (Vec<String>, BTreeMap<SiteId, Scale>, BTreeMap<SiteId, Rejection>);

fn closed(world: &World, number: u32) -> Option<Closed> {
    world.log.iter().find_map(|(event, _)| match event {
        Event::RoundClosed {
            round,
            accepted,
            scales,
            rejected,
            ..
        } if *round == number => {
            let accepted = accepted.iter().map(|(site, _)| site.to_string());
            Some((accepted.collect(), scales.clone(), rejected.clone()))
        }
        _ => None,
    })
}

fn rejected(world: &World, number: u32) -> Vec<(String, Rejection)> {
    let (.., rejected) = closed(world, number).expect("it is closed");
    let rejected = rejected.into_iter().map(|(site, why)| (site.to_string(), why));
    rejected.collect()
}

#[test]
fn updates_count_once_they_are_inspected() {
    let (mut world, job) = on_three_sites(Bounds::default());
    for name in &SITES[..2] {
        let happened = world.contribute(job, 0, name).unwrap();
        assert_eq!(happened.len(), 1, "rhein is awaited");
    }
    let happened = world.contribute(job, 0, "rhein").unwrap();
    assert_eq!(happened[1..], [Event::InspectionBegan { job, round: 0 }]);
    let fine = [
        ("bada", Some(100), FINE),
        ("hangang", Some(100), FINE),
        ("rhein", Some(100), FINE),
    ];
    tell(&mut world, job, 0, "hangang", &fine).unwrap();
    assert_eq!(
        tell(&mut world, job, 0, "hangang", &fine).unwrap(),
        [],
        "told before"
    );
    tell(&mut world, job, 0, "rhein", &fine).unwrap();
    assert_eq!(closed(&world, 0), None, "bada is there and has told nothing");
    tell(&mut world, job, 0, "bada", &fine).unwrap();
    let all = SITES.map(str::to_owned).to_vec();
    assert_eq!(closed(&world, 0), Some((all, BTreeMap::new(), BTreeMap::new())));
    assert_eq!(world.job(job).rounds[0].inspection, None);
}

#[test]
fn a_long_update_is_scaled_down_to_the_median_and_a_wild_one_is_rejected() {
    let (mut world, job) = on_three_sites(Bounds::default());
    all_came(&mut world, job, 0);
    let norms = [
        ("bada", Some(100), FINE),
        ("hangang", Some(200), FINE),
        ("rhein", Some(1_000), FINE),
    ];
    all_tell(&mut world, job, 0, &norms);
    let (accepted, scales, rejected_now) = closed(&world, 0).unwrap();
    assert_eq!(accepted, SITES);
    let scales: Vec<(&str, u32)> = scales
        .iter()
        .map(|(site, scale)| (site.as_str(), u32::from(*scale)))
        .collect();
    assert_eq!(scales, [("rhein", 65_536 / 5)]);
    assert_eq!(rejected_now, BTreeMap::new());

    all_came(&mut world, job, 1);
    let theirs = world.job(job).rounds[1].members[&id::<SiteId>("rhein")];
    let wild = [
        ("bada", Some(100), FINE),
        ("hangang", Some(200), FINE),
        ("rhein", Some(2_001), FINE),
    ];
    all_tell(&mut world, job, 1, &wild);
    let why = Rejection::Norm {
        norm: 2_001,
        median: 200,
    };
    assert_eq!(rejected(&world, 1), [("rhein".to_owned(), why)]);
    assert_eq!(closed(&world, 1).unwrap().0, ["bada", "hangang"]);
    let round = &world.job(job).rounds[1];
    assert_eq!(round.updates.len(), 2);
    let given = world.job(job).rounds[2].members[&id::<SiteId>("bada")];
    assert_eq!(given, theirs, "its samples are given out first");
    assert_eq!(
        world.job(job).members[&id::<SiteId>("rhein")].presence,
        Presence::Present(world.now)
    );
    let told = explain(&world.state, world.job(job), world.now);
    assert!(told.summary.contains(", inspected"), "{}", told.summary);
    assert_eq!(
        told.rejected,
        ["an update of rhein rejected, in round 1 because its norm is 10 times the median's"]
    );
}

#[test]
fn most_inspectors_must_find_an_update_bad() {
    let fine = [
        ("bada", Some(100), FINE),
        ("hangang", Some(100), FINE),
        ("rhein", Some(100), FINE),
    ];
    let against = [
        ("bada", Some(7), BAD),
        ("hangang", None, i64::MAX),
        ("rhein", Some(100), FINE),
    ];
    for liars in 0..=3 {
        let (mut world, job) = on_three_sites(Bounds::default());
        all_came(&mut world, job, 0);
        for (i, name) in SITES.iter().rev().enumerate() {
            let tells = if i < liars { &against } else { &fine };
            tell(&mut world, job, 0, name, tells).unwrap();
        }
        let (accepted, scales, rejected) = closed(&world, 0).unwrap();
        assert_eq!(scales, BTreeMap::new(), "{liars}");
        if liars < 2 {
            assert_eq!(accepted, SITES, "{liars} of three");
            continue;
        }
        assert_eq!(accepted, ["rhein"], "{liars} of three");
        let loss = Rejection::Loss {
            before: 1_000_000,
            after: BAD,
        };
        let expected = [(id("bada"), loss), (id("hangang"), Rejection::Unreadable)];
        assert_eq!(rejected, expected.into());
    }
}

/// A norm is what most tell, and one more than the bound is too much.
#[test]
fn the_bound_on_the_loss_is_the_jobs_own() {
    let bounds = Bounds {
        worse: 100,
        ..Bounds::default()
    };
    let (mut world, job) = on_three_sites(bounds);
    all_came(&mut world, job, 0);
    let tells = |loss| {
        [
            ("bada", Some(1), FINE),
            ("hangang", Some(1), loss),
            ("rhein", Some(1), FINE),
        ]
    };
    all_tell(&mut world, job, 0, &tells(BAD));
    assert_eq!(closed(&world, 0).unwrap().0, SITES);
    all_came(&mut world, job, 1);
    all_tell(&mut world, job, 1, &tells(BAD + 1));
    assert_eq!(closed(&world, 1).unwrap().0, ["bada", "rhein"]);
}

/// Where the outer momentum has gone too far, no training finds the loss as good as it was.
#[test]
fn what_most_updates_come_to_is_good_enough() {
    let (mut world, job) = on_three_sites(Bounds::default());
    all_came(&mut world, job, 0);
    let tells = [
        ("bada", Some(1), 1_500_000),
        ("hangang", Some(1), 1_530_000),
        ("rhein", Some(1), 1_530_000),
    ];
    all_tell(&mut world, job, 0, &tells);
    assert_eq!(
        closed(&world, 0).unwrap().0,
        SITES,
        "20 thousandths more than another"
    );
    all_came(&mut world, job, 1);
    let tells = [
        ("bada", Some(1), 1_500_000),
        ("hangang", Some(1), 1_500_000),
        ("rhein", Some(1), 1_530_001),
    ];
    all_tell(&mut world, job, 1, &tells);
    let loss = Rejection::Loss {
        before: 1_000_000,
        after: 1_530_001,
    };
    assert_eq!(rejected(&world, 1), [("rhein".to_owned(), loss)]);
}

#[test]
fn a_site_that_claims_too_many_tokens_is_rejected() {
    let (mut world, job) = on_three_sites(Bounds::default());
    for name in SITES {
        let tokens = if name == "hangang" { 64_001 } else { 6_400 };
        let (attempt, update) = (world.attempt(job, name), update(name));
        let update = Update { tokens, ..update };
        let contribute = Command::Contribute {
            job,
            round: 0,
            attempt,
            update,
        };
        world.must(site(name), contribute);
    }
    all_tell(&mut world, job, 0, &SITES.map(|name| (name, Some(100), FINE)));
    let why = Rejection::Tokens {
        tokens: 64_001,
        median: 6_400,
    };
    assert_eq!(rejected(&world, 0), [("hangang".to_owned(), why)]);
}

#[test]
fn what_comes_late_is_refused_and_so_is_a_report_of_something_else() {
    let (mut world, job) = on_three_sites(Bounds::default());
    world.contribute(job, 0, "bada").unwrap();
    let early = tell(&mut world, job, 0, "bada", &[("bada", Some(1), FINE)]).unwrap_err();
    assert_eq!(
        early.message,
        "the updates of round 0 of job-1 are not inspected now"
    );
    world.contribute(job, 0, "hangang").unwrap();
    world.wait(30);
    let late = world.contribute(job, 0, "rhein").unwrap_err();
    assert_eq!(
        late.message,
        "the updates of round 0 of job-1 are being inspected: it takes no others"
    );
    assert_eq!(
        world.contribute(job, 0, "bada").unwrap(),
        [],
        "it is here already"
    );
    let two = [("bada", Some(1), FINE), ("hangang", Some(1), FINE)];
    let other = tell(&mut world, job, 0, "bada", &two[..1]).unwrap_err();
    assert_eq!(
        other.message,
        "a report that isn't of the updates of bada, hangang"
    );
    tell(&mut world, job, 0, "bada", &two).unwrap();
    let again = tell(&mut world, job, 0, "bada", &[("bada", None, 0), two[1]]).unwrap_err();
    assert_eq!(
        again.message,
        "site bada has told something else of round 0 already"
    );
    tell(&mut world, job, 0, "rhein", &two).expect("who has no update in it may tell of it");
    tell(&mut world, job, 0, "hangang", &two).unwrap();
    let returned = world.job(job).rounds[1].members[&id::<SiteId>("bada")];
    assert_eq!(returned, Interval { first: 200, end: 300 }, "of rhein");
}

/// An inspection waits for all that are there, and after the grace window for most; it isn't over before anyone tells.
#[test]
fn an_inspection_waits_for_most_and_a_while_for_all() {
    let fine = SITES.map(|name| (name, Some(100), FINE));
    let (mut world, job) = on_three_sites(Bounds::default());
    all_came(&mut world, job, 0);
    world.wait(60);
    tell(&mut world, job, 0, "bada", &fine).unwrap();
    assert_eq!(closed(&world, 0), None, "one of three");
    tell(&mut world, job, 0, "rhein", &fine).unwrap();
    assert!(closed(&world, 0).is_some(), "hangang had its time");

    // Who falls silent is waited for as long.
    all_came(&mut world, job, 1);
    world.lose(job, "bada");
    world.lose(job, "hangang");
    tell(&mut world, job, 1, "rhein", &fine).unwrap();
    assert_eq!(closed(&world, 1), None);
    world.wait(30);
    assert!(closed(&world, 1).is_some(), "all that are there have told");

    world.contribute(job, 2, "rhein").unwrap();
    world.wait(30);
    world.lose(job, "rhein");
    world.wait(60 * 60);
    assert_eq!(closed(&world, 2), None, "nobody is there to tell");
    world.join(job, &["bada"]);
    tell(&mut world, job, 2, "bada", &[("rhein", None, BAD)]).unwrap();
    world.wait(60);
    let doubtful = [("rhein".to_owned(), Rejection::Doubtful)];
    assert_eq!(rejected(&world, 2), doubtful, "one of two is not most");
    assert_eq!(world.job(job).members[&id("rhein")].strikes, 0);
}

#[test]
fn so_many_rejections_in_a_row_put_a_site_out() {
    let fine = SITES.map(|name| (name, Some(100), FINE));
    let mut bad = fine;
    bad[2].2 = BAD;
    let bounds = Bounds {
        strikes: 2,
        ..Bounds::default()
    };
    let (mut world, job) = on_three_sites(bounds);
    for (round, tells) in [bad, fine, bad, bad].iter().enumerate() {
        let rhein = &world.job(job).members[&id::<SiteId>("rhein")];
        assert!(rhein.is_present(), "round {round}");
        all_came(&mut world, job, round as u32);
        all_tell(&mut world, job, round as u32, tells);
    }
    let rhein = &world.job(job).members[&id::<SiteId>("rhein")];
    assert_eq!((rhein.presence, rhein.strikes), (Presence::Left, 2));
    let refused = world.ask(site("rhein"), Command::Join { job }).unwrap_err();
    assert_eq!(refused.message, "job-1 has nothing left to do for site rhein");
    let told = explain(&world.state, world.job(job), world.now).rejected;
    assert_eq!(
        told,
        [
            "3 updates of rhein rejected, in round 3 because the held-out loss is 1.1000 with it and 1.0000 without; it \
          is out of the job after 2 in a row"
        ]
    );
    // The others take what it was to train on, in two rounds more.
    for round in [4, 5] {
        let members: Vec<SiteId> = world.job(job).rounds[round as usize]
            .members
            .keys()
            .cloned()
            .collect();
        for name in &members {
            world.contribute(job, round, name.as_str()).unwrap();
        }
        let tells: Vec<Tells<'_>> = members
            .iter()
            .map(|name| (name.as_str(), Some(1), FINE))
            .collect();
        for name in &SITES[..2] {
            tell(&mut world, job, round, name, &tells).unwrap();
        }
    }
    assert_eq!(world.job(job).phase, Phase::Finishing);
    assert_eq!((world.job(job).returned.len(), world.job(job).waiting()), (0, 0));
}

#[test]
fn a_job_that_is_left_with_no_quorum_ends() {
    let bounds = Bounds {
        strikes: 1,
        ..Bounds::default()
    };
    let mut spec = inspected(bounds);
    spec.rounds.quorum = 3;
    let mut world = World::founded();
    let job = world.submit(spec);
    world.join(job, &SITES);
    all_came(&mut world, job, 0);
    let mut tells = SITES.map(|name| (name, Some(100), FINE));
    tells[0].1 = Some(1_001);
    all_tell(&mut world, job, 0, &tells);
    let Phase::Failed { reason } = &world.job(job).phase else {
        panic!("{:?}", world.job(job).phase);
    };
    assert_eq!(
        reason,
        "the updates of bada were rejected again and again, and the sites that are left are no quorum"
    );
    world.assert_settled(job);
}

/// Of two updates neither is known to be the wrong one by their norms.
#[test]
fn of_two_updates_the_norms_tell_nothing() {
    let mut world = World::founded();
    let data = world.register("held out", Label::Open, &[]);
    let held_out = Bounds {
        held_out: Some("valid.tokens".to_owned()),
        ..Bounds::default()
    };
    let job = world.submit(JobSpec {
        sites: 2,
        inputs: [("valid.tokens".to_owned(), data)].into(),
        ..inspected(held_out)
    });
    world.join(job, &["bada", "rhein"]);
    for (round, losses) in [(0, [FINE, FINE]), (1, [FINE, BAD])] {
        let tells = [
            ("bada", Some(1), losses[0]),
            ("rhein", Some(1_000_000), losses[1]),
        ];
        for name in ["bada", "rhein"] {
            world.contribute(job, round, name).unwrap();
        }
        for name in ["bada", "rhein"] {
            tell(&mut world, job, round, name, &tells).unwrap();
        }
        let (accepted, scales, _) = closed(&world, round).unwrap();
        let all = ["bada", "rhein"];
        assert_eq!(accepted, all[..2 - round as usize]);
        assert_eq!(scales, BTreeMap::new());
    }
}

#[test]
fn terms_that_could_judge_nothing_are_refused() {
    let mut world = World::founded();
    let mut check = |sites: u32, bounds: Bounds, message: &str| {
        let spec = JobSpec {
            sites,
            ..inspected(bounds)
        };
        let refused = world
            .ask(crate::world::person("minji"), Command::Submit(spec))
            .unwrap_err();
        assert_eq!(refused.message, message);
        assert!(refused.hint.is_some());
    };
    let held_out = |name: &str| Bounds {
        held_out: Some(name.to_owned()),
        ..Bounds::default()
    };
    check(
        2,
        Bounds::default(),
        "of updates of 2 sites nothing can be told by comparing their norms",
    );
    check(
        3,
        held_out("valid.tokens"),
        "rounds.mode.inspected.held_out is \"valid.tokens\", and the job has no such input",
    );
    let bounds = Bounds {
        wild: 1,
        ..Bounds::default()
    };
    check(3, bounds, "rounds.mode.inspected.wild is 1");
}

#[test]
fn a_job_file_says_the_mode_in_a_table_of_its_own_and_older_ones_have_none() {
    let spec = |mode: &str| -> RoundSpec {
        let text = format!(r#"{{"count": 3, "samples": 64, "quorum": 1, "grace_seconds": 9{mode}}}"#);
        serde_json::from_str(&text).unwrap()
    };
    let older = spec("");
    assert_eq!(older.mode, None);
    assert!(
        !serde_json::to_string(&older).unwrap().contains("mode"),
        "it is written as it was"
    );
    let bounds = Bounds {
        held_out: Some("valid.tokens".to_owned()),
        ..Bounds::default()
    };
    let now = spec(r#", "mode": {"inspected": {"held_out": "valid.tokens"}}"#);
    assert_eq!(now.mode, Some(Mode::Inspected(bounds)));
}
