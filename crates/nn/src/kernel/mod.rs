//! Matrix products: `C = alpha * A B (+ C)` in f32, or in bf16 with sums in f32.
//!
//! ```text
//! product((m, n, k), c, add, alpha, a, b, math, threads)
//!
//!   striped operand             shared operand              C
//!   (packed by the task         (packed once, by all)       (written once for each block of k)
//!    that uses it)
//!      k ->                       n ->
//!   m +-------+ task 0         k +---+---+---+---+         +---+---+---+---+
//!   | +-------+ task 1         | |   |   |   |   |         |   |   |   |   |
//!   v +-------+ task 2         v +---+---+---+---+         +---+---+---+---+
//! ```
//!
//! The smaller of the two operands is packed once, into a scratch that all threads read. The larger one is
//! cut into stripes; a task packs its stripe into a scratch that stays in its core's cache and multiplies it
//! with all of the shared operand. So every element is packed once, and the larger operand's panels need no
//! trip through memory. Only what is larger than the scratch is cut further, along k and along the lines.
//!
//! Packed operands are panels of a few lines (rows of A, columns of B) in which the values that the innermost
//! loop needs together lie together, counted in units of 32 bits: an f32, or two bf16 that follow each other
//! along k (see [`pack`]). Both kinds share one layout and one driver.
//!
//! An element of C is a chain of fused multiply-adds along k for each [block](Format::block), and these are
//! added up in order: the same bits whatever the number of threads, the position in C and which operand was
//! shared. (The portable level rounds the products where the processor has no fused instruction.)
//!
//! (AMX sums up even and odd k apart in each square: other bits than without it, and the same ones for any number of
//! threads.)
//!
//! The instructions for bf16 take and make no denormal numbers: below 1e-38, they are 0. With AMX a product in f32 is one of
//! bf16 thrice over ([`Unit::Thirds`]), so this is true of it too, and an infinite operand makes NaN.

#![allow(
    unsafe_code,
    reason = "vector instructions and tiles of one matrix written by several threads"
)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod drive;
mod element;
mod matvec;
mod pack;
mod plain;
#[cfg(test)]
mod tests;

pub use element::{Bf16, Element};
pub(crate) use element::{Target, View};
pub(crate) use matvec::matvec;

use drive::Job;
use std::ops::Range;
use std::sync::OnceLock;

/// Units of k in a block, at most.
const BLOCK: usize = 1024;
/// Products of fewer multiplications than this are not worth waking a thread for.
const ALONE: usize = 1 << 18;

/// In what a product is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Math {
    /// Products and sums in f32.
    F32,
    /// Operands rounded to bf16; products are exact, sums are f32.
    Bf16,
}

impl Math {
    /// What values of this type are multiplied in.
    pub(crate) fn of<E: Element>() -> Self {
        if E::BF16 { Self::Bf16 } else { Self::F32 }
    }
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: the caller runs many at once.
    One,
    /// All threads of the pool that the caller runs in.
    All,
}

/// What a processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// All that this processor can run, the fastest first.
    pub(crate) fn all() -> &'static [Self] {
        static LEVELS: OnceLock<Vec<Level>> = OnceLock::new();
        LEVELS.get_or_init(|| {
            #[allow(unused_mut, reason = "other architectures have one level")]
            let mut levels = vec![Self::Portable];
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.insert(0, Self::Avx2);
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                    levels.insert(0, Self::Avx512);
                    if is_x86_feature_detected!("avx512bf16") {
                        levels.insert(0, Self::Avx512Bf16);
                        if amx::is_there() {
                            levels.insert(0, Self::Amx);
                        }
                    }
                }
            }
            levels
        })
    }
}

/// What a unit of a packed operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// An f32.
    F32,
    /// An f32 that was rounded to bf16, for processors that can't multiply bf16.
    Rounded,
    /// Two bf16: that of the smaller k in the lower half.
    Pair,
    /// Two f32, each as three bf16 that add up to it: three pairs, in planes of their own ([`amx`]).
    Thirds,
}

/// How a product is computed: the processor's level and what is in a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    level: Level,
    unit: Unit,
}

impl Format {
    fn new(level: Level, math: Math) -> Self {
        let unit = match (math, level) {
            #[cfg(target_arch = "x86_64")]
            (Math::F32, Level::Amx) => Unit::Thirds,
            (Math::F32, _) => Unit::F32,
            #[cfg(target_arch = "x86_64")]
            (Math::Bf16, Level::Amx | Level::Avx512Bf16) => Unit::Pair,
            (Math::Bf16, _) => Unit::Rounded,
        };
        Self { level, unit }
    }

