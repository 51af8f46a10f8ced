//! The process that a site starts as a child, orders about by lines and hears from by lines
//! ([`sync::contract`]).
//!
//! ```text
//! Ready    a checkpoint was found and is this job's, or the beginning
//! Train    steps on this site's own weights, then how far they came in the round's fragment, as an update
//! Inspect  everyone's updates of a round, each by itself, before any of them counts
//! Commit   everyone's updates of a round, one outer step; an update that did not count is undone
//! Save     what all agree on, for those who join later
//! Restore  what others agree on, in place of the rounds before
//! Finish   the results, which the programme makes of what is agreed
//! ```
//!
//! A round's training is a function of this site's weights and moments and of the interval. The learning rate
//! follows the round's number, not what this site has lived through. So a site that was killed and asked
//! again writes the same bytes, and one that joins late has the others' rate.

use crate::settings::{BadSetting, JobSettings};
use crate::state::{Agreed, State, Trained, Unusable};
use nn::{CheckpointError, Model, Network, write_whole};
use rayon::ThreadPoolBuilder;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use sync::contract::{BadLine, JobFile, Written};
use sync::{
    Accepted, Came, Codec, CodecError, Findings, HeldOut, JobFolder, Order, OuterConfig, OuterError, Said,
    fragments, inspect,
};
use train::{Flow, Moments, Report, Step, TrainConfig, Trainer};

/// What a programme brings to a job.
pub trait Programme: Sized + Send {
    /// What a job may set.
    type Settings: JobSettings + Send;
    /// What is trained.
    type Network: Network;

    /// Opens what the job reads, and `own`, the folder of what the site keeps for this programme, if it keeps any; the
    /// settings have passed their check. What is said about an input that can't be used is said now, not after the
    /// last round.
    ///
    /// # Errors
    /// Which input is wrong, and what to do about it.
    fn open(folder: &JobFolder, job: &JobFile<Self::Settings>, own: Option<&Path>) -> Result<Self, RunError>;

    /// The network, with its first weights: the same at every site.
    ///
    /// # Errors
    /// If the settings make none.
    fn model(&self) -> Result<Model<Self::Network>, RunError>;

    /// Trains on positions `first..end` of the data order, a batch a step.
    ///
    /// # Errors
    /// What the trainer has; [`train::Error::Stopped`] if `after_step` says so.
    fn train(
        &self,
        trainer: &mut Trainer<Self::Network>,
        first: u64,
        end: u64,
        after_step: &mut dyn FnMut(&Step) -> Flow,
    ) -> Result<Report, train::Error>;

    /// Mean loss of `model` on samples that nobody trains on, nats for what is counted: always the same ones.
    ///
    /// # Errors
    /// If there are none, and what to do about it.
    fn held_out(&self, model: &Model<Self::Network>, samples: &HeldOut) -> Result<f64, RunError>;

    /// Writes the results of `model`, whose weights are those agreed on, and tells where they are. Asked again, it
    /// writes the same bytes again.
    ///
    /// # Errors
    /// If they can't be made or written.
    fn finish(&self, agreed: &Agreed, model: &Model<Self::Network>) -> Result<Vec<Written>, RunError>;
}

/// Does the job in `folder`, with what the site keeps in `own`: obeys `orders` and answers through `said`, a line each, until the results are
/// written or the orders end, which means stop at once: at most one step is finished.
///
/// # Errors
/// An error is said, as [`Said::Failed`], and returned. What was committed before it is safe.
pub fn run<P: Programme>(
    folder: &JobFolder,
    own: Option<&Path>,
    orders: Box<dyn BufRead + Send>,
    said: &mut Sink<'_>,
) -> Result<(), RunError> {
    let result = obey::<P>(folder, own, orders, said);
    if let Err(error) = &result {
        let message = error.to_string();
        // Nobody may be left to hear it; the caller has the error.
        let _ = say(said, &Said::Failed { message });
    }
    result
}

