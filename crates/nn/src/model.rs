//! The model in one screen: [`Model::run`] is the forward pass, [`Model::run_back`] the same list of
//! operations from the last to the first.
//!
//! Shapes are in the names, with the letters of [`crate::ops`]: `x_nc` is N = batch * sequence rows of C.

use crate::ops::{attention, embed, head, linear, norm, rope, swiglu};
use crate::{Checkpoint, CheckpointError, Config, Error, Layout};
use std::collections::BTreeMap;

/// A model: its shape and its parameters.
#[derive(Debug, Clone)]
pub struct Model {
    /// The shape.
    pub config: Config,
    /// All parameters; `layout` says which is which.
    pub params: Vec<f32>,
    layout: Layout,
}

/// The activations of a step, kept from one step to the next so that a step allocates nothing large.
#[derive(Debug)]
pub struct Scratch {
    batch: usize,
    seq: usize,
    rope: Vec<f32>,
    targets: Vec<u32>,
    blocks: Vec<Activations>,
    last_nc: Vec<f32>,
    scale_n: Vec<f32>,
    h_nc: Vec<f32>,
    logits: Vec<f32>,
    dx_nc: Vec<f32>,
    dh_nc: Vec<f32>,
    dqkv: Vec<f32>,
    df_nf: Vec<f32>,
    parts: Vec<f32>,
}

/// What one block leaves for the way back.
#[derive(Debug)]
struct Activations {
    x_nc: Vec<f32>,
    scale1_n: Vec<f32>,
    h1_nc: Vec<f32>,
    qkv: Vec<f32>,
    lse: Vec<f32>,
    y_nc: Vec<f32>,
    mid_nc: Vec<f32>,
    scale2_n: Vec<f32>,
    h2_nc: Vec<f32>,
    gu_n2f: Vec<f32>,
    f_nf: Vec<f32>,
}

impl Model {
    /// A new model. The parameters come from integers and IEEE additions and products alone, so a seed means
    /// the same bits on every machine: sites agree on the first weights without sending them.
    pub fn new(config: Config, seed: u64) -> Result<Self, Error> {
        config.check()?;
        let layout = config.layout();
        let mut params = vec![0f32; config.param_count()];
        let residual = 0.02 / (2.0 * config.layers as f32).sqrt();
        for tensor in &layout.tensors {
            let std = match tensor.name.as_str() {
                name if name.contains("norm") => {
                    params[tensor.range.clone()].fill(1.0);
                    continue;
                }
                name if name.contains("o_proj") || name.contains("down_proj") => residual,
                _ => 0.02,
            };
            for i in tensor.range.clone() {
                params[i] = std * bell(seed, i as u64);
            }
        }
        Ok(Self {
            config,
            params,
            layout,
        })
    }

    /// Where each tensor lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Mean loss in nats a token over `tokens`, rows of `seq + 1` tokens each, of which the last `seq` are
    /// predicted from what stands before them. Sets `gradient`, of the length of `params`.
    pub fn loss_and_gradient(
        &self,
        scratch: &mut Scratch,
        tokens: &[u32],
        gradient: &mut [f32],
    ) -> Result<f32, Error> {
        let batch = self.check_tokens(scratch, tokens)?;
        assert_eq!(
            gradient.len(),
            self.params.len(),
            "the gradient is as long as the parameters"
        );
        let n = batch * scratch.seq;
        self.run(scratch, tokens, batch);
        gradient.fill(0.0);
        let s = &mut *scratch;
        let c = self.config.width;
        let nats = head::loss_and_gradient(
            &s.h_nc[..n * c],
            &self.params[self.layout.head.clone()],
            &s.targets,
            &mut s.logits,
            &mut s.dh_nc[..n * c],
            &mut gradient[self.layout.head.clone()],
            c,
        );
        self.run_back(scratch, tokens, batch, gradient);
        Ok((nats / n as f64) as f32)
    }

    /// The loss alone.
    pub fn loss(&self, scratch: &mut Scratch, tokens: &[u32]) -> Result<f32, Error> {
        let batch = self.check_tokens(scratch, tokens)?;
        let n = batch * scratch.seq;
        self.run(scratch, tokens, batch);
        let s = &mut *scratch;
        let (h, w) = (
            &s.h_nc[..n * self.config.width],
            &self.params[self.layout.head.clone()],
        );
        let nats = head::loss(h, w, &s.targets, &mut s.logits, self.config.width);
        Ok((nats / n as f64) as f32)
    }

