//! The network: residues, then pairs of residues, then what is told of both.
//!
//! ```text
//! residues  x_lc   type, ends, relatives -> [convolution, attention, SwiGLU] x layers
//! pairs     z_ijc  x_i + x_j, x_i x_j, separation, relatives
//!                  -> [triangle, depthwise convolution with SwiGLU] x layers
//! heads            of z_ij + z_ji: distance of the CB, of the CA, omega; of z_ij: theta, phi
//!                  of x_l: torsions, secondary structure, the type where it was hidden
//! ```

use super::examples::{Example, Examples, HIDDEN, SEPARATIONS};
use super::geometry::{CLASSES, ORIENTATIONS, STATES, TURNS};
use super::relatives::{PAIR, RESIDUE};
use nn::{
    Batch, Classes, Element, Error, Gelu, Heads, Init, Layout, Mask, Network, Outer, Param, Pool, Rope,
    Square, Tape, Var, Window,
};
use serde::{Deserialize, Serialize};

const EPS: f32 = 1e-5;
/// Residues that the convolution over the sequence sees.
const WINDOW: usize = 7;
/// Pairs that the convolution over pairs sees along each side.
const SQUARE: usize = 5;
/// The longest chain that positions are known for.
pub(super) const LONGEST: usize = 1024;
/// What is told of a residue's place: how near the ends are, how long the chain is.
pub(super) const ENDS: usize = 4;

/// The network's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// Width of a residue.
    pub width: usize,
    /// Heads of the attention between residues.
    pub heads: usize,
    /// Blocks over residues.
    pub layers: usize,
    /// Width of a pair.
    pub pair_width: usize,
    /// Blocks over pairs.
    pub pair_layers: usize,
    /// Channels of a triangle update.
    pub triangle: usize,
    /// The part of a block's values over residues that is dropped in training.
    pub dropout: f32,
    /// And over pairs.
    pub pair_dropout: f32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            width: 96,
            heads: 4,
            layers: 3,
            pair_width: 32,
            pair_layers: 2,
            triangle: 16,
            dropout: 0.1,
            pair_dropout: 0.05,
        }
    }
}

