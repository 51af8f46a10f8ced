//! Whether a backbone could be one: its dihedral angles and what lies too near.

use super::superpose::{cross, dot, minus, square_distance};
use crate::{Atom, Chain};

/// The dihedral angle of four points about the line from the second to the third, in degrees, -180 to 180. As
/// IUPAC counts it: positive if the far end is turned clockwise.
pub fn dihedral(points: [[f64; 3]; 4]) -> f64 {
    let [a, b, c, d] = points;
    let (ab, bc, cd) = (minus(b, a), minus(c, b), minus(d, c));
    let (left, right) = (cross(ab, bc), cross(bc, cd));
    let sine = dot(ab, right) * dot(bc, bc).sqrt();
    sine.atan2(dot(left, right)).to_degrees()
}

/// The dihedral angles of a residue's backbone, in degrees; None at an end, at a break and where an atom is missing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dihedrals {
    /// About N and CA.
    pub phi: Option<f64>,
    /// About CA and C.
    pub psi: Option<f64>,
    /// About the peptide bond to the next residue: near 180 if trans, near 0 if cis.
    pub omega: Option<f64>,
}

/// The dihedral angles of each residue.
pub fn dihedrals(chain: &Chain) -> Vec<Dihedrals> {
    let at = |i: usize, atom: Atom| chain.residues.get(i)?.atom(atom).map(|at| at.map(f64::from));
    let joined = |i: usize| i + 1 < chain.len() && !chain.breaks_after(i);
    let of = |i: usize| {
        let before = || {
            Some([
                at(i.checked_sub(1)?, Atom::C)?,
                at(i, Atom::N)?,
                at(i, Atom::Ca)?,
                at(i, Atom::C)?,
            ])
        };
        let after = || {
            Some([
                at(i, Atom::N)?,
                at(i, Atom::Ca)?,
                at(i, Atom::C)?,
                at(i + 1, Atom::N)?,
            ])
        };
        let across = || {
            Some([
                at(i, Atom::Ca)?,
                at(i, Atom::C)?,
                at(i + 1, Atom::N)?,
                at(i + 1, Atom::Ca)?,
            ])
        };
        Dihedrals {
            phi: before().filter(|_| i > 0 && joined(i - 1)).map(dihedral),
            psi: after().filter(|_| joined(i)).map(dihedral),
            omega: across().filter(|_| joined(i)).map(dihedral),
        }
    };
    (0..chain.len()).map(of).collect()
}

/// The regions of the Ramachandran plot, by the letters of ABEGO (Wintjens, Rooman and Wodak 1996, J. Mol. Biol.
/// 255, 235), with the borders that Rosetta uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// Right-handed helix: phi below 0, psi from -75 to 50.
    A,
    /// Strand: phi below 0, any other psi.
    B,
    /// Left-handed helix: phi from 0, psi from -100 to 100. Rare but for glycine.
    G,
    /// Extended with a positive phi. Rare but for glycine.
    E,
}

impl Dihedrals {
    /// Where in the plot the residue is; None if an angle is.
    pub fn region(&self) -> Option<Region> {
        let (phi, psi) = (self.phi?, self.psi?);
        Some(match phi < 0.0 {
            true if (-75.0..50.0).contains(&psi) => Region::A,
            true => Region::B,
            false if (-100.0..100.0).contains(&psi) => Region::G,
            false => Region::E,
        })
    }
}

/// How many pairs of backbone atoms of residues that aren't neighbours lie nearer than their radii (Bondi 1964,
/// J. Phys. Chem. 68, 441) less 1.5 A allow, the tolerance that AlphaFold uses (Jumper et al. 2021, supplement
/// 1.9.11).
pub fn clashes(chain: &Chain) -> usize {
    const TOLERANCE: f64 = 1.5;
    let radius = |atom: Atom| match atom {
        Atom::N => 1.55,
        Atom::O => 1.52,
        Atom::Ca | Atom::C | Atom::Cb => 1.70,
    };
    let mut atoms = Vec::new();
    for (i, residue) in chain.residues.iter().enumerate() {
        for atom in Atom::ALL {
            if let Some(at) = residue.atom(atom) {
                atoms.push((i, radius(atom), at.map(f64::from)));
            }
        }
    }
    let mut count = 0;
    for (k, (i, own, at)) in atoms.iter().enumerate() {
        for (j, other, to) in &atoms[k + 1..] {
            let near = own + other - TOLERANCE;
            count += usize::from(*j > i + 1 && square_distance(*at, *to) < near * near);
        }
    }
    count
}
