//! A programme's leaderboard, of what its reports say of themselves.
//!
//! ```json
//! {"board": {"judged_on": "blake3:9f...", "rank_by": "lddt_ca", "higher_is_better": true,
//!            "scores": {"lddt_ca": 0.63, "tm_score": 0.48}}}
//! ```
//!
//! A report whose JSON has such an object stands on the board of those who may read it; nobody learns of others.

use crate::artifacts::{let_out, not_kept};
use crate::extract::{Answer, Ask, At, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Limit, fits};
use crate::views;
use api::{Board, Problem, Ranked, Ranking};
use axum::extract::State;
use consortium::{Actor, Artifact, ArtifactId, ArtifactKind, Digest, Programme};
use schemars::JsonSchema;
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Blobs;

/// The most bytes of a report, and of measures in it.
const LARGEST: u64 = 1_000_000;
const MEASURES: usize = 32;

pub(crate) fn routes() -> Routes {
    Routes::about("artifacts").get(
        "/programmes/{programme}/board",
        "A programme's leaderboard, of the reports that one may read",
        board,
    )
}

#[derive(Deserialize)]
struct Report {
    board: Judged,
}

#[derive(Deserialize)]
struct Judged {
    judged_on: Digest,
    rank_by: String,
    higher_is_better: bool,
    /// What couldn't be measured is null.
    scores: BTreeMap<String, Option<f64>>,
}

/// Which part of each ranking.
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Only results after so many better ones.
    #[serde(default)]
    after: u32,
    /// How many of each ranking at most.
    #[serde(default)]
    limit: Limit,
    /// Only those that were judged on this data.
    judged_on: Option<Digest>,
}

async fn board(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(programme): At<Programme>,
    Ask(wanted): Ask<Wanted>,
) -> Answer<Board> {
    let reports = reports(&shared, programme)?;
    let read = move || {
        let all = reports.iter().map(|id| result(&shared, &bearer.actor, id));
        all.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
    };
    let internal = |e: tokio::task::JoinError| Problem::new(500, "internal", e.to_string());
    let mut results = tokio::task::spawn_blocking(read).await.map_err(internal)??;
    results.retain(|(judged, _)| fits(wanted.judged_on.as_ref(), &judged.judged_on));
    let mut rankings = ranked(results);
    for ranking in &mut rankings {
        let results = std::mem::take(&mut ranking.results).into_iter();
        ranking.results = results
            .skip(wanted.after as usize)
            .take(wanted.limit.get())
            .collect();
    }
    rankings.retain(|ranking| !ranking.results.is_empty());
    Ok(Json(Board { programme, rankings }))
}

/// The programme's reports, read or not.
fn reports(shared: &Shared, programme: Programme) -> Result<Vec<ArtifactId>, Problem> {
    let state = shared.read()?;
    let fits = |artifact: &&Artifact| {
        let project = state.projects.get(&artifact.id.project);
        artifact.kind == ArtifactKind::Report
            && artifact.bytes <= LARGEST
            && project.is_some_and(|project| project.programme == programme)
    };
    let fitting = state.artifacts.values().filter(fits);
    Ok(fitting.map(|artifact| artifact.id.clone()).collect())
}

/// What a report says, if `actor` may read it and it says something for a board.
fn result(shared: &Shared, actor: &Actor, id: &ArtifactId) -> Result<Option<(Judged, Ranked)>, Problem> {
    let (reader, artifact) = match let_out(shared, actor, id, Blobs::reader) {
        Ok(found) => found,
        Err(problem) if problem.status == 403 => return Ok(None),
        Err(problem) => return Err(problem),
    };
    let text = reader.read_all(LARGEST);
    let text = text.map_err(|e| not_kept(&e))?;
    let Ok(Report { board: judged }) = serde_json::from_slice(&text) else {
        return Ok(None);
    };
    let scores = judged.scores.iter();
    let scores = scores.filter_map(|(name, score)| Some((name.clone(), (*score)?)));
    let scores: BTreeMap<String, f64> = scores.collect();
    if judged.scores.len() > MEASURES || !scores.contains_key(&judged.rank_by) {
        return Ok(None);
    }
    let state = shared.read()?;
    let Some(project) = state.projects.get(&id.project) else {
        return Ok(None);
    };
    let job = artifact.job.and_then(|job| state.jobs.get(&job));
    let job = job.filter(|job| views::may_read(&state, actor, job));
    let ranked = Ranked {
        job: artifact.job,
        name: job.map_or(artifact.name, |job| job.spec.name.clone()),
        report: artifact.id,
        label: artifact.label,
        organisation: project.organisation.clone(),
        scores,
    };
    Ok(Some((judged, ranked)))
}

/// A ranking for each set and measure, the best first; whoever is equal stands in the order of the digests.
fn ranked(results: Vec<(Judged, Ranked)>) -> Vec<Ranking> {
    let mut rankings = BTreeMap::new();
    for (judged, result) in results {
        let of = (judged.judged_on, judged.rank_by, judged.higher_is_better);
        rankings.entry(of).or_insert_with(Vec::new).push(result);
    }
    let rank = |((judged_on, rank_by, higher_is_better), mut results): (_, Vec<Ranked>)| {
        let by = |a: &Ranked, b: &Ranked| -> Ordering {
            let rising = a.scores[&rank_by].total_cmp(&b.scores[&rank_by]);
            if higher_is_better {
                rising.reverse()
            } else {
                rising
            }
        };
        results.sort_by(by);
        Ranking {
            judged_on,
            rank_by,
            higher_is_better,
            results,
        }
    };
    rankings.into_iter().map(rank).collect()
}
