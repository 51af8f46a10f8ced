//! Who packs what, and which panels meet in which order: the story at the top of [`super`], as code.

use super::element::{Element, Target, View};
use super::pack::{self, Buffer, Panels};
use super::plain;
use super::{Format, Level, Operand};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

/// What the shared operand may take before it is cut, in words: 8 MB, a part of a third cache.
pub(super) const SHARED: usize = 2 << 20;
/// What a task's stripe may take, in words: 512 KB, beside a panel of the other operand in the second cache.
const STRIPE: usize = 128 << 10;
/// What the sums of a bf16 C may take where k needs several blocks, in elements: 4 MB.
const SUMS: usize = 1 << 20;
/// Tasks for each thread, at least: equal shares, and some to hand over where a core has other work.
const TASKS: usize = 4;

/// What all tasks of a product know.
pub(super) struct Job<'a, C> {
    pub(super) format: Format,
    pub(super) k: usize,
    pub(super) add: bool,
    pub(super) alpha: f32,
    pub(super) c: Target<'a, C>,
    /// How many there are to share the work.
    pub(super) threads: usize,
}

thread_local! {
    /// The shared operand of the product that this thread called for.
    static SHARED_SCRATCH: Cell<Buffer> = const { Cell::new(Buffer::new()) };
    /// The stripe of the task that this thread runs.
    pub(super) static TASK_SCRATCH: Cell<Buffer> = const { Cell::new(Buffer::new()) };
}

/// Lends a scratch of so many words. A thread that waits for others may take up another product meanwhile and
/// then finds no scratch here; it gets a new one.
pub(super) fn with_scratch<R>(
    key: &'static LocalKey<Cell<Buffer>>,
    words: usize,
    f: impl FnOnce(*mut u32) -> R,
) -> R {
    let mut buffer = key.take();
    let result = f(buffer.at_least(words));
    key.set(buffer);
    result
}

