use crate::SiteError;
use crate::stay::{After, Stay};
use api::{ApiError, Orders, Progress, ToUnmask};
use consortium::{ArtifactId, Command, Digest, JobId, MaskKey, ProjectId, Seeds, SiteId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use sync::private::Mask;
use sync::{Order, Said};

/// How often the site reads its meter for the hub.
const METER_EVERY: Duration = Duration::from_secs(2);
/// How long it leaves a hub alone that can't be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// What a site does, without I/O: it is told what is heard and what the time is, and says what to do. A
/// crash is nothing but a new machine.
///
/// Whoever runs it does at once what has no [`Way`], and answers before anything else. What goes to the hub or comes
/// from it is begun, and answered when it is done; meanwhile the machine says what else to do, so that no transfer
/// holds up the program, and hears what there is to hear. Times are what has passed since the machine was made.
///
/// ```
/// use site::{Do, Heard, Machine};
/// use std::time::Duration;
///
/// let mut machine = Machine::new("seoul".parse()?);
/// machine.hear(Heard::Orders(api::Orders::default()), Duration::ZERO);
/// assert_eq!(machine.next(Duration::ZERO), None); // no jobs, nothing to do
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Machine {
    site: SiteId,
    /// At most one, because the site's machines are held by one job.
    stay: Option<Stay>,
    /// Jobs that were left; late orders may still name them.
    left: BTreeSet<JobId>,
    /// Until when a hub that couldn't be reached is left alone.
    pause: Option<Duration>,
    metered: Duration,
    /// How many programs were started here, so that a late word of an earlier one is told apart.
    programs: u64,
    /// What is to be done before the next step is taken.
    chores: VecDeque<Do>,
    /// That step, with its number.
    step: Option<(u64, Do)>,
    /// The last number that was given to something to do.
    numbers: u64,
    /// What was said to do and is not answered yet.
    asked: BTreeMap<u64, Do>,
}

/// What a machine hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Fresh orders.
    Orders(Orders),
    /// The program of that number said something.
    Said(u64, Said),
    /// The program of that number has ended, and how.
    Ended(u64, String),
}

/// What a machine says to do. Files are named from the job's folder, as in [`sync::contract`].
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each way to the hub at a time"
)]
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the nouns of the glossary")]
pub enum Do {
    /// Ask the hub. Answered with [`Answer::Joined`] if it was to join, else with [`Answer::Done`].
    Ask(Command),
    /// Make sure that the artifact lies in a file, whole. Answered with [`Answer::Fetched`].
    Fetch {
        job: JobId,
        id: ArtifactId,
        file: String,
        /// Sites that may have it, to be asked before the hub is, in this order.
        peers: Vec<SiteId>,
    },
    /// Send a file's bytes to the hub's store. Answered with [`Answer::Uploaded`].
    Upload {
        job: JobId,
        project: ProjectId,
        file: String,
        /// What else is sent goes first, even if it comes later.
        gives_way: bool,
    },
    /// Make sure that the site has a secret for the job's masks. Answered with [`Answer::Key`].
    Key(JobId),
    /// Put the site's masks on an update, in a file of its own. If that is there, it stays as it is: two updates under the
    /// same masks would tell their difference.
    Mask {
        job: JobId,
        round: u32,
        site: SiteId,
        keys: BTreeMap<SiteId, MaskKey>,
        file: String,
        masked: String,
    },
    /// Say what the site's masks of a round are made from. Answered with [`Answer::Seeds`].
    Seeds(JobId, ToUnmask),
    /// Write what updates under masks come to.
    Sum {
        job: JobId,
        masked: Vec<String>,
        lifted: Vec<Mask>,
        /// Samples of a whole share, and of all that came.
        of: u64,
        samples: u64,
        file: String,
    },
    /// Tell the hub how the job gets on: for people's eyes alone, so it may get lost.
    Progress(JobId, Progress),
    /// Make the job's folder, with this `job.toml`.
    Prepare { job: JobId, text: String },
    /// Start a program; it is known by the number from then on.
    Start {
        job: JobId,
        number: u64,
        program: String,
    },
    /// Give the program an order. One that has ended doesn't hear it.
    Order(Order),
    /// End the program, if there is one.
    Stop,
    /// Remove files, if they are there.
    Remove(JobId, Files),
    /// Tell people.
    Note(String),
    /// Get the orders once more, even if they are the known ones.
    Refresh,
}

