//! What the hub decides, without I/O: the writer, the handlers and the simulator all do it here.

use api::{Behalf, KeptOuter, OpenRound, Orders, Problem, SiteJob, ToInspect, ToUnmask};
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Artifact, ArtifactId, Command, Digest, Event, Job, JobId, Output, Phase, Presence,
    Refusal, Request, Round, RunCommand, SiteId, State, Time, apply, decide, follow,
};
use std::collections::BTreeSet;
use store::Entry;

/// A request that was carried out and is safe in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The last record of the log.
    pub seq: u64,
    /// The job it made, or had made when it was asked before under the same key.
    pub job: Option<JobId>,
    /// The attempt it began.
    pub attempt: Option<u32>,
}

/// What came of a batch of requests. Nobody is to be answered, or to see the new state, before the entries
/// are safe in the log.
#[derive(Debug)]
pub struct Turn {
    /// For the log: what the requests brought about, and then what followed from that.
    pub entries: Vec<Entry>,
    /// One for each request; the log's last record is yet to be filled in.
    pub answers: Vec<Result<Granted, Refusal>>,
}

/// Carries out `requests` in their order, and then all that follows by `now`.
pub fn carry_out(state: &mut State, requests: &[Request], now: Time) -> Turn {
    let mut entries = Vec::new();
    let answers = requests.iter().map(|request| {
        let events = decide(state, request, now)?;
        let mut granted = outcome(&events);
        record(state, &mut entries, request.actor.clone(), now, events);
        granted.job = granted.job.or_else(|| state.remembered_job(request));
        Ok(granted)
    });
    let answers = answers.collect();
    // What time alone moves in the queue is the next tick's business.
    let mut moved = entries
        .iter()
        .flat_map(|entry| &entry.events)
        .any(Event::moves_the_queue);
    loop {
        let events = follow(state, now, moved);
        if events.is_empty() {
            return Turn { entries, answers };
        }
        moved |= events.iter().any(Event::moves_the_queue);
        record(state, &mut entries, Actor::Hub, now, events);
    }
}

fn record(state: &mut State, entries: &mut Vec<Entry>, actor: Actor, at: Time, events: Vec<Event>) {
    if events.is_empty() {
        return;
    }
    for event in &events {
        apply(state, event, at);
    }
    entries.push(Entry { actor, at, events });
}

fn outcome(events: &[Event]) -> Granted {
    let mut granted = Granted {
        seq: 0,
        job: None,
        attempt: None,
    };
    for event in events {
        match event {
            // Of an array, the first.
            Event::Submitted { job, .. } => {
                granted.job.get_or_insert(*job);
            }
            Event::Joined { attempt, .. } => granted.attempt = Some(*attempt),
            _ => {}
        }
    }
    granted
}

/// A `Lose` for every site that is in a training and silent. A batch job goes on without its site's process.
pub fn losses(state: &State, is_silent: impl Fn(&SiteId) -> bool) -> Vec<Command> {
    let running = state.active_jobs().filter(|job| job.spec.batch.is_none());
    let present = running.flat_map(|job| job.present().map(|(site, member)| (job.id, site, member.attempt)));
    let silent = present.filter(|(_, site, _)| is_silent(site));
    let lose = |(job, site, attempt): (JobId, &SiteId, u32)| Command::Lose {
        job,
        site: site.clone(),
        attempt,
    };
    silent.map(lose).collect()
}

/// The bytes that `command` would have the log name: digests, and how many bytes each has. Who asks must have brought
/// them.
pub fn bytes_named_by(command: &Command) -> Vec<(Digest, u64)> {
    let of_outputs = |outputs: &[Output]| outputs.iter().map(|it| (it.id.digest, it.bytes)).collect();
    match command {
        Command::Register(output) => vec![(output.id.digest, output.bytes)],
        Command::Contribute { update, .. } => vec![(update.digest, update.bytes)],
        Command::Checkpoint { digest, bytes, .. } => vec![(*digest, *bytes)],
        Command::Leave { outputs, .. } | Command::End { outputs, .. } => of_outputs(outputs),
        Command::Run(_, RunCommand::File { digest, bytes, .. }) => vec![(*digest, *bytes)],
        _ => Vec::new(),
    }
}

/// The digests of all bytes that the log names: whatever an event names becomes an artifact, and stays one.
pub fn named(state: &State) -> BTreeSet<Digest> {
    state.artifacts.keys().map(|id| id.digest).collect()
}