/// Why it can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that can't be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A `job.toml` that isn't one, or has a setting there is none of.
    #[error("{path}: {what}")]
    JobFile {
        /// Which file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        what: String,
    },
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// Inputs that the programme can't use.
    #[error("{0}")]
    Inputs(String),
    /// A model that can't be built.
    #[error(transparent)]
    Model(#[from] nn::Error),
    /// Training that can't go on.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// A checkpoint that can't be written, read or taken for this job's.
    #[error("{0}")]
    Checkpoint(String),
    /// An update that can't be applied.
    #[error("round {round}: {file}: {what}")]
    Update {
        /// Of which round.
        round: u32,
        /// Which file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A round that can't be applied.
    #[error("round {round}: {error}")]
    Round {
        /// Which.
        round: u32,
        /// Why.
        error: OuterError,
    },
    /// A training whose update can't be written down.
    #[error("round {round}: {error}")]
    Diverged {
        /// Which.
        round: u32,
        /// Why.
        error: CodecError,
    },
    /// An order at the wrong time.
    #[error("{0}")]
    Order(String),
    /// A line that is no order.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// Standard input or output is broken.
    #[error("the line to the site: {0}")]
    Pipe(io::Error),
    /// The system gives no threads.
    #[error("no threads to compute with: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl From<CheckpointError> for RunError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

impl From<Unusable> for RunError {
    fn from(error: Unusable) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

fn obey<P: Programme>(
    folder: &JobFolder,
    own: Option<&Path>,
    orders: Box<dyn BufRead + Send>,
    said: &mut Sink<'_>,
) -> Result<(), RunError> {
    let job = read_job::<P::Settings>(&folder.job())?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(job.settings.threads())
        .build()?;
    let orders = Orders::listen(orders);
    pool.install(move || {
        let mut process = Process::<P>::start(P::open(folder, &job, own)?, folder, &job, said)?;
        while let Some(order) = process.wait(&orders) {
            match order? {
                Order::Train {
                    round,
                    first,
                    end,
                    codec,
                } => process.train(round, (first, end), codec, &orders)?,
                Order::Commit { round, updates } => process.commit(round, &updates)?,
                Order::Inspect {
                    round,
                    updates,
                    held_out,
                } => process.inspect(round, &updates, held_out.as_ref())?,
                Order::Save { round } => process.save(round)?,
                Order::Restore { round, file, outer } => process.restore(round, &file, &outer)?,
                Order::Finish => return process.finish(),
            }
        }
        Ok(())
    })
}

/// Where answers go.
type Sink<'a> = dyn Write + Send + 'a;

/// A job under way.
struct Process<'a, P: Programme> {
    folder: &'a JobFolder,
    programme: P,
    /// The settings as they are written down, defaults and all.
    job: JobFile,
    training: TrainConfig,
    outer: OuterConfig,
    trainer: Trainer<P::Network>,
    /// What the rounds send of the model, in turn.
    fragments: Vec<Range<usize>>,
    state: State,
    /// It began with nothing of its own.
    fresh: bool,
    voice: Voice<'a>,
}

impl<'a, P: Programme> Process<'a, P> {
    fn start(
        programme: P,
        folder: &'a JobFolder,
        job: &JobFile<P::Settings>,
        said: &'a mut Sink<'a>,
    ) -> Result<Self, RunError> {
        let (training, outer) = (job.settings.training(job.rounds), job.settings.outer());
        let job = written_down(job);
        let trainer = Trainer::new(programme.model()?, training.clone())?;
        let mut voice = Voice::new(said, &folder.metrics())?;
        let nothing_yet = &trainer.optimizer.moments;
        let found = match State::load(&state_file(folder), &job, outer, nothing_yet) {
            Err(Unusable::Damaged(what)) => {
                let message = format!("{what}. Starting over; the rounds that are closed can be replayed");
                voice.say(&Said::Note { message })?;
                None
            }
            other => other?,
        };
        let fresh = found.is_none();
        let state = match found {
            Some(state) => state,
            None => {
                let agreed = Agreed::new(trainer.model.params.clone(), outer);
                State::new(agreed, job.rounds.codec, nothing_yet.clone())
            }
        };
        let tensors = &trainer.model.network.layout().tensors;
        let sizes: Vec<usize> = tensors.iter().map(|tensor| tensor.range.len()).collect();
        let mut process = Self {
            folder,
            programme,
            fragments: fragments(&sizes, job.rounds.fragments as usize),
            job,
            training,
            outer,
            trainer,
            state,
            fresh,
            voice,
        };
        process.say_ready()?;
        Ok(process)
    }

    fn say_ready(&mut self) -> Result<(), RunError> {
        self.voice.say(&Said::Ready {
            committed: self.state.committed(),
            outer: self.state.agreed.outer.digest(),
            fresh: self.fresh,
        })
    }

    /// The next order; the time until it comes is time without work.
    fn wait(&mut self, orders: &Orders) -> Option<Result<Order, RunError>> {
        let since = Instant::now();
        let order = orders.next();
        self.voice.waited += since.elapsed();
        order
    }

    /// Trains, unless that is done already, and says where the update lies. Says nothing if the orders end.
    fn train(
        &mut self,
        round: u32,
        (first, end): (u64, u64),
        codec: Option<Codec>,
        orders: &Orders,
    ) -> Result<(), RunError> {
        self.check_train(round, first, end)?;
        let file = JobFolder::update_file(round, &self.job.site);
        if let Some(place) = self.state.local.place(round) {
            let trained = &self.state.trained[place];
            if trained.interval == (first, end) && self.is_whole(&file) {
                return self.voice.say(&trained.answer);
            }
            self.state.undo(place);
        }
        // The file is gone before the state changes and comes after it, so if there is one, it is the state's.
        let path = self.folder.file(&file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => (),
        }
        let Some(report) = self.take_steps(round, first, end, orders)? else {
            return Ok(());
        };
        let (state, params) = (&mut self.state, &self.trainer.model.params);
        let range = self.job.rounds.sends(round, &self.fragments);
        let update = state.local.send(
            &state.agreed.outer,
            round,
            range,
            params.clone(),
            self.job.rounds.form(codec, (first, end)),
        );
        let update = update.map_err(|error| RunError::Diverged { round, error })?;
        let answer = Said::Update {
            round,
            file,
            tokens: report.tokens,
            steps: report.steps,
            loss: report.loss,
            parameters: params.len() as u64,
        };
        let after = self.trainer.optimizer.moments.clone();
        self.state.trained.push(Trained {
            interval: (first, end),
            answer: answer.clone(),
            before: std::mem::replace(&mut self.state.moments, after),
        });
        self.state.save(&state_file(self.folder), &self.job)?;
        write_whole(&path, &update).map_err(at(&path))?;
        self.voice.say(&answer)
    }

    fn check_train(&self, round: u32, first: u64, end: u64) -> Result<(), RunError> {
        let committed = self.state.committed();
        let overlap = self.job.rounds.overlap;
        if round < committed || round > committed.saturating_add(overlap) {
            return Err(RunError::Order(format!(
                "told to train round {round} when {committed} rounds are applied: with an overlap of {overlap} \
                 it takes round {committed} to {}",
                committed.saturating_add(overlap)
            )));
        }
        let (samples, batch) = (self.job.rounds.samples, self.training.batch as u64);
        let asked = end.saturating_sub(first);
        if !(1..=samples).contains(&asked) || !asked.is_multiple_of(batch) {
            return Err(RunError::Order(format!(
                "told to train on samples {first}..{end}: a round takes whole batches of {batch}, \
                 {samples} samples at most"
            )));
        }
        Ok(())
    }

    /// The steps of a round, from where this site is. None if the orders ended meanwhile.
    fn take_steps(
        &mut self,
        round: u32,
        first: u64,
        end: u64,
        orders: &Orders,
    ) -> Result<Option<Report>, RunError> {
        let Self {
            programme,
            trainer,
            state,
            voice,
            ..
        } = self;
        trainer.model.params.copy_from_slice(state.local.params());
        trainer.optimizer.moments.clone_from(&state.moments);
        trainer.step = u64::from(round) * (self.job.rounds.samples / self.training.batch as u64);
        let mut broken = None;
        voice.begin();
        let mut after_step = |step: &Step| {
            broken = voice.step(round, step).err();
            if broken.is_some() || orders.ended() {
                Flow::Stop
            } else {
                Flow::GoOn
            }
        };
        let outcome = programme.train(trainer, first, end, &mut after_step);
        match (broken, outcome) {
            (Some(error), _) => Err(error),
            (None, Ok(report)) => Ok(Some(report)),
            (None, Err(train::Error::Stopped)) => Ok(None),
            (None, Err(error)) => Err(error.into()),
        }
    }

    fn is_whole(&self, file: &str) -> bool {
        let bytes = fs::read(self.folder.file(file));
        bytes.is_ok_and(|bytes| JobFolder::is_whole(&bytes))
    }

    /// Applies a round, saves it, and says what came out; says it again for a round that is applied already.
    fn commit(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), RunError> {
        let committed = self.state.committed();
        if round > committed {
            return Err(RunError::Order(format!(
                "told to commit round {round} when {committed} rounds are applied: round {committed} is next"
            )));
        }
        if round == committed {
            let began = Instant::now();
            self.apply(round, accepted)?;
            self.voice.note_applied(round, began.elapsed())?;
        }
        self.say_committed(round)
    }

    fn say_committed(&mut self, round: u32) -> Result<(), RunError> {
        let outer = self.state.agreed.digests[round as usize].clone();
        self.voice.say(&Said::Committed { round, outer })
    }

    /// Says what there is to be said of updates that may not count. The training goes on from this site's own weights
    /// later, so the model is free for others.
    fn inspect(&mut self, round: u32, came: &[Came], held_out: Option<&HeldOut>) -> Result<(), RunError> {
        let committed = self.state.committed();
        if round != committed {
            return Err(RunError::Order(format!(
                "told to inspect round {round} when {committed} rounds are applied: round {committed} is next"
            )));
        }
        let read = |came: &Came| {
            let path = self.folder.file(&came.file);
            Ok((came.site.clone(), fs::read(&path).map_err(at(&path))?))
        };
        let came: Vec<(String, Vec<u8>)> = came.iter().map(read).collect::<Result<_, RunError>>()?;
        let range = self.job.rounds.sends(round, &self.fragments);
        let (programme, model) = (&self.programme, &mut self.trainer.model);
        let outer = &self.state.agreed.outer;
        let Findings { before, found } = match held_out {
            Some(samples) => {
                let mut loss = |weights: &[f32]| {
                    model.params.copy_from_slice(weights);
                    programme.held_out(model, samples)
                };
                inspect(outer, range, came, Some(&mut loss))?
            }
            None => inspect::<RunError>(outer, range, came, None)?,
        };
        self.voice.say(&Said::Inspected { round, before, found })
    }

    /// Writes what all agree on.
    fn save(&mut self, round: u32) -> Result<(), RunError> {
        let committed = self.state.committed();
        if round.saturating_add(1) != committed {
            return Err(RunError::Order(format!(
                "told to save what is agreed on after round {round} when {committed} rounds are applied"
            )));
        }
        let file = JobFolder::outer_file(round);
        self.state.agreed.write(&self.folder.file(&file))?;
        self.voice.say(&Said::Saved { round, file })
    }

    /// Begins with what others agree on, unless it is here already. If that is no good, nothing has changed.
    fn restore(&mut self, round: u32, file: &str, outer: &str) -> Result<(), RunError> {
        if round >= self.state.committed() {
            let path = self.folder.file(file);
            let params = self.trainer.model.params.len();
            match Agreed::read(&path, round, outer, params, self.outer) {
                Ok(agreed) => {
                    let known = &self.state.moments;
                    let moments = Moments::new(known.m.len(), known.v.len());
                    self.state = State::new(agreed, self.job.rounds.codec, moments);
                    self.state.save(&state_file(self.folder), &self.job)?;
                }
                Err(what) => {
                    let message = format!("{file} can't be gone on from: {what}; the rounds can be replayed");
                    self.voice.say(&Said::Note { message })?;
                    return self.say_ready();
                }
            }
        }
        self.say_committed(round)
    }

    fn apply(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), RunError> {
        let bad = |file: &str, what: String| RunError::Update {
            round,
            file: file.to_owned(),
            what,
        };
        let updates = Accepted::read(accepted, |file| fs::read(self.folder.file(file)));
        let updates = updates.map_err(|(file, what)| bad(file, what))?;
        let contributions = Accepted::contributions(accepted, &updates);
        let range = self.job.rounds.sends(round, &self.fragments);
        let counts = accepted.iter().any(|accepted| accepted.site == self.job.site);
        self.state
            .apply(round, range, &contributions, counts)
            .map_err(|error| match error {
                OuterError::Length { index, .. } => bad(&accepted[index].file, error.to_string()),
                OuterError::Tokens { .. } | OuterError::Fragment { .. } => RunError::Round { round, error },
            })?;
        self.state.save(&state_file(self.folder), &self.job)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), RunError> {
        let (committed, count) = (self.state.committed(), self.job.rounds.count);
        if committed < count {
            return Err(RunError::Order(format!(
                "told to finish when {committed} of {count} rounds are applied"
            )));
        }
        self.trainer
            .model
            .params
            .copy_from_slice(self.state.agreed.outer.params());
        let outputs = self.programme.finish(&self.state.agreed, &self.trainer.model)?;
        self.voice.say(&Said::Done { outputs })
    }
}

/// What the program says, and what it notes of each step. Clocks are for people here: nothing that counts
/// depends on them.
struct Voice<'a> {
    said: &'a mut Sink<'a>,
    metrics: File,
    metrics_path: PathBuf,
    /// Since the program started.
    tokens: u64,
    /// When the step under way began.
    began: Instant,
    /// When progress was said last; none in a round that is new.
    told: Option<Instant>,
    /// Tokens a second, smoothed.
    speed: f32,
    /// Without an order, since the last line of metrics.
    waited: Duration,
}

/// A line of `metrics.jsonl`. A round that was trained again has its steps twice; the last ones count.
#[derive(Serialize)]
struct Metrics {
    round: u32,
    step: u64,
    loss: f32,
    tokens: u64,
    tokens_per_s: f32,
    /// What the step took.
    seconds: f32,
    /// What the program waited for orders since the line before.
    waited_s: f32,
}

/// The line of a round that was applied: after the last one no step follows, and what was waited for it counts too.
#[derive(Serialize)]
struct AppliedMetrics {
    applied: u32,
    /// What it took.
    seconds: f32,
    /// As for a step.
    waited_s: f32,
}

/// Between two words of progress.
const PATIENCE: Duration = Duration::from_millis(250);

impl<'a> Voice<'a> {
    fn new(said: &'a mut Sink<'a>, metrics_path: &Path) -> Result<Self, RunError> {
        let metrics = File::options().append(true).create(true).open(metrics_path);
        Ok(Self {
            said,
            metrics: metrics.map_err(at(metrics_path))?,
            metrics_path: metrics_path.to_owned(),
            tokens: 0,
            began: Instant::now(),
            told: None,
            speed: 0.0,
            waited: Duration::ZERO,
        })
    }

    fn say(&mut self, message: &Said) -> Result<(), RunError> {
        say(self.said, message).map_err(RunError::Pipe)
    }

    /// A round's steps begin.
    fn begin(&mut self) {
        (self.began, self.told) = (Instant::now(), None);
    }

    /// Notes a step; says so for a round's first, and then every [`PATIENCE`].
    fn step(&mut self, round: u32, step: &Step) -> Result<(), RunError> {
        let now = Instant::now();
        let seconds = now.duration_since(self.began).as_secs_f32();
        self.began = now;
        self.tokens += step.tokens;
        let speed = step.tokens as f32 / seconds.max(1e-6);
        self.speed = if self.told.is_some() {
            0.8 * self.speed + 0.2 * speed
        } else {
            speed
        };
        let metrics = Metrics {
            round,
            step: step.step,
            loss: step.loss,
            tokens: self.tokens,
            tokens_per_s: speed,
            seconds,
            waited_s: std::mem::take(&mut self.waited).as_secs_f32(),
        };
        self.write(&metrics)?;
        if self.told.is_some_and(|told| now.duration_since(told) < PATIENCE) {
            return Ok(());
        }
        self.told = Some(now);
        self.say(&Said::Progress {
            round,
            step: metrics.step,
            loss: metrics.loss,
            tokens: metrics.tokens,
            tokens_per_s: self.speed,
        })
    }

    fn note_applied(&mut self, round: u32, took: Duration) -> Result<(), RunError> {
        let waited_s = std::mem::take(&mut self.waited).as_secs_f32();
        self.write(&AppliedMetrics {
            applied: round,
            seconds: took.as_secs_f32(),
            waited_s,
        })
    }

    fn write(&mut self, metrics: &impl Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_string(metrics).expect("metrics are plain data");
        line.push('\n');
        let written = self.metrics.write_all(line.as_bytes());
        written.map_err(at(&self.metrics_path))
    }
}

/// Orders as they come in. A thread of its own waits for them, so that their end is known while steps are
/// taken.
struct Orders {
    queue: Receiver<Result<Order, RunError>>,
    ended: Arc<AtomicBool>,
}

impl Orders {
    fn listen(input: Box<dyn BufRead + Send>) -> Self {
        let (sender, queue) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            let mut lines = input.lines();
            for line in &mut lines {
                let order = line
                    .map_err(RunError::Pipe)
                    .and_then(|line| Ok(Order::read(&line)?));
                let last = order.is_err();
                // Nobody listens any more once the results are written.
                if sender.send(order).is_err() || last {
                    break;
                }
            }
            end.store(true, Ordering::Release);
        });
        Self { queue, ended }
    }

    /// The next order; at the end none, whatever came in before it, but for a line that couldn't be read.
    fn next(&self) -> Option<Result<Order, RunError>> {
        self.queue.iter().find(|order| order.is_err() || !self.ended())
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Reads a job's file, and refuses settings that can't be.
///
/// # Errors
/// Where in the file what is wrong.
pub fn read_job<S: JobSettings>(path: &Path) -> Result<JobFile<S>, RunError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let job: JobFile<S> = toml::from_str(&text).map_err(|error| RunError::JobFile {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    job.settings.check(job.rounds)?;
    Ok(job)
}

/// The job with its settings as text has them: numbers of 16 or 32 bits are the same whether they were kept or are
/// told anew.
fn written_down<S: JobSettings>(job: &JobFile<S>) -> JobFile {
    let settings = serde_json::to_string(&job.settings).expect("settings are plain data");
    JobFile {
        name: job.name.clone(),
        job: job.job.clone(),
        site: job.site.clone(),
        program: job.program.clone(),
        label: job.label.clone(),
        inputs: job.inputs.clone(),
        rounds: job.rounds,
        settings: serde_json::from_str(&settings).expect("it was just written"),
    }
}

/// A result that lies in the job's folder: its name is that of the file.
pub fn written(file: &str, kind: &str) -> Written {
    Written {
        name: file.trim_start_matches("outputs/").to_owned(),
        file: file.to_owned(),
        kind: kind.to_owned(),
    }
}

fn state_file(folder: &JobFolder) -> PathBuf {
    folder.checkpoint().join("state.safetensors")
}

fn say(said: &mut Sink<'_>, message: &Said) -> io::Result<()> {
    said.write_all(message.line().as_bytes())?;
    said.flush()
}

/// Says which file it was.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |error| RunError::File { path, error }
}
