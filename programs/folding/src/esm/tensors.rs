//! A folder's tensors by their names: `model.safetensors`, or shards that `model.safetensors.index.json` lists.

use super::wrong;
use nn::checkpoint::TensorFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Tensors that stay on the disk until they are asked for.
pub(super) struct Tensors {
    files: Vec<TensorFile>,
    folder: String,
}

impl Tensors {
    pub(super) fn open(folder: &Path) -> Result<Self, nn::Error> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let files = match single.is_file() || !index.is_file() {
            true => vec![TensorFile::open(&single)?],
            false => shards(&index)?
                .iter()
                .map(|name| TensorFile::open(&folder.join(name)))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            files,
            folder: folder.display().to_string(),
        })
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.shape(name).is_some())
    }

    /// The values of a tensor.
    pub(super) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, nn::Error> {
        // `transformers` 5 writes some norms under the names they had in TensorFlow.
        let older = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        let older = older.replace("LayerNorm.bias", "LayerNorm.beta");
        let places = [name, &older].into_iter();
        let mut places = places.flat_map(|name| self.files.iter().map(move |file| (name, file)));
        let found = places.find_map(|(name, file)| Some((name, file, file.shape(name)?)));
        let (name, file, own) =
            found.ok_or_else(|| wrong(format!("{}: there is no tensor {name}", self.folder)))?;
        if own != shape {
            return Err(wrong(format!(
                "{}: tensor {name} is {own:?}, by config.json it should be {shape:?}",
                self.folder
            )));
        }
        let mut values = vec![0.0; shape.iter().product()];
        file.read(name, &mut values)?;
        Ok(values)
    }
}

/// The names of the files that an index lists, each once.
fn shards(index: &Path) -> Result<BTreeSet<String>, nn::Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let at = |what: String| wrong(format!("{}: {what}", index.display()));
    let text = fs::read(index).map_err(|error| at(error.to_string()))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| at(error.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\'])) {
        Some(name) => Err(at(format!("{name} isn't the name of a file beside it"))),
        None => Ok(names),
    }
}
