//! What is owed for sites, from a draft to its payment, over HTTP.

use crate::jobs::Site;
use crate::matrix::request;
use crate::world::{Hands, World, spec};
use api::{ApiError, Client, WhichInvoices};
use consortium::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DAY: u64 = 86_400_000;

/// A job that has run at `a` for five minutes, which makes 83 won, and at `b` for a bit less: 61 won.
struct Owed {
    world: World,
    hands: Hands,
    month: Month,
    job: JobId,
}

impl Owed {
    fn new() -> Self {
        let hands = Hands::default();
        let world = World::with(|config| hands.of(config));
        for (name, organisation, role) in [
            ("sora", "cloud", None),
            ("inspector", "gaon", Some(Role::Auditor)),
        ] {
            let person = Person {
                id: name.parse().unwrap(),
                organisation: organisation.parse().unwrap(),
                roles: role.into_iter().collect(),
            };
            world.hub.ask(name, Command::AddPerson(person)).unwrap();
        }
        let job = world.person("minji").submit(&spec(), "once").unwrap();
        let sites = ["a", "b"].map(|name| {
            let mut site = Site::new(&world, name);
            site.until(|job| job.presence == Presence::Expected);
            site.client.join(job).unwrap();
            site.client
        });
        hands.advance(300_000);
        let month = Month::of(hands.now());
        for (site, millis) in sites.iter().zip([300_000, 200_000]) {
            let total = Usage {
                millis,
                ..Usage::default()
            };
            site.meter(job, &Reading { attempt: 1, total }).unwrap();
        }
        Self {
            world,
            hands,
            month,
            job,
        }
    }

    fn client(&self, name: &str) -> Client {
        self.world.person(name)
    }

    fn number(&self, site: &str) -> InvoiceId {
        InvoiceId {
            site: site.parse().unwrap(),
            month: self.month,
        }
    }

    fn it_is_next_month(&self) {
        let begins = self.month.next().begins();
        self.hands.advance(begins.0 - self.hands.now().0 + DAY);
    }

