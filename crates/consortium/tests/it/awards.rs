//! What becomes of awards: given, changed, ended, and taken back from those who don't use them.

use crate::calls::{DAY, amount, call, called, judge, opening, propose, review, to_award};
use crate::world::{World, id, person, spec};
use consortium::*;

fn of(world: &mut World, who: &str, award: &str, command: AwardCommand) -> Result<Vec<Event>, Refusal> {
    world.ask(person(who), Command::Award(id(award), command))
}

/// All that is left of a year, into another.
pub(crate) fn carry(world: &mut World, from: u16, to: u16) {
    let command = MoneyCommand::Carry {
        from: Some(from),
        to,
        won: None,
        ground: ground(),
    };
    world.must(person("director"), Command::Money(command));
}

fn ground() -> String {
    "decision 7".into()
}

/// `speech` has an award of 400,000 in each of two years, and `clouds` waits for 300,000 and 30 PFLOP-hours.
fn awarded() -> World {
    let mut world = called(Label::Open);
    for (who, name) in [("minji", "gaon/speech"), ("jun", "hangang/clouds")] {
        propose(&mut world, who, name, &[who]).expect("it is granted");
    }
    world.now = opening().plus(31 * DAY);
    for name in ["gaon/speech", "hangang/clouds"] {
        review(&mut world, "sora", name);
    }
    judge(&mut world, "gaon/speech", to_award("speech", 400_000)).expect("it is granted");
    let waits = Judgement::Wait {
        award: id("clouds"),
        project: id("clouds"),
        wanted: amount(300_000, 30),
        ends: opening().plus(500 * DAY),
    };
    judge(&mut world, "hangang/clouds", waits).expect("it is granted");
    assert_eq!(world.won(&Account::Award(id("clouds"))), 0);
    world
}

fn notice(won: i64, pflop_hours: i64, until: Time) -> AwardCommand {
    AwardCommand::GiveNotice {
        amount: amount(won, pflop_hours),
        until,
        ground: ground(),
    }
}

#[test]
fn what_isnt_used_goes_to_whoever_waits() {
    let mut world = awarded();
    let until = world.now.plus(20 * DAY);
    let soon = world.now.plus(13 * DAY);
    assert_eq!(
        of(&mut world, "director", "speech", notice(1, 1, soon))
            .unwrap_err()
            .kind,
        RefusalKind::Invalid
    );
    let more = of(&mut world, "director", "speech", notice(400_001, 1, until)).unwrap_err();
    assert!(more.message.contains("isn't used"), "{more}");
    of(&mut world, "director", "speech", notice(200_000, 40, until)).unwrap();
    assert!(
        of(&mut world, "director", "speech", notice(1, 1, until)).is_err(),
        "one at a time"
    );
    world.wait(19 * 86_400);
    assert_eq!(world.won(&Account::Award(id("speech"))), 400_000);

    let done = world.wait(86_400);
    assert!(
        done.iter()
            .any(|event| matches!(event, Event::Award(AwardEvent::PassedOn { .. }))),
        "{done:?}"
    );
    let held = |world: &World, award: &str| world.state.ledger.balance(&Account::Award(id(award)));
    assert_eq!(
        (held(&world, "speech").won, held(&world, "clouds").won),
        (Won(200_000), Won(200_000))
    );
    // Of the compute nobody waits for more than 30, so 10 are nobody's.
    assert_eq!(held(&world, "speech").compute, FlopSeconds::from_pflop_hours(10));
    assert_eq!(held(&world, "clouds").compute, FlopSeconds::from_pflop_hours(30));
    assert_eq!(
        world.state.proposals[&id("hangang/clouds")].stage(),
        Stage::Waiting,
        "for 100,000 more"
    );

    let until = world.now.plus(14 * DAY);
    of(&mut world, "director", "speech", notice(150_000, 0, until)).unwrap();
    world.wait(14 * 86_400);
    assert_eq!(
        (held(&world, "speech").won, held(&world, "clouds").won),
        (Won(50_000), Won(300_000))
    );
    assert_eq!(
        world.state.proposals[&id("hangang/clouds")].stage(),
        Stage::Awarded
    );
    assert!(world.state.agenda.waiting.is_empty());
    assert_eq!(world.pool(), 10_000_000 - 1_000_000 - 400_000 + 50_000);
}

