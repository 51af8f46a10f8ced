//! What an event changes. Total: an event from the log is never refused, and applying the same events in
//! the same order gives the same state.

use crate::batch::Again;
use crate::job::Past;
use crate::watch::{Terms, Watch};
use crate::{
    Artifact, ArtifactId, ArtifactKind, Codec, Digest, Event, Inspection, Interval, Job, JobId, Label,
    Member, Outcome, Phase, Placed, Presence,
};
use crate::{OuterCheckpoint, Proposed, Rejection, Round, SiteId, Stands, State, Time, Update, Usage, Won};
use std::collections::{BTreeMap, BTreeSet};

/// Changes `state` by one `event` that happened at `at`.
pub fn apply(state: &mut State, event: &Event, at: Time) {
    match event {
        Event::PolicyAdopted { text } => {
            if let Ok(policy) = crate::Policy::parse(text) {
                state.policy = policy;
                reconsider_all(state);
            }
        }
        Event::Admitted(organisation) => {
            state
                .organisations
                .insert(organisation.id.clone(), organisation.clone());
        }
        Event::StandingSet {
            organisation,
            standing,
            ground,
        } => {
            let stands = Stands {
                standing: *standing,
                ground: ground.clone(),
                since: at,
            };
            state.standings.insert(organisation.clone(), stands);
            reconsider_all(state);
        }
        Event::ReleaseProposed { artifact, to, by } => {
            let proposed = Proposed {
                to: *to,
                by: by.clone(),
            };
            state.proposed.insert(artifact.clone(), proposed);
        }
        Event::Released { artifact, to, .. } => {
            state.proposed.remove(artifact);
            if let Some(artifact) = state.artifacts.get_mut(artifact) {
                artifact.label = *to;
            }
        }
        Event::PersonAdded(person) => {
            state.people.insert(person.id.clone(), person.clone());
        }
        Event::People(event) => crate::people::apply(state, event, at),
        Event::Invitation(event) => crate::invitation::apply(state, event),
        Event::SiteAdded(site) => {
            state.sites.insert(site.id.clone(), site.clone());
            crate::offer::came(state, site, at);
        }
        Event::Offer(event) => crate::offer::apply(state, event, at),
        Event::AbilitiesTold { site, abilities } => {
            state.abilities.insert(site.clone(), abilities.clone());
        }
        Event::ProjectOpened(project) => {
            state.projects.insert(project.id.clone(), project.clone());
        }
        Event::Appropriated { year, won } => {
            *state.appropriations.entry(*year).or_default() += *won;
        }
        Event::Money(event) => crate::money::apply(state, event, at),
        Event::Granted(award) => {
            crate::award::granted(state, award, at);
        }
        Event::Call(event) => crate::call::apply(state, event, at),
        Event::Award(event) => crate::award::apply(state, event, at),
        Event::Invoice(event) => crate::invoice::apply(state, event, at),
        Event::CredentialIssued { token, credential } => {
            if credential.session {
                // There are many, and of those that are over nobody asks any more.
                state
                    .credentials
                    .retain(|_, known| !known.session || known.holds_at(at));
            }
            state.credentials.insert(*token, credential.clone());
        }
        Event::CredentialRevoked { token } => {
            state.credentials.remove(token);
        }
        Event::Kept(artifact) => keep(state, artifact),
        Event::Run(run, event) => crate::run::apply(state, *run, event, at),
        Event::Published { publication, commit } => {
            crate::publication::apply(state, publication, *commit, at);
        }
        Event::Posted(transfer) => state.ledger.post(transfer),
        Event::Remembered { key, what } => {
            state.remembered.insert(key.clone(), what.clone());
        }
        Event::Submitted {
            job,
            spec,
            submitter,
            label,
        } => {
            let new = Job {
                id: *job,
                spec: (**spec).clone(),
                submitter: submitter.clone(),
                submitted: at,
                label: *label,
                phase: Phase::Queued,
                award: None,
                placed: None,
                candidates: Vec::new(),
                members: BTreeMap::new(),
                rounds: Vec::new(),
                checkpoint: None,
                returned: Vec::new(),
                next_sample: 0,
                reconsider: false,
                outputs: Vec::new(),
                ended: None,
                past: Vec::new(),
                kept: BTreeMap::new(),
            };
            state.jobs.insert(*job, new);
            state.active.insert(*job);
            let of_project = state.jobs_by_project.entry(spec.project.clone());
            of_project.or_default().insert(*job);
            let by_person = state.jobs_by_person.entry(submitter.clone());
            by_person.or_default().insert(*job);
        }
        Event::Ended { job, outcome } => {
            state.active.remove(job);
            with(state, *job, |job| end(job, outcome, at));
        }
        Event::Stopping { job, why } => with(state, *job, |job| job.phase = Phase::Stopping { why: *why }),
        Event::Requeued { job, why, kept } => {
            for artifact in kept {
                keep(state, artifact);
            }
            with(state, *job, |job| {
                wait_again(job, why, at);
                // A stay that ended before it could write one leaves that of the stay before.
                if !kept.is_empty() {
                    let files = kept.iter().map(|file| (file.name.clone(), file.id.digest));
                    job.kept = files.collect();
                }
            });
        }
        Event::Left { job, site, outputs } => {
            for artifact in outputs {
                keep(state, artifact);
            }
            with(state, *job, |job| {
                job.outputs
                    .extend(outputs.iter().map(|artifact| artifact.id.clone()));
                set_presence(job, site, Presence::Left);
            });
        }
        Event::Contributed {
            job,
            round,
            site,
            update,
        } => {
            keep_update(state, *job, *round, site, update);
            with(state, *job, |job| contribute(job, *round, site, update, at));
        }
        Event::Placed {
            job,
            award,
            sites,
            candidates,
        } => with(state, *job, |job| {
            job.phase = Phase::Running;
            job.award = Some(award.clone());
            job.placed = Some(at);
            job.candidates.clone_from(candidates);
            job.reconsider = false; // the policy was asked about exactly these sites
            job.members = sites
                .iter()
                .map(|placed| {
                    (
                        placed.site.clone(),
                        member(placed, job.attempts_before(&placed.site)),
                    )
                })
                .collect();
        }),
        Event::Joined { job, site, attempt } => with(state, *job, |job| {
            if let Some(member) = job.members.get_mut(site) {
                member.attempt = *attempt;
                member.presence = Presence::Present(at);
                member.usage.insert(*attempt, Usage::default());
                member.key = None; // each attempt tells its own
            }
        }),
        Event::KeyTold { job, site, key } => with(state, *job, |job| {
            if let Some(member) = job.members.get_mut(site) {
                member.key = Some(*key);
            }
        }),
        Event::Lost { job, site, .. } => with(state, *job, |job| set_presence(job, site, Presence::Lost)),
        Event::Diverged { job, site, round, .. } => {
            with(state, *job, |job| disbelieve(job, site, *round));
        }
        Event::RoundOpened {
            job,
            round,
            members,
            codec,
        } => with(state, *job, |job| {
            let taken: Vec<_> = members.iter().map(|(_, interval)| *interval).collect();
            job.returned = Interval::without(&job.returned, &taken);
            let furthest = taken.iter().map(|interval| interval.end).max().unwrap_or(0);
            job.next_sample = job.next_sample.max(furthest);
            open(job, *round, members, *codec, at);
        }),
        Event::RoundClosed {
            job,
            round,
            accepted,
            returned,
            last,
            scales,
            rejected,
        } => with(state, *job, |job| {
            job.returned.extend(returned);
            strike(job, accepted, rejected);
            if let Some(round) = job.rounds.get_mut(*round as usize) {
                round.closed = Some(at);
                round.inspection = None;
                round.scales.clone_from(scales);
                round.rejected.clone_from(rejected);
                round
                    .updates
                    .retain(|site, _| accepted.iter().any(|(other, _)| other == site));
            }
            if last.unwrap_or(job.committed() >= job.spec.rounds.count) {
                job.phase = Phase::Finishing;
            }
        }),
        Event::InspectionBegan { job, round } => with(state, *job, |job| {
            if let Some(round) = job.rounds.get_mut(*round as usize) {
                round.inspection = Some(Inspection {
                    began: at,
                    reports: BTreeMap::new(),
                });
            }
        }),
        Event::Inspected {
            job,
            round,
            site,
            report,
        } => with(state, *job, |job| {
            let round = job.rounds.get_mut(*round as usize);
            if let Some(inspection) = round.and_then(|round| round.inspection.as_mut()) {
                inspection.reports.insert(site.clone(), report.clone());
            }
        }),
        Event::UnmaskingBegan { job, round, gone } => with(state, *job, |job| {
            if let Some(round) = job.rounds.get_mut(*round as usize) {
                let unmasking = round.unmasking.get_or_insert_default();
                unmasking.began = at;
                unmasking.gone.clone_from(gone);
            }
        }),
        Event::Unmasked {
            job,
            round,
            site,
            seeds,
        } => with(state, *job, |job| {
            let round = job.rounds.get_mut(*round as usize);
            if let Some(unmasking) = round.and_then(|round| round.unmasking.as_mut()) {
                unmasking.told.insert(site.clone(), seeds.clone());
            }
        }),
        Event::StruckOut { job, site, .. } => {
            with(state, *job, |job| set_presence(job, site, Presence::Left));
        }
        Event::Applied {
            job,
            round,
            site,
            outer,
        } => with(state, *job, |job| {
            if let Some(round) = job.rounds.get_mut(*round as usize) {
                round.outer.insert(site.clone(), *outer);
            }
        }),
        Event::Checkpointed { job, checkpoint } => {
            keep_checkpoint(state, *job, checkpoint);
            with(state, *job, |job| job.checkpoint = Some(checkpoint.clone()));
        }
        Event::Reset {
            job, site, attempt, ..
        } => with(state, *job, |job| {
            if let Some(member) = job.members.get_mut(site) {
                member.reset = Some(*attempt);
            }
        }),
        Event::Metered {
            job,
            site,
            attempt,
            total,
            charged,
        } => {
            crate::invoice::settle(state, *job, site, (*attempt, *total), *charged, at);
            let watch = state.watch;
            with(state, *job, |job| {
                meter(job, site, *attempt, *total, *charged, watch.as_ref());
            });
        }
        Event::WatchSet { terms } => state.watch = *terms,
        Event::HeldIdle {
            job,
            site,
            notice,
            taken,
            ..
        } => {
            state.idled.extend(taken.as_ref().map(|_| *job));
            with(state, *job, |job| {
                if let Some(member) = job.members.get_mut(site) {
                    member.watch.notice = Some(*notice);
                    member.watch.taken.clone_from(taken);
                }
            });
        }
        Event::GivenBack { job, .. } => {
            crate::award::expect_back(state, *job);
            with(state, *job, |job| {
                let past = job.past.iter_mut().map(|past| &mut past.member);
                for member in past.chain(job.members.values_mut()) {
                    member.watch.taken = None;
                }
            });
        }
    }
}

