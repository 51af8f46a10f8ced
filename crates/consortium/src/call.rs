//! Calls, what is proposed to them, and how that is judged. `call/rules.rs` says what may be asked, `call/step.rs` what
//! comes next, and for whom.
//!
//! A proposal is its people's, its reviewers' and the programme office's. Nobody judges what comes from their own
//! organisation or what they have declared a conflict with, and to them it is as if it weren't there.

pub(crate) mod rules;
mod step;

pub use step::Step;

use crate::amount::by_year;
use crate::{
    Amount, AwardId, Budget, CallId, Label, OrganisationId, PersonId, Programme, ProjectId, ProposalId,
    State, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An invitation by the programme office to propose projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// Its name in addresses.
    pub id: CallId,
    /// For which programme.
    pub programme: Programme,
    /// What it is about.
    pub title: String,
    /// The same in Korean.
    pub title_ko: String,
    /// What is wanted, in full.
    pub text: String,
    /// Who may propose: anyone if it is open, and domestic members if it is the consortium's.
    pub label: Label,
    /// From when on it takes proposals.
    pub opens: Time,
    /// Until when.
    pub closes: Time,
    /// How many reviews a proposal needs before it is judged.
    pub reviews: u32,
    /// What may be awarded, by fiscal year.
    #[schemars(schema_with = "by_year")]
    pub budget: Budget,
}

/// What somebody would do, with whom, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// Its name: the organisation that proposes, and one of its own.
    pub id: ProposalId,
    /// To which call.
    pub call: CallId,
    /// What it is about.
    pub title: String,
    /// What is to be done, in full.
    pub text: String,
    /// Who would work on it, of any organisation, whoever proposes it among them.
    pub people: BTreeSet<PersonId>,
    /// What it would take, by fiscal year.
    #[schemars(schema_with = "by_year")]
    pub budget: Budget,
}

/// A proposal and all that has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The proposal as it is now.
    pub proposal: Proposal,
    /// When it was last changed.
    pub proposed: Time,
    /// Whether its people have taken it back.
    pub withdrawn: bool,
    /// Who was asked to review it, and who has declared a conflict with it.
    pub reviewers: BTreeMap<PersonId, Reviewer>,
    /// What came of it.
    pub judged: Option<Judged>,
}

/// What somebody is to a proposal that is not their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reviewer {
    /// Asked for a review; yet to say whether there is a conflict, and until then told only whose proposal it is.
    Asked,
    /// Has declared that there is none, and may read it.
    Free,
    /// Has declared one, and has no more to do with it.
    Conflicted {
        /// Which.
        conflict: String,
    },
    /// Has reviewed it.
    Reviewed(Review),
}

/// What a reviewer thinks of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// From 1, not to be awarded, to 5, to be awarded before others.
    #[schemars(range(min = 1, max = 5))]
    pub score: u8,
    /// Why.
    pub text: String,
    /// When it was handed in.
    pub at: Time,
}

/// What the programme office decides on a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It gets an award. The project is opened if it isn't there.
    Award {
        /// Under which name.
        award: AwardId,
        /// To which project.
        project: ProjectId,
        /// How much, by fiscal year; given when the year has begun.
        #[schemars(schema_with = "by_year")]
        budget: Budget,
        /// When the award ends.
        ends: Time,
    },
    /// It gets what others don't use, when its turn has come.
    Wait {
        /// Under which name.
        award: AwardId,
        /// To which project.
        project: ProjectId,
        /// How much it still waits for.
        wanted: Amount,
        /// When the award ends.
        ends: Time,
    },
    /// It gets nothing.
    Decline,
}

/// A judgement, what it rests on, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// What was decided.
    pub judgement: Judgement,
    /// Why; told to the proposal's people.
    pub ground: String,
    /// By whom.
    pub by: PersonId,
    /// When.
    pub at: Time,
}

/// How far a proposal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is there.
    Proposed,
    /// Reviewers were asked.
    InReview,
    /// It has an award.
    Awarded,
    /// It is on the waiting list.
    Waiting,
    /// It gets nothing.
    Declined,
    /// Its people have taken it back.
    Withdrawn,
}

