//! The mode *private*: the hub and the sites see what a round's updates come to, and no update by itself.
//!
//! Each update is whole numbers, under masks that only its site can make (secure aggregation, Bonawitz et al., 2017):
//!
//! ```text
//! sent    what was learned + the site's own mask + a mask with each other member of the round, which one of the two adds
//!         and the other takes away
//! sum     of what came: the masks of every two whose updates came have cancelled out
//! lifted  once it is known whose updates came, their sites tell the seeds of their own masks, and of those
//!         with members whose updates didn't come. Then everyone can reckon the sum, and nothing else.
//! ```
//!
//! What makes it safe is that of a site either its own mask is lifted or those with others, and never both. So an update
//! that came too late stays hidden, though the others have told the seeds they share with its site. The original has the
//! seeds shared out beforehand, so that others can tell them for a site that has gone. Here it takes no such shares:
//! whoever goes before its mask is lifted has no part in the sum.

use crate::id::as_text;
use crate::{BadId, Interval, Job, JobSpec, Refusal, Round, SiteId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A sum of fewer hides nothing: of two, each knows the other.
pub(crate) const FEWEST: usize = 3;

/// Sites that are there have so long to tell of their masks, however short the grace window is: without them there is no
/// sum, and a job without one would never end.
const LEAST_GRACE_MS: u64 = 60_000;

/// 32 bytes that are 64 hexadecimal digits where they are written down.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[0-9a-fA-F]{64}$"))]
        pub struct $name(pub [u8; 32]);

        as_text!($name, bytes => bytes.to_string());

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let hash = blake3::Hash::from_hex(text); // any 32 bytes, as far as their digits go
                let given = || text.chars().take(80).collect();
                let bytes = hash.map_err(|_| BadId::new($noun, given(), "64 hexadecimal digits"))?;
                Ok(Self(bytes.into()))
            }
        }
    };
}

/// How far a weight may go in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clipping {
    /// In thousandths: what a site would change more waits for its next update.
    pub clip: u32,
}

impl Default for Clipping {
    fn default() -> Self {
        Self { clip: 100 }
    }
}

bytes32!(
    /// With whom a site makes masks: the public half of a key on Curve25519, in hexadecimal digits.
    MaskKey,
    "key"
);
bytes32!(
    /// What a mask of one round is made from, in hexadecimal digits.
    MaskSeed,
    "seed"
);

/// A round that takes no more updates, and whose masks are being lifted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmasking {
    /// Since when; anew when a site is left out.
    pub began: Time,
    /// Sites whose updates came, and that had gone when their masks were to be lifted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<SiteId>,
    /// What each site has told.
    pub told: BTreeMap<SiteId, Seeds>,
}

/// What one site tells of its masks in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seeds {
    /// Of its own mask.
    pub own: MaskSeed,
    /// Of those with members that have no part in the sum.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<SiteId, MaskSeed>,
}

/// What is to be done with a round whose masks are being lifted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lifting {
    /// Wait for those who have not told.
    Wait,
    /// Leave these out too; the others tell what that takes.
    Without(BTreeSet<SiteId>),
    /// The sum can be reckoned.
    Over,
    /// It never can.
    Lost,
}

impl Clipping {
    /// Refuses what hides nothing, and what can't be added up.
    pub(crate) fn check(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let rounds = &spec.rounds;
        crate::decide::range("rounds.mode.private.clip", self.clip.into(), 1, 1_000_000)?;
        if (spec.sites as usize) < FEWEST || (rounds.quorum as usize) < FEWEST {
            return Err(Refusal::invalid(format!(
                "a private job of {} sites with a quorum of {}: a sum of fewer than {FEWEST} updates hides nothing",
                spec.sites, rounds.quorum
            ))
            .hint(format!(
                "ask for sites = {FEWEST} and rounds.quorum = {FEWEST} or more"
            )));
        }
        let codec = rounds.codec.fixed();
        let adds_up = codec.and_then(crate::Codec::most_sites);
        match adds_up {
            Some(most) if spec.sites <= most => Ok(()),
            Some(most) => Err(Refusal::invalid(format!(
                "private updates of {} sites in {}: there is room for the sum of {most}",
                spec.sites, rounds.codec
            ))
            .hint("ask for codec = \"int8\", or for fewer sites")),
            None => Err(Refusal::invalid(format!(
                "private updates in {}: only whole numbers add up under masks",
                rounds.codec
            ))
            .hint("ask for codec = \"int8\" or \"int4\" in [rounds]")),
        }
    }
}

impl Seeds {
    /// Whether it tells all that the sum without `left_out` takes.
    fn covers<'a>(&self, mut left_out: impl Iterator<Item = &'a SiteId>) -> bool {
        left_out.all(|site| self.with.contains_key(site))
    }

    fn agrees_with(&self, earlier: &Self) -> bool {
        let mut earlier = earlier.with.iter();
        earlier.all(|(site, seed)| self.with.get(site) == Some(seed))
    }
}

impl Round {
    /// Whose updates the sum is of, as it stands.
    pub fn summed(&self) -> impl Iterator<Item = &SiteId> {
        let gone = self.unmasking.as_ref().map(|unmasking| &unmasking.gone);
        let is_gone = move |site: &SiteId| gone.is_some_and(|gone| gone.contains(site));
        self.updates.keys().filter(move |site| !is_gone(site))
    }

    /// Members with whom others made masks, and that have no part in the sum.
    pub fn left_out(&self) -> impl Iterator<Item = &SiteId> {
        let summed: BTreeSet<&SiteId> = self.summed().collect();
        self.keys.keys().filter(move |site| !summed.contains(site))
    }

