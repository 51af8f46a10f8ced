//! Rounds of cross-site training, as the log commits them: who took part, on which samples, and the ordered
//! digests of the updates that count. A site that has the log and the updates can rebuild the weights.
//!
//! The schedule, for a job with `fragments` n and `overlap` d:
//!
//! ```text
//! round r       each site trains on its own interval, then sends its update of fragment r mod n
//! trained on    weights to which at least the rounds before r - d are applied, see RoundSpec::needs
//! opens         when the rounds before r - d are closed, so at most d + 1 are open
//! closes        after round r - 1; in the mode inspected, once its updates are judged
//! count - 1 on  sends the whole model, so nothing that was learned is left at a site
//! count on      opens only for samples that the rounds before left over
//! ```

use crate::{
    Codec, CodecSpec, Digest, Inspection, MaskKey, Mode, Pace, Rejection, Scale, SiteId, Time, Unmasking,
    private,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How sites train together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoundSpec {
    /// How many rounds, if every site's update comes in each; what is left over takes further ones.
    pub count: u32,
    /// How many samples each site takes in a round.
    pub samples: u64,
    /// How many updates close a round.
    pub quorum: u32,
    /// How long a round waits for the others once it has a quorum.
    pub grace_seconds: u32,
    /// Into how many fragments the model is cut; a round sends one of them.
    #[serde(default = "one")]
    pub fragments: u32,
    /// For how many rounds updates may travel while training goes on; with 0 it waits for them.
    #[serde(default)]
    pub overlap: u32,
    /// How an update is written, or that the links decide.
    #[serde(default)]
    pub codec: CodecSpec,
    /// After how many rounds the lead site keeps a checkpoint for those who join later; 0 is never.
    #[serde(default = "fifty")]
    pub checkpoint_every: u32,
    /// What keeps a site from harming the model; none takes each update as it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Samples `first..end` of the run's data order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The first sample.
    pub first: u64,
    /// The sample after the last.
    pub end: u64,
}

/// What one site learned in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// The encoded update.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Tokens it was trained on: its weight in the mean.
    pub tokens: u64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Optimiser steps it took.
    pub steps: u32,
    /// Mean loss of the interval, in millionths of a nat a token.
    pub loss_micronats: i64,
    /// How fast the site was; told where the links decide about the codec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Counts from 0.
    pub number: u32,
    /// When it opened.
    pub opened: Time,
    /// Who takes part, and on which samples.
    pub members: BTreeMap<SiteId, Interval>,
    /// How its updates are written, where the job leaves that open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// What has come in, in site order.
    pub updates: BTreeMap<SiteId, Update>,
    /// When there were enough updates to close it.
    pub quorum_at: Option<Time>,
    /// When it closed; no update is taken after that.
    pub closed: Option<Time>,
    /// The digest of weights and outer momentum that each site reached by applying it.
    pub outer: BTreeMap<SiteId, Digest>,
    /// While its updates are inspected: then it takes no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Inspection>,
    /// How much of an update counts, where that isn't all of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scales: BTreeMap<SiteId, Scale>,
    /// Whose updates don't count, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<SiteId, Rejection>,
    /// In a private job, with which its members make masks with each other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<SiteId, MaskKey>,
    /// What is told of those masks, once it takes no more updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmasking: Option<Unmasking>,
}

/// What all sites agree on after a round, kept at the hub: whoever joins later begins here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OuterCheckpoint {
    /// The last round that is in it.
    pub round: u32,
    /// The artifact.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Who wrote it.
    pub site: SiteId,
}

impl Interval {
    /// How many samples.
    pub fn samples(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    /// What is left of `all` when `taken`, each a part of one of them, are away.
    pub(crate) fn without(all: &[Self], taken: &[Self]) -> Vec<Self> {
        let mut left = all.to_vec();
        for part in taken {
            let holds = |of: &Self| of.first <= part.first && part.end <= of.end;
            let Some(place) = left.iter().position(holds) else {
                continue;
            };
            let of = left[place];
            let (before, after) = (
                Self {
                    end: part.first,
                    ..of
                },
                Self {
                    first: part.end,
                    ..of
                },
            );
            let some = [before, after].into_iter().filter(|rest| rest.samples() > 0);
            left.splice(place..=place, some);
        }
        left
    }
}

impl RoundSpec {
    /// How many rounds, from the first on, are applied to the weights that `round` is trained on, at least. As
    /// many must be closed before it opens.
    pub fn needs(&self, round: u32) -> u32 {
        round.saturating_sub(self.overlap)
    }

