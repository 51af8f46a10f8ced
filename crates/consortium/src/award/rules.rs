//! What may be asked about an award, and what follows.

use super::{AwardCommand, AwardEvent, Course, Notice, corrected};
use crate::call::rules::{somebody, written};
use crate::decide::{find, unused};
use crate::money::Till;
use crate::policy::Resource;
use crate::{
    Account, Action, Actor, Amount, Award, AwardId, Budget, Call, Event, Month, PersonId, Refusal, State,
    Time,
};

/// How long before something is taken back it is announced: two weeks.
const NOTICE_MILLIS: u64 = 14 * 24 * 3_600 * 1_000;
pub(crate) const MOST_GROUND: usize = 10_000;
const MOST_YEARS: usize = 20;

pub(crate) fn ask(
    state: &State,
    actor: &Actor,
    award: &AwardId,
    command: &AwardCommand,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let of_the_office = || {
        state.permit(actor, Action::Administer, &Resource::Consortium)?;
        running(state, award)
    };
    match command {
        AwardCommand::Amend { budget, ground } => {
            amend(state, award, of_the_office()?, (budget, ground), now)
        }
        AwardCommand::Extend { ends, ground } => extend(award, of_the_office()?, *ends, ground, now),
        AwardCommand::Close { ground } => {
            of_the_office()?;
            written("ground", ground, MOST_GROUND)?;
            let (award, ground) = (award.clone(), ground.clone());
            Ok(vec![Event::Award(AwardEvent::Closed { award, ground })])
        }
        AwardCommand::GiveNotice {
            amount,
            until,
            ground,
        } => {
            let course = of_the_office()?;
            let (by, _) = somebody(state, actor)?;
            let notice = Notice {
                amount: *amount,
                until: *until,
                ground: ground.clone(),
                by: by.clone(),
                appeal: None,
            };
            give_notice(state, award, course, notice, now)
        }
        AwardCommand::DropNotice { ground } => {
            let course = of_the_office()?;
            written("ground", ground, MOST_GROUND)?;
            standing(award, course)?;
            let (award, ground) = (award.clone(), ground.clone());
            Ok(vec![Event::Award(AwardEvent::NoticeDropped { award, ground })])
        }
        AwardCommand::Appeal { ground } => appeal(state, actor, award, ground, now),
        AwardCommand::AnswerAppeal { upheld, ground } => {
            let course = of_the_office()?;
            let (by, _) = somebody(state, actor)?;
            answer(by, award, course, *upheld, ground)
        }
    }
}

/// An award at once, of this year's money. A consortium may be founded with the money and the awards of other years, too.
pub(crate) fn grant(state: &State, actor: &Actor, award: &Award, now: Time) -> Result<Vec<Event>, Refusal> {
    unused(&state.awards, "award", &award.id)?;
    find(&state.projects, "project", &award.project)?;
    let mut years = crate::money::of(Month::of(now).year()).to_vec();
    if *actor == Actor::Hub {
        years.extend(state.appropriations.keys().map(|year| Some(*year)));
    }
    let amount = Amount {
        won: award.won,
        compute: award.compute,
    };
    let mut till = Till::new(state);
    till.give(&award.id, &years, amount);
    let granted = Event::Granted(award.clone());
    Ok([granted].into_iter().chain(till.into_events()).collect())
}

fn amend(
    state: &State,
    award: &AwardId,
    course: &Course,
    (budget, ground): (&Budget, &str),
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    written("ground", ground, MOST_GROUND)?;
    sound(budget)?;
    if *budget == course.budget {
        return Ok(Vec::new());
    }
    crate::money::still_open(&course.budget, budget, now)?;
    let case = course.proposal.as_ref().and_then(|id| state.proposals.get(id));
    if let Some(call) = case.and_then(|case| state.calls.get(&case.proposal.call)) {
        within(state, call, award, budget)?;
    }
    let mut events = vec![Event::Award(AwardEvent::Amended {
        award: award.clone(),
        budget: budget.clone(),
        ground: ground.to_owned(),
    })];
    let mut till = Till::new(state);
    let years = course.given.iter();
    for (year, (old, new)) in years.zip(corrected(&course.budget, &course.given, budget)) {
        till.give(award, &crate::money::of(*year), new.without(old));
        till.take(award, Some(*year), old.without(new));
    }
    events.extend(till.into_events());
    Ok(events)
}

fn extend(
    award: &AwardId,
    course: &Course,
    ends: Time,
    ground: &str,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    written("ground", ground, MOST_GROUND)?;
    if course.ends.is_none_or(|before| ends <= before) || ends <= now {
        let before = course
            .ends
            .map_or("never".to_owned(), |ends| crate::Day::of(ends).to_string());
        return Err(
            Refusal::conflict(format!("award {award} ends: {before}")).hint("an extension is to a later day")
        );
    }
    Ok(vec![Event::Award(AwardEvent::Extended {
        award: award.clone(),
        ends,
        ground: ground.to_owned(),
    })])
}

// ---- what isn't used -------------------------------------------------------------------------------------

