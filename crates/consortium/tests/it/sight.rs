//! The listing's predicate against Cedar, row by row, on random consortia.

use crate::world::{id, spec};
use consortium::policy::{Resource, SHIPPED};
use consortium::*;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const LABELS: [Label; 4] = [Label::Open, Label::Consortium, Label::Restricted, Label::Security];

fn consortium(seed: u64) -> State {
    let mut dice = Dice(seed);
    let mut state = State::default();
    let mut events = Vec::new();
    for n in 0..5 {
        let organisation: OrganisationId = id(&format!("o-{n}"));
        let home = dice.pick(&[Home::Domestic, Home::Foreign]);
        let kind = dice.pick(&[Kind::Company, Kind::University]);
        let name = organisation.to_string();
        events.push(Event::Admitted(Organisation {
            id: organisation.clone(),
            name: name.clone(),
            name_ko: name,
            kind,
            home,
        }));
        let standing = dice.pick(&[
            Standing::Active,
            Standing::Active,
            Standing::Suspended,
            Standing::Left,
        ]);
        events.push(Event::StandingSet {
            organisation: organisation.clone(),
            standing,
            ground: "dice".into(),
        });
        events.push(Event::SiteAdded(Site {
            id: id(&format!("s-{n}")),
            owner: organisation,
            tenure: dice.pick(&[Tenure::Rented, Tenure::Member, Tenure::National]),
            rated: FlopsPerSecond(1),
            price: Price(1),
            gpus: 1,
            gpu: None,
            marginal: None,
        }));
    }
    for n in 0..8 {
        let all = [Role::Office, Role::Auditor, Role::Cleared];
        let roles = all.into_iter().filter(|_| dice.below(3) == 0).collect();
        let organisation = id(&format!("o-{}", dice.below(5)));
        events.push(Event::PersonAdded(Person {
            id: id(&format!("p-{n}")),
            organisation,
            roles,
        }));
    }
    for n in 0..4 {
        let members: BTreeSet<PersonId> = (0..8)
            .filter(|_| dice.below(3) == 0)
            .map(|n| id(&format!("p-{n}")))
            .collect();
        events.push(Event::ProjectOpened(Project {
            id: id(&format!("x-{n}")),
            title: "X".into(),
            organisation: id("o-0"),
            programme: Programme::Language,
            members,
        }));
    }
    for n in 0..60u64 {
        let project: ProjectId = id(&format!("x-{}", dice.below(4)));
        let by = (0..8)
            .filter(|_| dice.below(6) == 0)
            .map(|n| id(&format!("p-{n}")))
            .collect();
        let digest = Digest::of(&n.to_le_bytes());
        let label = dice.pick(&LABELS);
        events.push(Event::Kept(Artifact {
            id: ArtifactId {
                project: project.clone(),
                digest,
            },
            name: "a".into(),
            kind: ArtifactKind::Dataset,
            bytes: 1,
            label,
            job: None,
            made_from: vec![],
            by,
        }));
        let job = JobId(n + 1);
        let spec = JobSpec {
            project,
            inputs: BTreeMap::from([("a".into(), digest)]),
            ..spec()
        };
        let submitter = id(&format!("p-{}", dice.below(8)));
        events.push(Event::Submitted {
            job,
            spec: Box::new(spec),
            submitter,
            label: dice.pick(&LABELS),
        });
        let mut run = crate::runs::run(n, "x-0", "p-0");
        run.project = id(&format!("x-{}", dice.below(4)));
        run.by = id(&format!("p-{}", dice.below(8)));
        run.label = dice.pick(&LABELS);
        run.job = (dice.below(4) == 0).then(|| JobId(dice.below(60) as u64));
        events.push(Event::Run(run.id, RunEvent::Began(Box::new(run))));
        if dice.below(3) > 0 {
            let sites = (0..5)
                .filter(|_| dice.below(2) == 0)
                .map(|n| placed(&format!("s-{n}")))
                .collect();
            events.push(Event::Placed {
                job,
                award: id("w"),
                sites,
                candidates: vec![],
            });
        }
        if dice.below(3) > 0 {
            events.push(Event::Ended {
                job,
                outcome: Outcome::Cancelled,
            });
        }
    }
    events.extend(proposed(&mut dice).into_iter().map(Event::Call));
    for event in &events {
        apply(&mut state, event, Time(0));
    }
    state
}

/// Calls of both sorts and proposals to them, of anyone, with reviewers of every sort, some of them judged.
fn proposed(dice: &mut Dice) -> Vec<CallEvent> {
    let mut events = Vec::new();
    for label in [Label::Open, Label::Consortium] {
        events.push(CallEvent::Opened(Call {
            id: id(&label.to_string()),
            label,
            ..crate::calls::call(label)
        }));
    }
    for n in 0..20 {
        let proposal: ProposalId = id(&format!("o-{}/{n}", dice.below(5)));
        let people = (0..8).filter(|_| dice.below(4) == 0);
        events.push(CallEvent::Proposed(Proposal {
            id: proposal.clone(),
            people: people.map(|n| id(&format!("p-{n}"))).collect(),
            ..crate::calls::proposal("o-0/x", &[])
        }));
        for reviewer in (0..8).map(|n| id::<PersonId>(&format!("p-{n}"))) {
            let (proposal, person) = (proposal.clone(), reviewer.clone());
            events.extend(match dice.below(6) {
                0 => Some(CallEvent::ReviewAsked { proposal, reviewer }),
                1 => Some(CallEvent::Reviewed {
                    proposal,
                    reviewer,
                    score: 3,
                    text: "Fair.".into(),
                }),
                2 | 3 => Some(CallEvent::Declared {
                    proposal,
                    person,
                    conflict: (dice.below(2) == 0).then(|| "a friend".to_owned()),
                }),
                _ => None,
            });
        }
        if dice.below(2) == 0 {
            events.push(CallEvent::Judged {
                proposal,
                judgement: Judgement::Decline,
                ground: "dice".into(),
                by: id("p-0"),
            });
        }
    }
    events
}

