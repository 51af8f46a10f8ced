//! Operands in the order in which the innermost loop reads them.
//!
//! A panel is a few lines (rows of A, columns of B), unit after unit along k:
//!
//! ```text
//! line      0       1       2     ...          0       1       2     ...
//! f32:    k=0     k=0     k=0     ...        k=1     k=1     k=1     ...
//! pairs:  k=0 1   k=0 1   k=0 1   ...        k=2 3   k=2 3   k=2 3   ...
//! ```
//!
//! What is missing in the last unit of an odd k is 0. What is missing in the last panel may be anything. Panels of A for AMX
//! have another order, and so have those of f32 in thirds ([`super::amx`]).

use super::element::{Bf16, Element, View};
use super::{Format, Level, Operand, Unit};

/// Where panels are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    at: *mut u32,
    /// Words from one panel to the next.
    stride: usize,
    /// Lines in a panel.
    pub(super) width: usize,
    /// Words that a unit of all of a panel's lines takes.
    unit: usize,
}

// SAFETY: a pointer; who shares one writes to different panels or units from different threads.
unsafe impl Send for Panels {}
// SAFETY: as above.
unsafe impl Sync for Panels {}

impl Panels {
    /// Panels of this operand, with so many units along k each.
    pub(super) fn new(at: *mut u32, units: usize, format: Format, operand: Operand) -> Self {
        let width = format.lines(operand);
        let unit = width * format.words();
        Self {
            at,
            stride: units * unit,
            width,
            unit,
        }
    }

    /// What starts so many panels and units along k on.
    pub(super) fn skip(self, panels: usize, units: usize) -> Self {
        Self {
            at: self.panel(panels).wrapping_add(units * self.unit),
            ..self
        }
    }

    /// The start of a panel.
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> *mut u32 {
        self.at.wrapping_add(panel * self.stride)
    }
}

/// Packs `lines` lines (the rows of `from`) of `k` elements.
///
/// # Safety
/// `from` must be readable and `to` writable so far, and by nobody else.
pub(super) unsafe fn pack<E: Element>(
    format: Format,
    operand: Operand,
    to: Panels,
    from: View<'_, E>,
    lines: usize,
    k: usize,
) {
    // SAFETY: the caller's promise; a level comes from `Level::all`, which asked the processor.
    unsafe {
        match format.level {
            #[cfg(target_arch = "x86_64")]
            Level::Amx if operand == Operand::A => super::amx::pack_rows(format, to, from, lines, k),
            #[cfg(target_arch = "x86_64")]
            Level::Amx | Level::Avx512Bf16 | Level::Avx512 => {
                super::avx512::pack(format, to, from, lines, k);
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => pack_avx2(format, to, from, lines, k),
            Level::Portable => pack_plain(format, to, from, lines, k),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_avx2<E: Element>(format: Format, to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    // SAFETY: the caller's promise.
    unsafe { pack_plain(format, to, from, lines, k) }
}

/// One f32 in a unit.
#[inline(always)]
unsafe fn pack_plain<E: Element>(format: Format, to: Panels, from: View<'_, E>, lines: usize, k: usize) {
    let round = format.unit == Unit::Rounded && !E::BF16;
    for first in (0..lines).step_by(to.width) {
        let panel = to.panel(first / to.width);
        for i in 0..to.width.min(lines - first) {
            for j in 0..k {
                // SAFETY: reads an element that exists and writes to a panel of `k` units.
                unsafe {
                    let x = (*from.pointer(first + i, j)).to_f32();
                    let x = if round { Bf16::of(x).to_f32() } else { x };
                    *panel.add(j * to.width + i) = x.to_bits();
                }
            }
        }
    }
}

/// Memory for panels, at the start of a cache line.
#[derive(Default)]
pub(super) struct Buffer(Vec<Line>);

/// A cache line, or a register of 16 units.
#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code, reason = "read and written through pointers")]
struct Line([u32; 16]);

impl Buffer {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Room for so many units. What was there is lost if there wasn't enough.
    pub(super) fn at_least(&mut self, units: usize) -> *mut u32 {
        let lines = units.div_ceil(16);
        if self.0.len() < lines {
            // The old one goes first, so that there are never two.
            self.0 = Vec::new();
            self.0 = vec![Line([0; 16]); lines];
        }
        self.0.as_mut_ptr().cast()
    }
}
