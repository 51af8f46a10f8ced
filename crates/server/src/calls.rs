//! Calls, proposals and reviews. Who may not read a proposal hears that it isn't there, and a list leaves it out; who
//! may read what its reviews say, or whose they are, is asked of the policy for each.

use crate::extract::{Answer, Ask, At, Bearer, Json, Key};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Part, fits};
use api::{CallView, Done, Opinion, Problem, ProposalView, ReviewView, WhichProposals};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Call, CallCommand, CallId, Case, Command, OrganisationId, PersonId, Programme, ProjectId,
    ProposalId, Sight, State as Consortium, Time,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    let opened = |call| Command::Call(CallCommand::Open(call));
    let proposed = |proposal| Command::Call(CallCommand::Propose(proposal));
    Routes::about("calls")
        .get("/calls", "The calls that one may read", calls)
        .command("/calls", "Open a call", opened)
        .get("/calls/{call}", "A call", call)
        .command_at(
            "/calls/{call}/closing",
            "Let a call close at another time",
            |call, closes| Command::Call(CallCommand::Prolong { call, closes }),
        )
        .get("/proposals", "The proposals that one may read", proposals)
        .command(
            "/proposals",
            "Propose something, or propose it otherwise",
            proposed,
        )
        .get("/proposals/{organisation}/{name}", "A proposal", proposal)
        .delete(
            "/proposals/{organisation}/{name}",
            "Take a proposal back",
            withdraw,
        )
        .of_proposal(
            "/proposals/{organisation}/{name}/reviewers",
            "Ask somebody for a review",
            |proposal, reviewer| CallCommand::AskReview { proposal, reviewer },
        )
        .of_proposal(
            "/proposals/{organisation}/{name}/declaration",
            "Say which conflict one has with a proposal; null if there is none",
            |proposal, conflict| CallCommand::Declare { proposal, conflict },
        )
        .of_proposal(
            "/proposals/{organisation}/{name}/review",
            "Hand a review in: the score, from 1 to 5, and why",
            |proposal, (score, text)| CallCommand::Review {
                proposal,
                score,
                text,
            },
        )
        .of_proposal(
            "/proposals/{organisation}/{name}/judgement",
            "Decide what comes of a proposal, and why",
            |proposal, (judgement, ground)| CallCommand::Judge {
                proposal,
                judgement,
                ground,
            },
        )
        .get("/reviews", "What one was asked to review", reviews)
}

impl Routes {
    /// A POST to a proposal that is one command of the rules, made from the body.
    fn of_proposal<T: DeserializeOwned + JsonSchema + Send + 'static>(
        self,
        path: &'static str,
        summary: &'static str,
        make: impl Fn(ProposalId, T) -> CallCommand + Clone + Send + Sync + 'static,
    ) -> Self {
        self.command_at(path, summary, move |at, body| {
            Command::Call(make(named(at), body))
        })
    }
}

// ---- calls -----------------------------------------------------------------------------------------------

/// Which calls are asked for.
#[derive(Deserialize, JsonSchema)]
struct WhichCalls {
    /// Only those of one programme.
    programme: Option<Programme>,
}

async fn calls(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<CallId>>,
    Ask(which): Ask<WhichCalls>,
) -> Answer<Vec<CallView>> {
    let state = shared.read()?;
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let wanted = |call: &&Call| fits(which.programme.as_ref(), &call.programme);
    let seen = state.calls.values().filter(wanted);
    let seen = seen.filter(|call| sight.sees_call(call));
    let views = part.of(seen, |call| &call.id);
    let now = shared.now();
    Ok(Json(
        views
            .map(|call| view_of_call(&state, &bearer.actor, call, now))
            .collect(),
    ))
}

async fn call(State(shared): State<Arc<Shared>>, bearer: Bearer, At(id): At<CallId>) -> Answer<CallView> {
    let state = shared.read()?;
    let known = state.calls.get(&id);
    let call = known.filter(|it| may(&state, &bearer.actor, Action::Read, &Resource::Call(it)));
    let call = call.ok_or_else(|| missing("call", &id))?;
    Ok(Json(view_of_call(&state, &bearer.actor, call, shared.now())))
}

fn view_of_call(state: &Consortium, actor: &Actor, call: &Call, now: Time) -> CallView {
    let audits = crate::views::audits(state, actor);
    CallView {
        is_open: call.opens <= now && now < call.closes,
        may_propose: may(state, actor, Action::Propose, &Resource::Call(call)),
        left: audits.then(|| state.left_of_call(call)),
        call: call.clone(),
    }
}

// ---- proposals -------------------------------------------------------------------------------------------

