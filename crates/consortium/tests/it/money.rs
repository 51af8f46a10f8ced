//! The ledger and the meters, with random numbers, most of them sensible and some of them not.

use crate::world::{
    RATED, World, award, earned, first_award, id, in_circulation, output, person, reserved, site, spec,
};
use consortium::{
    Account, Actor, Command, FlopSeconds, FlopsPerSecond, JobId, JobSpec, Ledger, Phase, Price, Reading,
    Refusal, RefusalKind, RoundSpec, Transfer, Usage, Won,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The same cases in every run.
fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2021),
        failure_persistence: None,
        ..Default::default()
    }
}

// ---- the ledger ------------------------------------------------------------------------------------------

fn any_account() -> impl Strategy<Value = Account> {
    prop_oneof![
        Just(Account::Source),
        Just(Account::Pool(None)),
        Just(Account::Pool(Some(2021))),
        Just(Account::Award(id("first"))),
        Just(Account::Award(id("second"))),
        Just(Account::Reserved(JobId(1), id("bada"))),
        Just(Account::Earned(id("bada"))),
        Just(Account::PaidOut(id("bada"))),
    ]
}

fn any_won() -> impl Strategy<Value = Won> {
    prop_oneof![
        8 => 0..1_000_i64,
        1 => prop::sample::select(vec![-1, i64::MIN, i64::MAX, i64::MAX / 2]),
    ]
    .prop_map(Won)
}

fn any_compute() -> impl Strategy<Value = FlopSeconds> {
    prop_oneof![
        8 => 0..1_000_i128,
        1 => prop::sample::select(vec![-1, i128::MIN, i128::MAX, i128::MAX / 2]),
    ]
    .prop_map(FlopSeconds)
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let from = prop_oneof![Just(Account::Source), any_account()];
    (from, any_account(), any_won(), any_compute())
        .prop_map(|(from, to, won, compute)| Transfer::both(from, to, won, compute))
}

proptest! {
    #![proptest_config(seeded(500))]

    #[test]
    fn what_is_checked_balances(
        batches in prop::collection::vec(prop::collection::vec(any_transfer(), 1..5), 1..30)
    ) {
        let mut ledger = Ledger::default();
        for batch in batches {
            let negative = batch.iter().any(|t| t.won < Won(0) || t.compute < FlopSeconds(0));
            let checked = ledger.check(&batch);
            prop_assert!(checked.is_err() || !negative);
            if let Err(error) = checked {
                prop_assert!(!error.to_string().is_empty());
                continue;
            }
            for transfer in &batch {
                ledger.post(transfer);
                // Not only at the end: no account is below zero in between.
                prop_assert_eq!(ledger.audit(), Ok(()));
            }
            let given = -i128::from(ledger.balance(&Account::Source).won.0);
            prop_assert_eq!(in_circulation(&ledger), given);
        }
        let json = serde_json::to_string(&ledger).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
    }

    /// With no number near the limits, what is refused is only what an account doesn't hold.
    #[test]
    fn what_the_accounts_hold_is_not_refused(
        transfers in prop::collection::vec((any_account(), any_account(), 0..1_000_i64), 1..60)
    ) {
        let mut ledger = Ledger::default();
        for (from, to, won) in transfers {
            let held = ledger.balance(&from).won;
            let transfer = Transfer::won(from.clone(), to, Won(won));
            let enough = from == Account::Source || held >= Won(won);
            prop_assert_eq!(ledger.check(std::slice::from_ref(&transfer)).is_ok(), enough);
            if enough {
                ledger.post(&transfer);
            }
        }
    }
}

