//! Causal attention, a block of queries at a time. The probabilities of a block are computed, used and
//! forgotten; the way back computes them again from the queries, the keys and each row's log-sum-exp
//! (FlashAttention, arXiv 2205.14135), so memory grows with t and not with t^2.
//!
//! A row of `qkv` holds h query heads, k key heads and k value heads of size d.

use super::linear::{Matrix, Target, Threads, product};
use super::simd::{dot, exp, exp_sum, max, vectorised};
use rayon::prelude::*;

/// Queries in a block.
const BLOCK: usize = 64;

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) b: usize,
    pub(crate) t: usize,
    pub(crate) h: usize,
    pub(crate) k: usize,
    pub(crate) d: usize,
}

impl Shape {
    /// Elements in a row of `qkv`.
    pub(crate) fn row(self) -> usize {
        (self.h + 2 * self.k) * self.d
    }

    fn scale(self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}

/// A pointer that several tasks write through, each to places of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: the functions below say which task writes where.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Fills `y` (n rows of h * d) and `lse` (b * h * t log-sum-exps).
pub(crate) fn forward(s: Shape, qkv: &[f32], y: &mut [f32], lse: &mut [f32]) {
    let (row, width) = (s.row(), s.h * s.d);
    assert_eq!(
        (qkv.len(), y.len(), lse.len()),
        (s.b * s.t * row, s.b * s.t * width, s.b * s.h * s.t)
    );
    let y = Shared(y.as_mut_ptr());
    lse.par_chunks_mut(s.t).enumerate().for_each(|(task, lse)| {
        let (batch, head) = (task / s.h, task % s.h);
        let kv_head = head / (s.h / s.k);
        let rows = qkv[batch * s.t * row..].as_ptr();
        let mut p = vec![0f32; BLOCK * s.t];
        for q0 in (0..s.t).step_by(BLOCK) {
            let (m, seen) = (BLOCK.min(s.t - q0), (q0 + BLOCK).min(s.t));
            // SAFETY: all offsets stay within this batch's rows of `qkv`; this task alone writes the columns
            // of its head in this batch's rows of `y`.
            unsafe {
                let q = Matrix::at(rows.add(q0 * row + head * s.d), row);
                let k = Matrix::at(rows.add((s.h + kv_head) * s.d), row);
                let v = Matrix::at(rows.add((s.h + s.k + kv_head) * s.d), row);
                let out = Target::at(y.at((batch * s.t + q0) * width + head * s.d), width);
                product(
                    (m, seen, s.d),
                    Target::rows(&mut p, s.t),
                    false,
                    s.scale(),
                    q,
                    k.t(),
                    Threads::One,
                );
                softmax(&mut p, &mut lse[q0..q0 + m], s.t, q0, seen);
                product(
                    (m, s.d, seen),
                    out,
                    false,
                    1.0,
                    Matrix::rows(&p, s.t),
                    v,
                    Threads::One,
                );
            }
        }
    });
}

/// Sets `dqkv`, given what `forward` read and wrote and the gradient `dy`.
pub(crate) fn backward(s: Shape, qkv: &[f32], y: &[f32], lse: &[f32], dy: &[f32], dqkv: &mut [f32]) {
    let (row, width, group) = (s.row(), s.h * s.d, s.h / s.k);
    assert_eq!(
        (dqkv.len(), dy.len(), y.len()),
        (s.b * s.t * row, s.b * s.t * width, s.b * s.t * width)
    );
    let shared = Shared(dqkv.as_mut_ptr());
    (0..s.b * s.k).into_par_iter().for_each(|task| {
        let (batch, kv_head) = (task / s.k, task % s.k);
        let rows = qkv[batch * s.t * row..].as_ptr();
        let first = batch * s.t;
        let (mut p, mut dp) = (vec![0f32; BLOCK * s.t], vec![0f32; BLOCK * s.t]);
        for head in kv_head * group..(kv_head + 1) * group {
            let lse = &lse[(batch * s.h + head) * s.t..][..s.t];
            // From the last block, which sees every key, so that it alone sets dk and dv and the rest add.
            for q0 in (0..s.t).step_by(BLOCK).rev() {
                let (m, seen) = (BLOCK.min(s.t - q0), (q0 + BLOCK).min(s.t));
                let add = seen < s.t || head > kv_head * group;
                let (k_at, v_at) = ((s.h + kv_head) * s.d, (s.h + s.k + kv_head) * s.d);
                let y_at = (first + q0) * width + head * s.d;
                // SAFETY: offsets stay within this batch's rows; this task alone writes the columns of
                // `dqkv` that belong to its key and value head and to the query heads it serves.
                unsafe {
                    let q = Matrix::at(rows.add(q0 * row + head * s.d), row);
                    let (k, v) = (Matrix::at(rows.add(k_at), row), Matrix::at(rows.add(v_at), row));
                    let g = Matrix::at(dy.as_ptr().add(y_at), width);
                    let (p_to, dp_to) = (Target::rows(&mut p, s.t), Target::rows(&mut dp, s.t));
                    product((m, seen, s.d), p_to, false, s.scale(), q, k.t(), Threads::One);
                    product((m, seen, s.d), dp_to, false, 1.0, g, v.t(), Threads::One);
                    let lse = &lse[q0..q0 + m];
                    softmax_backward(&mut p, &mut dp, lse, &y[y_at..], &dy[y_at..], s, q0, seen);
                    let (p, dp) = (Matrix::rows(&p, s.t), Matrix::rows(&dp, s.t));
                    let dq = Target::at(shared.at((first + q0) * row + head * s.d), row);
                    let dk = Target::at(shared.at(first * row + k_at), row);
                    let dv = Target::at(shared.at(first * row + v_at), row);
                    product((m, s.d, seen), dq, false, 1.0, dp, k, Threads::One);
                    product((seen, s.d, m), dk, add, 1.0, dp.t(), q, Threads::One);
                    product((seen, s.d, m), dv, add, 1.0, p.t(), g, Threads::One);
                }
            }
        }
    });
}

// Rows of a block of scores become probabilities: query `q0 + i` sees keys 0 to itself, the rest become 0.
vectorised! {
    pub(crate) fn softmax(p: &mut [f32], lse: &mut [f32], t: usize, q0: usize, seen: usize) {
        for (i, lse) in lse.iter_mut().enumerate() {
            let (sees, hidden) = p[i * t..i * t + seen].split_at_mut(q0 + i + 1);
            let highest = max(sees);
            let sum = exp_sum(sees, highest);
            let scale = 1.0 / sum;
            for p in sees.iter_mut() {
                *p *= scale;
            }
            hidden.fill(0.0);
            *lse = highest + sum.ln();
        }
    }
}

// Scores become probabilities again, and dp becomes the scores' gradient: p (dp - dy . y) / sqrt(d).
vectorised! {
    pub(crate) fn softmax_backward(p: &mut [f32], dp: &mut [f32], lse: &[f32], y: &[f32], dy: &[f32], s: Shape, q0: usize, seen: usize) {
        let (t, d, width, scale) = (s.t, s.d, s.h * s.d, s.scale());
        for (i, &lse) in lse.iter().enumerate() {
            let (sees, hidden) = p[i * t..i * t + seen].split_at_mut(q0 + i + 1);
            let (ds, ds_hidden) = dp[i * t..i * t + seen].split_at_mut(q0 + i + 1);
            let along = dot(&dy[i * width..][..d], &y[i * width..][..d]);
            for (p, dp) in sees.iter_mut().zip(ds.iter_mut()) {
                *p = exp(*p - lse);
                *dp = *p * (*dp - along) * scale;
            }
            hidden.fill(0.0);
            ds_hidden.fill(0.0);
        }
    }
}

// One query on all keys and values so far, as decoding does it: rows of the cache hold k key heads and then k
// value heads.
vectorised! {
    pub(crate) fn attend(q_d: &[f32], cache: &[f32], kv_head: usize, kv_heads: usize, y_d: &mut [f32]) {
        let d = q_d.len();
        let rows = cache.chunks_exact(2 * kv_heads * d);
        let scale = 1.0 / (d as f32).sqrt();
        let mut p: Vec<f32> = rows.clone().map(|row| dot(q_d, &row[kv_head * d..][..d]) * scale).collect();
        let highest = max(&p);
        let sum = exp_sum(&mut p, highest);
        y_d.fill(0.0);
        for (row, p) in rows.zip(p) {
            let v = &row[(kv_heads + kv_head) * d..][..d];
            for i in 0..d {
                y_d[i] = (p / sum).mul_add(v[i], y_d[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise, weigh};

    /// As the formula says it, with every score at once.
    fn plain(s: Shape, qkv: &[f32]) -> Vec<f32> {
        let mut y = vec![0f32; s.b * s.t * s.h * s.d];
        let at = |b: usize, t: usize, slot: usize| &qkv[(b * s.t + t) * s.row() + slot * s.d..][..s.d];
        for (b, h, q) in (0..s.b).flat_map(|b| (0..s.h).flat_map(move |h| (0..s.t).map(move |q| (b, h, q)))) {
            let kv = h / (s.h / s.k);
            let score = |key: usize| {
                let (q, k) = (at(b, q, h), at(b, key, s.h + kv));
                (q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * s.scale()).exp()
            };
            let total: f32 = (0..=q).map(score).sum();
            for key in 0..=q {
                let p = score(key) / total;
                for (i, v) in at(b, key, s.h + s.k + kv).iter().enumerate() {
                    y[(b * s.t + q) * s.h * s.d + h * s.d + i] += p * v;
                }
            }
        }
        y
    }

    #[test]
    fn forward_is_the_formula_and_backward_its_derivative() {
        let shapes = [
            Shape {
                b: 2,
                t: 5,
                h: 2,
                k: 2,
                d: 4,
            },
            Shape {
                b: 1,
                t: 64,
                h: 2,
                k: 1,
                d: 2,
            },
            Shape {
                b: 1,
                t: 131,
                h: 4,
                k: 2,
                d: 4,
            },
        ];
        for s in shapes {
            let (qkv, dy) = (noise(s.b * s.t * s.row(), 1), noise(s.b * s.t * s.h * s.d, 2));
            let run = |qkv: &[f32]| {
                let (mut y, mut lse) = (vec![0.0; dy.len()], vec![0.0; s.b * s.h * s.t]);
                forward(s, qkv, &mut y, &mut lse);
                (y, lse)
            };
            let (y, lse) = run(&qkv);
            assert!(
                y.iter().zip(plain(s, &qkv)).all(|(a, b)| (a - b).abs() < 1e-5),
                "{s:?}"
            );
            let mut dqkv = vec![f32::NAN; qkv.len()];
            backward(s, &qkv, &y, &lse, &dy, &mut dqkv);
            check_gradient(&qkv, &dqkv, |qkv| weigh(&run(qkv).0, &dy));
        }
    }
}
