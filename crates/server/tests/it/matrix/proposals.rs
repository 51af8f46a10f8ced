//! The part of the matrix that is about calls, proposals, reviews and awards. The member and the partner have made two
//! proposals: `gaon/judged` and `gaon/pending`, and `reader` has reviewed both. Of the second, `asked` is yet to say whether
//! there is a conflict, and `rival` has said that there is one.

use crate::world::{Hands, World};
use consortium::*;
use serde_json::{Value, json};

/// What is asked for, and what of it isn't for everyone.
pub(super) const ROUTES: [&str; 11] = [
    "/calls",
    "/calls/abroad",
    "/calls/home",
    "/calls/nothing",
    "/proposals",
    "/proposals/gaon/judged",
    "/proposals/gaon/pending",
    "/policy/explanation?who={me}&what=gaon/pending",
    "/policy/explanation?who=reader&what=gaon/pending",
    "/reviews",
    "/awards/reviews-2021",
];
const SECRETS: [&str; 6] = [
    "judged plan",
    "judged opinion",
    "judged ground",
    "pending plan",
    "pending opinion",
    "\"reader\"",
];

/// Which of the secrets are in `text`.
pub(super) fn seen(text: &str) -> String {
    let there = SECRETS.into_iter().filter(|secret| text.contains(secret));
    Vec::from_iter(there).join(", ")
}

pub(super) fn fill(world: &World, hands: &Hands) {
    const DAY: u64 = 86_400_000;
    let officer = world.person("officer");
    for (id, label) in [("abroad", Label::Open), ("home", Label::Consortium)] {
        let call = Call {
            id: id.parse().unwrap(),
            programme: Programme::Language,
            title: id.into(),
            title_ko: id.into(),
            text: "Propose.".into(),
            label,
            opens: Time(0),
            closes: hands.now().plus(DAY),
            reviews: 1,
            budget: Budget::new(),
        };
        officer.open_call(&call).unwrap();
    }
    let ids = ["judged", "pending"].map(|name| format!("gaon/{name}").parse().unwrap());
    for id in &ids {
        let proposal = Proposal {
            id: ProposalId::clone(id),
            call: "abroad".parse().unwrap(),
            title: format!("{} plan", id.name),
            text: "We would.".into(),
            people: ["member", "partner"].map(|who| who.parse().unwrap()).into(),
            budget: Budget::new(),
        };
        world.person("member").propose(&proposal).unwrap();
    }
    hands.advance(2 * DAY);
    let reader = world.person("reader");
    for id in &ids {
        officer.ask_review(id, &"reader".parse().unwrap()).unwrap();
        reader.declare(id, None).unwrap();
        reader.review(id, 3, &format!("{} opinion", id.name)).unwrap();
    }
    let [judged, pending] = &ids;
    for who in ["asked", "rival"] {
        officer.ask_review(pending, &who.parse().unwrap()).unwrap();
    }
    world
        .person("rival")
        .declare(pending, Some("we compete"))
        .unwrap();
    officer
        .judge(judged, &Judgement::Decline, "the judged ground")
        .unwrap();
}

/// See `deeds` beside this.
pub(super) fn deeds() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let call = json!({
        "id": "abroad", "programme": "language", "title": "x", "title_ko": "x", "text": "x", "label": "open", "opens": 0,
        "closes": 1, "reviews": 0, "budget": {},
    });
    let proposal = |call: &str| {
        json!({
            "id": "nothing/x", "call": call, "title": "x", "text": "x", "people": [], "budget": {},
        })
    };
    let amend = json!({"amend": {"budget": {}, "ground": ""}});
    let notice = json!({"give-notice": {"amount": {"won": 1, "compute": "1"}, "until": 0, "ground": ""}});
    let answer = json!({"answer-appeal": {"upheld": true, "ground": ""}});
    let ground = |what: &str| json!({what: {"ground": ""}});
    let award = "/awards/reviews-2021/changes";
    vec![
        ("open a call that is there", "POST", "/calls", call),
        ("prolong no call", "POST", "/calls/nothing/closing", json!(0)),
        (
            "propose too late, abroad",
            "POST",
            "/proposals",
            proposal("abroad"),
        ),
        (
            "propose too late, at home",
            "POST",
            "/proposals",
            proposal("home"),
        ),
        (
            "withdraw what is judged",
            "DELETE",
            "/proposals/gaon/judged",
            Value::Null,
        ),
        (
            "ask for a review of what is judged",
            "POST",
            "/proposals/gaon/judged/reviewers",
            json!("nobody"),
        ),
        (
            "declare an empty conflict",
            "POST",
            "/proposals/gaon/pending/declaration",
            json!(""),
        ),
        (
            "review with a score of 9",
            "POST",
            "/proposals/gaon/pending/review",
            json!([9, "x"]),
        ),
        (
            "judge without a ground",
            "POST",
            "/proposals/gaon/pending/judgement",
            json!(["decline", ""]),
        ),
        ("amend an award without a ground", "POST", award, amend),
        (
            "extend an award without a ground",
            "POST",
            award,
            json!({"extend": {"ends": 0, "ground": ""}}),
        ),
        ("close an award without a ground", "POST", award, ground("close")),
        ("give notice without a ground", "POST", award, notice),
        (
            "drop a notice without a ground",
            "POST",
            award,
            ground("drop-notice"),
        ),
        ("appeal without a ground", "POST", award, ground("appeal")),
        ("answer an appeal without a ground", "POST", award, answer),
    ]
}