/// The ways between a site and its hub. Each carries one thing at a time, and none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Requests on whose answers it depends what follows.
    Ask,
    /// What may get lost, because more of it follows: how a job gets on, and meter readings.
    Tell,
    /// Updates and results, to the hub.
    Send,
    /// What all agree on, to the hub, for those who join later. It gives way to [`Way::Send`].
    Keep,
    /// Artifacts, from other sites or the hub.
    Fetch,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ask, Self::Tell, Self::Send, Self::Keep, Self::Fetch];
}

impl Do {
    /// The way that it takes; none is done here and at once.
    pub fn way(&self) -> Option<Way> {
        match self {
            Self::Ask(Command::Meter { .. }) | Self::Progress(..) => Some(Way::Tell),
            Self::Ask(_) => Some(Way::Ask),
            Self::Fetch { .. } | Self::Sum { .. } => Some(Way::Fetch),
            Self::Upload { gives_way: false, .. } | Self::Mask { .. } => Some(Way::Send),
            Self::Upload { gives_way: true, .. } => Some(Way::Keep),
            Self::Prepare { .. }
            | Self::Key(_)
            | Self::Seeds(..)
            | Self::Start { .. }
            | Self::Order(_)
            | Self::Stop
            | Self::Remove(..)
            | Self::Note(_)
            | Self::Refresh => None,
        }
    }
}

/// What is removed of a job's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// The program's own checkpoint.
    Checkpoint,
    /// Every site's update of a round.
    Updates(u32),
    /// All of it.
    All,
}

/// How something was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As was asked.
    Done,
    /// The site is in the job, in that attempt.
    Joined(u32),
    /// So many bytes had to be fetched; none if they were there.
    Fetched(u64),
    /// The hub has the bytes: their digest and number.
    Uploaded(Digest, u64),
    /// The public half of the site's key.
    Key(MaskKey),
    /// What its masks are made from.
    Seeds(Seeds),
}

impl Machine {
    /// A site that has just started.
    pub fn new(site: SiteId) -> Self {
        Self {
            site,
            stay: None,
            left: BTreeSet::new(),
            pause: None,
            metered: Duration::ZERO,
            programs: 0,
            chores: VecDeque::new(),
            step: None,
            numbers: 0,
            asked: BTreeMap::new(),
        }
    }

    /// How many rounds are applied here: earlier ones need not be in the orders.
    pub fn committed(&self) -> u32 {
        self.stay.as_ref().map_or(0, Stay::committed)
    }

    /// How long it may be left alone if nothing is heard.
    pub fn patience(&self, now: Duration) -> Duration {
        let next = self.pause.unwrap_or(self.metered + METER_EVERY);
        next.saturating_sub(now).max(Duration::from_millis(10))
    }

    /// Tells it what was heard.
    pub fn hear(&mut self, heard: Heard, now: Duration) {
        let (stay, chores) = (&mut self.stay, &mut self.chores);
        match heard {
            Heard::Orders(orders) => self.take(orders, now),
            Heard::Said(program, said) => {
                if let Some(stay) = stay.as_mut().filter(|stay| stay.runs(program)) {
                    stay.hear(said, now, chores);
                }
            }
            Heard::Ended(program, how) => {
                if let Some(stay) = stay.as_mut().filter(|stay| stay.runs(program)) {
                    stay.mourn(&how, chores);
                }
            }
        }
    }

