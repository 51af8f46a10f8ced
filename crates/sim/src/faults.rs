//! What goes wrong, and how often. Every story draws which faults it has and how many: some have one kind in
//! masses, some all of them, and some none.

use crate::dice::Dice;
use crate::stage::{Millis, Net};

/// Something that goes wrong at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A site's process is killed.
    KillSite,
    /// A site's machine loses power, and what was not synced with it.
    CutSitePower,
    /// A site's program is killed.
    KillProgram,
    /// The hub's process is killed.
    KillHub,
    /// The hub's machine loses power.
    CutHubPower,
    /// A site is cut off for a time, in one direction or both.
    CutOff,
    /// Every message is slow for a time.
    SlowNet,
    /// The hub's disk is slow for a time.
    SlowHub,
    /// A site's disk is slow for a time.
    SlowSite,
    /// The hub's clock jumps.
    Jump,
    /// A site asks for an artifact that it has no business with.
    Pry,
    /// The researcher cancels a job.
    Cancel,
    /// The open data set turns out to be restricted.
    Restrict,
}

pub(crate) const ALL: [Fault; 13] = [
    Fault::KillSite,
    Fault::CutSitePower,
    Fault::KillProgram,
    Fault::KillHub,
    Fault::CutHubPower,
    Fault::CutOff,
    Fault::SlowNet,
    Fault::SlowHub,
    Fault::SlowSite,
    Fault::Jump,
    Fault::Pry,
    Fault::Cancel,
    Fault::Restrict,
];

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillSite => "site killed",
            Self::CutSitePower => "site without power",
            Self::KillProgram => "program killed",
            Self::KillHub => "hub killed",
            Self::CutHubPower => "hub without power",
            Self::CutOff => "site cut off",
            Self::SlowNet => "slow network",
            Self::SlowHub => "slow disk at the hub",
            Self::SlowSite => "slow disk at a site",
            Self::Jump => "clock jumps",
            Self::Pry => "prying",
            Self::Cancel => "cancelled",
            Self::Restrict => "restricted late",
        }
    }
}

/// The faults of one story.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Each as often as it is likely.
    kinds: Vec<Fault>,
    /// The mean time between two, and when they stop.
    every: Millis,
    pub(crate) until: Millis,
    pub(crate) net: Net,
}

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut kinds = Vec::new();
        if !dice.one_in(20) {
            for fault in ALL {
                // What changes the story's end is rare.
                let times = if matches!(fault, Fault::Cancel | Fault::Restrict) {
                    u64::from(dice.one_in(8))
                } else {
                    dice.below(7).saturating_sub(2)
                };
                kinds.extend((0..times).map(|_| fault));
            }
        }
        let mut per_mille = |most: u64| if dice.one_in(3) { dice.below(most) } else { 0 };
        let (lost, twice, late) = (per_mille(60), per_mille(100), per_mille(60));
        let least = dice.between(1, 30);
        Self {
            kinds,
            every: dice.between(1_000, 15_000),
            until: dice.between(30_000, 120_000),
            net: Net {
                latency: (least, least + dice.below(100)),
                lost,
                twice,
                late,
                ..Net::default()
            },
        }
    }

    /// When the next fault comes, if another one does.
    pub(crate) fn next(&self, now: Millis, dice: &mut Dice) -> Option<Millis> {
        let delay = dice.between(1, 2 * self.every);
        (!self.kinds.is_empty() && now + delay < self.until).then_some(delay)
    }

    pub(crate) fn pick(&self, dice: &mut Dice) -> Fault {
        dice.pick(&self.kinds)
    }
}
