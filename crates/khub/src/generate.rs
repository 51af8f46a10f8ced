//! `khub generate`: text from a model.

use crate::failure::Failure;
use crate::model::Named;
use crate::show;
use language::GenerateConfig;

/// Let a model go on from a beginning.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub generate --model khub-data/quickstart/model.safetensors '이 영화는'\n  \
        khub generate --model small --stream --temperature 0 'The film'"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: Named,
    /// The beginning.
    #[arg(default_value = "")]
    beginning: String,
    /// 0 always takes the likeliest token; 1 samples as the model says.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Samples among the likeliest tokens that make up this probability.
    #[arg(long, default_value_t = 0.9)]
    top_p: f32,
    /// The most tokens.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// The same seed gives the same text.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Weights of 16 bits: nearly twice as fast, and rounded.
    #[arg(long)]
    bf16: bool,
    /// Print each token as it comes.
    #[arg(long)]
    stream: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (model, tokenizer) = args.model.open_both()?;
    let config = GenerateConfig {
        temperature: args.temperature,
        top_p: args.top_p,
        max_tokens: args.tokens,
        seed: args.seed,
        halved: args.bf16,
    };
    let mut begun = false;
    let mut tell = |part: &str| {
        if args.stream {
            // Nothing is printed before the settings are known to be good.
            let beginning = if begun { "" } else { args.beginning.as_str() };
            begun = true;
            show::print(&format!("{beginning}{part}"));
        }
    };
    let text = language::generate(&model, &tokenizer, &args.beginning, &config, &mut tell);
    let text = text.map_err(Failure::new)?;
    match (args.stream, begun) {
        (true, true) => show::print("\n"),
        _ => show::print(&format!("{}{text}\n", args.beginning)),
    }
    Ok(())
}
