//! Token embedding: a row of the table for each token, and back.

/// Copies rows; the tokens were checked against the vocabulary.
pub(crate) fn forward(tokens_n: impl Iterator<Item = u32>, e_vc: &[f32], x_nc: &mut [f32], c: usize) {
    for (x, token) in x_nc.chunks_exact_mut(c).zip(tokens_n) {
        x.copy_from_slice(&e_vc[token as usize * c..][..c]);
    }
}

/// Adds to the rows of the tokens that were read. One thread: two rows may be the same token's.
pub(crate) fn backward(tokens_n: impl Iterator<Item = u32>, dx_nc: &[f32], de_vc: &mut [f32], c: usize) {
    for (dx, token) in dx_nc.chunks_exact(c).zip(tokens_n) {
        for (de, dx) in de_vc[token as usize * c..][..c].iter_mut().zip(dx) {
            *de += dx;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise, weigh};

    #[test]
    fn backward_is_the_derivative() {
        let tokens = [3u32, 0, 3, 1];
        let (table, dy) = (noise(5 * 4, 1), noise(4 * 4, 2));
        let mut gradient = vec![0.0; table.len()];
        backward(tokens.into_iter(), &dy, &mut gradient, 4);
        check_gradient(&table, &gradient, |table| {
            let mut x = vec![0.0; 16];
            forward(tokens.into_iter(), table, &mut x, 4);
            weigh(&x, &dy)
        });
    }
}
