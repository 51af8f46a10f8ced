//! Where a job runs, what that costs, and the reasons in words.

use crate::world::{RATED, World, award, id, output, person, site, spec};
use consortium::explain::{Line, Outlook, Start};
use consortium::{
    Account, Actor, Command, JobId, JobSpec, Label, Phase, Price, Site, SiteId, Tenure, Verdict, explain,
};

/// What people read who ask why: the summary, then a line a site.
fn explained(world: &World, job: JobId) -> String {
    let explanation = explain(&world.state, world.job(job), world.now);
    let lines = explanation.sites.iter().map(|reason| {
        let candidate = &reason.candidate;
        format!("\n{} ({}): {}", candidate.site, reason.owner, reason.because)
    });
    explanation.summary + &lines.collect::<String>()
}

#[track_caller]
fn check_explained(world: &World, job: JobId, expected: &str) {
    let lines: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(explained(world, job), lines.join("\n"));
}

#[test]
fn the_cheapest_entitled_sites_are_taken() {
    let mut world = World::founded();
    let job = world.submit(spec());
    check_explained(
        &world,
        job,
        "
        job-1 runs on bada and hangang, 0 of 2 rounds closed, updates in int8
        bada (Bada Telephone): taken, at 8000000 won a PFLOP-hour
        hangang (Hangang Cloud): taken, at 9000000 won a PFLOP-hour
        rhein (Rhein Institute, foreign partner): \
        it may not receive restricted weights: policy restricted-stays-closed-to-foreign-partners
    ",
    );
    let closed = &world.job(job).candidates[2].verdict;
    let policies = vec!["restricted-stays-closed-to-foreign-partners".to_owned()];
    assert_eq!(*closed, Verdict::Closed { policies });

    let mut world = World::founded();
    let job = world.submit(JobSpec {
        label: Label::Open,
        ..spec()
    });
    check_explained(
        &world,
        job,
        "
        job-1 runs on bada and rhein, 0 of 2 rounds closed, updates in int8
        bada (Bada Telephone): taken, at 8000000 won a PFLOP-hour
        hangang (Hangang Cloud): not needed: 2 cheaper sites were enough \
        (this one asks 9000000 won a PFLOP-hour)
        rhein (Rhein Institute, foreign partner): taken, at 7000000 won a PFLOP-hour
    ",
    );
}

/// Machines that are paid for anyhow go before rented ones that ask less for an hour and cost more for it.
#[test]
fn owned_machines_go_before_rented_ones_by_what_use_costs() {
    let mut world = World::without_sites();
    world.add_site("hangang", "hangang", Price(7_000_000), RATED);
    world.must(
        person("director"),
        Command::AddSite(Site {
            id: id("gaon"),
            owner: id("gaon"),
            tenure: Tenure::Member,
            rated: RATED,
            price: Price(9_000_000),
            gpus: 1,
            gpu: None,
            marginal: Some(Price(1_000_000)),
        }),
    );
    let job = world.submit(JobSpec { sites: 1, ..spec() });
    check_explained(
        &world,
        job,
        "job-1 runs on gaon, 0 of 2 rounds closed, updates in int8\n\
         gaon (Gaon University): taken, at 9000000 won a PFLOP-hour, 1000000 of it more than idle\n\
         hangang (Hangang Cloud): not needed: 1 cheaper site was enough (this one asks 7000000 won a PFLOP-hour)\n",
    );
}

#[test]
fn sites_that_ask_the_same_go_by_name() {
    let mut world = World::founded();
    world.add_site("alpha", "gaon", Price(8_000_000), RATED);
    let job = world.submit(JobSpec { sites: 1, ..spec() });
    assert!(world.job(job).members.contains_key(&id::<SiteId>("alpha")));
}

