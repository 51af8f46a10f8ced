//! A model becomes a folder that `transformers` loads.

use super::folder::Folder;
use super::shards::{INDEX, SINGLE};
use super::{Card, HfError, card, config, is_transposed, shape_in_file, transpose};
use crate::{END, Family, ModelConfig, Tokenizer};
use nn::checkpoint::{Dtype, TensorWriter};
use nn::{Model, Network};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How a model goes out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// How its numbers are kept.
    pub dtype: Dtype,
    /// The most bytes of numbers in a file; a tensor that has more gets a file of its own. Of several files
    /// there is an index.
    pub shard_bytes: u64,
    /// The `tokenizer.json` that goes with it.
    pub tokenizer: Option<PathBuf>,
    /// What the model card tells.
    pub card: Card,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            dtype: Dtype::F32,
            shard_bytes: 5_000_000_000,
            tokenizer: None,
            card: Card::default(),
        }
    }
}

/// Writes `model` to the folder `dir`, all or nothing: `config.json`, `generation_config.json`, safetensors,
/// a model card, and with a tokeniser `tokenizer.json` and `tokenizer_config.json`. A folder that is there
/// has to be empty or an earlier export, which is replaced.
///
/// A GPT-2 without biases gets biases of zero, because `transformers` has none without; it comes back in with
/// them. A model that `transformers` can't have is refused.
pub fn export(model: &Model<Family>, dir: &Path, options: &ExportOptions) -> Result<(), HfError> {
    let shape = model.network.config();
    let tokenizer = read_tokenizer(options.tokenizer.as_deref(), shape)?;
    let end = tokenizer.as_ref().map_or(0, |(_, end)| *end);
    let config = config::write(shape, options.dtype, end)?;
    let tensors = tensors(&model.network);
    let folder = Folder::beside(dir)?;
    folder.write("config.json", &text(&config))?;
    let generation = json!({ "bos_token_id": end, "eos_token_id": end, "pad_token_id": end });
    folder.write("generation_config.json", &text(&generation))?;
    if let Some((bytes, _)) = &tokenizer {
        folder.write("tokenizer.json", bytes)?;
        folder.write("tokenizer_config.json", &text(&tokenizer_config(shape)))?;
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let zero_biases = tensors.iter().any(|tensor| tensor.from.is_none());
    let card = card::text(&options.card, &name, shape, zero_biases, tokenizer.is_some());
    folder.write("README.md", card.as_bytes())?;
    write_weights(&folder, &model.params, &tensors, options)?;
    folder.put()
}

/// A tensor on its way to a file.
struct Outgoing {
    name: String,
    /// Its shape in the file.
    shape: Vec<usize>,
    /// Where it lies among the parameters; None is a bias that the model doesn't have.
    from: Option<Range<usize>>,
    /// Columns of the matrix there, if it is to be transposed.
    transposed: Option<usize>,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The tensors that `transformers` expects, in the order of the model's.
fn tensors(network: &Family) -> Vec<Outgoing> {
    let config = network.config();
    let own: HashMap<&str, Range<usize>> = network
        .layout()
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.range.clone()))
        .collect();
    let theirs = Family::new(ModelConfig {
        bias: true,
        ..config.clone()
    });
    let theirs = theirs.expect("the model's own shape, which exists");
    let outgoing = theirs.layout().tensors.iter().map(|tensor| Outgoing {
        shape: shape_in_file(config.family, &tensor.name, &tensor.shape),
        from: own.get(tensor.name.as_str()).cloned(),
        transposed: is_transposed(config.family, &tensor.name).then(|| tensor.shape[1]),
        name: tensor.name.clone(),
    });
    outgoing.collect()
}

/// Writes the weights in as many files as they need.
fn write_weights(
    folder: &Folder,
    params: &[f32],
    tensors: &[Outgoing],
    options: &ExportOptions,
) -> Result<(), HfError> {
    let width = options.dtype.width();
    let mut shards: Vec<&[Outgoing]> = Vec::new();
    let mut rest = tensors;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|tensor| {
            bytes += (tensor.len() * width) as u64;
            bytes <= options.shard_bytes
        });
        // A tensor that is too large has a file of its own.
        let (shard, after) = rest.split_at(fits.count().max(1));
        shards.push(shard);
        rest = after;
    }
    if let [shard] = shards[..] {
        return write_shard(&folder.file(SINGLE), params, shard, options.dtype);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(&folder.file(&file), params, shard, options.dtype)?;
        weight_map.extend(shard.iter().map(|tensor| (tensor.name.as_str(), file.clone())));
    }
    let parameters: usize = tensors.iter().map(Outgoing::len).sum();
    let index = json!({
        "metadata": { "total_parameters": parameters, "total_size": parameters * width },
        "weight_map": weight_map,
    });
    folder.write(INDEX, &text(&index))
}

fn write_shard(path: &Path, params: &[f32], shard: &[Outgoing], dtype: Dtype) -> Result<(), HfError> {
    let header: Vec<(&str, &[usize])> = shard
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
        .collect();
    let mut file = TensorWriter::create(path, dtype, &header, ("format", "pt"))?;
    for tensor in shard {
        match (&tensor.from, tensor.transposed) {
            (None, _) => file.push(&vec![0.0; tensor.len()])?,
            (Some(range), None) => file.push(&params[range.clone()])?,
            (Some(range), Some(cols)) => {
                let mut columns = vec![0.0; tensor.len()];
                transpose(&params[range.clone()], cols, &mut columns);
                file.push(&columns)?;
            }
        }
    }
    Ok(file.finish()?)
}

/// A `tokenizer.json` as it is, if it fits the model, and its token for a document's end.
fn read_tokenizer(path: Option<&Path>, config: &ModelConfig) -> Result<Option<(Vec<u8>, u32)>, HfError> {
    let Some(path) = path else { return Ok(None) };
    let tokenizer = Tokenizer::open(path)?;
    if tokenizer.vocab() != config.vocab {
        return Err(HfError::Mismatch {
            path: path.to_owned(),
            tokenizer: tokenizer.vocab(),
            model: config.vocab,
        });
    }
    let bytes = fs::read(path).map_err(|error| HfError::File {
        path: path.to_owned(),
        error,
    })?;
    Ok(Some((bytes, tokenizer.end())))
}

fn tokenizer_config(config: &ModelConfig) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "clean_up_tokenization_spaces": false,
        "model_max_length": config.context,
    })
}

fn text(json: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(json).expect("JSON is plain data");
    text.push('\n');
    text.into_bytes()
}
