//! What sites' owners ask, and asked before; and how fast a GPU of each sort is taken to be.

use crate::extract::{Answer, Ask, At, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::Part;
use crate::views::audits;
use api::{OfferView, Problem, RatingView};
use axum::extract::State;
use consortium::{Command, Factor, OfferCommand, SiteId};
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("consortium")
        .get(
            "/sites/{site}/offers",
            "What a site's owner asks, and asked before",
            offers,
        )
        .command_at(
            "/sites/{site}/offers",
            "Take another offer of a site's owner",
            |site, offer| Command::Offer(OfferCommand::Take(site, offer)),
        )
        .get("/gpus", "How fast a GPU of each sort is taken to be", gpus)
        .command(
            "/gpus",
            "Say how fast a GPU of one sort is taken to be",
            |factor: Factor| Command::Offer(OfferCommand::Rate(factor)),
        )
}

/// Everyone may know the prices; what they rest on is for those who may audit. Parts of the list go by the version, from 1.
async fn offers(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(site): At<SiteId>,
    Ask(part): Ask<Part<u32>>,
) -> Answer<Vec<OfferView>> {
    let state = shared.read()?;
    if !state.sites.contains_key(&site) {
        let problem = Problem::new(404, "not-found", format!("there is no site {site}"));
        return Err(problem.hint("`khub sites` lists them").into());
    }
    let audits = audits(&state, &bearer.actor);
    let versions = (1..).zip(state.offers(&site)).map(|(version, offer)| OfferView {
        version,
        terms: offer.terms.clone(),
        since: offer.since,
        ground: offer.ground.clone().filter(|_| audits),
    });
    Ok(Json(part.of(versions, |offer| &offer.version).collect()))
}

async fn gpus(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<String>>,
) -> Answer<Vec<RatingView>> {
    let state = shared.read()?;
    let audits = audits(&state, &bearer.actor);
    let known = state
        .ratings
        .iter()
        .filter_map(|(gpu, all)| Some((gpu, all.last()?)));
    let views = known.map(|(gpu, rating)| RatingView {
        gpu: gpu.clone(),
        rated: rating.factor.rated,
        since: rating.since,
        ground: audits.then(|| rating.factor.ground.clone()),
    });
    Ok(Json(part.of(views, |view| &view.gpu).collect()))
}