#[test]
fn a_ledger_says_what_is_missing() {
    let mut ledger = Ledger::default();
    let pool = || Account::Pool(Some(2021));
    let to = |won| Transfer::won(pool(), Account::Award(id("first")), Won(won));
    ledger.post(&Transfer::won(Account::Source, pool(), Won(500)));
    let check = |transfers: &[Transfer], expected: &str| {
        assert_eq!(ledger.check(transfers).unwrap_err().to_string(), expected);
    };
    check(
        &[to(501)],
        "account pool:2021 holds KRW 500 and can't give KRW 501",
    );
    check(
        &[to(300), to(300)],
        "account pool:2021 holds KRW 200 and can't give KRW 300",
    );
    check(
        &[to(-1)],
        "a transfer from pool:2021 to award:first of less than nothing",
    );
    let compute = Transfer::both(pool(), Account::Source, Won(0), FlopSeconds::from_pflop_hours(1));
    check(
        &[compute],
        "account pool:2021 holds 0.000000000 PFLOP-h and can't give 1.000000000 PFLOP-h",
    );
    let flood = Transfer::won(Account::Source, pool(), Won(i64::MAX));
    check(
        &[flood],
        "account source can't keep count of KRW 9,223,372,036,854,775,807 more",
    );
}

#[test]
fn broken_books_are_found_out() {
    let books = |won: &str| serde_json::from_str::<Ledger>(won).unwrap().audit().unwrap_err();
    let one = |account: &str, won: i64| format!(r#""{account}": {{"won": {won}, "compute": "0"}}"#);
    let of = |accounts: &[String]| format!(r#"{{"balances": {{{}}}}}"#, accounts.join(","));
    assert_eq!(
        books(&of(&[one("pool", 5)])),
        "the postings sum to KRW 5 and 0.000000000 PFLOP-h, not to zero"
    );
    let below = books(&of(&[one("source", 5), one("pool", -5)]));
    assert_eq!(below, "account pool is below zero: KRW -5, 0.000000000 PFLOP-h");
    let flood = books(&of(&[one("pool", i64::MAX), one("award:first", i64::MAX)]));
    assert_eq!(flood, "the postings sum to more than can be counted, not to zero");
}

// ---- numbers that nobody should ask for ------------------------------------------------------------------

#[test]
fn hostile_amounts_are_refused_and_change_nothing() {
    let mut world = World::founded();
    let director = || person("director");
    let appropriate = |won| Command::Appropriate {
        year: 2021,
        won: Won(won),
    };
    let grant = |won, compute| {
        let compute = FlopSeconds(compute);
        Command::Grant(consortium::Award {
            compute,
            ..award("greedy", won, 0)
        })
    };
    let mut check = |command: Command, kind: RefusalKind| {
        let refusal: Refusal = world
            .ask(director(), command.clone())
            .expect_err(&format!("{command:?}"));
        assert_eq!(refusal.kind, kind, "{command:?}: {refusal}");
    };
    for won in [i64::MIN, -1] {
        check(appropriate(won), RefusalKind::Invalid);
        check(grant(won, 0), RefusalKind::Invalid);
    }
    check(appropriate(i64::MAX), RefusalKind::Invalid);
    check(grant(i64::MAX, 0), RefusalKind::Insufficient);
    for compute in [i128::MIN, -1, i128::MAX] {
        check(grant(0, compute), RefusalKind::Invalid);
    }
    assert_eq!(world.pool(), 9_000_000);
}

/// All the won there are, moved out of the pool: even so no sum of them passes what a won can count.
#[test]
fn all_the_money_there_is_can_be_counted() {
    let mut world = World::without_sites();
    let rest = i64::MAX - 10_000_000;
    world.must(
        person("director"),
        Command::Appropriate {
            year: 2021,
            won: Won(rest),
        },
    );
    world.must(Actor::Hub, Command::Grant(award("all", rest, 1)));
    for year in [2021, 2022] {
        let one_more = Command::Appropriate { year, won: Won(1) };
        assert_eq!(
            world.ask(person("director"), one_more).unwrap_err().kind,
            RefusalKind::Invalid
        );
    }
    assert_eq!(world.state.appropriations[&2021], Won(i64::MAX));
}

/// The fastest and dearest sites there can be, for as long as can be asked, with all the money there is.
#[test]
fn what_nobody_can_pay_waits() {
    let mut world = World::without_sites();
    for name in ["hangang", "bada", "gaon"] {
        world.add_site(name, name, Price(1_000_000_000_000), FlopsPerSecond(u64::MAX));
    }
    let rest = i64::MAX - 10_000_000;
    world.must(
        person("director"),
        Command::Appropriate {
            year: 2022,
            won: Won(rest),
        },
    );
    let all = consortium::Award {
        compute: FlopSeconds(i128::MAX / 2),
        ..award("all", rest, 0)
    };
    world.must(Actor::Hub, Command::Grant(all));
    for sites in 1..=3 {
        let job = world.submit(JobSpec {
            sites,
            wall_minutes: 60 * 24 * 90,
            ..spec()
        });
        assert_eq!(world.job(job).phase, Phase::Queued, "{sites} sites");
        let because = consortium::explain(&world.state, world.job(job), world.now).sites[0]
            .because
            .clone();
        assert!(
            because.contains("has KRW 9,223,372,036,854,775,807 left"),
            "{because}"
        );
    }
}

proptest! {
    #![proptest_config(seeded(500))]

    /// Prices, speeds and times of any size: the numbers meet their limits, they don't run over.
    #[test]
    fn no_amount_runs_over(price: i64, rated: u64, millis: u64, compute: i128) {
        let (price, given) = (Price(price), FlopsPerSecond(rated).during(millis));
        for compute in [given, FlopSeconds(compute)] {
            prop_assert!(price.reserve(compute) >= price.of(compute));
            prop_assert!(!compute.to_string().is_empty());
        }
        let exact = u128::from(rated) * u128::from(millis) / 1_000;
        prop_assert_eq!(u128::try_from(given.0), Ok(exact));
    }
}

// ---- meters ----------------------------------------------------------------------------------------------

/// A job at one site of any price and speed, which the site has joined a day ago.
fn metered(price: i64, rated: u64) -> (World, JobId) {
    let mut world = World::without_sites();
    world.add_site("bada", "bada", Price(price), FlopsPerSecond(rated));
    world.must(Actor::Hub, Command::Grant(award("second", 9_000_000, 1_000_000)));
    let job = world.submit(JobSpec {
        sites: 1,
        wall_minutes: 60,
        ..spec()
    });
    world.join(job, &["bada"]);
    world.wait(24 * 60 * 60);
    (world, job)
}

fn read(world: &mut World, job: JobId, total: Usage) {
    let attempt = world.attempt(job, "bada");
    let told = world.ask(
        site("bada"),
        Command::Meter {
            job,
            reading: Reading { attempt, total },
        },
    );
    assert!(told.is_ok() || !world.job(job).is_active());
}

/// What has been paid for the job so far, and what of.
fn paid(world: &World, job: JobId) -> (Won, FlopSeconds, Won) {
    let member = &world.job(job).members[&id("bada")];
    let account = world.state.ledger.balance(&earned("bada"));
    assert_eq!(member.charged, account.won, "charged is earned");
    (account.won, account.compute, member.placed.reserved)
}

proptest! {
    #![proptest_config(seeded(40))]

    #[test]
    fn readings_cost_the_same_however_they_are_split(
        price in 0..20_000_000_i64,
        rated in 1..9_000_000_000_000_u64,
        stays in prop::collection::vec(prop::collection::vec(0..200_000_u64, 0..8), 1..4),
    ) {
        let (mut world, job) = metered(price, rated);
        let mut all = 0;
        for steps in stays {
            world.join(job, &["bada"]);
            world.wait(60 * 60);
            let mut millis = 0;
            for step in steps {
                millis += step;
                read(&mut world, job, Usage { millis, ..Usage::default() });
            }
            all += millis;
        }
        let (mut once, same) = metered(price, rated);
        read(&mut once, same, Usage { millis: all, ..Usage::default() });
        if world.job(job).is_active() {
            prop_assert_eq!(paid(&world, job), paid(&once, same));
        }
        let (won, _, reserved) = paid(&once, same);
        prop_assert!(won <= reserved);
    }

    #[test]
    fn a_reading_told_twice_or_late_adds_nothing(
        told in prop::collection::vec((0..3_000_000_u64, any::<u64>(), any::<u64>()), 1..12),
    ) {
        let (mut world, job) = metered(8_000_000, RATED.0);
        let mut most = Usage::default();
        for (millis, sent, received) in told {
            let total = Usage { millis, sent, received, ..Usage::default() };
            read(&mut world, job, total);
            most.millis = most.millis.max(millis);
            most.sent = most.sent.max(sent);
            most.received = most.received.max(received);
            let usage = world.job(job).members[&id("bada")].total();
            prop_assert_eq!(usage, most, "no number of a meter goes back");
            let before = world.log.len();
            read(&mut world, job, total);
            prop_assert_eq!(world.log.len(), before);
        }
        prop_assert_eq!(paid(&world, job).0, Price(8_000_000).of(RATED.during(most.millis)));
    }

    #[test]
    fn a_release_gives_back_exactly_the_rest(
        millis in prop::collection::vec(0..1_300_000_u64, 2),
        how in 0..4_u8,
    ) {
        let mut world = World::founded();
        let job = world.submit(JobSpec { rounds: RoundSpec { count: 1, ..spec().rounds }, ..spec() });
        world.join(job, &["bada", "hangang"]);
        world.wait(30 * 60);
        // Whoever passes the 1,200 s that were reserved ends the job there and then.
        for (name, millis) in ["bada", "hangang"].iter().zip(&millis) {
            let told = world.meter(job, name, *millis);
            prop_assert!(told.is_ok() || !world.job(job).is_active());
        }
        if world.job(job).is_active() {
            match how {
                0 => drop(world.must(person("minji"), Command::Cancel(job))),
                1 => drop(world.fail(job, "bada", "stopped").unwrap()),
                2 => drop(world.wait(1)),
                _ => {
                    world.train(job);
                    world.leave(job, "bada", &[output("model")]).unwrap();
                    world.leave(job, "hangang", &[]).unwrap();
                }
            }
        }
        let held = |account: &Account| i128::from(world.won(account));
        let set_aside: i128 = ["bada", "hangang"].iter().map(|site| held(&reserved(job, site))).sum();
        let paid: i128 = ["bada", "hangang"].iter().map(|site| held(&earned(site))).sum();
        prop_assert_eq!(held(&first_award()) + set_aside + paid, 1_000_000);
        prop_assert_eq!(set_aside == 0, !world.job(job).is_active());
        prop_assert_eq!(world.job(job).spent(), Won(i64::try_from(paid).unwrap()));
    }
}

/// Joining again begins a new reading, not new time.
#[test]
fn a_site_is_not_paid_for_more_time_than_has_passed() {
    let mut world = World::founded();
    let job = world.submit(spec());
    world.join(job, &["bada"]);
    world.meter(job, "bada", 4_000).unwrap();
    for _ in 0..100 {
        world.join(job, &["bada"]);
        let _ = world.meter(job, "bada", 4_000);
    }
    let billed = world.job(job).members[&id("bada")].total().millis;
    assert!(billed <= 5_000, "{billed} ms billed in no time");
}

/// The bytes of many attempts add up to more than can be counted; nobody is charged for bytes.
#[test]
fn meters_stop_at_their_last_number() {
    let mut world = World::founded();
    let job = world.submit(spec());
    for millis in 1..4 {
        world.join(job, &["bada"]);
        world.wait(1);
        let total = Usage {
            millis,
            sent: u64::MAX,
            received: u64::MAX,
            ..Usage::default()
        };
        read(&mut world, job, total);
    }
    let total = world.job(job).members[&id("bada")].total();
    assert_eq!(
        total,
        Usage {
            millis: 6,
            sent: u64::MAX,
            received: u64::MAX,
            ..Usage::default()
        }
    );
    world.now = consortium::Time(u64::MAX);
    read(
        &mut world,
        job,
        Usage {
            millis: u64::MAX - 2_000_000,
            ..total
        },
    );
    assert!(
        matches!(world.job(job).phase, Phase::Failed { .. }),
        "all of its time is used"
    );
}
