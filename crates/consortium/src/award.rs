//! The course of an award: given year by year, changed, extended, closed; and what it doesn't use taken back after
//! notice and given to those who wait. `award/rules.rs` says what may be asked, `award/due.rs` what time brings,
//! `award/step.rs` what comes next, `award/holdings.rs` where the money and compute are.
//!
//! What an award has been given so far, less what was taken back, is [`Award::won`] and [`Award::compute`].

pub(crate) mod due;
mod holdings;
pub(crate) mod rules;
mod step;

pub use holdings::Holdings;
pub(crate) use rules::sound;
pub use step::AwardStep;

use crate::amount::by_year;
use crate::call::Judgement;
use crate::{Amount, Award, AwardId, Budget, Month, PersonId, ProjectId, ProposalId, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an award is besides what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Course {
    /// What it was awarded for; none if the office granted it by itself.
    pub proposal: Option<ProposalId>,
    /// What it gets, by fiscal year.
    #[schemars(schema_with = "by_year")]
    pub budget: Budget,
    /// The years whose part it has got.
    pub given: BTreeSet<u16>,
    /// When it ends; none if it doesn't by itself.
    pub ends: Option<Time>,
    /// When it ended. No job is placed on it any more, and what it has left or gets back goes on.
    pub closed: Option<Time>,
    /// What is to be taken back.
    pub notice: Option<Notice>,
}

/// The office's word that it will take back what isn't used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AwardNotice")]
pub struct Notice {
    /// How much at most.
    pub amount: Amount,
    /// When; until then the project's people may appeal, and use it.
    pub until: Time,
    /// Why.
    pub ground: String,
    /// Whose word it is.
    pub by: PersonId,
    /// What the project's people say to it.
    pub appeal: Option<Appeal>,
}

/// Why something should not be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Appeal {
    /// Why.
    pub ground: String,
    /// Who says so.
    pub by: PersonId,
    /// Whether it was dismissed; one that is upheld ends the notice.
    pub dismissed: bool,
}

/// What time will bring about: kept so that not every award is looked at whenever something happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    /// Parts of awards that are yet to be given.
    pub coming: BTreeSet<(u16, AwardId)>,
    /// Ends of awards.
    pub ending: BTreeSet<(Time, AwardId)>,
    /// Closed awards that may have something left, or get something back.
    pub closing: BTreeSet<AwardId>,
    /// Awards with a notice.
    pub noticed: BTreeSet<AwardId>,
    /// Proposals on the waiting list, the first first.
    pub waiting: Vec<ProposalId>,
}

/// What can be asked about an award.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AwardCommand {
    /// Let it have another budget.
    Amend {
        /// By fiscal year; a year that was given already is corrected at once.
        #[schemars(schema_with = "by_year")]
        budget: Budget,
        /// Why.
        ground: String,
    },
    /// Let it end later.
    Extend {
        /// When.
        ends: Time,
        /// Why.
        ground: String,
    },
    /// End it now.
    Close {
        /// Why.
        ground: String,
    },
    /// Announce that what isn't used will be taken back.
    GiveNotice {
        /// How much at most.
        amount: Amount,
        /// When.
        until: Time,
        /// Why.
        ground: String,
    },
    /// Say that it won't be, after all.
    DropNotice {
        /// Why.
        ground: String,
    },
    /// Say why it should not be.
    Appeal {
        /// Why.
        ground: String,
    },
    /// Decide on an appeal.
    AnswerAppeal {
        /// Whether the notice is void.
        upheld: bool,
        /// Why.
        ground: String,
    },
}

/// What can have happened to an award; the transfers that belong to it follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the nouns of the glossary")]
pub enum AwardEvent {
    /// A proposal has an award, or one with a budget after it has waited.
    Awarded {
        award: AwardId,
        project: ProjectId,
        proposal: ProposalId,
        budget: Budget,
        ends: Time,
    },
    /// The part of a fiscal year.
    Given {
        award: AwardId,
        year: u16,
        amount: Amount,
    },
    /// It has another budget.
    Amended {
        award: AwardId,
        budget: Budget,
        ground: String,
    },
    /// It ends later.
    Extended {
        award: AwardId,
        ends: Time,
        ground: String,
    },
    /// It has ended.
    Closed { award: AwardId, ground: String },
    /// Something will be taken back.
    NoticeGiven { award: AwardId, notice: Notice },
    /// It won't be.
    NoticeDropped { award: AwardId, ground: String },
    /// The project's people say that it shouldn't be.
    Appealed {
        award: AwardId,
        by: PersonId,
        ground: String,
    },
    /// Their appeal was upheld, and the notice is void; or it was dismissed.
    AppealAnswered {
        award: AwardId,
        by: PersonId,
        upheld: bool,
        ground: String,
    },
    /// What it didn't use is somebody else's.
    PassedOn {
        from: AwardId,
        to: AwardId,
        proposal: ProposalId,
        amount: Amount,
    },
    /// What it didn't use is nobody's again.
    TakenBack { award: AwardId, amount: Amount },
}