async fn proposals(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<ProposalId>>,
    Ask(which): Ask<WhichProposals>,
) -> Answer<Vec<ProposalView>> {
    let state = shared.read()?;
    let mut told = Told::new(&state, &bearer.actor);
    let wanted = |case: &&Case| {
        fits(which.call.as_ref(), &case.proposal.call)
            && fits(which.stage.as_ref(), &case.stage())
            && (!which.mine || is_of(&bearer.actor, case))
    };
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let seen = state.proposals.values().filter(wanted);
    let seen = seen.filter(|case| sight.sees_proposal(case));
    let now = shared.now();
    let views = part.of(seen, |case| &case.proposal.id);
    Ok(Json(views.map(|case| told.view(case, now)).collect()))
}

async fn proposal(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(at): At<(OrganisationId, ProjectId)>,
) -> Answer<ProposalView> {
    let state = shared.read()?;
    let id = named(at);
    let known = state.proposals.get(&id);
    let case = known.filter(|it| may(&state, &bearer.actor, Action::Read, &Resource::Proposal(it)));
    let case = case.ok_or_else(|| missing("proposal", &id))?;
    Ok(Json(Told::new(&state, &bearer.actor).view(case, shared.now())))
}

async fn withdraw(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    At(at): At<(OrganisationId, ProjectId)>,
) -> Answer<Done> {
    let command = Command::Call(CallCommand::Withdraw(named(at)));
    shared.carry_out(bearer.actor, key, command).await
}

/// What an asker who may read proposals is told of each.
struct Told<'a> {
    state: &'a Consortium,
    actor: &'a Actor,
    reviews: Sight<'a>,
    reviewers: Sight<'a>,
}

impl<'a> Told<'a> {
    fn new(state: &'a Consortium, actor: &'a Actor) -> Self {
        Self {
            state,
            actor,
            reviews: Sight::new(state, actor, Action::ReadReviews),
            reviewers: Sight::new(state, actor, Action::ReadReviewers),
        }
    }

    fn view(&mut self, case: &'a Case, now: Time) -> ProposalView {
        let reads_reviews = self.reviews.sees_proposal(case);
        let knows_reviewers = self.reviewers.sees_proposal(case);
        let is_asker = |person: &PersonId| matches!(self.actor, Actor::Person(asker) if asker == person);
        let known = case.reviewers.iter();
        let known = known.filter(|(person, _)| knows_reviewers || is_asker(person));
        let opinion = |(_, review): (_, &consortium::Review)| Opinion {
            score: review.score,
            text: review.text.clone(),
        };
        let mut reviews: Vec<Opinion> = match reads_reviews {
            true => case.reviews().map(opinion).collect(),
            false => Vec::new(),
        };
        // In an order that tells nothing of whose they are.
        reviews.sort_by(|a, b| b.cmp(a));
        ProposalView {
            proposal: case.proposal.clone(),
            proposed: case.proposed,
            stage: case.stage(),
            step: self.state.next_step(case, self.actor, now),
            reviews,
            reviewers: known.map(|(person, it)| (person.clone(), it.clone())).collect(),
            judged: case.judged.clone().filter(|_| reads_reviews),
        }
    }
}

// ---- reviews ---------------------------------------------------------------------------------------------

/// What the asker was asked to review: whose it is, and nothing more until she has said that she has no conflict.
async fn reviews(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<ProposalId>>,
) -> Answer<Vec<ReviewView>> {
    let state = shared.read()?;
    let Actor::Person(person) = &bearer.actor else {
        return Ok(Json(Vec::new()));
    };
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let views = part.of(state.asked_of(person), |case| &case.proposal.id);
    let views = views.filter_map(|case| {
        let proposal = &case.proposal;
        let reads = sight.sees_proposal(case);
        Some(ReviewView {
            proposal: proposal.id.clone(),
            call: proposal.call.clone(),
            people: proposal.people.clone(),
            organisations: state.parties(case).into_iter().cloned().collect(),
            title: reads.then(|| proposal.title.clone()),
            own: case.reviewers.get(person)?.clone(),
            step: state.next_step(case, &bearer.actor, shared.now()),
        })
    });
    Ok(Json(views.collect()))
}

// ---- shared ----------------------------------------------------------------------------------------------

fn named((organisation, name): (OrganisationId, ProjectId)) -> ProposalId {
    ProposalId { organisation, name }
}

fn is_of(actor: &Actor, case: &Case) -> bool {
    matches!(actor, Actor::Person(person) if case.proposal.people.contains(person))
}

fn may(state: &Consortium, actor: &Actor, action: Action, resource: &Resource<'_>) -> bool {
    state.permit(actor, action, resource).is_ok()
}

/// In the very words of the rules, which say the same of what isn't there.
fn missing(noun: &str, name: &dyn std::fmt::Display) -> Problem {
    Problem::new(404, "not-found", format!("there is no {noun} {name}"))
}
