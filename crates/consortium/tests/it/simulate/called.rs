//! Stories in which calls, proposals, reviews and awards are asked for beside everything else, and a clock that jumps over
//! days: whoever asks, no account goes below zero, a call gives no more than it has, and nobody judges their own.

use super::Story;
use crate::calls::{DAY, amount, opening};
use crate::world::{id, person};
use consortium::{
    Account, Actor, AwardCommand, AwardId, Budget, Call, CallCommand, CallId, Case, Command, Judgement,
    Label, Month, Person, PersonId, Programme, Proposal, ProposalId, Reviewer, Role, Stage,
};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 80;
const STEPS: usize = 300;
const PEOPLE: [&str; 7] = ["director", "deputy", "jun", "minji", "anna", "otto", "sora"];

#[test]
fn whatever_is_asked_of_awards_the_rules_hold() {
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        story.world.now = opening();
        for (name, organisation, role) in [("deputy", "office", Some(Role::Office)), ("sora", "bada", None)] {
            let person = Person {
                id: id(name),
                organisation: id(organisation),
                roles: role.into_iter().collect(),
            };
            story.world.must(Actor::Hub, Command::AddPerson(person));
        }
        for _ in 0..STEPS {
            if story.dice.one_in(4) {
                story.step();
            } else {
                let (actor, command) = story.called();
                story.ask(actor, command);
            }
            if story.dice.one_in(10) {
                story.world.now = story.world.now.plus(story.dice.below(20) * DAY);
            }
            story.check_calls();
        }
        story.end(&mut seen);
    }
    for what in [
        "Opened",
        "Prolonged",
        "Proposed",
        "Withdrawn",
        "ReviewAsked",
        "Declared",
        "Reviewed",
        "Judged",
        "Awarded",
        "Given",
        "Amended",
        "Extended",
        "Closed",
        "NoticeGiven",
        "NoticeDropped",
        "Appealed",
        "AppealAnswered",
        "PassedOn",
        "TakenBack",
        "Carried",
        "Returned",
        "over",
    ] {
        let times = seen.get(what).copied().unwrap_or(0);
        assert!(times >= 10, "{what} was seen {times} times only: {seen:?}");
    }
}

impl Story {
    /// Something of calls, proposals, reviews or awards: mostly by whom it concerns, sometimes by anyone.
    fn called(&mut self) -> (Actor, Command) {
        let (who, command) = match self.dice.below(12) {
            0 => ("director".to_owned(), self.of_office()),
            1 | 2 => self.of_proposers(),
            3..=6 => self.of_reviewers(),
            7 | 8 => ("director".to_owned(), self.judge()),
            _ => self.of_award(),
        };
        if self.dice.one_in(5) {
            return (person(self.dice.pick(&PEOPLE)), command);
        }
        (person(&who), command)
    }

    fn of_office(&mut self) -> Command {
        if self.dice.one_in(8) {
            return Command::Money(self.year_end());
        }
        if self.dice.one_in(12) {
            let year = Month::of(self.world.now).year();
            return Command::Appropriate {
                year,
                won: amount(200_000, 0).won,
            };
        }
        let call = self.call();
        let now = self.world.now;
        if self.dice.one_in(12) {
            let closes = now.plus(self.dice.below(9) * DAY);
            return Command::Call(CallCommand::Prolong { call, closes });
        }
        Command::Call(CallCommand::Open(Call {
            id: id(&format!("call-{}", self.dice.below(40))),
            programme: Programme::Language,
            title: "A call".into(),
            title_ko: "공모".into(),
            text: "Propose.".into(),
            label: self.dice.pick(&[Label::Open, Label::Consortium, Label::Security]),
            opens: now,
            closes: now.plus(self.dice.number(10).saturating_mul(DAY)),
            reviews: self.dice.small(2),
            budget: self.budget(2_000_000),
        }))
    }