fn with(state: &mut State, job: JobId, change: impl FnOnce(&mut Job)) {
    if let Some(job) = state.jobs.get_mut(&job) {
        change(job);
    }
}

/// Who may hold a job is no longer what it was when its sites were chosen.
fn reconsider_all(state: &mut State) {
    for id in &state.active {
        if let Some(job) = state.jobs.get_mut(id) {
            job.reconsider = true;
        }
    }
}

/// Of an artifact that is there already, the label may become stricter and the lineage longer. A release that was
/// proposed before is then proposed no longer: whoever agrees to it would agree to something else.
fn keep(state: &mut State, artifact: &Artifact) {
    let kept = state
        .artifacts
        .entry(artifact.id.clone())
        .or_insert_with(|| artifact.clone());
    for from in &artifact.made_from {
        if !kept.made_from.contains(from) {
            kept.made_from.push(*from);
            state.proposed.remove(&artifact.id);
        }
    }
    kept.by.extend(artifact.by.iter().cloned());
    if kept.label < artifact.label {
        kept.label = artifact.label;
        state.proposed.remove(&artifact.id);
        restrict_what_was_made_from(state, &artifact.id, artifact.label);
    }
}

/// Labels follow lineage, also when it is found out late that something should have been restricted.
fn restrict_what_was_made_from(state: &mut State, id: &ArtifactId, label: Label) {
    let mut stricter = BTreeSet::from([id.digest]);
    // One turn a generation.
    while !stricter.is_empty() {
        for job in state.jobs.values_mut() {
            let mut inputs = job.spec.inputs.values();
            if job.spec.project == id.project && inputs.any(|digest| stricter.contains(digest)) {
                job.reconsider |= job.label < label;
                job.label = job.label.max(label);
            }
        }
        let mut children = BTreeSet::new();
        for artifact in state.artifacts.values_mut() {
            let made_from = artifact.made_from.iter().any(|digest| stricter.contains(digest));
            if made_from && artifact.id.project == id.project && artifact.label < label {
                artifact.label = label;
                state.proposed.remove(&artifact.id);
                children.insert(artifact.id.digest);
            }
        }
        stricter = children;
    }
}

