//! Folding as a job across sites: each trains on its own chains or on the library's, and the weights that all agree on
//! fold with the library.
//!
//! | input | what |
//! |---|---|
//! | `library.chains` | chains that relatives and templates are looked up in; `khub fold pack` makes it |
//! | `valid.chains` | chains that the result is judged by, if somebody gives some |
//!
//! With `own`, a site learns from the structures that it keeps, and from no others. They stay there: what leaves the
//! site are updates of the network, and the library of the weights is the job's input.

use super::examples::{Chains, Changes};
use super::geometry::Known;
use super::library::Library;
use super::relatives::Hints;
use super::session::{self, Settings, with_confidence};
use super::trunk::{Shape, Trunk};
use crate::{Chain, evaluate, read_structures, summarise};
use nn::{Model, write_whole};
use program::{Agreed, BadSetting, Programme, RunError, at, written};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::OnceLock;
use sync::contract::{JobFile, Rounds};
use sync::{HeldOut, JobFolder, OuterConfig, Written};
use train::{Flow, Report, Step, TrainConfig, Trainer};

/// The settings of a job. Each has a default; a key that is none of them is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobSettings {
    /// The network.
    pub shape: Shape,
    /// What is done to chains before it sees them.
    pub changes: Changes,
    /// How a site learns; its `steps` follow from the rounds.
    pub train: TrainConfig,
    /// How far the outer step goes.
    pub outer: OuterConfig,
    /// The part of the library that nobody learns from: confidence is learned from it.
    pub held_out: f64,
    /// Whether each site learns from the structures that it keeps itself, instead of the library.
    pub own: bool,
    /// Threads; 0 takes every processor. The weights don't depend on it.
    pub threads: usize,
}

impl Default for JobSettings {
    /// As `khub fold train` has it.
    fn default() -> Self {
        let Settings {
            shape,
            changes,
            train,
            run,
        } = Settings::default();
        Self {
            shape,
            changes,
            train,
            outer: OuterConfig::default(),
            held_out: run.held_out,
            own: false,
            threads: 0,
        }
    }
}

impl program::JobSettings for JobSettings {
    fn check(&self, rounds: Rounds) -> Result<(), BadSetting> {
        if !(0.0..=0.5).contains(&self.held_out) {
            return Err(BadSetting {
                key: "held_out",
                value: self.held_out.to_string(),
                wanted: "0 to 0.5".to_owned(),
            });
        }
        program::check(rounds, self.train.batch, self.outer, self.threads)
    }

    fn training(&self, rounds: Rounds) -> TrainConfig {
        let steps_a_round = rounds.samples / self.train.batch.max(1) as u64;
        TrainConfig {
            steps: u64::from(rounds.count).saturating_mul(steps_a_round),
            ..self.train.clone()
        }
    }

    fn outer(&self) -> OuterConfig {
        self.outer
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// Does the job in `folder`, as [`program::run`] has it: from chains to weights that fold. `own` is the folder of
/// structures that the site keeps.
///
/// # Errors
/// It is said to the site too. What was committed before it is safe.
pub fn run(
    folder: &JobFolder,
    own: Option<&Path>,
    orders: impl BufRead + Send + 'static,
    mut said: impl Write + Send,
) -> Result<(), RunError> {
    obey(folder, own, Box::new(orders), &mut said)
}

/// Not generic, so that it is compiled here, at full speed.
fn obey(
    folder: &JobFolder,
    own: Option<&Path>,
    orders: Box<dyn BufRead + Send>,
    said: &mut (dyn Write + Send),
) -> Result<(), RunError> {
    program::run::<Folding>(folder, own, orders, said)
}

/// A job of the programme folding.
struct Folding {
    folder: JobFolder,
    job: JobFile<JobSettings>,
    library: Vec<Known>,
    /// The site's own chains, if it learns from them.
    own: Option<Vec<Known>>,
    /// What relatives in the library say of each chain that is learned from.
    hints: Vec<OnceLock<Hints>>,
    valid: Vec<Chain>,
}

/// `outputs/report.json`. It tells nothing of a site's own chains but how many residues were seen.
#[derive(Serialize)]
struct JobReport<'a> {
    job: &'a str,
    name: &'a str,
    rounds: u32,
    parameters: usize,
    /// Learned from, at all sites together; a chain counts as often as it was seen.
    residues: u64,
    library: usize,
    held_out: usize,
    /// Mean lDDT of the held-out chains' CA, 0 to 1.
    held_out_lddt_ca: f64,
    /// What a leaderboard takes, if there are chains to judge by.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<Board<'a>>,
    /// The digest of weights and outer momentum after each round.
    outer: &'a [String],
    settings: &'a JobSettings,
}

/// How good the result is, on what: results that were judged on the same can be compared.
#[derive(Serialize)]
struct Board<'a> {
    judged_on: &'a str,
    rank_by: &'static str,
    higher_is_better: bool,
    /// Means over chains.
    scores: BTreeMap<&'static str, f64>,
}

const VALID: &str = "valid.chains";

impl Programme for Folding {
    type Settings = JobSettings;
    type Network = Trunk;

