//! For a program of another kind, such as a PyTorch loop, that trains the same model in the same job: the
//! same tensors in the same order, the same first weights, samples and learning rates, and the same results.
//! So whichever of the two a site runs, the others can't tell.

use crate::finish;
use crate::job::{held_out, open_inputs};
use crate::settings::Settings;
use crate::tokens::Tokens;
use crate::windows::Windows;
use crate::{Family, ModelConfig, hf};
use nn::{Layout, Model, Network};
use program::{Agreed, JobSettings as _, RunError, read_job};
use serde_json::Value;
use sync::contract::JobFile;
use sync::{HeldOut, JobFolder, Written};
use train::Samples;

/// The model of a job of ours, for whoever trains it elsewhere.
#[derive(Debug)]
pub struct Twin {
    folder: JobFolder,
    job: JobFile<Settings>,
    family: Family,
    train: Tokens,
    valid: Tokens,
}

impl Twin {
    /// Reads the job in `folder`, as [`crate::run`] does.
    pub fn open(folder: &JobFolder) -> Result<Self, RunError> {
        let job = read_job::<Settings>(&folder.job())?;
        let (train, valid) = open_inputs(folder, job.settings.seq)?;
        Ok(Self {
            folder: folder.clone(),
            family: Family::new(job.settings.shape(train.vocab()))?,
            job,
            train,
            valid,
        })
    }

    /// The job's settings, with what it doesn't say filled in.
    pub fn settings(&self) -> &Settings {
        &self.job.settings
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        self.family.config()
    }

    /// Its tensors, in the order in which they lie in the vector of its weights.
    pub fn layout(&self) -> &Layout {
        self.family.layout()
    }

    /// The weights before the first round.
    pub fn first_weights(&self) -> Vec<f32> {
        self.layout().new_params(self.job.settings.seed)
    }

    /// The learning rate of a step of the schedule, which spans all rounds.
    pub fn rate(&self, step: u64) -> f32 {
        self.job.settings.training(self.job.rounds).schedule().rate(step)
    }

    /// How many samples there are.
    pub fn samples(&self) -> u64 {
        Windows::new(&self.train, self.job.settings.seq).len()
    }

    /// The tokens of a sample: one more than are predicted. None if there is no such sample.
    pub fn sample(&self, number: u64) -> Option<Vec<u32>> {
        let seq = self.job.settings.seq;
        (number < self.samples()).then(|| self.train.read(number * seq as u64, seq + 1))
    }

    /// The loss on held-out samples of a model with these weights, as khub's core reckons it, so that all sites tell the
    /// same of an update.
    ///
    /// # Panics
    /// If they are of another model.
    pub fn held_out(&self, weights: &[f32], samples: &HeldOut) -> Result<f64, RunError> {
        held_out(&self.folder, &self.job.settings, &self.model(weights), samples)
    }

    /// Writes the job's results for what all sites agreed on at its end.
    ///
    /// # Panics
    /// If that is of another model.
    pub fn finish(&self, agreed: &Agreed) -> Result<Vec<Written>, RunError> {
        let model = self.model(agreed.outer.params());
        finish::write(&self.folder, &self.job, agreed, &model, &self.valid)
    }

    fn model(&self, weights: &[f32]) -> Model<Family> {
        assert_eq!(weights.len(), self.layout().len(), "the model's weights");
        Model {
            network: self.family.clone(),
            params: weights.to_vec(),
        }
    }
}

/// Where each of a model's tensors stands in `transformers`: its name, its shape there, and whether its rows
/// are columns there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The name in a state dictionary.
    pub name: String,
    /// The shape there.
    pub shape: Vec<usize>,
    /// Whether it is transposed there, as GPT-2's linear weights are.
    pub transposed: bool,
}

impl ModelConfig {
    /// The model's tensors in the order in which they lie, as `transformers` has them.
    pub fn placed(&self) -> Result<Vec<Placed>, nn::Error> {
        let family = Family::new(self.clone())?;
        let placed = family.layout().tensors.iter().map(|tensor| Placed {
            name: tensor.name.clone(),
            shape: hf::shape_in_file(self.family, &tensor.name, &tensor.shape),
            transposed: hf::is_transposed(self.family, &tensor.name),
        });
        Ok(placed.collect())
    }

    /// What `config.json` says of it in `transformers`; `end` is the token that ends a text.
    pub fn to_transformers(&self, end: u32) -> Result<Value, hf::HfError> {
        hf::config::write(self, nn::checkpoint::Dtype::F32, end)
    }
}
