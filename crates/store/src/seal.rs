//! Seals: signed notes of how far the log had come, so that nobody can rewrite it later without the hub's key.
//!
//! | file | what it is |
//! |---|---|
//! | `seal.key` | the hub's Ed25519 key (PKCS #8), made at its first start; for its owner's eyes only |
//! | `seals.jsonl` | one seal a line, oldest first |
//!
//! ```text
//! {"seq":812,"at":1625097600000,"head":"blake3:...","key":"<64 hex digits>","signature":"<128 hex digits>"}
//! signature = Ed25519(key, "khub seal 1" seq at head)      numbers: 64 bits, little endian
//! ```
//!
//! The chain of the log shows one flipped bit by itself. Seals show that the whole chain wasn't made anew: whoever
//! notes a seal and the key elsewhere can check any later log against it.

use crate::StoreError;
use consortium::{Digest, Time};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A signed note of the log's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The last record that it covers.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// That record's hash, which covers all before it.
    pub head: Digest,
    /// The public key, in hex.
    pub key: String,
    /// In hex.
    pub signature: String,
}

/// Makes seals, with the key in a hub's folder.
pub struct Sealer {
    pair: Ed25519KeyPair,
    file: File,
    path: PathBuf,
}

const KEY: &str = "seal.key";
const SEALS: &str = "seals.jsonl";

impl Sealer {
    /// Opens the key and the seals in `dir`, and makes all three if there are none.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        let path = dir.join(KEY);
        let document = match std::fs::read(&path) {
            Ok(document) => document,
            Err(why) if why.kind() == io::ErrorKind::NotFound => new_key(&path)?,
            Err(why) => return Err(StoreError::Io { path, why }),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|why| StoreError::Damaged {
            place: path.display().to_string(),
            what: format!("it is no Ed25519 key ({why})"),
        })?;
        let path = dir.join(SEALS);
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        let file = opened.map_err(StoreError::io(&path))?;
        Ok(Self { pair, file, path })
    }

    /// The public key, in hex.
    pub fn key(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    /// Seals the log up to record `seq`, whose hash is `head`.
    pub fn seal(&mut self, seq: u64, head: Digest, at: Time) -> Result<(), StoreError> {
        let seal = Seal {
            seq,
            at,
            head,
            key: self.key(),
            signature: hex(self.pair.sign(&signed(seq, at, &head)).as_ref()),
        };
        let line = serde_json::to_string(&seal).expect("a seal is plain data") + "\n";
        // One write, so that a kill leaves a whole line or none.
        let written = self.file.write_all(line.as_bytes());
        written
            .and_then(|()| self.file.sync_data())
            .map_err(StoreError::io(&self.path))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.key())
    }
}

impl Seal {
    /// Whether its key has signed it.
    pub fn is_signed(&self) -> bool {
        let (Some(key), Some(signature)) = (bytes(&self.key), bytes(&self.signature)) else {
            return false;
        };
        let message = signed(self.seq, self.at, &self.head);
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&message, &signature)
            .is_ok()
    }
}

/// The seals of a hub's folder, oldest first; none where no hub has made one. Signatures are yet to be checked.
pub fn seals(dir: &Path) -> Result<Vec<Seal>, StoreError> {
    let path = dir.join(SEALS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(StoreError::Io { path, why }),
    };
    let damaged = |line: usize, why: &dyn std::fmt::Display| StoreError::Damaged {
        place: path.display().to_string(),
        what: format!("line {line} is no seal ({why})"),
    };
    let mut seals = Vec::new();
    for (n, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        let whole = line.strip_suffix(b"\n");
        let whole = whole.ok_or_else(|| damaged(n + 1, &"it doesn't end"))?;
        let seal: Seal = serde_json::from_slice(whole).map_err(|e| damaged(n + 1, &e))?;
        // Not every bit changes what is read: a hex digit may be written large.
        if serde_json::to_vec(&seal).ok().as_deref() != Some(whole) {
            return Err(damaged(n + 1, &"it isn't written as the hub writes it"));
        }
        seals.push(seal);
    }
    Ok(seals)
}

/// Only its owner may read it.
fn new_key(path: &Path) -> Result<Vec<u8>, StoreError> {
    let random = ring::rand::SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| StoreError::Io {
        path: path.to_owned(),
        why: io::Error::other("the machine gives no random numbers"),
    })?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(document.as_ref())?;
        file.sync_all()
    });
    written.map_err(StoreError::io(path))?;
    Ok(document.as_ref().to_vec())
}

fn signed(seq: u64, at: Time, head: &Digest) -> Vec<u8> {
    let mut message = b"khub seal 1".to_vec();
    message.extend(seq.to_le_bytes());
    message.extend(at.0.to_le_bytes());
    message.extend(head.0);
    message
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The bytes of lower case hex, the one form that a seal has.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    hex.as_bytes().chunks(2).map(pair).collect()
}
