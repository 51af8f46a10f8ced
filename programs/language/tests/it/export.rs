//! Folders of Hugging Face's in and out: what is whole survives, and what isn't is named.

#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

use crate::parity::{FAMILIES, fixture};
use language::{
    Architecture, Card, END, Experts, ExportOptions, Family, ModelConfig, Tokenizer, export, import,
};
use nn::checkpoint::Dtype;
use nn::{Checkpoint, Model};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

type Change = fn(&mut ModelConfig);

fn family(family: Architecture, change: Change) -> Model<Family> {
    let mut config = ModelConfig {
        family,
        vocab: 64,
        width: 16,
        layers: 2,
        heads: 2,
        hidden: 24,
        context: 16,
        experts: (family == Architecture::Mixtral).then(|| Experts {
            count: 4,
            ..Experts::default()
        }),
        ..ModelConfig::default()
    };
    change(&mut config);
    Model::new(Family::new(config).unwrap(), 5)
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn what_comes_in_goes_out_with_the_same_bits() {
    let dir = tempdir().unwrap();
    for family in FAMILIES {
        let model = import(&fixture(family)).unwrap().model;
        let theirs = Checkpoint::read(&fixture(family).join("model.safetensors")).unwrap();
        let (one, several) = (
            dir.path().join(family),
            dir.path().join(format!("{family}-shards")),
        );
        export(&model, &one, &ExportOptions::default()).unwrap();
        assert_eq!(Checkpoint::read(&one.join("model.safetensors")).unwrap(), theirs);
        let shards = ExportOptions {
            shard_bytes: 20_000,
            ..ExportOptions::default()
        };
        export(&model, &several, &shards).unwrap();
        for folder in [&one, &several] {
            let again = import(folder).unwrap().model;
            assert!(again.params == model.params, "{family}");
            let said = ModelConfig {
                head_size: again.network.config().head_size,
                ..model.network.config().clone()
            };
            assert_eq!(again.network.config(), &said);
            assert_eq!(said.head_size(), model.network.config().head_size());
        }
        let index = read_json(&several.join("model.safetensors.index.json"));
        assert_eq!(index["metadata"]["total_size"], 4 * model.params.len());
        let shards = files(&several);
        let shards = shards.iter().filter(|file| file.ends_with(".safetensors"));
        assert!(shards.clone().count() > 3, "{family}");
        for file in shards {
            assert!(
                fs::metadata(several.join(file)).unwrap().len() < 20_000 + 3_000,
                "{file}"
            );
        }
    }
}

#[test]
fn every_shape_comes_back() {
    use Architecture::{Gpt2, Llama, Mixtral};
    let dir = tempdir().unwrap();
    let cases: [(Architecture, Change); 6] = [
        (Gpt2, |config| config.gelu_exact = true),
        (Gpt2, |config| config.tied = false),
        (Llama, |config| {
            (config.kv_heads, config.rope_base) = (Some(1), 500_000.0);
        }),
        (Llama, |config| {
            (config.head_size, config.norm_eps, config.tied) = (Some(12), 1e-6, false);
        }),
        (Mixtral, |config| config.context = 4096),
        (Mixtral, |config| {
            config.experts.as_mut().unwrap().top = 1;
            config.experts.as_mut().unwrap().capacity = Some(4.0);
        }),
    ];
    for (i, (architecture, change)) in cases.into_iter().enumerate() {
        let model = family(architecture, change);
        let folder = dir.path().join(i.to_string());
        export(&model, &folder, &ExportOptions::default()).unwrap();
        let again = import(&folder).unwrap().model;
        assert!(again.params == model.params);
        let config = model.network.config().clone();
        // What a model computes comes back in full; how its experts are trained doesn't.
        let wanted = ModelConfig {
            kv_heads: (architecture != Gpt2).then(|| config.kv_heads()),
            head_size: (architecture != Gpt2).then(|| config.head_size()),
            experts: config.experts.clone().map(|experts| Experts {
                capacity: None,
                balance: 0.0,
                z: 0.0,
                ..experts
            }),
            ..config
        };
        assert_eq!(again.network.config(), &wanted);
    }
}

#[test]
fn a_gpt2_without_biases_gets_zeros() {
    let dir = tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let model = family(Architecture::Gpt2, |config| config.bias = false);
    export(&model, &first, &ExportOptions::default()).unwrap();
    let card = fs::read_to_string(first.join("README.md")).unwrap();
    assert!(card.contains("biases") && card.contains("편향"), "{card}");
    let again = import(&first).unwrap().model;
    assert!(again.network.config().bias && again.params.len() > model.params.len());
    let [ours, theirs] = [&model, &again].map(language::to_checkpoint);
    for (name, shape, values) in &theirs.tensors {
        match ours.tensor(name, shape) {
            Ok(own) => assert_eq!(own, values),
            Err(_) => assert!(
                name.ends_with(".bias") && values.iter().all(|&x| x == 0.0),
                "{name}"
            ),
        }
    }
    export(&again, &second, &ExportOptions::default()).unwrap();
    assert!(import(&second).unwrap().model.params == again.params);
}

#[test]
fn half_the_size_is_rounded_once() {
    let dir = tempdir().unwrap();
    let half = ExportOptions {
        dtype: Dtype::Bf16,
        ..ExportOptions::default()
    };
    for architecture in [Architecture::Gpt2, Architecture::Llama, Architecture::Mixtral] {
        let model = family(architecture, |_| ());
        export(&model, dir.path(), &half).unwrap();
        assert_eq!(read_json(&dir.path().join("config.json"))["dtype"], "bfloat16");
        let size = fs::metadata(dir.path().join("model.safetensors")).unwrap().len() as usize;
        assert!(size < 2 * model.params.len() + 10_000);
        let rounded = import(dir.path()).unwrap().model;
        let pairs = rounded.params.iter().zip(&model.params);
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() <= b.abs() / 256.0));
        assert!(pairs.clone().any(|(a, b)| a != b));
        export(&rounded, dir.path(), &half).unwrap();
        assert!(import(dir.path()).unwrap().model.params == rounded.params);
    }
}

