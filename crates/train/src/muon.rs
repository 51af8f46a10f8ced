//! Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>): a hidden matrix moves by its
//! momentum with all singular values made about equal, so that rare directions count as much as strong ones.
//!
//! ```text
//! m  = momentum m + g               u = g + momentum m          Nesterov's look ahead
//! x  = u / |u|                      x = a x + (b A + c A²) x    A = x xᵀ; five times
//! p  = keep p - rate 0.2 √max(rows, cols) x                     as long as AdamW's steps are
//! ```
//!
//! The last factor is Moonshot's (arXiv 2502.16982): AdamW's learning rate and decay serve for both. The
//! products have the run's precision: bf16 does, since the values need to be near 1, not at it, but there
//! a rounding that goes the other way moves a parameter by thousandths of a step and not by millionths.
//!
//! The products take the same time however few samples a step has. Since the momentum is a mean of some twenty
//! gradients, a matrix may as well move once in a few steps, by as much: `muon_every`.

use crate::optimizer::CHUNK;
use nn::{Math, Matrix, Tensor, matmul, sum_of_squares};
use rayon::prelude::*;

/// The polynomial `a x + b x³ + c x⁵` that five times over takes whatever is in (0, 1] to about 1.
const A: f32 = 3.4445;
const B: f32 = -4.7750;
const C: f32 = 2.0315;
const TIMES: usize = 5;
/// How long a step is, root mean square, in learning rates: that of AdamW is 0.2 to 0.4.
const LENGTH: f32 = 0.2;
/// Keeps the division by the length apart from zero.
const EPS: f64 = 1e-7;

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Push {
    /// Decay of the momentum.
    pub(crate) momentum: f32,
    /// The learning rate.
    pub(crate) rate: f32,
    /// What a parameter is multiplied by first.
    pub(crate) keep: f32,
    /// What the gradient is multiplied by first.
    pub(crate) scale: f32,
    /// In what products are computed.
    pub(crate) math: Math,
}

/// Scratch that is used again: two of the matrix's size, two square ones of its smaller side.
#[derive(Debug, Default)]
pub(crate) struct Muon {
    x: Vec<f32>,
    next: Vec<f32>,
    gram: Vec<f32>,
    poly: Vec<f32>,
}

/// How many matrices lie in `tensor`, one below the other, and how many rows each has. GPT-2 keeps queries,
/// keys and values as one tensor, and they are three.
pub(crate) fn matrices(tensor: &Tensor) -> (usize, usize) {
    let rows = tensor.shape[0];
    let joined = tensor.name.split('.').any(|part| part == "c_attn") && rows.is_multiple_of(3);
    if joined { (3, rows / 3) } else { (1, rows) }
}

/// Takes a gradient into the momentum, and moves nothing.
pub(crate) fn remember(m: &mut [f32], g: &[f32], push: Push) {
    let Push { momentum, scale, .. } = push;
    let tasks = m.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    tasks.for_each(|(m, g)| {
        for (m, g) in m.iter_mut().zip(g) {
            *m = momentum * *m + g * scale;
        }
    });
}

impl Muon {
    /// Moves a matrix of `rows` rows.
    pub(crate) fn update(&mut self, p: &mut [f32], g: &[f32], m: &mut [f32], rows: usize, push: Push) {
        let Push {
            momentum,
            rate,
            keep,
            scale,
            math,
        } = push;
        self.x.resize(p.len(), 0.0);
        let tasks = self
            .x
            .par_chunks_mut(CHUNK)
            .zip(m.par_chunks_mut(CHUNK))
            .zip(g.par_chunks(CHUNK));
        tasks.for_each(|((x, m), g)| {
            for ((x, m), g) in x.iter_mut().zip(m).zip(g) {
                let g = g * scale;
                *m = momentum * *m + g;
                *x = g + momentum * *m;
            }
        });
        self.orthogonalise(rows, math);
        let most = rows.max(p.len() / rows);
        let length = rate * LENGTH * (most as f32).sqrt();
        let tasks = p.par_chunks_mut(CHUNK).zip(self.x.par_chunks(CHUNK));
        tasks.for_each(|(p, x)| {
            for (p, x) in p.iter_mut().zip(x) {
                *p = *p * keep - length * x;
            }
        });
    }

    /// Makes the singular values of `x`, a matrix of `rows` rows, about 1 (Newton and Schulz).
    fn orthogonalise(&mut self, rows: usize, math: Math) {
        let Self { x, next, gram, poly } = self;
        let squares: Vec<f64> = x.par_chunks(CHUNK).map(sum_of_squares).collect();
        let length = squares.iter().sum::<f64>().sqrt() + EPS;
        scaled(x, (1.0 / length) as f32);
        let (wide, small) = (rows * rows <= x.len(), rows.min(x.len() / rows));
        next.resize(x.len(), 0.0);
        gram.resize(small * small, 0.0);
        poly.resize(small * small, 0.0);
        for _ in 0..TIMES {
            let of = Matrix::new(x, rows);
            let (left, right) = if wide { (of, of.t()) } else { (of.t(), of) };
            matmul(gram, false, 1.0, left, right, math);
            poly.copy_from_slice(gram);
            scaled(poly, B);
            let square = Matrix::new(gram, small);
            matmul(poly, true, C, square, square, math);
            next.copy_from_slice(x);
            scaled(next, A);
            let square = Matrix::new(poly, small);
            let (left, right) = if wide { (square, of) } else { (of, square) };
            matmul(next, true, 1.0, left, right, math);
            std::mem::swap(x, next);
        }
    }
}

