//! Contacts: which residues touch, and how many of those called likely do.

use crate::{Atom, Chain, Point, Residue, Square};

/// Two residues touch if their CB are nearer than this, in angstrom: CASP's definition.
pub const CONTACT: f64 = 8.0;

/// Which pairs are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactSettings {
    /// How far apart in the sequence two residues are at least. CASP calls 6 and more short, 12 medium, 24 long.
    pub separation: usize,
    /// The best `length / part` pairs are judged: 1, 2 or 5 for P@L, P@L/2, P@L/5.
    pub part: usize,
}

/// Where the CB is; where a residue has none, where it would be, from N, CA and C (the ideal geometry that
/// trRosetta uses: Yang et al. 2020, PNAS 117, 1496); else the CA.
pub fn beta(residue: &Residue) -> Option<Point> {
    let virtual_beta = || {
        let [n, ca, c] = residue.frame()?.map(|at| at.map(f64::from));
        let b = super::superpose::minus(ca, n);
        let c = super::superpose::minus(c, ca);
        let a = super::superpose::cross(b, c);
        Some(
            [0, 1, 2]
                .map(|k| (-0.582_734_31 * a[k] + 0.568_028_27 * b[k] - 0.540_674_66 * c[k] + ca[k]) as f32),
        )
    };
    residue.atom(Atom::Cb).or_else(virtual_beta).or(residue.ca())
}

/// Which pairs touch; None where a residue has no place. Row by row, `length` squared.
pub fn true_contacts(chain: &Chain) -> Vec<Option<bool>> {
    let betas: Vec<Option<Point>> = chain.residues.iter().map(beta).collect();
    let pairs = betas.iter().flat_map(|a| betas.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            Some(
                super::superpose::square_distance((*a)?.map(f64::from), (*b)?.map(f64::from))
                    < CONTACT * CONTACT,
            )
        })
        .collect()
}

/// The share of true contacts among the pairs with the highest probabilities; of equal ones, the pairs first in
/// the sequence. None if the chain has no pair to judge.
///
/// # Panics
/// If `likely` isn't for the chain's residues.
pub fn contact_precision(likely: &Square, chain: &Chain, settings: ContactSettings) -> Option<f64> {
    let n = chain.len();
    assert_eq!(likely.side(), n, "a probability for each pair");
    let touching = true_contacts(chain);
    let mut pairs: Vec<(f32, bool)> = Vec::new();
    for i in 0..n {
        for j in i + settings.separation.max(1)..n {
            if let Some(touch) = touching[i * n + j] {
                // Probabilities of both orders, as a predictor needn't be symmetric.
                pairs.push((likely.at(i, j) + likely.at(j, i), touch));
            }
        }
    }
    // Stable, so that equals stay in order.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs.truncate((n / settings.part).max(1));
    let hits = pairs.iter().filter(|(_, touch)| *touch).count();
    (!pairs.is_empty()).then(|| hits as f64 / pairs.len() as f64)
}
