//! The training program: what a site starts as a child process, orders about by lines and hears from by
//! lines ([`sync::contract`]).
//!
//! ```text
//! Ready    a checkpoint was found and is this job's, or the beginning
//! Train    from the weights all agree on: steps on a copy, then "start minus where I am" as an update
//! Commit   everyone's updates, one outer step; the optimiser's moments of the training before it are kept
//! Finish   the model, judged before and after, the report and the tokeniser
//! ```
//!
//! A round's training is a function of the agreed weights, this site's moments and the interval. The
//! learning rate follows the round's number, not what this site has lived through. So a site that was
//! killed and asked again writes the same bytes, and one that joins late has the others' rate.

use crate::Family;
use crate::finish;
use crate::settings::{BadSetting, Settings};
use crate::state::{State, Trained, Unusable};
use crate::tokens::{Tokens, TokensError};
use crate::windows::Windows;
use nn::{CheckpointError, Model, write_whole};
use rayon::ThreadPoolBuilder;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use sync::contract::{BadLine, JobFile};
use sync::{Accepted, Codec, CodecError, Contribution, JobFolder, Order, OuterError, Said, Update, encode};
use train::{Flow, Moments, Report, Step, Trainer};

/// Does the job in `folder`: obeys `orders` and answers through `said`, a line each, until the results are
/// written or the orders end, which means stop at once: at most one step is finished.
///
/// An error is said, as [`Said::Failed`], and returned. What was committed before it is safe.
pub fn run(
    folder: &JobFolder,
    orders: impl BufRead + Send + 'static,
    mut said: impl Write + Send,
) -> Result<(), RunError> {
    let result = obey(folder, orders, &mut said);
    if let Err(error) = &result {
        let message = error.to_string();
        // Nobody may be left to hear it; the caller has the error.
        let _ = say(&mut said, &Said::Failed { message });
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
    /// Token files that don't go together.
    #[error("{0}")]
    Inputs(String),
    /// A token file that can't be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
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

fn obey(
    folder: &JobFolder,
    orders: impl BufRead + Send + 'static,
    said: &mut Sink<'_>,
) -> Result<(), RunError> {
    let job = read_job(&folder.job())?;
    let pool = ThreadPoolBuilder::new()
        .num_threads(job.settings.threads)
        .build()?;
    let orders = Orders::listen(orders);
    pool.install(move || {
        let mut program = Program::start(folder, job, said)?;
        while let Some(order) = orders.next() {
            match order? {
                Order::Train { round, first, end } => program.train(round, first, end, &orders)?,
                Order::Commit { round, updates } => program.commit(round, &updates)?,
                Order::Finish => return program.finish(),
            }
        }
        Ok(())
    })
}

/// Where answers go. Not a type parameter: what is generic is compiled in the crate that uses it, and there
/// the training would be built without optimisation in a test.
type Sink<'a> = dyn Write + Send + 'a;

/// A job under way.
struct Program<'a> {
    folder: &'a JobFolder,
    job: JobFile<Settings>,
    train: Tokens,
    valid: Tokens,
    trainer: Trainer<Family>,
    state: State,
    voice: Voice<'a>,
}

impl<'a> Program<'a> {
    fn start(
        folder: &'a JobFolder,
        job: JobFile<Settings>,
        said: &'a mut Sink<'a>,
    ) -> Result<Self, RunError> {
        let (train, valid) = open_inputs(folder, job.settings.seq)?;
        let config = job.settings.shape(train.vocab());
        let model = Model::new(Family::new(config)?, job.settings.seed);
        let trainer = Trainer::new(model, job.settings.training(job.rounds))?;
        let mut voice = Voice::new(said, &folder.metrics())?;
        let nothing_yet = &trainer.optimizer.moments;
        let found = match State::load(&state_file(folder), &job, nothing_yet) {
            Err(Unusable::Damaged(what)) => {
                let message = format!("{what}. Starting over; the rounds that are closed can be replayed");
                voice.say(&Said::Note { message })?;
                None
            }
            other => other?,
        };
        let state = match found {
            Some(state) => state,
            None => State::new(trainer.model.params.clone(), &job, nothing_yet.clone()),
        };
        voice.say(&Said::Ready {
            committed: state.committed(),
            outer: state.outer.digest(),
        })?;
        Ok(Self {
            folder,
            job,
            train,
            valid,
            trainer,
            state,
            voice,
        })
    }

    /// Trains, unless that is done already, and says where the update lies. Says nothing if the orders end.
    fn train(&mut self, round: u32, first: u64, end: u64, orders: &Orders) -> Result<(), RunError> {
        self.check_train(round, first, end)?;
        let file = JobFolder::update_file(round, &self.job.site);
        if let Some(trained) = &self.state.trained
            && trained.interval == (first, end)
            && self.is_whole(&file)
        {
            return self.voice.say(&trained.answer);
        }
        // The file is gone before the state changes and comes after it, so if there is one, it is the state's.
        let path = self.folder.file(&file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => (),
        }
        let Some((report, moments)) = self.take_steps(round, first, end, orders)? else {
            return Ok(());
        };
        let (start, now) = (self.state.outer.params(), &self.trainer.model.params);
        let delta: Vec<f32> = start.iter().zip(now).map(|(start, now)| start - now).collect();
        let update =
            encode(Codec::Int8, &delta, None).map_err(|error| RunError::Diverged { round, error })?;
        let answer = Said::Update {
            round,
            file,
            tokens: report.tokens,
            steps: report.steps,
            loss: report.loss,
            parameters: delta.len() as u64,
        };
        self.state.trained = Some(Trained {
            interval: (first, end),
            answer: answer.clone(),
            moments,
        });
        self.state.save(&state_file(self.folder), &self.job)?;
        write_whole(&path, &update).map_err(at(&path))?;
        self.voice.say(&answer)
    }

    fn check_train(&self, round: u32, first: u64, end: u64) -> Result<(), RunError> {
        let committed = self.state.committed();
        self.check_round("train", round)?;
        if round != committed {
            return Err(RunError::Order(format!(
                "told to train round {round} when {committed} rounds are applied: it starts from the weights \
                 of the round before"
            )));
        }
        let (samples, batch) = (self.job.rounds.samples, self.job.settings.batch as u64);
        let asked = end.saturating_sub(first);
        if !(1..=samples).contains(&asked) || !asked.is_multiple_of(batch) {
            return Err(RunError::Order(format!(
                "told to train on samples {first}..{end}: a round takes whole batches of {batch}, \
                 {samples} samples at most"
            )));
        }
        Ok(())
    }

    fn check_round(&self, what: &str, round: u32) -> Result<(), RunError> {
        let count = self.job.rounds.count;
        if round < count {
            return Ok(());
        }
        let message = format!("told to {what} round {round} of a job of {count} rounds; they count from 0");
        Err(RunError::Order(message))
    }

    /// The steps of a round, from the agreed weights. None if the orders ended meanwhile.
    fn take_steps(
        &mut self,
        round: u32,
        first: u64,
        end: u64,
        orders: &Orders,
    ) -> Result<Option<(Report, Moments)>, RunError> {
        let Self {
            trainer,
            state,
            voice,
            train,
            job,
            ..
        } = self;
        trainer.model.params.copy_from_slice(state.outer.params());
        trainer.optimizer.moments.clone_from(&state.moments);
        trainer.step = u64::from(round) * job.settings.steps_a_round(job.rounds);
        let windows = Windows::new(train, job.settings.seq);
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
        let outcome = trainer.train(&windows, first, end, &mut after_step);
        match (broken, outcome) {
            (Some(error), _) => Err(error),
            (None, Ok(report)) => Ok(Some((report, trainer.optimizer.moments.clone()))),
            (None, Err(train::Error::Stopped)) => Ok(None),
            (None, Err(error)) => Err(error.into()),
        }
    }

    fn is_whole(&self, file: &str) -> bool {
        let bytes = fs::read(self.folder.file(file));
        bytes.is_ok_and(|bytes| Update::parse(&bytes).is_ok())
    }

    /// Applies a round, saves it, and says what came out; says it again for a round that is applied already.
    fn commit(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), RunError> {
        self.check_round("commit", round)?;
        let committed = self.state.committed();
        if round > committed {
            return Err(RunError::Order(format!(
                "told to commit round {round} when {committed} rounds are applied: round {committed} is next"
            )));
        }
        if round == committed {
            self.apply(round, accepted)?;
        }
        let outer = self.state.digests[round as usize].clone();
        self.voice.say(&Said::Committed { round, outer })
    }

    fn apply(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), RunError> {
        let bad = |file: &str, what: String| RunError::Update {
            round,
            file: file.to_owned(),
            what,
        };
        let mut updates = Vec::with_capacity(accepted.len());
        for Accepted { file, .. } in accepted {
            let bytes = fs::read(self.folder.file(file)).map_err(|e| bad(file, e.to_string()))?;
            updates.push(Update::parse(&bytes).map_err(|e| bad(file, e.to_string()))?);
        }
        let contributions = accepted
            .iter()
            .zip(&updates)
            .map(|(accepted, update)| Contribution {
                weight: accepted.tokens,
                update,
            });
        let state = &mut self.state;
        let model = 0..state.outer.params().len();
        state
            .outer
            .step(model, &contributions.collect::<Vec<_>>())
            .map_err(|error| match error {
                OuterError::Length { index, .. } => bad(&accepted[index].file, error.to_string()),
                OuterError::Tokens { .. } | OuterError::Fragment { .. } => RunError::Round { round, error },
            })?;
        state.digests.push(state.outer.digest());
        state.tokens += accepted.iter().map(|accepted| accepted.tokens).sum::<u64>();
        if let Some(trained) = state.trained.take() {
            state.moments = trained.moments;
        }
        state.save(&state_file(self.folder), &self.job)?;
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
            .copy_from_slice(self.state.outer.params());
        let outputs = finish::write(
            self.folder,
            &self.job,
            &self.state,
            &self.trainer.model,
            &self.valid,
        )?;
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
}

/// A line of `metrics.jsonl`. A round that was trained again has its steps twice; the last ones count.
#[derive(Serialize)]
struct Metrics {
    round: u32,
    step: u64,
    loss: f32,
    tokens: u64,
    tokens_per_s: f32,
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
        };
        let mut line = serde_json::to_string(&metrics).expect("metrics are plain data");
        line.push('\n');
        self.metrics
            .write_all(line.as_bytes())
            .map_err(at(&self.metrics_path))?;
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
}

/// Orders as they come in. A thread of its own waits for them, so that their end is known while steps are
/// taken.
struct Orders {
    queue: Receiver<Result<Order, RunError>>,
    ended: Arc<AtomicBool>,
}

impl Orders {
    fn listen(input: impl BufRead + Send + 'static) -> Self {
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

fn read_job(path: &Path) -> Result<JobFile<Settings>, RunError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let job: JobFile<Settings> = toml::from_str(&text).map_err(|error| RunError::JobFile {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    job.settings.check(job.rounds)?;
    Ok(job)
}

/// The training and the validation tokens.
fn open_inputs(folder: &JobFolder, seq: usize) -> Result<(Tokens, Tokens), RunError> {
    let train = Tokens::open(&folder.input("train.tokens"))?;
    let valid = Tokens::open(&folder.input("valid.tokens"))?;
    if train.vocab() != valid.vocab() {
        return Err(RunError::Inputs(format!(
            "inputs/train.tokens has a vocabulary of {} and inputs/valid.tokens one of {}: tokenise both with \
             the same tokeniser",
            train.vocab(),
            valid.vocab()
        )));
    }
    // Said before the first round, not after the last.
    for (name, tokens) in [("train", &train), ("valid", &valid)] {
        if train::Samples::is_empty(&Windows::new(tokens, seq)) {
            return Err(RunError::Inputs(format!(
                "inputs/{name}.tokens has {} tokens: a sample takes seq + 1, which is {}",
                tokens.len_tokens(),
                seq + 1
            )));
        }
    }
    Ok((train, valid))
}

fn state_file(folder: &JobFolder) -> PathBuf {
    folder.checkpoint().join("state.safetensors")
}

fn say(said: &mut Sink<'_>, message: &Said) -> io::Result<()> {
    said.write_all(message.line().as_bytes())?;
    said.flush()
}

/// Says which file it was.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |error| RunError::File { path, error }
}
