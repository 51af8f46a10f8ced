//! From the atoms that a file lists to chains: which model, which of several places of an atom, which residues
//! are a protein's.

use super::Structure;
use crate::{AminoAcid, Atom, Chain, Point, Residue};
use std::collections::HashMap;

/// An atom as a file lists it.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    pub(super) chain: &'a str,
    pub(super) number: i32,
    pub(super) insertion: Option<char>,
    /// The residue's name.
    pub(super) residue: &'a str,
    pub(super) atom: &'a str,
    /// Tells the places of an atom apart that is seen at several.
    pub(super) alternative: Option<char>,
    pub(super) at: Point,
    pub(super) occupancy: f32,
    pub(super) b_factor: f32,
    /// Whether the file says that the residue is part of a polymer.
    pub(super) polymer: bool,
}

/// Collects atoms in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Collector {
    chains: Vec<(String, Vec<Seen>)>,
    /// Where each residue of each chain is.
    places: HashMap<(String, i32, Option<char>), (usize, usize)>,
    /// What modified residues were, as the file says.
    parents: HashMap<String, AminoAcid>,
}

/// A residue with all places of its atoms.
#[derive(Debug)]
struct Seen {
    number: i32,
    insertion: Option<char>,
    /// The name under each alternative: a place in a chain may be taken by two different residues.
    names: Vec<(Option<char>, String)>,
    polymer: bool,
    atoms: Vec<SeenAtom>,
}

#[derive(Debug)]
struct SeenAtom {
    atom: Atom,
    alternative: Option<char>,
    at: Point,
    occupancy: f32,
    b_factor: f32,
}

impl Collector {
    /// Notes that residues called `name` are modified ones of another kind.
    pub(super) fn modified(&mut self, name: &str, parent: &str) {
        if let Some(parent) = AminoAcid::from_name(parent) {
            self.parents.insert(name.to_owned(), parent);
        }
    }

    /// Takes one atom.
    pub(super) fn add(&mut self, listed: &Listed<'_>) {
        let key = (listed.chain.to_owned(), listed.number, listed.insertion);
        let (chain, residue) = match self.places.get(&key) {
            Some(place) => *place,
            None => self.begin_residue(key, listed),
        };
        let seen = &mut self.chains[chain].1[residue];
        seen.polymer |= listed.polymer;
        if !seen
            .names
            .iter()
            .any(|(alternative, _)| *alternative == listed.alternative)
        {
            seen.names.push((listed.alternative, listed.residue.to_owned()));
        }
        let Some(atom) = Atom::from_name(listed.atom) else {
            return;
        };
        seen.atoms.push(SeenAtom {
            atom,
            alternative: listed.alternative,
            at: listed.at,
            occupancy: listed.occupancy,
            b_factor: listed.b_factor,
        });
    }

    fn begin_residue(&mut self, key: (String, i32, Option<char>), listed: &Listed<'_>) -> (usize, usize) {
        // Files list a chain in one piece, mostly; so the search begins at the end.
        let found = self.chains.iter().rposition(|(id, _)| *id == key.0);
        let chain = found.unwrap_or_else(|| {
            self.chains.push((key.0.clone(), Vec::new()));
            self.chains.len() - 1
        });
        let residues = &mut self.chains[chain].1;
        residues.push(Seen {
            number: listed.number,
            insertion: listed.insertion,
            names: Vec::new(),
            polymer: false,
            atoms: Vec::new(),
        });
        let place = (chain, residues.len() - 1);
        self.places.insert(key, place);
        place
    }

    /// The chains that have a residue.
    pub(super) fn finish(self) -> Structure {
        let parents = &self.parents;
        let chains = self.chains.into_iter().map(|(id, residues)| Chain {
            id,
            residues: residues.iter().filter_map(|seen| seen.choose(parents)).collect(),
        });
        Structure {
            chains: chains.filter(|chain| !chain.is_empty()).collect(),
        }
    }
}

impl Seen {
    /// One residue from the alternatives; None if it isn't a protein's.
    fn choose(&self, parents: &HashMap<String, AminoAcid>) -> Option<Residue> {
        if !self.polymer {
            return None;
        }
        let chosen = self.best_alternative();
        let mut atoms = [None; 5];
        let mut b_factor = None;
        for atom in Atom::ALL {
            // The chosen alternative or what is common to all; another one only if neither has the atom.
            let rank = |seen: &&SeenAtom| match seen.alternative {
                own if own == chosen => 0,
                None => 1,
                Some(_) => 2,
            };
            let best = self
                .atoms
                .iter()
                .filter(|seen| seen.atom == atom)
                .min_by_key(rank);
            atoms[atom as usize] = best.map(|seen| seen.at);
            if atom == Atom::Ca || b_factor.is_none() {
                b_factor = best.map(|seen| seen.b_factor).or(b_factor);
            }
        }
        let named = self.names.iter().find(|(alternative, _)| *alternative == chosen);
        let (_, name) = named.or(self.names.first())?;
        let backbone = atoms[..3].iter().all(Option::is_some);
        let kind = match AminoAcid::from_name(name).filter(|kind| *kind != AminoAcid::Unknown) {
            Some(kind) => kind,
            None => match parents.get(name) {
                Some(parent) => *parent,
                // A residue of another kind; with a protein's backbone it is one all the same.
                None if backbone => AminoAcid::Unknown,
                None => AminoAcid::from_name(name)?,
            },
        };
        Some(Residue {
            kind,
            number: self.number,
            insertion: self.insertion,
            atoms,
            b_factor: b_factor.unwrap_or(0.0),
        })
    }

    /// The alternative with the atom that is seen most often; the first of equals. Atoms of one residue are taken
    /// from one alternative, as two mixed may have impossible bonds.
    fn best_alternative(&self) -> Option<char> {
        let named = || self.atoms.iter().filter(|atom| atom.alternative.is_some());
        let most = named().map(|atom| atom.occupancy).max_by(f32::total_cmp)?;
        named().find(|atom| atom.occupancy == most)?.alternative
    }
}
