//! A program's place at its site: the line to it, and all that a round takes but the training itself.
//!
//! Orders to apply a round, and to train what is trained already, are carried out here; Python hears of
//! nothing but intervals to train on, weights to judge if it can, and of the end. Killed at any moment, a seat
//! that is taken again goes on from its checkpoint, and what was said is said again.

use crate::failed;
use crate::state::{Kind, State, Trained, Unusable};
use crate::twin::Twin;
use nn::Checkpoint;
use program::{Agreed, RunError};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sync::contract::{JobFile, Written};
use sync::{
    Accepted, Came, CodecError, Findings, Form, HeldOut, Inspection, JobFolder, Order, OuterConfig,
    OuterError, Said, fragments, inspect, socket,
};

/// How often Python is asked whether somebody interrupts it.
const LOOK: Duration = Duration::from_millis(100);
/// How long a site may take to remove the folder of a job that is over.
const REMOVAL: Duration = Duration::from_secs(10);

/// Why it can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeatError {
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Order(String),
    #[error("round {round}: {file}: {what}")]
    Update { round: u32, file: String, what: String },
    #[error("round {round}: {error}")]
    Round { round: u32, error: OuterError },
    #[error("round {round}: {error}")]
    Diverged { round: u32, error: CodecError },
    #[error("round {round}: {error}")]
    Inspection { round: u32, error: RunError },
    #[error("checkpoint: {0}")]
    Checkpoint(String),
}

/// What is for Python to do.
#[derive(Debug, Clone)]
enum Task {
    /// Train on positions `first..end` of the data order, from the agreed weights.
    Train { round: u32, first: u64, end: u64 },
    /// Tell the held-out loss of whatever weights are asked for.
    Judge { round: u32, held_out: HeldOut },
    /// Write the results.
    Finish,
    /// The line has ended, before all rounds were applied or after.
    End { complete: bool },
}

/// Who reckons held-out losses.
enum Judge {
    /// Norms alone are told.
    Nobody,
    /// khub's core, for a model of its own.
    Core(Arc<language::Twin>),
    Loop,
}

/// A place at a site.
struct Place {
    folder: JobFolder,
    kind: Kind,
    /// What the rounds send of the model, in turn.
    fragments: Vec<Range<usize>>,
    state: State,
    /// Nothing of its own was found.
    fresh: bool,
    /// The first weights, until they are the state's; then what the round under way has come to.
    weights: Vec<f32>,
    judge: Judge,
    /// The inspection of a round that the training loop reckons losses for.
    inspection: Option<(u32, Inspection)>,
    /// What is trained on now.
    under_way: Option<(u32, u64, u64)>,
    /// How its update is to be written.
    form: Form,
    out: Box<dyn Write + Send>,
    orders: Receiver<Result<Order, String>>,
    ended: Arc<AtomicBool>,
    /// When that was noticed.
    ended_at: Option<Instant>,
}

#[pyclass(module = "khub._khub", frozen)]
pub(crate) struct Seat(Mutex<Place>);

