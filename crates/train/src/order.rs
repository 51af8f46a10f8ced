//! The order of the data: a function of a position and a seed, and of nothing else. So any worker can tell
//! what stands at any position, and an interval means the same samples to everyone.

/// An endless stream of samples: each epoch is a permutation of its own.
///
/// A balanced Feistel network permutes the numbers below a power of four; walking its cycle until a number
/// falls below `samples` makes that a permutation of the samples.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    samples: u64,
    seed: u64,
    half_bits: u32,
}

impl Order {
    /// The order of `samples` samples.
    pub fn new(samples: u64, seed: u64) -> Self {
        assert!((1..=1 << 62).contains(&samples), "an order of something");
        let bits = 64 - (samples - 1).leading_zeros();
        Self {
            samples,
            seed,
            half_bits: bits.div_ceil(2).max(1),
        }
    }

    /// The sample at `position`.
    pub fn sample(&self, position: u64) -> u64 {
        let (epoch, mut x) = (position / self.samples, position % self.samples);
        loop {
            x = self.permute(epoch, x);
            if x < self.samples {
                return x;
            }
        }
    }

    fn permute(&self, epoch: u64, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for turn in 0..4u64 {
            let key = mix(self.seed ^ mix(epoch.wrapping_mul(4).wrapping_add(turn)));
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// SplitMix64's finaliser: every bit of the input moves about half of the output's.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation() {
        for samples in [1, 2, 3, 5, 64, 65, 1000] {
            let order = Order::new(samples, 7);
            let epoch = |e: u64| {
                (0..samples)
                    .map(|i| order.sample(e * samples + i))
                    .collect::<Vec<_>>()
            };
            for e in 0..3 {
                let mut sorted = epoch(e);
                sorted.sort_unstable();
                assert_eq!(
                    sorted,
                    (0..samples).collect::<Vec<_>>(),
                    "{samples} samples, epoch {e}"
                );
            }
            if samples > 3 {
                assert_ne!(epoch(0), epoch(1));
                assert_ne!(epoch(0), (0..samples).collect::<Vec<_>>());
            }
        }
    }
}
