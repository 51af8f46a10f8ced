//! What a job leaves behind: the model, the tokeniser that goes with it, and a report. Asked again, it is
//! the same bytes again.

use crate::run::{RunError, at};
use crate::settings::Settings;
use crate::state::State;
use crate::tokens::{Tokens, Windows};
use nn::{Model, write_whole};
use serde::Serialize;
use std::f64::consts::LN_2;
use std::fs;
use sync::contract::JobFile;
use sync::{JobFolder, Written};
use train::Samples;

/// `outputs/report.json`. It tells no time and no speed: these are in `metrics.jsonl`.
#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    name: &'a str,
    rounds: u32,
    parameters: usize,
    /// Trained on, at all sites together.
    tokens: u64,
    /// Of the validation tokens, from the first on.
    evaluated_tokens: u64,
    bits_per_byte_first: f64,
    bits_per_byte_last: f64,
    /// The digest of weights and outer momentum after each round.
    outer: &'a [String],
    model: &'a nn::Config,
    settings: &'a Settings,
}

/// Writes the results of `model`, whose weights are the state's, and tells where they are.
pub(crate) fn write(
    folder: &JobFolder,
    job: &JobFile<Settings>,
    state: &State,
    model: &Model,
    valid: &Tokens,
) -> Result<Vec<Written>, RunError> {
    let judge = Judge::new(valid, &job.settings);
    // The seed gives the first weights again, so nobody has to keep them.
    let beginning = Model::new(model.config.clone(), job.settings.seed)?;
    let report = Report {
        job: &job.job,
        name: &job.name,
        rounds: state.committed(),
        parameters: model.params.len(),
        tokens: state.tokens,
        evaluated_tokens: judge.samples * job.settings.seq as u64,
        bits_per_byte_first: judge.bits_per_byte(&beginning)?,
        bits_per_byte_last: judge.bits_per_byte(model)?,
        outer: &state.digests,
        model: &model.config,
        settings: &job.settings,
    };
    let mut report = serde_json::to_string_pretty(&report).expect("a report is plain data");
    report.push('\n');

    model
        .to_checkpoint()
        .write(&folder.file("outputs/model.safetensors"))?;
    let path = folder.file("outputs/report.json");
    write_whole(&path, report.as_bytes()).map_err(at(&path))?;
    let mut outputs = vec![
        written("outputs/model.safetensors", "model"),
        written("outputs/report.json", "report"),
        written("metrics.jsonl", "metrics"),
    ];
    let tokeniser = folder.input("tokenizer.json");
    if tokeniser.exists() {
        let bytes = fs::read(&tokeniser).map_err(at(&tokeniser))?;
        let path = folder.file("outputs/tokenizer.json");
        write_whole(&path, &bytes).map_err(at(&path))?;
        outputs.push(written("outputs/tokenizer.json", "tokenizer"));
    }
    Ok(outputs)
}

fn written(file: &str, kind: &str) -> Written {
    Written {
        name: file.trim_start_matches("outputs/").to_owned(),
        file: file.to_owned(),
        kind: kind.to_owned(),
    }
}

/// How well a model guesses the validation text.
struct Judge<'a> {
    valid: &'a Tokens,
    samples: u64,
    batch: usize,
    seq: usize,
}

impl<'a> Judge<'a> {
    fn new(valid: &'a Tokens, settings: &Settings) -> Self {
        let all = Windows::new(valid, settings.seq).len();
        let asked = match settings.evaluate_tokens {
            0 => all,
            tokens => (tokens / settings.seq as u64).max(1),
        };
        Self {
            valid,
            samples: asked.min(all),
            batch: settings.batch,
            seq: settings.seq,
        }
    }

    /// Bits for a byte of the text: nats a token over the first samples, turned into bits and multiplied by
    /// the tokens a byte of the whole validation text. The bytes of just these samples are not known without
    /// the tokeniser; the text is taken to be as dense everywhere.
    fn bits_per_byte(&self, model: &Model) -> Result<f64, RunError> {
        let windows = Windows::new(self.valid, self.seq);
        let nats = train::evaluate(model, &windows, self.samples, self.batch, self.seq)?;
        let tokens_a_byte = self.valid.len_tokens() as f64 / self.valid.text_bytes().max(1) as f64;
        Ok(nats / LN_2 * tokens_a_byte)
    }
}
