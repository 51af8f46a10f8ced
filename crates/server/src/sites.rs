//! The sites' side: they fetch their orders and report. A site is never dialled.

use crate::desk;
use crate::extract::{Answer, Ask, At, Bearer, Body, Json, Key, No};
use crate::hub::Shared;
use crate::openapi::{Operation, Routes, Tells};
use api::{Bytes, Done, Orders, Problem, Progress};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use consortium::{
    Abilities, Actor, Command, Digest, Exit, JobId, MaskKey, Output, Reading, Report, Seeds, SiteId, Update,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use tokio::time::timeout_at;

pub(crate) fn routes() -> Routes {
    Routes::about("sites")
        .get("/sites/{site}/orders", "What a site is to do", orders)
        .post("/sites/{site}/abilities", "Say what a site can do", abilities)
        .post("/jobs/{job}/join", "Begin a new attempt at a job", join)
        .post(
            "/jobs/{job}/rounds/{round}/updates",
            "Hand in what a site learned in a round",
            contribute,
        )
        .post(
            "/jobs/{job}/rounds/{round}/reports",
            "Tell what a site found of a round's updates before they count",
            inspect,
        )
        .post(
            "/jobs/{job}/key",
            "Tell with which key the others are to make masks with a site, in a private job",
            tell_key,
        )
        .post(
            "/jobs/{job}/rounds/{round}/seeds",
            "Have a site's masks of a private round lifted",
            unmask,
        )
        .post(
            "/jobs/{job}/rounds/{round}/outer",
            "Tell the digest of what a site got by applying a round",
            applied,
        )
        .post(
            "/jobs/{job}/rounds/{round}/checkpoint",
            "Keep what all agree on after a round",
            checkpoint,
        )
        .post(
            "/jobs/{job}/reset",
            "Tell that what a site had of its own is lost, and how many rounds are applied to what it begins with",
            reset,
        )
        .post("/jobs/{job}/readings", "Tell what a site has used", meter)
        .post("/jobs/{job}/progress", "Tell how a site gets on", progress)
        .post("/jobs/{job}/leave", "Leave a job, with what came out", leave)
        .post("/jobs/{job}/fail", "Tell that the program stopped with an error", fail)
        .post("/jobs/{job}/end", "Tell how a batch job's stay ended, and what came out", end)
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// With the closed rounds from this one on.
    #[serde(default)]
    from: u32,
    /// How many seconds to wait for something new, at most.
    #[serde(default)]
    wait: u64,
}

#[derive(Deserialize, JsonSchema)]
struct Attempt {
    /// The site's attempt.
    attempt: u32,
}

/// Orders, or that there are no new ones.
struct News(Response);

impl IntoResponse for News {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Tells for News {
    fn tell(operation: &mut Operation<'_>) {
        let tag = json!({"type": "string"});
        operation.reads("If-None-Match", &tag, "The ETag of the orders that are known.");
        operation.gives::<Orders>(&["ETag"]);
        operation.answer(304, "There is nothing new.", None, &[]);
    }
}

/// Answers when the orders are other than those the site knows, by their tag, or says 304 in the end.
async fn orders(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(site): At<SiteId>,
    Ask(wanted): Ask<Wanted>,
    headers: HeaderMap,
) -> Result<News, No> {
    own(&bearer, &site, format_args!("read the orders of site {site}"))?;
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok())
        .unwrap_or_default();
    let until = shared.until(wanted.wait);
    let mut changed = shared.changed.subscribe();
    let mut stopped = std::pin::pin!(shared.until_stopped());
    loop {
        changed.mark_unchanged();
        let orders = desk::orders(&*shared.read()?, &site, wanted.from);
        let body = serde_json::to_vec(&orders).expect("orders are plain data");
        let tag = format!("\"{}\"", Digest::of(&body).hex());
        if tag != known {
            let headers = [
                (header::ETAG, tag),
                (header::CONTENT_TYPE, "application/json".to_owned()),
            ];
            return Ok(News((headers, body).into_response()));
        }
        let more = tokio::select! {
            more = timeout_at(until, changed.changed()) => matches!(more, Ok(Ok(()))),
            () = &mut stopped => false,
        };
        if !more {
            return Ok(News(StatusCode::NOT_MODIFIED.into_response()));
        }
    }
}

async fn abilities(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(site): At<SiteId>,
    Body(told): Body<Abilities>,
) -> Answer<Done> {
    own(&bearer, &site, format_args!("say what site {site} can do"))?;
    shared
        .carry_out(bearer.actor, None, Command::TellAbilities(told))
        .await
}

/// Only the site itself may.
fn own(bearer: &Bearer, site: &SiteId, what: fmt::Arguments<'_>) -> Result<(), No> {
    if bearer.actor == Actor::Site(site.clone()) {
        return Ok(());
    }
    let detail = format!("{} can't {what}", bearer.actor);
    Err(Problem::new(403, "forbidden", detail)
        .hint("use the site's own credential")
        .into())
}

async fn join(State(shared): State<Arc<Shared>>, bearer: Bearer, At(job): At<JobId>) -> Answer<Done> {
    shared.carry_out(bearer.actor, None, Command::Join { job }).await
}

async fn contribute(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((job, round)): At<(JobId, u32)>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(update): Body<Update>,
) -> Answer<Done> {
    let command = Command::Contribute {
        job,
        round,
        attempt,
        update,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn inspect(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((job, round)): At<(JobId, u32)>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(report): Body<Report>,
) -> Answer<Done> {
    let command = Command::Inspect {
        job,
        round,
        attempt,
        report,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn tell_key(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(key): Body<MaskKey>,
) -> Answer<Done> {
    let command = Command::TellKey { job, attempt, key };
    shared.carry_out(bearer.actor, None, command).await
}

async fn unmask(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((job, round)): At<(JobId, u32)>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(seeds): Body<Seeds>,
) -> Answer<Done> {
    let command = Command::Unmask {
        job,
        round,
        attempt,
        seeds,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn applied(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((job, round)): At<(JobId, u32)>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(outer): Body<Digest>,
) -> Answer<Done> {
    shared
        .carry_out(
            bearer.actor,
            None,
            Command::Applied {
                job,
                round,
                attempt,
                outer,
            },
        )
        .await
}

async fn checkpoint(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At((job, round)): At<(JobId, u32)>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(Bytes { digest, bytes }): Body<Bytes>,
) -> Answer<Done> {
    let command = Command::Checkpoint {
        job,
        round,
        attempt,
        digest,
        bytes,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn reset(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(applied): Body<u32>,
) -> Answer<Done> {
    let command = Command::Reset {
        job,
        attempt,
        applied,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn meter(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Body(reading): Body<Reading>,
) -> Answer<Done> {
    shared
        .carry_out(bearer.actor, None, Command::Meter { job, reading })
        .await
}

/// Progress is for people's eyes: it isn't in the log.
async fn progress(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Body(progress): Body<Progress>,
) -> Answer<()> {
    let Actor::Site(site) = bearer.actor else {
        return Err(Problem::new(403, "forbidden", "only sites report progress").into());
    };
    // JSON has larger numbers than these, and none that is endless.
    if !progress.loss.is_finite() || !progress.tokens_per_s.is_finite() {
        let detail = "loss and tokens_per_s are numbers of 32 bits";
        return Err(Problem::new(400, "malformed", detail).into());
    }
    let placed = shared
        .read()?
        .jobs
        .get(&job)
        .is_some_and(|job| job.members.contains_key(&site));
    if !placed {
        return Err(Problem::new(404, "not-found", format!("site {site} has no place in {job}")).into());
    }
    shared.note_progress(job, site, progress);
    Ok(Json(()))
}

async fn leave(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    At(job): At<JobId>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(outputs): Body<Vec<Output>>,
) -> Answer<Done> {
    shared
        .carry_out(
            bearer.actor,
            key,
            Command::Leave {
                job,
                attempt,
                outputs,
            },
        )
        .await
}

async fn end(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body((exit, outputs)): Body<(Exit, Vec<Output>)>,
) -> Answer<Done> {
    let command = Command::End {
        job,
        attempt,
        exit,
        outputs,
    };
    shared.carry_out(bearer.actor, None, command).await
}

async fn fail(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(Attempt { attempt }): Ask<Attempt>,
    Body(message): Body<String>,
) -> Answer<Done> {
    shared
        .carry_out(
            bearer.actor,
            None,
            Command::Fail {
                job,
                attempt,
                message,
            },
        )
        .await
}
