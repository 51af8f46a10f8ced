//! Bytes in the store that no record of the log names: what there is, and that it goes. The hub sees to it once an
//! hour, and whoever administers may at any time. `store` decides what may go.

use crate::artifacts::not_kept;
use crate::desk;
use crate::extract::{Answer, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use api::{Bytes, LeftoversView, Problem};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{Action, Actor, Command, Request, Time};
use std::sync::{Arc, PoisonError};
use store::{CollectError, Leftovers};
use tokio::runtime::Handle;

pub(crate) fn routes() -> Routes {
    Routes::about("artifacts")
        .get("/leftovers", "Bytes that no record of the log names", look)
        .post(
            "/leftovers/collect",
            "Remove the bytes that no record of the log names",
            collect,
        )
}

/// Between two collections of the hub's own, milliseconds.
const EVERY: u64 = 3_600_000;
/// So many are told by name.
const TOLD: usize = 1_000;

async fn look(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Answer<LeftoversView> {
    shared.administers(&bearer.actor)?;
    let found = tokio::task::spawn_blocking(move || shared.leftovers()).await;
    Ok(Json(found.map_err(|e| internal(&e))??))
}

async fn collect(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Answer<LeftoversView> {
    shared.administers(&bearer.actor)?;
    let (at, runtime) = (Arc::clone(&shared), Handle::current());
    let gone = tokio::task::spawn_blocking(move || at.collect(&runtime)).await;
    Ok(Json(gone.map_err(|e| internal(&e))??))
}

impl Shared {
    /// Collects if it is time to.
    pub(crate) fn collect_when_due(self: &Arc<Self>, last: &mut Time) {
        let now = self.now();
        if now.since(*last) < EVERY {
            return;
        }
        *last = now;
        let (shared, runtime) = (Arc::clone(self), Handle::current());
        // What can't be collected now is there in an hour, too.
        drop(tokio::task::spawn_blocking(move || {
            shared.collect(&runtime).err()
        }));
    }

    fn administers(&self, actor: &Actor) -> Result<(), Problem> {
        let state = self.read()?;
        Ok(state.permit(actor, Action::Administer, &Resource::Consortium)?)
    }

    fn leftovers(&self) -> Result<LeftoversView, Problem> {
        let named = desk::named(&*self.read()?);
        let found = self.blobs.leftovers(&named).map_err(|e| not_kept(&e))?;
        let expired = self.uploads.expired(self.now());
        let bytes = expired.iter().map(|(_, bytes)| bytes).sum();
        Ok(view(&found, expired.len() as u64, bytes))
    }

    fn collect(&self, runtime: &Handle) -> Result<LeftoversView, Problem> {
        let _alone = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut uploads, mut upload_bytes) = (0, 0);
        for (upload, bytes) in self.uploads.expired(self.now()) {
            self.uploads.end(&upload).map_err(|e| not_kept(&e))?;
            (uploads, upload_bytes) = (uploads + 1, upload_bytes + bytes);
        }
        self.custody.expire(self.now());
        let gone = self.blobs.collect(
            &mut || Some(desk::named(&*self.read().ok()?)),
            // The database refuses what a hub would write that another has taken over from.
            &mut || {
                let tick = Request::new(Actor::Hub, Command::Tick);
                runtime.block_on(self.ask(tick)).is_ok()
            },
        );
        let gone = gone.map_err(|e| match e {
            CollectError::NotTheWriter => Problem::new(503, "unavailable", e.to_string()),
            CollectError::Blobs(e) => not_kept(&e),
        })?;
        Ok(view(&gone, uploads, upload_bytes))
    }
}

fn view(found: &Leftovers, uploads: u64, upload_bytes: u64) -> LeftoversView {
    let unnamed = found.unnamed.iter().take(TOLD);
    LeftoversView {
        count: found.unnamed.len() as u64 + uploads + found.fragments,
        bytes: found.bytes() + upload_bytes,
        unnamed: unnamed
            .map(|(digest, bytes)| Bytes {
                digest: *digest,
                bytes: *bytes,
            })
            .collect(),
        uploads,
        fragments: found.fragments,
    }
}

fn internal(error: &dyn std::error::Error) -> Problem {
    Problem::new(500, "internal", error.to_string())
}
