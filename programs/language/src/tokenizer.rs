//! Text to tokens and back: byte-level BPE, kept as a `tokenizer.json` that Hugging Face reads as it is.
//!
//! ```
//! use language::Tokenizer;
//! let texts = vec!["영화가 재밌다. 정말 재밌다!".to_owned(); 20];
//! let tokenizer = Tokenizer::learn(&texts, 300)?;
//! let tokens = tokenizer.encode("재밌는 영화 🎬")?;
//! assert_eq!(tokenizer.decode(&tokens), "재밌는 영화 🎬");
//! # Ok::<(), language::TokenizerError>(())
//! ```

use crate::tokens::LARGEST_VOCAB;
use nn::write_whole;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder,
};

/// Stands after every document, so that a model learns where texts end. It is no text: what reads `<|end|>`
/// in a text is its seven letters.
pub const END: &str = "<|end|>";

/// The smallest vocabulary: a token for each byte, and [`END`].
const SMALLEST_VOCAB: usize = 257;

/// A vocabulary, and how a text becomes tokens of it.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The bytes that each token stands for; none for [`END`].
    bytes: Vec<Vec<u8>>,
    end: u32,
}

/// Why there is no tokeniser.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file can't be reached.
    #[error("tokeniser {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file that is no tokeniser, or another kind of one.
    #[error("{path} is no tokeniser for these models: {what}; take the tokenizer.json made with the tokens")]
    Other {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A vocabulary of an impossible size.
    #[error(
        "a vocabulary of {0} tokens can't be learnt: it takes 257, one for each byte and one for the end, to \
         65536"
    )]
    Vocab(usize),
    /// A text that can't be tokenised, or a vocabulary that can't be learnt from it.
    #[error("the tokeniser stopped: {0}")]
    Stopped(String),
}

impl Tokenizer {
    /// Learns a vocabulary of at most `vocab` tokens: fewer if the texts have no more pairs that stand there
    /// twice. [`END`] is token 0.
    ///
    /// The same texts give the same vocabulary, whatever the threads and the seeds of hash tables: the
    /// trainer counts in hash tables, but sums don't mind the order, and it merges by count, then by the
    /// pair's tokens. That order has no ties. A pair waits in its queue once, because it can only arise
    /// together with the newer of its two tokens, and no two merges make the same token.
    pub fn learn(texts: &[String], vocab: usize) -> Result<Self, TokenizerError> {
        if !(SMALLEST_VOCAB..=LARGEST_VOCAB).contains(&vocab) {
            return Err(TokenizerError::Vocab(vocab));
        }
        let stopped = |error: tokenizers::Error| TokenizerError::Stopped(error.to_string());
        let levels = ByteLevel::new(false, true, true);
        let mut learner =
            TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, DecoderWrapper>::new(
            )
            .with_model(BPE::default())
            .with_pre_tokenizer(Some(levels))
            .with_decoder(Some(levels.into()))
            .build()
            .map_err(stopped)?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(vocab)
            .min_frequency(2)
            .special_tokens(vec![AddedToken::from(END, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        learner.train(&mut trainer, texts.iter()).map_err(stopped)?;
        // Through its file's text, so that what was learnt and what is read later are the same thing.
        let json = learner.to_string(false).map_err(stopped)?;
        Self::parse(json.as_bytes()).map_err(TokenizerError::Stopped)
    }

    /// Reads a `tokenizer.json`.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let json = fs::read(path).map_err(|error| TokenizerError::File {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&json).map_err(|what| TokenizerError::Other {
            path: path.to_owned(),
            what,
        })
    }

    /// Reads the bytes of a `tokenizer.json`; any bytes give a tokeniser or words about what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        let byte_level = matches!(inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::ByteLevel(_)))
            && matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        if !byte_level {
            return Err("it doesn't work on bytes".into());
        }
        let end = inner.token_to_id(END).ok_or(format!("it has no token {END}"))?;
        let byte_of = byte_letters();
        if let Some(letter) = byte_of
            .keys()
            .find(|c| inner.token_to_id(&c.to_string()).is_none())
        {
            return Err(format!("it has no token for the byte {}", byte_of[letter]));
        }
        let bytes = (0..inner.get_vocab_size(true) as u32)
            .map(|id| match inner.id_to_token(id) {
                _ if id == end => Ok(Vec::new()),
                Some(token) => token
                    .chars()
                    .map(|c| byte_of.get(&c).copied())
                    .collect::<Option<_>>()
                    .ok_or(format!("token {id}, {token:?}, stands for no bytes")),
                None => Err(format!("it has no token {id}, and later ones")),
            })
            .collect::<Result<_, _>>()?;
        inner.set_encode_special_tokens(true);
        Ok(Self { inner, bytes, end })
    }

    /// Writes the `tokenizer.json`, all or nothing.
    pub fn write(&self, path: &Path) -> Result<(), TokenizerError> {
        let mut json = self
            .inner
            .to_string(true)
            .map_err(|error| TokenizerError::Stopped(error.to_string()))?;
        json.push('\n');
        write_whole(path, json.as_bytes()).map_err(|error| TokenizerError::File {
            path: path.to_owned(),
            error,
        })
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|error| TokenizerError::Stopped(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some tokens. Bytes that are no whole character, as where the tokens begin or end within
    /// one, are left out, and so are tokens outside the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes = |token: &u32| self.bytes.get(*token as usize).into_iter().flatten().copied();
        let bytes: Vec<u8> = tokens.iter().flat_map(bytes).collect();
        bytes.utf8_chunks().map(|chunk| chunk.valid()).collect()
    }

    /// How many tokens there are.
    pub fn vocab(&self) -> usize {
        self.bytes.len()
    }

    /// The token [`END`].
    pub fn end(&self) -> u32 {
        self.end
    }
}

