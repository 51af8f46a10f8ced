//! The outer step: the sites' updates become one, in integers, and move the weights once.
//!
//! For a weight in a block where site s has exponent e_s, integer q_s and trained on w_s tokens:
//!
//! ```text
//! base = max e_s - 20
//! sum  = Σ w_s q_s 2^(e_s - base)     in i64; what is below one unit of the base is rounded down
//! g    = sum / Σ w_s * 2^base         in f64, then rounded once to f32
//! m    = μ m + g                      Nesterov, in f32, in this order
//! p    = p - η (g + μ m)
//! ```
//!
//! There is no fused multiply-add, no library function and no order that depends on threads in it, so every
//! IEEE machine gets the same bits. |q| < 2^7, the shift is at most 20 and Σ w < 2^34, so the sum stays
//! below 2^62.

use crate::codec::{BLOCK, Update};
use serde::{Deserialize, Serialize};

/// Exponents this far below the highest of a block still count in full.
const SPAN: i32 = 20;
/// The most tokens of a round.
const MOST_TOKENS: u64 = 1 << 34;

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

/// What all sites agree on between two rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Outer {
    /// The weights.
    pub params: Vec<f32>,
    /// The momentum of the outer step.
    pub momentum: Vec<f32>,
    config: OuterConfig,
}

/// One site's update and its weight in the mean: the tokens it trained on.
#[derive(Debug, Clone, Copy)]
pub struct Contribution<'a> {
    /// Tokens.
    pub weight: u64,
    /// How far the site came.
    pub update: &'a Update,
}

/// Why a round can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OuterError {
    /// An update of another model.
    #[error("update {index} is of {found} weights, the model has {wanted}")]
    Length {
        /// Which, in site order.
        index: usize,
        /// Its weights.
        found: usize,
        /// The model's.
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
        Self {
            momentum: vec![0.0; params.len()],
            params,
            config,
        }
    }

    /// The agreement in a checkpoint.
    pub fn restored(params: Vec<f32>, momentum: Vec<f32>, config: OuterConfig) -> Self {
        assert_eq!(params.len(), momentum.len(), "a momentum for every weight");
        Self {
            params,
            momentum,
            config,
        }
    }

    /// Applies a round. On an error nothing has changed.
    pub fn step(&mut self, round: &[Contribution<'_>]) -> Result<(), OuterError> {
        let wanted = self.params.len();
        for (index, contribution) in round.iter().enumerate() {
            let found = contribution.update.len();
            if found != wanted {
                return Err(OuterError::Length { index, found, wanted });
            }
        }
        let tokens = round.iter().fold(0u64, |sum, c| sum.saturating_add(c.weight));
        if !(1..=MOST_TOKENS).contains(&tokens) {
            return Err(OuterError::Tokens { tokens });
        }
        let (rate, mu) = (self.config.learning_rate, self.config.momentum);
        let blocks = self.params.chunks_mut(BLOCK).zip(self.momentum.chunks_mut(BLOCK));
        let mut sums = [0i64; BLOCK];
        for (i, (params, momentum)) in blocks.enumerate() {
            let scale = add_up(round, i, &mut sums) / tokens as f64;
            for ((p, m), sum) in params.iter_mut().zip(momentum).zip(sums) {
                let g = (sum as f64 * scale) as f32;
                *m = mu * *m + g;
                *p -= rate * (g + mu * *m);
            }
        }
        Ok(())
    }

    /// `blake3:` and the digest of the weights and the momentum as little-endian bytes.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::with_capacity(4 << 14);
        for part in [&self.params, &self.momentum] {
            for chunk in part.chunks(1 << 14) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        format!("blake3:{}", hasher.finalize().to_hex())
    }
}

