//! The mode *inspected*: before a round closes, the updates that came are looked at by the sites of the job, and what
//! would harm the model doesn't count.
//!
//! ```text
//! came       the round takes no more updates
//! inspected  each site that is there tells of each update, in integers: its norm, whose bits are the same everywhere,
//!            and the held-out loss of what is agreed, without it and with it
//! judged     by these rules, from what stands in the log: so the same in any replay
//! closed     the log has what counts and by how much, and what doesn't count, with its site and the reason
//! ```
//!
//! An update is found to be bad if more than half of all inspectors say so. Inspectors are the sites that are there,
//! have an update in the round or have told of it; who says nothing says nothing against an update. So less than half
//! of them can't bring it about. An update's norm is what more than half tell, too. Of norms and tokens the lower
//! median is compared with, where there are three or more: as long as more than half of the updates are honest, it lies
//! between honest ones. With a loss, the loss that most updates come to is compared, too: where the outer momentum has carried
//! the model too far, every honest update finds it worse than it was.
//!
//! One thing can't wait for a majority: bytes that half of those who told can't read. If they counted, the sites that are there
//! could not go on. They are set aside, and speak against nobody.

use crate::{Clipping, Job, Presence, Refusal, Round, SiteId, Time, Update};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Of fewer updates nothing can be told by comparing their norms.
const FEWEST: usize = 3;
/// By how many thousandths the loss may become worse with an update that came alone: what an honest one would have come to
/// isn't known then.
const ALONE: u32 = 1_000;

/// What is done to keep a site from harming the model. Where nothing is said, each update counts as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Updates are inspected by the job's sites before they count.
    Inspected(Bounds),
    /// Nobody sees an update by itself, only what those of a round come to.
    Private(Clipping),
}

/// What an update must not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// The input whose samples each update is tried on; none looks at norms alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<String>,
    /// How many of its samples, the first ones.
    pub samples: u32,
    /// By how many thousandths the loss on them may become worse than it was and than with most of the others; of an update that
    /// came alone, it may be twice what it was.
    pub worse: u32,
    /// How many times the median its norm or its tokens may be.
    pub wild: u32,
    /// After so many rejected updates in a row its site is out of the job.
    pub strikes: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            held_out: None,
            samples: 64,
            worse: 20,
            wild: 10,
            strikes: 3,
        }
    }
}

/// A round whose updates are being inspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inspection {
    /// Since when.
    pub began: Time,
    /// What has been told, by inspector.
    pub reports: BTreeMap<SiteId, Report>,
}

/// What one site tells of a round's updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Held-out loss of what is agreed, in millionths of a nat; none if it has not been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// Of each update, by its site.
    pub found: BTreeMap<SiteId, Found>,
}

/// What one site tells of one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Its length as a vector, in billionths; none if its bytes are no update of this round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<u64>,
    /// Held-out loss with it alone, in millionths of a nat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<i64>,
}

/// How much of an update counts, in 65,536ths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
pub struct Scale(u32);

/// Why an update doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    /// Most inspectors can't read it.
    Unreadable,
    /// Few were there to tell, and half of those can't read it. That is no strike.
    Doubtful,
    /// It says it was trained on too many tokens.
    Tokens {
        /// So many.
        tokens: u64,
        /// Of the round's updates, the median.
        median: u64,
    },
    /// It is too long.
    Norm {
        /// Its norm, in billionths.
        norm: u64,
        /// Of the round's updates, the median.
        median: u64,
    },
    /// Most inspectors find that it makes the model worse.
    Loss {
        /// Held-out loss without it, as one of them tells it, in millionths of a nat.
        before: i64,
        /// And with it.
        after: i64,
    },
    /// In a private job: its site was gone when the masks were to be lifted.
    Gone,
    /// In a private job: too few came for a sum.
    Few,
    /// In a private job: too few were there to lift the masks.
    Masked,
}

impl Rejection {
    /// Whether it speaks against its site.
    pub(crate) fn is_strike(&self) -> bool {
        !matches!(self, Self::Doubtful | Self::Gone | Self::Few | Self::Masked)
    }
}

/// What comes of an inspection.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Of updates that count for less than all of it.
    pub(crate) scales: BTreeMap<SiteId, Scale>,
    pub(crate) rejected: BTreeMap<SiteId, Rejection>,
}

