//! What folds: parameters, the library of relatives, and what was learned about confidence. One file.
//!
//! | in the file | what |
//! |---|---|
//! | `shape` | the network's shape, as JSON, in the metadata |
//! | the network's tensors | its parameters |
//! | `library.lengths`, `.kinds`, `.places` | the chains of the library, as `library.rs` has them |
//! | `confidence`, `confidence.pairs` | weights of the regressions for pLDDT and PAE |

use super::confidence::{self, FACTS, PAIR_FACTS};
use super::examples::example;
use super::fold::{Folded, fold};
use super::geometry::{CLASSES, CONTACTS, Known};
use super::library;
use super::relatives::{Hints, hints, none};
use super::templates::templates;
use super::trunk;
use super::trunk::{Likely, Shape, Trunk};
use crate::{Prediction, Predictor, Sequence, Square};
use nn::{Checkpoint, CheckpointError, Network, Pool};
use std::path::Path;

/// The longest sequence that is folded, in residues.
pub const LONGEST: usize = trunk::LONGEST;

/// A trained network with its library.
#[derive(Debug, Clone)]
pub struct Weights {
    pub(super) trunk: Trunk,
    pub(super) params: Vec<f32>,
    pub(super) library: Vec<Known>,
    pub(super) confidence: [f32; FACTS],
    pub(super) pair_confidence: [f32; PAIR_FACTS],
}

/// A sequence on its way to a prediction.
pub(super) struct Opinion {
    pub(super) hints: Hints,
    pub(super) told: Likely,
    pub(super) folded: Folded,
}

impl Opinion {
    /// The folded chain, as one whose backbone is known.
    pub(super) fn known(&self, kinds: &[u8]) -> Known {
        let frames = self.folded.atoms.iter().map(|[n, ca, c, _, _]| [*n, *ca, *c]);
        Known::new(kinds.to_vec(), frames.collect())
    }
}

impl Weights {
    /// Reads a file that training wrote, or the `model.safetensors` of its folder.
    ///
    /// # Errors
    /// If there is no such file, or it is damaged or something else.
    pub fn load(path: &Path) -> Result<Self, nn::Error> {
        let path = match path.is_dir() {
            true => path.join("model.safetensors"),
            false => path.to_owned(),
        };
        let checkpoint = Checkpoint::read(&path)?;
        let shape = checkpoint.metadata("shape")?;
        let shape: Shape = serde_json::from_str(shape).map_err(|error| {
            content(format!(
                "its shape {shape:?} is none of a folding network: {error}"
            ))
        })?;
        let trunk = Trunk::new(shape)?;
        let mut params = vec![0.0; trunk.layout().len()];
        for tensor in &trunk.layout().tensors {
            params[tensor.range.clone()].copy_from_slice(checkpoint.tensor(&tensor.name, &tensor.shape)?);
        }
        let mut weights = Self {
            params,
            library: library::read(&checkpoint)?,
            confidence: [0.0; FACTS],
            pair_confidence: [0.0; PAIR_FACTS],
            trunk,
        };
        let (own, pairs) = (&mut weights.confidence, &mut weights.pair_confidence);
        own.copy_from_slice(checkpoint.tensor("confidence", &[FACTS])?);
        pairs.copy_from_slice(checkpoint.tensor("confidence.pairs", &[PAIR_FACTS])?);
        Ok(weights)
    }

    /// Writes the file, whole.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save(&self, path: &Path) -> Result<(), nn::Error> {
        let mut checkpoint = Checkpoint::default();
        let shape = serde_json::to_string(&self.trunk.shape).expect("a shape is plain data");
        checkpoint.metadata.insert("shape".to_owned(), shape);
        for tensor in &self.trunk.layout().tensors {
            let values = self.params[tensor.range.clone()].to_vec();
            checkpoint.push(&tensor.name, &tensor.shape, values);
        }
        library::push(&mut checkpoint, &self.library);
        checkpoint.push("confidence", &[FACTS], self.confidence.to_vec());
        checkpoint.push("confidence.pairs", &[PAIR_FACTS], self.pair_confidence.to_vec());
        Ok(checkpoint.write(path)?)
    }

    /// How many parameters the network has.
    pub fn parameters(&self) -> usize {
        self.params.len()
    }

    /// How many chains the library has.
    pub fn library(&self) -> usize {
        self.library.len()
    }

    /// The same without its library: what the network can tell from a sequence alone.
    pub fn alone(self) -> Self {
        Self {
            library: Vec::new(),
            ..self
        }
    }

    /// What is told of a chain; with `strict`, as if it and all too close to it were not in the library.
    pub(super) fn opinion(&self, kinds: &[u8], strict: bool) -> Opinion {
        let hints = match self.library.is_empty() {
            true => none(kinds.len()),
            false => hints(kinds, &self.library, strict),
        };
        let example = example(kinds, hints);
        let told = self.trunk.tell(&self.params, &Pool::default(), &example);
        let templates = templates(kinds, &told, &self.library, strict);
        let folded = fold(&told, kinds.len(), &templates);
        Opinion {
            hints: example.hints,
            told,
            folded,
        }
    }

    fn fold(&self, sequence: &Sequence) -> Prediction {
        if sequence.is_empty() {
            return Prediction::empty(sequence);
        }
        let kinds: Vec<u8> = sequence.residues.iter().map(|kind| kind.index() as u8).collect();
        let Opinion { hints, told, folded } = self.opinion(&kinds, false);
        let facts = confidence::facts(&told, &hints, &folded);
        let plddt = facts
            .iter()
            .map(|facts| confidence::lddt(&self.confidence, facts));
        let plddt: Vec<f32> = plddt.collect();
        let facts = confidence::pair_facts(&told, &folded, &plddt);
        let pae = facts
            .iter()
            .map(|facts| confidence::error(&self.pair_confidence, facts));
        Prediction {
            sequence: sequence.clone(),
            contacts: Some(contacts(&told, kinds.len())),
            pae: Some(Square::new(kinds.len(), pae.collect())),
            plddt: plddt.iter().map(|lddt| 100.0 * lddt).collect(),
            atoms: folded.atoms,
        }
    }
}

impl Predictor for Weights {
    /// One after the other: the memory is that of the longest.
    ///
    /// # Panics
    /// If a sequence has more than [`LONGEST`] residues.
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction> {
        sequences.iter().map(|sequence| self.fold(sequence)).collect()
    }

    fn memory(&self, count: usize, length: usize) -> u64 {
        let pairs = (length * length) as u64;
        let shape = &self.trunk.shape;
        // A pair in the trunk: a block's widest values; in the folding: four tables of half the pairs.
        let trunk = 4 * (12 * shape.pair_width + 4 * shape.triangle) as u64;
        let folding = 4 * (2 * 64 + 2 * CLASSES) as u64;
        pairs * trunk.max(folding) + count as u64 * (pairs * 4 + length as u64 * 64)
    }
}

/// The probability that the CB of two residues touch.
pub(super) fn contacts(told: &Likely, l: usize) -> Square {
    let mut values = vec![1.0; l * l];
    let mut rows = told.beta.chunks_exact(CLASSES);
    for i in 0..l {
        for j in i + 1..l {
            let row = rows.next().expect("a row for each pair");
            let touch: f32 = row[..CONTACTS].iter().sum();
            (values[i * l + j], values[j * l + i]) = (touch, touch);
        }
    }
    Square::new(l, values)
}

fn content(what: String) -> nn::Error {
    CheckpointError::Content(what).into()
}
