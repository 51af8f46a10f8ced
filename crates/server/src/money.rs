//! Money by fiscal year: the business of the office and of whoever may audit.

use crate::extract::{Answer, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use api::MoneyView;
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{Action, Command, Month};
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("money")
        .get(
            "/money",
            "Where the money of each fiscal year is: appropriated, carried, awarded, spent, given back, left",
            money,
        )
        .command(
            "/money",
            "Carry what is left of a fiscal year that is over into the one that runs, or give it back to the ministry",
            Command::Money,
        )
}

async fn money(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Answer<MoneyView> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Audit, &Resource::Consortium)?;
    Ok(Json(MoneyView {
        this: Month::of(shared.now()).year(),
        years: state.fiscal_years(),
        year_ends: state.year_ends.clone(),
    }))
}
