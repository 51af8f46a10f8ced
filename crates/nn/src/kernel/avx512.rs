//! The innermost loop and the packing for AVX-512, with and without bf16.
//!
//! A tile of C is 14 x 32: 28 of the 32 registers are sums, two hold a unit of B's panel and one an element of
//! A. Each unit of k costs 16 loads for 28 multiplications, which leaves room under the two loads that a
//! processor does in a cycle.
//!
//! The functions marked `inline(always)` have no `target_feature` of their own: they get that of the function
//! that they end up in, so that one text serves both levels.

use super::drive::Tile;
use super::element::{Element, Target, View};
use super::pack::Panels;
use super::{Format, Level, Unit, amx};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows in a panel of A.
pub(super) const ROWS: usize = 14;
/// Columns in a panel of B.
pub(super) const COLS: usize = 32;

/// How many units before their use packing asks for elements, where they lie side by side along k. The sources
/// are often larger than the caches, and packing does little else than wait for them.
const AHEAD_ALONG: usize = 32;
/// The same where lines lie side by side.
const AHEAD_ACROSS: usize = 8;

/// Computes a tile.
///
/// # Safety
/// The processor must have the format's level, the panels must hold `k` units, `c` must be writable.
pub(super) unsafe fn tile<C: Element>(format: Format, tile: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe {
        match (format.level, format.unit) {
            (Level::Avx512Bf16, Unit::Pair) => tile_pairs(tile, c),
            (Level::Avx512Bf16, _) => tile_f32(tile, c),
            _ => tile_f32_without_bf16(tile, c),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile_pairs<C: Element>(tile: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe { by_size::<C, true, true>(tile, c) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile_f32<C: Element>(tile: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe { by_size::<C, false, true>(tile, c) }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn tile_f32_without_bf16<C: Element>(tile: &Tile, c: &Target<'_, C>) {
    // SAFETY: the caller's promise.
    unsafe { by_size::<C, false, false>(tile, c) }
}

/// Chooses the loop for the tile's size: as many rows as there are, one or two vectors of columns.
#[inline(always)]
unsafe fn by_size<C: Element, const PAIRS: bool, const BF16: bool>(t: &Tile, c: &Target<'_, C>) {
    macro_rules! rows {
        ($($rows:literal)+) => {
            match (t.rows, t.cols > 16) {
                $(($rows, true) => sums::<C, PAIRS, BF16, $rows, 2>(t, c),)+
                $(($rows, false) => sums::<C, PAIRS, BF16, $rows, 1>(t, c),)+
                _ => unreachable!("a panel has 1 to 14 rows"),
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe { rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
}

#[inline(always)]
unsafe fn sums<C: Element, const PAIRS: bool, const BF16: bool, const R: usize, const V: usize>(
    t: &Tile,
    c: &Target<'_, C>,
) {
    // SAFETY: the panels hold `k` units each, of 14 and 32 lines; prefetching can't fail; `write` masks the
    // columns that there are.
    unsafe {
        for r in 0..R {
            _mm_prefetch::<_MM_HINT_T0>(c.pointer(r, 0).cast());
            _mm_prefetch::<_MM_HINT_T0>(c.pointer(r, t.cols - 1).cast());
        }
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut bs = [_mm512_setzero_ps(); V];
            for (v, to) in bs.iter_mut().enumerate() {
                *to = _mm512_load_ps(b.add(16 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(r).cast());
                for v in 0..V {
                    sums[v] = if PAIRS {
                        _mm512_dpbf16_ps(sums[v], pairs(x), pairs(bs[v]))
                    } else {
                        _mm512_fmadd_ps(x, bs[v], sums[v])
                    };
                }
            }
            a = a.add(ROWS);
            b = b.add(COLS);
        }
        let mask = u32::MAX >> (32 - t.cols);
        let alpha = _mm512_set1_ps(t.alpha);
        for (r, sums) in sums.into_iter().enumerate() {
            write::<C, BF16, V>(c.pointer(r, 0), sums, alpha, t.add, mask);
        }
    }
}

/// A register of f32 bits as one of bf16 pairs.
#[inline(always)]
unsafe fn pairs(x: __m512) -> __m512bh {
    // SAFETY: both are 64 bytes of which any value is valid.
    unsafe { std::mem::transmute(x) }
}

/// `c = [c +] alpha * sums`, where the mask has a bit for each column.
#[inline(always)]
pub(super) unsafe fn write<C: Element, const BF16: bool, const V: usize>(
    c: *mut C,
    sums: [__m512; V],
    alpha: __m512,
    add: bool,
    mask: u32,
) {
    for (v, sum) in sums.into_iter().enumerate() {
        let (mask, c) = ((mask >> (16 * v)) as u16, c.wrapping_add(16 * v));
        // SAFETY: the mask names columns that exist; C is f32 or bf16, as it says.
        unsafe {
            let y = if add {
                _mm512_fmadd_ps(alpha, sum, load_masked::<C>(c, mask))
            } else {
                _mm512_mul_ps(alpha, sum)
            };
            match (C::BF16, mask == u16::MAX) {
                (false, true) => _mm512_storeu_ps(c.cast(), y),
                (false, false) => _mm512_mask_storeu_ps(c.cast(), mask, y),
                (true, true) => _mm256_storeu_si256(c.cast(), narrow::<BF16>(y)),
                (true, false) => {
                    let y = _mm512_castsi256_si512(narrow::<BF16>(y));
                    _mm512_mask_storeu_epi16(c.cast(), u32::from(mask), y);
                }
            }
        }
    }
}

/// 16 f32 to bf16, rounded.
#[inline(always)]
unsafe fn narrow<const BF16: bool>(x: __m512) -> __m256i {
    // SAFETY: the caller's level; both are 32 bytes.
    unsafe {
        if BF16 {
            std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))
        } else {
            _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded(x)))
        }
    }
}

/// f32 rounded to bf16, as f32: what `Bf16::of` does.
#[inline(always)]
unsafe fn rounded(x: __m512) -> __m512i {
    // SAFETY: the caller's level.
    unsafe {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let bits = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x40_0000));
        upper(bits)
    }
}

/// The elements that the mask names, as f32; the others are 0.
#[inline(always)]
unsafe fn load_masked<E: Element>(p: *const E, mask: u16) -> __m512 {
    // SAFETY: the mask names elements that exist; E is f32 or bf16, as it says.
    unsafe {
        if E::BF16 {
            let x = _mm512_castsi512_si256(_mm512_maskz_loadu_epi16(u32::from(mask), p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
        } else {
            _mm512_maskz_loadu_ps(mask, p.cast())
        }
    }
}

/// Packs `lines` lines of `k` elements.
///
/// # Safety
/// As for `pack::pack`; the processor must have the format's level.
pub(super) unsafe fn pack<E: Element>(format: Format, to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (format.unit, to.width) {
            (Unit::Thirds, _) => pack_squares::<E, Thirds>(to, from, lines, k),
            (Unit::Pair, _) if format.level == Level::Amx => pack_squares::<E, Pair>(to, from, lines, k),
            (Unit::F32, ROWS) => pack_f32::<E, ROWS>(to, from, lines, k),
            (Unit::F32, _) => pack_f32::<E, COLS>(to, from, lines, k),
            (Unit::Rounded, ROWS) => pack_rounded::<E, ROWS>(to, from, lines, k),
            (Unit::Rounded, _) => pack_rounded::<E, COLS>(to, from, lines, k),
            (Unit::Pair, ROWS) => pack_pairs::<E, ROWS>(to, from, lines, k),
            (Unit::Pair, _) => pack_pairs::<E, COLS>(to, from, lines, k),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn pack_f32<E: Element, const W: usize>(to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe { by_direction::<E, F32, W, 1>(to, from, lines, k) }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn pack_rounded<E: Element, const W: usize>(to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe { by_direction::<E, Rounded, W, 1>(to, from, lines, k) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_pairs<E: Element, const W: usize>(to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe { by_direction::<E, Pair, W, 1>(to, from, lines, k) }
}

/// For the squares of AMX: with whole squares along k.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_squares<E: Element, S: Source>(to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe { by_direction::<E, S, COLS, { amx::DEEP }>(to, from, lines, k) }
}

/// 16 units: their first words, and so on.
pub(super) type Words = [__m512i; 3];

/// Units of a single word.
#[inline(always)]
fn single(x: __m512i) -> Words {
    // SAFETY: whoever has a register has the level.
    [x, unsafe { _mm512_setzero_si512() }, unsafe {
        _mm512_setzero_si512()
    }]
}

/// How 16 units are made.
pub(super) trait Source {
    /// Elements along k in a unit.
    const DEPTH: usize;
    /// Words in a unit. The first ones of 16 units lie together, then the second ones, and so on.
    const PLANES: usize = 1;
    /// 16 units of one line from `n` elements side by side; what is missing is 0.
    unsafe fn along<E: Element>(p: *const E, n: usize) -> Words;
    /// A unit of each of 16 lines side by side, of which the mask names those that there are. The next
    /// elements along k, if `more` says that there are any, start `stride` on.
    unsafe fn across<E: Element>(p: *const E, mask: u16, stride: usize, more: bool) -> Words;

    /// Where the unit's word is, in words of a line.
    #[inline(always)]
    fn word(unit: usize, plane: usize) -> usize {
        (unit / 16 * Self::PLANES + plane) * 16 + unit % 16
    }
}

struct F32;
struct Rounded;
pub(super) struct Pair;
pub(super) struct Thirds;

/// The lowest `n` bits, at most 16.
#[inline(always)]
pub(super) fn low(n: usize) -> u16 {
    ((1u32 << n.min(16)) - 1) as u16
}

impl Source for F32 {
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn along<E: Element>(p: *const E, n: usize) -> Words {
        // SAFETY: the caller's promise.
        unsafe { single(_mm512_castps_si512(load_masked(p, low(n)))) }
    }

    #[inline(always)]
    unsafe fn across<E: Element>(p: *const E, mask: u16, _: usize, _: bool) -> Words {
        // SAFETY: the caller's promise.
        unsafe { single(_mm512_castps_si512(load_masked(p, mask))) }
    }
}

impl Source for Rounded {
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn along<E: Element>(p: *const E, n: usize) -> Words {
        // SAFETY: the caller's promise.
        unsafe { single(rounded(load_masked(p, low(n)))) }
    }

    #[inline(always)]
    unsafe fn across<E: Element>(p: *const E, mask: u16, _: usize, _: bool) -> Words {
        // SAFETY: the caller's promise.
        unsafe { single(rounded(load_masked(p, mask))) }
    }
}

impl Source for Pair {
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn along<E: Element>(p: *const E, n: usize) -> Words {
        // SAFETY: the masks name elements that exist.
        unsafe {
            if E::BF16 {
                return single(_mm512_maskz_loadu_epi16(
                    ((1u64 << n.min(32)) - 1) as u32,
                    p.cast(),
                ));
            }
            let (first, second) = (low(n), low(n.saturating_sub(16)));
            let (low, high) = (load_masked(p, first), load_masked(p.wrapping_add(16), second));
            single(std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
                high, low,
            )))
        }
    }

    #[inline(always)]
    unsafe fn across<E: Element>(p: *const E, mask: u16, stride: usize, more: bool) -> Words {
        let second = if more { mask } else { 0 };
        // SAFETY: the masks name elements that exist.
        unsafe {
            let (low, high) = (load_masked(p, mask), load_masked(p.wrapping_add(stride), second));
            if E::BF16 {
                let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(low));
                return single(_mm512_or_si512(low, _mm512_castps_si512(high)));
            }
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            // The halves' elements in turn: 0, 16, 1, 17, ...
            let (low, high) = (_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64::<1>(both));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            single(_mm512_or_si512(_mm512_cvtepu16_epi32(low), high))
        }
    }
}

impl Source for Thirds {
    const DEPTH: usize = 2;
    const PLANES: usize = 3;

    #[inline(always)]
    unsafe fn along<E: Element>(p: *const E, n: usize) -> Words {
        // SAFETY: the masks name elements that exist.
        unsafe {
            let (first, second) = (low(n), low(n.saturating_sub(16)));
            let low = thirds(load_masked(p, first));
            let high = thirds(load_masked(p.wrapping_add(16), second));
            [0, 1, 2].map(|i| {
                let both = _mm512_cvtne2ps_pbh(high[i], low[i]);
                std::mem::transmute::<__m512bh, __m512i>(both)
            })
        }
    }

    #[inline(always)]
    unsafe fn across<E: Element>(p: *const E, mask: u16, stride: usize, more: bool) -> Words {
        let second = if more { mask } else { 0 };
        // SAFETY: the masks name elements that exist.
        unsafe {
            let low = thirds(load_masked(p, mask));
            let high = thirds(load_masked(p.wrapping_add(stride), second));
            [0, 1, 2].map(|i| {
                let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(low[i]));
                _mm512_or_si512(low, upper(_mm512_castps_si512(high[i])))
            })
        }
    }
}

/// Three bf16, as f32, that add up to x: the nearest one, the nearest one to the rest, and what then is left, which has no more
/// bits than one has. (Below 1e-31, where its bits are denormal, it may have.)
#[inline(always)]
unsafe fn thirds(x: __m512) -> [__m512; 3] {
    // SAFETY: the caller's level.
    unsafe {
        // Halves go up: any rounding will do here, as long as it is the same everywhere.
        let near = |x| {
            let bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
            _mm512_castsi512_ps(upper(bits))
        };
        let first = near(x);
        let rest = _mm512_sub_ps(x, first);
        let second = near(rest);
        [first, second, _mm512_sub_ps(rest, second)]
    }
}

/// The upper halves.
#[inline(always)]
unsafe fn upper(x: __m512i) -> __m512i {
    // SAFETY: the caller's level.
    unsafe { _mm512_and_si512(x, _mm512_set1_epi32(0xFFFF_0000_u32 as i32)) }
}

#[inline(always)]
unsafe fn by_direction<E: Element, S: Source, const W: usize, const GROUP: usize>(
    to: Panels,
    from: View<'_, E>,
    lines: usize,
    k: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if from.by_rows() {
            transposing::<E, S, W, GROUP>(to, from, lines, k);
        } else {
            straight::<E, S, W, GROUP>(to, from, lines, k);
        }
    }
}

/// The lines' elements lie side by side along k: squares of 16 x 16 units are transposed.
#[inline(always)]
unsafe fn transposing<E: Element, S: Source, const W: usize, const GROUP: usize>(
    to: Panels,
    from: View<'_, E>,
    lines: usize,
    k: usize,
) {
    let units = k.div_ceil(S::DEPTH).next_multiple_of(GROUP);
    for first in (0..lines).step_by(W) {
        let panel = to.panel(first / W);
        for unit in (0..units).step_by(16) {
            let elements = (k - unit * S::DEPTH).min(16 * S::DEPTH);
            for half in (0..W).step_by(16) {
                let lines = (W - half).min(16).min(lines.saturating_sub(first + half));
                // SAFETY: reads elements that exist and writes to a panel of `units` units.
                unsafe {
                    let mut squares = [[_mm512_setzero_si512(); 16]; 3];
                    for i in 0..lines {
                        prefetch_along::<E, S>(&from, first + half + i, unit + AHEAD_ALONG);
                        let row = S::along(from.pointer(first + half + i, unit * S::DEPTH), elements);
                        for (square, word) in squares.iter_mut().zip(row).take(S::PLANES) {
                            square[i] = word;
                        }
                    }
                    for (plane, square) in squares.iter().enumerate().take(S::PLANES) {
                        for (i, row) in transposed(square).into_iter().enumerate() {
                            if unit + i < units {
                                let at = panel.add(S::word(unit + i, plane) * W + half);
                                store::<W>(at, row, unit + i + 1 == units);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Lines lie side by side: copies of 16 lanes. A few units of all panels at a time, since the panels share the
/// source's cache lines and pages.
#[inline(always)]
unsafe fn straight<E: Element, S: Source, const W: usize, const GROUP: usize>(
    to: Panels,
    from: View<'_, E>,
    lines: usize,
    k: usize,
) {
    let units = k.div_ceil(S::DEPTH).next_multiple_of(GROUP);
    let last = units.saturating_sub(1);
    for units in (0..units).step_by(8).map(|u| u..units.min(u + 8)) {
        for first in (0..lines).step_by(W) {
            for unit in units.clone() {
                let more = (unit + 1) * S::DEPTH <= k;
                for half in (0..W).step_by(16) {
                    let lines = (W - half).min(lines.saturating_sub(first + half));
                    // SAFETY: reads elements that exist and writes to a panel of `units` units.
                    unsafe {
                        prefetch_across::<E, S>(
                            &from,
                            first + half..first + (half + 16).min(W),
                            unit + AHEAD_ACROSS,
                        );
                        let at = from.pointer(first + half, unit * S::DEPTH);
                        let row = if GROUP == 1 || unit * S::DEPTH < k {
                            S::across(at, low(lines), from.column_stride(), more)
                        } else {
                            single(_mm512_setzero_si512())
                        };
                        for (plane, row) in row.into_iter().enumerate().take(S::PLANES) {
                            let to = to.panel(first / W).add(S::word(unit, plane) * W + half);
                            store::<W>(to, row, unit == last);
                        }
                    }
                }
            }
        }
    }
}

/// Writes a unit of 16 lines. In a panel of 14 the next unit overwrites what is too much; behind the last one
/// another thread may be writing.
#[inline(always)]
unsafe fn store<const W: usize>(to: *mut u32, x: __m512i, last: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if W == ROWS && last {
            _mm512_mask_storeu_epi32(to.cast(), low(ROWS), x);
        } else {
            _mm512_storeu_si512(to.cast(), x);
        }
    }
}

/// Asks for the 16 units of a line that start at `unit`, should they exist.
#[inline(always)]
pub(super) fn prefetch_along<E: Element, S: Source>(from: &View<'_, E>, line: usize, unit: usize) {
    let at = from.pointer(line, unit * S::DEPTH).cast::<i8>();
    for offset in (0..16 * S::DEPTH * size_of::<E>()).step_by(64) {
        // SAFETY: a prefetch reads nothing and can't fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(offset)) };
    }
}

/// Asks for a unit of lines that lie side by side, once for each cache line.
#[inline(always)]
pub(super) fn prefetch_across<E: Element, S: Source>(from: &View<'_, E>, lines: Range<usize>, unit: usize) {
    let line = lines.start.next_multiple_of(64 / size_of::<E>());
    if line < lines.end {
        for k in unit * S::DEPTH..(unit + 1) * S::DEPTH {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.pointer(line, k).cast()) };
        }
    }
}

/// A square of 16 x 16 units, transposed: pairs, fours, then quarters of registers.
#[inline(always)]
pub(super) unsafe fn transposed(x: &[__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: the caller's level.
    unsafe {
        let zero = _mm512_setzero_si512();
        let (mut y, mut z) = ([zero; 16], [zero; 16]);
        for i in 0..8 {
            y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
            y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
        }
        for i in 0..4 {
            for j in 0..2 {
                z[4 * i + 2 * j] = _mm512_unpacklo_epi64(y[4 * i + j], y[4 * i + 2 + j]);
                z[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(y[4 * i + j], y[4 * i + 2 + j]);
            }
        }
        // z[4 i + j] holds in its quarter q the columns 4 q + j of the rows 4 i to 4 i + 3.
        for j in 0..4 {
            let (a, b, c, d) = (z[j], z[4 + j], z[8 + j], z[12 + j]);
            let (ab_even, ab_odd) = (
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0xDD>(a, b),
            );
            let (cd_even, cd_odd) = (
                _mm512_shuffle_i32x4::<0x88>(c, d),
                _mm512_shuffle_i32x4::<0xDD>(c, d),
            );
            y[j] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
            y[8 + j] = _mm512_shuffle_i32x4::<0xDD>(ab_even, cd_even);
            y[4 + j] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
            y[12 + j] = _mm512_shuffle_i32x4::<0xDD>(ab_odd, cd_odd);
        }
        y
    }
}
