//! ESMFold's structure module: residues as frames that move until they lie right (algorithms 20 to 23 of
//! AlphaFold 2, Jumper et al. 2021, Nature 596, 583).

use super::config;
use super::rows::{Linear, Norm, add, relu, softmax};
use super::tensors::Tensors;
use crate::Point;
use crate::measure::superpose::rotation;
use rayon::prelude::*;

/// Where residues come to lie.
pub(super) struct Placed {
    pub(super) frames: Vec<Frame>,
    /// Sine and cosine of psi.
    pub(super) psi: Vec<[f32; 2]>,
    /// What the module knows of each residue at the end.
    pub(super) states: Vec<f32>,
}

/// The structure module.
#[derive(Debug)]
pub(super) struct Structure {
    sizes: config::Structure,
    norms: [Norm; 2],
    begin: Linear,
    points: PointAttention,
    points_norm: Norm,
    steps: Vec<[Linear; 3]>,
    steps_norm: Norm,
    moves: Linear,
    angles: Angles,
}

impl Structure {
    pub(super) fn read(tensors: &Tensors, name: &str, sizes: &config::Structure) -> Result<Self, nn::Error> {
        let (s, z) = (sizes.sequence_dim, sizes.pairwise_dim);
        let at = |part: &str| format!("{name}.{part}");
        let norm = |part: &str, width: usize| Norm::read(tensors, &at(part), width);
        let step = |i: usize| {
            let line =
                |k: usize| Linear::read(tensors, &at(&format!("transition.layers.{i}.linear_{k}")), s, s);
            Ok([line(1)?, line(2)?, line(3)?])
        };
        Ok(Self {
            norms: [norm("layer_norm_s", s)?, norm("layer_norm_z", z)?],
            begin: Linear::read(tensors, &at("linear_in"), s, s)?,
            points: PointAttention::read(tensors, &at("ipa"), sizes)?,
            points_norm: norm("layer_norm_ipa", s)?,
            steps: (0..sizes.num_transition_layers)
                .map(step)
                .collect::<Result<_, nn::Error>>()?,
            steps_norm: norm("transition.layer_norm", s)?,
            moves: Linear::read(tensors, &at("bb_update.linear"), s, 6)?,
            angles: Angles::read(tensors, &at("angle_resnet"), sizes)?,
            sizes: sizes.clone(),
        })
    }

    /// From residues and pairs as the trunk leaves them; all begin at one place.
    pub(super) fn place(&self, residues: &[f32], pairs: &[f32]) -> Placed {
        let first = self.norms[0].of(residues);
        let pairs = self.norms[1].of(pairs);
        let mut s = self.begin.of(&first);
        let mut frames = vec![Frame::default(); residues.len() / self.sizes.sequence_dim];
        for _ in 0..self.sizes.num_blocks {
            let told = self.points.of(&s, &pairs, &frames);
            add(&mut s, &told);
            s = self.points_norm.of(&s);
            for [a, b, c] in &self.steps {
                let told = c.of(&relu(b.of(&relu(a.of(&s)))));
                add(&mut s, &told);
            }
            s = self.steps_norm.of(&s);
            let moves = self.moves.of(&s);
            for (frame, by) in frames.iter_mut().zip(moves.chunks_exact(6)) {
                frame.step([by[0], by[1], by[2]], [by[3], by[4], by[5]]);
            }
        }
        for frame in &mut frames {
            frame.at = frame.at.map(|x| x * self.sizes.trans_scale_factor);
        }
        Placed {
            frames,
            psi: self.angles.psi(&s, &first),
            states: s,
        }
    }
}

/// A rotation, as a unit quaternion, and a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    turn: [f32; 4],
    at: Point,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            turn: [1.0, 0.0, 0.0, 0.0],
            at: [0.0; 3],
        }
    }
}

impl Frame {
    /// Where a place of its own lies.
    pub(super) fn apply(&self, p: Point) -> Point {
        let r = rotation(self.turn);
        std::array::from_fn(|i| r[i][0] * p[0] + r[i][1] * p[1] + r[i][2] * p[2] + self.at[i])
    }

