//! Contacts: which residues touch, and how many of those called likely do.

use super::superpose::{Place, square_distance};
use crate::build::virtual_beta;
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

/// Where the CB is; where a residue has none, where it would be by its N, CA and C; else the CA.
pub fn beta(residue: &Residue) -> Option<Point> {
    let frame = || Some(residue.frame()?.map(|at| at.map(f64::from)));
    let would_be = || Some(virtual_beta(frame()?).map(|x| x as f32));
    residue.atom(Atom::Cb).or_else(would_be).or(residue.ca())
}

/// Which pairs touch; None where a residue has no place. Row by row, `length` squared.
pub fn true_contacts(chain: &Chain) -> Vec<Option<bool>> {
    let places = chain
        .residues
        .iter()
        .map(|residue| Some(beta(residue)?.map(f64::from)));
    let places: Vec<Option<Place>> = places.collect();
    let pairs = places.iter().flat_map(|a| places.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| Some(square_distance((*a)?, (*b)?) < CONTACT * CONTACT))
        .collect()
}

/// The share of true contacts among the pairs with the highest probabilities. Of equally likely pairs at the
/// border each has the same chance to be among them: the result is the mean over all ways. None if the chain has
/// no pair to judge.
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
                // Probabilities of both orders, as a predictor needn't be symmetric. What is no number is last.
                pairs.push(((likely.at(i, j) + likely.at(j, i)).max(0.0), touch));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let judged = (n / settings.part).max(1).min(pairs.len());
    let border = pairs.get(judged.checked_sub(1)?)?.0;
    let hits = |pairs: &[(f32, bool)]| pairs.iter().filter(|(_, touch)| *touch).count() as f64;
    let above = pairs.partition_point(|(likely, _)| *likely > border);
    let equal = &pairs[above..pairs.partition_point(|(likely, _)| *likely >= border)];
    let share = (judged - above) as f64 / equal.len() as f64;
    Some((hits(&pairs[..above]) + share * hits(equal)) / judged as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AminoAcid;

    /// CA on a line, at these places.
    fn chain(places: &[f32]) -> Chain {
        let residue = |x: &f32| Residue {
            kind: AminoAcid::Gly,
            number: 1,
            insertion: None,
            atoms: [None, Some([*x, 0.0, 0.0]), None, None, None],
            b_factor: 0.0,
        };
        Chain {
            id: "line".to_owned(),
            residues: places.iter().map(residue).collect(),
        }
    }

    const PART: ContactSettings = ContactSettings {
        separation: 2,
        part: 2,
    };

    #[test]
    fn the_likeliest_pairs_are_judged() {
        // Of the pairs two and more apart, 0-2 and 0-3 touch.
        let chain = chain(&[0.0, 100.0, 7.9, -7.9]);
        let wish = |wanted: &[(usize, usize)]| {
            Square::from_fn(4, |i, j| f32::from(u8::from(wanted.contains(&(i, j)))))
        };
        let found =
            |likely: &Square, part| contact_precision(likely, &chain, ContactSettings { part, ..PART });
        assert_eq!(found(&wish(&[(0, 2), (0, 3)]), 2), Some(1.0));
        assert_eq!(found(&wish(&[(0, 2), (1, 3)]), 2), Some(0.5));
        // Asked the other way round it is the same pair.
        assert_eq!(found(&wish(&[(2, 0), (1, 3)]), 2), Some(0.5));
        // All equal: two of three touch, whichever are chosen.
        assert_eq!(found(&wish(&[]), 2), Some(2.0 / 3.0));
        // One of the two is sure, the other one of the two that are left.
        assert_eq!(found(&wish(&[(1, 3)]), 2), Some(0.5));
        assert_eq!(found(&wish(&[(1, 3)]), 5), Some(0.0), "one pair at least");
    }

    #[test]
    fn without_pairs_there_is_nothing_to_judge() {
        let likely = Square::from_fn(2, |_, _| 1.0);
        assert_eq!(contact_precision(&likely, &chain(&[0.0, 1.0]), PART), None);
        let likely = Square::from_fn(0, |_, _| 1.0);
        assert_eq!(contact_precision(&likely, &chain(&[]), PART), None);
    }
}
