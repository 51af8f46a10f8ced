//! Language models as a job across sites: what [`program::run`] doesn't know.

use crate::Family;
use crate::finish;
use crate::settings::Settings;
use crate::tokens::Tokens;
use crate::windows::Windows;
use nn::Model;
use program::{Agreed, Programme, RunError};
use std::io::{BufRead, Write};
use std::path::Path;
use sync::contract::JobFile;
use sync::{HeldOut, JobFolder, Written};
use train::{Flow, Report, Samples, Step, Trainer};

/// Does the job in `folder`, as [`program::run`] has it: from token files to a language model.
///
/// # Errors
/// It is said to the site too. What was committed before it is safe.
pub fn run(
    folder: &JobFolder,
    orders: impl BufRead + Send + 'static,
    mut said: impl Write + Send,
) -> Result<(), RunError> {
    obey(folder, Box::new(orders), &mut said)
}

/// Not generic: what is, is compiled in the crate that uses it, and there the training would be built without
/// optimisation in a test.
fn obey(
    folder: &JobFolder,
    orders: Box<dyn BufRead + Send>,
    said: &mut (dyn Write + Send),
) -> Result<(), RunError> {
    program::run::<Language>(folder, None, orders, said)
}

/// A job of the programme language.
struct Language {
    folder: JobFolder,
    job: JobFile<Settings>,
    train: Tokens,
    valid: Tokens,
}

impl Programme for Language {
    type Settings = Settings;
    type Network = Family;

    fn open(folder: &JobFolder, job: &JobFile<Settings>, _: Option<&Path>) -> Result<Self, RunError> {
        let (train, valid) = open_inputs(folder, job.settings.seq)?;
        Ok(Self {
            folder: folder.clone(),
            job: job.clone(),
            train,
            valid,
        })
    }

    fn model(&self) -> Result<Model<Family>, RunError> {
        let config = self.job.settings.shape(self.train.vocab());
        Ok(Model::new(Family::new(config)?, self.job.settings.seed))
    }

    fn train(
        &self,
        trainer: &mut Trainer<Family>,
        first: u64,
        end: u64,
        after_step: &mut dyn FnMut(&Step) -> Flow,
    ) -> Result<Report, train::Error> {
        let windows = Windows::new(&self.train, self.job.settings.seq);
        trainer.train(&windows, first, end, after_step)
    }

    fn held_out(&self, model: &Model<Family>, samples: &HeldOut) -> Result<f64, RunError> {
        held_out(&self.folder, &self.job.settings, model, samples)
    }

    fn finish(&self, agreed: &Agreed, model: &Model<Family>) -> Result<Vec<Written>, RunError> {
        finish::write(&self.folder, &self.job, agreed, model, &self.valid)
    }
}

/// The loss on held-out samples.
pub(crate) fn held_out(
    folder: &JobFolder,
    settings: &Settings,
    model: &Model<Family>,
    HeldOut { input, samples }: &HeldOut,
) -> Result<f64, RunError> {
    let wrong = |what: String| RunError::Inputs(format!("inputs/{input}: {what}"));
    let tokens = Tokens::open(&folder.input(input)).map_err(|error| wrong(error.to_string()))?;
    let (theirs, ours) = (tokens.vocab(), model.network.config().vocab);
    if theirs != ours {
        return Err(wrong(format!(
            "a vocabulary of {theirs}, and the model has {ours}: hold out tokens of the same tokeniser"
        )));
    }
    let windows = Windows::new(&tokens, settings.seq);
    Ok(train::evaluate(model, &windows, *samples, settings.batch)?)
}

/// The training and the validation tokens.
pub(crate) fn open_inputs(folder: &JobFolder, seq: usize) -> Result<(Tokens, Tokens), RunError> {
    let open =
        |name: &str| Tokens::open(&folder.input(name)).map_err(|error| RunError::Inputs(error.to_string()));
    let (train, valid) = (open("train.tokens")?, open("valid.tokens")?);
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
        if Windows::new(tokens, seq).is_empty() {
            return Err(RunError::Inputs(format!(
                "inputs/{name}.tokens has {} tokens: a sample takes seq + 1, which is {}",
                tokens.len_tokens(),
                seq + 1
            )));
        }
    }
    Ok((train, valid))
}
