//! From text to tokens, once: a quickstart that goes on finds the files of the last one.

use crate::corpus::Text;
use crate::data::prepare::{self, Record};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::show;
use language::{Corpus, Limits};
use std::path::PathBuf;

/// How much text is used: enough for two minutes of training not to see the same words twice too often.
const LIMITS: Limits = Limits {
    train_bytes: 8_000_000,
    valid_bytes: 200_000,
};
const VOCAB: usize = 3_000;

/// The tokens of a corpus.
pub(crate) struct Prepared {
    record: Record,
    folder: PathBuf,
}

impl Prepared {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn described(&self) -> String {
        format!(
            "{} from {} of text, in a vocabulary of {}",
            show::grouped(self.record.train.tokens),
            show::bytes(self.record.train.bytes),
            show::grouped(self.record.vocab as u64)
        )
    }
}

pub(crate) fn prepare(folder: &Folder, text: &Text) -> Result<Prepared, Failure> {
    let folder = folder.path("quickstart/data");
    let corpus = match text {
        Text::Path { path, .. } => Corpus::read(path, LIMITS),
        Text::Primer => Corpus::from_text("the primer", language::PRIMER, LIMITS),
    };
    let (record, _) = prepare::prepare(&corpus.map_err(Failure::new)?, VOCAB, &folder)?;
    Ok(Prepared { record, folder })
}
