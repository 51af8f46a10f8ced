//! Folding as a job: two sites, each with structures that it keeps, and a library that all may read.

use crate::run::{Run, put};
use api::Client;
use consortium::{ArtifactKind, JobSpec, Label, Phase, Programme, RoundSpec};
use folding::measure::Dihedrals;
use folding::net::{Library, Weights};
use folding::{AminoAcid, Chain, Prediction, Random, Sequence, backbone, pdb};
use std::fs;
use std::path::Path;

#[test]
fn sites_learn_from_structures_that_they_keep() {
    let run = Run::start(spec);
    let own: Vec<String> = ["hangang-1", "namsan-1"]
        .into_iter()
        .zip(1..)
        .map(|(site, seed)| {
            let folder = run.folder.path().join(format!("structures-{site}"));
            fs::create_dir(&folder).unwrap();
            for (i, chain) in chains(12, seed).iter().enumerate() {
                fs::write(folder.join(format!("{i}.pdb")), pdb(chain).unwrap()).unwrap();
            }
            format!("folding={}", folder.display())
        })
        .collect();
    let _sites = [
        run.site_with("hangang-1", &["--own", &own[0]]),
        run.site_with("namsan-1", &["--own", &own[1]]),
    ];
    let done = run.until(|view| view.job.phase == Phase::Done);
    run.check(&done, 2);

    let artifacts = run.member.artifacts(&done.job.spec.project).unwrap();
    let fetch = |kind: ArtifactKind, name: &str| {
        let found = artifacts.iter().find(|one| one.kind == kind && one.name == name);
        let path = run.folder.path().join(name);
        run.member.save(&found.expect(name).id, &path).unwrap();
        path
    };
    // What came out folds, and knows the library's structures and no others.
    let weights = Weights::load(&fetch(ArtifactKind::Model, "model.safetensors")).unwrap();
    assert_eq!(weights.library(), 14);
    let report = fs::read(fetch(ArtifactKind::Report, "report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let board = &report["board"];
    assert_eq!(
        board["judged_on"],
        done.job.spec.inputs["valid.chains"].to_string()
    );
    assert_eq!(
        (&board["rank_by"], &report["library"]),
        (&"lddt_ca".into(), &14.into())
    );
    let lddt = board["scores"]["lddt_ca"].as_f64().unwrap();
    assert!((0.1..=1.0).contains(&lddt), "{board}");
    // And it stands on the leaderboard of its project's programme.
    let board = run.member.board(Programme::Language).unwrap();
    let [ranking] = board.rankings.as_slice() else {
        panic!("{board:?}")
    };
    let [result] = ranking.results.as_slice() else {
        panic!("{board:?}")
    };
    assert_eq!((result.job, result.scores["lddt_ca"]), (Some(done.job.id), lddt));
}

fn spec(member: &Client, folder: &Path) -> JobSpec {
    let pack = |name: &str, chains: &[Chain]| {
        Library::of(chains).save(&folder.join(name)).unwrap();
        (name.to_owned(), put(member, folder, name))
    };
    JobSpec {
        name: "folds".into(),
        project: "korean-reviews".parse().unwrap(),
        program: "folding".into(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 10,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: [
            pack("library.chains", &chains(14, 3)),
            pack("valid.chains", &chains(3, 4)),
        ]
        .into(),
        rounds: RoundSpec {
            count: 3,
            samples: 8,
            quorum: 2,
            grace_seconds: 60,
            ..RoundSpec::default()
        },
        settings: serde_json::json!({
            "own": true, "held_out": 0.2,
            "shape": { "width": 16, "heads": 2, "layers": 1, "pair_width": 16, "pair_layers": 1 },
            "changes": { "piece": 20 },
            "train": { "batch": 4, "parts": 4, "warmup": 2 },
        }),
    }
}

/// Helices and strands of random residues.
fn chains(count: usize, seed: u64) -> Vec<Chain> {
    let mut random = Random::new(seed);
    let mut chain = |_| {
        let (mut residues, mut angles) = (Vec::new(), Vec::new());
        for _ in 0..24 {
            residues.push(AminoAcid::all().nth(random.below(20)).unwrap());
            let (phi, psi) = if random.below(2) == 0 {
                (-62.0, -43.0)
            } else {
                (-120.0, 135.0)
            };
            angles.push(Dihedrals {
                phi: Some(phi),
                psi: Some(psi),
                omega: Some(180.0),
            });
        }
        let prediction = Prediction {
            sequence: Sequence {
                name: String::new(),
                residues,
            },
            atoms: backbone(&angles),
            plddt: vec![0.0; angles.len()],
            pae: None,
            contacts: None,
        };
        prediction.chain()
    };
    (0..count).map(&mut chain).collect()
}
