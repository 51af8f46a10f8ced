//! Calls, proposals, and who may judge them.

use crate::world::{World, id, person};
use consortium::policy::Resource;
use consortium::*;
use std::collections::BTreeSet;

pub(crate) const DAY: u64 = 86_400_000;

/// 1 July 2021 in Korea, when the call of these stories opens.
pub(crate) fn opening() -> Time {
    "2021-07-01".parse::<Day>().expect("a day").begins()
}

pub(crate) fn amount(won: i64, pflop_hours: i64) -> Amount {
    Amount {
        won: Won(won),
        compute: FlopSeconds::from_pflop_hours(pflop_hours),
    }
}

pub(crate) fn call(label: Label) -> Call {
    Call {
        id: id("autumn"),
        programme: Programme::Language,
        title: "Autumn".into(),
        title_ko: "가을".into(),
        text: "Propose.".into(),
        label,
        opens: opening(),
        closes: opening().plus(30 * DAY),
        reviews: 1,
        budget: Budget::from([(2021, amount(3_000_000, 300)), (2022, amount(1_000_000, 100))]),
    }
}

pub(crate) fn proposal(name: &str, people: &[&str]) -> Proposal {
    Proposal {
        id: id(name),
        call: id("autumn"),
        title: "Speech of many".into(),
        text: "We would.".into(),
        people: people.iter().map(|name| id(name)).collect(),
        budget: Budget::from([(2021, amount(500_000, 50))]),
    }
}

pub(crate) fn asks(world: &mut World, who: &str, command: CallCommand) -> Result<Vec<Event>, Refusal> {
    world.ask(person(who), Command::Call(command))
}

pub(crate) fn propose(
    world: &mut World,
    who: &str,
    name: &str,
    people: &[&str],
) -> Result<Vec<Event>, Refusal> {
    asks(world, who, CallCommand::Propose(proposal(name, people)))
}

fn ask_review(name: &str, reviewer: &str) -> CallCommand {
    CallCommand::AskReview {
        proposal: id(name),
        reviewer: id(reviewer),
    }
}

fn declare(name: &str, conflict: Option<&str>) -> CallCommand {
    CallCommand::Declare {
        proposal: id(name),
        conflict: conflict.map(str::to_owned),
    }
}

/// Names, organisations and roles.
fn add_people(world: &mut World, people: &[(&str, &str, Option<Role>)]) {
    for (name, organisation, role) in people {
        let person = Person {
            id: id(name),
            organisation: id(organisation),
            roles: role.iter().copied().collect(),
        };
        world.must(Actor::Hub, Command::AddPerson(person));
    }
}

pub(crate) fn review(world: &mut World, who: &str, name: &str) {
    let ask = ask_review(name, who);
    let declare = declare(name, None);
    let review = CallCommand::Review {
        proposal: id(name),
        score: 4,
        text: "Good.".into(),
    };
    asks(world, "director", ask).expect("it is granted");
    asks(world, who, declare).expect("it is granted");
    asks(world, who, review).expect("it is granted");
}

pub(crate) fn judge(world: &mut World, name: &str, judgement: Judgement) -> Result<Vec<Event>, Refusal> {
    let judge = CallCommand::Judge {
        proposal: id(name),
        judgement,
        ground: "the panel of 2 August".into(),
    };
    asks(world, "director", judge)
}

pub(crate) fn to_award(name: &str, won: i64) -> Judgement {
    Judgement::Award {
        award: id(name),
        project: id(name),
        budget: Budget::from([(2021, amount(won, 50)), (2022, amount(won, 50))]),
        ends: opening().plus(500 * DAY),
    }
}

/// Three days into an open call, with another officer and a reviewer, `sora` of `bada`.
pub(crate) fn called(label: Label) -> World {
    let mut world = World::without_sites();
    world.now = opening().plus(3 * DAY);
    add_people(
        &mut world,
        &[("deputy", "office", Some(Role::Office)), ("sora", "bada", None)],
    );
    asks(&mut world, "director", CallCommand::Open(call(label))).expect("it is granted");
    world
}