fn keep_update(state: &mut State, job: JobId, round: u32, site: &SiteId, update: &Update) {
    let Some(job) = state.jobs.get(&job) else { return };
    let name = format!("{}-round-{round}-{site}.update", job.id);
    let artifact = made_by(job, ArtifactKind::Update, name, update.digest, update.bytes);
    keep(state, &artifact);
}

fn keep_checkpoint(state: &mut State, job: JobId, kept: &OuterCheckpoint) {
    let Some(job) = state.jobs.get(&job) else { return };
    let name = format!("{}-round-{}.checkpoint", job.id, kept.round);
    let artifact = made_by(job, ArtifactKind::Checkpoint, name, kept.digest, kept.bytes);
    keep(state, &artifact);
}

/// What a job makes on its way has its label, and its inputs for a lineage.
fn made_by(job: &Job, kind: ArtifactKind, name: String, digest: Digest, bytes: u64) -> Artifact {
    Artifact {
        id: ArtifactId {
            project: job.spec.project.clone(),
            digest,
        },
        name,
        kind,
        bytes,
        label: job.label,
        job: Some(job.id),
        made_from: job.spec.inputs.values().copied().collect(),
        by: BTreeSet::new(),
    }
}

/// Of a site that was outvoted nothing counts that rests on the weights of that round.
fn disbelieve(job: &mut Job, site: &SiteId, round: u32) {
    for later in job.rounds.iter_mut().skip(round as usize) {
        later.outer.remove(site);
    }
    let wrong = |kept: &OuterCheckpoint| kept.site == *site && kept.round >= round;
    if job.checkpoint.as_ref().is_some_and(wrong) {
        job.checkpoint = None;
    }
    if job
        .members
        .get(site)
        .is_some_and(|m| m.presence != Presence::Left)
    {
        set_presence(job, site, Presence::Diverged);
    }
}

