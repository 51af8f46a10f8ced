//! Money of fiscal years: who pays for an award, what comes back to which year, and what is decided at a year's end.

use crate::awards::carry;
use crate::calls::{DAY, amount, called, judge, opening, propose, review};
use crate::world::{World, award, id, person};
use consortium::*;

fn on(day: &str) -> Time {
    day.parse::<Day>().expect("a day").begins()
}

/// Everyone is there, on a day of 2021; of that year's 10,000,000 the award `first` has a tenth.
fn in_2021() -> World {
    let mut world = World::without_sites();
    world.now = on("2021-07-01");
    world
}

fn grant(world: &mut World, name: &str, won: i64) -> Result<Vec<Event>, Refusal> {
    world.ask(person("director"), Command::Grant(award(name, won, 1)))
}

fn appropriate(world: &mut World, year: u16, won: i64) {
    let won = Won(won);
    world.must(person("director"), Command::Appropriate { year, won });
}

fn money(world: &mut World, who: &str, command: MoneyCommand) -> Result<Vec<Event>, Refusal> {
    world.ask(person(who), Command::Money(command))
}

fn carried(from: Option<u16>, to: u16, won: Option<i64>) -> MoneyCommand {
    MoneyCommand::Carry {
        from,
        to,
        won: won.map(Won),
        ground: "a letter".into(),
    }
}

fn returned(from: Option<u16>, won: Option<i64>) -> MoneyCommand {
    let won = won.map(Won);
    MoneyCommand::Return { from, won }
}

/// A year's row: appropriated, carried in, awarded, spent, carried out, given back, left.
fn row(world: &World, year: Option<u16>) -> [i64; 7] {
    let years = world.state.fiscal_years();
    let of = years
        .iter()
        .find(|of| of.year == year)
        .expect("it has an account");
    let book = of.book;
    [
        book.appropriated,
        book.carried_in,
        book.awarded,
        of.spent,
        book.carried_out,
        book.returned,
        of.left,
    ]
    .map(|won| won.0)
}

#[test]
fn a_year_pays_for_its_own_awards_alone() {
    let mut world = in_2021();
    appropriate(&mut world, 2022, 500_000);
    grant(&mut world, "summer", 4_000_000).unwrap();
    assert_eq!(
        row(&world, Some(2021)),
        [10_000_000, 0, 5_000_000, 0, 0, 0, 5_000_000]
    );

    world.now = on("2022-01-01");
    let refusal = grant(&mut world, "winter", 600_000).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Insufficient);
    assert_eq!(
        refusal.message,
        "account pool:2022 holds KRW 500,000 and can't give KRW 600,000"
    );
    assert!(refusal.hint.is_some_and(|hint| hint.contains("khub money list")));
    grant(&mut world, "winter", 500_000).unwrap();
    assert_eq!(row(&world, Some(2022)), [500_000, 0, 500_000, 0, 0, 0, 0]);

    carry(&mut world, 2021, 2022);
    grant(&mut world, "spring", 600_000).unwrap();
    assert_eq!(
        row(&world, Some(2021)),
        [10_000_000, 0, 5_000_000, 0, 5_000_000, 0, 0]
    );
    assert_eq!(
        row(&world, Some(2022)),
        [500_000, 5_000_000, 1_100_000, 0, 0, 0, 4_400_000]
    );
}

