//! The operations: each a forward, and beside it the way back.
//!
//! Shapes are in the names: `x_nc` has N rows of C.
//!
//! | letter | size |
//! |---|---|
//! | b, t, n | batch, sequence, `n = b * t` |
//! | c, f, v | width, a feed-forward layer's inner size, vocabulary |
//! | h, k, d | query heads, key and value heads, head size |
//! | l, ij | places of one sequence, and the pairs of them |
#![allow(
    unsafe_code,
    reason = "matrix products take raw pointers; vector code is chosen at run time"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "an operation names each thing it reads and writes"
)]

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod convolution;
pub(crate) mod dropout;
pub(crate) mod embed;
pub(crate) mod experts;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod pairs;
pub(crate) mod rope;

use crate::simd::vectorised;
use crate::{Element, Tape, Var};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task of an operation takes. Fixed, so that sums over rows are the same whatever the number
/// of threads.
pub(crate) const ROWS: usize = 64;

/// Elements that one task of an operation takes that knows no rows.
pub(crate) const CHUNK: usize = 1 << 14;

impl<'a, E: Element> Tape<'a, E> {
    /// The sum of two values of the same shape.
    pub fn add(&mut self, x: Var<'a, E>, y: &Var<'a, E>) -> Var<'a, E> {
        assert_eq!((x.rows, x.cols), (y.rows, y.cols), "a sum takes equal shapes");
        let (rows, cols, ids) = (x.rows, x.cols, (x.id(), y.id()));
        let other = y.buffer();
        let mut sum = x.into_buffer(self.pool);
        add(&mut sum, &other);
        let sum = self.value(sum, rows, cols);
        self.note(&sum, move |back, dy| {
            back.add(ids.0, back.pool.copy(&dy));
            back.add(ids.1, dy);
        });
        sum
    }

    /// Every element times `factor`.
    pub fn scale(&mut self, x: Var<'a, E>, factor: f32) -> Var<'a, E> {
        let (rows, cols, id) = (x.rows, x.cols, x.id());
        let mut y = x.into_buffer(self.pool);
        scale(&mut y, factor);
        let y = self.value(y, rows, cols);
        self.note(&y, move |back, mut dy| {
            scale(&mut dy, factor);
            back.add(id, dy);
        });
        y
    }

    /// Some of the rows.
    pub fn rows(&mut self, x: &Var<'a, E>, rows: Range<usize>) -> Var<'a, E> {
        let (cols, len, id) = (x.cols, x.rows * x.cols, x.id());
        let part = rows.start * cols..rows.end * cols;
        let y = self.pool.copy(&x.buffer()[part.clone()]);
        let y = self.value(y, rows.len(), cols);
        self.note(&y, move |back, dy| {
            let mut dx = back.pool.zeros(len);
            dx[part].copy_from_slice(&dy);
            back.add(id, dx);
        });
        y
    }
}

/// `x += y`.
pub(crate) fn add<E: Element>(x: &mut [E], y: &[E]) {
    let chunks = x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK));
    chunks.for_each(|(x, y)| add_chunk(x, y));
}

fn scale<E: Element>(x: &mut [E], factor: f32) {
    x.par_chunks_mut(CHUNK).for_each(|x| scale_chunk(x, factor));
}

vectorised! {
    pub(crate) fn add_chunk<E>(x: &mut [E], y: &[E]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x = E::of(x.to_f32() + y.to_f32());
        }
    }
}

vectorised! {
    pub(crate) fn scale_chunk<E>(x: &mut [E], factor: f32) {
        for x in x.iter_mut() {
            *x = E::of(x.to_f32() * factor);
        }
    }
}

/// Adds up the parts of a parameter's gradient that tasks made, in order; sets or adds.
pub(crate) fn collect(parts: &[f32], into: &mut [f32], add: bool) {
    if !add {
        into.fill(0.0);
    }
    for part in parts.chunks_exact(into.len()) {
        for (into, part) in into.iter_mut().zip(part) {
            *into += part;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::{Element, Param, Pool, Tape, Var};

    /// Numbers in -1..1 that look random.
    pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..n).map(next).collect()
    }

    /// Checks an operation's way back: `params` hold what it reads; `run` reads them with [`Tape::matrix`]
    /// or as parameters, and what it makes is weighed with noise to give a loss.
    pub(crate) fn check<F>(params: &[f32], run: F)
    where
        F: for<'a> Fn(&mut Tape<'a, f32>) -> Var<'a, f32>,
    {
        let pool = Pool::default();
        let loss = |params: &[f32], gradient: Option<&mut [f32]>| {
            let trains = gradient.is_some();
            let mut none = vec![0.0; params.len()];
            let gradient = gradient.unwrap_or(&mut none);
            // SAFETY-free way to have one code path: a tape for training is always fine.
            let mut tape = Tape::training(&pool, params, gradient);
            let y = run(&mut tape);
            let weights = noise(y.rows * y.cols, 77);
            let loss = tape.weigh(&y, &weights);
            drop(y);
            if trains {
                tape.backward();
            }
            loss
        };
        let mut gradient = vec![f32::NAN; params.len()];
        loss(params, Some(&mut gradient));
        check_gradient(params, &gradient, |params| loss(params, None));
    }

    /// Compares a gradient with central differences at up to 60 places.
    pub(crate) fn check_gradient(x: &[f32], gradient: &[f32], mut loss: impl FnMut(&[f32]) -> f64) {
        let scale = gradient.iter().fold(1e-3f32, |most, g| most.max(g.abs()));
        let step = 1e-2f32;
        for i in (0..x.len()).step_by(x.len().div_ceil(60)) {
            let mut near = x.to_vec();
            near[i] = x[i] + step;
            let above = loss(&near);
            near[i] = x[i] - step;
            let below = loss(&near);
            let numeric = ((above - below) / (2.0 * f64::from(step))) as f32;
            assert!(
                (numeric - gradient[i]).abs() < 4e-3 * scale,
                "element {i}: {} by hand, {numeric} by differences",
                gradient[i]
            );
        }
    }

    impl<'a, E: Element> Tape<'a, E> {
        /// A parameter as a value.
        pub(crate) fn matrix(&mut self, param: Param) -> Var<'a, E> {
            let mut buffer = self.pool.take(param.range().len());
            for (to, from) in buffer.iter_mut().zip(&self.params[param.range()]) {
                *to = E::of(*from);
            }
            let x = self.value(buffer, param.rows, param.cols);
            self.note(&x, move |back, dx| {
                let (gradient, add) = back.gradient.open(param);
                for (to, from) in gradient.iter_mut().zip(dx.iter()) {
                    *to = from.to_f32() + if add { *to } else { 0.0 };
                }
            });
            x
        }

        /// The loss whose gradient with respect to `y` is `weights`.
        pub(crate) fn weigh(&mut self, y: &Var<'a, E>, weights: &[f32]) -> f64 {
            let values = y.buffer();
            let each = values.iter().zip(weights);
            let loss = each.map(|(y, w)| f64::from(y.to_f32()) * f64::from(*w)).sum();
            let mut dy = self.pool.take(weights.len());
            for (to, from) in dy.iter_mut().zip(weights) {
                *to = E::of(*from);
            }
            self.note_loss(loss, &y.saved(), Some(dy));
            loss
        }
    }
}
