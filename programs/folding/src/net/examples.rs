//! What the network is trained on: a chain, a piece of it, with residues changed and hidden, and what is to be
//! told of it.
//!
//! A sample is a position in the order of the data. Which chain it is, where it is cut and what is changed are
//! functions of the position and the seed, so that a run that goes on after a stop sees what it would have seen.

use super::geometry::{Known, NEAR, class};
use super::relatives::{Hints, PAIR, RESIDUE, hints, none, odds};
use super::trunk::ENDS;
use crate::Random;
use nn::{Batch, IGNORE};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use train::{Order, Samples};

/// The type of a residue that is hidden: the unknown one.
pub(super) const HIDDEN: u8 = 20;
/// Separations are told apart one by one up to this, and in steps of [`STEP`] beyond.
const EXACT: usize = 16;
const STEP: usize = 6;
/// Kinds of separations in each direction, beside none.
const FAR: usize = 24;
/// All kinds of separations.
pub(super) const SEPARATIONS: usize = 2 * FAR + 1;

/// Chains in a step.
#[derive(Debug)]
pub(super) struct Examples(pub(super) Vec<Example>);

/// A chain as the network takes it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) kinds: Vec<u32>,
    pub(super) positions: Vec<u32>,
    pub(super) ends: Vec<f32>,
    pub(super) hints: Hints,
    /// For each pair the kind of its separation.
    pub(super) separations: Vec<u32>,
    /// Pairs i < j, and the same the other way round.
    pub(super) upper: Vec<u32>,
    pub(super) lower: Vec<u32>,
    /// Of dropout; none where nothing is learnt.
    pub(super) seed: Option<u64>,
    pub(super) truth: Truth,
}

/// Classes that are to be told.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// For each of `upper`.
    pub(super) beta: Vec<u32>,
    pub(super) alpha: Vec<u32>,
    pub(super) omega: Vec<u32>,
    /// How much each of `upper` counts.
    pub(super) weights: Vec<f32>,
    /// Pairs that are near, in both orders, with their orientation.
    pub(super) near: Vec<u32>,
    pub(super) theta: Vec<u32>,
    pub(super) phi: Vec<u32>,
    /// For each residue.
    pub(super) turns: Vec<u32>,
    pub(super) states: Vec<u32>,
    pub(super) hidden: Vec<u32>,
}

/// What is done to chains before the network sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Residues of the longest piece; most chains are shorter.
    pub piece: usize,
    /// The part of the residues that become others, by the odds of BLOSUM62.
    pub changed: f32,
    /// The part that is hidden.
    pub hidden: f32,
    /// The part of the pieces that are shown without their relatives.
    pub alone: f32,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            piece: 64,
            changed: 0.1,
            hidden: 0.1,
            alone: 0.25,
        }
    }
}

/// Chains to learn from.
pub(super) struct Chains<'a> {
    pub(super) chains: Vec<&'a Known>,
    /// What relatives say of each; it is looked for when it is first asked for.
    pub(super) hints: &'a [OnceLock<Hints>],
    /// Where relatives are looked for.
    pub(super) library: &'a [Known],
    pub(super) changes: Option<Changes>,
    pub(super) seed: u64,
}

impl Batch for Examples {
    fn weight(&self) -> u64 {
        self.0.iter().map(|example| example.kinds.len() as u64).sum()
    }
}

impl Samples<Examples> for Chains<'_> {
    fn len(&self) -> u64 {
        self.chains.len() as u64
    }

    /// Samples are positions in the order of the data; without changes, chains in their own order.
    fn batch(&self, samples: &[u64]) -> Examples {
        Examples(samples.iter().map(|&sample| self.example(sample)).collect())
    }
}

