//! A private run of real processes: three sites come to the same weights, and nobody has seen an update.

use crate::kill::spec;
use crate::run::Run;
use consortium::{ArtifactId, Clipping, CodecSpec, JobSpec, Label, Mode, Phase, Presence, RoundSpec};
use std::io::Read;

#[test]
fn three_sites_train_together_and_their_updates_stay_under_masks() {
    let run = Run::start(|member, folder| {
        let spec = spec(member, folder, 5, 3);
        JobSpec {
            label: Label::Open,
            sites: 3,
            rounds: RoundSpec {
                codec: CodecSpec::Int8,
                overlap: 1,
                fragments: 2,
                mode: Some(Mode::Private(Clipping::default())),
                ..spec.rounds
            },
            ..spec
        }
    });
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
