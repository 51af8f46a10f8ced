//! What may be asked about calls and proposals, and what follows.

use super::{Call, CallCommand, CallEvent, Case, Judgement, Proposal, Reviewer, Stage};
use crate::award::{AwardEvent, sound};
use crate::decide::{find, unused};
use crate::policy::Resource;
use crate::{
    Action, Actor, AwardId, Budget, CallId, Event, Label, PersonId, Project, ProjectId, ProposalId, Refusal,
    State, Time,
};

const MOST_TEXT: usize = 20_000;
const MOST_TITLE: usize = 200;
const MOST_PEOPLE: usize = 100;
const MOST_REVIEWS: u32 = 20;

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    command: &CallCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    match command {
        CallCommand::Open(call) => open(state, actor, call),
        CallCommand::Prolong { call, closes } => prolong(state, actor, call, *closes, now),
        CallCommand::Propose(proposal) => propose(state, actor, proposal, now),
        CallCommand::Withdraw(proposal) => withdraw(state, actor, proposal),
        CallCommand::AskReview { proposal, reviewer } => ask_review(state, actor, proposal, reviewer, now),
        CallCommand::Declare { proposal, conflict } => declare(state, actor, proposal, conflict.as_deref()),
        CallCommand::Review {
            proposal,
            score,
            text,
        } => review(state, actor, proposal, *score, text),
        CallCommand::Judge {
            proposal,
            judgement,
            ground,
        } => judge(state, actor, proposal, judgement, ground, now),
    }
}

fn open(state: &State, actor: &Actor, call: &Call) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    unused(&state.calls, "call", &call.id)?;
    written("title", &call.title, MOST_TITLE)?;
    written("title_ko", &call.title_ko, MOST_TITLE)?;
    written("text", &call.text, MOST_TEXT)?;
    sound(&call.budget)?;
    if call.label > Label::Consortium {
        return Err(Refusal::invalid(format!("a call can't be {}", call.label))
            .hint("open, for everyone, or consortium, for domestic members"));
    }
    if call.closes <= call.opens {
        return Err(Refusal::invalid("the call would close before it opens"));
    }
    if call.reviews > MOST_REVIEWS {
        return Err(
            Refusal::invalid(format!("a proposal would need {} reviews", call.reviews))
                .hint(format!("0 to {MOST_REVIEWS}")),
        );
    }
    Ok(told(CallEvent::Opened(call.clone())))
}

fn prolong(
    state: &State,
    actor: &Actor,
    call: &CallId,
    closes: Time,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    let call = find(&state.calls, "call", call)?;
    if closes < now || closes <= call.opens {
        return Err(Refusal::invalid(
            "a call closes after it opens, and not in the past",
        ));
    }
    let of_call = |case: &&Case| case.proposal.call == call.id;
    if state
        .proposals
        .values()
        .filter(of_call)
        .any(|case| case.judged.is_some())
    {
        return Err(
            Refusal::conflict(format!("proposals to call {} have been judged", call.id))
                .hint("open another call"),
        );
    }
    let call = call.id.clone();
    Ok(told(CallEvent::Prolonged { call, closes }))
}

// ---- those who propose -----------------------------------------------------------------------------------

fn propose(state: &State, actor: &Actor, proposal: &Proposal, now: Time) -> Result<Vec<Event>, Refusal> {
    let (person, organisation) = somebody(state, actor)?;
    let unknown = || Refusal::not_found("call", &proposal.call);
    let call = state.calls.get(&proposal.call).ok_or_else(unknown)?;
    state
        .permit(actor, Action::Read, &Resource::Call(call))
        .map_err(|_| unknown())?;
    state.permit(actor, Action::Propose, &Resource::Call(call))?;
    if now < call.opens || now >= call.closes {
        let (opens, closes) = (crate::Day::of(call.opens), crate::Day::of(call.closes));
        return Err(Refusal::conflict(format!(
            "call {} takes proposals from {opens} until {closes}",
            call.id
        )));
    }
    if proposal.id.organisation != *organisation {
        return Err(
            Refusal::invalid(format!("{person} proposes for {organisation} only"))
                .hint(format!("name it {organisation}/{}", proposal.id.name)),
        );
    }
    let known = state.proposals.get(&proposal.id);
    if let Some(case) = known.filter(|case| !case.withdrawn) {
        let theirs = case.proposal.people.contains(person) && case.proposal.call == call.id;
        if !theirs {
            return Err(
                Refusal::conflict(format!("there is a proposal {} already", proposal.id))
                    .hint("choose another name"),
            );
        }
        if case.stage() != Stage::Proposed {
            return Err(Refusal::conflict(format!(
                "proposal {} is in review",
                proposal.id
            )));
        }
    }
    written("title", &proposal.title, MOST_TITLE)?;
    written("text", &proposal.text, MOST_TEXT)?;
    sound(&proposal.budget)?;
    // Whether the others exist is not for everyone to know; it is seen when the project is opened.
    if !proposal.people.contains(person) || proposal.people.len() > MOST_PEOPLE {
        return Err(Refusal::invalid(format!(
            "a proposal names 1 to {MOST_PEOPLE} people, {person} among them"
        )));
    }
    Ok(told(CallEvent::Proposed(proposal.clone())))
}

