//! `config.json`: the shape of a model in the words of `transformers`, both ways.
//!
//! Coming in, a field that is missing has the default that `transformers` gives it, except sizes, which have
//! to be there. [`FIXED`] lists what khub can't follow. All other fields name files, tokens or ways of
//! training and don't change what is computed.

use super::HfError;
use crate::{Architecture, Experts, ModelConfig};
use Architecture::{Gpt2, Llama, Mixtral};
use nn::checkpoint::Dtype;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// Fields that change what a model computes, in which families, and the values (as JSON) that khub can
/// follow. A field that is missing is always fine, and null is where it doesn't stand for true: in Python it
/// counts as false.
const FIXED: &[(&[Architecture], &str, &[&str], &str)] = &[
    (
        &ALL,
        "quantization_config",
        &[],
        "its weights are not plain numbers; fetch the model as F32, F16 or BF16",
    ),
    (
        &ALL,
        "auto_map",
        &[],
        "the folder's own Python code computes it, which khub doesn't run",
    ),
    (&ALL, "is_encoder_decoder", &["false"], "khub has decoders only"),
    (&ALL, "add_cross_attention", &["false"], "khub has decoders only"),
    (
        &ALL,
        "is_causal",
        &["true"],
        "in khub a token sees none that comes after it",
    ),
    (
        &ALL,
        "pruned_heads",
        &["{}", "[]"],
        "khub's blocks have as many heads each",
    ),
    (
        &ALL,
        "attention_chunk_size",
        &[],
        "khub's attention sees the whole context",
    ),
    (
        &[Gpt2],
        "scale_attn_weights",
        &["true"],
        "khub scales attention by the root of the head's size",
    ),
    (
        &[Gpt2],
        "scale_attn_by_inverse_layer_idx",
        &["false"],
        "khub scales attention alike in each block",
    ),
    (
        &ROTARY,
        "attention_bias",
        &["false"],
        "khub's llama and mixtral have no biases",
    ),
    (
        &ROTARY,
        "mlp_bias",
        &["false"],
        "khub's llama and mixtral have no biases",
    ),
    (
        &ROTARY,
        "hidden_act",
        &["\"silu\"", "\"swish\""],
        "khub's llama and mixtral have SwiGLU",
    ),
    (
        &ROTARY,
        "partial_rotary_factor",
        &["1", "1.0"],
        "khub turns whole heads",
    ),
];
const ALL: [Architecture; 3] = [Gpt2, Llama, Mixtral];
const ROTARY: [Architecture; 2] = [Llama, Mixtral];

/// Reads a `config.json`.
pub(super) fn read(path: &Path) -> Result<ModelConfig, HfError> {
    let text = fs::read(path).map_err(|error| HfError::File {
        path: path.to_owned(),
        error,
    })?;
    let map: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| HfError::Json {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    let fields = Fields {
        path,
        map: &map,
        within: "",
    };
    let family = family(&fields)?;
    for (_, field, values, why) in FIXED.iter().filter(|(families, ..)| families.contains(&family)) {
        fields.is_one_of(field, values, why)?;
    }
    match family {
        Gpt2 => gpt2(&fields),
        Llama => llama(&fields),
        Mixtral => mixtral(&fields),
    }
}

fn family(fields: &Fields) -> Result<Architecture, HfError> {
    let known = "khub has the families gpt2, llama and mixtral";
    let (family, name) = match fields.word("model_type")? {
        Some("gpt2") => (Gpt2, "GPT2"),
        Some("llama") => (Llama, "Llama"),
        Some("mixtral") => (Mixtral, "Mixtral"),
        _ => return Err(fields.refuse("model_type", known)),
    };
    let head = if family == Gpt2 {
        "LMHeadModel"
    } else {
        "ForCausalLM"
    };
    let allowed = [name.to_owned() + head, name.to_owned() + "Model"];
    let other = match fields.get("architectures") {
        None => false,
        Some(Value::Array(names)) => {
            let known = |name: &Value| allowed.iter().any(|allowed| name == allowed.as_str());
            !names.iter().all(known)
        }
        Some(_) => true,
    };
    match other {
        true => {
            let wanted = format!("khub has [{:?}] and [{:?}]", allowed[0], allowed[1]);
            Err(fields.refuse("architectures", wanted))
        }
        false => Ok(family),
    }
}

fn gpt2(fields: &Fields) -> Result<ModelConfig, HfError> {
    let gelu_exact = match fields.word("activation_function")?.unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" => false,
        "gelu" | "gelu_python" => true,
        _ => {
            let wanted = "khub's gpt2 has \"gelu_new\" (by tanh) and \"gelu\" (exact)";
            return Err(fields.refuse("activation_function", wanted));
        }
    };
    let width = fields.size("n_embd")?;
    Ok(ModelConfig {
        family: Gpt2,
        vocab: fields.size("vocab_size")?,
        width,
        layers: fields.size("n_layer")?,
        heads: fields.size("n_head")?,
        hidden: fields.size_or("n_inner")?.unwrap_or(width.saturating_mul(4)),
        context: fields.size("n_positions")?,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(true),
        bias: true,
        gelu_exact,
        norm_eps: fields.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        ..ModelConfig::default()
    })
}

