//! From a request to what happens. Nothing is changed here: `decide` reads the state and answers with
//! events, or with a refusal that says what is wrong and what to try.
//!
//! Requests of people and sites have small effects: a job is submitted, an update is contributed. What
//! follows from those (a placement, a closed round, a settled job) is the business of [`Command::Tick`],
//! which takes one step a job and is asked again until nothing follows. So there is one place for each
//! consequence, whichever request or passage of time brought it about.

use crate::batch;
use crate::consequence::{ended, follow};
use crate::ledger::LedgerError;
use crate::policy::Resource;
use crate::seat::{join, report};
use crate::{
    Account, Action, Actor, Artifact, Batch, Command, Digest, Event, JobId, JobSpec, Label, Ledger, Outcome,
};
use crate::{
    Mode, Output, Policy, Project, ProjectId, Refusal, RefusalKind, Remembered, Request, State, Time,
    Transfer,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// In one update or interval: keeps every sum within its integer, see `Update` weights in `sync`.
pub(crate) const MOST_SAMPLES: u64 = 1 << 40;
/// In a whole job, so that positions in its data order fit everywhere.
const MOST_SAMPLES_IN_ALL: u64 = i64::MAX as u64;
/// Of one site.
pub(crate) const MOST_GPUS: u32 = 1_000_000;
/// The log is JSON, and readers of JSON give up at some depth: what is written must be read again.
const MOST_LEVELS: usize = 32;

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
        | Command::Grant(_) => administer(state, actor, &request.command, now),
        Command::Money(command) => crate::money::ask(state, actor, command, now),
        Command::Call(command) => crate::call::rules::ask(state, actor, command, now),
        Command::Award(award, command) => crate::award::rules::ask(state, actor, award, command, now),
        Command::Invoice(invoice, command) => crate::invoice::rules::ask(state, actor, invoice, command, now),
        Command::IssueCredential { token, credential } => {
            crate::credential::issue(state, actor, *token, credential, now)
        }
        Command::SetStanding {
            organisation,
            standing,
            ground,
        } => crate::standing::set(state, actor, organisation, *standing, ground),
        Command::People(command) => crate::people::ask(state, actor, command),
        Command::Invitation(command) => crate::invitation::ask(state, actor, command, now),
        Command::Offer(command) => crate::offer::ask(state, actor, command),
        Command::TellAbilities(abilities) => crate::abilities::tell(state, actor, abilities),
        Command::SetWatch(terms) => crate::watch::set(state, actor, terms.as_ref()),
        Command::GiveBack { job, ground } => crate::watch::give_back(state, actor, *job, ground, now),
        Command::Release { artifact, to } => crate::release::release(state, actor, artifact, *to),
        Command::RevokeCredential { token } => crate::credential::revoke(state, actor, token),
        Command::Register(output) => register(state, actor, output),
        Command::Run(run, command) => crate::run::rules::ask(state, actor, *run, command, now),
        Command::Publish(publication) => crate::publication::publish(state, actor, publication),
        Command::Submit(spec) => submit(state, actor, spec),
        Command::Cancel(job) => cancel(state, actor, *job),
        Command::Join { job } => join(state, actor, *job),
        Command::Contribute { .. }
        | Command::Inspect { .. }
        | Command::TellKey { .. }
        | Command::Unmask { .. }
        | Command::Applied { .. }
        | Command::Checkpoint { .. }
        | Command::Reset { .. }
        | Command::Meter { .. }
        | Command::Leave { .. }
        | Command::End { .. }
        | Command::Fail { .. } => report(state, actor, &request.command, now),
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
        Command::Tick => Ok(follow(state, now, true)),
    }
}

// ---- the programme office ----------------------------------------------------------------------------

