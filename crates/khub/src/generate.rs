//! `khub generate`: text from a model.

use crate::failure::Failure;
use crate::show;
use language::{GenerateConfig, GenerateError};
use std::path::PathBuf;

/// Let a model go on from a beginning.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub generate --model khub-data/quickstart/model.safetensors '이 영화는'"
)]
pub(crate) struct Args {
    /// The model's checkpoint.
    #[arg(long)]
    model: PathBuf,
    /// Its tokeniser; else tokenizer.json beside the model.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
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
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let beside = || args.model.with_file_name("tokenizer.json");
    let tokenizer = args.tokenizer.clone().unwrap_or_else(beside);
    let files = [
        (
            &args.model,
            "`khub quickstart` leaves a model in khub-data/quickstart; `khub fetch` brings others",
        ),
        (
            &tokenizer,
            "name the one that came with the model with --tokenizer",
        ),
    ];
    if let Some((path, hint)) = files.into_iter().find(|(path, _)| !path.exists()) {
        return Err(Failure::new(format_args!("there is no file {}", path.display())).hint(hint));
    }
    let (model, tokenizer) = language::load(&args.model, &tokenizer).map_err(|error| match error {
        GenerateError::Mismatch { .. } => Failure::file(&tokenizer, error),
        other => Failure::new(other),
    })?;
    let config = GenerateConfig {
        temperature: args.temperature,
        top_p: args.top_p,
        max_tokens: args.tokens,
        seed: args.seed,
    };
    let text = language::generate(&model, &tokenizer, &args.beginning, &config).map_err(Failure::new)?;
    show::print(&format!("{}{text}\n", args.beginning));
    Ok(())
}
