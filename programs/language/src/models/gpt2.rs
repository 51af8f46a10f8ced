//! GPT-2 (Radford et al., 2019), and GPT-3 (Brown et al., arXiv 2005.14165), which has its shape.

use super::{ModelConfig, Rows};
use nn::{Element, Gelu, Heads, Init, Layout, Param, Tape, Var};

/// Learnt positions, LayerNorm, a feed-forward layer of four times the width.
#[derive(Debug, Clone)]
pub(super) struct Gpt2 {
    tokens: Param,
    positions: Param,
    blocks: Vec<Block>,
    norm: Norm,
    pub(super) head: Param,
    heads: Heads,
    gelu: Gelu,
    eps: f32,
    pub(super) recompute: bool,
}

#[derive(Debug, Clone)]
struct Block {
    norm1: Norm,
    qkv: Linear,
    out: Linear,
    norm2: Norm,
    up: Linear,
    down: Linear,
}

#[derive(Debug, Clone, Copy)]
struct Norm {
    gain: Param,
    bias: Param,
}

#[derive(Debug, Clone, Copy)]
struct Linear {
    w: Param,
    bias: Option<Param>,
}

impl Gpt2 {
    /// Names and initial values as GPT-2 has them; a weight has a row for each thing it makes, where the
    /// published files have a column.
    pub(super) fn new(config: &ModelConfig, layout: &mut Layout) -> Self {
        let (c, f) = (config.width, config.hidden);
        let residual = 0.02 / (2.0 * config.layers as f32).sqrt();
        let tokens = layout.add("transformer.wte.weight", &[config.vocab, c], Init::Normal(0.02));
        let positions = layout.add("transformer.wpe.weight", &[config.context, c], Init::Normal(0.01));
        let norm = |layout: &mut Layout, name: String| Norm {
            gain: layout.add(format!("{name}.weight"), &[c], Init::Ones),
            bias: layout.add(format!("{name}.bias"), &[c], Init::Zeros),
        };
        let blocks = (0..config.layers).map(|layer| {
            let at = |part: &str| format!("transformer.h.{layer}.{part}");
            let linear = |layout: &mut Layout, part: &str, shape: [usize; 2], spread: f32| Linear {
                w: layout.add(at(&format!("{part}.weight")), &shape, Init::Normal(spread)),
                bias: (config.bias)
                    .then(|| layout.add(at(&format!("{part}.bias")), &shape[..1], Init::Zeros)),
            };
            Block {
                norm1: norm(layout, at("ln_1")),
                qkv: linear(layout, "attn.c_attn", [3 * c, c], 0.02),
                out: linear(layout, "attn.c_proj", [c, c], residual),
                norm2: norm(layout, at("ln_2")),
                up: linear(layout, "mlp.c_fc", [f, c], 0.02),
                down: linear(layout, "mlp.c_proj", [c, f], residual),
            }
        });
        let blocks = blocks.collect();
        let norm = norm(layout, "transformer.ln_f".into());
        let head = match config.tied {
            true => tokens,
            false => layout.add("lm_head.weight", &[config.vocab, c], Init::Normal(0.02)),
        };
        Self {
            tokens,
            positions,
            blocks,
            norm,
            head,
            heads: config.heads_of(config.context),
            gelu: if config.gelu_exact {
                Gelu::Exact
            } else {
                Gelu::Tanh
            },
            eps: config.norm_eps,
            recompute: false,
        }
    }

    pub(super) fn hidden<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, rows: &'a Rows) -> Var<'a, E> {
        let x = tape.embed(rows.tokens(), self.tokens);
        let places = tape.embed(rows.positions(), self.positions);
        let mut x = tape.add(x, &places);
        drop(places);
        for block in &self.blocks {
            x = match self.recompute {
                true => tape.recompute(x, |tape, x| self.block(tape, x, block, rows)),
                false => self.block(tape, x, block, rows),
            };
        }
        tape.layer_norm(&x, self.norm.gain, self.norm.bias, self.eps)
    }

    fn block<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        x: Var<'a, E>,
        block: &'a Block,
        rows: &'a Rows,
    ) -> Var<'a, E> {
        let heads = Heads {
            t: rows.t(),
            ..self.heads
        };
        let h = tape.layer_norm(&x, block.norm1.gain, block.norm1.bias, self.eps);
        let qkv = tape.linear(&h, block.qkv.w, block.qkv.bias);
        let y = tape.attention(&qkv, heads, rows.mask(), None);
        let x = tape.linear_add(x, &y, block.out.w, block.out.bias);
        let h = tape.layer_norm(&x, block.norm2.gain, block.norm2.bias, self.eps);
        let h = tape.linear(&h, block.up.w, block.up.bias);
        let h = tape.gelu(&h, self.gelu);
        tape.linear_add(x, &h, block.down.w, block.down.bias)
    }
}
