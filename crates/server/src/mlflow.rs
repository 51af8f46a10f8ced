//! MLflow's tracking protocol. With `MLFLOW_TRACKING_URI` set to the hub's address and `MLFLOW_TRACKING_TOKEN` to a token
//! of khub's, `mlflow` logs runs to a project; the project is what MLflow calls an experiment, under its own name.
//!
//! | request, under `/api/2.0/mlflow` | what for |
//! |---|---|
//! | `experiments/get`, `get-by-name`, `search` | the projects that one may know of |
//! | `runs/create`, `update`, `delete`, `restore` | a run's beginning and end |
//! | `runs/log-parameter`, `log-metric`, `set-tag`, `delete-tag`, `log-batch` | what is logged |
//! | `runs/get`, `runs/search`, `metrics/get-history`, `artifacts/list` | what was logged |
//! | `/api/2.0/mlflow-artifacts/artifacts/...` | files, in `mlflow/files.rs` |
//!
//! Anything else answers that it isn't there. A no has MLflow's form, with an `error_code` and a `message`; what one may
//! not read is told from what isn't there by nothing.

mod error;
mod files;
mod words;

use crate::extract::{Ask, Bearer, Body, Json, No, no_such_method};
use crate::hub::Shared;
use crate::runs::filter::{Filter, Named, Order};
use crate::runs::search::{self, Found, JOB, LABEL, MADE_FROM, NAME, Search, View};
use crate::{runs, views};
use api::Problem;
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{any, get, post};
use consortium::run::check_key;
use consortium::{
    Actor, Command, Digest, Label, ProjectId, Request, RunCommand, RunId, State as Consortium, Time,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Measured, Point};
use words::{
    Batch, Create, Experiments, GetByName, GetExperiment, GetHistory, GetRun, LogMetric, LogParam, Runs,
    SetTag, Untag, Update,
};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/2.0/mlflow/experiments/get", get(experiment))
        .route("/api/2.0/mlflow/experiments/get-by-name", get(experiment_by_name))
        .route("/api/2.0/mlflow/experiments/search", post(experiments))
        .route("/api/2.0/mlflow/experiments/create", post(no_new_experiment))
        .route("/api/2.0/mlflow/runs/create", post(create))
        .route("/api/2.0/mlflow/runs/update", post(update))
        .route("/api/2.0/mlflow/runs/delete", post(delete))
        .route("/api/2.0/mlflow/runs/restore", post(restore))
        .route("/api/2.0/mlflow/runs/log-parameter", post(log_param))
        .route("/api/2.0/mlflow/runs/log-metric", post(log_metric))
        .route("/api/2.0/mlflow/runs/log-batch", post(log_batch))
        .route("/api/2.0/mlflow/runs/set-tag", post(set_tag))
        .route("/api/2.0/mlflow/runs/delete-tag", post(untag))
        .route("/api/2.0/mlflow/runs/get", get(run))
        .route("/api/2.0/mlflow/runs/search", post(find))
        .route("/api/2.0/mlflow/metrics/get-history", get(history))
        .route("/api/2.0/mlflow/artifacts/list", get(files::of_run))
        .route("/api/2.0/mlflow/logged-models/search", post(no_models))
        .route("/api/2.0/mlflow-artifacts/artifacts", get(files::list))
        .route(
            "/api/2.0/mlflow-artifacts/artifacts/{project}/{run}/artifacts/{*path}",
            get(files::fetch).put(files::keep),
        )
        .route("/api/2.0/mlflow/{*rest}", any(not_there))
        .route("/api/2.0/mlflow-artifacts/{*rest}", any(not_there))
        .route("/api/3.0/mlflow/{*rest}", any(not_there))
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::map_response(error::in_their_form))
}

type Told = Result<Json<Value>, No>;

/// The most of everything in one batch, of parameters and of tags: as MLflow's own server has it.
const BATCH: usize = 1_000;
const BATCH_OF_TEXTS: usize = 100;
/// The most runs, projects and points in one answer.
const RUNS: usize = 50_000;
const POINTS: usize = 25_000;

async fn not_there(bearer: Bearer, uri: Uri) -> Result<(), No> {
    drop(bearer);
    let why = format!("khub tracks runs and has no {}", uri.path());
    Err(Problem::new(404, error::NO_ENDPOINT, why)
        .hint("docs/tracking.md says what there is of MLflow")
        .into())
}

