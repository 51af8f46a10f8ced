//! ESM-2: what a sequence's residues are like where they stand.

use super::config::Config;
use super::rows::{softmax, transposed};
use super::tensors::Tensors;
use super::wrong;
use crate::{AminoAcid, Sequence, Square};
use nn::{Gelu, Heads, Init, Layout, Mask, Math, Matrix, Param, Pool, Rope, Tape, matmul};
use std::path::Path;

/// Tokens: ends, and what hides a residue unless `config.json` says otherwise.
const CLS: u32 = 0;
const EOS: u32 = 2;
const MASK: u32 = 32;
/// Tokens of residues, in the order of [`AminoAcid`]; the last stands for any.
const RESIDUES: [u32; AminoAcid::COUNT] = [
    5, 10, 17, 13, 23, 16, 9, 6, 21, 12, 4, 15, 20, 18, 14, 8, 11, 22, 19, 7, 24,
];
/// The longest sequence that is taken, in residues, and its ends.
pub const LONGEST: usize = TOKENS - 2;
const TOKENS: usize = 4_096;
/// The part of tokens that training hid (0.15, of which 0.8 were zeroed): states are scaled by what was left.
const HIDDEN: f32 = 0.15 * 0.8;

/// The language model of protein sequences.
#[derive(Debug)]
pub struct Esm2 {
    config: Config,
    params: Vec<f32>,
    table: Param,
    blocks: Vec<Block>,
    last: Norm,
    head: Option<Head>,
    /// Weights of each layer's heads, and a bias.
    contacts: Option<(Vec<f32>, f32)>,
    rope: Rope,
}

/// Gain and bias.
type Norm = (Param, Param);
/// Weights and bias.
type Line = (Param, Param);

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    qkv: Line,
    out: Line,
    norm: Norm,
    up: Line,
    down: Line,
}

/// What turns states into logits; the table of tokens comes last.
#[derive(Debug)]
struct Head {
    dense: Line,
    norm: Norm,
    bias: Param,
}

impl Esm2 {
    /// Reads a folder with `config.json` and safetensors.
    ///
    /// # Errors
    /// If something is missing or damaged, or of another kind than ESM-2.
    pub fn load(folder: &Path) -> Result<Self, nn::Error> {
        Self::new(Config::read(folder)?, &Tensors::open(folder)?)
    }