    fn of_proposers(&mut self) -> (String, Command) {
        let (who, organisation) = self
            .dice
            .pick(&[("minji", "gaon"), ("jun", "hangang"), ("anna", "rhein")]);
        let theirs = |id: &&ProposalId| id.organisation.as_str() == organisation;
        let theirs: Vec<ProposalId> = self
            .world
            .state
            .proposals
            .keys()
            .filter(theirs)
            .cloned()
            .collect();
        let proposal = id(&format!("{organisation}/p-{}", self.dice.below(20)));
        let command = match self.dice.below(8) {
            0 if !theirs.is_empty() => CallCommand::Withdraw(self.dice.pick(&theirs)),
            _ => CallCommand::Propose(Proposal {
                id: proposal,
                call: self.call(),
                title: "A proposal".into(),
                text: "We would.".into(),
                people: [id(who), id(self.dice.pick(&["minji", "anna", "otto", "deputy"]))].into(),
                budget: self.budget(500_000),
            }),
        };
        (who.to_owned(), Command::Call(command))
    }

    fn of_reviewers(&mut self) -> (String, Command) {
        let Some(case) = self.case() else {
            return ("director".to_owned(), self.of_office());
        };
        let proposal = case.proposal.id.clone();
        let reviewers: Vec<(PersonId, Reviewer)> = case.reviewers.into_iter().collect();
        if reviewers.is_empty() || self.dice.one_in(4) {
            let reviewer = id(self.dice.pick(&PEOPLE));
            let ask = CallCommand::AskReview { proposal, reviewer };
            return ("director".to_owned(), Command::Call(ask));
        }
        let (reviewer, state) = self.dice.pick(&reviewers);
        let command = if state == Reviewer::Asked || self.dice.one_in(8) {
            CallCommand::Declare {
                proposal,
                conflict: self.dice.one_in(6).then(|| "a friend".to_owned()),
            }
        } else {
            CallCommand::Review {
                proposal,
                score: u8::try_from(self.dice.below(7)).unwrap_or(0),
                text: "Good.".into(),
            }
        };
        (reviewer.to_string(), Command::Call(command))
    }

    fn judge(&mut self) -> Command {
        let Some(case) = self.case() else {
            return self.of_office();
        };
        let name = format!("award-{}", self.dice.below(60));
        let ends = self.world.now.plus(self.dice.below(600) * DAY);
        let (award, project) = (id(&name), id(&name.replace("award", "judged")));
        let judgement = match self.dice.below(5) {
            0 => Judgement::Decline,
            1 | 2 => Judgement::Wait {
                award,
                project,
                wanted: amount(self.dice.amount(300_000), self.dice.amount(9).clamp(-9, 9)),
                ends,
            },
            _ => Judgement::Award {
                award,
                project,
                budget: self.budget(500_000),
                ends,
            },
        };
        Command::Call(CallCommand::Judge {
            proposal: case.proposal.id,
            judgement,
            ground: "the panel".into(),
        })
    }

    fn of_award(&mut self) -> (String, Command) {
        let courses = self.world.state.courses.iter();
        let judged = courses.filter(|(_, course)| course.proposal.is_some() && course.closed.is_none());
        let mut awards: Vec<AwardId> = judged.map(|(id, _)| id.clone()).collect();
        if awards.is_empty() || self.dice.one_in(4) {
            awards = self.world.state.courses.keys().cloned().collect();
        }
        let award = self.dice.pick(&awards);
        let left = self.world.state.ledger.balance(&Account::Award(award.clone()));
        let (now, ground) = (self.world.now, "a letter".to_owned());
        let members = self.world.state.awards.get(&award);
        let members = members.and_then(|award| self.world.state.projects.get(&award.project));
        let member = members.and_then(|project| project.members.first());
        let member = member.map_or("minji".to_owned(), ToString::to_string);
        let office = self.dice.pick(&["director", "deputy"]).to_owned();
        let (who, command) = match self.dice.below(12) {
            0 | 1 => (
                office,
                AwardCommand::Amend {
                    budget: self.budget(500_000),
                    ground,
                },
            ),
            2 => {
                let ends = now.plus(self.dice.below(1_000) * DAY);
                (office, AwardCommand::Extend { ends, ground })
            }
            3 if self.dice.one_in(4) => (office, AwardCommand::Close { ground }),
            3 if self.dice.one_in(3) => (office, AwardCommand::DropNotice { ground }),
            4..=6 => (member, AwardCommand::Appeal { ground }),
            7 | 8 => {
                let upheld = self.dice.one_in(3);
                (office, AwardCommand::AnswerAppeal { upheld, ground })
            }
            _ => {
                let amount = match self.dice.one_in(4) {
                    true => amount(self.dice.amount(300_000), 1),
                    false => left,
                };
                let until = now.plus((13 + self.dice.below(20)) * DAY);
                (
                    office,
                    AwardCommand::GiveNotice {
                        amount,
                        until,
                        ground,
                    },
                )
            }
        };
        (who, Command::Award(award, command))
    }

