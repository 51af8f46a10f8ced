//! What comes next for an award, as one of those whom it concerns sees it.

use super::Notice;
use crate::policy::Resource;
use crate::{Action, Actor, AwardId, Day, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AwardStep {
    /// The project's jobs spend it.
    Spend {
        /// Until when; none if it doesn't end by itself.
        until: Option<Time>,
    },
    /// It has nothing yet: its proposal is on the waiting list, or its first year is to come.
    Await,
    /// Its people use what is to be taken back, or say why it should not be.
    Appeal {
        /// Until when.
        until: Time,
    },
    /// The office decides on their appeal.
    AnswerAppeal,
    /// Their appeal is with the office.
    AwaitAnswer,
    /// What it doesn't use is taken back.
    TakenBack {
        /// When.
        on: Time,
    },
    /// It has ended.
    Nothing,
}

impl AwardStep {
    /// Whether whoever is told it has something to do.
    pub fn is_to_do(&self) -> bool {
        match self {
            Self::Appeal { .. } | Self::AnswerAppeal => true,
            Self::Spend { .. } | Self::Await | Self::AwaitAnswer | Self::TakenBack { .. } | Self::Nothing => {
                false
            }
        }
    }
}

impl State {
    /// What comes next for an award, for `actor`.
    pub fn next_step_of_award(&self, award: &AwardId, actor: &Actor, now: Time) -> AwardStep {
        let course = self.courses.get(award);
        if course.is_some_and(|course| course.closed.is_some()) {
            return AwardStep::Nothing;
        }
        if let Some(notice) = course.and_then(|course| course.notice.as_ref()) {
            return self.after_notice(award, notice, actor, now);
        }
        let has_nothing = |it: &crate::Award| it.won.0 == 0 && it.compute.0 == 0;
        match self.awards.get(award).is_some_and(has_nothing) {
            true => AwardStep::Await,
            false => AwardStep::Spend {
                until: course.and_then(|course| course.ends),
            },
        }
    }

    fn after_notice(&self, award: &AwardId, notice: &Notice, actor: &Actor, now: Time) -> AwardStep {
        let open = notice.appeal.as_ref().is_some_and(|appeal| !appeal.dismissed);
        if open {
            let office = self
                .permit(actor, Action::Administer, &Resource::Consortium)
                .is_ok();
            let another = !matches!(actor, Actor::Person(person) if *person == notice.by);
            return match office && another {
                true => AwardStep::AnswerAppeal,
                false => AwardStep::AwaitAnswer,
            };
        }
        let project = self
            .awards
            .get(award)
            .and_then(|it| self.projects.get(&it.project));
        let works_in = |project| {
            self.permit(actor, Action::Contribute, &Resource::Project(project))
                .is_ok()
        };
        if notice.appeal.is_none() && now < notice.until && project.is_some_and(works_in) {
            return AwardStep::Appeal { until: notice.until };
        }
        AwardStep::TakenBack { on: notice.until }
    }
}

impl fmt::Display for AwardStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spend { until: Some(until) } => write!(f, "pays for jobs until {}", Day::of(*until)),
            Self::Spend { until: None } => f.write_str("pays for jobs"),
            Self::Await => f.write_str("has nothing yet"),
            Self::Appeal { until } => write!(f, "use it or appeal until {}", Day::of(*until)),
            Self::AnswerAppeal => f.write_str("decide on the appeal"),
            Self::AwaitAnswer => {
                f.write_str("waits for another of the programme office to decide on the appeal")
            }
            Self::TakenBack { on } => write!(f, "what it doesn't use is taken back on {}", Day::of(*on)),
            Self::Nothing => f.write_str("closed"),
        }
    }
}
