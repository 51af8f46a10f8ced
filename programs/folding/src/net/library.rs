//! Chains in one file: the library in a network's weights, and what a job across sites reads.
//!
//! | in the file | what |
//! |---|---|
//! | `library.lengths` | residues of each chain |
//! | `library.kinds` | the type of each residue, one chain after the other |
//! | `library.places` | N, CA and C of each, in angstrom |

use super::geometry::Known;
use super::trunk::LONGEST;
use crate::{AminoAcid, Atom, Chain, Point, Residue};
use nn::{Checkpoint, CheckpointError};
use std::path::Path;

/// Chains whose backbones are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Library(pub(super) Vec<Known>);

impl Library {
    /// The chains that a network can learn from: of 2 to 1,024 residues that have N, CA and C.
    pub fn of(chains: &[Chain]) -> Self {
        let known = chains.iter().map(Known::of);
        Self(
            known
                .filter(|known| (2..=LONGEST).contains(&known.len()))
                .collect(),
        )
    }

    /// Reads a file that [`Library::save`] wrote.
    ///
    /// # Errors
    /// If there is no such file, or it is damaged or something else.
    pub fn load(path: &Path) -> Result<Self, nn::Error> {
        Ok(Self(read(&Checkpoint::read(path)?)?))
    }

    /// Writes them into one file, whole. The same chains are the same bytes.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save(&self, path: &Path) -> Result<(), nn::Error> {
        let mut checkpoint = Checkpoint::default();
        push(&mut checkpoint, &self.0);
        Ok(checkpoint.write(path)?)
    }

    /// How many chains there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Residues of all chains.
    pub fn residues(&self) -> usize {
        self.0.iter().map(Known::len).sum()
    }

    /// The chains as measures take them.
    pub fn chains(&self) -> Vec<Chain> {
        self.0.iter().map(chain).collect()
    }
}

/// A known chain as measures take it.
pub(super) fn chain(known: &Known) -> Chain {
    let residue = |(i, (kind, frame)): (usize, (&u8, &[Point; 3]))| {
        let mut atoms = [None; 5];
        for (atom, place) in [Atom::N, Atom::Ca, Atom::C].into_iter().zip(frame) {
            atoms[atom as usize] = Some(*place);
        }
        let kinds = AminoAcid::all().nth(usize::from(*kind));
        Residue {
            kind: kinds.unwrap_or(AminoAcid::Unknown),
            number: i as i32 + 1,
            insertion: None,
            atoms,
            b_factor: 0.0,
        }
    };
    let pairs = known.kinds.iter().zip(&known.frames);
    Chain {
        id: String::new(),
        residues: pairs.enumerate().map(residue).collect(),
    }
}

/// Puts chains into a file.
pub(super) fn push(checkpoint: &mut Checkpoint, library: &[Known]) {
    let residues: usize = library.iter().map(Known::len).sum();
    let lengths = library.iter().map(|known| known.len() as f32).collect();
    let kinds = library.iter().flat_map(|known| &known.kinds);
    let kinds = kinds.map(|kind| f32::from(*kind)).collect();
    let places = library.iter().flat_map(|known| known.frames.as_flattened());
    let places = places.flatten().copied().collect();
    checkpoint.push("library.lengths", &[library.len()], lengths);
    checkpoint.push("library.kinds", &[residues], kinds);
    checkpoint.push("library.places", &[residues, 9], places);
}

/// The chains that are in a file.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<Vec<Known>, nn::Error> {
    let find = |name: &str| {
        let found = checkpoint.tensors.iter().find(|(other, _, _)| other == name);
        let (_, _, values) = found.ok_or_else(|| content(format!("it has no tensor {name}")))?;
        Ok::<_, nn::Error>(values.as_slice())
    };
    let (lengths, kinds, places) = (
        find("library.lengths")?,
        find("library.kinds")?,
        find("library.places")?,
    );
    let whole = |x: &f32, below: usize| {
        let fits = x.fract() == 0.0 && (0.0..below as f32).contains(x);
        fits.then_some(*x as usize)
    };
    let wrong = || content("its library's lengths, kinds and places don't fit together".to_owned());
    if places.len() != 9 * kinds.len() || places.iter().any(|x| !x.is_finite()) {
        return Err(wrong());
    }
    let (mut library, mut from) = (Vec::new(), 0);
    for length in lengths {
        let length = whole(length, LONGEST + 1).ok_or_else(wrong)?;
        let own = kinds.get(from..from + length).ok_or_else(wrong)?;
        let kind = |x: &f32| whole(x, AminoAcid::COUNT).map(|kind| kind as u8);
        let own: Option<Vec<u8>> = own.iter().map(kind).collect();
        let frames = places[9 * from..9 * (from + length)].chunks_exact(9);
        let frames = frames.map(|at| [0, 3, 6].map(|k| [at[k], at[k + 1], at[k + 2]]));
        library.push(Known::new(own.ok_or_else(wrong)?, frames.collect()));
        from += length;
    }
    if from != kinds.len() {
        return Err(wrong());
    }
    Ok(library)
}

fn content(what: String) -> nn::Error {
    CheckpointError::Content(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn chains_survive_a_file_and_any_bytes_give_some_or_words() {
        let frames = |l: usize| {
            (0..l)
                .map(|i| [0, 1, 2].map(|k| [i as f32, k as f32, 0.5]))
                .collect()
        };
        let library = Library([3, 2].map(|l| Known::new(vec![7; l], frames(l))).into());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.chains");
        library.save(&path).unwrap();
        assert_eq!(Library::load(&path).unwrap(), library);
        assert_eq!(
            (library.len(), library.residues(), library.chains()[1].len()),
            (2, 5, 2)
        );
        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            fs::write(&path, &whole[..i]).unwrap();
            assert!(Library::load(&path).is_err(), "cut at {i}");
            let mut flipped = whole.clone();
            flipped[i] ^= 1 << (i % 8);
            fs::write(&path, &flipped).unwrap();
            let _ = Library::load(&path);
        }
    }
}
