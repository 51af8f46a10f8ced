//! Activations and gates. None is kept for the way back: each is cheap to compute again.

use super::{CHUNK, ROWS};
use crate::simd::{exp, vectorised};
use crate::{Element, Tape, Var};
use rayon::prelude::*;

/// Which Gaussian error linear unit (Hendrycks and Gimpel, arXiv 1606.08415).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Exact,
    /// With `tanh(sqrt(2 / pi) (x + 0.044715 x^3))` for the error function: GPT-2's.
    Tanh,
}

impl<'a, E: Element> Tape<'a, E> {
    /// `x` times the probability that a normal number is below it.
    pub fn gelu(&mut self, x: &Var<'a, E>, kind: Gelu) -> Var<'a, E> {
        let (pool, saved) = (self.pool, x.saved());
        let again = move || {
            let mut y = pool.take(saved.rows * saved.cols);
            let x = saved.buffer();
            let tasks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            tasks.for_each(|(y, x)| gelu(x, y, kind == Gelu::Exact));
            y
        };
        let y = self.cheap(x.rows, x.cols, again);
        let x = x.saved();
        self.note(&y, move |back, mut dy| {
            let values = x.buffer();
            let tasks = dy.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
            tasks.for_each(|(dy, x)| gelu_backward(x, dy, kind == Gelu::Exact));
            back.add(x.id, dy);
        });
        y
    }

    /// `silu(gate) up`, where a row of `x` is gate and up side by side (Shazeer, arXiv 2002.05202).
    pub fn swiglu(&mut self, x: &Var<'a, E>) -> Var<'a, E> {
        let f = x.cols / 2;
        assert_eq!(x.cols, 2 * f, "gate and up have one size");
        let (pool, saved) = (self.pool, x.saved());
        let again = move || {
            let mut y = pool.take(saved.rows * f);
            let x = saved.buffer();
            let tasks = y.par_chunks_mut(f * ROWS).zip(x.par_chunks(2 * f * ROWS));
            tasks.for_each(|(y, x)| swiglu(x, y, f));
            y
        };
        let y = self.cheap(x.rows, f, again);
        let x = x.saved();
        self.note(&y, move |back, dy| {
            let (mut dx, add) = back.open(x.id, x.rows * x.cols);
            let values = x.buffer();
            dx.par_chunks_mut(2 * f * ROWS)
                .zip(values.par_chunks(2 * f * ROWS))
                .zip(dy.par_chunks(f * ROWS))
                .for_each(|((dx, x), dy)| swiglu_backward(x, dy, dx, f, add));
            back.close(x.id, dx);
        });
        y
    }

    /// `x sigmoid(g)`, element by element.
    pub fn gate(&mut self, x: &Var<'a, E>, g: &Var<'a, E>) -> Var<'a, E> {
        assert_eq!((x.rows, x.cols), (g.rows, g.cols), "a gate takes equal shapes");
        let (pool, saved) = (self.pool, (x.saved(), g.saved()));
        let again = move || {
            let mut y = pool.copy(&saved.0.buffer());
            let g = saved.1.buffer();
            let tasks = y.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
            tasks.for_each(|(y, g)| gate(y, g));
            y
        };
        let y = self.cheap(x.rows, x.cols, again);
        let (x, g) = (x.saved(), g.saved());
        self.note(&y, move |back, mut dy| {
            let mut dg = back.pool.copy(&x.buffer());
            let gates = g.buffer();
            dy.par_chunks_mut(CHUNK)
                .zip(dg.par_chunks_mut(CHUNK))
                .zip(gates.par_chunks(CHUNK))
                .for_each(|((dx, dg), g)| gate_backward(dx, dg, g));
            back.add(x.id, dy);
            back.add(g.id, dg);
        });
        y
    }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), and `e^(-x^2)`.
#[inline(always)]
fn erf(x: f32) -> (f32, f32) {
    let t = 1.0 / 0.327_591_1f32.mul_add(x.abs(), 1.0);
    let p = 1.061_405_4f32;
    let p = p.mul_add(t, -1.453_152);
    let p = p.mul_add(t, 1.421_413_8);
    let p = p.mul_add(t, -0.284_496_72);
    let p = p.mul_add(t, 0.254_829_6) * t;
    let bell = exp(-x * x);
    ((1.0 - p * bell).copysign(x), bell)
}

/// The value and its derivative.
#[inline(always)]
fn gelu_of(x: f32, exact: bool) -> (f32, f32) {
    if exact {
        let (erf, bell) = erf(x * std::f32::consts::FRAC_1_SQRT_2);
        let below = 0.5 * (1.0 + erf);
        (x * below, x.mul_add(bell * 0.398_942_3, below))
    } else {
        const ROOT: f32 = 0.797_884_6; // sqrt(2 / pi)
        let inner = ROOT * x * (0.044_715 * x).mul_add(x, 1.0);
        // tanh(u) = 1 - 2 / (1 + e^2u), and half of it plus a half is a sigmoid of 2u
        let below = 1.0 / (1.0 + exp(-2.0 * inner));
        let slope = ROOT * (3.0 * 0.044_715 * x).mul_add(x, 1.0);
        (x * below, (2.0 * x * below * (1.0 - below)).mul_add(slope, below))
    }
}

vectorised! {
    pub(crate) fn gelu<E>(x: &[E], y: &mut [E], exact: bool) {
        if exact {
            x.iter().zip(y).for_each(|(x, y)| *y = E::of(gelu_of(x.to_f32(), true).0));
        } else {
            x.iter().zip(y).for_each(|(x, y)| *y = E::of(gelu_of(x.to_f32(), false).0));
        }
    }
}

vectorised! {
    pub(crate) fn gelu_backward<E>(x: &[E], dy: &mut [E], exact: bool) {
        if exact {
            x.iter().zip(dy).for_each(|(x, dy)| *dy = E::of(dy.to_f32() * gelu_of(x.to_f32(), true).1));
        } else {
            x.iter().zip(dy).for_each(|(x, dy)| *dy = E::of(dy.to_f32() * gelu_of(x.to_f32(), false).1));
        }
    }
}

vectorised! {
    pub(crate) fn swiglu<E>(x_n2f: &[E], y_nf: &mut [E], f: usize) {
        for (x, y) in x_n2f.chunks_exact(2 * f).zip(y_nf.chunks_exact_mut(f)) {
            let (gate, up) = x.split_at(f);
            for i in 0..f {
                let gate = gate[i].to_f32();
                y[i] = E::of(gate / (1.0 + exp(-gate)) * up[i].to_f32());
            }
        }
    }
}

// silu' = s (1 + g (1 - s)) with s the sigmoid.
vectorised! {
    pub(crate) fn swiglu_backward<E>(x_n2f: &[E], dy_nf: &[E], dx_n2f: &mut [E], f: usize, add: bool) {
        let rows = x_n2f.chunks_exact(2 * f).zip(dy_nf.chunks_exact(f)).zip(dx_n2f.chunks_exact_mut(2 * f));
        for ((x, dy), dx) in rows {
            let (gate, up) = x.split_at(f);
            let (dgate, dup) = dx.split_at_mut(f);
            for i in 0..f {
                let (gate, up, dy) = (gate[i].to_f32(), up[i].to_f32(), dy[i].to_f32());
                let s = 1.0 / (1.0 + exp(-gate));
                let silu = gate * s;
                let (a, b) = if add { (dgate[i].to_f32(), dup[i].to_f32()) } else { (0.0, 0.0) };
                dgate[i] = E::of((dy * up).mul_add(s.mul_add(1.0 - silu, silu), a));
                dup[i] = E::of(dy.mul_add(silu, b));
            }
        }
    }
}

vectorised! {
    pub(crate) fn gate<E>(y: &mut [E], g: &[E]) {
        for (y, g) in y.iter_mut().zip(g) {
            *y = E::of(y.to_f32() / (1.0 + exp(-g.to_f32())));
        }
    }
}

// `dx` holds dy and `dg` holds x.
vectorised! {
    pub(crate) fn gate_backward<E>(dx: &mut [E], dg: &mut [E], g: &[E]) {
        for ((dx, dg), g) in dx.iter_mut().zip(dg).zip(g) {
            let s = 1.0 / (1.0 + exp(-g.to_f32()));
            let (x, dy) = (dg.to_f32(), dx.to_f32());
            *dg = E::of(dy * x * s * (1.0 - s));
            *dx = E::of(dy * s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout};

    #[test]
    fn the_ways_back_are_the_derivatives() {
        let mut layout = Layout::default();
        let x = layout.add("x", &[67, 18], Init::Zeros);
        let g = layout.add("g", &[67, 9], Init::Zeros);
        let params: Vec<f32> = noise(layout.len(), 1).iter().map(|x| 3.0 * x).collect();
        check(&params, |tape| {
            let (x, g) = (tape.matrix(x), tape.matrix(g));
            let y = tape.swiglu(&x);
            let z = tape.gate(&y, &g);
            tape.add(z, &y)
        });
        for kind in [Gelu::Exact, Gelu::Tanh] {
            check(&params, |tape| {
                let x = tape.matrix(x);
                tape.gelu(&x, kind)
            });
        }
    }

    #[test]
    fn gelu_is_the_formula() {
        // From tables: x, exact, tanh.
        for (x, exact, tanh) in [
            (0.0, 0.0, 0.0),
            (1.0, 0.841_344_7, 0.841_192),
            (-0.5, -0.154_268_77, -0.154_286),
            (3.0, 2.995_950_3, 2.996_362_6),
        ] {
            assert!((gelu_of(x, true).0 - exact).abs() < 1e-6, "{x}");
            assert!((gelu_of(x, false).0 - tanh).abs() < 1e-6, "{x}");
        }
    }
}
