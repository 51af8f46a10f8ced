//! Batch jobs at this site: a thread of its own brings each of them, one step after the other, from its order to the
//! word of how it ended. What runs them, [`local`] processes or [`slurm`], stands behind [`Scheduler`].
//!
//! ```text
//! jobs/job-7/batch.json   how far it is: written whole before anything is done that can't be done twice
//!            run.sh       starts the script, and notes that and how it ended
//!            script       the job's own
//!            inputs/ outputs/ checkpoint/ log-1 exit-1
//! ```
//!
//! A job is never lost and never runs twice unmarked. Its name at the scheduler tells the attempt, and is looked for
//! before it is submitted; and `run.sh` begins by making a folder, which only one can, so a scheduler that starts a
//! job again, or takes a submission twice, starts nothing. The hub decides what runs once more.

mod cgroup;
mod container;
mod gauge;
mod local;
mod rest;
mod slurm;
mod task;

pub use container::Container;
pub use slurm::SlurmConfig;

use crate::edge::Word;
use api::{ApiError, Client, SiteJob, measure};
use consortium::{
    Abilities, ArtifactId, ArtifactKind, Contact, Exit, JobId, Output, PersonId, Phase, Presence, Reading,
    SiteId, Stop, Usage,
};
use gauge::Busy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
pub(crate) use task::write_whole_for;
use task::{Task, User, own_user, regular, user, write_whole};

/// How often the scheduler is asked how jobs are.
const TURN: Duration = Duration::from_secs(1);
/// As long as a submission may still be on its way of which nothing is known.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How long a job may be unknown that was submitted before it is lost.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How often a scheduler may refuse a job for a reason that may pass.
const TRIES: u32 = 30;
/// How much of how busy a job's machines were may be forgotten with this process.
const NOTED_EVERY_MS: u64 = 30_000;
/// The most of a job's log in one request.
const LOG_PART: usize = 256 << 10;

/// What runs a site's batch jobs.
#[derive(Debug, Clone, Default)]
pub struct Batches {
    /// Slurm; none runs them as processes of this machine.
    pub slurm: Option<SlurmConfig>,
    /// GPUs of this machine that processes share.
    pub gpus: u32,
    /// The name that a person has at this site. None at all: on Slurm it is the person's own, and processes run as
    /// whoever runs the site.
    pub users: Option<BTreeMap<PersonId, String>>,
    /// What runs containers here.
    pub containers: Option<Container>,
}

/// What runs jobs.
trait Scheduler: Send {
    /// How each of these is, by name; one that isn't known is left out.
    fn look(&mut self, tasks: &[&Task]) -> Result<BTreeMap<String, Seen>, Trouble>;
    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble>;
    /// How busy what a running job holds was since this was asked before, where that is known.
    fn busy(&mut self, task: &Task) -> Option<Busy>;
    /// Asked again until it has ended.
    fn cancel(&mut self, task: &Task) -> Result<(), Trouble>;
    /// What keeps a job within its part, in a few words.
    fn limits(&self) -> String;
    /// These are all the jobs there are.
    fn settle(&mut self, tasks: &[&Task]) -> Result<(), Trouble>;
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Waiting,
    /// `millis` is what can't be forgotten any more.
    Running {
        millis: u64,
    },
    Ended {
        exit: Exit,
        millis: u64,
    },
    /// It was there, and what should run it has lost it; what the site's operator should do about that.
    Forgotten(&'static str),
}

/// Why something couldn't be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Later it may.
    Later(String),
    /// Never.
    Never(String),
}

/// How far a job is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    task: Task,
    step: Step,
    #[serde(default)]
    busy: Busy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    /// It may have been submitted.
    Submitting,
    /// The scheduler has it.
    Submitted,
    /// It is over; the hub may not know it yet.
    Ended { exit: Exit, millis: u64 },
}

/// A job with what need not outlive this process.
struct Stay {
    record: Record,
    /// Until when a submission may be under way of which nothing is known.
    under_way: Instant,
    tries: u32,
    /// Since when the scheduler doesn't know it.
    unknown: Option<Instant>,
    sent: u64,
    metered: u64,
    busy: Busy,
    reported: bool,
    said: String,
}

pub(crate) struct Desk {
    client: Client,
    site: SiteId,
    folder: PathBuf,
    users: Option<BTreeMap<PersonId, String>>,
    is_slurm: bool,
    containers: Option<Container>,
    contact: Contact,
    /// Whether the hub knows what this site can do.
    told: bool,
    /// Whether the scheduler knows of the jobs that there are, and of no others.
    settled: bool,
    scheduler: Box<dyn Scheduler>,
    tell: Sender<Word>,
    /// None before the first have come.
    orders: Option<Vec<SiteJob>>,
    stays: BTreeMap<JobId, Stay>,
    said: String,
}

