//! `khub eval`, `khub import` and `khub export`, and how a model on a disk is found.

use crate::failure::Failure;
use crate::show;
use indicatif::{ProgressBar, ProgressStyle};
use language::{
    Card, Corpus, ExportOptions, Family, GenerateError, Limits, Tokenizer, export, from_checkpoint, import,
    judge_tokens, to_checkpoint,
};
use nn::checkpoint::Dtype;
use nn::{Checkpoint, Model};
use std::fs;
use std::path::{Path, PathBuf};

/// Judge a model by a text: bits for each byte of it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub eval --model small --text reviews.tsv\n  khub eval --model small --text new.jsonl --json"
)]
pub(crate) struct Eval {
    #[command(flatten)]
    model: Named,
    /// A file or folder of text: plain text, TSV, JSON lines or Parquet.
    #[arg(long)]
    text: PathBuf,
    /// The field or column that is the text.
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// The most bytes of text, taken from all over it.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    bytes: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Take in a model that Hugging Face's `transformers` saved: gpt2, llama or mixtral.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub import downloaded/gpt2 -o gpt2")]
pub(crate) struct Import {
    /// The folder with config.json and safetensors.
    folder: PathBuf,
    /// The folder for model.safetensors and tokenizer.json.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// Write a model as a folder that Hugging Face's `transformers` loads.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub export --model small --hf small-hf --licence Apache-2.0")]
pub(crate) struct Export {
    #[command(flatten)]
    model: Named,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    hf: PathBuf,
    /// Numbers of 16 bits instead of 32.
    #[arg(long)]
    bf16: bool,
    /// The most bytes in a file.
    #[arg(long, value_name = "BYTES", default_value_t = 5_000_000_000)]
    shard_bytes: u64,
    /// What the model card calls it.
    #[arg(long)]
    name: Option<String>,
    /// What it was trained on, for the card.
    #[arg(long)]
    data: Option<String>,
    /// Its licence, for the card.
    #[arg(long)]
    licence: Option<String>,
    /// Its label in the consortium, for the card.
    #[arg(long)]
    label: Option<String>,
}

/// A model on the disk.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// The model: a folder of `khub train`, `khub import` or `transformers`, or a checkpoint.
    #[arg(long)]
    model: PathBuf,
    /// Its tokeniser; else tokenizer.json beside the model.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
}

impl Named {
    /// The model alone.
    fn open(&self) -> Result<Model<Family>, Failure> {
        let path = &self.model;
        if path.join("config.json").exists() {
            return Ok(import(path).map_err(Failure::new)?.model);
        }
        let file = if path.is_dir() {
            path.join("model.safetensors")
        } else {
            path.clone()
        };
        if !file.exists() {
            return Err(Failure::new(format_args!("there is no file {}", file.display()))
                .hint("`khub train` and `khub quickstart` leave models; `khub fetch` brings others"));
        }
        let checkpoint = Checkpoint::read(&file).map_err(Failure::new)?;
        from_checkpoint(&checkpoint)
            .map_err(|error| Failure::file(&file, format_args!("it holds no model: {error}")))
    }

    fn tokenizer_file(&self) -> PathBuf {
        let beside = || match self.model.is_dir() {
            true => self.model.join("tokenizer.json"),
            false => self.model.with_file_name("tokenizer.json"),
        };
        self.tokenizer.clone().unwrap_or_else(beside)
    }

    /// The model and the tokeniser that goes with it.
    pub(crate) fn open_both(&self) -> Result<(Model<Family>, Tokenizer), Failure> {
        let model = self.open()?;
        let file = self.tokenizer_file();
        if !file.exists() {
            return Err(Failure::new(format_args!("there is no file {}", file.display()))
                .hint("name the one that came with the model with --tokenizer"));
        }
        let tokenizer = Tokenizer::open(&file).map_err(Failure::new)?;
        let (theirs, ours) = (tokenizer.vocab(), model.network.config().vocab);
        if theirs != ours {
            let error = GenerateError::Mismatch {
                tokenizer: theirs,
                model: ours,
            };
            return Err(Failure::file(&file, error));
        }
        Ok((model, tokenizer))
    }
}

pub(crate) fn eval(args: &Eval) -> Result<(), Failure> {
    let (model, tokenizer) = args.model.open_both()?;
    let limits = Limits {
        train_bytes: args.bytes,
        valid_bytes: 0,
    };
    let corpus = Corpus::read_field(&args.text, args.text_field.as_deref(), limits).map_err(Failure::new)?;
    let documents: Vec<&String> = corpus.valid.iter().chain(&corpus.train).collect();
    let bytes = documents.iter().map(|document| document.len() as u64).sum();
    let mut tokens = vec![tokenizer.end()];
    for document in documents {
        tokens.extend(tokenizer.encode(document).map_err(Failure::new)?);
        tokens.push(tokenizer.end());
    }
    let style = ProgressStyle::with_template("judging   {bar:40.cyan/blue} {pos} of {len} tokens");
    let bar = ProgressBar::new(tokens.len() as u64).with_style(style.expect("the template is fixed"));
    let seq = model.network.config().context;
    let judged = judge_tokens(&model, &tokens, bytes, seq, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let judged = judged.map_err(Failure::new)?;
    if args.json {
        return show::json(&judged);
    }
    show::print(&format!(
        "text         {}, {}\ntokens       {}\nloss         {:.4} nats a token\nperplexity   {:.2}\nbits a byte  {:.4}\n",
        corpus.source,
        show::bytes(bytes),
        show::grouped(judged.tokens),
        judged.loss,
        judged.loss.exp(),
        judged.bits_per_byte,
    ));
    Ok(())
}

pub(crate) fn take_in(args: &Import) -> Result<(), Failure> {
    let imported = import(&args.folder).map_err(Failure::new)?;
    let file = args.output.join("model.safetensors");
    to_checkpoint(&imported.model)
        .write(&file)
        .map_err(Failure::new)?;
    if let Some(tokenizer) = &imported.tokenizer {
        copy(tokenizer, &args.output.join("tokenizer.json"))?;
    }
    let config = imported.model.network.config();
    show::print(&format!(
        "{} has the model: {:?}, {} parameters, a context of {}\n",
        args.output.display(),
        config.family,
        show::grouped(imported.model.params.len() as u64),
        show::grouped(config.context as u64),
    ));
    Ok(())
}

pub(crate) fn hand_out(args: &Export) -> Result<(), Failure> {
    let model = args.model.open()?;
    let tokenizer = Some(args.model.tokenizer_file()).filter(|file| file.exists());
    let options = ExportOptions {
        dtype: if args.bf16 { Dtype::Bf16 } else { Dtype::F32 },
        shard_bytes: args.shard_bytes,
        tokenizer,
        card: Card {
            name: args.name.clone(),
            data: args.data.clone(),
            loss: None,
            label: args.label.clone(),
            licence: args.licence.clone(),
        },
    };
    export(&model, &args.hf, &options).map_err(Failure::new)?;
    let folder = args.hf.display();
    show::print(&format!(
        "transformers.AutoModelForCausalLM.from_pretrained({:?}) loads {folder}\n",
        args.hf
    ));
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let bytes = fs::read(from).map_err(|error| Failure::unread(from, &error))?;
    nn::write_whole(to, &bytes).map_err(|error| Failure::file(to, error))
}
