//! ESMFold's trunk: residues and pairs of them tell each other, block by block (algorithms 11 to 15 of AlphaFold 2,
//! Jumper et al. 2021, Nature 596, 583, with what Lin et al. 2023 left out left out).

use super::config;
use super::rows::{Linear, Norm, add, attend, gated, relu, transposed};
use super::tensors::Tensors;
use nn::{Math, Matrix, matmul};
use rayon::prelude::*;

/// Residues and pairs: l rows, and l rows of l.
pub(super) struct State {
    pub(super) residues: Vec<f32>,
    pub(super) pairs: Vec<f32>,
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    heads: usize,
    to_bias: (Norm, Linear),
    attention_norm: Norm,
    reads: Linear,
    gate: Linear,
    out: Linear,
    residue_steps: Steps,
    to_pairs: (Norm, Linear, Linear),
    triangles: [Triangle; 2],
    sides: [Side; 2],
    pair_steps: Steps,
}

impl Block {
    pub(super) fn read(tensors: &Tensors, name: &str, sizes: &config::Trunk) -> Result<Self, nn::Error> {
        let (s, z) = (sizes.sequence_state_dim, sizes.pairwise_state_dim);
        let heads = s / sizes.sequence_head_width;
        let at = |part: &str| format!("{name}.{part}");
        let triangle = |part: &str| Triangle::read(tensors, &at(part), z);
        let side = |part: &str| Side::read(tensors, &at(part), z, sizes.pairwise_head_width);
        Ok(Self {
            heads,
            to_bias: (
                Norm::read(tensors, &at("pair_to_sequence.layernorm"), z)?,
                Linear::without_bias(tensors, &at("pair_to_sequence.linear"), z, heads)?,
            ),
            attention_norm: Norm::read(tensors, &at("layernorm_1"), s)?,
            reads: Linear::without_bias(tensors, &at("seq_attention.proj"), s, 3 * s)?,
            gate: Linear::read(tensors, &at("seq_attention.g_proj"), s, s)?,
            out: Linear::read(tensors, &at("seq_attention.o_proj"), s, s)?,
            residue_steps: Steps::read(tensors, &at("mlp_seq.mlp"), s)?,
            to_pairs: (
                Norm::read(tensors, &at("sequence_to_pair.layernorm"), s)?,
                Linear::read(tensors, &at("sequence_to_pair.proj"), s, z)?,
                Linear::read(tensors, &at("sequence_to_pair.o_proj"), z, z)?,
            ),
            triangles: [triangle("tri_mul_out")?, triangle("tri_mul_in")?],
            sides: [side("tri_att_start")?, side("tri_att_end")?],
            pair_steps: Steps::read(tensors, &at("mlp_pair.mlp"), z)?,
        })
    }

    pub(super) fn run(&self, state: &mut State, l: usize) {
        let told = self.attention(state, l);
        add(&mut state.residues, &told);
        self.residue_steps.run(&mut state.residues);
        let told = self.outer(&state.residues, l);
        add(&mut state.pairs, &told);
        let [outgoing, incoming] = &self.triangles;
        let told = outgoing.of(&state.pairs, l, true);
        add(&mut state.pairs, &told);
        let told = incoming.of(&state.pairs, l, false);
        add(&mut state.pairs, &told);
        let [starting, ending] = &self.sides;
        let told = starting.of(&state.pairs, l);
        add(&mut state.pairs, &told);
        let turned = exchanged(&state.pairs, l);
        let told = exchanged(&ending.of(&turned, l), l);
        add(&mut state.pairs, &told);
        self.pair_steps.run(&mut state.pairs);
    }

    /// Residues read each other, as their pairs say.
    fn attention(&self, state: &State, l: usize) -> Vec<f32> {
        let bias = self.to_bias.1.of(&self.to_bias.0.of(&state.pairs));
        let bias = transposed(&bias, self.heads);
        let x = self.attention_norm.of(&state.residues);
        let reads = self.reads.of(&x);
        let d = self.reads.to / 3 / self.heads;
        // Query, key and value of one head lie side by side.
        let part = |k: usize| -> Vec<f32> {
            let heads = reads.chunks_exact(3 * d);
            heads
                .flat_map(|head| &head[k * d..(k + 1) * d])
                .copied()
                .collect()
        };
        let (q, k, v) = (part(0), part(1), part(2));
        let y = attend([&q, &k, &v], (l, self.heads, d), Some(&bias));
        self.out.of(&gated(y, &self.gate.of(&x)))
    }

    /// What two residues make of their pair: products and differences.
    fn outer(&self, residues: &[f32], l: usize) -> Vec<f32> {
        let (norm, sides, out) = &self.to_pairs;
        let sides = sides.of(&norm.of(residues));
        let half = sides.len() / l / 2;
        let mut pairs = vec![0.0; l * l * 2 * half];
        pairs
            .par_chunks_mut(l * 2 * half)
            .enumerate()
            .for_each(|(i, row)| {
                let key = &sides[(2 * i + 1) * half..(2 * i + 2) * half];
                for (j, to) in row.chunks_exact_mut(2 * half).enumerate() {
                    let query = &sides[2 * j * half..(2 * j + 1) * half];
                    for (c, (q, k)) in query.iter().zip(key).enumerate() {
                        (to[c], to[half + c]) = (q * k, q - k);
                    }
                }
            });
        out.of(&pairs)
    }
}

