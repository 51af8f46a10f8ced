//! Losses. The head's is fused with its linear layer and computed a chunk of rows at a time, so that the
//! logits of a whole batch never exist: at a vocabulary of 16,384 they would be most of a step's memory.

use super::linear;
use crate::kernel::Math;
use crate::simd::{exp_sum, max, vectorised};
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

/// A target that is not counted.
pub const IGNORE: u32 = u32::MAX;

/// Rows whose logits exist at one time.
const CHUNK: usize = 256;

impl<'a, E: Element> Tape<'a, E> {
    /// Adds the mean of `-ln p(target)` over the rows, in nats, where `p = softmax(h w^T)`. Rows whose target
    /// is [`IGNORE`] don't count. Returns the sum over the rows.
    pub fn cross_entropy(&mut self, h: &Var<'a, E>, w: Param, targets: &[u32]) -> f64 {
        assert_eq!(h.rows, targets.len(), "a target for each row");
        let counted = targets.iter().filter(|&&target| target != IGNORE).count().max(1);
        let weight = self.share / counted as f32;
        let (c, v, trains) = (h.cols, w.rows, self.records());
        let (saved, values, weights) = (h.saved(), h.buffer(), &self.params[w.range()]);
        let mut dh = trains.then(|| self.pool.take(values.len()));
        let mut gradient = self.gradient.as_mut().filter(|_| trains);
        let mut logits = self.pool.take(CHUNK.min(h.rows) * v);
        let mut nats = 0.0;
        for (i, (h, targets)) in values.chunks(CHUNK * c).zip(targets.chunks(CHUNK)).enumerate() {
            let (n, sizes) = (targets.len(), (targets.len(), v, c));
            let logits = &mut logits[..n * v];
            linear::forward_rows(h, weights, logits, sizes, false);
            nats += rows(logits, targets, v, if trains { weight } else { 0.0 });
            if let (Some(dh), Some(gradient)) = (&mut dh, &mut gradient) {
                let math = Math::of::<E>();
                let dh = &mut dh[i * CHUNK * c..][..n * c];
                linear::backward_input(logits, weights, dh, sizes, false, math);
                let (dw, add) = gradient.open(w);
                linear::backward_weight(logits, h, dw, sizes, add, math);
            }
        }
        drop(logits);
        self.note_loss(nats / counted as f64, &saved, dh);
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

/// Sum of the rows' losses; with a `weight`, the logits become the gradient of `weight` times that sum.
fn rows<E: Element>(logits: &mut [E], targets: &[u32], v: usize, weight: f32) -> f64 {
    let losses: Vec<f64> = logits
        .par_chunks_mut(v)
        .zip(targets)
        .map(|(row, &target)| row_loss(row, target, weight))
        .collect();
    losses.iter().sum()
}

vectorised! {
    pub(crate) fn row_loss<E>(row: &mut [E], target: u32, weight: f32) -> f64 {
        if target == IGNORE {
            row.fill(E::default());
            return 0.0;
        }
        let target = target as usize;
        let mut wide: Vec<f32> = row.iter().map(|x| x.to_f32()).collect();
        let highest = max(&wide);
        let right = wide[target];
        let sum = exp_sum(&mut wide, highest);
        if weight != 0.0 {
            let scale = weight / sum;
            wide[target] -= sum;
            for (x, p) in row.iter_mut().zip(&wide) {
                *x = E::of(p * scale);
            }
        }
        f64::from(highest - right) + f64::from(sum).ln()
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
}
