//! What a site may say of a job that it is placed on: its updates, what it reached, what it used, its end.

use crate::batch;
use crate::consequence::ended;
use crate::decide::{MOST_SAMPLES, check_name, find};
use crate::private;
use crate::{
    Account, Action, Actor, Artifact, Command, Digest, Event, Exit, Job, JobId, MaskKey, Outcome,
    OuterCheckpoint, Output,
};
use crate::{
    Phase, Presence, Reading, Refusal, Report, Round, Seeds, SiteId, State, Time, Transfer, Update, Won,
    policy::Resource,
};

/// How much a site's meter may run ahead of the hub's clock.
const METER_SLACK_MS: u64 = 5_000;

/// A site's current attempt in an active job: the only way for a site to say anything about the job.
struct Seat<'a> {
    job: &'a Job,
    site: SiteId,
    member: &'a crate::Member,
}

/// What `command` of a site in `attempt` leads to; a command of anything else is none of it.
pub(crate) fn report(
    state: &State,
    actor: &Actor,
    command: &Command,
    now: Time,
) -> Result<Vec<Event>, Refusal> {
    let seat = |job: &JobId, attempt: &u32| seat(state, actor, *job, *attempt);
    match command {
        Command::Contribute {
            job,
            round,
            attempt,
            update,
        } => contribute(&seat(job, attempt)?, *round, update),
        Command::Inspect {
            job,
            round,
            attempt,
            report,
        } => inspect(&seat(job, attempt)?, *round, report),
        Command::TellKey { job, attempt, key } => tell_key(&seat(job, attempt)?, *key),
        Command::Unmask {
            job,
            round,
            attempt,
            seeds,
        } => unmask(&seat(job, attempt)?, *round, seeds),
        Command::Applied {
            job,
            round,
            attempt,
            outer,
        } => applied(&seat(job, attempt)?, *round, *outer),
        Command::Checkpoint {
            job,
            round,
            attempt,
            digest,
            bytes,
        } => checkpoint(&seat(job, attempt)?, *round, *digest, *bytes),
        Command::Reset {
            job,
            attempt,
            applied,
        } => reset(&seat(job, attempt)?, *applied),
        Command::Meter { job, reading } => meter(&seat(job, &reading.attempt)?, reading, now),
        Command::Leave {
            job,
            attempt,
            outputs,
        } => leave(&seat(job, attempt)?, outputs),
        Command::End {
            job,
            attempt,
            exit,
            outputs,
        } => end(state, &seat(job, attempt)?, exit, outputs),
        Command::Fail {
            job,
            attempt,
            message,
        } => Ok(fail(state, &seat(job, attempt)?, message)),
        other => Err(Refusal::invalid(format!("{other:?} is not a site's to report"))),
    }
}

fn seat<'a>(state: &'a State, actor: &Actor, job: JobId, attempt: u32) -> Result<Seat<'a>, Refusal> {
    let Actor::Site(site) = actor else {
        return Err(Refusal::invalid(format!(
            "{actor} is not a site; only sites report on jobs"
        )));
    };
    let job = find(&state.jobs, "job", &job)?;
    let member = job
        .members
        .get(site)
        .ok_or_else(|| Refusal::not_found("place of this site in", job.id))?;
    if !job.is_active() {
        return Err(Refusal::conflict(format!("{} has ended", job.id)));
    }
    if attempt != member.attempt || !member.is_present() {
        let message = format!("attempt {attempt} of site {site} in {} is over", job.id);
        return Err(Refusal::conflict(message).hint("join again; the new attempt replaces every earlier one"));
    }
    Ok(Seat {
        job,
        site: site.clone(),
        member,
    })
}

