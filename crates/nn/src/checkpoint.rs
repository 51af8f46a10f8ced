//! Named tensors in a safetensors file, written so that a kill at any moment leaves the last good file, and
//! read so that no file, however damaged, does more than give an error.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use nn::Checkpoint;
//! let path = dir.path().join("small.safetensors");
//! let mut checkpoint = Checkpoint::default();
//! checkpoint.push("bias", &[3], vec![1.0, 2.0, 3.0]);
//! checkpoint.write(&path)?;
//! assert_eq!(Checkpoint::read(&path)?.tensor("bias", &[3])?, [1.0, 2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Named tensors of 32-bit floats, and words about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// Name, shape and values, row by row.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Words by key.
    pub metadata: BTreeMap<String, String>,
}

/// Why a checkpoint can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be reached.
    #[error("checkpoint {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is no whole safetensors file.
    #[error(
        "checkpoint {path} is damaged: {what} ({size} bytes); fetch it again, or take an earlier checkpoint"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// How large it is.
        size: u64,
    },
    /// The file is whole and holds something else than was expected.
    #[error("the checkpoint doesn't fit: {0}")]
    Content(String),
}

impl Checkpoint {
    /// Adds a tensor.
    pub fn push(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "{name} has as many values as its shape says"
        );
        self.tensors.push((name.to_owned(), shape.to_vec(), values));
    }

    /// The values of a tensor, if it is there in this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<&[f32], CheckpointError> {
        let found = self.tensors.iter().find(|(other, _, _)| other == name);
        let (_, is, values) =
            found.ok_or_else(|| CheckpointError::content(format!("it has no tensor {name}")))?;
        if is != shape {
            return Err(CheckpointError::content(format!(
                "tensor {name} has shape {is:?}, not {shape:?}"
            )));
        }
        Ok(values)
    }

    /// What is said under `key`.
    pub fn metadata(&self, key: &str) -> Result<&str, CheckpointError> {
        let word = self.metadata.get(key).map(String::as_str);
        word.ok_or_else(|| CheckpointError::content(format!("it says nothing about {key:?}")))
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|error| CheckpointError::File {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&bytes).map_err(|what| CheckpointError::Damaged {
            path: path.to_owned(),
            what,
            size: bytes.len() as u64,
        })
    }

    /// Reads the bytes of a file; any bytes give a checkpoint or words about what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let words = header.metadata().iter().flatten();
        let mut checkpoint = Self {
            metadata: words.map(|(k, v)| (k.clone(), v.clone())).collect(),
            ..Self::default()
        };
        let mut names: Vec<&str> = file.names();
        names.sort_unstable();
        for name in names {
            let view = file.tensor(name).map_err(|e| e.to_string())?;
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor {name} holds {:?}, not F32", view.dtype()));
            }
            let value = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            let values = view.data().chunks_exact(4).map(value).collect();
            checkpoint
                .tensors
                .push((name.to_owned(), view.shape().to_vec(), values));
        }
        Ok(checkpoint)
    }

    /// Writes the file beside its place, flushes it to the disk and then puts it there: whoever looks sees
    /// the old file or the new one, whole.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let bytes = self.to_bytes()?;
        write_whole(path, &bytes).map_err(|error| CheckpointError::File {
            path: path.to_owned(),
            error,
        })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let data: Vec<Vec<u8>> = self
            .tensors
            .iter()
            .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let mut views = Vec::new();
        for ((name, shape, _), data) in self.tensors.iter().zip(&data) {
            let view = TensorView::new(Dtype::F32, shape.clone(), data);
            views.push((name, view.map_err(|e| CheckpointError::content(e.to_string()))?));
        }
        let words: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        safetensors::serialize(views, Some(words)).map_err(|e| CheckpointError::content(e.to_string()))
    }
}

impl CheckpointError {
    /// A checkpoint that is whole and doesn't fit.
    pub fn content(what: impl Into<String>) -> Self {
        Self::Content(what.into())
    }
}

/// Puts `bytes` at `path`, all or nothing, and on the disk; makes the folder if there is none.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Model};

    fn small() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.push("a", &[2, 3], vec![1.0, -2.0, 3.5, 0.0, f32::MIN, f32::MAX]);
        checkpoint.push("b", &[0], vec![]);
        checkpoint.metadata.insert("config".into(), "{}".into());
        checkpoint
    }

    #[test]
    fn any_bytes_give_a_checkpoint_or_words() {
        let whole = small().to_bytes().unwrap();
        assert_eq!(Checkpoint::parse(&whole).unwrap(), small());
        for cut in 0..whole.len() {
            assert!(Checkpoint::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[i] ^= 1 << bit;
                let _ = Checkpoint::parse(&flipped);
            }
        }
    }

    #[test]
    fn a_model_survives_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/model.safetensors");
        let model = Model::new(
            Config {
                layers: 1,
                vocab: 32,
                ..Config::default()
            },
            4,
        )
        .unwrap();
        model.to_checkpoint().write(&path).unwrap();
        let read = Model::from_checkpoint(&Checkpoint::read(&path).unwrap()).unwrap();
        assert_eq!((read.params, read.config), (model.params, model.config));
        assert!(!path.with_extension("part").exists());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let read = || Checkpoint::read(&path).unwrap_err().to_string();
        assert!(
            read().contains("model.safetensors") && read().contains("No such file"),
            "{}",
            read()
        );
        fs::write(&path, &small().to_bytes().unwrap()[..40]).unwrap();
        assert!(
            read().contains("is damaged") && read().contains("40 bytes"),
            "{}",
            read()
        );
        let mut checkpoint = Model::new(Config::default(), 4).unwrap().to_checkpoint();
        let model = |c: &Checkpoint| Model::from_checkpoint(c).unwrap_err().to_string();
        checkpoint.tensors[2].1 = vec![1, 2];
        assert!(model(&checkpoint).contains("self_attn.q_proj.weight has shape [1, 2], not [192, 192]"));
        checkpoint.tensors.remove(2);
        assert!(model(&checkpoint).contains("no tensor model.layers.0.self_attn.q_proj.weight"));
        assert!(model(&small()).contains("config"));
    }
}