fn llama(fields: &Fields) -> Result<ModelConfig, HfError> {
    let context = fields.size("max_position_embeddings")?;
    if fields
        .size_or("sliding_window")?
        .is_some_and(|window| window < context)
    {
        let wanted = format!("khub's attention sees the whole context of {context} tokens");
        return Err(fields.refuse("sliding_window", wanted));
    }
    let full = |layers: &Value| {
        layers
            .as_array()
            .is_some_and(|layers| layers.iter().all(|layer| layer == "full_attention"))
    };
    if fields.get("layer_types").is_some_and(|layers| !full(layers)) {
        return Err(fields.refuse("layer_types", "khub's layers are all of \"full_attention\""));
    }
    Ok(ModelConfig {
        family: Llama,
        vocab: fields.size("vocab_size")?,
        width: fields.size("hidden_size")?,
        layers: fields.size("num_hidden_layers")?,
        heads: fields.size("num_attention_heads")?,
        kv_heads: fields.size_or("num_key_value_heads")?,
        head_size: fields.size_or("head_dim")?,
        hidden: fields.size("intermediate_size")?,
        context,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        rope_base: rope_base(fields)?.unwrap_or(10_000.0),
        norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        ..ModelConfig::default()
    })
}

fn mixtral(fields: &Fields) -> Result<ModelConfig, HfError> {
    let mut config = llama(fields)?;
    config.family = Mixtral;
    if !fields.map.contains_key("num_key_value_heads") {
        config.kv_heads = Some(8);
    }
    config.rope_base = rope_base(fields)?.unwrap_or(1_000_000.0);
    config.norm_eps = fields.number("rms_norm_eps")?.unwrap_or(1e-5);
    let (top, layers) = (fields.size("num_experts_per_tok")?, config.layers.max(1));
    // transformers balances only where it is asked for the router's logits: the load of all layers together,
    // each of a token's experts counted as a whole one. khub balances layer by layer.
    let balanced = fields.flag("output_router_logits")?.unwrap_or(false);
    let coefficient = fields.number("router_aux_loss_coef")?.unwrap_or(0.001);
    config.experts = Some(Experts {
        count: fields.size("num_local_experts")?,
        top,
        capacity: None,
        normalise: true,
        balance: if balanced {
            coefficient * top as f32 / layers as f32
        } else {
            0.0
        },
        z: 0.0,
    });
    Ok(config)
}

/// The base of the rotary angles: new files have a table `rope_parameters`, old ones a table `rope_scaling`
/// that goes first, and `rope_theta` beside it.
fn rope_base(fields: &Fields) -> Result<Option<f32>, HfError> {
    let mut base = fields.number("rope_theta")?;
    let tables = ["rope_scaling", "rope_parameters"];
    let used = |name: &&str| match fields.get(name) {
        Some(Value::Object(table)) => !table.is_empty(),
        other => other.is_some(),
    };
    if let Some(name) = tables.into_iter().find(used) {
        let Some(Value::Object(map)) = fields.get(name) else {
            return Err(fields.refuse(name, "it is a table"));
        };
        let table = Fields {
            path: fields.path,
            map,
            within: name,
        };
        let wanted = "khub turns by position alone: \"default\"";
        for key in ["rope_type", "type"] {
            table.is_one_of(key, &["\"default\""], wanted)?;
        }
        table.is_one_of("partial_rotary_factor", &["1", "1.0"], "khub turns whole heads")?;
        if let Some((key, _)) = map.iter().find(|(_, value)| value.is_object()) {
            return Err(table.refuse(key, "khub turns alike in each layer"));
        }
        base = table.number("rope_theta")?.or(base);
    }
    Ok(base)
}

/// The `config.json` of an export, whose documents end with the token `end`. Of a field that changed its name
/// both names are there: old and new versions of `transformers` read it.
pub(crate) fn write(config: &ModelConfig, dtype: Dtype, end: u32) -> Result<Value, HfError> {
    check_theirs(config)?;
    let dtype = match dtype {
        Dtype::F32 => "float32",
        Dtype::Bf16 => "bfloat16",
    };
    let mut fields = json!({
        "dtype": dtype,
        "torch_dtype": dtype,
        "vocab_size": config.vocab,
        "tie_word_embeddings": config.tied,
        "bos_token_id": end,
        "eos_token_id": end,
        WRITTEN_BY: env!("CARGO_PKG_VERSION"),
    });
    let own = match config.family {
        Gpt2 => gpt2_fields(config),
        Llama | Mixtral => rotary_fields(config),
    };
    let experts = match &config.experts {
        Some(experts) => experts_fields(experts, config.layers),
        None => json!({}),
    };
    let all = fields.as_object_mut().expect("it is a table");
    for part in [own, experts] {
        let Value::Object(part) = part else { continue };
        all.extend(part);
    }
    Ok(fields)
}

