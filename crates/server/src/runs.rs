//! Runs, for whoever reads them with khub's own tools. They are logged by MLflow's clients, through `mlflow.rs`.

pub(crate) mod filter;
pub(crate) mod search;

use crate::extract::{Answer, Ask, At, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::Limit;
use crate::views;
use api::{HistoryView, MetricView, PointView, Problem, RunView};
use axum::extract::State;
use consortium::{ProjectId, Run, RunId};
use filter::{Filter, Order};
use schemars::JsonSchema;
use search::{Found, Search, View};
use serde::Deserialize;
use std::sync::Arc;
use store::{Last, Point};

pub(crate) fn routes() -> Routes {
    Routes::about("runs")
        .get(
            "/projects/{project}/runs",
            "A project's runs that one may read, newest first",
            list,
        )
        .or(&[422])
        .get(
            "/runs/{run}",
            "A run, with the newest of all that it measured",
            show,
        )
        .get(
            "/runs/{run}/history",
            "What a run measured under a name, step by step",
            history,
        )
        .or(&[422])
}

/// Which of a project's runs.
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Only what comes after this one: the last of the part before.
    after: Option<RunId>,
    /// How many at most.
    #[serde(default)]
    limit: Limit,
    /// Only those of which this holds, as `metrics.loss < 0.5 AND params.lr = '0.1'`.
    filter: Option<String>,
    /// In this order, as `metrics.loss ASC`.
    order: Option<String>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(project): At<ProjectId>,
    Ask(wanted): Ask<Wanted>,
) -> Answer<Vec<RunView>> {
    views::known_project(&*shared.read()?, &bearer.actor, &project)?;
    let search = Search {
        filter: Filter::parse(wanted.filter.as_deref().unwrap_or_default())?,
        order: Order::parse(wanted.order.as_deref())?,
        view: View::Active,
    };
    let limit = wanted.limit.get();
    let part = search
        .part(&shared, &bearer.actor, &[project], wanted.after, limit)
        .await?;
    Ok(Json(part.runs.iter().map(view).collect()))
}

async fn show(State(shared): State<Arc<Shared>>, bearer: Bearer, At(run): At<RunId>) -> Answer<RunView> {
    Ok(Json(view(&search::one(&shared, &bearer.actor, run).await?)))
}

/// Which part of a history.
#[derive(Deserialize, JsonSchema)]
struct OfHistory {
    /// Of what, as `loss`.
    key: String,
    /// Only what comes after this: `next` of the part before.
    after: Option<String>,
    /// How many points at most.
    #[serde(default)]
    limit: Limit,
    /// Instead of a part, about so many points of the whole, evenly: for a picture.
    samples: Option<Limit>,
}

async fn history(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(run): At<RunId>,
    Ask(wanted): Ask<OfHistory>,
) -> Answer<HistoryView> {
    if let Some(samples) = wanted.samples {
        let points = thinned(&shared, &bearer.actor, run, wanted.key, samples.get()).await?;
        let points = points.iter().map(point_view).collect();
        return Ok(Json(HistoryView { points, next: None }));
    }
    let (limit, after) = (wanted.limit.get(), wanted.after.as_deref());
    let (points, next) = points(&shared, &bearer.actor, run, wanted.key, after, limit).await?;
    let points = points.iter().map(point_view).collect();
    Ok(Json(HistoryView { points, next }))
}

/// A part of a run's history, if `actor` may read the run, and where the next part begins.
pub(crate) async fn points(
    shared: &Arc<Shared>,
    actor: &consortium::Actor,
    run: RunId,
    key: String,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Point>, Option<String>), Problem> {
    shared.read()?.run_for(actor, run)?;
    let after = after.map(place).transpose()?;
    let read = move |reader: &store::Reader| reader.history(run, &key, after, limit + 1);
    let mut points = shared.read_log(read).await?;
    let more = points.len() > limit;
    points.truncate(limit);
    let next = points.last().filter(|_| more).map(place_of);
    Ok((points, next))
}

/// Every so manieth point of a run's history and the last, so that there are `samples` or one more, if `actor` may read the run.
async fn thinned(
    shared: &Arc<Shared>,
    actor: &consortium::Actor,
    run: RunId,
    key: String,
    samples: usize,
) -> Result<Vec<Point>, Problem> {
    shared.read()?.run_for(actor, run)?;
    let read = move |reader: &store::Reader| {
        let keys = [key.clone()];
        let last = reader.last_points(&[run], Some(&keys))?.remove(&run);
        let count = last
            .and_then(|last| Some(last.first()?.points))
            .unwrap_or_default();
        let every = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .div_ceil(samples)
            .max(1);
        let (mut kept, mut seen) = (Vec::new(), 0usize);
        let mut after = None;
        loop {
            let part = reader.history(run, &key, after, AT_ONCE)?;
            kept.extend(
                part.iter()
                    .enumerate()
                    .filter(|(i, _)| (seen + i).is_multiple_of(every))
                    .map(|(_, it)| *it),
            );
            seen += part.len();
            let Some(end) = part.last().copied().filter(|_| part.len() == AT_ONCE) else {
                let end = part.last().copied().or(after);
                kept.extend(end.filter(|end| kept.last() != Some(end)));
                return Ok(kept);
            };
            after = Some(end);
        }
    };
    shared.read_log(read).await
}

/// So many points of a history are in memory at once where only some of them are wanted.
const AT_ONCE: usize = 10_000;

/// A point's place in a history as text: step, time and the bits of its value.
fn place_of(point: &Point) -> String {
    format!("{}_{}_{:016x}", point.step, point.at, point.value.to_bits())
}

fn place(text: &str) -> Result<Point, Problem> {
    let mut parts = text.splitn(3, '_');
    let mut read = || {
        let (step, at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let value = f64::from_bits(u64::from_str_radix(parts.next()?, 16).ok()?);
        Some(Point { step, at, value })
    };
    read().ok_or_else(|| Problem::new(422, "invalid", "this is not where a part of a history ended"))
}

fn view(found: &Found) -> RunView {
    let metrics = found.last.iter().map(metric_view).collect();
    let run = Run {
        label: found.label,
        ..Run::clone(&found.run)
    };
    RunView { run, metrics }
}

fn metric_view(last: &Last) -> MetricView {
    MetricView {
        key: last.key.clone(),
        points: last.points,
        last: point_view(&last.point),
    }
}

fn point_view(point: &Point) -> PointView {
    PointView {
        step: point.step,
        at: point.at,
        value: point.value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_text_and_nothing_else_is_one() {
        for value in [0.1, -0.0, f64::NAN, f64::NEG_INFINITY] {
            let point = Point {
                step: -3,
                at: i64::MIN,
                value,
            };
            assert_eq!(place(&place_of(&point)).unwrap(), point);
        }
        for bad in [
            "",
            "_",
            "1_2",
            "1_2_x",
            "1_2_3_4",
            "99999999999999999999_1_0",
            "é_1_2",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
