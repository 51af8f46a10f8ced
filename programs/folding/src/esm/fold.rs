//! ESMFold: from a sequence to a backbone, how sure each residue is, and how far each may be off.

use super::config::{Config, Folding};
use super::language::Esm2;
use super::rows::{Linear, Norm, add, relu, softmax};
use super::structure::{Frame, Placed, Structure};
use super::tensors::Tensors;
use super::trunk::{Block, State};
use super::wrong;
use crate::build::virtual_beta;
use crate::{AminoAcid, Point, Prediction, Predictor, Sequence, Square};
use std::path::Path;

/// Classes of a distance for the next pass, and between which the classes lie, in angstrom.
const RECYCLED: (usize, f32, f32) = (15, 3.375, 21.375);
/// Classes of the distances of two CB that are told, between 2.3125 and 21.6875 A.
const DISTANCES: usize = 64;
/// Those below 8 A.
const CONTACTS: usize = 19;
/// Classes of an error, and the last one's beginning, in angstrom.
const ERRORS: (usize, f32) = (64, 31.0);
/// Classes of lDDT, for each of 37 atoms; CA is the second.
const LDDT: (usize, usize) = (50, 37);
/// Rows of the table of types: padding, the types, and what hides one.
const TYPES: usize = 23;

/// ESMFold with its language model.
#[derive(Debug)]
pub struct EsmFold {
    language: Esm2,
    /// What each layer's state weighs.
    layers: Vec<f32>,
    begin: (Norm, Linear, Linear),
    types: Option<Vec<f32>>,
    positions: Vec<f32>,
    blocks: Vec<Block>,
    again: (Norm, Norm, Vec<f32>),
    to_structure: (Linear, Linear),
    structure: Structure,
    lddt: (Norm, [Linear; 3]),
    distances: Linear,
    errors: Linear,
    sizes: Folding,
}

/// All that ESMFold says of a sequence.
#[derive(Debug)]
pub struct Folded {
    /// N, CA, C, O and CB of each residue. An unknown residue has those of alanine, glycine a virtual CB.
    pub atoms: Vec<[Point; 5]>,
    /// For each residue the lDDT of its CA that is expected, 0 to 1.
    pub lddt: Vec<f32>,
    /// The expected error in angstrom of residue `column` seen from residue `row`.
    pub errors: Square,
    /// The TM-score that is expected.
    pub tm_score: f32,
    /// Logits of 64 classes of the distance of two CB, for each pair.
    pub distances: Vec<f32>,
}

impl EsmFold {
    /// Reads a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// If something is missing or damaged, or of another kind than ESMFold.
    pub fn load(folder: &Path) -> Result<Self, nn::Error> {
        let config = Config::read(folder)?;
        let tensors = Tensors::open(folder)?;
        let Some(sizes) = config.esmfold_config.clone() else {
            return Err(wrong(format!(
                "{}: it is a language model, which folds nothing: config.json has no esmfold_config",
                folder.display()
            )));
        };
        Self::new(config, sizes, &tensors)
    }

