//! From a request to what happens. Nothing is changed here: `decide` reads the state and answers with
//! events, or with a refusal that says what is wrong and what to try.
//!
//! Requests of people and sites have small effects: a job is submitted, an update is contributed. What
//! follows from those (a placement, a closed round, a settled job) is the business of [`Command::Tick`],
//! which takes one step a job and is asked again until nothing follows. So there is one place for each
//! consequence, whichever request or passage of time brought it about.

use crate::apply::releases;
use crate::place::place;
use crate::policy::Resource;
use crate::{
    Account, Action, Actor, Artifact, Command, Digest, Event, Interval, Job, JobId, JobSpec, Label, Ledger,
};
use crate::{
    Outcome, Output, Phase, Policy, Presence, Project, ProjectId, Reading, Refusal, Remembered, Request,
};
use crate::{Round, SiteId, State, Time, Transfer, Update, Won};
use std::fmt;

/// How much a site's meter may run ahead of the hub's clock.
const METER_SLACK_MS: u64 = 5_000;
/// A site that is placed and doesn't come is not waited for any longer than this.
const START_GRACE_MS: u64 = 30_000;
/// Bounds that keep every sum within its integer: see `Update` weights in `sync` and `Price::of`.
const MOST_SAMPLES: u64 = 1 << 40;

/// What follows from `request` at `now`. A key that was used for the same request gives no events.
pub fn decide(state: &State, request: &Request, now: Time) -> Result<Vec<Event>, Refusal> {
    let key = request.scoped_key();
    if let Some(known) = key.as_ref().and_then(|key| state.remembered.get(key)) {
        if known.request == request.digest() {
            return Ok(Vec::new());
        }
        let key = request.key.as_deref().unwrap_or_default();
        return Err(
            Refusal::conflict(format!("idempotency key {key:?} was used for another request"))
                .hint("use a new key for a new request"),
        );
    }
    let mut events = carry_out(state, request, now)?;
    check_postings(&state.ledger, &events)?;
    if let Some(key) = key {
        let job = events.iter().find_map(|event| match event {
            Event::Submitted { job, .. } => Some(*job),
            _ => None,
        });
        events.push(Event::Remembered {
            key,
            what: Remembered {
                request: request.digest(),
                job,
            },
        });
    }
    Ok(events)
}

fn carry_out(state: &State, request: &Request, now: Time) -> Result<Vec<Event>, Refusal> {
    let actor = &request.actor;
    match &request.command {
        Command::AdoptPolicy(_)
        | Command::Admit(_)
        | Command::AddPerson(_)
        | Command::AddSite(_)
        | Command::OpenProject(_)
        | Command::Appropriate { .. }
        | Command::Grant(_)
        | Command::IssueCredential { .. } => administer(state, actor, &request.command),
        Command::Register(output) => register(state, actor, output),
        Command::Submit(spec) => submit(state, actor, spec),
        Command::Cancel(job) => cancel(state, actor, *job),
        Command::Join { job } => join(state, actor, *job),
        Command::Contribute {
            job,
            round,
            attempt,
            update,
        } => contribute(state, &seat(state, actor, *job, *attempt)?, *round, update),
        Command::Applied {
            job,
            round,
            attempt,
            outer,
        } => applied(&seat(state, actor, *job, *attempt)?, *round, *outer),
        Command::Meter { job, reading } => meter(&seat(state, actor, *job, reading.attempt)?, reading, now),
        Command::Leave {
            job,
            attempt,
            outputs,
        } => leave(&seat(state, actor, *job, *attempt)?, outputs),
        Command::Fail {
            job,
            attempt,
            message,
        } => {
            let seat = seat(state, actor, *job, *attempt)?;
            let reason = format!("the program at {} stopped: {message}", seat.site);
            Ok(vec![Event::Ended {
                job: *job,
                outcome: Outcome::Failed { reason },
            }])
        }
        Command::Lose { job, site, attempt } => {
            state.permit(actor, Action::Administer, &Resource::Consortium)?;
            let job = find(&state.jobs, "job", job)?;
            let current = job
                .members
                .get(site)
                .filter(|m| m.is_present() && m.attempt == *attempt);
            let lost = Event::Lost {
                job: job.id,
                site: site.clone(),
                attempt: *attempt,
            };
            Ok(current.map(|_| lost).into_iter().collect())
        }
        Command::Tick => Ok(consequences(state, now)),
    }
}

