//! The lDDT that a residue will have: learned on chains that the network has not seen.
//!
//! What the network's own probabilities expect of the backbone is a good guess and an optimistic one. A linear
//! regression on it and on a few more facts, fitted to the true lDDT of chains held out of the training, takes
//! that back.

use super::fold::Folded;
use super::geometry::{CLASSES, STATES, TURNS, centre, cross, dot, minus};
use super::relatives::{Hints, RESIDUE};
use super::trunk::Likely;
use crate::Point;

/// Facts about a residue.
pub(super) const FACTS: usize = 11;
/// Facts about where a residue is, seen from another.
pub(super) const PAIR_FACTS: usize = 7;
/// Errors beyond this are told as this, in angstrom.
const FARTHEST: f32 = 30.0;
/// Keeps the regression from leaning on facts that hardly vary.
const RIDGE: f64 = 1.0;

/// What is known of each residue's place in a folded chain.
pub(super) fn facts(told: &Likely, hints: &Hints, folded: &Folded) -> Vec<[f32; FACTS]> {
    let l = folded.atoms.len();
    let mean = folded.expected.iter().sum::<f32>() / l.max(1) as f32;
    let known = hints.residues.chunks_exact(RESIDUE).map(|row| row[RESIDUE - 1]);
    let turns = told.turns.chunks_exact(TURNS * TURNS);
    let surest = turns.map(|row| row.iter().copied().fold(0.0, f32::max));
    let states = told.states.chunks_exact(STATES);
    known
        .zip(surest)
        .zip(states)
        .enumerate()
        .map(|(i, ((known, surest), states))| {
            let own = folded.expected[i];
            [
                1.0,
                own,
                mean,
                own * mean,
                (folded.partners[i] / 20.0).sqrt(),
                surest,
                states[1],
                states[2],
                known.min(1.5),
                (hints.best as f32 / 100.0).min(1.5),
                l as f32 / 100.0,
            ]
        })
        .collect()
}

/// What is known of where each residue is, seen from each other one: row by row.
pub(super) fn pair_facts(told: &Likely, folded: &Folded, plddt: &[f32]) -> Vec<[f32; PAIR_FACTS]> {
    let l = plddt.len();
    let mut pairs = vec![[0f32; PAIR_FACTS]; l * l];
    let mut rows = told.alpha.chunks_exact(CLASSES);
    for i in 0..l {
        for j in i + 1..l {
            let d = crate::distance(folded.atoms[i][1], folded.atoms[j][1]);
            let row = rows.next().expect("a row for each pair");
            let off = |(class, p): (usize, &f32)| p * (d - centre(class)).abs();
            let off: f32 = row.iter().enumerate().map(off).sum();
            for (seen_from, seen) in [(i, j), (j, i)] {
                let (a, b) = (1.0 - plddt[seen_from], 1.0 - plddt[seen]);
                let apart = (seen_from.abs_diff(seen) as f32 / 50.0).min(1.0);
                pairs[seen_from * l + seen] = [1.0, off, off.sqrt(), a, b, apart.sqrt(), a * off];
            }
        }
    }
    pairs
}

/// How far each residue is from where it should be once the structures are laid over each other at one residue:
/// row by row, in angstrom.
pub(super) fn errors(model: &[[Point; 3]], truth: &[[Point; 3]]) -> Vec<f32> {
    let seen = |frames: &[[Point; 3]]| -> Vec<Point> {
        let axes = frames.iter().map(|frame| (frame[1], axes(frame)));
        axes.flat_map(|(from, axes)| {
            frames
                .iter()
                .map(move |to| axes.map(|axis| dot(axis, minus(to[1], from))))
        })
        .collect()
    };
    let pairs = seen(model).into_iter().zip(seen(truth));
    pairs.map(|(a, b)| crate::distance(a, b).min(FARTHEST)).collect()
}

/// Three unit vectors at right angles that a residue carries with it.
fn axes([n, ca, c]: &[Point; 3]) -> [Point; 3] {
    let unit = |x: Point| x.map(|k| k / dot(x, x).sqrt().max(1e-6));
    let along = unit(minus(*c, *ca));
    let across = unit(cross(along, minus(*n, *ca)));
    [along, across, cross(along, across)]
}

