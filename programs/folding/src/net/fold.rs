//! Coordinates from what the network tells: the dihedral angles whose backbone is likely to keep the most
//! distances.
//!
//! lDDT counts the distances that a model keeps to within 0.5, 1, 2 and 4 A. With a probability for each
//! distance, the count that is to be expected of any backbone is a sum over pairs, each a smooth function of
//! one distance. That sum is what is made large, so the result is not one that agrees with the likeliest
//! distances at any price, and its value tells how good the network believes the backbone to be.
//!
//! Only phi and psi move: bonds, angles, flat trans peptides and the hand of every residue are right by
//! construction ([`backbone`]). Turning an angle moves all atoms behind it as one body, so the gradient is a
//! sum of torques (Abe et al. 1984, Comput. Chem. 8, 239).

use super::geometry::{CLASSES, TURNS, bounds, cross, dot, middle, minus};
use super::trunk::Likely;
use crate::measure::Dihedrals;
use crate::{Point, Random, backbone};
use rayon::prelude::*;

/// Backbones that are begun with, and those that are finished.
const STARTS: u64 = 6;
const FINISHED: usize = 2;
/// Steps towards a rough fit, and of the last ones.
const STEPS: [usize; 2] = [150, 200];
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

/// A folded chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Folded {
    /// N, CA, C, O and CB.
    pub(super) atoms: Vec<[Point; 5]>,
    /// lDDT of each residue, 0 to 1, as the probabilities have it.
    pub(super) expected: Vec<f32>,
    /// How many distances of each residue that is a mean over, as the probabilities have it.
    pub(super) partners: Vec<f32>,
}

/// Folds a chain of `l` residues.
pub(super) fn fold(told: &Likely, l: usize) -> Folded {
    let draws: Vec<Vec<Draw>> = told.turns.chunks_exact(TURNS * TURNS).map(likeliest).collect();
    let [rough, exact] = [Kernel::rough(), Kernel::exact()].map(|kernel| Goal {
        l,
        alpha: tables(&told.alpha, &kernel),
        beta: tables(&told.beta, &kernel),
        draws: &draws,
    });
    let mut runs: Vec<Run> = (0..STARTS)
        .into_par_iter()
        .map(|start| descend(&rough, begin(&told.turns, start), STEPS[0], 0.12))
        .collect();
    // Stable: of equal ones the first start.
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    runs.truncate(FINISHED);
    let finished: Vec<Run> = runs
        .into_par_iter()
        .map(|(_, angles)| descend(&exact, angles, STEPS[1], 0.05))
        .collect();
    let best = finished.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let (_, angles) = best.expect("there is a start");
    let atoms = backbone(&dihedrals(angles));
    let (expected, partners) = expected(told, &atoms);
    Folded {
        atoms,
        expected,
        partners,
    }
}

/// A cost and the angles that have it.
type Run = (f32, Vec<f32>);

/// A class of torsions that draws: its probability, and cosine and sine of its phi and psi.
type Draw = (f32, [(f32, f32); 2]);

/// How well a distance keeps another one, by how far it is off.
struct Kernel {
    /// Tolerances, how soft each is, and what it weighs.
    tolerances: Vec<(f32, f32, f32)>,
    /// Tolerances for pairs that may also be further than lDDT looks.
    far: Vec<(f32, f32, f32)>,
}

impl Kernel {
    /// Soft and wide, to be drawn from afar.
    fn rough() -> Self {
        Self {
            tolerances: vec![(2.0, 0.6, 0.3), (4.0, 1.2, 0.4)],
            far: vec![(8.0, 2.0, 0.4)],
        }
    }

    /// lDDT's, hardly softened, and a little of what draws from afar.
    fn exact() -> Self {
        Self {
            tolerances: [0.5, 1.0, 2.0, 4.0].map(|t| (t, 0.2 + 0.05 * t, 0.25)).to_vec(),
            far: vec![(8.0, 2.0, 0.15)],
        }
    }

