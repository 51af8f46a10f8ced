//! `khub bench sites`: one training run on NSMC, across sites that live in this process, or synchronous.
//!
//! The sites use the very code of a job: `train` takes their steps, `sync` writes, reads and applies their
//! updates. Only what carries updates from site to site is missing, so a run takes as long as its steps do.
//!
//! ```text
//! synchronous   step t takes positions t B .. (t + 1) B of the data order, as one batch
//! sites         round r takes what its steps would have taken; each site an equal interval of it
//! ```

use super::{TRAINED_ON, leave, reviews, say, set_threads};
use crate::failure::Failure;
use language::{Architecture, Family, ModelConfig, Tokens, Windows};
use nn::{Layout, Model, Network};
use serde_json::json;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;
use sync::contract::Rounds;
use sync::{Codec, Contribution, Outer, OuterConfig, Scale, Update, encode, fragments};
use train::{Flow, Precision, Rule, TrainConfig, Trainer, evaluate};

/// A training run on NSMC.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    dir: PathBuf,
    /// Bytes of the training text, the first of NSMC's.
    #[arg(long, default_value_t = TRAINED_ON)]
    text: u64,
    /// 1 trains synchronously.
    #[arg(long)]
    sites: u64,
    #[arg(long, default_value_t = Codec::Int4)]
    codec: Codec,
    /// Steps, each of `batch` samples of all sites together.
    #[arg(long, default_value_t = 1_440)]
    steps: u64,
    #[arg(long, default_value_t = 16)]
    batch: u64,
    #[arg(long, default_value_t = 64)]
    seq: usize,
    /// Steps of a round.
    #[arg(long)]
    round: Option<u64>,
    #[arg(long)]
    fragments: Option<usize>,
    /// Apply a round's result a round later.
    #[arg(long)]
    late: bool,
    /// What a site keeps of its own way where a result comes late; all that it went since it sent, if not given.
    #[arg(long)]
    alpha: Option<f32>,
    #[arg(long)]
    outer_rate: Option<f32>,
    #[arg(long)]
    outer_momentum: Option<f32>,
    /// The best that was found if not given.
    #[arg(long)]
    rate: Option<f32>,
    #[arg(long)]
    beta1: Option<f32>,
    #[arg(long)]
    beta2: Option<f32>,
    /// The longest gradient.
    #[arg(long)]
    clip: Option<f32>,
    /// Steps from one of Muon's moves of a matrix to its next.
    #[arg(long)]
    muon_every: Option<u64>,
    #[arg(long, default_value_t = 0.1)]
    floor: f32,
    #[arg(long, default_value_t = 60)]
    warmup: u64,
    /// AdamW for every weight, as OpenDiLoCo has it; else Muon moves hidden matrices.
    #[arg(long)]
    adamw: bool,
    /// Leave first weights, tokens and settings in the folder, for a peer that does the same with AdamW.
    #[arg(long, requires = "adamw")]
    leave: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

const VOCAB: usize = 4_096;
/// Samples that a step of the evaluation takes.
const JUDGED_AT_ONCE: usize = 32;
/// Steps after which the synchronous run tells its loss.
const TOLD_AFTER: u64 = 60;
/// Tokens of the validation text.
const JUDGED: u64 = 131_072;

/// How the sites meet.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Steps of a round.
    round: u64,
    fragments: usize,
    outer: OuterConfig,
}

