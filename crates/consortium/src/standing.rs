//! How an organisation stands in the consortium: in, suspended, or gone. Its people and sites do nothing while it
//! isn't in; what it has brought, earned and was charged stays as it is.

use crate::decide::{find, grounded};
use crate::policy::Resource;
use crate::{Action, Actor, Event, OrganisationId, Refusal, State, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether an organisation takes part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
        let standing = self.stands(actor);
        standing.is_none_or(|standing| standing == Standing::Active)
    }

    /// How `actor` stands, if known: as their organisation does, and as they do themselves.
    pub fn stands(&self, actor: &Actor) -> Option<Standing> {
        match actor {
            Actor::Hub => None,
            Actor::Person(id) => {
                let person = self.people.get(id)?;
                Some(match self.standing(&person.organisation) {
                    Standing::Active => self.person_standing(id),
                    other => other,
                })
            }
            Actor::Site(site) => self.sites.get(site).map(|site| self.standing(&site.owner)),
        }
    }

    /// Why `actor` takes no part; none if nothing is known against it.
    pub fn kept_out(&self, actor: &Actor) -> Option<String> {
        let standing = self.stands(actor).filter(|it| *it != Standing::Active)?;
        let organisation = match actor {
            Actor::Hub => return None,
            Actor::Person(person) => &self.people.get(person)?.organisation,
            Actor::Site(site) => &self.sites.get(site)?.owner,
        };
        Some(match self.standing(organisation) {
            Standing::Active => format!("{actor} is {standing} and takes no part"),
            _ => format!("organisation {organisation} is {standing}: its people and sites take no part"),
        })
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
