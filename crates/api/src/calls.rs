//! Calls, proposals, reviews and awards: as the hub tells them, and how a client asks.

use crate::client::Answer;
use crate::{Client, Done};
use consortium::{
    Award, AwardCommand, AwardId, AwardStep, Budget, Call, CallId, Course, Holdings, Judged, Judgement,
    OrganisationId, PersonId, Programme, ProjectId, Proposal, ProposalId, Reviewer, Stage, Step, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A call, for whoever may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// The call.
    pub call: Call,
    /// Whether it takes proposals now.
    pub is_open: bool,
    /// Whether the asker may propose something to it, while it is open.
    pub may_propose: bool,
    /// What of its budget isn't awarded, by fiscal year; for whoever may audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Budget>,
}

/// A proposal and what has come of it, as far as the asker may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalView {
    /// The proposal.
    pub proposal: Proposal,
    /// When it was last changed.
    pub proposed: Time,
    /// How far it has come.
    pub stage: Stage,
    /// What comes next, for the asker.
    pub step: Step,
    /// What the reviews say, the best score first; whose they are isn't told here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<Opinion>,
    /// Who was asked for a review and what they have said, for whoever may know; to a reviewer, her own part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reviewers: BTreeMap<PersonId, Reviewer>,
    /// What was decided, for whoever may read the reviews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

/// What a review says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Opinion {
    /// From 1 to 5.
    pub score: u8,
    /// Why.
    pub text: String,
}

/// A review that the asker was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewView {
    /// Of which proposal.
    pub proposal: ProposalId,
    /// To which call that was made.
    pub call: CallId,
    /// Whose it is: with one of them there may be a conflict.
    pub people: BTreeSet<PersonId>,
    /// Their organisations, and the one that proposes.
    pub organisations: BTreeSet<OrganisationId>,
    /// What it is about; told once there is no conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the asker has said so far.
    pub own: Reviewer,
    /// What comes next, for the asker.
    pub step: Step,
}

/// An award, for its project's people and for whoever may audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AwardView {
    /// The award.
    pub award: Award,
    /// Under which programme its project is.
    pub programme: Programme,
    /// What it was given, and where that is.
    pub holdings: Holdings,
    /// Its budget by fiscal year, its end, and what is to be taken back. Its proposal is told to whoever may read that.
    pub course: Course,
    /// What comes next, for the asker.
    pub step: AwardStep,
}

/// Which proposals are asked for; all without a word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhichProposals {
    /// Only those to one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Only those that have come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Only the asker's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

impl Client {
    // ---- calls ----

    /// The calls that the bearer may read.
    pub fn calls(&self, programme: Option<Programme>) -> Answer<Vec<CallView>> {
        let filter = programme.map(|programme| format!("?programme={programme}"));
        let path = format!("/calls{}", filter.unwrap_or_default());
        self.list(&path, "after", |it: &CallView| &it.call.id)
    }

    /// One call.
    pub fn call(&self, call: &CallId) -> Answer<CallView> {
        self.get(&format!("/calls/{call}"))
    }

    /// Opens a call.
    pub fn open_call(&self, call: &Call) -> Answer<Done> {
        self.post("/calls", call)
    }

    /// Lets a call close at another time.
    pub fn prolong(&self, call: &CallId, closes: Time) -> Answer<Done> {
        self.post(&format!("/calls/{call}/closing"), &closes)
    }

    // ---- proposals ----

    /// The proposals that the bearer may read.
    pub fn proposals(&self, which: &WhichProposals) -> Answer<Vec<ProposalView>> {
        let mut path = format!("/proposals?mine={}", which.mine);
        if let Some(call) = &which.call {
            path += &format!("&call={call}");
        }
        if let Some(stage) = which.stage {
            path += &format!("&stage={stage}");
        }
        self.list(&path, "after", |it: &ProposalView| &it.proposal.id)
    }

    /// One proposal.
    pub fn proposal(&self, id: &ProposalId) -> Answer<ProposalView> {
        self.get(&format!("/proposals/{id}"))
    }

    /// Proposes something, or proposes it otherwise.
    pub fn propose(&self, proposal: &Proposal) -> Answer<Done> {
        self.post("/proposals", proposal)
    }

    /// Takes a proposal back.
    pub fn withdraw(&self, id: &ProposalId) -> Answer<Done> {
        self.bare("DELETE", &format!("/proposals/{id}"))
    }

    /// Decides what comes of a proposal, on some ground.
    pub fn judge(&self, id: &ProposalId, judgement: &Judgement, ground: &str) -> Answer<Done> {
        self.post(&format!("/proposals/{id}/judgement"), &(judgement, ground))
    }

    // ---- reviews ----

    /// What the bearer was asked to review.
    pub fn reviews(&self) -> Answer<Vec<ReviewView>> {
        self.list("/reviews", "after", |it: &ReviewView| &it.proposal)
    }

    /// Asks somebody for a review.
    pub fn ask_review(&self, id: &ProposalId, reviewer: &PersonId) -> Answer<Done> {
        self.post(&format!("/proposals/{id}/reviewers"), reviewer)
    }

    /// Says which conflict the bearer has with a proposal, or that there is none.
    pub fn declare(&self, id: &ProposalId, conflict: Option<&str>) -> Answer<Done> {
        self.post(&format!("/proposals/{id}/declaration"), &conflict)
    }

    /// Hands a review in.
    pub fn review(&self, id: &ProposalId, score: u8, text: &str) -> Answer<Done> {
        self.post(&format!("/proposals/{id}/review"), &(score, text))
    }

    // ---- awards ----

    /// The awards of projects that the bearer works in, or all for whoever may audit.
    pub fn awards(&self, project: Option<&ProjectId>) -> Answer<Vec<AwardView>> {
        let filter = project.map(|project| format!("?project={project}"));
        let path = format!("/awards{}", filter.unwrap_or_default());
        self.list(&path, "after", |it: &AwardView| &it.award.id)
    }

    /// One award.
    pub fn award(&self, id: &AwardId) -> Answer<AwardView> {
        self.get(&format!("/awards/{id}"))
    }

    /// Changes an award, ends it, or says something about what is to be taken back.
    pub fn change_award(&self, id: &AwardId, change: &AwardCommand) -> Answer<Done> {
        self.post(&format!("/awards/{id}/changes"), change)
    }
}
