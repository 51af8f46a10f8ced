//! The mode private: whose masks are lifted, what a sum is of, and what becomes of updates that can't be part of one.

use crate::world::{RATED, World, id, person, site, spec};
use consortium::{
    Clipping, CodecSpec, Command, Event, Interval, JobId, JobSpec, Label, MaskKey, MaskSeed, Mode, Phase,
    Price, Refusal, Rejection, RoundSpec, Seeds, SiteId, explain,
};
use std::collections::BTreeMap;

const SITES: [&str; 4] = ["bada", "gaon", "hangang", "rhein"];

fn private() -> JobSpec {
    JobSpec {
        label: Label::Open,
        sites: 4,
        rounds: RoundSpec {
            count: 3,
            quorum: 3,
            mode: Some(Mode::Private(Clipping::default())),
            ..spec().rounds
        },
        ..spec()
    }
}

/// What somebody asks for instead.
type Change<'a> = &'a dyn Fn(&mut JobSpec);

/// A job on four sites that have told their keys.
fn on_four_sites(spec: JobSpec) -> (World, JobId) {
    let mut world = World::founded();
    world.add_site("gaon", "gaon", Price(6_000_000), RATED);
    let job = world.submit(spec);
    world.join(job, &SITES);
    assert!(world.job(job).rounds.is_empty(), "nobody can make masks yet");
    for name in SITES {
        tell_key(&mut world, job, name, 1).expect("it has none");
    }
    (world, job)
}

fn tell_key(world: &mut World, job: JobId, name: &str, key: u8) -> Result<Vec<Event>, Refusal> {
    let attempt = world.attempt(job, name);
    let key = MaskKey([key; 32]);
    world.ask(site(name), Command::TellKey { job, attempt, key })
}

/// A site tells its own mask and those it shares with `with`.
fn unmask(
    world: &mut World,
    job: JobId,
    round: u32,
    name: &str,
    with: &[&str],
) -> Result<Vec<Event>, Refusal> {
    let attempt = world.attempt(job, name);
    let seed = |other: &str| MaskSeed([other.len() as u8; 32]);
    let seeds = Seeds {
        own: seed(name),
        with: with.iter().map(|other| (id(other), seed(other))).collect(),
    };
    world.ask(
        site(name),
        Command::Unmask {
            job,
            round,
            attempt,
            seeds,
        },
    )
}

/// Whose updates count, whose don't and why, and what goes back to the queue.
type Closed = (Vec<String>, BTreeMap<SiteId, Rejection>, Vec<Interval>);

fn closed(world: &World, number: u32) -> Closed {
    let closed = world.log.iter().find_map(|(event, _)| match event {
        Event::RoundClosed {
            round,
            accepted,
            rejected,
            returned,
            ..
        } if *round == number => {
            let accepted = accepted.iter().map(|(site, _)| site.to_string());
            Some((accepted.collect(), rejected.clone(), returned.clone()))
        }
        _ => None,
    });
    closed.expect("it is closed")
}

fn waits(world: &World, job: JobId, round: u32) -> Vec<String> {
    let round = &world.job(job).rounds[round as usize];
    let sites = SITES.iter().filter(|name| round.awaits_seeds_of(&id(name)));
    sites.map(ToString::to_string).collect()
}