    pub(super) fn new(config: Config, tensors: &Tensors) -> Result<Self, nn::Error> {
        let (c, wide) = (config.hidden_size, config.intermediate_size);
        // A model that is bare has no prefix.
        let prefix = if tensors.has("esm.embeddings.word_embeddings.weight") {
            "esm."
        } else {
            ""
        };
        let mut parts = Parts {
            tensors,
            layout: Layout::default(),
            params: Vec::new(),
        };
        let table = format!("{prefix}embeddings.word_embeddings.weight");
        let table = parts.add(&[table], &[config.vocab_size, c])?;
        let mut blocks = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let name = |part: &str| format!("{prefix}encoder.layer.{i}.{part}");
            let reads = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
            blocks.push(Block {
                attention_norm: parts.norm(&name("attention.LayerNorm"), c)?,
                qkv: parts.lines(&reads, c, c)?,
                out: parts.lines(&[name("attention.output.dense")], c, c)?,
                norm: parts.norm(&name("LayerNorm"), c)?,
                up: parts.lines(&[name("intermediate.dense")], c, wide)?,
                down: parts.lines(&[name("output.dense")], wide, c)?,
            });
        }
        let last = parts.norm(&format!("{prefix}encoder.emb_layer_norm_after"), c)?;
        let head = match tensors.has("lm_head.layer_norm.weight") && tensors.has("lm_head.dense.weight") {
            false => None,
            true => Some(Head {
                dense: parts.lines(&["lm_head.dense".to_owned()], c, c)?,
                norm: parts.norm("lm_head.layer_norm", c)?,
                bias: parts.add(&["lm_head.bias".to_owned()], &[config.vocab_size])?,
            }),
        };
        let regression = format!("{prefix}contact_head.regression");
        let heads = config.num_hidden_layers * config.num_attention_heads;
        let contacts = match tensors.has(&format!("{regression}.weight")) {
            false => None,
            true => Some((
                tensors.read(&format!("{regression}.weight"), &[1, heads])?,
                tensors.read(&format!("{regression}.bias"), &[1])?[0],
            )),
        };
        Ok(Self {
            params: parts.params,
            table,
            blocks,
            last,
            head,
            contacts,
            rope: Rope::new(TOKENS, c / config.num_attention_heads, config.rope_theta),
            config,
        })
    }

    /// Numbers in a state.
    pub fn width(&self) -> usize {
        self.config.hidden_size
    }

    /// Tokens of a sequence: its residues between two ends.
    pub fn tokens(sequence: &Sequence) -> Vec<u32> {
        let residues = sequence.residues.iter().map(|kind| RESIDUES[kind.index()]);
        std::iter::once(CLS).chain(residues).chain([EOS]).collect()
    }

    /// The states of each token: as embedded, and after each layer, the last one normed; each of
    /// [`width`](Self::width) numbers a token.
    ///
    /// # Errors
    /// If there are too many tokens or such as the model hasn't.
    pub fn states(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, nn::Error> {
        let mut states = Vec::new();
        self.run(tokens, &mut |step, read| {
            if step == Step::State {
                states.push(read());
            }
        })?;
        Ok(states)
    }

    /// The last layer's states, normed.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn last_state(&self, tokens: &[u32]) -> Result<Vec<f32>, nn::Error> {
        self.run(tokens, &mut |_, _| ())
    }

    /// How likely each token is at each place: logits, a row for each place.
    ///
    /// # Errors
    /// As [`states`](Self::states), and if the folder has no head for it.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, nn::Error> {
        let head = self
            .head
            .as_ref()
            .ok_or_else(|| wrong("there is no lm_head".to_owned()))?;
        let states = self.last_state(tokens)?;
        let pool = Pool::<f32>::default();
        let mut tape = Tape::inference(&pool, &self.params);
        let x = tape.input(&states, self.width());
        let x = tape.linear(&x, head.dense.0, Some(head.dense.1));
        let x = tape.gelu(&x, Gelu::Exact);
        let x = tape.layer_norm(&x, head.norm.0, head.norm.1, self.config.layer_norm_eps);
        let x = tape.linear(&x, self.table, Some(head.bias));
        Ok(tape.read(&x))
    }

    /// The probability that two residues touch, by a regression on what heads look at (Rao et al. 2021, ICLR).
    ///
    /// # Errors
    /// As [`states`](Self::states), and if the folder has no head for it.
    pub fn contacts(&self, sequence: &Sequence) -> Result<Square, nn::Error> {
        let contacts = self.contacts.as_ref();
        let (weights, bias) = contacts.ok_or_else(|| wrong("there is no contact_head".to_owned()))?;
        let (l, heads) = (sequence.len(), self.config.num_attention_heads);
        let (mut sum, mut layer) = (vec![*bias; l * l], 0);
        self.run(&Self::tokens(sequence), &mut |step, read| {
            if step == Step::Reads {
                let looks = looks(&read(), l + 2, heads);
                for (looks, weight) in looks.iter().zip(&weights[layer * heads..]) {
                    let corrected = corrected(looks, l);
                    sum.iter_mut()
                        .zip(corrected)
                        .for_each(|(sum, x)| *sum += weight * x);
                }
                layer += 1;
            }
        })?;
        sum.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp()));
        Ok(Square::new(l, sum))
    }

    /// Runs all layers; `seen` hears what it comes by, and may read it. Returns the last state.
    fn run(&self, tokens: &[u32], seen: &mut dyn FnMut(Step, &Read)) -> Result<Vec<f32>, nn::Error> {
        if tokens.is_empty() || tokens.len() > TOKENS {
            let what = format!("{} tokens: the model takes 1 to {TOKENS}", tokens.len());
            return Err(nn::Error::Shape(what));
        }
        let vocab = self.config.vocab_size;
        if let Some(token) = tokens.iter().copied().find(|token| *token as usize >= vocab) {
            return Err(nn::Error::Token { token, vocab });
        }
        let positions: Vec<u32> = (0..tokens.len() as u32).collect();
        let pool = Pool::<f32>::default();
        let mut tape = Tape::inference(&pool, &self.params);
        let mut x = tape.input(&self.embedded(tokens), self.width());
        let eps = self.config.layer_norm_eps;
        let h = self.config.num_attention_heads;
        let heads = Heads {
            t: tokens.len(),
            h,
            k: h,
            d: self.width() / h,
        };
        for block in &self.blocks {
            seen(Step::State, &|| tape.read(&x));
            let y = tape.layer_norm(&x, block.attention_norm.0, block.attention_norm.1, eps);
            let y = tape.linear(&y, block.qkv.0, Some(block.qkv.1));
            let y = tape.rope(y, 2 * h, &positions, &self.rope);
            seen(Step::Reads, &|| tape.read(&y));
            let y = tape.attention(&y, heads, Mask::Full, None);
            x = tape.linear_add(x, &y, block.out.0, Some(block.out.1));
            let y = tape.layer_norm(&x, block.norm.0, block.norm.1, eps);
            let y = tape.linear(&y, block.up.0, Some(block.up.1));
            let y = tape.gelu(&y, Gelu::Exact);
            x = tape.linear_add(x, &y, block.down.0, Some(block.down.1));
        }
        let x = tape.layer_norm(&x, self.last.0, self.last.1, eps);
        seen(Step::State, &|| tape.read(&x));
        Ok(tape.read(&x))
    }

    /// Rows of the table; a masked token's is zero, and the others make up for how many are masked.
    fn embedded(&self, tokens: &[u32]) -> Vec<f32> {
        let mask = self.config.mask_token_id.unwrap_or(MASK);
        let dropout = self.config.token_dropout;
        let masked = tokens.iter().filter(|token| **token == mask).count();
        let scale = match dropout {
            true => (1.0 - HIDDEN) / (1.0 - masked as f32 / tokens.len() as f32),
            false => 1.0,
        };
        let table = &self.params[self.table.range()];
        let row = |token: &u32| {
            let scale = if dropout && *token == mask { 0.0 } else { scale };
            let row = &table[*token as usize * self.width()..][..self.width()];
            row.iter().map(move |x| scale * x)
        };
        tokens.iter().flat_map(row).collect()
    }
}

