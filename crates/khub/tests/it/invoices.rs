//! What is owed for a site, by the real commands, as each of those whom it concerns types them: a job runs at a real site,
//! its month goes by, the site's bill differs, and what is right of it is paid. The hub's clock is told.

use crate::awards::World;
use consortium::{Account, InvoiceState, Won};
use insta::assert_snapshot;

#[test]
fn a_month_of_a_site_from_its_first_job_to_its_payment() {
    // Dear machines, so that a twentieth of a second costs a hundred won.
    let mut world = World::with(|example| example.replace("price = 9_", "price = 90_000_"));
    let view = world.run_a_job("korean-reviews");
    let (job, settled) = (view.job.id, view.spent.0);
    assert!(settled > 0, "{view:?}");
    let postings = world.done(&format!("ledger show {job}"));
    world
        .terminal
        .write("bill.csv", format!("job,won\n{job},{}\n", settled + 7));
    world.terminal.write(
        "wrong.csv",
        "job,won,pflop_hours\njob-1,12,0.5\njob-2,1 200,0.5\n",
    );

    let draft = world.done("invoices draft hangang-1 --as sora");
    assert!(draft.contains("more may come until 2026-01-31"), "{draft}");
    world.run(&[
        "invoices issue 2026-01/hangang-1 --as office",
        "invoices show 2026-01/hangang-1",
        "invoices list --as ingrid",
        "invoices issue 2026-01/hangang-1 --as ingrid",
        "invoices issue 2026-01/hangang-1 --as sora",
        "invoices draft namsan-1 --as office",
    ]);
    world.it_is("2026-02-03");
    let next = world.done("next --as office");
    assert!(next.contains("khub invoices issue 2026-01/hangang-1"), "{next}");
    let issued = world.done("invoices issue 2026-01/hangang-1 --as office");
    assert!(issued.contains("2026-01/hangang-1 is issued"), "{issued}");
    let next = world.done("next --as sora");
    assert!(
        next.contains("khub invoices bill 2026-01/hangang-1 FILE"),
        "{next}"
    );
    let [owner, office] = ["sora", "office"].map(|who| {
        let shown = world.done(&format!("invoices show 2026-01/hangang-1 --as {who}"));
        assert!(shown.contains(&format!("{job}  korean-reviews")), "{shown}");
        shown.contains("korean-reviews-2021")
    });
    assert!(office && !owner, "an owner isn't told which award pays");

    world.run(&[
        "invoices bill --example",
        "invoices bill 2026-01/hangang-1 missing.csv --as sora",
        "invoices bill 2026-01/hangang-1 wrong.csv --as sora",
        "invoices correct 2026-01/hangang-1 --job job-1:5 --ground minutes --as office",
        "invoices issue 2026-01/hangang-1 --as office",
    ]);
    let billed = world.done("invoices bill 2026-01/hangang-1 bill.csv --as sora");
    assert!(
        billed.contains("the compute") && billed.contains("disputed"),
        "{billed}"
    );
    world.run(&["invoices pay 2026-01/hangang-1 --reference transfer-7 --as office"]);
    let more = format!("invoices correct 2026-01/hangang-1 --job {job}=8 --ground minutes --as office");
    let refused = world.terminal.output(&format!("khub {more}"));
    assert!(refused.contains("the bill differs by 7 won"), "{refused}");
    world.done(&more.replace("=8", "=5"));
    let paid = world.done("invoices pay 2026-01/hangang-1 --reference transfer-7 --as office");
    assert!(paid.contains("2026-01/hangang-1 is paid"), "{paid}");

    let draft = world.done("invoices draft hangang-1 --as sora");
    assert!(
        draft.contains("invoice 2026-02/hangang-1") && draft.contains("minutes"),
        "{draft}"
    );
    world.run(&["invoices show 2026-02/hangang-1 --format csv --as sora"]);
    world.it_is("2026-03-02");
    world.done("invoices issue 2026-02/hangang-1 --as office");
    world.done("invoices pay 2026-02/hangang-1 --won 2 --reference transfer-8 --as office");
    world.done("invoices pay 2026-02/hangang-1 --reference transfer-9 --as office");
    world.run(&[
        "invoices pay 2026-02/hangang-1 --reference transfer-9 --as office",
        "invoices list --month 2026-02 --state paid --as sora",
        "invoices list --site hangang-1",
        "next --as sora",
    ]);
    check_books(&world, settled);
    assert_eq!(
        world.done(&format!("ledger show {job}")),
        postings,
        "no posting was changed"
    );
    check_hints(&world);
    assert_snapshot!("invoices", world.terminal.shown);
}

/// All of it is paid, the books balance, and the report says the same.
fn check_books(world: &World, settled: i64) {
    let office = world.client("office");
    let ledger = office.ledger().unwrap();
    assert_eq!(ledger.wrong, None);
    let held = |account: Account| {
        let mut named = ledger.accounts.iter().filter(|(it, _)| *it == account);
        named.next().map(|(_, amount)| amount.won)
    };
    let site = || "hangang-1".parse().unwrap();
    assert_eq!(held(Account::Earned(site())), Some(Won(0)));
    assert_eq!(held(Account::PaidOut(site())), Some(Won(settled + 5)));
    let invoices = office.invoices(&api::WhichInvoices::default()).unwrap();
    assert!(
        invoices.iter().all(|it| it.state == InvoiceState::Paid),
        "{invoices:?}"
    );
    world.done("ledger verify");
    world.done("audit verify");
    let report = world.done("report --by site --format csv");
    let told: Vec<&str> = report
        .lines()
        .skip_while(|line| !line.starts_with("2026"))
        .collect();
    assert!(
        told[0].starts_with(&format!("2026-01,hangang-1,{settled},")),
        "{report}"
    );
    assert_eq!(told[1], "2026-02,hangang-1,5,0.000000000,0,5", "{report}");
    let focus = world.done("report --format focus");
    assert_eq!(focus.matches(",Correction,").count(), 1, "{focus}");
}

/// Whatever command a refusal names is one that khub has.
fn check_hints(world: &World) {
    let named = world.terminal.shown.split('`').skip(1).step_by(2);
    let commands: Vec<&str> = named.filter(|it| it.starts_with("khub invoices")).collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        let output = world.terminal.output(&format!("{command} --as office"));
        assert!(!output.starts_with("exit code 2"), "{command}: {output}");
    }
}
