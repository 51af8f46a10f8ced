//! `codec = "auto"`: which codec a link has room for.

use super::Codec;

/// What a site's link has to carry in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The slowest site's link, in bits a second.
    pub bits_per_s: u64,
    /// How long a round's training takes, in milliseconds.
    pub round_ms: u64,
    /// Weights that a round sends: those of the largest fragment.
    pub weights: u64,
    /// Sites of the job.
    pub sites: u64,
}

impl Codec {
    /// The most exact of `int8`, `int4` and `sparse` whose transfer takes at most half of a round; `sparse`
    /// if none does.
    ///
    /// A transfer is over when a site has the updates of all others, each on its own through one link. Half
    /// of a round, because it goes on while the site trains, and links are seldom as fast as they are said
    /// to be. `fp32` is never chosen: with error feedback, `int8` comes to the same loss. Integers only, so
    /// that every site and every replay chooses alike.
    ///
    /// ```
    /// use sync::{Codec, Link};
    /// let link = Link { bits_per_s: 1_000_000_000, round_ms: 60_000, weights: 1_000_000_000, sites: 4 };
    /// assert_eq!(Codec::for_link(&link), Codec::Int8);
    /// let slow = Link { bits_per_s: 100_000_000, ..link };
    /// assert_eq!(Codec::for_link(&slow), Codec::Sparse);
    /// ```
    pub fn for_link(link: &Link) -> Self {
        let fits = |codec: &Self| {
            let updates = link.sites.saturating_sub(1).max(1);
            let bytes = u128::from(codec.bytes(link.weights)) * u128::from(updates);
            // 8 bytes / bits_per_s <= round_ms / 1000 / 2, multiplied out.
            bytes.saturating_mul(16_000) <= u128::from(link.bits_per_s) * u128::from(link.round_ms)
        };
        let choices = [Self::Int8, Self::Int4];
        choices.into_iter().find(fits).unwrap_or(Self::Sparse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slower_link_or_a_shorter_round_takes_a_smaller_codec() {
        let megabit = |megabits: u64, round_ms| {
            Codec::for_link(&Link {
                bits_per_s: megabits * 1_000_000,
                round_ms,
                weights: 10_000_000,
                sites: 2,
            })
        };
        // 80.6 and 40.6 million bits.
        let cases = [
            (100, 1_700, Codec::Int8),
            (100, 1_600, Codec::Int4),
            (100, 820, Codec::Int4),
            (100, 800, Codec::Sparse),
            (1, 170_000, Codec::Int8),
            (0, 60_000, Codec::Sparse),
            (1_000, 0, Codec::Sparse),
        ];
        for (megabits, round_ms, expected) in cases {
            assert_eq!(
                megabit(megabits, round_ms),
                expected,
                "{megabits} Mbit/s, {round_ms} ms"
            );
        }
    }

    #[test]
    fn any_numbers_give_a_choice() {
        for n in [0, 1, u64::MAX] {
            for m in [0, 1, u64::MAX] {
                Codec::for_link(&Link {
                    bits_per_s: n,
                    round_ms: m,
                    weights: m,
                    sites: n,
                });
            }
        }
    }
}
