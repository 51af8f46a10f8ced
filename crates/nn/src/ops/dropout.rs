//! Dropout whose mask is a function of a seed and a place: the same with any number of threads, and again
//! after a stop (Srivastava et al., JMLR 15, 1929).

use super::CHUNK;
use crate::{Element, Tape, Var};
use rayon::prelude::*;

impl<'a, E: Element> Tape<'a, E> {
    /// Sets a part `rate` of the elements to zero and makes up for them in the others. The caller gives each
    /// use in each step a seed of its own, and leaves it out where nothing is learnt.
    pub fn dropout(&mut self, x: Var<'a, E>, rate: f32, seed: u64) -> Var<'a, E> {
        assert!((0.0..1.0).contains(&rate), "a part of the elements");
        if rate == 0.0 {
            return x;
        }
        let (rows, cols, id) = (x.rows, x.cols, x.id());
        let mut y = x.into_buffer(self.pool);
        mask(&mut y, rate, seed);
        let y = self.value(y, rows, cols);
        self.note(&y, move |back, mut dy| {
            mask(&mut dy, rate, seed);
            back.add(id, dy);
        });
        y
    }
}

fn mask<E: Element>(x: &mut [E], rate: f32, seed: u64) {
    let (keep, from) = (1.0 / (1.0 - rate), (rate * 65_536.0) as u64);
    x.par_chunks_mut(CHUNK).enumerate().for_each(|(task, x)| {
        for (four, place) in x.chunks_mut(4).zip((task * CHUNK / 4) as u64..) {
            let mut bits = mix(seed ^ mix(place));
            for x in four {
                let kept = if bits & 0xFFFF >= from { keep } else { 0.0 };
                *x = E::of(x.to_f32() * kept);
                bits >>= 16;
            }
        }
    });
}

/// SplitMix64's finaliser.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout};

    #[test]
    fn the_way_back_is_the_derivative() {
        let mut layout = Layout::default();
        let x = layout.add("x", &[9, 7], Init::Zeros);
        check(&noise(layout.len(), 1), |tape| {
            let x = tape.matrix(x);
            tape.dropout(x, 0.3, 5)
        });
    }

    #[test]
    fn it_keeps_the_mean_and_another_seed_is_another_mask() {
        let n = 3 * CHUNK + 5;
        let masked = |seed| {
            let mut x = vec![1f32; n];
            mask(&mut x, 0.25, seed);
            x
        };
        let (one, two) = (masked(1), masked(2));
        assert_eq!(one, masked(1));
        assert_ne!(one, two);
        let mean = one.iter().sum::<f32>() / n as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let agree = one.iter().zip(&two).filter(|(a, b)| a == b).count() as f32 / n as f32;
        assert!((agree - 0.625).abs() < 0.02, "independent masks: {agree}");
    }
}