fn withdraw(state: &State, actor: &Actor, id: &ProposalId) -> Result<Vec<Event>, Refusal> {
    let (person, _) = somebody(state, actor)?;
    let case = readable(state, actor, id)?;
    if !case.proposal.people.contains(person) {
        return Err(Refusal::conflict(format!(
            "proposal {id} is for its people to withdraw"
        )));
    }
    undecided(case)?;
    Ok(told(CallEvent::Withdrawn(id.clone())))
}

// ---- those who judge -------------------------------------------------------------------------------------

fn ask_review(
    state: &State,
    actor: &Actor,
    id: &ProposalId,
    reviewer: &PersonId,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let case = readable(state, actor, id)?;
    state.permit(actor, Action::Decide, &Resource::Proposal(case))?;
    undecided(case)?;
    has_closed(state, case, now)?;
    find(&state.people, "person", reviewer)?;
    if case.reviewers.contains_key(reviewer) {
        return Err(Refusal::conflict(format!(
            "{reviewer} was asked about {id} already, or has a conflict with it"
        )));
    }
    // Whoever could not review it is not asked.
    let mut asked = case.clone();
    asked.reviewers.insert(reviewer.clone(), Reviewer::Free);
    for action in [Action::Read, Action::Review] {
        state.permit(
            &Actor::Person(reviewer.clone()),
            action,
            &Resource::Proposal(&asked),
        )?;
    }
    Ok(told(CallEvent::ReviewAsked {
        proposal: id.clone(),
        reviewer: reviewer.clone(),
    }))
}

fn declare(
    state: &State,
    actor: &Actor,
    id: &ProposalId,
    conflict: Option<&str>,
) -> Result<Vec<Event>, Refusal> {
    let (person, _) = somebody(state, actor)?;
    let unknown = || Refusal::not_found("proposal", id);
    let case = state.proposals.get(id).ok_or_else(unknown)?;
    let asked = case.reviewers.contains_key(person) && !state.has_conflict(case, person);
    let decides = state
        .permit(actor, Action::Decide, &Resource::Proposal(case))
        .is_ok();
    if !asked && !decides {
        return Err(unknown());
    }
    undecided(case)?;
    match conflict {
        Some(conflict) => written("conflict", conflict, 1_000)?,
        None if !asked => {
            return Err(Refusal::conflict(format!(
                "{person} was not asked to review {id}"
            )));
        }
        // Said twice, or after the review was handed in.
        None if case.reviewers.get(person) != Some(&Reviewer::Asked) => return Ok(Vec::new()),
        None => {}
    }
    Ok(told(CallEvent::Declared {
        proposal: id.clone(),
        person: person.clone(),
        conflict: conflict.map(str::to_owned),
    }))
}

fn review(
    state: &State,
    actor: &Actor,
    id: &ProposalId,
    score: u8,
    text: &str,
) -> Result<Vec<Event>, Refusal> {
    let (person, _) = somebody(state, actor)?;
    let known = state
        .proposals
        .get(id)
        .filter(|case| !state.has_conflict(case, person));
    if known.is_some_and(|case| case.reviewers.get(person) == Some(&Reviewer::Asked)) {
        return Err(
            Refusal::conflict("whether there is a conflict comes before the review")
                .hint(format!("`khub reviews declare {id} --none`, or --conflict WHICH")),
        );
    }
    let case = readable(state, actor, id)?;
    state.permit(actor, Action::Review, &Resource::Proposal(case))?;
    undecided(case)?;
    if !(1..=5).contains(&score) {
        return Err(Refusal::invalid(format!("a score of {score}")).hint("1 to 5"));
    }
    written("review", text, MOST_TEXT)?;
    Ok(told(CallEvent::Reviewed {
        proposal: id.clone(),
        reviewer: person.clone(),
        score,
        text: text.to_owned(),
    }))
}

