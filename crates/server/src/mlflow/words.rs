//! What these clients say and hear: MLflow's messages as JSON. Of what they say, fields that khub has no use for are left
//! unread, as MLflow's own server does with those of newer clients.

use crate::runs::search::{Found, status as word};
use api::{Number, Problem};
use consortium::{ProjectId, RunId, RunStatus, State};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use store::Point;

#[derive(Deserialize)]
pub(super) struct GetExperiment {
    pub(super) experiment_id: String,
}

#[derive(Deserialize)]
pub(super) struct GetByName {
    pub(super) experiment_name: String,
}

#[derive(Deserialize)]
pub(super) struct Experiments {
    pub(super) filter: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) max_results: Option<u64>,
    pub(super) page_token: Option<String>,
    pub(super) view_type: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Create {
    #[serde(default)]
    pub(super) experiment_id: String,
    #[serde(default, deserialize_with = "whole")]
    pub(super) start_time: Option<i64>,
    #[serde(default)]
    pub(super) tags: Vec<Text>,
    pub(super) run_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Update {
    pub(super) run_id: Option<String>,
    pub(super) run_uuid: Option<String>,
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) end_time: Option<i64>,
    pub(super) run_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct GetRun {
    run_id: Option<String>,
    run_uuid: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LogParam {
    pub(super) run_id: Option<String>,
    pub(super) run_uuid: Option<String>,
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct LogMetric {
    pub(super) run_id: Option<String>,
    pub(super) run_uuid: Option<String>,
    #[serde(flatten)]
    pub(super) metric: Metric,
}

#[derive(Deserialize)]
pub(super) struct SetTag {
    pub(super) run_id: Option<String>,
    pub(super) run_uuid: Option<String>,
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct Untag {
    pub(super) run_id: Option<String>,
    pub(super) key: String,
}

#[derive(Deserialize)]
pub(super) struct Batch {
    pub(super) run_id: Option<String>,
    #[serde(default)]
    pub(super) metrics: Vec<Metric>,
    #[serde(default)]
    pub(super) params: Vec<Text>,
    #[serde(default)]
    pub(super) tags: Vec<Text>,
}

#[derive(Deserialize)]
pub(super) struct Runs {
    #[serde(default)]
    pub(super) experiment_ids: Vec<String>,
    pub(super) filter: Option<String>,
    pub(super) run_view_type: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) max_results: Option<u64>,
    #[serde(default)]
    pub(super) order_by: Vec<String>,
    pub(super) page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct GetHistory {
    pub(super) run_id: Option<String>,
    pub(super) run_uuid: Option<String>,
    pub(super) metric_key: String,
    pub(super) max_results: Option<u64>,
    pub(super) page_token: Option<String>,
}

/// A parameter or a tag.
#[derive(Deserialize)]
pub(super) struct Text {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
pub(super) struct Metric {
    pub(super) key: String,
    pub(super) value: Number,
    #[serde(default, deserialize_with = "whole")]
    pub(super) timestamp: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    pub(super) step: Option<i64>,
}

impl GetRun {
    pub(super) fn id(self) -> Result<RunId, Problem> {
        run_id(self.run_id, self.run_uuid)
    }
}

/// A run by either of its two names for a name. What can't be one names no run.
pub(super) fn run_id(id: Option<String>, uuid: Option<String>) -> Result<RunId, Problem> {
    let text = id.filter(|id| !id.is_empty()).or(uuid).unwrap_or_default();
    text.parse().map_err(|_| {
        let text: String = text.chars().take(80).collect();
        Problem::new(404, "not-found", format!("there is no run {text}"))
    })
}

/// Numbers of 64 bits come as numbers or, from some clients, as text.
fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    let written = Option::<Written>::deserialize(deserializer)?;
    let number = written.map(|written| match written {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text
            .parse()
            .map_err(|_| serde::de::Error::custom("no whole number")),
    });
    let wrong = |_| serde::de::Error::custom("a whole number is out of range");
    number
        .transpose()?
        .map(|number| T::try_from(number).map_err(wrong))
        .transpose()
}

pub(super) fn texts(all: Vec<Text>) -> BTreeMap<String, String> {
    all.into_iter().map(|text| (text.key, text.value)).collect()
}

pub(super) fn status(text: &str) -> Result<RunStatus, Problem> {
    let all = [
        RunStatus::Running,
        RunStatus::Scheduled,
        RunStatus::Finished,
        RunStatus::Failed,
        RunStatus::Killed,
    ];
    let wrong = || {
        let text: String = text.chars().take(40).collect();
        Problem::new(400, "malformed", format!("{text:?} is no status of a run"))
    };
    all.into_iter()
        .find(|status| word(*status) == text)
        .ok_or_else(wrong)
}

// ---- what they hear --------------------------------------------------------------------------------------

/// A list, and the token of the part behind it.
pub(super) fn part(name: &str, list: Vec<Value>, next: Option<String>) -> Value {
    let mut told = Map::new();
    told.insert(name.to_owned(), Value::Array(list));
    if let Some(next) = next {
        told.insert("next_page_token".to_owned(), Value::String(next));
    }
    Value::Object(told)
}

pub(super) fn experiment(state: &State, id: &ProjectId) -> Value {
    let project = state.projects.get(id);
    let tags: Vec<Value> = project
        .into_iter()
        .flat_map(|project| {
            [
                ("khub.title", project.title.clone()),
                ("khub.organisation", project.organisation.to_string()),
                ("khub.programme", project.programme.to_string()),
            ]
        })
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    json!({
        "experiment_id": id, "name": id, "artifact_location": format!("mlflow-artifacts:/{id}"),
        "lifecycle_stage": "active", "tags": tags,
    })
}

pub(super) fn info(found: &Found) -> Value {
    let run = &found.run;
    let mut info = json!({
        "run_id": run.id, "run_uuid": run.id, "run_name": run.name, "experiment_id": run.project,
        "user_id": run.by, "status": word(run.status), "start_time": run.started, "artifact_uri": found.files_at(),
        "lifecycle_stage": if run.deleted.is_some() { "deleted" } else { "active" },
    });
    if let Some(ended) = run.ended {
        info["end_time"] = json!(ended);
    }
    info
}

pub(super) fn run(found: &Found) -> Value {
    let pairs = |texts: &BTreeMap<String, String>| -> Vec<Value> {
        let pairs = texts
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }));
        pairs.collect()
    };
    let metrics: Vec<Value> = found
        .last
        .iter()
        .map(|last| metric(&last.key, &last.point))
        .collect();
    json!({
        "info": info(found),
        "data": { "metrics": metrics, "params": pairs(&found.run.params), "tags": pairs(&found.tags()) },
        "inputs": {},
    })
}

pub(super) fn metric(key: &str, point: &Point) -> Value {
    json!({ "key": key, "value": Number(point.value), "timestamp": point.at, "step": point.step })
}