/// What can be asked about calls and proposals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallCommand {
    /// Open a call.
    Open(Call),
    /// Take proposals for longer, or not as long.
    Prolong {
        /// Which call.
        call: CallId,
        /// Until when.
        closes: Time,
    },
    /// Propose something, or propose it otherwise; also under the name of what was taken back.
    Propose(Proposal),
    /// Take a proposal back.
    Withdraw(ProposalId),
    /// Ask somebody for a review.
    AskReview {
        /// Of which proposal.
        proposal: ProposalId,
        /// Whom.
        reviewer: PersonId,
    },
    /// Say that one has a conflict with a proposal, or that one has none.
    Declare {
        /// With which proposal.
        proposal: ProposalId,
        /// The conflict, if there is one.
        conflict: Option<String>,
    },
    /// Hand a review in, or another one in its place.
    Review {
        /// Of which proposal.
        proposal: ProposalId,
        /// From 1 to 5.
        score: u8,
        /// Why.
        text: String,
    },
    /// Decide what comes of a proposal.
    Judge {
        /// Which.
        proposal: ProposalId,
        /// What comes of it.
        judgement: Judgement,
        /// Why.
        ground: String,
    },
}

/// What can have happened to calls and proposals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are the nouns of the glossary")]
pub enum CallEvent {
    /// A call is there.
    Opened(Call),
    /// It takes proposals until then.
    Prolonged { call: CallId, closes: Time },
    /// A proposal is there, or it is another than before.
    Proposed(Proposal),
    /// Its people have taken it back.
    Withdrawn(ProposalId),
    /// Somebody was asked for a review.
    ReviewAsked {
        proposal: ProposalId,
        reviewer: PersonId,
    },
    /// Somebody has a conflict with a proposal, or none.
    Declared {
        proposal: ProposalId,
        person: PersonId,
        conflict: Option<String>,
    },
    /// A review was handed in.
    Reviewed {
        proposal: ProposalId,
        reviewer: PersonId,
        score: u8,
        text: String,
    },
    /// It is decided what comes of a proposal; the award, if it has one, follows.
    Judged {
        proposal: ProposalId,
        judgement: Judgement,
        ground: String,
        by: PersonId,
    },
}

impl Case {
    /// How far it has come.
    pub fn stage(&self) -> Stage {
        match self.judged.as_ref().map(|judged| &judged.judgement) {
            _ if self.withdrawn => Stage::Withdrawn,
            Some(Judgement::Award { .. }) => Stage::Awarded,
            Some(Judgement::Wait { wanted, .. }) if wanted.is_none() => Stage::Awarded,
            Some(Judgement::Wait { .. }) => Stage::Waiting,
            Some(Judgement::Decline) => Stage::Declined,
            None if self.is_with_reviewers() => Stage::InReview,
            None => Stage::Proposed,
        }
    }

    /// The reviews that were handed in, and by whom.
    pub fn reviews(&self) -> impl Iterator<Item = (&PersonId, &Review)> {
        self.reviewers.iter().filter_map(|(person, it)| match it {
            Reviewer::Reviewed(review) => Some((person, review)),
            _ => None,
        })
    }

    /// Whether anybody was asked for a review and may yet give one, or has given it.
    fn is_with_reviewers(&self) -> bool {
        let conflicted = |it: &Reviewer| matches!(it, Reviewer::Conflicted { .. });
        self.reviewers.values().any(|it| !conflicted(it))
    }

    /// Who may read it in order to review it.
    pub(crate) fn readers(&self) -> impl Iterator<Item = &PersonId> {
        let free = |it: &Reviewer| matches!(it, Reviewer::Free | Reviewer::Reviewed(_));
        self.reviewers
            .iter()
            .filter(move |(_, it)| free(it))
            .map(|(person, _)| person)
    }

