//! What a job leaves behind: the model, the tokeniser that goes with it, and a report. Asked again, it is
//! the same bytes again.

use crate::judge::Judge;
use crate::settings::Settings;
use crate::tokens::Tokens;
use crate::{Family, ModelConfig, to_checkpoint};
use nn::{Model, write_whole};
use program::{Agreed, RunError, at, written};
use serde::Serialize;
use std::fs;
use sync::contract::JobFile;
use sync::{JobFolder, Written};

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
    model: &'a ModelConfig,
    settings: &'a Settings,
}

/// Writes the results of `model`, whose weights are those agreed on, and tells where they are.
pub(crate) fn write(
    folder: &JobFolder,
    job: &JobFile<Settings>,
    agreed: &Agreed,
    model: &Model<Family>,
    valid: &Tokens,
) -> Result<Vec<Written>, RunError> {
    let settings = &job.settings;
    let judge = Judge::new(valid, settings.seq, settings.batch, settings.evaluate_tokens);
    // The seed gives the first weights again, so nobody has to keep them.
    let beginning = Model::new(model.network.clone(), job.settings.seed);
    let last = judge.judge(model)?;
    let report = Report {
        job: &job.job,
        name: &job.name,
        rounds: agreed.committed(),
        parameters: model.params.len(),
        tokens: agreed.tokens,
        evaluated_tokens: last.tokens,
        bits_per_byte_first: judge.judge(&beginning)?.bits_per_byte,
        bits_per_byte_last: last.bits_per_byte,
        outer: &agreed.digests,
        model: model.network.config(),
        settings: &job.settings,
    };
    let mut report = serde_json::to_string_pretty(&report).expect("a report is plain data");
    report.push('\n');

    to_checkpoint(model).write(&folder.file("outputs/model.safetensors"))?;
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
