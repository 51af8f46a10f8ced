//! Coordinates from what the network tells: the dihedral angles whose backbone is likely to keep the most
//! distances.
//!
//! lDDT counts the distances that a model keeps to within 0.5, 1, 2 and 4 A. With a probability for each
//! distance, the count that is to be expected of any backbone is a sum over pairs, each a smooth function of
//! one distance. That sum is what is made large, so the result is not one that agrees with the likeliest
//! distances at any price, and its value tells how good the network believes the backbone to be.
//!
//! Going downhill from anywhere finds what is near by and not the fold. So it begins with templates, which have
//! folds: a backbone is laid over each, and refined in its vicinity.
//!
//! Only phi and psi move: bonds, angles, flat trans peptides and the hand of every residue are right by
//! construction ([`backbone`]). Turning an angle moves all atoms behind it as one body, so the gradient is a
//! sum of torques (Abe et al. 1984, Comput. Chem. 8, 239).

mod fit;
mod goal;

use super::geometry::{CLASSES, TURNS, bounds, middle};
use super::templates::Template;
use super::trunk::Likely;
use crate::measure::Dihedrals;
use crate::{Point, Random, backbone};
use fit::{fit, pull};
use goal::{CA, Goal, Kernel};
use rayon::prelude::*;

/// Templates that are begun with, and what it weighs that the network agrees with one.
const TAKEN: usize = 8;
const AGREED: f32 = 1.0;
/// Steps from a template, and how far they go at first, in radians.
const REFINE: (usize, f32) = (100, 0.02);
/// Without any, backbones that are begun with, and those that are finished.
const STARTS: u64 = 6;
const FINISHED: usize = 2;
/// Steps towards a rough fit, and of the last ones.
const STEPS: [(usize, f32); 2] = [(150, 0.12), (200, 0.05)];

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
pub(super) fn fold(told: &Likely, l: usize, templates: &[Template]) -> Folded {
    let mut exact = Goal::new(told, l, &Kernel::exact());
    let runs = match templates {
        [] => from_nothing(told, l, &exact),
        templates => from_templates(told, &mut exact, templates),
    };
    // Of equal ones the first.
    let best = runs.iter().min_by(|a, b| a.0.total_cmp(&b.0));
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

/// From angles that are drawn.
fn from_nothing(told: &Likely, l: usize, exact: &Goal) -> Vec<Run> {
    let rough = Goal::new(told, l, &Kernel::rough());
    let begun = (0..STARTS).into_par_iter().map(|start| begin(&told.turns, start));
    let mut runs: Vec<Run> = begun
        .map(|angles| descend(&rough, angles, STEPS[0], None))
        .collect();
    // Stable: of equal ones the first start.
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    runs.truncate(FINISHED);
    let finished = runs
        .into_par_iter()
        .map(|(_, angles)| descend(exact, angles, STEPS[1], None));
    finished.collect()
}

/// From the templates that score well and that the network agrees with: laid over each, then refined, but not far
/// from it, by what the network and all of them say.
fn from_templates(told: &Likely, exact: &mut Goal, templates: &[Template]) -> Vec<Run> {
    let worth = |template: &Template| template.score + AGREED * exact.worth(template);
    let mut ranked: Vec<(f32, &Template)> = templates.iter().map(|one| (worth(one), one)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.truncate(TAKEN);
    ranked.iter().for_each(|(_, template)| exact.believe(template));
    let exact = &*exact;
    let run = |(_, template): &(f32, &Template)| {
        let mut angles = begin(&told.turns, 0);
        for (own, turns) in angles.chunks_exact_mut(2).zip(&template.turns) {
            if let Some(turns) = turns {
                own.copy_from_slice(turns);
            }
        }
        descend(exact, fit(template, angles), REFINE, Some(template))
    };
    ranked.par_iter().map(run).collect()
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

/// Adam (Kingma and Ba, arXiv 1412.6980) with a rate that falls to nothing.
fn descend(goal: &Goal, mut angles: Vec<f32>, (steps, first): (usize, f32), near: Option<&Template>) -> Run {
    let n = angles.len();
    let (mut gradient, mut m, mut v) = (vec![0f32; n], vec![0f32; n], vec![0f32; n]);
    for step in 0..steps {
        goal.cost(&angles, Some(&mut gradient));
        if let Some(template) = near {
            pull(template, &angles, &mut gradient);
        }
        let rate = first * (1.0 - step as f32 / steps as f32);
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
    use super::goal::CB;
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
        let goal = Goal::new(&told, 36, &Kernel::rough());
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
        let folded = fold(&sure(&truth, &angles), truth.len(), &[]);
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
