//! What follows by itself, from the passing of time or from what just happened: placements, rounds that open
//! and close, jobs that end. [`Command::Tick`](crate::Command::Tick) asks for it, one step a job at a time,
//! until nothing follows. A placement looks at everyone who waits, so whoever knows that nothing has happened that it could
//! depend on asks for the rest alone ([`follow`]).

use crate::batch::{self, Stop};
use crate::codec;
use crate::inspection::{self, Judgement};
use crate::place::{Placing, place};
use crate::private::{self, Lifting};
use crate::watch;
use crate::{
    Account, Bounds, Event, Interval, Job, Member, Mode, Outcome, Phase, Presence, Rejection, Round, SiteId,
    State, Time, Transfer,
};
use std::collections::{BTreeMap, BTreeSet};

/// A site that is placed and doesn't come is not waited for any longer than this.
const START_GRACE_MS: u64 = 30_000;

/// One step for each job that has one to take, oldest first, and then, if `moved`, everything that can be placed.
pub fn follow(state: &State, now: Time, moved: bool) -> Vec<Event> {
    let due = crate::award::due::due(state, now);
    if !due.is_empty() {
        return due; // what an award gets or loses decides what can be placed
    }
    let jobs: Vec<&Job> = state.active_jobs().collect();
    let step = |job: &&Job| match (&job.spec.batch, &job.phase) {
        (Some(_), _) => batch::next_step(state, job),
        (None, Phase::Queued) => Vec::new(),
        (None, _) => next_step(state, job, now),
    };
    let mut events: Vec<Event> = jobs.iter().flat_map(step).collect();
    if !events.is_empty() {
        return events; // what ends may be what a placement would stop
    }
    // One at a time: two jobs may hold what one award pays.
    let mut notices = jobs.iter().map(|job| watch::notices(state, job));
    if let Some(notice) = notices.find(|events| !events.is_empty()) {
        return notice;
    }
    if !moved {
        return events;
    }
    let turn = place(state, now);
    let stops = turn.stops.into_iter().map(|job| Event::Stopping {
        job,
        why: Stop::Preempted,
    });
    events.extend(stops);
    events.extend(turn.placings.into_iter().flat_map(placement));
    events
}

fn placement(placing: Placing) -> Vec<Event> {
    let (job, sites) = (placing.job, placing.sites);
    let from = Account::Award(placing.award.clone());
    let reserve = sites.iter().map(|placed| {
        let to = Account::Reserved(job, placed.site.clone());
        Event::Posted(Transfer::both(
            from.clone(),
            to,
            placed.reserved,
            placed.reserved_compute,
        ))
    });
    let reserve: Vec<Event> = reserve.collect();
    let mut events = vec![Event::Placed {
        job,
        award: placing.award,
        sites,
        candidates: placing.candidates,
    }];
    events.extend(reserve);
    events
}

fn next_step(state: &State, job: &Job, now: Time) -> Vec<Event> {
    if let Some(outcome) = outcome(job) {
        return ended(state, job, outcome);
    }
    let diverged = outvoted(job);
    if !diverged.is_empty() {
        return diverged;
    }
    let shut_out = shut_out(state, job);
    if !shut_out.is_empty() {
        return shut_out;
    }
    let struck_out = struck_out(state, job);
    if !struck_out.is_empty() {
        return struck_out;
    }
    let first = job.open_round();
    match first {
        Some(round) if !has_to_wait(job, round, now) => return close_or_look(job, round, now),
        _ => {}
    }
    let opened = open(job, now);
    match first {
        Some(round) if opened.is_empty() => let_in(job, round),
        _ => opened,
    }
}

/// Sites that may not hold the job any more have no part in it from here on: they could not apply a single
/// round, and everyone would wait for them. Where too few are left for a quorum, that ends the job.
fn shut_out(state: &State, job: &Job) -> Vec<Event> {
    if !job.reconsider {
        return Vec::new();
    }
    let members = job.members.iter().filter(|(_, m)| m.presence != Presence::Left);
    let (stay, out): (Vec<&SiteId>, Vec<&SiteId>) = members
        .map(|(site, _)| site)
        .partition(|site| state.may_hold(site, job));
    if !out.is_empty() && job.outputs.is_empty() && stay.len() < job.spec.rounds.quorum as usize {
        let reason = format!(
            "since its label, the policy or a standing changed, {} may not hold the job, and the sites that are left \
             are no quorum",
            names(&out)
        );
        return ended(state, job, Outcome::Failed { reason });
    }
    let left = |site: &SiteId| Event::Left {
        job: job.id,
        site: site.clone(),
        outputs: Vec::new(),
    };
    out.into_iter().map(left).collect()
}