// ---- the programme office ----------------------------------------------------------------------------

fn administer(state: &State, actor: &Actor, command: &Command) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    Ok(match command {
        Command::AdoptPolicy(text) => {
            Policy::parse(text).map_err(|e| Refusal::invalid(e.to_string()))?;
            vec![Event::PolicyAdopted { text: text.clone() }]
        }
        Command::Admit(organisation) => {
            unused(&state.organisations, "organisation", &organisation.id)?;
            vec![Event::Admitted(organisation.clone())]
        }
        Command::AddPerson(person) => {
            unused(&state.people, "person", &person.id)?;
            find(&state.organisations, "organisation", &person.organisation)?;
            vec![Event::PersonAdded(person.clone())]
        }
        Command::AddSite(site) => {
            unused(&state.sites, "site", &site.id)?;
            find(&state.organisations, "organisation", &site.owner)?;
            if site.price.0 < 0 || site.price.0 > 1_000_000_000_000 {
                return Err(Refusal::invalid(format!(
                    "a price of {} won a PFLOP-hour is out of range",
                    site.price.0
                ))
                .hint("0 to 1,000,000,000,000 won a PFLOP-hour"));
            }
            if site.rated.0 == 0 {
                return Err(Refusal::invalid(format!("site {} is rated at 0 FLOP/s", site.id)));
            }
            vec![Event::SiteAdded(site.clone())]
        }
        Command::OpenProject(project) => {
            unused(&state.projects, "project", &project.id)?;
            find(&state.organisations, "organisation", &project.organisation)?;
            for person in &project.members {
                find(&state.people, "person", person)?;
            }
            vec![Event::ProjectOpened(project.clone())]
        }
        Command::Appropriate { year, won } => {
            let transfer = Transfer::won(Account::Source, Account::Pool, *won);
            vec![
                Event::Appropriated {
                    year: *year,
                    won: *won,
                },
                Event::Posted(transfer),
            ]
        }
        Command::Grant(award) => {
            unused(&state.awards, "award", &award.id)?;
            find(&state.projects, "project", &award.project)?;
            let to = || Account::Award(award.id.clone());
            // Money comes out of what was appropriated; compute is a right to use machines, not a stock.
            let money = Transfer::won(Account::Pool, to(), award.won);
            let compute = Transfer::both(Account::Source, to(), Won(0), award.compute);
            vec![
                Event::Granted(award.clone()),
                Event::Posted(money),
                Event::Posted(compute),
            ]
        }
        Command::IssueCredential { token, holder } => {
            unused(&state.credentials, "credential", token)?;
            match holder {
                crate::Holder::Person(person) => find(&state.people, "person", person).map(drop)?,
                crate::Holder::Site(site) => find(&state.sites, "site", site).map(drop)?,
            }
            vec![Event::CredentialIssued {
                token: *token,
                holder: holder.clone(),
            }]
        }
        other => {
            return Err(Refusal::invalid(format!(
                "{other:?} is not the programme office's to ask"
            )));
        }
    })
}

// ---- projects: artifacts and jobs --------------------------------------------------------------------

fn register(state: &State, actor: &Actor, output: &Output) -> Result<Vec<Event>, Refusal> {
    let project = find(&state.projects, "project", &output.id.project)?;
    state.permit(actor, Action::Contribute, &Resource::Project(project))?;
    let artifact = inherit(state, output, None)?;
    let known = state
        .artifacts
        .get(&artifact.id)
        .is_some_and(|known| known.label >= artifact.label);
    Ok(if known {
        Vec::new()
    } else {
        vec![Event::Kept(artifact)]
    })
}

/// The artifact that `output` becomes: its label is at least as strict as everything it was made from.
fn inherit(state: &State, output: &Output, job: Option<&Job>) -> Result<Artifact, Refusal> {
    let inputs = output.made_from.iter();
    let label = strictest(state, &output.id.project, inputs, output.label)?;
    Ok(Artifact {
        id: output.id.clone(),
        name: output.name.clone(),
        kind: output.kind,
        bytes: output.bytes,
        label: job.map_or(label, |job| label.max(job.label)),
        job: job.map(|job| job.id),
        made_from: output.made_from.clone(),
    })
}

