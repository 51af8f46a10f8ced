//! Products of plain matrices, for what works on parameters without a tape.
//!
//! ```
//! use nn::{Math, Matrix, matmul};
//! let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let a = Matrix::new(&a, 2);
//! let mut gram = [0.0; 4];
//! matmul(&mut gram, false, 1.0, a, a.t(), Math::F32);
//! assert_eq!(gram, [14.0, 32.0, 32.0, 77.0]);
//! ```

#![allow(unsafe_code, reason = "the kernel takes pointers")]

use crate::kernel::{Math, Target, Threads, View, product};

/// A matrix to read: rows of contiguous values, or the transpose of such a one.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `values` as `rows` rows.
    ///
    /// # Panics
    /// If they make no whole rows.
    pub fn new(values: &'a [f32], rows: usize) -> Self {
        assert!(values.len().is_multiple_of(rows.max(1)), "whole rows");
        Self {
            values,
            rows,
            cols: values.len() / rows.max(1),
            transposed: false,
        }
    }

    /// The same values, transposed.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    fn view(&self) -> View<'a, f32> {
        if self.transposed {
            View::rows(self.values, self.rows).t()
        } else {
            View::rows(self.values, self.cols)
        }
    }
}

/// `c_mn = [c_mn +] alpha * a_mk b_kn`, with all threads; the same bits whatever their number.
///
/// # Panics
/// If the sizes don't fit.
pub fn matmul(c: &mut [f32], add: bool, alpha: f32, a: Matrix<'_>, b: Matrix<'_>, math: Math) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!((k, m * n), (b.rows, c.len()), "sizes that fit");
    let c = Target::rows(c, n);
    // SAFETY: a matrix has rows * cols values, the other sizes were checked, and the slices are borrowed.
    unsafe { product((m, n, k), c, add, alpha, a.view(), b.view(), math, Threads::All) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::noise;

    #[test]
    fn it_is_the_plain_sum_either_way_round() {
        let (m, n, k) = (13, 37, 70);
        let (x, y) = (noise(m * k, 1), noise(k * n, 2));
        let start = noise(m * n, 3);
        let transpose = |x: &[f32], rows: usize| {
            let cols = x.len() / rows;
            let at = |i: usize| x[i % rows * cols + i / rows];
            (0..x.len()).map(at).collect::<Vec<f32>>()
        };
        let (xt, yt) = (transpose(&x, m), transpose(&y, k));
        let a = [Matrix::new(&x, m), Matrix::new(&xt, k).t()];
        let b = [Matrix::new(&y, k), Matrix::new(&yt, n).t()];
        for (a, b, add) in [
            (a[0], b[0], true),
            (a[1], b[0], false),
            (a[0], b[1], true),
            (a[1], b[1], false),
        ] {
            let mut c = start.clone();
            matmul(&mut c, add, 0.5, a, b, Math::F32);
            for (at, c) in c.iter().enumerate() {
                let sum: f32 = (0..k).map(|p| x[at / n * k + p] * y[p * n + at % n]).sum();
                let expected = 0.5 * sum + if add { start[at] } else { 0.0 };
                assert!((c - expected).abs() < 1e-4, "{at}: {c} {expected}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "sizes that fit")]
    fn sizes_are_checked() {
        let x = [0.0; 6];
        matmul(
            &mut [0.0; 4],
            false,
            1.0,
            Matrix::new(&x, 2),
            Matrix::new(&x, 2),
            Math::F32,
        );
    }
}