impl Plan {
    /// The shortest rounds that send 400 times less than a ring of bf16 with `int4`, and 2,000 times with
    /// `sparse`, of those that go into 1,440 steps. `int4` takes the outer step of DiLoCo with less momentum,
    /// since there are some twenty rounds and not hundreds, and more of it where sites see fewer samples each;
    /// `sparse` takes the mean as it is, because its residual is a momentum already. AdamW goes with the outer step
    /// of its peer.
    fn new(args: &Args) -> Self {
        let (round, fragments, mut learning_rate, mut momentum) = match (args.codec, args.sites) {
            (Codec::Sparse, ..=2) => (24, 1, 1.0, 0.0),
            (Codec::Sparse, 3..=4) => (15, 1, 1.0, 0.0),
            (Codec::Sparse, 5..) => (12, 1, 1.0, 0.0),
            (_, ..=2) => (60, 2, 0.8, 0.6),
            (_, 3..=4) => (36, 2, 0.8, 0.8),
            (_, 5..) => (30, 2, 0.8, 0.8),
        };
        if args.adamw {
            (learning_rate, momentum) = (0.7, 0.9);
        }
        Self {
            round: args.round.unwrap_or(round),
            fragments: args.fragments.unwrap_or(fragments),
            outer: OuterConfig {
                learning_rate: args.outer_rate.unwrap_or(learning_rate),
                momentum: args.outer_momentum.unwrap_or(momentum),
            },
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    set_threads(args.threads)?;
    let (train, valid) = reviews(&args.dir, VOCAB, args.text)?;
    let shape = shape(train.vocab(), args.seq);
    let model = Model::new(Family::new(shape.clone()).map_err(Failure::new)?, args.seed);
    let parameters = model.params.len();
    let data = Windows::new(&train, args.seq);
    if args.leave {
        leave(args, &shape, &model, (&train, &valid))?;
    }
    let start = Instant::now();
    let (model, traffic) = match args.sites {
        1 => (synchronous(args, model, &data)?, Traffic::default()),
        _ => across(args, &model, &data)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let valid_loss = judge(args, &model, &valid)?;
    say(&json!({
        "valid_loss": valid_loss, "parameters": parameters, "steps": args.steps, "tokens": args.steps * args.batch * args.seq as u64,
        "sent": traffic.sent, "received": traffic.received, "seconds": seconds,
        "version": format!("khub {}", env!("CARGO_PKG_VERSION")),
    }))
}

/// What a peer needs to train across as many sites. Its rounds are as long as a fragment's way to its next turn.
fn leave(
    args: &Args,
    shape: &ModelConfig,
    model: &Model<Family>,
    (train, valid): (&Tokens, &Tokens),
) -> Result<(), Failure> {
    let settings = settings(args, args.batch);
    let run = leave::Run {
        dir: &args.dir,
        shape,
        settings: &settings,
        seq: args.seq,
        judged: JUDGED / args.seq as u64,
    };
    run.leave_model(model)?;
    run.leave_rows(train, valid)?;
    let rates: Vec<f32> = (0..args.steps)
        .map(|step| settings.schedule().rate(step))
        .collect();
    let plan = Plan::new(args);
    let steps = plan.round * plan.fragments as u64;
    run.leave_settings(&rates, &json!({ "count": args.sites, "steps": steps }))
}

/// Like GPT-2, of 5.3 million weights.
fn shape(vocab: usize, seq: usize) -> ModelConfig {
    ModelConfig {
        family: Architecture::Gpt2,
        vocab,
        width: 256,
        layers: 4,
        heads: 4,
        hidden: 1024,
        context: seq,
        tied: false,
        bias: false,
        gelu_exact: true,
        ..ModelConfig::default()
    }
}

fn settings(args: &Args, batch: u64) -> TrainConfig {
    let found = found(args);
    TrainConfig {
        batch: batch as usize,
        steps: args.steps,
        warmup: args.warmup,
        learning_rate: args.rate.unwrap_or(found.learning_rate),
        floor: args.floor,
        precision: Precision::Bf16,
        beta1: args.beta1.unwrap_or(found.beta1),
        beta2: args.beta2.unwrap_or(found.beta2),
        clip: args.clip.unwrap_or(found.clip),
        muon_every: args.muon_every.unwrap_or(found.muon_every),
        seed: args.seed,
        ..found
    }
}

/// The best that was found of what a run of 1,440 steps is trained with.
///
/// A site's steps have few samples, so a mean of squares over as many tokens takes more steps (arXiv 2507.07101): what
/// a rare token's row moved in one of them would be forgotten before the next. And what Muon leaves to AdamW learns
/// more without a mean of gradients, and without a limit to their length, whether synchronous or at sites.
fn found(args: &Args) -> TrainConfig {
    let sites = args.sites;
    if args.adamw {
        let (learning_rate, beta2) = if sites == 1 { (7e-4, 0.95) } else { (3e-4, 0.999) };
        return TrainConfig {
            learning_rate,
            beta2,
            ..TrainConfig::default()
        };
    }
    let (learning_rate, muon_every) = match sites {
        1 => (4e-3, 4),
        2 => (3e-3, 10),
        3..=4 => (1.2e-3, 15),
        _ => (2e-3, 15),
    };
    TrainConfig {
        optimizer: Rule::Muon,
        learning_rate,
        muon_every,
        beta1: 0.0,
        beta2: 0.999,
        clip: 100.0,
        ..TrainConfig::default()
    }
}

fn judge(args: &Args, model: &Model<Family>, valid: &Tokens) -> Result<f64, Failure> {
    let samples = JUDGED / args.seq as u64;
    evaluate(model, &Windows::new(valid, args.seq), samples, JUDGED_AT_ONCE).map_err(Failure::new)
}

fn synchronous(args: &Args, model: Model<Family>, data: &Windows<'_>) -> Result<Model<Family>, Failure> {
    let mut trainer = Trainer::new(model, settings(args, args.batch)).map_err(Failure::new)?;
    for first in (0..args.steps).step_by(TOLD_AFTER as usize) {
        let end = args.steps.min(first + TOLD_AFTER);
        let report = trainer.train(data, first * args.batch, end * args.batch, &mut |_| Flow::GoOn);
        tell(end, report.map_err(Failure::new)?.loss)?;
    }
    Ok(trainer.model)
}

fn tell(step: u64, loss: f32) -> Result<(), Failure> {
    say(&json!({ "step": step, "loss": loss }))
}

/// Bytes of one site's updates, and of the others' that it takes.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    sent: u64,
    received: u64,
}

struct Site {
    trainer: Trainer<Family>,
    residual: Vec<f32>,
    /// Where it was when it sent the fragment whose result is under way.
    sent: Vec<f32>,
}

fn across(
    args: &Args,
    model: &Model<Family>,
    data: &Windows<'_>,
) -> Result<(Model<Family>, Traffic), Failure> {
    let plan = Plan::new(args);
    check(args, plan)?;
    let share = args.batch / args.sites;
    let mut outer = Outer::new(model.params.clone(), plan.outer);
    let fragments = fragments(&sizes(model.network.layout()), plan.fragments);
    let mut sites = Vec::new();
    for _ in 0..args.sites {
        let first = Model {
            network: model.network.clone(),
            params: model.params.clone(),
        };
        sites.push(Site {
            trainer: Trainer::new(first, settings(args, share)).map_err(Failure::new)?,
            residual: vec![0.0; model.params.len()],
            sent: Vec::new(),
        });
    }
    let mut traffic = Traffic::default();
    let mut under_way: Option<Range<usize>> = None;
    let count = u32::try_from(args.steps / plan.round).map_err(Failure::new)?;
    let rounds = Rounds::new(count, plan.round * share);
    for round in 0..count {
        let first = u64::from(round) * plan.round * args.batch;
        let mut loss = 0.0;
        for (i, site) in (0..).zip(&mut sites) {
            let from = first + i * rounds.samples;
            let report = site
                .trainer
                .train(data, from, from + rounds.samples, &mut |_| Flow::GoOn);
            loss += report.map_err(Failure::new)?.loss / args.sites as f32;
        }
        tell(u64::from(round + 1) * plan.round, loss)?;
        if let Some(fragment) = under_way.take() {
            adopt(args, &outer, &mut sites, &fragment);
        }
        let fragment = rounds.sends(round, &fragments);
        commit(args, &mut outer, &mut sites, &fragment, &mut traffic)?;
        if args.late {
            under_way = Some(fragment);
        } else {
            adopt(args, &outer, &mut sites, &fragment);
        }
    }
    let model = Model {
        network: model.network.clone(),
        params: outer.params().to_vec(),
    };
    Ok((model, traffic))
}

fn check(args: &Args, plan: Plan) -> Result<(), Failure> {
    let (batch, sites, steps, round) = (args.batch, args.sites, args.steps, plan.round);
    if sites == 0 || batch == 0 || !batch.is_multiple_of(sites) {
        let hint = "give a batch that is a multiple of the sites";
        return Err(Failure::new(format_args!("{sites} sites can't share a batch of {batch}")).hint(hint));
    }
    if round == 0 || !steps.is_multiple_of(round) {
        let hint = "give steps that are a multiple of the round's";
        return Err(Failure::new(format_args!("{steps} steps are no whole rounds of {round}")).hint(hint));
    }
    Ok(())
}

/// Every site's update of a fragment, and the outer step that they make.
fn commit(
    args: &Args,
    outer: &mut Outer,
    sites: &mut [Site],
    fragment: &Range<usize>,
    traffic: &mut Traffic,
) -> Result<(), Failure> {
    let mut updates = Vec::with_capacity(sites.len());
    for site in &mut *sites {
        let local = &site.trainer.model.params[fragment.clone()];
        site.sent = local.to_vec();
        let agreed = &outer.params()[fragment.clone()];
        let delta: Vec<f32> = agreed
            .iter()
            .zip(local)
            .map(|(agreed, local)| agreed - local)
            .collect();
        let residual = &mut site.residual[fragment.clone()];
        let bytes = encode(args.codec, &delta, Some(residual)).map_err(Failure::new)?;
        updates.push(Update::parse(&bytes).map_err(Failure::new)?);
    }
    let bytes = args.codec.bytes(fragment.len() as u64);
    traffic.sent += bytes;
    traffic.received += bytes * (args.sites - 1);
    let round = updates.iter().map(|update| Contribution {
        weight: 1,
        scale: Scale::WHOLE,
        update,
    });
    outer
        .step(fragment.clone(), &round.collect::<Vec<_>>())
        .map_err(Failure::new)
}

/// Every site goes on from what is agreed.
fn adopt(args: &Args, outer: &Outer, sites: &mut [Site], fragment: &Range<usize>) {
    for site in sites {
        let local = &mut site.trainer.model.params;
        match args.alpha {
            Some(alpha) => outer.mix(fragment.clone(), local, alpha),
            None => {
                let agreed = &outer.params()[fragment.clone()];
                for ((local, sent), agreed) in local[fragment.clone()].iter_mut().zip(&site.sent).zip(agreed)
                {
                    *local = agreed + (*local - sent);
                }
            }
        }
    }
}

fn sizes(layout: &Layout) -> Vec<usize> {
    layout.tensors.iter().map(|tensor| tensor.range.len()).collect()
}