fn strictest<'a>(
    state: &State,
    project: &ProjectId,
    inputs: impl Iterator<Item = &'a Digest>,
    asked: Label,
) -> Result<Label, Refusal> {
    let mut label = asked;
    for digest in inputs {
        let id = crate::ArtifactId {
            project: project.clone(),
            digest: *digest,
        };
        let artifact = state.artifacts.get(&id).ok_or_else(|| {
            Refusal::not_found("artifact", &id)
                .hint("upload it to the project first: `khub put FILE --project P`")
        })?;
        label = label.max(artifact.label);
    }
    Ok(label)
}

fn submit(state: &State, actor: &Actor, spec: &JobSpec) -> Result<Vec<Event>, Refusal> {
    let project = find(&state.projects, "project", &spec.project)?;
    state.permit(actor, Action::Contribute, &Resource::Project(project))?;
    let Actor::Person(submitter) = actor else {
        return Err(Refusal::invalid(format!("{actor} can't submit jobs; people do")));
    };
    check_spec(spec, project)?;
    let label = strictest(state, &spec.project, spec.inputs.values(), spec.label)?;
    // Whoever may not read the result may not make it either: it would come from their hands.
    state.permit(actor, Action::Read, &Resource::Planned(spec, label))?;
    let job = JobId(state.jobs.keys().next_back().map_or(1, |last| last.0 + 1));
    Ok(vec![Event::Submitted {
        job,
        spec: Box::new(spec.clone()),
        submitter: submitter.clone(),
        label,
    }])
}

fn check_spec(spec: &JobSpec, project: &Project) -> Result<(), Refusal> {
    let range = |field: &str, value: u64, least: u64, most: u64| {
        let ok = (least..=most).contains(&value);
        let wrong = || {
            Refusal::invalid(format!("{field} is {value}")).hint(format!("{field} takes {least} to {most}"))
        };
        if ok { Ok(()) } else { Err(wrong()) }
    };
    if spec.name.is_empty() || spec.name.chars().count() > 100 {
        return Err(Refusal::invalid(format!(
            "a job of project {} has no name of 1 to 100 characters",
            project.id
        )));
    }
    let name_ok = |name: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty() && name.len() <= 100 && name.chars().all(plain) && !name.starts_with('.')
    };
    if let Some(bad) = spec
        .inputs
        .keys()
        .chain([&spec.program])
        .find(|name| !name_ok(name))
    {
        return Err(
            Refusal::invalid(format!("{bad:?} can't name a program or an input"))
                .hint("use letters, digits, dots, hyphens and underscores, and no dot in front"),
        );
    }
    range("sites", spec.sites.into(), 1, 1_000)?;
    range("wall_minutes", spec.wall_minutes.into(), 1, 60 * 24 * 90)?;
    range("rounds.count", spec.rounds.count.into(), 1, 1_000_000)?;
    range("rounds.samples", spec.rounds.samples, 1, MOST_SAMPLES)?;
    range("rounds.quorum", spec.rounds.quorum.into(), 1, spec.sites.into())?;
    range(
        "rounds.grace_seconds",
        spec.rounds.grace_seconds.into(),
        0,
        60 * 60 * 24,
    )
}

fn cancel(state: &State, actor: &Actor, job: JobId) -> Result<Vec<Event>, Refusal> {
    let job = find(&state.jobs, "job", &job)?;
    let project = find(&state.projects, "project", &job.spec.project)?;
    state.permit(actor, Action::Contribute, &Resource::Project(project))?;
    if !job.is_active() {
        return Err(Refusal::conflict(format!("{} has ended", job.id)));
    }
    Ok(vec![Event::Ended {
        job: job.id,
        outcome: Outcome::Cancelled,
    }])
}

// ---- sites in a job ----------------------------------------------------------------------------------

/// A site's current attempt in an active job: the only way for a site to say anything about the job.
struct Seat<'a> {
    job: &'a Job,
    site: SiteId,
    member: &'a crate::Member,
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

fn join(state: &State, actor: &Actor, job: JobId) -> Result<Vec<Event>, Refusal> {
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
    Ok(vec![Event::Joined {
        job: job.id,
        site: site.clone(),
        attempt: member.attempt + 1,
    }])
}

