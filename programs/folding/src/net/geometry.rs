//! A backbone as the network is told of it: places, torsions, states, and classes of them.
//!
//! Distances fall into classes between [`EDGES`]; torsions into squares of [`TURNS`] by [`TURNS`] of the
//! Ramachandran plane; the orientation of two residues is that of trRosetta (Yang et al. 2020, PNAS 117, 1496).

use crate::build::virtual_beta;
use crate::{Chain, Point, measure};
use std::f32::consts::{PI, TAU};

/// Bounds of the classes of a distance, in angstrom.
pub(super) const EDGES: [f32; 19] = [
    4.0, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 17.0, 19.0, 21.0, 24.0,
];
/// Classes of a distance.
pub(super) const CLASSES: usize = EDGES.len() + 1;
/// How many of them are below 8 A.
pub(super) const CONTACTS: usize = 8;
/// Classes of phi, and of psi.
pub(super) const TURNS: usize = 12;
/// Classes of omega and theta, and of phi between two residues.
pub(super) const ORIENTATIONS: (usize, usize) = (12, 6);
/// Orientations are told of pairs nearer than this, in angstrom.
pub(super) const NEAR: f32 = 14.0;
/// Secondary structures: loop, helix, strand.
pub(super) const STATES: usize = 3;

/// A residue's secondary structure, by its torsions and those beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Loop,
    Helix,
    Strand,
}

/// A chain whose backbone is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// Index of each residue's type.
    pub(super) kinds: Vec<u8>,
    /// N, CA and C.
    pub(super) frames: Vec<[Point; 3]>,
    /// CB, virtual.
    pub(super) beta: Vec<Point>,
    /// Radians; none at an end and at a break.
    pub(super) phi: Vec<Option<f32>>,
    /// As `phi`.
    pub(super) psi: Vec<Option<f32>>,
    pub(super) states: Vec<State>,
}

impl Known {
    /// A chain's residues that have N, CA and C.
    pub(super) fn of(chain: &Chain) -> Self {
        let seen = chain.residues.iter().filter(|residue| residue.frame().is_some());
        let residues: Vec<_> = seen.cloned().collect();
        let kinds = residues.iter().map(|r| r.kind.index() as u8).collect();
        let frames = residues.iter().filter_map(|residue| residue.frame()).collect();
        Self::new(kinds, frames)
    }

    /// From types and places.
    pub(super) fn new(kinds: Vec<u8>, frames: Vec<[Point; 3]>) -> Self {
        let l = kinds.len();
        let beta = frames.iter().map(beta).collect();
        let joined = |i: usize| i + 1 < l && crate::distance(frames[i][2], frames[i + 1][0]) < 2.0;
        let phi: Vec<Option<f32>> = (0..l)
            .map(|i| {
                let before = i.checked_sub(1).filter(|before| joined(*before))?;
                let [n, ca, c] = frames[i];
                Some(torsion([frames[before][2], n, ca, c]))
            })
            .collect();
        let psi: Vec<Option<f32>> = (0..l)
            .map(|i| {
                let [n, ca, c] = frames[i];
                joined(i).then(|| torsion([n, ca, c, frames[i + 1][0]]))
            })
            .collect();
        let states = states(&phi, &psi);
        Self {
            kinds,
            frames,
            beta,
            phi,
            psi,
            states,
        }
    }

    /// How many residues it has.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Where a residue's CA is.
    pub(super) fn alpha(&self, i: usize) -> Point {
        self.frames[i][1]
    }

    /// The class of a residue's torsions, if it has both.
    pub(super) fn turn(&self, i: usize) -> Option<u32> {
        let class = |angle: f32| (((angle + PI) / TAU * TURNS as f32) as usize).min(TURNS - 1);
        Some((class(self.phi[i]?) * TURNS + class(self.psi[i]?)) as u32)
    }