    /// The format of this processor.
    fn native(math: Math) -> Self {
        Self::new(Level::all()[0], math)
    }

    /// Elements along k in a unit.
    fn depth(self) -> usize {
        if matches!(self.unit, Unit::Pair | Unit::Thirds) {
            2
        } else {
            1
        }
    }

    /// Words of 32 bits that a unit of one line takes.
    fn words(self) -> usize {
        if self.unit == Unit::Thirds { 3 } else { 1 }
    }

    /// Units of so many elements along k, with those that are 0.
    fn units(self, k: usize) -> usize {
        let units = k.div_ceil(self.depth());
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Amx => units.next_multiple_of(amx::DEEP),
            _ => units,
        }
    }

    /// Units of k in a block: one pass of the innermost loop. A stripe of one operand and a panel of the other then fit the
    /// second cache.
    fn block(self) -> usize {
        if self.unit == Unit::Thirds {
            BLOCK / 4
        } else {
            BLOCK
        }
    }

    /// Lines in a panel of this operand.
    fn lines(self, operand: Operand) -> usize {
        match (self.level, operand) {
            #[cfg(target_arch = "x86_64")]
            (Level::Amx, _) => amx::LINES,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512Bf16 | Level::Avx512, Operand::A) => avx512::ROWS,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512Bf16 | Level::Avx512, Operand::B) => avx512::COLS,
            (_, Operand::A) => plain::ROWS,
            (_, Operand::B) => plain::COLS,
        }
    }
}

/// A product's sides. A line is a row of A or a column of B: the elements along k that are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    A,
    B,
}

impl Operand {
    fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }

    /// The rows and columns of C that these lines of this operand make with those of the other one.
    fn tile(self, lines: &Range<usize>, others: &Range<usize>) -> (Range<usize>, Range<usize>) {
        match self {
            Self::A => (lines.clone(), others.clone()),
            Self::B => (others.clone(), lines.clone()),
        }
    }
}

/// `c (m x n) = [c +] alpha * a (m x k) * b (k x n)`. Where `k` is 0, the sum is 0.
///
/// # Safety
/// The pointers and strides must describe `m x k`, `k x n` and `m x n` elements that can be read and, for
/// `c`, written; nobody else may touch those of `c` meanwhile.
#[allow(clippy::too_many_arguments, reason = "the operation has that many parts")]
pub(crate) unsafe fn product<A: Element, B: Element, C: Element>(
    sizes: (usize, usize, usize),
    c: Target<'_, C>,
    add: bool,
    alpha: f32,
    a: View<'_, A>,
    b: View<'_, B>,
    math: Math,
    threads: Threads,
) {
    // SAFETY: the caller's promise; the processor runs its own level.
    unsafe { product_as(Format::native(math), sizes, c, add, alpha, a, b, threads) }
}

/// As [`product`], in a given format.
///
/// # Safety
/// As for [`product`]; the processor must be able to run the format's level.
#[allow(clippy::too_many_arguments, reason = "as above")]
unsafe fn product_as<A: Element, B: Element, C: Element>(
    format: Format,
    (m, n, k): (usize, usize, usize),
    c: Target<'_, C>,
    add: bool,
    alpha: f32,
    a: View<'_, A>,
    b: View<'_, B>,
    threads: Threads,
) {
    if m == 0 || n == 0 || (k == 0 && add) {
        return;
    }
    let threads = match threads {
        Threads::All if m * n * k >= ALONE => rayon::current_num_threads(),
        _ => 1,
    };
    let job = Job {
        format,
        k,
        add,
        alpha,
        c,
        threads,
    };
    // Lines that lie side by side are cheaper to pack all at once than in stripes: their cache lines and pages
    // are shared by many of them.
    let cost = |lines: usize, side_by_side: bool| if side_by_side { lines / 2 } else { lines };
    // SAFETY: the caller's promise; a column of B is a row of its transpose.
    unsafe {
        if cost(n, b.by_rows()) <= cost(m, !a.by_rows()) {
            job.run(Operand::B, b.t(), n, a, m);
        } else {
            job.run(Operand::A, a, m, b.t(), n);
        }
    }
}
