//! Rounds of cross-site training, as the log commits them: who took part, on which samples, and the ordered
//! digests of the updates that count. A site that has the log and the updates can rebuild the weights.

use crate::{Digest, SiteId, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Samples `first..end` of the run's data order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// The first sample.
    pub first: u64,
    /// The sample after the last.
    pub end: u64,
}

/// What one site learned in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Counts from 0.
    pub number: u32,
    /// When it opened.
    pub opened: Time,
    /// Who takes part, and on which samples.
    pub members: BTreeMap<SiteId, Interval>,
    /// What has come in, in site order.
    pub updates: BTreeMap<SiteId, Update>,
    /// When there were enough updates to close it.
    pub quorum_at: Option<Time>,
    /// When it closed; no update is taken after that.
    pub closed: Option<Time>,
    /// The digest of weights and outer momentum that each site reached by applying it.
    pub outer: BTreeMap<SiteId, Digest>,
}

impl Round {
    /// Whether its updates are final.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The weights' digest by the first site that told it.
    pub fn outer_digest(&self) -> Option<Digest> {
        self.outer.values().next().copied()
    }
}