    /// The next thing to do, with the number that its answer is to have; none if something must be heard first.
    pub fn next(&mut self, now: Duration) -> Option<(u64, Do)> {
        let (number, todo) = self.choose(now)?;
        self.asked.insert(number, todo.clone());
        Some((number, todo))
    }

    /// Tells it how the thing of that number was done. An error that comes back is one that no waiting mends.
    pub fn answer(
        &mut self,
        number: u64,
        answer: Result<Answer, SiteError>,
        now: Duration,
    ) -> Result<(), SiteError> {
        let (Some(asked), Some(stay)) = (self.asked.remove(&number), &mut self.stay) else {
            return Ok(()); // it was for a job that has ended here
        };
        match stay.answered(number, &asked, answer, now, &mut self.chores) {
            Ok(After::Again) => Ok(()),
            Ok(After::Left) => {
                self.left.insert(stay.id());
                self.clear();
                Ok(())
            }
            Err(error) => self.trouble(error, now),
        }
    }

    /// The meter's last reading, for a site that stops.
    pub fn reading(&self, now: Duration) -> Option<Do> {
        self.stay.as_ref()?.reading(now)
    }

    fn take(&mut self, orders: Orders, now: Duration) {
        let mut jobs = orders.jobs.into_iter();
        let job = jobs.find(|job| !self.left.contains(&job.id));
        match (&mut self.stay, job) {
            (Some(stay), Some(job)) if stay.id() == job.id => stay.update(job),
            (stay, job) => {
                if let Some(ended) = stay {
                    let note = format!("{} has ended here", ended.id());
                    self.chores.push_back(Do::Note(note));
                    self.clear();
                }
                self.stay = job.map(|job| Stay::new(job, self.site.clone(), self.programs, now));
            }
        }
    }

    fn choose(&mut self, now: Duration) -> Option<(u64, Do)> {
        if let Some(chore) = self.chores.pop_front() {
            return Some((self.number(), chore));
        }
        if let Some(step) = self.step.take() {
            return Some(step);
        }
        self.pause = self.pause.filter(|until| now < *until);
        let away = self.pause.is_some();
        let number = self.number();
        let stay = self.stay.as_mut();
        self.step = stay
            .and_then(|stay| stay.next(number, away, now, &mut self.chores))
            .map(|todo| (number, todo));
        // What a step needs first comes before it.
        if let Some(chore) = self.chores.pop_front() {
            return Some((self.number(), chore));
        }
        if self.step.is_some() {
            return self.step.take();
        }
        if away || now.saturating_sub(self.metered) < METER_EVERY {
            return None;
        }
        self.metered = now;
        Some((number, self.stay.as_mut()?.meter(number, now)?))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Stops the program and removes the job's folder: results stay at the hub, not at the sites.
    fn clear(&mut self) {
        if let Some(stay) = self.stay.take() {
            self.programs = stay.programs();
            self.asked.clear();
            self.step = None;
            self.chores.extend([Do::Stop, Do::Remove(stay.id(), Files::All)]);
        }
    }

    /// A hub that is away is waited for. A no concerns this job alone; the orders that follow will tell.
    fn trouble(&mut self, error: SiteError, now: Duration) -> Result<(), SiteError> {
        self.chores.push_back(Do::Note(error.to_string()));
        match error {
            SiteError::Api(ApiError::Refused(problem)) if problem.status == 401 => {
                Err(SiteError::Api(ApiError::Refused(problem)))
            }
            SiteError::File { .. } | SiteError::Masks(_) | SiteError::Exchange(_) => Err(error),
            SiteError::Api(_) | SiteError::NotASite(_) => {
                self.pause = Some(now + PAUSE);
                self.chores.push_back(Do::Refresh);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_without_jobs_looks_at_the_clock_as_seldom_as_it_may() {
        let mut machine = Machine::new("seoul".parse().unwrap());
        let mut now = Duration::ZERO;
        for _ in 0..5 {
            assert_eq!(machine.next(now), None);
            assert_eq!(machine.patience(now), METER_EVERY);
            now += METER_EVERY;
        }
    }
}
