//! The two passes over all parameters that an optimiser makes, as fast as memory is.
//!
//! ```
//! use nn::{AdamW, sum_of_squares};
//! let rule = AdamW { rate: 0.1, betas: (0.9, 0.95), unbias: (1.0 - 0.9, 1.0 - 0.95), keep: 1.0, scale: 1.0 };
//! let (mut p, g, mut m, mut v) = ([1.0, 2.0], [3.0, -4.0], [0.0; 2], [0.0; 2]);
//! assert_eq!(sum_of_squares(&g), 25.0);
//! rule.update(&mut p, &g, &mut m, &mut v);
//! assert!((p[0] - 0.9).abs() < 1e-6 && (p[1] - 2.1).abs() < 1e-6, "a first step is as long as the rate");
//! ```

#![allow(unsafe_code, reason = "vector code is chosen at run time")]

use crate::simd::vectorised;

/// One update by AdamW (Loshchilov and Hutter, arXiv 1711.05101): its numbers are the same for many chunks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate.
    pub rate: f32,
    /// Decay of the running means of the gradient and of its square.
    pub betas: (f32, f32),
    /// What is divided by, since the means began at zero: `1 - beta^step` of each.
    pub unbias: (f32, f32),
    /// What a parameter is multiplied by first: `1 - rate * decay`.
    pub keep: f32,
    /// What the gradient is multiplied by first.
    pub scale: f32,
}

/// Keeps the division apart from zero.
const EPS: f32 = 1e-8;
/// Partial sums: two AVX-512 registers.
const LANES: usize = 16;

impl AdamW {
    /// Moves parameters against their gradient; `m` and `v` are its running means. There is no fused
    /// instruction in this, so the bits are the same on every processor.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn update(&self, params: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        let n = params.len();
        assert_eq!(
            (gradient.len(), m.len(), v.len()),
            (n, n, n),
            "one of each a parameter"
        );
        adamw(*self, params, gradient, m, v);
    }
}

/// The squares added up, always in the same order.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    squares(values)
}

vectorised! {
    pub(crate) fn adamw(rule: AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (b1, b2) = rule.betas;
        let (rate, root) = (rule.rate / rule.unbias.0, 1.0 / rule.unbias.1.sqrt());
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * rule.scale;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = *p * rule.keep - rate * *m / (v.sqrt() * root + EPS);
        }
    }
}

vectorised! {
    pub(crate) fn squares(values: &[f32]) -> f64 {
        let mut lanes = [0f64; LANES];
        let mut chunks = values.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(*x) * f64::from(*x);
            }
        }
        let rest: f64 = chunks.remainder().iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        lanes.iter().sum::<f64>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::noise;

    #[test]
    fn squares_are_added_up_at_every_length() {
        for n in 0..70 {
            let x = noise(n, 1);
            let plain: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((sum_of_squares(&x) - plain).abs() < 1e-9, "{n}");
        }
    }

    /// In f64, at lengths with and without a remainder.
    #[test]
    fn it_is_the_formula_at_every_length() {
        let rule = AdamW {
            rate: 0.01,
            betas: (0.9, 0.95),
            unbias: (0.19, 0.0975),
            keep: 0.999,
            scale: 0.5,
        };
        for n in [0, 1, 15, 16, 17, 63, 64, 100] {
            let (mut p, g, mut m) = (noise(n, 1), noise(n, 2), noise(n, 3));
            let mut v: Vec<f32> = noise(n, 4).iter().map(|v| v * v).collect();
            let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let old = [wide(&p), wide(&g), wide(&m), wide(&v)];
            rule.update(&mut p, &g, &mut m, &mut v);
            for i in 0..n {
                let g = old[1][i] * 0.5;
                let (m, v) = (0.9 * old[2][i] + 0.1 * g, 0.95 * old[3][i] + 0.05 * g * g);
                let expected = old[0][i] * 0.999 - 0.01 * (m / 0.19) / ((v / 0.0975).sqrt() + 1e-8);
                assert!(
                    (f64::from(p[i]) - expected).abs() < 1e-6,
                    "{i} of {n}: {} {expected}",
                    p[i]
                );
            }
        }
    }
}
