//! Token files: a text as numbers, ready to train on without the text.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use language::Tokens;
//! let path = dir.path().join("train.tokens");
//! Tokens::write(&path, 300, 11, [0, 72, 105, 299, 0])?; // 11 bytes of text became 5 tokens below 300
//! let tokens = Tokens::open(&path)?;
//! assert_eq!(tokens.read(1, 2), [72, 105]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | bytes | what, little-endian |
//! |---|---|
//! | 0..8 | `KHUBTOK1` |
//! | 8..12 | tokens in the vocabulary, 1 to 65,536 |
//! | 12..16 | 0 |
//! | 16..24 | bytes of the text that the tokens stand for |
//! | 24..32 | how many tokens follow |
//! | 32.. | the tokens, two bytes each |

use memmap2::Mmap;
use nn::write_whole;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"KHUBTOK1";
const HEADER: usize = 32;
/// A token is two bytes.
pub(crate) const LARGEST_VOCAB: usize = 1 << 16;

/// An open token file, every token of which is in its vocabulary. Nobody may write to the file meanwhile.
#[derive(Debug)]
pub struct Tokens {
    file: Mmap,
    vocab: usize,
    text_bytes: u64,
}

/// Why a token file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file can't be reached.
    #[error("token file {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something else.
    #[error("{path} is no token file: it doesn't begin with KHUBTOK1; make one from the text")]
    Other {
        /// Which file.
        path: PathBuf,
    },
    /// A token file that is not whole.
    #[error("token file {path} is damaged at byte {byte}: {what}; fetch it again, or make it from the text")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where; counts from 0.
        byte: u64,
        /// What is wrong there.
        what: String,
    },
}

impl Tokens {
    /// Opens a file and checks every token.
    pub fn open(path: &Path) -> Result<Self, TokensError> {
        let error = |error| TokensError::File {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(error)?;
        // SAFETY: the map is read-only and read as bytes, of which any are valid. They could change under it
        // if someone wrote to the file; nobody does: inputs are named by their digest, and `write` below puts
        // a new file in the place of the old one, whose map stays.
        #[allow(unsafe_code, reason = "a token file may be larger than the memory")]
        let file = unsafe { Mmap::map(&file) }.map_err(error)?;
        let (vocab, text_bytes) = check(&file).map_err(|flaw| flaw.in_file(path))?;
        Ok(Self {
            file,
            vocab,
            text_bytes,
        })
    }

    /// Writes a file, all or nothing; refuses tokens that [`Tokens::open`] would refuse.
    pub fn write(
        path: &Path,
        vocab: usize,
        text_bytes: u64,
        tokens: impl IntoIterator<Item = u16>,
    ) -> Result<(), TokensError> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(tokens.into_iter().flat_map(u16::to_le_bytes));
        let count = (bytes.len() - HEADER) as u64 / 2;
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&u32::try_from(vocab).unwrap_or(u32::MAX).to_le_bytes());
        bytes[16..24].copy_from_slice(&text_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&count.to_le_bytes());
        check(&bytes).map_err(|flaw| flaw.in_file(path))?;
        write_whole(path, &bytes).map_err(|error| TokensError::File {
            path: path.to_owned(),
            error,
        })
    }

    /// How many tokens there are.
    pub fn len_tokens(&self) -> u64 {
        ((self.file.len() - HEADER) / 2) as u64
    }

    /// `count` of them from `first` on; fewer at the end.
    pub fn read(&self, first: u64, count: usize) -> Vec<u32> {
        let start =
            usize::try_from(first).map_or(usize::MAX, |first| first.saturating_mul(2).saturating_add(HEADER));
        let tokens = self
            .file
            .get(start..)
            .unwrap_or_default()
            .chunks_exact(2)
            .take(count);
        tokens
            .map(|two| u32::from(u16::from_le_bytes([two[0], two[1]])))
            .collect()
    }

    /// Bytes of the text they stand for.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }
}

/// What is wrong with some bytes.
enum Flaw {
    Magic,
    At(usize, String),
}

impl Flaw {
    fn in_file(self, path: &Path) -> TokensError {
        let path = path.to_owned();
        match self {
            Self::Magic => TokensError::Other { path },
            Self::At(byte, what) => TokensError::Damaged {
                path,
                byte: byte as u64,
                what,
            },
        }
    }
}

