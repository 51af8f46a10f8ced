//! Real processes, killed in the middle of a run: a site, and the hub itself.

use crate::run::{Run, put};
use api::{Client, JobView};
use consortium::{JobSpec, Label, Phase, Presence, RoundSpec, SiteId};
use language::{Corpus, Limits};
use std::path::Path;

#[test]
fn the_run_goes_on_without_a_killed_site_which_rejoins() {
    let run = start(150, 1);
    let (hangang, _namsan) = (run.site("hangang-1"), run.site("namsan-1"));
    run.until(|view| view.committed >= 2);
    hangang.kill();
    let lost = run.until(|view| presence(view, "hangang-1") == Presence::Lost);
    // The other goes on alone.
    run.until(|view| view.committed >= lost.committed + 2);
    let _hangang = run.site("hangang-1");
    let site: SiteId = "hangang-1".parse().unwrap();
    let back = run.until(|view| {
        let since = view.job.rounds.iter().skip(lost.committed as usize + 1);
        since.clone().any(|round| round.updates.contains_key(&site))
    });
    assert_eq!(back.job.members[&site].attempt, 2);
    let done = run.until(|view| view.job.phase == Phase::Done);
    assert!(done.job.rounds.iter().any(|round| round.updates.len() == 1));
    run.check(&done, 2);
}

#[test]
fn the_run_waits_for_a_killed_site_that_it_needs() {
    let run = start(6, 2);
    let (hangang, _namsan) = (run.site("hangang-1"), run.site("namsan-1"));
    run.until(|view| view.committed >= 2);
    hangang.kill();
    run.until(|view| presence(view, "hangang-1") == Presence::Lost);
    let _hangang = run.site("hangang-1");
    let done = run.until(|view| view.job.phase == Phase::Done);
    assert!(done.job.rounds.iter().all(|round| round.updates.len() == 2));
    run.check(&done, 2);
}

#[test]
fn a_killed_hub_has_lost_nothing() {
    let mut run = start(6, 2);
    let _sites = (run.site("hangang-1"), run.site("namsan-1"));
    let before = run.until(|view| view.committed >= 2);
    run.restart_hub();
    let after = run.member.job(run.job).unwrap();
    assert!(after.committed >= before.committed, "what was told is there");
    let done = run.until(|view| view.job.phase == Phase::Done);
    run.check(&done, 2);
}

fn presence(view: &JobView, site: &str) -> Presence {
    view.job.members[&site.parse::<SiteId>().unwrap()].presence
}

/// A job of `rounds` rounds of a tiny model, each closed by `quorum` updates.
fn start(rounds: u32, quorum: u32) -> Run {
    Run::start(|member, folder| spec(member, folder, rounds, quorum))
}

pub(crate) fn spec(member: &Client, folder: &Path, rounds: u32, quorum: u32) -> JobSpec {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let limits = Limits {
        train_bytes: 60_000,
        valid_bytes: 4_000,
    };
    let corpus = Corpus::from_text("the primer", language::PRIMER, limits).unwrap();
    language::prepare(&corpus, 512, &data, &mut |_| {}).unwrap();
    let inputs = ["tokenizer.json", "train.tokens", "valid.tokens"];
    let inputs = inputs.map(|name| (name.to_owned(), put(member, &data, name)));
    JobSpec {
        name: "tiny".into(),
        project: "korean-reviews".parse().unwrap(),
        program: "language".into(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 10,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: inputs.into(),
        rounds: RoundSpec {
            count: rounds,
            samples: 64,
            quorum,
            grace_seconds: 60,
            ..RoundSpec::default()
        },
        settings: serde_json::json!({
            "width": 32, "layers": 1, "heads": 2, "seq": 32, "batch": 8, "tied": true,
            "outer": { "learning_rate": 0.7, "momentum": 0.5 },
        }),
    }
}