/// The lDDT that goes with some facts, 0 to 1.
pub(super) fn lddt(weights: &[f32; FACTS], facts: &[f32; FACTS]) -> f32 {
    sum(weights, facts).clamp(0.0, 1.0)
}

/// The error that goes with some facts, in angstrom; none for a residue seen from itself, which has no facts.
pub(super) fn error(weights: &[f32; PAIR_FACTS], facts: &[f32; PAIR_FACTS]) -> f32 {
    match facts[0] == 0.0 {
        true => 0.0,
        false => sum(weights, facts).clamp(0.2, FARTHEST),
    }
}

fn sum<const N: usize>(weights: &[f32; N], facts: &[f32; N]) -> f32 {
    weights.iter().zip(facts).map(|(w, x)| w * x).sum()
}

/// The weights with the least squares of what they miss, and of themselves.
pub(super) fn fit<const N: usize>(pairs: impl IntoIterator<Item = ([f32; N], f32)>) -> [f32; N] {
    let mut square = [[0f64; N]; N];
    let mut right = [0f64; N];
    for (facts, truth) in pairs {
        for i in 0..N {
            right[i] += f64::from(facts[i]) * f64::from(truth);
            for j in 0..N {
                square[i][j] += f64::from(facts[i]) * f64::from(facts[j]);
            }
        }
    }
    for (i, row) in square.iter_mut().enumerate() {
        row[i] += RIDGE;
    }
    solve(square, right).map(|x| x as f32)
}

/// Cholesky: the matrix is symmetric and positive, thanks to the ridge.
fn solve<const N: usize>(square: [[f64; N]; N], right: [f64; N]) -> [f64; N] {
    let mut lower = [[0f64; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let sum = square[i][j] - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            lower[i][j] = if i == j { sum.sqrt() } else { sum / lower[j][j] };
        }
    }
    let mut x = right;
    for i in 0..N {
        x[i] = (x[i] - (0..i).map(|k| lower[i][k] * x[k]).sum::<f64>()) / lower[i][i];
    }
    for i in (0..N).rev() {
        x[i] = (x[i] - (i + 1..N).map(|k| lower[k][i] * x[k]).sum::<f64>()) / lower[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn a_line_is_found_again() {
        let mut random = Random::new(1);
        let truth: [f32; FACTS] = std::array::from_fn(|i| 0.05 * (i as f32 - 3.0));
        let pairs: Vec<([f32; FACTS], f32)> = (0..5_000)
            .map(|_| {
                let facts = std::array::from_fn(|_| random.unit() as f32);
                let sum: f32 = truth.iter().zip(&facts).map(|(w, x)| w * x).sum();
                (facts, sum + 0.01 * random.normal() as f32)
            })
            .collect();
        for (found, truth) in fit(pairs).iter().zip(truth) {
            assert!((found - truth).abs() < 0.01, "{found} {truth}");
        }
        assert_eq!(fit([]), [0.0; FACTS], "nothing is known of nothing");
    }

    #[test]
    fn errors_don_t_depend_on_where_a_structure_lies() {
        let mut random = Random::new(2);
        let mut point = || -> Point { std::array::from_fn(|_| 5.0 * random.normal() as f32) };
        let truth: Vec<[Point; 3]> = (0..6).map(|_| [point(), point(), point()]).collect();
        // A quarter turn about z, and a shift.
        let moved: Vec<[Point; 3]> = truth
            .iter()
            .map(|frame| frame.map(|[x, y, z]| [-y + 3.0, x - 1.0, z + 7.0]))
            .collect();
        assert!(errors(&moved, &truth).iter().all(|error| *error < 1e-4));
        let mut wrong = moved;
        wrong[4][1][2] += 2.0;
        let errors = errors(&wrong, &truth);
        assert!(
            (errors[4] - 2.0).abs() < 1e-4,
            "seen from the first: {}",
            errors[4]
        );
        assert!(errors[1] < 1e-4);
    }
}
