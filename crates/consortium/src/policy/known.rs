//! What a policy has answered. Cedar takes a tenth of a millisecond for an answer, and lists, explanations and placement ask
//! the same few questions again and again.
//!
//! An answer follows from the policy's text, the principal's attributes and the resource's, so it never becomes wrong: whoever
//! gets another role or standing is another principal here.

use super::{Action, Decision};
use crate::{Actor, Home, Label, OrganisationId, PersonId, Role, SiteId, Standing, State, Tenure};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// All that Cedar is told of whoever would do something; what isn't known is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Principal {
    Hub,
    Person {
        id: PersonId,
        home: Option<Home>,
        organisation: Option<OrganisationId>,
        standing: Option<Standing>,
        roles: BTreeSet<Role>,
    },
    Site {
        id: SiteId,
        home: Option<Home>,
        owner: Option<OrganisationId>,
        standing: Option<Standing>,
        tenure: Option<Tenure>,
    },
}

/// All that Cedar is told of a resource but its name, if of its sets nothing counts but whether the principal is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    Artifact {
        label: Label,
        member: bool,
        site: bool,
        by: bool,
    },
    Job {
        label: Label,
        member: bool,
        site: bool,
    },
    Run {
        label: Label,
        member: bool,
        by: bool,
    },
    Call(Label),
    Project {
        member: bool,
    },
}

/// The answers, shared by all copies of a policy.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Answers>>);

type Answers = BTreeMap<Principal, BTreeMap<(Action, Question), Decision>>;

/// Of so many principals the answers are kept; more than any consortium has people and sites.
const PRINCIPALS: usize = 16_384;

impl Principal {
    pub(crate) fn of(state: &State, actor: &Actor) -> Self {
        let standing = state.stands(actor);
        match actor {
            Actor::Hub => Self::Hub,
            Actor::Person(id) => {
                let person = state.people.get(id);
                Self::Person {
                    id: id.clone(),
                    home: state.home_of_person(id),
                    organisation: person.map(|person| person.organisation.clone()),
                    standing,
                    roles: person.map_or_else(BTreeSet::new, |person| person.roles.clone()),
                }
            }
            Actor::Site(id) => {
                let site = state.sites.get(id);
                Self::Site {
                    id: id.clone(),
                    home: state.home_of_site(id),
                    owner: site.map(|site| site.owner.clone()),
                    standing,
                    tenure: site.map(|site| site.tenure),
                }
            }
        }
    }
}

impl Known {
    /// What was answered before, or what `ask` answers now.
    pub(crate) fn answer(
        &self,
        principal: &Principal,
        action: Action,
        question: Question,
        ask: impl FnOnce() -> Decision,
    ) -> Decision {
        let asked = (action, question);
        let answers = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = answers().get(principal).and_then(|known| known.get(&asked)) {
            return known.clone();
        }
        // Not under the lock: others needn't wait for Cedar, and two who ask at once get the same answer.
        let answer = ask();
        let mut answers = answers();
        if answers.len() >= PRINCIPALS && !answers.contains_key(principal) {
            answers.clear();
        }
        answers
            .entry(principal.clone())
            .or_default()
            .insert(asked, answer.clone());
        answer
    }
}
