//! Hunts the rules with random commands of random actors: what honest sites do, mixed with stale, forged and
//! absurd requests, and with a clock that jumps. After each command everything that must always hold is
//! checked. A failure prints its seed and what was asked, so that it can be told again.

mod asked;
mod called;
mod holds;
mod invited;
mod owed;

use crate::world::{World, output};
use consortium::{
    Actor, Command, Event, JobId, Label, Month, Phase, Rejection, Request, Round, State, Time, explain,
};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 360;
const STEPS: usize = 200;

#[test]
fn whatever_is_asked_the_rules_hold() {
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        for _ in 0..STEPS {
            story.step();
        }
        story.end(&mut seen);
    }
    // A hunt that never gets anywhere proves nothing.
    for what in [
        "done",
        "failed",
        "cancelled",
        "queued",
        "running",
        "finishing",
        "Diverged",
        "Lost",
        "Kept",
        "RoundClosed",
        "returned",
        "Metered",
        "Remembered",
        "PolicyAdopted",
        "Granted",
        "extended",
        "overlapping",
        "Checkpointed",
        "Reset",
        "outvoted",
        "HeldIdle",
        "more than count",
        "given up",
        "Inspected",
        "rejected",
        "scaled",
        "StruckOut",
        "KeyTold",
        "Unmasked",
        "taken back unseen",
    ] {
        let times = seen.get(what).copied().unwrap_or(0);
        assert!(times >= 10, "{what} was seen {times} times only: {seen:?}");
    }
}

// ---- dice ------------------------------------------------------------------------------------------------

/// The same seed, the same story, on any machine (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.roll() % most.max(1)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("an index of a slice")].clone()
    }

    /// Mostly what is plausible, sometimes a number at the edge of its type.
    fn number(&mut self, plausible: u64) -> u64 {
        if self.one_in(12) {
            return self.pick(&[0, 1, u64::from(u32::MAX), i64::MAX as u64, u64::MAX - 1, u64::MAX]);
        }
        self.below(plausible)
    }

    fn small(&mut self, plausible: u64) -> u32 {
        u32::try_from(self.number(plausible)).unwrap_or(u32::MAX)
    }

    fn amount(&mut self, plausible: u64) -> i64 {
        if self.one_in(12) {
            return self.pick(&[i64::MIN, -1, i64::MAX]);
        }
        i64::try_from(self.number(plausible)).unwrap_or(i64::MAX)
    }
}

// ---- a story ---------------------------------------------------------------------------------------------

struct Story {
    seed: u64,
    dice: Dice,
    world: World,
    /// The same events, read back from JSON and applied to another state.
    twin: State,
    told: usize,
    /// Closed rounds as they were when they closed.
    closed: BTreeMap<(JobId, u32), Round>,
    asked: Vec<String>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut story = Self {
            seed,
            dice: Dice(seed),
            world: World::founded(),
            twin: State::default(),
            told: 0,
            closed: BTreeMap::new(),
            asked: Vec::new(),
        };
        story.world.register("raw", Label::Open, &[]);
        story
            .world
            .register("tokens", Label::Open, &[output("raw").id.digest]);
        story.check();
        story
    }

    fn step(&mut self) {
        let (actor, command) = if self.dice.one_in(3) {
            self.anything()
        } else {
            self.honest()
        };
        self.ask(actor, command);
    }

    /// Asks something, and looks whether everything holds.
    fn ask(&mut self, actor: Actor, command: Command) {
        let mut request = Request::new(actor, command);
        if self.dice.one_in(6) {
            request = request.keyed(self.dice.pick(&["red", "green", "blue"]));
        }
        if self.dice.one_in(4) {
            self.turn_the_clock();
        }
        self.asked.push(format!(
            "{} {}: {:?}",
            self.world.now.0, request.actor, request.command
        ));
        let asked = self.world.request_only(&request);
        if let Err(refusal) = &asked {
            assert!(!refusal.message.is_empty());
        }
        self.check();
        // Requests that come together are decided before the hub ticks.
        if !self.dice.one_in(4) {
            self.world.tick();
            self.check();
            self.check_disputes();
        }
    }

    fn turn_the_clock(&mut self) {
        let now = self.world.now;
        let ahead = self
            .dice
            .pick(&[10, 1_000, 1_000, 31_000, 60_000, 60_000, 4_000_000]);
        self.world.now = match self.dice.below(10) {
            0 => Time(now.0.saturating_sub(self.dice.below(5_000))),
            _ => now.plus(self.dice.below(ahead)),
        };
    }

    fn end(mut self, seen: &mut BTreeMap<String, usize>) {
        self.world.tick();
        self.check();
        let json = serde_json::to_string(&self.world.state).expect("a state is plain data");
        assert!(serde_json::from_str::<State>(&json).expect("it was just written") == self.world.state);
        let mut count = |what: &str| *seen.entry(what.to_owned()).or_insert(0) += 1;
        for job in self.world.state.jobs.values() {
            assert!(!explain(&self.world.state, job, self.world.now).summary.is_empty());
            count(match job.phase {
                Phase::Queued => "queued",
                Phase::Running => "running",
                Phase::Finishing => "finishing",
                Phase::Stopping { .. } => "stopping",
                Phase::Done => "done",
                Phase::Failed { .. } => "failed",
                Phase::Cancelled => "cancelled",
            });
        }
        for job in self.world.state.jobs.values() {
            let more = job.rounds.iter().filter(|round| round.is_closed());
            for round in more.skip(job.spec.rounds.count as usize) {
                count("more than count");
                let quorum = job.spec.rounds.quorum_of(round.number, round.members.len());
                if round.updates.len() < quorum {
                    count("given up");
                }
            }
        }
        let this = Month::of(self.world.now).year();
        for of in self.world.state.fiscal_years() {
            if of.is_due(this) {
                count("over");
            }
        }
        let mut opened = BTreeSet::new();
        for (event, _) in &self.world.log {
            let name = match event {
                Event::Call(inner) => format!("{inner:?}"),
                Event::Award(inner) => format!("{inner:?}"),
                Event::Money(inner) => format!("{inner:?}"),
                Event::Invitation(inner) => format!("{inner:?}"),
                Event::People(inner) => format!("{inner:?}"),
                other => format!("{other:?}"),
            };
            count(name.split([' ', '(']).next().unwrap_or_default());
            if let Event::RoundClosed { scales, rejected, .. } = event {
                scales.keys().for_each(|_| count("scaled"));
                rejected.keys().for_each(|_| count("rejected"));
                let unseen = |why: &&Rejection| matches!(why, Rejection::Few | Rejection::Masked);
                rejected
                    .values()
                    .filter(unseen)
                    .for_each(|_| count("taken back unseen"));
            }
            match event {
                Event::RoundClosed { returned, .. } if !returned.is_empty() => count("returned"),
                Event::RoundOpened { job, round, .. } if !opened.insert((*job, *round)) => count("extended"),
                Event::RoundOpened { job, .. } if self.world.job(*job).spec.rounds.overlap > 0 => {
                    count("overlapping");
                }
                Event::Diverged { job, .. } if self.world.job(*job).members.len() > 2 => count("outvoted"),
                _ => {}
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "a failure in a story is told with the story")]
impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, asked:\n{}", self.seed, self.asked.join("\n"));
        }
    }
}
