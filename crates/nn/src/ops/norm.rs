//! RMSNorm and LayerNorm, a row at a time: `y = (x - m) r g + b` with `r = 1 / sqrt(v + eps)`, where RMSNorm
//! has `m = 0`, `v = mean(x^2)` and no `b`.

use super::{ROWS, collect};
use crate::simd::{dot, sum, vectorised};
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

impl<'a, E: Element> Tape<'a, E> {
    /// Rows of one size: divided by the root of their mean square.
    pub fn rms_norm(&mut self, x: &Var<'a, E>, gain: Param, eps: f32) -> Var<'a, E> {
        self.norm(x, gain, None, eps)
    }

    /// Rows of mean 0 and variance 1.
    pub fn layer_norm(&mut self, x: &Var<'a, E>, gain: Param, bias: Param, eps: f32) -> Var<'a, E> {
        self.norm(x, gain, Some(bias), eps)
    }

    fn norm(&mut self, x: &Var<'a, E>, gain: Param, bias: Option<Param>, eps: f32) -> Var<'a, E> {
        let (params, pool, saved) = (self.params, self.pool, x.saved());
        let again = move || {
            let mut y = pool.take(saved.rows * saved.cols);
            let bias = bias.map(|bias| &params[bias.range()]);
            forward(&saved.buffer(), &params[gain.range()], bias, &mut y, eps);
            y
        };
        let y = self.cheap(x.rows, x.cols, again);
        let x = x.saved();
        self.note(&y, move |back, dy| {
            let g = &back.params[gain.range()];
            let (mut dx, add) = back.open(x.id, dy.len());
            let parts = backward(&x.buffer(), g, bias.is_some(), eps, &dy, &mut dx, add);
            back.close(x.id, dx);
            let (dg, db): (Vec<f32>, Vec<f32>) = split(&parts, g.len());
            let (to, add) = back.gradient.open(gain);
            collect(&dg, to, add);
            if let Some(bias) = bias {
                let (to, add) = back.gradient.open(bias);
                collect(&db, to, add);
            }
        });
        y
    }
}

fn forward<E: Element>(x: &[E], g: &[f32], b: Option<&[f32]>, y: &mut [E], eps: f32) {
    let c = g.len();
    y.par_chunks_mut(c * ROWS)
        .zip(x.par_chunks(c * ROWS))
        .for_each(|(y, x)| rows(x, g, b, y, eps));
}

/// Sets `dx_nc` or adds to it; returns, for each task, the gradients of `g` and `b`.
fn backward<E: Element>(
    x: &[E],
    g: &[f32],
    centred: bool,
    eps: f32,
    dy: &[E],
    dx: &mut [E],
    add: bool,
) -> Vec<f32> {
    let c = g.len();
    let mut parts = vec![0f32; x.len().div_ceil(c * ROWS) * 2 * c];
    dx.par_chunks_mut(c * ROWS)
        .zip(x.par_chunks(c * ROWS))
        .zip(dy.par_chunks(c * ROWS))
        .zip(parts.par_chunks_mut(2 * c))
        .for_each(|(((dx, x), dy), part)| rows_backward(x, g, centred, eps, dy, dx, add, part));
    parts
}

fn split(parts: &[f32], c: usize) -> (Vec<f32>, Vec<f32>) {
    let pairs = || parts.chunks_exact(2 * c);
    (
        pairs().flat_map(|pair| &pair[..c]).copied().collect(),
        pairs().flat_map(|pair| &pair[c..]).copied().collect(),
    )
}

/// Mean (0 if not `centred`) and `1 / sqrt(variance + eps)`.
#[inline(always)]
fn moments<E: Element>(x: &[E], centred: bool, eps: f32) -> (f32, f32) {
    let c = x.len() as f32;
    let mean = if centred { sum(x) / c } else { 0.0 };
    let variance = (dot(x, x) / c - mean * mean).max(0.0);
    (mean, 1.0 / (variance + eps).sqrt())
}

vectorised! {
    pub(crate) fn rows<E>(x_nc: &[E], g_c: &[f32], b_c: Option<&[f32]>, y_nc: &mut [E], eps: f32) {
        let c = g_c.len();
        for (x, y) in x_nc.chunks_exact(c).zip(y_nc.chunks_exact_mut(c)) {
            let (mean, r) = moments(x, b_c.is_some(), eps);
            match b_c {
                Some(b) => for i in 0..c {
                    y[i] = E::of(((x[i].to_f32() - mean) * r).mul_add(g_c[i], b[i]));
                },
                None => for i in 0..c {
                    y[i] = E::of(x[i].to_f32() * r * g_c[i]);
                },
            }
        }
    }
}

// With h = (x - m) r and u = g dy:  dx = r (u - mean(u) - h mean(u h)); RMSNorm has no mean(u).
vectorised! {
    pub(crate) fn rows_backward<E>(
        x_nc: &[E], g_c: &[f32], centred: bool, eps: f32, dy_nc: &[E], dx_nc: &mut [E], add: bool, part: &mut [f32],
    ) {
        let c = g_c.len();
        let (dg, db) = part.split_at_mut(c);
        let (mut u, mut h) = (vec![0f32; c], vec![0f32; c]);
        let rows = x_nc.chunks_exact(c).zip(dy_nc.chunks_exact(c)).zip(dx_nc.chunks_exact_mut(c));
        for ((x, dy), dx) in rows {
            let (mean, r) = moments(x, centred, eps);
            for i in 0..c {
                let dy = dy[i].to_f32();
                h[i] = (x[i].to_f32() - mean) * r;
                u[i] = dy * g_c[i];
                dg[i] = dy.mul_add(h[i], dg[i]);
                db[i] += dy;
            }
            let along = dot(&u, &h) / c as f32;
            let shift = if centred { sum(&u) / c as f32 } else { 0.0 };
            for i in 0..c {
                let before = if add { dx[i].to_f32() } else { 0.0 };
                dx[i] = E::of(r.mul_add((-h[i]).mul_add(along, u[i] - shift), before));
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
        let x = layout.add("x", &[70, 10], Init::Zeros);
        let gain = layout.add("gain", &[10], Init::Zeros);
        let bias = layout.add("bias", &[10], Init::Zeros);
        check(&noise(layout.len(), 1), |tape| {
            let x = tape.matrix(x);
            let y = tape.layer_norm(&x, gain, bias, 1e-5);
            let z = tape.rms_norm(&x, gain, 1e-5);
            let sum = tape.add(y, &z);
            tape.rms_norm(&sum, gain, 1e-5)
        });
    }
}
