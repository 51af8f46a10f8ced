//! The head and its loss, fused and a chunk of rows at a time, so that the logits of a whole batch never
//! exist: at a vocabulary of 16,384 they would be most of a step's memory.

use super::linear;
use super::simd::{exp_sum, max, vectorised};
use rayon::prelude::*;

/// Rows whose logits exist at one time.
pub(crate) const CHUNK: usize = 256;

/// Sum of `-ln p(target)` over the rows, in nats. Uses `logits` (`CHUNK` rows of V) as workspace.
pub(crate) fn loss(h_nc: &[f32], w_vc: &[f32], targets_n: &[u32], logits: &mut [f32], c: usize) -> f64 {
    let v = w_vc.len() / c;
    let mut total = 0.0;
    for (h, targets) in h_nc.chunks(CHUNK * c).zip(targets_n.chunks(CHUNK)) {
        let logits = &mut logits[..targets.len() * v];
        linear::forward(h, w_vc, logits, c, false);
        total += cross_entropy(logits, targets, v, 0.0);
    }
    total
}

/// The same, and the gradients of the mean loss: sets `dh_nc`, adds to `dw_vc` unless it is the first write.
pub(crate) fn loss_and_gradient(
    h_nc: &[f32],
    w_vc: &[f32],
    targets_n: &[u32],
    logits: &mut [f32],
    dh_nc: &mut [f32],
    dw_vc: &mut [f32],
    c: usize,
) -> f64 {
    let v = w_vc.len() / c;
    let weight = 1.0 / targets_n.len() as f32;
    let mut total = 0.0;
    let chunks = h_nc
        .chunks(CHUNK * c)
        .zip(targets_n.chunks(CHUNK))
        .zip(dh_nc.chunks_mut(CHUNK * c));
    for (i, ((h, targets), dh)) in chunks.enumerate() {
        let logits = &mut logits[..targets.len() * v];
        linear::forward(h, w_vc, logits, c, false);
        total += cross_entropy(logits, targets, v, weight);
        linear::backward(h, w_vc, logits, dh, dw_vc, c, i > 0);
    }
    total
}

/// Sum of the rows' losses; with a `weight`, the logits become the gradient of `weight` times that sum.
fn cross_entropy(logits_nv: &mut [f32], targets_n: &[u32], v: usize, weight: f32) -> f64 {
    let losses: Vec<f64> = logits_nv
        .par_chunks_mut(v)
        .zip(targets_n)
        .map(|(row, &target)| row_loss(row, target as usize, weight))
        .collect();
    losses.iter().sum()
}

vectorised! {
    pub(crate) fn row_loss(row: &mut [f32], target: usize, weight: f32) -> f64 {
        let highest = max(row);
        let right = row[target];
        let sum = exp_sum(row, highest);
        if weight != 0.0 {
            let scale = weight / sum;
            for x in row.iter_mut() {
                *x *= scale;
            }
            row[target] -= weight;
        }
        f64::from(highest - right) + f64::from(sum).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise};

    #[test]
    fn backward_is_the_derivative() {
        let (n, c, v) = (CHUNK + 3, 6, 11);
        let (h, w) = (noise(n * c, 1), noise(v * c, 2));
        let targets: Vec<u32> = (0..n as u32).map(|i| i % v as u32).collect();
        let mut logits = vec![0.0; CHUNK * v];
        let (mut dh, mut dw) = (vec![0.0; h.len()], vec![0.0; w.len()]);
        loss_and_gradient(&h, &w, &targets, &mut logits, &mut dh, &mut dw, c);
        let mut mean = |h: &[f32], w: &[f32]| loss(h, w, &targets, &mut logits, c) / n as f64;
        check_gradient(&h, &dh, |h| mean(h, &w));
        check_gradient(&w, &dw, |w| mean(&h, w));
    }
}
