//! ESM-2 with the sizes of `facebook/esm2_t6_8M_UR50D` and random weights, which are left in a folder for a peer.

use super::{serve, set_threads};
use crate::failure::Failure;
use folding::Random;
use folding::esm::Esm2;
use nn::{Checkpoint, write_whole};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Passes over one sequence.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Residues of the sequence.
    #[arg(long)]
    length: usize,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

const WIDTH: usize = 320;
const INNER: usize = 1_280;
const LAYERS: usize = 6;
const HEADS: usize = 20;
const VOCAB: usize = 33;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    set_threads(args.threads)?;
    let params = leave(&args.dir)?;
    let model = Esm2::load(&args.dir).map_err(Failure::new)?;
    // Between the two ends each of the 20 residues in turn; the peer makes the same.
    let residues = (0..args.length).map(|i| 4 + (i * 7 % 20) as u32);
    let tokens: Vec<u32> = [0].into_iter().chain(residues).chain([2]).collect();
    let turn = || {
        let start = Instant::now();
        let logits = model.logits(&tokens).map_err(Failure::new)?;
        let seconds = start.elapsed().as_secs_f64();
        let likeliest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
        let ids: Vec<_> = logits.chunks_exact(VOCAB).map(likeliest).collect();
        Ok(json!({ "seconds": seconds, "tokens": args.length, "ids": ids[1..=args.length] }))
    };
    for _ in 0..super::WARM_UP {
        turn()?;
    }
    serve("run", params, turn)
}

/// Writes the folder and counts its weights.
fn leave(dir: &Path) -> Result<u64, Failure> {
    let mut file = Checkpoint::default();
    let mut random = Random::new(1);
    let mut add = |name: &str, shape: &[usize]| {
        // Gains of norms lie around 1, all else around 0.
        let norm = name.contains("norm") || name.contains("LayerNorm");
        let middle = if norm && name.ends_with("weight") {
            1.0
        } else {
            0.0
        };
        let values = (0..shape.iter().product()).map(|_| middle + 0.05 * random.normal() as f32);
        file.push(name, shape, values.collect());
    };
    add("esm.embeddings.word_embeddings.weight", &[VOCAB, WIDTH]);
    for layer in 0..LAYERS {
        let mut line = |part: &str, shape: &[usize]| {
            let name = format!("esm.encoder.layer.{layer}.{part}");
            add(&format!("{name}.weight"), shape);
            add(&format!("{name}.bias"), &shape[..1]);
        };
        line("attention.LayerNorm", &[WIDTH]);
        for part in ["query", "key", "value"] {
            line(&format!("attention.self.{part}"), &[WIDTH, WIDTH]);
        }
        line("attention.output.dense", &[WIDTH, WIDTH]);
        line("LayerNorm", &[WIDTH]);
        line("intermediate.dense", &[INNER, WIDTH]);
        line("output.dense", &[WIDTH, INNER]);
    }
    for (name, shape) in [
        ("esm.encoder.emb_layer_norm_after.weight", &[WIDTH][..]),
        ("esm.encoder.emb_layer_norm_after.bias", &[WIDTH]),
        ("esm.contact_head.regression.weight", &[1, LAYERS * HEADS]),
        ("esm.contact_head.regression.bias", &[1]),
        ("lm_head.dense.weight", &[WIDTH, WIDTH]),
        ("lm_head.dense.bias", &[WIDTH]),
        ("lm_head.layer_norm.weight", &[WIDTH]),
        ("lm_head.layer_norm.bias", &[WIDTH]),
        ("lm_head.bias", &[VOCAB]),
    ] {
        add(name, shape);
    }
    let config = json!({
        "model_type": "esm", "architectures": ["EsmForMaskedLM"], "dtype": "float32",
        "vocab_size": VOCAB, "mask_token_id": 32, "pad_token_id": 1,
        "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": INNER, "max_position_embeddings": 1_026, "position_embedding_type": "rotary",
        "token_dropout": true, "emb_layer_norm_before": false, "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    });
    fs::create_dir_all(dir).map_err(|error| Failure::file(dir, error))?;
    file.metadata.insert("format".to_owned(), "pt".to_owned());
    file.write(&dir.join("model.safetensors")).map_err(Failure::new)?;
    let path = dir.join("config.json");
    write_whole(&path, config.to_string().as_bytes()).map_err(|error| Failure::file(&path, error))?;
    let sizes = file.tensors.iter().map(|(_, _, values)| values.len() as u64);
    Ok(sizes.sum())
}