    /// Who has declared a conflict with it.
    pub(crate) fn conflicted(&self) -> impl Iterator<Item = &PersonId> {
        let has = |it: &Reviewer| matches!(it, Reviewer::Conflicted { .. });
        self.reviewers
            .iter()
            .filter(move |(_, it)| has(it))
            .map(|(person, _)| person)
    }
}

impl State {
    /// The organisations whose people can't judge it: the one that proposes, and those of its people.
    pub fn parties<'a>(&'a self, case: &'a Case) -> BTreeSet<&'a OrganisationId> {
        let people = case.proposal.people.iter().filter_map(|id| self.people.get(id));
        let organisations = people.map(|person| &person.organisation);
        organisations.chain([&case.proposal.id.organisation]).collect()
    }

    /// Whether `person` can't judge it: it is their own or their organisation's, or they have declared a conflict.
    pub fn has_conflict(&self, case: &Case, person: &PersonId) -> bool {
        let of_a_party = |it: &crate::Person| self.parties(case).contains(&it.organisation);
        case.proposal.people.contains(person)
            || case.conflicted().any(|other| other == person)
            || self.people.get(person).is_some_and(of_a_party)
    }

    /// What `person` was asked to review and has no conflict with, as far as is known.
    pub fn asked_of<'a>(&'a self, person: &'a PersonId) -> impl Iterator<Item = &'a Case> {
        let asked = move |case: &&Case| {
            !case.withdrawn && case.reviewers.contains_key(person) && !self.has_conflict(case, person)
        };
        self.proposals.values().filter(asked)
    }
}

/// Changes `state` by one `event` that happened at `at`.
pub(crate) fn apply(state: &mut State, event: &CallEvent, at: Time) {
    match event {
        CallEvent::Opened(call) => {
            state.calls.insert(call.id.clone(), call.clone());
        }
        CallEvent::Prolonged { call, closes } => {
            if let Some(call) = state.calls.get_mut(call) {
                call.closes = *closes;
            }
        }
        CallEvent::Proposed(proposal) => {
            let new = || Case {
                proposal: proposal.clone(),
                proposed: at,
                withdrawn: false,
                reviewers: BTreeMap::new(),
                judged: None,
            };
            let case = state.proposals.entry(proposal.id.clone()).or_insert_with(new);
            case.proposal = proposal.clone();
            case.proposed = at;
            if std::mem::take(&mut case.withdrawn) {
                // Another under its name; whoever had a conflict keeps it.
                case.reviewers
                    .retain(|_, it| matches!(it, Reviewer::Conflicted { .. }));
            }
        }
        CallEvent::Withdrawn(proposal) => with(state, proposal, |case| case.withdrawn = true),
        CallEvent::ReviewAsked { proposal, reviewer } => with(state, proposal, |case| {
            case.reviewers.insert(reviewer.clone(), Reviewer::Asked);
        }),
        CallEvent::Declared {
            proposal,
            person,
            conflict,
        } => with(state, proposal, |case| {
            let conflicted = |conflict: &String| Reviewer::Conflicted {
                conflict: conflict.clone(),
            };
            let is = conflict.as_ref().map_or(Reviewer::Free, conflicted);
            case.reviewers.insert(person.clone(), is);
        }),
        CallEvent::Reviewed {
            proposal,
            reviewer,
            score,
            text,
        } => with(state, proposal, |case| {
            let review = Review {
                score: *score,
                text: text.clone(),
                at,
            };
            case.reviewers
                .insert(reviewer.clone(), Reviewer::Reviewed(review));
        }),
        CallEvent::Judged {
            proposal,
            judgement,
            ground,
            by,
        } => {
            with(state, proposal, |case| {
                case.judged = Some(Judged {
                    judgement: judgement.clone(),
                    ground: ground.clone(),
                    by: by.clone(),
                    at,
                });
            });
            crate::award::queue_up(state, proposal, judgement);
        }
    }
}

fn with(state: &mut State, proposal: &ProposalId, change: impl FnOnce(&mut Case)) {
    if let Some(case) = state.proposals.get_mut(proposal) {
        change(case);
    }
}
