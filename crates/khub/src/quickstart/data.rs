//! From text to tokens, once: a quickstart that goes on finds the files of the last one.

use crate::corpus::Text;
use crate::failure::Failure;
use crate::folder::{Folder, write};
use crate::show;
use indicatif::{ProgressBar, ProgressStyle};
use language::{Corpus, Limits, Stage};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// How much text is used: enough for two minutes of training not to see the same words twice too often.
const LIMITS: Limits = Limits {
    train_bytes: 8_000_000,
    valid_bytes: 200_000,
};
const VOCAB: usize = 3_000;

/// The tokens of a corpus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// What it was made of: text of another digest is prepared anew.
    made_of: String,
    pub(crate) vocab: usize,
    pub(crate) train_tokens: u64,
    pub(crate) valid_tokens: u64,
    pub(crate) train_bytes: u64,
    #[serde(skip)]
    folder: PathBuf,
}

impl Prepared {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn described(&self) -> String {
        format!(
            "{} from {} of text, in a vocabulary of {}",
            show::grouped(self.train_tokens),
            show::bytes(self.train_bytes),
            show::grouped(self.vocab as u64)
        )
    }
}

pub(crate) fn prepare(folder: &Folder, text: &Text) -> Result<Prepared, Failure> {
    let folder = folder.path("quickstart/data");
    let corpus = read(text)?;
    let made_of = made_of(&corpus);
    let note = folder.join("prepared.json");
    let known = fs::read(&note)
        .ok()
        .and_then(|text| serde_json::from_slice::<Prepared>(&text).ok());
    if let Some(known) = known.filter(|known| known.made_of == made_of) {
        return Ok(Prepared { folder, ..known });
    }
    fs::create_dir_all(&folder).map_err(|e| Failure::file(&folder, e))?;
    let bar = ProgressBar::new(0).with_style(style());
    let made = language::prepare(&corpus, VOCAB, &folder, &mut |stage| show_stage(&bar, stage));
    bar.finish_and_clear();
    let made = made.map_err(Failure::new)?;
    let prepared = Prepared {
        made_of,
        vocab: made.vocab,
        train_tokens: made.train_tokens,
        valid_tokens: made.valid_tokens,
        train_bytes: made.train_bytes,
        folder,
    };
    write(&note, &serde_json::to_vec(&prepared).map_err(Failure::new)?)?;
    Ok(prepared)
}

fn read(text: &Text) -> Result<Corpus, Failure> {
    let corpus = match text {
        Text::Path { path, .. } => Corpus::read(path, LIMITS),
        Text::Primer => Corpus::from_text("the primer", language::PRIMER, LIMITS),
    };
    corpus.map_err(Failure::new)
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

fn made_of(corpus: &Corpus) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&corpus.train, &corpus.valid] {
        for document in part {
            hasher
                .update(&(document.len() as u64).to_le_bytes())
                .update(document.as_bytes());
        }
        hasher.update(b"part");
    }
    format!("{} {VOCAB}", hasher.finalize().to_hex())
}