impl Scale {
    /// All of it.
    pub const WHOLE: Self = Self(1 << 16);

    /// What makes `norm` no longer than `median`.
    fn of(norm: u64, median: u64) -> Self {
        if norm <= median {
            return Self::WHOLE;
        }
        let part = u128::from(median) * u128::from(Self::WHOLE.0) / u128::from(norm);
        // Less than all of it, so there is room for it.
        u32::try_from(part).map_or(Self::WHOLE, Self)
    }
}

impl TryFrom<u32> for Scale {
    type Error = String;

    fn try_from(parts: u32) -> Result<Self, String> {
        if parts > Self::WHOLE.0 {
            return Err(format!("a scale of {parts}: 65536 is all of an update"));
        }
        Ok(Self(parts))
    }
}

impl From<Scale> for u32 {
    fn from(scale: Scale) -> Self {
        scale.0
    }
}

impl Mode {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inspected(_) => "inspected",
            Self::Private(_) => "private",
        }
    }
}

impl Bounds {
    /// Refuses what could judge nothing, and what no site could look at.
    pub(crate) fn check<'a>(
        &self,
        sites: u32,
        mut inputs: impl Iterator<Item = &'a String>,
    ) -> Result<(), Refusal> {
        let of = |field: &str| format!("rounds.mode.inspected.{field}");
        crate::decide::range(&of("samples"), self.samples.into(), 1, 1 << 20)?;
        crate::decide::range(&of("worse"), self.worse.into(), 0, 1_000)?;
        crate::decide::range(&of("wild"), self.wild.into(), 2, 1_000)?;
        crate::decide::range(&of("strikes"), self.strikes.into(), 1, 1_000)?;
        match &self.held_out {
            Some(held_out) if !inputs.any(|input| input == held_out) => Err(Refusal::invalid(format!(
                "{} is {held_out:?}, and the job has no such input",
                of("held_out")
            ))
            .hint("name one of the job's inputs: every site has those")),
            None if (sites as usize) < FEWEST => Err(Refusal::invalid(format!(
                "of updates of {sites} sites nothing can be told by comparing their norms"
            ))
            .hint(format!(
                "name an input in {} that they are tried on",
                of("held_out")
            ))),
            _ => Ok(()),
        }
    }
}

impl Report {
    /// Whether it tells of exactly these updates.
    pub(crate) fn is_of(&self, updates: &BTreeMap<SiteId, Update>) -> bool {
        self.found.keys().eq(updates.keys())
    }

    /// What it has against the update of `site`: the loss without it and with it. It has nothing against what is as good as
    /// what most of the others come to.
    fn against(&self, site: &SiteId, bounds: &Bounds) -> Option<(i64, i64)> {
        let (before, after) = (self.before?, self.found.get(site)?.loss?);
        let others = self.found.iter().filter(|(other, _)| *other != site);
        let mut others: Vec<i64> = others.filter_map(|(_, found)| found.loss).collect();
        others.sort_unstable();
        let most = others.get(others.len().saturating_sub(1) / 2);
        let (good, worse) = most.map_or((before, ALONE), |most| (before.max(*most), bounds.worse));
        let allowed = i128::from(good) * 1_000 + i128::from(good.unsigned_abs()) * i128::from(worse);
        (i128::from(after) * 1_000 > allowed).then_some((before, after))
    }
}

/// Who counts where there is a majority to be found.
fn inspectors<'a>(job: &'a Job, round: &Round, inspection: &Inspection) -> BTreeSet<&'a SiteId> {
    let members = job.members.iter();
    let members = members.filter(|(site, member)| {
        let takes_part = round.updates.contains_key(*site) || inspection.reports.contains_key(*site);
        member.presence != Presence::Left && (member.is_present() || takes_part)
    });
    members.map(|(site, _)| site).collect()
}

/// Whether enough has been told of `round`: by all that are there and more than half of the inspectors. After the grace
/// window one of the two is enough.
pub(crate) fn is_over(job: &Job, round: &Round, inspection: &Inspection, now: Time) -> bool {
    let told = |site: &SiteId| inspection.reports.contains_key(site);
    let inspectors = inspectors(job, round, inspection);
    let reports = inspectors.iter().filter(|site| told(site)).count();
    let most = 2 * reports > inspectors.len();
    let all = reports > 0 && job.present().all(|(site, _)| told(site));
    let grace = u64::from(job.spec.rounds.grace_seconds) * 1_000;
    let waited = now >= inspection.began.plus(grace);
    most && all || waited && (most || all)
}

