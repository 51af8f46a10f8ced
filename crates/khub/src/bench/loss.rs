//! `khub bench loss`: trains on real text, and leaves everything that a peer needs to do the same.

use super::{TRAINED_ON, leave, reviews, say, set_threads};
use crate::failure::Failure;
use language::{Architecture, Family, ModelConfig, Windows};
use nn::Model;
use serde_json::json;
use std::path::PathBuf;
use train::{Flow, Step, TrainConfig, Trainer, evaluate};

/// Trains a GPT-2-like model on NSMC.
#[derive(clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    steps: u64,
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

const SEQ: usize = 128;
const BATCH: usize = 16;
const VOCAB: usize = 4_096;
/// Samples of the validation text.
const JUDGED: u64 = 256;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    set_threads(args.threads)?;
    let (train, valid) = reviews(&args.dir, VOCAB, TRAINED_ON)?;

    let shape = ModelConfig {
        family: Architecture::Gpt2,
        vocab: train.vocab(),
        bias: false,
        gelu_exact: true,
        tied: false,
        hidden: 4 * ModelConfig::default().width,
        ..ModelConfig::default()
    };
    let settings = TrainConfig {
        batch: BATCH,
        steps: args.steps,
        ..TrainConfig::default()
    };
    let model = Model::new(Family::new(shape.clone()).map_err(Failure::new)?, settings.seed);
    let run = leave::Run {
        dir: &args.dir,
        shape: &shape,
        settings: &settings,
        seq: SEQ,
        judged: JUDGED,
    };
    run.leave_model(&model)?;
    run.leave_rows(&train, &valid)?;

    let mut trainer = Trainer::new(model, settings.clone()).map_err(Failure::new)?;
    let mut rates = Vec::new();
    let mut after = |step: &Step| {
        rates.push(step.rate);
        match say(&json!({ "step": step.step, "loss": step.loss })) {
            Ok(()) => Flow::GoOn,
            Err(_) => Flow::Stop,
        }
    };
    let windows = Windows::new(&train, SEQ);
    let end = args.steps * BATCH as u64;
    trainer
        .train(&windows, 0, end, &mut after)
        .map_err(Failure::new)?;
    run.leave_settings(&rates, &serde_json::Value::Null)?;
    let loss = evaluate(&trainer.model, &Windows::new(&valid, SEQ), JUDGED, BATCH).map_err(Failure::new)?;
    let version = format!("khub {}", env!("CARGO_PKG_VERSION"));
    say(&json!({ "valid_loss": loss, "version": version }))
}
