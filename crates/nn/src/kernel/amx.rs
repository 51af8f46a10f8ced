//! Products for processors with AMX, which multiply whole squares of bf16 at a time: of bf16, and of f32 in thirds.
//!
//! A tile of C is 32 x 32: four tile registers hold its sums, two hold 32 rows of A and two 32 columns of B, 32 elements
//! along k of each. So a step is four loads for four multiplications of 16 x 16 x 32, which are sixteen times what AVX-512 does
//! in that time.
//!
//! B's panels are those of AVX-512: sixteen units in a row are a square of pairs, as the processor takes it. In A's panels
//! ([`pack_rows`]) sixteen units of one row lie side by side, sixteen rows below each other, and both halves of a panel follow
//! each other. Units that there aren't are 0, so that k is a whole number of squares.
//!
//! An f32 has 24 significant bits and a bf16 has 8, so an f32 is the sum of three bf16, each at most a 256th of the one before
//! (Henry, Tang and Heinecke, arXiv 1904.06376). Of the nine products of two such sums the three smallest, which are below
//! 2^-24 of the whole, are left out, and the other six are a step: 24 multiplications and 14 loads, in two fifths of the time of
//! AVX-512's multiply-adds. The sums are as exact as those, since fewer are added in a row. Squares of the three parts follow
//! each other in a panel, the greatest first.
//!
//! Of a square, the products of even and of odd k are summed up apart, and then both are added to C. So the bits aren't those of
//! AVX-512, but they are the same wherever an element lies and however the work is shared.
//!
//! The instructions are written out, because the compiler's functions for them aren't stable.

use super::avx512::{Pair, Source, Thirds, low, prefetch_across, prefetch_along, transposed, write};
use super::drive::Tile;
use super::element::{Element, Target, View};
use super::pack::Panels;
use super::{Format, Unit};
use std::arch::asm;
use std::arch::x86_64::*;

/// Rows in a panel of A, and columns in one of B.
pub(super) const LINES: usize = 32;
/// Units that a square has along k.
pub(super) const DEEP: usize = 16;
/// Units of a square.
const SQUARE: usize = 16 * DEEP;

/// Whether this processor has them, and the system lets this process use them.
pub(super) fn is_there() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // The leaf is there: whoever asks has AVX-512, which is told in the same one.
    let has = __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES;
    has && permitted()
}

/// Tile registers are large, so Linux has a process ask for them. Threads that come later may use them as well.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let answer: i64;
    // SAFETY: the call changes nothing but what this process may use; it clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The tile registers of this thread, set up for squares; given back when it is dropped, so that the system needn't keep them.
pub(super) struct Registers(());

/// What `ldtilecfg` reads: palette 1, and of each register the bytes in a row and the rows.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static SQUARES: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Registers {
    /// # Safety
    /// [`is_there`] must have said so.
    pub(super) unsafe fn take() -> Self {
        // SAFETY: the caller's promise; nothing else in khub uses these registers.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const SQUARES, options(nostack, readonly, preserves_flags));
        }
        Self(())
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: they were taken, so they are there.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

/// Sums of a tile, row by row.
#[repr(align(64))]
struct Sums([f32; LINES * LINES]);

/// Computes a tile.
///
/// # Safety
/// This thread must have taken the [`Registers`]. The panels must hold `k` units, a multiple of [`DEEP`]; `c` must be writable.
pub(super) unsafe fn tile<C: Element>(format: Format, tile: &Tile, c: &Target<'_, C>) {
    let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
    // SAFETY: the caller's promise; a prefetch can't fail; all of `sums` is written.
    unsafe {
        for r in 0..tile.rows {
            _mm_prefetch::<_MM_HINT_T0>(c.pointer(r, 0).cast());
            _mm_prefetch::<_MM_HINT_T0>(c.pointer(r, tile.cols - 1).cast());
        }
        if format.unit == Unit::Thirds {
            sum_thirds(tile, sums.as_mut_ptr());
        } else {
            sum_pairs(tile, sums.as_mut_ptr());
        }
        finish(sums.assume_init_ref(), tile, c);
    }
}

/// Sums up a tile in steps of so many bytes of each panel: tmm0 to tmm3 are its quarters, row by row.
macro_rules! sum {
    ($tile:expr, $sums:expr, $bytes:literal, $($line:literal)+) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            $($line,)+
            concat!("add {a}, ", $bytes),
            concat!("add {b}, ", $bytes),
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {b_row}*1], tmm0",
            "tilestored [{sums} + {b_row}*1 + 64], tmm1",
            "tilestored [{sums} + {b_row}*1 + 2048], tmm2",
            "tilestored [{sums} + {b_row}*1 + 2112], tmm3",
            steps = inout(reg) $tile.k / DEEP => _,
            a = inout(reg) $tile.a => _,
            b = inout(reg) $tile.b => _,
            a_row = in(reg) 64_usize,
            b_row = in(reg) 128_usize,
            sums = in(reg) $sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// A step is two squares of A, which follow each other, with two of B, which lie side by side.
unsafe fn sum_pairs(tile: &Tile, sums: *mut Sums) {
    // SAFETY: the caller's promise: the panels hold all steps. The end writes all of `sums`.
    unsafe {
        sum!(tile, sums, 2048,
            "tileloadd tmm4, [{a} + {a_row}*1]"
            "tileloadd tmm6, [{b} + {b_row}*1]"
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm5, [{a} + {a_row}*1 + 1024]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
        );
    }
}

