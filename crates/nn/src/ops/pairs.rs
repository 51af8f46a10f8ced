//! Operations over the pairs of a sequence: row `i * l + j` of a value belongs to places i and j of l.
//!
//! Legend: `x_lc` has a row for each place, `z_ijc` for each pair. The loops run along the channels, which
//! lie side by side, [`LANES`] at a time.

use super::collect;
use crate::pool::Buffer;
use crate::simd::vectorised;
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

/// Channels that an innermost loop takes: an AVX-512 register.
const LANES: usize = 16;

/// How a pair is made of its two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    /// `a_i + b_j`.
    Sum,
    /// `a_i b_j`, channel by channel.
    Product,
}

/// A convolution over the square of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Square {
    /// Pairs that a place sees along each side: an odd number.
    pub width: usize,
    /// From one to the next of them.
    pub dilation: usize,
}

impl<'a, E: Element> Tape<'a, E> {
    /// A row for each pair of rows of `a` and `b`.
    pub fn outer(&mut self, a: &Var<'a, E>, b: &Var<'a, E>, outer: Outer) -> Var<'a, E> {
        let (l, c) = (a.rows, a.cols);
        assert_eq!((l, c), (b.rows, b.cols), "two values of one shape");
        let (pool, saved) = (self.pool, (a.saved(), b.saved()));
        let again = move || {
            let mut z = pool.take(l * l * c);
            let (a, b) = (saved.0.buffer(), saved.1.buffer());
            let b: &[E] = &b;
            let tasks = z.par_chunks_mut(l * c).zip(a.par_chunks(c));
            tasks.for_each(|(z, a)| outer_row(a, b, z, outer == Outer::Product));
            z
        };
        let z = self.cheap(l * l, c, again);
        let (a, b) = (a.saved(), b.saved());
        self.note(&z, move |back, dz| {
            let (mut da, mut db) = (back.pool.take(l * c), back.pool.take(l * c));
            let (left, right) = (a.buffer(), b.buffer());
            let (left, right, dz): (&[E], &[E], &[E]) = (&left, &right, &dz);
            let product = outer == Outer::Product;
            da.par_chunks_mut(c)
                .zip(dz.par_chunks(l * c))
                .for_each(|(da, dz)| outer_left(dz, right, da, product));
            db.par_chunks_mut(c)
                .enumerate()
                .for_each(|(j, db)| outer_right(dz, left, db, j, product));
            back.add(a.id, da);
            back.add(b.id, db);
        });
        z
    }

    /// The rows at `indices`, which name no row twice.
    pub fn pick(&mut self, x: &Var<'a, E>, indices: &'a [u32]) -> Var<'a, E> {
        let (c, id, len) = (x.cols, x.id(), x.rows * x.cols);
        let mut y = self.pool.take(indices.len() * c);
        let from = x.buffer();
        for (y, &index) in y.chunks_exact_mut(c).zip(indices) {
            y.copy_from_slice(&from[index as usize * c..][..c]);
        }
        let y = self.value(y, indices.len(), c);
        self.note(&y, move |back, dy| {
            let mut dx = back.pool.zeros(len);
            for (dy, &index) in dy.chunks_exact(c).zip(indices) {
                dx[index as usize * c..][..c].copy_from_slice(dy);
            }
            back.add(id, dx);
        });
        y
    }

    /// `y_ijc = scale sum_k a_ikc b_jkc`, where a row of `x` is `a` and `b` side by side: what i and j have
    /// in common through every third place k (the triangle update of Jumper et al., Nature 596, 583).
    pub fn triangle(&mut self, x: &Var<'a, E>, scale: f32) -> Var<'a, E> {
        let (l, c) = (side(x.rows), x.cols / 2);
        assert_eq!(x.cols, 2 * c, "two operands side by side");
        let mut y = self.pool.take(l * l * c);
        let [a, b] = halves(&x.buffer(), c);
        triangle(&a, &b, &mut y, (l, c, c, 0), scale);
        let y = self.value(y, l * l, c);
        let x = x.saved();
        self.note(&y, move |back, dy| {
            // With ' for the transpose:  da = dy (b')  and  db = dy' (a'), each the same sum over thirds.
            let [a, b] = halves(&x.buffer(), c).map(|half| swapped(&half, l, c));
            let dy: Vec<f32> = dy.iter().map(|dy| dy.to_f32()).collect();
            let mut dx = back.pool.take(x.rows * x.cols);
            triangle(&dy, &b, &mut dx, (l, c, 2 * c, 0), scale);
            triangle(&swapped(&dy, l, c), &a, &mut dx, (l, c, 2 * c, c), scale);
            back.add(x.id, dx);
        });
        y
    }

    /// Each channel convolved with a square of its own: `w` has a row of channels for each pair that is seen,
    /// row by row. Outside the square there are zeros.
    pub fn pair_convolution(&mut self, x: &Var<'a, E>, w: Param, bias: Param, square: Square) -> Var<'a, E> {
        let (l, c) = (side(x.rows), x.cols);
        assert_eq!(
            (w.rows, w.cols, bias.cols),
            (square.width * square.width, c, c),
            "a weight for each pair that is seen"
        );
        let (params, pool, saved) = (self.params, self.pool, x.saved());
        let again = move || {
            let mut y = pool.take(l * l * c);
            let (w, bias) = (&params[w.range()], &params[bias.range()]);
            convolve(&saved.buffer(), w, Some(bias), &mut y, (l, c), square);
            y
        };
        let y = self.cheap(l * l, c, again);
        let x = x.saved();
        self.note(&y, move |back, dy| {
            let weights = &back.params[w.range()];
            let flipped: Vec<f32> = weights.rchunks_exact(c).flatten().copied().collect();
            let mut dx: Buffer<E> = back.pool.take(l * l * c);
            convolve(&dy, &flipped, None, &mut dx, (l, c), square);
            back.add(x.id, dx);
            let len = (w.rows + 1) * c;
            let mut parts = vec![0f32; l * len];
            let from = x.buffer();
            let (from, dy): (&[E], &[E]) = (&from, &dy);
            parts
                .par_chunks_mut(len)
                .enumerate()
                .for_each(|(i, part)| convolve_weights(from, dy, part, i, (l, c), square));
            let split = |range: std::ops::Range<usize>| -> Vec<f32> {
                let parts = parts.chunks_exact(len);
                parts.flat_map(|part| &part[range.clone()]).copied().collect()
            };
            let (dw, add) = back.gradient.open(w);
            collect(&split(0..len - c), dw, add);
            let (db, add) = back.gradient.open(bias);
            collect(&split(len - c..len), db, add);
        });
        y
    }
}

/// The side of a square of pairs.
fn side(pairs: usize) -> usize {
    let l = pairs.isqrt();
    assert_eq!(l * l, pairs, "a row for each pair");
    l
}

/// The left and the right columns, widened.
fn halves<E: Element>(x: &[E], c: usize) -> [Vec<f32>; 2] {
    let half = |from: usize| {
        let rows = x.par_chunks_exact(2 * c);
        rows.flat_map_iter(|row| row[from..from + c].iter().map(|x| x.to_f32()))
            .collect()
    };
    [half(0), half(c)]
}

/// `z_jic` of `z_ijc`.
fn swapped(z: &[f32], l: usize, c: usize) -> Vec<f32> {
    let mut swapped = vec![0f32; z.len()];
    swapped.par_chunks_mut(l * c).enumerate().for_each(|(j, row)| {
        for (i, to) in row.chunks_exact_mut(c).enumerate() {
            to.copy_from_slice(&z[(i * l + j) * c..][..c]);
        }
    });
    swapped
}

/// Writes the sums into columns `at..at + c` of rows of `stride`.
fn triangle<E: Element>(
    a: &[f32],
    b: &[f32],
    y: &mut [E],
    (l, c, stride, at): (usize, usize, usize, usize),
    scale: f32,
) {
    y.par_chunks_mut(l * stride)
        .zip(a.par_chunks(l * c))
        .for_each(|(y, a)| triangle_row(a, b, y, (c, stride, at), scale));
}

fn convolve<E: Element>(
    x: &[E],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [E],
    (l, c): (usize, usize),
    square: Square,
) {
    y.par_chunks_mut(l * c)
        .enumerate()
        .for_each(|(i, y)| convolve_row(x, w, bias, y, i, (l, c), square));
}

/// Where the pair seen at `step` of a window around `place` is, if it is in the square.
#[inline(always)]
fn seen(place: usize, step: usize, l: usize, square: Square) -> Option<usize> {
    let at = place + step * square.dilation;
    at.checked_sub(square.width / 2 * square.dilation)
        .filter(|at| *at < l)
}

vectorised! {
    pub(crate) fn outer_row<E>(a_c: &[E], b_lc: &[E], z_lc: &mut [E], product: bool) {
        let c = a_c.len();
        for (z, b) in z_lc.chunks_exact_mut(c).zip(b_lc.chunks_exact(c)) {
            for ((z, a), b) in z.iter_mut().zip(a_c).zip(b) {
                let (a, b) = (a.to_f32(), b.to_f32());
                *z = E::of(if product { a * b } else { a + b });
            }
        }
    }
}

vectorised! {
    pub(crate) fn outer_left<E>(dz_lc: &[E], b_lc: &[E], da_c: &mut [E], product: bool) {
        let c = da_c.len();
        let mut sums = vec![0f32; c];
        for (dz, b) in dz_lc.chunks_exact(c).zip(b_lc.chunks_exact(c)) {
            for ((sum, dz), b) in sums.iter_mut().zip(dz).zip(b) {
                *sum += dz.to_f32() * if product { b.to_f32() } else { 1.0 };
            }
        }
        da_c.iter_mut().zip(&sums).for_each(|(da, sum)| *da = E::of(*sum));
    }
}

vectorised! {
    pub(crate) fn outer_right<E>(dz_ijc: &[E], a_lc: &[E], db_c: &mut [E], j: usize, product: bool) {
        let c = db_c.len();
        let l = a_lc.len() / c;
        let mut sums = vec![0f32; c];
        for (i, a) in a_lc.chunks_exact(c).enumerate() {
            let dz = &dz_ijc[(i * l + j) * c..][..c];
            for ((sum, dz), a) in sums.iter_mut().zip(dz).zip(a) {
                *sum += dz.to_f32() * if product { a.to_f32() } else { 1.0 };
            }
        }
        db_c.iter_mut().zip(&sums).for_each(|(db, sum)| *db = E::of(*sum));
    }
}

vectorised! {
    pub(crate) fn triangle_row<E>(a_kc: &[f32], b_jkc: &[f32], y: &mut [E], sizes: (usize, usize, usize), scale: f32) {
        let (c, stride, at) = sizes;
        let rows = b_jkc.chunks_exact(a_kc.len()).zip(y.chunks_exact_mut(stride));
        for (b, y) in rows {
            let y = &mut y[at..at + c];
            for from in (0..c).step_by(LANES) {
                let lanes = LANES.min(c - from);
                let mut sums = [[0f32; LANES]; 2];
                if lanes == LANES {
                    // Two chains of sums hide the latency of an addition; they are added up at the end.
                    for (k, (a, b)) in a_kc.chunks_exact(c).zip(b.chunks_exact(c)).enumerate() {
                        let (a, b) = (&a[from..from + LANES], &b[from..from + LANES]);
                        let sums = &mut sums[k % 2];
                        for i in 0..LANES {
                            sums[i] = a[i].mul_add(b[i], sums[i]);
                        }
                    }
                } else {
                    for (a, b) in a_kc.chunks_exact(c).zip(b.chunks_exact(c)) {
                        for i in 0..lanes {
                            sums[0][i] = a[from + i].mul_add(b[from + i], sums[0][i]);
                        }
                    }
                }
                for i in 0..lanes {
                    y[from + i] = E::of(scale * (sums[0][i] + sums[1][i]));
                }
            }
        }
    }
}

vectorised! {
    pub(crate) fn convolve_row<E>(
        x_ijc: &[E], w: &[f32], bias: Option<&[f32]>, y_jc: &mut [E], i: usize, sizes: (usize, usize), square: Square,
    ) {
        let (l, c) = sizes;
        let mut sums = vec![0f32; c];
        for (j, y) in y_jc.chunks_exact_mut(c).enumerate() {
            match bias {
                Some(bias) => sums.copy_from_slice(bias),
                None => sums.fill(0.0),
            }
            for u in 0..square.width {
                let Some(row) = seen(i, u, l, square) else { continue };
                for v in 0..square.width {
                    let Some(column) = seen(j, v, l, square) else { continue };
                    let x = &x_ijc[(row * l + column) * c..][..c];
                    let w = &w[(u * square.width + v) * c..][..c];
                    for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                        *sum = x.to_f32().mul_add(*w, *sum);
                    }
                }
            }
            y.iter_mut().zip(&sums).for_each(|(y, sum)| *y = E::of(*sum));
        }
    }
}

