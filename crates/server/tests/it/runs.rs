//! Runs over HTTP, in MLflow's words and in khub's. The real client is in `python/tests/test_mlflow.py`.

use crate::matrix::request;
use crate::world::{PROJECT, World};
use api::Number;
use consortium::{Holder, Label, RunId};
use serde_json::{Value, json};

/// Somebody with MLflow's client.
struct Logger {
    url: String,
    token: String,
}

impl World {
    fn logger(&self, name: &str) -> Logger {
        let token = self.hub.issue(Holder::Person(name.parse().unwrap())).unwrap();
        Logger {
            url: self.hub.url(),
            token,
        }
    }
}

impl Logger {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("/api/2.0/mlflow{path}");
        let (status, answer) = request(&self.url, &self.token, method, &path, body);
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn must(&self, path: &str, body: &Value) -> Value {
        let method = if body.is_null() { "GET" } else { "POST" };
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{path} {answer}");
        answer
    }

    /// The status, MLflow's name for the sort of no, and the words.
    fn no(&self, path: &str, body: &Value) -> (u16, String, String) {
        let method = if body.is_null() { "GET" } else { "POST" };
        let (status, answer) = self.ask(method, path, body);
        assert_ne!(status, 200, "{path} {answer}");
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        (status, text("error_code"), text("message"))
    }

