//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) over one flat vector, in one pass.

use nn::Layout;
use rayon::prelude::*;

/// Elements that one task takes; fixed, so that the bits don't depend on the number of threads.
const CHUNK: usize = 1 << 16;

/// The moments of every parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Running mean of the gradient.
    pub m: Vec<f32>,
    /// Running mean of its square.
    pub v: Vec<f32>,
    /// Updates made.
    pub step: u64,
    /// Decay of `m` and `v`.
    pub betas: (f32, f32),
    /// Decay of matrices; vectors are left alone.
    pub weight_decay: f32,
}

/// Keeps the division apart from zero.
const EPS: f32 = 1e-8;

impl AdamW {
    /// Moments of nothing yet.
    pub fn new(parameters: usize, betas: (f32, f32), weight_decay: f32) -> Self {
        Self {
            m: vec![0.0; parameters],
            v: vec![0.0; parameters],
            step: 0,
            betas,
            weight_decay,
        }
    }

    /// Moves `params` against `gradient`, scaled by `scale` first (clipping).
    pub fn update(&mut self, params: &mut [f32], gradient: &[f32], layout: &Layout, rate: f32, scale: f32) {
        self.step += 1;
        let power = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (b1, b2) = self.betas;
        let (rate_m, root_v) = (rate / (1.0 - b1.powi(power)), 1.0 / (1.0 - b2.powi(power)).sqrt());
        for tensor in &layout.tensors {
            let range = tensor.range.clone();
            let keep = if tensor.shape.len() > 1 {
                1.0 - rate * self.weight_decay
            } else {
                1.0
            };
            params[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(gradient[range.clone()].par_chunks(CHUNK))
                .zip(self.m[range.clone()].par_chunks_mut(CHUNK))
                .zip(self.v[range].par_chunks_mut(CHUNK))
                .for_each(|(((p, g), m), v)| {
                    for i in 0..p.len() {
                        let g = g[i] * scale;
                        m[i] = b1 * m[i] + (1.0 - b1) * g;
                        v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                        p[i] = p[i] * keep - rate_m * m[i] / (v[i].sqrt() * root_v + EPS);
                    }
                });
        }
    }
}

/// The length of the gradient as a vector, added up in a fixed order.
pub(crate) fn norm(gradient: &[f32]) -> f32 {
    let part = |chunk: &[f32]| chunk.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    let parts: Vec<f64> = gradient.par_chunks(CHUNK).map(part).collect();
    parts.iter().sum::<f64>().sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::{Config, Model};

    /// The formula of the paper, in f64 and element by element.
    #[test]
    fn it_is_the_paper_s_formula() {
        let config = Config {
            vocab: 8,
            width: 4,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            hidden: 4,
            context: 4,
            ..Config::default()
        };
        let mut model = Model::new(config, 1).unwrap();
        let layout = model.layout().clone();
        let gradients: Vec<Vec<f32>> = (1..4)
            .map(|k| {
                (0..model.params.len())
                    .map(|i| ((i * k) as f32 * 0.7).sin())
                    .collect()
            })
            .collect();
        let (rate, decay, b1, b2) = (0.01, 0.1, 0.9, 0.95);
        let mut expected: Vec<f64> = model.params.iter().map(|p| f64::from(*p)).collect();
        for tensor in &layout.tensors {
            for i in tensor.range.clone() {
                let (mut m, mut v) = (0.0f64, 0.0f64);
                for (t, gradient) in gradients.iter().enumerate() {
                    let g = f64::from(gradient[i]) * 0.5;
                    (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
                    let (m_hat, v_hat) = (
                        m / (1.0 - b1.powi(t as i32 + 1)),
                        v / (1.0 - b2.powi(t as i32 + 1)),
                    );
                    let decay = if tensor.shape.len() > 1 { decay } else { 0.0 };
                    expected[i] -= rate * (m_hat / (v_hat.sqrt() + 1e-8) + decay * expected[i]);
                }
            }
        }
        let mut adamw = AdamW::new(model.params.len(), (b1 as f32, b2 as f32), decay as f32);
        for gradient in &gradients {
            adamw.update(&mut model.params, gradient, &layout, rate as f32, 0.5);
        }
        for (p, e) in model.params.iter().zip(expected) {
            assert!((f64::from(*p) - e).abs() < 1e-6, "{p} {e}");
        }
    }

    #[test]
    fn the_norm_is_the_length() {
        let gradient: Vec<f32> = (0..200_000).map(|i| (i as f32).cos()).collect();
        let plain = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm(&gradient)) - plain).abs() < 1e-3);
    }
}