#[test]
fn a_round_closes_once_the_masks_of_those_who_came_are_lifted() {
    let (mut world, job) = on_four_sites(private());
    assert_eq!(world.job(job).rounds[0].keys.len(), 4);
    for name in ["bada", "gaon", "hangang"] {
        world.contribute(job, 0, name).unwrap();
    }
    let happened = world.wait(30);
    let began = Event::UnmaskingBegan {
        job,
        round: 0,
        gone: [].into(),
    };
    assert!(happened.contains(&began), "rhein is too late: {happened:?}");
    assert!(
        world
            .contribute(job, 0, "rhein")
            .unwrap_err()
            .to_string()
            .contains("takes no more updates")
    );
    assert_eq!(waits(&world, job, 0), ["bada", "gaon", "hangang"]);

    let none = unmask(&mut world, job, 0, "rhein", &[]).unwrap_err();
    assert!(
        none.to_string().contains("no part in the sum"),
        "its update stays hidden: {none}"
    );
    let short = unmask(&mut world, job, 0, "bada", &[]).unwrap_err();
    assert!(short.to_string().contains("shared with rhein"), "{short}");
    let much = unmask(&mut world, job, 0, "bada", &["gaon", "rhein"]).unwrap_err();
    assert!(much.to_string().contains("cancel out"), "{much}");
    let strange = unmask(&mut world, job, 0, "bada", &["nowhere", "rhein"]).unwrap_err();
    assert!(strange.to_string().contains("with nowhere"), "{strange}");
    for name in ["bada", "gaon"] {
        unmask(&mut world, job, 0, name, &["rhein"]).unwrap();
        assert_eq!(
            unmask(&mut world, job, 0, name, &["rhein"]).unwrap(),
            [],
            "it is told"
        );
    }
    unmask(&mut world, job, 0, "hangang", &["rhein"]).unwrap();
    let (accepted, rejected, returned) = closed(&world, 0);
    assert_eq!(accepted, ["bada", "gaon", "hangang"]);
    assert!(rejected.is_empty());
    assert_eq!(returned.len(), 1, "rhein's samples go to others");
    let late = unmask(&mut world, job, 0, "bada", &["rhein"]).unwrap_err();
    assert!(late.to_string().contains("not being lifted"), "{late}");
}

#[test]
fn who_goes_before_its_mask_is_lifted_has_no_part_in_the_sum() {
    let (mut world, job) = on_four_sites(private());
    for name in SITES {
        world.contribute(job, 0, name).unwrap();
    }
    unmask(&mut world, job, 0, "bada", &[]).unwrap();
    world.lose(job, "gaon");
    unmask(&mut world, job, 0, "hangang", &[]).unwrap();
    assert_eq!(waits(&world, job, 0), ["gaon", "rhein"]);
    unmask(&mut world, job, 0, "rhein", &[]).unwrap();
    assert_eq!(
        waits(&world, job, 0),
        ["bada", "hangang", "rhein"],
        "of gaon's masks, too"
    );
    world.join(job, &["gaon"]);
    tell_key(&mut world, job, "gaon", 1).unwrap();
    let back = unmask(&mut world, job, 0, "gaon", &[]).unwrap_err();
    assert!(
        back.to_string().contains("no part in the sum"),
        "or its update would lie bare: {back}"
    );
    for name in ["bada", "hangang", "rhein"] {
        unmask(&mut world, job, 0, name, &["gaon"]).unwrap();
    }
    let (accepted, rejected, returned) = closed(&world, 0);
    assert_eq!(accepted, ["bada", "hangang", "rhein"]);
    assert_eq!(rejected, [(id("gaon"), Rejection::Gone)].into());
    assert_eq!(returned.len(), 1);
    let told = explain(&world.state, world.job(job), world.now);
    assert_eq!(
        told.rejected,
        ["an update of gaon rejected, in round 0 because its site was gone when the masks were to be lifted"]
    );
}

#[test]
fn a_mask_that_was_told_is_not_lifted_the_other_way_too() {
    let (mut world, job) = on_four_sites(private());
    for name in SITES {
        world.contribute(job, 0, name).unwrap();
    }
    // bada has told its own mask; without the others, it would be left in a sum of two.
    unmask(&mut world, job, 0, "bada", &[]).unwrap();
    world.lose(job, "gaon");
    world.lose(job, "rhein");
    let happened = world.wait(61);
    assert!(
        !happened
            .iter()
            .any(|event| matches!(event, Event::UnmaskingBegan { .. }))
    );
    let (accepted, rejected, returned) = closed(&world, 0);
    assert!(accepted.is_empty() && returned.len() == 4, "{accepted:?}");
    assert!(rejected.values().all(|why| *why == Rejection::Masked) && rejected.len() == 4);
}

#[test]
fn a_site_that_lost_its_key_waits_for_the_next_round() {
    let (mut world, job) = on_four_sites(private());
    world.lose(job, "rhein");
    world.join(job, &["rhein"]);
    tell_key(&mut world, job, "rhein", 2).unwrap();
    let other = tell_key(&mut world, job, "rhein", 3).unwrap_err();
    assert!(other.to_string().contains("another key"), "{other}");
    let refused = world.contribute(job, 0, "rhein").unwrap_err();
    assert!(refused.to_string().contains("has no more"), "{refused}");
    for name in ["bada", "gaon", "hangang"] {
        world.contribute(job, 0, name).unwrap();
    }
    assert_eq!(
        waits(&world, job, 0).len(),
        3,
        "nobody waits for an update that can't come"
    );
    for name in ["bada", "gaon", "hangang"] {
        unmask(&mut world, job, 0, name, &["rhein"]).unwrap();
    }
    assert_eq!(world.job(job).rounds[1].keys[&id("rhein")], MaskKey([2; 32]));
    world.contribute(job, 1, "rhein").unwrap();
}