    fn new(config: Config, sizes: Folding, tensors: &Tensors) -> Result<Self, nn::Error> {
        let (c, layers) = (config.hidden_size, config.num_hidden_layers + 1);
        let (s, z) = (sizes.trunk.sequence_state_dim, sizes.trunk.pairwise_state_dim);
        let own = &sizes.trunk.structure_module;
        let hidden = sizes.lddt_head_hid_dim;
        let line = |name: &str, from, to| Linear::read(tensors, name, from, to);
        let norm = |name: &str, width| Norm::read(tensors, name, width);
        let block = |i: usize| Block::read(tensors, &format!("trunk.blocks.{i}"), &sizes.trunk);
        let mut weights = tensors.read("esm_s_combine", &[layers])?;
        softmax(&mut weights);
        let types = match sizes.embed_aa {
            true => Some(tensors.read("embedding.weight", &[TYPES, s])?),
            false => None,
        };
        let bins = 2 * sizes.trunk.position_bins + 2;
        Ok(Self {
            language: Esm2::new(config, tensors)?,
            layers: weights,
            begin: (
                norm("esm_s_mlp.0", c)?,
                line("esm_s_mlp.1", c, s)?,
                line("esm_s_mlp.3", s, s)?,
            ),
            types,
            positions: tensors.read("trunk.pairwise_positional_embedding.embedding.weight", &[bins, z])?,
            blocks: (0..sizes.trunk.num_blocks).map(block).collect::<Result<_, _>>()?,
            again: (
                norm("trunk.recycle_s_norm", s)?,
                norm("trunk.recycle_z_norm", z)?,
                tensors.read("trunk.recycle_disto.weight", &[RECYCLED.0, z])?,
            ),
            to_structure: (
                line("trunk.trunk2sm_s", s, own.sequence_dim)?,
                line("trunk.trunk2sm_z", z, own.pairwise_dim)?,
            ),
            structure: Structure::read(tensors, "trunk.structure_module", own)?,
            lddt: (
                norm("lddt_head.0", own.sequence_dim)?,
                [
                    line("lddt_head.1", own.sequence_dim, hidden)?,
                    line("lddt_head.2", hidden, hidden)?,
                    line("lddt_head.3", hidden, LDDT.0 * LDDT.1)?,
                ],
            ),
            distances: line("distogram_head", z, DISTANCES)?,
            errors: line("ptm_head", z, ERRORS.0)?,
            sizes,
        })
    }

    /// Folds a sequence.
    ///
    /// # Errors
    /// If it is empty or too long for the language model.
    pub fn fold(&self, sequence: &Sequence) -> Result<Folded, nn::Error> {
        let l = sequence.len();
        if l == 0 {
            return Err(nn::Error::Shape("there are no residues to fold".to_owned()));
        }
        let first = self.residues(sequence)?;
        let z = self.sizes.trunk.pairwise_state_dim;
        let mut state = State {
            residues: vec![0.0; first.len()],
            pairs: vec![0.0; l * l * z],
        };
        let (mut classes, mut placed) = (vec![0; l * l], None);
        for _ in 0..self.sizes.trunk.max_recycles {
            state.residues = self.again.0.of(&state.residues);
            add(&mut state.residues, &first);
            state.pairs = self.again.1.of(&state.pairs);
            self.add_tables(&mut state.pairs, &classes, l);
            self.blocks.iter().for_each(|block| block.run(&mut state, l));
            let residues = self.to_structure.0.of(&state.residues);
            let now = self
                .structure
                .place(&residues, &self.to_structure.1.of(&state.pairs));
            classes = recycled(&now, sequence);
            placed = Some(now);
        }
        let placed = placed.expect("there is a pass");
        Ok(self.told(sequence, &state, &placed))
    }

    /// What the language model says of each residue, and its type.
    fn residues(&self, sequence: &Sequence) -> Result<Vec<f32>, nn::Error> {
        let states = self.language.states(&Esm2::tokens(sequence))?;
        let c = self.language.width();
        // Without the ends.
        let mut mixed = vec![0.0; sequence.len() * c];
        for (state, weight) in states.iter().zip(&self.layers) {
            let inner = &state[c..state.len() - c];
            mixed.iter_mut().zip(inner).for_each(|(to, x)| *to += weight * x);
        }
        let (norm, up, down) = &self.begin;
        let mut residues = down.of(&relu(up.of(&norm.of(&mixed))));
        if let Some(types) = &self.types {
            let s = self.sizes.trunk.sequence_state_dim;
            for (row, kind) in residues.chunks_exact_mut(s).zip(&sequence.residues) {
                add(row, &types[kind.index() * s..][..s]);
            }
        }
        Ok(residues)
    }

    /// Adds how far pairs are from each other along the chain, and in the last pass.
    fn add_tables(&self, pairs: &mut [f32], classes: &[usize], l: usize) {
        let (z, bins) = (
            self.sizes.trunk.pairwise_state_dim,
            self.sizes.trunk.position_bins,
        );
        for (k, row) in pairs.chunks_exact_mut(z).enumerate() {
            let (i, j) = (k / l, k % l);
            let along = if j >= i {
                bins + 1 + (j - i).min(bins)
            } else {
                bins + 1 - (i - j).min(bins)
            };
            add(row, &self.positions[along * z..][..z]);
            add(row, &self.again.2[classes[k] * z..][..z]);
        }
    }