fn judge(
    state: &State,
    actor: &Actor,
    id: &ProposalId,
    judgement: &Judgement,
    ground: &str,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let case = readable(state, actor, id)?;
    state.permit(actor, Action::Decide, &Resource::Proposal(case))?;
    let (by, _) = somebody(state, actor)?;
    written("ground", ground, MOST_TEXT)?;
    let call = has_closed(state, case, now)?;
    let waits = case.judged.as_ref().map(|judged| &judged.judgement);
    if !matches!(waits, Some(Judgement::Wait { .. })) {
        undecided(case)?;
    }
    let reviews = case.reviews().count();
    if reviews < call.reviews as usize {
        return Err(Refusal::conflict(format!(
            "proposal {id} has {reviews} of the {} reviews that the call asks for",
            call.reviews
        )));
    }
    let mut events = told(CallEvent::Judged {
        proposal: id.clone(),
        judgement: judgement.clone(),
        ground: ground.to_owned(),
        by: by.clone(),
    });
    let (award, project, budget, ends) = match judgement {
        Judgement::Decline => {
            if let Some(Judgement::Wait { award, .. }) = waits {
                events.push(Event::Award(AwardEvent::Closed {
                    award: award.clone(),
                    ground: ground.to_owned(),
                }));
            }
            return Ok(events);
        }
        Judgement::Award {
            award,
            project,
            budget,
            ends,
        } => (award, project, budget, ends),
        Judgement::Wait {
            award,
            project,
            wanted,
            ends,
        } => {
            if wanted.is_none() || !wanted.is_sound() {
                return Err(Refusal::invalid("a proposal waits for some money or compute"));
            }
            (award, project, &Budget::new(), ends)
        }
    };
    sound(budget)?;
    crate::money::still_open(&Budget::new(), budget, now)?;
    if matches!(judgement, Judgement::Award { .. }) && budget.values().all(crate::Amount::is_none) {
        return Err(Refusal::invalid("an award of nothing"));
    }
    if *ends <= now {
        return Err(Refusal::invalid("the award would end before it begins"));
    }
    named(state, award, project, waits)?;
    crate::award::rules::within(state, call, award, budget)?;
    events.extend(project_of(state, call, &case.proposal, project)?);
    events.push(Event::Award(AwardEvent::Awarded {
        award: award.clone(),
        project: project.clone(),
        proposal: id.clone(),
        budget: budget.clone(),
        ends: *ends,
    }));
    Ok(events)
}

/// What has waited keeps its award's name.
fn named(
    state: &State,
    award: &AwardId,
    project: &ProjectId,
    waits: Option<&Judgement>,
) -> Result<(), Refusal> {
    let Some(Judgement::Wait {
        award: name,
        project: of,
        ..
    }) = waits
    else {
        return unused(&state.awards, "award", award);
    };
    if (name, of) != (award, project) {
        return Err(Refusal::conflict(format!(
            "it waits under the name {name}, for project {of}"
        )));
    }
    crate::award::rules::running(state, award).map(drop)
}

/// A project for the proposal: the one that is there, or a new one.
fn project_of(
    state: &State,
    call: &Call,
    proposal: &Proposal,
    id: &ProjectId,
) -> Result<Option<Event>, Refusal> {
    let organisation = &proposal.id.organisation;
    match state.projects.get(id) {
        Some(it) if it.organisation == *organisation && it.programme == call.programme => Ok(None),
        Some(it) => Err(Refusal::conflict(format!(
            "project {id} is of {} and its programme is {}",
            it.organisation, it.programme
        ))
        .hint("name a project that isn't there yet")),
        None => {
            for person in &proposal.people {
                find(&state.people, "person", person)?;
            }
            Ok(Some(Event::ProjectOpened(Project {
                id: id.clone(),
                title: proposal.title.clone(),
                organisation: organisation.clone(),
                programme: call.programme,
                members: proposal.people.clone(),
            })))
        }
    }
}

// ---- shared ----------------------------------------------------------------------------------------------

fn told(event: CallEvent) -> Vec<Event> {
    vec![Event::Call(event)]
}

/// Whoever may not read it hears that it isn't there.
fn readable<'a>(state: &'a State, actor: &Actor, id: &ProposalId) -> Result<&'a Case, Refusal> {
    let unknown = || Refusal::not_found("proposal", id);
    let case = state.proposals.get(id).ok_or_else(unknown)?;
    state
        .permit(actor, Action::Read, &Resource::Proposal(case))
        .map_err(|_| unknown())?;
    Ok(case)
}

/// Proposals are read and judged when no other can come.
fn has_closed<'a>(state: &'a State, case: &Case, now: Time) -> Result<&'a Call, Refusal> {
    let call = find(&state.calls, "call", &case.proposal.call)?;
    if now < call.closes {
        let closes = crate::Day::of(call.closes);
        return Err(Refusal::conflict(format!(
            "call {} takes proposals until {closes}",
            call.id
        )));
    }
    Ok(call)
}

fn undecided(case: &Case) -> Result<(), Refusal> {
    let id = &case.proposal.id;
    match (&case.judged, case.withdrawn) {
        (Some(_), _) => Err(Refusal::conflict(format!("proposal {id} has been judged"))),
        (None, true) => Err(Refusal::conflict(format!("proposal {id} has been withdrawn"))),
        (None, false) => Ok(()),
    }
}

/// The person who asks, and their organisation.
pub(crate) fn somebody<'a>(
    state: &'a State,
    actor: &'a Actor,
) -> Result<(&'a PersonId, &'a crate::OrganisationId), Refusal> {
    let person = match actor {
        Actor::Person(id) => state.people.get(id).map(|person| (id, &person.organisation)),
        _ => None,
    };
    person.ok_or_else(|| Refusal::invalid(format!("{actor} can't; this is for people")))
}

/// Text that is there and not too long.
pub(crate) fn written(field: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() || text.len() > most {
        return Err(Refusal::invalid(format!("{field} has {} bytes", text.len()))
            .hint(format!("{field} takes 1 to {most} bytes of text")));
    }
    Ok(())
}