impl<C: Element> Job<'_, C> {
    /// Cuts the product so that the shared operand and the sums fit their scratch, and hands out the stripes
    /// of each cut.
    ///
    /// # Safety
    /// `shared` and `striped` must have so many readable lines of `k` elements each.
    pub(super) unsafe fn run<S: Element, T: Element>(
        &self,
        operand: Operand,
        shared: View<'_, S>,
        shared_lines: usize,
        striped: View<'_, T>,
        striped_lines: usize,
    ) {
        let width = self.format.lines(operand);
        let units = self.format.units(self.k).max(1);
        // Whole panels of at least one block of k.
        let most = SHARED / self.format.words();
        let cut =
            (most / units.min(self.format.block()) / width * width).min(shared_lines.next_multiple_of(width));
        let deep = if cut * units <= most {
            units
        } else {
            most / cut / self.format.block() * self.format.block()
        };
        let packed = cut * deep * self.format.words();
        // A sum is rounded once: where it takes several blocks and C is bf16, it grows elsewhere.
        let elsewhere = C::BF16 && units > self.format.block();
        let other = self.format.lines(operand.other());
        let room = if elsewhere {
            (SUMS / cut / other).max(1) * other
        } else {
            striped_lines
        };
        let sums = if elsewhere {
            cut * room.min(striped_lines)
        } else {
            0
        };
        with_scratch(&SHARED_SCRATCH, packed + sums, |scratch| {
            for first in (0..shared_lines).step_by(cut) {
                let lines = first..shared_lines.min(first + cut);
                for from in (0..striped_lines).step_by(room) {
                    let stripes = from..striped_lines.min(from + room);
                    let (rows, cols) = operand.tile(&lines, &stripes);
                    for unit in (0..units).step_by(deep) {
                        let (k, end) = (unit * self.format.depth(), (unit + deep) * self.format.depth());
                        let panels = Panels::new(scratch, deep.min(units - unit), self.format, operand);
                        // SAFETY: the scratch has room for the panels and the sums; the tasks of `stripes`
                        // write to different parts of C and of the sums.
                        unsafe {
                            let sums = Target::at(scratch.add(packed).cast(), cols.len());
                            let part = Part {
                                operand,
                                panels,
                                k: k..end.min(self.k),
                                c: self.c.skip(rows.start, cols.start),
                                sums: elsewhere.then_some(sums),
                                lines: lines.len(),
                            };
                            self.pack_shared(&part, shared.skip(first, k));
                            self.stripes(&part, striped.skip(from, 0), stripes.len());
                        }
                    }
                }
            }
        });
    }

    /// Packs the part's lines, with all threads.
    unsafe fn pack_shared<S: Element>(&self, part: &Part<'_, C>, from: View<'_, S>) {
        let (to, lines, k) = (part.panels, part.lines, part.k.len());
        // Small enough to share out evenly, and whole cache lines of a source that lies along the lines.
        let (deep, wide) = (256 * self.format.depth(), 8 * to.width);
        let (down, across) = (k.div_ceil(deep), lines.div_ceil(wide));
        self.each(down * across, |task| {
            let (first, line) = (task / across * deep, task % across * wide);
            let to = to.skip(line / to.width, first / self.format.depth());
            let (lines, k) = (wide.min(lines - line), deep.min(k - first));
            // SAFETY: tasks write to different panels or different units of them.
            unsafe { pack::pack(self.format, part.operand, to, from.skip(line, first), lines, k) };
        });
    }

    /// Cuts the other operand into stripes of whole panels, a task each.
    unsafe fn stripes<T: Element>(&self, part: &Part<'_, C>, striped: View<'_, T>, lines: usize) {
        let width = self.format.lines(part.operand.other());
        let units = self.format.units(part.k.len()).clamp(1, self.format.block());
        let panels = lines.div_ceil(width);
        let most = (STRIPE / (units * width * self.format.words())).max(1);
        let tasks = if self.threads == 1 {
            panels.div_ceil(most)
        } else {
            panels
                .div_ceil(most)
                .max(TASKS * self.threads)
                .next_multiple_of(self.threads)
                .min(panels)
        };
        self.each(tasks, |task| {
            let (from, to) = (task * panels / tasks * width, (task + 1) * panels / tasks * width);
            // SAFETY: stripes have different lines, so that tasks write to different parts of C.
            unsafe { self.stripe(part, striped, from..to.min(lines)) };
        });
    }

    /// Multiplies the lines `stripe` with the shared part.
    unsafe fn stripe<T: Element>(&self, part: &Part<'_, C>, striped: View<'_, T>, stripe: Range<usize>) {
        let format = self.format;
        let other = part.operand.other();
        let width = format.lines(other);
        let deep = self.format.block() * format.depth();
        let units = format.units(part.k.len()).min(self.format.block());
        let words = stripe.len().next_multiple_of(width) * units * format.words();
        let (rows, cols) = part.operand.tile(&(0..part.lines), &stripe);
        let size = (rows.len(), cols.len());
        with_scratch(&TASK_SCRATCH, words, |scratch| {
            let packed = Panels::new(scratch, units, format, other);
            let c = part.c.skip(rows.start, cols.start);
            let sums = part.sums.as_ref().map(|sums| sums.skip(rows.start, cols.start));
            // SAFETY: the scratch has room for the stripe; the tile is this task's alone.
            unsafe {
                for k in (part.k.start..part.k.end.max(1)).step_by(deep) {
                    let some = deep.min(part.k.end - k);
                    let from = striped.skip(stripe.start, k);
                    pack::pack(format, other, packed, from, stripe.len(), some);
                    let shared = part.panels.skip(0, (k - part.k.start) / format.depth());
                    let (a, b) = match part.operand {
                        Operand::A => (shared, packed),
                        Operand::B => (packed, shared),
                    };
                    let by_columns = part.operand == Operand::B;
                    let tiles = Tiles {
                        format,
                        k: some,
                        a,
                        b,
                        alpha: self.alpha,
                        by_columns,
                    };
                    match &sums {
                        Some(sums) => tiles.run(size, sums, k > 0),
                        None => tiles.run(size, &c, self.add || k > 0),
                    }
                }
                if let Some(sums) = sums.filter(|_| part.k.end == self.k) {
                    finish(size, &sums, &c, self.add);
                }
            }
        });
    }

    /// Runs tasks, on all threads if there are several.
    fn each(&self, tasks: usize, run: impl Fn(usize) + Sync + Send) {
        if self.threads > 1 && tasks > 1 {
            (0..tasks).into_par_iter().with_max_len(1).for_each(run);
        } else {
            (0..tasks).for_each(run);
        }
    }
}

/// Some lines of the shared operand over some of k, packed, and the part of C that they make.
struct Part<'a, C> {
    operand: Operand,
    panels: Panels,
    lines: usize,
    k: Range<usize>,
    c: Target<'a, C>,
    sums: Option<Target<'a, f32>>,
}

