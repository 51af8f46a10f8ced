//! A matrix times a vector, which is what decoding one token at a time does: as fast as memory is read.

use super::Level;
use super::element::Element;
use rayon::prelude::*;

/// Sums side by side: four AVX-512 registers hide the latency of an addition.
const LANES: usize = 64;
/// Bytes that memory is asked for before they are needed.
const AHEAD: usize = 8192;
/// Elements of the matrix in a task.
const TASK: usize = 1 << 16;

/// `y = w x`: each row of `x.len()` elements of `w` gives an element of `y`. The same bits whatever the number
/// of threads.
///
/// # Panics
/// Where `w` isn't `y.len()` rows.
pub(crate) fn matvec<E: Element>(w: &[E], x: &[f32], y: &mut [f32]) {
    assert_eq!(w.len(), y.len() * x.len(), "{} rows of {}", y.len(), x.len());
    if x.is_empty() {
        return y.fill(0.0);
    }
    let rows = (TASK / x.len()).max(1);
    let task = |(w, y): (&[E], &mut [f32])| rows_as(Level::all()[0], w, x, y);
    if y.len() <= rows {
        return task((w, y));
    }
    w.par_chunks(rows * x.len())
        .zip(y.par_chunks_mut(rows))
        .for_each(task);
}

fn rows_as<E: Element>(level: Level, w: &[E], x: &[f32], y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn avx512<E: Element>(w: &[E], x: &[f32], y: &mut [f32]) {
        dots::<E, true>(w, x, y);
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2<E: Element>(w: &[E], x: &[f32], y: &mut [f32]) {
        dots::<E, true>(w, x, y);
    }
    match level {
        // SAFETY: a level comes from `Level::all`, which asked the processor.
        #[cfg(target_arch = "x86_64")]
        Level::Amx | Level::Avx512Bf16 | Level::Avx512 => unsafe { avx512(w, x, y) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(w, x, y) },
        Level::Portable => dots::<E, false>(w, x, y),
    }
}

#[inline(always)]
fn dots<E: Element, const FMA: bool>(w: &[E], x: &[f32], y: &mut [f32]) {
    for (row, y) in w.chunks_exact(x.len()).zip(y) {
        let mut lanes = [0f32; LANES];
        let (mut ws, mut xs) = (row.chunks_exact(LANES), x.chunks_exact(LANES));
        for (w, x) in (&mut ws).zip(&mut xs) {
            fetch(w);
            for i in 0..LANES {
                let w = w[i].to_f32();
                lanes[i] = if FMA {
                    w.mul_add(x[i], lanes[i])
                } else {
                    w * x[i] + lanes[i]
                };
            }
        }
        for (lane, (w, x)) in lanes.iter_mut().zip(ws.remainder().iter().zip(xs.remainder())) {
            *lane += w.to_f32() * x;
        }
        // Halves onto halves: the order is fixed and the chain short.
        let mut width = LANES / 2;
        while width > 0 {
            let (left, right) = lanes.split_at_mut(width);
            for (l, r) in left.iter_mut().zip(right) {
                *l += *r;
            }
            width /= 2;
        }
        *y = lanes[0];
    }
}

/// Asks for what lies [`AHEAD`]: the processor's own guess ends with every page of 4 KiB.
#[inline(always)]
fn fetch<E>(w: &[E]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(w)).step_by(64) {
        let at = w.as_ptr().cast::<i8>().wrapping_add(AHEAD + line);
        // SAFETY: a hint; an address that isn't there is ignored.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Bf16;

    fn check<E: Element>(rows: usize, k: usize) {
        let w: Vec<E> = (0..rows * k).map(|i| E::of((i as f32 * 0.7).sin())).collect();
        let x: Vec<f32> = (0..k).map(|i| (i as f32 * 0.3).cos()).collect();
        for &level in Level::all() {
            let (mut y, mut one) = (vec![1f32; rows], vec![1f32; rows]);
            rows_as(level, &w, &x, &mut one);
            if level == Level::all()[0] {
                matvec(&w, &x, &mut y);
                assert_eq!(y, one, "in tasks, or at once");
            }
            for (w, y) in w.chunks(k).zip(one) {
                let exact: f64 = w
                    .iter()
                    .zip(&x)
                    .map(|(w, x)| f64::from(w.to_f32()) * f64::from(*x))
                    .sum();
                assert!(
                    (f64::from(y) - exact).abs() <= 1e-6 * k as f64,
                    "{level:?} {rows} x {k}: {y}, not {exact}"
                );
            }
        }
    }

    #[test]
    fn all_lengths_are_right() {
        for k in (1..140).chain([500, 1000]) {
            check::<f32>(3, k);
            check::<Bf16>(3, k);
        }
        check::<f32>(401, 700);
        check::<Bf16>(401, 700);
        let mut y = [1f32; 3];
        matvec::<f32>(&[], &[], &mut y);
        assert_eq!(y, [0.0; 3]);
    }
}
