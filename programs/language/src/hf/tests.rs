//! What comes in: each way to write a folder that is understood, and each that is refused by name.

use super::{ExportOptions, export, import};
use crate::{Architecture, Experts, Family, ModelConfig};
use nn::{Checkpoint, Model};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parity")
        .join(family)
}

/// A copy of a fixture that may be damaged.
fn copy(family: &str) -> TempDir {
    let dir = tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture(family).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn change_config(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

fn change_tensors(dir: &Path, change: impl FnOnce(&mut Checkpoint)) {
    let path = dir.join("model.safetensors");
    let mut checkpoint = Checkpoint::read(&path).unwrap();
    change(&mut checkpoint);
    checkpoint.write(&path).unwrap();
}

fn refusal(dir: &Path) -> String {
    import(dir)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn halves_and_other_names_are_read() {
    let dir = copy("gpt2");
    let model = import(dir.path()).unwrap().model;
    // As GPT-2 was published: without the prefix, with its masks, and the head again.
    change_tensors(dir.path(), |checkpoint| {
        for (name, ..) in &mut checkpoint.tensors {
            *name = name.replace("transformer.", "");
        }
        checkpoint.push("h.0.attn.bias", &[1, 1, 16, 16], vec![1.0; 256]);
        checkpoint.push("h.0.attn.masked_bias", &[], vec![-1e4]);
        let embedding = checkpoint.tensor("wte.weight", &[97, 32]).unwrap().to_vec();
        checkpoint.push("lm_head.weight", &[97, 32], embedding);
    });
    assert!(import(dir.path()).unwrap().model.params == model.params);

    // As F16, which has 11 significant bits.
    let path = dir.path().join("model.safetensors");
    let tensors = Checkpoint::read(&path).unwrap().tensors;
    write_halves(&path, &tensors);
    let halves = import(dir.path()).unwrap().model;
    let pairs = halves.params.iter().zip(&model.params);
    assert!(
        pairs
            .clone()
            .all(|(a, b)| (a - b).abs() <= b.abs() / 1024.0 + 1e-7)
    );
    assert!(pairs.clone().any(|(a, b)| a != b));
}

/// Writes a file of F16 by hand; what is dropped of a fraction is not rounded.
fn write_halves(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let half = |x: f32| {
        let bits = x.to_bits();
        let exponent = (bits >> 23 & 255) as i32 - 127 + 15;
        let sign = (bits >> 16) as u16 & 0x8000;
        match exponent {
            1..31 => sign | (exponent as u16) << 10 | (bits >> 13) as u16 & 0x3FF,
            31.. => sign | 0x7C00,
            _ => sign | (x.abs() * 16_777_216.0) as u16,
        }
    };
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|&x| half(x).to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert(
            name.clone(),
            json!({"dtype": "F16", "shape": shape, "data_offsets": offsets}),
        );
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    fs::write(path, bytes).unwrap();
}

#[test]
fn old_and_new_ways_to_write_a_config_mean_the_same() {
    for (family, keys) in [
        ("llama", &["head_dim", "attention_bias", "mlp_bias"][..]),
        ("mixtral", &["head_dim"]),
    ] {
        let dir = copy(family);
        let model = import(dir.path()).unwrap().model;
        change_config(dir.path(), |config| {
            let config = config.as_object_mut().unwrap();
            for key in keys {
                config.remove(*key);
            }
            let rope = config.remove("rope_parameters").unwrap();
            config.insert("rope_theta".into(), rope["rope_theta"].clone());
            config.insert("rope_scaling".into(), Value::Null);
            config.insert("sliding_window".into(), json!(16));
            config.insert("torch_dtype".into(), json!("float16"));
        });
        let old = import(dir.path()).unwrap().model;
        let [new, old] = [&model, &old].map(|model| model.network.config());
        assert_eq!(
            (new.rope_base, new.head_size()),
            (old.rope_base, old.head_size()),
            "{family}"
        );
        for (key, table) in [
            (
                "rope_parameters",
                json!({"rope_type": "default", "rope_theta": 77.0}),
            ),
            ("rope_scaling", json!({"type": "default", "rope_theta": 77})),
        ] {
            change_config(dir.path(), |config| config[key] = table);
            assert_eq!(import(dir.path()).unwrap().model.network.config().rope_base, 77.0);
        }
    }
}

/// Field by field: the fixture, the field of its `config.json`, the value that it gets, and what is said.
const REFUSED: &str = r#"
gpt2 | model_type | "gptj" | model_type is "gptj": khub has the families gpt2, llama and mixtral
gpt2 | model_type | null | model_type is null
gpt2 | model_type | 7 | model_type is 7: it is a word in quotes
gpt2 | architectures | ["GPT2ForSequenceClassification"] | khub has ["GPT2LMHeadModel"] and ["GPT2Model"]
gpt2 | activation_function | "relu" | activation_function is "relu": khub's gpt2 has "gelu_new"
gpt2 | scale_attn_weights | false | scale_attn_weights is false
gpt2 | scale_attn_weights | null | scale_attn_weights is null
gpt2 | tie_word_embeddings | null | missing: lm_head.weight
gpt2 | scale_attn_by_inverse_layer_idx | true | scale_attn_by_inverse_layer_idx is true
gpt2 | add_cross_attention | true | add_cross_attention is true
gpt2 | is_encoder_decoder | true | is_encoder_decoder is true
gpt2 | quantization_config | {"bits": 4} | quantization_config is {"bits":4}
gpt2 | auto_map | {"AutoModel": "m.M"} | auto_map is
gpt2 | pruned_heads | {"0": [1]} | pruned_heads is
gpt2 | n_embd | "32" | n_embd is "32": it is a whole number
gpt2 | n_head | null | n_head is null: it is a whole number, and has to be there
gpt2 | n_head | 5 | heads is 5: width 32 must be a multiple of it
gpt2 | layer_norm_epsilon | "small" | layer_norm_epsilon is "small": it is a number
gpt2 | tie_word_embeddings | "no" | tie_word_embeddings is "no": it is true or false
llama | attention_bias | true | attention_bias is true: khub's llama and mixtral have no biases
llama | mlp_bias | true | mlp_bias is true
llama | hidden_act | "gelu" | hidden_act is "gelu"
llama | is_causal | false | is_causal is false
llama | attention_chunk_size | 8 | attention_chunk_size is 8
llama | partial_rotary_factor | 0.5 | partial_rotary_factor is 0.5
llama | rope_scaling | {"type": "linear", "factor": 2.0} | rope_scaling.type is "linear"
llama | rope_scaling | {"rope_type": "llama3"} | rope_scaling.rope_type is "llama3"
llama | rope_parameters | {"rope_type": "yarn"} | rope_parameters.rope_type is "yarn"
llama | rope_parameters | {"full_attention": {}} | rope_parameters.full_attention is {}
llama | rope_parameters | {"partial_rotary_factor": 0.5} | rope_parameters.partial_rotary_factor is 0.5
llama | rope_parameters | 7 | rope_parameters is 7: it is a table
llama | rope_theta | true | rope_theta is true: it is a number
llama | rms_norm_eps | -1 | norm_eps is -1: it takes numbers above 0
llama | head_dim | 9 | head_size is 9: it must be even
llama | num_key_value_heads | 3 | kv_heads is 3: heads 4 must be a multiple of it
llama | num_hidden_layers | 1000 | describes a model of
llama | vocab_size | 18446744073709551615 | vocab is 18446744073709551615: it takes 2 to 1048576
mixtral | sliding_window | 8 | sliding_window is 8: khub's attention sees the whole context of 16 tokens
mixtral | layer_types | ["full_attention", "sliding_attention"] | layer_types is
mixtral | num_local_experts | null | num_local_experts is null
mixtral | num_experts_per_tok | 9 | experts.top is 9: it takes 1 to experts.count
"#;

#[test]
fn what_khub_cant_compute_is_refused_by_name() {
    for line in REFUSED.trim().lines() {
        let [family, field, value, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line} has four columns");
        };
        let dir = copy(family);
        change_config(dir.path(), |config| {
            config[field] = serde_json::from_str(value).unwrap();
        });
        let error = refusal(dir.path());
        assert!(
            error.contains(expected) && error.contains("config.json"),
            "{line}: {error}"
        );
    }
    let dir = copy("llama");
    let path = dir.path().join("config.json");
    for (text, expected) in [
        ("{\"a\": ", "EOF"),
        ("[1]", "map"),
        ("", "EOF"),
        ("{\"a\":NaN}", "line 1"),
    ] {
        fs::write(&path, text).unwrap();
        assert!(
            refusal(dir.path()).contains(expected),
            "{text}: {}",
            refusal(dir.path())
        );
    }
    fs::remove_file(path).unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("config.json: No such file"), "{error}");
}

#[test]
fn fields_that_dont_matter_are_fine() {
    let dir = copy("mixtral");
    let model = import(dir.path()).unwrap().model;
    change_config(dir.path(), |config| {
        config["attention_dropout"] = json!(0.1);
        config["router_jitter_noise"] = json!(0.1);
        config["something_new"] = json!({"a": [1]});
        config["sliding_window"] = json!(16);
        config["layer_types"] = json!(["full_attention", "full_attention"]);
        config["output_router_logits"] = json!(true);
        config["router_aux_loss_coef"] = json!(0.02);
    });
    let again = import(dir.path()).unwrap().model;
    assert!(again.params == model.params);
    let balance = |model: &Model<Family>| model.network.config().experts.clone().unwrap().balance;
    assert_eq!(
        (balance(&model), balance(&again)),
        (0.0, 0.02),
        "two experts a token, two layers"
    );
}

/// The fixture, the field, its value, and two things that are said.
const MISFITS: &str = r#"
gpt2 | n_inner | 100 | h.0.mlp.c_fc.weight has shape [32, 128] in | config.json makes it [32, 100]
llama | vocab_size | 98 | model.embed_tokens.weight has shape [97, 32] | [98, 32]
llama | num_hidden_layers | 3 | missing: model.layers.2.input_layernorm.weight | and 4 more; that the model
llama | num_hidden_layers | 1 | doesn't have: model.layers.1.input_layernorm.weight | missing: none
llama | tie_word_embeddings | true | lm_head.weight in | is not the embedding
llama_tied | tie_word_embeddings | false | missing: lm_head.weight; | doesn't have: none
mixtral | num_local_experts | 5 | block_sparse_moe.gate.weight has shape [4, 32] | [5, 32]
"#;

#[test]
fn tensors_that_dont_fit_are_named() {
    for line in MISFITS.trim().lines() {
        let [family, field, value, first, second] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line} has five columns");
        };
        let dir = copy(family);
        change_config(dir.path(), |config| {
            config[field] = serde_json::from_str(value).unwrap();
        });
        let error = refusal(dir.path());
        assert!(error.contains(first) && error.contains(second), "{line}: {error}");
    }
    let dir = copy("llama");
    change_tensors(dir.path(), |checkpoint| {
        checkpoint.tensors[0].0 = "lm_head.bias".into();
        checkpoint.push("model.layers.0.self_attn.rotary_emb.inv_freq", &[4], vec![0.0; 4]);
    });
    let error = refusal(dir.path());
    let expected = "missing: lm_head.weight; that the model doesn't have: lm_head.bias";
    assert!(error.contains(expected), "{error}");
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(fixture("llama").join("model.safetensors")).unwrap();
    fs::write(&path, replaced(&bytes, b"\"F32\"", b"\"I32\"")).unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("holds I32; F32, F16 and BF16 are read"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("neither model.safetensors nor"), "{error}");
}