pub(crate) fn join(state: &State, actor: &Actor, job: JobId) -> Result<Vec<Event>, Refusal> {
    let Actor::Site(site) = actor else {
        return Err(Refusal::invalid(format!(
            "{actor} is not a site; only sites join jobs"
        )));
    };
    let job = find(&state.jobs, "job", &job)?;
    let member = job
        .members
        .get(site)
        .ok_or_else(|| Refusal::not_found("place of this site in", job.id))?;
    if !job.is_active() || member.presence == Presence::Left {
        return Err(Refusal::conflict(format!(
            "{} has nothing left to do for site {site}",
            job.id
        )));
    }
    if let Phase::Stopping { .. } = job.phase {
        return Err(Refusal::conflict(format!("{} is to stop", job.id)));
    }
    // Since the placement the policy may have changed, and the job's label.
    state.permit(actor, Action::Hold, &Resource::Job(job))?;
    Ok(vec![Event::Joined {
        job: job.id,
        site: site.clone(),
        attempt: member.attempt + 1,
    }])
}

fn contribute(seat: &Seat<'_>, round: u32, update: &Update) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    let open = job.open_rounds().find(|open| open.number == round);
    let open = open.ok_or_else(|| Refusal::conflict(format!("round {round} of {} is not open", job.id)))?;
    if !open.members.contains_key(site) {
        return Err(Refusal::conflict(format!(
            "site {site} has no part in round {round} of {}",
            job.id
        )));
    }
    if let Some(earlier) = open.updates.get(site) {
        let same = earlier.digest == update.digest;
        let other = || {
            Refusal::conflict(format!(
                "site {site} gave another update for round {round} already"
            ))
        };
        return if same { Ok(Vec::new()) } else { Err(other()) };
    }
    if open.inspection.is_some() {
        return Err(Refusal::conflict(format!(
            "the updates of round {round} of {} are being inspected: it takes no others",
            job.id
        )));
    }
    if open.unmasking.is_some() {
        return Err(Refusal::conflict(format!(
            "the masks of round {round} of {} are being lifted: it takes no more updates",
            job.id
        )));
    }
    if !private::can_contribute(job, open, site) {
        return Err(Refusal::conflict(format!(
            "the others make masks in round {round} of {} with a key that site {site} has no more",
            job.id
        ))
        .hint("wait for the next round"));
    }
    if update.tokens == 0 || update.tokens > MOST_SAMPLES {
        return Err(Refusal::invalid(format!("an update of {} tokens", update.tokens)));
    }
    let known = job
        .rounds
        .iter()
        .flat_map(|r| r.updates.values())
        .map(|u| u.parameters)
        .next();
    if known.is_some_and(|parameters| parameters != update.parameters) {
        return Err(Refusal::invalid(format!(
            "an update of {} parameters for a model of {}",
            update.parameters,
            known.unwrap_or_default()
        )));
    }
    Ok(vec![Event::Contributed {
        job: job.id,
        round,
        site: site.clone(),
        update: update.clone(),
    }])
}

/// Every site that is in the job may tell of a round, whether it takes part in it or not.
fn inspect(seat: &Seat<'_>, round: u32, report: &Report) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    let inspected = job.open_rounds().find(|open| open.number == round);
    let inspected = inspected.and_then(|round| Some((round, round.inspection.as_ref()?)));
    let (open, inspection) = inspected.ok_or_else(|| {
        Refusal::conflict(format!(
            "the updates of round {round} of {} are not inspected now",
            job.id
        ))
    })?;
    if let Some(earlier) = inspection.reports.get(site) {
        if earlier == report {
            return Ok(Vec::new());
        }
        return Err(Refusal::conflict(format!(
            "site {site} has told something else of round {round} already"
        )));
    }
    if !report.is_of(&open.updates) {
        let sites: Vec<&str> = open.updates.keys().map(SiteId::as_str).collect();
        let sites = sites.join(", ");
        return Err(Refusal::invalid(format!(
            "a report that isn't of the updates of {sites}"
        )));
    }
    Ok(vec![Event::Inspected {
        job: job.id,
        round,
        site: site.clone(),
        report: report.clone(),
    }])
}

