//! Training: from chains with their structures to a folder of results.
//!
//! | file | what |
//! |---|---|
//! | `model.safetensors` | what [`Weights::load`] reads, when it is trained |
//! | `report.json` | what was trained, and how well it tells of chains that were held out |
//! | `metrics.jsonl` | a line for each step, and for each look at the held-out chains |
//! | `loss.svg` | the same as a picture |
//! | `checkpoints/` | where a run goes on that was stopped |
//!
//! Some chains are held out of the steps: those that share few 4-mers with any other, as chains that come later
//! will. They say how the training goes, and the confidence is learned from them.

use super::confidence;
use super::examples::{Chains, Changes};
use super::geometry::Known;
use super::library::{Library, chain};
use super::metrics::Metrics;
use super::relatives::{Hints, fours};
use super::trunk::{LONGEST, Shape, Trunk};
use super::weights::{Opinion, Weights, contacts};
use crate::measure::{ContactSettings, contact_precision, lddt_ca};
use crate::{Chain, Random};
use nn::{CheckpointError, Model, write_whole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;
use train::{Flow, Precision, Saver, Step, TrainConfig, Trainer, evaluate, load_latest};

/// What to train and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The network.
    pub shape: Shape,
    /// What is done to chains before it sees them.
    pub changes: Changes,
    /// How it learns.
    pub train: TrainConfig,
    /// What is told and kept on the way.
    pub run: Pace,
}

/// What is told and kept on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// The part of the chains that is held out.
    pub held_out: f64,
    /// Steps between two looks at them.
    pub evaluate_every: u64,
    /// Steps between two checkpoints.
    pub save_every: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            changes: Changes::default(),
            train: TrainConfig {
                batch: 8,
                parts: 8,
                precision: Precision::F32,
                learning_rate: 3e-3,
                warmup: 50,
                steps: 1_000,
                floor: 0.02,
                weight_decay: 0.05,
                beta2: 0.98,
                ..TrainConfig::default()
            },
            run: Pace::default(),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            held_out: 0.06,
            evaluate_every: 200,
            save_every: 100,
            keep: 2,
        }
    }
}

/// What a run tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It looks for every chain's relatives: so many of so many.
    Relatives(usize, usize),
    /// It begins, or goes on after `done` steps.
    Begins {
        /// Parameters.
        parameters: usize,
        /// Chains that it learns from, and chains that are held out.
        chains: (usize, usize),
        /// Steps that are done.
        done: u64,
        /// Steps in all.
        steps: u64,
    },
    /// A step was taken, at so many residues a second.
    Step(Step, f64),
    /// A look at the held-out chains before a step.
    Looked(u64, Looked),
    /// It folds the held-out chains to learn confidence: so many of so many.
    Folded(usize, usize),
    /// Something a person may want to know.
    Note(String),
}

/// How well held-out chains are told of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// Mean loss, nats a residue.
    pub loss: f64,
    /// P@L/2 at a separation of 12 and more, mean over chains of 30 residues and more.
    pub contact_precision: f64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Parameters.
    pub parameters: usize,
    /// Chains that it learned from.
    pub chains: usize,
    /// Chains that were held out.
    pub held_out: usize,
    /// Steps.
    pub steps: u64,
    /// After the last one.
    pub last: Looked,
    /// Mean lDDT of the held-out chains' CA, 0 to 1.
    pub lddt_ca: f64,
    /// Where everything is.
    pub folder: PathBuf,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Too few chains, or such as the network can't take.
    #[error("{0}")]
    Data(String),
    /// Training stopped; the last checkpoint is good.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// The network refused.
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
    #[error("{0} has a run with other settings or chains: take another folder, or put them back to go on")]
    OtherRun(PathBuf),
    /// Told to stop.
    #[error("stopped after step {0}; the same command goes on from there")]
    Stopped(u64),
}