    fn told(&self, sequence: &Sequence, state: &State, placed: &Placed) -> Folded {
        let l = sequence.len();
        let [a, b, c] = &self.lddt.1;
        let logits = c.of(&b.of(&a.of(&self.lddt.0.of(&placed.states))));
        let ca = |row: &[f32]| {
            let mut classes = row[LDDT.0..2 * LDDT.0].to_vec();
            softmax(&mut classes);
            let middle = |(k, p): (usize, &f32)| p * (k as f32 + 0.5) / LDDT.0 as f32;
            classes.iter().enumerate().map(middle).sum::<f32>()
        };
        let lddt = logits.chunks_exact(LDDT.0 * LDDT.1).map(ca).collect();
        let (errors, tm_score) = errors(self.errors.of(&state.pairs), l);
        let one_way = self.distances.of(&state.pairs);
        let both = |(k, x): (usize, &f32)| {
            let (pair, class) = (k / DISTANCES, k % DISTANCES);
            let back = (pair % l * l + pair / l) * DISTANCES + class;
            0.5 * (x + one_way[back])
        };
        let kinds = sequence.residues.iter().map(|kind| match kind {
            AminoAcid::Unknown => AminoAcid::Ala,
            known => *known,
        });
        let places = placed.frames.iter().zip(&placed.psi).zip(kinds);
        Folded {
            atoms: places
                .map(|((frame, psi), kind)| backbone(frame, *psi, kind))
                .collect(),
            lddt,
            errors,
            tm_score,
            distances: one_way.iter().enumerate().map(both).collect(),
        }
    }
}

/// Where N, C, O and CB lie in a residue's frame, CA being its origin, for each type in the order of [`AminoAcid`]:
/// x and y of N, x of C, x and y of O about the bond to C, and CB. The ideal places of AlphaFold 2's supplement,
/// table 2; glycine has no CB.
#[rustfmt::skip]
const IDEAL: [[f32; 8]; 20] = [
    [-0.525, 1.363, 1.526, 0.627, 1.062, -0.529, -0.774, -1.205],
    [-0.524, 1.362, 1.525, 0.626, 1.062, -0.524, -0.778, -1.209],
    [-0.536, 1.357, 1.526, 0.625, 1.062, -0.531, -0.787, -1.200],
    [-0.525, 1.362, 1.527, 0.626, 1.062, -0.526, -0.778, -1.208],
    [-0.522, 1.362, 1.524, 0.625, 1.062, -0.519, -0.773, -1.212],
    [-0.526, 1.361, 1.526, 0.626, 1.062, -0.525, -0.779, -1.207],
    [-0.528, 1.361, 1.526, 0.626, 1.062, -0.526, -0.781, -1.207],
    [-0.572, 1.337, 1.517, 0.626, 1.062, 0.0, 0.0, 0.0],
    [-0.527, 1.360, 1.525, 0.625, 1.063, -0.525, -0.778, -1.208],
    [-0.493, 1.373, 1.527, 0.627, 1.062, -0.536, -0.793, -1.213],
    [-0.520, 1.363, 1.525, 0.625, 1.063, -0.522, -0.773, -1.214],
    [-0.526, 1.362, 1.526, 0.626, 1.062, -0.524, -0.778, -1.208],
    [-0.521, 1.364, 1.525, 0.625, 1.062, -0.523, -0.776, -1.210],
    [-0.518, 1.363, 1.524, 0.626, 1.062, -0.525, -0.776, -1.212],
    [-0.566, 1.351, 1.527, 0.621, 1.066, -0.546, -0.611, -1.293],
    [-0.529, 1.360, 1.525, 0.626, 1.062, -0.518, -0.777, -1.211],
    [-0.517, 1.364, 1.526, 0.626, 1.062, -0.516, -0.793, -1.215],
    [-0.521, 1.363, 1.525, 0.627, 1.062, -0.523, -0.776, -1.212],
    [-0.522, 1.362, 1.524, 0.627, 1.062, -0.522, -0.776, -1.213],
    [-0.494, 1.373, 1.527, 0.627, 1.062, -0.533, -0.795, -1.213],
];

