//! A protein chain: its residues in order, with the atoms of the backbone that were seen.

use crate::AminoAcid;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// A place in space: x, y and z in angstrom.
pub type Point = [f32; 3];

/// How far two places are from each other, in angstrom.
pub fn distance(a: Point, b: Point) -> f32 {
    let square = |k: usize| (a[k] - b[k]) * (a[k] - b[k]);
    (square(0) + square(1) + square(2)).sqrt()
}

/// The atoms that are kept of a residue: the backbone, and the first carbon of the side chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is its own name")]
pub enum Atom {
    N,
    Ca,
    C,
    O,
    Cb,
}

impl Atom {
    /// All of them, in the order in which structures list them.
    pub const ALL: [Self; 5] = [Self::N, Self::Ca, Self::C, Self::O, Self::Cb];

    /// Its name in structures.
    pub fn name(self) -> &'static str {
        ["N", "CA", "C", "O", "CB"][self as usize]
    }

    /// The atom of this name, if it is one that is kept.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|atom| atom.name() == name)
    }
}

/// A residue with its atoms.
#[derive(Debug, Clone, PartialEq)]
pub struct Residue {
    /// Its type.
    pub kind: AminoAcid,
    /// Its number in the file; neither unique nor without gaps.
    pub number: i32,
    /// The letter that tells residues of one number apart.
    pub insertion: Option<char>,
    /// Where each of [`Atom::ALL`] is; None if the file doesn't say.
    pub atoms: [Option<Point>; 5],
    /// The column for B-factors, of the CA if there is one; in a predicted structure the confidence.
    pub b_factor: f32,
}

impl Residue {
    /// Where `atom` is, if the file says so.
    pub fn atom(&self, atom: Atom) -> Option<Point> {
        self.atoms[atom as usize]
    }

    /// Where the central carbon is.
    pub fn ca(&self) -> Option<Point> {
        self.atom(Atom::Ca)
    }

    /// N, CA and C, if all three are there.
    pub fn frame(&self) -> Option<[Point; 3]> {
        Some([self.atom(Atom::N)?, self.atom(Atom::Ca)?, self.atom(Atom::C)?])
    }
}

/// A chain of a structure. Residues that were not seen at all are left out, and so may leave a break.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The file's name without its ending; with the chain's letter if the file has several.
    pub id: String,
    /// In order.
    pub residues: Vec<Residue>,
}

impl Chain {
    /// The types of its residues.
    pub fn sequence(&self) -> Sequence {
        Sequence {
            name: self.id.clone(),
            residues: self.residues.iter().map(|residue| residue.kind).collect(),
        }
    }

    /// How many residues it has.
    pub fn len(&self) -> usize {
        self.residues.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.residues.is_empty()
    }

    /// This chain's atoms for each residue of `other`: by place if both have the same sequence, else by number. A
    /// residue that this chain lacks has no atoms. None if there is no residue in common.
    pub fn matched_to(&self, other: &Self) -> Option<Self> {
        if self.sequence().residues == other.sequence().residues {
            return (!self.is_empty()).then(|| self.clone());
        }
        let key = |residue: &Residue| (residue.number, residue.insertion);
        let own: HashMap<_, &Residue> = self.residues.iter().map(|own| (key(own), own)).collect();
        let common = other
            .residues
            .iter()
            .any(|residue| own.contains_key(&key(residue)));
        let lacking = |residue: &Residue| Residue {
            atoms: [None; 5],
            ..residue.clone()
        };
        let residues = other.residues.iter().map(|residue| match own.get(&key(residue)) {
            Some(own) => (*own).clone(),
            None => lacking(residue),
        });
        common.then(|| Self {
            id: self.id.clone(),
            residues: residues.collect(),
        })
    }

    /// Whether the chain is broken between residues `i` and `i + 1`: no peptide bond joins them.
    pub fn breaks_after(&self, i: usize) -> bool {
        /// A peptide bond is 1.33 A long; DSSP takes a chain for broken beyond this.
        const LONGEST_BOND: f32 = 2.5;
        /// Two CA of a bond are 3.8 A apart (2.9 if it is cis); used where C or N is missing.
        const LONGEST_STEP: f32 = 4.5;
        let (Some(this), Some(next)) = (self.residues.get(i), self.residues.get(i + 1)) else {
            return false;
        };
        match (this.atom(Atom::C), next.atom(Atom::N), this.ca(), next.ca()) {
            (Some(c), Some(n), _, _) => distance(c, n) > LONGEST_BOND,
            (_, _, Some(a), Some(b)) => distance(a, b) > LONGEST_STEP,
            _ => true,
        }
    }
}

/// A protein's sequence under a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequence {
    /// The first word of a FASTA title, or the chain's id; may be empty.
    pub name: String,
    /// From the N to the C terminus.
    pub residues: Vec<AminoAcid>,
}

impl Sequence {
    /// How many residues it has.
    pub fn len(&self) -> usize {
        self.residues.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.residues.is_empty()
    }
}

/// Its letters.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: String = self.residues.iter().map(|kind| kind.letter()).collect();
        f.write_str(&letters)
    }
}

/// A sequence from its letters, without a name.
impl FromStr for Sequence {
    type Err = NoResidue;

    fn from_str(letters: &str) -> Result<Self, NoResidue> {
        let kinds = letters
            .chars()
            .enumerate()
            .map(|(i, letter)| AminoAcid::from_letter(letter).ok_or(NoResidue { letter, place: i + 1 }));
        Ok(Self {
            name: String::new(),
            residues: kinds.collect::<Result<_, _>>()?,
        })
    }
}

/// A character that stands for no residue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{letter:?} at place {place} stands for no amino acid: a sequence has the letters of ACDEFGHIKLMNPQRSTVWY and X"
)]
pub struct NoResidue {
    /// Which.
    pub letter: char,
    /// Which character of the sequence; counts from 1.
    pub place: usize,
}