fn administer(state: &State, actor: &Actor, command: &Command, now: Time) -> Result<Vec<Event>, Refusal> {
    state.permit(actor, Action::Administer, &Resource::Consortium)?;
    Ok(match command {
        Command::AdoptPolicy(text) => {
            let policy = Policy::parse(text).map_err(|e| Refusal::invalid(e.to_string()))?;
            let hub = policy.ask(state, &Actor::Hub, Action::Administer, &Resource::Consortium);
            if !hub.allowed {
                // Nobody could undo it, and the hub could not even count a site as lost.
                return Err(
                    Refusal::invalid("under this policy the hub may not administer the consortium")
                        .hint("keep the policy hub-founds-the-consortium"),
                );
            }
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
            crate::offer::check(site)?;
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
        Command::Appropriate { year, won } => crate::money::appropriate(state, *year, *won)?,
        Command::Grant(award) => crate::award::rules::grant(state, actor, award, now)?,
        other => {
            return Err(Refusal::invalid(format!(
                "{other:?} is not the programme office's to ask"
            )));
        }
    })
}

// ---- projects: artifacts and jobs --------------------------------------------------------------------

fn register(state: &State, actor: &Actor, output: &Output) -> Result<Vec<Event>, Refusal> {
    state.project_for(actor, &output.id.project)?;
    let mut artifact = inherit(state, output)?;
    if let Actor::Person(person) = actor {
        artifact.by.insert(person.clone());
    }
    Ok(keeping(state, artifact))
}

/// That an artifact is kept; nothing, if that is how it stands already.
pub(crate) fn keeping(state: &State, artifact: Artifact) -> Vec<Event> {
    let known = state.artifacts.get(&artifact.id).is_some_and(|known| {
        let mut from = artifact.made_from.iter();
        known.label >= artifact.label
            && known.by.is_superset(&artifact.by)
            && from.all(|digest| known.made_from.contains(digest))
    });
    if known {
        Vec::new()
    } else {
        vec![Event::Kept(artifact)]
    }
}

/// The artifact that `output` becomes: its label is at least as strict as everything it was made from.
fn inherit(state: &State, output: &Output) -> Result<Artifact, Refusal> {
    check_name(&output.name)?;
    let inputs = output.made_from.iter();
    let label = strictest(state, &output.id.project, inputs, output.label)?;
    Ok(Artifact {
        id: output.id.clone(),
        name: output.name.clone(),
        kind: output.kind,
        bytes: output.bytes,
        label,
        job: None,
        made_from: output.made_from.clone(),
        by: BTreeSet::new(),
    })
}

/// People fetch artifacts under their names, so a name is a plain file name on any system.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let wrong = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(wrong) {
        return Err(Refusal::invalid(format!("{name:?} can't name an artifact"))
            .hint("use a file name of at most 200 bytes, without slashes, colons and a dot in front"));
    }
    Ok(())
}

pub(crate) fn strictest<'a>(
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
    let project = state.project_for(actor, &spec.project)?;
    let Actor::Person(submitter) = actor else {
        return Err(Refusal::invalid(format!("{actor} can't submit jobs; people do")));
    };
    check_spec(state, spec, project)?;
    let label = strictest(state, &spec.project, spec.inputs.values(), spec.label)?;
    // Whoever may not read the result may not make it either: it would come from their hands.
    state.permit(actor, Action::Read, &Resource::Planned(spec, label))?;
    let first = state.jobs.keys().next_back().map_or(1, |last| last.0 + 1);
    let submitted = |(id, batch): (u64, Option<Batch>)| Event::Submitted {
        job: JobId(id),
        spec: Box::new(JobSpec {
            batch: batch.map(Box::new),
            ..spec.clone()
        }),
        submitter: submitter.clone(),
        label,
    };
    let batches = match &spec.batch {
        Some(batch) => batch.elements().into_iter().map(Some).collect(),
        None => vec![None],
    };
    Ok((first..).zip(batches).map(submitted).collect())
}

fn check_spec(state: &State, spec: &JobSpec, project: &Project) -> Result<(), Refusal> {
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
        .chain(spec.batch.is_none().then_some(&spec.program))
        .find(|name| !name_ok(name))
    {
        return Err(
            Refusal::invalid(format!("{bad:?} can't name a program or an input"))
                .hint("use letters, digits, dots, hyphens and underscores, and no dot in front"),
        );
    }
    range("sites", spec.sites.into(), 1, 1_000)?;
    range("wall_minutes", spec.wall_minutes.into(), 1, 60 * 24 * 90)?;
    range("gpus", spec.gpus.unwrap_or(1).into(), 1, MOST_GPUS.into())?;
    range(
        "due_minutes",
        spec.due_minutes.unwrap_or(1).into(),
        1,
        60 * 24 * 365,
    )?;
    match &spec.batch {
        Some(batch) => {
            range("sites of a batch job", spec.sites.into(), 1, 1)?;
            batch.check(state, &spec.inputs)?;
        }
        None if spec.gpus.is_some() => {
            return Err(Refusal::invalid("a training takes all of its sites".to_owned())
                .hint("leave gpus out, or ask for a batch job"));
        }
        None => check_rounds(spec)?,
    }
    if is_deeper(&spec.settings, MOST_LEVELS) {
        return Err(Refusal::invalid(format!(
            "the settings are nested more than {MOST_LEVELS} levels deep"
        ))
        .hint("keep what is that large in a file, and make it an input"));
    }
    Ok(())
}

