//! What matrices are made of, and where they are.

use std::fmt::Debug;
use std::marker::PhantomData;

/// A number that is stored as f32 or bf16; all sums are f32.
pub trait Element: Copy + Default + Send + Sync + Debug + 'static {
    /// Whether it is [`Bf16`] (else f32).
    const BF16: bool;
    /// Its value.
    fn to_f32(self) -> f32;
    /// The nearest number to `x`, of two equally near ones the even one.
    fn of(x: f32) -> Self;
}

/// The upper half of an f32: its range, with 8 significant bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub(crate) u16);

impl Element for f32 {
    const BF16: bool = false;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }
}

impl Element for Bf16 {
    const BF16: bool = true;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn of(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
        // Rounding could carry a NaN over to infinity or 0.
        let bits = if x.is_nan() { bits | 0x40_0000 } else { rounded };
        Self((bits >> 16) as u16)
    }
}

/// A matrix to read: element (i, j) is `at[i * rows + j * cols]`, and one of the two strides is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a, T> {
    at: *const T,
    rows: usize,
    cols: usize,
    life: PhantomData<&'a T>,
}

// SAFETY: as a `&[T]`.
unsafe impl<T: Sync> Send for View<'_, T> {}
// SAFETY: as a `&[T]`.
unsafe impl<T: Sync> Sync for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// Rows of contiguous elements; the next row starts `stride` elements on.
    pub(crate) fn rows(x: &'a [T], stride: usize) -> Self {
        Self {
            at: x.as_ptr(),
            rows: stride,
            cols: 1,
            life: PhantomData,
        }
    }

    /// As [`View::rows`], from a pointer, for parts of a larger array.
    ///
    /// # Safety
    /// The elements that are read through this must be readable as long as `'a` lasts.
    pub(crate) unsafe fn at(at: *const T, stride: usize) -> Self {
        Self {
            at,
            rows: stride,
            cols: 1,
            life: PhantomData,
        }
    }

    /// The same elements, transposed.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            ..self
        }
    }

    /// What starts `rows` rows and `cols` columns on.
    pub(super) fn skip(self, rows: usize, cols: usize) -> Self {
        Self {
            at: self.pointer(rows, cols),
            ..self
        }
    }

    /// Where an element is. May point behind the matrix as long as nobody reads there.
    #[inline(always)]
    pub(super) fn pointer(&self, row: usize, col: usize) -> *const T {
        self.at.wrapping_add(row * self.rows + col * self.cols)
    }

    /// Elements from one column to the next.
    pub(super) fn column_stride(&self) -> usize {
        self.cols
    }

    /// Whether a row's elements lie side by side. If not, a column's do.
    pub(super) fn by_rows(&self) -> bool {
        debug_assert!(
            self.rows == 1 || self.cols == 1,
            "strides {} and {}",
            self.rows,
            self.cols
        );
        self.cols == 1
    }
}

/// A matrix to write: rows of contiguous elements.
#[derive(Debug)]
pub(crate) struct Target<'a, T> {
    at: *mut T,
    stride: usize,
    life: PhantomData<&'a mut T>,
}

// SAFETY: as a `&mut [T]`; who shares one writes to different elements from different threads.
unsafe impl<T: Send> Send for Target<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<'_, T> {}

impl<'a, T> Target<'a, T> {
    /// Rows of contiguous elements; the next row starts `stride` elements on.
    pub(crate) fn rows(x: &'a mut [T], stride: usize) -> Self {
        Self {
            at: x.as_mut_ptr(),
            stride,
            life: PhantomData,
        }
    }

    /// As [`Target::rows`], from a pointer, for parts of a larger array.
    ///
    /// # Safety
    /// The elements that are written through this must be the caller's alone as long as `'a` lasts.
    pub(crate) unsafe fn at(at: *mut T, stride: usize) -> Self {
        Self {
            at,
            stride,
            life: PhantomData,
        }
    }

    /// What starts `row` rows and `col` columns on.
    pub(super) fn skip(&self, row: usize, col: usize) -> Self {
        Self {
            at: self.pointer(row, col),
            ..*self
        }
    }

    #[inline(always)]
    pub(super) fn pointer(&self, row: usize, col: usize) -> *mut T {
        self.at.wrapping_add(row * self.stride + col)
    }

    /// The first `cols` elements of a row.
    ///
    /// # Safety
    /// They must exist, and nobody else may use them meanwhile.
    #[allow(
        clippy::mut_from_ref,
        reason = "a target is a pointer; the caller keeps the parts apart"
    )]
    pub(super) unsafe fn row(&self, row: usize, cols: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(row, 0), cols) }
    }
}
