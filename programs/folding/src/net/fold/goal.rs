//! What a fold is judged by: a cost of phi and psi, and its gradient.

use super::super::geometry::{CLASSES, TURNS, bounds, cross, dot, middle, minus};
use super::super::templates::Template;
use super::super::trunk::Likely;
use super::dihedrals;
use crate::{Point, backbone};
use rayon::prelude::*;

/// Distances of a table: every half angstrom.
const GRID: usize = 64;
const STEP: f32 = 0.5;
/// Likeliest classes of a residue's torsions that draw it.
const DRAWS: usize = 8;
/// How sharply: the square of one over the spread, in radians.
const SHARP: f32 = 8.0;
/// What the likelihood of torsions weighs against kept distances.
const TURNS_WEIGHT: f32 = 1.0;
/// The distances of CB against those of CA.
const BETA_WEIGHT: f32 = 0.5;
/// Atoms of residues that aren't neighbours are pushed apart below this, in angstrom, CA below [`NEAR_ALPHA`].
const NEAR: f32 = 3.1;
const NEAR_ALPHA: f32 = 4.2;
const PUSH: f32 = 3.0;
/// How far from a template's distance, in angstrom, a distance is worth half: one for details, one for the fold.
const TEMPLATE: [f32; 2] = [1.0, 4.0];

pub(super) const CA: usize = 1;
pub(super) const CB: usize = 4;

/// What is made small, of phi and psi.
pub(super) struct Goal {
    l: usize,
    /// For each pair what its CA and its CB are worth at each distance.
    alpha: Vec<f32>,
    beta: Vec<f32>,
    draws: Vec<Vec<Draw>>,
}

/// A class of torsions that draws: its probability, and cosine and sine of its phi and psi.
type Draw = (f32, [(f32, f32); 2]);

impl Goal {
    /// What the network's probabilities make of a chain of `l` residues.
    pub(super) fn new(told: &Likely, l: usize, kernel: &Kernel) -> Self {
        Self {
            l,
            alpha: tables(&told.alpha, kernel),
            beta: tables(&told.beta, kernel),
            draws: told.turns.chunks_exact(TURNS * TURNS).map(likeliest).collect(),
        }
    }

    /// What the distances of a template's CA are worth, a residue.
    pub(super) fn worth(&self, template: &Template) -> f32 {
        let worth = |(pair, d): (usize, f32)| look_up(&self.alpha[pair * GRID..(pair + 1) * GRID], d).0;
        pairs(template).map(worth).sum::<f32>() / self.l as f32
    }

    /// Adds that distances as a template has them are worth something, too: as far as it is trusted.
    pub(super) fn believe(&mut self, template: &Template) {
        let trust = template.trust();
        for (pair, known) in pairs(template) {
            for (k, worth) in self.alpha[pair * GRID..(pair + 1) * GRID].iter_mut().enumerate() {
                let off = k as f32 * STEP - known;
                let near = TEMPLATE.map(|half| 0.5 / (1.0 + off * off / (half * half)));
                *worth += trust * (near[0] + near[1]);
            }
        }
    }

    /// The cost of angles; sets their gradient.
    pub(super) fn cost(&self, angles: &[f32], gradient: Option<&mut [f32]>) -> f32 {
        let atoms = backbone(&dihedrals(angles));
        let mut forces = vec![[[0f32; 3]; 5]; self.l];
        let mut cost = self.pairs(&atoms, &mut forces) + push_apart(&atoms, &mut forces);
        let mut own = vec![0f32; angles.len()];
        for (i, draws) in self.draws.iter().enumerate() {
            cost += draw(draws, &angles[2 * i..2 * i + 2], &mut own[2 * i..2 * i + 2]);
        }
        if let Some(gradient) = gradient {
            gradient.copy_from_slice(&own);
            add_torques(&atoms, &forces, gradient);
        }
        cost
    }

    /// What pairs are worth less than nothing, and how each pulls.
    fn pairs(&self, atoms: &[[Point; 5]], forces: &mut [[Point; 5]]) -> f32 {
        let mut cost = 0.0;
        let mut pair = 0;
        for i in 0..self.l {
            for j in i + 1..self.l {
                for (atom, tables, weight) in [(CA, &self.alpha, 1.0), (CB, &self.beta, BETA_WEIGHT)] {
                    let apart = minus(atoms[i][atom], atoms[j][atom]);
                    let d = dot(apart, apart).sqrt().max(0.1);
                    let table = &tables[pair * GRID..(pair + 1) * GRID];
                    let (worth, slope) = look_up(table, d);
                    cost -= weight * worth;
                    let pull = -weight * slope / d;
                    for k in 0..3 {
                        forces[i][atom][k] += pull * apart[k];
                        forces[j][atom][k] -= pull * apart[k];
                    }
                }
                pair += 1;
            }
        }
        cost
    }
}

