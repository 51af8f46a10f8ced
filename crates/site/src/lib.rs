//! The process beside a site's machines. It fetches its orders from the hub, runs programs, takes part in
//! rounds and reads its own meter. It needs no inbound port: nothing ever dials in.
//!
//! ```no_run
//! use site::{Site, SiteConfig};
//! let client = api::Client::new("http://127.0.0.1:7777", "khub_...")?;
//! let programs = vec!["khub".into(), "program".into()];
//! let site = Site::new(SiteConfig { client, folder: "site-data".into(), programs, threads: None })?;
//! site.run(&|line| println!("{line}"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The hub never tells a site a single step. The orders say how a job stands; `step.rs` compares that with
//! what the site has done and names the next step, so that a lost message, a restart of either side or an
//! order heard twice lead to the same place. `stay.rs` takes the steps.

mod files;
mod poll;
mod program;
mod stay;
mod step;

use api::{ApiError, Client, Orders};
use consortium::{Actor, JobId, SiteId};
use poll::Poller;
use stay::Stay;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use sync::Said;

/// How often the site reads its meter for the hub.
const METER_EVERY: Duration = Duration::from_secs(2);
/// How long it leaves a hub alone that can't be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// How a site works.
pub struct SiteConfig {
    /// The hub, with the site's credential.
    pub client: Client,
    /// Where the site keeps its jobs.
    pub folder: PathBuf,
    /// The command that starts programs; a program's name and `--folder DIR` are added to it.
    pub programs: Vec<OsString>,
    /// Threads for a program; none takes all.
    pub threads: Option<usize>,
}

/// Why a site can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The hub refuses it for good.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The credential is a person's.
    #[error("this credential speaks for {0}, not for a site")]
    NotASite(String),
    /// Its own files.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        why: std::io::Error,
    },
}

/// What the site's one thread hears of.
pub(crate) enum Heard {
    /// Fresh orders.
    Orders(Orders),
    /// The hub refuses to give any.
    Refused(ApiError),
    /// The program of that number said something.
    Said(u64, Said),
    /// The program of that number has ended.
    Ended(u64, String),
    /// Somebody wants the site to stop.
    Stop,
}

/// A site, ready to run.
pub struct Site {
    config: SiteConfig,
    id: SiteId,
    heard: Receiver<Heard>,
    tell: Sender<Heard>,
}

impl Site {
    /// Asks the hub whom the credential speaks for.
    pub fn new(config: SiteConfig) -> Result<Self, SiteError> {
        let id = match config.client.me()?.actor {
            Actor::Site(id) => id,
            other => return Err(SiteError::NotASite(other.to_string())),
        };
        let jobs = config.folder.join("jobs");
        std::fs::create_dir_all(&jobs).map_err(|why| SiteError::File { path: jobs, why })?;
        let (tell, heard) = channel();
        Ok(Self {
            config,
            id,
            heard,
            tell,
        })
    }

    /// Its name.
    pub fn id(&self) -> &SiteId {
        &self.id
    }

    /// A handle that stops the site from another thread.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let tell = self.tell.clone();
        // A site that has stopped already hears nothing.
        move || drop(tell.send(Heard::Stop))
    }

    /// Works until it is stopped, or until the hub refuses it for good. `log` gets a line for people.
    pub fn run(self, log: &dyn Fn(&str)) -> Result<(), SiteError> {
        let poller = Poller::start(self.config.client.clone(), self.id.clone(), self.tell.clone());
        let mut desk = Desk {
            site: &self,
            poller,
            log,
            stay: None,
            left: BTreeSet::new(),
            pause: None,
            metered: Instant::now(),
        };
        log(&format!("site {} is ready", self.id));
        loop {
            match self.heard.recv_timeout(desk.patience()) {
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    desk.read_meter();
                    return Ok(());
                }
                Ok(Heard::Refused(error)) => return Err(error.into()),
                Ok(Heard::Orders(orders)) => desk.take(orders),
                Ok(Heard::Said(program, said)) => desk.hear(program, said),
                Ok(Heard::Ended(program, how)) => desk.mourn(program, &how),
                Err(RecvTimeoutError::Timeout) => {}
            }
            desk.work()?;
        }
    }
}

/// What lies on the site's desk: at most one stay in a job, because its machines are held by one job.
struct Desk<'a> {
    site: &'a Site,
    poller: Poller,
    log: &'a dyn Fn(&str),
    stay: Option<Stay>,
    /// Jobs that were left; late orders may still name them.
    left: BTreeSet<JobId>,
    /// Until when a hub that couldn't be reached is left alone.
    pause: Option<Instant>,
    metered: Instant,
}

impl Desk<'_> {
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let meter = (self.metered + METER_EVERY).saturating_duration_since(now);
        let pause = self
            .pause
            .map_or(meter, |until| until.saturating_duration_since(now));
        meter.min(pause).max(Duration::from_millis(10))
    }

    fn take(&mut self, orders: Orders) {
        let mut jobs = orders.jobs.into_iter();
        let job = jobs.find(|job| !self.left.contains(&job.id));
        match (&mut self.stay, job) {
            (Some(stay), Some(job)) if stay.id() == job.id => stay.update(job),
            (stay, job) => {
                if let Some(ended) = stay.take() {
                    (self.log)(&format!("{} has ended here", ended.id()));
                    ended.clear();
                }
                *stay = job.map(|job| Stay::new(job, self.site));
                self.poller.wants(0);
            }
        }
    }

    fn hear(&mut self, program: u64, said: Said) {
        if let Some(stay) = self.stay.as_mut().filter(|stay| stay.runs(program)) {
            stay.hear(said, self.log);
        }
    }

    fn mourn(&mut self, program: u64, how: &str) {
        if let Some(stay) = self.stay.as_mut().filter(|stay| stay.runs(program)) {
            stay.mourn(how, self.log);
        }
    }

    /// Takes steps until there is nothing to do but wait.
    fn work(&mut self) -> Result<(), SiteError> {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.pause = None;
        while let Some(stay) = &mut self.stay {
            match stay.step(self.site, self.log) {
                Ok(stay::After::Again) => self.poller.wants(stay.committed()),
                Ok(stay::After::Wait) => break,
                Ok(stay::After::Left) => {
                    self.left.insert(stay.id());
                    if let Some(stay) = self.stay.take() {
                        stay.clear();
                    }
                }
                Err(error) => return self.trouble(error),
            }
        }
        if self.metered.elapsed() >= METER_EVERY {
            self.read_meter();
        }
        Ok(())
    }

    fn read_meter(&mut self) {
        self.metered = Instant::now();
        if let Some(stay) = &self.stay {
            // Readings are totals: one that doesn't get through is in the next.
            let _ = stay.meter(&self.site.config.client);
        }
    }

    /// A hub that is away is waited for. A no concerns this job alone; the orders that follow will tell.
    fn trouble(&mut self, error: SiteError) -> Result<(), SiteError> {
        (self.log)(&error.to_string());
        match error {
            SiteError::Api(ApiError::Refused(problem)) if problem.status == 401 => {
                Err(SiteError::Api(ApiError::Refused(problem)))
            }
            SiteError::File { .. } => Err(error),
            SiteError::Api(_) | SiteError::NotASite(_) => {
                self.pause = Some(Instant::now() + PAUSE);
                self.poller.refresh();
                Ok(())
            }
        }
    }
}