    fn run(&self, s: &mut Scratch, tokens: &[u32], batch: usize) {
        let (config, p) = (&self.config, self.params.as_slice());
        let (c, f, n, eps) = (config.width, config.hidden, batch * s.seq, config.norm_eps);
        let shape = s.shape(config, batch);
        let inputs = tokens
            .chunks_exact(s.seq + 1)
            .flat_map(|row| row[..s.seq].iter().copied());
        s.targets.clear();
        s.targets
            .extend(tokens.chunks_exact(s.seq + 1).flat_map(|row| &row[1..]));
        embed::forward(inputs, &p[self.layout.embed.clone()], &mut s.last_nc[..n * c], c);

        for (block, a) in self.layout.blocks.iter().zip(&mut s.blocks) {
            a.x_nc[..n * c].copy_from_slice(&s.last_nc[..n * c]);
            let (x, h1, scale1) = (&a.x_nc[..n * c], &mut a.h1_nc[..n * c], &mut a.scale1_n[..n]);
            norm::forward(x, &p[block.norm1.clone()], h1, scale1, eps);
            let qkv = &mut a.qkv[..n * shape.row()];
            linear::forward(h1, &p[block.qkv.clone()], qkv, c, false);
            rope::turn(
                qkv,
                shape.row(),
                shape.h + shape.k,
                shape.d,
                s.seq,
                &s.rope,
                false,
            );
            let y = &mut a.y_nc[..n * c];
            attention::forward(shape, qkv, y, &mut a.lse[..batch * shape.h * s.seq]);
            let mid = &mut a.mid_nc[..n * c];
            mid.copy_from_slice(x);
            linear::forward(y, &p[block.out.clone()], mid, c, true);

            let (h2, scale2) = (&mut a.h2_nc[..n * c], &mut a.scale2_n[..n]);
            norm::forward(mid, &p[block.norm2.clone()], h2, scale2, eps);
            let gu = &mut a.gu_n2f[..n * 2 * f];
            linear::forward(h2, &p[block.gate_up.clone()], gu, c, false);
            swiglu::forward(gu, &mut a.f_nf[..n * f], f);
            let out = &mut s.last_nc[..n * c];
            out.copy_from_slice(mid);
            linear::forward(&a.f_nf[..n * f], &p[block.down.clone()], out, f, true);
        }
        let (x, h) = (&s.last_nc[..n * c], &mut s.h_nc[..n * c]);
        norm::forward(x, &p[self.layout.norm.clone()], h, &mut s.scale_n[..n], eps);
    }

    /// From `dh_nc`, the gradient of what the head reads. `dx_nc` is the residual stream's gradient all the
    /// way down; what a branch adds to the stream on the way up, its gradient adds here.
    fn run_back(&self, s: &mut Scratch, tokens: &[u32], batch: usize, g: &mut [f32]) {
        let (config, p) = (&self.config, self.params.as_slice());
        let (c, f, n) = (config.width, config.hidden, batch * s.seq);
        let shape = s.shape(config, batch);
        let (dx, dh) = (&mut s.dx_nc[..n * c], &mut s.dh_nc[..n * c]);
        let (dqkv, df) = (&mut s.dqkv[..n * shape.row()], &mut s.df_nf[..n * f]);
        let parts = &mut s.parts;
        dx.fill(0.0);
        let gain = self.layout.norm.clone();
        norm::backward(
            &s.last_nc[..n * c],
            &p[gain.clone()],
            &s.scale_n[..n],
            dh,
            dx,
            &mut g[gain],
            parts,
        );

        for (block, a) in self.layout.blocks.iter().zip(&mut s.blocks).rev() {
            let gu = &mut a.gu_n2f[..n * 2 * f];
            let (w, h2) = (block.down.clone(), &a.h2_nc[..n * c]);
            linear::backward(&a.f_nf[..n * f], &p[w.clone()], dx, df, &mut g[w], f, false);
            swiglu::backward(gu, df, f);
            let w = block.gate_up.clone();
            linear::backward(h2, &p[w.clone()], gu, dh, &mut g[w], c, false);
            let (w, mid) = (block.norm2.clone(), &a.mid_nc[..n * c]);
            norm::backward(mid, &p[w.clone()], &a.scale2_n[..n], dh, dx, &mut g[w], parts);

            let (y, qkv) = (&a.y_nc[..n * c], &a.qkv[..n * shape.row()]);
            let w = block.out.clone();
            linear::backward(y, &p[w.clone()], dx, dh, &mut g[w], c, false);
            attention::backward(shape, qkv, y, &a.lse, dh, dqkv);
            rope::turn(
                dqkv,
                shape.row(),
                shape.h + shape.k,
                shape.d,
                s.seq,
                &s.rope,
                true,
            );
            let w = block.qkv.clone();
            linear::backward(&a.h1_nc[..n * c], &p[w.clone()], dqkv, dh, &mut g[w], c, false);
            let (w, x) = (block.norm1.clone(), &a.x_nc[..n * c]);
            norm::backward(x, &p[w.clone()], &a.scale1_n[..n], dh, dx, &mut g[w], parts);
        }
        let inputs = tokens
            .chunks_exact(s.seq + 1)
            .flat_map(|row| row[..s.seq].iter().copied());
        embed::backward(inputs, dx, &mut g[self.layout.embed.clone()], c);
    }