/// The artifact, if `actor` may have its bytes.
pub fn readable<'a>(state: &'a State, actor: &Actor, id: &ArtifactId) -> Result<&'a Artifact, Problem> {
    let artifact = state.artifacts.get(id).ok_or_else(|| absent(id))?;
    state.permit(actor, Action::Read, &Resource::Artifact(artifact))?;
    Ok(artifact)
}

/// The artifact isn't there, or its project isn't one that who asks may know of.
pub(crate) fn absent(id: &ArtifactId) -> Problem {
    let detail = format!("project {} has no artifact {}", id.project, id.digest);
    Problem::new(404, "not-found", detail).hint("`khub artifacts PROJECT` lists those you may read")
}

/// What `site` is to do; closed rounds from `from` on.
pub fn orders(state: &State, site: &SiteId, from: u32) -> Orders {
    let jobs = state.active_jobs();
    Orders {
        jobs: jobs.filter_map(|job| site_job(state, job, site, from)).collect(),
    }
}

fn site_job(state: &State, job: &Job, site: &SiteId, from: u32) -> Option<SiteJob> {
    let member = job
        .members
        .get(site)
        .filter(|member| member.presence != Presence::Left)?;
    // Whoever has nothing in a round that is inspected, or whose masks are being lifted, is too late for it.
    let takes = |round: &&Round| round.updates.contains_key(site) || job.takes_update_of(site, round);
    let open = job.open_rounds().filter(takes).filter_map(|round| {
        Some(OpenRound {
            number: round.number,
            interval: *round.members.get(site)?,
            needs: job.spec.rounds.needs(round.number),
            contributed: round.updates.get(site).map(|update| update.digest),
            codec: round.codec,
            keys: round.keys.clone(),
        })
    });
    let unmask = job.open_rounds().find(|round| round.awaits_seeds_of(site));
    let unmask = unmask.map(|round| {
        let key = |other: &SiteId| Some((other.clone(), *round.keys.get(other)?));
        ToUnmask {
            round: round.number,
            with: round.left_out().filter_map(key).collect(),
        }
    });
    let inspect = job.open_rounds().find_map(|round| {
        let told = round.inspection.as_ref()?.reports.contains_key(site);
        (!told).then(|| ToInspect {
            round: round.number,
            updates: round.updates.clone(),
        })
    });
    let checkpoint = job.checkpoint.as_ref().and_then(|kept| {
        Some(KeptOuter {
            round: kept.round,
            digest: kept.digest,
            outer: job.rounds.get(kept.round as usize)?.outer_digest()?,
        })
    });
    let closed = job
        .rounds
        .iter()
        .filter(|round| round.is_closed() && round.number >= from);
    // The digests that other sites reached are their business, and would wake this one for nothing.
    let closed = closed.cloned().map(|mut round| {
        round.outer.retain(|other, _| other == site);
        round
    });
    let closed: Vec<_> = closed.collect();
    let counted = closed.iter().filter(|round| round.updates.contains_key(site));
    // A meter reading or a progress must not change what a site is told, or it would never sleep.
    let presence = match member.presence {
        Presence::Present(_) => Presence::Present(Time(0)),
        other => other,
    };
    let behalf = job.spec.batch.as_ref().and_then(|_| {
        Some(Behalf {
            person: job.submitter.clone(),
            award: job.award.clone()?,
            organisation: state.projects.get(&job.spec.project)?.organisation.clone(),
        })
    });
    let others = job.members.iter().filter(|(other, member)| {
        *other != site && member.presence != Presence::Left && job.spec.batch.is_none()
    });
    let peers = others.filter_map(|(other, _)| {
        let contact = state.abilities.get(other)?.contact.clone()?;
        Some((other.clone(), contact))
    });
    Some(SiteJob {
        peers: peers.collect(),
        behalf,
        id: job.id,
        spec: job.spec.clone(),
        label: job.label,
        phase: job.phase.clone(),
        attempt: member.attempt,
        presence,
        lead: job.lead() == Some(site),
        results: job.phase == Phase::Finishing && !job.outputs.is_empty(),
        agreed: job.phase == Phase::Finishing && job.is_agreed(),
        contributed: job.rounds.iter().any(|round| round.updates.contains_key(site)),
        checkpoint,
        kept: job.kept.clone(),
        committed: job.committed(),
        counted: counted.map(|round| round.number).collect(),
        closed,
        open: open.collect(),
        inspect,
        unmask,
    })
}
