//! What is owed to sites' owners: issued month by month, compared with their bills, corrected and paid.

use crate::calls::DAY;
use crate::world::{World, earned, first_award, id, person, spec};
use consortium::*;
use std::collections::BTreeMap;

const MINUTE: u64 = 60_000;

fn number(month: &str, site: &str) -> InvoiceId {
    format!("{month}/{site}").parse().expect("a number")
}

fn ask(world: &mut World, who: &str, month: &str, command: InvoiceCommand) -> Result<Vec<Event>, Refusal> {
    world.ask(person(who), Command::Invoice(number(month, "hangang"), command))
}

fn state_of(world: &World, month: &str) -> InvoiceState {
    world.state.invoices[&number(month, "hangang")].state(&world.state)
}

fn bill(lines: &[(Billed, i64, Option<i128>)]) -> InvoiceCommand {
    let lines = lines.iter().map(|(of, won, compute)| BillLine {
        of: of.clone(),
        won: Won(*won),
        compute: compute.map(FlopSeconds),
    });
    InvoiceCommand::Bill(Bill {
        lines: lines.collect(),
    })
}

fn pay(won: Option<i64>) -> InvoiceCommand {
    InvoiceCommand::Pay {
        won: won.map(Won),
        reference: "transfer 20211012".into(),
    }
}

fn resolve(job: JobId, won: i64) -> InvoiceCommand {
    InvoiceCommand::Resolve {
        corrections: BTreeMap::from([(job, Won(won))]),
        ground: "minutes of 12 October".into(),
    }
}

/// Ten minutes before September ends in Korea a job runs at `hangang`, which has metered four of them: 1,800 won. At
/// `bada` nothing was.
fn september() -> (World, JobId) {
    let mut world = World::founded();
    let october: Month = "2021-10".parse().expect("it is granted");
    world.now = Time(october.begins().0 - 10 * MINUTE);
    let job = world.submit(spec());
    let sites: Vec<String> = world.job(job).members.keys().map(ToString::to_string).collect();
    assert_eq!(sites, ["bada", "hangang"]);
    world.join(job, &["bada", "hangang"]);
    world.wait(240);
    world.meter(job, "hangang", 4 * MINUTE).expect("it is granted");
    (world, job)
}

/// The site was away and tells in October of five more minutes in September: 2,250 won.
fn october() -> (World, JobId) {
    let (mut world, job) = september();
    world.now = world.now.plus(DAY);
    world.meter(job, "hangang", 9 * MINUTE).expect("it is granted");
    ask(&mut world, "director", "2021-09", InvoiceCommand::Issue).expect("it is granted");
    (world, job)
}

#[test]
fn an_invoice_is_what_the_ledger_has_for_the_month() {
    let (mut world, job) = september();
    let draft = &world.state.invoices[&number("2021-09", "hangang")];
    assert_eq!(draft.total(), Won(world.won(&earned("hangang"))));
    assert_eq!(draft.total(), Won(1_800));
    let line = &draft.lines[&job][0];
    assert_eq!(
        (line.price, line.of.to_string()),
        (Price(9_000_000), "2021-09".into())
    );
    let early = ask(&mut world, "director", "2021-09", InvoiceCommand::Issue).unwrap_err();
    assert_eq!(early.kind, RefusalKind::Conflict);
    assert_eq!(early.hint.as_deref(), Some("issue it in 2021-10"));
    assert_eq!(
        world.state.invoices.len(),
        1,
        "a site for which nothing was settled has none"
    );
}

#[test]
fn what_is_told_late_goes_on_the_next_and_says_whose_month_it_is() {
    let (mut world, job) = october();
    let next = &world.state.invoices[&number("2021-10", "hangang")];
    assert_eq!((next.total(), next.lines[&job].len()), (Won(2_250), 1));
    assert_eq!(next.lines[&job][0].of.to_string(), "2021-09");
    assert_eq!(
        world.state.invoices[&number("2021-09", "hangang")].total(),
        Won(1_800)
    );
    assert!(
        ask(&mut world, "director", "2021-09", InvoiceCommand::Issue).is_err(),
        "once"
    );

    world.now = world.now.plus(31 * DAY);
    ask(&mut world, "director", "2021-10", InvoiceCommand::Issue).unwrap();
    let serial = |month| {
        world.state.invoices[&number(month, "hangang")]
            .issued
            .as_ref()
            .map(|it| it.serial)
    };
    assert_eq!((serial("2021-09"), serial("2021-10")), (Some(1), Some(2)));
}