    fn check_tokens(&self, scratch: &Scratch, tokens: &[u32]) -> Result<usize, Error> {
        let row = scratch.seq + 1;
        let batch = tokens.len() / row;
        if batch == 0 || !tokens.len().is_multiple_of(row) || batch > scratch.batch {
            let most = scratch.batch;
            return Err(Error::Shape(format!(
                "{} tokens are not 1 to {most} rows of {row}",
                tokens.len()
            )));
        }
        let vocab = self.config.vocab;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(Error::Token { token, vocab }),
            None => Ok(batch),
        }
    }

    /// The model as a checkpoint: a tensor each under its name, the shape as JSON under `config`.
    pub fn to_checkpoint(&self) -> Checkpoint {
        let config = serde_json::to_string(&self.config).expect("a config is plain data");
        let mut checkpoint = Checkpoint {
            metadata: BTreeMap::from([("config".into(), config)]),
            ..Checkpoint::default()
        };
        for tensor in &self.layout.tensors {
            checkpoint.push(
                &tensor.name,
                &tensor.shape,
                self.params[tensor.range.clone()].to_vec(),
            );
        }
        checkpoint
    }

    /// The model in a checkpoint; a tensor that is missing or has another shape is named.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, Error> {
        let config = checkpoint.metadata("config")?;
        let config: Config = serde_json::from_str(config)
            .map_err(|e| CheckpointError::content(format!("its config can't be read: {e}")))?;
        config.check()?;
        let layout = config.layout();
        let mut params = vec![0f32; config.param_count()];
        for tensor in &layout.tensors {
            let values = checkpoint.tensor(&tensor.name, &tensor.shape)?;
            params[tensor.range.clone()].copy_from_slice(values);
        }
        Ok(Self {
            config,
            params,
            layout,
        })
    }
}

impl Scratch {
    /// Room for `batch` rows of `seq` tokens.
    pub fn new(config: &Config, batch: usize, seq: usize) -> Self {
        assert!(seq >= 1 && seq <= config.context, "a sequence fits the context");
        let (c, f, n) = (config.width, config.hidden, batch * seq);
        let zeros = |len: usize| vec![0f32; len];
        let row = (config.heads + 2 * config.kv_heads) * config.head_size();
        let block = |_| Activations {
            x_nc: zeros(n * c),
            scale1_n: zeros(n),
            h1_nc: zeros(n * c),
            qkv: zeros(n * row),
            lse: zeros(n * config.heads),
            y_nc: zeros(n * c),
            mid_nc: zeros(n * c),
            scale2_n: zeros(n),
            h2_nc: zeros(n * c),
            gu_n2f: zeros(n * 2 * f),
            f_nf: zeros(n * f),
        };
        Self {
            batch,
            seq,
            rope: rope::table(seq, config.head_size(), config.rope_base),
            targets: Vec::with_capacity(n),
            blocks: (0..config.layers).map(block).collect(),
            last_nc: zeros(n * c),
            scale_n: zeros(n),
            h_nc: zeros(n * c),
            logits: zeros(n.min(head::CHUNK) * config.vocab),
            dx_nc: zeros(n * c),
            dh_nc: zeros(n * c),
            dqkv: zeros(n * row),
            df_nf: zeros(n * f),
            parts: Vec::new(),
        }
    }

    /// The most rows it has room for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens that are predicted in a row.
    pub fn seq(&self) -> usize {
        self.seq
    }

    fn shape(&self, config: &Config, batch: usize) -> attention::Shape {
        let d = config.head_size();
        attention::Shape {
            b: batch,
            t: self.seq,
            h: config.heads,
            k: config.kv_heads,
            d,
        }
    }
}