#[pymethods]
impl Seat {
    /// Connects to the site that waits in a job's folder, as soon as one does; None if none did in that time.
    #[staticmethod]
    fn take(py: Python<'_>, folder: PathBuf, seconds: f64) -> PyResult<Option<Self>> {
        let until = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
        loop {
            match socket::connect(&folder) {
                Ok(stream) => {
                    return Place::new(&folder, stream)
                        .map(|place| Some(Self(Mutex::new(place))))
                        .map_err(failed);
                }
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    return Err(failed(format_args!(
                        "{}: {error}",
                        socket::path(&folder).display()
                    )));
                }
                Err(_) if Instant::now() >= until => return Ok(None),
                Err(_) => py.detach(|| std::thread::sleep(LOOK)),
            }
            py.check_signals()?;
        }
    }

    /// `job.toml`, as JSON.
    #[getter]
    fn job(&self) -> PyResult<String> {
        serde_json::to_string(&self.place().kind.job).map_err(failed)
    }

    /// Goes on from the checkpoint for tensors of these names and sizes; false if there is none and the first
    /// weights are to be given.
    fn load(&self, py: Python<'_>, layout: &str, sizes: Vec<usize>) -> PyResult<bool> {
        py.detach(|| self.place().load(layout, &sizes)).map_err(failed)
    }

    /// Held-out losses are the twin's from now on, or the loop's that asks for this.
    fn judged_by(&self, twin: Option<&Twin>) {
        self.place().judge = match twin {
            Some(twin) => Judge::Core(Arc::clone(&twin.0)),
            None => Judge::Loop,
        };
    }

    /// Sets some weights: the first, or those that a round's training has come to.
    fn set(&self, py: Python<'_>, offset: usize, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let values: PyBuffer<f32> = PyBuffer::get(values)?;
        values.copy_to_slice(py, part(&mut self.place().weights, offset, values.item_count())?)
    }

    /// Tells the site where it is.
    fn ready(&self) {
        self.place().ready();
    }

    /// The next thing to do: what, round, first, end, name of the optimiser's state to begin with. Of a round to
    /// judge, the end is how many held-out samples there are at most, and the name is that of their file.
    fn next(&self, py: Python<'_>) -> PyResult<(&'static str, u32, u64, u64, Option<String>)> {
        loop {
            let next = py.detach(|| self.place().next(LOOK)).map_err(|error| {
                let message = error.to_string();
                self.place().say(&Said::Failed { message });
                failed(error)
            })?;
            py.check_signals()?;
            let moments = || self.place().state.moments.clone();
            match next {
                None => {}
                Some(Task::Train { round, first, end }) => {
                    return Ok(("train", round, first, end, moments()));
                }
                Some(Task::Judge { round, held_out }) => {
                    let file = self.place().folder.input(&held_out.input);
                    let file = file.display().to_string();
                    return Ok(("judge", round, 0, held_out.samples, Some(file)));
                }
                Some(Task::Finish) => return Ok(("finish", 0, 0, 0, None)),
                Some(Task::End { complete }) => {
                    return Ok((if complete { "complete" } else { "lost" }, 0, 0, 0, None));
                }
            }
        }
    }

    /// Whether the line has ended.
    #[getter]
    fn ended(&self) -> bool {
        self.place().ended()
    }

    /// The weights to train from, or those to judge, from `offset` on, into a buffer.
    fn read(&self, py: Python<'_>, offset: usize, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let values: PyBuffer<f32> = PyBuffer::get(values)?;
        let place = self.place();
        let asked = place
            .inspection
            .as_ref()
            .and_then(|(_, under_way)| under_way.asks());
        let weights = asked.unwrap_or(place.state.local.params());
        let range = range(weights.len(), offset, values.item_count())?;
        values.copy_from_slice(py, &weights[range])
    }

    /// Whether there are weights to judge.
    fn asks(&self) -> bool {
        self.place().inspection.is_some()
    }

    /// The held-out loss of those, in nats. After the last the site is told.
    fn tell(&self, py: Python<'_>, loss: f64) {
        py.detach(|| self.place().tell(loss));
    }

    /// Hands in what was trained; `moments` names the optimiser's state, which is written already.
    fn contribute(
        &self,
        py: Python<'_>,
        tokens: u64,
        steps: u32,
        loss: f32,
        moments: Option<String>,
    ) -> PyResult<()> {
        py.detach(|| self.place().contribute(tokens, steps, loss, moments))
            .map_err(failed)
    }

    /// Tells how the training goes.
    fn progress(&self, round: u32, step: u64, loss: f32, tokens: u64, tokens_per_s: f32) {
        self.place().say(&Said::Progress {
            round,
            step,
            loss,
            tokens,
            tokens_per_s,
        });
    }

    /// A line for the site's log.
    fn note(&self, message: String) {
        self.place().say(&Said::Note { message });
    }

    /// The results are written: these, told as JSON.
    fn done(&self, outputs: &str) -> PyResult<()> {
        let outputs: Vec<Written> = serde_json::from_str(outputs).map_err(failed)?;
        self.place().say(&Said::Done { outputs });
        Ok(())
    }

    /// Writes the results of a model that khub doesn't know: its tensors by name, and a report. Returns what
    /// was written, as JSON.
    fn finish(&self, py: Python<'_>, tensors: Vec<(String, Vec<usize>)>) -> PyResult<String> {
        let written = py.detach(|| self.place().finish(&tensors)).map_err(failed)?;
        serde_json::to_string(&written).map_err(failed)
    }

    /// It can't go on.
    fn fail(&self, message: String) {
        self.place().say(&Said::Failed { message });
    }

    /// The names of the optimiser's states that still count.
    #[getter]
    fn moments(&self) -> Vec<String> {
        let place = self.place();
        let before = place
            .state
            .trained
            .iter()
            .filter_map(|trained| trained.before.clone());
        place.state.moments.iter().cloned().chain(before).collect()
    }
}

