//! Batch jobs: any command on one site, instead of a training in rounds. The site reports what it uses and how it
//! ends; here is what follows from that.
//!
//! Once such a job is at a site, only the site knows when its machines are free again. So it is told to stop (the
//! phase [`Phase::Stopping`]), and the job goes on to be there until the site has said how it ended. A job that runs
//! once more is always marked: its stay is in [`Job::past`], with the reason.

use crate::consequence::{ended, releases};
use crate::{Digest, Event, Job, JobId, Outcome, Output, Phase, Presence, Refusal, SiteId, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often a job is started again because of a site's machines.
const MOST_LOSSES: u32 = 5;
/// In one array.
const MOST_ELEMENTS: usize = 1_000;
const MOST_RETRIES: u32 = 100;
const MOST_SCRIPT_BYTES: usize = 256 << 10;

/// A command to run, and when. In a job's TOML:
///
/// ```toml
/// [batch]
/// script = """
/// #!/bin/sh
/// python train.py --fold $KHUB_ARRAY_INDEX
/// """
/// array = [0, 1, 2, 3]   # four jobs
/// after = ["job-3"]      # not before that is done
/// retries = 2            # if it fails
/// image = "docker://pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// What runs: a file that begins with `#!`.
    #[schemars(regex(pattern = "^#!"), length(max = MOST_SCRIPT_BYTES))]
    pub script: String,
    /// Asks for one job for each number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_ELEMENTS))]
    pub array: Vec<u32>,
    /// The number of this one among them; the hub's to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Jobs that have to be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<JobId>,
    /// The container's image that it runs in: a path at the site, an address, or `inputs/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How often it is started again if it fails.
    #[serde(default)]
    #[schemars(range(max = MOST_RETRIES))]
    pub retries: u32,
}

/// How a stay of a batch job at a site ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// The command ended well.
    Done,
    /// The command failed.
    Failed(String),
    /// It took all of its wall time.
    TimedOut,
    /// The machines failed, not the command.
    Lost(String),
    /// It was stopped: because the hub said so, or by somebody at the site.
    Stopped,
    /// The site can't run it at all.
    Refused(String),
}

/// Why a job that is at a site is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Its people don't want it any more.
    Cancelled,
    /// Another goes first; it waits again.
    Preempted,
}

/// Why a job waits again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// It failed, and has retries left.
    Failed(String),
    /// The machines failed.
    Lost(String),
    /// Another went first.
    Preempted,
}

impl Batch {
    pub(crate) fn check(&self, state: &State, inputs: &BTreeMap<String, Digest>) -> Result<(), Refusal> {
        let wrong = |what: &str, hint: &str| Err(Refusal::invalid(what.to_owned()).hint(hint));
        if !self.script.starts_with("#!") || self.script.len() > MOST_SCRIPT_BYTES {
            return wrong(
                "batch.script is no script of at most 256 KiB",
                "begin it with `#!/bin/sh`, or another interpreter",
            );
        }
        if self.array.len() > MOST_ELEMENTS || self.retries > MOST_RETRIES {
            return wrong(
                "batch.array or batch.retries is too large",
                "up to 1,000 elements and 100 retries",
            );
        }
        if self.image.as_ref().is_some_and(|image| !is_image(image, inputs)) {
            return wrong(
                "batch.image names no image",
                "a path that begins with a slash, an address as docker://alpine, or inputs/NAME of an input of the job",
            );
        }
        if self.index.is_some() {
            return wrong("batch.index is the hub's to say", "use batch.array");
        }
        if let Some(job) = self.after.iter().find(|job| !state.jobs.contains_key(job)) {
            return Err(Refusal::not_found("job", job).hint("batch.after names jobs that are there already"));
        }
        Ok(())
    }

    /// The jobs that an array stands for; of no array, itself.
    pub(crate) fn elements(&self) -> Vec<Self> {
        let element = |index| Self {
            array: Vec::new(),
            index,
            ..self.clone()
        };
        if self.array.is_empty() {
            return vec![element(None)];
        }
        self.array.iter().map(|index| element(Some(*index))).collect()
    }
}

fn is_image(image: &str, inputs: &BTreeMap<String, Digest>) -> bool {
    let is_input = || {
        image
            .strip_prefix("inputs/")
            .is_some_and(|name| inputs.contains_key(name))
    };
    let plain = image.len() <= 1_000 && !image.contains(char::is_control);
    let has_scheme = |(scheme, _): (&str, &str)| scheme.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_address = || image.split_once("://").is_some_and(has_scheme);
    plain && (image.starts_with('/') || is_address() || is_input())
}