/// These clients look for models wherever they list files; khub has them under names of their own (`huggingface.rs`).
async fn no_models(bearer: Bearer) -> Told {
    drop(bearer);
    Ok(Json(words::part("models", Vec::new(), None)))
}

// ---- experiments -----------------------------------------------------------------------------------------

async fn experiment(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(asked): Ask<GetExperiment>,
) -> Told {
    told_experiment(&shared, &bearer.actor, &asked.experiment_id)
}

async fn experiment_by_name(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(asked): Ask<GetByName>,
) -> Told {
    told_experiment(&shared, &bearer.actor, &asked.experiment_name)
}

fn told_experiment(shared: &Shared, actor: &Actor, name: &str) -> Told {
    let state = shared.read()?;
    let project = known(&state, actor, name)?;
    Ok(Json(json!({ "experiment": words::experiment(&state, &project) })))
}

/// The project of that name, if `actor` may know of it.
fn known(state: &Consortium, actor: &Actor, name: &str) -> Result<ProjectId, Problem> {
    let unknown = || {
        let name: String = name.chars().take(80).collect();
        Problem::new(404, "not-found", format!("there is no project {name:?}"))
            .hint("an experiment is a project of the consortium: mlflow.set_experiment(\"PROJECT\")")
    };
    let project: ProjectId = name.parse().map_err(|_| unknown())?;
    views::known_project(state, actor, &project).map_err(|_| unknown())?;
    Ok(project)
}

async fn experiments(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Body(asked): Body<Experiments>,
) -> Told {
    let state = shared.read()?;
    let wanted = Named::parse(asked.filter.as_deref().unwrap_or_default())?;
    let after = asked.page_token.filter(|token| !token.is_empty());
    let all = views::known_projects(&state, &bearer.actor).into_iter();
    let behind = all.filter(|project| {
        after
            .as_ref()
            .is_none_or(|after| project.as_str() > after.as_str())
    });
    let mut found: Vec<&ProjectId> = behind
        .filter(|project| {
            asked.view_type.as_deref() != Some("DELETED_ONLY") && wanted.takes(project.as_str())
        })
        .collect();
    let limit = asked.max_results.unwrap_or(1_000).clamp(1, RUNS as u64) as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|project| project.to_string());
    let told: Vec<Value> = found
        .iter()
        .map(|project| words::experiment(&state, project))
        .collect();
    Ok(Json(words::part("experiments", told, next)))
}

async fn no_new_experiment(bearer: Bearer) -> Result<(), No> {
    drop(bearer);
    let why = "an experiment is a project of the consortium, and the programme office opens those";
    let no = Problem::new(403, "forbidden", why);
    Err(no
        .hint("mlflow.set_experiment takes a project that mlflow.search_experiments() lists")
        .into())
}

// ---- what is logged --------------------------------------------------------------------------------------

async fn create(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<Create>) -> Told {
    let project = known(&*shared.read()?, &bearer.actor, &asked.experiment_id)?;
    let mut tags = words::texts(asked.tags);
    let (label, job) = (taken(&mut tags, LABEL)?, taken(&mut tags, JOB)?);
    let made_from = tags.remove(MADE_FROM).unwrap_or_default();
    let made_from = made_from.split([',', ' ']).filter(|text| !text.is_empty());
    let made_from: Result<Vec<Digest>, _> = made_from.map(|text| read(MADE_FROM, text)).collect();
    let id = new_id()?;
    let named = tags.remove(NAME);
    let name = asked.run_name.filter(|name| !name.is_empty()).or(named);
    plain(&tags)?;
    let command = RunCommand::Begin {
        project,
        name: name.unwrap_or_else(|| format!("run-{:.8}", id.to_string())),
        started: asked.start_time.map_or_else(|| shared.now(), time),
        label,
        job,
        made_from: made_from?,
        tags,
    };
    does(&shared, &bearer.actor, id, command).await?;
    told_run(&shared, &bearer.actor, id).await
}

async fn update(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<Update>) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    let command = RunCommand::Update {
        status: asked.status.as_deref().map(words::status).transpose()?,
        ended: asked.end_time.map(time),
        name: asked.run_name.filter(|name| !name.is_empty()),
    };
    does(&shared, &bearer.actor, run, command).await?;
    let found = search::one(&shared, &bearer.actor, run).await?;
    Ok(Json(json!({ "run_info": words::info(&found) })))
}