#[test]
fn a_job_that_waits_says_for_what() {
    let mut world = World::founded();
    let first = world.submit(JobSpec { sites: 1, ..spec() });
    let second = world.submit(spec());
    check_explained(
        &world,
        second,
        "
        job-2 waits for sites, number 1 in the queue
        bada (Bada Telephone): its machines are held by job-1; wait until that ends
        hangang (Hangang Cloud): free, but the job wants 2 sites together and only 1 can be had; \
        ask for fewer sites or wait
        rhein (Rhein Institute, foreign partner): \
        it may not receive restricted weights: policy restricted-stays-closed-to-foreign-partners
    ",
    );
    let third = world.submit(JobSpec {
        sites: 1,
        wall_minutes: 100_000,
        ..spec()
    });
    check_explained(
        &world,
        third,
        "
        job-3 waits for sites, number 2 in the queue
        bada (Bada Telephone): its machines are held by job-1; wait until that ends
        hangang (Hangang Cloud): no award of project reviews has KRW 45,000,000 left and the compute; \
        shorten wall_minutes or ask for an award
        rhein (Rhein Institute, foreign partner): \
        it may not receive restricted weights: policy restricted-stays-closed-to-foreign-partners
    ",
    );
    world.must(person("minji"), Command::Cancel(first));
    check_explained(
        &world,
        first,
        "
        job-1 was cancelled
        bada (Bada Telephone): taken, at 8000000 won a PFLOP-hour
        hangang (Hangang Cloud): not needed: 1 cheaper site was enough \
        (this one asks 9000000 won a PFLOP-hour)
        rhein (Rhein Institute, foreign partner): \
        it may not receive restricted weights: policy restricted-stays-closed-to-foreign-partners
    ",
    );
    assert_eq!(
        world.job(second).phase,
        Phase::Running,
        "the machines are free again"
    );
}

#[test]
fn an_award_that_comes_later_pays_for_a_job_that_waits() {
    let mut world = World::founded();
    let job = world.submit(JobSpec {
        sites: 1,
        wall_minutes: 10_000,
        ..spec()
    });
    assert_eq!(world.job(job).phase, Phase::Queued);
    world.must(Actor::Hub, Command::Grant(award("second", 4_000_000, 1_000)));
    assert_eq!(world.job(job).phase, Phase::Running);
    assert_eq!(world.job(job).award, Some(id("second")));
    world.must(person("minji"), Command::Cancel(job));
    assert_eq!(
        world.won(&Account::Award(id("second"))),
        4_000_000,
        "it goes back to where it came from"
    );
}

#[test]
fn a_job_is_as_restricted_as_what_goes_in() {
    let mut world = World::founded();
    let secret = world.register("reviews.tokens", Label::Restricted, &[]);
    let inputs = [("train.tokens".to_owned(), secret)].into();
    let asked = JobSpec {
        label: Label::Open,
        inputs,
        ..spec()
    };
    let foreign = world
        .ask(person("anna"), Command::Submit(asked.clone()))
        .unwrap_err();
    assert_eq!(foreign.policies, ["restricted-stays-closed-to-foreign-partners"]);

    let job = world.submit(asked);
    assert_eq!(world.job(job).label, Label::Restricted);
    assert!(!world.job(job).members.contains_key(&id::<SiteId>("rhein")));
}

/// Lineage holds however late it is found out that something should have been restricted.
#[test]
fn a_label_that_becomes_stricter_reaches_all_that_was_made_from_it() {
    let mut world = World::founded();
    let raw = world.register("raw", Label::Open, &[]);
    let tokens = world.register("tokens", Label::Open, &[raw]);
    let inputs = [("train.tokens".to_owned(), tokens)].into();
    let ended = world.submit(JobSpec {
        label: Label::Open,
        sites: 1,
        inputs,
        ..spec()
    });
    world.join(ended, &["rhein"]);
    world.train(ended);
    world.train(ended);
    world.leave(ended, "rhein", &[output("model")]).unwrap();
    let model = output("model").id.digest;
    assert_eq!(world.artifact(model).label, Label::Open);
    let inputs = [("base.model".to_owned(), model)].into();
    let running = world.submit(JobSpec {
        label: Label::Open,
        sites: 3,
        inputs,
        ..spec()
    });
    let waiting = world.submit(world.job(ended).spec.clone());

    world.register("raw", Label::Restricted, &[]);
    for digest in [raw, tokens, model] {
        assert_eq!(
            world.artifact(digest).label,
            Label::Restricted,
            "{}",
            world.artifact(digest).name
        );
    }
    for job in [running, waiting] {
        assert_eq!(world.job(job).label, Label::Restricted, "{job}");
    }
    let abroad = world
        .ask(site("rhein"), Command::Join { job: running })
        .unwrap_err();
    assert_eq!(
        abroad.message, "job-2 has nothing left to do for site rhein",
        "though it was placed there when it was open"
    );
    let loosened = world.register("raw", Label::Open, &[]);
    assert_eq!(world.artifact(loosened).label, Label::Restricted, "and stays so");
}