    /// A call that takes proposals, if there is one, or some name.
    fn call(&mut self) -> CallId {
        let now = self.world.now;
        let calls = self.world.state.calls.values();
        let open: Vec<CallId> = calls
            .filter(|it| now < it.closes)
            .map(|it| it.id.clone())
            .collect();
        match open.is_empty() || self.dice.one_in(8) {
            true => id(&format!("call-{}", self.dice.below(40))),
            false => self.dice.pick(&open),
        }
    }

    /// Some proposal that is there, mostly one of those that are to be judged.
    fn case(&mut self) -> Option<Case> {
        let (state, now) = (&self.world.state, self.world.now);
        let open = |case: &&Case| {
            let closed = state.calls[&case.proposal.call].closes <= now;
            closed && !case.withdrawn && case.judged.is_none()
        };
        let cases = state.proposals.values();
        let to_judge: Vec<ProposalId> = cases
            .filter(open)
            .map(|it| it.proposal.id.clone())
            .take(3)
            .collect();
        let ids: Vec<ProposalId> = match to_judge.is_empty() || self.dice.one_in(6) {
            true => self.world.state.proposals.keys().cloned().collect(),
            false => to_judge,
        };
        (!ids.is_empty()).then(|| self.world.state.proposals[&self.dice.pick(&ids)].clone())
    }

    fn budget(&mut self, won: u64) -> Budget {
        let year = Month::of(self.world.now).year();
        let years = 1 + self.dice.below(2);
        let part = |n| {
            let year = year.saturating_add(u16::try_from(n).unwrap_or(0));
            (
                year,
                amount(self.dice.amount(won), self.dice.amount(20).clamp(-9, 20)),
            )
        };
        (0..years).map(part).collect()
    }

    fn check_calls(&self) {
        let state = &self.world.state;
        let mut waiting = BTreeSet::new();
        for case in state.proposals.values() {
            for (reviewer, it) in &case.reviewers {
                let judges = matches!(it, Reviewer::Free | Reviewer::Reviewed(_));
                assert!(
                    !judges || !state.has_conflict(case, reviewer),
                    "{reviewer} judges {}",
                    case.proposal.id
                );
            }
            let open = |award| state.courses[award].closed.is_none();
            if let Some(Judgement::Wait { award, .. }) = case.judged.as_ref().map(|it| &it.judgement)
                && case.stage() == Stage::Waiting
                && open(award)
            {
                waiting.insert(&case.proposal.id);
            }
        }
        let list = &state.agenda.waiting;
        assert_eq!(BTreeSet::from_iter(list), waiting, "the waiting list");
        assert_eq!(list.len(), waiting.len(), "nobody is on it twice");
        for call in state.calls.values() {
            let of_call = |it: &&consortium::Course| {
                let case = it.proposal.as_ref().and_then(|id| state.proposals.get(id));
                case.is_some_and(|case| case.proposal.call == call.id)
            };
            for (year, all) in &call.budget {
                let courses = state.courses.values().filter(of_call);
                let parts = courses.filter_map(|course| course.budget.get(year));
                let won = parts.fold(0_i64, |sum, part| sum.saturating_add(part.won.0));
                assert!(won <= all.won.0, "call {} gives {won} in {year}", call.id);
            }
        }
    }
}