fn give_notice(
    state: &State,
    award: &AwardId,
    course: &Course,
    notice: Notice,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    written("ground", &notice.ground, MOST_GROUND)?;
    if course.notice.is_some() {
        return Err(Refusal::conflict(format!("award {award} has a notice already")));
    }
    let left = state.ledger.balance(&Account::Award(award.clone()));
    let wanted = notice.amount;
    if wanted.is_none() || !wanted.is_sound() || wanted.won > left.won || wanted.compute > left.compute {
        return Err(Refusal::conflict(format!(
            "award {award} has {left} that isn't used, of which {wanted} can't be taken back"
        )));
    }
    if notice.until < now.plus(NOTICE_MILLIS) {
        return Err(
            Refusal::invalid("the project's people have two weeks at least to appeal").hint(format!(
                "--until {} or later",
                crate::Day::of(now.plus(NOTICE_MILLIS + 86_400_000))
            )),
        );
    }
    let award = award.clone();
    Ok(vec![Event::Award(AwardEvent::NoticeGiven { award, notice })])
}

fn appeal(
    state: &State,
    actor: &Actor,
    award: &AwardId,
    ground: &str,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let unknown = || Refusal::not_found("award", award);
    let project = state
        .awards
        .get(award)
        .and_then(|award| state.projects.get(&award.project));
    let project = project.ok_or_else(unknown)?;
    state
        .permit(actor, Action::Contribute, &Resource::Project(project))
        .map_err(|_| unknown())?;
    let (by, _) = somebody(state, actor)?;
    written("ground", ground, MOST_GROUND)?;
    let notice = standing(award, running(state, award)?)?;
    if notice.appeal.is_some() || now >= notice.until {
        return Err(Refusal::conflict(format!(
            "award {award} has been appealed for, or it is too late"
        )));
    }
    Ok(vec![Event::Award(AwardEvent::Appealed {
        award: award.clone(),
        by: by.clone(),
        ground: ground.to_owned(),
    })])
}

/// Whoever gave the notice doesn't decide on the appeal.
fn answer(
    by: &PersonId,
    award: &AwardId,
    course: &Course,
    upheld: bool,
    ground: &str,
) -> Result<Vec<Event>, Refusal> {
    written("ground", ground, MOST_GROUND)?;
    let notice = standing(award, course)?;
    let open = notice.appeal.as_ref().filter(|appeal| !appeal.dismissed);
    if open.is_none() {
        return Err(Refusal::conflict(format!(
            "award {award} has no appeal to decide on"
        )));
    }
    if *by == notice.by {
        return Err(Refusal::conflict(format!(
            "{by} gave the notice, so another person decides on the appeal"
        ))
        .hint("ask a colleague of the programme office"));
    }
    Ok(vec![Event::Award(AwardEvent::AppealAnswered {
        award: award.clone(),
        by: by.clone(),
        upheld,
        ground: ground.to_owned(),
    })])
}

// ---- shared ----------------------------------------------------------------------------------------------

/// An award that has not ended.
pub(crate) fn running<'a>(state: &'a State, award: &AwardId) -> Result<&'a Course, Refusal> {
    let course = find(&state.courses, "award", award)?;
    match course.closed {
        None => Ok(course),
        Some(at) => Err(Refusal::conflict(format!(
            "award {award} was closed on {}",
            crate::Day::of(at)
        ))),
    }
}

fn standing<'a>(award: &AwardId, course: &'a Course) -> Result<&'a Notice, Refusal> {
    let none = || Refusal::conflict(format!("nothing is to be taken back from award {award}"));
    course.notice.as_ref().ok_or_else(none)
}

/// Years of this century, and amounts that aren't less than nothing.
pub(crate) fn sound(budget: &Budget) -> Result<(), Refusal> {
    let wrong = budget
        .iter()
        .find(|(year, amount)| !(2000..=2099).contains(*year) || !amount.is_sound());
    match wrong {
        Some((year, amount)) => Err(Refusal::invalid(format!("a budget of {amount} in {year}"))
            .hint("years from 2000 to 2099, and nothing below zero")),
        None if budget.len() > MOST_YEARS => {
            Err(Refusal::invalid(format!("a budget of {} years", budget.len()))
                .hint(format!("{MOST_YEARS} at most")))
        }
        None => Ok(()),
    }
}

/// Whether the call's budget covers `award` with this `budget` beside all its other awards.
pub(crate) fn within(state: &State, call: &Call, award: &AwardId, budget: &Budget) -> Result<(), Refusal> {
    for (year, amount) in budget {
        let all = call.budget.get(year).copied().unwrap_or_default();
        let spent = awarded(state, call, *year, Some(award));
        let sum = spent.saturating_add(*amount);
        if sum.won > all.won || sum.compute > all.compute {
            return Err(Refusal::new(
                crate::RefusalKind::Insufficient,
                format!(
                    "call {} has {} left for {year}, and {amount} is asked",
                    call.id,
                    all.without(spent)
                ),
            ));
        }
    }
    Ok(())
}

/// What of a year's budget of the call is awarded, but for `without`.
fn awarded(state: &State, call: &Call, year: u16, without: Option<&AwardId>) -> Amount {
    let others = super::of_call(state, &call.id).filter(|(award, _)| Some(*award) != without);
    others.fold(Amount::default(), |sum, (_, it)| {
        sum.saturating_add(it.budget.get(&year).copied().unwrap_or_default())
    })
}

impl State {
    /// What of the call's budget is awarded to nobody, by fiscal year.
    pub fn left_of_call(&self, call: &Call) -> Budget {
        let left = |(year, all): (&u16, &Amount)| (*year, all.without(awarded(self, call, *year, None)));
        call.budget.iter().map(left).collect()
    }
}