/// Which updates of `round` count, and by how much.
pub(crate) fn judge(job: &Job, round: &Round, inspection: &Inspection, bounds: &Bounds) -> Judgement {
    let inspectors = inspectors(job, round, inspection);
    let reports = inspectors.iter().filter_map(|site| inspection.reports.get(*site));
    let reports: Vec<&Report> = reports.collect();
    let most = |votes: usize| 2 * votes > inspectors.len();
    let norms = round.updates.keys().filter_map(|site| {
        let told = reports.iter().filter_map(|report| report.found.get(site)?.norm);
        Some((site, told_by_most(told, most)?))
    });
    let norms: BTreeMap<&SiteId, u64> = norms.collect();
    let median_norm = median(norms.values().copied());
    let median_tokens = median(round.updates.values().map(|update| update.tokens));
    let is_wild = |value: u64, median: &u64| value > median.saturating_mul(bounds.wild.into());
    let mut judgement = Judgement::default();
    for (site, update) in &round.updates {
        let unread = |report: &&&Report| report.found.get(site).is_some_and(|found| found.norm.is_none());
        let against: Vec<(i64, i64)> = reports
            .iter()
            .filter_map(|report| report.against(site, bounds))
            .collect();
        let (norm, tokens) = (norms.get(site).copied().unwrap_or(0), update.tokens);
        let unread = reports.iter().filter(unread).count();
        let rejection = if most(unread) {
            Rejection::Unreadable
        } else if unread > 0 && 2 * unread >= reports.len() {
            Rejection::Doubtful
        } else if let Some(median) = median_tokens.filter(|median| is_wild(tokens, median)) {
            Rejection::Tokens { tokens, median }
        } else if let Some(median) = median_norm.filter(|median| is_wild(norm, median)) {
            Rejection::Norm { norm, median }
        } else if most(against.len()) {
            let (before, after) = against[0];
            Rejection::Loss { before, after }
        } else {
            let scale = median_norm.map_or(Scale::WHOLE, |median| Scale::of(norm, median));
            if scale < Scale::WHOLE {
                judgement.scales.insert(site.clone(), scale);
            }
            continue;
        };
        judgement.rejected.insert(site.clone(), rejection);
    }
    judgement
}

/// What more than half of all inspectors tell, if they tell the same.
fn told_by_most(told: impl Iterator<Item = u64>, most: impl Fn(usize) -> bool) -> Option<u64> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for value in told {
        *times.entry(value).or_default() += 1;
    }
    times
        .into_iter()
        .find(|(_, times)| most(*times))
        .map(|(value, _)| value)
}

/// The lower one, of as many values as can be compared.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    (values.len() >= FEWEST).then(|| values[(values.len() - 1) / 2])
}

/// Members whose last updates were rejected so often in a row that they are to have no part in the job any more.
pub(crate) fn struck_out(job: &Job) -> Vec<&SiteId> {
    let Some(Mode::Inspected(bounds)) = &job.spec.rounds.mode else {
        return Vec::new();
    };
    let out = job.members.iter();
    let out = out.filter(|(_, member)| member.presence != Presence::Left && member.strikes >= bounds.strikes);
    out.map(|(site, _)| site).collect()
}

