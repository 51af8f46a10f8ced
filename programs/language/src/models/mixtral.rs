//! Mixture of experts as Mixtral has it (Jiang et al., arXiv 2401.04088): Llama with several feed-forward
//! layers in each block, of which a token takes a few. With one expert a token, probabilities for weights
//! and a capacity it is Switch's (arXiv 2101.03961).

use super::llama::Attention;
use super::{ModelConfig, Rows};
use nn::{Element, Init, Layout, Param, Rope, Router, Tape, Var};

/// Llama's attention, and experts of SwiGLU.
#[derive(Debug, Clone)]
pub(super) struct Mixtral {
    embed: Param,
    blocks: Vec<Block>,
    norm: Param,
    pub(super) head: Param,
    rope: Rope,
    router: Router,
    eps: f32,
    pub(super) recompute: bool,
}

#[derive(Debug, Clone)]
struct Block {
    attention: Attention,
    norm: Param,
    gate: Param,
    /// Gate and up of every expert, then of the next.
    gate_up: Param,
    down: Param,
}

impl Mixtral {
    pub(super) fn new(config: &ModelConfig, layout: &mut Layout) -> Self {
        let experts = config.experts.clone().unwrap_or_default();
        let (c, f) = (config.width, config.hidden);
        let embed = layout.add(
            "model.embed_tokens.weight",
            &[config.vocab, c],
            Init::Normal(0.02),
        );
        let blocks = (0..config.layers).map(|layer| {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let expert = |e: usize, part: &str| name(&format!("block_sparse_moe.experts.{e}.{part}"));
            let attention = Attention::new(config, layout, layer);
            let norm = layout.add(name("post_attention_layernorm"), &[c], Init::Ones);
            let gate = layout.add(
                name("block_sparse_moe.gate"),
                &[experts.count, c],
                Init::Normal(0.02),
            );
            let mut gate_up = Vec::new();
            for e in 0..experts.count {
                for part in ["w1", "w3"] {
                    gate_up.push(layout.add(expert(e, part), &[f, c], Init::Normal(0.02)));
                }
            }
            let spread = Init::Normal(config.residual_spread());
            let down = (0..experts.count).map(|e| layout.add(expert(e, "w2"), &[c, f], spread));
            let down: Vec<Param> = down.collect();
            Block {
                attention,
                norm,
                gate,
                gate_up: stack(gate_up),
                down: stack(down),
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
            router: experts.router(),
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
        let route = tape.route(&h, block.gate, self.router);
        let h = tape.dispatch(&h, &route);
        let h = tape.grouped_linear(&h, block.gate_up, &route);
        let h = tape.swiglu(&h);
        let h = tape.grouped_linear(&h, block.down, &route);
        tape.combine(x, &h, &route)
    }
}

fn stack(params: Vec<Param>) -> Param {
    params.into_iter().reduce(Param::and).expect("there is an expert")
}
