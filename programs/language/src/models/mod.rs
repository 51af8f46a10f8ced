//! The model families, a readable file each, and what they have in common: rows of tokens in, a loss or the
//! next token's logits out.
//!
//! ```
//! use language::{Family, ModelConfig, Rows};
//! use nn::{Model, Pool};
//! let config = ModelConfig { vocab: 64, width: 16, layers: 1, heads: 2, hidden: 32, context: 8, ..ModelConfig::default() };
//! let model = Model::new(Family::new(config)?, 7);
//! let tokens: Vec<u32> = (0..18).collect(); // two rows of 8 tokens and the one to predict after them
//! let nats = model.loss(&Pool::<f32>::default(), &Rows::new(&tokens, 8))?;
//! assert!((nats - 64f64.ln()).abs() < 0.1, "a new model knows nothing: {nats}");
//! # Ok::<(), nn::Error>(())
//! ```

mod config;
mod decoder;
mod gpt2;
mod llama;
mod mixtral;
mod rows;

pub use config::{Architecture, Experts, ModelConfig, presets};
pub use decoder::Decoder;
pub use rows::Rows;

use gpt2::Gpt2;
use llama::Llama;
use mixtral::Mixtral;
use nn::{Checkpoint, CheckpointError, Element, Error, Layout, Model, Network, Param, Tape, Var};
use std::collections::BTreeMap;

/// A decoder of one of the families.
#[derive(Debug, Clone)]
pub struct Family {
    config: ModelConfig,
    layout: Layout,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Gpt2(Gpt2),
    Llama(Llama),
    Mixtral(Mixtral),
}

impl Family {
    /// The network of a shape; a shape that can't be built is refused by the field.
    pub fn new(config: ModelConfig) -> Result<Self, Error> {
        config.check()?;
        let mut layout = Layout::default();
        let kind = match config.family {
            Architecture::Gpt2 => Kind::Gpt2(Gpt2::new(&config, &mut layout)),
            Architecture::Llama => Kind::Llama(Llama::new(&config, &mut layout)),
            Architecture::Mixtral => Kind::Mixtral(Mixtral::new(&config, &mut layout)),
        };
        Ok(Self { config, layout, kind })
    }

    /// Its shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Computes each block again on the way back instead of keeping its activations: less memory, a third
    /// more time.
    pub fn recompute(&mut self, recompute: bool) {
        match &mut self.kind {
            Kind::Gpt2(model) => model.recompute = recompute,
            Kind::Llama(model) => model.recompute = recompute,
            Kind::Mixtral(model) => model.recompute = recompute,
        }
    }

    /// What the head reads: a normed row for each token.
    fn hidden<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, rows: &'a Rows) -> Var<'a, E> {
        match &self.kind {
            Kind::Gpt2(model) => model.hidden(tape, rows),
            Kind::Llama(model) => model.hidden(tape, rows),
            Kind::Mixtral(model) => model.hidden(tape, rows),
        }
    }

    /// The logits' weights: a row for each token of the vocabulary.
    fn head(&self) -> Param {
        match &self.kind {
            Kind::Gpt2(model) => model.head,
            Kind::Llama(model) => model.head,
            Kind::Mixtral(model) => model.head,
        }
    }

    /// A logit for each token of the vocabulary, for each row: for tests and small texts, since all exist at
    /// once.
    pub fn logits<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, rows: &'a Rows) -> Vec<f32> {
        let h = self.hidden(tape, rows);
        let logits = tape.linear(&h, self.head(), None);
        tape.read(&logits)
    }
}

impl Network for Family {
    type Batch = Rows;

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn check(&self, rows: &Rows) -> Result<(), Error> {
        rows.check(self.config.vocab, self.config.context)
    }

    fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, rows: &'a Rows) {
        let h = self.hidden(tape, rows);
        tape.cross_entropy(&h, self.head(), rows.targets());
    }
}

/// The model as a checkpoint: a tensor each under its name, the shape as JSON under `config`.
pub fn to_checkpoint(model: &Model<Family>) -> Checkpoint {
    let config = serde_json::to_string(model.network.config()).expect("a config is plain data");
    let mut checkpoint = Checkpoint {
        metadata: BTreeMap::from([("config".into(), config)]),
        ..Checkpoint::default()
    };
    for tensor in &model.network.layout().tensors {
        let values = model.params[tensor.range.clone()].to_vec();
        checkpoint.push(&tensor.name, &tensor.shape, values);
    }
    checkpoint
}