#[test]
fn an_appeal_is_decided_by_somebody_else() {
    let mut world = awarded();
    let until = world.now.plus(20 * DAY);
    let appeal = || AwardCommand::Appeal {
        ground: "our machines were down".into(),
    };
    assert!(
        of(&mut world, "minji", "speech", appeal()).is_err(),
        "nothing is to be taken back"
    );
    of(&mut world, "director", "speech", notice(200_000, 40, until)).unwrap();
    // Whoever doesn't work in the project may not know of its award.
    let stranger = of(&mut world, "anna", "speech", appeal()).unwrap_err();
    assert_eq!(stranger.message, "there is no award speech");
    of(&mut world, "minji", "speech", appeal()).unwrap();
    assert!(
        of(&mut world, "minji", "speech", appeal()).is_err(),
        "one is enough"
    );
    world.wait(30 * 86_400);
    assert_eq!(
        world.won(&Account::Award(id("speech"))),
        400_000,
        "an appeal is waited for"
    );

    let answer = |upheld| AwardCommand::AnswerAppeal {
        upheld,
        ground: ground(),
    };
    assert_eq!(
        of(&mut world, "director", "speech", answer(false))
            .unwrap_err()
            .kind,
        RefusalKind::Conflict
    );
    of(&mut world, "deputy", "speech", answer(false)).unwrap();
    assert_eq!(world.won(&Account::Award(id("speech"))), 200_000);

    let until = world.now.plus(20 * DAY);
    of(&mut world, "director", "speech", notice(200_000, 0, until)).unwrap();
    of(&mut world, "minji", "speech", appeal()).unwrap();
    of(&mut world, "deputy", "speech", answer(true)).unwrap();
    of(&mut world, "director", "speech", notice(1, 0, until)).unwrap();
    of(
        &mut world,
        "director",
        "speech",
        AwardCommand::DropNotice { ground: ground() },
    )
    .unwrap();
    world.wait(30 * 86_400);
    assert_eq!(world.won(&Account::Award(id("speech"))), 200_000);
}

#[test]
fn an_award_is_amended_within_its_call() {
    let mut world = awarded();
    let amend = |a: i64, b: i64| AwardCommand::Amend {
        budget: Budget::from([(2021, amount(a, 50)), (2022, amount(b, 50))]),
        ground: ground(),
    };
    let pool = world.pool();
    of(&mut world, "director", "speech", amend(500_000, 900_000)).unwrap();
    assert_eq!(
        world.won(&Account::Award(id("speech"))),
        500_000,
        "this year at once"
    );
    of(&mut world, "director", "speech", amend(300_000, 900_000)).unwrap();
    assert_eq!(world.pool(), pool + 100_000);
    let left = world.state.left_of_call(&call(Label::Open));
    assert_eq!(
        left,
        Budget::from([(2021, amount(2_700_000, 250)), (2022, amount(100_000, 50))])
    );
    assert_eq!(
        of(&mut world, "director", "speech", amend(1, 1_000_001))
            .unwrap_err()
            .kind,
        RefusalKind::Insufficient
    );
    assert_eq!(
        of(&mut world, "minji", "speech", amend(1, 1)).unwrap_err().kind,
        RefusalKind::Forbidden
    );
    assert!(
        of(&mut world, "director", "speech", amend(300_000, 900_000))
            .unwrap()
            .is_empty(),
        "it is so already"
    );
    world.wait(200 * 86_400);
    assert_eq!(world.won(&Account::Award(id("speech"))), 300_000);
    carry(&mut world, 2021, 2022);
    assert_eq!(world.won(&Account::Award(id("speech"))), 1_200_000);
    // What is spent or set aside can't be amended away.
    world.add_site("hangang", "hangang", Price(9_000_000), crate::world::RATED);
    let mine = JobSpec {
        project: id("speech"),
        sites: 1,
        wall_minutes: 60,
        ..spec()
    };
    world.must(person("minji"), Command::Submit(mine));
    assert_eq!(
        of(&mut world, "director", "speech", amend(0, 0))
            .unwrap_err()
            .kind,
        RefusalKind::Insufficient
    );
}

#[test]
fn an_award_ends_and_may_end_later() {
    let mut world = awarded();
    world.add_site("hangang", "hangang", Price(9_000_000), crate::world::RATED);
    let extend = |days| AwardCommand::Extend {
        ends: opening().plus(days * DAY),
        ground: ground(),
    };
    assert!(
        of(&mut world, "director", "speech", extend(500)).is_err(),
        "that is no extension"
    );
    of(&mut world, "director", "speech", extend(600)).unwrap();
    let mine = JobSpec {
        project: id("speech"),
        sites: 1,
        ..spec()
    };
    let job = world.submit(mine.clone());
    assert_eq!(world.job(job).award, Some(id("speech")));
    world.join(job, &["hangang"]);
    let aside = world.won(&crate::world::reserved(job, "hangang"));
    assert!(aside > 0);

    let before = world.won(&Account::Award(id("speech")));
    of(
        &mut world,
        "director",
        "speech",
        AwardCommand::Close { ground: ground() },
    )
    .unwrap();
    assert_eq!(world.won(&Account::Award(id("speech"))), 0);
    assert_eq!(
        world.won(&Account::Award(id("clouds"))),
        300_000,
        "whoever waits is first"
    );
    assert_eq!(world.pool(), 10_000_000 - 1_000_000 - 400_000 + before - 300_000);
    // What the running job gives back goes on too, and nothing more is placed.
    world.must(person("minji"), Command::Cancel(job));
    assert_eq!(world.won(&Account::Award(id("speech"))), 0);
    assert_eq!(world.pool(), 10_000_000 - 1_000_000 - 300_000);
    assert!(world.state.agenda.closing.is_empty());
    let next = world.submit(mine);
    assert_eq!(world.job(next).award, None);
    for command in [extend(700), AwardCommand::Close { ground: ground() }] {
        assert_eq!(
            of(&mut world, "director", "speech", command).unwrap_err().kind,
            RefusalKind::Conflict
        );
    }
    world.wait(500 * 86_400);
    assert!(
        world.state.courses[&id("clouds")].closed.is_some(),
        "its term is over"
    );
    assert_eq!(world.pool(), 10_000_000 - 1_000_000);
}