async fn delete(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<GetRun>) -> Told {
    does(&shared, &bearer.actor, asked.id()?, RunCommand::Delete).await
}

async fn restore(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<GetRun>) -> Told {
    does(&shared, &bearer.actor, asked.id()?, RunCommand::Restore).await
}

async fn log_param(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<LogParam>) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    let params = [(asked.key, asked.value)].into();
    let tags = BTreeMap::new();
    does(&shared, &bearer.actor, run, RunCommand::Note { params, tags }).await
}

async fn log_metric(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<LogMetric>) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    log(
        &shared,
        &bearer.actor,
        run,
        vec![asked.metric],
        BTreeMap::new(),
        BTreeMap::new(),
    )
    .await
}

async fn log_batch(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<Batch>) -> Told {
    let run = words::run_id(asked.run_id, None)?;
    let (metrics, params, tags) = (asked.metrics, asked.params, asked.tags);
    let texts = params.len().max(tags.len());
    if texts > BATCH_OF_TEXTS || metrics.len() + params.len() + tags.len() > BATCH {
        let why = format!(
            "the batch has {} metrics, {} parameters and {} tags",
            metrics.len(),
            params.len(),
            tags.len()
        );
        let hint = format!("up to {BATCH_OF_TEXTS} parameters and as many tags, and {BATCH} of all together");
        return Err(Problem::new(400, "malformed", why).hint(hint).into());
    }
    let mut keyed = BTreeMap::new();
    for param in params {
        let (key, value) = (param.key, param.value);
        if keyed
            .insert(key.clone(), value.clone())
            .is_some_and(|other| other != value)
        {
            let why = format!("the batch has two values of parameter {key:?}");
            return Err(Problem::new(400, "malformed", why).into());
        }
    }
    log(&shared, &bearer.actor, run, metrics, keyed, words::texts(tags)).await
}

async fn set_tag(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<SetTag>) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    let tags = [(asked.key, asked.value)].into();
    log(&shared, &bearer.actor, run, Vec::new(), BTreeMap::new(), tags).await
}

async fn untag(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<Untag>) -> Told {
    let run = words::run_id(asked.run_id, None)?;
    if asked.key == NAME || asked.key.starts_with("khub.") {
        let why = format!("{} is no tag that can be taken away", asked.key);
        return Err(Problem::new(400, "malformed", why).into());
    }
    does(&shared, &bearer.actor, run, RunCommand::Untag(asked.key)).await
}

/// All of it in one transaction, but for a stricter label, which comes first, and another name, which comes last.
async fn log(
    shared: &Arc<Shared>,
    actor: &Actor,
    run: RunId,
    metrics: Vec<words::Metric>,
    params: BTreeMap<String, String>,
    mut tags: BTreeMap<String, String>,
) -> Told {
    let label: Option<Label> = taken(&mut tags, LABEL)?;
    let name = tags.remove(NAME);
    plain(&tags)?;
    let measured: Vec<Measured> = metrics
        .into_iter()
        .map(|metric| measured(run, metric, shared.now()))
        .collect::<Result<_, _>>()?;
    if let Some(label) = label {
        does(shared, actor, run, RunCommand::Restrict(label)).await?;
    }
    let only_others = measured.is_empty() && params.is_empty() && tags.is_empty();
    if !only_others || (label.is_none() && name.is_none()) {
        let command = Command::Run(run, RunCommand::Note { params, tags });
        shared
            .ask_with(Request::new(actor.clone(), command), measured)
            .await?;
    }
    if let Some(name) = name {
        let (status, ended, name) = (None, None, Some(name));
        does(shared, actor, run, RunCommand::Update { status, ended, name }).await?;
    }
    Ok(Json(json!({})))
}

fn measured(run: RunId, metric: words::Metric, now: Time) -> Result<Measured, Problem> {
    check_key("metric", &metric.key)?;
    let point = Point {
        step: metric.step.unwrap_or_default(),
        at: metric.timestamp.unwrap_or(now.0.cast_signed()),
        value: metric.value.0,
    };
    let key = metric.key;
    Ok(Measured { run, key, point })
}