/// Trains on `chains`, and leaves the results in `folder`. A run that was stopped, however suddenly, goes on at
/// its last checkpoint when it is started again, and comes to the same bits as one that wasn't.
///
/// # Errors
/// If there are fewer than ten chains, or files can't be written, or the settings are out of range.
pub fn train(
    chains: &[Chain],
    settings: &Settings,
    folder: &Path,
    told: &mut dyn FnMut(&Told) -> Flow,
) -> Result<Summary, NetError> {
    let library = Library::of(chains);
    check(&library)?;
    let library = library.0;
    let seed = settings.train.seed;
    let (held_out, learned) = parts(&library, settings.run.held_out, seed);
    let found = [&learned, &held_out].map(|part| unsought(part.len()));
    let part = |chains: Vec<_>, hints, changes| Chains {
        chains,
        hints,
        library: &library,
        changes,
        seed,
    };
    let parts = (
        part(learned, &found[0], Some(settings.changes.clone())),
        part(held_out, &found[1], None),
    );
    for (i, (part, chain)) in [&parts.0, &parts.1]
        .into_iter()
        .flat_map(|part| (0..part.chains.len()).map(move |chain| (part, chain)))
        .enumerate()
    {
        if i % 50 == 0 && told(&Told::Relatives(i, library.len())) == Flow::Stop {
            return Err(NetError::Stopped(0));
        }
        part.hints(chain);
    }
    let mut session = Session::new(&parts, settings, folder, told)?;
    session.run()?;
    session.saver.take().map_or(Ok(()), Saver::finish)?;
    session.finish(&library)
}

/// Refuses a library that is too small.
pub(super) fn check(library: &Library) -> Result<(), NetError> {
    match library.len() {
        10.. => Ok(()),
        few => Err(NetError::Data(format!(
            "{few} chains of 2 to {LONGEST} residues with N, CA and C: it takes 10 and more to learn from"
        ))),
    }
}

/// Places for what relatives say, which nobody has looked for yet.
pub(super) fn unsought(chains: usize) -> Vec<OnceLock<Hints>> {
    (0..chains).map(|_| OnceLock::new()).collect()
}

/// The chains that are held out, and those to learn from.
pub(super) fn parts(library: &[Known], part: f64, seed: u64) -> (Vec<&Known>, Vec<&Known>) {
    let held_out = loners(library, part, seed);
    let of = |held: bool| {
        let pairs = library.iter().zip(&held_out);
        pairs
            .filter(move |(_, own)| **own == held)
            .map(|(known, _)| known)
    };
    (of(true).collect(), of(false).collect())
}

/// Which chains are held out: drawn by the seed from those that share few 4-mers with every other.
fn loners(library: &[Known], part: f64, seed: u64) -> Vec<bool> {
    let mut owners: BTreeMap<[u8; 4], Vec<usize>> = BTreeMap::new();
    let own: Vec<_> = library.iter().map(|known| fours(&known.kinds)).collect();
    for (chain, own) in own.iter().enumerate() {
        for four in own {
            owners.entry(*four).or_default().push(chain);
        }
    }
    let alone = |chain: &usize| {
        let mut common: BTreeMap<usize, usize> = BTreeMap::new();
        for other in own[*chain].iter().flat_map(|four| &owners[four]) {
            *common.entry(*other).or_default() += 1;
        }
        let most = common
            .iter()
            .filter(|(other, _)| *other != chain)
            .map(|(_, n)| *n)
            .max();
        !own[*chain].is_empty() && most.unwrap_or(0) as f64 <= 0.3 * own[*chain].len() as f64
    };
    let mut loners: Vec<usize> = (0..library.len()).filter(alone).collect();
    Random::new(seed).shuffle(&mut loners);
    let mut held = vec![false; library.len()];
    let most = (part * library.len() as f64).round() as usize;
    loners.iter().take(most).for_each(|chain| held[*chain] = true);
    held
}

/// A run under way.
struct Session<'a> {
    settings: &'a Settings,
    folder: &'a Path,
    trainer: Trainer<Trunk>,
    chains: &'a Chains<'a>,
    held_out: &'a Chains<'a>,
    saver: Option<Saver>,
    metrics: Metrics,
    told: &'a mut dyn FnMut(&Told) -> Flow,
}

