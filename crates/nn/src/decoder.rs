//! One token at a time, with the keys and values of the earlier ones kept.

use crate::ops::attention::attend;
use crate::ops::linear::multiply;
use crate::ops::{norm, rope, swiglu};
use crate::{Error, Model};

/// A sequence that a model is reading or writing.
#[derive(Debug)]
pub struct Decoder<'a> {
    model: &'a Model,
    rope: Vec<f32>,
    /// For each layer, rows of keys and values seen so far: `t` rows of `2 * kv_heads * head_size`.
    cache: Vec<Vec<f32>>,
    position: usize,
    logits: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// An empty sequence.
    pub fn new(model: &'a Model) -> Self {
        let config = &model.config;
        Self {
            model,
            rope: rope::table(config.context, config.head_size(), config.rope_base),
            cache: vec![Vec::new(); config.layers],
            position: 0,
            logits: vec![0.0; config.vocab],
        }
    }

    /// How many more tokens fit.
    pub fn room(&self) -> usize {
        self.model.config.context - self.position
    }

    /// Reads one token; returns a logit for each token that may come next.
    pub fn feed(&mut self, token: u32) -> Result<&[f32], Error> {
        let (config, p) = (&self.model.config, self.model.params.as_slice());
        let (c, f, d, eps) = (config.width, config.hidden, config.head_size(), config.norm_eps);
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        if token as usize >= config.vocab {
            return Err(Error::Token {
                token,
                vocab: config.vocab,
            });
        }
        if self.room() == 0 {
            return Err(Error::Shape(format!(
                "the sequence fills the model's context of {}",
                config.context
            )));
        }
        let layout = self.model.layout();
        let turns = &self.rope[self.position * d..][..d];
        let mut x = p[layout.embed.clone()][token as usize * c..][..c].to_vec();
        let (mut h, mut scale) = (vec![0f32; c], [0f32]);
        for (block, cache) in layout.blocks.iter().zip(&mut self.cache) {
            norm::rows(&x, &p[block.norm1.clone()], &mut h, &mut scale, eps);
            let mut qkv = vec![0f32; (heads + 2 * kv_heads) * d];
            multiply(&p[block.qkv.clone()], &h, &mut qkv);
            rope::turn_row(&mut qkv[..(heads + kv_heads) * d], turns, false);
            cache.extend_from_slice(&qkv[heads * d..]);
            let mut y = vec![0f32; c];
            for (head, y) in y.chunks_exact_mut(d).enumerate() {
                attend(
                    &qkv[head * d..][..d],
                    cache,
                    head / (heads / kv_heads),
                    kv_heads,
                    y,
                );
            }
            multiply(&p[block.out.clone()], &y, &mut h);
            add(&mut x, &h);
            norm::rows(&x, &p[block.norm2.clone()], &mut h, &mut scale, eps);
            let (mut gu, mut inner) = (vec![0f32; 2 * f], vec![0f32; f]);
            multiply(&p[block.gate_up.clone()], &h, &mut gu);
            swiglu::rows(&gu, &mut inner, f);
            multiply(&p[block.down.clone()], &inner, &mut h);
            add(&mut x, &h);
        }
        norm::rows(&x, &p[layout.norm.clone()], &mut h, &mut scale, eps);
        multiply(&p[layout.head.clone()], &h, &mut self.logits);
        self.position += 1;
        Ok(&self.logits)
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