fn contribute(state: &State, seat: &Seat<'_>, round: u32, update: &Update) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, &seat.site);
    let open = job.open_round().filter(|open| open.number == round);
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
    debug_assert!(state.jobs.contains_key(&job.id));
    Ok(vec![Event::Contributed {
        job: job.id,
        round,
        site: site.clone(),
        update: update.clone(),
    }])
}

fn applied(seat: &Seat<'_>, round: u32, outer: Digest) -> Result<Vec<Event>, Refusal> {
    let (job, site) = (seat.job, seat.site.clone());
    let closed = job.rounds.get(round as usize).filter(|r| r.is_closed());
    let closed =
        closed.ok_or_else(|| Refusal::conflict(format!("round {round} of {} is not closed", job.id)))?;
    let others = closed
        .outer
        .iter()
        .find(|(other, _)| **other != site)
        .map(|(_, digest)| *digest);
    Ok(match closed.outer.get(&site) {
        Some(known) if *known == outer => Vec::new(),
        _ if others.is_some_and(|digest| digest != outer) => {
            vec![Event::Diverged {
                job: job.id,
                site,
                round,
                outer,
            }]
        }
        _ => vec![Event::Applied {
            job: job.id,
            round,
            site,
            outer,
        }],
    })
}

fn meter(seat: &Seat<'_>, reading: &Reading, now: Time) -> Result<Vec<Event>, Refusal> {
    let (job, member, total) = (seat.job, seat.member, reading.total);
    let last = member.usage.get(&reading.attempt).copied().unwrap_or_default();
    if total.millis <= last.millis {
        return Ok(Vec::new()); // told before, or overtaken by a later one
    }
    if let Presence::Present(since) = member.presence {
        let passed = now.since(since);
        if total.millis > passed + METER_SLACK_MS {
            return Err(Refusal::invalid(format!(
                "site {} reports {} ms in an attempt that began {passed} ms ago",
                seat.site, total.millis
            ))
            .hint("check the site's clock"));
        }
    }
    let mut after = member.clone();
    after.usage.insert(reading.attempt, total);
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
    let inputs: Vec<Digest> = job.spec.inputs.values().copied().collect();
    let outputs = outputs.iter().map(|output| Artifact {
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
    });
    Ok(vec![Event::Left {
        job: job.id,
        site: site.clone(),
        outputs: outputs.collect(),
    }])
}

// ---- what follows by itself --------------------------------------------------------------------------

/// One step for each job that has one to take, oldest first. Placements are made one a tick, because each
/// changes what is left for the next.
fn consequences(state: &State, now: Time) -> Vec<Event> {
    let jobs: Vec<&Job> = state.active.iter().filter_map(|id| state.jobs.get(id)).collect();
    let running = jobs.iter().filter(|job| job.phase != Phase::Queued);
    let mut events: Vec<Event> = running.flat_map(|job| next_step(state, job, now)).collect();
    let queued = jobs.iter().filter(|job| job.phase == Phase::Queued);
    events.extend(
        queued
            .map(|job| placement(state, job))
            .find(|e| !e.is_empty())
            .unwrap_or_default(),
    );
    events
}

fn placement(state: &State, job: &Job) -> Vec<Event> {
    let placing = place(state, job);
    let Some((award, sites)) = placing.placed else {
        return Vec::new();
    };
    let from = Account::Award(award.clone());
    let reserve = sites.iter().map(|placed| {
        let to = Account::Reserved(job.id, placed.site.clone());
        Event::Posted(Transfer::both(
            from.clone(),
            to,
            placed.reserved,
            placed.reserved_compute,
        ))
    });
    let reserve: Vec<Event> = reserve.collect();
    let mut events = vec![Event::Placed {
        job: job.id,
        award,
        sites,
        candidates: placing.candidates,
    }];
    events.extend(reserve);
    events
}

fn next_step(state: &State, job: &Job, now: Time) -> Vec<Event> {
    if let Some(outcome) = outcome(job) {
        let mut events = vec![Event::Ended { job: job.id, outcome }];
        events.extend(releases(state, job).into_iter().map(Event::Posted));
        return events;
    }
    match job.open_round() {
        Some(round) => close(job, round, now),
        None => open(job, now),
    }
}

