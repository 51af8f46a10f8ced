//! What khub computes beside what `transformers` computes, from the same weights. The fixtures are made by
//! `xtask/python/make_fixtures.py`, which says what is in them; no Python runs here.

#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

use language::{ExportOptions, Family, Rows, export, import};
use nn::{Bf16, Checkpoint, Element, Model, Pool, Tape};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const FAMILIES: [&str; 4] = ["gpt2", "llama", "llama_tied", "mixtral"];

pub(crate) fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parity")
        .join(family)
}

/// What `transformers` computed.
struct Expected {
    batch: usize,
    seq: usize,
    vocab: usize,
    input_ids: Vec<u32>,
    logits: Vec<f32>,
    loss: f32,
    /// By the name of the weight.
    gradients: BTreeMap<String, Vec<f32>>,
}

impl Expected {
    /// Reads the file by hand: not through what is tested here.
    fn read(family: &str) -> Self {
        let bytes = fs::read(fixture(family).join("expected.safetensors")).unwrap();
        let (length, rest) = bytes.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
        let words = |name: &str| -> Vec<u32> {
            let offset = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
            let words = data[offset(0)..offset(1)].chunks_exact(4);
            words
                .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
                .collect()
        };
        let floats = |name: &str| words(name).into_iter().map(f32::from_bits).collect::<Vec<f32>>();
        let size = |i: usize| header["logits"]["shape"][i].as_u64().unwrap() as usize;
        let gradient = |name: &String| Some((name.strip_prefix("grad.")?.to_owned(), floats(name)));
        Self {
            batch: size(0),
            seq: size(1),
            vocab: size(2),
            input_ids: words("input_ids"),
            logits: floats("logits"),
            loss: floats("loss")[0],
            gradients: header.keys().filter_map(gradient).collect(),
        }
    }

    /// All its tokens are read; what comes after the last doesn't matter.
    fn rows(&self) -> Rows {
        let rows = self.input_ids.chunks_exact(self.seq);
        let tokens: Vec<u32> = rows.flat_map(|row| [row, &[0]].concat()).collect();
        Rows::new(&tokens, self.seq)
    }
}

fn logits<E: Element>(model: &Model<Family>, rows: &Rows) -> Vec<f32> {
    let pool = Pool::<E>::default();
    model
        .network
        .logits(&mut Tape::inference(&pool, &model.params), rows)
}

/// The largest difference, as a part of the largest value of `theirs`.
fn relative_error(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let most = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |most, x| most.max(x.abs()));
    let error = most(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
    assert!(ours.iter().all(|x| x.is_finite()), "max skips what is no number");
    error / most(&mut theirs.iter().copied())
}

#[test]
fn logits_are_theirs() {
    for family in FAMILIES {
        let (model, expected) = (import(&fixture(family)).unwrap().model, Expected::read(family));
        assert_eq!(
            expected.logits.len(),
            expected.batch * expected.seq * expected.vocab
        );
        let rows = expected.rows();
        let f32 = relative_error(&logits::<f32>(&model, &rows), &expected.logits);
        let bf16 = relative_error(&logits::<Bf16>(&model, &rows), &expected.logits);
        println!("{family}: logits in f32 {f32:.1e}, in bf16 {bf16:.1e}");
        assert!(f32 < 1e-4, "{family}: {f32}");
        assert!(bf16 < 3e-2 && bf16 > 1e-4, "{family}: {bf16}");
    }
}

#[test]
fn losses_and_gradients_are_theirs() {
    let dir = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let (model, expected) = (import(&fixture(family)).unwrap().model, Expected::read(family));
        let mut gradient = vec![f32::NAN; model.params.len()];
        let rows = Rows::new(&expected.input_ids, expected.seq - 1);
        let loss = model
            .loss_and_gradient(&Pool::<f32>::default(), &rows, &mut gradient)
            .unwrap();
        let off = (loss as f32 - expected.loss).abs() / expected.loss;
        assert!(off < 1e-5, "{family}: {loss} for {}", expected.loss);

        // Exported as if they were weights, gradients have the names and shapes of theirs.
        let folder = dir.path().join(family);
        let network = model.network.clone();
        let gradients = Model {
            network,
            params: gradient,
        };
        export(&gradients, &folder, &ExportOptions::default()).unwrap();
        let gradients = Checkpoint::read(&folder.join("model.safetensors"))
            .unwrap()
            .tensors;
        let names: Vec<&String> = gradients.iter().map(|(name, ..)| name).collect();
        assert_eq!(names, Vec::from_iter(expected.gradients.keys()), "{family}");
        let mut worst = 0f32;
        for (name, _, ours) in &gradients {
            let off = relative_error(ours, &expected.gradients[name]);
            assert!(off < 1e-3, "{family}: {name} {off}");
            worst = worst.max(off);
        }
        println!("{family}: loss {off:.1e}, gradients {worst:.1e}");
    }
}