/// Starts the thread; it ends when nobody gives it orders any more.
pub(crate) fn start(
    client: Client,
    site: SiteId,
    folder: &Path,
    batches: &Batches,
    contact: Contact,
    tell: Sender<Word>,
) -> Sender<Vec<SiteJob>> {
    let scheduler: Box<dyn Scheduler> = match &batches.slurm {
        Some(config) => Box::new(slurm::Slurm::new(config.clone())),
        None => Box::new(local::Local::new(batches.gpus)),
    };
    let mut desk = Desk {
        client,
        site,
        // Jobs are started elsewhere, and have to find it.
        folder: std::path::absolute(folder.join("jobs")).unwrap_or_else(|_| folder.join("jobs")),
        users: batches.users.clone(),
        is_slurm: batches.slurm.is_some(),
        containers: batches.containers,
        contact,
        told: false,
        settled: false,
        scheduler,
        tell,
        orders: None,
        stays: BTreeMap::new(),
        said: String::new(),
    };
    desk.remember();
    let _ = desk.tell.send(Word::Note(format!(
        "batch jobs: {}; limits: {}",
        desk.containers
            .map_or("no containers".to_owned(), |it| format!("containers by {it}")),
        desk.scheduler.limits()
    )));
    let (give, orders) = channel();
    std::thread::spawn(move || desk.work(&orders));
    give
}

impl Desk {
    fn work(&mut self, orders: &Receiver<Vec<SiteJob>>) {
        loop {
            match orders.recv_timeout(TURN) {
                Ok(new) => self.orders = Some(orders.try_iter().last().unwrap_or(new)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let turn = self.tell_abilities().and_then(|()| self.turn());
            if let Err(Trouble::Later(why) | Trouble::Never(why)) = turn {
                self.note_once(why);
            }
        }
    }

    fn tell_abilities(&mut self) -> Result<(), Trouble> {
        if self.told {
            return Ok(());
        }
        let abilities = Abilities {
            containers: self.containers.iter().map(ToString::to_string).collect(),
            limits: self.scheduler.limits(),
            contact: Some(self.contact.clone()),
        };
        match self.client.tell_abilities(&self.site, &abilities) {
            // An older hub doesn't want to know.
            Ok(_) | Err(ApiError::Refused(_)) => self.told = true,
            Err(error) => return Err(later(error)),
        }
        Ok(())
    }

    /// Jobs of an earlier process.
    fn remember(&mut self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let bytes = fs::read(entry.path().join("batch.json")).ok();
            if let Some(record) = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                self.stays
                    .insert(id, Stay::new(record, Instant::now() + UNDER_WAY));
            }
        }
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        let orders = self.orders.clone();
        let nothing = self.stays.is_empty() && orders.as_ref().is_none_or(Vec::is_empty);
        if nothing && (self.settled || orders.is_none()) {
            return Ok(());
        }
        let open = self.stays.values().map(|stay| &stay.record);
        let open = open.filter(|record| !matches!(record.step, Step::Ended { .. }));
        let tasks: Vec<&Task> = open.map(|record| &record.task).collect();
        let seen = self.scheduler.look(&tasks)?;
        self.said.clear();
        if let Some(orders) = &orders {
            let gone: Vec<JobId> = self.stays.keys().copied().collect();
            let gone = gone
                .into_iter()
                .filter(|id| orders.iter().all(|job| job.id != *id));
            for id in gone.collect::<Vec<_>>() {
                self.clear(id, &seen)?;
            }
        }
        for job in orders.iter().flatten() {
            if let Err(trouble) = self.step(job, &seen) {
                let (Trouble::Later(why) | Trouble::Never(why)) = trouble;
                self.note_about(job.id, &why);
            }
        }
        let tasks: Vec<&Task> = self.stays.values().map(|stay| &stay.record.task).collect();
        self.scheduler.settle(&tasks)?;
        self.settled = true;
        Ok(())
    }