#[test]
fn a_sites_months_are_issued_in_order() {
    let (mut world, job) = september();
    world.now = world.now.plus(DAY);
    world.meter(job, "hangang", 9 * MINUTE).unwrap();
    world.now = world.now.plus(31 * DAY);
    let early = ask(&mut world, "director", "2021-10", InvoiceCommand::Issue).unwrap_err();
    assert!(early.message.contains("2021-09/hangang comes first"), "{early}");
}

#[test]
fn a_bill_that_is_the_same_is_agreed_and_paid() {
    let (mut world, job) = october();
    assert!(
        ask(&mut world, "jun", "2021-10", bill(&[(Billed::Job(job), 1, None)])).is_err(),
        "a draft"
    );
    let project = Billed::Project(id("reviews"));
    ask(&mut world, "jun", "2021-09", bill(&[(project, 1_800, None)])).unwrap();
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Agreed);

    let more = ask(&mut world, "director", "2021-09", pay(Some(1_801))).unwrap_err();
    assert!(more.message.contains("1800 are left of it"), "{more}");
    ask(&mut world, "director", "2021-09", pay(Some(800))).unwrap();
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Agreed);
    ask(&mut world, "director", "2021-09", pay(None)).unwrap();
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Paid);
    assert_eq!(world.won(&earned("hangang")), 2_250);
    assert_eq!(world.won(&Account::PaidOut(id("hangang"))), 1_800);
    assert!(
        ask(&mut world, "director", "2021-09", pay(None)).is_err(),
        "twice"
    );
}

#[test]
fn a_difference_is_told_with_its_likely_reason() {
    let (mut world, job) = october();
    let metered = world.state.invoices[&number("2021-09", "hangang")].lines[&job][0]
        .compute
        .0;
    let mut reason = |lines: &[(Billed, i64, Option<i128>)]| {
        ask(&mut world, "jun", "2021-09", bill(lines)).expect("a dispute can have another bill");
        let differences = world.state.invoices[&number("2021-09", "hangang")].differences(&world.state);
        Vec::from_iter(
            differences
                .iter()
                .map(|it| (it.invoiced.0, it.billed.0, it.reason)),
        )
    };
    let this = || Billed::Job(job);
    let other = || Billed::Job(JobId(99));
    assert_eq!(
        reason(&[(this(), 4_050, None)]),
        [(1_800, 4_050, Reason::MeteredLater)]
    );
    assert_eq!(
        reason(&[(this(), 1_799, Some(metered))]),
        [(1_800, 1_799, Reason::Rounding)]
    );
    assert_eq!(
        reason(&[(this(), 1_600, Some(metered))]),
        [(1_800, 1_600, Reason::Price)]
    );
    assert_eq!(
        reason(&[(this(), 1_600, Some(metered / 2))]),
        [(1_800, 1_600, Reason::Duration)]
    );
    assert_eq!(
        reason(&[(other(), 500, None)]),
        [(1_800, 0, Reason::NotBilled), (0, 500, Reason::Unknown)]
    );
}

#[test]
fn a_dispute_ends_with_a_posting_that_reverses_on_the_next_invoice() {
    let (mut world, job) = october();
    ask(
        &mut world,
        "jun",
        "2021-09",
        bill(&[(Billed::Job(job), 1_600, None)]),
    )
    .unwrap();
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Disputed);
    assert!(
        ask(&mut world, "director", "2021-09", pay(None)).is_err(),
        "not while it is disputed"
    );
    for wrong in [-201, 1, 0] {
        assert!(
            ask(&mut world, "director", "2021-09", resolve(job, wrong)).is_err(),
            "{wrong}"
        );
    }
    let unknown = ask(&mut world, "director", "2021-09", resolve(JobId(99), -1)).unwrap_err();
    assert!(unknown.message.contains("job-99 isn't on invoice"), "{unknown}");

    let before = world.won(&first_award());
    let events = ask(&mut world, "director", "2021-09", resolve(job, -200)).unwrap();
    let back = Transfer::won(earned("hangang"), first_award(), Won(200));
    assert!(events.contains(&Event::Posted(back)), "{events:?}");
    assert_eq!(world.won(&first_award()), before + 200);
    assert_eq!(
        world.state.invoices[&number("2021-09", "hangang")].total(),
        Won(1_800)
    );
    let next = &world.state.invoices[&number("2021-10", "hangang")];
    assert_eq!((next.total(), next.corrections.len()), (Won(2_250 - 200), 1));
    assert_eq!(next.corrections[0].invoice, number("2021-09", "hangang"));
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Resolved);
}

