//! A Hugging Face folder becomes a model.

use super::shards::Shards;
use super::{HfError, config, is_transposed, shape_in_file, transpose};
use crate::{Architecture, Family, ModelConfig};
use nn::checkpoint::TensorFile;
use nn::{Model, Network};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a folder held.
#[derive(Debug)]
pub struct Imported {
    /// The model.
    pub model: Model<Family>,
    /// Where its `tokenizer.json` is, if there is one.
    pub tokenizer: Option<PathBuf>,
}

/// Reads a model of the families `gpt2`, `llama` and `mixtral` as `transformers` saves it: `config.json`, and
/// safetensors of F32, F16 or BF16, one file or several.
///
/// Whatever in `config.json` would change what the model computes, and isn't in khub, is refused by its name;
/// so are tensors that are missing, left over or of another shape. What holds only while `transformers`
/// trains (dropout, jitter) is not taken over. The memory it takes is the model's in f32 and, for a matrix
/// that has to be transposed, that matrix once more.
pub fn import(dir: &Path) -> Result<Imported, HfError> {
    let path = dir.join("config.json");
    let config = config::read(&path)?;
    let shards = Shards::open(dir)?;
    check_size(&path, &config, &shards)?;
    let network = Family::new(config).map_err(|error| HfError::Model { path, error })?;
    let found = fit(dir, &network, &shards)?;
    let mut params = vec![0f32; network.layout().len()];
    let family = network.config().family;
    for (tensor, (name, file)) in network.layout().tensors.iter().zip(&found) {
        let values = &mut params[tensor.range.clone()];
        if is_transposed(family, name) {
            let mut columns = vec![0f32; values.len()];
            file.read(name, &mut columns)?;
            transpose(&columns, tensor.shape[0], values);
        } else {
            file.read(name, values)?;
        }
    }
    check_head(&network, &shards, &params)?;
    let tokenizer = dir.join("tokenizer.json");
    Ok(Imported {
        model: Model { network, params },
        tokenizer: tokenizer.exists().then_some(tokenizer),
    })
}

/// Refuses a `config.json` of a much larger model than there is, before anything of that size is made.
fn check_size(path: &Path, config: &ModelConfig, shards: &Shards) -> Result<(), HfError> {
    let error = |error| HfError::Model {
        path: path.to_owned(),
        error,
    };
    config.check().map_err(error)?;
    let (described, held) = (config.param_counts().0, shards.elements());
    if described / 2 > held {
        return Err(HfError::Size {
            path: path.to_owned(),
            described,
            held,
        });
    }
    Ok(())
}

/// The name and the file of each of the network's tensors, if they all fit.
fn fit<'a>(
    dir: &Path,
    network: &Family,
    shards: &'a Shards,
) -> Result<Vec<(String, &'a TensorFile)>, HfError> {
    let family = network.config().family;
    let (mut found, mut missing, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for tensor in &network.layout().tensors {
        let name = [tensor.name.as_str(), base_name(&tensor.name)]
            .into_iter()
            .find_map(|name| shards.find(name).map(|place| (name, place)));
        let Some((name, (file, shape))) = name else {
            missing.push(tensor.name.clone());
            continue;
        };
        let wanted = shape_in_file(family, name, &tensor.shape);
        if shape != wanted {
            return Err(HfError::Shape {
                name: name.to_owned(),
                path: file.path().to_owned(),
                is: shape.to_vec(),
                wanted,
            });
        }
        used.insert(name);
        found.push((name.to_owned(), file));
    }
    let head_again = |name: &str| network.config().tied && name == "lm_head.weight";
    let unknown = shards
        .names()
        .filter(|name| !used.contains(name) && !is_buffer(family, name) && !head_again(name));
    let unknown: Vec<String> = unknown.map(str::to_owned).collect();
    if !missing.is_empty() || !unknown.is_empty() {
        return Err(HfError::Names {
            dir: dir.to_owned(),
            missing,
            unknown,
        });
    }
    Ok(found)
}

/// The name in a file that was saved without the head, as GPT-2's was.
fn base_name(name: &str) -> &str {
    name.split_once('.')
        .filter(|(prefix, _)| ["transformer", "model"].contains(prefix))
        .map_or(name, |(_, rest)| rest)
}

/// Whether a tensor is no weight, but what old versions kept so as not to compute it: GPT-2's causal mask and
/// Llama's rotary frequencies.
fn is_buffer(family: Architecture, name: &str) -> bool {
    let ends: &[&str] = match family {
        Architecture::Gpt2 => &[".attn.bias", ".attn.masked_bias"],
        _ => &[".rotary_emb.inv_freq"],
    };
    ends.iter().any(|end| name.ends_with(end))
}

/// Of a tied head, a file may have a copy; it may not have another one.
fn check_head(network: &Family, shards: &Shards, params: &[f32]) -> Result<(), HfError> {
    let Some((file, shape)) = shards.find("lm_head.weight").filter(|_| network.config().tied) else {
        return Ok(());
    };
    let embedding =
        network.layout().tensors.iter().find(|tensor| {
            tensor.name.ends_with("wte.weight") || tensor.name.ends_with("embed_tokens.weight")
        });
    let embedding = embedding.expect("every family has an embedding");
    let another = || HfError::Head {
        path: file.path().to_owned(),
    };
    if shape != embedding.shape {
        return Err(another());
    }
    let mut head = vec![0f32; embedding.range.len()];
    file.read("lm_head.weight", &mut head)?;
    let mut pairs = head.iter().zip(&params[embedding.range.clone()]);
    match pairs.all(|(a, b)| a.to_bits() == b.to_bits()) {
        true => Ok(()),
        false => Err(another()),
    }
}
