//! What training across sites costs, on paper: bytes, seconds and memory of a model that nobody here can train.
//!
//! ```
//! use sync::paper::{Link, Plan};
//!
//! let plan = Plan { weights: 175_000_000_000, flops_per_token: 1.05e12, sites: 4, ..Plan::default() };
//! let slow = plan.over(Link { bits_per_s: 1e9 });
//! assert!(slow.share > 0.99 && slow.data_parallel_share < 0.02);
//! ```
//!
//! Every site sends its update of a fragment once, to the artifact store or to whoever asks first, and takes
//! those of all others, one after the other, through one link. Transfers go on while the site trains
//! (`overlap = 1`), so a round takes as long as the longer of the two.

use crate::Codec;
use crate::codec::Link as Load;

/// A model, the sites that train it and their rhythm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Weights of the model, those of all experts among them.
    pub weights: u64,
    /// Floating-point operations that training takes for a token.
    pub flops_per_token: f64,
    /// How many sites.
    pub sites: u64,
    /// FLOP/s that a site's training keeps up.
    pub flops_per_s: f64,
    /// Tokens of one inner step at one site.
    pub step_tokens: u64,
    /// Inner steps from one turn of a fragment to its next.
    pub every: u64,
    /// Fragments, and so rounds in `every` steps.
    pub fragments: u64,
}

impl Default for Plan {
    /// A million tokens a step at sites of 20 PFLOP/s, that is 50 PFLOPS used to 40 %; each of 25 fragments
    /// every 100 steps.
    fn default() -> Self {
        Self {
            weights: 0,
            flops_per_token: 0.0,
            sites: 2,
            flops_per_s: 20e15,
            step_tokens: 1 << 20,
            every: 100,
            fragments: 25,
        }
    }
}

/// A site's connection, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Bits a second that it keeps up.
    pub bits_per_s: f64,
}

/// What a plan comes to over a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// What `codec = "auto"` would choose.
    pub codec: Codec,
    /// Seconds of an inner step's computation.
    pub step_s: f64,
    /// Seconds in which a site takes the other sites' updates of a round.
    pub transfer_s: f64,
    /// Bytes a site sends for an inner step, on average.
    pub sent: f64,
    /// The part of the time that a site computes.
    pub share: f64,
    /// Bytes a site sends for a step of synchronous data parallel training, by a ring in bf16.
    pub data_parallel_sent: f64,
    /// The part of the time that a site computes then, with a transfer that runs beside all of the step.
    pub data_parallel_share: f64,
}

/// Bytes that a site keeps for each weight: itself, gradient and two moments; and what is agreed, the outer
/// momentum, the base of the update on its way, what the codec rounded off; all in f32.
pub const BYTES_A_WEIGHT: u64 = 4 * 8;

impl Plan {
    /// What it comes to over `link`.
    pub fn over(&self, link: Link) -> Cost {
        let step_s = self.step_tokens as f64 * self.flops_per_token / self.flops_per_s;
        let fragments = self.fragments.max(1);
        let (fragment, steps) = (
            self.weights.div_ceil(fragments),
            self.every as f64 / fragments as f64,
        );
        let round_s = steps * step_s;
        let codec = Codec::for_link(&Load {
            bits_per_s: link.bits_per_s as u64,
            round_ms: (round_s * 1e3) as u64,
            weights: fragment,
            sites: self.sites,
        });
        let (update, others) = (codec.bytes(fragment) as f64, self.sites.saturating_sub(1) as f64);
        let seconds = |bytes: f64| bytes * 8.0 / link.bits_per_s;
        let transfer_s = seconds(update * others);
        let ring = 2.0 * others / self.sites.max(1) as f64 * 2.0 * self.weights as f64;
        Cost {
            codec,
            step_s,
            transfer_s,
            sent: update / steps,
            share: share(round_s, transfer_s),
            data_parallel_sent: ring,
            data_parallel_share: share(step_s, seconds(ring)),
        }
    }
}

/// The part of the time that is computed, where a transfer runs beside it.
fn share(computing_s: f64, transfer_s: f64) -> f64 {
    let longer = computing_s.max(transfer_s);
    if longer > 0.0 { computing_s / longer } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4,096,000 weights, 10 FLOP a token, 10 tokens a step, 100 FLOP/s: a step takes a second.
    fn small() -> Plan {
        Plan {
            weights: 4_096_000,
            flops_per_token: 10.0,
            sites: 3,
            flops_per_s: 100.0,
            step_tokens: 10,
            every: 20,
            fragments: 4,
        }
    }

    #[test]
    fn the_numbers_are_those_of_a_calculation_by_hand() {
        let cost = small().over(Link { bits_per_s: 8e6 });
        // A round of 5 s sends 1,024,000 weights; two updates of int8 take 2.06 s, at most half of it.
        let update = Codec::Int8.bytes(1_024_000) as f64;
        assert_eq!((cost.codec, cost.step_s, cost.share), (Codec::Int8, 1.0, 1.0));
        assert_eq!(cost.sent, update / 5.0);
        assert!((cost.transfer_s - 2.0 * update / 1e6).abs() < 1e-9);
        // A ring of three sends 4/3 of 8,192,000 bytes: 10.9 s for a step of one.
        assert!((cost.data_parallel_share - 1.0 / 10.922_667).abs() < 1e-6);
    }

    #[test]
    fn a_link_that_is_too_slow_for_every_codec_is_waited_for() {
        let cost = small().over(Link { bits_per_s: 8e3 });
        assert_eq!(cost.codec, Codec::Sparse);
        assert!((cost.share - 5.0 / cost.transfer_s).abs() < 1e-9 && cost.share < 1.0);
    }

    #[test]
    fn sites_that_are_alone_wait_for_nobody() {
        let cost = Plan { sites: 1, ..small() }.over(Link { bits_per_s: 1.0 });
        assert_eq!((cost.share, cost.data_parallel_share), (1.0, 1.0));
    }
}
