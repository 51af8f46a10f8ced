use super::session::NetError;
use super::{Changes, LONGEST, Pace, Settings, Shape, Told, Weights, train};
use crate::measure::{Dihedrals, clashes, dihedrals};
use crate::{AminoAcid, Chain, Prediction, Predictor, Random, Sequence, backbone};
use rayon::ThreadPoolBuilder;
use std::fs;
use std::path::Path;
use train::{Flow, TrainConfig};

/// Chains of helices and strands whose residues tell which is which.
fn chains(count: usize) -> Vec<Chain> {
    let mut random = Random::new(4);
    (0..count)
        .map(|i| {
            let (mut residues, mut angles) = (Vec::new(), Vec::new());
            while residues.len() < 18 + i % 7 {
                let helix = random.below(2) == 0;
                for _ in 0..6 {
                    let kinds = if helix { [0, 6, 10, 11] } else { [19, 9, 16, 18] };
                    residues.push(AminoAcid::all().nth(kinds[random.below(4)]).unwrap());
                    let (phi, psi) = if helix { (-62.0, -43.0) } else { (-120.0, 135.0) };
                    angles.push(Dihedrals {
                        phi: Some(phi),
                        psi: Some(psi),
                        omega: Some(180.0),
                    });
                }
            }
            let prediction = Prediction {
                sequence: Sequence {
                    name: format!("made{i}"),
                    residues,
                },
                atoms: backbone(&angles),
                plddt: vec![0.0; angles.len()],
                pae: None,
                contacts: None,
            };
            prediction.chain()
        })
        .collect()
}

fn settings(steps: u64) -> Settings {
    Settings {
        shape: Shape {
            width: 16,
            heads: 2,
            layers: 1,
            pair_width: 16,
            pair_layers: 1,
            triangle: 16,
            ..Shape::default()
        },
        changes: Changes {
            piece: 20,
            ..Changes::default()
        },
        train: TrainConfig {
            batch: 4,
            parts: 4,
            steps,
            warmup: 2,
            learning_rate: 1e-2,
            ..Settings::default().train
        },
        run: Pace {
            held_out: 0.2,
            evaluate_every: 4,
            save_every: 3,
            keep: 2,
        },
    }
}

fn go_on(_: &Told) -> Flow {
    Flow::GoOn
}

fn model(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_run_that_was_stopped_comes_to_the_same_bits_with_any_number_of_threads() {
    let (chains, settings) = (chains(15), settings(8));
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| dir.path().join(name);
    let whole = train(&chains, &settings, &folder("whole"), &mut go_on).unwrap();
    assert_eq!((whole.chains, whole.held_out, whole.steps), (12, 3, 8));

    let mut steps = 0;
    let stopped = train(&chains, &settings, &folder("stopped"), &mut |told| {
        steps += u64::from(matches!(told, Told::Step(..)));
        if steps == 5 { Flow::Stop } else { Flow::GoOn }
    });
    assert!(matches!(stopped, Err(NetError::Stopped(5))), "{stopped:?}");
    let threads = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let mut begun = None;
    let rest = threads.install(|| {
        train(&chains, &settings, &folder("stopped"), &mut |told| {
            if let Told::Begins { done, .. } = told {
                begun = Some(*done);
            }
            Flow::GoOn
        })
    });
    assert_eq!(begun, Some(5));
    assert_eq!(rest.unwrap().last, whole.last);
    assert!(model(&folder("whole")) == model(&folder("stopped")));

    let other = Settings {
        changes: Changes {
            hidden: 0.2,
            ..settings.changes.clone()
        },
        ..settings
    };
    let refused = train(&chains, &other, &folder("stopped"), &mut go_on).unwrap_err();
    assert!(refused.to_string().contains("other settings"), "{refused}");
}

#[test]
fn it_learns_what_there_is_to_learn_and_folds_it() {
    let chains = chains(40);
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(60);
    let mut looks = Vec::new();
    let summary = train(&chains, &settings, dir.path(), &mut |told| {
        if let Told::Looked(_, looked) = told {
            looks.push(looked.loss);
        }
        Flow::GoOn
    })
    .unwrap();
    let (first, last) = (looks[0], looks[looks.len() - 1]);
    assert!(last < 0.75 * first, "{first} to {last}");
    assert!(summary.lddt_ca > 0.6, "{}", summary.lddt_ca);
    for name in ["report.json", "metrics.jsonl", "loss.svg"] {
        assert!(dir.path().join(name).exists(), "{name}");
    }

    let weights = Weights::load(dir.path()).unwrap();
    assert_eq!(
        (weights.library(), weights.parameters()),
        (40, summary.parameters)
    );
    let sequences: Vec<Sequence> = chains.iter().take(3).map(Chain::sequence).collect();
    let together = weights.predict(&sequences);
    for (sequence, prediction) in sequences.iter().zip(&together) {
        assert_eq!(
            *prediction,
            weights.predict(std::slice::from_ref(sequence))[0],
            "alone or with others"
        );
        let chain = prediction.chain();
        assert_eq!(clashes(&chain), 0);
        for angles in dihedrals(&chain) {
            assert!(angles.omega.is_none_or(|omega| (omega.abs() - 180.0).abs() < 0.1));
        }
        let l = sequence.len();
        let (pae, contacts) = (
            prediction.pae.as_ref().unwrap(),
            prediction.contacts.as_ref().unwrap(),
        );
        for (i, j) in (0..l).flat_map(|i| (0..l).map(move |j| (i, j))) {
            assert_eq!(contacts.at(i, j), contacts.at(j, i));
            assert_eq!(pae.at(i, j) == 0.0, i == j);
        }
    }
    for letters in ["", "M", "XX"] {
        let tiny: Sequence = letters.parse().unwrap();
        assert_eq!(weights.predict(&[tiny])[0].atoms.len(), letters.len());
    }
    assert!(weights.memory(1, LONGEST) < 4 << 30);
}

#[test]
fn damaged_weights_give_an_error_that_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    train(&chains(12), &settings(1), dir.path(), &mut go_on).unwrap();
    let bytes = model(dir.path());
    let path = dir.path().join("model.safetensors");
    let mut random = Random::new(8);
    for _ in 0..60 {
        // In the header and at any place: an error or other numbers, never a panic.
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let within = if random.below(2) == 0 { 4_000 } else { bytes.len() };
            let at = random.below(within);
            damaged[at] = random.bits() as u8;
        }
        if random.below(3) == 0 {
            damaged.truncate(random.below(bytes.len()));
        }
        fs::write(&path, damaged).unwrap();
        let _ = Weights::load(&path);
    }
    let cases: [(&str, &str, &str); 3] = [
        ("\\\"width\\\":16", "\\\"width\\\":17", "width is 17"),
        ("library.kinds", "library.kindz", "no tensor library.kinds"),
        ("\\\"heads\\\":2", "\\\"heads\\\":0", "heads is 0"),
    ];
    for (from, to, expected) in cases {
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, damaged).unwrap();
        let error = Weights::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let few = train(&chains(9), &settings(1), dir.path(), &mut go_on).unwrap_err();
    assert!(few.to_string().contains("9 chains"), "{few}");
}
