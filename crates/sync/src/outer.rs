//! The outer step: the sites' updates of a fragment become one, and move its weights once.
//!
//! For a weight that changed by x_s at site s, which trained on w_s tokens:
//!
//! ```text
//! sum  = Σ w_s c_s x_s      in f64, the sites in the order of the round; c_s is 1 unless the round says less
//! g    = sum / Σ w_s        in f64, then rounded once to f32
//! m    = μ m + g            Nesterov, in f32, in this order; below 2^-100 it is 0
//! p    = p - η (g + μ m)
//! ```
//!
//! x_s is exact in f32 whatever the codec. There is no fused multiply-add, no library function and no order
//! that depends on threads or registers in it, so every IEEE machine gets the same bits. A momentum that
//! nothing feeds ends at 0 before it is denormal: processes differ in whether they compute with such numbers.

use crate::codec::simd::{self, vectorised};
use crate::codec::{PART, Update};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The most tokens of a round; their sum is exact in f64.
const MOST_TOKENS: u64 = 1 << 34;
/// Weights that share a leaf of the digest.
const LEAF: usize = 1 << 16;
/// 2^-100.
const TINY: f32 = 7.888_609e-31;

/// How far the outer step goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterConfig {
    /// η.
    pub learning_rate: f32,
    /// μ.
    pub momentum: f32,
}

impl Default for OuterConfig {
    /// As in DiLoCo.
    fn default() -> Self {
        Self {
            learning_rate: 0.7,
            momentum: 0.9,
        }
    }
}

/// How much of an update counts, in 65,536ths: with the tokens it makes a whole number that is exact in f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Scale(u32);

impl Scale {
    /// All of it.
    pub const WHOLE: Self = Self(1 << 16);

    /// Whether it is all of it.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl TryFrom<u32> for Scale {
    type Error = String;

    fn try_from(parts: u32) -> Result<Self, String> {
        if parts > Self::WHOLE.0 {
            return Err(format!("a scale of {parts}: 65536 is all of an update"));
        }
        Ok(Self(parts))
    }
}

impl From<Scale> for u32 {
    fn from(scale: Scale) -> Self {
        scale.0
    }
}

/// What all sites agree on between two rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Outer {
    params: Vec<f32>,
    momentum: Vec<f32>,
    config: OuterConfig,
    /// The digest of every [`LEAF`] of the weights and their momentum.
    leaves: Vec<blake3::Hash>,
}

/// One site's update and its weight in the mean: the tokens it trained on.
#[derive(Debug, Clone, Copy)]
pub struct Contribution<'a> {
    /// Tokens.
    pub weight: u64,
    /// How much of it counts.
    pub scale: Scale,
    /// How far the site came.
    pub update: &'a Update,
}

/// Why a round can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    /// A fragment of another model.
    #[error("the fragment is weights {from}..{to}, the model has {params}: cut it with `fragments`")]
    Fragment {
        /// Its first weight.
        from: usize,
        /// The weight after its last.
        to: usize,
        /// The model's.
        params: usize,
    },
    /// An update of another fragment or model.
    #[error("update {index} is of {found} weights, the fragment has {wanted}: it belongs to another round")]
    Length {
        /// Which, in site order.
        index: usize,
        /// Its weights.
        found: usize,
        /// The fragment's.
        wanted: usize,
    },
    /// Nothing to apply, or more than the sums have room for.
    #[error("a round of {tokens} tokens: 1 to {MOST_TOKENS} can be applied")]
    Tokens {
        /// All sites' tokens.
        tokens: u64,
    },
}

impl Outer {
    /// The agreement before the first round.
    pub fn new(params: Vec<f32>, config: OuterConfig) -> Self {
        let momentum = vec![0.0; params.len()];
        Self::restored(params, momentum, config)
    }

    /// The agreement in a checkpoint. Panics if there isn't a momentum for every weight.
    pub fn restored(params: Vec<f32>, momentum: Vec<f32>, config: OuterConfig) -> Self {
        assert_eq!(params.len(), momentum.len(), "a momentum for every weight");
        let leaves = vec![blake3::Hash::from_bytes([0; 32]); params.len().div_ceil(LEAF)];
        let mut outer = Self {
            params,
            momentum,
            config,
            leaves,
        };
        outer.renew_leaves(0..outer.params.len());
        outer
    }

    /// The weights.
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// The momentum of each.
    pub fn momentum(&self) -> &[f32] {
        &self.momentum
    }

    /// How far a step goes.
    pub fn config(&self) -> OuterConfig {
        self.config
    }

