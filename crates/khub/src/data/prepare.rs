//! `khub data prepare`: text to tokens, once. Text that is prepared already is not prepared again.

use super::sets::blake3_of;
use crate::failure::Failure;
use crate::folder::write;
use crate::show;
use indicatif::{ProgressBar, ProgressStyle};
use language::{Corpus, Limits, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Make a tokeniser and token files from text, ready to train on.
///
/// Reads text, TSV, JSON lines (.jsonl, .ndjson, .json), Parquet, or a folder of them. Writes tokenizer.json,
/// train.tokens, valid.tokens and prepared.json, which counts documents, bytes and tokens.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub data prepare reviews.jsonl -o reviews\n  \
        khub data prepare corpus.parquet --text-field body --vocab 16000\n  \
        khub data prepare texts/ --train-bytes 8000000 --valid-bytes 200000 --json\n\nA folder may say what to be \
        judged by: train.jsonl and valid.jsonl, or another ending.\nElse three of a hundred bytes are kept back for \
        that. The same text and settings give the same files.")]
pub(super) struct Args {
    /// A file, or a folder of files.
    path: PathBuf,
    /// The folder to write to.
    #[arg(long, short, value_name = "DIR", default_value = "prepared")]
    output: PathBuf,
    /// The most tokens in the vocabulary, 257 to 65536.
    #[arg(long, value_name = "N", default_value_t = 8_192, value_parser = vocab)]
    vocab: usize,
    /// The most bytes to learn from, taken from all over the text; at least 6000. All by default.
    #[arg(long, value_name = "BYTES")]
    train_bytes: Option<u64>,
    /// The most bytes to be judged by; at least 2000. All that is kept for it by default.
    #[arg(long, value_name = "BYTES")]
    valid_bytes: Option<u64>,
    /// The field or column that is the text; else text, document, content, or the one with most letters.
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// Print the result as JSON on standard output; what goes on is told on standard error.
    #[arg(long)]
    json: bool,
}

fn vocab(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (257..=65_536).contains(n));
    number.ok_or_else(|| "it takes 257, one for each byte and one for the end, to 65536".to_owned())
}

/// What was prepared, as `prepared.json` keeps it.
///
/// A model's bits per byte are its bits per token over `bytes_per_token`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The digest of the documents; text of another digest is prepared anew.
    made_of: String,
    /// The vocabulary that was asked for.
    most_vocab: usize,
    /// The vocabulary that the text gave.
    pub(crate) vocab: usize,
    /// The token that stands after every document.
    end_token: u32,
    pub(crate) train: Part,
    pub(crate) valid: Part,
    /// The files and their BLAKE3 digests.
    files: BTreeMap<String, String>,
}

/// One of the two token files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    documents: u64,
    /// Bytes of text, nothing added.
    pub(crate) bytes: u64,
    /// Tokens, with an end after each document.
    pub(crate) tokens: u64,
    bytes_per_token: f64,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Done {
    folder: PathBuf,
    /// Whether it was there already.
    already: bool,
    #[serde(flatten)]
    record: Record,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let limits = Limits {
        train_bytes: args.train_bytes.unwrap_or(u64::MAX),
        valid_bytes: args.valid_bytes.unwrap_or(u64::MAX),
    };
    let corpus = Corpus::read_field(&args.path, args.text_field.as_deref(), limits).map_err(Failure::new)?;
    let (record, already) = prepare(&corpus, args.vocab, &args.output)?;
    if args.json {
        return show::json(&Done {
            folder: args.output.clone(),
            already,
            record,
        });
    }
    let folder = args.output.display();
    let row = |name: &str, part: &Part| {
        vec![
            name.to_owned(),
            show::grouped(part.documents),
            show::grouped(part.bytes),
            show::grouped(part.tokens),
            format!("{:.2}", part.bytes_per_token),
        ]
    };
    let rows = [row("train", &record.train), row("valid", &record.valid)];
    let mut text = format!("corpus      {}\n", corpus.source);
    text.push_str(&format!("vocabulary  {}\n\n", show::grouped(record.vocab as u64)));
    text.push_str(&show::table(
        &["part", "documents", "bytes", "tokens", "bytes a token"],
        &rows,
    ));
    text.push_str(&if already {
        format!("\n{folder} has them already, from the same text and settings: nothing was done\n")
    } else {
        format!("\n{folder} has tokenizer.json, train.tokens, valid.tokens and prepared.json\n")
    });
    show::print(&text);
    Ok(())
}

/// Prepares a corpus in `folder`, and says whether that was done already.
pub(crate) fn prepare(corpus: &Corpus, vocab: usize, folder: &Path) -> Result<(Record, bool), Failure> {
    let made_of = digest(corpus);
    let note = folder.join("prepared.json");
    let known = fs::read(&note)
        .ok()
        .and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let same = |known: &Record| known.made_of == made_of && known.most_vocab == vocab && known.holds(folder);
    if let Some(known) = known.filter(same) {
        return Ok((known, true));
    }
    fs::create_dir_all(folder).map_err(|e| Failure::file(folder, e))?;
    let bar = ProgressBar::new(0).with_style(style());
    let made = language::prepare(corpus, vocab, folder, &mut |stage| show_stage(&bar, stage));
    bar.finish_and_clear();
    let made = made.map_err(Failure::new)?;
    let mut files = BTreeMap::new();
    for file in &made.files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.insert(name, blake3_of(file).map_err(|e| Failure::file(file, e))?);
    }
    let record = Record {
        made_of,
        most_vocab: vocab,
        vocab: made.vocab,
        end_token: made.end,
        train: Part::new(made.train_documents, made.train_bytes, made.train_tokens),
        valid: Part::new(made.valid_documents, made.valid_bytes, made.valid_tokens),
        files,
    };
    let json = serde_json::to_string_pretty(&record).map_err(Failure::new)? + "\n";
    write(&note, json.as_bytes())?;
    Ok((record, false))
}

impl Record {
    /// Whether the files are in `folder`, as they were written.
    fn holds(&self, folder: &Path) -> bool {
        let same = |(name, digest): (&String, &String)| {
            blake3_of(&folder.join(name)).is_ok_and(|found| found == *digest)
        };
        self.files.len() == 3 && self.files.iter().all(same)
    }
}

impl Part {
    fn new(documents: u64, bytes: u64, tokens: u64) -> Self {
        Self {
            documents,
            bytes,
            tokens,
            bytes_per_token: bytes as f64 / tokens as f64,
        }
    }
}

fn style() -> ProgressStyle {
    let template = "tokens    {bar:40.cyan/blue} {bytes} of {total_bytes}  {msg}";
    ProgressStyle::with_template(template).expect("the template is fixed")
}

fn show_stage(bar: &ProgressBar, stage: Stage) {
    let (what, done, bytes) = match stage {
        Stage::Learning { bytes } => ("learning the vocabulary", 0, bytes),
        Stage::Tokenising { done, bytes } => ("tokenising", done, bytes),
    };
    bar.set_message(what);
    bar.set_length(bytes);
    bar.set_position(done);
}

/// Names the documents and how they are divided.
fn digest(corpus: &Corpus) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&corpus.train, &corpus.valid] {
        for document in part {
            hasher
                .update(&(document.len() as u64).to_le_bytes())
                .update(document.as_bytes());
        }
        // A length that no document has.
        hasher.update(&u64::MAX.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
