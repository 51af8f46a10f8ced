//! Stories that must go well, and defects that must be found.

use sim::{Bug, run, run_with};
use std::collections::BTreeMap;

/// Stories in CI: 300, and as many more as it takes until the rarest fault has come often enough. `cargo xtask sim` tells as
/// many as you like.
const SEEDS: u64 = 420;

#[test]
fn more_than_three_hundred_stories_go_well() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let stories = std::thread::scope(|scope| {
        let tell = |first: u64| {
            move || {
                (first..SEEDS)
                    .step_by(threads as usize)
                    .map(run)
                    .collect::<Vec<_>>()
            }
        };
        let handles: Vec<_> = (0..threads).map(|first| scope.spawn(tell(first))).collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap())
            .collect::<Vec<_>>()
    });
    let mut faults = BTreeMap::new();
    let (mut told, mut rounds, mut changes) = (0, 0, 0);
    let (mut spoiled, mut rejected, mut stale, mut scaled) = (0, 0, 0, 0);
    let (mut sums, mut handed) = (0, 0);
    for story in stories {
        let story = story.unwrap_or_else(|failure| panic!("{failure}"));
        told += 1;
        rounds += story.rounds;
        changes += story.changes;
        spoiled += story.spoiled;
        rejected += story.rejected;
        stale += story.stale;
        scaled += story.scaled;
        sums += story.sums;
        handed += story.handed;
        for (fault, times) in story.faults {
            *faults.entry(fault).or_insert(0) += times;
        }
    }
    assert_eq!(told, SEEDS);
    assert!(rounds > 600, "{rounds} rounds");
    assert!(changes > 60, "the codec changed {changes} times");
    // One counts where too few honest sites have told in time, or if it does too little harm.
    assert!(
        rejected >= 25 && 2 * rejected >= spoiled && 100 * stale < rounds as u64 && scaled > 100,
        "{rejected} of {spoiled} spoiled updates rejected, {stale} of honest sites, {scaled} scaled"
    );
    assert!(sums > 80, "{sums} sums of private rounds");
    assert!(handed > 1_000, "sites had {handed} files from each other");
    // A story in which nothing goes wrong proves little.
    assert!(
        faults.len() == 13 && faults.values().all(|times| *times >= 10),
        "{faults:?}"
    );
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_seed_another() {
    let told = |seed| run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(told(3), told(3));
    assert_ne!(told(3).schedule, told(4).schedule);
}

#[test]
fn every_defect_is_found() {
    let cases = [
        (Bug::ConfirmsBeforeCommit, "was confirmed, and after the crash"),
        (Bug::GivesAnIntervalTwice, "which is not next"),
        (Bug::ForgetsWhatCameBack, "is done with"),
        (Bug::ForgetsKeys, "is submitted twice"),
        (Bug::LetsAnyoneRead, "is restricted and was let out"),
        (Bug::NeverLosesASite, "there are jobs that go on"),
        (Bug::KeepsWhatWasSetAside, "has ended, and"),
        (Bug::ClosesARoundTwice, "which is not open"),
        (Bug::AddsInFloats, "reached"),
        (Bug::ForgetsScales, "reached"),
        (Bug::HidesARejection, "; what came is"),
        (Bug::BelievesOneInspector, "is honest, and its update is rejected"),
        (Bug::LiftsBoth, "lies bare"),
        (Bug::ForgetsAMask, "reached"),
        (Bug::HandsToAnyone, "and was handed to"),
    ];
    for (bug, expected) in cases {
        let mut failures = (0..SEEDS).filter_map(|seed| run_with(seed, Some(bug)).err());
        let found = failures.find(|failure| failure.why.contains(expected));
        let failure = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert!(!failure.last.is_empty(), "a failure tells its story");
    }
}

/// The rules know nothing of how updates are written; they choose as `sync` does.
#[test]
fn the_rules_and_the_codecs_agree_on_what_a_link_has_room_for() {
    let codecs = [
        (consortium::Codec::Fp32, sync::Codec::Fp32),
        (consortium::Codec::Int8, sync::Codec::Int8),
        (consortium::Codec::Int4, sync::Codec::Int4),
        (consortium::Codec::Sparse, sync::Codec::Sparse),
    ];
    let numbers = [0, 1, 255, 256, 257, 4_097, 80_000, 10_000_000, u64::MAX];
    for (ours, theirs) in codecs {
        for weights in numbers {
            assert_eq!(
                ours.bytes(weights),
                theirs.bytes(weights),
                "{ours}, {weights} weights"
            );
        }
    }
    let mut seen = [0; 4];
    for bits_per_s in numbers {
        for round_ms in numbers {
            for weights in numbers {
                for sites in [0, 1, 2, 3, 9] {
                    let ours = consortium::Codec::for_link(&consortium::Link {
                        bits_per_s,
                        round_ms,
                        weights,
                        sites,
                    });
                    let theirs = sync::Codec::for_link(&sync::Link {
                        bits_per_s,
                        round_ms,
                        weights,
                        sites,
                    });
                    assert_eq!(ours.to_string(), theirs.to_string());
                    seen[theirs as usize] += 1;
                }
            }
        }
    }
    assert!(
        seen[0] == 0 && seen[1..].iter().all(|times| *times > 10),
        "{seen:?}"
    );
}