/// A step is six of those, of the first, second and last thirds at 0, 2048 and 4096, in an order in which neighbours share an
/// operand.
unsafe fn sum_thirds(tile: &Tile, sums: *mut Sums) {
    // SAFETY: as above.
    unsafe {
        sum!(tile, sums, 6144,
            // The last of A with the first of B.
            "tileloadd tmm4, [{a} + {a_row}*1 + 4096]"
            "tileloadd tmm6, [{b} + {b_row}*1]"
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm5, [{a} + {a_row}*1 + 5120]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
            // The second with the first,
            "tileloadd tmm4, [{a} + {a_row}*1 + 2048]"
            "tileloadd tmm5, [{a} + {a_row}*1 + 3072]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
            // and with the second.
            "tileloadd tmm6, [{b} + {b_row}*1 + 2048]"
            "tileloadd tmm7, [{b} + {b_row}*1 + 2112]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm3, tmm5, tmm7"
            // The first with the second,
            "tileloadd tmm4, [{a} + {a_row}*1]"
            "tileloadd tmm5, [{a} + {a_row}*1 + 1024]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
            // with the last,
            "tileloadd tmm6, [{b} + {b_row}*1 + 4096]"
            "tileloadd tmm7, [{b} + {b_row}*1 + 4160]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm3, tmm5, tmm7"
            // and with the first.
            "tileloadd tmm6, [{b} + {b_row}*1]"
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm3, tmm5, tmm7"
        );
    }
}

/// `c = [c +] alpha * sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn finish<C: Element>(sums: &Sums, tile: &Tile, c: &Target<'_, C>) {
    let (mask, alpha) = (u32::MAX >> (32 - tile.cols), _mm512_set1_ps(tile.alpha));
    for (r, row) in sums.0.chunks_exact(LINES).enumerate().take(tile.rows) {
        // SAFETY: a row has two registers; the mask names the columns that there are.
        unsafe {
            let row = [_mm512_load_ps(row.as_ptr()), _mm512_load_ps(row.as_ptr().add(16))];
            write::<C, true, 2>(c.pointer(r, 0), row, alpha, tile.add, mask);
        }
    }
}

/// Packs `lines` rows of A of `k` elements.
///
/// # Safety
/// As for `pack::pack`; the processor must have AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pack_rows<E: Element>(
    format: Format,
    to: Panels,
    from: View<'_, E>,
    lines: usize,
    k: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if format.unit == Unit::Thirds {
            pack_squares::<E, Thirds>(to, from, lines, k);
        } else {
            pack_squares::<E, Pair>(to, from, lines, k);
        }
    }
}

#[inline(always)]
unsafe fn pack_squares<E: Element, S: Source>(to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    let squares = k.div_ceil(2 * DEEP);
    // A few squares of all panels at a time: if rows lie side by side, the panels share cache lines and pages.
    for square in 0..squares {
        for first in (0..lines).step_by(LINES) {
            for half in [0, 16] {
                let to = to
                    .panel(first / LINES)
                    .wrapping_add(2 * square * S::PLANES * SQUARE + half * DEEP);
                let (first, there) = (first + half, lines.saturating_sub(first + half).min(16));
                // SAFETY: reads elements that exist and writes squares of the panel.
                unsafe {
                    if from.by_rows() {
                        rows_along::<E, S>(to, &from, (first, there), square * DEEP, k);
                    } else {
                        rows_across::<E, S>(to, &from, (first, there), square * DEEP, k);
                    }
                }
            }
        }
    }
}

/// A square of each word, of `there` rows from `first` on that lie along k, with the units from `unit` on. What isn't there is 0.
#[inline(always)]
unsafe fn rows_along<E: Element, S: Source>(
    to: *mut u32,
    from: &View<'_, E>,
    (first, there): (usize, usize),
    unit: usize,
    k: usize,
) {
    let elements = (k - 2 * unit).min(2 * DEEP);
    // SAFETY: the caller's promise: rows and elements that are read exist; a prefetch can't fail.
    unsafe {
        for i in 0..16 {
            let mut words = [_mm512_setzero_si512(); 3];
            if i < there {
                prefetch_along::<E, S>(from, first + i, unit + 2 * DEEP);
                words = S::along(from.pointer(first + i, 2 * unit), elements);
            }
            for (plane, word) in words.into_iter().enumerate().take(S::PLANES) {
                _mm512_store_si512(to.add(2 * plane * SQUARE + i * DEEP).cast(), word);
            }
        }
    }
}

/// The same of rows that lie side by side.
#[inline(always)]
unsafe fn rows_across<E: Element, S: Source>(
    to: *mut u32,
    from: &View<'_, E>,
    (first, there): (usize, usize),
    unit: usize,
    k: usize,
) {
    // SAFETY: as above.
    unsafe {
        let mut squares = [[_mm512_setzero_si512(); 16]; 3];
        for i in 0..16 {
            let at = 2 * (unit + i);
            if at < k {
                prefetch_across::<E, S>(from, first..first + 16, unit + i + DEEP);
                let (pointer, stride) = (from.pointer(first, at), from.column_stride());
                let words = S::across(pointer, low(there), stride, at + 1 < k);
                for (square, word) in squares.iter_mut().zip(words).take(S::PLANES) {
                    square[i] = word;
                }
            }
        }
        for (plane, square) in squares.iter().enumerate().take(S::PLANES) {
            for (i, row) in transposed(square).into_iter().enumerate() {
                _mm512_store_si512(to.add(2 * plane * SQUARE + i * DEEP).cast(), row);
            }
        }
    }
}
