//! The structure of the known chain whose sequence is most alike.

use crate::build::virtual_beta;
use crate::measure::superpose::{Place, dot, minus};
use crate::{Aligned, Chain, Point, Prediction, Predictor, Sequence, align};
use rayon::prelude::*;

/// Gives each sequence the backbone of the known chain that aligns best with it. Residues without a partner lie on
/// straight lines between or beyond those that have one. Its confidence is the share of equal residues.
#[derive(Debug)]
pub struct Nearest<'a> {
    known: Vec<(&'a Chain, Sequence)>,
}

impl<'a> Nearest<'a> {
    /// Looks among `known`, of which chains without three whole residues are left out.
    pub fn new(known: &'a [Chain]) -> Self {
        let whole = |chain: &&Chain| chain.residues.iter().filter(|r| r.frame().is_some()).count() >= 3;
        let known = known.iter().filter(whole);
        Self {
            known: known.map(|chain| (chain, chain.sequence())).collect(),
        }
    }

    /// The best aligned chain, the first of equals.
    fn nearest(&self, sequence: &Sequence) -> Option<(&'a Chain, Aligned, f64)> {
        let score = |(place, (_, other)): (usize, &(&Chain, Sequence))| (align(sequence, other).score, place);
        let scored = self.known.par_iter().enumerate().map(score);
        let (_, place) = scored.max_by_key(|(score, place)| (*score, std::cmp::Reverse(*place)))?;
        let (chain, other) = &self.known[place];
        let aligned = align(sequence, other);
        let identity = aligned.identity(sequence, other);
        Some((chain, aligned, identity))
    }
}

impl Predictor for Nearest<'_> {
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction> {
        let predict = |sequence: &Sequence| {
            let mut frames = vec![None; sequence.len()];
            let mut confidence = 0.0;
            if let Some((chain, aligned, identity)) = self.nearest(sequence) {
                confidence = identity;
                for (own, other) in aligned.pairs {
                    let frame = chain.residues[other].frame();
                    frames[own] = frame.map(|frame| frame.map(|at| at.map(f64::from)));
                }
            }
            Prediction {
                sequence: sequence.clone(),
                atoms: fill(&frames),
                plddt: vec![(100.0 * confidence) as f32; sequence.len()],
                pae: None,
                contacts: None,
            }
        };
        sequences.iter().map(predict).collect()
    }

    fn memory(&self, _count: usize, length: usize) -> u64 {
        let longest = self.known.iter().map(|(_, other)| other.len()).max().unwrap_or(0);
        4 * (length as u64 + 1) * (longest as u64 + 1) * rayon::current_num_threads() as u64
    }
}

/// From one CA to the next, in angstrom.
const STEP: f64 = 3.8;

/// All residues' atoms, from the frames of those that have one.
fn fill(frames: &[Option<[Place; 3]>]) -> Vec<[Point; 5]> {
    let seen: Vec<usize> = (0..frames.len()).filter(|i| frames[*i].is_some()).collect();
    let ca = |i: usize| frames[i].map_or([STEP * i as f64, 0.0, 0.0], |frame| frame[1]);
    let of = |i: usize| {
        if let Some(frame) = frames[i] {
            return frame;
        }
        let after = seen.partition_point(|place| *place < i);
        // The line that it lies on, by two residues of it.
        let (from, to) = match (seen.len(), after) {
            (0 | 1, _) => return along([STEP * i as f64, 0.0, 0.0], [1.0, 0.0, 0.0]),
            (_, 0) => (seen[0], seen[1]),
            (n, after) if after == n => (seen[n - 2], seen[n - 1]),
            (_, after) => (seen[after - 1], seen[after]),
        };
        let way = minus(ca(to), ca(from));
        let length = dot(way, way).sqrt().max(1e-6);
        let unit = way.map(|x| x / length);
        // Between two, its share of the way; beyond the ends a step for each residue.
        let (start, far) = if i < from {
            (from, -STEP * (from - i) as f64)
        } else if i > to {
            (to, STEP * (i - to) as f64)
        } else {
            (from, length * (i - from) as f64 / (to - from) as f64)
        };
        along(std::array::from_fn(|k| ca(start)[k] + far * unit[k]), unit)
    };
    (0..frames.len())
        .map(|i| {
            let [n, ca, c] = of(i);
            // The oxygen is not looked at by any measure of this baseline's: off the carbon, away from CA.
            let away = minus(c, ca);
            let o = std::array::from_fn(|k| c[k] + 0.8 * away[k]);
            [n, ca, c, o, virtual_beta([n, ca, c])].map(|at| at.map(|x| x as f32))
        })
        .collect()
}

/// N, CA and C in a line.
fn along(ca: Place, unit: Place) -> [Place; 3] {
    let at = |far: f64| std::array::from_fn(|k| ca[k] + far * unit[k]);
    [at(-1.46), ca, at(1.52)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{dihedrals, tm_score};
    use crate::{Helix, distance};

    fn chain(letters: &str) -> Chain {
        Helix.predict(&[letters.parse().unwrap()])[0].chain()
    }

    #[test]
    fn a_known_sequence_gets_its_structure_and_a_longer_one_a_part() {
        let known = [chain("MKVLAAGIVGLTRNDEQWW"), chain("GGGGGGGGGGGGGGG")];
        let nearest = Nearest::new(&known);
        let letters = "CCMKVLAAGIVGLTRNDEQWWCCC";
        let predicted = nearest.predict(&["MKVLAAGIVGLTRNDEQWW".parse().unwrap(), letters.parse().unwrap()]);
        assert_eq!(predicted[0].plddt[0], 100.0);
        let places = |chain: &Chain| -> Vec<[f64; 3]> {
            chain
                .residues
                .iter()
                .map(|r| r.ca().unwrap().map(f64::from))
                .collect()
        };
        let score = tm_score(&places(&predicted[0].chain()), &places(&known[0]), 19);
        assert!(score.tm_score > 0.9999);
        let longer = predicted[1].chain();
        assert!(tm_score(&places(&longer)[2..21], &places(&known[0]), 19).tm_score > 0.9999);
        let step = distance(
            longer.residues[22].ca().unwrap(),
            longer.residues[23].ca().unwrap(),
        );
        assert!((step - 3.8).abs() < 1e-3);
        assert!(dihedrals(&longer)[5].phi.is_some());
    }

    #[test]
    fn without_anything_known_there_is_a_line() {
        let predicted = Nearest::new(&[]).predict(&["MKV".parse().unwrap(), "".parse().unwrap()]);
        assert_eq!(predicted[0].atoms[2][1], [7.6, 0.0, 0.0]);
        assert!(predicted[1].atoms.is_empty());
    }
}