#[test]
fn only_what_is_left_of_a_year_that_is_over_is_carried_into_the_one_that_runs() {
    let mut world = in_2021();
    let check = |world: &mut World, who: &str, command: MoneyCommand, expected: &str| {
        let refusal = money(world, who, command.clone()).unwrap_err();
        assert!(refusal.message.contains(expected), "{command:?}: {refusal}");
    };
    let all = |from, to| carried(Some(from), to, None);
    check(
        &mut world,
        "director",
        all(2021, 2022),
        "fiscal year 2021 isn't over",
    );
    check(
        &mut world,
        "director",
        all(2021, 2021),
        "fiscal year 2021 isn't over",
    );
    world.now = Time(on("2022-01-01").0 - 1);
    check(
        &mut world,
        "director",
        all(2021, 2022),
        "fiscal year 2021 isn't over",
    );
    world.now = on("2022-01-01");
    for (from, to, won, expected) in [
        (
            Some(2021),
            2023,
            None,
            "fiscal year 2023 isn't the year that runs",
        ),
        (
            Some(2021),
            2021,
            None,
            "fiscal year 2021 isn't the year that runs",
        ),
        (
            Some(2021),
            2022,
            Some(9_000_001),
            "of fiscal year 2021 KRW 9,000,000 is left",
        ),
        (Some(2021), 2022, Some(0), "KRW 0 is asked"),
        (Some(2021), 2022, Some(-1), "KRW -1 is asked"),
        (Some(2020), 2022, None, "of fiscal year 2020 nothing is left"),
        (None, 2022, None, "of the undated money nothing is left"),
    ] {
        check(&mut world, "director", carried(from, to, won), expected);
    }
    check(&mut world, "minji", all(2021, 2022), "may not administer");
    check(
        &mut world,
        "minji",
        returned(Some(2021), None),
        "may not administer",
    );
    check(
        &mut world,
        "director",
        returned(Some(2021), Some(9_000_001)),
        "is asked",
    );

    money(&mut world, "director", carried(Some(2021), 2022, Some(3_000_000))).unwrap();
    money(&mut world, "director", returned(Some(2021), Some(1_000_000))).unwrap();
    money(&mut world, "director", returned(Some(2021), None)).unwrap();
    assert_eq!(
        row(&world, Some(2021)),
        [10_000_000, 0, 1_000_000, 0, 3_000_000, 6_000_000, 0]
    );
    assert_eq!(row(&world, Some(2022)), [0, 3_000_000, 0, 0, 0, 0, 3_000_000]);
    let ends: Vec<_> = world
        .state
        .year_ends
        .iter()
        .map(|it| (it.year, it.won.0))
        .collect();
    assert_eq!(
        ends,
        [
            (Some(2021), 3_000_000),
            (Some(2021), 1_000_000),
            (Some(2021), 5_000_000)
        ]
    );
    let due: Vec<bool> = [2022, 2023]
        .map(|this| world.state.fiscal_years()[1].is_due(this))
        .into();
    assert_eq!(due, [false, true]);
}

/// A proposal that is judged and an award that is amended after a year's end get no more of it, and what was awarded
/// before stays.
#[test]
fn nothing_more_is_awarded_of_a_year_that_is_over() {
    let mut world = called(Label::Open);
    for name in ["gaon/early", "gaon/late"] {
        propose(&mut world, "minji", name, &["minji"]).unwrap();
    }
    world.now = opening().plus(31 * DAY);
    for name in ["gaon/early", "gaon/late"] {
        review(&mut world, "sora", name);
    }
    let award = |name: &str, budget: Budget| Judgement::Award {
        award: id(name),
        project: id(name),
        budget,
        ends: opening().plus(500 * DAY),
    };
    let both = |first, second| Budget::from([(2021, amount(first, 1)), (2022, amount(second, 1))]);
    judge(&mut world, "gaon/early", award("early", both(400_000, 100_000))).unwrap();
    world.now = on("2022-02-01");
    let late = judge(&mut world, "gaon/late", award("late", both(1, 100_000))).unwrap_err();
    assert_eq!(
        late.message,
        "fiscal year 2021 is over, and no more of its money is awarded"
    );
    judge(&mut world, "gaon/late", award("late", both(0, 100_000))).unwrap();

    let amend = |world: &mut World, budget| {
        let ground = "a letter".into();
        let command = AwardCommand::Amend { budget, ground };
        world.ask(person("director"), Command::Award(id("early"), command))
    };
    let more = amend(&mut world, both(400_001, 100_000)).unwrap_err();
    assert_eq!(more.kind, RefusalKind::Conflict, "{more}");
    let before = row(&world, Some(2021))[6];
    amend(&mut world, both(300_000, 200_000)).unwrap();
    assert_eq!(row(&world, Some(2021))[6], before + 100_000, "back to its year");
    assert_eq!(
        world.won(&Account::Award(id("early"))),
        300_000,
        "2022 has no money yet"
    );
    carry(&mut world, 2021, 2022);
    assert_eq!(world.won(&Account::Award(id("early"))), 500_000);
    assert_eq!(world.won(&Account::Award(id("late"))), 100_000);
}

