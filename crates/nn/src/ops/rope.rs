//! Rotary positions (Su et al., arXiv 2104.09864), in Llama's arrangement: element i turns with element
//! i + d/2 by the angle `position * base^(-2i/d)`.

use super::ROWS;
use crate::{Element, Tape, Var};
use rayon::prelude::*;

/// Cosines and sines for every position.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[position][cos d/2, sin d/2]`.
    table: Vec<f32>,
    d: usize,
}

impl Rope {
    /// For heads of size `d`, which is even, and positions below `context`.
    pub fn new(context: usize, d: usize, base: f32) -> Self {
        let half = d / 2;
        let mut table = Vec::with_capacity(context * d);
        for position in 0..context {
            let angle = |i: usize| position as f64 * f64::from(base).powf(-2.0 * i as f64 / d as f64);
            table.extend((0..half).map(|i| angle(i).cos() as f32));
            table.extend((0..half).map(|i| angle(i).sin() as f32));
        }
        Self { table, d }
    }

    fn turn<E: Element>(&self, x: &mut [E], row: usize, heads: usize, positions: &[u32], back: bool) {
        let tasks = x.par_chunks_mut(row * ROWS).zip(positions.par_chunks(ROWS));
        tasks.for_each(|(rows, positions)| {
            for (row, &position) in rows.chunks_exact_mut(row).zip(positions) {
                let turns = &self.table[position as usize * self.d..][..self.d];
                turn_row(&mut row[..heads * self.d], turns, back);
            }
        });
    }
}

impl<'a, E: Element> Tape<'a, E> {
    /// Turns the first `heads` heads of each row by the row's position: query and key heads, which lie in
    /// front of the value heads.
    pub fn rope(&mut self, x: Var<'a, E>, heads: usize, positions: &'a [u32], rope: &'a Rope) -> Var<'a, E> {
        assert_eq!(x.rows, positions.len(), "a position for each row");
        let (rows, cols, id) = (x.rows, x.cols, x.id());
        let mut y = x.into_buffer(self.pool);
        rope.turn(&mut y, cols, heads, positions, false);
        let y = self.value(y, rows, cols);
        self.note(&y, move |back, mut dy| {
            rope.turn(&mut dy, cols, heads, positions, true);
            back.add(id, dy);
        });
        y
    }
}

/// Turns the heads of one position; `back` turns the other way, which is the derivative.
fn turn_row<E: Element>(heads: &mut [E], cos_sin: &[f32], back: bool) {
    let half = cos_sin.len() / 2;
    let (cos, sin) = cos_sin.split_at(half);
    let sign = if back { -1.0 } else { 1.0 };
    for head in heads.chunks_exact_mut(2 * half) {
        let (left, right) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b, s) = (left[i].to_f32(), right[i].to_f32(), sign * sin[i]);
            left[i] = E::of(a * cos[i] - b * s);
            right[i] = E::of(b * cos[i] + a * s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout};

    #[test]
    fn the_way_back_is_the_derivative() {
        let (rope, mut layout) = (Rope::new(9, 6, 100.0), Layout::default());
        let x = layout.add("x", &[18, 3 * 6 + 4], Init::Zeros);
        let positions: Vec<u32> = (0..18).map(|i| i % 9).collect();
        let params = noise(layout.len(), 1);
        check(&params, |tape| {
            let x = tape.matrix(x);
            // Borrowed for the life of the parameters, as a model's are.
            let (positions, rope) = (positions.clone().leak(), Box::leak(Box::new(rope.clone())));
            tape.rope(x, 3, positions, rope)
        });
    }

    #[test]
    fn turning_back_is_the_inverse() {
        let rope = Rope::new(9, 6, 100.0);
        let positions: Vec<u32> = (0..9).collect();
        let x = noise(9 * 20, 1);
        let mut y = x.clone();
        rope.turn(&mut y, 20, 3, &positions, false);
        assert!(y.iter().zip(&x).any(|(y, x)| (y - x).abs() > 0.1));
        rope.turn(&mut y, 20, 3, &positions, true);
        assert!(y.iter().zip(&x).all(|(y, x)| (y - x).abs() < 1e-6));
    }
}
