//! Backbones from their dihedral angles, with ideal bonds.

use crate::Point;
use crate::measure::Dihedrals;
use crate::measure::superpose::{Place, cross, dot, minus};

/// Lengths in angstrom and angles in degrees of a peptide's backbone (Engh and Huber 1991, Acta Cryst. A 47, 392).
mod ideal {
    pub(super) const N_CA: f64 = 1.458;
    pub(super) const CA_C: f64 = 1.525;
    pub(super) const C_N: f64 = 1.329;
    pub(super) const C_O: f64 = 1.231;
    pub(super) const N_CA_C: f64 = 111.0;
    pub(super) const CA_C_N: f64 = 117.2;
    pub(super) const C_N_CA: f64 = 121.7;
    pub(super) const CA_C_O: f64 = 120.1;
    /// A peptide bond is flat, and nearly always trans.
    pub(super) const OMEGA: f64 = 180.0;
    /// Where an angle isn't given: that of an extended strand.
    pub(super) const PHI: f64 = -120.0;
    pub(super) const PSI: f64 = 130.0;
}

/// N, CA, C, O and CB of a chain with these dihedral angles, beginning at the origin. An angle that isn't given is
/// that of an extended strand.
pub fn backbone(dihedrals: &[Dihedrals]) -> Vec<[Point; 5]> {
    let mut residues: Vec<[Place; 3]> = Vec::with_capacity(dihedrals.len());
    for (i, own) in dihedrals.iter().enumerate() {
        let Some([n, ca, c]) = residues.last().copied() else {
            let angle = ideal::N_CA_C.to_radians();
            let ca = [ideal::N_CA, 0.0, 0.0];
            let c = [ca[0] - ideal::CA_C * angle.cos(), ideal::CA_C * angle.sin(), 0.0];
            residues.push([[0.0; 3], ca, c]);
            continue;
        };
        let before = &dihedrals[i - 1];
        let psi = before.psi.unwrap_or(ideal::PSI);
        let omega = before.omega.unwrap_or(ideal::OMEGA);
        let next_n = place([n, ca, c], ideal::C_N, ideal::CA_C_N, psi);
        let next_ca = place([ca, c, next_n], ideal::N_CA, ideal::C_N_CA, omega);
        let phi = own.phi.unwrap_or(ideal::PHI);
        let next_c = place([c, next_n, next_ca], ideal::CA_C, ideal::N_CA_C, phi);
        residues.push([next_n, next_ca, next_c]);
    }
    let pairs = residues.into_iter().zip(dihedrals);
    pairs
        .map(|([n, ca, c], own)| {
            // The oxygen lies opposite to the next nitrogen.
            let turn = own.psi.unwrap_or(ideal::PSI) + 180.0;
            let o = place([n, ca, c], ideal::C_O, ideal::CA_C_O, turn);
            [n, ca, c, o, virtual_beta([n, ca, c])].map(|at| at.map(|x| x as f32))
        })
        .collect()
}

/// Where the CB of an L-residue is by its N, CA and C: the ideal geometry that trRosetta uses (Yang et al. 2020,
/// PNAS 117, 1496).
pub(crate) fn virtual_beta([n, ca, c]: [Place; 3]) -> Place {
    let (b, c) = (minus(ca, n), minus(c, ca));
    let a = cross(b, c);
    std::array::from_fn(|k| -0.582_734_31 * a[k] + 0.568_028_27 * b[k] - 0.540_674_66 * c[k] + ca[k])
}

/// The point so far from `c` that makes this angle with `b` and this dihedral angle with `a` (Parsons et al. 2005,
/// J. Comput. Chem. 26, 1063).
fn place([a, b, c]: [Place; 3], length: f64, angle: f64, dihedral: f64) -> Place {
    let (angle, dihedral) = (angle.to_radians(), dihedral.to_radians());
    let along = unit(minus(c, b));
    let across = unit(cross(minus(b, a), along));
    let up = cross(across, along);
    let (x, y, z) = (
        -angle.cos(),
        angle.sin() * dihedral.cos(),
        angle.sin() * dihedral.sin(),
    );
    std::array::from_fn(|k| c[k] + length * (x * along[k] + y * up[k] + z * across[k]))
}

fn unit(a: Place) -> Place {
    let length = dot(a, a).sqrt();
    a.map(|x| x / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{clashes, dihedrals};
    use crate::{AminoAcid, Prediction, Sequence};

    fn chain(angles: &[Dihedrals]) -> crate::Chain {
        let sequence = Sequence {
            name: "built".to_owned(),
            residues: vec![AminoAcid::Ala; angles.len()],
        };
        let prediction = Prediction {
            sequence,
            atoms: backbone(angles),
            plddt: vec![0.0; angles.len()],
            pae: None,
            contacts: None,
        };
        prediction.chain()
    }

    fn angles(phi: f64, psi: f64, n: usize) -> Vec<Dihedrals> {
        let one = Dihedrals {
            phi: Some(phi),
            psi: Some(psi),
            omega: Some(180.0),
        };
        vec![one; n]
    }

    #[test]
    fn the_angles_that_were_asked_for_are_there() {
        for (phi, psi) in [(-57.0, -47.0), (-120.0, 130.0), (60.0, 30.0)] {
            let chain = chain(&angles(phi, psi, 12));
            for (i, found) in dihedrals(&chain).iter().enumerate() {
                let near = |found: Option<f64>, wanted: f64| {
                    let off = found.unwrap() - wanted;
                    (off - 360.0 * (off / 360.0).round()).abs() < 0.01
                };
                assert!(i == 0 || near(found.phi, phi));
                assert!(i == 11 || (near(found.psi, psi) && near(found.omega, 180.0)));
            }
            assert_eq!(clashes(&chain), 0);
        }
    }

    #[test]
    fn a_helix_has_a_helix_measures() {
        let chain = chain(&angles(-57.8, -47.0, 37));
        let at = |i: usize| chain.residues[i].ca().unwrap();
        // 1.5 A of rise and 100 degrees of turn a residue: after 18 residues five whole turns, 27 A.
        let rise = crate::distance(at(0), at(36)) / 36.0;
        assert!((1.45..1.55).contains(&rise), "{rise}");
        // The hydrogen bond of an alpha helix: O of a residue to N of the fourth after it.
        let bond = crate::distance(
            chain.residues[5].atoms[3].unwrap(),
            chain.residues[9].atoms[0].unwrap(),
        );
        assert!((2.7..3.2).contains(&bond), "{bond}");
        // An L-residue: seen from its hydrogen, CO, R and N are clockwise.
        let [n, ca, c, _, cb] = chain.residues[3].atoms.map(|at| at.unwrap().map(f64::from));
        let (n, c, cb) = (minus(n, ca), minus(c, ca), minus(cb, ca));
        assert!(dot(cross(n, c), cb) > 0.0);
    }
}