impl<'a> Session<'a> {
    fn new(
        (chains, held_out): &'a (Chains<'a>, Chains<'a>),
        settings: &'a Settings,
        folder: &'a Path,
        told: &'a mut dyn FnMut(&Told) -> Flow,
    ) -> Result<Self, NetError> {
        let model = Model::new(Trunk::new(settings.shape.clone())?, settings.train.seed);
        let mut trainer = Trainer::new(model, settings.train.clone())?;
        let residues: usize = chains.chains.iter().map(|known| known.len()).sum();
        let config = serde_json::json!({
            "settings": settings,
            "chains": [chains.chains.len(), held_out.chains.len(), residues],
        });
        let config = config.to_string();
        let home = folder.join("checkpoints");
        if let Some(saved) = load_latest(&home)? {
            if saved.config != config {
                return Err(NetError::OtherRun(folder.to_owned()));
            }
            for note in &saved.notes {
                told(&Told::Note(note.clone()));
            }
            trainer.restore(&saved)?;
        }
        let saver = Saver::new(&home, settings.run.keep, config, &trainer)?;
        let metrics = Metrics::open(folder.join("metrics.jsonl"), trainer.step)?;
        Ok(Self {
            settings,
            folder,
            trainer,
            chains,
            held_out,
            saver: Some(saver),
            metrics,
            told,
        })
    }