impl State {
    /// Whether nothing more is to be placed on it.
    pub(crate) fn is_closed(&self, award: &AwardId) -> bool {
        self.courses
            .get(award)
            .is_some_and(|course| course.closed.is_some())
    }
}

/// An award that the office granted by itself: all of it, at once.
pub(crate) fn granted(state: &mut State, award: &Award, at: Time) {
    let year = Month::of(at).year();
    let amount = Amount {
        won: award.won,
        compute: award.compute,
    };
    let course = Course {
        budget: Budget::from([(year, amount)]),
        given: BTreeSet::from([year]),
        ..Course::default()
    };
    state.courses.insert(award.id.clone(), course);
    state.awards.insert(award.id.clone(), award.clone());
}

/// What was taken because of a job is given back to its award; if that is closed, it goes on from there.
pub(crate) fn expect_back(state: &mut State, job: crate::JobId) {
    let stays = state.jobs.get(&job).into_iter().flat_map(crate::Job::stays);
    let taken = stays.filter_map(|member| member.watch.taken.as_ref());
    let closed: Vec<AwardId> = taken
        .map(|taken| taken.award.clone())
        .filter(|it| state.is_closed(it))
        .collect();
    state.agenda.closing.extend(closed);
}

/// A proposal's place on the waiting list.
pub(crate) fn queue_up(state: &mut State, proposal: &ProposalId, judgement: &Judgement) {
    state.agenda.waiting.retain(|other| other != proposal);
    if matches!(judgement, Judgement::Wait { .. }) {
        state.agenda.waiting.push(proposal.clone());
    }
}

/// Changes `state` by one `event` that happened at `at`.
pub(crate) fn apply(state: &mut State, event: &AwardEvent, at: Time) {
    match event {
        AwardEvent::Awarded {
            award,
            project,
            proposal,
            budget,
            ends,
        } => {
            let new = || Award {
                id: award.clone(),
                project: project.clone(),
                won: crate::Won(0),
                compute: crate::FlopSeconds(0),
            };
            state.awards.entry(award.clone()).or_insert_with(new);
            state.courses.entry(award.clone()).or_default().proposal = Some(proposal.clone());
            plan(state, award, budget);
            end(state, award, *ends);
        }
        AwardEvent::Given { award, year, amount } => {
            state.agenda.coming.remove(&(*year, award.clone()));
            with(state, award, |course| {
                course.given.insert(*year);
            });
            give(state, award, *amount);
        }
        AwardEvent::Amended { award, budget, .. } => {
            let before = state
                .courses
                .get(award)
                .map(|course| (course.budget.clone(), course.given.clone()));
            for (old, new) in before
                .iter()
                .flat_map(|(old, given)| corrected(old, given, budget))
            {
                give(state, award, new);
                take(state, award, old);
            }
            plan(state, award, budget);
        }
        AwardEvent::Extended { award, ends, .. } => end(state, award, *ends),
        AwardEvent::Closed { award, .. } => close(state, award, at),
        AwardEvent::NoticeGiven { award, notice } => {
            state.agenda.noticed.insert(award.clone());
            with(state, award, |course| course.notice = Some(notice.clone()));
        }
        AwardEvent::NoticeDropped { award, .. } => forget_notice(state, award),
        AwardEvent::Appealed { award, by, ground } => with_notice(state, award, |notice| {
            notice.appeal = Some(Appeal {
                ground: ground.clone(),
                by: by.clone(),
                dismissed: false,
            });
        }),
        AwardEvent::AppealAnswered { award, upheld, .. } => match upheld {
            true => forget_notice(state, award),
            false => with_notice(state, award, |notice| {
                if let Some(appeal) = &mut notice.appeal {
                    appeal.dismissed = true;
                }
            }),
        },
        AwardEvent::PassedOn {
            from,
            to,
            proposal,
            amount,
        } => {
            take(state, from, *amount);
            give(state, to, *amount);
            serve(state, proposal, *amount);
        }
        AwardEvent::TakenBack { award, amount } => {
            take(state, award, *amount);
            forget_notice(state, award);
            let still_spent = state.active_jobs().any(|job| job.award.as_ref() == Some(award));
            if !still_spent {
                state.agenda.closing.remove(award);
            }
        }
    }
}

