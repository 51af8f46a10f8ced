//! `khub plan`: what training a large model across sites costs, on paper.

use crate::failure::Failure;
use crate::show;
use language::{ModelConfig, presets};
use serde::Serialize;
use sync::paper::{BYTES_A_WEIGHT, Cost, Link, Plan};

/// Reckon what training a model across sites costs: bytes, seconds and memory.
///
/// A calculation on paper; nothing is measured. Every site computes at the speed that is given, sends its
/// update of a fragment once and takes those of all others through one link, while it trains. Beside it stands
/// synchronous data parallel training with a ring in bf16. docs/cross-site.md has the formulas.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub plan\n  khub plan --model gpt3-175b --sites 8 --links 0.1,1\n  \
    khub plan --model wudao-1.75t --petaflops 400 --json"
)]
pub(crate) struct Args {
    /// Models, by the names of presets; those of 175 billion weights and more if none is given.
    #[arg(long = "model", value_name = "PRESET")]
    models: Vec<String>,
    /// How many sites train together.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    sites: u64,
    /// Links, in Gbit/s.
    #[arg(long, value_name = "GBIT/S", value_delimiter = ',', default_values_t = [1.0, 10.0, 100.0], value_parser = positive)]
    links: Vec<f64>,
    /// What a site's training keeps up, in PFLOP/s.
    #[arg(long, default_value_t = 20.0, value_parser = positive)]
    petaflops: f64,
    /// Tokens of an inner step at a site.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    step_tokens: u64,
    /// Inner steps from one turn of a fragment to its next.
    #[arg(long, value_name = "STEPS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    every: u64,
    /// Fragments that the model is cut into.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    fragments: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Presets from this many weights on are planned if no model is named.
const LARGE: u64 = 100_000_000_000;

#[derive(Serialize)]
struct Line {
    model: String,
    weights: u64,
    state_bytes: u64,
    link_gbit_s: f64,
    codec: String,
    step_s: f64,
    transfer_s: f64,
    sent_bytes_a_step: f64,
    computing: f64,
    data_parallel_sent_bytes_a_step: f64,
    data_parallel_computing: f64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for (name, config) in models(&args.models)? {
        let weights = config.param_counts().0;
        let plan = Plan {
            weights,
            flops_per_token: config.flops_per_token(config.context),
            sites: args.sites,
            flops_per_s: args.petaflops * 1e15,
            step_tokens: args.step_tokens,
            every: args.every,
            fragments: args.fragments,
        };
        let at = |gbit: &f64| {
            line(
                &name,
                weights,
                *gbit,
                &plan.over(Link {
                    bits_per_s: gbit * 1e9,
                }),
            )
        };
        lines.extend(args.links.iter().map(at));
    }
    if args.json {
        return show::json(&lines);
    }
    show::print(&table(args, &lines));
    Ok(())
}

fn models(names: &[String]) -> Result<Vec<(String, ModelConfig)>, Failure> {
    let all: Vec<&str> = presets().iter().map(|(name, _)| *name).collect();
    let known = |name: &str| ModelConfig::preset(name).map(|config| (name.to_owned(), config));
    if names.is_empty() {
        let large = |(_, config): &(String, ModelConfig)| config.param_counts().0 >= LARGE;
        return Ok(all.into_iter().filter_map(known).filter(large).collect());
    }
    let named = |name: &String| {
        let unknown = || {
            Failure::new(format!("there is no model {name}")).hint(format!("there are {}", all.join(", ")))
        };
        known(name).ok_or_else(unknown)
    };
    names.iter().map(named).collect()
}

fn line(model: &str, weights: u64, link_gbit_s: f64, cost: &Cost) -> Line {
    Line {
        model: model.to_owned(),
        weights,
        state_bytes: weights * BYTES_A_WEIGHT,
        link_gbit_s,
        codec: cost.codec.to_string(),
        step_s: cost.step_s,
        transfer_s: cost.transfer_s,
        sent_bytes_a_step: cost.sent,
        computing: cost.share,
        data_parallel_sent_bytes_a_step: cost.data_parallel_sent,
        data_parallel_computing: cost.data_parallel_share,
    }
}

fn table(args: &Args, lines: &[Line]) -> String {
    let head = [
        "model",
        "weights",
        "state",
        "Gbit/s",
        "step",
        "codec",
        "transfer",
        "sent a step",
        "computing",
        "data parallel sent",
        "computing",
    ];
    let seconds = |s: f64| {
        if s < 60.0 {
            format!("{s:.1} s")
        } else {
            show::span(s)
        }
    };
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let row = |line: &Line| {
        vec![
            line.model.clone(),
            format!("{:.0} bn", line.weights as f64 / 1e9),
            show::bytes(line.state_bytes),
            line.link_gbit_s.to_string(),
            seconds(line.step_s),
            line.codec.clone(),
            seconds(line.transfer_s),
            show::bytes(line.sent_bytes_a_step as u64),
            percent(line.computing),
            show::bytes(line.data_parallel_sent_bytes_a_step as u64),
            percent(line.data_parallel_computing),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    format!(
        "On paper: {} sites of {} PFLOP/s, {} tokens a step at each; a model in {} fragments, each every {} steps.\n\n{}",
        args.sites,
        args.petaflops,
        show::grouped(args.step_tokens),
        args.fragments,
        args.every,
        show::table(&head, &rows)
    )
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it takes a number above 0".into()),
    }
}
