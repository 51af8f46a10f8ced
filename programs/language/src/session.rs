//! One model trained on one machine, from a training file to a folder of results.
//!
//! | file | what |
//! |---|---|
//! | `model.safetensors`, `tokenizer.json` | the model, when it is trained |
//! | `report.json` | what was trained, and how well it guesses |
//! | `metrics.jsonl` | a line for each step, and for each look at the validation text |
//! | `loss.svg` | the same as a picture |
//! | `checkpoints/` | where a run goes on that was stopped |
//!
//! A run that was stopped, however suddenly, goes on at its last checkpoint when it is started again, and
//! comes to the same bits as one that wasn't.

use crate::judge::{Judge, Judged};
use crate::{Family, Recipe, RecipeError, Tokens, TokensError, Windows, to_checkpoint};
use nn::{CheckpointError, Model, write_whole};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use train::{AllReduce, Flow, Losses, Saver, Step, Trainer, load_latest};

/// What a run tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It begins, or goes on after `done` steps.
    Begins {
        /// Parameters.
        parameters: usize,
        /// Steps that are done.
        done: u64,
        /// Steps in all.
        steps: u64,
    },
    /// A step was taken, at so many tokens a second.
    Step(Step, f64),
    /// A look at the validation text before a step.
    Judged(u64, Judged),
    /// Something a person may want to know.
    Note(String),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Parameters.
    pub parameters: usize,
    /// Steps.
    pub steps: u64,
    /// Tokens trained on, of which some may have come several times.
    pub tokens: u64,
    /// Before the first step.
    pub first: Judged,
    /// After the last.
    pub last: Judged,
    /// Where everything is.
    pub folder: PathBuf,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The training file.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Tokens that don't go with each other or with the model.
    #[error("{0}")]
    Data(String),
    /// Training stopped; the last checkpoint is good.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// The model refused.
    #[error(transparent)]
    Model(#[from] nn::Error),
    /// Results that can't be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A folder with another run in it.
    #[error(
        "{0} has a run of another training file: take another folder, or put its training file back to go on"
    )]
    OtherRun(PathBuf),
    /// Told to stop; goes on from the last checkpoint.
    #[error("stopped after step {0}; the same command goes on from the last checkpoint")]
    Stopped(u64),
}

/// Trains as `recipe` says on `train.tokens` and `valid.tokens` in the folder `data`, which are made with
/// its `tokenizer.json`, and leaves the results in `folder`. With several workers each calls this, and the
/// first one writes.
pub fn train_recipe(
    recipe: &Recipe,
    data: &Path,
    folder: &Path,
    group: Box<dyn AllReduce>,
    told: &mut dyn FnMut(&Told) -> Flow,
) -> Result<Summary, SessionError> {
    let (train, valid) = (
        Tokens::open(&data.join("train.tokens"))?,
        Tokens::open(&data.join("valid.tokens"))?,
    );
    let first = group.rank() == 0;
    let mut session = Session::new(recipe, (&train, &valid), folder, group, told)?;
    session.run()?;
    session.saver.take().map_or(Ok(()), Saver::finish)?;
    let summary = session.summary()?;
    if first {
        session.write_results(&summary, data)?;
    }
    Ok(summary)
}

/// A run under way.
struct Session<'a> {
    recipe: &'a Recipe,
    folder: &'a Path,
    trainer: Trainer<Family>,
    windows: Windows<'a>,
    judge: Judge<'a>,
    seq: usize,
    /// The first worker alone writes.
    saver: Option<Saver>,
    metrics: Metrics,
    told: &'a mut dyn FnMut(&Told) -> Flow,
}