    /// One step of a job that the hub has ordered.
    fn step(&mut self, job: &SiteJob, seen: &BTreeMap<String, Seen>) -> Result<(), Trouble> {
        let known = self.stays.get(&job.id).map(|stay| stay.record.task.attempt);
        let current = match job.presence {
            Presence::Expected => known.is_some_and(|attempt| attempt > job.attempt),
            _ => known.is_some_and(|attempt| attempt >= job.attempt),
        };
        if !current {
            return self.begin(job);
        }
        let Some(stay) = self.stays.get_mut(&job.id) else {
            return Ok(());
        };
        let stops = matches!(job.phase, Phase::Stopping { .. });
        let how = seen.get(&stay.record.task.name);
        match (stay.record.step.clone(), how) {
            (Step::Ended { exit, millis }, _) => self.report(job, &exit, millis),
            (Step::Submitting, Some(_)) => self.put(job.id, Step::Submitted),
            (Step::Submitting, None) if Instant::now() < stay.under_way => Ok(()),
            (Step::Submitting, None) if stops => self.finish(job.id, Exit::Stopped, 0),
            (Step::Submitting, None) => self.submit(job),
            (Step::Submitted, Some(Seen::Ended { exit, millis })) => {
                let (exit, millis) = (exit.clone(), *millis);
                self.finish(job.id, exit, millis)
            }
            (Step::Submitted, None | Some(Seen::Forgotten(_))) => {
                if !stay.is_unknown() {
                    return Ok(());
                }
                let millis = stay.metered;
                let exit = if stops {
                    Exit::Stopped
                } else {
                    Exit::Lost("the scheduler doesn't know it any more".into())
                };
                if let Some(Seen::Forgotten(remedy)) = how {
                    self.note_about(job.id, remedy);
                }
                self.finish(job.id, exit, millis)
            }
            (Step::Submitted, how) => {
                stay.unknown = None;
                let task = stay.record.task.clone();
                if stops {
                    self.scheduler.cancel(&task)?;
                }
                if let Some(Seen::Running { millis }) = how {
                    self.watch(job.id);
                    self.meter(job.id, *millis)?;
                    self.send_log(job.id)?;
                }
                Ok(())
            }
        }
    }

    /// A new attempt; or the hub knows of one of which nothing was written down.
    fn begin(&mut self, job: &SiteJob) -> Result<(), Trouble> {
        let stops = matches!(job.phase, Phase::Stopping { .. });
        let (Some(behalf), Some(batch)) = (&job.behalf, &job.spec.batch) else {
            return Ok(());
        };
        if stops && job.presence == Presence::Expected {
            return Ok(()); // the hub sees to it
        }
        let attempt = match job.presence {
            Presence::Expected => self.client.join(job.id).map_err(later)?,
            _ => job.attempt,
        };
        let name = self.user_of(&behalf.person);
        let task = Task {
            name: format!("khub-{}-{}.{attempt}", self.site, job.id),
            job: job.id,
            attempt,
            folder: self.folder.join(job.id.to_string()),
            user: name,
            account: format!("khub-{}", behalf.award),
            organisation: behalf.organisation.to_string(),
            minutes: job.spec.wall_minutes,
            gpus: job.spec.gpus,
            gpu: job.spec.gpu.clone(),
            index: batch.index,
            image: batch.image.clone(),
            container: self.containers,
        };
        remove(&task.folder).map_err(failed)?;
        fs::create_dir_all(&task.folder).map_err(failed)?;
        let record = Record {
            task,
            step: Step::Submitting,
            busy: Busy::default(),
        };
        // Of an attempt that was joined before, the scheduler may have something already.
        let wait = if job.presence == Presence::Expected {
            Duration::ZERO
        } else {
            UNDER_WAY
        };
        self.stays
            .insert(job.id, Stay::new(record, Instant::now() + wait));
        self.put(job.id, Step::Submitting)?;
        self.note_about(job.id, &format!("joined, attempt {attempt}"));
        Ok(())
    }

