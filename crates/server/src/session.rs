//! Signing out.

use crate::extract::{Answer, Own};
use crate::hub::Shared;
use crate::openapi::Routes;
use api::Done;
use axum::extract::State;
use consortium::Command;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("sign-in").delete(
        "/session",
        "Sign out: the token that the request carries is worth nothing any more",
        sign_out,
    )
}

async fn sign_out(State(shared): State<Arc<Shared>>, own: Own) -> Answer<Done> {
    let command = Command::RevokeCredential { token: own.token };
    shared.carry_out(own.actor, None, command).await
}