impl<'a> Session<'a> {
    fn new(
        recipe: &'a Recipe,
        (train, valid): (&'a Tokens, &'a Tokens),
        folder: &'a Path,
        group: Box<dyn AllReduce>,
        told: &'a mut dyn FnMut(&Told) -> Flow,
    ) -> Result<Self, SessionError> {
        let config = recipe.model(train.vocab())?;
        check_vocab(train, valid, config.vocab)?;
        let seq = recipe.data.seq.unwrap_or(config.context);
        if !(1..=config.context).contains(&seq) {
            let context = config.context;
            return Err(SessionError::Data(format!(
                "[data] has seq = {seq}: it takes 1 to the model's context of {context}"
            )));
        }
        let mut network = Family::new(config)?;
        network.recompute(recipe.run.recompute);
        let first = group.rank() == 0;
        let model = Model::new(network, recipe.train.seed);
        let mut trainer = Trainer::in_group(model, recipe.train.clone(), group)?;

        let home = folder.join("checkpoints");
        if let Some(saved) = load_latest(&home)? {
            if saved.config != recipe.text() {
                return Err(SessionError::OtherRun(folder.to_owned()));
            }
            for note in &saved.notes {
                told(&Told::Note(note.clone()));
            }
            trainer.restore(&saved)?;
        }
        let mut windows = Windows::new(train, seq);
        let mut judge = Judge::new(valid, seq, recipe.train.batch, recipe.run.evaluate_tokens);
        if recipe.data.apart {
            // The first token of every prepared vocabulary ends a document.
            windows = windows.apart(0);
            judge = judge.apart(0);
        }
        let saver = match first {
            true => Some(Saver::new(&home, recipe.run.keep, recipe.text(), &trainer)?),
            false => None,
        };
        let metrics = Metrics::open(first.then(|| folder.join("metrics.jsonl")), trainer.step)?;
        Ok(Self {
            recipe,
            folder,
            trainer,
            windows,
            judge,
            seq,
            saver,
            metrics,
            told,
        })
    }

    /// All steps that are left, with a look at the validation text and a checkpoint now and then.
    fn run(&mut self) -> Result<(), SessionError> {
        let (steps, pace) = (self.recipe.train.steps, &self.recipe.run);
        let parameters = self.trainer.model.params.len();
        (self.told)(&Told::Begins {
            parameters,
            done: self.trainer.step,
            steps,
        });
        while self.trainer.step < steps {
            let step = self.trainer.step;
            if step.is_multiple_of(pace.evaluate_every) {
                self.look()?;
            }
            let next = |every: u64| (step / every + 1) * every;
            let end = next(pace.evaluate_every).min(next(pace.save_every)).min(steps);
            self.take_steps(end)?;
            if end.is_multiple_of(pace.save_every) || end == steps {
                self.save()?;
            }
        }
        self.look()
    }

    fn take_steps(&mut self, end: u64) -> Result<(), SessionError> {
        let Self {
            trainer,
            windows,
            metrics,
            told,
            recipe,
            ..
        } = self;
        let batch = recipe.train.batch as u64;
        let (from, to) = (trainer.step * batch, end * batch);
        let mut began = Instant::now();
        let mut broken = None;
        let mut stopped = false;
        let done = trainer.train(windows, from, to, &mut |step| {
            let speed = step.tokens as f64 / began.elapsed().as_secs_f64().max(1e-9);
            began = Instant::now();
            broken = metrics.step(step, speed).err();
            stopped = told(&Told::Step(*step, speed)) == Flow::Stop;
            if stopped || broken.is_some() {
                Flow::Stop
            } else {
                Flow::GoOn
            }
        });
        if let Some(error) = broken {
            return Err(error);
        }
        if stopped {
            self.save()?;
            self.saver.take().map_or(Ok(()), Saver::finish)?;
            return Err(SessionError::Stopped(self.trainer.step));
        }
        done?;
        Ok(())
    }

    fn look(&mut self) -> Result<(), SessionError> {
        if self.saver.is_none() || self.metrics.judged_at(self.trainer.step).is_some() {
            return Ok(());
        }
        let judged = self.judge.judge(&self.trainer.model)?;
        self.metrics.judged(self.trainer.step, judged)?;
        (self.told)(&Told::Judged(self.trainer.step, judged));
        Ok(())
    }

    fn save(&mut self) -> Result<(), SessionError> {
        let position = self.trainer.step * self.recipe.train.batch as u64;
        match &mut self.saver {
            Some(saver) => Ok(saver.save(&self.trainer, position)?),
            None => Ok(()),
        }
    }

    fn summary(&self) -> Result<Summary, SessionError> {
        let none = Judged {
            loss: f64::NAN,
            bits_per_byte: f64::NAN,
            tokens: 0,
        };
        let steps = self.trainer.step;
        let samples = steps * self.recipe.train.batch as u64;
        Ok(Summary {
            parameters: self.trainer.model.params.len(),
            steps,
            tokens: samples * self.seq as u64,
            first: self.metrics.judged_at(0).unwrap_or(none),
            last: self.metrics.judged_at(steps).unwrap_or(none),
            folder: self.folder.to_owned(),
        })
    }