#[test]
fn a_round_that_nobody_can_bring_to_its_quorum_is_given_up() {
    let (mut world, job) = on_four_sites(private());
    world.contribute(job, 0, "bada").unwrap();
    for name in ["gaon", "hangang"] {
        world.lose(job, name);
        world.join(job, &[name]);
        tell_key(&mut world, job, name, 7).unwrap();
    }
    let (accepted, rejected, _) = closed(&world, 0);
    assert!(accepted.is_empty());
    assert_eq!(
        rejected,
        [(id("bada"), Rejection::Few)].into(),
        "rhein alone can't help"
    );
    assert!(
        world.job(job).rounds[1].members.contains_key(&id("gaon")),
        "with its new key"
    );
}

/// What is left over is cut into as many pieces as a sum takes; fewer samples are not trained on.
#[test]
fn samples_that_are_left_over_are_shared_among_three() {
    let mut spec = private();
    spec.sites = 3;
    spec.rounds.count = 1;
    spec.rounds.samples = 1;
    let mut world = World::founded();
    let job = world.submit(spec.clone());
    world.join(job, &["bada", "hangang", "rhein"]);
    for name in ["bada", "hangang", "rhein"] {
        tell_key(&mut world, job, name, 1).unwrap();
    }
    for name in ["bada", "hangang", "rhein"] {
        world.contribute(job, 0, name).unwrap();
    }
    world.lose(job, "rhein");
    world.wait(61);
    let (accepted, .., returned) = closed(&world, 0);
    assert!(accepted.is_empty() && returned.len() == 3);
    assert_eq!(world.job(job).phase, Phase::Running, "three samples are a round");

    spec.sites = 4;
    spec.rounds.samples = 100;
    let (mut world, job) = on_four_sites(spec);
    for name in ["bada", "gaon", "hangang"] {
        world.contribute(job, 0, name).unwrap();
    }
    world.wait(30);
    for name in ["bada", "gaon", "hangang"] {
        unmask(&mut world, job, 0, name, &["rhein"]).unwrap();
    }
    let left_over = &world.job(job).rounds[1];
    let mut samples: Vec<u64> = left_over.members.values().map(Interval::samples).collect();
    samples.sort_unstable();
    assert_eq!(samples, [25, 25, 50], "{left_over:?}");
}

#[test]
fn what_hides_nothing_or_does_not_add_up_is_refused() {
    let mut world = World::founded();
    let cases: [(&str, Change<'_>, &str); 6] = [
        (
            "sites",
            &|spec| (spec.sites, spec.rounds.quorum) = (2, 2),
            "hides nothing",
        ),
        ("quorum", &|spec| spec.rounds.quorum = 2, "hides nothing"),
        (
            "fp32",
            &|spec| spec.rounds.codec = CodecSpec::Fp32,
            "whole numbers",
        ),
        (
            "auto",
            &|spec| spec.rounds.codec = CodecSpec::Auto,
            "whole numbers",
        ),
        (
            "int4",
            &|spec| (spec.sites, spec.rounds.codec) = (19, CodecSpec::Int4),
            "room for the sum of 18",
        ),
        (
            "clip",
            &|spec| spec.rounds.mode = Some(Mode::Private(Clipping { clip: 0 })),
            "rounds.mode.private.clip",
        ),
    ];
    for (what, change, expected) in cases {
        let mut spec = private();
        spec.sites = 3;
        change(&mut spec);
        let refused = world.ask(person("minji"), Command::Submit(spec)).unwrap_err();
        assert!(refused.to_string().contains(expected), "{what}: {refused}");
    }
    let job = world.submit(JobSpec {
        label: Label::Open,
        ..spec()
    });
    world.join(job, &["bada"]);
    let refused = tell_key(&mut world, job, "bada", 1).unwrap_err();
    assert!(refused.to_string().contains("is not private"), "{refused}");
}
