//! `khub bench loss`: trains on real text, and leaves everything that a peer needs to do the same.

use super::{reviews, say, set_threads};
use crate::failure::Failure;
use language::{Architecture, ExportOptions, Family, ModelConfig, Tokens, Windows, export};
use nn::{Model, write_whole};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use train::{Flow, Order, Samples, Step, TrainConfig, Trainer, evaluate};

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
    let (train, valid) = reviews(&args.dir, VOCAB)?;

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
    let first = args.dir.join("first");
    export(&model, &first, &ExportOptions::default()).map_err(Failure::new)?;
    let weights = fs::read(first.join("model.safetensors")).map_err(Failure::new)?;
    write(&args.dir.join("first.safetensors"), &weights)?;
    leave_rows(&args.dir, &train, &valid, &settings)?;

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
    leave_settings(&args.dir, &shape, &settings, &rates)?;
    let loss = evaluate(&trainer.model, &Windows::new(&valid, SEQ), JUDGED, BATCH).map_err(Failure::new)?;
    let version = format!("khub {}", env!("CARGO_PKG_VERSION"));
    say(&json!({ "valid_loss": loss, "version": version }))
}

/// The tokens of every step in their order, and those to be judged by.
fn leave_rows(dir: &Path, train: &Tokens, valid: &Tokens, settings: &TrainConfig) -> Result<(), Failure> {
    let order = Order::new(Windows::new(train, SEQ).len(), settings.seed);
    let samples = (0..settings.steps * BATCH as u64).map(|position| order.sample(position));
    write(&dir.join("order.u32"), &rows(train, samples))?;
    let judged = JUDGED.min(Windows::new(valid, SEQ).len());
    write(&dir.join("valid.u32"), &rows(valid, 0..judged))
}

fn rows(tokens: &Tokens, samples: impl Iterator<Item = u64>) -> Vec<u8> {
    let row = |sample: u64| tokens.read(sample * SEQ as u64, SEQ + 1);
    samples.flat_map(row).flat_map(u32::to_le_bytes).collect()
}

fn leave_settings(
    dir: &Path,
    shape: &ModelConfig,
    settings: &TrainConfig,
    rates: &[f32],
) -> Result<(), Failure> {
    let settings = json!({
        "layers": shape.layers, "width": shape.width, "heads": shape.heads,
        "context": shape.context, "vocab": shape.vocab,
        "linear_bias": shape.bias, "tied": shape.tied, "activation": "gelu", "norm_eps": shape.norm_eps,
        "batch": BATCH, "seq": SEQ, "rates": rates,
        "betas": [settings.beta1, settings.beta2], "eps": 1e-8,
        "weight_decay": settings.weight_decay, "clip": settings.clip,
    });
    write(&dir.join("settings.json"), settings.to_string().as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).map_err(|error| Failure::file(path, error))
}