impl Chains<'_> {
    /// What the relatives of a chain say of it.
    pub(super) fn hints(&self, chain: usize) -> &Hints {
        self.hints[chain].get_or_init(|| hints(&self.chains[chain].kinds, self.library, true))
    }

    fn example(&self, sample: u64) -> Example {
        let Some(changes) = &self.changes else {
            let chain = sample as usize;
            let (known, hints) = (self.chains[chain], self.hints(chain));
            return with_truth(known, 0..known.len(), hints.clone());
        };
        let chain = Order::new(self.len(), self.seed).sample(sample) as usize;
        let mut random = Random::new(self.seed ^ sample.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (known, hints) = (self.chains[chain], self.hints(chain));
        let l = known.len();
        // Half of the chains that fit are shown whole, of the others any piece of 24 residues and more.
        let whole = l <= changes.piece && random.unit() < 0.5;
        let longest = l.min(changes.piece);
        let shortest = longest.min(24);
        let size = match (whole, l > changes.piece) {
            (true, _) => l,
            (false, true) => longest,
            (false, false) => shortest + random.below(longest - shortest + 1),
        };
        let from = random.below(l - size + 1);
        let piece = from..from + size;
        let hints = match random.unit() < f64::from(changes.alone) {
            true => none(size),
            false => cut(hints, l, piece.clone()),
        };
        let mut example = with_truth(known, piece, hints);
        for (kind, hidden) in example.kinds.iter_mut().zip(&mut example.truth.hidden) {
            let chance = random.unit() as f32;
            if chance < changes.changed {
                *kind = another(*kind as u8, random.unit() as f32);
            } else if chance < changes.changed + changes.hidden && *kind < u32::from(HIDDEN) {
                *hidden = *kind;
                *kind = u32::from(HIDDEN);
            }
        }
        example.seed = Some(random.bits() >> 1);
        example
    }
}

/// A chain to tell of.
pub(super) fn example(kinds: &[u8], hints: Hints) -> Example {
    let l = kinds.len();
    let pairs = || (0..l).flat_map(|i| (0..l).map(move |j| (i, j)));
    let upper = || pairs().filter(|(i, j)| i < j);
    let ends = (0..l).flat_map(|i| {
        let near = |distance: usize| (-(distance as f32) / 3.0).exp();
        [near(i), near(l - 1 - i), l as f32 / 100.0, i as f32 / l as f32]
    });
    let ends: Vec<f32> = ends.collect();
    debug_assert_eq!(ends.len(), l * ENDS);
    Example {
        kinds: kinds.iter().map(|kind| u32::from(*kind)).collect(),
        positions: (0..l as u32).collect(),
        ends,
        hints,
        separations: pairs().map(|(i, j)| separation(i, j)).collect(),
        upper: upper().map(|(i, j)| (i * l + j) as u32).collect(),
        lower: upper().map(|(i, j)| (j * l + i) as u32).collect(),
        seed: None,
        truth: Truth::default(),
    }
}

fn with_truth(known: &Known, piece: std::ops::Range<usize>, hints: Hints) -> Example {
    let mut example = example(&known.kinds[piece.clone()], hints);
    let l = piece.len();
    let truth = &mut example.truth;
    for i in 0..l {
        let a = piece.start + i;
        truth.turns.push(known.turn(a).unwrap_or(IGNORE));
        truth.states.push(known.states[a] as u32);
        truth.hidden.push(IGNORE);
        for j in 0..l {
            let b = piece.start + j;
            let d = crate::distance(known.beta[a], known.beta[b]);
            let [omega, theta, phi] = match i != j && d < NEAR {
                true => known.orientation(a, b),
                false => [IGNORE; 3],
            };
            if theta != IGNORE {
                truth.near.push((i * l + j) as u32);
                truth.theta.push(theta);
                truth.phi.push(phi);
            }
            if i < j {
                truth.beta.push(class(d));
                truth
                    .alpha
                    .push(class(crate::distance(known.alpha(a), known.alpha(b))));
                truth.omega.push(omega);
                // What is far in the sequence is what folds are made of.
                truth.weights.push(match j - i {
                    12.. => 2.0,
                    6.. => 1.5,
                    3.. => 0.7,
                    _ => 0.2,
                });
            }
        }
    }
    example
}

fn cut(hints: &Hints, l: usize, piece: std::ops::Range<usize>) -> Hints {
    let rows = piece.clone().flat_map(|i| {
        let row = &hints.pairs[(i * l + piece.start) * PAIR..(i * l + piece.end) * PAIR];
        row.iter().copied()
    });
    Hints {
        pairs: rows.collect(),
        residues: hints.residues[piece.start * RESIDUE..piece.end * RESIDUE].to_vec(),
        best: hints.best,
    }
}

/// The residue that stands for `kind`, by chance.
fn another(kind: u8, chance: f32) -> u32 {
    let mut sum = 0.0;
    let within = |odds: &f32| {
        sum += odds;
        chance < sum
    };
    odds(kind).iter().position(within).unwrap_or(usize::from(kind)) as u32
}

fn separation(i: usize, j: usize) -> u32 {
    let apart = i.abs_diff(j);
    let kind = match apart {
        0..=EXACT => apart,
        _ => (EXACT + (apart - EXACT).div_ceil(STEP)).min(FAR),
    };
    (if j < i { FAR - kind } else { FAR + kind }) as u32
}