/// The byte that each letter stands for: GPT-2's way to have a letter one can see for every byte. Those that
/// print stand for themselves, the others for letters from 256 on.
fn byte_letters() -> BTreeMap<char, u8> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=255u8).filter(|byte| !prints(byte));
    let letters = ('\u{100}'..).zip(hidden);
    letters
        .chain((0..=255u8).filter(prints).map(|byte| (char::from(byte), byte)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Tokenizer {
        Tokenizer::learn(&vec!["영화가 재밌다 ㅋㅋㅋㅋ good movie".to_owned(); 4], 320).unwrap()
    }

    #[test]
    fn every_text_survives() {
        let tokenizer = small();
        let spaces = " ".repeat(50_000);
        let texts = [
            "",
            "영화가 재밌다",
            "The movie's good, isn't it?",
            "👩‍👩‍👧 🇰🇷 ㅋㅋㅋㅋㅋㅋㅋ ㅠㅠ",
            "한글 (NFD)",
            "a<|end|>b",
            "<|end|>",
            "  two  spaces\t\r\n\u{0}\u{feff}\u{fffd}",
            spaces.as_str(),
        ];
        for text in texts {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens), text);
            assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.vocab()));
            assert!(!tokens.contains(&tokenizer.end()), "{text:?} is no end");
        }
        assert_eq!(tokenizer.end(), 0);
    }

    #[test]
    fn parts_of_characters_are_left_out() {
        let tokenizer = small();
        let tokens = |text: &str| tokenizer.encode(text).unwrap();
        let emoji = tokens("🎬");
        assert_eq!(emoji.len(), 4, "a byte each");
        let cases = [
            (emoji[..3].to_vec(), ""),
            (emoji[1..].to_vec(), ""),
            ([tokens("a"), emoji[..2].to_vec()].concat(), "a"),
            ([emoji[..1].to_vec(), tokens("b")].concat(), "b"),
            ([tokens("a"), vec![0, 9_999], tokens("b")].concat(), "ab"),
            ([emoji[..3].to_vec(), emoji.clone()].concat(), "🎬"),
        ];
        for (tokens, expected) in cases {
            assert_eq!(tokenizer.decode(&tokens), expected, "{tokens:?}");
        }
    }

    #[test]
    fn letters_for_bytes_are_the_ones_everybody_uses() {
        let ours: Vec<char> = byte_letters().into_keys().collect();
        let mut theirs: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
        let letter = |byte| byte_letters().into_iter().find(|&(_, b)| b == byte).unwrap().0;
        assert_eq!(
            (letter(b' '), letter(b'\n'), letter(b'a'), letter(0xAD)),
            ('Ġ', 'Ċ', 'a', 'Ń')
        );
    }

    #[test]
    fn a_vocabulary_ends_where_nothing_stands_twice() {
        let tokenizer = Tokenizer::learn(&["abcabd".to_owned()], 65_536).unwrap();
        assert_eq!(tokenizer.vocab(), 258, "{END}, 256 bytes and ab");
        for vocab in [0, 256, 65_537, usize::MAX] {
            let error = Tokenizer::learn(&[], vocab).err().unwrap().to_string();
            assert!(
                error.contains(&vocab.to_string()) && error.contains("257"),
                "{error}"
            );
        }
        assert_eq!(Tokenizer::learn(&[], 257).unwrap().vocab(), 257);
    }

    #[test]
    fn what_is_no_tokeniser_is_told() {
        let json = small().inner.to_string(false).unwrap();
        let cases = [
            (String::new(), "EOF"),
            ("{}".into(), ""),
            (json.replace("<|end|>", "<|fin|>"), "no token <|end|>"),
            (
                json.replace(r#""decoder":{"type":"ByteLevel""#, r#""decoder":{"type":"CTC""#),
                "",
            ),
            (json.replace("\"Ń\":", "\"ŃŃ\":"), "no token for the byte 173"),
        ];
        for (json, expected) in cases {
            let what = Tokenizer::parse(json.as_bytes()).err().unwrap();
            assert!(what.contains(expected), "{what}");
        }
    }
}
