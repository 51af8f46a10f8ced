//! A backbone with ideal bonds that lies over a template's.

use super::super::geometry::{dot, minus};
use super::super::templates::Template;
use super::dihedrals;
use super::goal::{CA, add_torques};
use crate::measure::superpose;
use crate::{Point, backbone};

/// Steps at most, and turns of an angle in one, in radians: of the first, and of any.
const STEPS: usize = 200;
const FIRST: f32 = 0.02;
const WIDEST: f32 = 0.5;
/// Steps that the next one learns from.
const MEMORY: usize = 12;
/// What a step must win of what the slope promises; and what is left of one that doesn't, and how often.
const ENOUGH: f64 = 1e-4;
const SHORTER: (f32, usize) = (0.4, 12);
/// Steps that win less than this part of the cost are the last.
const LITTLE: f32 = 1e-5;
/// How hard a template pulls at a backbone that is refined, and where it begins to give up, in angstrom.
const PULL: f32 = 0.3;
const FAR: f32 = 4.0;

/// Phi and psi whose N, CA and C lie over the template's; of residues without a place as they are.
pub(super) fn fit(template: &Template, angles: Vec<f32>) -> Vec<f32> {
    minimise(angles, &mut |angles, gradient| {
        gradient.fill(0.0);
        lay_over(template, angles, gradient, |_, _| 1.0)
    })
}

/// Adds to the gradient that CA are drawn to the template's, those that are far off ever less (Geman and McClure's
/// loss).
pub(super) fn pull(template: &Template, angles: &[f32], gradient: &mut [f32]) {
    lay_over(template, angles, gradient, |atom, square| match atom {
        CA => PULL / (1.0 + square / (FAR * FAR)).powi(2),
        _ => 0.0,
    });
}

/// Lays the template over the backbone of these angles; adds the gradient of the squares of what its atoms are off,
/// each as it weighs, to that of phi and psi; and returns the sum of the squares.
fn lay_over(
    template: &Template,
    angles: &[f32],
    gradient: &mut [f32],
    weight: impl Fn(usize, f32) -> f32,
) -> f32 {
    let atoms = backbone(&dihedrals(angles));
    let places = template.places.iter().enumerate();
    let seen: Vec<(usize, &[Point; 3])> = places.filter_map(|(i, at)| Some((i, at.as_ref()?))).collect();
    if seen.is_empty() {
        return 0.0;
    }
    let wide = |at: &Point| at.map(f64::from);
    let from: Vec<_> = seen.iter().flat_map(|(_, at)| at.iter().map(wide)).collect();
    let to: Vec<_> = seen
        .iter()
        .flat_map(|(i, _)| atoms[*i][..3].iter().map(wide))
        .collect();
    let motion = superpose(&from, &to);
    let mut forces = vec![[[0f32; 3]; 5]; atoms.len()];
    let mut sum = 0.0;
    for (i, places) in seen {
        for (atom, place) in places.iter().enumerate() {
            let off = minus(atoms[i][atom], motion.apply(wide(place)).map(|x| x as f32));
            let square = dot(off, off);
            forces[i][atom] = off.map(|x| 2.0 * weight(atom, square) * x);
            sum += square;
        }
    }
    add_torques(&atoms, &forces, gradient);
    sum
}

/// A step that was taken: how the angles and the gradient changed, and one over their product.
type Taken = (Vec<f32>, Vec<f32>, f64);