#[test]
fn a_tokeniser_and_a_card_go_with_a_model() {
    let dir = tempdir().unwrap();
    let tokenizer = Tokenizer::learn(&vec!["영화가 재밌다 good movie".to_owned(); 4], 300).unwrap();
    let path = dir.path().join("tokenizer.json");
    tokenizer.write(&path).unwrap();
    let mut options = ExportOptions {
        tokenizer: Some(path.clone()),
        card: Card {
            name: Some("한국어\n모델".into()),
            data: Some("NSMC | reviews".into()),
            loss: Some(3.5),
            label: Some("restricted".into()),
            licence: Some("Apache-2.0".into()),
        },
        ..ExportOptions::default()
    };
    let folder = dir.path().join("model");
    let error = export(&family(Architecture::Llama, |_| ()), &folder, &options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("tokens and the model 64"), "{error}");
    assert!(!folder.exists());

    let mut config = family(Architecture::Llama, |_| ()).network.config().clone();
    config.vocab = tokenizer.vocab();
    let model = Model::new(Family::new(config).unwrap(), 1);
    export(&model, &folder, &options).unwrap();
    assert_eq!(
        import(&folder).unwrap().tokenizer.unwrap(),
        folder.join("tokenizer.json")
    );
    assert_eq!(
        fs::read(folder.join("tokenizer.json")).unwrap(),
        fs::read(&path).unwrap()
    );
    assert_eq!(read_json(&folder.join("tokenizer_config.json"))["eos_token"], END);
    assert_eq!(
        read_json(&folder.join("generation_config.json"))["eos_token_id"],
        0
    );
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    for line in [
        "license: \"apache-2.0\"",
        "# 한국어 모델",
        "| 매개변수 · Parameters | 8,960 |",
        "| 학습 데이터 · Data | NSMC \\| reviews |",
        "| 검증 손실 · Validation loss | 3.5000 nats/token (perplexity 33.12) |",
        "| 공개 등급 · Label | 제한 · restricted |",
        "tokenizer = AutoTokenizer.from_pretrained(\"model\")",
    ] {
        assert!(card.contains(line), "{line} in\n{card}");
    }

    options = ExportOptions::default();
    export(&model, &folder, &options).unwrap();
    assert!(
        import(&folder).unwrap().tokenizer.is_none(),
        "an earlier export is replaced as a whole"
    );
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(
        !["license", "Data", "loss", "Label", "okenizer"]
            .iter()
            .any(|word| card.contains(word)),
        "{card}"
    );
}

#[test]
fn nothing_of_others_is_written_over() {
    let dir = tempdir().unwrap();
    let model = family(Architecture::Llama, |_| ());
    let to = |folder: &Path| export(&model, folder, &ExportOptions::default());
    let words = |folder: &Path| {
        to(folder)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let [file, notes, theirs, export] =
        ["file", "notes", "theirs", "sub/export"].map(|name| dir.path().join(name));
    fs::write(&file, "text").unwrap();
    assert!(words(&file).contains("it is a file"), "{}", words(&file));
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("notes.txt"), "mine").unwrap();
    assert!(
        words(&notes).contains("\"notes.txt\", which no export wrote"),
        "{}",
        words(&notes)
    );
    fs::create_dir(&theirs).unwrap();
    fs::copy(fixture("llama").join("config.json"), theirs.join("config.json")).unwrap();
    assert!(
        words(&theirs).contains("a model that no export wrote"),
        "{}",
        words(&theirs)
    );
    assert!(
        words(Path::new("/")).contains("nothing was written"),
        "{}",
        words(Path::new("/"))
    );

    assert_eq!(words(&export), "");
    let before = fs::read(export.join("model.safetensors")).unwrap();
    fs::write(export.join("notes.txt"), "mine").unwrap();
    assert!(words(&export).contains("notes.txt"));
    fs::remove_file(export.join("notes.txt")).unwrap();
    // What a killed export left is no obstacle, and doesn't stay.
    fs::create_dir(dir.path().join("sub/.export.khub-export.part")).unwrap();
    fs::create_dir(dir.path().join("sub/.export.khub-export.old")).unwrap();
    assert_eq!(words(&export), "");
    assert_eq!(fs::read(export.join("model.safetensors")).unwrap(), before);
    assert_eq!(
        files(&dir.path().join("sub")),
        BTreeSet::from(["export".to_owned()])
    );
    assert_eq!(
        files(dir.path()),
        ["file", "notes", "sub", "theirs"].map(str::to_owned).into()
    );
}

#[test]
fn what_transformers_cant_have_is_refused() {
    use Architecture::{Llama, Mixtral};
    let dir = tempdir().unwrap();
    let cases: [(Architecture, Change, &str); 3] = [
        (
            Mixtral,
            |config| config.experts.as_mut().unwrap().normalise = false,
            "experts.normalise is false",
        ),
        (
            Mixtral,
            |config| config.experts.as_mut().unwrap().capacity = Some(1.25),
            "experts.capacity is 1.25",
        ),
        (
            Llama,
            |config| (config.heads, config.head_size) = (3, Some(8)),
            "width is 16",
        ),
    ];
    for (architecture, change, expected) in cases {
        let model = family(architecture, change);
        let error = export(&model, &dir.path().join("x"), &ExportOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("transformers can't have"),
            "{error}"
        );
    }
    assert!(files(dir.path()).is_empty());
}
