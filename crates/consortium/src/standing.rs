//! How an organisation stands in the consortium: in, suspended, or gone. Its people and sites do nothing while it
//! isn't in; what it has brought, earned and was charged stays as it is.

use crate::decide::{find, grounded};
use crate::policy::Resource;
use crate::{Action, Actor, Event, OrganisationId, Refusal, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether an organisation takes part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It takes part.
    #[default]
    Active,
    /// It doesn't, until the programme office says otherwise.
    Suspended,
    /// It has left.
    Left,
}

/// A standing, with what it rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// Whether it takes part.
    pub standing: Standing,
    /// Why: a letter, a decision, a contract's end.
    pub ground: String,
    /// Since when.
    pub since: Time,
}

pub(crate) fn set(
    state: &State,
    actor: &Actor,
    organisation: &OrganisationId,
    standing: Standing,
    ground: &str,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    find(&state.organisations, "organisation", organisation)?;
    let ground = grounded(
        "a change of standing",
        ground,
        "name the letter or the decision that it rests on",
    )?;
    let own = match actor {
        Actor::Person(person) => state.people.get(person).map(|person| &person.organisation),
        _ => None,
    };
    if own == Some(organisation) && standing != Standing::Active {
        return Err(Refusal::conflict(format!(
            "{organisation} is your own organisation; nobody could bring it back"
        )));
    }
    if state.standing(organisation) == standing {
        return Ok(Vec::new());
    }
    Ok(vec![Event::StandingSet {
        organisation: organisation.clone(),
        standing,
        ground,
    }])
}

impl State {
    /// How an organisation stands.
    pub fn standing(&self, organisation: &OrganisationId) -> Standing {
        self.standings
            .get(organisation)
            .map_or(Standing::Active, |stands| stands.standing)
    }

    /// Whether nothing is known against `actor`'s taking part.
    pub(crate) fn takes_part(&self, actor: &Actor) -> bool {
        let stands = self.stands(actor);
        stands.is_none_or(|(_, standing)| standing == Standing::Active)
    }

    /// The organisation of `actor` and how it stands, if it has one.
    pub fn stands(&self, actor: &Actor) -> Option<(&OrganisationId, Standing)> {
        let organisation = match actor {
            Actor::Hub => None,
            Actor::Person(person) => self.people.get(person).map(|person| &person.organisation),
            Actor::Site(site) => self.sites.get(site).map(|site| &site.owner),
        };
        organisation.map(|organisation| (organisation, self.standing(organisation)))
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Left => "left",
        })
    }
}
