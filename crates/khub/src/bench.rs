//! `khub bench`: khub's side of `cargo xtask bench`, a worker that takes a turn when it is asked for one, so
//! that khub and its peers are measured in turns.
//!
//! Lines of JSON: `{"ready": true, ...}` once it is warm, `{"seconds": ...}` for every `step` or `run` it
//! reads, `{"peak_rss_bytes": ...}` for `end`.

mod codec;
mod fold;
mod hub;
mod leave;
mod loss;
mod placement;
mod process;
mod reads;
mod sites;
mod submit;

use crate::data::{prepare::prepare, sets};
use crate::failure::Failure;
use clap::{Subcommand, ValueEnum};
use language::{
    Architecture, Corpus, Decoder, Experts, ExportOptions, Family, Limits, ModelConfig, Rows, Tokens, export,
};
use nn::Model;
use serde_json::{Value, json};
use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;
use train::{Precision, Samples, TrainConfig, Trainer};

/// Measure this machine. `cargo xtask bench` sets peers beside it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    TrainStep(TrainStep),
    Generate(Generate),
    Fold(fold::Args),
    Loss(loss::Args),
    Codec(codec::Args),
    Sites(sites::Args),
    Place(placement::Args),
    Hub(hub::Args),
    Reads(reads::Args),
}

/// Training steps on random tokens.
#[derive(clap::Args)]
struct TrainStep {
    #[arg(long, value_enum, ignore_case = true)]
    size: Size,
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    #[arg(long, value_enum, default_value_t = Shape::Gpt)]
    family: Shape,
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Greedy text from random weights, which are left in a folder for a peer.
#[derive(clap::Args)]
struct Generate {
    #[arg(long, value_enum, ignore_case = true)]
    size: Size,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    S,
    M,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

/// What is trained.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// The GPT-2-like model that PyTorch trains too.
    Gpt,
    /// Llama of the same sizes.
    Dense,
    /// The same with eight experts of half the inner size, of which a token takes two.
    Moe,
}

/// Steps before it is ready.
const WARM_UP: usize = 3;

/// Serves until it reads `end`, or its input ends.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::TrainStep(asked) => train_step(asked),
        What::Generate(asked) => generate(asked),
        What::Fold(asked) => fold::run(asked),
        What::Loss(asked) => loss::run(asked),
        What::Codec(asked) => codec::run(asked),
        What::Sites(asked) => sites::run(asked),
        What::Place(asked) => placement::run(asked),
        What::Hub(asked) => hub::run(asked),
        What::Reads(asked) => reads::run(asked),
    }
}

fn generate(asked: &Generate) -> Result<(), Failure> {
    set_threads(asked.threads)?;
    let (config, _) = asked.size.model(Shape::Gpt);
    let params = config.param_counts().0;
    let model = Model::new(Family::new(config).map_err(Failure::new)?, 1);
    export(&model, &asked.dir, &ExportOptions::default()).map_err(Failure::new)?;
    let turn = || {
        // Before the clock starts, as a peer's weights are there before it starts.
        let mut decoder = match asked.dtype {
            Dtype::F32 => Decoder::new(&model),
            Dtype::Bf16 => Decoder::halved(&model),
        };
        let start = Instant::now();
        let prompt: Vec<u32> = (1..=16).collect();
        let mut logits = decoder.feed(&prompt).map_err(Failure::new)?;
        let mut ids = Vec::with_capacity(asked.tokens);
        while ids.len() < asked.tokens {
            let likeliest = (0u32..)
                .zip(&logits)
                .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            let token = likeliest.expect("a vocabulary has tokens").0;
            ids.push(token);
            if ids.len() < asked.tokens {
                logits = decoder.feed(&[token]).map_err(Failure::new)?;
            }
        }
        Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "tokens": ids.len(), "ids": ids }))
    };
    turn()?;
    serve("run", params, turn)
}