fn check_rounds(spec: &JobSpec) -> Result<(), Refusal> {
    let (rounds, sites) = (&spec.rounds, spec.sites);
    let (count, samples) = (rounds.count, rounds.samples);
    range("rounds.count", count.into(), 1, 1_000_000)?;
    range("rounds.samples", samples, 1, MOST_SAMPLES)?;
    range("rounds.quorum", rounds.quorum.into(), 1, sites.into())?;
    range(
        "rounds.grace_seconds",
        rounds.grace_seconds.into(),
        0,
        60 * 60 * 24,
    )?;
    range("rounds.fragments", rounds.fragments.into(), 1, 1_000)?;
    range("rounds.overlap", rounds.overlap.into(), 0, 1)?;
    if rounds.fragments > count {
        return Err(Refusal::invalid(format!(
            "{} fragments in {count} rounds: a round sends one, so some would never be sent before the end",
            rounds.fragments
        ))
        .hint("ask for more rounds, with fewer samples each, or for fewer fragments"));
    }
    if rounds.overlap >= count {
        return Err(
            Refusal::invalid("an overlap with a round after the only one".to_owned())
                .hint("leave rounds.overlap out, or ask for more rounds"),
        );
    }
    if u128::from(sites) * u128::from(count) * u128::from(samples) > u128::from(MOST_SAMPLES_IN_ALL) {
        return Err(Refusal::invalid(format!(
            "{sites} sites would take {samples} samples in each of {count} rounds"
        ))
        .hint(format!("ask for at most {MOST_SAMPLES_IN_ALL} samples in all")));
    }
    match &rounds.mode {
        Some(Mode::Inspected(bounds)) => bounds.check(sites, spec.inputs.keys()),
        Some(Mode::Private(clipping)) => clipping.check(spec),
        None => Ok(()),
    }
}

/// What `what` rests on, in a few words.
pub(crate) fn grounded(what: &str, ground: &str, hint: &str) -> Result<String, Refusal> {
    if ground.trim().is_empty() || ground.len() > 1_000 {
        let why = format!("{what} needs its ground, of 1,000 bytes at most");
        return Err(Refusal::invalid(why).hint(hint));
    }
    Ok(ground.trim().to_owned())
}

pub(crate) fn range(field: &str, value: u64, least: u64, most: u64) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{field} is {value}")).hint(format!("{field} takes {least} to {most}")))
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let inner = |value: &Value| is_deeper(value, levels - 1);
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(inner),
        Value::Object(fields) => levels == 0 || fields.values().any(inner),
        _ => false,
    }
}

fn cancel(state: &State, actor: &Actor, job: JobId) -> Result<Vec<Event>, Refusal> {
    let job = find(&state.jobs, "job", &job)?;
    let project = find(&state.projects, "project", &job.spec.project)?;
    state.permit(actor, Action::Contribute, &Resource::Project(project))?;
    if !job.is_active() {
        return Err(Refusal::conflict(format!("{} has ended", job.id)));
    }
    if job.spec.batch.is_some() {
        return Ok(batch::cancel(state, job));
    }
    Ok(ended(state, job, Outcome::Cancelled))
}

// ---- shared --------------------------------------------------------------------------------------------

/// The last line of defence: whatever a rule got wrong, no account goes below zero.
fn check_postings(ledger: &Ledger, events: &[Event]) -> Result<(), Refusal> {
    let transfers = events.iter().filter_map(|event| match event {
        Event::Posted(transfer) => Some(transfer.clone()),
        _ => None,
    });
    let transfers: Vec<Transfer> = transfers.collect();
    ledger.check(&transfers).map_err(|error| {
        let kind = match error {
            LedgerError::Short { .. } => RefusalKind::Insufficient,
            LedgerError::Flood { .. } | LedgerError::Negative { .. } => RefusalKind::Invalid,
        };
        let refusal = Refusal::new(kind, error.to_string());
        match error {
            LedgerError::Short {
                account: Account::Pool(_),
                ..
            } => {
                refusal.hint("`khub money list` has what is left of each year, and what may be carried over")
            }
            _ => refusal,
        }
    })
}

pub(crate) fn find<'a, K: Ord + fmt::Display, V>(
    all: &'a std::collections::BTreeMap<K, V>,
    noun: &str,
    id: &K,
) -> Result<&'a V, Refusal> {
    all.get(id).ok_or_else(|| Refusal::not_found(noun, id))
}

pub(crate) fn unused<K: Ord + fmt::Display, V>(
    all: &std::collections::BTreeMap<K, V>,
    noun: &str,
    id: &K,
) -> Result<(), Refusal> {
    if all.contains_key(id) {
        return Err(Refusal::conflict(format!("{noun} {id} exists already")));
    }
    Ok(())
}
