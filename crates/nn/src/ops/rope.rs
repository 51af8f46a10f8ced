//! Rotary positions, in Llama's arrangement: element i turns with element i + d/2 by the angle
//! `position * base^(-2i/d)`.

use super::ROWS;
use rayon::prelude::*;

/// cos and sin for every position and half of a head: `[t][cos d/2, sin d/2]`.
pub(crate) fn table(context: usize, d: usize, base: f32) -> Vec<f32> {
    let half = d / 2;
    let mut table = Vec::with_capacity(context * d);
    for position in 0..context {
        let angle = |i: usize| position as f64 * f64::from(base).powf(-2.0 * i as f64 / d as f64);
        table.extend((0..half).map(|i| angle(i).cos() as f32));
        table.extend((0..half).map(|i| angle(i).sin() as f32));
    }
    table
}

/// Turns the first `heads` heads of each row in place: query and key heads, which lie in front of the value
/// heads. `back` turns the other way, which is the derivative.
pub(crate) fn turn(
    x_ne: &mut [f32],
    row: usize,
    heads: usize,
    d: usize,
    t: usize,
    table: &[f32],
    back: bool,
) {
    x_ne.par_chunks_mut(row * ROWS)
        .enumerate()
        .for_each(|(task, rows)| {
            for (i, row) in rows.chunks_exact_mut(row).enumerate() {
                let position = (task * ROWS + i) % t;
                turn_row(&mut row[..heads * d], &table[position * d..][..d], back);
            }
        });
}

/// Turns the heads of one position.
pub(crate) fn turn_row(heads: &mut [f32], cos_sin: &[f32], back: bool) {
    let half = cos_sin.len() / 2;
    let (cos, sin) = cos_sin.split_at(half);
    let sign = if back { -1.0 } else { 1.0 };
    for head in heads.chunks_exact_mut(2 * half) {
        let (left, right) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b, s) = (left[i], right[i], sign * sin[i]);
            left[i] = a * cos[i] - b * s;
            right[i] = b * cos[i] + a * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise, weigh};

    #[test]
    fn turning_back_is_the_derivative_and_the_inverse() {
        let (t, heads, d, row) = (9, 3, 6, 3 * 6 + 4);
        let table = table(t, d, 100.0);
        let (x, dy) = (noise(2 * t * row, 1), noise(2 * t * row, 2));
        let mut dx = dy.clone();
        turn(&mut dx, row, heads, d, t, &table, true);
        check_gradient(&x, &dx, |x| {
            let mut y = x.to_vec();
            turn(&mut y, row, heads, d, t, &table, false);
            weigh(&y, &dy)
        });
        let mut y = x.clone();
        turn(&mut y, row, heads, d, t, &table, false);
        turn(&mut y, row, heads, d, t, &table, true);
        assert!(y.iter().zip(&x).all(|(y, x)| (y - x).abs() < 1e-6));
    }
}
