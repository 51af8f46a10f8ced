//! The part of the matrix that is about invoices. A job has run at `a`, which is the cloud's, and at `f`, which is the
//! partner's: so there is a draft for each. At `b` nothing was settled.

use crate::jobs::Site;
use crate::world::{Hands, World, spec};
use consortium::*;
use serde_json::{Value, json};

/// What is asked for; `{month}` is that of the drafts.
pub(super) const ROUTES: [&str; 6] = [
    "/invoices",
    "/invoices?state=draft",
    "/invoices?site=f",
    "/invoices/{month}/a",
    "/invoices/{month}/f",
    "/invoices/{month}/b",
];
const SECRETS: [(&str, &str); 4] = [
    ("\"owner\":\"cloud\"", "the cloud's"),
    ("\"owner\":\"fjord\"", "the partner's"),
    ("\"lines\":[{\"job\":", "its jobs"),
    ("\"award\":\"reviews-2021\"", "the award"),
];

/// Which of the secrets are in `text`.
pub(super) fn seen(text: &str) -> String {
    let there = SECRETS.into_iter().filter(|(secret, _)| text.contains(secret));
    Vec::from_iter(there.map(|(_, name)| name)).join(", ")
}

/// Returns the month of the drafts.
pub(super) fn fill(world: &World, hands: &Hands) -> Month {
    // At the three that are the cheapest; the third has nothing to tell.
    let job = JobSpec {
        sites: 3,
        label: Label::Open,
        ..spec()
    };
    let job = world.person("minji").submit(&job, "owed").unwrap();
    let sites = ["a", "f"].map(|name| {
        let mut site = Site::new(world, name);
        site.until(|it| it.id == job && it.presence == Presence::Expected);
        site.client.join(job).unwrap();
        site.client
    });
    hands.advance(120_000);
    for site in sites {
        let total = Usage {
            millis: 120_000,
            ..Usage::default()
        };
        site.meter(job, &Reading { attempt: 1, total }).unwrap();
    }
    Month::of(hands.now())
}

/// See `deeds` beside this.
pub(super) fn deeds() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let bill = json!({"lines": [{"of": {"job": "job-1"}, "won": 1}]});
    vec![
        (
            "issue an invoice too early",
            "POST",
            "/invoices/{month}/a/issue",
            Value::Null,
        ),
        (
            "bill for the cloud, too early",
            "POST",
            "/invoices/{month}/a/bill",
            bill.clone(),
        ),
        (
            "bill for the partner, too early",
            "POST",
            "/invoices/{month}/f/bill",
            bill,
        ),
        (
            "correct an invoice without a ground",
            "POST",
            "/invoices/{month}/a/corrections",
            json!([{}, ""]),
        ),
        (
            "pay an invoice without a reference",
            "POST",
            "/invoices/{month}/f/payments",
            json!([null, ""]),
        ),
    ]
}
