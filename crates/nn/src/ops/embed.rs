//! Embedding: a row of a table for each token, and one for its position where positions are learnt.

use super::CHUNK;
use crate::simd::vectorised;
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;

impl<'a, E: Element> Tape<'a, E> {
    /// The rows of `table` at `indices`.
    pub fn embed(&mut self, indices: &'a [u32], table: Param) -> Var<'a, E> {
        let c = table.cols;
        let values = &self.params[table.range()];
        let mut x = self.pool.take(indices.len() * c);
        for (x, &index) in x.chunks_exact_mut(c).zip(indices) {
            for (x, e) in x.iter_mut().zip(&values[index as usize * c..][..c]) {
                *x = E::of(*e);
            }
        }
        let x = self.value(x, indices.len(), c);
        self.note(&x, move |back, dx| {
            let (gradient, add) = back.gradient.open(table);
            if !add {
                gradient.par_chunks_mut(CHUNK).for_each(|part| part.fill(0.0));
            }
            // One thread: two rows may be the same token's.
            for (dx, &index) in dx.chunks_exact(c).zip(indices) {
                add_to(&mut gradient[index as usize * c..][..c], dx);
            }
        });
        x
    }
}

vectorised! {
    pub(crate) fn add_to<E>(sum: &mut [f32], x: &[E]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout};

    #[test]
    fn the_way_back_is_the_derivative() {
        let mut layout = Layout::default();
        let table = layout.add("table", &[5, 4], Init::Zeros);
        check(&noise(layout.len(), 1), |tape| {
            let x = tape.embed(&[3, 0, 3, 1], table);
            let y = tape.embed(&[0, 1, 2, 2], table);
            tape.add(x, &y)
        });
    }
}
