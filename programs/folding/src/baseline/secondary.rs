//! Structures from angles alone: one helix, or the secondary structure that the sequence suggests.

use crate::measure::{Dihedrals, dihedrals};
use crate::{AminoAcid, Chain, Prediction, Predictor, Sequence, backbone};

/// Makes every sequence one ideal alpha helix.
#[derive(Debug)]
pub struct Helix;

/// Predicts helix, strand or coil for each residue and builds a chain with the angles that are typical of it. The
/// prediction is the first of its kind: each residue nearby adds what it tells about the state, learned as counts
/// (Garnier, Osguthorpe and Robson 1978, J. Mol. Biol. 120, 97).
#[derive(Debug)]
pub struct Secondary {
    /// For each state: the log odds of it, and how residues at -8 to 8 change them.
    odds: [f64; STATES],
    information: Vec<[[f64; AminoAcid::COUNT]; STATES]>,
}

const STATES: usize = 3;
const HELIX: usize = 0;
const STRAND: usize = 1;
const COIL: usize = 2;
/// How far residues are looked at.
const REACH: usize = 8;

/// The angles of a state, in degrees: an alpha helix, a strand, and the polyproline helix that coil likes most.
const ANGLES: [(f64, f64); STATES] = [(-62.0, -42.0), (-120.0, 130.0), (-70.0, 145.0)];

impl Predictor for Helix {
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction> {
        let states = |sequence: &Sequence| vec![HELIX; sequence.len()];
        sequences
            .iter()
            .map(|sequence| built(sequence, &states(sequence), 50.0))
            .collect()
    }

    fn memory(&self, _count: usize, length: usize) -> u64 {
        200 * length as u64
    }
}

impl Secondary {
    /// Learns from chains of known structure.
    pub fn learn(chains: &[Chain]) -> Self {
        // Begins at 1, so that nothing is impossible.
        let mut counts = vec![[[1.0f64; AminoAcid::COUNT]; STATES]; 2 * REACH + 1];
        let mut total = [1.0f64; STATES];
        for chain in chains {
            for (i, state) in states(chain).into_iter().enumerate() {
                total[state] += 1.0;
                for (offset, counts) in counts.iter_mut().enumerate() {
                    let place = (i + offset).checked_sub(REACH);
                    if let Some(residue) = place.and_then(|place| chain.residues.get(place)) {
                        counts[state][residue.kind.index()] += 1.0;
                    }
                }
            }
        }
        let all: f64 = total.iter().sum();
        let information = counts.iter().map(|counts| {
            let sums = counts.map(|row| row.iter().sum::<f64>());
            std::array::from_fn(|state| {
                std::array::from_fn(|kind| {
                    let of = |counts: f64, sum: f64| counts / sum;
                    let others = (0..STATES).filter(|other| *other != state);
                    let (rest, rest_sum) = others.fold((0.0, 0.0), |sum, other| {
                        (sum.0 + counts[other][kind], sum.1 + sums[other])
                    });
                    (of(counts[state][kind], sums[state]) / of(rest, rest_sum)).ln()
                })
            })
        });
        Self {
            odds: total.map(|count| (count / (all - count)).ln()),
            information: information.collect(),
        }
    }

    /// The likeliest state of each residue.
    fn guess(&self, sequence: &Sequence) -> Vec<usize> {
        let guess = |i: usize| {
            let mut sums = self.odds;
            for (offset, information) in self.information.iter().enumerate() {
                let place = (i + offset).checked_sub(REACH);
                if let Some(kind) = place.and_then(|place| sequence.residues.get(place)) {
                    for (sum, row) in sums.iter_mut().zip(information) {
                        *sum += row[kind.index()];
                    }
                }
            }
            (0..STATES)
                .max_by(|a, b| sums[*a].total_cmp(&sums[*b]))
                .unwrap_or(COIL)
        };
        (0..sequence.len()).map(guess).collect()
    }
}

impl Predictor for Secondary {
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction> {
        let predict = |sequence: &Sequence| built(sequence, &self.guess(sequence), 50.0);
        sequences.iter().map(predict).collect()
    }

    fn memory(&self, _count: usize, length: usize) -> u64 {
        200 * length as u64
    }
}

fn built(sequence: &Sequence, states: &[usize], confidence: f32) -> Prediction {
    let angles = states.iter().map(|state| Dihedrals {
        phi: Some(ANGLES[*state].0),
        psi: Some(ANGLES[*state].1),
        omega: Some(180.0),
    });
    Prediction {
        sequence: sequence.clone(),
        atoms: backbone(&angles.collect::<Vec<_>>()),
        plddt: vec![confidence; sequence.len()],
        pae: None,
        contacts: None,
    }
}

/// The state of each residue by its angles: four in a row that are a helix's, three that are a strand's, else coil.
fn states(chain: &Chain) -> Vec<usize> {
    let like = |angles: &Dihedrals| match (angles.phi, angles.psi) {
        (Some(phi), Some(psi)) if (-100.0..-30.0).contains(&phi) && (-80.0..-5.0).contains(&psi) => HELIX,
        (Some(phi), Some(psi)) if phi < -40.0 && !(-160.0..90.0).contains(&psi) => STRAND,
        _ => COIL,
    };
    let mut states: Vec<usize> = dihedrals(chain).iter().map(like).collect();
    let mut start = 0;
    while start < states.len() {
        let state = states[start];
        let length = states[start..]
            .iter()
            .take_while(|other| **other == state)
            .count();
        let needed = [4, 3, 1][state];
        if length < needed {
            states[start..start + length].fill(COIL);
        }
        start += length;
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(letters: &str, wanted: &[usize]) -> Chain {
        built(&letters.parse().unwrap(), wanted, 0.0).chain()
    }

    #[test]
    fn states_are_told_by_angles() {
        let wanted = [vec![HELIX; 8], vec![COIL; 3], vec![STRAND; 6]].concat();
        let found = states(&chain("AAAAAAAAGPGVVVVVV", &wanted));
        // The ends have one angle only. A polyproline helix is like a strand.
        assert_eq!(found[1..8], [HELIX; 7]);
        assert_eq!(found[12..16], [STRAND; 4]);
        assert_eq!(states(&chain("GAAG", &[HELIX; 4])), [COIL; 4], "two are no helix");
    }

    #[test]
    fn what_was_learned_is_guessed() {
        let known: Vec<Chain> = (0..10)
            .flat_map(|_| {
                [
                    chain(&"AEKL".repeat(10), &[HELIX; 40]),
                    chain(&"VTIY".repeat(10), &[STRAND; 40]),
                ]
            })
            .collect();
        let learned = Secondary::learn(&known);
        let letters = "AEKL".repeat(6) + &"VTIY".repeat(6);
        let guess = learned.guess(&letters.parse().unwrap());
        assert_eq!(
            (guess[5], guess[12], guess[36], guess[42]),
            (HELIX, HELIX, STRAND, STRAND)
        );
        assert_eq!(
            learned.predict(&["AEKL".repeat(6).parse().unwrap()])[0]
                .atoms
                .len(),
            24
        );
    }
}