/// The vocabulary and the text's bytes, if the bytes are a whole token file.
fn check(bytes: &[u8]) -> Result<(usize, u64), Flaw> {
    let size = bytes.len();
    if bytes.get(..8) != Some(MAGIC) {
        return Err(Flaw::Magic);
    }
    if size < HEADER {
        return Err(Flaw::At(
            size,
            format!("it ends within its header of {HEADER} bytes"),
        ));
    }
    let number = |from: usize, to: usize| {
        let digits = bytes[from..to].iter().rev();
        digits.fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let (vocab, reserved, count) = (number(8, 12), number(12, 16), number(24, 32));
    if !(1..=LARGEST_VOCAB as u64).contains(&vocab) {
        return Err(Flaw::At(
            8,
            format!("a vocabulary of {vocab}; it takes 1 to 65536"),
        ));
    }
    if reserved != 0 {
        return Err(Flaw::At(12, format!("{reserved} where 0 belongs")));
    }
    let wanted = u128::from(count) * 2 + HEADER as u128;
    if size as u128 != wanted {
        let what = format!("{count} tokens take a file of {wanted} bytes, and it has {size}");
        return Err(Flaw::At(24, what));
    }
    let tokens = bytes[HEADER..].chunks_exact(2);
    let value = |two: &[u8]| u64::from(u16::from_le_bytes([two[0], two[1]]));
    if let Some((index, token)) = tokens.map(value).enumerate().find(|(_, token)| *token >= vocab) {
        let what = format!("token {token} in a vocabulary of {vocab}");
        return Err(Flaw::At(HEADER + 2 * index, what));
    }
    Ok((vocab as usize, number(16, 24)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file of 6 tokens below 300 that stand for 11 bytes.
    fn whole(dir: &Path) -> (PathBuf, Vec<u8>) {
        let path = dir.join("whole.tokens");
        Tokens::write(&path, 300, 11, [7, 0, 299, 256, 255, 1]).unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    #[test]
    fn a_file_has_its_layout() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = whole(dir.path());
        let head = b"KHUBTOK1\x2C\x01\0\0\0\0\0\0\x0B\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0";
        assert_eq!(
            bytes,
            [&head[..], b"\x07\0\0\0\x2B\x01\0\x01\xFF\0\x01\0"].concat()
        );
        let tokens = Tokens::open(&path).unwrap();
        assert_eq!(
            (tokens.vocab(), tokens.text_bytes(), tokens.len_tokens()),
            (300, 11, 6)
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = whole(dir.path());
        let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
            let mut bytes = whole.clone();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let error = Tokens::open(&path).unwrap_err().to_string();
            assert!(
                error.contains("whole.tokens") && error.contains(expected),
                "{error}"
            );
        };
        check(&|bytes| bytes.clear(), "is no token file");
        check(&|bytes| bytes[7] = b'2', "is no token file");
        check(
            &|bytes| bytes.truncate(20),
            "at byte 20: it ends within its header",
        );
        check(&|bytes| bytes[8..10].fill(0), "at byte 8: a vocabulary of 0");
        check(&|bytes| bytes[10] = 1, "at byte 8: a vocabulary of 65836");
        check(&|bytes| bytes[12] = 1, "at byte 12: 1 where 0 belongs");
        check(
            &|bytes| bytes.truncate(43),
            "at byte 24: 6 tokens take a file of 44 bytes, and it has 43",
        );
        check(
            &|bytes| bytes[24..32].fill(0xFF),
            "at byte 24: 18446744073709551615 tokens",
        );
        check(
            &|bytes| bytes[37] = 2,
            "at byte 36: token 555 in a vocabulary of 300",
        );
        fs::remove_file(&path).unwrap();
        assert!(
            Tokens::open(&path)
                .unwrap_err()
                .to_string()
                .contains("No such file")
        );
    }

    #[test]
    fn what_could_not_be_opened_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tokens");
        for vocab in [0, 5, 65_537, usize::MAX] {
            assert!(Tokens::write(&path, vocab, 0, [5]).is_err(), "{vocab}");
        }
        assert!(!path.exists());
    }
}
