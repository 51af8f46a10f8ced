//! A private run of real processes: three sites come to the same weights, and nobody has seen an update.

use crate::kill::spec;
use crate::run::Run;
use consortium::{ArtifactId, Clipping, CodecSpec, JobSpec, Label, Mode, Phase, Presence, RoundSpec};
use std::io::Read;

/// A job of three sites, all of them needed.
fn start(rounds: u32, codec: CodecSpec, mode: Option<Mode>, width: u32) -> Run {
    Run::start(|member, folder| {
        let spec = spec(member, folder, rounds, 3);
        let mut settings = spec.settings;
        settings["width"] = width.into();
        JobSpec {
            label: Label::Open,
            sites: 3,
            rounds: RoundSpec {
                codec,
                overlap: 1,
                fragments: 2,
                mode,
                ..spec.rounds
            },
            settings,
            ..spec
        }
    })
}

fn private() -> Option<Mode> {
    Some(Mode::Private(Clipping::default()))
}

#[test]
fn three_sites_train_together_and_their_updates_stay_under_masks() {
    let run = start(5, CodecSpec::Int8, private(), 32);
    let (hangang, _others) = (run.site("hangang-1"), [run.site("namsan-1"), run.site("fjord-1")]);
    run.until(|view| view.committed >= 2);
    hangang.kill();
    let site = "hangang-1".parse().unwrap();
    run.until(|view| view.job.members[&site].presence == Presence::Lost);
    let _hangang = run.site("hangang-1");
    let done = run.until(|view| view.job.phase == Phase::Done);
    run.check(&done, 3);
    let rounds = done.job.rounds.iter();
    let sums = rounds.filter(|round| !round.updates.is_empty());
    let mut seen = 0;
    for round in sums {
        assert!(round.updates.len() == 3 && round.unmasking.is_some());
        assert_eq!(round.keys.len(), 3);
        for update in round.updates.values() {
            let id = ArtifactId {
                project: done.job.spec.project.clone(),
                digest: update.digest,
            };
            let mut bytes = Vec::new();
            run.member.fetch(&id).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(&bytes[..8], b"KHUBMSK1");
            // What training changes is small, so its upper bytes would be 0 or 255; under masks they are anything.
            let upper = bytes[17..].iter().skip(1).step_by(2);
            let small = upper.clone().filter(|byte| matches!(byte, 0 | 255)).count();
            assert!(small < upper.count() / 50, "{small} of them");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} updates");
}

/// `docs/cross-site.md` quotes what it prints.
#[test]
fn masks_cost_little_loss() {
    let bits_per_byte = |codec, mode: Option<Mode>| {
        let what = mode.as_ref().map_or("in the clear", Mode::name);
        let run = start(16, codec, mode, 64);
        let _sites = ["hangang-1", "namsan-1", "fjord-1"].map(|name| run.site(name));
        let done = run.until(|view| view.job.phase == Phase::Done);
        let texts = done.job.outputs.iter().map(|output| {
            let mut bytes = Vec::new();
            run.member.fetch(output).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut reports = texts.filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let last = reports
            .find_map(|report| report["bits_per_byte_last"].as_f64())
            .unwrap();
        println!("{codec} {what}: {last:.4} bits per byte");
        last
    };
    for (codec, bar) in [(CodecSpec::Int8, 0.002), (CodecSpec::Int4, 0.01)] {
        let (clear, masked) = (bits_per_byte(codec, None), bits_per_byte(codec, private()));
        assert!(
            (masked / clear - 1.0).abs() < bar,
            "{codec}: {clear} and {masked}"
        );
    }
}