/// A site whose updates are rejected again and again would cost the others their samples for good. Where too few are
/// left for a quorum without it, that ends the job.
fn struck_out(state: &State, job: &Job) -> Vec<Event> {
    let out = inspection::struck_out(job);
    let members = job.members.values().filter(|m| m.presence != Presence::Left);
    let stay = members.count() - out.len();
    if !out.is_empty() && job.outputs.is_empty() && stay < job.spec.rounds.quorum as usize {
        let reason = format!(
            "the updates of {} were rejected again and again, and the sites that are left are no quorum",
            names(&out)
        );
        return ended(state, job, Outcome::Failed { reason });
    }
    let strikes = |site: &SiteId| job.members.get(site).map_or(0, |member| member.strikes);
    let struck_out = |site: &SiteId| Event::StruckOut {
        job: job.id,
        site: site.clone(),
        strikes: strikes(site),
    };
    out.into_iter().map(struck_out).collect()
}

fn names(sites: &[&SiteId]) -> String {
    let names: Vec<&str> = sites.iter().map(|site| site.as_str()).collect();
    names.join(", ")
}

/// Training is deterministic, so two digests of one round mean that a site went wrong. The majority's stands;
/// it is waited for as long as sites that are still to tell could make another one stand.
fn outvoted(job: &Job) -> Vec<Event> {
    let mut diverged: BTreeMap<&SiteId, Event> = BTreeMap::new();
    for round in job.rounds.iter().filter(|round| round.is_disputed()) {
        // Who begins with a later checkpoint never tells of the rounds before it.
        let since = &job.rounds[round.number as usize..];
        let told = |site: &SiteId| since.iter().any(|later| later.outer.contains_key(site));
        let awaited = job.present().filter(|(site, _)| !told(site)).count();
        for (site, outer) in round.outvoted(awaited) {
            diverged.entry(site).or_insert_with(|| Event::Diverged {
                job: job.id,
                site: site.clone(),
                round: round.number,
                outer,
            });
        }
    }
    diverged.into_values().collect()
}

/// A job's end, and what was set aside for it and not used goes back to its award.
pub(crate) fn ended(state: &State, job: &Job, outcome: Outcome) -> Vec<Event> {
    let mut events = vec![Event::Ended { job: job.id, outcome }];
    events.extend(releases(state, job).into_iter().map(Event::Posted));
    events
}

/// How the job has ended, if it has.
fn outcome(job: &Job) -> Option<Outcome> {
    let has_results = !job.outputs.is_empty();
    if has_results && job.present().next().is_none() {
        return Some(Outcome::Done);
    }
    let spent = |m: &Member| m.used() >= m.placed.reserved_compute;
    let (site, _) = job.present().find(|(_, m)| spent(m))?;
    if has_results {
        return Some(Outcome::Done); // a site that lingers can't undo what the lead handed in
    }
    let minutes = job.spec.wall_minutes;
    let reason = format!(
        "site {site} was held for all of the {minutes} minutes that were reserved; ask for more wall_minutes"
    );
    Some(Outcome::Failed { reason })
}

/// A round closes when everyone who is there has contributed, or at quorum after the grace window; if it is inspected,
/// when that is over.
fn has_to_wait(job: &Job, round: &Round, now: Time) -> bool {
    if let Some(inspection) = &round.inspection {
        return !inspection::is_over(job, round, inspection, now);
    }
    if let Some(unmasking) = &round.unmasking {
        return private::lifting(job, round, unmasking, now) == Lifting::Wait;
    }
    let Some(quorum_at) = round.quorum_at else {
        return !is_given_up(job, round);
    };
    // Whoever was held up by the round before has a whole window for this one.
    let before = round.number.checked_sub(1).map(|before| before as usize);
    let before = before.and_then(|before| job.rounds.get(before)?.closed);
    let quorum_at = before.map_or(quorum_at, |closed| closed.max(quorum_at));
    let grace_over = now >= quorum_at.plus(u64::from(job.spec.rounds.grace_seconds) * 1_000);
    !grace_over && awaited(job, round) > 0
}

