//! TM-score and GDT-TS: the share of a structure that can be laid over another.

use super::superpose::{Motion, Place, square_distance, superpose};

/// The best superposition that the search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Superposed {
    /// TM-score, 0 to 1 (Zhang and Skolnick 2004, Proteins 57, 702).
    pub tm_score: f64,
    /// GDT-TS, 0 to 1: the mean share of residues within 1, 2, 4 and 8 A, each in the superposition that is best
    /// for it (Zemla 2003, Nucleic Acids Res. 31, 3370).
    pub gdt_ts: f64,
    /// Lays the model over the reference for the TM-score.
    pub motion: Motion,
}

/// The TM-score and GDT-TS of a model whose residues are known to be those of the reference.
///
/// `model` and `reference` have the CA of the residues that both have; `length` is how many residues the reference
/// has, those included that the model lacks.
///
/// The search is that of the program TM-score: fragments of the whole length, a half, a quarter and so on down to
/// four residues, from every start, are laid over each other; then, again and again, all residues that came close
/// are. So it finds a superposition that is good for a part, where the one of least squares is good for none.
///
/// # Panics
/// If there are not equally many places in both, or none, or more than `length`.
pub fn tm_score(model: &[[f64; 3]], reference: &[[f64; 3]], length: usize) -> Superposed {
    assert_eq!(model.len(), reference.len(), "each residue has a partner");
    assert!(
        !model.is_empty() && model.len() <= length,
        "between 1 and {length} residues"
    );
    let mut search = Search {
        model,
        reference,
        d0: d0(length),
        best: (-1.0, None),
        within: [0; 4],
        close: Vec::new(),
    };
    search.run();
    let within: usize = search.within.iter().sum();
    let (sum, motion) = search.best;
    Superposed {
        tm_score: sum / length as f64,
        gdt_ts: within as f64 / (4 * length) as f64,
        motion: motion.expect("there is a superposition"),
    }
}

/// The distance at which a residue counts half: chosen so that the score of two random structures doesn't depend
/// on their length. Equation 5 of the paper, not below 0.5 as in its program.
pub(crate) fn d0(length: usize) -> f64 {
    (1.24 * (length as f64 - 15.0).cbrt() - 1.8).max(0.5)
}

/// The distances of GDT-TS, in angstrom.
const GDT: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

struct Search<'a> {
    model: &'a [Place],
    reference: &'a [Place],
    d0: f64,
    /// The highest sum of scores, and its superposition.
    best: (f64, Option<Motion>),
    /// The most residues within each distance of [`GDT`].
    within: [usize; 4],
    /// The residues that came close in the superposition that was looked at last.
    close: Vec<usize>,
}

impl Search<'_> {
    fn run(&mut self) {
        /// Fewer points don't fix a superposition well.
        const SHORTEST: usize = 4;
        /// The whole, and so many halvings of it at most.
        const FRAGMENTS: usize = 6;
        let n = self.model.len();
        let shortest = SHORTEST.min(n);
        let mut lengths: Vec<usize> = (0..FRAGMENTS - 1).map(|halvings| n >> halvings).collect();
        lengths.retain(|length| *length > shortest);
        lengths.push(shortest);
        for length in lengths {
            for start in 0..=n - length {
                self.improve((start..start + length).collect());
            }
        }
    }

    /// Lays the `chosen` residues over each other, then those that are close now, until they stay the same.
    fn improve(&mut self, mut chosen: Vec<usize>) {
        const MOST_TURNS: usize = 20;
        // As wide as the program TM-score looks.
        let near = self.d0.clamp(4.5, 8.0);
        self.try_out(&chosen, near - 1.0);
        for _ in 0..MOST_TURNS {
            if self.close == chosen {
                break;
            }
            chosen.clone_from(&self.close);
            self.try_out(&chosen, near + 1.0);
        }
    }

    /// Notes the scores of the superposition of the `chosen` residues, and which residues it brings close.
    fn try_out(&mut self, chosen: &[usize], mut near: f64) {
        let pick = |points: &[Place]| -> Vec<Place> { chosen.iter().map(|i| points[*i]).collect() };
        let motion = superpose(&pick(self.model), &pick(self.reference));
        let pairs = self.model.iter().zip(self.reference);
        let squares: Vec<f64> = pairs
            .map(|(a, b)| square_distance(motion.apply(*a), *b))
            .collect();
        let sum = squares
            .iter()
            .map(|square| 1.0 / (1.0 + square / (self.d0 * self.d0)))
            .sum();
        if sum > self.best.0 {
            self.best = (sum, Some(motion));
        }
        for (most, distance) in self.within.iter_mut().zip(GDT) {
            let count = squares
                .iter()
                .filter(|square| **square <= distance * distance)
                .count();
            *most = count.max(*most);
        }
        // Three points at least fix the next superposition.
        let needed = 3.min(squares.len());
        loop {
            self.close.clear();
            let close = (0..squares.len()).filter(|i| squares[*i] < near * near);
            self.close.extend(close);
            if self.close.len() >= needed {
                return;
            }
            near += 0.5;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A chain that wanders: 3.8 A a step.
    fn walk(seed: u64, n: usize) -> Vec<Place> {
        let mut random = Random::new(seed);
        let mut at = [0.0; 3];
        let step = |_| {
            let way: Place = std::array::from_fn(|_| random.normal());
            let length = square_distance(way, [0.0; 3]).sqrt();
            for k in 0..3 {
                at[k] += 3.8 * way[k] / length;
            }
            at
        };
        (0..n).map(step).collect()
    }

    #[test]
    fn the_same_structure_scores_one_and_a_part_its_share() {
        for n in [1, 2, 3, 5, 20, 70] {
            let a = walk(n as u64, n);
            let moved: Vec<Place> = a.iter().map(|p| [-p[1] + 5.0, p[0], p[2] - 9.0]).collect();
            let same = tm_score(&a, &moved, n);
            assert!(
                (same.tm_score - 1.0).abs() < 1e-9 && same.gdt_ts == 1.0,
                "{n}: {same:?}"
            );
            let half = tm_score(&a, &moved, 2 * n);
            assert!((half.tm_score - 0.5).abs() < 1e-9 && half.gdt_ts == 0.5);
        }
    }

    #[test]
    fn two_halves_that_turned_are_found_one_at_a_time() {
        let a = walk(3, 80);
        let hinge = a[40];
        let turned = |(i, p): (usize, &Place)| match i {
            0..40 => *p,
            _ => [hinge[0] - (p[0] - hinge[0]), hinge[1] - (p[1] - hinge[1]), p[2]],
        };
        let b: Vec<Place> = a.iter().enumerate().map(turned).collect();
        let found = tm_score(&a, &b, 80);
        assert!(found.tm_score > 0.5, "{found:?}");
        // Least squares over the whole would put neither half in its place.
        assert!(found.gdt_ts > 0.5);
    }

    #[test]
    fn random_structures_score_low() {
        let scores = (0..5).map(|seed| tm_score(&walk(seed, 90), &walk(100 + seed, 90), 90).tm_score);
        for score in scores {
            assert!((0.05..0.35).contains(&score), "{score}");
        }
    }
}