fn scaled(x: &mut [f32], factor: f32) {
    x.par_chunks_mut(CHUNK)
        .for_each(|x| x.iter_mut().for_each(|x| *x *= factor));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;

    /// Nearly all directions, some of them 1000 times as strong as others.
    fn matrix(rows: usize, cols: usize) -> Vec<f32> {
        let at = |i: usize| (i as f32 * 0.731 + (i * i % 1013) as f32).sin();
        let strong = |i: usize| {
            if i.is_multiple_of(7) {
                1.0
            } else {
                0.001 + (i / cols % 5) as f32
            }
        };
        (0..rows * cols).map(|i| at(i) * strong(i)).collect()
    }

    /// Of `x xᵀ`'s eigenvalues the roots, by Jacobi's rotations in f64.
    fn singular_values(x: &[f32], rows: usize) -> Vec<f64> {
        let cols = x.len() / rows;
        let (n, wide) = (rows.min(cols), rows <= cols);
        let at = |i: usize, k: usize| f64::from(if wide { x[i * cols + k] } else { x[k * cols + i] });
        let dot = |i, j| (0..rows.max(cols)).map(|k| at(i, k) * at(j, k)).sum::<f64>();
        let mut a: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| dot(i, j)).collect()).collect();
        for _ in 0..12 {
            for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
                let angle = 0.5 * (2.0 * a[p][q]).atan2(a[q][q] - a[p][p]);
                let (s, c) = angle.sin_cos();
                let turn = |x: &mut f64, y: &mut f64| (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                for row in &mut a {
                    let (left, right) = row.split_at_mut(q);
                    turn(&mut left[p], &mut right[0]);
                }
                let (above, below) = a.split_at_mut(q);
                above[p]
                    .iter_mut()
                    .zip(&mut below[0])
                    .for_each(|(x, y)| turn(x, y));
            }
        }
        (0..n).map(|i| a[i][i].max(0.0).sqrt()).collect()
    }

    #[test]
    fn singular_values_come_near_1() {
        for (rows, cols) in [(16, 16), (12, 40), (40, 12), (1, 30), (30, 1)] {
            for math in [Math::F32, Math::Bf16] {
                let x = matrix(rows, cols);
                let before = singular_values(&x, rows);
                let mut muon = Muon { x, ..Muon::default() };
                muon.orthogonalise(rows, math);
                for (before, after) in before.iter().zip(singular_values(&muon.x, rows)) {
                    let near = (0.6..1.3).contains(&after);
                    assert!(near, "{rows} x {cols} in {math:?}: {before} became {after}");
                }
            }
        }
    }

    #[test]
    fn what_is_zero_stays() {
        let mut muon = Muon {
            x: vec![0.0; 12],
            ..Muon::default()
        };
        muon.orthogonalise(3, Math::F32);
        assert_eq!(muon.x, [0.0; 12]);
    }

    #[test]
    fn the_bits_don_t_depend_on_the_threads() {
        for (rows, cols) in [(200, 350), (350, 200)] {
            let run = |threads, math| {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut muon = Muon {
                    x: matrix(rows, cols),
                    ..Muon::default()
                };
                pool.install(|| muon.orthogonalise(rows, math));
                muon.x
            };
            for math in [Math::F32, Math::Bf16] {
                let one = run(1, math);
                assert!(one == run(2, math) && one == run(5, math));
            }
        }
    }

    /// From a first step one can tell the rest: `m = g`, and `x` has the length of its singular values.
    #[test]
    fn a_step_is_as_long_as_adamw_s() {
        let (rows, cols, rate) = (24, 48, 0.01);
        let g = matrix(rows, cols);
        let (mut p, mut m) = (vec![1.0; rows * cols], vec![0.0; rows * cols]);
        let push = Push {
            momentum: 0.95,
            rate,
            keep: 0.9,
            scale: 0.5,
            math: Math::F32,
        };
        Muon::default().update(&mut p, &g, &mut m, rows, push);
        assert!(m.iter().zip(&g).all(|(m, g)| *m == 0.5 * g));
        let moved: Vec<f32> = p.iter().map(|p| p - 0.9).collect();
        let length = (sum_of_squares(&moved) / moved.len() as f64).sqrt() as f32;
        assert!((0.15..0.25).contains(&(length / rate)), "{length}");
        let along: f32 = moved.iter().zip(&g).map(|(moved, g)| moved * g).sum();
        assert!(along < 0.0, "against the gradient");
    }
}