impl Shape {
    /// Refuses what makes no network.
    fn check(&self) -> Result<(), Error> {
        let counts = [
            ("heads", self.heads, 64),
            ("layers", self.layers, 64),
            ("pair_width", self.pair_width, 1024),
            ("pair_layers", self.pair_layers, 64),
            ("triangle", self.triangle, 1024),
            ("width", self.width, 4096),
        ];
        for (field, value, most) in counts {
            if !(1..=most).contains(&value) {
                return Err(setting(field, &value, format!("it takes 1 to {most}")));
            }
        }
        if !self.width.is_multiple_of(2 * self.heads) {
            let wanted = format!("it takes a multiple of twice the {} heads", self.heads);
            return Err(setting("width", &self.width, wanted));
        }
        for (field, rate) in [("dropout", self.dropout), ("pair_dropout", self.pair_dropout)] {
            if !(0.0..1.0).contains(&rate) {
                return Err(setting(
                    field,
                    &rate,
                    "it takes 0 up to, not including, 1".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

fn setting(field: &'static str, value: &impl ToString, wanted: String) -> Error {
    Error::Setting {
        field,
        value: value.to_string(),
        wanted,
    }
}

/// The network, without its parameters.
#[derive(Debug, Clone)]
pub(super) struct Trunk {
    layout: Layout,
    pub(super) shape: Shape,
    kinds: Param,
    ends: Param,
    hints: Param,
    blocks: Vec<Block>,
    norm: Param,
    pairs: Pairs,
    pair_blocks: Vec<PairBlock>,
    pair_norm: Param,
    heads: HeadParams,
    rope: Rope,
}

#[derive(Debug, Clone)]
struct Block {
    norms: [Param; 3],
    convolution: Param,
    bias: Param,
    mixed: Param,
    qkv: Param,
    out: Param,
    up: Param,
    down: Param,
}

/// How pairs are made of residues.
#[derive(Debug, Clone)]
struct Pairs {
    left: Param,
    right: Param,
    left_factor: Param,
    right_factor: Param,
    product: Param,
    separations: Param,
    hints: Param,
}

#[derive(Debug, Clone)]
struct PairBlock {
    triangle_norm: Param,
    sides: Param,
    gate: Param,
    gate_bias: Param,
    thirds_norm: Param,
    thirds: Param,
    norm: Param,
    square: Param,
    square_bias: Param,
    square_norm: Param,
    up: Param,
    down: Param,
    dilation: usize,
}

#[derive(Debug, Clone)]
struct HeadParams {
    beta: Param,
    alpha: Param,
    omega: Param,
    theta: Param,
    phi: Param,
    turns: Param,
    states: Param,
    kinds: Param,
}

/// What the network tells of a chain: probabilities, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Likely {
    /// Classes of the distance of two CB, for each pair of [`Example::upper`].
    pub(super) beta: Vec<f32>,
    /// And of two CA.
    pub(super) alpha: Vec<f32>,
    /// Classes of each residue's torsions.
    pub(super) turns: Vec<f32>,
    /// Secondary structures of each residue.
    pub(super) states: Vec<f32>,
}

impl Trunk {
    pub(super) fn new(shape: Shape) -> Result<Self, Error> {
        shape.check()?;
        let (c, p) = (shape.width, shape.pair_width);
        let mut layout = Layout::default();
        let kinds = layout.add("kinds", &[21, c], Init::Normal(0.5));
        let ends = matrix(&mut layout, "ends", c, ENDS);
        let hints = matrix(&mut layout, "relatives", c, RESIDUE);
        let blocks = (0..shape.layers)
            .map(|i| Block::new(&mut layout, i, &shape))
            .collect();
        let norm = layout.add("norm", &[c], Init::Ones);
        let pairs = Pairs {
            left: matrix(&mut layout, "pairs.left", p, c),
            right: matrix(&mut layout, "pairs.right", p, c),
            left_factor: matrix(&mut layout, "pairs.left_factor", p, c),
            right_factor: matrix(&mut layout, "pairs.right_factor", p, c),
            product: matrix(&mut layout, "pairs.product", p, p),
            separations: layout.add("pairs.separations", &[SEPARATIONS, p], Init::Normal(0.5)),
            hints: matrix(&mut layout, "pairs.relatives", p, PAIR),
        };
        let pair_blocks = (0..shape.pair_layers)
            .map(|i| PairBlock::new(&mut layout, i, &shape))
            .collect();
        let pair_norm = layout.add("pairs.norm", &[p], Init::Ones);
        let heads = HeadParams {
            beta: matrix(&mut layout, "head.beta", CLASSES, p),
            alpha: matrix(&mut layout, "head.alpha", CLASSES, p),
            omega: matrix(&mut layout, "head.omega", ORIENTATIONS.0, p),
            theta: matrix(&mut layout, "head.theta", ORIENTATIONS.0, p),
            phi: matrix(&mut layout, "head.phi", ORIENTATIONS.1, p),
            turns: matrix(&mut layout, "head.turns", TURNS * TURNS, c),
            states: matrix(&mut layout, "head.states", STATES, c),
            kinds: matrix(&mut layout, "head.kinds", usize::from(HIDDEN), c),
        };
        Ok(Self {
            kinds,
            ends,
            hints,
            blocks,
            norm,
            pairs,
            pair_blocks,
            pair_norm,
            heads,
            rope: Rope::new(LONGEST, c / shape.heads, 1000.0),
            layout,
            shape,
        })
    }

    /// What parameters tell of a chain.
    pub(super) fn tell(&self, params: &[f32], pool: &Pool<f32>, example: &Example) -> Likely {
        let mut tape = Tape::inference(pool, params);
        let x = self.residues(&mut tape, example);
        let z = self.pairs(&mut tape, &x, example);
        let both = self.both_ways(&mut tape, &z, example);
        drop(z);
        Likely {
            beta: told(&mut tape, &both, self.heads.beta),
            alpha: told(&mut tape, &both, self.heads.alpha),
            turns: told(&mut tape, &x, self.heads.turns),
            states: told(&mut tape, &x, self.heads.states),
        }
    }

    /// A row for each residue.
    fn residues<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, example: &'a Example) -> Var<'a, E> {
        let ends = tape.input(&example.ends, ENDS);
        let hints = tape.input(&example.hints.residues, RESIDUE);
        let x = tape.embed(&example.kinds, self.kinds);
        let x = tape.linear_add(x, &ends, self.ends, None);
        let mut x = tape.linear_add(x, &hints, self.hints, None);
        for (i, block) in self.blocks.iter().enumerate() {
            x = self.block(tape, x, block, example, 3 * i as u64);
        }
        tape.rms_norm(&x, self.norm, EPS)
    }

    fn block<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        x: Var<'a, E>,
        block: &'a Block,
        example: &'a Example,
        place: u64,
    ) -> Var<'a, E> {
        let window = Window {
            t: x.rows,
            width: WINDOW,
            stride: 1,
            before: WINDOW / 2,
            after: WINDOW / 2,
        };
        let (seed, rate) = (example.seed, self.shape.dropout);
        let h = tape.rms_norm(&x, block.norms[0], EPS);
        let h = tape.convolution(&h, block.convolution, Some(block.bias), window);
        let h = tape.gelu(&h, Gelu::Tanh);
        let h = dropped(tape, h, seed, rate, place);
        let x = tape.linear_add(x, &h, block.mixed, None);

        let (h, d) = (self.shape.heads, self.shape.width / self.shape.heads);
        let heads = Heads {
            t: x.rows,
            h,
            k: h,
            d,
        };
        let h = tape.rms_norm(&x, block.norms[1], EPS);
        let qkv = tape.linear(&h, block.qkv, None);
        let qkv = tape.rope(qkv, 2 * heads.h, &example.positions, &self.rope);
        let h = tape.attention(&qkv, heads, Mask::Full, None);
        let h = dropped(tape, h, seed, rate, place + 1);
        let x = tape.linear_add(x, &h, block.out, None);

        let h = tape.rms_norm(&x, block.norms[2], EPS);
        let h = tape.linear(&h, block.up, None);
        let h = tape.swiglu(&h);
        let h = dropped(tape, h, seed, rate, place + 2);
        tape.linear_add(x, &h, block.down, None)
    }

    /// A row for each pair of residues.
    fn pairs<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        x: &Var<'a, E>,
        example: &'a Example,
    ) -> Var<'a, E> {
        let pairs = &self.pairs;
        let z = tape.embed(&example.separations, pairs.separations);
        let hints = tape.input(&example.hints.pairs, PAIR);
        let z = tape.linear_add(z, &hints, pairs.hints, None);
        let (left, right) = (
            tape.linear(x, pairs.left, None),
            tape.linear(x, pairs.right, None),
        );
        let sum = tape.outer(&left, &right, Outer::Sum);
        let z = tape.add(z, &sum);
        let (left, right) = (
            tape.linear(x, pairs.left_factor, None),
            tape.linear(x, pairs.right_factor, None),
        );
        let product = tape.outer(&left, &right, Outer::Product);
        let mut z = tape.linear_add(z, &product, pairs.product, None);
        drop((sum, product));
        for (i, block) in self.pair_blocks.iter().enumerate() {
            z = self.pair_block(tape, z, block, example, 1_000 + 2 * i as u64);
        }
        tape.rms_norm(&z, self.pair_norm, EPS)
    }

    fn pair_block<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        z: Var<'a, E>,
        block: &'a PairBlock,
        example: &'a Example,
        place: u64,
    ) -> Var<'a, E> {
        let (seed, rate) = (example.seed, self.shape.pair_dropout);
        let l = example.kinds.len() as f32;
        let h = tape.rms_norm(&z, block.triangle_norm, EPS);
        let gate = tape.linear(&h, block.gate, Some(block.gate_bias));
        let h = tape.linear(&h, block.sides, None);
        let h = tape.gate(&h, &gate);
        let h = tape.triangle(&h, 1.0 / l.sqrt());
        let h = tape.rms_norm(&h, block.thirds_norm, EPS);
        let h = dropped(tape, h, seed, rate, place);
        let z = tape.linear_add(z, &h, block.thirds, None);

