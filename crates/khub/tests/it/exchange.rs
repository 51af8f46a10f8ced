//! Real processes that hand each other what they share, and the hub only what nobody has.

use crate::kill::spec;
use crate::run::Run;
use consortium::{JobSpec, Label, Phase, Presence, RoundSpec};

#[test]
fn sites_of_a_job_have_updates_from_each_other_and_else_from_the_hub() {
    let run = Run::start(|member, folder| {
        let spec = spec(member, folder, 6, 3);
        JobSpec {
            label: Label::Open,
            sites: 3,
            rounds: RoundSpec {
                overlap: 1,
                ..spec.rounds
            },
            ..spec
        }
    });
    let serves = ["--serve", "127.0.0.1:0", "--rate", "1000", "--rate", "hub=1000"];
    let (_namsan, mut namsan_notes) = run.site_noting("namsan-1", &serves);
    let hangang = run.site_with("hangang-1", &serves);
    // It asks and is never asked.
    let (_fjord, mut fjord_notes) = run.site_noting("fjord-1", &[]);
    run.until(|view| view.committed >= 2);
    hangang.kill();
    let site = "hangang-1".parse().unwrap();
    run.until(|view| view.job.members[&site].presence == Presence::Lost);
    // At another port, which the others hear of.
    let _hangang = run.site_with("hangang-1", &serves);
    let done = run.until(|view| view.job.phase == Phase::Done);
    run.check(&done, 3);

    let traffic = |notes: &mut dyn Iterator<Item = std::io::Result<String>>| {
        let line = notes
            .map(Result::unwrap)
            .find(|line| line.contains("came from other sites"));
        let numbers = line.unwrap();
        let numbers = numbers
            .split_whitespace()
            .filter_map(|word| word.parse::<f64>().ok());
        numbers.collect::<Vec<_>>()
    };
    let fjord = traffic(&mut fjord_notes);
    assert!(
        fjord[0] > 0.0 && fjord[1] == 0.0,
        "it asks and isn't asked: {fjord:?}"
    );
    let namsan = traffic(&mut namsan_notes);
    assert!(namsan[0] > 0.0 && namsan[1] > 0.0, "{namsan:?}");
}

#[test]
fn a_site_that_serves_every_address_has_to_say_by_which_it_is_reached() {
    let run = Run::start(|member, folder| spec(member, folder, 1, 1));
    let (_site, mut notes) = run.site_noting("namsan-1", &["--serve", "0.0.0.0:0"]);
    let error = notes.find(|line| line.as_ref().is_ok_and(|line| line.contains("every address")));
    assert!(error.is_some());
}
