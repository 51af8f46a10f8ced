//! What whoever predicts a structure hands over.

use crate::{Atom, Chain, Point, Residue, Sequence};

/// A predicted structure of one chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Of what.
    pub sequence: Sequence,
    /// N, CA, C, O and CB of each residue, in the order of [`Atom::ALL`]. A glycine has no CB: its last place
    /// holds the virtual one and is not written.
    pub atoms: Vec<[Point; 5]>,
    /// For each residue the lDDT that the predictor expects, 0 to 100.
    pub plddt: Vec<f32>,
    /// The error in angstrom that is expected for residue `column` once the structures are laid over each other
    /// at residue `row`.
    pub pae: Option<Square>,
    /// The probability, 0 to 1, that the CB of two residues are less than 8 A apart.
    pub contacts: Option<Square>,
}

/// A value for each pair of residues.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    side: usize,
    values: Vec<f32>,
}

/// Predicts structures: a network, or one of the baselines it is compared with.
pub trait Predictor {
    /// One prediction for each sequence, in their order. The result of a sequence doesn't depend on the others.
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction>;

    /// About how many bytes `predict` takes for `count` sequences of `length` residues, beside its weights.
    fn memory(&self, count: usize, length: usize) -> u64;
}

impl Prediction {
    /// Of no residues.
    pub(crate) fn empty(sequence: &Sequence) -> Self {
        Self {
            sequence: sequence.clone(),
            atoms: Vec::new(),
            plddt: Vec::new(),
            pae: Some(Square::new(0, Vec::new())),
            contacts: Some(Square::new(0, Vec::new())),
        }
    }

    /// The prediction as a chain, with the confidence as B-factors.
    pub fn chain(&self) -> Chain {
        let residue = |(i, (kind, atoms)): (usize, (&crate::AminoAcid, &[Point; 5]))| {
            let mut atoms = atoms.map(Some);
            if *kind == crate::AminoAcid::Gly {
                atoms[Atom::Cb as usize] = None;
            }
            Residue {
                kind: *kind,
                number: i as i32 + 1,
                insertion: None,
                atoms,
                b_factor: self.plddt.get(i).copied().unwrap_or(0.0),
            }
        };
        let pairs = self.sequence.residues.iter().zip(&self.atoms);
        Chain {
            id: self.sequence.name.clone(),
            residues: pairs.enumerate().map(residue).collect(),
        }
    }
}

impl Square {
    /// `values` row by row.
    ///
    /// # Panics
    /// If there are not `side * side` of them.
    pub fn new(side: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), side * side, "a square of {side} rows");
        Self { side, values }
    }

    /// The value of each pair, as `value` gives it.
    pub fn from_fn(side: usize, mut value: impl FnMut(usize, usize) -> f32) -> Self {
        let pairs = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
        Self {
            side,
            values: pairs.map(|(row, column)| value(row, column)).collect(),
        }
    }

    /// How many rows it has, and columns.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The value of a pair.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.row(row)[column]
    }

    /// The values of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.side..(row + 1) * self.side]
    }
}