    /// Whether `site` has more to tell before the sum can be reckoned.
    pub fn awaits_seeds_of(&self, site: &SiteId) -> bool {
        let Some(unmasking) = &self.unmasking else {
            return false;
        };
        let told = unmasking.told.get(site);
        !self.is_closed()
            && self.summed().any(|other| other == site)
            && !told.is_some_and(|seeds| seeds.covers(self.left_out()))
    }
}

/// Whether `site` can still hand in an update of `round`: not with another key than the one the others made masks with.
pub(crate) fn can_contribute(job: &Job, round: &Round, site: &SiteId) -> bool {
    let key = job.members.get(site).and_then(|member| member.key);
    !job.spec.rounds.is_private() || key.is_some() && round.keys.get(site).copied() == key
}

impl Job {
    /// Whether an open round takes an update of `site`, which has none in it yet. A site that has just come back is to tell
    /// its key first.
    pub fn takes_update_of(&self, site: &SiteId, round: &Round) -> bool {
        let untold = self.members.get(site).is_some_and(|member| member.key.is_none());
        let open = round.inspection.is_none() && round.unmasking.is_none();
        open && (untold || can_contribute(self, round, site))
    }
}

/// What is to be done about the masks of `round`, which are being lifted.
pub(crate) fn lifting(job: &Job, round: &Round, unmasking: &Unmasking, now: Time) -> Lifting {
    let missing: BTreeSet<&SiteId> = round
        .summed()
        .filter(|site| round.awaits_seeds_of(site))
        .collect();
    if missing.is_empty() {
        return Lifting::Over;
    }
    let present = |site: &SiteId| job.members.get(site).is_some_and(crate::Member::is_present);
    let grace = (u64::from(job.spec.rounds.grace_seconds) * 1_000).max(LEAST_GRACE_MS);
    if missing.iter().any(|site| present(site)) && now < unmasking.began.plus(grace) {
        return Lifting::Wait;
    }
    // Who has told of its own mask can't be left out any more: with the seeds that it shares, its update would be bare.
    let gone = missing
        .into_iter()
        .filter(|site| !unmasking.told.contains_key(*site));
    let gone: BTreeSet<SiteId> = gone.cloned().collect();
    if gone.is_empty() || round.summed().count() - gone.len() < FEWEST {
        return Lifting::Lost;
    }
    Lifting::Without(gone)
}

/// Refuses seeds that aren't asked for. `true` if they tell something new.
pub(crate) fn check_seeds(job: &Job, round: &Round, site: &SiteId, seeds: &Seeds) -> Result<bool, Refusal> {
    let number = round.number;
    let Some(unmasking) = round.unmasking.as_ref().filter(|_| !round.is_closed()) else {
        let why = format!("the masks of round {number} of {} are not being lifted", job.id);
        return Err(Refusal::conflict(why));
    };
    if !round.summed().any(|other| other == site) {
        let why = format!(
            "site {site} has no part in the sum of round {number} of {}",
            job.id
        );
        return Err(Refusal::conflict(why).hint("tell nothing of its masks: they stay"));
    }
    let left_out: BTreeSet<&SiteId> = round.left_out().collect();
    if let Some(other) = seeds.with.keys().find(|with| !left_out.contains(with)) {
        return Err(Refusal::invalid(format!(
            "a seed that site {site} shares with {other}, which is not left out of the sum: masks of two that are in it \
             cancel out, and nobody else made some"
        ))
        .hint("tell those with members that have no part in it"));
    }
    if !seeds.covers(left_out.iter().copied()) {
        let left_out: Vec<&str> = left_out.into_iter().map(SiteId::as_str).collect();
        let why = format!("the sum takes the seeds shared with {}", left_out.join(", "));
        return Err(Refusal::invalid(why));
    }
    let earlier = unmasking.told.get(site);
    if earlier.is_some_and(|earlier| earlier.own != seeds.own || !seeds.agrees_with(earlier)) {
        let why = format!("site {site} has told other seeds of its masks already");
        return Err(Refusal::conflict(why));
    }
    Ok(earlier != Some(seeds))
}

/// The sites that a round can open for: those that are there, and in a private job have told their keys.
pub(crate) fn ready(job: &Job) -> Vec<&SiteId> {
    let private = job.spec.rounds.is_private();
    let ready = job
        .present()
        .filter(|(_, member)| !private || member.key.is_some());
    ready.map(|(site, _)| site).collect()
}

/// Whether a private round is given up: who is in it and there can't bring it to its quorum, and others are there who
/// could bring another one to theirs. Nobody is let in later, since the others' masks know nothing of them.
pub(crate) fn is_given_up(job: &Job, round: &Round, awaited: usize) -> bool {
    let quorum = job.spec.rounds.quorum_of(round.number, round.members.len());
    let there = ready(job);
    let others = there.iter().any(|site| !can_contribute(job, round, site));
    others && there.len() >= quorum && round.updates.len() + awaited < quorum
}

/// What a private round is to have of `intervals`: as many as a sum takes, cut in two where there are fewer.
pub(crate) fn split(mut intervals: Vec<Interval>) -> Vec<Interval> {
    while intervals.len() < FEWEST {
        let longest = intervals.iter_mut().max_by_key(|interval| interval.samples());
        let Some(longest) = longest.filter(|interval| interval.samples() > 1) else {
            break;
        };
        let middle = longest.first + longest.samples() / 2;
        let (first, end) = (middle, longest.end);
        longest.end = middle;
        intervals.push(Interval { first, end });
    }
    intervals
}
