//! From a call to an award that gives back what it doesn't use, over HTTP.

use crate::matrix::request;
use crate::world::{Hands, World};
use api::{ApiError, Client, ProposalView, WhichProposals};
use consortium::*;
use serde_json::{Value, json};

const DAY: u64 = 86_400_000;

/// The consortium with another officer, a reviewer and an auditor, and a call that is open for ten days.
struct Office {
    world: World,
    hands: Hands,
    head: Client,
    minji: Client,
    sora: Client,
}

impl Office {
    fn new() -> Self {
        let hands = Hands::default();
        let world = World::with(|config| hands.of(config));
        for (name, organisation, role) in [
            ("deputy", "office", Some(Role::Office)),
            ("inspector", "office", Some(Role::Auditor)),
            ("sora", "cloud", None),
        ] {
            let person = Person {
                id: name.parse().unwrap(),
                organisation: organisation.parse().unwrap(),
                roles: role.into_iter().collect(),
            };
            world.hub.ask(name, Command::AddPerson(person)).unwrap();
        }
        let [head, minji, sora] = ["head", "minji", "sora"].map(|name| world.person(name));
        // At a year's beginning, so that none ends in the middle of a story.
        let year = Month::of(hands.now()).year() + 1;
        let begins = format!("{year}-01-01").parse::<Day>().unwrap().begins();
        hands.advance(begins.0 - hands.now().0 + DAY);
        head.appropriate(year, Won(10_000_000)).unwrap();
        let office = Self {
            world,
            hands,
            head,
            minji,
            sora,
        };
        office
            .head
            .open_call(&office.call("autumn", Label::Open))
            .unwrap();
        office
    }

    fn call(&self, id: &str, label: Label) -> Call {
        Call {
            id: id.parse().unwrap(),
            programme: Programme::Language,
            title: "Autumn".into(),
            title_ko: "가을".into(),
            text: "Propose.".into(),
            label,
            opens: self.hands.now(),
            closes: self.hands.now().plus(10 * DAY),
            reviews: 1,
            budget: self.budget(1_000_000, 10),
        }
    }

    fn budget(&self, won: i64, pflop_hours: i64) -> Budget {
        Budget::from([(Month::of(self.hands.now()).year(), amount(won, pflop_hours))])
    }

    fn proposal(&self, name: &str, people: &[&str]) -> Proposal {
        Proposal {
            id: format!("gaon/{name}").parse().unwrap(),
            call: "autumn".parse().unwrap(),
            title: format!("Our {name}"),
            text: "We would.".into(),
            people: people.iter().map(|who| who.parse().unwrap()).collect(),
            budget: self.budget(500_000, 5),
        }
    }

    /// Moves the hub's clock, and has it look.
    fn days_go_by(&self, days: u64) {
        self.hands.advance(days * DAY);
        let key = format!("tick {}", self.hands.now().0);
        self.world.hub.ask(&key, Command::Tick).unwrap();
    }

    fn reviewed(&self, id: &ProposalId, text: &str) {
        self.head.ask_review(id, &"sora".parse().unwrap()).unwrap();
        self.sora.declare(id, None).unwrap();
        self.sora.review(id, 4, text).unwrap();
    }
}

fn amount(won: i64, pflop_hours: i64) -> Amount {
    Amount {
        won: Won(won),
        compute: FlopSeconds::from_pflop_hours(pflop_hours),
    }
}

fn missing<T>(answer: Result<T, ApiError>) -> String {
    let error = answer.err().expect("a refusal");
    assert_eq!(error.status(), Some(404), "{error}");
    error.to_string()
}