/// Sets `sums` for block `i`; returns the value of one unit.
fn add_up(round: &[Contribution<'_>], i: usize, sums: &mut [i64; BLOCK]) -> f64 {
    sums.fill(0);
    let highest = round.iter().filter_map(|c| c.update.block(i).0).max();
    let Some(highest) = highest else { return 0.0 };
    let base = highest - SPAN;
    for contribution in round {
        let (Some(e), values) = contribution.update.block(i) else {
            continue;
        };
        let weight = contribution.weight as i64;
        let (left, right) = ((e - base).max(0), (base - e).clamp(0, 63));
        for (sum, q) in sums.iter_mut().zip(values) {
            *sum += ((weight * i64::from(*q)) << left) >> right;
        }
    }
    power_of_two(base)
}

/// 2^e; exact, because a double's exponent reaches from -1022 to 1023.
fn power_of_two(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use proptest::prelude::*;

    fn update(delta: &[f32]) -> Update {
        Update::parse(&encode(delta).unwrap()).unwrap()
    }

    fn deltas() -> impl Strategy<Value = Vec<(u64, Vec<f32>)>> {
        let weight = (-20i32..3).prop_flat_map(|e| (-1f32..1.0).prop_map(move |x| x * 2f32.powi(e)));
        let site = (1u64..1 << 20, prop::collection::vec(weight, 300));
        prop::collection::vec(site, 1..6)
    }

    proptest! {
        #[test]
        fn the_order_of_sites_does_not_matter_and_the_mean_is_right(sites in deltas()) {
            let updates: Vec<(u64, Update)> = sites.iter().map(|(w, d)| (*w, update(d))).collect();
            let apply = |round: &[&(u64, Update)]| {
                let mut outer = Outer::new(vec![0.5; 300], OuterConfig { learning_rate: 1.0, momentum: 0.0 });
                let round: Vec<_> = round.iter().map(|(weight, update)| Contribution { weight: *weight, update }).collect();
                outer.step(&round).unwrap();
                outer
            };
            let forwards = apply(&updates.iter().collect::<Vec<_>>());
            let backwards = apply(&updates.iter().rev().collect::<Vec<_>>());
            prop_assert_eq!(forwards.digest(), backwards.digest());
            let total: f64 = updates.iter().map(|(w, _)| *w as f64).sum();
            for i in 0..300 {
                let mean: f64 = updates.iter().map(|(w, u)| *w as f64 * f64::from(u.decode()[i])).sum::<f64>() / total;
                prop_assert!((f64::from(forwards.params[i]) - (0.5 - mean)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn one_site_at_rate_one_arrives_where_it_was() {
        let delta: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.1).sin() * 1e-3).collect();
        let mut outer = Outer::new(
            vec![1.0; 1000],
            OuterConfig {
                learning_rate: 1.0,
                momentum: 0.0,
            },
        );
        outer
            .step(&[Contribution {
                weight: 77,
                update: &update(&delta),
            }])
            .unwrap();
        for (p, d) in outer.params.iter().zip(delta) {
            assert!((p - (1.0 - d)).abs() < 1e-5);
        }
    }

    /// PyTorch's SGD(nesterov=True): buf = mu buf + g; p -= lr (g + mu buf).
    #[test]
    fn momentum_is_nesterov_s() {
        let mut outer = Outer::new(
            vec![0.0],
            OuterConfig {
                learning_rate: 0.5,
                momentum: 0.5,
            },
        );
        let one = update(&[1.0]);
        for expected in [-0.75, -1.625, -2.5625] {
            outer
                .step(&[Contribution {
                    weight: 1,
                    update: &one,
                }])
                .unwrap();
            assert_eq!(outer.params[0], expected);
        }
    }

    /// The bits themselves, so that a machine that adds otherwise is found out.
    #[test]
    fn the_digest_is_the_same_on_every_machine() {
        let noise = |seed: u32| (0..1000u32).map(move |i| ((i * 37 + seed) % 101) as f32 / 128.0 - 0.375);
        let mut outer = Outer::new(noise(1).collect(), OuterConfig::default());
        for round in 0..3 {
            let a = update(&noise(round).map(|x| x * 0.01).collect::<Vec<_>>());
            let b = update(&noise(round + 7).map(|x| x * 0.003).collect::<Vec<_>>());
            outer
                .step(&[
                    Contribution {
                        weight: 512,
                        update: &a,
                    },
                    Contribution {
                        weight: 300,
                        update: &b,
                    },
                ])
                .unwrap();
        }
        assert_eq!(
            outer.digest(),
            "blake3:24d77f63ba711e0cda4a125766a0328032a08ad9a64808ddbe3327ffd71ce74f"
        );
    }

    #[test]
    fn a_round_that_does_not_fit_changes_nothing() {
        let mut outer = Outer::new(vec![1.0; 4], OuterConfig::default());
        let before = outer.digest();
        let (short, right) = (update(&[1.0; 3]), update(&[1.0; 4]));
        let error = outer
            .step(&[Contribution {
                weight: 1,
                update: &short,
            }])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "update 0 is of 3 weights, the model has 4");
        for weight in [0, u64::MAX] {
            assert!(
                outer
                    .step(&[Contribution {
                        weight,
                        update: &right
                    }])
                    .is_err()
            );
        }
        assert!(outer.step(&[]).is_err());
        assert_eq!(outer.digest(), before);
    }
}
