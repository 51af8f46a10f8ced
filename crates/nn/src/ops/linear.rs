//! Matrix products, on the `gemm` crate.

use super::simd::{dot, vectorised};

/// A matrix by its first element and its strides: element (i, j) is `start[i * row + j * column]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    start: *const f32,
    row: usize,
    column: usize,
}

/// Where a product goes; its columns lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    start: *mut f32,
    row: usize,
}

// SAFETY: a pointer with strides; who makes one answers for who else writes there (see `product`).
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}
// SAFETY: as above.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Matrix {
    /// Rows of `row` elements each.
    pub(crate) fn rows(x: &[f32], row: usize) -> Self {
        Self {
            start: x.as_ptr(),
            row,
            column: 1,
        }
    }

    /// From a pointer, for parts of a larger array.
    pub(crate) fn at(start: *const f32, row: usize) -> Self {
        Self {
            start,
            row,
            column: 1,
        }
    }

    /// The same elements, transposed.
    pub(crate) fn t(self) -> Self {
        Self {
            row: self.column,
            column: self.row,
            ..self
        }
    }
}

impl Target {
    pub(crate) fn rows(y: &mut [f32], row: usize) -> Self {
        Self {
            start: y.as_mut_ptr(),
            row,
        }
    }

    pub(crate) fn at(start: *mut f32, row: usize) -> Self {
        Self { start, row }
    }
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: the caller runs many at once.
    One,
    /// All threads of the pool that the caller runs in.
    Pool,
}

/// `y (m x n) = [y +] scale * a (m x k) * b (k x n)`.
///
/// # Safety
/// The pointers and strides must describe `m x k`, `k x n` and `m x n` elements that can be read and, for
/// `y`, written; nobody else may touch those of `y` meanwhile.
pub(crate) unsafe fn product(
    (m, n, k): (usize, usize, usize),
    y: Target,
    add: bool,
    scale: f32,
    a: Matrix,
    b: Matrix,
    threads: Threads,
) {
    let parallelism = match threads {
        Threads::Pool if rayon::current_num_threads() > 1 => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.start,
            1,
            y.row as isize,
            add,
            a.start,
            a.column as isize,
            a.row as isize,
            b.start,
            b.column as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `y_no = [y_no +] x_ni * w_oi^T`.
pub(crate) fn forward(x_ni: &[f32], w_oi: &[f32], y_no: &mut [f32], inner: usize, add: bool) {
    let (n, outer) = (x_ni.len() / inner, w_oi.len() / inner);
    assert_eq!(y_no.len(), n * outer);
    let (x, w) = (Matrix::rows(x_ni, inner), Matrix::rows(w_oi, inner).t());
    // SAFETY: the lengths are checked above; the slices borrow for the whole call.
    unsafe {
        product(
            (n, outer, inner),
            Target::rows(y_no, outer),
            add,
            1.0,
            x,
            w,
            Threads::Pool,
        );
    }
}

/// Sets `dx_ni = dy_no * w_oi` and `dw_oi = [dw_oi +] dy_no^T * x_ni`.
pub(crate) fn backward(
    x_ni: &[f32],
    w_oi: &[f32],
    dy_no: &[f32],
    dx_ni: &mut [f32],
    dw_oi: &mut [f32],
    inner: usize,
    add: bool,
) {
    let (n, outer) = (x_ni.len() / inner, w_oi.len() / inner);
    assert_eq!(
        (dy_no.len(), dx_ni.len(), dw_oi.len()),
        (n * outer, x_ni.len(), w_oi.len())
    );
    let dy = Matrix::rows(dy_no, outer);
    // SAFETY: the lengths are checked above; the slices borrow for the whole call.
    unsafe {
        let w = Matrix::rows(w_oi, inner);
        product(
            (n, inner, outer),
            Target::rows(dx_ni, inner),
            false,
            1.0,
            dy,
            w,
            Threads::Pool,
        );
        let x = Matrix::rows(x_ni, inner);
        product(
            (outer, inner, n),
            Target::rows(dw_oi, inner),
            add,
            1.0,
            dy.t(),
            x,
            Threads::Pool,
        );
    }
}

// One row times a matrix, as decoding does it.
vectorised! {
    pub(crate) fn multiply(w_oi: &[f32], x_i: &[f32], y_o: &mut [f32]) {
        for (w, y) in w_oi.chunks_exact(x_i.len()).zip(y_o) {
            *y = dot(w, x_i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise, weigh};

    #[test]
    fn backward_is_the_derivative() {
        let (n, inner, outer) = (5, 7, 3);
        let (x, w, dy) = (noise(n * inner, 1), noise(outer * inner, 2), noise(n * outer, 3));
        let run = |x: &[f32], w: &[f32]| {
            let mut y = vec![0.0; n * outer];
            forward(x, w, &mut y, inner, false);
            weigh(&y, &dy)
        };
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        backward(&x, &w, &dy, &mut dx, &mut dw, inner, false);
        check_gradient(&x, &dx, |x| run(x, &w));
        check_gradient(&w, &dw, |w| run(&x, w));
    }
}