    fn open(folder: &JobFolder, job: &JobFile<JobSettings>, own: Option<&Path>) -> Result<Self, RunError> {
        let library = open_library(folder, "library.chains")?;
        session::check(&library).map_err(|error| wrong("inputs/library.chains", error))?;
        let valid = match folder.input(VALID).exists() {
            true => open_library(folder, VALID)?.chains(),
            false => Vec::new(),
        };
        let own = match (job.settings.own, own) {
            (false, _) => None,
            (true, Some(path)) => Some(read_own(path)?),
            (true, None) => {
                return Err(RunError::Inputs(format!(
                    "{} learns from each site's own structures, and site {} keeps none: start it with \
                     `khub site ... --own folding=DIR`",
                    job.job, job.site
                )));
            }
        };
        let mut opened = Self {
            folder: folder.clone(),
            job: job.clone(),
            library: library.0,
            own,
            hints: Vec::new(),
            valid,
        };
        opened.hints = session::unsought(opened.learned().len());
        Ok(opened)
    }

    fn model(&self) -> Result<Model<Trunk>, RunError> {
        let settings = &self.job.settings;
        Ok(Model::new(
            Trunk::new(settings.shape.clone())?,
            settings.train.seed,
        ))
    }

    fn train(
        &self,
        trainer: &mut Trainer<Trunk>,
        first: u64,
        end: u64,
        after_step: &mut dyn FnMut(&Step) -> Flow,
    ) -> Result<Report, train::Error> {
        let settings = &self.job.settings;
        let chains = Chains {
            chains: self.learned(),
            hints: &self.hints,
            library: &self.library,
            changes: Some(settings.changes.clone()),
            seed: settings.train.seed,
        };
        trainer.train_in_turn(&chains, first, end, after_step)
    }

    fn held_out(&self, model: &Model<Trunk>, samples: &HeldOut) -> Result<f64, RunError> {
        let settings = &self.job.settings;
        let held_out = open_library(&self.folder, &samples.input)?.0;
        let hints = session::unsought(held_out.len());
        let chains = Chains {
            chains: held_out.iter().collect(),
            hints: &hints,
            library: &self.library,
            changes: None,
            seed: settings.train.seed,
        };
        let batch = settings.train.batch;
        Ok(train::evaluate(model, &chains, samples.samples, batch)?)
    }

    fn finish(&self, agreed: &Agreed, model: &Model<Trunk>) -> Result<Vec<Written>, RunError> {
        let (held_out, _) = self.parts();
        let found = with_confidence(model, &self.library, &held_out, &mut |_| Flow::GoOn);
        let (weights, held_out_lddt_ca) = found.expect("nobody says stop");
        let report = JobReport {
            job: &self.job.job,
            name: &self.job.name,
            rounds: agreed.committed(),
            parameters: weights.parameters(),
            residues: agreed.tokens,
            library: self.library.len(),
            held_out: held_out.len(),
            held_out_lddt_ca,
            board: self.board(&weights),
            outer: &agreed.digests,
            settings: &self.job.settings,
        };
        let mut report = serde_json::to_string_pretty(&report).expect("a report is plain data");
        report.push('\n');
        weights.save(&self.folder.file("outputs/model.safetensors"))?;
        let path = self.folder.file("outputs/report.json");
        write_whole(&path, report.as_bytes()).map_err(at(&path))?;
        Ok(vec![
            written("outputs/model.safetensors", "model"),
            written("outputs/report.json", "report"),
            written("metrics.jsonl", "metrics"),
        ])
    }
}

impl Folding {
    /// The library's chains that nobody learns from, and the others.
    fn parts(&self) -> (Vec<&Known>, Vec<&Known>) {
        let settings = &self.job.settings;
        session::parts(&self.library, settings.held_out, settings.train.seed)
    }

    /// The chains that this site learns from.
    fn learned(&self) -> Vec<&Known> {
        match &self.own {
            Some(own) => own.iter().collect(),
            None => self.parts().1,
        }
    }

    fn board(&self, weights: &super::Weights) -> Option<Board<'_>> {
        let judged_on = self.job.inputs.get(VALID)?;
        let scores = evaluate(weights, &self.valid, &mut |_| ());
        let summary = summarise(&scores, 1);
        let measures = summary.measures.iter();
        let mut scores: BTreeMap<_, _> = measures.map(|(name, of)| (*name, of.mean)).collect();
        scores.extend(summary.confidence_pearson.map(|r| ("confidence_pearson", r)));
        Some(Board {
            judged_on,
            rank_by: "lddt_ca",
            higher_is_better: true,
            scores,
        })
    }
}

fn open_library(folder: &JobFolder, name: &str) -> Result<Library, RunError> {
    let failed = |error: nn::Error| wrong(&format!("inputs/{name}"), error);
    Library::load(&folder.input(name)).map_err(failed)
}

/// The site's own chains. Their names are nobody's business but the site's, so an error tells none.
fn read_own(path: &Path) -> Result<Vec<Known>, RunError> {
    let chains = read_structures(path).map_err(|error| wrong("the site's own structures", error))?;
    let library = Library::of(&chains);
    session::check(&library).map_err(|error| wrong("the site's own structures", error))?;
    Ok(library.0)
}

fn wrong(what: &str, error: impl std::fmt::Display) -> RunError {
    RunError::Inputs(format!("{what}: {error}"))
}
