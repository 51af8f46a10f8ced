//! The operations, each a forward and an explicit backward over plain slices.
//!
//! Shapes are in the names: `x_nc` has N rows of C.
//!
//! | letter | size |
//! |---|---|
//! | b, t, n | batch, sequence, `n = b * t` |
//! | c, f, v | width, SwiGLU's inner size, vocabulary |
//! | h, k, d | query heads, key and value heads, head size |
#![allow(
    unsafe_code,
    reason = "matrix products take raw pointers; vector code is chosen at run time"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "an operation names each thing it reads and writes"
)]

pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod head;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod rope;
pub(crate) mod simd;
pub(crate) mod swiglu;

/// Rows that one task of an operation takes. Fixed, so that sums over rows are the same whatever the number
/// of threads.
pub(crate) const ROWS: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    /// Numbers in -1..1 that look random.
    pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(next).collect()
    }

    /// Compares an analytic gradient with central differences of `loss`, where `loss` is the weighted sum of
    /// an operation's output. Float32 noise is about 1e-4 of the largest gradient at this step.
    pub(crate) fn check_gradient(x: &[f32], gradient: &[f32], mut loss: impl FnMut(&[f32]) -> f64) {
        let step = 4e-3f32;
        let scale = gradient.iter().fold(1e-3f32, |m, g| m.max(g.abs()));
        for i in (0..x.len()).step_by(1 + x.len() / 97) {
            let mut near = x.to_vec();
            near[i] = x[i] + step;
            let above = loss(&near);
            near[i] = x[i] - step;
            let below = loss(&near);
            let numeric = ((above - below) / (2.0 * f64::from(step))) as f32;
            assert!(
                (numeric - gradient[i]).abs() < 4e-3 * scale,
                "element {i}: {} by hand, {numeric} by differences",
                gradient[i]
            );
        }
    }

    /// The loss whose gradient with respect to `y` is `weights`.
    pub(crate) fn weigh(y: &[f32], weights: &[f32]) -> f64 {
        y.iter()
            .zip(weights)
            .map(|(y, w)| f64::from(*y) * f64::from(*w))
            .sum()
    }
}