async fn does(shared: &Arc<Shared>, actor: &Actor, run: RunId, command: RunCommand) -> Told {
    let request = Request::new(actor.clone(), Command::Run(run, command));
    shared.ask(request).await?;
    Ok(Json(json!({})))
}

/// The value of a tag that is more than text.
fn taken<T: DeserializeOwned>(tags: &mut BTreeMap<String, String>, key: &str) -> Result<Option<T>, Problem> {
    tags.remove(key).map(|text| read(key, &text)).transpose()
}

/// A word of khub's own.
fn read<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, Problem> {
    let wrong = |why| Problem::new(400, "malformed", format!("{key}: {why}"));
    serde_json::from_value(Value::String(text.trim().to_owned())).map_err(wrong)
}

/// Tags of khub's that aren't there would only seem to have an effect.
fn plain(tags: &BTreeMap<String, String>) -> Result<(), Problem> {
    let Some(key) = tags.keys().find(|key| key.starts_with("khub.")) else {
        return Ok(());
    };
    let known = format!("{LABEL}, and when a run begins {JOB} and {MADE_FROM}");
    Err(
        Problem::new(400, "malformed", format!("{key:?} can't be set here"))
            .hint(format!("tags of khub's own are {known}")),
    )
}

/// As a client tells it; before 1970 there were none.
fn time(millis: i64) -> Time {
    Time(u64::try_from(millis).unwrap_or_default())
}

fn new_id() -> Result<RunId, Problem> {
    let mut id = [0; 16];
    let none = |e| {
        Problem::new(
            500,
            "internal",
            format!("the machine gives no random numbers: {e}"),
        )
    };
    getrandom::fill(&mut id).map_err(none)?;
    Ok(RunId(id))
}

// ---- what was logged -------------------------------------------------------------------------------------

async fn run(State(shared): State<Arc<Shared>>, bearer: Bearer, Ask(asked): Ask<GetRun>) -> Told {
    told_run(&shared, &bearer.actor, asked.id()?).await
}

async fn told_run(shared: &Arc<Shared>, actor: &Actor, id: RunId) -> Told {
    let found = search::one(shared, actor, id).await?;
    Ok(Json(json!({ "run": words::run(&found) })))
}

async fn find(State(shared): State<Arc<Shared>>, bearer: Bearer, Body(asked): Body<Runs>) -> Told {
    let projects: Vec<ProjectId> = {
        let state = shared.read()?;
        let ids = asked.experiment_ids.iter();
        ids.filter_map(|id| known(&state, &bearer.actor, id).ok())
            .collect()
    };
    let search = Search {
        filter: Filter::parse(asked.filter.as_deref().unwrap_or_default())?,
        order: Order::parse(asked.order_by.iter().map(String::as_str))?,
        view: match asked.run_view_type.as_deref() {
            Some("DELETED_ONLY") => View::Deleted,
            Some("ALL") => View::All,
            _ => View::Active,
        },
    };
    let after = asked.page_token.filter(|token| !token.is_empty());
    let after = after.map(|token| read("page_token", &token)).transpose()?;
    let limit = asked.max_results.unwrap_or(1_000).clamp(1, RUNS as u64) as usize;
    let part = search
        .part(&shared, &bearer.actor, &projects, after, limit)
        .await?;
    let next = part
        .runs
        .last()
        .filter(|_| part.more)
        .map(|found: &Found| found.run.id.to_string());
    let told: Vec<Value> = part.runs.iter().map(words::run).collect();
    Ok(Json(words::part("runs", told, next)))
}

async fn history(State(shared): State<Arc<Shared>>, bearer: Bearer, Ask(asked): Ask<GetHistory>) -> Told {
    let run = words::run_id(asked.run_id, asked.run_uuid)?;
    let limit = asked.max_results.unwrap_or(POINTS as u64).clamp(1, POINTS as u64) as usize;
    let after = asked.page_token.filter(|token| !token.is_empty());
    let key = asked.metric_key;
    let (points, next) =
        runs::points(&shared, &bearer.actor, run, key.clone(), after.as_deref(), limit).await?;
    let told: Vec<Value> = points.iter().map(|point| words::metric(&key, point)).collect();
    Ok(Json(words::part("metrics", told, next)))
}
