//! SwiGLU: `y = silu(gate) * up`, where gate and up lie side by side in a row.

use super::ROWS;
use super::simd::{exp, vectorised};
use rayon::prelude::*;

/// Fills `y_nf` from `gu_n2f`.
pub(crate) fn forward(gu_n2f: &[f32], y_nf: &mut [f32], f: usize) {
    y_nf.par_chunks_mut(f * ROWS)
        .zip(gu_n2f.par_chunks(2 * f * ROWS))
        .for_each(|(y, gu)| rows(gu, y, f));
}

/// Turns `gu_n2f` into its own gradient, given `dy_nf`: the activations aren't needed after this.
pub(crate) fn backward(gu_n2f: &mut [f32], dy_nf: &[f32], f: usize) {
    gu_n2f
        .par_chunks_mut(2 * f * ROWS)
        .zip(dy_nf.par_chunks(f * ROWS))
        .for_each(|(gu, dy)| rows_backward(gu, dy, f));
}

vectorised! {
    pub(crate) fn rows(gu_n2f: &[f32], y_nf: &mut [f32], f: usize) {
        for (gu, y) in gu_n2f.chunks_exact(2 * f).zip(y_nf.chunks_exact_mut(f)) {
            let (gate, up) = gu.split_at(f);
            for i in 0..f {
                y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
            }
        }
    }
}

// silu' = s (1 + g (1 - s)) with s the sigmoid.
vectorised! {
    pub(crate) fn rows_backward(gu_n2f: &mut [f32], dy_nf: &[f32], f: usize) {
        for (gu, dy) in gu_n2f.chunks_exact_mut(2 * f).zip(dy_nf.chunks_exact(f)) {
            let (gate, up) = gu.split_at_mut(f);
            for i in 0..f {
                let s = 1.0 / (1.0 + exp(-gate[i]));
                let silu = gate[i] * s;
                gate[i] = dy[i] * up[i] * s.mul_add(1.0 - silu, silu);
                up[i] = dy[i] * silu;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise, weigh};

    #[test]
    fn backward_is_the_derivative() {
        let (n, f) = (67, 9);
        let (gu, dy) = (noise(n * 2 * f, 1), noise(n * f, 2));
        let mut dgu = gu.clone();
        backward(&mut dgu, &dy, f);
        check_gradient(&gu, &dgu, |gu| {
            let mut y = vec![0.0; n * f];
            forward(gu, &mut y, f);
            weigh(&y, &dy)
        });
    }
}