#[test]
fn from_a_call_to_what_is_taken_back() {
    let office = Office::new();
    let (head, minji, sora) = (&office.head, &office.minji, &office.sora);
    let call = minji.call(&"autumn".parse().unwrap()).unwrap();
    assert_eq!((call.is_open, call.may_propose, call.left), (true, true, None));
    let [speech, clouds] = ["speech", "clouds"].map(|name| office.proposal(name, &["minji", "ingrid"]));
    for proposal in [&speech, &clouds] {
        minji.propose(proposal).unwrap();
    }
    office.days_go_by(11);
    for proposal in [&speech, &clouds] {
        office.reviewed(&proposal.id, "sound");
    }
    // Before the judgement its people know of no review, and after it not whose it is.
    assert!(minji.proposal(&speech.id).unwrap().reviews.is_empty());
    let ends = office.hands.now().plus(300 * DAY);
    let award = Judgement::Award {
        award: "speech".parse().unwrap(),
        project: "speech".parse().unwrap(),
        budget: speech.budget.clone(),
        ends,
    };
    head.judge(&speech.id, &award, "the panel").unwrap();
    let waits = Judgement::Wait {
        award: "clouds".parse().unwrap(),
        project: "clouds".parse().unwrap(),
        wanted: amount(300_000, 2),
        ends,
    };
    head.judge(&clouds.id, &waits, "the panel").unwrap();
    let told: ProposalView = minji.proposal(&speech.id).unwrap();
    assert_eq!((told.reviews[0].score, told.reviewers.len()), (4, 0));
    assert_eq!(told.judged.unwrap().ground, "the panel");
    assert!(matches!(told.step, Step::Spend { .. }));
    let own = sora.proposal(&speech.id).unwrap();
    assert_eq!(
        (own.reviews.len(), own.reviewers.len(), own.judged.is_none()),
        (0, 1, true)
    );
    let left = head.call(&"autumn".parse().unwrap()).unwrap().left.unwrap();
    assert_eq!(left, office.budget(500_000, 5));

    let speech = "speech".parse().unwrap();
    let view = minji.award(&speech).unwrap();
    assert_eq!(
        (view.holdings.given, view.holdings.left),
        (amount(500_000, 5), amount(500_000, 5))
    );
    let notice = AwardCommand::GiveNotice {
        amount: amount(200_000, 3),
        until: office.hands.now().plus(15 * DAY),
        ground: "unused".into(),
    };
    head.change_award(&speech, &notice).unwrap();
    assert!(matches!(
        minji.award(&speech).unwrap().step,
        AwardStep::Appeal { .. }
    ));
    office.days_go_by(16);
    let held = ["speech", "clouds"].map(|id| minji.award(&id.parse().unwrap()).unwrap().holdings.left);
    assert_eq!(held, [amount(300_000, 2), amount(200_000, 2)]);
    let Step::AwaitTurn { place: 1 } = minji.proposal(&clouds.id).unwrap().step else {
        panic!("it waits for 100,000 more");
    };
    assert_eq!(head.awards(None).unwrap().len(), 3);
    assert_eq!(head.awards(Some(&"clouds".parse().unwrap())).unwrap().len(), 1);
    missing(sora.award(&speech));
}

