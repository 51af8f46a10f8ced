//! A run's state in a file: safetensors, with a digest over all of it.
//!
//! | what | where |
//! |---|---|
//! | parameters | a tensor each, by its own name: any tool can read the model |
//! | moments | `optimizer.m.NAME`, and `optimizer.v.NAME` where AdamW moves it |
//! | `step`, `position`, `optimizer.step`, `optimizer`, `config` | words in the metadata |
//! | `digest` | BLAKE3 of the whole file with zeros in its own place, in the metadata |

use crate::optimizer::{CHUNK, by_muon};
use crate::{Error, Rule, TrainConfig, Trainer};
use nn::{Checkpoint, CheckpointError, Network, Tensor};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file that holds the newest checkpoint's name.
pub(crate) const LATEST: &str = "latest";
/// What stands before the digest. Within other words the quotes would be escaped.
const DIGEST: &str = "\"digest\":\"";
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes of the header's length.
const PREFIX: usize = 8;

/// A run's state as a file has it, whole.
#[derive(Debug)]
pub struct Saved {
    /// Which file.
    pub path: PathBuf,
    /// Steps taken.
    pub step: u64,
    /// The next position in the data order.
    pub position: u64,
    /// What was said about the run.
    pub config: String,
    /// Newer checkpoints that are damaged.
    pub notes: Vec<String>,
    checkpoint: Checkpoint,
}

/// The newest whole checkpoint in a folder; none if there is no checkpoint at all. If there are some and all
/// are damaged, that is an error.
pub fn load_latest(folder: &Path) -> Result<Option<Saved>, Error> {
    let mut notes = Vec::new();
    for (_, path) in checkpoints(folder)? {
        match read(&path) {
            Ok(saved) => return Ok(Some(Saved { notes, ..saved })),
            Err(error) => notes.push(error.to_string()),
        }
    }
    if notes.is_empty() {
        return Ok(None);
    }
    Err(Error::NoneWhole {
        folder: folder.to_owned(),
        notes: notes.join("; "),
    })
}

impl<N: Network> Trainer<N> {
    /// Goes on where the run was saved, as if there had been no stop. After an error the trainer is of no use.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        let checkpoint = &saved.checkpoint;
        let rule = word(self.config().optimizer);
        let theirs = checkpoint.metadata("optimizer")?;
        if theirs != rule {
            let what =
                format!("it was trained with optimizer = {theirs:?}, and the configuration says {rule:?}");
            return Err(CheckpointError::content(what).into());
        }
        let tensors: BTreeMap<&str, (&[usize], &[f32])> = checkpoint
            .tensors
            .iter()
            .map(|(name, shape, values)| (name.as_str(), (shape.as_slice(), values.as_slice())))
            .collect();
        let optimizer_step = number(checkpoint, "optimizer.step")?;
        let parts = parts(&self.model.network.layout().tensors, self.config());
        for ((name, shape), to) in parts.iter().zip(self.places_mut()) {
            let values = match tensors.get(name.as_str()) {
                Some((is, values)) if is == shape => values,
                _ => checkpoint.tensor(name, shape)?,
            };
            to.copy_from_slice(values);
        }
        self.optimizer.moments.step = optimizer_step;
        self.step = saved.step;
        Ok(())
    }

    /// Parameters, `m` and `v`, tensor by tensor: what [`parts`] names.
    fn places_mut(&mut self) -> Vec<&mut [f32]> {
        let lengths = |all: bool| {
            let tensors = self.model.network.layout().tensors.iter();
            let rule = self.config().optimizer;
            let those = tensors.filter(move |tensor| all || !by_muon(rule, tensor));
            those.map(|tensor| tensor.range.len()).collect::<Vec<_>>()
        };
        let (all, some) = (lengths(true), lengths(false));
        let moments = &mut self.optimizer.moments;
        let mut places = Vec::new();
        for (mut values, lengths) in [
            (self.model.params.as_mut_slice(), &all),
            (moments.m.as_mut_slice(), &all),
            (moments.v.as_mut_slice(), &some),
        ] {
            for length in lengths {
                let (here, rest) = values.split_at_mut(*length);
                places.push(here);
                values = rest;
            }
        }
        places
    }
}