    fn write_results(&self, summary: &Summary, data: &Path) -> Result<(), SessionError> {
        to_checkpoint(&self.trainer.model).write(&self.folder.join("model.safetensors"))?;
        let tokenizer = data.join("tokenizer.json");
        let bytes = fs::read(&tokenizer).map_err(at(&tokenizer))?;
        self.write("tokenizer.json", &bytes)?;
        let report = serde_json::json!({
            "model": self.trainer.model.network.config(),
            "train": self.recipe.train,
            "data": self.recipe.data,
            "summary": summary,
        });
        let report = serde_json::to_string_pretty(&report).expect("a report is plain data");
        self.write("report.json", report.as_bytes())?;
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        self.write("loss.svg", self.metrics.losses().svg(&name).as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SessionError> {
        let path = self.folder.join(name);
        write_whole(&path, bytes).map_err(at(&path))
    }
}

fn check_vocab(train: &Tokens, valid: &Tokens, vocab: usize) -> Result<(), SessionError> {
    let (theirs, judged) = (train.vocab(), valid.vocab());
    if theirs != judged || theirs > vocab {
        return Err(SessionError::Data(format!(
            "train.tokens has a vocabulary of {theirs}, valid.tokens one of {judged} and the model one of \
             {vocab}: tokenise both with one tokeniser, and leave vocab out of [model]"
        )));
    }
    Ok(())
}

/// `metrics.jsonl`, and what is in it.
struct Metrics {
    file: Option<(PathBuf, File)>,
    lines: Vec<Line>,
}

/// A line: a step, or a look at the validation text before it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Step {
        step: u64,
        loss: f32,
        gradient: f32,
        rate: f32,
        tokens: u64,
        tokens_per_s: f64,
    },
    Judged {
        step: u64,
        valid_loss: f64,
        bits_per_byte: f64,
        tokens: u64,
    },
}

impl Metrics {
    /// Goes on before `step`: what is there of later steps is taken again.
    fn open(path: Option<PathBuf>, step: u64) -> Result<Self, SessionError> {
        let Some(path) = path else {
            return Ok(Self {
                file: None,
                lines: Vec::new(),
            });
        };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            text => text.unwrap_or_default(),
        };
        let known = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        // A look before `step` itself is taken again, with the same result.
        let before = |line: &Line| match line {
            Line::Step { step: at, .. } | Line::Judged { step: at, .. } => *at < step,
        };
        let lines: Vec<Line> = known.filter(before).collect();
        let text: String = lines.iter().map(Line::text).collect();
        write_whole(&path, text.as_bytes()).map_err(at(&path))?;
        let file = File::options().append(true).open(&path).map_err(at(&path))?;
        Ok(Self {
            file: Some((path, file)),
            lines,
        })
    }

    fn step(&mut self, step: &Step, tokens_per_s: f64) -> Result<(), SessionError> {
        let Step {
            step,
            loss,
            gradient,
            rate,
            tokens,
        } = *step;
        self.add(Line::Step {
            step,
            loss,
            gradient,
            rate,
            tokens,
            tokens_per_s,
        })
    }

    fn judged(&mut self, step: u64, judged: Judged) -> Result<(), SessionError> {
        let Judged {
            loss,
            bits_per_byte,
            tokens,
        } = judged;
        self.add(Line::Judged {
            step,
            valid_loss: loss,
            bits_per_byte,
            tokens,
        })
    }

    fn add(&mut self, line: Line) -> Result<(), SessionError> {
        self.lines.push(line);
        match &mut self.file {
            Some((path, file)) => file.write_all(line.text().as_bytes()).map_err(at(path)),
            None => Ok(()),
        }
    }

    fn judged_at(&self, wanted: u64) -> Option<Judged> {
        self.lines.iter().find_map(|line| match *line {
            Line::Judged {
                step,
                valid_loss,
                bits_per_byte,
                tokens,
            } if step == wanted => Some(Judged {
                loss: valid_loss,
                bits_per_byte,
                tokens,
            }),
            _ => None,
        })
    }

    fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        for line in &self.lines {
            match *line {
                Line::Step { step, loss, .. } => losses.train.push((step, loss)),
                Line::Judged { step, valid_loss, .. } => losses.valid.push((step, valid_loss as f32)),
            }
        }
        losses
    }
}

impl Line {
    fn text(&self) -> String {
        let line = serde_json::to_string(self).expect("metrics are plain data");
        format!("{line}\n")
    }
}

/// Says which file it was.
fn at(path: &Path) -> impl FnOnce(io::Error) -> SessionError {
    let path = path.to_owned();
    move |error| SessionError::File { path, error }
}
