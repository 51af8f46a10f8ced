//! How updates are written: as the job says, or, with `codec = "auto"`, as the sites' links have room for. The choice is
//! made when a round opens, from what the log has, in integers, and the log has it too: every site and every replay
//! takes the same.

use crate::{Job, Round, SiteId, Update};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How an update is written; `sync` says what each costs and how exact it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Four bytes a weight: the reference.
    Fp32,
    /// One byte a weight.
    #[default]
    Int8,
    /// Half a byte a weight; what is rounded off comes with the next update.
    Int4,
    /// The largest weights of a block alone; the others come with later updates.
    Sparse,
}

/// What a job says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CodecSpec {
    /// In each round the most exact of `int8`, `int4` and `sparse` that the slowest link has room for.
    Auto,
    /// Four bytes a weight: the reference.
    Fp32,
    /// One byte a weight.
    #[default]
    Int8,
    /// Half a byte a weight; what is rounded off comes with the next update.
    Int4,
    /// The largest weights of a block alone; the others come with later updates.
    Sparse,
}

/// How fast a site was since the update before: what its link carried of updates, in how long, and how long the
/// training took. Ways there and back are in it, so a link is rather taken for slower than it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pace {
    /// Bytes of its own updates, to the hub.
    pub sent: u64,
    /// How long they took, in milliseconds.
    pub sending_ms: u64,
    /// Bytes of the others' updates, from the hub.
    pub received: u64,
    /// How long those took, in milliseconds.
    pub receiving_ms: u64,
    /// How long the round's training took, in milliseconds.
    pub training_ms: u64,
}

/// What a round's links have to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The slowest site's link, in bits a second.
    pub bits_per_s: u64,
    /// How long a round's training takes, in milliseconds.
    pub round_ms: u64,
    /// Weights that a round sends: those of the largest fragment.
    pub weights: u64,
    /// Sites that take part.
    pub sites: u64,
}

/// How many rounds are looked back on at most.
const LOOKED_AT: usize = 64;
/// Bytes of an update before its blocks.
const HEADER: u64 = 16;

impl CodecSpec {
    /// The codec, if the job names one.
    pub fn fixed(self) -> Option<Codec> {
        match self {
            Self::Auto => None,
            Self::Fp32 => Some(Codec::Fp32),
            Self::Int8 => Some(Codec::Int8),
            Self::Int4 => Some(Codec::Int4),
            Self::Sparse => Some(Codec::Sparse),
        }
    }
}

impl Codec {
    /// The most exact of `int8`, `int4` and `sparse` whose transfer takes at most half of a round's training; `sparse`
    /// if none does. A transfer is over when a site has the updates of all others, one after the other. It is the
    /// choice of `sync::Codec::for_link`, which a test compares.
    ///
    /// ```
    /// use consortium::{Codec, Link};
    /// let link = Link { bits_per_s: 1_000_000_000, round_ms: 60_000, weights: 1_000_000_000, sites: 4 };
    /// assert_eq!(Codec::for_link(&link), Codec::Int8);
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

    /// How many sites' updates add up in a mask's words, whatever is in them; none if they don't add up at all.
    pub(crate) fn most_sites(self) -> Option<u32> {
        match self {
            Self::Int8 => Some((i16::MAX / 127) as u32),
            Self::Int4 => Some((i8::MAX / 7) as u32),
            Self::Fp32 | Self::Sparse => None,
        }
    }

    /// Bytes of an update of so many weights; `u64::MAX` if they can't be counted.
    pub fn bytes(self, weights: u64) -> u64 {
        let (block, bytes) = self.block();
        weights
            .div_ceil(block)
            .saturating_mul(bytes)
            .saturating_add(HEADER)
    }

    /// Weights of an update of so many bytes, rounded up to whole blocks.
    fn weights(self, bytes: u64) -> u64 {
        let (block, of_block) = self.block();
        (bytes.saturating_sub(HEADER) / of_block).saturating_mul(block)
    }

    /// Weights and bytes of a block, as `sync` writes it.
    fn block(self) -> (u64, u64) {
        match self {
            Self::Fp32 => (256, 1_024),
            Self::Int8 => (256, 258),
            Self::Int4 => (256, 130),
            Self::Sparse => (4_096, 84),
        }
    }
}

impl Pace {
    /// Bits a second, the slower way; none if nothing was carried.
    fn bits_per_s(&self) -> Option<u64> {
        let speed = |bytes: u64, ms: u64| {
            let bits = u128::from(bytes) * 8_000 / u128::from(ms.max(1));
            (bytes > 0).then(|| u64::try_from(bits).unwrap_or(u64::MAX))
        };
        let both = [
            speed(self.sent, self.sending_ms),
            speed(self.received, self.receiving_ms),
        ];
        both.into_iter().flatten().min()
    }
}

/// The codec of the next round, where the job leaves it open: by the slowest link of those who take part and the
/// longest training, as each told them last. Before anything is known, int8.
pub(crate) fn chosen(job: &Job, sites: &[&SiteId]) -> Option<Codec> {
    if job.spec.rounds.codec.fixed().is_some() {
        return None;
    }
    let looked_at = || job.rounds.iter().rev().take(LOOKED_AT);
    let paces = sites.iter().filter_map(|site| {
        looked_at().find_map(|round| {
            round
                .updates
                .get(*site)?
                .pace
                .filter(|pace| pace.bits_per_s().is_some())
        })
    });
    let paces: Vec<Pace> = paces.collect();
    let slowest = paces.iter().filter_map(Pace::bits_per_s).min();
    let Some(bits_per_s) = slowest else {
        return Some(Codec::default());
    };
    // From the last of the count on rounds send the whole model, as the fragments were sent.
    let of_fragment = |round: &&Round| job.spec.rounds.fragment(round.number).is_some();
    let fragments = looked_at().filter(of_fragment).flat_map(weights);
    let weights = fragments.max().or_else(|| looked_at().flat_map(weights).max());
    Some(Codec::for_link(&Link {
        bits_per_s,
        round_ms: paces.iter().map(|pace| pace.training_ms).max().unwrap_or(0),
        weights: weights.unwrap_or(0),
        sites: sites.len() as u64,
    }))
}

/// How many weights each update of a round has.
fn weights(round: &Round) -> impl Iterator<Item = u64> {
    let codec = round.codec.unwrap_or_default();
    let of = move |update: &Update| codec.weights(update.bytes).min(update.parameters);
    round.updates.values().map(of)
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Sparse => "sparse",
        })
    }
}

impl fmt::Display for CodecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fixed() {
            Some(codec) => codec.fmt(f),
            None => f.pad("auto"),
        }
    }
}