    fn submit(&mut self, job: &SiteJob) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get_mut(&job.id) else {
            return Ok(());
        };
        let task = stay.record.task.clone();
        let asked = self
            .prepare(job, &task)
            .and_then(|user| self.scheduler.submit(&task, &user));
        let stay = self.stays.get_mut(&job.id).expect("it is there");
        match asked {
            Ok(()) => self.put(job.id, Step::Submitted),
            Err(Trouble::Later(why)) if stay.tries < TRIES => {
                stay.tries += 1;
                stay.under_way = Instant::now() + TURN;
                Err(Trouble::Later(why))
            }
            Err(Trouble::Later(why) | Trouble::Never(why)) => self.finish(job.id, Exit::Refused(why), 0),
        }
    }

    /// The folder with all that the job needs, in the hands of whoever it runs as; and who that is.
    fn prepare(&self, job: &SiteJob, task: &Task) -> Result<User, Trouble> {
        if task.image.is_some() && task.container.is_none() {
            return Err(Trouble::Never("it runs no containers".into()));
        }
        let user = self.find_user(task)?;
        let folder = |part: &str| task.folder.join(part);
        for part in ["inputs", "outputs", "checkpoint"] {
            fs::create_dir_all(folder(part)).map_err(failed)?;
        }
        let inputs = job.spec.inputs.iter().map(|file| ("inputs", file));
        let kept = job.kept.iter().map(|file| ("checkpoint", file));
        for (part, (name, digest)) in inputs.chain(kept) {
            let path = folder(part).join(name);
            if measure(&path).is_ok_and(|(found, _)| found == *digest) {
                continue;
            }
            let id = ArtifactId {
                project: job.spec.project.clone(),
                digest: *digest,
            };
            self.client.save(&id, &path).map_err(later)?;
        }
        let script = job.spec.batch.as_ref().map_or("", |batch| &batch.script);
        task.write(script, &user).map_err(failed)?;
        Ok(user)
    }

    /// The hub hears all of it: what it wrote, what came out, what it used, how it ended.
    fn report(&mut self, job: &SiteJob, exit: &Exit, millis: u64) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get(&job.id).filter(|stay| !stay.reported) else {
            return Ok(());
        };
        let task = stay.record.task.clone();
        self.send_log(job.id)?;
        let retries = job.spec.batch.as_ref().map_or(0, |batch| batch.retries);
        let outputs = match (exit, &job.phase) {
            (Exit::Done, _) => self.collect(job, &task, "outputs", ArtifactKind::Report)?,
            // It may run once more.
            (Exit::Lost(_), _) | (_, Phase::Stopping { why: Stop::Preempted }) => {
                self.collect(job, &task, "checkpoint", ArtifactKind::Checkpoint)?
            }
            (Exit::Failed(_), _) if retries > 0 => {
                self.collect(job, &task, "checkpoint", ArtifactKind::Checkpoint)?
            }
            _ => Vec::new(),
        };
        self.meter(job.id, millis)?;
        match self.client.end(job.id, task.attempt, exit, &outputs) {
            Ok(_) => {}
            // It was told before, or the hub didn't wait for it.
            Err(error) if error.status() == Some(409) => {}
            Err(error) => return Err(later(error)),
        }
        self.note_about(job.id, &format!("ended: {exit:?}, {:.1} s", millis as f64 / 1e3));
        if let Some(stay) = self.stays.get_mut(&job.id) {
            stay.reported = true;
        }
        Ok(())
    }

    /// The files in one of its folders, sent to the hub. They are copied out of the job's hands first: a link in there could
    /// lead to a file that only the site may read.
    fn collect(
        &self,
        job: &SiteJob,
        task: &Task,
        part: &str,
        kind: ArtifactKind,
    ) -> Result<Vec<Output>, Trouble> {
        let from = task.folder.join(part);
        let own = self.folder.join(format!("{}.outputs", job.id));
        remove(&own).map_err(failed)?;
        if !fs::symlink_metadata(&from).is_ok_and(|found| found.is_dir()) {
            return Ok(Vec::new());
        }
        fs::create_dir_all(&own).map_err(failed)?;
        let mut outputs = Vec::new();
        let mut names: Vec<_> = fs::read_dir(&from)
            .map_err(failed)?
            .flatten()
            .map(|e| e.file_name())
            .collect();
        names.sort();
        for name in names {
            let (Some(mut file), Some(text)) = (regular(&from.join(&name)), name.to_str()) else {
                continue;
            };
            let copy = own.join(&name);
            let mut to = fs::File::create(&copy).map_err(failed)?;
            std::io::copy(&mut file, &mut to).map_err(failed)?;
            let (digest, bytes) = measure(&copy).map_err(failed)?;
            let project = job.spec.project.clone();
            let id = ArtifactId { project, digest };
            self.client.upload(&copy, &id).map_err(later)?;
            outputs.push(Output {
                id,
                name: text.to_owned(),
                kind,
                bytes,
                label: job.label,
                made_from: job.spec.inputs.values().copied().collect(),
            });
        }
        remove(&own).map_err(failed)?;
        Ok(outputs)
    }

    /// A job that the hub has no orders for any more: it must not run on.
    fn clear(&mut self, id: JobId, seen: &BTreeMap<String, Seen>) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get(&id) else {
            return Ok(());
        };
        let task = &stay.record.task;
        let ended = matches!(stay.record.step, Step::Ended { .. });
        let runs = matches!(seen.get(&task.name), Some(Seen::Waiting | Seen::Running { .. }));
        if !ended && (runs || Instant::now() < stay.under_way) {
            return if runs { self.scheduler.cancel(task) } else { Ok(()) };
        }
        remove(&task.folder).map_err(failed)?;
        self.stays.remove(&id);
        Ok(())
    }

    // ---- small things ----------------------------------------------------------------------------------------

    fn put(&mut self, id: JobId, step: Step) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get_mut(&id) else {
            return Ok(());
        };
        let record = Record {
            step,
            busy: stay.busy,
            ..stay.record.clone()
        };
        let bytes = serde_json::to_vec(&record).expect("a record is plain data");
        write_whole(&record.task.folder.join("batch.json"), &bytes).map_err(failed)?;
        stay.record = record;
        Ok(())
    }

    fn finish(&mut self, id: JobId, exit: Exit, millis: u64) -> Result<(), Trouble> {
        self.put(id, Step::Ended { exit, millis })
    }

    /// Adds how busy the job's machines were, and now and then writes that down.
    fn watch(&mut self, id: JobId) {
        let Some(stay) = self.stays.get_mut(&id) else {
            return;
        };
        let Some(passed) = self.scheduler.busy(&stay.record.task) else {
            return;
        };
        stay.busy.watched += passed.watched;
        stay.busy.busy += passed.busy;
        if stay.busy.watched - stay.record.busy.watched >= NOTED_EVERY_MS {
            let step = stay.record.step.clone();
            // What isn't noted is held against nobody.
            let _ = self.put(id, step);
        }
    }

    /// Readings are totals: telling one twice charges nothing.
    fn meter(&mut self, id: JobId, millis: u64) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get_mut(&id) else {
            return Ok(());
        };
        if millis <= stay.metered {
            return Ok(());
        }
        let reading = Reading {
            attempt: stay.record.task.attempt,
            total: Usage {
                millis,
                watched: stay.busy.watched,
                busy: stay.busy.busy,
                ..Usage::default()
            },
        };
        match self.client.meter(id, &reading) {
            // A reading that is refused must not keep the job's end from coming.
            Ok(_) | Err(ApiError::Refused(_)) => {}
            Err(error) => return Err(later(error)),
        }
        stay.metered = millis;
        Ok(())
    }

    fn send_log(&mut self, id: JobId) -> Result<(), Trouble> {
        let Some(stay) = self.stays.get_mut(&id) else {
            return Ok(());
        };
        let task = &stay.record.task;
        loop {
            let bytes = task.log(stay.sent, LOG_PART).map_err(failed)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let have = match self.client.send_log(id, task.attempt, stay.sent, &bytes) {
                Ok(have) => have,
                Err(error) if error.status() == Some(409) => return Ok(()),
                Err(error) => return Err(later(error)),
            };
            if have <= stay.sent {
                return Ok(()); // the hub keeps no more of it
            }
            stay.sent = have;
        }
    }

    /// The name at this site; none is whoever runs the site.
    fn user_of(&self, person: &PersonId) -> Option<String> {
        match &self.users {
            Some(users) => Some(users.get(person).cloned().unwrap_or_default()),
            None => self.is_slurm.then(|| person.to_string()),
        }
    }

    fn find_user(&self, task: &Task) -> Result<User, Trouble> {
        let Some(name) = &task.user else {
            return own_user().map_err(failed);
        };
        if name.is_empty() {
            return Err(Trouble::Never(
                "whoever asked for it has no account at this site".into(),
            ));
        }
        user(name).ok_or_else(|| Trouble::Never(format!("there is no user {name} at this site")))
    }

    fn note_once(&mut self, why: String) {
        if self.said != why {
            let _ = self.tell.send(Word::Note(why.clone()));
            self.said = why;
        }
    }

    fn note_about(&mut self, id: JobId, what: &str) {
        if let Some(stay) = self.stays.get_mut(&id) {
            if stay.said == what {
                return;
            }
            what.clone_into(&mut stay.said);
        }
        let _ = self.tell.send(Word::Note(format!("{id}: {what}")));
    }
}

impl Stay {
    fn new(record: Record, under_way: Instant) -> Self {
        Self {
            busy: record.busy,
            record,
            under_way,
            tries: 0,
            unknown: None,
            sent: 0,
            metered: 0,
            reported: false,
            said: String::new(),
        }
    }

    /// Whether the scheduler hasn't known it for long.
    fn is_unknown(&mut self) -> bool {
        self.unknown.get_or_insert_with(Instant::now).elapsed() >= UNKNOWN
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn later(error: impl std::fmt::Display) -> Trouble {
    Trouble::Later(error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn failed(error: std::io::Error) -> Trouble {
    Trouble::Later(error.to_string())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
