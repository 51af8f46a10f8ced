//! Linear layers. A weight has a row for each thing it makes, as everywhere: `y = x w^T + bias`.

use super::{ROWS, collect};
use crate::kernel::{Math, Target, Threads, View, matvec, product};
use crate::pool::Buffer;
use crate::simd::vectorised;
use crate::tape::{Back, Saved};
use crate::{Bf16, Element, Param, Tape, Var};
use rayon::prelude::*;

impl<'a, E: Element> Tape<'a, E> {
    /// `x w^T`, and `bias` to each row.
    pub fn linear(&mut self, x: &Var<'a, E>, w: Param, bias: Option<Param>) -> Var<'a, E> {
        let mut y = self.pool.take(x.rows * w.rows);
        forward(&x.buffer(), self.weights(), w, bias, &mut y, false);
        let y = self.value(y, x.rows, w.rows);
        let x = x.saved();
        self.note(&y, move |back, dy| backward(back, &x, w, bias, &dy));
        y
    }

    fn weights(&self) -> Weights<'a> {
        (self.params, self.halves)
    }

    /// `residual + x w^T`, and `bias` to each row: a branch's way back into the stream.
    pub fn linear_add(
        &mut self,
        residual: Var<'a, E>,
        x: &Var<'a, E>,
        w: Param,
        bias: Option<Param>,
    ) -> Var<'a, E> {
        let stream = residual.id();
        let mut y = residual.into_buffer(self.pool);
        forward(&x.buffer(), self.weights(), w, bias, &mut y, true);
        let y = self.value(y, x.rows, w.rows);
        let x = x.saved();
        self.note(&y, move |back, dy| {
            backward(back, &x, w, bias, &dy);
            back.add(stream, dy);
        });
        y
    }
}

/// The parameters, and the same in 16 bits for products of a single row.
type Weights<'a> = (&'a [f32], Option<&'a [Bf16]>);

/// `y_no = [y +] x_ni w_oi^T + bias_o`.
fn forward<E: Element>(
    x: &[E],
    (params, halves): Weights,
    w: Param,
    bias: Option<Param>,
    y: &mut [E],
    add: bool,
) {
    let (n, weights) = (x.len() / w.cols, &params[w.range()]);
    match halves {
        Some(halves) if n == 1 => one_row(x, &halves[w.range()], y, add),
        None if n == 1 => one_row(x, weights, y, add),
        _ => forward_rows(x, weights, y, (n, w.rows, w.cols), add),
    }
    if let Some(bias) = bias {
        let bias = &params[bias.range()];
        let tasks = y.par_chunks_mut(w.rows * ROWS);
        tasks.for_each(|y| add_bias(y, bias));
    }
}

/// `y_no = [y +] x_ni w_oi^T` with every row in one product.
pub(crate) fn forward_rows<E: Element, C: Element>(
    x: &[E],
    w: &[f32],
    y: &mut [C],
    (n, o, i): (usize, usize, usize),
    add: bool,
) {
    assert_eq!((x.len(), w.len(), y.len()), (n * i, o * i, n * o));
    let (x, w, y) = (View::rows(x, i), View::rows(w, i).t(), Target::rows(y, o));
    // SAFETY: the sizes were checked, and the slices are borrowed.
    unsafe { product((n, o, i), y, add, 1.0, x, w, Math::of::<E>(), Threads::All) };
}

/// `dx_ni = [dx +] dy_no w_oi`.
pub(crate) fn backward_input<D: Element, C: Element>(
    dy: &[D],
    w: &[f32],
    dx: &mut [C],
    (n, o, i): (usize, usize, usize),
    add: bool,
    math: Math,
) {
    assert_eq!((dy.len(), w.len(), dx.len()), (n * o, o * i, n * i));
    let (dy, w, dx) = (View::rows(dy, o), View::rows(w, i), Target::rows(dx, i));
    // SAFETY: as above.
    unsafe { product((n, i, o), dx, add, 1.0, dy, w, math, Threads::All) };
}

/// `dw_oi = [dw +] dy_no^T x_ni`.
pub(crate) fn backward_weight<E: Element, D: Element>(
    dy: &[D],
    x: &[E],
    dw: &mut [f32],
    (n, o, i): (usize, usize, usize),
    add: bool,
    math: Math,
) {
    assert_eq!((dy.len(), x.len(), dw.len()), (n * o, n * i, o * i));
    let (dy, x, dw) = (View::rows(dy, o).t(), View::rows(x, i), Target::rows(dw, i));
    // SAFETY: as above.
    unsafe { product((o, i, n), dw, add, 1.0, dy, x, math, Threads::All) };
}

fn backward<'a, E: Element>(
    back: &mut Back<'a, E>,
    x: &Saved<'a, E>,
    w: Param,
    bias: Option<Param>,
    dy: &Buffer<'a, E>,
) {
    let sizes = (x.rows, w.rows, w.cols);
    let math = Math::of::<E>();
    let (dw, add) = back.gradient.open(w);
    backward_weight(dy, &x.buffer(), dw, sizes, add, math);
    x.let_go();
    if let Some(bias) = bias {
        let parts = column_sums(dy, bias.cols);
        let (db, add) = back.gradient.open(bias);
        collect(&parts, db, add);
    }
    let (mut dx, add) = back.open(x.id, x.rows * x.cols);
    backward_input(dy, &back.params[w.range()], &mut dx, sizes, add, math);
    back.close(x.id, dx);
}

fn one_row<E: Element, W: Element>(x: &[E], w: &[W], y: &mut [E], add: bool) {
    let x: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    let mut sums = vec![0f32; y.len()];
    matvec(w, &x, &mut sums);
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = E::of(sum + if add { y.to_f32() } else { 0.0 });
    }
}

/// A sum of each column over the rows of each task.
fn column_sums<E: Element>(dy: &[E], cols: usize) -> Vec<f32> {
    let mut parts = vec![0f32; dy.len().div_ceil(cols * ROWS) * cols];
    let tasks = parts.par_chunks_mut(cols).zip(dy.par_chunks(cols * ROWS));
    tasks.for_each(|(sums, rows)| sum_rows(sums, rows));
    parts
}

vectorised! {
    pub(crate) fn add_bias<E>(y: &mut [E], bias: &[f32]) {
        for row in y.chunks_exact_mut(bias.len()) {
            for (y, bias) in row.iter_mut().zip(bias) {
                *y = E::of(y.to_f32() + bias);
            }
        }
    }
}

vectorised! {
    pub(crate) fn sum_rows<E>(sums: &mut [f32], rows: &[E]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x.to_f32();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout};

    #[test]
    fn the_way_back_is_the_derivative() {
        let mut layout = Layout::default();
        let x = layout.add("x", &[70, 5], Init::Zeros);
        let residual = layout.add("r", &[70, 6], Init::Zeros);
        let w = layout.add("w", &[6, 5], Init::Zeros);
        let bias = layout.add("bias", &[6], Init::Zeros);
        let square = layout.add("square", &[6, 6], Init::Zeros);
        check(&noise(layout.len(), 1), |tape| {
            let (x, stream) = (tape.matrix(x), tape.matrix(residual));
            let y = tape.linear(&x, w, Some(bias));
            let y = tape.linear(&y, square, None);
            let y = tape.linear_add(y, &x, w, Some(bias));
            let sum = tape.add(stream, &y);
            tape.scale(sum, 0.5)
        });
    }
}
