//! What comes next for a proposal, as one of those whom it concerns sees it: what they are to do, or what they wait for.

use super::{Case, Judgement, Reviewer, Stage};
use crate::policy::Resource;
use crate::{Action, Actor, AwardId, Day, PersonId, ProjectId, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Its people may put it otherwise, or take it back.
    Revise {
        /// Until when.
        until: Time,
    },
    /// It waits for the call's end.
    AwaitClosing {
        /// When that is.
        until: Time,
    },
    /// The office asks more people for a review.
    AskReviewers {
        /// How many are missing.
        missing: u32,
    },
    /// Whoever was asked says whether there is a conflict.
    Declare,
    /// Whoever has none reviews it.
    Review,
    /// The reviewers are at work.
    AwaitReviews {
        /// How many reviews are missing.
        missing: u32,
    },
    /// The office decides what comes of it.
    Judge,
    /// The office and its reviewers are at work.
    AwaitJudgement,
    /// It gets what others don't use.
    AwaitTurn {
        /// Its place on the waiting list of its programme, from 1.
        place: u32,
    },
    /// Its people spend its award.
    Spend {
        /// Which award.
        award: AwardId,
        /// As which project.
        project: ProjectId,
    },
    /// Nothing more comes of it.
    Nothing,
}

impl Step {
    /// Whether whoever is told it has something to do.
    pub fn is_to_do(&self) -> bool {
        match self {
            Self::Revise { .. } | Self::AskReviewers { .. } | Self::Declare | Self::Review | Self::Judge => {
                true
            }
            Self::AwaitClosing { .. }
            | Self::AwaitReviews { .. }
            | Self::AwaitJudgement
            | Self::AwaitTurn { .. }
            | Self::Spend { .. }
            | Self::Nothing => false,
        }
    }
}

impl State {
    /// What comes next for a proposal, for `actor`.
    pub fn next_step(&self, case: &Case, actor: &Actor, now: Time) -> Step {
        if case.withdrawn {
            return Step::Nothing;
        }
        let reviewer = match actor {
            Actor::Person(person) => case.reviewers.get(person),
            _ => None,
        };
        if let Some(judged) = &case.judged {
            return match reviewer {
                Some(_) => Step::Nothing,
                None => self.after(case, &judged.judgement),
            };
        }
        match reviewer {
            Some(Reviewer::Asked) => return Step::Declare,
            Some(Reviewer::Free) => return Step::Review,
            _ => {}
        }
        let call = self.calls.get(&case.proposal.call);
        if let Some(until) = call.map(|call| call.closes).filter(|closes| now < *closes) {
            let theirs = |person: &PersonId| case.proposal.people.contains(person);
            let may_change =
                matches!(actor, Actor::Person(person) if theirs(person)) && !case.is_with_reviewers();
            return match may_change {
                true => Step::Revise { until },
                false => Step::AwaitClosing { until },
            };
        }
        if self
            .permit(actor, Action::Decide, &Resource::Proposal(case))
            .is_err()
        {
            return Step::AwaitJudgement;
        }
        to_judge(case, call.map_or(0, |call| call.reviews))
    }

    fn after(&self, case: &Case, judgement: &Judgement) -> Step {
        match judgement {
            Judgement::Wait { wanted, .. } if !wanted.is_none() => {
                let place = self.place_of(case);
                place.map_or(Step::Nothing, |place| Step::AwaitTurn { place })
            }
            Judgement::Award { award, project, .. } | Judgement::Wait { award, project, .. } => {
                match self.is_closed(award) {
                    true => Step::Nothing,
                    false => Step::Spend {
                        award: award.clone(),
                        project: project.clone(),
                    },
                }
            }
            Judgement::Decline => Step::Nothing,
        }
    }
}

impl State {
    /// Its place among those of its programme that wait, from 1.
    fn place_of(&self, case: &Case) -> Option<u32> {
        let programme = |case: &Case| self.calls.get(&case.proposal.call).map(|call| call.programme);
        let cases = self.agenda.waiting.iter().filter_map(|id| self.proposals.get(id));
        let mut of_programme = cases.filter(|other| programme(other) == programme(case));
        let before = of_programme.position(|other| other.proposal.id == case.proposal.id)?;
        u32::try_from(before + 1).ok()
    }
}

/// What whoever decides on it has to do, if the call asks for so many reviews.
fn to_judge(case: &Case, wanted: u32) -> Step {
    let count = |of: &dyn Fn(&Reviewer) -> bool| {
        let reviewers = case.reviewers.values().filter(|it| of(it)).count();
        u32::try_from(reviewers).unwrap_or(u32::MAX)
    };
    let conflicted = count(&|it| matches!(it, Reviewer::Conflicted { .. }));
    let (asked, reviewed) = (
        count(&|_| true) - conflicted,
        count(&|it| matches!(it, Reviewer::Reviewed(_))),
    );
    if asked < wanted {
        return Step::AskReviewers {
            missing: wanted - asked,
        };
    }
    if reviewed < wanted {
        return Step::AwaitReviews {
            missing: wanted - reviewed,
        };
    }
    Step::Judge
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Proposed => "proposed",
            Self::InReview => "in-review",
            Self::Awarded => "awarded",
            Self::Waiting => "waiting",
            Self::Declined => "declined",
            Self::Withdrawn => "withdrawn",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revise { until } => write!(f, "may be revised or withdrawn until {}", Day::of(*until)),
            Self::AwaitClosing { until } => write!(f, "waits for the call to close on {}", Day::of(*until)),
            Self::AskReviewers { missing: 1 } => f.write_str("ask one more for a review"),
            Self::AskReviewers { missing } => write!(f, "ask {missing} more for a review"),
            Self::Declare => f.write_str("say whether you have a conflict"),
            Self::Review => f.write_str("review it"),
            Self::AwaitReviews { missing: 1 } => f.write_str("waits for one more review"),
            Self::AwaitReviews { missing } => write!(f, "waits for {missing} more reviews"),
            Self::Judge => f.write_str("judge it"),
            Self::AwaitJudgement => f.write_str("waits for the programme office and its reviewers"),
            Self::AwaitTurn { place } => write!(f, "number {place} on the waiting list"),
            Self::Spend { award, project } => {
                write!(f, "award {award} pays for the jobs of project {project}")
            }
            Self::Nothing => f.write_str("nothing more"),
        }
    }
}