/// A round for what was left over doesn't wait for members that are lost when somebody has contributed or others could
/// take their samples: it closes with what came, if only with nothing.
fn is_given_up(job: &Job, round: &Round) -> bool {
    let awaited = awaited(job, round);
    if job.spec.rounds.is_private() && private::is_given_up(job, round, awaited) {
        return true;
    }
    let mut present = job.present();
    let others = present.any(|(site, _)| !round.members.contains_key(site));
    let came = !round.updates.is_empty();
    round.number >= job.spec.rounds.count && (others || came) && awaited == 0
}

/// How many sites of the round may still contribute: those that are there and have not.
fn awaited(job: &Job, round: &Round) -> usize {
    let missing = |site: &SiteId| round.members.contains_key(site) && !round.updates.contains_key(site);
    let awaited = |site: &SiteId| missing(site) && private::can_contribute(job, round, site);
    job.present().filter(|(site, _)| awaited(site)).count()
}

/// What becomes of a round that doesn't wait any more.
enum Due {
    /// Something has to happen before it closes.
    First(Event),
    /// It closes, and this counts.
    Close(Judgement),
}

/// What came is inspected first, or its masks are lifted, if the job says so.
fn close_or_look(job: &Job, round: &Round, now: Time) -> Vec<Event> {
    let due = match &job.spec.rounds.mode {
        Some(Mode::Inspected(bounds)) => inspected(job, round, bounds),
        Some(Mode::Private(_)) => unmasked(job, round, now),
        None => Due::Close(Judgement::default()),
    };
    match due {
        Due::First(event) => vec![event],
        Due::Close(judgement) => close(job, round, judgement),
    }
}

fn inspected(job: &Job, round: &Round, bounds: &Bounds) -> Due {
    match &round.inspection {
        Some(inspection) => Due::Close(inspection::judge(job, round, inspection, bounds)),
        None if !round.updates.is_empty() => Due::First(Event::InspectionBegan {
            job: job.id,
            round: round.number,
        }),
        None => Due::Close(Judgement::default()),
    }
}

fn unmasked(job: &Job, round: &Round, now: Time) -> Due {
    let without = |gone: BTreeSet<SiteId>| {
        Due::First(Event::UnmaskingBegan {
            job: job.id,
            round: round.number,
            gone,
        })
    };
    let all = |why: &Rejection| {
        let sites = round.updates.keys();
        sites.map(|site| (site.clone(), why.clone())).collect()
    };
    // What was left over has no quorum to wait for, but a sum of fewer would hide nothing.
    let least = match round.number < job.spec.rounds.count {
        true => job.spec.rounds.quorum as usize,
        false => private::FEWEST,
    };
    let rejected = match &round.unmasking {
        None if round.updates.len() < least => all(&Rejection::Few),
        None => return without(BTreeSet::new()),
        Some(unmasking) => match private::lifting(job, round, unmasking, now) {
            Lifting::Without(gone) => return without(unmasking.gone.union(&gone).cloned().collect()),
            Lifting::Over => {
                let gone = unmasking.gone.iter();
                gone.map(|site| (site.clone(), Rejection::Gone)).collect()
            }
            Lifting::Lost | Lifting::Wait => all(&Rejection::Masked),
        },
    };
    Due::Close(Judgement {
        rejected,
        ..Judgement::default()
    })
}

/// What a site was to train on whose update is missing or doesn't count goes back to the queue.
fn close(job: &Job, round: &Round, judgement: Judgement) -> Vec<Event> {
    let Judgement { scales, rejected } = judgement;
    let counts = |site: &SiteId| round.updates.contains_key(site) && !rejected.contains_key(site);
    let updates = round.updates.iter().filter(|(site, _)| counts(site));
    let accepted = updates.map(|(site, update)| (site.clone(), update.digest));
    let accepted = accepted.collect();
    let members = round.members.iter();
    let unused = members.filter(|(site, _)| !counts(site));
    let returned: Vec<Interval> = unused.map(|(_, interval)| *interval).collect();
    let left_over = job.waiting() + returned.iter().map(Interval::samples).sum::<u64>();
    let closed = round.number.saturating_add(1);
    let planned = closed < job.spec.rounds.count;
    let open = job.open_rounds().count() > 1;
    let goes_on = planned || open || left_over >= fewest_samples(job) && job.has_room(closed);
    vec![Event::RoundClosed {
        job: job.id,
        round: round.number,
        accepted,
        returned,
        last: Some(!goes_on),
        scales,
        rejected,
    }]
}