vectorised! {
    pub(crate) fn convolve_weights<E>(
        x_ijc: &[E], dy_ijc: &[E], part: &mut [f32], i: usize, sizes: (usize, usize), square: Square,
    ) {
        let (l, c) = sizes;
        let (dw, db) = part.split_at_mut(square.width * square.width * c);
        let dy_row = &dy_ijc[i * l * c..][..l * c];
        for dy in dy_row.chunks_exact(c) {
            db.iter_mut().zip(dy).for_each(|(db, dy)| *db += dy.to_f32());
        }
        for u in 0..square.width {
            let Some(row) = seen(i, u, l, square) else { continue };
            for v in 0..square.width {
                let dw = &mut dw[(u * square.width + v) * c..][..c];
                for (j, dy) in dy_row.chunks_exact(c).enumerate() {
                    let Some(column) = seen(j, v, l, square) else { continue };
                    let x = &x_ijc[(row * l + column) * c..][..c];
                    for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
                        *dw = x.to_f32().mul_add(dy.to_f32(), *dw);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout, Pool};

    const L: usize = 5;

    #[test]
    fn the_ways_back_are_the_derivatives() {
        let mut layout = Layout::default();
        let a = layout.add("a", &[L, 18], Init::Zeros);
        let b = layout.add("b", &[L, 18], Init::Zeros);
        let w = layout.add("w", &[9, 18], Init::Zeros);
        let bias = layout.add("bias", &[18], Init::Zeros);
        let params = noise(layout.len(), 1);
        let indices: Vec<u32> = vec![7, 3, 24, 0];
        for outer in [Outer::Sum, Outer::Product] {
            check(&params, |tape| {
                let (a, b) = (tape.matrix(a), tape.matrix(b));
                tape.outer(&a, &b, outer)
            });
        }
        check(&params, |tape| {
            let (a, b) = (tape.matrix(a), tape.matrix(b));
            let z = tape.outer(&a, &b, Outer::Product);
            tape.triangle(&z, 0.3)
        });
        for dilation in [1, 2] {
            check(&params, |tape| {
                let (a, b) = (tape.matrix(a), tape.matrix(b));
                let z = tape.outer(&a, &b, Outer::Sum);
                let square = Square { width: 3, dilation };
                tape.pair_convolution(&z, w, bias, square)
            });
        }
        // The indices live as long as the tape's data must: as long as the test.
        let indices: &'static [u32] = indices.leak();
        check(&params, |tape| {
            let (a, b) = (tape.matrix(a), tape.matrix(b));
            let z = tape.outer(&a, &b, Outer::Product);
            tape.pick(&z, indices)
        });
    }

    #[test]
    fn they_are_the_formulas() {
        for c in [3, 16, 35] {
            let x = noise(L * L * 2 * c, 2);
            let pool = Pool::<f32>::default();
            let mut layout = Layout::default();
            let w = layout.add("w", &[9, 2 * c], Init::Zeros);
            let bias = layout.add("bias", &[2 * c], Init::Zeros);
            let params = noise(layout.len(), 3);
            let mut tape = Tape::inference(&pool, &params);
            let value = tape.input(&x, 2 * c);
            let triangle = tape.triangle(&value, 0.5);
            let triangle = tape.read(&triangle);
            let square = Square {
                width: 3,
                dilation: 2,
            };
            let convolved = tape.pair_convolution(&value, w, bias, square);
            let convolved = tape.read(&convolved);
            for (i, j) in (0..L).flat_map(|i| (0..L).map(move |j| (i, j))) {
                for at in 0..c {
                    let third = |k: usize| x[(i * L + k) * 2 * c + at] * x[(j * L + k) * 2 * c + c + at];
                    let sum = 0.5 * (0..L).map(third).sum::<f32>();
                    assert!((triangle[(i * L + j) * c + at] - sum).abs() < 1e-5);
                }
                for at in 0..2 * c {
                    let mut sum = params[9 * 2 * c + at];
                    for (u, v) in (0..3).flat_map(|u| (0..3).map(move |v| (u, v))) {
                        let (row, column) = (i + 2 * u, j + 2 * v);
                        if (2..L + 2).contains(&row) && (2..L + 2).contains(&column) {
                            let x = x[((row - 2) * L + column - 2) * 2 * c + at];
                            sum += params[(3 * u + v) * 2 * c + at] * x;
                        }
                    }
                    assert!((convolved[(i * L + j) * 2 * c + at] - sum).abs() < 1e-4);
                }
            }
        }
    }
}
