//! What a peer in PyTorch needs to train what khub trained: the first weights, the tokens in their order, the
//! settings. `xtask/python/train_loss.py` tells the form.

use crate::failure::Failure;
use language::{ExportOptions, Family, ModelConfig, Tokens, Windows, export};
use nn::{Model, write_whole};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use train::{Order, Samples, TrainConfig};

/// A run that a peer is to repeat.
pub(super) struct Run<'a> {
    pub(super) dir: &'a Path,
    pub(super) shape: &'a ModelConfig,
    /// With the batch of all sites together.
    pub(super) settings: &'a TrainConfig,
    pub(super) seq: usize,
    /// Samples of the validation text.
    pub(super) judged: u64,
}

impl Run<'_> {
    /// The first weights, as GPT-2's files have them.
    pub(super) fn leave_model(&self, model: &Model<Family>) -> Result<(), Failure> {
        let first = self.dir.join("first");
        export(model, &first, &ExportOptions::default()).map_err(Failure::new)?;
        let weights = fs::read(first.join("model.safetensors")).map_err(Failure::new)?;
        write(&self.dir.join("first.safetensors"), &weights)
    }

    /// The tokens of every step in their order, and those to be judged by.
    pub(super) fn leave_rows(&self, train: &Tokens, valid: &Tokens) -> Result<(), Failure> {
        let (seq, settings) = (self.seq, self.settings);
        let order = Order::new(Windows::new(train, seq).len(), settings.seed);
        let samples = (0..settings.steps * settings.batch as u64).map(|position| order.sample(position));
        write(&self.dir.join("order.u32"), &rows(train, samples, seq))?;
        let judged = self.judged.min(Windows::new(valid, seq).len());
        write(&self.dir.join("valid.u32"), &rows(valid, 0..judged, seq))
    }

    /// The rest: shape, optimiser, the rate of every step, and how sites meet, if there are several.
    pub(super) fn leave_settings(&self, rates: &[f32], sites: &Value) -> Result<(), Failure> {
        let (shape, settings) = (self.shape, self.settings);
        let settings = json!({
            "layers": shape.layers, "width": shape.width, "heads": shape.heads,
            "context": shape.context, "vocab": shape.vocab,
            "linear_bias": shape.bias, "tied": shape.tied, "activation": "gelu", "norm_eps": shape.norm_eps,
            "batch": settings.batch, "seq": self.seq, "rates": rates,
            "betas": [settings.beta1, settings.beta2], "eps": 1e-8,
            "weight_decay": settings.weight_decay, "clip": settings.clip, "sites": sites,
        });
        write(&self.dir.join("settings.json"), settings.to_string().as_bytes())
    }
}

fn rows(tokens: &Tokens, samples: impl Iterator<Item = u64>, seq: usize) -> Vec<u8> {
    let row = |sample: u64| tokens.read(sample * seq as u64, seq + 1);
    samples.flat_map(row).flat_map(u32::to_le_bytes).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).map_err(|error| Failure::file(path, error))
}