/// The tensors of a file and their shapes, in the order in which they lie.
fn parts(tensors: &[Tensor], config: &TrainConfig) -> Vec<(String, Vec<usize>)> {
    let part = |prefix: &'static str| {
        move |tensor: &Tensor| (format!("{prefix}{}", tensor.name), tensor.shape.clone())
    };
    let by_adamw = tensors.iter().filter(|tensor| !by_muon(config.optimizer, tensor));
    let params = tensors.iter().map(part(""));
    params
        .chain(tensors.iter().map(part("optimizer.m.")))
        .chain(by_adamw.map(part("optimizer.v.")))
        .collect()
}

/// How a run's files look: all but the numbers is the same in each.
#[derive(Debug)]
pub(crate) struct Form {
    /// The tensors' part of the header.
    tensors: Map<String, Value>,
    words: Map<String, Value>,
    /// Bytes of the header: enough for any numbers.
    header: usize,
}

impl Form {
    pub(crate) fn new<N: Network>(trainer: &Trainer<N>, config: &str) -> Self {
        let mut tensors = Map::new();
        let mut at = 0;
        for (name, shape) in parts(&trainer.model.network.layout().tensors, trainer.config()) {
            let end = at + shape.iter().product::<usize>() * size_of::<f32>();
            tensors.insert(
                name,
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [at, end] }),
            );
            at = end;
        }
        let rule = word(trainer.config().optimizer);
        let words = json!({ "config": config, "digest": NO_DIGEST, "optimizer": rule });
        let Value::Object(words) = words else {
            unreachable!("an object was written")
        };
        let mut form = Self {
            tensors,
            words,
            header: 0,
        };
        // Tensors begin at a multiple of 64 bytes, as vector code likes them.
        let longest = PREFIX + form.text([u64::MAX; 3]).len();
        form.header = longest.next_multiple_of(64) - PREFIX;
        form
    }

    fn text(&self, [step, position, optimizer]: [u64; 3]) -> String {
        let mut words = self.words.clone();
        for (key, number) in [
            ("step", step),
            ("position", position),
            ("optimizer.step", optimizer),
        ] {
            words.insert(key.into(), number.to_string().into());
        }
        let mut header = self.tensors.clone();
        header.insert("__metadata__".into(), words.into());
        let header = Value::from(header).to_string();
        format!("{header:width$}", width = self.header)
    }

    /// Makes `bytes` the file of this state; its digest comes with [`Form::seal`].
    pub(crate) fn fill<N: Network>(&self, trainer: &Trainer<N>, position: u64, bytes: &mut Vec<u8>) {
        let moments = &trainer.optimizer.moments;
        let values = [&trainer.model.params, &moments.m, &moments.v];
        let start = PREFIX + self.header;
        bytes.resize(
            start
                + values
                    .iter()
                    .map(|values| size_of_val(values.as_slice()))
                    .sum::<usize>(),
            0,
        );
        bytes[..PREFIX].copy_from_slice(&(self.header as u64).to_le_bytes());
        let header = self.text([trainer.step, position, moments.step]);
        bytes[PREFIX..start].copy_from_slice(header.as_bytes());
        let mut rest = &mut bytes[start..];
        for values in values {
            let (here, behind) = rest.split_at_mut(size_of_val(values.as_slice()));
            let tasks = here
                .par_chunks_mut(CHUNK * size_of::<f32>())
                .zip(values.par_chunks(CHUNK));
            tasks.for_each(|(bytes, values)| {
                let (places, _) = bytes.as_chunks_mut();
                for (place, value) in places.iter_mut().zip(values) {
                    *place = value.to_le_bytes();
                }
            });
            rest = behind;
        }
    }

    /// Puts the digest into its place.
    pub(crate) fn seal(bytes: &mut [u8]) {
        let at = digest_place(bytes).expect("a header that was just written has a place for the digest");
        let digest = digest(bytes, at);
        bytes[at..at + NO_DIGEST.len()].copy_from_slice(digest.as_bytes());
    }
}