#[test]
fn what_is_still_owed_comes_from_the_award() {
    let (mut world, job) = october();
    ask(
        &mut world,
        "jun",
        "2021-09",
        bill(&[(Billed::Job(job), 2_000, None)]),
    )
    .unwrap();
    let before = world.won(&first_award());
    ask(&mut world, "director", "2021-09", resolve(job, 150)).unwrap();
    assert_eq!(world.won(&first_award()), before - 150);
    assert_eq!(world.won(&earned("hangang")), 4_050 + 150);
}

#[test]
fn each_is_told_what_comes_next() {
    let (mut world, job) = september();
    let step = |world: &World, who: &str, month: &str| {
        let invoice = &world.state.invoices[&number(month, "hangang")];
        world.state.next_step_of_invoice(invoice, &person(who), world.now)
    };
    let both = |world: &World, month: &str| ["director", "jun"].map(|who| step(world, who, month));
    let until = Month::of(world.now).next().begins();
    let await_end = InvoiceStep::AwaitEnd { until };
    assert_eq!(both(&world, "2021-09"), [await_end; 2]);
    assert_eq!(await_end.to_string(), "more may come until 2021-09-30");

    world.now = world.now.plus(DAY);
    world.meter(job, "hangang", 9 * MINUTE).unwrap();
    world.now = world.now.plus(31 * DAY);
    assert_eq!(
        both(&world, "2021-09"),
        [InvoiceStep::Issue, InvoiceStep::AwaitIssue]
    );
    assert_eq!(both(&world, "2021-10"), [InvoiceStep::AwaitEarlier; 2]);
    ask(&mut world, "director", "2021-09", InvoiceCommand::Issue).unwrap();
    assert_eq!(
        both(&world, "2021-10"),
        [InvoiceStep::Issue, InvoiceStep::AwaitIssue]
    );

    let most = Won(1_800);
    assert_eq!(
        both(&world, "2021-09"),
        [InvoiceStep::Pay { most }, InvoiceStep::Bill]
    );
    let less = bill(&[(Billed::Job(job), 1_600, None)]);
    ask(&mut world, "jun", "2021-09", less).unwrap();
    assert_eq!(
        both(&world, "2021-09"),
        [InvoiceStep::Correct, InvoiceStep::AwaitDecision]
    );
    ask(&mut world, "director", "2021-09", resolve(job, -200)).unwrap();
    assert_eq!(
        both(&world, "2021-09"),
        [InvoiceStep::Pay { most }, InvoiceStep::AwaitPayment]
    );
    ask(&mut world, "director", "2021-09", pay(None)).unwrap();
    assert_eq!(both(&world, "2021-09"), [InvoiceStep::Nothing; 2]);
    assert_eq!(
        step(&world, "inspector", "2021-10"),
        InvoiceStep::AwaitIssue,
        "an auditor only looks"
    );
}

#[test]
fn to_others_an_invoice_isnt_there() {
    let (mut world, job) = october();
    let site = world.state.sites[&id("hangang")].clone();
    for (who, sees) in [
        ("director", true),
        ("inspector", true),
        ("jun", true),
        ("minji", false),
        ("otto", false),
        ("nobody", false),
    ] {
        assert_eq!(world.state.sees_invoices(&person(who), &site), sees, "{who}");
        let refusal = ask(
            &mut world,
            who,
            "2021-09",
            bill(&[(Billed::Job(job), 1_800, None)]),
        );
        let kind = refusal.err().map(|refusal| refusal.kind);
        let expected = match who {
            "jun" => None,
            _ if sees => Some(RefusalKind::Forbidden),
            _ => Some(RefusalKind::NotFound),
        };
        assert_eq!(kind, expected, "{who}");
    }
    for command in [InvoiceCommand::Issue, resolve(job, -1), pay(None)] {
        let refusal = ask(&mut world, "jun", "2021-09", command).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Forbidden);
    }
}

#[test]
fn absurd_bills_are_refused_by_line_and_field() {
    let (mut world, job) = october();
    let of = || Billed::Job(job);
    for (lines, says) in [
        (vec![], "0 lines"),
        (vec![(of(), -1, None)], "line 1 of the bill: won"),
        (vec![(of(), i64::MAX, None)], "line 1 of the bill: won"),
        (vec![(of(), 1, Some(-1))], "line 1 of the bill: compute"),
        (vec![(of(), 1, None), (of(), 1, None)], "line 2 of the bill: of"),
    ] {
        let refusal = ask(&mut world, "jun", "2021-09", bill(&lines)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid);
        assert!(
            refusal.message.contains(says) && refusal.hint.is_some(),
            "{refusal}"
        );
    }
    let greatest = bill(&[(of(), 1, Some(i128::MAX))]);
    ask(&mut world, "jun", "2021-09", greatest).unwrap();
    assert_eq!(state_of(&world, "2021-09"), InvoiceState::Disputed);
}
