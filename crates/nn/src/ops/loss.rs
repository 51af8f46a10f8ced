//! Losses. The head's is fused with its linear layer and computed a chunk of rows at a time, so that the
//! logits of a whole batch never exist: at a vocabulary of 16,384 they would be most of a step's memory.

use super::linear;
use crate::kernel::Math;
use crate::simd::{exp_sum, max, sum, vectorised};
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

/// A target that is not counted.
pub const IGNORE: u32 = u32::MAX;

/// Rows whose logits exist at one time, at most: each such part packs the head's weights, and reads and writes
/// their gradient, once more.
const CHUNK: usize = 512;
/// Bytes of logits that exist at one time, unless that were too few rows.
const LOGITS: usize = 16 << 20;

/// What the rows of a value are to be told as.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// The class of each row, or [`IGNORE`].
    pub targets: &'a [u32],
    /// How much each row counts; alike, if nothing is said.
    pub weights: Option<&'a [f32]>,
    /// What the mean is multiplied by.
    pub factor: f32,
    /// The part of the target that is spread over all classes (Szegedy et al., arXiv 1512.00567).
    pub smoothing: f32,
}

impl<'a, E: Element> Tape<'a, E> {
    /// Adds the mean of `-ln p(target)` over the rows, in nats, where `p = softmax(h w^T)`. Rows whose target
    /// is [`IGNORE`] don't count. Returns the sum over the rows.
    pub fn cross_entropy(&mut self, h: &Var<'a, E>, w: Param, targets: &[u32]) -> f64 {
        let classes = Classes {
            targets,
            weights: None,
            factor: 1.0,
            smoothing: 0.0,
        };
        self.classify(h, w, classes)
    }

    /// The same for rows that count more or less, and targets that are smoothed: the weighted mean is
    /// `factor` times what is minimised. Returns the weighted sum over the rows.
    pub fn classify(&mut self, h: &Var<'a, E>, w: Param, classes: Classes<'_>) -> f64 {
        let Classes {
            targets,
            weights,
            factor,
            smoothing,
        } = classes;
        assert_eq!(h.rows, targets.len(), "a target for each row");
        assert!(
            weights.is_none_or(|weights| weights.len() == targets.len()),
            "a weight for each row"
        );
        let counted = counted(targets, weights);
        let weight = (f64::from(self.share * factor) / counted) as f32;
        let (c, v, trains) = (h.cols, w.rows, self.records());
        let (saved, values, params) = (h.saved(), h.buffer(), &self.params[w.range()]);
        let mut dh = trains.then(|| self.pool.take(values.len()));
        let mut gradient = self.gradient.as_mut().filter(|_| trains);
        let chunk = (LOGITS / size_of::<E>() / v).clamp(CHUNK / 8, CHUNK);
        let mut logits = self.pool.take(chunk.min(h.rows) * v);
        let mut nats = 0.0;
        for (i, (h, targets)) in values.chunks(chunk * c).zip(targets.chunks(chunk)).enumerate() {
            let (n, sizes) = (targets.len(), (targets.len(), v, c));
            let logits = &mut logits[..n * v];
            linear::forward_rows(h, params, logits, sizes, false);
            let weights = weights.map(|weights| &weights[i * chunk..][..n]);
            let weight = if trains { weight } else { 0.0 };
            nats += rows(logits, (targets, weights), v, (weight, smoothing));
            if let (Some(dh), Some(gradient)) = (&mut dh, &mut gradient) {
                let math = Math::of::<E>();
                let dh = &mut dh[i * chunk * c..][..n * c];
                linear::backward_input(logits, params, dh, sizes, false, math);
                let (dw, add) = gradient.open(w);
                linear::backward_weight(logits, h, dw, sizes, add, math);
            }
        }
        drop(logits);
        self.note_loss(nats / counted * f64::from(factor), &saved, dh);
        nats
    }

    /// Adds `weight` times the mean square of `x - target`, and returns it without the weight.
    pub fn mean_square(&mut self, x: &Var<'a, E>, target: &[f32], weight: f32) -> f64 {
        let values = x.buffer();
        assert_eq!(values.len(), target.len(), "a target for each element");
        let n = target.len().max(1);
        let each = values.iter().zip(target);
        let sum: f64 = each.clone().map(|(x, t)| f64::from(x.to_f32() - t).powi(2)).sum();
        let mut dx = self.pool.take(values.len());
        let scale = 2.0 * weight * self.share / n as f32;
        dx.iter_mut()
            .zip(each)
            .for_each(|(dx, (x, t))| *dx = E::of(scale * (x.to_f32() - t)));
        self.note_loss(f64::from(weight) * sum / n as f64, &x.saved(), Some(dx));
        sum / n as f64
    }
}

/// What the rows that count weigh together.
fn counted(targets: &[u32], weights: Option<&[f32]>) -> f64 {
    let counts = targets.iter().map(|&target| target != IGNORE);
    match weights {
        None => counts.filter(|&counts| counts).count().max(1) as f64,
        Some(weights) => {
            let counting = counts.zip(weights).filter(|(counts, _)| *counts);
            let sum: f64 = counting.map(|(_, weight)| f64::from(*weight)).sum();
            if sum > 0.0 { sum } else { 1.0 }
        }
    }
}