impl Seat {
    /// All first weights at once.
    pub(crate) fn begin(&self, weights: &[f32]) -> PyResult<()> {
        let mut place = self.place();
        let wanted = place.weights.len();
        if weights.len() != wanted {
            return Err(failed(format_args!(
                "the job's model has {} weights, the one here {wanted}",
                weights.len()
            )));
        }
        place.weights.copy_from_slice(weights);
        Ok(())
    }

    /// What all sites agree on.
    pub(crate) fn agreed(&self) -> Agreed {
        self.place().state.agreed.clone()
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some of the values.
fn part(values: &mut [f32], offset: usize, count: usize) -> PyResult<&mut [f32]> {
    let range = range(values.len(), offset, count)?;
    Ok(&mut values[range])
}

fn range(all: usize, offset: usize, count: usize) -> PyResult<Range<usize>> {
    let end = offset.checked_add(count).filter(|end| *end <= all);
    end.map(|end| offset..end)
        .ok_or_else(|| failed(format_args!("weights {offset} and {count} more, of {all}")))
}

/// What of a job's settings is the rounds'; the others are the program's.
#[derive(Deserialize, Default)]
struct OuterSettings {
    #[serde(default)]
    outer: OuterConfig,
}

impl Place {
    fn new(folder: &Path, stream: std::os::unix::net::UnixStream) -> Result<Self, SeatError> {
        let folder = JobFolder::new(folder);
        let path = folder.job();
        let file = |why: String| SeatError::File {
            path: path.clone(),
            why,
        };
        let text = fs::read_to_string(&path).map_err(|e| file(e.to_string()))?;
        let job: JobFile = toml::from_str(&text).map_err(|e| file(e.to_string()))?;
        let outer = match &job.settings {
            serde_json::Value::Object(_) => {
                OuterSettings::deserialize(&job.settings)
                    .map_err(|e| file(format!("settings.outer: {e}")))?
                    .outer
            }
            _ => OuterConfig::default(),
        };
        let (sender, orders) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let (end, input) = (Arc::clone(&ended), stream.try_clone());
        let input = input.map_err(|e| file(e.to_string()))?;
        std::thread::spawn(move || {
            for line in BufReader::new(input).lines() {
                // A line that is cut off is the end.
                let Ok(line) = line else { break };
                let order = Order::read(&line).map_err(|error| error.to_string());
                let last = order.is_err();
                if sender.send(order).is_err() || last {
                    break;
                }
            }
            end.store(true, Ordering::Release);
        });
        let kind = Kind {
            job,
            outer,
            layout: String::new(),
            weights: 0,
        };
        Ok(Self {
            form: kind.job.rounds.codec.into(),
            state: State::new(Agreed::new(Vec::new(), outer), &kind),
            folder,
            kind,
            fragments: Vec::new(),
            fresh: false,
            weights: Vec::new(),
            judge: Judge::Nobody,
            inspection: None,
            under_way: None,
            out: Box::new(stream),
            orders,
            ended,
            ended_at: None,
        })
    }

    fn load(&mut self, layout: &str, sizes: &[usize]) -> Result<bool, SeatError> {
        self.fragments = fragments(sizes, self.kind.job.rounds.fragments as usize);
        self.kind.layout = layout.to_owned();
        self.kind.weights = sizes.iter().sum();
        self.weights = vec![0.0; self.kind.weights];
        match State::load(&self.checkpoint(), &self.kind) {
            Ok(Some(state)) => {
                self.state = state;
                return Ok(true);
            }
            Ok(None) => {}
            Err(Unusable::Damaged(what)) => {
                let message = format!("{what}. Starting over; the rounds that are closed can be replayed");
                self.say(&Said::Note { message });
            }
            Err(Unusable::Kept(what)) => return Err(SeatError::Checkpoint(what)),
        }
        self.fresh = true;
        Ok(false)
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.checkpoint().join("state.safetensors")
    }

    /// The first weights are all given, if there was no checkpoint.
    fn ready(&mut self) {
        if self.fresh {
            let agreed = Agreed::new(self.weights.clone(), self.kind.outer);
            self.state = State::new(agreed, &self.kind);
        }
        self.say_ready();
    }

    fn say_ready(&mut self) {
        let said = Said::Ready {
            committed: self.state.agreed.committed(),
            outer: self.state.agreed.outer.digest(),
            fresh: self.fresh,
        };
        self.say(&said);
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// A site that has gone doesn't hear it; the line's end tells.
    fn say(&mut self, said: &Said) {
        let line = said.line();
        let _ = self
            .out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.flush());
    }

    /// What is to be done, if there is something within that time. Once the line has ended there is nothing
    /// else, whatever came in before.
    fn next(&mut self, patience: Duration) -> Result<Option<Task>, SeatError> {
        let order = match self.orders.recv_timeout(patience) {
            _ if self.ended() => return Ok(self.end()),
            Ok(order) => order.map_err(SeatError::Order)?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Ok(self.end()),
        };
        match order {
            Order::Train {
                round,
                first,
                end,
                codec,
            } => {
                self.under_way = None;
                self.form = self.kind.job.rounds.form(codec, (first, end));
                Ok(self.train(round, first, end)?)
            }
            Order::Commit { round, updates } => self.commit(round, &updates).map(|()| None),
            Order::Inspect {
                round,
                updates,
                held_out,
            } => self.inspect(round, &updates, held_out),
            Order::Save { round } => self.write_agreed(round).map(|()| None),
            Order::Restore { round, file, outer } => self.restore(round, &file, &outer).map(|()| None),
            Order::Finish => Ok(Some(Task::Finish)),
        }
    }

    /// Why the line has ended, as soon as that can be told: a site whose job is over removes its folder, one that
    /// was stopped leaves it. Rounds may follow those of the job's count, so their number doesn't tell.
    fn end(&mut self) -> Option<Task> {
        let all = self.state.agreed.committed() >= self.kind.job.rounds.count;
        let since = *self.ended_at.get_or_insert_with(Instant::now);
        let complete = all && !self.folder.job().exists();
        if all && !complete && since.elapsed() < REMOVAL {
            std::thread::sleep(LOOK);
            return None;
        }
        Some(Task::End { complete })
    }

    /// Says what is trained already, or has it trained.
    fn train(&mut self, round: u32, first: u64, end: u64) -> Result<Option<Task>, SeatError> {
        let (committed, rounds) = (self.state.agreed.committed(), self.kind.job.rounds);
        let rounds_to_come = committed..=committed.saturating_add(rounds.overlap);
        let whole = (1..=rounds.samples).contains(&end.saturating_sub(first));
        if !rounds_to_come.contains(&round) || !whole {
            return Err(SeatError::Order(format!(
                "told to train round {round} on samples {first}..{end} when {committed} rounds are applied, with an \
                 overlap of {} and {} samples at most",
                rounds.overlap, rounds.samples
            )));
        }
        if let Some(place) = self.state.local.place(round) {
            let file = JobFolder::update_file(round, &self.kind.job.site);
            let trained = &self.state.trained[place];
            let bytes = fs::read(self.folder.file(&file));
            if trained.interval == (first, end) && bytes.is_ok_and(|bytes| JobFolder::is_whole(&bytes)) {
                let answer = trained.answer.clone();
                self.say(&answer);
                return Ok(None);
            }
            self.state.undo(place);
        }
        self.under_way = Some((round, first, end));
        Ok(Some(Task::Train { round, first, end }))
    }

    fn contribute(
        &mut self,
        tokens: u64,
        steps: u32,
        loss: f32,
        moments: Option<String>,
    ) -> Result<(), SeatError> {
        let Some((round, first, end)) = self.under_way.take() else {
            let message = "there is no round under way to hand something in for";
            return Err(SeatError::Order(message.to_owned()));
        };
        let file = JobFolder::update_file(round, &self.kind.job.site);
        let path = self.folder.file(&file);
        let failed = |why: std::io::Error| SeatError::File {
            path: path.clone(),
            why: why.to_string(),
        };
        // The file is gone before the state changes and comes after it, so if there is one, it is the state's.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => (),
        }
        let (rounds, state) = (self.kind.job.rounds, &mut self.state);
        let range = rounds.sends(round, &self.fragments);
        let update = state
            .local
            .send(&state.agreed.outer, round, range, self.weights.clone(), self.form);
        let update = update.map_err(|error| SeatError::Diverged { round, error })?;
        let answer = Said::Update {
            round,
            file,
            tokens,
            steps,
            loss,
            parameters: self.kind.weights as u64,
        };
        state.trained.push(Trained {
            interval: (first, end),
            answer: answer.clone(),
            before: std::mem::replace(&mut state.moments, moments),
        });
        self.save()?;
        nn::write_whole(&path, &update).map_err(failed)?;
        self.say(&answer);
        Ok(())
    }

    /// Applies a round, saves it and says what came out; says it again for one that is applied already.
    fn commit(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), SeatError> {
        let committed = self.state.agreed.committed();
        if round > committed {
            return Err(SeatError::Order(format!(
                "told to commit round {round} when {committed} rounds are applied"
            )));
        }
        if round == committed {
            self.apply(round, accepted)?;
        }
        self.say_committed(round);
        Ok(())
    }

    fn say_committed(&mut self, round: u32) {
        let outer = self.state.agreed.digests[round as usize].clone();
        self.say(&Said::Committed { round, outer });
    }

    /// Says how long updates are that may not count, and what they would make of the model; the latter of one of
    /// khub's own by its core, of another if the training loop can tell.
    fn inspect(
        &mut self,
        round: u32,
        came: &[Came],
        held_out: Option<HeldOut>,
    ) -> Result<Option<Task>, SeatError> {
        let committed = self.state.agreed.committed();
        if round != committed {
            return Err(SeatError::Order(format!(
                "told to inspect round {round} when {committed} rounds are applied"
            )));
        }
        let read = |came: &Came| {
            let path = self.folder.file(&came.file);
            let bytes = fs::read(&path).map_err(|why| SeatError::File {
                path,
                why: why.to_string(),
            })?;
            Ok((came.site.clone(), bytes))
        };
        let came: Vec<(String, Vec<u8>)> = came.iter().map(read).collect::<Result<_, SeatError>>()?;
        let range = self.kind.job.rounds.sends(round, &self.fragments);
        let outer = &self.state.agreed.outer;
        let findings = match (&self.judge, held_out) {
            (Judge::Nobody, _) | (_, None) => inspect::<SeatError>(outer, range, came, None)?,
            (Judge::Core(core), Some(samples)) => {
                let mut loss = |weights: &[f32]| {
                    let loss = core.held_out(weights, &samples);
                    loss.map_err(|error| SeatError::Inspection { round, error })
                };
                inspect(outer, range, came, Some(&mut loss))?
            }
            (Judge::Loop, Some(held_out)) => {
                self.inspection = Some((round, Inspection::new(outer, range, came)));
                return Ok(Some(Task::Judge { round, held_out }));
            }
        };
        self.say_inspected(round, findings);
        Ok(None)
    }

    /// The loss of the weights that are asked for.
    fn tell(&mut self, loss: f64) {
        let Some((round, mut under_way)) = self.inspection.take() else {
            return;
        };
        under_way.tell(loss);
        if under_way.asks().is_some() {
            self.inspection = Some((round, under_way));
        } else {
            self.say_inspected(round, under_way.findings());
        }
    }

    fn say_inspected(&mut self, round: u32, Findings { before, found }: Findings) {
        self.say(&Said::Inspected { round, before, found });
    }

    /// Writes what all agree on, for those who join later.
    fn write_agreed(&mut self, round: u32) -> Result<(), SeatError> {
        let committed = self.state.agreed.committed();
        if round.saturating_add(1) != committed {
            return Err(SeatError::Order(format!(
                "told to save what is agreed on after round {round} when {committed} rounds are applied"
            )));
        }
        let file = JobFolder::outer_file(round);
        let written = self.state.agreed.write(&self.folder.file(&file));
        written.map_err(|error| SeatError::Checkpoint(error.to_string()))?;
        self.say(&Said::Saved { round, file });
        Ok(())
    }

    /// Begins with what others agree on, unless it is here already. If that is no good, nothing has changed.
    fn restore(&mut self, round: u32, file: &str, outer: &str) -> Result<(), SeatError> {
        if round >= self.state.agreed.committed() {
            let (path, kind) = (self.folder.file(file), &self.kind);
            match Agreed::read(&path, round, outer, kind.weights, kind.outer) {
                Ok(agreed) => {
                    self.state = State::new(agreed, kind);
                    self.save()?;
                }
                Err(what) => {
                    let message = format!("{file} can't be gone on from: {what}; the rounds can be replayed");
                    self.say(&Said::Note { message });
                    self.say_ready();
                    return Ok(());
                }
            }
        }
        self.say_committed(round);
        Ok(())
    }

    fn apply(&mut self, round: u32, accepted: &[Accepted]) -> Result<(), SeatError> {
        let bad = |file: &str, what: String| SeatError::Update {
            round,
            file: file.to_owned(),
            what,
        };
        let updates = Accepted::read(accepted, |file| fs::read(self.folder.file(file)));
        let updates = updates.map_err(|(file, what)| bad(file, what))?;
        let contributions = Accepted::contributions(accepted, &updates);
        let range = self.kind.job.rounds.sends(round, &self.fragments);
        let counts = accepted
            .iter()
            .any(|accepted| accepted.site == self.kind.job.site);
        let applied = self.state.apply(round, range, &contributions, counts);
        applied.map_err(|error| match error {
            OuterError::Length { index, .. } => bad(&accepted[index].file, error.to_string()),
            OuterError::Tokens { .. } | OuterError::Fragment { .. } => SeatError::Round { round, error },
        })?;
        self.save()
    }

    fn finish(&self, tensors: &[(String, Vec<usize>)]) -> Result<Vec<Written>, SeatError> {
        let (weights, agreed, job) = (
            self.state.agreed.outer.params(),
            &self.state.agreed,
            &self.kind.job,
        );
        let mut model = Checkpoint::default();
        let mut rest = weights;
        for (name, shape) in tensors {
            let count = shape.iter().product::<usize>().min(rest.len());
            let (values, after) = rest.split_at(count);
            model.push(name, shape, values.to_vec());
            rest = after;
        }
        let report = json!({
            "job": job.job, "name": job.name, "rounds": agreed.committed(), "parameters": weights.len(),
            "tokens": agreed.tokens, "outer": agreed.digests, "settings": job.settings,
        });
        let written = |file: &str, kind: &str| Written {
            name: file.trim_start_matches("outputs/").to_owned(),
            file: file.to_owned(),
            kind: kind.to_owned(),
        };
        let outputs = vec![
            written("outputs/model.safetensors", "model"),
            written("outputs/report.json", "report"),
            written("metrics.jsonl", "metrics"),
        ];
        let failed = |path: &Path, why: String| SeatError::File {
            path: path.to_owned(),
            why,
        };
        let path = self.folder.file(&outputs[0].file);
        model.write(&path).map_err(|e| failed(&path, e.to_string()))?;
        let path = self.folder.file(&outputs[1].file);
        nn::write_whole(&path, format!("{report:#}\n").as_bytes())
            .map_err(|e| failed(&path, e.to_string()))?;
        Ok(outputs)
    }

    fn save(&self) -> Result<(), SeatError> {
        let saved = self.state.save(&self.checkpoint(), &self.kind);
        saved.map_err(|error| SeatError::Checkpoint(error.to_string()))
    }
}
