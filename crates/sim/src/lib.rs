//! A seeded simulator of cross-site training. One thread plays a whole consortium: the hub's rules and desk,
//! every site's machine, the codec and the outer step are the product's own; clock, network, disks and a small
//! program that trains are simulated, and things go wrong in them: crashes, lost power, partitions, messages
//! that are late, lost or come twice, slow disks, clocks that jump.
//!
//! ```
//! let told = sim::run(7).map_err(|failure| failure.to_string())?;
//! assert!(told.rounds > 0);
//! assert_eq!(told.schedule, sim::run(7).map_err(|failure| failure.to_string())?.schedule);
//! # Ok::<(), String>(())
//! ```
//!
//! What must hold in every story stands in `holds.rs`. A story that breaks it is a [`Failure`], which is a
//! seed and a commit: the same seed tells the same story again. `cargo xtask sim --seeds 10000` tells many.
//!
//! `stage.rs` is time and network, `hub.rs` and `place.rs` are the hub and a site around the product's
//! machines, `trainer.rs` is the program, `faults.rs` what goes wrong, `foul.rs` a site that does harm, `world.rs` the
//! loop.

mod bug;
mod cast;
mod dice;
mod disk;
mod faults;
mod foul;
mod holds;
mod hub;
mod inspected;
mod masked;
mod place;
mod private;
mod stage;
mod trainer;
mod world;

pub use bug::Bug;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use world::World;

/// A story that went well.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    /// What it was drawn from.
    pub seed: u64,
    /// How long it took, in simulated time.
    pub took: Duration,
    /// Events on the stage.
    pub events: u64,
    /// Records in the hub's log.
    pub records: usize,
    /// Jobs that ended.
    pub jobs: usize,
    /// Rounds that were committed.
    pub rounds: usize,
    /// Rounds whose updates are written in another codec than those of the round before.
    pub changes: usize,
    /// Spoiled updates that came in where updates are inspected and more than half of the sites are honest.
    pub spoiled: u64,
    /// Those of them that were rejected.
    pub rejected: u64,
    /// Updates of honest sites that would have done harm, and were rejected.
    pub stale: u64,
    /// Updates that counted for less than all of it.
    pub scaled: u64,
    /// Rounds of private jobs whose updates were summed up unseen.
    pub sums: u64,
    /// Updates that came and were left out of a sum, because their sites were gone.
    pub gone: u64,
    /// Files that sites had from each other.
    pub handed: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<&'static str, u64>,
    /// Stands for all that happened and when: the same for the same seed and commit.
    pub schedule: u64,
}

/// Something that must hold did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// The story that shows it.
    pub seed: u64,
    /// When, in simulated time.
    pub at: Duration,
    /// What is wrong.
    pub why: String,
    /// What happened before it.
    pub last: Vec<String>,
}

/// Tells the story of a seed.
pub fn run(seed: u64) -> Result<Told, Failure> {
    run_with(seed, None)
}

/// The same with a defect on purpose.
pub fn run_with(seed: u64, bug: Option<Bug>) -> Result<Told, Failure> {
    let told = World::new(seed, false, bug).run();
    // Stories are kept as text only where somebody will read it; the same seed tells the same one.
    told.or_else(|_| World::new(seed, true, bug).run())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "after {:.3} simulated seconds: {}",
            self.at.as_secs_f64(),
            self.why
        )?;
        write!(f, "seed {}, commit {}", self.seed, commit())
    }
}

/// The commit of the tree that runs, as git tells it.
fn commit() -> String {
    let git = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