fn with(state: &mut State, award: &AwardId, change: impl FnOnce(&mut Course)) {
    if let Some(course) = state.courses.get_mut(award) {
        change(course);
    }
}

fn with_notice(state: &mut State, award: &AwardId, change: impl FnOnce(&mut Notice)) {
    with(state, award, |course| {
        if let Some(notice) = &mut course.notice {
            change(notice);
        }
    });
}

fn forget_notice(state: &mut State, award: &AwardId) {
    state.agenda.noticed.remove(award);
    with(state, award, |course| course.notice = None);
}

fn give(state: &mut State, award: &AwardId, amount: Amount) {
    if let Some(award) = state.awards.get_mut(award) {
        award.won += amount.won;
        award.compute += amount.compute;
    }
}

fn take(state: &mut State, award: &AwardId, amount: Amount) {
    if let Some(award) = state.awards.get_mut(award) {
        award.won += -amount.won;
        award.compute += -amount.compute;
    }
}

/// Of the years that were given: what was, and what shall have been.
pub(crate) fn corrected(old: &Budget, given: &BTreeSet<u16>, new: &Budget) -> Vec<(Amount, Amount)> {
    let of = |budget: &Budget, year: &u16| budget.get(year).copied().unwrap_or_default();
    given.iter().map(|year| (of(old, year), of(new, year))).collect()
}

/// What isn't given yet of `budget` is on the agenda from now on.
fn plan(state: &mut State, award: &AwardId, budget: &Budget) {
    let Some(course) = state.courses.get_mut(award) else {
        return;
    };
    course.budget.clone_from(budget);
    state.agenda.coming.retain(|(_, other)| other != award);
    let coming = budget.keys().filter(|year| !course.given.contains(year));
    state
        .agenda
        .coming
        .extend(coming.map(|year| (*year, award.clone())));
}

fn end(state: &mut State, award: &AwardId, ends: Time) {
    state.agenda.ending.retain(|(_, other)| other != award);
    state.agenda.ending.insert((ends, award.clone()));
    with(state, award, |course| course.ends = Some(ends));
}

fn close(state: &mut State, award: &AwardId, at: Time) {
    forget_notice(state, award);
    with(state, award, |course| {
        course.closed = Some(at);
        course.budget.retain(|year, _| course.given.contains(year));
    });
    let agenda = &mut state.agenda;
    agenda.coming.retain(|(_, other)| other != award);
    agenda.ending.retain(|(_, other)| other != award);
    agenda.closing.insert(award.clone());
    let proposal = state
        .courses
        .get(award)
        .and_then(|course| course.proposal.as_ref());
    agenda.waiting.retain(|other| Some(other) != proposal);
}

/// Whoever has got all that they waited for waits no longer.
fn serve(state: &mut State, proposal: &ProposalId, amount: Amount) {
    let judged = state
        .proposals
        .get_mut(proposal)
        .and_then(|case| case.judged.as_mut());
    let Some(Judgement::Wait { wanted, .. }) = judged.map(|judged| &mut judged.judgement) else {
        return;
    };
    *wanted = wanted.without(amount);
    if wanted.is_none() {
        state.agenda.waiting.retain(|other| other != proposal);
    }
}

/// What was awarded on proposals to a call, by award.
pub(crate) fn of_call<'a>(
    state: &'a State,
    call: &'a crate::CallId,
) -> impl Iterator<Item = (&'a AwardId, &'a Course)> {
    let cases: &BTreeMap<ProposalId, crate::Case> = &state.proposals;
    let to_it = move |course: &&Course| {
        let case = course.proposal.as_ref().and_then(|id| cases.get(id));
        case.is_some_and(|case| case.proposal.call == *call)
    };
    state.courses.iter().filter(move |(_, course)| to_it(course))
}