/// Whose updates were rejected, how often, why the last time, and who is out for it.
pub(crate) fn in_words(job: &Job) -> Vec<String> {
    let struck_out = |site: &SiteId| match &job.spec.rounds.mode {
        Some(Mode::Inspected(bounds)) => {
            let member = &job.members[site];
            member.presence == Presence::Left && member.strikes >= bounds.strikes
        }
        _ => false,
    };
    let words = job.members.iter().filter_map(|(site, member)| {
        let rejected = job.rounds.iter().filter_map(|round| {
            let why = round.rejected.get(site)?;
            Some((round.number, why))
        });
        let rejected: Vec<(u32, &Rejection)> = rejected.collect();
        let (last, why) = rejected.last()?;
        let times = match rejected.len() {
            1 => "an update of".to_owned(),
            times => format!("{times} updates of"),
        };
        let out = if struck_out(site) {
            format!("; it is out of the job after {} in a row", member.strikes)
        } else {
            String::new()
        };
        Some(format!(
            "{times} {site} rejected, in round {last} because {why}{out}"
        ))
    });
    words.collect()
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |value: &u64, median: &u64| value / median.max(&1);
        match self {
            Self::Unreadable => f.write_str("its bytes are no update of that round"),
            Self::Doubtful => f.write_str("few sites were there to read it, and half of those couldn't"),
            Self::Tokens { tokens, median } => {
                let times = times(tokens, median);
                write!(f, "it says it was trained on {times} times the median's tokens")
            }
            Self::Norm { norm, median } => {
                write!(f, "its norm is {} times the median's", times(norm, median))
            }
            Self::Loss { before, after } => {
                write!(
                    f,
                    "the held-out loss is {} with it and {} without",
                    Nats(*after),
                    Nats(*before)
                )
            }
            Self::Gone => f.write_str("its site was gone when the masks were to be lifted"),
            Self::Few => f.write_str("too few updates came for a sum"),
            Self::Masked => f.write_str("too few sites were there to lift the masks"),
        }
    }
}

/// Millionths of a nat as people read them.
struct Nats(i64);

impl fmt::Display for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == i64::MAX {
            return f.write_str("no number");
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        let millionths = self.0.unsigned_abs();
        write!(
            f,
            "{sign}{}.{:04}",
            millionths / 1_000_000,
            millionths % 1_000_000 / 100
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_brings_a_norm_down_to_the_median_and_never_up() {
        let check = |norm, median, expected| assert_eq!(u32::from(Scale::of(norm, median)), expected);
        check(100, 100, 65_536);
        check(200, 100, 32_768);
        check(1, 100, 65_536);
        check(0, 0, 65_536);
        check(7, 0, 0);
        check(u64::MAX, u64::MAX, 65_536);
        check(u64::MAX, 1, 0);
        assert!(Scale::try_from(65_537).is_err());
    }

    #[test]
    fn the_median_lies_between_honest_ones_while_they_are_more_than_half() {
        let check = |values: &[u64], expected| assert_eq!(median(values.iter().copied()), expected);
        check(&[5, 1], None);
        check(&[5, 1_000, 6], Some(6));
        check(&[5, 0, 6], Some(5));
        check(&[5, 1_000, 6, 7], Some(6));
        check(&[5, 0, 0, 7, 6], Some(5));
        check(&[u64::MAX, u64::MAX, 1, 2, 3], Some(3));
    }

    #[test]
    fn a_loss_that_is_no_number_is_worse_than_any() {
        let id = |site: &str| site.parse::<SiteId>().unwrap();
        let found = |loss| Found { norm: Some(1), loss };
        let is_against = |before, found: &[(SiteId, Found)]| {
            let found = found.iter().cloned().collect();
            let against = Report { before, found }.against(&id("a"), &Bounds::default());
            against.is_some()
        };
        let check = |before, after, expected: bool| {
            let both = [(id("a"), found(after)), (id("b"), found(before))];
            assert_eq!(is_against(before, &both), expected, "{before:?} {after:?}");
        };
        let alone = |after| is_against(Some(1_000_000), &[(id("a"), found(Some(after)))]);
        assert!(!alone(2_000_000) && alone(2_000_001));
        check(Some(1_000_000), Some(1_020_000), false);
        check(Some(1_000_000), Some(1_020_001), true);
        check(Some(1_000_000), Some(i64::MAX), true);
        check(Some(i64::MAX), Some(i64::MAX), false);
        check(Some(-1_000_000), Some(-990_000), false);
        check(Some(-1_000_000), Some(-970_000), true);
        check(Some(i64::MIN), Some(i64::MIN), false);
        check(None, Some(i64::MAX), false);
        check(Some(1), None, false);
    }

    #[test]
    fn a_reason_is_told_with_its_numbers() {
        let check = |why: Rejection, expected: &str| assert_eq!(why.to_string(), expected);
        check(
            Rejection::Norm {
                norm: 1_000_000_000,
                median: 1_000_000,
            },
            "its norm is 1000 times the median's",
        );
        check(
            Rejection::Norm { norm: 5, median: 0 },
            "its norm is 5 times the median's",
        );
        check(
            Rejection::Loss {
                before: 5_832_512,
                after: i64::MAX,
            },
            "the held-out loss is no number with it and 5.8325 without",
        );
    }
}
