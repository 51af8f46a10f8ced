//! Llama (Touvron et al., arXiv 2302.13971; grouped queries from 2307.09288).

use super::{ModelConfig, Rows};
use nn::{Element, Heads, Init, Layout, Param, Rope, Tape, Var};

/// Rotary positions, RMSNorm, SwiGLU, no biases.
#[derive(Debug, Clone)]
pub(super) struct Llama {
    embed: Param,
    blocks: Vec<Block>,
    norm: Param,
    pub(super) head: Param,
    rope: Rope,
    eps: f32,
    pub(super) recompute: bool,
}

#[derive(Debug, Clone)]
struct Block {
    attention: Attention,
    norm: Param,
    gate_up: Param,
    down: Param,
}

/// A block's first half, which Mixtral has too.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    norm: Param,
    /// Query, key and value lie side by side, so they are one product.
    qkv: Param,
    out: Param,
    heads: Heads,
    eps: f32,
}

impl Llama {
    pub(super) fn new(config: &ModelConfig, layout: &mut Layout) -> Self {
        let (c, f) = (config.width, config.hidden);
        let embed = layout.add(
            "model.embed_tokens.weight",
            &[config.vocab, c],
            Init::Normal(0.02),
        );
        let blocks = (0..config.layers).map(|layer| {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let attention = Attention::new(config, layout, layer);
            let norm = layout.add(name("post_attention_layernorm"), &[c], Init::Ones);
            let gate = layout.add(name("mlp.gate_proj"), &[f, c], Init::Normal(0.02));
            let up = layout.add(name("mlp.up_proj"), &[f, c], Init::Normal(0.02));
            let down = layout.add(
                name("mlp.down_proj"),
                &[c, f],
                Init::Normal(config.residual_spread()),
            );
            Block {
                attention,
                norm,
                gate_up: gate.and(up),
                down,
            }
        });
        let blocks = blocks.collect();
        let norm = layout.add("model.norm.weight", &[c], Init::Ones);
        let head = match config.tied {
            true => embed,
            false => layout.add("lm_head.weight", &[config.vocab, c], Init::Normal(0.02)),
        };
        Self {
            embed,
            blocks,
            norm,
            head,
            rope: Rope::new(config.context, config.head_size(), config.rope_base),
            eps: config.norm_eps,
            recompute: false,
        }
    }

    pub(super) fn hidden<'a, E: Element>(&'a self, tape: &mut Tape<'a, E>, rows: &'a Rows) -> Var<'a, E> {
        let mut x = tape.embed(rows.tokens(), self.embed);
        for block in &self.blocks {
            x = match self.recompute {
                true => tape.recompute(x, |tape, x| self.block(tape, x, block, rows)),
                false => self.block(tape, x, block, rows),
            };
        }
        tape.rms_norm(&x, self.norm, self.eps)
    }

    fn block<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        x: Var<'a, E>,
        block: &'a Block,
        rows: &'a Rows,
    ) -> Var<'a, E> {
        let x = block.attention.record(tape, x, rows, &self.rope);
        let h = tape.rms_norm(&x, block.norm, self.eps);
        let h = tape.linear(&h, block.gate_up, None);
        let h = tape.swiglu(&h);
        tape.linear_add(x, &h, block.down, None)
    }
}

impl Attention {
    pub(super) fn new(config: &ModelConfig, layout: &mut Layout, layer: usize) -> Self {
        let (c, d) = (config.width, config.head_size());
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let norm = layout.add(name("input_layernorm"), &[c], Init::Ones);
        let (h, k) = (config.heads * d, config.kv_heads() * d);
        let q = layout.add(name("self_attn.q_proj"), &[h, c], Init::Normal(0.02));
        let key = layout.add(name("self_attn.k_proj"), &[k, c], Init::Normal(0.02));
        let value = layout.add(name("self_attn.v_proj"), &[k, c], Init::Normal(0.02));
        let out = layout.add(
            name("self_attn.o_proj"),
            &[c, h],
            Init::Normal(config.residual_spread()),
        );
        Self {
            norm,
            qkv: q.and(key).and(value),
            out,
            heads: config.heads_of(config.context),
            eps: config.norm_eps,
        }
    }

    pub(super) fn record<'a, E: Element>(
        &'a self,
        tape: &mut Tape<'a, E>,
        x: Var<'a, E>,
        rows: &'a Rows,
        rope: &'a Rope,
    ) -> Var<'a, E> {
        let heads = Heads {
            t: rows.t(),
            ..self.heads
        };
        let h = tape.rms_norm(&x, self.norm, self.eps);
        let qkv = tape.linear(&h, self.qkv, None);
        let qkv = tape.rope(qkv, heads.h + heads.k, rows.positions(), rope);
        let y = tape.attention(&qkv, heads, rows.mask(), None);
        tape.linear_add(x, &y, self.out, None)
    }
}
