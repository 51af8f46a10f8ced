//! How people come in: whoever may let people in invites an address, and who has the invitation's code comes, once. The
//! code itself is known to those two; the log has its digest.

use crate::decide::{find, unused};
use crate::policy::Resource;
use crate::{
    Action, Actor, Credential, Day, Digest, Event, Holder, Identity, OrganisationId, PeopleEvent, Person,
    PersonId, ProjectId, Refusal, Role, Standing, State, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// For how long an invitation can be accepted: 14 days.
pub const INVITATION_MILLIS: u64 = 14 * 24 * 3_600 * 1_000;
/// In bytes; RFC 5321, section 4.5.3.1.3, without the angle brackets.
const LONGEST_EMAIL: usize = 254;

/// Whom an invitation is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guest {
    /// Somebody new.
    New {
        /// Whom they will act for.
        organisation: OrganisationId,
        /// What they may do beyond their projects.
        #[serde(default)]
        roles: BTreeSet<Role>,
        /// Where they will work.
        #[serde(default)]
        projects: BTreeSet<ProjectId>,
        /// The name they have if they choose no other.
        #[serde(default)]
        name: Option<PersonId>,
    },
    /// A person who is there already, and is to sign in another way.
    Known(PersonId),
}

impl Guest {
    /// Under which name they come who choose `name`, or no name.
    pub fn called(&self, name: Option<&PersonId>) -> Option<PersonId> {
        match self {
            Self::New { name: proposed, .. } => name.or(proposed.as_ref()).cloned(),
            Self::Known(person) => Some(person.clone()),
        }
    }
}

/// An invitation that nobody has accepted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The address it is for. Nothing is sent by the consortium itself.
    pub email: String,
    /// Whom it is for.
    pub guest: Guest,
    /// Whose it is; none if the hub's.
    pub by: Option<PersonId>,
    /// From when on it is worth nothing.
    pub expires: Time,
}

/// How somebody who comes signs in from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignIn {
    /// As this identity, which the hub has checked.
    Identity(Identity),
    /// With a first token.
    Token {
        /// The token's digest.
        token: Digest,
        /// From when on it is worth nothing.
        expires: Time,
    },
}

/// Something to be done about invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvitationCommand {
    /// Invite somebody.
    Send {
        /// The code's digest.
        code: Digest,
        /// Their address.
        email: String,
        /// Who they are to be.
        guest: Guest,
    },
    /// Take an invitation back.
    Withdraw {
        /// The code's digest.
        code: Digest,
    },
    /// Come in; the hub asks it for whoever has brought the code.
    Accept {
        /// The code's digest.
        code: Digest,
        /// The name they choose.
        name: Option<PersonId>,
        /// How they sign in.
        sign_in: SignIn,
    },
}

/// Something that happened to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in the commands")]
pub enum InvitationEvent {
    /// Somebody is invited; an earlier invitation of the same address is worth nothing any more.
    Sent { code: Digest, invitation: Invitation },
    /// It was taken back.
    Withdrawn { code: Digest },
    /// Somebody has come; who that is and how they sign in, the events beside this say.
    Accepted { code: Digest, person: PersonId },
}

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    command: &InvitationCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    match command {
        InvitationCommand::Send { code, email, guest } => send(state, actor, *code, email, guest, now),
        InvitationCommand::Withdraw { code } => {
            state.permit(actor, Action::Administer, &Resource::Consortium)?;
            find(&state.invitations, "invitation", code)?;
            Ok(vec![Event::Invitation(InvitationEvent::Withdrawn {
                code: *code,
            })])
        }
        InvitationCommand::Accept { code, name, sign_in } => {
            accept(state, actor, *code, name.as_ref(), sign_in, now)
        }
    }
}

fn send(
    state: &State,
    actor: &Actor,
    code: Digest,
    email: &str,
    guest: &Guest,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let email = check_email(email)?;
    unused(&state.invitations, "invitation", &code)?;
    let open = |it: &&Invitation| it.email == email && now < it.expires;
    if let Some(open) = state.invitations.values().find(open) {
        let why = format!("{email} is invited already, until {}", Day::of(open.expires));
        return Err(Refusal::conflict(why).hint("take that invitation back first"));
    }
    match guest {
        Guest::New {
            organisation,
            projects,
            name,
            ..
        } => {
            takes_part(state, organisation)?;
            for project in projects {
                find(&state.projects, "project", project)?;
            }
            name.as_ref()
                .map_or(Ok(()), |name| unused(&state.people, "person", name))?;
        }
        Guest::Known(person) => find(&state.people, "person", person).map(drop)?,
    }
    let invitation = Invitation {
        email,
        guest: guest.clone(),
        by: match actor {
            Actor::Person(person) => Some(person.clone()),
            _ => None,
        },
        expires: now.plus(INVITATION_MILLIS),
    };
    Ok(vec![Event::Invitation(InvitationEvent::Sent {
        code,
        invitation,
    })])
}

