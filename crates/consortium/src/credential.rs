//! Tokens: the office makes them for anyone, and everyone for themselves if they expire.

use crate::decide::{find, unused};
use crate::policy::Resource;
use crate::{Action, Actor, Credential, Digest, Event, Holder, Refusal, State, Time};

/// The longest that a session holds: a day.
const SESSION_MILLIS: u64 = 24 * 3_600 * 1_000;
/// The longest that a token is good for which somebody makes for themselves: a year and a day.
const OWN_MILLIS: u64 = 366 * 24 * 3_600 * 1_000;

pub(crate) fn issue(
    state: &State,
    actor: &Actor,
    token: Digest,
    credential: &Credential,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let own = Actor::from(credential.holder.clone()) == *actor;
    if credential.session {
        let is_short = credential
            .expires
            .is_some_and(|expires| expires.since(now) <= SESSION_MILLIS);
        if !is_short || !matches!(credential.holder, Holder::Person(_)) {
            return Err(Refusal::invalid("a session is a person's, for a day at most"));
        }
    }
    match credential.expires {
        Some(expires) if expires <= now => {
            return Err(Refusal::invalid(
                "the token would be worth nothing from the start",
            ));
        }
        Some(expires) if own && expires.since(now) <= OWN_MILLIS => {}
        _ => state.permit(actor, Action::Administer, &Resource::Consortium)?,
    }
    unused(&state.credentials, "credential", &token)?;
    match &credential.holder {
        Holder::Person(person) => find(&state.people, "person", person).map(drop)?,
        Holder::Site(site) => find(&state.sites, "site", site).map(drop)?,
    }
    Ok(vec![Event::CredentialIssued {
        token,
        credential: credential.clone(),
    }])
}

pub(crate) fn revoke(state: &State, actor: &Actor, token: &Digest) -> Result<Vec<Event>, Refusal> {
    let known = state.credentials.get(token);
    if !known.is_some_and(|credential| Actor::from(credential.holder.clone()) == *actor) {
        // Before it is said whether there is such a token.
        state.permit(actor, Action::Administer, &Resource::Consortium)?;
    }
    known.ok_or_else(|| Refusal::not_found("credential", token))?;
    Ok(vec![Event::CredentialRevoked { token: *token }])
}
