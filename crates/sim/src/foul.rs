//! A site that means harm, or whose machines do it: its updates are none that training brings about. In all else it is
//! like the others; it may also tell lies of what it inspects.

use crate::dice::Dice;
use consortium::{JobSpec, Mode};
use std::collections::BTreeSet;
use sync::{Findings, Update, encode};

/// Where nobody is there to reject them, spoiled updates drive the model so far off that no codec takes what comes next.
/// Before that they are left as they are.
const TOO_FAR: f32 = 1e4;

#[derive(Debug, Clone)]
pub(crate) struct Foul {
    poison: Poison,
    /// Whether it tells that the others' updates do harm and its own don't.
    lies: bool,
    /// The names of the jobs that it spoils: those in which updates are inspected.
    jobs: BTreeSet<String>,
}

/// Who in a story tells lies of what it inspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lies {
    Nobody,
    This,
    Another,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// A thousand times what it was.
    Loud,
    /// The other way.
    Flipped,
    /// Some other numbers.
    Noise,
    /// Bytes that are no update.
    Garbage,
}

impl Foul {
    /// Does harm of some sort, but no garbage where somebody lies: if nobody else is there to say that it is none, it counts
    /// and the job stops.
    pub(crate) fn draw(jobs: &[JobSpec], lies: Lies, dice: &mut Dice) -> Self {
        let inspected = jobs
            .iter()
            .filter(|job| matches!(job.rounds.mode, Some(Mode::Inspected(_))));
        let all = [Poison::Loud, Poison::Flipped, Poison::Noise, Poison::Garbage];
        Self {
            poison: dice.pick(&all[..if lies == Lies::Nobody { 4 } else { 3 }]),
            lies: lies == Lies::This,
            jobs: inspected.map(|job| job.name.clone()).collect(),
        }
    }

    pub(crate) fn spoils(&self, job: &str) -> bool {
        self.jobs.contains(job)
    }

    /// What it makes of an update; asked again, the same.
    pub(crate) fn spoil(&self, update: Vec<u8>, round: u32) -> Vec<u8> {
        let Ok(honest) = Update::parse(&update) else {
            return update;
        };
        let mut changes = honest.decode();
        let mut dice = Dice::new(u64::from(round));
        let highest = changes.iter().fold(0f32, |most, x| most.max(x.abs()));
        if highest > TOO_FAR {
            return update;
        }
        match self.poison {
            Poison::Loud => changes.iter_mut().for_each(|x| *x *= 1_000.0),
            Poison::Flipped => changes.iter_mut().for_each(|x| *x = -*x),
            Poison::Noise => changes
                .iter_mut()
                .for_each(|x| *x = highest * (dice.below(201) as f32 - 100.0)),
            Poison::Garbage => return update[..update.len() / 2].to_vec(),
        }
        encode(honest.codec(), &changes, None).unwrap_or(update)
    }

    /// What it makes of its findings.
    pub(crate) fn tell(&self, site: &str, mut findings: Findings) -> Findings {
        if self.lies {
            findings.before = Some(1_000_000);
            for of in &mut findings.found {
                let own = of.site == site;
                (of.norm, of.loss) = (Some(1), Some(if own { 0 } else { i64::MAX }));
            }
        }
        findings
    }
}