/// The products of all panels of A with all panels of B, over one block of k.
pub(super) struct Tiles {
    pub(super) format: Format,
    /// Elements.
    pub(super) k: usize,
    pub(super) a: Panels,
    pub(super) b: Panels,
    pub(super) alpha: f32,
    /// A panel of B meets all of A, rather than the other way round: the longer operand is the outer one.
    pub(super) by_columns: bool,
}

/// What the panels of B take that meet a panel of A before the next one does, in words, for bf16 with AMX: 256 KB, beside a stripe
/// in the second cache. A tile takes so little time there that C has to be written along its rows, which is quicker.
const GROUP: usize = 64 << 10;

impl Tiles {
    /// How many of B's panels meet a panel of A before the next one does.
    fn group(&self, across: usize) -> usize {
        let panel = self.format.units(self.k) * self.b.width;
        match self.format.level {
            _ if !self.by_columns => across.max(1),
            #[cfg(target_arch = "x86_64")]
            Level::Amx if self.format.unit == super::Unit::Pair => (GROUP / panel.max(1)).max(1),
            _ => 1,
        }
    }

    /// `c = [c +] alpha * a * b`, for `m` lines of A and `n` of B.
    ///
    /// # Safety
    /// The panels must hold `k` elements of `m` and `n` lines, and `c` must be so large and the caller's alone.
    pub(super) unsafe fn run<C: Element>(&self, (m, n): (usize, usize), c: &Target<'_, C>, add: bool) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level comes from `Level::all`, which asked the processor.
        let _taken = (self.format.level == Level::Amx).then(|| unsafe { amx::Registers::take() });
        let (down, across) = (m.div_ceil(self.a.width), n.div_ceil(self.b.width));
        let group = self.group(across);
        for first in (0..across).step_by(group) {
            for p in 0..down {
                for q in first..across.min(first + group) {
                    let (row, col) = (p * self.a.width, q * self.b.width);
                    let tile = Tile {
                        k: self.format.units(self.k),
                        a: self.a.panel(p),
                        b: self.b.panel(q),
                        rows: self.a.width.min(m - row),
                        cols: self.b.width.min(n - col),
                        alpha: self.alpha,
                        add,
                    };
                    // SAFETY: both panels hold `k` units of so many lines, and the tile lies within `c`.
                    unsafe { tile.run(self.format, &c.skip(row, col)) };
                }
            }
        }
    }
}

/// The product of a panel of A with a panel of B.
pub(super) struct Tile {
    /// Units.
    pub(super) k: usize,
    pub(super) a: *const u32,
    pub(super) b: *const u32,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) alpha: f32,
    pub(super) add: bool,
}

impl Tile {
    #[inline]
    unsafe fn run<C: Element>(&self, format: Format, c: &Target<'_, C>) {
        // SAFETY: a level comes from `Level::all`, which asked the processor.
        unsafe {
            match format.level {
                #[cfg(target_arch = "x86_64")]
                Level::Amx => amx::tile(format, self, c),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 | Level::Avx512 => avx512::tile(format, self, c),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => plain::tile_avx2(self, c),
                Level::Portable => plain::tile(self, c),
            }
        }
    }
}

/// Rounds finished sums into `c`.
pub(super) unsafe fn finish<C: Element>(
    (m, n): (usize, usize),
    sums: &Target<'_, f32>,
    c: &Target<'_, C>,
    add: bool,
) {
    for i in 0..m {
        // SAFETY: both have m rows of n elements, and nobody else looks at them.
        let (sums, c) = unsafe { (sums.row(i, n), c.row(i, n)) };
        for (sum, c) in sums.iter().zip(c) {
            *c = C::of(if add { c.to_f32() + sum } else { *sum });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::noise;
    use crate::kernel::{Math, Threads, product};

    #[test]
    fn products_within_products_find_their_scratch() {
        let (m, n, k) = (150, 150, 150);
        let (a, b): (Vec<f32>, Vec<f32>) = (noise(m * k, 1), noise(k * n, 2));
        let run = |_| {
            let mut c = vec![0f32; m * n];
            let (a, b) = (View::rows(&a, k), View::rows(&b, n));
            // SAFETY: the arrays have these sizes.
            unsafe {
                product(
                    (m, n, k),
                    Target::rows(&mut c, n),
                    false,
                    1.0,
                    a,
                    b,
                    Math::F32,
                    Threads::All,
                );
            };
            c
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .expect("threads can be started");
        let all: Vec<_> = pool.install(|| (0..40).into_par_iter().map(run).collect());
        assert!(all.iter().all(|c| *c == all[0]));
    }
}