/// What an award gives back is of its last years; those who wait get what is of this year, and no older money.
#[test]
fn what_comes_back_is_of_the_year_it_was_of() {
    let mut world = called(Label::Open);
    for (who, name) in [("minji", "gaon/speech"), ("jun", "hangang/clouds")] {
        propose(&mut world, who, name, &[who]).unwrap();
    }
    world.now = opening().plus(31 * DAY);
    for name in ["gaon/speech", "hangang/clouds"] {
        review(&mut world, "sora", name);
    }
    appropriate(&mut world, 2022, 150_000);
    judge(&mut world, "gaon/speech", {
        let budget = Budget::from([(2021, amount(400_000, 1)), (2022, amount(150_000, 1))]);
        Judgement::Award {
            award: id("speech"),
            project: id("speech"),
            budget,
            ends: opening().plus(500 * DAY),
        }
    })
    .unwrap();
    let waits = Judgement::Wait {
        award: id("clouds"),
        project: id("clouds"),
        wanted: amount(300_000, 1),
        ends: opening().plus(500 * DAY),
    };
    judge(&mut world, "hangang/clouds", waits).unwrap();
    world.now = on("2022-03-01");
    world.tick();
    assert_eq!(world.won(&Account::Award(id("speech"))), 550_000);
    let ground = "finished".into();
    let close = Command::Award(id("speech"), AwardCommand::Close { ground });
    world.must(person("director"), close);
    assert_eq!(world.won(&Account::Award(id("clouds"))), 150_000, "of 2022");
    assert_eq!(row(&world, Some(2022)), [150_000, 0, 150_000, 0, 0, 0, 0]);
    assert_eq!(
        row(&world, Some(2021)),
        [10_000_000, 0, 1_000_000, 0, 0, 0, 9_000_000]
    );
}

/// A log from before years had accounts: its money pays for any year, after the year's own, until it is carried into one.
#[test]
fn undated_money_pays_what_a_year_lacks() {
    let mut world = in_2021();
    let at = world.now;
    let old = [
        Event::Appropriated {
            year: 2020,
            won: Won(700_000),
        },
        Event::Posted(Transfer::won(Account::Source, Account::Pool(None), Won(700_000))),
    ];
    for event in old {
        apply(&mut world.state, &event, at);
        world.log.push((event, at));
    }
    grant(&mut world, "all", 9_100_000).unwrap();
    assert_eq!(row(&world, Some(2021))[6], 0);
    assert_eq!(row(&world, None), [700_000, 0, 100_000, 0, 0, 0, 600_000]);
    money(&mut world, "director", carried(None, 2021, Some(200_000))).unwrap();
    assert_eq!(row(&world, None), [700_000, 0, 100_000, 0, 200_000, 0, 400_000]);
    assert!(world.state.fiscal_years()[0].is_due(2021));

    let ground = "finished".into();
    let close = Command::Award(id("all"), AwardCommand::Close { ground });
    world.must(person("director"), close);
    assert_eq!(row(&world, None), [700_000, 0, 0, 0, 200_000, 0, 500_000]);
    assert_eq!(row(&world, Some(2021))[6], 9_200_000);
}

/// The file of a consortium tells of awards as they are, whichever year it is founded in.
#[test]
fn a_consortium_is_founded_with_the_money_of_any_year() {
    let mut world = in_2021();
    appropriate(&mut world, 2019, 100);
    appropriate(&mut world, 2020, 100);
    world.now = on("2022-07-01");
    appropriate(&mut world, 2022, 50);
    world.must(Actor::Hub, Command::Grant(award("founded", 170, 1)));
    assert_eq!(
        [2022, 2019, 2020].map(|year| row(&world, Some(year))[6]),
        [0, 0, 80]
    );
}

#[test]
fn what_was_given_back_is_appropriated_once_more_without_running_over() {
    let mut world = in_2021();
    let rest = i64::MAX - 10_000_000;
    appropriate(&mut world, 2021, rest);
    money(&mut world, "director", returned(Some(2021), None)).unwrap();
    let more = Command::Appropriate {
        year: 2022,
        won: Won(1),
    };
    let refusal = world.ask(person("director"), more).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Invalid, "{refusal}");
}