/// A norm, a wider layer, and back.
#[derive(Debug)]
struct Steps {
    norm: Norm,
    up: Linear,
    down: Linear,
}

impl Steps {
    fn read(tensors: &Tensors, name: &str, width: usize) -> Result<Self, nn::Error> {
        Ok(Self {
            norm: Norm::read(tensors, &format!("{name}.0"), width)?,
            up: Linear::read(tensors, &format!("{name}.1"), width, 4 * width)?,
            down: Linear::read(tensors, &format!("{name}.3"), 4 * width, width)?,
        })
    }

    /// Some rows at a time, since what lies between is wide.
    fn run(&self, x: &mut [f32]) {
        const CHUNK: usize = 4_096;
        for rows in x.chunks_mut(CHUNK * self.down.to) {
            let told = self.down.of(&relu(self.up.of(&self.norm.of(rows))));
            add(rows, &told);
        }
    }
}

/// A pair by the two other sides of every triangle over it.
#[derive(Debug)]
struct Triangle {
    norm: Norm,
    left: (Linear, Linear),
    right: (Linear, Linear),
    gate: Linear,
    out_norm: Norm,
    out: Linear,
}

impl Triangle {
    fn read(tensors: &Tensors, name: &str, z: usize) -> Result<Self, nn::Error> {
        let line = |part: &str| Linear::read(tensors, &format!("{name}.{part}"), z, z);
        Ok(Self {
            norm: Norm::read(tensors, &format!("{name}.layer_norm_in"), z)?,
            left: (line("linear_a_p")?, line("linear_a_g")?),
            right: (line("linear_b_p")?, line("linear_b_g")?),
            gate: line("linear_g")?,
            out_norm: Norm::read(tensors, &format!("{name}.layer_norm_out"), z)?,
            out: line("linear_z")?,
        })
    }

    /// Of pairs ij: the sum over k of ik times jk (`outgoing`), or of ki times kj.
    fn of(&self, pairs: &[f32], l: usize, outgoing: bool) -> Vec<f32> {
        let x = self.norm.of(pairs);
        // A square for each channel.
        let side = |(line, gate): &(Linear, Linear)| transposed(&gated(line.of(&x), &gate.of(&x)), line.to);
        let (a, b) = (side(&self.left), side(&self.right));
        let mut sums = vec![0.0; a.len()];
        let squares = sums.chunks_exact_mut(l * l);
        for ((sums, a), b) in squares.zip(a.chunks_exact(l * l)).zip(b.chunks_exact(l * l)) {
            let (a, b) = (Matrix::new(a, l), Matrix::new(b, l));
            let (a, b) = if outgoing { (a, b.t()) } else { (a.t(), b) };
            matmul(sums, false, 1.0, a, b, Math::F32);
        }
        let y = self.out.of(&self.out_norm.of(&transposed(&sums, l * l)));
        gated(y, &self.gate.of(&x))
    }
}

/// Pairs that share a residue read each other, as the third side says.
#[derive(Debug)]
struct Side {
    heads: usize,
    norm: Norm,
    bias: Linear,
    reads: [Linear; 3],
    gate: Linear,
    out: Linear,
}

impl Side {
    fn read(tensors: &Tensors, name: &str, z: usize, d: usize) -> Result<Self, nn::Error> {
        let at = |part: &str| format!("{name}.{part}");
        let read = |part: &str| Linear::without_bias(tensors, &at(part), z, z);
        Ok(Self {
            heads: z / d,
            norm: Norm::read(tensors, &at("layer_norm"), z)?,
            bias: Linear::without_bias(tensors, &at("linear"), z, z / d)?,
            reads: [
                read("mha.linear_q")?,
                read("mha.linear_k")?,
                read("mha.linear_v")?,
            ],
            gate: Linear::read(tensors, &at("mha.linear_g"), z, z)?,
            out: Linear::read(tensors, &at("mha.linear_o"), z, z)?,
        })
    }

    /// Row by row, so that the memory is that of the pairs.
    fn of(&self, pairs: &[f32], l: usize) -> Vec<f32> {
        let x = self.norm.of(pairs);
        let bias = transposed(&self.bias.of(&x), self.heads);
        let z = self.out.to;
        let mut y = vec![0.0; x.len()];
        let rows = y.par_chunks_mut(l * z).zip(x.par_chunks(l * z));
        rows.for_each(|(y, x)| {
            let [q, k, v] = self.reads.each_ref().map(|read| read.of(x));
            let read = attend([&q, &k, &v], (l, self.heads, z / self.heads), Some(&bias));
            y.copy_from_slice(&self.out.of(&gated(read, &self.gate.of(x))));
        });
        y
    }
}

/// Pairs ij where ji were.
fn exchanged(pairs: &[f32], l: usize) -> Vec<f32> {
    let z = pairs.len() / (l * l).max(1);
    let mut y = vec![0.0; pairs.len()];
    y.par_chunks_mut(l * z).enumerate().for_each(|(i, row)| {
        for (j, to) in row.chunks_exact_mut(z).enumerate() {
            to.copy_from_slice(&pairs[(j * l + i) * z..][..z]);
        }
    });
    y
}