/// The first job that has to be done before `job`, and is not.
pub(crate) fn waits_for<'a>(state: &'a State, job: &Job) -> Option<&'a Job> {
    let after = job.spec.batch.as_ref().map_or(&[][..], |batch| &batch.after);
    let before = after.iter().filter_map(|id| state.jobs.get(id));
    before.into_iter().find(|before| before.phase != Phase::Done)
}

/// What follows for a batch job from how things stand.
pub(crate) fn next_step(state: &State, job: &Job) -> Vec<Event> {
    let may_hold = |site: &SiteId| state.may_hold(site, job);
    match &job.phase {
        Phase::Queued => match waits_for(state, job) {
            Some(before) if !before.is_active() => {
                let reason = format!("{}, which it was to come after, is not done", before.id);
                ended(state, job, Outcome::Failed { reason })
            }
            _ => Vec::new(),
        },
        // Its label, the policy or a standing has changed since: it runs where it may, if there is such a site.
        Phase::Running if job.reconsider && !job.members.keys().all(may_hold) => {
            vec![Event::Stopping {
                job: job.id,
                why: Stop::Preempted,
            }]
        }
        // No site has begun.
        Phase::Stopping { why } if job.members.values().all(|m| m.presence == Presence::Expected) => {
            over(state, job, *why, &[])
        }
        _ => Vec::new(),
    }
}

/// Its people don't want it any more. Asked twice, nobody waits for the site: what that still reports is refused.
pub(crate) fn cancel(state: &State, job: &Job) -> Vec<Event> {
    let here = matches!(
        job.phase,
        Phase::Running | Phase::Stopping { why: Stop::Preempted }
    );
    if here {
        return vec![Event::Stopping {
            job: job.id,
            why: Stop::Cancelled,
        }];
    }
    ended(state, job, Outcome::Cancelled)
}

/// The site says how its stay ended; what it used is metered before. With it come its results, or, if it may run once
/// more, its checkpoint.
pub(crate) fn end(state: &State, job: &Job, site: &SiteId, exit: &Exit, outputs: &[Output]) -> Vec<Event> {
    let failed = |reason: String| ended(state, job, Outcome::Failed { reason });
    let left = |again: fn(&Again) -> bool| job.past.iter().filter(|past| again(&past.why)).count();
    match (exit, &job.phase) {
        (Exit::Done, _) => {
            let mut events = vec![Event::Left {
                job: job.id,
                site: site.clone(),
                outputs: crate::seat::artifacts(job, outputs),
            }];
            events.extend(ended(state, job, Outcome::Done));
            events
        }
        (_, Phase::Stopping { why }) => over(state, job, *why, outputs),
        (Exit::Failed(reason), _) => {
            let retries = job.spec.batch.as_ref().map_or(0, |batch| batch.retries) as usize;
            if left(|again| matches!(again, Again::Failed(_))) < retries {
                return again(state, job, Again::Failed(reason.clone()), outputs);
            }
            failed(format!("at {site}: {reason}"))
        }
        (Exit::Lost(reason), _) => {
            if left(|again| matches!(again, Again::Lost(_))) < MOST_LOSSES as usize {
                return again(state, job, Again::Lost(reason.clone()), outputs);
            }
            failed(format!("at {site}, for the {MOST_LOSSES}th time: {reason}"))
        }
        (Exit::TimedOut, _) => failed(format!(
            "at {site} it took all of its {} minutes; ask for more wall_minutes",
            job.spec.wall_minutes
        )),
        (Exit::Stopped, _) => failed(format!("somebody stopped it at {site}")),
        (Exit::Refused(reason), _) => failed(format!("{site} can't run it: {reason}")),
    }
}

fn over(state: &State, job: &Job, why: Stop, kept: &[Output]) -> Vec<Event> {
    match why {
        Stop::Cancelled => ended(state, job, Outcome::Cancelled),
        Stop::Preempted => again(state, job, Again::Preempted, kept),
    }
}

/// It waits again with its checkpoint, and what was set aside for it and not used goes back.
fn again(state: &State, job: &Job, why: Again, kept: &[Output]) -> Vec<Event> {
    let kept = crate::seat::artifacts(job, kept);
    let mut events = vec![Event::Requeued {
        job: job.id,
        why,
        kept,
    }];
    events.extend(releases(state, job).into_iter().map(Event::Posted));
    events
}