/// Nearly normal with mean 0 and deviation 1: the sum of twelve uniform numbers less six (Irwin-Hall). Needs
/// no logarithm, whose last bit differs between machines.
fn bell(seed: u64, index: u64) -> f32 {
    let mut state = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut sum = 0u64;
    for _ in 0..4 {
        // SplitMix64; each output is three uniform numbers of 21 bits.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        sum += (z & 0x1F_FFFF) + ((z >> 21) & 0x1F_FFFF) + ((z >> 42) & 0x1F_FFFF);
    }
    sum as f32 * (1.0 / 2_097_152.0) - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;
    use crate::ops::tests::noise;

    fn tiny(tied: bool) -> Config {
        Config {
            vocab: 13,
            width: 12,
            layers: 2,
            heads: 3,
            kv_heads: 1,
            hidden: 10,
            context: 7,
            tied,
            ..Config::default()
        }
    }

    fn tokens(n: usize, vocab: u32) -> Vec<u32> {
        (0..n as u32).map(|i| (i * 7 + i * i * 3) % vocab).collect()
    }

    /// A model whose weights are large enough for every operation to matter.
    fn lively(config: Config) -> Model {
        let mut model = Model::new(config, 3).unwrap();
        for (p, x) in model.params.iter_mut().zip(noise(model.config.param_count(), 5)) {
            *p += 0.4 * x;
        }
        model
    }

    #[test]
    fn the_gradient_is_the_derivative_of_the_loss() {
        for tied in [true, false] {
            let model = lively(tiny(tied));
            let mut scratch = Scratch::new(&model.config, 2, 7);
            let tokens = tokens(16, 13);
            let mut gradient = vec![f32::NAN; model.params.len()];
            model
                .loss_and_gradient(&mut scratch, &tokens, &mut gradient)
                .unwrap();
            crate::ops::tests::check_gradient(&model.params, &gradient, |params| {
                let near = Model {
                    params: params.to_vec(),
                    ..model.clone()
                };
                f64::from(near.loss(&mut scratch, &tokens).unwrap())
            });
        }
    }

    #[test]
    fn a_decoder_says_what_the_model_says() {
        for (tied, kv_heads) in [(true, 1), (false, 3)] {
            let model = lively(Config {
                kv_heads,
                ..tiny(tied)
            });
            let row = tokens(8, 13);
            let mut scratch = Scratch::new(&model.config, 1, 7);
            let together = model.loss(&mut scratch, &row).unwrap();
            let mut decoder = Decoder::new(&model);
            let mut one_by_one = 0.0;
            for pair in row.windows(2) {
                let logits = decoder.feed(pair[0]).unwrap();
                let total: f32 = logits.iter().map(|x| x.exp()).sum();
                one_by_one += total.ln() - logits[pair[1] as usize];
            }
            assert!(
                (together - one_by_one / 7.0).abs() < 1e-4,
                "{together} {}",
                one_by_one / 7.0
            );
            assert!(decoder.feed(0).unwrap_err().to_string().contains("context of 7"));
        }
    }

    #[test]
    fn the_same_bits_whatever_the_number_of_threads() {
        let config = Config {
            vocab: 515,
            layers: 2,
            ..Config::default()
        };
        let model = Model::new(config, 1).unwrap();
        let row = tokens(5 * 129, 515);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut gradient = vec![0.0; model.params.len()];
                let mut scratch = Scratch::new(&model.config, 5, 128);
                let loss = model
                    .loss_and_gradient(&mut scratch, &row, &mut gradient)
                    .unwrap();
                (
                    loss.to_bits(),
                    gradient.iter().map(|g| g.to_bits()).collect::<Vec<_>>(),
                )
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }

    #[test]
    fn new_weights_have_the_right_spread() {
        let model = Model::new(Config::default(), 9).unwrap();
        let embed = &model.params[model.layout().embed.clone()];
        let mean = embed.iter().sum::<f32>() / embed.len() as f32;
        let spread = (embed.iter().map(|x| x * x).sum::<f32>() / embed.len() as f32).sqrt();
        assert!(
            mean.abs() < 1e-4 && (spread - 0.02).abs() < 1e-4,
            "{mean} {spread}"
        );
    }

    #[test]
    fn wrong_tokens_are_refused() {
        let model = Model::new(tiny(true), 1).unwrap();
        let mut scratch = Scratch::new(&model.config, 1, 7);
        let mut check = |tokens: &[u32], expected: &str| {
            let error = model.loss(&mut scratch, tokens).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[0; 7], "7 tokens are not 1 to 1 rows of 8");
        check(&[0; 16], "16 tokens are not 1 to 1 rows of 8");
        check(
            &[0, 1, 2, 3, 4, 5, 6, 13],
            "token 13 is not in a vocabulary of 13",
        );
    }
}
