//! Buffers that are used again: the activations of one step lie where those of the step before lay, so after
//! the first step training asks the system for no memory.

use crate::Element;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Free buffers by length.
#[derive(Debug, Default)]
pub struct Pool<E> {
    free: RefCell<BTreeMap<usize, Vec<Vec<E>>>>,
}

/// Elements that go back to their pool when nobody needs them any more.
#[derive(Debug)]
pub(crate) struct Buffer<'a, E: Element> {
    elements: Vec<E>,
    pool: &'a Pool<E>,
}

impl<E: Element> Pool<E> {
    /// `len` elements of any value.
    pub(crate) fn take(&self, len: usize) -> Buffer<'_, E> {
        let free = self.free.borrow_mut().get_mut(&len).and_then(Vec::pop);
        Buffer {
            elements: free.unwrap_or_else(|| vec![E::default(); len]),
            pool: self,
        }
    }

    /// `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Buffer<'_, E> {
        let mut buffer = self.take(len);
        buffer.fill(E::default());
        buffer
    }

    /// The same elements once more.
    pub(crate) fn copy(&self, elements: &[E]) -> Buffer<'_, E> {
        let mut buffer = self.take(elements.len());
        buffer.copy_from_slice(elements);
        buffer
    }
}

impl<E: Element> Deref for Buffer<'_, E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        &self.elements
    }
}

impl<E: Element> DerefMut for Buffer<'_, E> {
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.elements
    }
}

impl<E: Element> Drop for Buffer<'_, E> {
    fn drop(&mut self) {
        let elements = std::mem::take(&mut self.elements);
        let mut free = self.pool.free.borrow_mut();
        free.entry(elements.len()).or_default().push(elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again() {
        let pool = Pool::<f32>::default();
        let first = pool.take(10);
        let at = first.as_ptr();
        assert_ne!(
            pool.take(10).as_ptr(),
            at,
            "while it is in use it is nobody else's"
        );
        drop(first);
        assert_eq!(pool.take(10).as_ptr(), at);
        assert_eq!(pool.zeros(10).iter().sum::<f32>(), 0.0);
    }
}