    /// The way back.
    fn invert(&self, p: Point) -> Point {
        let (r, p) = (
            rotation(self.turn),
            std::array::from_fn::<f32, 3, _>(|i| p[i] - self.at[i]),
        );
        std::array::from_fn(|i| r[0][i] * p[0] + r[1][i] * p[1] + r[2][i] * p[2])
    }

    /// Turns by the quaternion (1, `turn`) and moves by `shift`, both as it sees them.
    fn step(&mut self, [i, j, k]: Point, shift: Point) {
        self.at = self.apply(shift);
        let [w, x, y, z] = self.turn;
        let turned = [
            w - x * i - y * j - z * k,
            x + w * i + y * k - z * j,
            y + w * j + z * i - x * k,
            z + w * k + x * j - y * i,
        ];
        let length = turned.iter().map(|x| x * x).sum::<f32>().sqrt();
        self.turn = turned.map(|x| x / length);
    }
}

/// Residues read each other by what they are, by their pairs, and by how near points lie that they carry.
#[derive(Debug)]
struct PointAttention {
    sizes: config::Structure,
    query: Linear,
    key_value: Linear,
    query_points: Linear,
    key_value_points: Linear,
    bias: Linear,
    weights: Vec<f32>,
    out: Linear,
}

impl PointAttention {
    fn read(tensors: &Tensors, name: &str, sizes: &config::Structure) -> Result<Self, nn::Error> {
        let (s, z, h) = (sizes.sequence_dim, sizes.pairwise_dim, sizes.num_heads_ipa);
        let (d, q, v) = (sizes.ipa_dim, sizes.num_qk_points, sizes.num_v_points);
        let line = |part: &str, from, to| Linear::read(tensors, &format!("{name}.{part}"), from, to);
        let weights = tensors.read(&format!("{name}.head_weights"), &[h])?;
        // Softplus, and what makes points weigh as much as the rest (algorithm 22, line 7).
        let scale = (1.0 / (3.0 * (q as f32 * 9.0 / 2.0))).sqrt();
        Ok(Self {
            query: line("linear_q", s, h * d)?,
            key_value: line("linear_kv", s, 2 * h * d)?,
            query_points: line("linear_q_points", s, h * q * 3)?,
            key_value_points: line("linear_kv_points", s, h * (q + v) * 3)?,
            bias: line("linear_b", z, h)?,
            weights: weights.iter().map(|x| scale * (1.0 + x.exp()).ln()).collect(),
            out: line("linear_out", h * (z + d + 4 * v), s)?,
            sizes: sizes.clone(),
        })
    }