/// Weighted sum of the rows' losses; with a `weight`, the logits become the gradient of `weight` times it.
fn rows<E: Element>(
    logits: &mut [E],
    (targets, weights): (&[u32], Option<&[f32]>),
    v: usize,
    (weight, smoothing): (f32, f32),
) -> f64 {
    let of = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let losses: Vec<f64> = logits
        .par_chunks_mut(v)
        .enumerate()
        .map(|(i, row)| f64::from(of(i)) * row_loss(row, targets[i], weight * of(i), smoothing))
        .collect();
    losses.iter().sum()
}

// With t the target's share 1 - s + s / V and s / V everywhere else: the loss is ln sum(e^x) - sum(t x), its
// gradient p - t.
vectorised! {
    pub(crate) fn row_loss<E>(row: &mut [E], target: u32, weight: f32, smoothing: f32) -> f64 {
        if target == IGNORE {
            row.fill(E::default());
            return 0.0;
        }
        let target = target as usize;
        let mut wide: Vec<f32> = row.iter().map(|x| x.to_f32()).collect();
        let highest = max(&wide);
        let everywhere = smoothing / wide.len() as f32;
        let mut right = (1.0 - smoothing) * wide[target];
        if smoothing > 0.0 {
            right = everywhere.mul_add(sum(&wide), right);
        }
        let total = exp_sum(&mut wide, highest);
        if weight != 0.0 {
            let scale = weight / total;
            wide[target] -= (1.0 - smoothing) * total;
            let everywhere = weight * everywhere;
            for (x, p) in row.iter_mut().zip(&wide) {
                *x = E::of(p * scale - everywhere);
            }
        } else {
            // A row that counts for nothing moves nothing.
            row.fill(E::default());
        }
        f64::from(highest - right) + f64::from(total).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise};
    use crate::{Init, Layout, Pool};

    #[test]
    fn the_ways_back_are_the_derivatives() {
        let (n, mut layout) = (CHUNK + 3, Layout::default());
        let h = layout.add("h", &[n, 6], Init::Zeros);
        let w = layout.add("w", &[11, 6], Init::Zeros);
        let mut targets: Vec<u32> = (0..n as u32).map(|i| i % 11).collect();
        targets[7] = IGNORE;
        let goal = noise(n * 6, 9);
        let params = noise(layout.len(), 1);
        let pool = Pool::<f32>::default();
        let loss = |params: &[f32], gradient: &mut [f32]| {
            let mut tape = Tape::training(&pool, params, gradient);
            let x = tape.matrix(h);
            let nats = tape.cross_entropy(&x, w, &targets);
            let alone = tape.loss();
            assert!((nats / (n - 1) as f64 - alone).abs() < 1e-9);
            tape.mean_square(&x, &goal, 0.1);
            let loss = tape.loss();
            assert!(loss > alone);
            drop(x);
            tape.backward();
            loss
        };
        let (mut gradient, mut none) = (vec![f32::NAN; params.len()], vec![0.0; params.len()]);
        loss(&params, &mut gradient);
        check_gradient(&params, &gradient, |params| loss(params, &mut none));
    }
    #[test]
    fn weighted_and_smoothed_classes_are_the_formula() {
        let mut layout = Layout::default();
        let h = layout.add("h", &[7, 5], Init::Zeros);
        let w = layout.add("w", &[4, 5], Init::Zeros);
        let targets = [0, 3, IGNORE, 1, 2, 2, 0];
        let weights = [1.0, 0.5, 9.0, 2.0, 0.0, 0.25, 1.5];
        let (factor, smoothing) = (0.7, 0.2f32);
        let params = noise(layout.len(), 1);
        let pool = Pool::<f32>::default();
        let loss = |params: &[f32], gradient: &mut [f32]| {
            let mut tape = Tape::training(&pool, params, gradient);
            let x = tape.matrix(h);
            let classes = Classes {
                targets: &targets,
                weights: Some(&weights),
                factor,
                smoothing,
            };
            tape.classify(&x, w, classes);
            let loss = tape.loss();
            drop(x);
            tape.backward();
            loss
        };
        let (mut gradient, mut none) = (vec![f32::NAN; params.len()], vec![0.0; params.len()]);
        let ours = loss(&params, &mut gradient);
        check_gradient(&params, &gradient, |params| loss(params, &mut none));

        let (mut sum, mut counted) = (0.0, 0.0);
        for (i, &target) in targets.iter().enumerate().filter(|(_, t)| **t != IGNORE) {
            let of = |class: usize| -> f32 {
                (0..5)
                    .map(|at| params[i * 5 + at] * params[w.range()][class * 5 + at])
                    .sum()
            };
            let total: f32 = (0..4).map(|class| of(class).exp()).sum();
            let nats = |class: usize| total.ln() - of(class);
            let spread = (0..4).map(nats).sum::<f32>() / 4.0;
            let row = (1.0 - smoothing) * nats(target as usize) + smoothing * spread;
            sum += weights[i] * row;
            counted += weights[i];
        }
        assert!((ours - f64::from(factor * sum / counted)).abs() < 1e-5);
    }
}
