//! `cargo xtask faults sites`: real processes, and what goes wrong between them.
//!
//! A hub and two sites, each in a network namespace of its own, train the quickstart's model three times:
//!
//! ```text
//! calm    nothing happens: what the others are compared with
//! faults  100 ms and 1 % loss; at random moments the hub or a site is killed, once a link is cut
//! slow    1 Mbit/s and 50 ms: which part of the time do the sites compute?
//! ```
//!
//! What happens when follows from the seed. After each run: it is done, both sites came to equal digests, no
//! sample counts twice, and the loss is within 1 % of the calm run's.

mod cast;
mod network;
mod relay;

use cast::{Cast, Outcome};
use network::{Link, Network};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What can go wrong.
#[derive(clap::Subcommand)]
pub(crate) enum What {
    /// Kill the hub and sites of a run, cut their links, slow them down; needs root and iproute2
    Sites(Args),
    /// Pass connections on with a delay and losses, as the kernel does where it has netem
    #[command(hide = true)]
    Relay(relay::Args),
}

/// Options of `faults sites`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What happens when follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds of each run.
    #[arg(long, default_value_t = 24)]
    rounds: u32,
    /// Samples that a site takes in a round; a multiple of 8.
    #[arg(long, default_value_t = 128)]
    samples: u32,
    /// How many updates close a round; with 1, whoever is away is not waited for, and its samples may be left over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    quorum: u32,
    /// How updates are written: fp32, int8, int4, sparse or auto.
    #[arg(long, default_value = "int4")]
    codec: String,
    /// For how many seconds a link is cut in the second run.
    #[arg(long, default_value_t = 60)]
    cut: u64,
    /// How often a process is killed in the second run.
    #[arg(long, default_value_t = 4)]
    kills: u32,
    /// Only these runs: calm, faults, slow.
    #[arg(long, value_delimiter = ',', default_value = "calm,faults,slow")]
    runs: Vec<String>,
    /// The khub to run; built in release by default.
    #[arg(long)]
    khub: Option<PathBuf>,
}

/// The runs may differ by this part of the calm one's loss.
const LOSS_BAR: f64 = 0.01;
/// Sites compute for this part of the time, at least.
const COMPUTING_BAR: f64 = 0.95;
/// A run in which no round closes for so long hangs.
const STALLED: Duration = Duration::from_secs(5 * 60);

pub(crate) fn run(root: &Path, what: &What) -> Result<(), String> {
    match what {
        What::Sites(args) => sites(root, args),
        What::Relay(args) => relay::run(args),
    }
}

fn sites(root: &Path, args: &Args) -> Result<(), String> {
    let khub = crate::bench::khub(root, args.khub.as_deref())?;
    let network = Network::build()?;
    println!("links: {}", network.described());
    let mut cast = Cast::found(&khub, root, &network)?;
    let mut calm = None;
    for name in &args.runs {
        let link = match name.as_str() {
            "calm" => Link::default(),
            "faults" => Link {
                delay_ms: 100,
                loss_percent: 1.0,
                kbit: 0,
            },
            "slow" => Link {
                delay_ms: 50,
                loss_percent: 0.0,
                kbit: 1_000,
            },
            other => return Err(format!("there is no run {other:?}: calm, faults or slow")),
        };
        let mut plan = match name.as_str() {
            "faults" => Plan::new(args),
            _ => Plan::default(),
        };
        cast.start(link)?;
        let job = cast.submit(name, args)?;
        let outcome = play(&mut cast, &job, &mut plan)?;
        cast.stop();
        report(name, &outcome);
        check(name, &outcome, calm.as_ref())?;
        if name == "calm" {
            calm = Some(outcome);
        }
    }
    println!("all bars were met");
    Ok(())
}

