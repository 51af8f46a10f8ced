//! Contacts without structures: by how far residues are from each other in the sequence, and by logistic
//! regression on the residues around both.

use crate::measure::true_contacts;
use crate::{AminoAcid, Chain, Sequence, Square};

/// The nearest pairs that are looked at: beyond a helix's turns.
const SEPARATION: usize = 12;
/// Longer separations share what was learned.
const LONGEST: usize = 128;

/// Knows only how often residues touch that are so far from each other in the sequence.
#[derive(Debug)]
pub struct Separation {
    likely: Vec<f32>,
}

impl Separation {
    /// Counts contacts in chains of known structure.
    pub fn learn(chains: &[Chain]) -> Self {
        let mut counts = vec![(0.0f32, 0.0f32); LONGEST];
        for chain in chains {
            let (n, touching) = (chain.len(), true_contacts(chain));
            for i in 0..n {
                for j in i + 1..n {
                    if let Some(touch) = touching[i * n + j] {
                        let count = &mut counts[(j - i).min(LONGEST - 1)];
                        *count = (count.0 + f32::from(u8::from(touch)), count.1 + 1.0);
                    }
                }
            }
        }
        let share = |(touching, all): (f32, f32)| touching / all.max(1.0);
        Self {
            likely: counts.into_iter().map(share).collect(),
        }
    }

    /// The probability of each contact.
    pub fn contacts(&self, sequence: &Sequence) -> Square {
        Square::from_fn(sequence.len(), |i, j| self.likely[i.abs_diff(j).min(LONGEST - 1)])
    }
}

/// Logistic regression: a contact's log odds are a sum of what is learned for its separation, for each residue near
/// one of its ends, and for each pair of residues across.
#[derive(Debug)]
pub struct Logistic {
    weights: Vec<f32>,
}

/// Residues to each side of an end that are looked at.
const REACH: usize = 5;
const WINDOW: usize = 2 * REACH + 1;
/// The residue types, and what lies beyond the chain's ends.
const KINDS: usize = AminoAcid::COUNT + 1;
/// The pairs across: places relative to the first end and to the second.
const ACROSS: [(isize, isize); 9] = [
    (0, 0),
    (-1, 1),
    (1, -1),
    (-1, -1),
    (1, 1),
    (-2, 2),
    (2, -2),
    (-2, -2),
    (2, 2),
];

/// Where each kind of weight begins.
const BY_SEPARATION: usize = 0;
const FIRST: usize = BY_SEPARATION + LONGEST;
const SECOND: usize = FIRST + WINDOW * KINDS;
const PAIRS: usize = SECOND + WINDOW * KINDS;
const WEIGHTS: usize = PAIRS + ACROSS.len() * KINDS * KINDS;

impl Logistic {
    /// Learns from chains of known structure, a step of AdaGrad (Duchi, Hazan and Singer 2011, JMLR 12, 2121) for
    /// each; the same chains in the same order give the same bits.
    pub fn learn(chains: &[Chain]) -> Self {
        const EPOCHS: usize = 4;
        const RATE: f32 = 0.05;
        let mut model = Self {
            weights: vec![0.0; WEIGHTS],
        };
        let mut squares = vec![1e-6f32; WEIGHTS];
        let mut gradient = vec![0.0f32; WEIGHTS];
        for _ in 0..EPOCHS {
            for chain in chains {
                let kinds = kinds(&chain.sequence());
                model.gradient(&kinds, &true_contacts(chain), &mut gradient);
                for ((weight, square), slope) in model.weights.iter_mut().zip(&mut squares).zip(&mut gradient)
                {
                    *square += *slope * *slope;
                    *weight -= RATE * *slope / square.sqrt();
                    *slope = 0.0;
                }
            }
        }
        model
    }

    /// The probability of each contact; 0 for pairs nearer than twelve in the sequence.
    pub fn contacts(&self, sequence: &Sequence) -> Square {
        let kinds = kinds(sequence);
        let ends = self.ends(&kinds);
        Square::from_fn(sequence.len(), |i, j| match i.abs_diff(j) {
            0..SEPARATION => 0.0,
            _ => self.likely(&kinds, &ends, i.min(j), i.max(j)),
        })
    }

    /// Adds the slope of the log loss over a chain's pairs.
    fn gradient(&self, kinds: &[usize], touching: &[Option<bool>], gradient: &mut [f32]) {
        let (n, ends) = (kinds.len(), self.ends(kinds));
        let mut errors = vec![[0.0f32; 2]; n];
        let count = (n.saturating_sub(SEPARATION) * n.saturating_sub(SEPARATION - 1) / 2).max(1) as f32;
        for i in 0..n {
            for j in i + SEPARATION..n {
                let Some(touch) = touching[i * n + j] else {
                    continue;
                };
                let error = (self.likely(kinds, &ends, i, j) - f32::from(u8::from(touch))) / count;
                errors[i][0] += error;
                errors[j][1] += error;
                gradient[BY_SEPARATION + (j - i).min(LONGEST - 1)] += error;
                for place in across(kinds, i, j) {
                    gradient[place] += error;
                }
            }
        }
        for (i, [first, second]) in errors.into_iter().enumerate() {
            for (offset, kind) in window(kinds, i) {
                gradient[FIRST + offset * KINDS + kind] += first;
                gradient[SECOND + offset * KINDS + kind] += second;
            }
        }
    }

    /// What the residues around each place add if it is the first end, and if it is the second.
    fn ends(&self, kinds: &[usize]) -> Vec<[f32; 2]> {
        let of = |i: usize| {
            let sum = |begin: usize| {
                let weights =
                    window(kinds, i).map(|(offset, kind)| self.weights[begin + offset * KINDS + kind]);
                weights.sum::<f32>()
            };
            [sum(FIRST), sum(SECOND)]
        };
        (0..kinds.len()).map(of).collect()
    }

    fn likely(&self, kinds: &[usize], ends: &[[f32; 2]], i: usize, j: usize) -> f32 {
        let separation = self.weights[BY_SEPARATION + (j - i).min(LONGEST - 1)];
        let pairs: f32 = across(kinds, i, j).map(|place| self.weights[place]).sum();
        let odds = separation + ends[i][0] + ends[j][1] + pairs;
        1.0 / (1.0 + (-odds).exp())
    }
}

fn kinds(sequence: &Sequence) -> Vec<usize> {
    sequence.residues.iter().map(|kind| kind.index()).collect()
}

fn kind(kinds: &[usize], place: isize) -> usize {
    let inside = usize::try_from(place).ok().and_then(|place| kinds.get(place));
    inside.copied().unwrap_or(AminoAcid::COUNT)
}

/// The residues around a place, each with its place in the window.
fn window(kinds: &[usize], i: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..WINDOW).map(move |offset| (offset, kind(kinds, (i + offset) as isize - REACH as isize)))
}

/// The weights of the pairs across.
fn across(kinds: &[usize], i: usize, j: usize) -> impl Iterator<Item = usize> {
    ACROSS.iter().enumerate().map(move |(k, (a, b))| {
        let pair = kind(kinds, i as isize + a) * KINDS + kind(kinds, j as isize + b);
        PAIRS + k * KINDS * KINDS + pair
    })
}