/// Reads what a run came by.
type Read<'r> = dyn Fn() -> Vec<f32> + 'r;

/// What a run comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A state of all tokens.
    State,
    /// A layer's queries, keys and values.
    Reads,
}

/// How much each residue looks at each other in each head, the ends left out. A row of `qkv` is all heads' queries,
/// then keys, then values.
fn looks(qkv: &[f32], t: usize, heads: usize) -> Vec<Vec<f32>> {
    let d = qkv.len() / t / heads / 3;
    let own = |head: usize| -> Vec<f32> {
        let rows = qkv.chunks_exact(3 * heads * d);
        rows.flat_map(|row| &row[head * d..(head + 1) * d])
            .copied()
            .collect()
    };
    let looks = |head: usize| {
        let (query, key) = (own(head), own(heads + head));
        let (query, key) = (Matrix::new(&query, t), Matrix::new(&key, t));
        let mut scores = vec![0.0; t * t];
        matmul(
            &mut scores,
            false,
            1.0 / (d as f32).sqrt(),
            query,
            key.t(),
            Math::F32,
        );
        scores.chunks_exact_mut(t).for_each(softmax);
        let inner = scores.chunks_exact(t).skip(1).take(t - 2);
        inner.flat_map(|row| &row[1..t - 1]).copied().collect()
    };
    (0..heads).map(looks).collect()
}

/// Both ways together, less what the rows and columns have in common (APC; Dunn et al. 2008, Bioinformatics 24, 333).
fn corrected(looks: &[f32], l: usize) -> Vec<f32> {
    let back = transposed(looks, l);
    let both: Vec<f32> = looks.iter().zip(back).map(|(a, b)| a + b).collect();
    let rows: Vec<f32> = both.chunks_exact(l.max(1)).map(|row| row.iter().sum()).collect();
    let all: f32 = rows.iter().sum();
    let less = |(k, x): (usize, &f32)| x - rows[k / l] * rows[k % l] / all;
    both.iter().enumerate().map(less).collect()
}

/// Parameters side by side, as they are read.
struct Parts<'a> {
    tensors: &'a Tensors,
    layout: Layout,
    params: Vec<f32>,
}

impl Parts<'_> {
    /// Tensors of one shape, one below the other.
    fn add(&mut self, names: &[String], shape: &[usize]) -> Result<Param, nn::Error> {
        for name in names {
            self.params.extend(self.tensors.read(name, shape)?);
        }
        let mut whole = shape.to_vec();
        whole[0] *= names.len();
        Ok(self.layout.add(&*names[0], &whole, Init::Zeros))
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm, nn::Error> {
        let [gain, bias] = ["weight", "bias"].map(|part| self.add(&[format!("{name}.{part}")], &[width]));
        Ok((gain?, bias?))
    }

    /// Layers that read the same, side by side.
    fn lines(&mut self, names: &[String], from: usize, to: usize) -> Result<Line, nn::Error> {
        let parts = |part: &str| {
            names
                .iter()
                .map(|name| format!("{name}.{part}"))
                .collect::<Vec<_>>()
        };
        let weights = self.add(&parts("weight"), &[to, from])?;
        Ok((weights, self.add(&parts("bias"), &[to])?))
    }
}