        let square = Square {
            width: SQUARE,
            dilation: block.dilation,
        };
        let h = tape.rms_norm(&z, block.norm, EPS);
        let h = tape.pair_convolution(&h, block.square, block.square_bias, square);
        let h = tape.rms_norm(&h, block.square_norm, EPS);
        let h = tape.linear(&h, block.up, None);
        let h = tape.swiglu(&h);
        let h = dropped(tape, h, seed, rate, place + 1);
        tape.linear_add(z, &h, block.down, None)
    }

    /// `z_ij + z_ji` of the pairs that are told of: what has no direction.
    fn both_ways<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        z: &Var<'a, E>,
        example: &'a Example,
    ) -> Var<'a, E> {
        let there = tape.pick(z, &example.upper);
        let back = tape.pick(z, &example.lower);
        tape.add(there, &back)
    }
}

impl Block {
    fn new(layout: &mut Layout, i: usize, shape: &Shape) -> Self {
        let c = shape.width;
        let name = |part: &str| format!("residues.{i}.{part}");
        let norms =
            ["convolution_norm", "attention_norm", "up_norm"].map(|n| layout.add(name(n), &[c], Init::Ones));
        Self {
            norms,
            convolution: matrix(layout, &name("convolution"), c, WINDOW * c),
            bias: layout.add(name("convolution.bias"), &[c], Init::Zeros),
            mixed: layout.add(name("mixed"), &[c, c], Init::Zeros),
            qkv: matrix(layout, &name("qkv"), 3 * c, c),
            out: layout.add(name("out"), &[c, c], Init::Zeros),
            up: matrix(layout, &name("up"), 4 * c, c),
            down: layout.add(name("down"), &[c, 2 * c], Init::Zeros),
        }
    }
}