/// Who is out stays out, whatever comes of what it had handed in before.
fn strike(job: &mut Job, accepted: &[(SiteId, Digest)], rejected: &BTreeMap<SiteId, Rejection>) {
    for (site, member) in &mut job.members {
        if let Some(why) = rejected.get(site) {
            member.strikes += u32::from(why.is_strike());
        } else if member.presence != Presence::Left && accepted.iter().any(|(other, _)| other == site) {
            member.strikes = 0;
        }
    }
}

fn meter(job: &mut Job, site: &SiteId, attempt: u32, total: Usage, charged: Won, terms: Option<&Terms>) {
    let Some(member) = job.members.get_mut(site) else {
        return;
    };
    member.usage.insert(attempt, total);
    member.charged += charged;
    if let Some(terms) = terms {
        let total = member.total();
        member.watch.see(terms, total);
    }
}

fn contribute(job: &mut Job, round: u32, site: &SiteId, update: &Update, at: Time) {
    let rounds = &job.spec.rounds;
    if let Some(round) = job.rounds.get_mut(round as usize) {
        round.updates.insert(site.clone(), update.clone());
        let quorum = rounds.quorum_of(round.number, round.members.len());
        if round.updates.len() >= quorum && round.quorum_at.is_none() {
            round.quorum_at = Some(at);
        }
    }
}

fn end(job: &mut Job, outcome: &Outcome, at: Time) {
    job.ended = Some(at);
    job.phase = match outcome {
        Outcome::Done => Phase::Done,
        Outcome::Failed { reason } => Phase::Failed {
            reason: reason.clone(),
        },
        Outcome::Cancelled => Phase::Cancelled,
    };
}

fn wait_again(job: &mut Job, why: &Again, at: Time) {
    let members = std::mem::take(&mut job.members);
    job.past.extend(members.into_iter().map(|(site, member)| Past {
        site,
        member,
        ended: at,
        why: why.clone(),
    }));
    (job.phase, job.award, job.placed) = (Phase::Queued, None, None);
    job.candidates.clear();
}

fn set_presence(job: &mut Job, site: &SiteId, presence: Presence) {
    if let Some(member) = job.members.get_mut(site) {
        member.presence = presence;
    }
}

/// Its attempts go on counting from those of an earlier stay, so that a late word of that is told apart.
fn member(placed: &Placed, before: u32) -> Member {
    Member {
        placed: placed.clone(),
        attempt: before,
        presence: Presence::Expected,
        usage: BTreeMap::new(),
        charged: Won(0),
        reset: None,
        watch: Watch::default(),
        strikes: 0,
        key: None,
    }
}

/// Opens a round, or lets more sites into one that is open.
fn open(job: &mut Job, number: u32, members: &[(SiteId, Interval)], codec: Option<Codec>, at: Time) {
    let known = job
        .rounds
        .get_mut(number as usize)
        .filter(|round| !round.is_closed());
    if let Some(round) = known {
        round.members.extend(members.iter().cloned());
        return;
    }
    let key = |site: &SiteId| Some((site.clone(), job.members.get(site)?.key?));
    let keys = members.iter().filter_map(|(site, _)| key(site)).collect();
    job.rounds.push(Round {
        number,
        opened: at,
        members: members.iter().cloned().collect(),
        codec,
        updates: BTreeMap::new(),
        quorum_at: None,
        closed: None,
        outer: BTreeMap::new(),
        inspection: None,
        scales: BTreeMap::new(),
        rejected: BTreeMap::new(),
        keys,
        unmasking: None,
    });
}