    fn of(&self, s: &[f32], pairs: &[f32], frames: &[Frame]) -> Vec<f32> {
        let (l, heads) = (frames.len(), self.sizes.num_heads_ipa);
        let (d, z) = (self.sizes.ipa_dim, self.sizes.pairwise_dim);
        let (qs, vs) = (self.sizes.num_qk_points, self.sizes.num_v_points);
        let (query, key_value) = (self.query.of(s), self.key_value.of(s));
        let bias = self.bias.of(pairs);
        let query_points = carried(&self.query_points.of(s), frames);
        let points = carried(&self.key_value_points.of(s), frames);
        let (per, third) = (qs + vs, 1.0f32 / 3.0);
        let width = heads * (z + d + 4 * vs);
        let mut read = vec![0.0; l * width];
        read.par_chunks_mut(width).enumerate().for_each(|(i, to)| {
            let mut looks = vec![0.0; l];
            for head in 0..heads {
                let own = &query[(i * heads + head) * d..][..d];
                let own_points = &query_points[(i * heads + head) * qs..][..qs];
                for (j, look) in looks.iter_mut().enumerate() {
                    let key = &key_value[(j * heads + head) * 2 * d..][..d];
                    let key_points = &points[(j * heads + head) * per..][..qs];
                    let dot: f32 = own.iter().zip(key).map(|(a, b)| a * b).sum();
                    let square = |(a, b): (&Point, &Point)| -> f32 {
                        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
                    };
                    let apart: f32 = own_points.iter().zip(key_points).map(square).sum();
                    *look = dot * (third / d as f32).sqrt() + third.sqrt() * bias[(i * l + j) * heads + head]
                        - 0.5 * self.weights[head] * apart;
                }
                softmax(&mut looks);
                let mut seen = vec![[0f32; 3]; vs];
                for (j, look) in looks.iter().enumerate() {
                    let value = &key_value[((j * heads + head) * 2 + 1) * d..][..d];
                    add_scaled(&mut to[head * d..(head + 1) * d], *look, value);
                    let values = &points[(j * heads + head) * per + qs..][..vs];
                    for (seen, value) in seen.iter_mut().zip(values) {
                        add_scaled(seen, *look, value);
                    }
                    let from = heads * (d + 4 * vs) + head * z;
                    add_scaled(&mut to[from..from + z], *look, &pairs[(i * l + j) * z..][..z]);
                }
                for (p, seen) in seen.into_iter().enumerate() {
                    let seen = frames[i].invert(seen);
                    let place = heads * d + head * vs + p;
                    for (axis, x) in seen.into_iter().enumerate() {
                        to[place + axis * heads * vs] = x;
                    }
                    let square: f32 = seen.iter().map(|x| x * x).sum();
                    to[place + 3 * heads * vs] = (square + self.sizes.epsilon).sqrt();
                }
            }
        });
        self.out.of(&read)
    }
}

/// Points that frames carry, where they lie. A row is all x, then all y, then all z.
fn carried(rows: &[f32], frames: &[Frame]) -> Vec<Point> {
    let width = rows.len() / frames.len().max(1);
    let points = rows.chunks_exact(width).zip(frames).flat_map(|(row, frame)| {
        let third = width / 3;
        (0..third).map(move |k| frame.apply([row[k], row[third + k], row[2 * third + k]]))
    });
    points.collect()
}

fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
}

/// Torsions from what is known of a residue at the end and at the beginning.
#[derive(Debug)]
struct Angles {
    now: Linear,
    first: Linear,
    layers: Vec<[Linear; 2]>,
    out: Linear,
    epsilon: f32,
}

impl Angles {
    fn read(tensors: &Tensors, name: &str, sizes: &config::Structure) -> Result<Self, nn::Error> {
        let (s, c) = (sizes.sequence_dim, sizes.resnet_dim);
        let line = |part: &str, from, to| Linear::read(tensors, &format!("{name}.{part}"), from, to);
        let layer = |i: usize| {
            let [a, b] = [1, 2].map(|k| line(&format!("layers.{i}.linear_{k}"), c, c));
            Ok([a?, b?])
        };
        Ok(Self {
            now: line("linear_in", s, c)?,
            first: line("linear_initial", s, c)?,
            layers: (0..sizes.num_resnet_blocks)
                .map(layer)
                .collect::<Result<_, nn::Error>>()?,
            out: line("linear_out", c, 2 * sizes.num_angles)?,
            epsilon: sizes.epsilon,
        })
    }

    /// Sine and cosine of psi: the third, behind omega and phi.
    fn psi(&self, s: &[f32], first: &[f32]) -> Vec<[f32; 2]> {
        let mut x = self.now.of(&relu(s.to_vec()));
        add(&mut x, &self.first.of(&relu(first.to_vec())));
        for [a, b] in &self.layers {
            let told = b.of(&relu(a.of(&relu(x.clone()))));
            add(&mut x, &told);
        }
        let angles = self.out.of(&relu(x));
        let psi = |row: &[f32]| {
            let (sine, cosine) = (row[4], row[5]);
            let length = (sine * sine + cosine * cosine).max(self.epsilon).sqrt();
            [sine / length, cosine / length]
        };
        angles.chunks_exact(self.out.to).map(psi).collect()
    }
}
