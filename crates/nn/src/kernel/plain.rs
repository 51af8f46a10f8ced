//! The innermost loop in plain Rust, which the compiler turns into AVX2 with FMA, or into what there is.

use super::drive::Tile;
use super::element::{Element, Target};

/// Rows in a panel of A.
pub(super) const ROWS: usize = 6;
/// Columns in a panel of B: two AVX2 registers.
pub(super) const COLS: usize = 16;

/// Without the instruction, a fused one is a call of a function that takes a hundred times as long.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Computes a tile with AVX2.
///
/// # Safety
/// The processor must have AVX2 and FMA, the panels must hold `k` units, `c` must be writable.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn tile_avx2<C: Element>(t: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<C, true>(t, c) }
}

/// Computes a tile on any processor.
///
/// # Safety
/// The panels must hold `k` units, `c` must be writable.
pub(super) unsafe fn tile<C: Element>(t: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe { by_rows::<C, FUSED>(t, c) }
}

#[inline(always)]
unsafe fn by_rows<C: Element, const FMA: bool>(t: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe {
        match t.rows {
            1 => sums::<C, FMA, 1>(t, c),
            2 => sums::<C, FMA, 2>(t, c),
            3 => sums::<C, FMA, 3>(t, c),
            4 => sums::<C, FMA, 4>(t, c),
            5 => sums::<C, FMA, 5>(t, c),
            _ => sums::<C, FMA, 6>(t, c),
        }
    }
}

#[inline(always)]
unsafe fn sums<C: Element, const FMA: bool, const R: usize>(t: &Tile, c: &Target<'_, C>) {
    let mut sums = [[0f32; COLS]; R];
    for k in 0..t.k {
        // SAFETY: the panels hold `k` units of so many lines; any bits are an f32.
        let (a, b) = unsafe {
            (
                *t.a.add(k * ROWS).cast::<[f32; R]>(),
                *t.b.add(k * COLS).cast::<[f32; COLS]>(),
            )
        };
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = multiply_add::<FMA>(a, b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: the tile is within `c` and this call's alone.
        let c = unsafe { c.row(r, t.cols) };
        for (sum, c) in sums.iter().zip(c) {
            let start = if t.add { c.to_f32() } else { -0.0 };
            *c = C::of(multiply_add::<FMA>(t.alpha, *sum, start));
        }
    }
}

#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
