//! RMSNorm: `y = x / sqrt(mean(x^2) + eps) * g`, a row at a time.

use super::ROWS;
use super::simd::{dot, vectorised};
use rayon::prelude::*;

/// Fills `y_nc` and, for the way back, `scale_n = 1 / sqrt(mean(x^2) + eps)`.
pub(crate) fn forward(x_nc: &[f32], g_c: &[f32], y_nc: &mut [f32], scale_n: &mut [f32], eps: f32) {
    let c = g_c.len();
    y_nc.par_chunks_mut(c * ROWS)
        .zip(x_nc.par_chunks(c * ROWS))
        .zip(scale_n.par_chunks_mut(ROWS))
        .for_each(|((y, x), scale)| rows(x, g_c, y, scale, eps));
}

/// Adds to `dx_nc`, sets `dg_c`. `parts` holds a gradient of `g` for each task and is reused.
pub(crate) fn backward(
    x_nc: &[f32],
    g_c: &[f32],
    scale_n: &[f32],
    dy_nc: &[f32],
    dx_nc: &mut [f32],
    dg_c: &mut [f32],
    parts: &mut Vec<f32>,
) {
    let c = g_c.len();
    parts.clear();
    parts.resize(x_nc.len().div_ceil(c * ROWS) * c, 0.0);
    dx_nc
        .par_chunks_mut(c * ROWS)
        .zip(x_nc.par_chunks(c * ROWS))
        .zip(dy_nc.par_chunks(c * ROWS))
        .zip(scale_n.par_chunks(ROWS))
        .zip(parts.par_chunks_mut(c))
        .for_each(|((((dx, x), dy), scale), part)| rows_backward(x, g_c, scale, dy, dx, part));
    dg_c.fill(0.0);
    for part in parts.chunks(c) {
        for (dg, part) in dg_c.iter_mut().zip(part) {
            *dg += part;
        }
    }
}

vectorised! {
    pub(crate) fn rows(x_nc: &[f32], g_c: &[f32], y_nc: &mut [f32], scale_n: &mut [f32], eps: f32) {
        let c = g_c.len();
        for ((x, y), scale) in x_nc.chunks_exact(c).zip(y_nc.chunks_exact_mut(c)).zip(scale_n) {
            *scale = 1.0 / (dot(x, x) / c as f32 + eps).sqrt();
            for i in 0..c {
                y[i] = x[i] * *scale * g_c[i];
            }
        }
    }
}

// With r = 1 / sqrt(mean(x^2) + eps):  dx = r (g dy) - x r^3 mean(g dy x).
vectorised! {
    pub(crate) fn rows_backward(x_nc: &[f32], g_c: &[f32], scale_n: &[f32], dy_nc: &[f32], dx_nc: &mut [f32], dg_c: &mut [f32]) {
        let c = g_c.len();
        let rows = x_nc.chunks_exact(c).zip(dy_nc.chunks_exact(c)).zip(dx_nc.chunks_exact_mut(c));
        let mut gdy = vec![0f32; c];
        for (((x, dy), dx), &r) in rows.zip(scale_n) {
            for i in 0..c {
                gdy[i] = dy[i] * g_c[i];
                dg_c[i] = (dy[i] * r).mul_add(x[i], dg_c[i]);
            }
            let mean = dot(&gdy, x) / c as f32 * r * r * r;
            for i in 0..c {
                dx[i] += r.mul_add(gdy[i], -x[i] * mean);
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
        let (n, c) = (70, 10);
        let (x, g, dy) = (noise(n * c, 1), noise(c, 2), noise(n * c, 3));
        let run = |x: &[f32], g: &[f32]| {
            let (mut y, mut scale) = (vec![0.0; n * c], vec![0.0; n]);
            forward(x, g, &mut y, &mut scale, 1e-5);
            (weigh(&y, &dy), scale)
        };
        let scale = run(&x, &g).1;
        let (mut dx, mut dg) = (vec![0.0; n * c], vec![0.0; c]);
        backward(&x, &g, &scale, &dy, &mut dx, &mut dg, &mut Vec::new());
        check_gradient(&x, &dx, |x| run(x, &g).0);
        check_gradient(&g, &dg, |g| run(&x, g).0);
    }
}
