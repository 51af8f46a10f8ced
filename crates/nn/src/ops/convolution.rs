//! Convolution over a sequence, as a product with the inputs that each place sees side by side.

use crate::pool::Buffer;
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

/// How a convolution moves over a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows of a sequence.
    pub t: usize,
    /// Rows that a place sees.
    pub width: usize,
    /// Rows from one place to the next.
    pub stride: usize,
    /// Rows of zeros before the first row of a sequence.
    pub before: usize,
    /// And after the last.
    pub after: usize,
}

impl Window {
    /// Places in a sequence; none where a window is longer than sequence and zeros.
    pub fn places(self) -> usize {
        let padded = self.before + self.t + self.after;
        padded
            .checked_sub(self.width)
            .map_or(0, |rest| rest / self.stride + 1)
    }
}

impl<'a, E: Element> Tape<'a, E> {
    /// For each place of each sequence `w` times the rows it sees, and `bias`. `w` has a row for each
    /// channel it makes, in which the channels of the first row seen come first.
    pub fn convolution(
        &mut self,
        x: &Var<'a, E>,
        w: Param,
        bias: Option<Param>,
        window: Window,
    ) -> Var<'a, E> {
        let c = x.cols;
        assert_eq!(
            w.cols,
            window.width * c,
            "a weight for each row and channel that is seen"
        );
        assert!(x.rows.is_multiple_of(window.t), "whole sequences");
        let places = x.rows / window.t * window.places();
        let (pool, saved) = (self.pool, x.saved());
        let seen = self.cheap(places, w.cols, move || {
            let mut seen = pool.zeros(places * window.width * c);
            unfold(&saved.buffer(), &mut seen, window, c);
            seen
        });
        let (id, len) = (x.id(), x.rows * c);
        self.note(&seen, move |back, dseen| {
            let mut dx: Buffer<E> = back.pool.zeros(len);
            fold(&dseen, &mut dx, window, c);
            back.add(id, dx);
        });
        self.linear(&seen, w, bias)
    }
}

/// The rows of the padded sequence that a place sees and that exist, and where they go in its row.
fn overlap(window: Window, place: usize) -> (std::ops::Range<usize>, usize) {
    let first = place * window.stride;
    let start = first.max(window.before);
    let end = (first + window.width).min(window.before + window.t).max(start);
    (start - window.before..end - window.before, start - first)
}

fn unfold<E: Element>(x: &[E], seen: &mut [E], window: Window, c: usize) {
    let (row, places) = (window.width * c, window.places());
    seen.par_chunks_mut(row).enumerate().for_each(|(i, seen)| {
        let (from, to) = overlap(window, i % places);
        let x = &x[i / places * window.t * c..];
        seen[to * c..][..from.len() * c].copy_from_slice(&x[from.start * c..from.end * c]);
    });
}

fn fold<E: Element>(dseen: &[E], dx: &mut [E], window: Window, c: usize) {
    let (row, places) = (window.width * c, window.places());
    let sequences = dx
        .par_chunks_mut(window.t * c)
        .zip(dseen.par_chunks(row * places));
    sequences.for_each(|(dx, dseen)| {
        for (place, dseen) in dseen.chunks_exact(row).enumerate() {
            let (to, from) = overlap(window, place);
            let dseen = &dseen[from * c..][..to.len() * c];
            for (dx, d) in dx[to.start * c..to.end * c].iter_mut().zip(dseen) {
                *dx = E::of(dx.to_f32() + d.to_f32());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout, Pool};

    #[test]
    fn it_is_the_formula_and_its_derivative() {
        for (width, stride, before, after) in [(3, 1, 1, 1), (4, 2, 3, 0), (5, 3, 0, 4)] {
            let window = Window {
                t: 9,
                width,
                stride,
                before,
                after,
            };
            let mut layout = Layout::default();
            let x = layout.add("x", &[18, 2], Init::Zeros);
            let w = layout.add("w", &[3, width * 2], Init::Zeros);
            let bias = layout.add("bias", &[3], Init::Zeros);
            let params = noise(layout.len(), 1);
            let run = |tape: &mut Tape<'_, f32>| {
                let x = tape.matrix(x);
                let y = tape.convolution(&x, w, Some(bias), window);
                tape.read(&y)
            };
            let pool = Pool::default();
            let y = run(&mut Tape::inference(&pool, &params));
            let places = window.places();
            assert_eq!(y.len(), 2 * places * 3);
            for (i, y) in y.iter().enumerate() {
                let (o, place, b) = (i % 3, i / 3 % places, i / 3 / places);
                let mut sum = params[bias.range()][o];
                for (seen, channel) in (0..width).flat_map(|s| (0..2).map(move |c| (s, c))) {
                    let row = (place * stride + seen).wrapping_sub(before);
                    if row < 9 {
                        sum += params[w.range()][o * width * 2 + seen * 2 + channel]
                            * params[x.range()][(b * 9 + row) * 2 + channel];
                    }
                }
                assert!((sum - y).abs() < 1e-5, "{window:?} {i}");
            }
            check(&params, |tape| {
                let x = tape.matrix(x);
                tape.convolution(&x, w, Some(bias), window)
            });
        }
    }
}
