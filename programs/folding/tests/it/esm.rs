//! What khub computes beside what `transformers` computes, from the same weights. The fixtures are made by
//! `xtask/python/make_folding_fixtures.py`, which says what is in them; no Python runs here.

use folding::esm::{Esm2, EsmFold};
use folding::{AminoAcid, Predictor, Sequence, distance};
use nn::checkpoint::TensorFile;
use std::fs;
use std::path::{Path, PathBuf};

const SEQUENCE: &str = "MKTAYIWVGDNLRCHEFPQSXA";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/esm")
        .join(name)
}

fn expected(model: &str, name: &str) -> Vec<f32> {
    let file = TensorFile::open(&fixture(model).join("expected.safetensors")).unwrap();
    let mut values = vec![0.0; file.shape(name).unwrap().iter().product()];
    file.read(name, &mut values).unwrap();
    values
}

/// The largest difference is below 1e-4 of the largest value.
#[track_caller]
fn same(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let most = theirs.iter().fold(0f32, |most, x| most.max(x.abs()));
    let off = ours
        .iter()
        .zip(theirs)
        .fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    assert!(off <= 1e-4 * most, "{what}: {off} of {most}");
}

fn sequence() -> Sequence {
    SEQUENCE.parse().unwrap()
}

#[test]
fn esm_2_says_what_transformers_says() {
    let model = Esm2::load(&fixture("esm2")).unwrap();
    let tokens = Esm2::tokens(&sequence());
    same(
        "state",
        &model.last_state(&tokens).unwrap(),
        &expected("esm2", "last_hidden_state"),
    );
    same(
        "logits",
        &model.logits(&tokens).unwrap(),
        &expected("esm2", "logits"),
    );
    let contacts = model.contacts(&sequence()).unwrap();
    let rows: Vec<f32> = (0..contacts.side())
        .flat_map(|i| contacts.row(i))
        .copied()
        .collect();
    same("contacts", &rows, &expected("esm2", "contacts"));
    assert!(model.logits(&[99]).unwrap_err().to_string().contains("token 99"));
}

#[test]
fn esmfold_folds_as_transformers_does() {
    let model = EsmFold::load(&fixture("esmfold")).unwrap();
    let sequence = sequence();
    let folded = model.fold(&sequence).unwrap();
    same(
        "distances",
        &folded.distances,
        &expected("esmfold", "distogram_logits"),
    );
    same("lDDT", &folded.lddt, &expected("esmfold", "plddt"));
    same("TM-score", &[folded.tm_score], &expected("esmfold", "ptm"));
    let errors: Vec<f32> = (0..sequence.len())
        .flat_map(|i| folded.errors.row(i))
        .copied()
        .collect();
    same("errors", &errors, &expected("esmfold", "error"));
    let theirs = expected("esmfold", "backbone");
    for (i, kind) in sequence.residues.iter().enumerate() {
        // An unknown residue has no atoms there, and a glycine no CB.
        let atoms = match kind {
            AminoAcid::Unknown => continue,
            AminoAcid::Gly => 4,
            _ => 5,
        };
        for atom in 0..atoms {
            let at = &theirs[(i * 5 + atom) * 3..][..3];
            let off = distance(folded.atoms[i][atom], [at[0], at[1], at[2]]);
            assert!(off < 1e-3, "atom {atom} of residue {i} is off by {off} A");
        }
    }
    let predicted = &model.predict(&[sequence.clone(), "".parse().unwrap()]);
    assert_eq!(
        (&predicted[0].atoms, predicted[1].atoms.len()),
        (&folded.atoms, 0)
    );
    let contacts = predicted[0].contacts.as_ref().unwrap();
    assert!((0.0..=1.0).contains(&contacts.at(2, 9)) && contacts.at(2, 9) == contacts.at(9, 2));
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let load = |config: &str| {
        fs::write(dir.path().join("config.json"), config).unwrap();
        EsmFold::load(dir.path()).unwrap_err().to_string()
    };
    let config = fs::read_to_string(fixture("esmfold").join("config.json")).unwrap();
    assert!(load(&config).contains("model.safetensors"), "no weights");
    fs::copy(
        fixture("esmfold").join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    for (from, to, named) in [
        ("\"rotary\"", "\"absolute\"", "position_embedding_type"),
        ("\"model_type\": \"esm\"", "\"model_type\": \"bert\"", "bert"),
        (
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 0",
            "num_attention_heads",
        ),
        (
            "\"sequence_head_width\": 8",
            "\"sequence_head_width\": 7",
            "sequence_head_width",
        ),
        (
            "\"intermediate_size\": 40",
            "\"intermediate_size\": 41",
            "should be [41, 24]",
        ),
        ("\"num_blocks\": 2", "\"num_blocks\": 3", "trunk.blocks.2"),
        ("\"vocab_size\": 33", "\"vocab_size\": \"x\"", "config.json"),
    ] {
        assert!(config.contains(from), "{from}");
        let error = load(&config.replacen(from, to, 1));
        assert!(error.contains(named), "{error}");
    }
    let language = EsmFold::load(&fixture("esm2")).unwrap_err().to_string();
    assert!(language.contains("language model"), "{language}");
}