    fn run(&mut self) -> Result<(), NetError> {
        let (steps, pace) = (self.settings.train.steps, &self.settings.run);
        (self.told)(&Told::Begins {
            parameters: self.trainer.model.params.len(),
            chains: (self.chains.chains.len(), self.held_out.chains.len()),
            done: self.trainer.step,
            steps,
        });
        let mut began = Instant::now();
        while self.trainer.step < steps {
            let step = self.trainer.step;
            if step.is_multiple_of(pace.evaluate_every) {
                self.look()?;
            }
            let batch = self.settings.train.batch as u64;
            let samples: Vec<u64> = (step * batch..(step + 1) * batch).collect();
            let taken = self.trainer.take_step(self.chains, &samples)?;
            let speed = taken.tokens as f64 / began.elapsed().as_secs_f64().max(1e-9);
            began = Instant::now();
            self.metrics.step(&taken, speed)?;
            let stop = (self.told)(&Told::Step(taken, speed)) == Flow::Stop;
            let step = self.trainer.step;
            if stop || step.is_multiple_of(pace.save_every) || step == steps {
                let saver = self.saver.as_mut().expect("it is there until the end");
                saver.save(&self.trainer, step * batch)?;
            }
            if stop {
                self.saver.take().map_or(Ok(()), Saver::finish)?;
                return Err(NetError::Stopped(step));
            }
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), NetError> {
        let step = self.trainer.step;
        if self.held_out.chains.is_empty() || self.metrics.looked_at(step).is_some() {
            return Ok(());
        }
        let model = &self.trainer.model;
        let chains = self.held_out.chains.len() as u64;
        let loss = evaluate::<Trunk>(model, self.held_out, chains, 1)?;
        let settings = ContactSettings {
            separation: 12,
            part: 2,
        };
        let mut precisions = Vec::new();
        for (i, known) in self.held_out.chains.iter().enumerate() {
            if known.len() >= 30 {
                let example = super::examples::example(&known.kinds, self.held_out.hints(i).clone());
                let told = model.network.tell(&model.params, &nn::Pool::default(), &example);
                let likely = contacts(&told, known.len());
                precisions.extend(contact_precision(&likely, &chain(known), settings));
            }
        }
        let looked = Looked {
            loss,
            contact_precision: precisions.iter().sum::<f64>() / precisions.len().max(1) as f64,
        };
        self.metrics.looked(step, looked)?;
        (self.told)(&Told::Looked(step, looked));
        Ok(())
    }

    /// Learns confidence from the held-out chains, and writes what came out.
    fn finish(&mut self, library: &[Known]) -> Result<Summary, NetError> {
        let (told, held_out) = (&mut *self.told, &self.held_out.chains);
        let mut tell = |done| told(&Told::Folded(done, held_out.len()));
        let found = with_confidence(&self.trainer.model, library, held_out, &mut tell);
        let (weights, lddt_ca) = found.ok_or(NetError::Stopped(self.trainer.step))?;
        weights.save(&self.folder.join("model.safetensors"))?;
        let none = Looked {
            loss: f64::NAN,
            contact_precision: f64::NAN,
        };
        let summary = Summary {
            parameters: weights.parameters(),
            chains: self.chains.chains.len(),
            held_out: self.held_out.chains.len(),
            steps: self.trainer.step,
            last: self.metrics.looked_at(self.trainer.step).unwrap_or(none),
            lddt_ca,
            folder: self.folder.to_owned(),
        };
        let report = serde_json::json!({ "settings": self.settings, "summary": summary });
        let report = serde_json::to_string_pretty(&report).expect("a report is plain data");
        self.write("report.json", report.as_bytes())?;
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        self.write("loss.svg", self.metrics.losses().svg(&name).as_bytes())?;
        Ok(summary)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), NetError> {
        let path = self.folder.join(name);
        write_whole(&path, bytes).map_err(at(&path))
    }
}

/// The weights that fold: parameters, library, and confidence that is learned from chains held out of the training.
/// With them the mean lDDT of those chains' CA. None if `told`, who hears how many are done, says stop.
pub(super) fn with_confidence(
    model: &Model<Trunk>,
    library: &[Known],
    held_out: &[&Known],
    told: &mut dyn FnMut(usize) -> Flow,
) -> Option<(Weights, f64)> {
    let mut weights = Weights {
        trunk: model.network.clone(),
        params: model.params.clone(),
        library: library.to_vec(),
        confidence: [0.0; confidence::FACTS],
        pair_confidence: [0.0; confidence::PAIR_FACTS],
    };
    let mut opinions = Vec::new();
    for (i, known) in held_out.iter().enumerate() {
        if told(i) == Flow::Stop {
            return None;
        }
        opinions.push((*known, weights.opinion(&known.kinds, true)));
    }
    let lddt_ca = learn_confidence(&mut weights, &opinions);
    Some((weights, lddt_ca))
}

/// Fits both regressions to chains that the network has not seen; returns the mean lDDT of their CA.
fn learn_confidence(weights: &mut Weights, opinions: &[(&Known, Opinion)]) -> f64 {
    let (mut pairs, mut scores) = (Vec::new(), Vec::new());
    for (known, opinion) in opinions {
        let lddt = lddt_ca(&chain(&opinion.known(&known.kinds)), &chain(known));
        scores.push(lddt.score);
        let facts = confidence::facts(&opinion.told, &opinion.hints, &opinion.folded);
        let truths = facts.into_iter().zip(lddt.residues);
        pairs.extend(truths.filter_map(|(facts, truth)| Some((facts, truth? as f32))));
    }
    weights.confidence = confidence::fit(pairs);
    let of_pairs = opinions.iter().flat_map(|(known, opinion)| {
        let facts = confidence::facts(&opinion.told, &opinion.hints, &opinion.folded);
        let plddt = facts
            .iter()
            .map(|facts| confidence::lddt(&weights.confidence, facts));
        let facts = confidence::pair_facts(&opinion.told, &opinion.folded, &plddt.collect::<Vec<_>>());
        let truths = confidence::errors(&opinion.known(&known.kinds).frames, &known.frames);
        facts.into_iter().zip(truths)
    });
    weights.pair_confidence = confidence::fit(of_pairs.filter(|(facts, _)| facts[0] != 0.0));
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

/// Says which file it was.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> NetError {
    let path = path.to_owned();
    move |error| NetError::File { path, error }
}