fn accept(
    state: &State,
    actor: &Actor,
    code: Digest,
    name: Option<&PersonId>,
    sign_in: &SignIn,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    if *actor != Actor::Hub {
        let why = format!("{actor} can't accept invitations; the hub does, for whoever brings the code");
        return Err(Refusal::forbidden(why, Vec::new()));
    }
    let ask_again = "ask the programme office for another one";
    let invitation = state.invitations.get(&code).ok_or_else(|| {
        let why = "there is no such invitation: it may have been accepted or taken back";
        Refusal::new(crate::RefusalKind::NotFound, why).hint(ask_again)
    })?;
    if invitation.expires <= now {
        let why = format!("this invitation was good until {}", Day::of(invitation.expires));
        return Err(Refusal::conflict(why).hint(ask_again));
    }
    let by = invitation.by.clone().map_or(Actor::Hub, Actor::Person);
    if state
        .permit(&by, Action::Administer, &Resource::Consortium)
        .is_err()
    {
        // It is worth as much as the word of whoever gave it.
        let why = "whoever sent this invitation may let nobody in any more";
        return Err(Refusal::conflict(why).hint(ask_again));
    }
    let (person, mut events) = come(state, &invitation.guest, name)?;
    let is_others = |identity| state.identities.get(identity).filter(|whose| **whose != person);
    events.push(match sign_in {
        SignIn::Identity(identity) => {
            if let Some(other) = is_others(identity) {
                let why = format!("you are {other} here already");
                return Err(Refusal::conflict(why).hint("sign in without the invitation"));
            }
            Event::People(PeopleEvent::IdentityBound {
                identity: identity.clone(),
                person: person.clone(),
            })
        }
        SignIn::Token { token, expires } => {
            unused(&state.credentials, "credential", token)?;
            Event::CredentialIssued {
                token: *token,
                credential: Credential {
                    expires: Some(*expires),
                    ..Credential::full(Holder::Person(person.clone()))
                },
            }
        }
    });
    let accepted = InvitationEvent::Accepted { code, person };
    Ok([vec![Event::Invitation(accepted)], events].concat())
}

/// Who comes, and what makes them a person who works in their projects.
fn come(state: &State, guest: &Guest, name: Option<&PersonId>) -> Result<(PersonId, Vec<Event>), Refusal> {
    let (organisation, roles, projects) = match guest {
        Guest::New {
            organisation,
            roles,
            projects,
            ..
        } => (organisation, roles, projects),
        Guest::Known(person) => {
            if name.is_some_and(|name| name != person) {
                return Err(
                    Refusal::invalid("this invitation is for a person who has a name already")
                        .hint("accept it without a name"),
                );
            }
            return match state.kept_out(&Actor::Person(person.clone())) {
                Some(why) => Err(Refusal::conflict(why)),
                None => Ok((person.clone(), Vec::new())),
            };
        }
    };
    let id = guest.called(name).ok_or_else(|| {
        Refusal::invalid("under which name would you come?")
            .hint("choose one of a-z, 0-9 and inner hyphens, as in minji-kim")
    })?;
    if state.people.contains_key(&id) {
        let why = format!("somebody else is called {id} here");
        return Err(Refusal::conflict(why).hint("choose another name"));
    }
    takes_part(state, organisation)?;
    let person = Person {
        id: id.clone(),
        organisation: organisation.clone(),
        roles: roles.clone(),
    };
    let enrolled = projects.iter().map(|project| {
        Event::People(PeopleEvent::Enrolled {
            project: project.clone(),
            join: [id.clone()].into(),
            leave: BTreeSet::new(),
        })
    });
    let events = [Event::PersonAdded(person)].into_iter().chain(enrolled).collect();
    Ok((id, events))
}

fn takes_part(state: &State, organisation: &OrganisationId) -> Result<(), Refusal> {
    find(&state.organisations, "organisation", organisation)?;
    match state.standing(organisation) {
        Standing::Active => Ok(()),
        standing => Err(Refusal::conflict(format!(
            "organisation {organisation} is {standing}: its people take no part"
        ))),
    }
}

/// Good enough to tell invitations apart; whether mail arrives there is for whoever sends it.
fn check_email(email: &str) -> Result<String, Refusal> {
    let email = email.trim();
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    let parts = email.rsplit_once('@');
    let whole = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if whole && email.len() <= LONGEST_EMAIL && email.chars().all(plain) {
        return Ok(email.to_owned());
    }
    let given: String = email.chars().take(80).collect();
    Err(Refusal::invalid(format!("{given:?} is no e-mail address")).hint("one as in minji@gaon.example"))
}

pub(crate) fn apply(state: &mut State, event: &InvitationEvent) {
    match event {
        InvitationEvent::Sent { code, invitation } => {
            state.invitations.retain(|_, it| it.email != invitation.email);
            state.invitations.insert(*code, invitation.clone());
        }
        InvitationEvent::Withdrawn { code } | InvitationEvent::Accepted { code, .. } => {
            state.invitations.remove(code);
        }
    }
}
