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