impl PairBlock {
    fn new(layout: &mut Layout, i: usize, shape: &Shape) -> Self {
        let (p, t) = (shape.pair_width, shape.triangle);
        let name = |part: &str| format!("pairs.{i}.{part}");
        Self {
            triangle_norm: layout.add(name("triangle_norm"), &[p], Init::Ones),
            sides: matrix(layout, &name("sides"), 2 * t, p),
            gate: matrix(layout, &name("gate"), 2 * t, p),
            gate_bias: layout.add(name("gate.bias"), &[2 * t], Init::Zeros),
            thirds_norm: layout.add(name("thirds_norm"), &[t], Init::Ones),
            thirds: layout.add(name("thirds"), &[p, t], Init::Zeros),
            norm: layout.add(name("norm"), &[p], Init::Ones),
            square: layout.add(name("square"), &[SQUARE * SQUARE, p], Init::Normal(0.115)),
            square_bias: layout.add(name("square.bias"), &[p], Init::Zeros),
            square_norm: layout.add(name("square_norm"), &[p], Init::Ones),
            up: matrix(layout, &name("up"), 4 * p, p),
            down: layout.add(name("down"), &[p, 2 * p], Init::Zeros),
            dilation: 1 + i % 2,
        }
    }
}

/// `x` with a part of it dropped, where something is learnt. Each `place` has a mask of its own.
fn dropped<'a, E: Element>(
    tape: &mut Tape<'a, E>,
    x: Var<'a, E>,
    seed: Option<u64>,
    rate: f32,
    place: u64,
) -> Var<'a, E> {
    match seed {
        Some(seed) => tape.dropout(x, rate, seed + place),
        None => x,
    }
}

/// A weight whose products have about a third of the variance of what it reads.
fn matrix(layout: &mut Layout, name: &str, rows: usize, cols: usize) -> Param {
    let spread = 0.577 / (cols as f32).sqrt();
    layout.add(name, &[rows, cols], Init::Normal(spread))
}

/// The probabilities that a head gives each row.
fn told<'a>(tape: &mut Tape<'a, f32>, x: &Var<'a, f32>, head: Param) -> Vec<f32> {
    let logits = tape.linear(x, head, None);
    let mut logits = tape.read(&logits);
    for row in logits.chunks_exact_mut(head.rows) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    logits
}

impl Network for Trunk {
    type Batch = Examples;

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn check(&self, batch: &Examples) -> Result<(), Error> {
        match batch.0.iter().find(|example| example.kinds.len() > LONGEST) {
            Some(long) => Err(Error::Shape(format!(
                "a chain of {} residues: the network takes up to {LONGEST}",
                long.kinds.len()
            ))),
            None => Ok(()),
        }
    }

    fn record<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, batch: &'a Examples) {
        let all = batch.weight().max(1) as f32;
        for example in &batch.0 {
            let share = example.kinds.len() as f32 / all;
            let x = self.residues(tape, example);
            let z = self.pairs(tape, &x, example);
            let truth = &example.truth;
            let both = self.both_ways(tape, &z, example);
            let near = tape.pick(&z, &truth.near);
            let by_pair = |factor: f32| Classes {
                targets: &truth.beta,
                weights: Some(&truth.weights),
                factor: share * factor,
                smoothing: 0.02,
            };
            let plain = |targets: &'a [u32], factor: f32| Classes {
                targets,
                weights: None,
                factor: share * factor,
                smoothing: 0.02,
            };
            tape.classify(&both, self.heads.beta, by_pair(1.0));
            let alpha = Classes {
                targets: &truth.alpha,
                ..by_pair(0.7)
            };
            tape.classify(&both, self.heads.alpha, alpha);
            tape.classify(&both, self.heads.omega, plain(&truth.omega, 0.15));
            tape.classify(&near, self.heads.theta, plain(&truth.theta, 0.15));
            tape.classify(&near, self.heads.phi, plain(&truth.phi, 0.15));
            tape.classify(&x, self.heads.turns, plain(&truth.turns, 0.3));
            tape.classify(&x, self.heads.states, plain(&truth.states, 0.3));
            tape.classify(&x, self.heads.kinds, plain(&truth.hidden, 0.1));
        }
    }
}