#[test]
fn what_one_may_not_know_of_is_not_there() {
    let office = Office::new();
    let home = office.call("home", Label::Consortium);
    office.head.open_call(&home).unwrap();
    let proposal = office.proposal("speech", &["minji"]);
    office.minji.propose(&proposal).unwrap();
    let askers = ["jun", "ingrid", "sora"].map(|name| (name, office.world.person(name)));
    let nothing = "gaon/nothing".parse().unwrap();
    for (name, client) in &askers {
        let refusals = |id: &ProposalId| {
            [
                missing(client.proposal(id)),
                missing(client.withdraw(id)),
                missing(client.ask_review(id, &"sora".parse().unwrap())),
                missing(client.declare(id, None)),
                missing(client.review(id, 3, "x")),
                missing(client.judge(id, &Judgement::Decline, "x")),
            ]
        };
        let there = refusals(&proposal.id).map(|text| text.replace("speech", "nothing"));
        assert_eq!(there, refusals(&nothing), "{name}");
        assert!(client.proposals(&WhichProposals::default()).unwrap().is_empty());
    }
    let ingrid = &askers[1].1;
    let unknown = missing(ingrid.call(&"nothing".parse().unwrap()));
    assert_eq!(missing(ingrid.call(&home.id)).replace("home", "nothing"), unknown);
    assert_eq!(ingrid.calls(None).unwrap().len(), 1);
    assert_eq!(office.world.site("a").reviews().unwrap(), []);

    // The call is closed: sora is asked, and is told whose it is; then she knows more, and then nothing.
    office.days_go_by(11);
    let sora = &office.sora;
    office
        .head
        .ask_review(&proposal.id, &"sora".parse().unwrap())
        .unwrap();
    let asked = &sora.reviews().unwrap()[0];
    assert_eq!((asked.title.clone(), asked.people.len()), (None, 1));
    missing(sora.proposal(&proposal.id));
    sora.declare(&proposal.id, None).unwrap();
    assert_eq!(sora.reviews().unwrap()[0].title.as_deref(), Some("Our speech"));
    sora.proposal(&proposal.id).unwrap();
    sora.declare(&proposal.id, Some("my sister")).unwrap();
    assert!(sora.reviews().unwrap().is_empty());
    missing(sora.proposal(&proposal.id));
    let inspector = office.world.person("inspector").proposal(&proposal.id).unwrap();
    assert_eq!(inspector.reviewers.len(), 1);
}

#[test]
fn lists_come_in_parts_and_by_what_is_asked() {
    let office = Office::new();
    let names: Vec<String> = (0..5).map(|n| format!("p-{n}")).collect();
    for name in &names {
        office.minji.propose(&office.proposal(name, &["minji"])).unwrap();
    }
    office.minji.withdraw(&"gaon/p-3".parse().unwrap()).unwrap();
    let token = office
        .world
        .hub
        .issue(Holder::Person("head".parse().unwrap()))
        .unwrap();
    let ask = |path: &str| {
        let (status, text) = request(
            &office.world.hub.url(),
            &token,
            "GET",
            &format!("/api/v1{path}"),
            &Value::Null,
        );
        assert_eq!(status, 200, "{text}");
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let all: Vec<Value> = serde_json::from_str(body).unwrap();
        let id = |it: &Value| {
            let id = it["call"]["id"].as_str().or(it["proposal"]["id"].as_str());
            id.unwrap().replace("gaon/p-", "")
        };
        let names = all.iter().map(id);
        names.collect::<String>()
    };
    assert_eq!(ask("/proposals"), "01234");
    assert_eq!(ask("/proposals?limit=2"), "01");
    assert_eq!(ask("/proposals?after=gaon/p-1&limit=2"), "23");
    assert_eq!(ask("/proposals?stage=withdrawn"), "3");
    assert_eq!(ask("/proposals?stage=proposed&limit=9"), "0124");
    assert_eq!(ask("/proposals?mine=true"), "");
    assert_eq!(ask("/proposals?call=other"), "");
    assert_eq!(ask("/calls?programme=speech"), "");
    assert_eq!(ask("/calls?programme=language&limit=1"), "autumn");
    assert_eq!(ask("/calls?after=autumn"), "");
}

/// Asked again under its key, a command is answered again, and not done again.
#[test]
fn under_a_key_a_command_is_done_once() {
    let office = Office::new();
    let token = office
        .world
        .hub
        .issue(Holder::Person("head".parse().unwrap()))
        .unwrap();
    let call = office.call("winter", Label::Open);
    let body = serde_json::to_value(&call).unwrap();
    // Another header behind the token.
    let keyed = format!("{token}\r\nIdempotency-Key: winter");
    let open = || request(&office.world.hub.url(), &keyed, "POST", "/api/v1/calls", &body).0;
    assert_eq!((open(), open()), (200, 200));
    let again = office.head.open_call(&call).unwrap_err();
    assert_eq!(again.status(), Some(409), "{again}");
    let bad = json!({"id": "x"});
    let (status, text) = request(&office.world.hub.url(), &token, "POST", "/api/v1/calls", &bad);
    assert_eq!(status, 400);
    assert!(text.contains("application/problem+json") && text.contains("missing field"));
}