/// The model in a checkpoint; a tensor that is missing or has another shape is named.
pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Model<Family>, Error> {
    let config = checkpoint.metadata("config")?;
    let config: ModelConfig = serde_json::from_str(config)
        .map_err(|e| CheckpointError::content(format!("its config can't be read: {e}")))?;
    let network = Family::new(config)?;
    let mut params = vec![0f32; network.layout().len()];
    for tensor in &network.layout().tensors {
        let values = checkpoint.tensor(&tensor.name, &tensor.shape)?;
        params[tensor.range.clone()].copy_from_slice(values);
    }
    Ok(Model { network, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::{Bf16, Pool};

    /// A lively little model of each family: with the small weights of a new one, nothing would matter.
    fn models() -> Vec<Model<Family>> {
        let of = |family, change: fn(&mut ModelConfig)| {
            let mut config = ModelConfig {
                family,
                vocab: 13,
                width: 8,
                layers: 2,
                heads: 2,
                hidden: 12,
                context: 12,
                ..ModelConfig::default()
            };
            change(&mut config);
            let mut model = Model::new(Family::new(config).unwrap(), 0);
            let spread = |x: f32, noise: f32| x.clamp(0.0, 1.0).round() + 0.3 * noise;
            let noise = lively(model.params.len());
            model
                .params
                .iter_mut()
                .zip(noise)
                .for_each(|(x, noise)| *x = spread(*x, noise));
            model
        };
        vec![
            of(Architecture::Gpt2, |config| config.tied = false),
            of(Architecture::Gpt2, |config| {
                (config.bias, config.gelu_exact) = (false, true);
            }),
            of(Architecture::Llama, |config| config.kv_heads = Some(1)),
            of(Architecture::Mixtral, |config| {
                config.experts = Some(Experts {
                    count: 3,
                    balance: 0.1,
                    z: 0.01,
                    ..Experts::default()
                });
            }),
        ]
    }

    /// Numbers between -1 and 1 that look like noise.
    fn lively(len: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn logits(model: &Model<Family>, rows: &Rows) -> Vec<f32> {
        let pool = Pool::<f32>::default();
        model
            .network
            .logits(&mut Tape::inference(&pool, &model.params), rows)
    }

    fn assert_near(ours: &[f32], theirs: &[f32], allowed: f32, what: &str) {
        assert_eq!(ours.len(), theirs.len(), "{what}");
        let most = theirs.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= allowed * most, "{what}: {a} for {b}");
        }
    }

    #[test]
    fn packed_documents_are_as_if_alone() {
        // Token 0 ends a document; the second row begins within one.
        let tokens = [5, 3, 0, 7, 8, 9, 0, 1, 2, 4, 0, 0, 6, 11, 12, 10, 3, 1];
        let (t, cuts) = (8, [(0, 2), (2, 6), (6, 8), (9, 10), (10, 11), (11, 17)]);
        let packed = Rows::packed(&tokens, t, 0);
        for model in models() {
            let (vocab, family) = (model.network.config().vocab, model.network.config().family);
            let together = logits(&model, &packed);
            let plain = logits(&model, &Rows::new(&tokens, t));
            assert_ne!(together, plain, "{family:?}: who sees whom matters");
            for (from, to) in cuts {
                let alone = logits(&model, &Rows::reading(&tokens[from..to], 0));
                // A row's last token is only predicted: it isn't read.
                let place = from - from / (t + 1);
                let part = &together[place * vocab..][..(to - from) * vocab];
                assert_near(part, &alone, 1e-5, &format!("{family:?} {from}..{to}"));
            }
        }
    }

    #[test]
    fn a_sequence_in_pieces_is_the_same_sequence() {
        let tokens: Vec<u32> = (0..12).map(|i| i * 7 % 13).collect();
        for model in models() {
            let (vocab, family) = (model.network.config().vocab, model.network.config().family);
            let whole = logits(&model, &Rows::reading(&tokens, 0));
            for pieces in [&[12][..], &[1; 12], &[5, 1, 4, 2], &[1, 11]] {
                let (mut decoder, mut read) = (Decoder::new(&model), 0);
                for piece in pieces {
                    let next = decoder.feed(&tokens[read..read + piece]).unwrap();
                    read += piece;
                    let expected = &whole[(read - 1) * vocab..read * vocab];
                    assert_near(&next, expected, 1e-5, &format!("{family:?} {pieces:?} {read}"));
                }
                assert_eq!((read, decoder.room()), (12, 0));
                assert!(decoder.feed(&[1]).is_err());
            }
        }
    }

    fn gradient<E: Element>(model: &Model<Family>, rows: &Rows) -> (f64, Vec<f32>) {
        let mut gradient = vec![f32::NAN; model.params.len()];
        let loss = model.loss_and_gradient(&Pool::<E>::default(), rows, &mut gradient);
        (loss.unwrap(), gradient)
    }

    #[test]
    fn recomputing_changes_no_bit() {
        let tokens: Vec<u32> = (0..26).map(|i| i * 5 % 13).collect();
        for mut model in models() {
            for rows in [Rows::new(&tokens, 12), Rows::packed(&tokens, 12, 0)] {
                model.network.recompute(false);
                let kept = (gradient::<f32>(&model, &rows), gradient::<Bf16>(&model, &rows));
                model.network.recompute(true);
                let again = (gradient::<f32>(&model, &rows), gradient::<Bf16>(&model, &rows));
                assert!(kept == again, "{:?}", model.network.config().family);
                assert!(kept.0.1.iter().all(|x| x.is_finite()));
            }
        }
    }

    #[test]
    fn gradients_are_what_differences_say() {
        let tokens: Vec<u32> = (0..26).map(|i| i * 5 % 13).collect();
        let rows = Rows::packed(&tokens, 12, 0);
        for model in models() {
            let (_, gradient) = gradient::<f32>(&model, &rows);
            for tensor in &model.network.layout().tensors {
                let own = &gradient[tensor.range.clone()];
                let size = own.iter().map(|g| g * g).sum::<f32>().sqrt();
                for way in 1..4 {
                    let signs = lively(way * own.len());
                    let signs = signs[(way - 1) * own.len()..].iter().map(|x| x.signum());
                    let step = 4e-3 / (own.len() as f32).sqrt();
                    let loss = |step: f32| {
                        let mut near = model.clone();
                        let params = near.params[tensor.range.clone()].iter_mut();
                        params.zip(signs.clone()).for_each(|(x, sign)| *x += step * sign);
                        near.loss(&Pool::<f32>::default(), &rows).unwrap()
                    };
                    let numeric = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
                    let ours: f32 = own.iter().zip(signs.clone()).map(|(g, sign)| g * sign).sum();
                    let off = (numeric as f32 - ours).abs();
                    assert!(
                        off < 0.02 * size.max(1e-2),
                        "{}: {ours} for {numeric}, of {size}",
                        tensor.name
                    );
                }
            }
        }
    }
}
