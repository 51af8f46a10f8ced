//! A folder's safetensors files as one: which tensor is where.

use super::HfError;
use nn::checkpoint::TensorFile;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A model's only file.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which of several files has which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The open files of a model.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<TensorFile>,
    /// The file of each tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Opens a folder's files; reads their headers, and no values.
    pub(super) fn open(dir: &Path) -> Result<Self, HfError> {
        let index = dir.join(INDEX);
        match fs::read(&index) {
            Ok(bytes) => Self::indexed(dir, &index, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let single = dir.join(SINGLE);
                if !single.exists() {
                    return Err(HfError::NoWeights(dir.to_owned()));
                }
                let mut shards = Self::none();
                shards.add(TensorFile::open(&single)?)?;
                Ok(shards)
            }
            Err(error) => Err(HfError::File { path: index, error }),
        }
    }

    fn none() -> Self {
        Self {
            files: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    fn indexed(dir: &Path, path: &Path, bytes: &[u8]) -> Result<Self, HfError> {
        let wrong = |what: String| HfError::Index {
            path: path.to_owned(),
            what,
        };
        let index: Index = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut shards = Self::none();
        for (tensor, file) in &index.weight_map {
            let number = match numbers.get(file.as_str()) {
                Some(&number) => number,
                None => {
                    if Path::new(file)
                        .file_name()
                        .is_none_or(|name| name != file.as_str())
                    {
                        return Err(wrong(format!(
                            "it names {file:?}, which is no file of its folder"
                        )));
                    }
                    numbers.insert(file, shards.files.len());
                    shards.add(TensorFile::open(&dir.join(file))?)?;
                    shards.files.len() - 1
                }
            };
            if shards.files[number].shape(tensor).is_none() {
                return Err(wrong(format!("it says that {file} has {tensor}, and it hasn't")));
            }
        }
        Ok(shards)
    }

    fn add(&mut self, file: TensorFile) -> Result<(), HfError> {
        for name in file.names() {
            if let Some(other) = self.places.insert(name.clone(), self.files.len()) {
                let other = self.files[other].path();
                return Err(HfError::Index {
                    path: file.path().to_owned(),
                    what: format!("{name} is in {} too", other.display()),
                });
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// The tensors' names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The file and the shape of a tensor, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<(&TensorFile, &[usize])> {
        let file = &self.files[*self.places.get(name)?];
        Some((file, file.shape(name)?))
    }

    /// Elements of all tensors.
    pub(super) fn elements(&self) -> u64 {
        let shapes = self.names().filter_map(|name| self.find(name));
        let sizes = shapes.map(|(_, shape)| shape.iter().product::<usize>() as u64);
        sizes.fold(0, u64::saturating_add)
    }
}