    fn begin(&self, more: &Value) -> String {
        let mut body = json!({"experiment_id": PROJECT, "start_time": 7});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let run = self.must("/runs/create", &body);
        run["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    fn label(&self, label: &str) -> String {
        self.begin(&json!({"run_name": label, "tags": [{"key": "khub.label", "value": label}]}))
    }

    fn names(&self, more: &Value) -> Vec<String> {
        let mut body = json!({"experiment_ids": [PROJECT]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let found = self.must("/runs/search", &body);
        let runs = found["runs"].as_array().unwrap().iter();
        runs.map(|run| run["info"]["run_name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn metric(run: &str, step: i64, value: impl Into<Value>) -> Value {
    json!({"run_id": run, "key": "loss", "value": value.into(), "timestamp": 1_000 + step, "step": step})
}

#[test]
fn a_run_from_its_beginning_to_its_end_and_after_a_restart() {
    let world = World::new();
    let minji = world.logger("minji");
    let experiment = minji.must(
        &format!("/experiments/get-by-name?experiment_name={PROJECT}"),
        &Value::Null,
    );
    assert_eq!(experiment["experiment"]["experiment_id"], PROJECT);
    let run = minji.begin(&json!({"run_name": "first", "tags": [{"key": "mlflow.user", "value": "mj"}]}));
    for (step, value) in [
        (1, json!(0.5)),
        (2, json!("NaN")),
        (3, json!("-Infinity")),
        (3, json!("-Infinity")),
    ] {
        minji.must("/runs/log-metric", &metric(&run, step, value));
    }
    let batch = json!({
        "run_id": run, "metrics": [{"key": "acc", "value": 1, "timestamp": "5", "step": "0"}],
        "params": [{"key": "lr", "value": "0.1"}], "tags": [{"key": "note", "value": "x"}],
    });
    minji.must("/runs/log-batch", &batch);
    let ended = json!({"run_id": run, "status": "FAILED", "end_time": 99});
    assert_eq!(minji.must("/runs/update", &ended)["run_info"]["status"], "FAILED");
    let token = minji.token.clone();
    let world = world.restarted();
    let minji = Logger {
        url: world.hub.url(),
        token,
    };
    let told = minji.must(&format!("/runs/get?run_id={run}"), &Value::Null)["run"].clone();
    let info = &told["info"];
    assert_eq!(
        (info["user_id"].as_str(), info["end_time"].as_u64()),
        (Some("minji"), Some(99))
    );
    assert_eq!(
        info["artifact_uri"],
        format!("mlflow-artifacts:/{PROJECT}/{run}/artifacts")
    );
    assert_eq!(told["data"]["params"], json!([{"key": "lr", "value": "0.1"}]));
    let metrics = json!([
        {"key": "acc", "value": 1.0, "timestamp": 5, "step": 0},
        {"key": "loss", "value": "-Infinity", "timestamp": 1_003, "step": 3},
    ]);
    assert_eq!(told["data"]["metrics"], metrics);
    let tags = told["data"]["tags"].to_string();
    for tag in [
        "khub.label",
        "restricted",
        "mlflow.runName",
        "first",
        "note",
        "mlflow.user",
    ] {
        assert!(tags.contains(tag), "{tag}: {tags}");
    }
    // The same by khub's own tools.
    let client = world.person("minji");
    let id: RunId = run.parse().unwrap();
    let seen = client.run_of(id).unwrap();
    assert_eq!((seen.run.label, seen.metrics.len()), (Label::Restricted, 2));
    let history = client.history(id, "loss").unwrap();
    let values: Vec<Number> = history.iter().map(|point| point.value).collect();
    assert_eq!(values, [0.5, f64::NAN, f64::NEG_INFINITY].map(Number));
    let listed = client
        .runs(&PROJECT.parse().unwrap(), "params.lr = '0.1'", "metrics.loss")
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert!(
        client
            .runs(&PROJECT.parse().unwrap(), "params.lr = '0.2'", "")
            .unwrap()
            .is_empty()
    );
}

#[test]
fn histories_and_searches_come_in_parts() {
    let world = World::new();
    let minji = world.logger("minji");
    let run = minji.label("open");
    let points: Vec<Value> = (0..700).map(|step| metric(&run, step, step)).collect();
    for part in points.chunks(350) {
        minji.must("/runs/log-batch", &json!({"run_id": run, "metrics": part}));
    }
    let mut path = format!("/metrics/get-history?run_id={run}&metric_key=loss&max_results=300");
    let mut steps = Vec::new();
    loop {
        let part = minji.must(&path, &Value::Null);
        steps.extend(
            part["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(|point| point["step"].as_i64().unwrap()),
        );
        let Some(next) = part["next_page_token"].as_str() else {
            break;
        };
        path = format!("/metrics/get-history?run_id={run}&metric_key=loss&max_results=300&page_token={next}");
    }
    assert_eq!(steps, (0..700).collect::<Vec<_>>());
    let thin = world
        .person("minji")
        .sampled(run.parse().unwrap(), "loss", 100)
        .unwrap();
    let thin: Vec<i64> = thin.iter().map(|point| point.step).collect();
    assert_eq!(thin, (0..100).map(|n| n * 7).chain([699]).collect::<Vec<_>>());
    for n in 0..5 {
        minji.begin(&json!({"run_name": format!("r{n}"), "start_time": 100 - n}));
    }
    let mut found = Vec::new();
    let mut token = json!(null);
    loop {
        let body = json!({"experiment_ids": [PROJECT], "max_results": 4, "page_token": token});
        let part = minji.must("/runs/search", &body);
        let names = part["runs"].as_array().unwrap().iter();
        found.extend(names.map(|run| run["info"]["run_name"].as_str().unwrap().to_owned()));
        token = part["next_page_token"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(found, ["r0", "r1", "r2", "r3", "r4", "open"]);
    let listed = world
        .person("minji")
        .runs(&PROJECT.parse().unwrap(), "", "attributes.run_name DESC")
        .unwrap();
    assert_eq!(listed.first().unwrap().run.name, "r4");
}

/// A search tells nothing of what one may not read: not by a filter, an order, a count or a name.
#[test]
fn nothing_leaks_from_a_search() {
    let world = World::new();
    let (minji, ingrid, jun) = (world.logger("minji"), world.logger("ingrid"), world.logger("jun"));
    let (open, closed) = (minji.label("open"), minji.label("restricted"));
    let own = ingrid.label("restricted");
    for (run, value) in [(&open, 2), (&closed, 1)] {
        minji.must("/runs/log-metric", &metric(run, 1, value));
        minji.must(
            "/runs/log-parameter",
            &json!({"run_id": run, "key": "lr", "value": "secret"}),
        );
    }
    assert_eq!(minji.names(&json!({})).len(), 3);
    let by_name = json!({"order_by": ["attributes.run_name"]});
    assert_eq!(ingrid.names(&by_name), ["open", "restricted"]);
    assert_eq!(jun.names(&json!({})), ["open"]);
    for asked in [
        json!({"filter": "params.lr = 'secret'"}),
        json!({"filter": "metrics.loss < 3", "order_by": ["metrics.loss ASC"]}),
        json!({"filter": "tags.`khub.label` != 'x'", "order_by": ["params.lr"], "max_results": 1}),
        json!({"filter": "attributes.status = 'RUNNING'", "run_view_type": "ALL", "max_results": 1}),
    ] {
        let mut body = json!({"experiment_ids": [PROJECT]});
        body.as_object_mut()
            .unwrap()
            .extend(asked.as_object().unwrap().clone());
        let answer = jun.must("/runs/search", &body);
        assert_eq!(answer["runs"].as_array().unwrap().len(), 1, "{asked}");
        assert!(answer.get("next_page_token").is_none(), "{answer}");
        assert!(!answer.to_string().contains(&closed));
    }
    let absent = "0".repeat(32);
    let paths = [
        "/runs/get?run_id={}",
        "/metrics/get-history?run_id={}&metric_key=loss",
        "/artifacts/list?run_id={}",
    ];
    for path in paths {
        let hidden = ingrid.no(&path.replace("{}", &closed), &Value::Null);
        let gone = ingrid.no(&path.replace("{}", &absent), &Value::Null);
        assert_eq!((hidden.0, hidden.1.as_str()), (404, "RESOURCE_DOES_NOT_EXIST"));
        assert_eq!(
            hidden.2.replace(&closed, ""),
            gone.2.replace(&absent, ""),
            "{path}"
        );
    }
    // Whoever may read it, and hasn't begun it, is told so.
    let other = minji.no("/runs/delete", &json!({"run_id": own}));
    assert_eq!((other.0, other.1.as_str()), (403, "PERMISSION_DENIED"));
    // A project that one may not know of sounds like one that isn't there.
    let outsider = world.logger("jun");
    minji.must(
        "/runs/set-tag",
        &json!({"run_id": open, "key": "khub.label", "value": "restricted"}),
    );
    let hidden = outsider.no(&format!("/experiments/get?experiment_id={PROJECT}"), &Value::Null);
    let gone = outsider.no("/experiments/get?experiment_id=nothing", &Value::Null);
    assert_eq!(hidden.2.replace(PROJECT, ""), gone.2.replace("nothing", ""));
    let search = outsider.must("/runs/search", &json!({"experiment_ids": [PROJECT, "nothing"]}));
    assert_eq!(search, json!({"runs": []}));
}

#[test]
fn what_is_refused_has_mlflows_form() {
    let world = World::new();
    let minji = world.logger("minji");
    let run = minji.label("open");
    let many: Vec<Value> = (0..1_001).map(|step| metric(&run, step, 1)).collect();
    let texts: Vec<Value> = (0..101)
        .map(|n| json!({"key": format!("k{n}"), "value": "x"}))
        .collect();
    for (path, body, status, code, told) in [
        (
            "/runs/log-batch",
            json!({"run_id": run, "metrics": many}),
            400,
            "INVALID_PARAMETER_VALUE",
            "1001 metrics",
        ),
        (
            "/runs/log-batch",
            json!({"run_id": run, "params": texts}),
            400,
            "INVALID_PARAMETER_VALUE",
            "101 parameters",
        ),
        (
            "/runs/log-batch",
            json!({"run_id": run, "metrics": [{"key": "a"}]}),
            400,
            "INVALID_PARAMETER_VALUE",
            "value",
        ),
        (
            "/runs/log-metric",
            json!({"run_id": run, "key": "../x", "value": 1}),
            400,
            "INVALID_PARAMETER_VALUE",
            "can't name",
        ),
        (
            "/runs/log-metric",
            json!({"run_id": run, "key": "x", "value": "much"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "no number",
        ),
        (
            "/runs/search",
            json!({"experiment_ids": [PROJECT], "filter": "loss <"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "attribute",
        ),
        (
            "/runs/search",
            json!({"experiment_ids": [PROJECT], "page_token": "x"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "page_token",
        ),
        (
            "/runs/update",
            json!({"run_id": run, "status": "DONE"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "no status",
        ),
        (
            "/runs/set-tag",
            json!({"run_id": run, "key": "khub.job", "value": "job-1"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "when a run begins",
        ),
        (
            "/runs/set-tag",
            json!({"run_id": run, "key": "khub.label", "value": "secret"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "khub.label",
        ),
        (
            "/runs/create",
            json!({"experiment_id": "0"}),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "set_experiment",
        ),
        (
            "/experiments/create",
            json!({"name": "mine"}),
            403,
            "PERMISSION_DENIED",
            "programme office",
        ),
        (
            "/registered-models/create",
            json!({"name": "m"}),
            404,
            "ENDPOINT_NOT_FOUND",
            "khub tracks runs and has no",
        ),
        ("/runs/get", json!({}), 405, "BAD_REQUEST", "POST"),
    ] {
        let no = minji.no(path, &body);
        assert_eq!((no.0, no.1.as_str()), (status, code), "{path} {no:?}");
        assert!(no.2.contains(told), "{path} {no:?}");
    }
    let nobody = Logger {
        url: world.hub.url(),
        token: "khub_forged".into(),
    };
    assert_eq!(nobody.no("/runs/get?run_id=x", &Value::Null).1, "UNAUTHENTICATED");
    // A batch is whole or not there: a parameter that can't be changed takes its metrics along.
    minji.must(
        "/runs/log-parameter",
        &json!({"run_id": run, "key": "lr", "value": "1"}),
    );
    let batch = json!({
        "run_id": run, "metrics": [metric(&run, 1, 1)], "params": [{"key": "lr", "value": "2"}, {"key": "new", "value": "2"}],
    });
    assert!(minji.no("/runs/log-batch", &batch).2.contains("is \"1\" already"));
    let told = minji.must(&format!("/runs/get?run_id={run}"), &Value::Null);
    assert_eq!(told["run"]["data"]["metrics"], json!([]));
    assert!(!told.to_string().contains("new"), "{told}");
    // What is put aside takes nothing more, until it is back.
    minji.must("/runs/delete", &json!({"run_id": run}));
    assert_eq!(
        minji.no("/runs/log-metric", &metric(&run, 1, 1)).1,
        "RESOURCE_CONFLICT"
    );
    assert!(minji.names(&json!({})).is_empty());
    assert_eq!(minji.names(&json!({"run_view_type": "DELETED_ONLY"})).len(), 1);
    minji.must("/runs/restore", &json!({"run_id": run}));
    assert_eq!(minji.names(&json!({})).len(), 1);
}

#[test]
fn files_come_and_go_as_artifacts() {
    let world = World::new();
    let (minji, jun) = (world.logger("minji"), world.logger("jun"));
    let run = minji.label("open");
    let at = |path: &str| format!("/api/2.0/mlflow-artifacts/artifacts/{PROJECT}/{run}/artifacts/{path}");
    let put =
        |who: &Logger, path: &str, body: &str| request(&who.url, &who.token, "PUT", &at(path), &json!(body));
    assert_eq!(put(&minji, "plots/loss%20curve.txt", "a plot").0, 200);
    assert_eq!(put(&minji, "notes.txt", "a note").0, 200);
    assert_eq!(put(&jun, "notes.txt", "another").0, 403);
    let (status, told) = put(&minji, "..%2F..%2Fetc", "x");
    assert!(status == 400 && told.contains("can't be the path"), "{told}");
    let listed = minji.must(&format!("/artifacts/list?run_id={run}"), &Value::Null);
    let files = json!([
        {"path": "notes.txt", "is_dir": false, "file_size": 8},
        {"path": "plots", "is_dir": true},
    ]);
    assert_eq!(listed["files"], files);
    let below = minji.must(&format!("/artifacts/list?run_id={run}&path=plots"), &Value::Null);
    assert_eq!(below["files"][0]["path"], "plots/loss curve.txt");
    let (status, bytes) = request(
        &jun.url,
        &jun.token,
        "GET",
        &at("plots/loss%20curve.txt"),
        &Value::Null,
    );
    assert!(status == 200 && bytes.ends_with("\"a plot\""), "{bytes}");
    assert_eq!(
        request(&jun.url, &jun.token, "GET", &at("nothing"), &Value::Null).0,
        404
    );
    let artifacts = world
        .person("minji")
        .artifacts(&PROJECT.parse().unwrap())
        .unwrap();
    assert!(
        artifacts
            .iter()
            .any(|it| it.name == "loss curve.txt" && it.label == Label::Open)
    );
    // The run is closed, and its files with it.
    minji.must(
        "/runs/set-tag",
        &json!({"run_id": run, "key": "khub.label", "value": "restricted"}),
    );
    assert_eq!(
        request(&jun.url, &jun.token, "GET", &at("notes.txt"), &Value::Null).0,
        404
    );
    let less = minji.no(
        "/runs/set-tag",
        &json!({"run_id": run, "key": "khub.label", "value": "open"}),
    );
    assert_eq!(less.1, "RESOURCE_CONFLICT");
}