/// The key that a site tells is its for the whole attempt: masks are made with it from the next round on.
fn tell_key(seat: &Seat<'_>, key: MaskKey) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    if !job.spec.rounds.is_private() {
        return Err(Refusal::invalid(format!(
            "{} is not private: it has no masks",
            job.id
        )));
    }
    match seat.member.key {
        Some(known) if known == key => Ok(Vec::new()),
        Some(_) => Err(
            Refusal::conflict(format!("site {site} has told another key already"))
                .hint("join again to tell a new one"),
        ),
        None => Ok(vec![Event::KeyTold {
            job: job.id,
            site: site.clone(),
            key,
        }]),
    }
}

fn unmask(seat: &Seat<'_>, round: u32, seeds: &Seeds) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    let of = job.rounds.get(round as usize);
    let of = of.ok_or_else(|| Refusal::conflict(format!("round {round} of {} is not open", job.id)))?;
    if !private::check_seeds(job, of, site, seeds)? {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Unmasked {
        job: job.id,
        round,
        site: site.clone(),
        seeds: seeds.clone(),
    }])
}

fn applied(seat: &Seat<'_>, round: u32, outer: Digest) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, seat.site.clone());
    let closed = job.rounds.get(round as usize).filter(|r| r.is_closed());
    let closed =
        closed.ok_or_else(|| Refusal::conflict(format!("round {round} of {} is not closed", job.id)))?;
    if closed.outer.get(&site) == Some(&outer) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Applied {
        job: job.id,
        round,
        site,
        outer,
    }])
}

/// Kept if it is of a later round than the last one, by a site that says it is there.
fn checkpoint(seat: &Seat<'_>, round: u32, digest: Digest, bytes: u64) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    let told = |round: &Round| round.outer.contains_key(site);
    if !job.rounds.get(round as usize).is_some_and(told) {
        return Err(Refusal::conflict(format!(
            "site {site} has not applied round {round} of {}",
            job.id
        )));
    }
    if job.checkpoint.as_ref().is_some_and(|kept| kept.round >= round) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Checkpointed {
        job: job.id,
        checkpoint: OuterCheckpoint {
            round,
            digest,
            bytes,
            site: site.clone(),
        },
    }])
}

/// Worth a line in the log once an attempt, and only of a site that had something to lose.
fn reset(seat: &Seat<'_>, applied: u32) -> Result<Vec<Event>, Refusal> {
    let (job, site, attempt) = (seat.job, &seat.site, seat.member.attempt);
    if applied > job.committed() {
        let (id, closed) = (job.id, job.committed());
        return Err(Refusal::conflict(format!(
            "{applied} rounds of {id} can't be applied, {closed} are closed"
        )));
    }
    let had = job.rounds.iter().any(|round| round.updates.contains_key(site));
    if !had || seat.member.reset == Some(attempt) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Reset {
        job: job.id,
        site: site.clone(),
        attempt,
        applied,
    }])
}

/// The program stopped. Where the results are in already, that ends the site's part and not the job.
fn fail(state: &State, seat: &Seat<'_>, message: &str) -> Vec<Event> {
    if !seat.job.outputs.is_empty() {
        return vec![Event::Left {
            job: seat.job.id,
            site: seat.site.clone(),
            outputs: Vec::new(),
        }];
    }
    let reason = format!("the program at {} stopped: {message}", seat.site);
    ended(state, seat.job, Outcome::Failed { reason })
}

fn meter(seat: &Seat<'_>, reading: &Reading, now: Time) -> Result<Vec<Event>, Refusal> {
    let (job, member) = (seat.job, seat.member);
    let last = member.usage.get(&reading.attempt).copied().unwrap_or_default();
    let mut total = last.or_more(reading.total);
    total.watched = total.watched.min(total.millis);
    total.busy = total.busy.min(total.watched);
    if total == last {
        return Ok(Vec::new()); // told before, or overtaken by a later one
    }
    let mut after = member.clone();
    after.usage.insert(reading.attempt, total);
    check_clock(seat, total.millis, after.total().millis, now)?;
    let price = member.placed.price;
    let charged = price.of(after.used()).min(member.placed.reserved) - member.charged;
    let compute = after.used() - member.used();
    let site = seat.site.clone();
    let mut events = vec![Event::Metered {
        job: job.id,
        site: site.clone(),
        attempt: reading.attempt,
        total,
        charged,
    }];
    if charged > Won(0) || compute.0 > 0 {
        let from = Account::Reserved(job.id, site.clone());
        events.push(Event::Posted(Transfer::both(
            from,
            Account::Earned(site),
            charged,
            compute,
        )));
    }
    Ok(events)
}

