//! Loops that the compiler turns into vector code, built three times (AVX-512, AVX2 with FMA, portable) and
//! chosen at run time, so a plain `cargo build` runs at the machine's speed.
//!
//! Sums keep `LANES` partial sums and add those up at the end, always in the same order.

#![allow(unsafe_code, reason = "vector code is chosen at run time")]

use crate::Element;
use std::sync::OnceLock;

/// Partial sums: two AVX-512 registers hide the latency of an addition.
const LANES: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// What this processor can do.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    })
}

/// Builds a function for each level and chooses at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* pub(crate) fn $name:ident $(<$($e:ident),+>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        pub(crate) fn $name $(<$($e: $crate::Element),+>)? ($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn body $(<$($e: $crate::Element),+>)? ($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn avx512 $(<$($e: $crate::Element),+>)? ($($arg: $type),*) $(-> $out)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($e: $crate::Element),+>)? ($($arg: $type),*) $(-> $out)? { body($($arg),*) }
            match $crate::simd::level() {
                // SAFETY: the level says that this processor has the features.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::simd::Level::Portable => body($($arg),*),
            }
        }
    };
}
pub(crate) use vectorised;

#[inline(always)]
pub(crate) fn dot<A: Element, B: Element>(x: &[A], y: &[B]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (mut xs, mut ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (x, y) in (&mut xs).zip(&mut ys) {
        for i in 0..LANES {
            lanes[i] = x[i].to_f32().mul_add(y[i].to_f32(), lanes[i]);
        }
    }
    let rest: f32 = xs
        .remainder()
        .iter()
        .zip(ys.remainder())
        .map(|(x, y)| x.to_f32() * y.to_f32())
        .sum();
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(crate) fn sum<E: Element>(x: &[E]) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x.to_f32();
        }
    }
    let rest: f32 = chunks.remainder().iter().map(|x| x.to_f32()).sum();
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let tail = chunks.remainder();
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane = if x > *lane { x } else { *lane };
    }
    lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// e^x to about two units in the last place, without a branch: 2^n times a polynomial on |r| <= ln 2 / 2.
/// NaN goes through; what would overflow or vanish stops at e^88 and e^-87.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has so few bits that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-87.0, 88.0);
    let rounded = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = (-n).mul_add(LN2_LOW, (-n).mul_add(LN2_HIGH, bounded));
    // Taylor with the last terms adjusted for the interval (Cephes' coefficients).
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r + 1.0);
    // The last bits of `rounded` are n, and a float's exponent is an integer in disguise. A cast would be checked
    // for NaN value by value; of NaN this makes anything, and it stays NaN through `e`.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    e * power
}

/// x becomes e^(x - shift); returns the sum.
#[inline(always)]
pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - shift);
            *lane += *x;
        }
    }
    // A whole chunk of them costs what one of them would.
    let tail = chunks.into_remainder();
    let mut whole = [0f32; LANES];
    whole[..tail.len()].copy_from_slice(tail);
    for x in &mut whole {
        *x = exp(*x - shift);
    }
    tail.copy_from_slice(&whole[..tail.len()]);
    let rest: f32 = tail.iter().sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::noise;

    #[test]
    fn exp_is_close_and_bounded() {
        for i in -8_000..=8_000 {
            let x = i as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 4e-7 * exact, "e^{x}: {ours} {exact}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn reductions_are_right_at_every_length() {
        vectorised! { pub(crate) fn all(x: &[f32], y: &[f32]) -> (f32, f32) { (dot(x, y), max(x)) } }
        for n in 0..100 {
            let (x, y) = (noise(n, 1), noise(n, 2));
            let (d, m) = all(&x, &y);
            assert!((d - x.iter().zip(&y).map(|(x, y)| x * y).sum::<f32>()).abs() < 1e-4);
            assert_eq!(m, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
