//! From a corpus to what a training job reads: `tokenizer.json`, `train.tokens` and `valid.tokens`.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use language::{Corpus, Limits, Stage, prepare};
//! let text: String = (0..500).map(|i| format!("{i}번째 영화는 정말 재미있었다\n")).collect();
//! let corpus = Corpus::from_text("reviews", &text, Limits::default())?;
//! let prepared = prepare(&corpus, 512, dir.path(), &mut |_: Stage| {})?;
//! assert!(prepared.train_tokens < prepared.train_bytes);
//! assert!(dir.path().join("tokenizer.json").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Corpus, Tokenizer, TokenizerError, Tokens, TokensError};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// What is done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The vocabulary is learnt from the text.
    Learning {
        /// Of so many bytes.
        bytes: u64,
    },
    /// The text becomes tokens.
    Tokenising {
        /// So many bytes are done.
        done: u64,
        /// Of so many.
        bytes: u64,
    },
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Tokens in the vocabulary: as many as were asked for, or as many as the text gives.
    pub vocab: usize,
    /// The token that stands after every document.
    pub end: u32,
    /// Documents to learn from.
    pub train_documents: u64,
    /// Documents to be judged by.
    pub valid_documents: u64,
    /// Tokens to learn from, with an end after each document.
    pub train_tokens: u64,
    /// Tokens to be judged by, likewise.
    pub valid_tokens: u64,
    /// Bytes of the text to learn from, nothing added.
    pub train_bytes: u64,
    /// Bytes of the text to be judged by, nothing added.
    pub valid_bytes: u64,
    /// `tokenizer.json`, `train.tokens` and `valid.tokens`.
    pub files: [PathBuf; 3],
}

/// Why nothing came out.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// No token file.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// Documents that are tokenised between two calls of `progress`.
const CHUNK: usize = 8_192;

/// Learns a vocabulary of at most `vocab` tokens (257 to 65,536) from the training text, and writes the
/// tokeniser and both texts as tokens to `dir`, each document with an end after it. The same corpus gives the
/// same bytes.
pub fn prepare(
    corpus: &Corpus,
    vocab: usize,
    dir: &Path,
    progress: &mut dyn FnMut(Stage),
) -> Result<Prepared, PrepareError> {
    let (train_bytes, valid_bytes) = (corpus.train_bytes(), corpus.valid_bytes());
    progress(Stage::Learning { bytes: train_bytes });
    let tokenizer = Tokenizer::learn(&corpus.train, vocab)?;

    let mut done = 0;
    let mut tokenise = |documents: &[String]| {
        let mut tokens = Vec::new();
        for chunk in documents.chunks(CHUNK) {
            tokens.extend(encode(&tokenizer, chunk)?);
            done += chunk.iter().map(|document| document.len() as u64).sum::<u64>();
            let bytes = train_bytes + valid_bytes;
            progress(Stage::Tokenising { done, bytes });
        }
        Ok::<_, PrepareError>(tokens)
    };
    let (train, valid) = (tokenise(&corpus.train)?, tokenise(&corpus.valid)?);
    let prepared = Prepared {
        vocab: tokenizer.vocab(),
        end: tokenizer.end(),
        train_documents: corpus.train.len() as u64,
        valid_documents: corpus.valid.len() as u64,
        train_tokens: train.len() as u64,
        valid_tokens: valid.len() as u64,
        train_bytes,
        valid_bytes,
        files: ["tokenizer.json", "train.tokens", "valid.tokens"].map(|name| dir.join(name)),
    };

    let [tokenizer_file, train_file, valid_file] = &prepared.files;
    tokenizer.write(tokenizer_file)?;
    Tokens::write(train_file, prepared.vocab, train_bytes, train)?;
    Tokens::write(valid_file, prepared.vocab, valid_bytes, valid)?;
    Ok(prepared)
}

/// The tokens of some documents, in their order, with an end after each.
fn encode(tokenizer: &Tokenizer, documents: &[String]) -> Result<Vec<u16>, TokenizerError> {
    let narrow = |token: u32| u16::try_from(token).expect("a vocabulary of 65,536 at most was learnt");
    let encoded = documents.par_iter().map(|document| {
        let mut tokens = tokenizer.encode(document)?;
        tokens.push(tokenizer.end());
        Ok(tokens.into_iter().map(narrow).collect::<Vec<u16>>())
    });
    Ok(encoded.collect::<Result<Vec<_>, TokenizerError>>()?.concat())
}