fn train_step(asked: &TrainStep) -> Result<(), Failure> {
    set_threads(asked.threads)?;
    let (config, batch) = asked.size.model(asked.family);
    let params = config.param_counts().0;
    let noise = Noise {
        vocab: config.vocab as u64,
        t: config.context,
    };
    let family = Family::new(config).map_err(Failure::new)?;
    let precision = match asked.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::Bf16 => Precision::Bf16,
    };
    let settings = TrainConfig {
        batch,
        precision,
        learning_rate: 3e-4,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(Model::new(family, 1), settings).map_err(Failure::new)?;
    let mut next = 0u64;
    let mut turn = || {
        let samples: Vec<u64> = (next..).take(batch).collect();
        next += batch as u64;
        let start = Instant::now();
        let step = trainer.take_step(&noise, &samples).map_err(Failure::new)?;
        Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "loss": step.loss }))
    };
    for _ in 0..WARM_UP {
        turn()?;
    }
    serve("step", params, turn)
}

impl Size {
    /// The shape, and samples in a step.
    fn model(self, shape: Shape) -> (ModelConfig, usize) {
        let (preset, batch) = match self {
            Self::S => ("gpt-s", 8),
            Self::M => ("gpt-m", 4),
        };
        let gpt = ModelConfig::preset(preset).expect("a preset of ours");
        let llama = ModelConfig {
            family: Architecture::Llama,
            ..gpt.clone()
        };
        let config = match shape {
            Shape::Gpt => gpt,
            Shape::Dense => llama,
            Shape::Moe => ModelConfig {
                family: Architecture::Mixtral,
                hidden: llama.hidden / 2,
                experts: Some(Experts::default()),
                ..llama
            },
        };
        (config, batch)
    }
}

/// Random tokens.
struct Noise {
    vocab: u64,
    t: usize,
}

impl Samples<Rows> for Noise {
    fn len(&self) -> u64 {
        u64::MAX
    }

    fn batch(&self, samples: &[u64]) -> Rows {
        let row = self.t as u64 + 1;
        let places = samples.iter().flat_map(|sample| sample * row..(sample + 1) * row);
        // SplitMix64.
        let token = |place: u64| {
            let x = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((x ^ (x >> 31)) % self.vocab) as u32
        };
        Rows::new(&places.map(token).collect::<Vec<_>>(), self.t)
    }
}

/// Bytes of NSMC's training text, where nothing else is said.
const TRAINED_ON: u64 = 8_000_000;

/// Tokens of NSMC's first `train_bytes` and of some of its validation text, prepared in `dir` unless they are there.
fn reviews(dir: &Path, vocab: usize, train_bytes: u64) -> Result<(Tokens, Tokens), Failure> {
    let limits = Limits {
        train_bytes,
        valid_bytes: 400_000,
    };
    let data = dir.join("data");
    let set = sets::named("nsmc")?;
    let found = set
        .find()
        .ok_or_else(|| Failure::new("the data set nsmc is not here").hint("`khub data get nsmc`"))?;
    let corpus = Corpus::read_field(&found.path, None, limits).map_err(Failure::new)?;
    prepare(&corpus, vocab, &data)?;
    let tokens = |name: &str| Tokens::open(&data.join(name)).map_err(Failure::new);
    Ok((tokens("train.tokens")?, tokens("valid.tokens")?))
}

fn set_threads(threads: usize) -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(Failure::new)
}

/// The worker's side of the protocol.
fn serve(word: &str, params: u64, mut turn: impl FnMut() -> Result<Value, Failure>) -> Result<(), Failure> {
    let version = format!("khub {}", env!("CARGO_PKG_VERSION"));
    say(&json!({ "ready": true, "params": params, "version": version }))?;
    for line in stdin().lock().lines() {
        let line = line.map_err(Failure::new)?;
        match line.trim() {
            "end" => return say(&json!({ "peak_rss_bytes": peak_rss_bytes() })),
            asked if asked == word => say(&turn()?)?,
            other => {
                return Err(Failure::new(format_args!(
                    "asked for {other:?}; this worker knows {word:?} and \"end\""
                )));
            }
        }
    }
    Ok(())
}

fn say(line: &Value) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(Failure::new)
}

/// The number that a part of `numbers` is not above: 0.5 asks for the median. 0 of none.
fn quantile(numbers: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let place = (numbers.len() as f64 * part) as usize;
    let last = numbers.len().saturating_sub(1);
    numbers.get(place.min(last)).copied().unwrap_or_default()
}

/// The most memory this process has held; 0 where the system doesn't tell.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