#[test]
fn jobs_share_the_gpus_of_a_site_and_pay_for_their_part() {
    let mut world = World::with_gpus();
    let asked = |gpus: u32, gpu: Option<&str>| JobSpec {
        sites: 1,
        gpus: Some(gpus),
        gpu: gpu.map(str::to_owned),
        batch: Some(Box::new(consortium::Batch {
            script: "#!/bin/sh\n".into(),
            ..consortium::Batch::default()
        })),
        ..spec()
    };
    let first = world.submit(asked(2, None));
    // A quarter of the site for twenty minutes; the whole would be 8,000 won.
    assert_eq!(world.won(&crate::world::reserved(first, "hangang")), 2_000);
    let second = world.submit(asked(6, Some("a100")));
    assert_eq!(world.job(second).phase, Phase::Running);
    let waits = world.submit(asked(1, None));
    let (wide, other) = (world.submit(asked(9, None)), world.submit(asked(1, Some("h100"))));
    check_explained(
        &world,
        waits,
        "
        job-3 waits for sites, number 1 in the queue
        hangang (Hangang Cloud): 0 of its GPUs are free, and the job wants 1; wait until others end
    ",
    );
    check_explained(
        &world,
        wide,
        "
        job-4 waits for sites, number 2 in the queue
        hangang (Hangang Cloud): too small: it has 8 GPUs, and the job wants 9 at a site
    ",
    );
    check_explained(
        &world,
        other,
        "
        job-5 waits for sites, number 3 in the queue
        hangang (Hangang Cloud): it has a100, and the job wants h100
    ",
    );
    // Both hold their wall time of twenty minutes at most, and then there is room.
    let explanation = explain(&world.state, world.job(waits), world.now);
    assert_eq!(explanation.start, Some(Start::By(world.now.plus(20 * 60_000))));
    assert_eq!(explanation.changes, ["1 more GPUs become free at hangang"]);
    let never = explain(&world.state, world.job(wide), world.now);
    assert_eq!(never.start, Some(Start::Never));
    let outlook = Outlook::new(&world.state, world.now);
    let mut line = Line::new(&world.state, &outlook);
    let places: Vec<_> = line.places().collect();
    let why = places.into_iter().map(|(place, job)| line.tell(place, job).why);
    let why: Vec<String> = why.collect();
    assert_eq!(
        why,
        [
            "0 of 1 GPUs are free at hangang",
            "no site has 9 GPUs",
            "no site has h100"
        ]
    );
}

#[test]
fn what_is_free_is_kept_for_who_is_ahead() {
    let mut world = World::founded();
    let open = |sites: u32, wall_minutes: u32| JobSpec {
        label: Label::Open,
        sites,
        wall_minutes,
        ..spec()
    };
    let first = world.submit(open(1, 20));
    let gang = world.submit(open(3, 20));
    // One that would still run when the three sites are free waits; a short one goes before them.
    let long = world.submit(open(1, 30));
    let short = world.submit(open(1, 10));
    let phase = |job: JobId| world.job(job).phase.clone();
    assert_eq!((phase(first), phase(gang)), (Phase::Running, Phase::Queued));
    assert_eq!((phase(long), phase(short)), (Phase::Queued, Phase::Running));
    let explanation = explain(&world.state, world.job(long), world.now);
    let kept = explanation
        .sites
        .iter()
        .filter(|site| site.candidate.verdict == Verdict::Kept { job: gang });
    assert_eq!((kept.count(), explanation.place), (1, Some(2)));
}