/// The first `from` becomes `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn shards_that_dont_fit_together_are_named() {
    let dir = tempdir().unwrap();
    let model = import(&fixture("llama")).unwrap().model;
    let shards = ExportOptions {
        shard_bytes: 20_000,
        ..ExportOptions::default()
    };
    let (index, norm) = (
        dir.path().join("model.safetensors.index.json"),
        "model.norm.weight",
    );
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        export(&model, dir.path(), &shards).unwrap();
        let mut json: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        change(&mut json["weight_map"]);
        fs::write(&index, json.to_string()).unwrap();
        let error = refusal(dir.path());
        assert!(
            error.contains(expected) && error.is_empty() == expected.is_empty(),
            "{error}"
        );
    };
    check(&|_| (), "");
    let [first, second] = [1, 2].map(|i| format!("model-{i:05}-of-00005.safetensors"));
    let outside = "which is no file of its folder";
    for name in ["../x.safetensors", "/x.safetensors", "..", "."] {
        check(&|map| map[norm] = json!(name), outside);
    }
    check(&|map| map[norm] = json!(""), outside);
    check(
        &|map| map[norm] = json!("model-9.safetensors"),
        "model-9.safetensors: No such file",
    );
    check(
        &|map| map[norm] = json!(first),
        "has model.norm.weight, and it hasn't",
    );
    check(&|map| map["other"] = json!(first), "has other, and it hasn't");
    check(&|map| *map = json!(7), "invalid type");
    check(&|map| *map = json!({}), "describes a model of");
    export(&model, dir.path(), &shards).unwrap();
    fs::copy(dir.path().join(&first), dir.path().join(&second)).unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("is of no use"), "{error}");
    fs::write(dir.path().join(&first), b"short").unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn any_bytes_give_a_model_or_words() {
    let dir = tempdir().unwrap();
    let config = ModelConfig {
        family: Architecture::Mixtral,
        vocab: 8,
        width: 16,
        layers: 1,
        heads: 2,
        hidden: 24,
        context: 16,
        experts: Some(Experts {
            count: 4,
            ..Experts::default()
        }),
        ..ModelConfig::default()
    };
    let model = Model::new(Family::new(config).unwrap(), 5);
    let shards = ExportOptions {
        shard_bytes: 8_000,
        ..ExportOptions::default()
    };
    export(&model, dir.path(), &shards).unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut seed, mut refused) = (1u64, 0);
    for path in &files {
        let whole = fs::read(path).unwrap();
        let header = whole.len().min(1_500);
        for _ in 0..400 {
            // Knuth's MMIX generator.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % header;
            let mut damaged = whole.clone();
            match seed >> 20 & 3 {
                0 => damaged.truncate(at),
                1 => damaged[at] = (seed >> 8) as u8,
                // Digits and quotation marks make other numbers and names.
                2 => damaged[at] = b"0123456789\"{}[]:,-e."[(seed >> 8) as usize % 20],
                _ => drop(damaged.splice(at..at, *b"99999")),
            }
            fs::write(path, damaged).unwrap();
            refused += usize::from(import(dir.path()).is_err());
        }
        fs::write(path, whole).unwrap();
    }
    assert!(refused > 1_000, "{refused}");
    assert!(import(dir.path()).unwrap().model.params == model.params);
}