    /// Applies a round to a fragment; the others stay as they are. A round in which no update counts changes
    /// nothing, not even the momentum. On an error nothing has changed.
    pub fn step(&mut self, fragment: Range<usize>, round: &[Contribution<'_>]) -> Result<(), OuterError> {
        let tokens = self.check(&fragment, round)?;
        if round.is_empty() {
            return Ok(());
        }
        let mut part = Part {
            // The scales' unit is a power of two, so it changes no bit of a mean of whole updates.
            tokens: (tokens * u64::from(Scale::WHOLE.0)) as f64,
            config: self.config,
            sums: [0.0; PART],
            changes: [0.0; PART],
        };
        let params = self.params[fragment.clone()].chunks_mut(PART);
        let momentum = self.momentum[fragment.clone()].chunks_mut(PART);
        for (i, (params, momentum)) in params.zip(momentum).enumerate() {
            part.sums.fill(0.0);
            for contribution in round {
                let changes = &mut part.changes[..params.len()];
                contribution.update.decode_part(i * PART, changes);
                let weight = contribution.weight * u64::from(contribution.scale.0);
                add(simd::level(), &mut part.sums, changes, weight as f64);
            }
            advance(simd::level(), &part, params, momentum);
        }
        self.renew_leaves(fragment);
        Ok(())
    }

    /// Draws a site's weights towards what is agreed, where a round's result comes late: the site has trained
    /// on meanwhile, and keeps `alpha` of where it is (Streaming DiLoCo's α; 0 takes what is agreed).
    ///
    /// `local` are all weights of the model; those of the fragment change. The site's next update of it tells
    /// what of its way is left, since an update is always what is agreed minus where the site is.
    pub fn mix(&self, fragment: Range<usize>, local: &mut [f32], alpha: f32) {
        let (agreed, local) = (&self.params[fragment.clone()], &mut local[fragment]);
        for (local, agreed) in local.iter_mut().zip(agreed) {
            *local = alpha * *local + (1.0 - alpha) * agreed;
        }
    }

    /// `blake3:` and the digest of all weights and their momentum, however they are cut into fragments: that
    /// of the digests of every 65,536 weights and their momentum, as little-endian bytes. A step computes
    /// those of its fragment again, so asking costs next to nothing.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.params.len() as u64).to_le_bytes());
        for leaf in &self.leaves {
            hasher.update(leaf.as_bytes());
        }
        format!("blake3:{}", hasher.finalize().to_hex())
    }