    /// Classes of the orientation of residue j as i sees it: omega, theta and phi.
    pub(super) fn orientation(&self, i: usize, j: usize) -> [u32; 3] {
        let (n, a, b) = (self.frames[i][0], self.alpha(i), self.beta[i]);
        let (other, far) = (self.beta[j], self.alpha(j));
        let round =
            |angle: f32| (((angle + PI) / TAU * ORIENTATIONS.0 as f32) as usize).min(ORIENTATIONS.0 - 1);
        let bend = (angle([a, b, other]) / PI * ORIENTATIONS.1 as f32) as usize;
        [
            round(torsion([a, b, other, far])) as u32,
            round(torsion([n, a, b, other])) as u32,
            bend.min(ORIENTATIONS.1 - 1) as u32,
        ]
    }
}

/// The class of a distance.
pub(super) fn class(distance: f32) -> u32 {
    EDGES.partition_point(|edge| *edge <= distance) as u32
}

/// The distances of a class: two CA at a trans bond are 3.8 A apart.
pub(super) fn bounds(class: usize) -> (f32, f32) {
    let low = if class == 0 { 3.6 } else { EDGES[class - 1] };
    let high = if class == CLASSES - 1 { 26.0 } else { EDGES[class] };
    (low, high)
}

/// The middle of a class of distances.
pub(super) fn centre(class: usize) -> f32 {
    let (low, high) = bounds(class);
    0.5 * (low + high)
}

/// The middle of the phi and psi of a class, in radians.
pub(super) fn middle(turn: usize) -> (f32, f32) {
    let angle = |class: usize| (class as f32 + 0.5) / TURNS as f32 * TAU - PI;
    (angle(turn / TURNS), angle(turn % TURNS))
}

fn beta(frame: &[Point; 3]) -> Point {
    virtual_beta(frame.map(|at| at.map(f64::from))).map(|x| x as f32)
}

fn states(phi: &[Option<f32>], psi: &[Option<f32>]) -> Vec<State> {
    let like = |helix: bool| {
        let fits = |(phi, psi): (&Option<f32>, &Option<f32>)| {
            let (Some(phi), Some(psi)) = (phi.map(f32::to_degrees), psi.map(f32::to_degrees)) else {
                return false;
            };
            match helix {
                true => (-110.0..-30.0).contains(&phi) && (-80.0..0.0).contains(&psi),
                false => phi < -60.0 && !(-160.0..=80.0).contains(&psi),
            }
        };
        phi.iter().zip(psi).map(fits).collect::<Vec<bool>>()
    };
    let mut states = vec![State::Loop; phi.len()];
    for (fits, state, run) in [(like(true), State::Helix, 4), (like(false), State::Strand, 3)] {
        for from in 0..(phi.len() + 1).saturating_sub(run) {
            if fits[from..from + run].iter().all(|fits| *fits) {
                states[from..from + run].fill(state);
            }
        }
    }
    states
}

fn torsion(points: [Point; 4]) -> f32 {
    measure::dihedral(points.map(|point| point.map(f64::from))).to_radians() as f32
}

/// The angle at the middle one of three points.
fn angle([a, b, c]: [Point; 3]) -> f32 {
    let (u, v) = (minus(a, b), minus(c, b));
    let cosine = dot(u, v) / (dot(u, u) * dot(v, v)).sqrt().max(1e-6);
    cosine.clamp(-1.0, 1.0).acos()
}

pub(super) fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Point, b: Point) -> Point {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_between_the_edges() {
        assert_eq!(class(3.0), 0);
        assert_eq!(class(7.99), CONTACTS as u32 - 1);
        assert_eq!(class(8.0), CONTACTS as u32);
        assert_eq!(class(100.0), CLASSES as u32 - 1);
        for turn in 0..TURNS * TURNS {
            let (phi, psi) = middle(turn);
            let known = Known {
                phi: vec![Some(phi)],
                psi: vec![Some(psi)],
                ..Known::new(vec![0], vec![[[0.0; 3], [1.4, 0.0, 0.0], [2.0, 1.4, 0.0]]])
            };
            assert_eq!(known.turn(0), Some(turn as u32));
        }
    }
}