/// All checkpoints in a folder and their steps, the newest first; none if there is no folder.
pub(crate) fn checkpoints(folder: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let failed = |error| CheckpointError::File {
        path: folder.to_owned(),
        error,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name
            .strip_prefix("step-")
            .and_then(|name| name.strip_suffix(".safetensors"));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The file of a step.
pub(crate) fn file_name(step: u64) -> String {
    format!("step-{step:010}.safetensors")
}

/// Reads a file, if it is whole.
pub(crate) fn read(path: &Path) -> Result<Saved, CheckpointError> {
    let bytes = fs::read(path).map_err(|error| CheckpointError::File {
        path: path.to_owned(),
        error,
    })?;
    let damaged = |what| CheckpointError::Damaged {
        path: path.to_owned(),
        what,
        size: bytes.len() as u64,
    };
    let checkpoint = parse(&bytes).map_err(damaged)?;
    Ok(Saved {
        path: path.to_owned(),
        step: number(&checkpoint, "step")?,
        position: number(&checkpoint, "position")?,
        config: checkpoint.metadata("config")?.to_owned(),
        notes: Vec::new(),
        checkpoint,
    })
}

/// Any bytes give a checkpoint as it was written, or words.
fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
    let at = digest_place(bytes).ok_or("it has no digest of itself")?;
    if bytes[at..at + NO_DIGEST.len()] != *digest(bytes, at).as_bytes() {
        return Err("its bytes are not those that were written, by their digest".into());
    }
    Checkpoint::parse(bytes)
}

/// Where the digest stands: in the header, if there is one.
fn digest_place(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let before = header
        .windows(DIGEST.len())
        .position(|part| part == DIGEST.as_bytes())?;
    let at = before + DIGEST.len();
    header.get(at..at + NO_DIGEST.len())?;
    Some(PREFIX + at)
}

/// BLAKE3 of the bytes, with zeros where the digest stands.
fn digest(bytes: &[u8], at: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&bytes[..at])
        .update(NO_DIGEST.as_bytes())
        .update(&bytes[at + NO_DIGEST.len()..]);
    hasher.finalize().to_hex().to_string()
}

/// As a configuration says it.
fn word(rule: Rule) -> &'static str {
    match rule {
        Rule::AdamW => "adamw",
        Rule::Muon => "muon",
    }
}

fn number(checkpoint: &Checkpoint, key: &str) -> Result<u64, CheckpointError> {
    let word = checkpoint.metadata(key)?;
    word.parse()
        .map_err(|_| CheckpointError::Content(format!("its {key} is {word:?}, not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{config, trainer};

    #[test]
    fn every_bit_counts() {
        let trainer = trainer(config());
        let form = Form::new(&trainer, "\"digest\":\"");
        let mut whole = Vec::new();
        form.fill(&trainer, 8, &mut whole);
        Form::seal(&mut whole);
        let checkpoint = parse(&whole).unwrap();
        assert_eq!(checkpoint.metadata("config").unwrap(), "\"digest\":\"");
        let start = PREFIX + form.header;
        assert_eq!(start % 64, 0);
        for at in (0..start).chain((start..whole.len()).step_by(61)) {
            whole[at] ^= 1 << (at % 8);
            assert!(parse(&whole).is_err(), "byte {at}");
            whole[at] ^= 1 << (at % 8);
        }
        for cut in (0..start).chain((start..whole.len()).step_by(61)) {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn any_bytes_give_words() {
        let mut random = 7u64;
        for length in 0..400usize {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as u8
                })
                .collect();
            assert!(parse(&bytes).is_err());
            if length > PREFIX {
                bytes[..PREFIX].copy_from_slice(&(length as u64 / 2).to_le_bytes());
                assert!(parse(&bytes).is_err());
            }
        }
    }

    /// The parameters are what any tool for safetensors finds under the model's names.
    #[test]
    fn the_model_is_in_it_by_name() {
        let trainer = trainer(config());
        let mut bytes = Vec::new();
        let form = Form::new(&trainer, "");
        form.fill(&trainer, 0, &mut bytes);
        Form::seal(&mut bytes);
        let checkpoint = Checkpoint::parse(&bytes).unwrap();
        for tensor in &trainer.model.network.layout().tensors {
            let values = checkpoint.tensor(&tensor.name, &tensor.shape).unwrap();
            assert_eq!(values, &trainer.model.params[tensor.range.clone()]);
        }
        assert_eq!(
            checkpoint.tensors.len(),
            3 * trainer.model.network.layout().tensors.len()
        );
    }
}