#[test]
fn a_part_that_its_year_cant_pay_waits_for_the_ministry() {
    let mut world = awarded();
    let rest = world.pool();
    world.must(
        person("director"),
        Command::Grant(crate::world::award("all", rest, 1)),
    );
    world.wait(200 * 86_400);
    assert_eq!(world.won(&Account::Award(id("speech"))), 400_000);
    world.must(
        person("director"),
        Command::Appropriate {
            year: 2022,
            won: Won(400_000),
        },
    );
    assert_eq!(world.won(&Account::Award(id("speech"))), 800_000);
}

#[test]
fn what_has_waited_may_be_awarded_or_declined() {
    let mut world = awarded();
    let other = judge(&mut world, "hangang/clouds", to_award("another", 1)).unwrap_err();
    assert!(other.message.contains("clouds"), "{other}");
    judge(&mut world, "hangang/clouds", to_award("clouds", 100_000)).unwrap();
    assert_eq!(world.won(&Account::Award(id("clouds"))), 100_000);
    assert!(world.state.agenda.waiting.is_empty());
    let mut world = awarded();
    judge(&mut world, "hangang/clouds", Judgement::Decline).unwrap();
    assert!(world.state.courses[&id("clouds")].closed.is_some());
    assert_eq!(
        world.state.proposals[&id("hangang/clouds")].stage(),
        Stage::Declined
    );
}

/// What comes next for an award, for its people, whoever gave the notice, and another of the office.
#[test]
fn an_award_tells_where_it_is_and_what_comes_next() {
    let mut world = awarded();
    world.add_site("hangang", "hangang", Price(9_000_000), crate::world::RATED);
    let mine = JobSpec {
        project: id("speech"),
        sites: 1,
        ..spec()
    };
    let job = world.submit(mine);
    world.join(job, &["hangang"]);
    let held = |world: &World| world.state.holdings()[&id::<AwardId>("speech")];
    let aside = held(&world).held;
    assert!(aside.won > Won(0) && held(&world).used.is_none(), "{aside}");
    world.now = world.now.plus(60_000);
    world.meter(job, "hangang", 60_000).expect("it is granted");
    let used = held(&world).used;
    assert_eq!(used.won, world.job(job).spent());
    assert_eq!(held(&world).held.won, aside.won - used.won);
    world.must(person("minji"), Command::Cancel(job));
    let now = held(&world);
    assert_eq!((now.held.is_none(), now.used), (true, used));
    assert_eq!(now.left.won, Won(400_000) - used.won);

    let told = |world: &World| {
        ["minji", "director", "deputy"].map(|who| {
            let step = world
                .state
                .next_step_of_award(&id("speech"), &person(who), world.now);
            step.to_string()
        })
    };
    let waits = world
        .state
        .next_step_of_award(&id("clouds"), &person("jun"), world.now);
    assert_eq!(waits, AwardStep::Await);
    assert_eq!(told(&world), ["pays for jobs until 2022-11-13"; 3]);
    let until = world.now.plus(20 * DAY);
    of(&mut world, "director", "speech", notice(1_000, 1, until)).unwrap();
    let taken = "what it doesn't use is taken back on 2021-08-21";
    assert_eq!(told(&world), ["use it or appeal until 2021-08-21", taken, taken]);
    let appeal = AwardCommand::Appeal { ground: ground() };
    of(&mut world, "minji", "speech", appeal).unwrap();
    let waits = "waits for another of the programme office to decide on the appeal";
    assert_eq!(told(&world), [waits, waits, "decide on the appeal"]);
    let close = AwardCommand::Close { ground: ground() };
    of(&mut world, "director", "speech", close).unwrap();
    assert_eq!(told(&world), ["closed"; 3]);
}