/// Time can't be metered that has not passed, neither in an attempt nor in all of them together.
fn check_clock(seat: &Seat<'_>, attempt: u64, all: u64, now: Time) -> Result<(), Refusal> {
    let began = match seat.member.presence {
        Presence::Present(since) => Some(since),
        _ => None,
    };
    let spans = [
        ("in an attempt that began", attempt, began),
        ("in a job that was placed", all, seat.job.placed),
    ];
    for (what, millis, since) in spans {
        let passed = since.map_or(0, |since| now.since(since));
        if millis > passed.saturating_add(METER_SLACK_MS) {
            let site = &seat.site;
            return Err(
                Refusal::invalid(format!("site {site} reports {millis} ms {what} {passed} ms ago"))
                    .hint("check the site's clock"),
            );
        }
    }
    Ok(())
}

fn leave(seat: &Seat<'_>, outputs: &[Output]) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    if job.phase != Phase::Finishing {
        return Err(Refusal::conflict(format!("{} has rounds left", job.id)));
    }
    let last = job.rounds.last().map(|round| &round.outer);
    if !last.is_some_and(|outer| outer.contains_key(site)) {
        return Err(Refusal::conflict(format!(
            "site {site} has not applied the last round of {}",
            job.id
        )));
    }
    // Everyone stays until the results are in, so that the next site can write them if the lead is lost.
    match (
        job.outputs.is_empty(),
        job.lead() == Some(site),
        outputs.is_empty(),
    ) {
        (true, true, false) if !job.is_agreed() => {
            let message = format!("the sites of {} don't agree on its weights yet", job.id);
            return Err(Refusal::conflict(message).hint("ask again when all that are there have told theirs"));
        }
        (true, true, false) | (false, _, true) => {}
        (true, true, true) => {
            return Err(Refusal::conflict(format!(
                "site {site} leads {} and has no results",
                job.id
            )));
        }
        (true, false, _) => {
            return Err(Refusal::conflict(format!(
                "the results of {} are not in yet",
                job.id
            )));
        }
        (false, _, false) => return Err(Refusal::conflict(format!("{} has its results", job.id))),
    }
    for output in outputs {
        check_name(&output.name)?;
    }
    Ok(vec![Event::Left {
        job: job.id,
        site: site.clone(),
        outputs: artifacts(job, outputs),
    }])
}

/// A batch job's stay is over.
fn end(state: &State, seat: &Seat<'_>, exit: &Exit, outputs: &[Output]) -> Result<Vec<Event>, Refusal> {
    if seat.job.spec.batch.is_none() {
        return Err(Refusal::invalid(format!("{} is no batch job", seat.job.id)));
    }
    for output in outputs {
        check_name(&output.name)?;
    }
    Ok(batch::end(state, seat.job, &seat.site, exit, outputs))
}

/// What came out of a job: as strict as the job, and made from its inputs.
pub(crate) fn artifacts(job: &Job, outputs: &[Output]) -> Vec<Artifact> {
    let inputs: Vec<Digest> = job.spec.inputs.values().copied().collect();
    let artifacts = outputs.iter().map(|output| Artifact {
        id: crate::ArtifactId {
            project: job.spec.project.clone(),
            digest: output.id.digest,
        },
        name: output.name.clone(),
        kind: output.kind,
        bytes: output.bytes,
        label: output.label.max(job.label),
        job: Some(job.id),
        made_from: inputs.clone(),
        by: std::collections::BTreeSet::new(),
    });
    artifacts.collect()
}