/// The pairs of residues that have places in a template: the pair's place in the tables, and the distance.
fn pairs(template: &Template) -> impl Iterator<Item = (usize, f32)> {
    let l = template.places.len();
    let both = (0..l).flat_map(move |i| (i + 1..l).map(move |j| (i, j)));
    both.enumerate().filter_map(|(pair, (i, j))| {
        let (a, b) = (template.places[i]?, template.places[j]?);
        Some((pair, crate::distance(a[CA], b[CA])))
    })
}

/// A table's value and slope at a distance: a parabola through three points, so that the slope has no steps.
fn look_up(table: &[f32], d: f32) -> (f32, f32) {
    let at = d / STEP;
    let k = (at.round() as usize).clamp(1, GRID - 2);
    let t = at - k as f32;
    if t > 1.0 {
        return (table[GRID - 1], 0.0);
    }
    let (a, b, c) = (table[k - 1], table[k], table[k + 1]);
    let (slope, bend) = (0.5 * (c - a), c - 2.0 * b + a);
    (b + t * (slope + 0.5 * t * bend), (slope + t * bend) / STEP)
}

/// The cost of torsions that are unlikely, and its gradient.
fn draw(draws: &[Draw], angles: &[f32], gradient: &mut [f32]) -> f32 {
    let own = [angles[0], angles[1]].map(|angle| (angle.cos(), angle.sin()));
    let (mut sum, mut slopes) = (1e-4f32, [0f32; 2]);
    for (p, middles) in draws {
        // Cosine and sine of how far each angle is from the middle.
        let off: [(f32, f32); 2] = std::array::from_fn(|k| {
            let ((c, s), (mc, ms)) = (own[k], middles[k]);
            (c * mc + s * ms, s * mc - c * ms)
        });
        let near = p * (SHARP * (off[0].0 + off[1].0 - 2.0)).exp();
        sum += near;
        for (slope, (_, sine)) in slopes.iter_mut().zip(off) {
            *slope += near * SHARP * sine;
        }
    }
    for (gradient, slope) in gradient.iter_mut().zip(slopes) {
        *gradient += TURNS_WEIGHT * slope / sum;
    }
    -TURNS_WEIGHT * sum.ln()
}

/// The cost of atoms that are too near to each other.
fn push_apart(atoms: &[[Point; 5]], forces: &mut [[Point; 5]]) -> f32 {
    let mut cost = 0.0;
    for i in 0..atoms.len() {
        for j in i + 2..atoms.len() {
            let between = minus(atoms[i][CA], atoms[j][CA]);
            if dot(between, between) > 7.5 * 7.5 {
                continue;
            }
            for a in 0..5 {
                for b in 0..5 {
                    let least = if a == CA && b == CA { NEAR_ALPHA } else { NEAR };
                    let apart = minus(atoms[i][a], atoms[j][b]);
                    let square = dot(apart, apart);
                    // N and O of a hydrogen bond come nearer.
                    let least = if a + b == 3 && a != CA && b != CA {
                        2.7
                    } else {
                        least
                    };
                    if square >= least * least {
                        continue;
                    }
                    let d = square.sqrt().max(0.1);
                    let off = least - d;
                    cost += PUSH * off * off;
                    let pull = -2.0 * PUSH * off / d;
                    for k in 0..3 {
                        forces[i][a][k] += pull * apart[k];
                        forces[j][b][k] -= pull * apart[k];
                    }
                }
            }
        }
    }
    cost
}

