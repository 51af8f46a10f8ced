//! Making an artifact less closed than it is. Two people of the programme office decide it: one proposes, another
//! agrees; both have to be people who may read it. What was made from it keeps its own label, and is released by itself.
//! If a stricter label comes to it later, or it turns out to be made from more, it is as closed as that again, and what
//! was only proposed is void. So is what was proposed by somebody who may not decide it any more.

use crate::decide::find;
use crate::policy::Resource;
use crate::{Action, Actor, ArtifactId, Event, Label, PersonId, Refusal, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one person has proposed and nobody has agreed to yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposed {
    /// The label it shall have.
    pub to: Label,
    /// Who proposed it.
    pub by: PersonId,
}

pub(crate) fn release(
    state: &State,
    actor: &Actor,
    id: &ArtifactId,
    to: Label,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let Actor::Person(person) = actor else {
        return Err(Refusal::invalid("a release is decided by people"));
    };
    let artifact = find(&state.artifacts, "artifact", id)?;
    let decides = |person: &PersonId| {
        let actor = Actor::Person(person.clone());
        state.permit(&actor, Action::Administer, &Resource::Consortium)?;
        state.permit(&actor, Action::Read, &Resource::Artifact(artifact))
    };
    decides(person)?;
    if to >= artifact.label {
        return Err(Refusal::conflict(format!(
            "{id} is {} already, which is no more closed than {to}",
            artifact.label
        )));
    }
    let stands = |proposed: &&Proposed| proposed.to == to && decides(&proposed.by).is_ok();
    match state.proposed.get(id).filter(stands) {
        None => Ok(vec![Event::ReleaseProposed {
            artifact: id.clone(),
            to,
            by: person.clone(),
        }]),
        Some(proposed) if proposed.by == *person => Err(Refusal::conflict(format!(
            "{person} has proposed this release, and another person has to agree to it"
        ))
        .hint("ask a colleague of the programme office for the same")),
        Some(proposed) => Ok(vec![Event::Released {
            artifact: id.clone(),
            to,
            by: [proposed.by.clone(), person.clone()],
        }]),
    }
}