    /// What a pair at `distance` is worth if its true distance is in `class`.
    fn worth(&self, class: usize, distance: f32) -> f32 {
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

/// Angles to begin with: the likeliest ones, then such as are drawn by chance among the likely ones.
fn begin(turns: &[f32], start: u64) -> Vec<f32> {
    let mut random = Random::new(start);
    let class = |probabilities: &[f32]| {
        let sharp = |p: &f32| if start < 4 { p * p } else { *p };
        let sum: f32 = probabilities.iter().map(sharp).sum();
        let mut rest = random.unit() as f32 * sum;
        let chosen = probabilities.iter().position(|p| {
            rest -= sharp(p);
            rest < 0.0
        });
        let best = || {
            let classes = 0..probabilities.len();
            classes.max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
        };
        let chosen = if start == 0 { best() } else { chosen };
        middle(chosen.unwrap_or(0))
    };
    let angles = turns.chunks_exact(TURNS * TURNS).map(class);
    angles.flat_map(|(phi, psi)| [phi, psi]).collect()
}

fn dihedrals(angles: &[f32]) -> Vec<Dihedrals> {
    let of = |pair: &[f32]| Dihedrals {
        phi: Some(f64::from(pair[0]).to_degrees()),
        psi: Some(f64::from(pair[1]).to_degrees()),
        omega: Some(180.0),
    };
    angles.chunks_exact(2).map(of).collect()
}

/// What is made small, of phi and psi.
struct Goal<'a> {
    l: usize,
    alpha: Vec<f32>,
    beta: Vec<f32>,
    draws: &'a [Vec<Draw>],
}

impl Goal<'_> {
    /// The cost of angles; sets their gradient.
    fn cost(&self, angles: &[f32], gradient: Option<&mut [f32]>) -> f32 {
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

const CA: usize = 1;
const CB: usize = 4;

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

/// Turns the gradient with respect to atoms into that with respect to phi and psi.
fn add_torques(atoms: &[[Point; 5]], forces: &[[Point; 5]], gradient: &mut [f32]) {
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

/// Adam (Kingma and Ba, arXiv 1412.6980) with a rate that falls to nothing.
fn descend(goal: &Goal, mut angles: Vec<f32>, steps: usize, rate: f32) -> Run {
    let n = angles.len();
    let (mut gradient, mut m, mut v) = (vec![0f32; n], vec![0f32; n], vec![0f32; n]);
    for step in 0..steps {
        goal.cost(&angles, Some(&mut gradient));
        let rate = rate * (1.0 - step as f32 / steps as f32);
        let (unbias_m, unbias_v) = (
            1.0 - 0.9f32.powi(step as i32 + 1),
            1.0 - 0.98f32.powi(step as i32 + 1),
        );
        for i in 0..n {
            m[i] = 0.9 * m[i] + 0.1 * gradient[i];
            v[i] = 0.98 * v[i] + 0.02 * gradient[i] * gradient[i];
            angles[i] -= rate * (m[i] / unbias_m) / ((v[i] / unbias_v).sqrt() + 1e-6);
        }
    }
    (goal.cost(&angles, None), angles)
}

/// lDDT of each residue, and of how many distances, as the probabilities have it.
fn expected(told: &Likely, atoms: &[[Point; 5]]) -> (Vec<f32>, Vec<f32>) {
    let l = atoms.len();
    let kernel = Kernel {
        far: Vec::new(),
        ..Kernel::exact()
    };
    let (mut kept, mut count) = (vec![0f32; l], vec![1e-3f32; l]);
    let mut rows = told.alpha.chunks_exact(CLASSES);
    for i in 0..l {
        for j in i + 1..l {
            let row = rows.next().expect("a row for each pair");
            let d = crate::distance(atoms[i][CA], atoms[j][CA]);
            for (class, p) in row
                .iter()
                .enumerate()
                .filter(|(class, _)| bounds(*class).1 <= 15.0)
            {
                let worth = p * kernel.worth(class, d);
                for at in [i, j] {
                    kept[at] += worth;
                    count[at] += p;
                }
            }
        }
    }
    let expected = kept.iter().zip(&count).map(|(kept, count)| kept / count);
    (expected.collect(), count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Dihedrals, clashes, dihedrals as measured};
    use crate::{AminoAcid, Prediction, Sequence};

    /// What a network that is sure tells of a backbone.
    fn sure(atoms: &[[Point; 5]], angles: &[Dihedrals]) -> Likely {
        let l = atoms.len();
        let of = |atom: usize| {
            let mut told = Vec::new();
            for i in 0..l {
                for j in i + 1..l {
                    let class =
                        super::super::geometry::class(crate::distance(atoms[i][atom], atoms[j][atom]));
                    told.extend((0..CLASSES).map(|c| if c == class as usize { 1.0 } else { 0.0 }));
                }
            }
            told
        };
        // Of the torsions it knows little: only that they are right or the opposite.
        let mut turns = vec![0.002f32; l * TURNS * TURNS];
        for (row, angles) in turns.chunks_exact_mut(TURNS * TURNS).zip(angles) {
            let class = |angle: Option<f64>| ((angle.unwrap() + 180.0) / 360.0 * TURNS as f64) as usize;
            row[class(angles.phi) * TURNS + class(angles.psi)] = 0.4;
        }
        Likely {
            alpha: of(CA),
            beta: of(CB),
            turns,
            states: vec![1.0 / 3.0; 3 * l],
        }
    }

    /// Two helices with a turn between them.
    fn hairpin() -> Vec<Dihedrals> {
        (0..36)
            .map(|i| {
                let (phi, psi) = if (16..20).contains(&i) {
                    (-80.0, 140.0)
                } else {
                    (-62.0, -43.0)
                };
                Dihedrals {
                    phi: Some(phi),
                    psi: Some(psi),
                    omega: Some(180.0),
                }
            })
            .collect()
    }

    #[test]
    fn the_gradient_is_the_derivative() {
        let angles = hairpin();
        let told = sure(&backbone(&angles), &angles);
        let draws: Vec<Vec<Draw>> = told.turns.chunks_exact(TURNS * TURNS).map(likeliest).collect();
        let kernel = Kernel::rough();
        let goal = Goal {
            l: 36,
            alpha: tables(&told.alpha, &kernel),
            beta: tables(&told.beta, &kernel),
            draws: &draws,
        };
        let angles = begin(&told.turns, 5);
        let mut gradient = vec![0.0; angles.len()];
        goal.cost(&angles, Some(&mut gradient));
        let scale = gradient.iter().fold(0f32, |most, g| most.max(g.abs()));
        for i in (0..angles.len()).step_by(5) {
            let at = |off: f32| {
                let mut angles = angles.clone();
                angles[i] += off;
                goal.cost(&angles, None)
            };
            let numeric = (at(2e-3) - at(-2e-3)) / 4e-3;
            assert!(
                (numeric - gradient[i]).abs() < 0.02 * scale + 0.02 * numeric.abs(),
                "{i}: {numeric} {}",
                gradient[i]
            );
        }
    }

    #[test]
    fn a_sure_network_s_backbone_is_found() {
        let angles = hairpin();
        let truth = backbone(&angles);
        let folded = fold(&sure(&truth, &angles), truth.len());
        let chain = |atoms: Vec<[Point; 5]>| {
            let prediction = Prediction {
                sequence: Sequence {
                    name: String::new(),
                    residues: vec![AminoAcid::Ala; atoms.len()],
                },
                plddt: vec![0.0; atoms.len()],
                atoms,
                pae: None,
                contacts: None,
            };
            prediction.chain()
        };
        let model = chain(folded.atoms);
        let score = crate::measure::lddt_ca(&model, &chain(truth)).score;
        assert!(score > 0.9, "{score}");
        let expected = folded.expected.iter().sum::<f32>() / folded.expected.len() as f32;
        assert!(expected > 0.8, "{expected}");
        assert_eq!(clashes(&model), 0);
        let omega = measured(&model)[10].omega.unwrap();
        assert!((omega.abs() - 180.0).abs() < 0.1);
    }
}