    /// The tokens of a round that can be applied.
    fn check(&self, fragment: &Range<usize>, round: &[Contribution<'_>]) -> Result<u64, OuterError> {
        let params = self.params.len();
        if fragment.start > fragment.end || fragment.end > params {
            let (from, to) = (fragment.start, fragment.end);
            return Err(OuterError::Fragment { from, to, params });
        }
        let wanted = fragment.len();
        for (index, contribution) in round.iter().enumerate() {
            let found = contribution.update.len();
            if found != wanted {
                return Err(OuterError::Length { index, found, wanted });
            }
        }
        let tokens = round.iter().fold(0u64, |sum, c| sum.saturating_add(c.weight));
        if !round.is_empty() && !(1..=MOST_TOKENS).contains(&tokens) {
            return Err(OuterError::Tokens { tokens });
        }
        Ok(tokens)
    }

    fn renew_leaves(&mut self, changed: Range<usize>) {
        let leaves = changed.start / LEAF..changed.end.div_ceil(LEAF);
        let mut bytes = Vec::with_capacity(8 * LEAF);
        for i in leaves {
            let range = i * LEAF..self.params.len().min((i + 1) * LEAF);
            let numbers = self.params[range.clone()].iter().chain(&self.momentum[range]);
            bytes.clear();
            bytes.extend(numbers.flat_map(|x| x.to_le_bytes()));
            self.leaves[i] = blake3::hash(&bytes);
        }
    }
}

/// A part of a fragment under way.
struct Part {
    tokens: f64,
    config: OuterConfig,
    sums: [f64; PART],
    /// What one site says.
    changes: [f32; PART],
}

vectorised! {
    fn add(sums: &mut [f64], changes: &[f32], weight: f64) -> () {
        for (sum, x) in sums.iter_mut().zip(changes) {
            *sum += weight * f64::from(*x);
        }
    }
}

vectorised! {
    fn advance(part: &Part, params: &mut [f32], momentum: &mut [f32]) -> () {
        let (rate, mu) = (part.config.learning_rate, part.config.momentum);
        for ((p, m), sum) in params.iter_mut().zip(momentum).zip(&part.sums) {
            let g = (sum / part.tokens) as f32;
            let moved = mu * *m + g;
            *m = if moved.abs() < TINY { 0.0 } else { moved };
            *p -= rate * (g + mu * *m);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, encode};
    use proptest::prelude::*;

    /// A step takes what was told as it is.
    const PLAIN: OuterConfig = OuterConfig {
        learning_rate: 1.0,
        momentum: 0.0,
    };

    fn update(codec: Codec, delta: &[f32]) -> Update {
        Update::parse(&encode(codec, delta, None).unwrap()).unwrap()
    }

    fn step(outer: &mut Outer, fragment: Range<usize>, round: &[(u64, &Update)]) -> Result<(), OuterError> {
        let round = round.iter().map(|&(weight, update)| Contribution {
            weight,
            scale: Scale::WHOLE,
            update,
        });
        outer.step(fragment, &round.collect::<Vec<_>>())
    }

    fn sites() -> impl Strategy<Value = Vec<(u64, Vec<f32>)>> {
        let weight = (-20i32..3).prop_flat_map(|e| (-1f32..1.0).prop_map(move |x| x * 2f32.powi(e)));
        let site = (1u64..1 << 20, prop::collection::vec(weight, 300));
        prop::collection::vec(site, 1..6)
    }

    proptest! {
        #[test]
        fn the_mean_is_weighted_by_tokens(sites in sites(), codec in prop::sample::select(Codec::ALL.to_vec())) {
            let updates: Vec<(u64, Update)> = sites.iter().map(|(w, d)| (*w, update(codec, d))).collect();
            let mut outer = Outer::new(vec![0.5; 500], PLAIN);
            let round: Vec<(u64, &Update)> = updates.iter().map(|(w, u)| (*w, u)).collect();
            step(&mut outer, 100..400, &round).unwrap();
            let told: Vec<(f64, Vec<f32>)> = updates.iter().map(|(w, u)| (*w as f64, u.decode())).collect();
            let total: f64 = told.iter().map(|(w, _)| w).sum();
            for i in 0..300 {
                let mean: f64 = told.iter().map(|(w, told)| w * f64::from(told[i])).sum::<f64>() / total;
                prop_assert!((f64::from(outer.params[100 + i]) - (0.5 - mean)).abs() < 1e-6);
            }
            prop_assert!(outer.params[..100].iter().chain(&outer.params[400..]).all(|p| *p == 0.5));
        }
    }

    #[test]
    fn a_scaled_update_goes_that_part_of_its_way_and_still_weighs_its_tokens() {
        let mut outer = Outer::new(vec![1.0; 2], PLAIN);
        let (a, b) = (
            update(Codec::Fp32, &[0.5, -4.0]),
            update(Codec::Fp32, &[0.25, 2.0]),
        );
        let scaled = |weight, scale: u32, update| Contribution {
            weight,
            scale: scale.try_into().unwrap(),
            update,
        };
        outer
            .step(0..2, &[scaled(3, 1 << 14, &a), scaled(1, 1 << 16, &b)])
            .unwrap();
        assert_eq!(
            outer.params,
            [1.0 - (3.0 * 0.125 + 0.25) / 4.0, 1.0 - (-3.0 + 2.0) / 4.0]
        );
        outer.step(0..2, &[scaled(1, 0, &a)]).unwrap();
        assert_eq!(outer.params[0], 1.0 - 0.15625, "nothing of it");
        assert!(Scale::try_from((1 << 16) + 1).is_err());
    }

    #[test]
    fn one_site_at_rate_one_arrives_where_it_was() {
        let delta: Vec<f32> = (0..10_000).map(|i| (i as f32 * 0.1).sin() * 1e-3).collect();
        let mut outer = Outer::new(vec![1.0; 10_000], PLAIN);
        step(&mut outer, 0..10_000, &[(77, &update(Codec::Fp32, &delta))]).unwrap();
        for (p, d) in outer.params.iter().zip(delta) {
            assert_eq!(*p, 1.0 - d);
        }
    }

    /// PyTorch's SGD(nesterov=True): buf = mu buf + g; p -= lr (g + mu buf).
    #[test]
    fn momentum_is_nesterov_s() {
        let config = OuterConfig {
            learning_rate: 0.5,
            momentum: 0.5,
        };
        let mut outer = Outer::new(vec![0.0], config);
        let one = update(Codec::Fp32, &[1.0]);
        for expected in [-0.75, -1.625, -2.5625] {
            step(&mut outer, 0..1, &[(1, &one)]).unwrap();
            assert_eq!(outer.params[0], expected);
        }
    }

    #[test]
    fn a_momentum_that_nothing_feeds_ends_at_zero() {
        let mut outer = Outer::restored(vec![0.0], vec![1e-25], OuterConfig::default());
        let nothing = update(Codec::Int4, &[0.0]);
        for _ in 0..200 {
            step(&mut outer, 0..1, &[(1, &nothing)]).unwrap();
        }
        assert_eq!(outer.momentum, [0.0]);
    }

    /// The bits themselves, so that a machine that adds otherwise is found out.
    #[test]
    fn the_digest_is_the_same_on_every_machine_and_level() {
        let noise = |seed: u32| (0..70_000u32).map(move |i| ((i * 37 + seed) % 101) as f32 / 128.0 - 0.375);
        let mut outer = Outer::new(noise(1).collect(), OuterConfig::default());
        for (round, codec) in (0u32..).zip(Codec::ALL) {
            let fragment = [0..40_000, 40_000..70_000][round as usize % 2].clone();
            let part = |delta: Vec<f32>| update(codec, &delta[fragment.clone()]);
            let a = part(noise(round).map(|x| x * 0.01).collect());
            let b = part(noise(round + 7).map(|x| x * 0.003).collect());
            step(&mut outer, fragment.clone(), &[(512, &a), (300, &b)]).unwrap();
        }
        assert_eq!(
            outer.digest(),
            "blake3:d6cc34ae29ac094a122b3f00dd23ce5a6a752b81973873171370b6ac1bd8e343"
        );

        let part = Part {
            tokens: 3.0,
            config: OuterConfig::default(),
            sums: [0.1; PART],
            changes: [0.0; PART],
        };
        let run = |level| {
            let (mut sums, mut params, mut momentum) = (vec![0.1f64; 1000], vec![0.3; 1000], vec![0.7; 1000]);
            add(level, &mut sums, &outer.params[..1000], 17.0);
            advance(level, &part, &mut params, &mut momentum);
            (sums, params, momentum)
        };
        for level in simd::Level::all() {
            assert!(run(level) == run(simd::Level::Portable), "{level:?}");
        }
    }

    #[test]
    fn the_digest_tells_weights_and_momentum_and_no_fragments() {
        let delta = vec![0.25; 200_000];
        let config = OuterConfig::default();
        let mut whole = Outer::new(vec![1.0; 200_000], config);
        let mut cut = whole.clone();
        step(&mut whole, 0..200_000, &[(1, &update(Codec::Fp32, &delta))]).unwrap();
        for fragment in [0..65_535, 65_535..65_537, 65_537..200_000] {
            let update = update(Codec::Fp32, &delta[fragment.clone()]);
            step(&mut cut, fragment, &[(1, &update)]).unwrap();
        }
        assert_eq!(whole.digest(), cut.digest());
        let restored = Outer::restored(whole.params.clone(), whole.momentum.clone(), config);
        assert_eq!(whole, restored);
        let mut momentum = whole.momentum.clone();
        momentum[199_999] = 0.0;
        let other = Outer::restored(whole.params.clone(), momentum, config);
        assert_ne!(whole.digest(), other.digest());
    }

    #[test]
    fn a_late_result_is_mixed_into_its_fragment() {
        let outer = Outer::new(vec![1.0; 4], PLAIN);
        let mut local = vec![3.0; 4];
        outer.mix(1..3, &mut local, 0.5);
        assert_eq!(local, [3.0, 2.0, 2.0, 3.0]);
        outer.mix(0..4, &mut local, 0.0);
        assert_eq!(local, [1.0; 4]);
    }

    #[test]
    fn a_round_that_does_not_fit_changes_nothing() {
        let mut outer = Outer::new(vec![1.0; 4], OuterConfig::default());
        let before = outer.digest();
        let (short, right) = (update(Codec::Int8, &[1.0; 3]), update(Codec::Int8, &[1.0; 4]));
        let mut check = |fragment, round: &[(u64, &Update)], expected: &str| {
            let error = step(&mut outer, fragment, round).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            0..4,
            &[(1, &right), (1, &short)],
            "update 1 is of 3 weights, the fragment has 4",
        );
        check(
            2..5,
            &[(1, &short)],
            "the fragment is weights 2..5, the model has 4",
        );
        check(0..4, &[(0, &right)], "a round of 0 tokens");
        check(
            0..4,
            &[(u64::MAX, &right), (1, &right)],
            "a round of 18446744073709551615 tokens",
        );
        check(2..5, &[], "the fragment is weights 2..5, the model has 4");
        assert_eq!(outer.digest(), before);
    }

    #[test]
    fn a_round_of_no_updates_changes_nothing() {
        let mut outer = Outer::new(vec![1.0; 4], OuterConfig::default());
        let moving = update(Codec::Int8, &[1.0; 4]);
        step(&mut outer, 0..4, &[(1, &moving)]).unwrap();
        let before = outer.clone();
        step(&mut outer, 0..4, &[]).unwrap();
        assert!(outer == before, "momentum alone moves nothing");
    }
}