/// Who of everyone may do `action` with the proposal, and so may list it.
fn who_may(world: &World, action: Action, name: &str) -> Vec<String> {
    let case = &world.state.proposals[&id(name)];
    let may = |id: &&PersonId| {
        let asker = Actor::Person((*id).clone());
        let allowed = world
            .state
            .permit(&asker, action, &Resource::Proposal(case))
            .is_ok();
        if [Action::Read, Action::ReadReviews, Action::ReadReviewers].contains(&action) {
            let mut sight = Sight::new(&world.state, &asker, action);
            assert_eq!(sight.sees_proposal(case), allowed);
        }
        allowed
    };
    world
        .state
        .people
        .keys()
        .filter(may)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_proposal_becomes_an_award() {
    let mut world = called(Label::Open);
    propose(&mut world, "minji", "gaon/speech", &["minji", "anna"]).unwrap();
    // Until the call closes it may be put otherwise, by its people.
    let better = Proposal {
        title: "Speech of few".into(),
        ..proposal("gaon/speech", &["minji", "anna"])
    };
    let outsider = asks(&mut world, "jun", CallCommand::Propose(better.clone())).unwrap_err();
    assert_eq!(outsider.kind, RefusalKind::Invalid);
    asks(&mut world, "minji", CallCommand::Propose(better)).unwrap();
    let early = judge(&mut world, "gaon/speech", to_award("speech", 400_000)).unwrap_err();
    assert_eq!(early.kind, RefusalKind::Conflict);

    world.now = world.now.plus(30 * DAY);
    let late = propose(&mut world, "jun", "hangang/late", &["jun"]).unwrap_err();
    assert!(late.message.contains("until 2021-07-31"), "{late}");
    let unread = judge(&mut world, "gaon/speech", to_award("speech", 400_000)).unwrap_err();
    assert!(unread.message.contains("0 of the 1 reviews"), "{unread}");
    review(&mut world, "sora", "gaon/speech");
    let too_much = judge(&mut world, "gaon/speech", to_award("speech", 1_000_001)).unwrap_err();
    assert_eq!(too_much.kind, RefusalKind::Insufficient);
    assert!(too_much.message.contains("for 2022"), "{too_much}");
    judge(&mut world, "gaon/speech", to_award("speech", 400_000)).unwrap();

    let project = &world.state.projects[&id("speech")];
    assert_eq!(
        (project.title.as_str(), project.members.len()),
        ("Speech of few", 2)
    );
    assert_eq!(
        world.state.awards[&id("speech")].won,
        Won(400_000),
        "the year's part, and no more"
    );
    assert_eq!(world.state.proposals[&id("gaon/speech")].stage(), Stage::Awarded);
    let next_year = Command::Appropriate {
        year: 2022,
        won: Won(1_000_000),
    };
    world.must(person("director"), next_year);
    world.wait(200 * 86_400);
    assert_eq!(
        world.state.awards[&id("speech")].won,
        Won(800_000),
        "2022 has begun"
    );
    assert_eq!(world.won(&Account::Award(id("speech"))), 800_000);
    // And that is all there is for 2022 but 600,000.
    assert!(
        judge(&mut world, "gaon/speech", Judgement::Decline).is_err(),
        "it was judged"
    );
}

#[test]
fn partners_propose_to_open_calls() {
    let mut world = called(Label::Open);
    propose(&mut world, "anna", "rhein/genes", &["anna", "minji"]).unwrap();
    let mut world = called(Label::Consortium);
    let closed = propose(&mut world, "anna", "rhein/genes", &["anna"]).unwrap_err();
    let unknown = Proposal {
        call: id("nothing"),
        ..proposal("rhein/genes", &["anna"])
    };
    let missing = asks(&mut world, "anna", CallCommand::Propose(unknown)).unwrap_err();
    assert_eq!(closed.kind, missing.kind);
    assert_eq!(closed.message.replace("autumn", "nothing"), missing.message);
    propose(&mut world, "jun", "hangang/clouds", &["jun", "anna"]).unwrap();
    assert_eq!(
        who_may(&world, Action::Read, "hangang/clouds"),
        ["anna", "deputy", "director", "inspector", "jun"]
    );
}

#[test]
fn whoever_has_a_conflict_judges_nothing_and_sees_nothing() {
    let mut world = called(Label::Open);
    propose(&mut world, "minji", "gaon/speech", &["minji", "anna"]).unwrap();
    propose(&mut world, "jun", "hangang/clouds", &["jun"]).unwrap();
    world.now = world.now.plus(30 * DAY);
    add_people(
        &mut world,
        &[("yuna", "gaon", None), ("boss", "gaon", Some(Role::Office))],
    );
    // Of the proposing organisation, one of its people, or foreign: not even asked.
    for (who, policy) in [
        ("yuna", "colleagues-dont-read-proposals"),
        ("otto", "colleagues-dont-read-proposals"),
        ("minji", "nobody-judges-their-own"),
    ] {
        let ask = ask_review("gaon/speech", who);
        let refusal = asks(&mut world, "director", ask).unwrap_err();
        assert!(
            refusal.policies.contains(&policy.to_owned()),
            "{who}: {refusal:?}"
        );
    }
    assert_eq!(
        who_may(&world, Action::Read, "gaon/speech"),
        ["anna", "deputy", "director", "inspector", "minji"]
    );
    assert_eq!(
        who_may(&world, Action::Decide, "gaon/speech"),
        ["deputy", "director"]
    );
    assert_eq!(
        who_may(&world, Action::Decide, "hangang/clouds"),
        ["boss", "deputy", "director"]
    );

    let ask = ask_review("gaon/speech", "sora");
    asks(&mut world, "director", ask).unwrap();
    assert!(
        !who_may(&world, Action::Read, "gaon/speech").contains(&"sora".to_owned()),
        "not before she declares"
    );
    assert_eq!(world.state.asked_of(&id("sora")).count(), 1);
    let score = |score| CallCommand::Review {
        proposal: id("gaon/speech"),
        score,
        text: "Good.".into(),
    };
    assert_eq!(
        asks(&mut world, "sora", score(3)).unwrap_err().kind,
        RefusalKind::Conflict
    );
    asks(&mut world, "sora", declare("gaon/speech", None)).unwrap();
    assert!(who_may(&world, Action::Read, "gaon/speech").contains(&"sora".to_owned()));
    asks(&mut world, "sora", score(3)).unwrap();
    assert_eq!(
        asks(&mut world, "sora", score(6)).unwrap_err().kind,
        RefusalKind::Invalid
    );
    // She finds out that her sister works there: her review is gone, and so is the proposal.
    asks(&mut world, "sora", declare("gaon/speech", Some("my sister"))).unwrap();
    assert_eq!(world.state.proposals[&id("gaon/speech")].reviews().count(), 0);
    assert_eq!(world.state.asked_of(&id("sora")).count(), 0);
    // So it is for an officer.
    asks(&mut world, "deputy", declare("gaon/speech", Some("my student"))).unwrap();
    assert_eq!(
        who_may(&world, Action::Read, "gaon/speech"),
        ["anna", "director", "inspector", "minji"]
    );
    assert_eq!(who_may(&world, Action::Decide, "gaon/speech"), ["director"]);

    // To all who may not know of it, it is as if it weren't there.
    for who in ["sora", "deputy", "yuna", "jun", "otto", "boss"] {
        for name in ["gaon/speech", "gaon/nothing"] {
            let commands = [
                CallCommand::Withdraw(id(name)),
                declare(name, None),
                CallCommand::Review {
                    proposal: id(name),
                    score: 3,
                    text: "x".into(),
                },
                CallCommand::Judge {
                    proposal: id(name),
                    judgement: Judgement::Decline,
                    ground: "x".into(),
                },
            ];
            for command in commands {
                let refusal = asks(&mut world, who, command).unwrap_err();
                assert_eq!(
                    refusal,
                    Refusal {
                        kind: RefusalKind::NotFound,
                        message: format!("there is no proposal {name}"),
                        hint: None,
                        policies: Vec::new(),
                    }
                );
            }
        }
    }
}

/// What was written before there were proposals says nothing of conflicts; nobody judges their own all the same.
#[test]
fn conflicts_count_under_an_older_policy_too() {
    let mut world = called(Label::Open);
    let older = "@id(\"all\") permit (principal is Person, action == Action::\"read\", resource);\n\
                 @id(\"hub-founds-the-consortium\") permit (principal is Hub, action, resource);";
    propose(&mut world, "minji", "gaon/speech", &["minji"]).unwrap();
    let yuna = Person {
        id: id("yuna"),
        organisation: id("gaon"),
        roles: BTreeSet::new(),
    };
    world.must(Actor::Hub, Command::AddPerson(yuna));
    world.must(Actor::Hub, Command::AdoptPolicy(older.into()));
    let readers = who_may(&world, Action::Read, "gaon/speech");
    assert!(
        readers.contains(&"minji".into()) && !readers.contains(&"yuna".into()),
        "{readers:?}"
    );
    assert!(who_may(&world, Action::Decide, "gaon/speech").is_empty());
}

#[test]
fn a_call_says_what_is_wrong_with_it() {
    let mut world = called(Label::Open);
    let good = Call {
        id: id("winter"),
        ..call(Label::Open)
    };
    let with = |change: fn(&mut Call)| {
        let mut call = good.clone();
        change(&mut call);
        call
    };
    for (told, call) in [
        ("exists already", call(Label::Open)),
        ("can't be restricted", with(|it| it.label = Label::Restricted)),
        ("close before it opens", with(|it| it.closes = it.opens)),
        ("title has 0 bytes", with(|it| it.title.clear())),
        ("21 reviews", with(|it| it.reviews = 21)),
        (
            "in 1999",
            with(|it| it.budget = Budget::from([(1999, amount(1, 1))])),
        ),
        (
            "KRW -1",
            with(|it| it.budget = Budget::from([(2022, amount(-1, 1))])),
        ),
    ] {
        let refusal = asks(&mut world, "director", CallCommand::Open(call)).unwrap_err();
        assert!(refusal.message.contains(told), "{refusal}");
    }
    assert_eq!(
        asks(&mut world, "minji", CallCommand::Open(good.clone()))
            .unwrap_err()
            .kind,
        RefusalKind::Forbidden
    );
    asks(&mut world, "director", CallCommand::Open(good)).unwrap();
    let later = |days: u64| CallCommand::Prolong {
        call: id("autumn"),
        closes: opening().plus(days * DAY),
    };
    assert_eq!(
        asks(&mut world, "director", later(1)).unwrap_err().kind,
        RefusalKind::Invalid
    );
    asks(&mut world, "director", later(60)).unwrap();
    world.now = opening().plus(59 * DAY);
    propose(&mut world, "minji", "gaon/speech", &["minji"]).unwrap();
}

#[test]
fn what_was_withdrawn_leaves_its_name() {
    let mut world = called(Label::Open);
    add_people(&mut world, &[("yuna", "gaon", None)]);
    propose(&mut world, "minji", "gaon/speech", &["minji"]).unwrap();
    let taken = propose(&mut world, "yuna", "gaon/speech", &["yuna"]).unwrap_err();
    assert_eq!(taken.kind, RefusalKind::Conflict);
    asks(&mut world, "deputy", declare("gaon/speech", Some("my student"))).unwrap();
    let case = |world: &World| world.state.proposals[&id("gaon/speech")].clone();
    assert_eq!(
        case(&world).stage(),
        Stage::Proposed,
        "nobody learns of the conflict"
    );
    asks(&mut world, "minji", CallCommand::Withdraw(id("gaon/speech"))).unwrap();
    assert_eq!(case(&world).stage(), Stage::Withdrawn);
    propose(&mut world, "yuna", "gaon/speech", &["yuna"]).unwrap();
    assert_eq!(case(&world).stage(), Stage::Proposed);
    assert_eq!(case(&world).proposal.people, [id("yuna")].into());
    let readers = who_may(&world, Action::Read, "gaon/speech");
    assert_eq!(readers, ["director", "inspector", "yuna"], "the conflict stays");
}

/// What comes next, for each of those whom a proposal concerns.
#[test]
fn everyone_is_told_what_comes_next() {
    let mut world = called(Label::Open);
    propose(&mut world, "minji", "gaon/speech", &["minji", "anna"]).unwrap();
    let told = |world: &World| {
        ["minji", "director", "inspector", "sora"].map(|who| {
            let case = &world.state.proposals[&id("gaon/speech")];
            world.state.next_step(case, &person(who), world.now).to_string()
        })
    };
    let closing = "waits for the call to close on 2021-07-31";
    assert_eq!(
        told(&world),
        [
            "may be revised or withdrawn until 2021-07-31",
            closing,
            closing,
            closing
        ]
    );
    world.now = world.now.plus(30 * DAY);
    let office = "waits for the programme office and its reviewers";
    assert_eq!(
        told(&world),
        [office, "ask one more for a review", office, office]
    );
    asks(&mut world, "director", ask_review("gaon/speech", "sora")).unwrap();
    let waits = "waits for one more review";
    assert_eq!(
        told(&world),
        [office, waits, office, "say whether you have a conflict"]
    );
    asks(&mut world, "sora", declare("gaon/speech", None)).unwrap();
    assert_eq!(told(&world), [office, waits, office, "review it"]);
    let review = CallCommand::Review {
        proposal: id("gaon/speech"),
        score: 4,
        text: "Good.".into(),
    };
    asks(&mut world, "sora", review).unwrap();
    assert_eq!(told(&world), [office, "judge it", office, office]);
    let waits = Judgement::Wait {
        award: id("speech"),
        project: id("speech"),
        wanted: amount(1, 1),
        ends: opening().plus(500 * DAY),
    };
    judge(&mut world, "gaon/speech", waits).unwrap();
    let first = "number 1 on the waiting list";
    assert_eq!(told(&world), [first, first, first, "nothing more"]);
    judge(&mut world, "gaon/speech", to_award("speech", 1)).unwrap();
    let pays = "award speech pays for the jobs of project speech";
    assert_eq!(told(&world), [pays, pays, pays, "nothing more"]);
}

/// Who waits in another programme is before nobody.
#[test]
fn places_on_the_waiting_list_are_those_of_a_programme() {
    let mut world = called(Label::Open);
    let folds = Call {
        id: id("folds"),
        programme: Programme::Folding,
        ..call(Label::Open)
    };
    asks(&mut world, "director", CallCommand::Open(folds)).unwrap();
    let names = ["gaon/a", "gaon/b", "gaon/c"];
    for (name, to) in names.into_iter().zip(["autumn", "folds", "autumn"]) {
        let proposal = Proposal {
            call: id(to),
            ..proposal(name, &["minji"])
        };
        asks(&mut world, "minji", CallCommand::Propose(proposal)).unwrap();
    }
    world.now = world.now.plus(30 * DAY);
    for name in names {
        review(&mut world, "sora", name);
        let short = name.strip_prefix("gaon/").expect("the organisation's");
        let waits = Judgement::Wait {
            award: id(short),
            project: id(short),
            wanted: amount(1, 1),
            ends: opening().plus(500 * DAY),
        };
        judge(&mut world, name, waits).unwrap();
    }
    let places = names.map(|name| {
        let case = &world.state.proposals[&id(name)];
        world.state.next_step(case, &person("minji"), world.now)
    });
    let expected = [1, 1, 2].map(|place| Step::AwaitTurn { place });
    assert_eq!(places, expected);
}

/// Of the proposal of `minji` and `anna` at `gaon`, where `boss` and `yuna` are colleagues; `sora` has reviewed it, and
/// `jun` has declared a conflict. Reviews are their texts, reviewers are whose they are.
const TABLE: &str = "
who       | open call    | consortium's | proposal                            | judged
          | read propose | read propose | read review decide reviews reviewers | reviews reviewers
director  | yes  yes     | yes  yes     | yes  -      yes    yes     yes       | yes     yes
boss      | yes  yes     | yes  yes     | -    -      -      -       -         | -       -
inspector | yes  yes     | yes  yes     | yes  -      -      yes     yes       | yes     yes
minji     | yes  yes     | yes  yes     | yes  -      -      -       -         | yes     -
anna      | yes  yes     | -    -       | yes  -      -      -       -         | yes     -
yuna      | yes  yes     | yes  yes     | -    -      -      -       -         | -       -
sora      | yes  yes     | yes  yes     | yes  yes    -      -       -         | -       -
jun       | yes  yes     | yes  yes     | -    -      -      -       -         | -       -
otto      | yes  yes     | -    -       | -    -      -      -       -         | -       -
";

#[test]
fn who_may_do_what_with_calls_and_proposals() {
    let mut world = called(Label::Open);
    propose(&mut world, "minji", "gaon/speech", &["minji", "anna"]).unwrap();
    world.now = world.now.plus(30 * DAY);
    add_people(
        &mut world,
        &[("yuna", "gaon", None), ("boss", "gaon", Some(Role::Office))],
    );
    review(&mut world, "sora", "gaon/speech");
    asks(&mut world, "director", ask_review("gaon/speech", "jun")).unwrap();
    asks(&mut world, "jun", declare("gaon/speech", Some("we compete"))).unwrap();
    let case = world.state.proposals[&id("gaon/speech")].clone();
    judge(&mut world, "gaon/speech", Judgement::Decline).unwrap();
    let judged = &world.state.proposals[&id("gaon/speech")];
    let (open, closed) = (call(Label::Open), call(Label::Consortium));
    let mut rows = TABLE.trim_matches('\n').lines();
    let mut table: Vec<String> = rows.by_ref().take(2).map(str::to_owned).collect();
    for row in rows {
        let who = row.split(' ').next().expect("a name");
        let may = |width: usize, action, resource: Resource<'_>| {
            let decision = world
                .state
                .policy
                .ask(&world.state, &person(who), action, &resource);
            format!("{:<width$}", if decision.allowed { "yes" } else { "-" })
        };
        let of = |call: &Call| {
            let may = |width, action| may(width, action, Resource::Call(call));
            format!("{} {}", may(4, Action::Read), may(7, Action::Propose))
        };
        let reviews = |case: &Case| {
            let may = |width, action| may(width, action, Resource::Proposal(case));
            format!(
                "{} {}",
                may(7, Action::ReadReviews),
                may(9, Action::ReadReviewers)
            )
        };
        let of_proposal = |width, action| may(width, action, Resource::Proposal(&case));
        let line = format!(
            "{who:<9} | {} | {} | {} {} {} {} | {}",
            of(&open),
            of(&closed),
            of_proposal(4, Action::Read),
            of_proposal(6, Action::Review),
            of_proposal(6, Action::Decide),
            reviews(&case),
            reviews(judged),
        );
        table.push(line.trim_end().to_owned());
    }
    assert_eq!(table.join("\n"), TABLE.trim_matches('\n'));
}
