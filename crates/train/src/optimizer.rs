//! What moves the parameters, and what it remembers: AdamW in one pass over the flat vector, or Muon for the
//! hidden matrices and AdamW for the others.

use crate::muon::{Muon, Push, matrices, remember};
use crate::{Precision, Rule, TrainConfig};
use nn::{AdamW, Layout, Math, Tensor, sum_of_squares};
use rayon::prelude::*;

/// Elements that one task takes; fixed, so that the bits don't depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 16;

/// Moves the parameters.
#[derive(Debug)]
pub struct Optimizer {
    /// What it remembers between steps.
    pub moments: Moments,
    config: TrainConfig,
    muon: Muon,
}

/// What an optimiser remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Each parameter's running mean of the gradient, or, where Muon moves it, its momentum.
    pub m: Vec<f32>,
    /// Running mean of the gradient's square, of the parameters that AdamW moves, one tensor behind the other.
    pub v: Vec<f32>,
    /// Updates made.
    pub step: u64,
}

impl Moments {
    /// Moments of nothing yet.
    pub fn new(parameters: usize, by_adamw: usize) -> Self {
        Self {
            m: vec![0.0; parameters],
            v: vec![0.0; by_adamw],
            step: 0,
        }
    }
}

impl Optimizer {
    /// One that has seen nothing yet.
    pub(crate) fn new(layout: &Layout, config: &TrainConfig) -> Self {
        let by_adamw = layout
            .tensors
            .iter()
            .filter(|tensor| !by_muon(config.optimizer, tensor));
        let by_adamw = by_adamw.map(|tensor| tensor.range.len()).sum();
        Self {
            moments: Moments::new(layout.len(), by_adamw),
            config: config.clone(),
            muon: Muon::default(),
        }
    }

    /// Moves `params` against `gradient`, scaled by `scale` first (clipping).
    pub(crate) fn update(
        &mut self,
        params: &mut [f32],
        gradient: &[f32],
        layout: &Layout,
        rate: f32,
        scale: f32,
    ) {
        let Self {
            moments,
            config,
            muon,
        } = self;
        let math = match config.precision {
            Precision::F32 => Math::F32,
            Precision::Bf16 => Math::Bf16,
        };
        moments.step += 1;
        let mut v = moments.v.as_mut_slice();
        // Matrices take turns, so that no step has them all.
        let mut turns = moments.step..;
        for tensor in &layout.tensors {
            let range = tensor.range.clone();
            let decay = if tensor.shape.len() > 1 {
                config.weight_decay
            } else {
                0.0
            };
            let keep = 1.0 - rate * decay;
            let (p, g) = (&mut params[range.clone()], &gradient[range.clone()]);
            let m = &mut moments.m[range];
            if by_muon(config.optimizer, tensor) {
                let (count, rows) = matrices(tensor);
                let size = p.len() / count;
                let rate = rate * config.muon_every as f32;
                let push = Push {
                    momentum: config.momentum,
                    rate,
                    keep: 1.0 - rate * decay,
                    scale,
                    math,
                };
                let parts = p.chunks_mut(size).zip(g.chunks(size)).zip(m.chunks_mut(size));
                for (((p, g), m), turn) in parts.zip(&mut turns) {
                    if turn.is_multiple_of(config.muon_every) {
                        muon.update(p, g, m, rows, push);
                    } else {
                        remember(m, g, push);
                    }
                }
            } else {
                let (here, rest) = std::mem::take(&mut v).split_at_mut(p.len());
                v = rest;
                by_adamw(adamw(config, moments.step, rate, keep, scale), p, g, m, here);
            }
        }
    }
}

/// Whether `tensor` is a hidden layer's matrix, which Muon is for. Tables, heads, routers and vectors are not:
/// their rows are things of their own, of which a step sees some. The names are those of published models.
pub fn hidden(tensor: &Tensor) -> bool {
    let aside = |part: &str| {
        part.contains("embed") || part.ends_with("head") || ["wte", "wpe", "gate", "router"].contains(&part)
    };
    tensor.shape.len() == 2 && !tensor.name.split('.').any(aside)
}

/// Whether Muon moves `tensor` under this rule.
pub(crate) fn by_muon(rule: Rule, tensor: &Tensor) -> bool {
    rule == Rule::Muon && hidden(tensor)
}

/// The length of the gradient as a vector, added up in a fixed order.
pub(crate) fn norm(gradient: &[f32]) -> f32 {
    let parts: Vec<f64> = gradient.par_chunks(CHUNK).map(sum_of_squares).collect();
    parts.iter().sum::<f64>().sqrt() as f32
}

fn adamw(config: &TrainConfig, step: u64, rate: f32, keep: f32, scale: f32) -> AdamW {
    let power = i32::try_from(step).unwrap_or(i32::MAX);
    AdamW {
        rate,
        betas: (config.beta1, config.beta2),
        unbias: (1.0 - config.beta1.powi(power), 1.0 - config.beta2.powi(power)),
        keep,
        scale,
    }
}

