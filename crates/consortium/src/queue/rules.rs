//! What a queue goes by: the order of those who wait, and who may be asked to stop for them.

use super::share::ONE;

/// How a queue decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who goes first.
    pub order: Order,
    /// After this time a use counts half.
    pub half_life_ms: u64,
    /// Whether running jobs may be stopped for waiting ones, and when.
    pub preemption: Option<Preemption>,
}

/// Who goes first. In each of them the first that can't start has its start reserved, and others may go
/// before it that don't delay that start (EASY backfill).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// By time of submission.
    Arrival,
    /// By a sum of weighted factors, each from 0 to 1: age, fair share, size.
    Multifactor(Weights),
    /// The organisation that holds the least for its weight, in it the project that holds the least, in that
    /// the job that has had the least, by levels.
    Fair(Levels),
}

/// The weights of the multifactor formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// Of the time waited.
    pub age: u64,
    /// Of 2^(-use/share).
    pub fair_share: u64,
    /// Of the job's part of all GPUs.
    pub size: u64,
    /// The time after which age counts no more.
    pub most_age_ms: u64,
}

/// How much a job may have had to be on a level: below the first bound it is on level 0, and so on. On a level
/// the oldest goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// GPU-milliseconds, ascending.
    pub bounds: Vec<u64>,
    /// Whoever has waited this long goes up a level, and another one each time.
    pub patience_ms: u64,
}

/// When running work may be stopped for waiting work; it is requeued and goes on from where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preemption {
    /// Nothing is stopped that has not run this long since its start; after it was stopped once, twice as
    /// long, and so on.
    pub min_run_ms: u64,
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

impl Rules {
    /// First come, first served, with backfill.
    pub fn fcfs() -> Self {
        Self {
            order: Order::Arrival,
            half_life_ms: 7 * DAY,
            preemption: None,
        }
    }

    /// The multifactor formula at the weights that its manual gives as an example.
    pub fn multifactor() -> Self {
        Self {
            order: Order::Multifactor(Weights {
                age: 1_000,
                fair_share: 10_000,
                size: 1_000,
                most_age_ms: 14 * DAY,
            }),
            half_life_ms: 14 * DAY,
            preemption: None,
        }
    }

    /// What a hub goes by.
    pub fn fair() -> Self {
        Self {
            order: Order::Fair(Levels {
                bounds: vec![HOUR, 8 * HOUR, 64 * HOUR],
                patience_ms: 7 * DAY,
            }),
            half_life_ms: 7 * DAY,
            preemption: Some(Preemption { min_run_ms: HOUR }),
        }
    }

    /// The level of a job that has had so many GPU-milliseconds.
    pub(super) fn level(&self, attained: u128) -> u8 {
        match &self.order {
            Order::Fair(levels) => {
                let below = |bound: &&u64| u128::from(**bound) <= attained;
                levels.bounds.iter().take(250).filter(below).count() as u8
            }
            Order::Arrival | Order::Multifactor(_) => 0,
        }
    }
}

impl Weights {
    /// The formula; `factor` is the fair-share factor as a part of [`ONE`].
    pub(super) fn priority(&self, waited_ms: u64, factor: u64, gpus: u64, all: u64) -> u64 {
        let age = u128::from(waited_ms.min(self.most_age_ms)) * u128::from(ONE)
            / u128::from(self.most_age_ms.max(1));
        let size = u128::from(gpus) * u128::from(ONE) / u128::from(all.max(1));
        let sum = u128::from(self.age) * age
            + u128::from(self.fair_share) * u128::from(factor)
            + u128::from(self.size) * size;
        u64::try_from(sum >> 12).unwrap_or(u64::MAX)
    }
}
