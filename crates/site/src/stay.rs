//! A site's stay in a job: says what each step that [`crate::step`] names takes, one thing after the other.

mod private;

use crate::SiteError;
use crate::machine::{Answer, Do, Files, Way};
use crate::step::{Done, Step, next};
use api::{ApiError, Progress, SiteJob, ToUnmask};
use consortium::{
    ArtifactId, ArtifactKind, Codec, Command, Digest, Found, JobId, MaskKey, Mode, Output, Pace, Reading,
    Rejection, Report, Round, Seeds, SiteId, Update, Usage,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use sync::contract::{Accepted, JobFile, Rounds, Written};
use sync::{Came, HeldOut, JobFolder, Order, Said, Scale};

/// How often a program that ends without a word is started again.
const RESTARTS: u32 = 3;
/// How often people see a new number.
const PROGRESS_EVERY: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(crate) struct Stay {
    job: SiteJob,
    site: SiteId,
    done: Done,
    joined: Duration,
    usage: Usage,
    /// When each way's errand began, and the training under way.
    began: BTreeMap<Way, Duration>,
    trains_since: Duration,
    /// What the link carried since that was told.
    pace: Pace,
    /// The number of the program that runs, and of the last one that was started.
    program: Option<u64>,
    programs: u64,
    /// The folder is made.
    prepared: bool,
    /// Files that the step under way has seen to.
    here: BTreeSet<String>,
    /// Updates at hand, as [`Done::updates`] has their rounds.
    updates: VecDeque<AtHand>,
    /// What all agree on, as the program wrote it for others.
    saved: Option<Saved>,
    /// What was found of the updates that were inspected last.
    report: Option<Report>,
    /// The public half of the site's key in a private job.
    key: Option<MaskKey>,
    /// What was last asked for of its masks, and what they are made from.
    seeds: Option<(ToUnmask, Seeds)>,
    /// Applied rounds that the hub doesn't know of yet, with the digests reached.
    untold: Vec<(u32, Digest)>,
    outputs: Vec<Written>,
    /// Those of the outputs that the hub has the bytes of.
    brought: Vec<Output>,
    /// The number of the meter's last reading, and whether the hub has it.
    last_reading: Option<u64>,
    read: bool,
    progress: Option<Progress>,
    progress_told: Duration,
    ends: u32,
    failure: Option<String>,
}

/// An update as the program told it, and what the hub's store has of it.
#[derive(Debug, Clone)]
struct AtHand {
    file: String,
    tokens: u64,
    steps: u32,
    loss: f32,
    parameters: u64,
    stored: Option<(Digest, u64)>,
    training_ms: u64,
    /// What was told of the link with it.
    pace: Option<Pace>,
}

/// What all agree on after a round, and what the hub's store has of it.
#[derive(Debug, Clone)]
struct Saved {
    round: u32,
    file: String,
    stored: Option<(Digest, u64)>,
}

/// What follows an answer.
pub(crate) enum After {
    /// Another step.
    Again,
    /// The stay is over.
    Left,
}

impl Stay {
    /// `programs` were started at this site before.
    pub(crate) fn new(job: SiteJob, site: SiteId, programs: u64, now: Duration) -> Self {
        Self {
            job,
            site,
            done: Done::default(),
            joined: now,
            usage: Usage::default(),
            began: BTreeMap::new(),
            trains_since: now,
            pace: Pace::default(),
            program: None,
            programs,
            prepared: false,
            here: BTreeSet::new(),
            updates: VecDeque::new(),
            saved: None,
            report: None,
            key: None,
            seeds: None,
            untold: Vec::new(),
            outputs: Vec::new(),
            brought: Vec::new(),
            last_reading: None,
            read: false,
            progress: None,
            progress_told: now,
            ends: 0,
            failure: None,
        }
    }

    pub(crate) fn id(&self) -> JobId {
        self.job.id
    }

    /// How many rounds are applied here.
    pub(crate) fn committed(&self) -> u32 {
        self.done.committed.unwrap_or(0)
    }

    pub(crate) fn runs(&self, program: u64) -> bool {
        self.program == Some(program)
    }

    /// How many programs this site has started so far.
    pub(crate) fn programs(&self) -> u64 {
        self.programs
    }

    /// How the job stands now.
    pub(crate) fn update(&mut self, job: SiteJob) {
        self.job = job;
    }

    /// What the program said.
    pub(crate) fn hear(&mut self, said: Said, now: Duration, chores: &mut VecDeque<Do>) {
        match said {
            Said::Ready {
                committed,
                outer,
                fresh,
            } => {
                // Said again, what it was to begin with was no good.
                self.done.restored |= self.done.committed.is_some();
                self.done.busy = false;
                self.done.committed = Some(committed);
                self.done.fresh = fresh;
                // The word of the last round may have been lost with the program before, and without it
                // nobody may leave.
                if let Some(last) = committed.checked_sub(1) {
                    self.applied(last, &outer);
                }
            }
            Said::Note { message } => self.note(&message, chores),
            Said::Progress {
                round,
                step,
                loss,
                tokens,
                tokens_per_s,
            } => {
                self.progress = Some(Progress {
                    round,
                    step,
                    loss,
                    tokens,
                    tokens_per_s,
                });
            }
            Said::Update {
                round,
                file,
                tokens,
                steps,
                loss,
                parameters,
            } => {
                self.done.busy = false;
                self.done.fresh = false; // now it has something of its own
                // What was trained on top of a late update goes with it.
                if self.done.missed.is_none() {
                    self.updates.push_back(AtHand {
                        file,
                        tokens,
                        steps,
                        loss,
                        parameters,
                        stored: None,
                        training_ms: millis(now.saturating_sub(self.trains_since)),
                        pace: None,
                    });
                    self.done.updates.push(round);
                }
            }
            Said::Inspected { round, before, found } => {
                self.done.busy = false;
                self.inspected(round, before, &found);
            }
            Said::Saved { round, file } => {
                self.done.busy = false;
                self.done.unkept = true;
                self.done.saved_sent = false;
                self.saved = Some(Saved {
                    round,
                    file,
                    stored: None,
                });
            }
            Said::Committed { round, outer } => {
                self.done.busy = false;
                self.done.committed = Some(round + 1);
                self.done.restored = true;
                self.done.missed = self.done.missed.filter(|missed| *missed > round);
                self.done.collected = self.done.collected.split_off(&(round + 1));
                self.ends = 0;
                self.applied(round, &outer);
            }
            Said::Done { outputs } => {
                self.done.busy = false;
                self.done.finished = true;
                self.outputs = outputs;
            }
            Said::Failed { message } => self.failure = Some(message),
        }
    }

    /// The program has ended: as it should once the results are written, and else too early.
    pub(crate) fn mourn(&mut self, how: &str, chores: &mut VecDeque<Do>) {
        if self.done.finished {
            return;
        }
        self.note(&format!("the program ended: {how}"), chores);
        self.forget_program(chores);
        self.ends += 1;
        if self.ends > RESTARTS {
            self.failure
                .get_or_insert(format!("it ended {} times without a word: {how}", self.ends));
        }
    }

    /// What to do now, under that number; none if something must be heard first. What has to come before it goes into
    /// `chores`. A hub that is `away` is asked for nothing.
    pub(crate) fn next(
        &mut self,
        number: u64,
        away: bool,
        now: Duration,
        chores: &mut VecDeque<Do>,
    ) -> Option<Do> {
        self.done.away = away;
        let todo = self.choose(number, now, chores)?;
        if let Some(way) = todo.way() {
            self.done.under_way.insert(way, number);
            self.began.insert(way, now);
        }
        Some(todo)
    }

    /// The same for the meter, if there is an attempt and nothing before it on its way.
    pub(crate) fn meter(&mut self, number: u64, now: Duration) -> Option<Do> {
        let reading = self.reading(now).filter(|_| self.done.is_free(Way::Tell))?;
        self.done.under_way.insert(Way::Tell, number);
        Some(reading)
    }

    fn choose(&mut self, number: u64, now: Duration, chores: &mut VecDeque<Do>) -> Option<Do> {
        if now.saturating_sub(self.progress_told) >= PROGRESS_EVERY
            && self.done.is_free(Way::Tell)
            && let Some(progress) = self.progress.take()
        {
            self.progress_told = now;
            return Some(Do::Progress(self.job.id, progress));
        }
        if let (Some(message), Some(attempt)) = (self.failure.clone(), self.done.attempt) {
            if !self.done.is_free(Way::Ask) {
                return None;
            }
            chores.push_back(Do::Note(format!("{} failed: {message}", self.id())));
            let job = self.job.id;
            return Some(Do::Ask(Command::Fail {
                job,
                attempt,
                message,
            }));
        }
        loop {
            match next(&self.job, &self.done) {
                Step::Wait => return None,
                Step::Fetch => match self.fetch_inputs() {
                    Some(todo) => return Some(todo),
                    None => self.done.fetched = true,
                },
                Step::Join => return Some(Do::Ask(Command::Join { job: self.job.id })),
                Step::TellKey => return self.tell_key(),
                Step::Reset => {
                    let what = "the weights here differ from the others'; replaying all rounds";
                    self.note(what, chores);
                    self.forget_program(chores);
                    return Some(Do::Remove(self.job.id, Files::Checkpoint));
                }
                Step::Start => return Some(self.start()),
                Step::Tell => return self.tell(),
                Step::FetchAgreed => return self.fetch_agreed(),
                Step::Restore => return self.restore(),
                Step::TellLoss => {
                    return Some(Do::Ask(Command::Reset {
                        job: self.job.id,
                        attempt: self.done.attempt?,
                        applied: self.committed(),
                    }));
                }
                Step::Collect(round) => match self.collect(round) {
                    Some(todo) => return Some(todo),
                    None => drop(self.done.collected.insert(round)),
                },
                Step::Commit(round) => {
                    if let Some(why) = self.rejected(round) {
                        let what = format!("this site's update of round {round} doesn't count: {why}");
                        self.note(&what, chores);
                    }
                    return Some(self.commit(round));
                }
                Step::Gather => match self.gather() {
                    Some(todo) => return Some(todo),
                    None => self.done.gathered = self.job.inspect.as_ref().map(|inspect| inspect.round),
                },
                Step::Inspect => return self.inspect(),
                Step::Report => return self.report(),
                Step::Unmask => return self.unmask(),
                Step::Train(round, interval) => {
                    self.trains_since = now;
                    let open = self.job.open.iter().find(|open| open.number == round);
                    let codec = open.and_then(|open| open.codec).map(written_in);
                    return Some(self.order(Order::Train {
                        round,
                        first: interval.first,
                        end: interval.end,
                        codec,
                    }));
                }
                Step::Send(round) => {
                    let update = self.done.updates.iter().position(|other| *other == round)?;
                    let file = &self.updates.get(update)?.file;
                    return match self.job.spec.rounds.is_private() {
                        true => self.send_masked(round, file),
                        false => Some(self.send(file, false)),
                    };
                }
                Step::Contribute => return self.contribute(),
                Step::Forget => self.forget_update(*self.done.updates.first()?),
                Step::Drop => {
                    let first = self.done.updates.first().copied();
                    self.done.missed = first.filter(|round| *round >= self.committed());
                    self.forget_updates();
                    self.note("an update came too late; its samples go to others", chores);
                }
                Step::Save(round) => {
                    self.done.saved = Some(round);
                    return Some(self.order(Order::Save { round }));
                }
                Step::SendSaved => return Some(self.send(&self.saved.as_ref()?.file, true)),
                Step::Keep => return self.keep(),
                Step::Finish => return Some(self.order(Order::Finish)),
                Step::Leave => return self.leave(number, now),
            }
        }
    }

    /// How that was done. An error that comes back is for the site; those that only concern the job are not.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        asked: &Do,
        answer: Result<Answer, SiteError>,
        now: Duration,
        chores: &mut VecDeque<Do>,
    ) -> Result<After, SiteError> {
        let mut took = 0;
        if let Some(way) = asked.way() {
            took = millis(now.saturating_sub(self.began.get(&way).copied().unwrap_or(now)));
            if self.done.under_way.get(&way) != Some(&number) {
                return Ok(After::Again); // what it was for is forgotten
            }
            self.done.under_way.remove(&way);
        }
        match (asked, answer) {
            (Do::Ask(Command::Meter { .. }), answer) => return self.metered(number, answer),
            (Do::Ask(command), answer) => return self.granted(command, answer, now, chores),
            (Do::Upload { file, .. }, answer) => self.uploaded(file, took, answer)?,
            (Do::Fetch { file, .. }, Ok(Answer::Fetched(bytes))) => {
                self.here.insert(file.clone());
                let kept = self.job.checkpoint.as_ref().map(|kept| kept.round);
                if let Some(round) = kept.filter(|round| JobFolder::outer_file(*round) == *file) {
                    self.done.agreed_here = Some(round);
                }
                if self.done.fetched {
                    self.usage.received += bytes;
                }
                if file.starts_with("updates/") && bytes > 0 {
                    self.pace.received += bytes;
                    self.pace.receiving_ms += took;
                }
            }
            (Do::Prepare { .. }, Ok(_)) => self.prepared = true,
            (_, Ok(Answer::Key(key))) => self.key = Some(key),
            (Do::Seeds(_, asked), Ok(Answer::Seeds(seeds))) => self.seeds = Some((asked.clone(), seeds)),
            (Do::Mask { masked, .. }, Ok(_)) => drop(self.here.insert(masked.clone())),
            (Do::Sum { file, .. }, Ok(_)) => drop(self.here.insert(file.clone())),
            // Another try comes to the same, and none of it is the site's own trouble.
            (Do::Key(_) | Do::Seeds(..) | Do::Mask { .. } | Do::Sum { .. }, Err(error)) => {
                self.failure = Some(error.to_string());
            }
            // A folder that can't be removed now is removed or reused when the job comes here again, and
            // numbers for people's eyes are followed by others.
            (Do::Remove(_, Files::All | Files::Updates(_)) | Do::Progress(..), _) => {}
            (_, answer) => drop(answer?),
        }
        Ok(After::Again)
    }

    /// A request that tells the hub what the meter shows; none outside an attempt.
    pub(crate) fn reading(&self, now: Duration) -> Option<Do> {
        let millis = millis(now.saturating_sub(self.joined));
        let reading = Reading {
            attempt: self.done.attempt?,
            total: Usage { millis, ..self.usage },
        };
        let job = self.job.id;
        Some(Do::Ask(Command::Meter { job, reading }))
    }

    // ---- steps -----------------------------------------------------------------------------------------

    fn fetch_inputs(&mut self) -> Option<Do> {
        if !self.prepared {
            match toml::to_string(&self.job_file()) {
                Ok(text) => {
                    let job = self.job.id;
                    return Some(Do::Prepare { job, text });
                }
                Err(error) => {
                    self.failure = Some(format!("its settings can't be written as TOML: {error}"));
                    return None;
                }
            }
        }
        let inputs = self.job.spec.inputs.iter();
        let mut files = inputs.map(|(name, digest)| (format!("inputs/{name}"), *digest));
        let missing = files.find(|(file, _)| !self.here.contains(file));
        let Some((file, digest)) = missing else {
            self.here.clear();
            return None;
        };
        Some(self.fetch(digest, file, None))
    }

    fn job_file(&self) -> JobFile {
        let spec = &self.job.spec;
        let inputs = spec.inputs.iter();
        JobFile {
            name: spec.name.clone(),
            job: self.job.id.to_string(),
            site: self.site.to_string(),
            program: spec.program.clone(),
            label: self.job.label.to_string(),
            inputs: inputs
                .map(|(name, digest)| (name.clone(), digest.to_string()))
                .collect(),
            rounds: Rounds {
                count: spec.rounds.count,
                samples: spec.rounds.samples,
                fragments: spec.rounds.fragments,
                overlap: spec.rounds.overlap,
                // Where the links decide, each order to train says it; a program keeps what any of them can't tell.
                codec: written_in(spec.rounds.codec.fixed().unwrap_or_default()),
                clip: match &spec.rounds.mode {
                    Some(Mode::Private(clipping)) => Some(clipping.clip),
                    _ => None,
                },
            },
            settings: spec.settings.clone(),
        }
    }

    fn start(&mut self) -> Do {
        self.programs += 1;
        self.program = Some(self.programs);
        self.done.started = true;
        Do::Start {
            job: self.job.id,
            number: self.programs,
            program: self.job.spec.program.clone(),
        }
    }

    /// The next of a closed round's updates that is not here; none if all are.
    fn collect(&self, number: u32) -> Option<Do> {
        let round = self.closed(number)?;
        self.missing(number, &round.updates).or_else(|| self.sum(round))
    }

    /// The next of the updates to be inspected that is not here; none if all are.
    fn gather(&self) -> Option<Do> {
        let inspect = self.job.inspect.as_ref()?;
        self.missing(inspect.round, &inspect.updates)
    }

    fn missing(&self, round: u32, updates: &BTreeMap<SiteId, Update>) -> Option<Do> {
        updates.iter().find_map(|(site, update)| {
            let file = self.travels(round, site);
            (!self.here.contains(&file)).then(|| self.fetch(update.digest, file, Some(site)))
        })
    }

    fn closed(&self, number: u32) -> Option<&Round> {
        self.job.closed.iter().find(|round| round.number == number)
    }

    /// Why this site's update of a closed round doesn't count.
    fn rejected(&self, number: u32) -> Option<&Rejection> {
        self.closed(number)?.rejected.get(&self.site)
    }

    fn inspect(&mut self) -> Option<Do> {
        let inspect = self.job.inspect.as_ref()?;
        let round = inspect.round;
        let Some(Mode::Inspected(bounds)) = &self.job.spec.rounds.mode else {
            return None;
        };
        let held_out = bounds.held_out.as_ref().map(|input| HeldOut {
            input: input.clone(),
            samples: bounds.samples.into(),
        });
        let updates = inspect.updates.keys().map(|site| Came {
            site: site.to_string(),
            file: JobFolder::update_file(round, site.as_str()),
        });
        let updates = updates.collect();
        Some(self.order(Order::Inspect {
            round,
            updates,
            held_out,
        }))
    }

    fn report(&self) -> Option<Do> {
        Some(Do::Ask(Command::Inspect {
            job: self.job.id,
            round: self.done.inspected?,
            attempt: self.done.attempt?,
            report: self.report.clone()?,
        }))
    }

    fn commit(&mut self, number: u32) -> Do {
        let round = self.closed(number);
        // Of a private round each file tells the same, what all of them come to: the mean of that is that again.
        let sum = self
            .job
            .spec
            .rounds
            .is_private()
            .then(|| JobFolder::sum_file(number));
        let accepted = round.into_iter().flat_map(|round| {
            let updates = round.updates.iter();
            updates.map(|(site, update)| (site, update, round.scales.get(site)))
        });
        let updates = accepted.map(|(site, update, scale)| Accepted {
            site: site.to_string(),
            tokens: update.tokens,
            scale: scale.map_or(Scale::WHOLE, |scale| {
                u32::from(*scale).try_into().expect("both have the same whole")
            }),
            file: sum
                .clone()
                .unwrap_or_else(|| JobFolder::update_file(number, site.as_str())),
        });
        let updates = updates.collect();
        self.order(Order::Commit {
            round: number,
            updates,
        })
    }

    fn fetch_agreed(&self) -> Option<Do> {
        let kept = self.job.checkpoint.as_ref()?;
        Some(self.fetch(kept.digest, JobFolder::outer_file(kept.round), None))
    }

    fn restore(&mut self) -> Option<Do> {
        let kept = self.job.checkpoint.clone()?;
        Some(self.order(Order::Restore {
            round: kept.round,
            file: JobFolder::outer_file(kept.round),
            outer: kept.outer.to_string(),
        }))
    }

    /// The word that others may begin with it.
    fn keep(&self) -> Option<Do> {
        let saved = self.saved.as_ref()?;
        let (digest, bytes) = saved.stored?;
        Some(Do::Ask(Command::Checkpoint {
            job: self.job.id,
            round: saved.round,
            attempt: self.done.attempt?,
            digest,
            bytes,
        }))
    }

    /// The word that the bytes count.
    fn contribute(&mut self) -> Option<Do> {
        let (update, round) = (self.updates.front_mut()?, *self.done.updates.first()?);
        let (digest, bytes) = update.stored?;
        if self.job.spec.rounds.codec.fixed().is_none() && update.pace.is_none() {
            update.pace = Some(Pace {
                training_ms: update.training_ms,
                ..std::mem::take(&mut self.pace)
            });
        }
        Some(Do::Ask(Command::Contribute {
            job: self.job.id,
            round,
            attempt: self.done.attempt?,
            update: Update {
                digest,
                bytes,
                tokens: update.tokens,
                parameters: update.parameters,
                steps: update.steps,
                loss_micronats: (f64::from(update.loss) * 1e6) as i64,
                pace: update.pace,
            },
        }))
    }

    fn send(&self, file: &str, gives_way: bool) -> Do {
        Do::Upload {
            job: self.job.id,
            project: self.job.spec.project.clone(),
            file: file.to_owned(),
            gives_way,
        }
    }

    fn tell(&self) -> Option<Do> {
        let (round, outer) = *self.untold.first()?;
        Some(Do::Ask(Command::Applied {
            job: self.job.id,
            round,
            attempt: self.done.attempt?,
            outer,
        }))
    }

    /// First the results, then the meter's last reading, then the word that this was all.
    fn leave(&mut self, number: u64, now: Duration) -> Option<Do> {
        let job = self.job.id;
        let is_free = |way| self.done.is_free(way);
        let outputs = if self.job.results {
            &[]
        } else {
            self.outputs.as_slice()
        };
        if let Some(written) = outputs.get(self.brought.len()) {
            return is_free(Way::Send).then(|| self.send(&written.file, false));
        }
        if !self.read {
            let reading = self.reading(now).filter(|_| is_free(Way::Tell))?;
            self.last_reading = Some(number);
            return Some(reading);
        }
        if !is_free(Way::Ask) {
            return None;
        }
        Some(Do::Ask(Command::Leave {
            job,
            attempt: self.done.attempt?,
            outputs: if self.job.results {
                Vec::new()
            } else {
                self.brought.clone()
            },
        }))
    }

    /// `of` is the site that made it, which is asked first; then those that come after this one, so that not all ask
    /// the same.
    fn fetch(&self, digest: Digest, file: String, of: Option<&SiteId>) -> Do {
        let answers = self
            .job
            .peers
            .iter()
            .filter(|(_, contact)| contact.address.is_some());
        let mut peers: Vec<SiteId> = answers.map(|(site, _)| site.clone()).collect();
        peers.sort_by_key(|site| (Some(site) != of, *site < self.site));
        Do::Fetch {
            job: self.job.id,
            id: self.artifact(digest),
            file,
            peers,
        }
    }

    fn order(&mut self, order: Order) -> Do {
        self.done.busy = true;
        Do::Order(order)
    }

    // ---- answers ---------------------------------------------------------------------------------------

    /// The hub's answer to a request.
    fn granted(
        &mut self,
        command: &Command,
        answer: Result<Answer, SiteError>,
        now: Duration,
        chores: &mut VecDeque<Do>,
    ) -> Result<After, SiteError> {
        match (command, answer) {
            (Command::Join { .. }, Ok(Answer::Joined(attempt))) => {
                self.note(&format!("joined, attempt {attempt}"), chores);
                self.done.attempt = Some(attempt);
                self.done.key_told = false;
                self.joined = now;
                self.usage = Usage::default();
            }
            (Command::Applied { round, .. }, Ok(_)) => {
                self.untold.retain(|(other, _)| other != round);
                self.done.untold = !self.untold.is_empty();
                // Applied updates are in the weights; the hub keeps them for those who come later. A program that was
                // started again meanwhile may still need them, and other sites may ask for the last round's.
                if let Some(before) = round.checked_sub(1).filter(|_| self.committed() > *round) {
                    chores.push_back(Do::Remove(self.job.id, Files::Updates(before)));
                    let of_round = JobFolder::update_file(before, "");
                    let of_round = of_round.trim_end_matches(".update");
                    self.here.retain(|file| !file.starts_with(of_round));
                }
            }
            (Command::Contribute { round, .. }, Ok(_)) => {
                self.done.contributed.insert(*round);
                self.forget_update(*round);
            }
            // The round closed without it, or the stay is over: fresh orders tell which, and what follows.
            (Command::Contribute { round, .. }, Err(error)) => {
                // A hub that was started again doesn't know who sent the bytes.
                self.done.sent.remove(round);
                return Err(error);
            }
            (Command::Inspect { round, .. }, Ok(_)) => self.done.reported = Some(*round),
            (Command::TellKey { .. }, Ok(_)) => self.done.key_told = true,
            (Command::Unmask { .. }, Ok(_)) => {
                self.done.unmasked = self.seeds.as_ref().map(|(asked, _)| asked.clone());
            }
            (Command::Checkpoint { .. }, Ok(_)) => self.done.unkept = false,
            // Others may still join from an earlier one.
            (Command::Checkpoint { .. }, Err(error)) if is_conflict(&error) => self.done.unkept = false,
            (Command::Checkpoint { .. }, Err(error)) => {
                self.done.saved_sent = false;
                return Err(error);
            }
            (Command::Reset { .. }, Ok(_)) => {
                self.done.reset = true;
                let what = "what was its own is lost; it goes on from what all agree on";
                self.note(what, chores);
            }
            (Command::Leave { .. }, Ok(_)) => {
                self.note("left", chores);
                return Ok(After::Left);
            }
            (Command::Leave { .. }, Err(error)) => {
                self.brought.clear();
                self.read = false;
                return Err(error);
            }
            (Command::Fail { .. }, Ok(_)) => return Ok(After::Left),
            // This stay is over for the hub; the next is there to say so.
            (Command::Fail { .. }, Err(error)) if is_conflict(&error) => self.done.attempt = None,
            (_, answer) => drop(answer?),
        }
        Ok(After::Again)
    }

    /// Readings are totals: one that doesn't get through is in the next. Only the last must get through, and
    /// a reading that is refused must not keep the results from coming.
    fn metered(&mut self, number: u64, answer: Result<Answer, SiteError>) -> Result<After, SiteError> {
        if self.last_reading == Some(number) {
            match answer {
                Ok(_) | Err(SiteError::Api(ApiError::Refused(_))) => self.read = true,
                Err(error) => return Err(error),
            }
        }
        Ok(After::Again)
    }

    /// An update's bytes are at the hub, or an output's.
    fn uploaded(
        &mut self,
        file: &str,
        took: u64,
        answer: Result<Answer, SiteError>,
    ) -> Result<(), SiteError> {
        if let Some(saved) = self.saved.as_mut().filter(|saved| saved.file == file) {
            if let Answer::Uploaded(digest, bytes) = answer? {
                saved.stored = Some((digest, bytes));
                self.done.saved_sent = true;
                self.usage.sent += bytes;
            }
            return Ok(());
        }
        let updates = self.updates.iter_mut().zip(&self.done.updates);
        let (private, site) = (self.job.spec.rounds.is_private(), self.site.as_str());
        let is_of = |update: &AtHand, round: u32| match private {
            true => JobFolder::masked_file(round, site) == file,
            false => update.file == file,
        };
        let update = updates.into_iter().find(|(update, round)| is_of(update, **round));
        match (answer, update) {
            (Ok(Answer::Uploaded(digest, bytes)), Some((update, round))) => {
                update.stored = Some((digest, bytes));
                self.done.sent.insert(*round);
                self.pace.sent += bytes;
                self.pace.sending_ms += took;
                self.usage.sent += bytes;
            }
            (Ok(Answer::Uploaded(digest, bytes)), None) => {
                let written = self.outputs.iter().find(|written| written.file == file);
                let output = written.map(|written| Output {
                    id: self.artifact(digest),
                    name: written.name.clone(),
                    kind: kind(&written.kind),
                    bytes,
                    label: self.job.label,
                    made_from: self.job.spec.inputs.values().copied().collect(),
                });
                self.brought.extend(output);
            }
            (Err(SiteError::File { why, .. }), Some((update, _))) => {
                self.failure = Some(format!("its update {} can't be read: {why}", update.file));
            }
            (Err(error), None) if self.outputs.iter().any(|written| written.file == file) => {
                return Err(error);
            }
            // It was for an update that the hub has already.
            (_, None) => {}
            (answer, Some(_)) => drop(answer?),
        }
        Ok(())
    }

    // ---- small things ----------------------------------------------------------------------------------

    fn note(&self, message: &str, chores: &mut VecDeque<Do>) {
        chores.push_back(Do::Note(format!("{}: {message}", self.id())));
    }

    fn artifact(&self, digest: Digest) -> ArtifactId {
        ArtifactId {
            project: self.job.spec.project.clone(),
            digest,
        }
    }

    /// The hub is to hear what was reached by a round.
    fn applied(&mut self, round: u32, outer: &str) {
        match outer.parse() {
            Ok(digest) => self.untold.push((round, digest)),
            Err(error) => self.failure = Some(format!("{outer:?} is no digest: {error}")),
        }
        self.done.untold = !self.untold.is_empty();
    }

    /// The hub is to hear what the program found.
    fn inspected(&mut self, round: u32, before: Option<i64>, found: &[sync::Found]) {
        let found = found.iter().map(|of| {
            let site = of.site.parse::<SiteId>().ok()?;
            let (norm, loss) = (of.norm, of.loss);
            Some((site, Found { norm, loss }))
        });
        match found.collect() {
            Some(found) => self.report = Some(Report { before, found }),
            None => {
                self.failure = Some(format!(
                    "it tells of updates of round {round} whose sites are none"
                ));
            }
        }
        self.done.inspected = Some(round);
    }

    fn forget_update(&mut self, round: u32) {
        if let Some(place) = self.done.updates.iter().position(|other| *other == round) {
            self.updates.remove(place);
            self.done.updates.remove(place);
            self.done.sent.remove(&round);
        }
    }

    /// What is sent of them is no longer theirs: a round that is trained again has another update in the same file.
    fn forget_updates(&mut self) {
        self.updates.clear();
        self.done.updates.clear();
        self.done.sent.clear();
        self.done.under_way.remove(&Way::Send);
    }

    fn forget_program(&mut self, chores: &mut VecDeque<Do>) {
        chores.push_back(Do::Stop);
        self.program = None;
        self.updates.clear();
        self.saved = None;
        self.report = None;
        self.untold.clear();
        self.here.clear();
        let mut done = std::mem::take(&mut self.done);
        // The hub's answers still count; what was sent or fetched for the program doesn't.
        done.under_way
            .retain(|way, _| matches!(way, Way::Ask | Way::Tell));
        self.done = Done {
            under_way: done.under_way,
            away: done.away,
            fetched: done.fetched,
            attempt: done.attempt,
            key_told: done.key_told,
            contributed: done.contributed,
            ..Done::default()
        };
    }
}

fn written_in(codec: Codec) -> sync::Codec {
    match codec {
        Codec::Fp32 => sync::Codec::Fp32,
        Codec::Int8 => sync::Codec::Int8,
        Codec::Int4 => sync::Codec::Int4,
        Codec::Sparse => sync::Codec::Sparse,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn is_conflict(error: &SiteError) -> bool {
    matches!(error, SiteError::Api(error) if error.status() == Some(409))
}

fn kind(word: &str) -> ArtifactKind {
    match word {
        "dataset" => ArtifactKind::Dataset,
        "tokenizer" => ArtifactKind::Tokenizer,
        "model" => ArtifactKind::Model,
        "metrics" => ArtifactKind::Metrics,
        _ => ArtifactKind::Report,
    }
}

#[cfg(test)]
mod tests;