/// The field that says that khub wrote a folder, and may write it again.
pub(super) const WRITTEN_BY: &str = "khub_version";

fn check_theirs(config: &ModelConfig) -> Result<(), HfError> {
    let refuse = |field, value: String, why| Err(HfError::NotTheirs { field, value, why });
    if config.family == Llama && !config.width.is_multiple_of(config.heads) {
        let why = "its llama takes widths that are a multiple of the heads";
        return refuse("width", config.width.to_string(), why);
    }
    let Some(experts) = &config.experts else {
        return Ok(());
    };
    if !experts.normalise {
        let why = "its mixtral makes the weights of a token's experts sum to 1";
        return refuse("experts.normalise", "false".into(), why);
    }
    let full = |capacity: &f32| capacity * experts.top as f32 >= experts.count as f32;
    if let Some(capacity) = experts.capacity.filter(|capacity| !full(capacity)) {
        let why =
            "its mixtral drops no token; to export the model as one that drops none, take the setting out";
        return refuse("experts.capacity", capacity.to_string(), why);
    }
    Ok(())
}

fn gpt2_fields(config: &ModelConfig) -> Value {
    json!({
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "activation_function": if config.gelu_exact { "gelu" } else { "gelu_new" },
        "layer_norm_epsilon": decimal(config.norm_eps),
        // khub drops nothing out, and the default would.
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    })
}

fn rotary_fields(config: &ModelConfig) -> Value {
    let (model_type, architecture) = match config.family {
        Mixtral => ("mixtral", "MixtralForCausalLM"),
        _ => ("llama", "LlamaForCausalLM"),
    };
    let base = decimal(config.rope_base);
    json!({
        "model_type": model_type,
        "architectures": [architecture],
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads(),
        "head_dim": config.head_size(),
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "rms_norm_eps": decimal(config.norm_eps),
        "rope_theta": base,
        "rope_parameters": { "rope_type": "default", "rope_theta": base },
    })
}

fn experts_fields(experts: &Experts, layers: usize) -> Value {
    let coefficient = experts.balance * layers as f32 / experts.top as f32;
    json!({
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.top,
        "output_router_logits": false,
        "router_aux_loss_coef": decimal(coefficient),
        "sliding_window": null,
    })
}

/// A number with as few digits as say which f32 it is: 1e-5, not 9.999999747378752e-6.
fn decimal(x: f32) -> Value {
    let shortest = x.to_string().parse::<f64>();
    json!(shortest.expect("Rust reads the numbers it writes"))
}

/// A JSON object whose wrong fields can be told by name.
struct Fields<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
    /// The field that holds it.
    within: &'a str,
}

impl Fields<'_> {
    /// A field's value; null is none.
    fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn refuse(&self, field: &str, wanted: impl Into<String>) -> HfError {
        let value = self.map.get(field).map_or("missing".into(), Value::to_string);
        let field = match self.within {
            "" => field.to_owned(),
            within => format!("{within}.{field}"),
        };
        HfError::Field {
            path: self.path.to_owned(),
            field,
            value: value.chars().take(200).collect(),
            wanted: wanted.into(),
        }
    }

    fn is_one_of(&self, field: &str, values: &[&str], why: &str) -> Result<(), HfError> {
        let fine = match self.map.get(field) {
            None => true,
            Some(Value::Null) => !values.contains(&"true"),
            Some(value) => values.contains(&value.to_string().as_str()),
        };
        match fine {
            true => Ok(()),
            false => Err(self.refuse(field, why)),
        }
    }

    fn typed<T>(
        &self,
        field: &str,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, HfError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.refuse(field, wanted)),
        }
    }

    fn size_or(&self, field: &str) -> Result<Option<usize>, HfError> {
        let read = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        self.typed(field, "it is a whole number", read)
    }

    fn size(&self, field: &str) -> Result<usize, HfError> {
        let size = self.size_or(field)?;
        size.ok_or_else(|| self.refuse(field, "it is a whole number, and has to be there"))
    }

    fn number(&self, field: &str) -> Result<Option<f32>, HfError> {
        let number = self.typed(field, "it is a number", Value::as_f64)?;
        Ok(number.map(|number| number as f32))
    }

    /// Of a flag, null is false.
    fn flag(&self, field: &str) -> Result<Option<bool>, HfError> {
        match self.map.get(field) {
            Some(Value::Null) => Ok(Some(false)),
            _ => self.typed(field, "it is true or false", Value::as_bool),
        }
    }

    fn word(&self, field: &str) -> Result<Option<&str>, HfError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(word)) => Ok(Some(word)),
            Some(_) => Err(self.refuse(field, "it is a word in quotes")),
        }
    }
}