/// How the job has ended, if it has.
fn outcome(job: &Job) -> Option<Outcome> {
    let here = |presence| matches!(presence, Presence::Present(_));
    let rest = job.members.values().filter(|m| here(m.presence)).count();
    if job.phase == Phase::Finishing && !job.outputs.is_empty() && rest == 0 {
        return Some(Outcome::Done);
    }
    let spent = |m: &crate::Member| m.used() >= m.placed.reserved_compute;
    let site = job
        .members
        .iter()
        .find(|(_, m)| here(m.presence) && spent(m))
        .map(|(site, _)| site)?;
    let minutes = job.spec.wall_minutes;
    let reason = format!(
        "site {site} was held for all of the {minutes} minutes that were reserved; ask for more wall_minutes"
    );
    Some(Outcome::Failed { reason })
}

/// A round closes when everyone who is there has contributed, or at quorum after the grace window. What a
/// missing site was to train on goes back to the queue.
fn close(job: &Job, round: &Round, now: Time) -> Vec<Event> {
    let Some(quorum_at) = round.quorum_at else {
        return Vec::new();
    };
    let awaited = |(site, _): &(&SiteId, &Interval)| {
        !round.updates.contains_key(*site) && job.members.get(*site).is_some_and(crate::Member::is_present)
    };
    let grace_over = now >= quorum_at.plus(u64::from(job.spec.rounds.grace_seconds) * 1_000);
    if !grace_over && round.members.iter().any(|member| awaited(&member)) {
        return Vec::new();
    }
    let accepted = round
        .updates
        .iter()
        .map(|(site, update)| (site.clone(), update.digest))
        .collect();
    let unused = round
        .members
        .iter()
        .filter(|(site, _)| !round.updates.contains_key(*site));
    let returned = unused.map(|(_, interval)| *interval).collect();
    vec![Event::RoundClosed {
        job: job.id,
        round: round.number,
        accepted,
        returned,
    }]
}

/// A round opens for everyone who is there. The first waits until all placed sites have come, or for a
/// quorum of them after a grace window.
fn open(job: &Job, now: Time) -> Vec<Event> {
    if job.phase != Phase::Running {
        return Vec::new();
    }
    let present: Vec<&SiteId> = job.present().map(|(site, _)| site).collect();
    let expected = job.members.values().any(|m| m.presence == Presence::Expected);
    let waited = job.placed.is_some_and(|at| now.since(at) >= START_GRACE_MS);
    if present.len() < job.spec.rounds.quorum as usize || (expected && job.rounds.is_empty() && !waited) {
        return Vec::new();
    }
    let mut returned = job.returned.iter().copied();
    let mut next = job.next_sample;
    let intervals = present.into_iter().map(|site| {
        let interval = returned.next().unwrap_or_else(|| {
            let first = next;
            next += job.spec.rounds.samples;
            Interval { first, end: next }
        });
        (site.clone(), interval)
    });
    let round = u32::try_from(job.rounds.len()).unwrap_or(u32::MAX);
    vec![Event::RoundOpened {
        job: job.id,
        round,
        members: intervals.collect(),
    }]
}

// ---- shared --------------------------------------------------------------------------------------------

/// The last line of defence: whatever a rule got wrong, no account goes below zero.
fn check_postings(ledger: &Ledger, events: &[Event]) -> Result<(), Refusal> {
    let transfers = events.iter().filter_map(|event| match event {
        Event::Posted(transfer) => Some(transfer.clone()),
        _ => None,
    });
    let transfers: Vec<Transfer> = transfers.collect();
    ledger
        .check(&transfers)
        .map_err(|e| Refusal::new(crate::RefusalKind::Insufficient, e.to_string()))
}

fn find<'a, K: Ord + fmt::Display, V>(
    all: &'a std::collections::BTreeMap<K, V>,
    noun: &str,
    id: &K,
) -> Result<&'a V, Refusal> {
    all.get(id).ok_or_else(|| Refusal::not_found(noun, id))
}

fn unused<K: Ord + fmt::Display, V>(
    all: &std::collections::BTreeMap<K, V>,
    noun: &str,
    id: &K,
) -> Result<(), Refusal> {
    if all.contains_key(id) {
        return Err(Refusal::conflict(format!("{noun} {id} exists already")));
    }
    Ok(())
}
