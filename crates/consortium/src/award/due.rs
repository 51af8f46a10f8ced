//! What time brings an award, one thing after the other: its end, what it had left passed on or taken back, and the
//! part of a fiscal year that has begun.

use super::AwardEvent;
use crate::call::Judgement;
use crate::money::{Parts, Till, is_over};
use crate::{Account, Amount, AwardId, Event, Month, ProposalId, State, Time, Won};

/// The next thing that is due by `now`; nothing if nothing is.
pub(crate) fn due(state: &State, now: Time) -> Vec<Event> {
    let agenda = &state.agenda;
    if let Some((_, award)) = agenda.ending.first().filter(|(ends, _)| *ends <= now) {
        let (award, ground) = (award.clone(), "its term is over".to_owned());
        return vec![Event::Award(AwardEvent::Closed { award, ground })];
    }
    let mut closing = agenda.closing.iter().map(|award| (award, left(state, award)));
    if let Some((award, amount)) = closing.find(|(_, amount)| !amount.is_none()) {
        return freed(state, award, amount, now);
    }
    let is_due = |award: &&AwardId| {
        let notice = state
            .courses
            .get(*award)
            .and_then(|course| course.notice.as_ref());
        notice.is_some_and(|it| it.until <= now && it.appeal.as_ref().is_none_or(|appeal| appeal.dismissed))
    };
    if let Some(award) = agenda.noticed.iter().find(is_due) {
        let notice = state.courses.get(award).and_then(|course| course.notice.as_ref());
        let amount = notice.map(|notice| notice.amount).unwrap_or_default();
        return freed(state, award, amount.at_most(left(state, award)), now);
    }
    // What its year's money can't pay yet waits for more of it, and others don't wait for it.
    let year = Month::of(now).year();
    let begun = agenda.coming.iter().take_while(|(coming, _)| *coming <= year);
    begun
        .filter_map(|(year, award)| given(state, *year, award))
        .next()
        .unwrap_or_default()
}

fn left(state: &State, award: &AwardId) -> Amount {
    state.ledger.balance(&Account::Award(award.clone()))
}

fn given(state: &State, year: u16, award: &AwardId) -> Option<Vec<Event>> {
    let amount = *state.courses.get(award)?.budget.get(&year)?;
    let mut till = Till::new(state);
    till.give(award, &crate::money::of(year), amount);
    if !till.is_covered() {
        return None;
    }
    let award = award.clone();
    let given = Event::Award(AwardEvent::Given { award, year, amount });
    Some([given].into_iter().chain(till.into_events()).collect())
}

/// What is free goes to those who wait in its programme, the first first, and the rest goes back. Money of a year that is
/// over goes back whatever happens: what becomes of that is for the office to decide.
fn freed(state: &State, from: &AwardId, amount: Amount, now: Time) -> Vec<Event> {
    let this = Month::of(now).year();
    let mut events = Vec::new();
    let mut till = Till::new(state);
    let mut parts = till.take(from, None, amount);
    parts.retain(|(year, _)| year.is_none() || !is_over(*year, this));
    let mut free = Amount {
        won: parts.iter().map(|(_, won)| *won).sum(),
        compute: amount.compute,
    };
    let mut passed = Amount::default();
    for proposal in &state.agenda.waiting {
        let Some((to, wanted)) = waits(state, from, proposal) else {
            continue;
        };
        let part = free.at_most(wanted);
        if part.is_none() {
            continue;
        }
        free = free.without(part);
        passed = passed.saturating_add(part);
        for (year, won) in split(&mut parts, part.won) {
            till.pay(to, year, won);
        }
        till.give(to, &[], Amount { won: Won(0), ..part });
        events.push(Event::Award(AwardEvent::PassedOn {
            from: from.clone(),
            to: to.clone(),
            proposal: proposal.clone(),
            amount: part,
        }));
    }
    events.push(Event::Award(AwardEvent::TakenBack {
        award: from.clone(),
        amount: amount.without(passed),
    }));
    events.extend(till.into_events());
    events
}

/// Takes `won` off the parts, the first first.
fn split(parts: &mut Parts, won: Won) -> Parts {
    let mut rest = won;
    let mut off = Parts::new();
    for (year, has) in parts {
        let part = rest.min(*has);
        (rest, *has) = (rest - part, *has - part);
        off.push((*year, part));
    }
    off
}

/// Under which award the proposal waits for what `from` has left, and for how much.
fn waits<'a>(state: &'a State, from: &AwardId, proposal: &ProposalId) -> Option<(&'a AwardId, Amount)> {
    let case = state.proposals.get(proposal)?;
    let Judgement::Wait { award, wanted, .. } = &case.judged.as_ref()?.judgement else {
        return None;
    };
    let programme = |award: &AwardId| {
        let project = &state.awards.get(award)?.project;
        Some(state.projects.get(project)?.programme)
    };
    let same = programme(award).is_some() && programme(award) == programme(from);
    (same && award != from && !state.is_closed(award)).then_some((award, *wanted))
}