/// A site takes part from the beginning of a round. But where those that did can't bring the round to its
/// quorum, because some of them are lost, it is open to whoever came later: else all would wait for the lost. A
/// round for what was left over has no samples for them, and is given up instead.
fn let_in(job: &Job, round: &Round) -> Vec<Event> {
    let rounds = &job.spec.rounds;
    if round.number >= rounds.count || round.updates.len() + awaited(job, round) >= rounds.quorum as usize {
        return Vec::new();
    }
    if job.spec.rounds.is_private() {
        return Vec::new(); // the others' masks know nothing of who comes later
    }
    let present = job.present().map(|(site, _)| site);
    let late: Vec<&SiteId> = present
        .filter(|site| !round.members.contains_key(*site))
        .collect();
    if late.is_empty() {
        return Vec::new();
    }
    vec![Event::RoundOpened {
        job: job.id,
        round: round.number,
        members: share(job, &late),
        codec: round.codec,
    }]
}

/// A round opens for everyone who is there, as soon as the rounds that its training needs are closed. The
/// first waits until all placed sites have come, or for a quorum of them after a grace window. From `count` on,
/// rounds are for what was left over, once those before are closed: as many sites take part as there are intervals.
fn open(job: &Job, now: Time) -> Vec<Event> {
    let number = u32::try_from(job.rounds.len()).unwrap_or(u32::MAX);
    let rounds = &job.spec.rounds;
    if job.phase != Phase::Running || job.committed() < rounds.needs(number) {
        return Vec::new();
    }
    // Rounds of the count may still let sites in, and need samples for them. And whether there is room for one
    // more is decided when the last of those that are open closes.
    let extra = number >= rounds.count;
    let early =
        job.committed() < rounds.count || job.open_round().is_some() && !job.has_room(job.committed());
    if extra && (job.waiting() < fewest_samples(job) || early) {
        return Vec::new();
    }
    let present = private::ready(job);
    let intervals = job.waiting().div_ceil(rounds.samples.max(1));
    // Those who are there take what was left over: nobody waits for a site that may never come back.
    let part = usize::try_from(intervals)
        .unwrap_or(usize::MAX)
        .min(present.len());
    let quorum = rounds.quorum_of(number, part.max(1));
    let expected = job.members.values().any(|m| m.presence == Presence::Expected)
        || job.present().any(|(site, _)| !present.contains(&site));
    let waited = job.placed.is_some_and(|at| now.since(at) >= START_GRACE_MS);
    if present.len() < quorum || (expected && job.rounds.is_empty() && !waited) {
        return Vec::new();
    }
    let members = share(job, &present);
    let sites: Vec<&SiteId> = members.iter().map(|(site, _)| site).collect();
    vec![Event::RoundOpened {
        job: job.id,
        round: number,
        codec: codec::chosen(job, &sites),
        members,
    }]
}

/// Gives each site an interval as long as there are some: first those that were returned, then new ones.
fn share(job: &Job, sites: &[&SiteId]) -> Vec<(SiteId, Interval)> {
    let (samples, promised) = (job.spec.rounds.samples, job.promised());
    let firsts = (0..).map(|i| job.next_sample.saturating_add(samples.saturating_mul(i)));
    let new = firsts.map(|first| Interval {
        first,
        end: first.saturating_add(samples),
    });
    let new = new.take_while(|interval| interval.end <= promised);
    let intervals = job.returned.iter().copied().chain(new).take(sites.len());
    let mut intervals: Vec<Interval> = intervals.collect();
    if job.spec.rounds.is_private() {
        intervals = private::split(intervals);
    }
    let sites = sites.iter().map(|site| (*site).clone());
    sites.zip(intervals).collect()
}

/// With how many samples in the queue one more round can be opened.
fn fewest_samples(job: &Job) -> u64 {
    if job.spec.rounds.is_private() {
        private::FEWEST as u64
    } else {
        1
    }
}

/// What a job has set aside and not used: the transfers that give it back.
pub(crate) fn releases(state: &State, job: &Job) -> Vec<Transfer> {
    let Some(award) = &job.award else {
        return Vec::new();
    };
    let reserved = job
        .members
        .keys()
        .map(|site| Account::Reserved(job.id, site.clone()));
    let held = reserved.map(|account| (state.ledger.balance(&account), account));
    let some = held.filter(|(b, _)| b.won.0 > 0 || b.compute.0 > 0);
    some.map(|(b, from)| Transfer::both(from, Account::Award(award.clone()), b.won, b.compute))
        .collect()
}