/// N, CA, C, O and CB of a residue.
fn backbone(frame: &Frame, [sine, cosine]: [f32; 2], kind: AminoAcid) -> [Point; 5] {
    let [nx, ny, c, ox, oy, bx, by, bz] = IDEAL[kind.index()];
    let [n, ca, carbon] = [[nx, ny, 0.0], [0.0; 3], [c, 0.0, 0.0]];
    // The bond's own frame is turned by half a turn about it.
    let o = [c + ox, -cosine * oy, -sine * oy];
    let wide = |at: Point| at.map(f64::from);
    let beta = match kind {
        AminoAcid::Gly => virtual_beta([wide(n), wide(ca), wide(carbon)]).map(|x| x as f32),
        _ => [bx, by, bz],
    };
    [n, ca, carbon, o, beta].map(|at| frame.apply(at))
}

/// The class of each pair's distance of virtual CB. An unknown residue lies at the origin: it has no atoms.
fn recycled(placed: &Placed, sequence: &Sequence) -> Vec<usize> {
    let (classes, low, high) = RECYCLED;
    let residues = placed.frames.iter().zip(&placed.psi).zip(&sequence.residues);
    let beta = |((frame, psi), kind): ((&Frame, &[f32; 2]), &AminoAcid)| -> Point {
        if *kind == AminoAcid::Unknown {
            return [0.0; 3];
        }
        let [n, ca, c, _, _] = backbone(frame, *psi, *kind);
        virtual_beta([n, ca, c].map(|at| at.map(f64::from))).map(|x| x as f32)
    };
    let betas: Vec<Point> = residues.map(beta).collect();
    let step = (high - low) / (classes - 2) as f32;
    let class = |a: &Point, b: &Point| {
        let d = crate::distance(*a, *b);
        (0..classes - 1).filter(|k| d > low + step * *k as f32).count()
    };
    betas
        .iter()
        .flat_map(|a| betas.iter().map(move |b| class(a, b)))
        .collect()
}

/// The expected error of each pair, and the TM-score that goes with them.
fn errors(mut logits: Vec<f32>, l: usize) -> (Square, f32) {
    let (classes, last) = ERRORS;
    let step = last / (classes - 2) as f32;
    let middle = |k: usize| step * (k as f32 + 0.5);
    let d0 = 1.24 * (l.max(19) as f32 - 15.0).cbrt() - 1.8;
    let (mut errors, mut scores) = (Vec::with_capacity(l * l), Vec::with_capacity(l * l));
    for row in logits.chunks_exact_mut(classes) {
        softmax(row);
        errors.push(row.iter().enumerate().map(|(k, p)| p * middle(k)).sum());
        let near = |(k, p): (usize, &f32)| p / (1.0 + (middle(k) / d0).powi(2));
        scores.push(row.iter().enumerate().map(near).sum::<f32>());
    }
    let means = scores
        .chunks_exact(l)
        .map(|row| row.iter().sum::<f32>() / l as f32);
    (Square::new(l, errors), means.fold(0.0, f32::max))
}

impl Predictor for EsmFold {
    /// One after the other.
    ///
    /// # Panics
    /// If a sequence is longer than the language model takes.
    fn predict(&self, sequences: &[Sequence]) -> Vec<Prediction> {
        let predict = |sequence: &Sequence| {
            if sequence.is_empty() {
                return Prediction::empty(sequence);
            }
            let mut folded = self.fold(sequence).expect("a sequence that isn't too long");
            let contact = |row: &mut [f32]| {
                softmax(row);
                row[..CONTACTS].iter().sum()
            };
            let contacts = folded.distances.chunks_exact_mut(DISTANCES).map(contact);
            Prediction {
                sequence: sequence.clone(),
                contacts: Some(Square::new(sequence.len(), contacts.collect())),
                atoms: folded.atoms,
                plddt: folded.lddt.iter().map(|x| 100.0 * x).collect(),
                pae: Some(folded.errors),
            }
        };
        sequences.iter().map(predict).collect()
    }

    fn memory(&self, count: usize, length: usize) -> u64 {
        let pairs = (length * length) as u64;
        let z = self.sizes.trunk.pairwise_state_dim as u64;
        // A triangle update keeps about eight values of a pair; a prediction two squares and the distances.
        pairs * 4 * 8 * z + count as u64 * pairs * 4 * (2 + DISTANCES as u64)
    }
}