/// Turns the gradient with respect to atoms into that with respect to phi and psi, and adds it.
pub(super) fn add_torques(atoms: &[[Point; 5]], forces: &[[Point; 5]], gradient: &mut [f32]) {
    // Of all atoms behind the axis: the sum of forces, and of torques about the origin.
    let (mut force, mut torque) = ([0f32; 3], [0f32; 3]);
    let add = |atom: Point, pull: Point, (force, torque): (&mut Point, &mut Point)| {
        let turn = cross(atom, pull);
        for k in 0..3 {
            force[k] += pull[k];
            torque[k] += turn[k];
        }
    };
    let about = |from: Point, to: Point, force: Point, torque: Point| {
        let axis = minus(to, from);
        let length = dot(axis, axis).sqrt();
        dot(axis, minus(torque, cross(from, force))) / length
    };
    for i in (0..atoms.len()).rev() {
        let [n, ca, c, o, cb] = atoms[i];
        add(o, forces[i][3], (&mut force, &mut torque));
        gradient[2 * i + 1] += about(ca, c, force, torque);
        add(c, forces[i][2], (&mut force, &mut torque));
        add(cb, forces[i][4], (&mut force, &mut torque));
        gradient[2 * i] += about(n, ca, force, torque);
        add(n, forces[i][0], (&mut force, &mut torque));
        add(ca, forces[i][1], (&mut force, &mut torque));
    }
}

/// How well a distance keeps another one, by how far it is off.
pub(super) struct Kernel {
    /// Tolerances, how soft each is, and what it weighs.
    pub(super) tolerances: Vec<(f32, f32, f32)>,
    /// Tolerances for pairs that may also be further than lDDT looks.
    pub(super) far: Vec<(f32, f32, f32)>,
}

impl Kernel {
    /// Soft and wide, to be drawn from afar.
    pub(super) fn rough() -> Self {
        Self {
            tolerances: vec![(2.0, 0.6, 0.3), (4.0, 1.2, 0.4)],
            far: vec![(8.0, 2.0, 0.4)],
        }
    }

    /// lDDT's, hardly softened, and a little of what draws from afar.
    pub(super) fn exact() -> Self {
        Self {
            tolerances: [0.5, 1.0, 2.0, 4.0].map(|t| (t, 0.2 + 0.05 * t, 0.25)).to_vec(),
            far: vec![(8.0, 2.0, 0.15)],
        }
    }

    /// What a pair at `distance` is worth if its true distance is in `class`.
    pub(super) fn worth(&self, class: usize, distance: f32) -> f32 {
        let (low, high) = bounds(class);
        // The mean over the class, at a few places.
        const PLACES: usize = 4;
        let mut worth = 0.0;
        for k in 0..PLACES {
            let truth = low + (high - low) * (k as f32 + 0.5) / PLACES as f32;
            let off = (distance - truth).abs();
            let soft = |(tolerance, soft, weight): &(f32, f32, f32)| {
                weight / (1.0 + ((off - tolerance) / soft).exp())
            };
            if high <= 15.0 {
                worth += self.tolerances.iter().map(soft).sum::<f32>();
            }
            // Whatever is beyond the last edge is far enough there.
            let beyond = class == CLASSES - 1 && distance > low;
            worth += match beyond {
                true => self.far.iter().map(|(_, _, weight)| weight).sum::<f32>(),
                false => self.far.iter().map(soft).sum::<f32>(),
            };
        }
        worth / PLACES as f32
    }
}

/// For each pair what it is worth at each distance.
fn tables(probabilities: &[f32], kernel: &Kernel) -> Vec<f32> {
    let mut worth = [[0f32; GRID]; CLASSES];
    for (class, row) in worth.iter_mut().enumerate() {
        for (k, worth) in row.iter_mut().enumerate() {
            *worth = kernel.worth(class, k as f32 * STEP);
        }
    }
    let mut tables = vec![0f32; probabilities.len() / CLASSES * GRID];
    tables
        .par_chunks_mut(GRID)
        .zip(probabilities.par_chunks(CLASSES))
        .for_each(|(table, probabilities)| {
            for (worth, p) in worth.iter().zip(probabilities) {
                for (to, worth) in table.iter_mut().zip(worth) {
                    *to += p * worth;
                }
            }
        });
    tables
}

/// The likeliest classes of torsions.
fn likeliest(probabilities: &[f32]) -> Vec<Draw> {
    let mut classes: Vec<usize> = (0..probabilities.len()).collect();
    classes.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    let draw = |class: &usize| {
        let (phi, psi) = middle(*class);
        let turn = |angle: f32| (angle.cos(), angle.sin());
        (probabilities[*class], [turn(phi), turn(psi)])
    };
    classes.iter().take(DRAWS).map(draw).collect()
}