fn by_adamw(rule: AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| rule.update(p, g, m, v));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Adder;
    use nn::{Init, Model, Network};

    /// The formula of the paper, in f64 and element by element.
    #[test]
    fn adamw_is_the_paper_s_formula() {
        let mut model = Model::new(Adder::default(), 1);
        let layout = model.network.layout().clone();
        let gradient = |k: usize, i: usize| ((i * k) as f32 * 0.7).sin();
        let gradients: Vec<Vec<f32>> = (1..4)
            .map(|k| (0..layout.len()).map(|i| gradient(k, i)).collect())
            .collect();
        let (rate, decay, b1, b2) = (0.01, 0.1, 0.9, 0.95);
        let mut expected: Vec<f64> = model.params.iter().map(|p| f64::from(*p)).collect();
        for tensor in &layout.tensors {
            for i in tensor.range.clone() {
                let (mut m, mut v) = (0.0f64, 0.0f64);
                for (t, gradient) in (1..).zip(&gradients) {
                    let g = f64::from(gradient[i]) * 0.5;
                    (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
                    let (m_hat, v_hat) = (m / (1.0 - b1.powi(t)), v / (1.0 - b2.powi(t)));
                    let decay = if tensor.shape.len() > 1 { decay } else { 0.0 };
                    expected[i] -= rate * (m_hat / (v_hat.sqrt() + 1e-8) + decay * expected[i]);
                }
            }
        }
        let mut adamw = Optimizer::new(&layout, &TrainConfig::default());
        for gradient in &gradients {
            adamw.update(&mut model.params, gradient, &layout, rate as f32, 0.5);
        }
        for (p, e) in model.params.iter().zip(expected) {
            assert!((f64::from(*p) - e).abs() < 1e-6, "{p} {e}");
        }
    }

    #[test]
    fn muon_leaves_what_is_not_hidden_to_adamw() {
        let after = |optimizer| {
            let mut model = Model::new(Adder::default(), 1);
            let layout = model.network.layout().clone();
            let gradient: Vec<f32> = (0..layout.len()).map(|i| (i as f32 * 0.3).sin()).collect();
            let config = TrainConfig {
                optimizer,
                ..TrainConfig::default()
            };
            let mut optimizer = Optimizer::new(&layout, &config);
            for _ in 0..3 {
                optimizer.update(&mut model.params, &gradient, &layout, 0.01, 1.0);
            }
            model.params
        };
        let (adamw, muon) = (after(Rule::AdamW), after(Rule::Muon));
        for tensor in &Adder::default().layout().tensors {
            let same = adamw[tensor.range.clone()] == muon[tensor.range.clone()];
            assert_eq!(same, tensor.name != "up", "{}", tensor.name);
        }
    }

    #[test]
    fn matrices_take_turns_and_go_as_far_as_without() {
        let mut layout = Layout::default();
        for name in ["up", "down", "c_proj"] {
            layout.add(name, &[6, 4], Init::Zeros);
        }
        let gradient: Vec<f32> = (0..layout.len()).map(|i| (i as f32 * 0.3).sin()).collect();
        // How far the weights went in each of six steps.
        let ways = |muon_every| {
            let config = TrainConfig {
                optimizer: Rule::Muon,
                weight_decay: 0.0,
                muon_every,
                ..TrainConfig::default()
            };
            let mut optimizer = Optimizer::new(&layout, &config);
            let ways = (0..6).map(|_| {
                let mut way = vec![0.0; layout.len()];
                optimizer.update(&mut way, &gradient, &layout, 0.01, 1.0);
                way
            });
            ways.collect::<Vec<_>>()
        };
        for (step, (each, third)) in (1..).zip(ways(1).into_iter().zip(ways(3))) {
            for (i, tensor) in (0..).zip(&layout.tensors) {
                let moves = if (step + i) % 3 == 0 { 3.0 } else { 0.0 };
                for at in tensor.range.clone() {
                    let (each, third) = (moves * each[at], third[at]);
                    assert!((each - third).abs() < 1e-6, "step {step}, {}", tensor.name);
                }
            }
        }
    }

    #[test]
    fn published_names_say_what_is_hidden() {
        let cases = [
            ("model.embed_tokens.weight", false),
            ("transformer.wte.weight", false),
            ("transformer.wpe.weight", false),
            ("lm_head.weight", false),
            ("model.layers.0.block_sparse_moe.gate.weight", false),
            ("model.layers.0.block_sparse_moe.experts.3.w1.weight", true),
            ("model.layers.0.mlp.gate_proj.weight", true),
            ("model.layers.11.self_attn.q_proj.weight", true),
            ("transformer.h.0.attn.c_attn.weight", true),
        ];
        for (name, expected) in cases {
            for (shape, matrix) in [(&[6, 4][..], true), (&[24], false), (&[2, 3, 4], false)] {
                let mut layout = Layout::default();
                layout.add(name, shape, Init::Zeros);
                assert_eq!(hidden(&layout.tensors[0]), expected && matrix, "{name} {shape:?}");
            }
            let mut layout = Layout::default();
            layout.add(name, &[6, 4], Init::Zeros);
            let joined = if name.contains("c_attn") { (3, 2) } else { (1, 6) };
            assert_eq!(matrices(&layout.tensors[0]), joined, "{name}");
        }
    }

    #[test]
    fn the_norm_is_the_length() {
        let gradient: Vec<f32> = (0..200_000).map(|i| (i as f32).cos()).collect();
        let plain = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm(&gradient)) - plain).abs() < 1e-3);
    }
}
