//! Logs that older versions wrote. `older/0.1.jsonl` is a backup by khub 0.1.0: a founded consortium, files under
//! its two labels, a model, a policy that was adopted, and a job of each label.

use consortium::policy::Resource;
use consortium::{
    Action, Actor, ArtifactId, Award, Command, Event, Label, Policy, Request, Standing, State, Time, Won,
    decide, policy::SHIPPED,
};
use std::path::Path;
use store::{Store, restore};

fn restored() -> State {
    let dir = tempfile::tempdir().unwrap();
    let mut text = include_str!("older/0.1.jsonl").as_bytes();
    let done = restore(dir.path(), Path::new("0.1.jsonl"), &mut text, None).unwrap();
    let (store, state) = Store::open(dir.path()).unwrap();
    assert_eq!((done.records, store.seq()), (31, 31));
    state
}

/// What each may read of the older log's three files and two jobs.
fn reads(state: &State, who: &str) -> String {
    let who = Actor::Person(who.parse().unwrap());
    let reads = |resource| match state.permit(&who, Action::Read, &resource) {
        Ok(()) => '+',
        Err(_) => '-',
    };
    let mut names: Vec<_> = state.artifacts.values().collect();
    names.sort_by_key(|artifact| &artifact.name);
    let artifacts = names
        .into_iter()
        .map(|artifact| reads(Resource::Artifact(artifact)));
    artifacts
        .chain(state.jobs.values().map(|job| reads(Resource::Job(job))))
        .collect()
}

#[test]
fn labels_of_an_older_log_mean_what_they_meant() {
    let mut state = restored();
    let label = |name: &str| {
        let mut named = state.artifacts.values().filter(|artifact| artifact.name == name);
        named.next().unwrap().label
    };
    assert_eq!(
        ["config.json", "model.safetensors", "open.csv"].map(label),
        [Label::Restricted, Label::Restricted, Label::Open]
    );
    // config.json, model.safetensors, open.csv, the restricted job and the open one; under the policy that was
    // adopted then, and under today's. Who had brought what was not in the log yet.
    let adopted = state.policy.clone();
    assert_ne!(adopted.text(), SHIPPED);
    for policy in [adopted, Policy::default()] {
        state.policy = policy;
        let told = ["office", "minji", "ingrid"].map(|who| reads(&state, who));
        assert_eq!(told, ["+++++", "+++++", "--+-+"]);
    }
}

#[test]
fn a_newer_label_is_closed_under_an_older_policy() {
    let mut state = restored();
    let id: ArtifactId = state.artifacts.keys().next().unwrap().clone();
    for (label, expected) in [
        (Label::Open, true),
        (Label::Consortium, false),
        (Label::Restricted, false),
        (Label::Security, false),
    ] {
        state.artifacts.get_mut(&id).unwrap().label = label;
        let resource = Resource::Artifact(&state.artifacts[&id]);
        let partner = Actor::Person("ingrid".parse().unwrap());
        assert_eq!(
            state.permit(&partner, Action::Read, &resource).is_ok(),
            expected,
            "{label}"
        );
    }
}

#[test]
fn whoever_is_suspended_has_no_part_under_an_older_policy() {
    let mut state = restored();
    let allowed = |state: &State| {
        let open = state.jobs.values().find(|job| job.label == Label::Open).unwrap();
        let (partner, site) = (
            Actor::Person("ingrid".parse().unwrap()),
            Actor::Site("fjord-1".parse().unwrap()),
        );
        let job = Resource::Job(open);
        [(partner, Action::Read), (site, Action::Hold)]
            .map(|(who, action)| state.permit(&who, action, &job).is_ok())
    };
    assert_eq!(allowed(&state), [true, true]);
    let suspended = Event::StandingSet {
        organisation: "fjord-institute".parse().unwrap(),
        standing: Standing::Suspended,
        ground: "decision 12".into(),
    };
    consortium::apply(&mut state, &suspended, Time(0));
    assert_eq!(allowed(&state), [false, false]);
}

/// It knew one pool for all years, which pays for a year until the office carries it into one.
#[test]
fn money_of_an_older_log_is_undated_and_still_pays() {
    let mut state = restored();
    let years = state.fiscal_years();
    let [undated] = years.as_slice() else {
        panic!("{years:?}")
    };
    assert_eq!(
        (undated.year, undated.book.appropriated),
        (None, Won(44_500_000_000))
    );
    assert_eq!(
        (undated.book.awarded, undated.left),
        (Won(2_000_000), Won(44_498_000_000))
    );
    let spent: Won = state.holdings().values().map(|of| of.used.won).sum();
    assert_eq!(undated.spent, spent);

    let more = Award {
        id: "more".parse().unwrap(),
        won: Won(500),
        ..state.awards.values().next().unwrap().clone()
    };
    let now = Time(1_800_000_000_000);
    let office = Actor::Person("office".parse().unwrap());
    for event in decide(&state, &Request::new(office, Command::Grant(more)), now).unwrap() {
        consortium::apply(&mut state, &event, now);
    }
    assert_eq!(state.fiscal_years()[0].left, Won(44_497_999_500));
}