/// Angles of little cost: L-BFGS (Liu and Nocedal 1989, Math. Program. 45, 503) with a line search that backs off.
fn minimise(mut x: Vec<f32>, cost: &mut dyn FnMut(&[f32], &mut [f32]) -> f32) -> Vec<f32> {
    let (mut gradient, mut next_gradient) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut now = cost(&x, &mut gradient);
    let mut past: Vec<Taken> = Vec::new();
    for _ in 0..STEPS {
        let way = way(&gradient, &past);
        let slope = product(&way, &gradient);
        let (mut length, mut taken) = (1.0, None);
        for _ in 0..SHORTER.1 {
            let next: Vec<f32> = x.iter().zip(&way).map(|(x, way)| x + length * way).collect();
            let there = cost(&next, &mut next_gradient);
            if f64::from(there) <= f64::from(now) + ENOUGH * f64::from(length) * slope {
                taken = Some((there, next));
                break;
            }
            length *= SHORTER.0;
        }
        let Some((there, next)) = taken else {
            if past.is_empty() {
                break;
            }
            // Once more, straight down.
            past.clear();
            continue;
        };
        let moved: Vec<f32> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let turned: Vec<f32> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let both = product(&moved, &turned);
        if both > 1e-10 {
            past.drain(..(past.len() + 1).saturating_sub(MEMORY));
            past.push((moved, turned, 1.0 / both));
        }
        std::mem::swap(&mut gradient, &mut next_gradient);
        let won = now - there;
        (x, now) = (next, there);
        if won < LITTLE * now {
            break;
        }
    }
    x
}

/// Where to go from a gradient, by the steps that were taken.
fn way(gradient: &[f32], past: &[Taken]) -> Vec<f32> {
    let mut way: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let add = |way: &mut [f32], share: f64, other: &[f32]| {
        way.iter_mut()
            .zip(other)
            .for_each(|(way, x)| *way += share as f32 * x);
    };
    let mut shares = Vec::with_capacity(past.len());
    for (moved, turned, inverse) in past.iter().rev() {
        let share = inverse * product(moved, &way);
        add(&mut way, -share, turned);
        shares.push(share);
    }
    let widest = |way: &[f32]| way.iter().fold(1e-12f32, |most, x| most.max(x.abs()));
    let scale = match past.last() {
        Some((_, turned, inverse)) => (1.0 / (inverse * product(turned, turned))) as f32,
        None => FIRST / widest(&way),
    };
    way.iter_mut().for_each(|x| *x *= scale);
    for ((moved, turned, inverse), share) in past.iter().zip(shares.into_iter().rev()) {
        let back = inverse * product(turned, &way);
        add(&mut way, share - back, moved);
    }
    let shorter = (WIDEST / widest(&way)).min(1.0);
    way.iter_mut().for_each(|x| *x *= shorter);
    way
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::rmsd;

    #[test]
    fn a_backbone_is_laid_over_another_and_keeps_its_bonds() {
        // Helix, loop and strand, placed anywhere; in the middle nothing is known.
        let angles: Vec<f32> = (0..48)
            .flat_map(|i| match i {
                0..20 => [-1.1, -0.75],
                20..26 => [-1.4, 2.4],
                _ => [-2.1, 2.3],
            })
            .collect();
        let truth = backbone(&dihedrals(&angles));
        let moved = truth
            .iter()
            .map(|[n, ca, c, _, _]| [n, ca, c].map(|[x, y, z]| [3.0 - y, x - 8.0, z + 5.0]));
        let mut template = Template {
            score: 99.0,
            places: moved.map(Some).collect(),
            turns: Vec::new(),
        };
        template.places[22..25].fill(None);
        let begun: Vec<f32> = angles
            .iter()
            .enumerate()
            .map(|(i, x)| x + 0.2 * (i as f32).sin())
            .collect();
        let off = |angles: &[f32]| {
            let atoms = backbone(&dihedrals(angles));
            let pairs = atoms.iter().zip(&template.places);
            let seen =
                pairs.filter_map(|(atoms, at)| Some((atoms[1].map(f64::from), (*at)?[1].map(f64::from))));
            let (own, places): (Vec<_>, Vec<_>) = seen.unzip();
            rmsd(&own, &places)
        };
        assert!(off(&begun) > 1.0, "{}", off(&begun));
        let found = fit(&template, begun.clone());
        assert!(off(&found) < 0.5, "{}", off(&found));

        // A pull alone goes the same way.
        let mut gradient = vec![0.0; begun.len()];
        pull(&template, &begun, &mut gradient);
        let pulled: Vec<f32> = begun.iter().zip(&gradient).map(|(x, g)| x - 1e-5 * g).collect();
        assert!(off(&pulled) < off(&begun));

        template.places.fill(None);
        assert_eq!(fit(&template, begun.clone()), begun, "nothing is known");
    }
}