fn placed(site: &str) -> Placed {
    Placed {
        site: id(site),
        price: Price(1),
        rated: FlopsPerSecond(1),
        reserved: Won(0),
        reserved_compute: FlopSeconds(0),
    }
}

/// How many rows were compared.
fn compare(state: &State) -> usize {
    let people = state.people.keys().map(|id| Actor::Person(id.clone()));
    let sites = state.sites.keys().map(|id| Actor::Site(id.clone()));
    let strangers = [
        Actor::Hub,
        Actor::Person(id("nobody")),
        Actor::Site(id("nowhere")),
    ];
    let mut rows = 0;
    for actor in people.chain(sites).chain(strangers) {
        let mut sight = Sight::new(state, &actor, Action::Read);
        for artifact in state.artifacts.values() {
            let asked = state
                .permit(&actor, Action::Read, &Resource::Artifact(artifact))
                .is_ok();
            assert_eq!(sight.sees_artifact(artifact), asked, "{actor}, {artifact:?}");
            rows += 1;
        }
        for job in state.jobs.values() {
            let asked = state.permit(&actor, Action::Read, &Resource::Job(job)).is_ok();
            assert_eq!(sight.sees_job(job), asked, "{actor}, {}", job.id);
            rows += 1;
        }
        let mut holds = Sight::new(state, &actor, Action::Hold);
        for job in state.jobs.values() {
            let asked = state.policy.ask(state, &actor, Action::Hold, &Resource::Job(job));
            assert_eq!(holds.decides_job(job), asked, "{actor}, {}", job.id);
            rows += 1;
        }
        let mut works = Sight::new(state, &actor, Action::Contribute);
        for project in state.projects.values() {
            let asked = state.permit(&actor, Action::Contribute, &Resource::Project(project));
            assert_eq!(
                works.sees_project(project),
                asked.is_ok(),
                "{actor}, {}",
                project.id
            );
            rows += 1;
        }
        for run in state.runs.all.values() {
            let asked = state.permit(&actor, Action::Read, &Resource::Run(run)).is_ok();
            assert_eq!(sight.sees_run(run), asked, "{actor}, {run:?}");
            rows += 1;
        }
        for call in state.calls.values() {
            let asked = state.permit(&actor, Action::Read, &Resource::Call(call)).is_ok();
            assert_eq!(sight.sees_call(call), asked, "{actor}, {}", call.id);
            rows += 1;
        }
        for action in [Action::Read, Action::ReadReviews, Action::ReadReviewers] {
            let mut sight = Sight::new(state, &actor, action);
            for case in state.proposals.values() {
                let asked = state.permit(&actor, action, &Resource::Proposal(case)).is_ok();
                assert_eq!(sight.sees_proposal(case), asked, "{actor}, {action:?}, {case:?}");
                rows += 1;
            }
        }
    }
    rows
}

/// All of them have one policy, which must not take what it has answered about one for an answer about another.
fn compare_rows(wanted: usize) {
    let policy = Policy::default();
    let mut rows = 0;
    let mut seed = 0;
    while rows < wanted {
        let mut state = consortium(seed);
        state.policy = policy.clone();
        rows += compare(&state);
        seed += 1;
    }
}

#[test]
fn a_listing_shows_what_cedar_permits() {
    compare_rows(6_000);
}

#[test]
#[ignore = "the same for longer: `cargo nextest run --workspace --run-ignored only -E 'test(hundred_thousand_rows)'`"]
fn a_hundred_thousand_rows() {
    compare_rows(100_000);
}

/// A policy that asks of a set more than whether somebody is in it has whole sets compared.
#[test]
fn also_under_a_policy_that_compares_sets() {
    let more = [
        r#"@id("more") permit (principal is Person, action == Action::"read", resource is Job)
           when { resource.members.contains(Person::"p-3") };"#,
        r#"@id("more") forbid (principal is Person, action == Action::"read", resource is Artifact)
           when { resource.members.containsAny(resource.by) };"#,
        r#"@id("more") permit (principal is Person, action == Action::"read", resource is Job)
           when { resource.sites.contains(Site::"s-2") };"#,
    ];
    for (seed, more) in (0..).zip(more) {
        let mut state = consortium(seed);
        state.policy = Policy::parse(&format!("{SHIPPED}\n{more}")).unwrap();
        compare(&state);
    }
}

/// A policy that tells things apart by their names has each of them asked about.
#[test]
fn also_under_a_policy_that_names_one_thing() {
    let named = "@id(\"one\") forbid (principal is Person, action == Action::\"read\", resource == Job // one\n :: \"job-7\");";
    for seed in 0..2 {
        let mut state = consortium(seed);
        state.policy = Policy::parse(&format!("{SHIPPED}\n{named}")).unwrap();
        compare(&state);
    }
}
