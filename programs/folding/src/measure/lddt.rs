//! lDDT: the share of local distances that a model keeps.

use super::superpose::{Place, square_distance};
use crate::{Atom, Chain};

/// lDDT of a model (Mariani, Biasini, Barbato and Schwede 2013, Bioinformatics 29, 2722), 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Lddt {
    /// Over all distances of the chain.
    pub score: f64,
    /// Over the distances from each residue of the reference; None for a residue that has none.
    pub residues: Vec<Option<f64>>,
}

/// lDDT over all atoms that are kept (N, CA, C, O and CB) and that the reference has.
///
/// A distance counts if it is below 15 A in the reference and between two residues. It is kept if the model's
/// differs by less than 0.5, 1, 2 and 4 A; the score is the mean of the four shares. What the model lacks isn't
/// kept. No superposition is needed. Stereochemistry, which the paper checks before, is not looked at here; see
/// [`clashes`](super::clashes).
///
/// # Panics
/// If the chains differ in length: their residues are compared one by one.
pub fn lddt(model: &Chain, reference: &Chain) -> Lddt {
    score(model, reference, &Atom::ALL)
}

/// lDDT over the CA alone.
///
/// # Panics
/// If the chains differ in length.
pub fn lddt_ca(model: &Chain, reference: &Chain) -> Lddt {
    score(model, reference, &[Atom::Ca])
}

/// The inclusion radius, in angstrom.
const RADIUS: f64 = 15.0;
/// By how much a distance may differ, in angstrom.
const TOLERANCES: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

fn score(model: &Chain, reference: &Chain, atoms: &[Atom]) -> Lddt {
    assert_eq!(model.len(), reference.len(), "each residue has a partner");
    // Of each atom of the reference: its residue, where it is, and where the model has it.
    let mut places: Vec<(usize, Place, Option<Place>)> = Vec::new();
    for (i, (own, other)) in reference.residues.iter().zip(&model.residues).enumerate() {
        for atom in atoms {
            if let Some(at) = own.atom(*atom) {
                places.push((
                    i,
                    at.map(f64::from),
                    other.atom(*atom).map(|at| at.map(f64::from)),
                ));
            }
        }
    }
    // For each residue, how many tolerances its distances keep, of how many.
    let mut kept = vec![(0u64, 0u64); reference.len()];
    for (k, (i, at, own)) in places.iter().enumerate() {
        for (j, to, other) in &places[k + 1..] {
            let wanted = square_distance(*at, *to).sqrt();
            if i == j || wanted >= RADIUS {
                continue;
            }
            let count = match (own, other) {
                (Some(own), Some(other)) => {
                    let off = (square_distance(*own, *other).sqrt() - wanted).abs();
                    TOLERANCES.iter().filter(|tolerance| off < **tolerance).count() as u64
                }
                _ => 0,
            };
            for residue in [*i, *j] {
                kept[residue].0 += count;
                kept[residue].1 += TOLERANCES.len() as u64;
            }
        }
    }
    let share = |(kept, all): (u64, u64)| (all > 0).then(|| kept as f64 / all as f64);
    let all = kept
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Lddt {
        score: share(all).unwrap_or(0.0),
        residues: kept.into_iter().map(share).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AminoAcid, Residue};

    /// CA on a line, at these places.
    fn chain(places: &[Option<f32>]) -> Chain {
        let residue = |x: &Option<f32>| Residue {
            kind: AminoAcid::Ala,
            number: 1,
            insertion: None,
            atoms: [None, x.map(|x| [x, 0.0, 0.0]), None, None, None],
            b_factor: 0.0,
        };
        Chain {
            id: "line".to_owned(),
            residues: places.iter().map(residue).collect(),
        }
    }

    #[test]
    fn distances_are_counted_by_hand() {
        let reference = chain(&[Some(0.0), Some(4.0), Some(14.0), Some(40.0)]);
        assert_eq!(lddt_ca(&reference, &reference).score, 1.0);
        // 0-1 is off by 0.7 and keeps three of four, 1-2 by 2.3 and keeps one, 0-2 by 3 and keeps one; the last
        // residue is out of reach of all.
        let model = chain(&[Some(0.0), Some(4.7), Some(17.0), Some(0.0)]);
        let found = lddt_ca(&model, &reference);
        assert!((found.score - 5.0 / 12.0).abs() < 1e-12);
        assert_eq!(
            found.residues,
            [Some(4.0 / 8.0), Some(4.0 / 8.0), Some(2.0 / 8.0), None]
        );
        // What the model lacks is not kept, and what the reference lacks isn't asked for.
        let lacking = chain(&[None, Some(4.0), Some(14.0), Some(40.0)]);
        assert_eq!(lddt_ca(&lacking, &reference).residues[2], Some(0.5));
        assert_eq!(lddt(&reference, &lacking).score, 1.0);
        assert_eq!(lddt_ca(&chain(&[]), &chain(&[])).score, 0.0);
    }
}
