//! The shape of a model, and where each tensor lies in the flat vector of parameters.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The shape of a Llama-style decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Size of the residual stream.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads; `width / heads` is a head's size and must be even.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Inner size of the SwiGLU.
    pub hidden: usize,
    /// The longest sequence.
    pub context: usize,
    /// Whether the head uses the embedding's weights.
    #[serde(default)]
    pub tied: bool,
    /// Base of the rotary angles.
    #[serde(default = "rope_base")]
    pub rope_base: f32,
    /// Added to the mean square before its root.
    #[serde(default = "norm_eps")]
    pub norm_eps: f32,
}

fn rope_base() -> f32 {
    10_000.0
}

fn norm_eps() -> f32 {
    1e-5
}

/// One tensor of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, as Hugging Face's Llama has it.
    pub name: String,
    /// Rows and columns, or one size for a vector.
    pub shape: Vec<usize>,
    /// Where it lies in the flat vector.
    pub range: Range<usize>,
}

/// All tensors in the order in which they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The tensors.
    pub tensors: Vec<Tensor>,
    pub(crate) embed: Range<usize>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Range<usize>,
    /// The embedding's range again where the head is tied.
    pub(crate) head: Range<usize>,
    total: usize,
}

/// Ranges of one block. Query, key and value lie side by side, so they are one matrix product; so do gate
/// and up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) norm1: Range<usize>,
    pub(crate) qkv: Range<usize>,
    pub(crate) out: Range<usize>,
    pub(crate) norm2: Range<usize>,
    pub(crate) gate_up: Range<usize>,
    pub(crate) down: Range<usize>,
}

impl Default for Config {
    /// A model that trains in a minute or two on a laptop.
    fn default() -> Self {
        Self {
            vocab: 4096,
            width: 192,
            layers: 4,
            heads: 6,
            kv_heads: 6,
            hidden: 512,
            context: 128,
            tied: true,
            rope_base: rope_base(),
            norm_eps: norm_eps(),
        }
    }
}

impl Config {
    /// Refuses a shape that can't be built, naming the field and what it may be.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |field, value: &dyn ToString, wanted: &str| {
            Err(Error::Setting {
                field,
                value: value.to_string(),
                wanted: wanted.to_owned(),
            })
        };
        let sizes = [
            ("vocab", self.vocab, 2, 1 << 20),
            ("width", self.width, 2, 1 << 16),
            ("layers", self.layers, 1, 1 << 10),
            ("heads", self.heads, 1, 1 << 10),
            ("kv_heads", self.kv_heads, 1, 1 << 10),
            ("hidden", self.hidden, 1, 1 << 18),
            ("context", self.context, 1, 1 << 20),
        ];
        for (field, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                return bad(field, &value, &format!("it takes {least} to {most}"));
            }
        }
        if !self.width.is_multiple_of(2 * self.heads) {
            return bad(
                "heads",
                &self.heads,
                &format!("width {} must be an even multiple of it", self.width),
            );
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(
                "kv_heads",
                &self.kv_heads,
                &format!("heads {} must be a multiple of it", self.heads),
            );
        }
        if !(self.rope_base.is_finite() && self.rope_base > 1.0) {
            return bad("rope_base", &self.rope_base, "it takes numbers above 1");
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return bad("norm_eps", &self.norm_eps, "it takes numbers above 0");
        }
        Ok(())
    }

    /// Size of one head.
    pub fn head_size(&self) -> usize {
        self.width / self.heads
    }

    /// Parameters.
    pub fn param_count(&self) -> usize {
        self.layout().total
    }

    /// Floating-point operations of a training step for one token of a sequence of `seq`: 6 for each weight
    /// in a matrix product (2 forwards, 4 backwards) and 12 * width * (seq + 1) / 2 a layer for attention,
    /// of which a causal mask leaves half.
    pub fn flops_per_token(&self, seq: usize) -> f64 {
        let head = self.vocab * self.width;
        let norms = (2 * self.layers + 1) * self.width;
        let embedding = if self.tied { 0 } else { head };
        let matrices = self.param_count() - norms - embedding;
        6.0 * matrices as f64 + (6 * self.layers * self.width * (seq + 1)) as f64
    }

    /// Where each tensor lies.
    pub fn layout(&self) -> Layout {
        let (c, f, head) = (self.width, self.hidden, self.head_size());
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut total = 0;
        let mut add = |name: String, shape: &[usize]| {
            let range = total..total + shape.iter().product::<usize>();
            total = range.end;
            tensors.push(Tensor {
                name,
                shape: shape.to_vec(),
                range: range.clone(),
            });
            range
        };
        let embed = add("model.embed_tokens.weight".into(), &[self.vocab, c]);
        let mut blocks = Vec::new();
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let norm1 = add(name("input_layernorm"), &[c]);
            let q = add(name("self_attn.q_proj"), &[self.heads * head, c]);
            add(name("self_attn.k_proj"), &[self.kv_heads * head, c]);
            let v = add(name("self_attn.v_proj"), &[self.kv_heads * head, c]);
            let out = add(name("self_attn.o_proj"), &[c, self.heads * head]);
            let norm2 = add(name("post_attention_layernorm"), &[c]);
            let gate = add(name("mlp.gate_proj"), &[f, c]);
            let up = add(name("mlp.up_proj"), &[f, c]);
            let down = add(name("mlp.down_proj"), &[c, f]);
            blocks.push(Block {
                norm1,
                qkv: q.start..v.end,
                out,
                norm2,
                gate_up: gate.start..up.end,
                down,
            });
        }
        let norm = add("model.norm.weight".into(), &[c]);
        let head = if self.tied {
            embed.clone()
        } else {
            add("lm_head.weight".into(), &[self.vocab, c])
        };
        Layout {
            tensors,
            embed,
            blocks,
            norm,
            head,
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_covers_every_parameter_once() {
        for tied in [true, false] {
            let layout = Config {
                tied,
                kv_heads: 2,
                ..Config::default()
            }
            .layout();
            let mut next = 0;
            for tensor in &layout.tensors {
                assert_eq!(tensor.range.start, next, "{}", tensor.name);
                assert_eq!(
                    tensor.range.len(),
                    tensor.shape.iter().product::<usize>(),
                    "{}",
                    tensor.name
                );
                next = tensor.range.end;
            }
            assert_eq!(next, layout.total);
        }
    }

    #[test]
    fn a_bad_shape_is_named() {
        let good = Config::default;
        let cases = [
            (
                Config { heads: 5, ..good() },
                "heads is 5: width 192 must be an even multiple of it",
            ),
            (
                Config {
                    kv_heads: 4,
                    ..good()
                },
                "kv_heads is 4: heads 6 must be a multiple of it",
            ),
            (Config { layers: 0, ..good() }, "layers is 0: it takes 1 to 1024"),
            (
                Config {
                    norm_eps: f32::NAN,
                    ..good()
                },
                "norm_eps is NaN",
            ),
        ];
        for (config, expected) in cases {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        good().check().unwrap();
    }
}