/// Follows a job to its end, and does what is planned as its rounds go by.
fn play(cast: &mut Cast, job: &str, plan: &mut Plan) -> Result<Outcome, String> {
    let began = Instant::now();
    let (mut committed, mut moved) = (0, began);
    loop {
        let now = cast.look(job)?;
        if let Some(outcome) = now.outcome {
            let seconds = began.elapsed().as_secs_f64();
            return cast.outcome(job, &outcome, seconds);
        }
        if now.committed != committed {
            (committed, moved) = (now.committed, Instant::now());
        }
        if moved.elapsed() > STALLED {
            return Err(format!("{job} is still at round {committed} after {STALLED:?}"));
        }
        while let Some(fault) = plan.due(now.committed) {
            println!("round {}: {fault}", now.committed);
            cast.suffer(&fault)?;
        }
        cast.keep_running()?;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn report(name: &str, outcome: &Outcome) {
    let computing: Vec<String> = outcome
        .computing
        .iter()
        .map(|(site, share)| format!("{site} {:.1} %", 100.0 * share))
        .collect();
    println!(
        "{name:7} {:6.1} s  {:.4} bits per byte  {} rounds, {} updates, {} attempts, {} resets  computing: {}",
        outcome.seconds,
        outcome.bits_per_byte,
        outcome.rounds,
        outcome.updates,
        outcome.attempts,
        outcome.resets,
        computing.join(", ")
    );
}

fn check(name: &str, outcome: &Outcome, calm: Option<&Outcome>) -> Result<(), String> {
    if let Some(calm) = calm {
        let gap = outcome.bits_per_byte / calm.bits_per_byte - 1.0;
        println!("        {:+.2} % bits per byte beside the calm run", 100.0 * gap);
        if gap > LOSS_BAR {
            return Err(format!(
                "{name}: the loss is {:.2} % above the calm run's",
                100.0 * gap
            ));
        }
    }
    let least = outcome.computing.values().copied().fold(1.0, f64::min);
    if name == "slow" && least < COMPUTING_BAR {
        return Err(format!(
            "slow: a site computed for {:.1} % of the time",
            100.0 * least
        ));
    }
    Ok(())
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The hub is killed, and started again.
    KillHub,
    /// A site is killed, and started again.
    KillSite(usize),
    /// A site's link is cut for so many seconds.
    Cut(usize, u64),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KillHub => f.write_str("kill -9 of the hub"),
            Self::KillSite(site) => write!(f, "kill -9 of site {site}"),
            Self::Cut(site, seconds) => write!(f, "the link of site {site} is cut for {seconds} s"),
        }
    }
}

/// What goes wrong, and after which round.
#[derive(Debug, Default)]
struct Plan {
    faults: Vec<(u32, Fault)>,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let mut dice = Dice(args.seed);
        let mut moment = || dice.below(u64::from(args.rounds.saturating_sub(2)).max(1)) as u32 + 1;
        let mut moments: Vec<u32> = (0..args.kills).map(|_| moment()).collect();
        let cut = moment();
        moments.sort_unstable();
        let mut faults: Vec<(u32, Fault)> = Vec::new();
        for (i, moment) in moments.into_iter().enumerate() {
            // Every process has its turn, in an order of the seed's.
            let fault = match (i as u64 + dice.below(2)) % 3 {
                0 => Fault::KillSite(0),
                1 => Fault::KillHub,
                _ => Fault::KillSite(1),
            };
            faults.push((moment, fault));
        }
        faults.push((cut, Fault::Cut(dice.below(2) as usize, args.cut)));
        faults.sort_by_key(|(moment, _)| *moment);
        Self { faults }
    }

    /// The next fault, if its round is closed.
    fn due(&mut self, committed: u32) -> Option<Fault> {
        let due = self
            .faults
            .first()
            .is_some_and(|(moment, _)| *moment <= committed);
        due.then(|| self.faults.remove(0).1)
    }
}

/// splitmix64: the same numbers from the same seed, everywhere.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let args = |seed| Args {
            seed,
            quorum: 2,
            codec: "int4".into(),
            rounds: 24,
            samples: 128,
            cut: 60,
            kills: 4,
            runs: Vec::new(),
            khub: None,
        };
        let plan = |seed| Plan::new(&args(seed)).faults;
        assert_eq!(plan(3), plan(3));
        assert!((0..9).any(|seed| plan(seed) != plan(9)));
        for seed in 0..50 {
            let faults = plan(seed);
            assert_eq!(faults.len(), 5);
            assert!(faults.is_sorted_by_key(|(moment, _)| *moment));
            assert!(faults.iter().all(|(moment, _)| (1..23).contains(moment)));
        }
    }
}