    fn bill(&self, won: i64) -> Bill {
        let line = BillLine {
            of: Billed::Job(self.job),
            won: Won(won),
            compute: None,
        };
        Bill { lines: vec![line] }
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ApiError>) -> (u16, String) {
    let error = answer.unwrap_err();
    let problem = error
        .problem()
        .unwrap_or_else(|| panic!("the hub hasn't refused: {error}"));
    (problem.status, problem.detail.clone())
}

#[test]
fn from_a_draft_to_its_payment() {
    let owed = Owed::new();
    let (head, sora) = (owed.client("head"), owed.client("sora"));
    let a = owed.number("a");
    assert_eq!(refused(head.issue_invoice(&a)).0, 409, "the month isn't over");
    assert_eq!(refused(sora.bill(&a, &owed.bill(83))).0, 409, "it isn't issued");
    owed.it_is_next_month();
    assert_eq!(head.invoice(&a).unwrap().invoice.step, InvoiceStep::Issue);
    let url = owed.world.hub.url();
    let token = owed
        .world
        .hub
        .issue(Holder::Person("head".parse().unwrap()))
        .unwrap();
    let path = format!("/api/v1/invoices/{a}/issue");
    let (status, answer) = request(&url, &token, "POST", &path, &Value::Null);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(refused(head.issue_invoice(&a)).0, 409, "once");

    let sheet = sora.invoice(&a).unwrap();
    assert_eq!((sheet.invoice.total, sheet.invoice.unpaid), (Won(83), Won(83)));
    assert_eq!(sheet.invoice.step, InvoiceStep::Bill);
    assert_eq!(sheet.invoice.issued.map(|issued| issued.serial), Some(1));
    assert_eq!(
        (sheet.lines[0].job, sheet.lines[0].of, sheet.lines[0].won),
        (owed.job, owed.month, Won(83))
    );
    assert_eq!(sheet.lines[0].award, None, "an owner isn't told who pays");
    let award = |who: &str| owed.client(who).invoice(&a).unwrap().lines[0].award.clone();
    let paid_from: AwardId = "reviews-2021".parse().unwrap();
    assert_eq!(award("head"), Some(paid_from.clone()));
    assert_eq!(award("inspector"), Some(paid_from.clone()));

    sora.bill(&a, &owed.bill(80)).unwrap();
    let sheet = sora.invoice(&a).unwrap();
    assert_eq!(
        (sheet.invoice.state, sheet.invoice.step),
        (InvoiceState::Disputed, InvoiceStep::AwaitDecision)
    );
    assert_eq!(sheet.differences[0].reason, Reason::Duration);
    let corrections = BTreeMap::from([(owed.job, Won(-3))]);
    assert_eq!(refused(sora.correct_invoice(&a, &corrections, "we agree")).0, 403);
    head.correct_invoice(&a, &corrections, "minutes of 2 May")
        .unwrap();

    let (status, why) = refused(head.pay_invoice(&a, None, "transfer 7"));
    assert!(
        status == 409 && why.contains("83 are left of it, and the site has 80"),
        "{why}"
    );
    head.pay_invoice(&a, Some(Won(80)), "transfer 7").unwrap();
    let sheet = sora.invoice(&a).unwrap();
    assert_eq!(
        (sheet.invoice.unpaid, sheet.invoice.step),
        (Won(3), InvoiceStep::Nothing)
    );
    assert_eq!(sheet.resolved.as_deref(), Some("minutes of 2 May"));
    let next = InvoiceId {
        month: a.month.next(),
        ..a.clone()
    };
    let next = sora.invoice(&next).unwrap();
    assert_eq!((next.invoice.corrected, next.invoice.total), (Won(-3), Won(-3)));
    assert_eq!(
        (&next.corrections[0].invoice, &next.corrections[0].award),
        (&a, &None)
    );

    let ledger = head.ledger().unwrap();
    assert_eq!(ledger.wrong, None);
    let held = |wanted: Account| {
        let mut named = ledger.accounts.iter().filter(|(account, _)| *account == wanted);
        named.next().map(|(_, amount)| amount.won)
    };
    assert_eq!(held(Account::Earned(a.site.clone())), Some(Won(0)));
    assert_eq!(held(Account::PaidOut(a.site.clone())), Some(Won(80)));
    let path = format!("/api/v1/ledger?after={}", Account::PaidOut(a.site.clone()));
    assert_eq!(request(&url, &token, "GET", &path, &Value::Null).0, 200);

    let before = sora.invoice(&a).unwrap();
    let Owed { world, .. } = owed;
    let world = world.restarted();
    assert_eq!(
        world.person("sora").invoice(&a).unwrap(),
        before,
        "the log has it"
    );
}

#[test]
fn lists_come_in_parts_and_to_whom_they_concern() {
    let owed = Owed::new();
    let listed = |who: &str, which: &WhichInvoices| {
        let invoices = owed.client(who).invoices(which).unwrap();
        Vec::from_iter(invoices.into_iter().map(|view| view.id))
    };
    let all = WhichInvoices::default();
    let (a, b) = (owed.number("a"), owed.number("b"));
    for who in ["sora", "head", "inspector"] {
        assert_eq!(listed(who, &all), [a.clone(), b.clone()], "{who}");
    }
    for who in ["minji", "ingrid"] {
        assert!(listed(who, &all).is_empty(), "{who}");
    }
    for (which, expected) in [
        (
            WhichInvoices {
                site: Some(b.site.clone()),
                ..all.clone()
            },
            vec![b.clone()],
        ),
        (
            WhichInvoices {
                month: Some(owed.month.next()),
                ..all.clone()
            },
            vec![],
        ),
        (
            WhichInvoices {
                state: Some(InvoiceState::Draft),
                month: Some(owed.month),
                ..all.clone()
            },
            vec![a.clone(), b.clone()],
        ),
        (
            WhichInvoices {
                state: Some(InvoiceState::Paid),
                ..all.clone()
            },
            vec![],
        ),
    ] {
        assert_eq!(listed("sora", &which), expected, "{which:?}");
    }
    let url = owed.world.hub.url();
    let token = owed
        .world
        .hub
        .issue(Holder::Person("sora".parse().unwrap()))
        .unwrap();
    let get = |path: &str| {
        request(
            &url,
            &token,
            "GET",
            &format!("/api/v1/invoices{path}"),
            &Value::Null,
        )
    };
    let (_, first) = get("?limit=1");
    assert!(
        first.contains(&a.to_string()) && !first.contains(&b.to_string()),
        "{first}"
    );
    let (_, rest) = get(&format!("?limit=1&after={a}"));
    assert!(
        !rest.contains(&a.to_string()) && rest.contains(&b.to_string()),
        "{rest}"
    );
    for wrong in [
        "?month=2021-13",
        "?state=lost",
        "?site=A",
        "/2021-9/a",
        "/2021-09/A",
    ] {
        assert_eq!(get(wrong).0, 400, "{wrong}");
    }
}

/// In the same words, whether there is one or not.
#[test]
fn to_others_there_is_none() {
    let owed = Owed::new();
    let corrections = BTreeMap::from([(owed.job, Won(-3))]);
    for who in ["minji", "ingrid"] {
        let client = owed.client(who);
        let answers = |id: &InvoiceId| {
            let answers = [
                refused(client.invoice(id)),
                refused(client.issue_invoice(id)),
                refused(client.bill(id, &owed.bill(1))),
                refused(client.correct_invoice(id, &corrections, "x")),
                refused(client.pay_invoice(id, None, "x")),
            ];
            answers.map(|(status, why)| (status, why.replace(&id.to_string(), "ID")))
        };
        let there = answers(&owed.number("a"));
        assert_eq!(there[0], (404, "there is no invoice ID".to_owned()));
        assert!(there.iter().all(|answer| *answer == there[0]), "{there:?}");
        assert_eq!(there, answers(&owed.number("f")), "nothing was settled there");
        assert_eq!(there, answers(&owed.number("nowhere")));
    }
}

#[test]
fn a_bill_is_what_the_document_says() {
    let owed = Owed::new();
    owed.it_is_next_month();
    let a = owed.number("a");
    owed.client("head").issue_invoice(&a).unwrap();
    let token = owed
        .world
        .hub
        .issue(Holder::Person("sora".parse().unwrap()))
        .unwrap();
    let url = owed.world.hub.url();
    let path = format!("/api/v1/invoices/{a}/bill");
    let ask = |lines: Value| request(&url, &token, "POST", &path, &json!({ "lines": lines }));
    let job = owed.job.to_string();
    for (lines, status) in [
        (json!([{"of": {"job": job, "project": "reviews"}, "won": 1}]), 400),
        (json!([{"of": {"job": "7"}, "won": 1}]), 400),
        (json!([{"of": {"job": job}, "won": 1.5}]), 400),
        (json!([{"of": {"job": job}}]), 400),
        (json!([]), 422),
        (json!([{"of": {"job": job}, "won": -1}]), 422),
        (json!([{"of": {"project": "reviews"}, "won": 83}]), 200),
    ] {
        let (found, answer) = ask(lines.clone());
        assert_eq!(found, status, "{lines}\n{answer}");
    }
    let view = owed.client("sora").invoice(&a).unwrap().invoice;
    assert_eq!(view.state, InvoiceState::Agreed);
}
