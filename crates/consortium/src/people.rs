//! What becomes of people: other roles, a pause, a farewell, and who works in which project. What they have done and
//! brought stays as it is.

use crate::decide::{find, grounded};
use crate::policy::Resource;
use crate::{
    Action, Actor, Event, Identity, PersonId, ProjectId, Refusal, Role, Standing, Stands, State, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something to be done about people; all of it is the programme office's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeopleCommand {
    /// Give a person these roles instead of those they have.
    SetRoles {
        /// Who.
        person: PersonId,
        /// All they shall have.
        roles: BTreeSet<Role>,
        /// What that rests on.
        ground: String,
    },
    /// Keep a person out for a while or for good, or have them back.
    SetStanding {
        /// Who.
        person: PersonId,
        /// How they stand from now on.
        standing: Standing,
        /// What that rests on.
        ground: String,
    },
    /// Change who works in a project.
    Enrol {
        /// Which.
        project: ProjectId,
        /// Who comes.
        join: BTreeSet<PersonId>,
        /// Who goes.
        leave: BTreeSet<PersonId>,
    },
}

/// Something that happened to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in the commands")]
pub enum PeopleEvent {
    /// A person has these roles and no others.
    RolesSet {
        person: PersonId,
        roles: BTreeSet<Role>,
        ground: String,
    },
    /// A person takes part, or doesn't.
    StandingSet {
        person: PersonId,
        standing: Standing,
        ground: String,
    },
    /// A person signs in with this account; with another of the same provider they did before.
    IdentityBound { identity: Identity, person: PersonId },
    /// Others work in a project.
    Enrolled {
        project: ProjectId,
        join: BTreeSet<PersonId>,
        leave: BTreeSet<PersonId>,
    },
}

pub(crate) fn ask(state: &State, actor: &Actor, command: &PeopleCommand) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let event = match command {
        PeopleCommand::SetRoles {
            person,
            roles,
            ground,
        } => set_roles(state, person, roles, ground)?,
        PeopleCommand::SetStanding {
            person,
            standing,
            ground,
        } => set_standing(state, person, *standing, ground)?,
        PeopleCommand::Enrol { project, join, leave } => enrol(state, project, join, leave)?,
    };
    Ok(event.map(Event::People).into_iter().collect())
}

fn set_roles(
    state: &State,
    id: &PersonId,
    roles: &BTreeSet<Role>,
    ground: &str,
) -> Result<Option<PeopleEvent>, Refusal> {
    let person = find(&state.people, "person", id)?;
    let ground = grounded("a change of roles", ground, "name the decision that it rests on")?;
    if person.roles == *roles {
        return Ok(None);
    }
    if !roles.contains(&Role::Office) {
        office_remains_without(state, id)?;
    }
    Ok(Some(PeopleEvent::RolesSet {
        person: id.clone(),
        roles: roles.clone(),
        ground,
    }))
}

fn set_standing(
    state: &State,
    id: &PersonId,
    standing: Standing,
    ground: &str,
) -> Result<Option<PeopleEvent>, Refusal> {
    find(&state.people, "person", id)?;
    let hint = "name the letter or the decision that it rests on";
    let ground = grounded("a change of standing", ground, hint)?;
    if state.person_standing(id) == standing {
        return Ok(None);
    }
    if standing != Standing::Active {
        office_remains_without(state, id)?;
    }
    Ok(Some(PeopleEvent::StandingSet {
        person: id.clone(),
        standing,
        ground,
    }))
}

fn enrol(
    state: &State,
    id: &ProjectId,
    join: &BTreeSet<PersonId>,
    leave: &BTreeSet<PersonId>,
) -> Result<Option<PeopleEvent>, Refusal> {
    let project = find(&state.projects, "project", id)?;
    for person in join.iter().chain(leave) {
        find(&state.people, "person", person)?;
    }
    if let Some(both) = join.intersection(leave).next() {
        let why = format!("{both} would come and go");
        return Err(Refusal::invalid(why).hint("name them once"));
    }
    let join: BTreeSet<PersonId> = join.difference(&project.members).cloned().collect();
    let leave: BTreeSet<PersonId> = leave.intersection(&project.members).cloned().collect();
    if join.is_empty() && leave.is_empty() {
        return Ok(None);
    }
    if join.is_empty() && leave == project.members {
        let why = format!("nobody would be left in project {id}");
        return Err(Refusal::conflict(why).hint("let somebody join first"));
    }
    Ok(Some(PeopleEvent::Enrolled {
        project: id.clone(),
        join,
        leave,
    }))
}

/// Somebody has to be left who can undo it.
fn office_remains_without(state: &State, id: &PersonId) -> Result<(), Refusal> {
    let runs_it = |person: &PersonId| {
        let roles = state.people.get(person).map(|person| &person.roles);
        roles.is_some_and(|roles| roles.contains(&Role::Office))
            && state.takes_part(&Actor::Person(person.clone()))
    };
    if !runs_it(id) || state.people.keys().any(|other| other != id && runs_it(other)) {
        return Ok(());
    }
    let why = format!("{id} is the last of the programme office; nobody could undo it");
    Err(Refusal::conflict(why).hint("give somebody else the role first"))
}

pub(crate) fn apply(state: &mut State, event: &PeopleEvent, at: Time) {
    match event {
        PeopleEvent::RolesSet { person, roles, .. } => {
            if let Some(person) = state.people.get_mut(person) {
                person.roles.clone_from(roles);
            }
        }
        PeopleEvent::StandingSet {
            person,
            standing,
            ground,
        } => {
            let stands = Stands {
                standing: *standing,
                ground: ground.clone(),
                since: at,
            };
            state.people_standings.insert(person.clone(), stands);
        }
        PeopleEvent::IdentityBound { identity, person } => crate::identity::bind(state, identity, person),
        PeopleEvent::Enrolled { project, join, leave } => {
            if let Some(project) = state.projects.get_mut(project) {
                project.members.retain(|person| !leave.contains(person));
                project.members.extend(join.iter().cloned());
            }
        }
    }
}

impl State {
    /// How a person stands, whatever their organisation does.
    pub fn person_standing(&self, person: &PersonId) -> Standing {
        self.people_standings
            .get(person)
            .map_or(Standing::Active, |stands| stands.standing)
    }
}