    /// Whether nobody may see an update by itself.
    pub fn is_private(&self) -> bool {
        matches!(self.mode, Some(Mode::Private(_)))
    }

    /// The fragment that `round` sends; none stands for the whole model.
    pub fn fragment(&self, round: u32) -> Option<u32> {
        let whole = self.fragments <= 1 || round.saturating_add(1) >= self.count;
        (!whole).then(|| round % self.fragments)
    }

    /// How updates travel, in words; `chosen` is the last round's codec, where the links decide.
    pub fn described(&self, chosen: Option<Codec>) -> String {
        let mut words = match (self.codec.fixed(), chosen) {
            (Some(codec), _) => format!("updates in {codec}"),
            (None, Some(codec)) => format!("updates in {codec} by the slowest link"),
            (None, None) => "updates in a codec by the slowest link".to_owned(),
        };
        if self.fragments > 1 {
            words += &format!(", a fragment of {} a round", self.fragments);
        }
        if self.overlap > 0 {
            words += ", while the next round is trained";
        }
        if let Some(mode) = &self.mode {
            words += &format!(", {}", mode.name());
        }
        words
    }

    /// How many updates `round` closes with, of so many members. A round for what was left over needs no more
    /// than there were intervals for.
    pub fn quorum_of(&self, round: u32, members: usize) -> usize {
        let quorum = self.quorum as usize;
        let least = if self.is_private() { private::FEWEST } else { 0 };
        if round < self.count {
            quorum
        } else {
            quorum.min(members).max(least)
        }
    }

    /// Whether the lead keeps a checkpoint after `round`, unless it is the last: then there are the results.
    pub fn keeps_checkpoint(&self, round: u32) -> bool {
        let applied = round.saturating_add(1);
        self.checkpoint_every > 0 && applied.is_multiple_of(self.checkpoint_every)
    }
}

impl Default for RoundSpec {
    /// One short round, int8, whole.
    fn default() -> Self {
        Self {
            count: 1,
            samples: 1,
            quorum: 1,
            grace_seconds: 30,
            fragments: one(),
            overlap: 0,
            codec: CodecSpec::default(),
            checkpoint_every: fifty(),
            mode: None,
        }
    }
}

/// What is 1 where nothing is said.
pub(crate) fn one() -> u32 {
    1
}

fn fifty() -> u32 {
    50
}

impl Round {
    /// Whether its updates are final.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The digest that stands: the one that most sites told, and of those told equally often the one by the
    /// first site.
    pub fn outer_digest(&self) -> Option<Digest> {
        self.told().first().map(|(digest, _)| *digest)
    }

    /// Whether sites told different digests.
    pub fn is_disputed(&self) -> bool {
        let mut told = self.outer.values();
        told.next().is_some_and(|first| told.any(|other| other != first))
    }

    /// The sites whose digest is not the one that stands, once `awaited` more can't change which one does.
    pub(crate) fn outvoted(&self, awaited: usize) -> Vec<(&SiteId, Digest)> {
        match self.told().as_slice() {
            [(stands, most), (_, second), ..] if awaited == 0 || *most > second + awaited => {
                let others = self.outer.iter().filter(|(_, digest)| *digest != stands);
                others.map(|(site, digest)| (site, *digest)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The digests that sites told and how many told each, most first.
    fn told(&self) -> Vec<(Digest, usize)> {
        let mut told: Vec<(Digest, usize)> = Vec::new();
        for digest in self.outer.values() {
            match told.iter_mut().find(|(known, _)| known == digest) {
                Some((_, times)) => *times += 1,
                None => told.push((*digest, 1)),
            }
        }
        told.sort_by_key(|(_, times)| std::cmp::Reverse(*times)); // stable: site order among equals
        told
    }
}
