//! Who gets what: every standing, role and label against every route, over HTTP. The table is a snapshot; whoever
//! changes it changes what the consortium lets out.
//!
//! Everything closed has a secret in it: a file's name and bytes, a job's name. A row is an asker, a line a route. For
//! a route that names one thing there are four answers, of the open, consortium, restricted and security one; then
//! come the labels (`ocrs`) whose secrets were seen in any of them. A list has one answer. What is about proposals and
//! invoices stands in `matrix/`, with the secrets that were seen written out.

mod invoices;
mod proposals;

use crate::openapi::paths;
use crate::world::{Hands, World, output, spec};
use consortium::policy::SHIPPED;
use consortium::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const LABELS: [Label; 4] = [Label::Open, Label::Consortium, Label::Restricted, Label::Security];

/// Name, organisation, roles, whether they work in the project.
const PEOPLE: [(&str, &str, &[Role], bool); 16] = [
    ("member", "gaon", &[], true),
    ("member-cleared", "gaon", &[Role::Cleared], true),
    ("outsider", "gaon", &[], false),
    ("auditor", "gaon", &[Role::Auditor], false),
    ("officer", "office", &[Role::Office], false),
    ("officer-cleared", "office", &[Role::Office, Role::Cleared], false),
    ("partner", "fjord", &[], true),
    ("partner-cleared", "fjord", &[Role::Cleared], true),
    ("stranger", "fjord", &[], false),
    ("suspended", "mokpo", &[], true),
    (
        "suspended-officer",
        "mokpo",
        &[Role::Office, Role::Cleared],
        false,
    ),
    ("gone", "left", &[], true),
    ("inspector", "office", &[Role::Auditor], false),
    ("reader", "cloud", &[], false),
    ("asked", "cloud", &[], false),
    ("rival", "cloud", &[], false),
];

/// Of one thing: `{artifact}`, `{job}`, `{run}` and `{label}` are filled in. `{digest}` is what the partner has brought.
const THINGS: [&str; 21] = [
    "/projects/closed/artifacts/{artifact}",
    "/jobs/{job}",
    "/jobs/{job}/explanation",
    "/jobs/{job}/postings",
    "/jobs/{job}/log",
    "/policy/explanation?who={me}&what={job}",
    "/policy/explanation?who={me}&what=closed/{artifact}",
    "/policy/explanation?who={me}&what=gaon/{label}",
    "/policy/explanation?who={me}&what={run}",
    "//api/models/gaon/{label}",
    "//api/models/gaon/{label}/revision/main",
    "//api/models/gaon/{label}/tree/main",
    "//api/models/gaon/{label}/tree/main/secret-{label}",
    "//gaon/{label}/resolve/main/secret-{label}/file",
    "/runs/{run}",
    "/runs/{run}/history?key=loss",
    "//api/2.0/mlflow/runs/get?run_id={run}",
    "//api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=loss",
    "//api/2.0/mlflow/artifacts/list?run_id={run}",
    "//api/2.0/mlflow-artifacts/artifacts?path=closed/{run}/artifacts",
    "//api/2.0/mlflow-artifacts/artifacts/closed/{run}/artifacts/a/b.txt",
];

/// Of many or of the whole. `{upload}` is what the member brings just now.
const WHOLE: [&str; 34] = [
    "/me",
    "//api/whoami-v2",
    "/organisations",
    "/people",
    "/invitations",
    "/projects",
    "/projects/closed/artifacts",
    "/projects/closed/artifacts/{digest}",
    "/uploads",
    "/uploads/{upload}",
    "/leftovers",
    "/jobs",
    "/queue",
    "/sites",
    "/sites/m/offers",
    "/gpus",
    "/awards",
    "/programmes/language/board",
    "/releases",
    "/policy",
    "/policy/explanation?who={me}&what=site:a",
    "/watch",
    "/ledger",
    "/money",
    "//metrics",
    "/projects/closed/runs",
    "/projects/closed/runs?filter=metrics.loss%20%3C%201&order=params.lr%20DESC",
    "/runs/{own}",
    "//api/2.0/mlflow/experiments/get?experiment_id=closed",
    "//api/2.0/mlflow/experiments/get-by-name?experiment_name=closed",
    "//api/2.0/mlflow/experiments/get?experiment_id=nothing",
    "//api/2.0/mlflow/registered-models/search",
    "//api/3.0/mlflow/traces/search",
    "//api/2.0/mlflow-artifacts/presigned/closed",
];

/// Questions that MLflow's clients put with a body.
fn questions() -> [(&'static str, Value); 4] {
    let order = json!({"experiment_ids": ["closed"], "filter": "params.lr = '1'", "order_by": ["metrics.loss"], "run_view_type": "ALL"});
    [
        ("//api/2.0/mlflow/experiments/search", json!({"max_results": 100})),
        (
            "//api/2.0/mlflow/runs/search",
            json!({"experiment_ids": ["closed", "nothing"]}),
        ),
        ("//api/2.0/mlflow/runs/search", order),
        (
            "//api/2.0/mlflow/logged-models/search",
            json!({"experiment_ids": ["closed"]}),
        ),
    ]
}

/// What only the process beside a site may ask: `jobs.rs` has those.
const OF_SITES: [&str; 15] = [
    "/sites/{site}/orders",
    "/sites/{site}/abilities",
    "/jobs/{job}/join",
    "/jobs/{job}/rounds/{round}/updates",
    "/jobs/{job}/rounds/{round}/reports",
    "/jobs/{job}/rounds/{round}/seeds",
    "/jobs/{job}/key",
    "/jobs/{job}/rounds/{round}/outer",
    "/jobs/{job}/rounds/{round}/checkpoint",
    "/jobs/{job}/reset",
    "/jobs/{job}/readings",
    "/jobs/{job}/progress",
    "/jobs/{job}/leave",
    "/jobs/{job}/fail",
    "/jobs/{job}/end",
];

/// What tells nothing of the consortium, or only to whoever brings a secret: `sign_in.rs` has those.
const OF_NOBODY: [&str; 12] = [
    "/health",
    "/openapi.json",
    "/bytes/{digest}",
    "//",
    "/invitations/accept",
    "/session",
    "/sign-in",
    "//sign-in/callback",
    "/devices",
    "//oauth/device_authorization",
    "//oauth/token",
    "//.well-known/oauth-authorization-server",
];

struct Case {
    world: World,
    artifacts: BTreeMap<Label, ArtifactId>,
    jobs: BTreeMap<Label, JobId>,
    runs: BTreeMap<Label, String>,
    brought: ArtifactId,
    /// The partner's own run.
    own: String,
    /// Of the invoices.
    month: Month,
    upload: String,
    /// Names and tokens.
    askers: Vec<(String, String)>,
}

impl Case {
    fn new() -> Self {
        let hands = Hands::default();
        let world = World::with(|config| hands.of(config));
        found(&world);
        proposals::fill(&world, &hands);
        let month = invoices::fill(&world, &hands);
        let mut askers = Vec::new();
        for (name, ..) in PEOPLE {
            let holder = Holder::Person(name.parse().unwrap());
            askers.push((name.to_owned(), world.hub.issue(holder).unwrap()));
        }
        for site in ["a", "f", "m"] {
            let holder = Holder::Site(site.parse().unwrap());
            askers.push((format!("site:{site}"), world.hub.issue(holder).unwrap()));
        }
        let mut case = Self {
            artifacts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            own: String::new(),
            brought: ArtifactId {
                project: "closed".parse().unwrap(),
                digest: Digest::of(b"the partner's"),
            },
            month,
            upload: String::new(),
            askers,
            world,
        };
        case.fill();
        let guest = Guest::New {
            organisation: "gaon".parse().unwrap(),
            roles: BTreeSet::new(),
            projects: ["closed".parse().unwrap()].into(),
            name: None,
        };
        let invited = case
            .world
            .person("officer")
            .invite("guest@closed.example", &guest);
        invited.unwrap();
        case.begin_upload();
        for (id, standing) in [("mokpo", Standing::Suspended), ("left", Standing::Left)] {
            let command = Command::SetStanding {
                organisation: id.parse().unwrap(),
                standing,
                ground: "the secret ground".into(),
            };
            case.world.hub.ask(id, command).unwrap();
        }
        case
    }

    /// An artifact, a model and a job of each label, by a member who is cleared; a release of each that the office's
    /// cleared person proposes; and what the partner brings.
    fn fill(&mut self) {
        let (client, partner) = (self.world.person("member-cleared"), self.world.person("partner"));
        let office = self.world.person("officer-cleared");
        let path = self.world.folder.path().join("to-send");
        for label in LABELS {
            let bytes = format!("secret-{label} bytes");
            std::fs::write(&path, &bytes).unwrap();
            let mut sent = output(bytes.as_bytes(), label);
            sent.id.project = "closed".parse().unwrap();
            sent.name = format!("secret-{label}.bin");
            client.put(&path, &sent).unwrap();
            if label > Label::Open {
                office.release(&sent.id, Label::Open).unwrap();
            }
            client
                .publish(&Publication {
                    model: format!("gaon/{label}").parse().unwrap(),
                    project: sent.id.project.clone(),
                    files: [(format!("secret-{label}/file"), sent.id.digest)].into(),
                })
                .unwrap();
            let job = JobSpec {
                project: sent.id.project.clone(),
                name: format!("secret-{label} job"),
                label,
                ..spec()
            };
            self.jobs
                .insert(label, client.submit(&job, &label.to_string()).unwrap());
            self.artifacts.insert(label, sent.id);
        }
        std::fs::write(&path, "the partner's").unwrap();
        let mut sent = output(b"the partner's", Label::Restricted);
        sent.id = self.brought.clone();
        partner.put(&path, &sent).unwrap();
        for label in LABELS {
            let run = self.log("member-cleared", &format!("secret-{label}"), label);
            self.runs.insert(label, run);
        }
        self.own = self.log("partner", "the partner's", Label::Restricted);
    }

    /// A run with a name, a parameter, a tag, metrics and a file.
    fn log(&self, who: &str, name: &str, label: Label) -> String {
        let (_, token) = self.askers.iter().find(|(asker, _)| asker == who).unwrap();
        let ask = |method: &str, path: &str, body: Value| {
            let (status, answer) = self.ask(token, method, path, &body);
            assert_eq!(status, 200, "{answer}");
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
            serde_json::from_str::<Value>(body).unwrap_or_default()
        };
        let tags = json!([{"key": "khub.label", "value": label}, {"key": "of", "value": name}]);
        let begin = json!({"experiment_id": "closed", "run_name": name, "tags": tags, "start_time": 1});
        let run = ask("POST", "//api/2.0/mlflow/runs/create", begin);
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let metrics = json!([{"key": "loss", "value": 0.5}, {"key": format!("of {label}"), "value": 1}]);
        let params = json!([{"key": "lr", "value": "1"}, {"key": "of", "value": name}]);
        ask(
            "POST",
            "//api/2.0/mlflow/runs/log-batch",
            json!({"run_id": run, "metrics": metrics, "params": params}),
        );
        let file = format!("//api/2.0/mlflow-artifacts/artifacts/closed/{run}/artifacts/a/b.txt");
        ask("PUT", &file, json!(name));
        run
    }

    fn in_its_month(&self, path: &str) -> String {
        path.replace("{month}", &self.month.to_string())
    }

    fn begin_upload(&mut self) {
        let member = self.askers.iter().find(|(name, _)| name == "member");
        let wanted = json!({"digest": Digest::of(b"secret-restricted"), "bytes": 17});
        let token = &member.unwrap().1;
        let (status, told) = self.ask(token, "POST", "/projects/closed/uploads", &wanted);
        assert_eq!(status, 201, "{told}");
        let told: Value = serde_json::from_str(told.split_once("\r\n\r\n").unwrap().1).unwrap();
        told["id"].as_str().unwrap().clone_into(&mut self.upload);
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let path = match path.strip_prefix('/') {
            Some(root) if root.starts_with('/') => root.to_owned(),
            _ => format!("/api/v1{path}"),
        };
        request(&self.world.hub.url(), token, method, &path, body)
    }
}

/// Two organisations that won't take part for long, everyone of the table, the project.
fn found(world: &World) {
    let mut key = 0;
    let mut ask = |command| {
        key += 1;
        world.hub.ask(&format!("matrix {key}"), command).unwrap();
    };
    for id in ["mokpo", "left"] {
        ask(Command::Admit(Organisation {
            id: id.parse().unwrap(),
            name: id.into(),
            name_ko: id.into(),
            kind: Kind::University,
            home: Home::Domestic,
        }));
    }
    for (id, organisation, roles, _) in PEOPLE {
        ask(Command::AddPerson(Person {
            id: id.parse().unwrap(),
            organisation: organisation.parse().unwrap(),
            roles: roles.iter().copied().collect(),
        }));
    }
    ask(Command::AddSite(Site {
        id: "m".parse().unwrap(),
        owner: "mokpo".parse().unwrap(),
        tenure: Tenure::National,
        rated: FlopsPerSecond(1_000_000_000_000),
        price: Price(1),
        gpus: 1,
        gpu: None,
        marginal: None,
    }));
    let members = PEOPLE.iter().filter(|(.., works)| *works);
    ask(Command::OpenProject(Project {
        id: "closed".parse().unwrap(),
        title: "Closed".into(),
        organisation: "gaon".parse().unwrap(),
        programme: Programme::Language,
        members: members.map(|(id, ..)| id.parse().unwrap()).collect(),
    }));
}

/// The status and the whole answer, headers and all.
pub(crate) fn request(url: &str, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    let mut line = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    write!(
        line,
        "{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// The labels whose secrets are in `text`.
fn seen(text: &str) -> BTreeSet<Label> {
    let there = |label: &Label| text.contains(&format!("secret-{label}"));
    LABELS.into_iter().filter(there).collect()
}

fn letters(labels: &BTreeSet<Label>) -> String {
    labels.iter().map(|label| label.to_string().remove(0)).collect()
}

#[test]
fn the_matrix_is_as_it_was_decided() {
    let case = Case::new();
    let mut table = String::new();
    for (who, token) in &case.askers {
        let _ = writeln!(table, "\n{who}");
        let get = |path: &str| case.ask(token, "GET", path, &Value::Null);
        let mut everything = BTreeSet::new();
        let mut readable = BTreeSet::new();
        for route in THINGS {
            let mut statuses = Vec::new();
            let mut all = String::new();
            for label in LABELS {
                let path = route
                    .replace("{artifact}", &case.artifacts[&label].digest.to_string())
                    .replace("{job}", &case.jobs[&label].to_string())
                    .replace("{run}", &case.runs[&label])
                    .replace("{label}", &label.to_string())
                    .replace("{me}", who);
                let (status, text) = get(&path);
                if route == THINGS[0] && status == 200 {
                    readable.insert(label);
                }
                statuses.push(status.to_string());
                // What the asker says is no news.
                all.push_str(
                    &text
                        .replace(&format!("secret-{label}/file"), "")
                        .replace(&path, ""),
                );
            }
            let secrets = seen(&all);
            let _ = writeln!(
                table,
                "  {route:<52} {}  {}",
                statuses.join(" "),
                letters(&secrets)
            );
            everything.extend(secrets);
        }
        for route in WHOLE {
            let route_of = route.replace("{digest}", &case.brought.digest.to_string());
            let route_of = route_of.replace("{upload}", &case.upload).replace("{me}", who);
            let (status, text) = get(&route_of.replace("{own}", &case.own));
            let secrets = seen(&text);
            let _ = writeln!(
                table,
                "  {route:<52} {status}  {}{}",
                letters(&secrets),
                extras(&text)
            );
            everything.extend(secrets);
        }
        for (route, body) in questions() {
            let (status, text) = case.ask(token, "POST", route, &body);
            let secrets = seen(&text);
            let own = if text.contains("the partner's") {
                "  the partner's"
            } else {
                ""
            };
            let _ = writeln!(
                table,
                "  {route:<52} {status}  {}{}{own}",
                letters(&secrets),
                extras(&text)
            );
            everything.extend(secrets);
        }
        for route in proposals::ROUTES {
            let (status, text) = get(&route.replace("{me}", who));
            let _ = writeln!(table, "  {route:<52} {status}  {}", proposals::seen(&text));
        }
        for route in invoices::ROUTES {
            let (status, text) = get(&case.in_its_month(route));
            let _ = writeln!(table, "  {route:<52} {status}  {}", invoices::seen(&text));
        }
        assert!(
            everything.is_subset(&readable),
            "{who} sees {everything:?} and may read {readable:?}"
        );
    }
    for (who, token) in &case.askers {
        let _ = writeln!(table, "\n{who} would");
        for (what, method, path, body) in deeds() {
            let (status, text) = case.ask(token, method, &case.in_its_month(path), &body);
            let told = if seen(&text).is_empty() { "" } else { "  SECRET" };
            let _ = writeln!(table, "  {what:<52} {status}{told}");
        }
    }
    insta::assert_snapshot!("matrix", table.trim_end());
}

/// What is explained of runs and sites is what is done: for everyone, of each label, and of sites of two owners.
#[test]
fn the_policy_is_explained_as_it_is_enforced() {
    let case = Case::new();
    let (_, office) = case.askers.iter().find(|(name, _)| name == "officer").unwrap();
    let allowed = |who: &str, what: &str, action: &str| {
        let path = format!("/policy/explanation?who={who}&what={what}");
        let (status, answer) = case.ask(office, "GET", &path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        let rulings: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let mut rulings = rulings.as_array().unwrap().iter();
        let ruling = rulings.find(|ruling| ruling["action"] == action).unwrap();
        ruling["allowed"].as_bool().unwrap()
    };
    let mut counts = BTreeMap::new();
    for (who, token) in &case.askers {
        let gets = |path: &str| case.ask(token, "GET", path, &Value::Null).0 == 200;
        for run in case.runs.values().chain([&case.own]) {
            let told = allowed(who, run, "read");
            assert_eq!(told, gets(&format!("/runs/{run}")), "{who} reads run {run}");
            *counts.entry(("read", told)).or_insert(0) += 1;
        }
        let audits = allowed(who, "consortium", "audit");
        for site in ["a", "f"] {
            let told = allowed(who, &format!("site:{site}"), "bill");
            let path = case.in_its_month(&format!("/invoices/{{month}}/{site}"));
            assert_eq!(told || audits, gets(&path), "{who} bills for {site}");
            *counts.entry(("bill", told)).or_insert(0) += 1;
        }
    }
    let both = [("bill", false), ("bill", true), ("read", false), ("read", true)];
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), both, "{counts:?}");
}

/// Whoever adds a route decides here who gets what from it.
#[test]
fn every_route_is_in_the_matrix() {
    let deeds = deeds();
    let listed = THINGS.into_iter().chain(WHOLE).chain(OF_SITES).chain(OF_NOBODY);
    let questions = questions();
    let listed = listed
        .chain(proposals::ROUTES)
        .chain(invoices::ROUTES)
        .chain(questions.iter().map(|(path, _)| *path));
    let listed: Vec<&str> = listed.chain(deeds.iter().map(|(_, _, path, _)| *path)).collect();
    let parts = |path: &str| -> Vec<String> {
        let path = path.strip_prefix("//").map_or(path, |_| &path[1..]);
        let path = path.split('?').next().unwrap_or(path);
        path.split('/').map(str::to_owned).collect()
    };
    let fits = |route: &str, path: &str| {
        let (route, path) = (parts(route), parts(path));
        let rest = route.last().is_some_and(|last| last.starts_with("{*"));
        let same = |(a, b): (&String, &String)| a.starts_with('{') || a == b;
        (route.len() == path.len() || rest && path.len() > route.len()) && route.iter().zip(&path).all(same)
    };
    let document: Value = serde_json::from_str(server::openapi()).unwrap();
    let described = paths(&document);
    let mut routes = described.len();
    for (path, _) in described {
        assert!(
            listed.iter().any(|listed| fits(path, listed)),
            "{path} is not in the matrix"
        );
    }
    // The others are no part of the API: pages, and what speaks other systems' words.
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = file.unwrap().path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if !is_source || path.ends_with("openapi.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for after in text.split(".route(").skip(1) {
            let route = after
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            let route = route.expect("a route begins with its path");
            routes += 1;
            // The pages' own files are the same for everyone.
            let known = route.starts_with("/assets/") || listed.iter().any(|path| fits(route, path));
            assert!(known, "{route} is not in the matrix");
        }
    }
    assert!(routes > 40, "{routes} routes were found");
}

/// What else of an answer isn't for everyone.
fn extras(text: &str) -> &'static str {
    // Rounds have a field of that name.
    let names_project = text.replace("\"closed\":", "").contains("\"closed\"");
    match (text.contains("the secret ground"), names_project) {
        _ if text.contains("guest@closed.example") => "  who is invited",
        (true, _) => "  grounds of standing",
        (_, true) => "  the project",
        _ => "",
    }
}

/// What changes something. Whoever may do it does nothing that the rows after theirs would notice.
fn deeds() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let job = |label| {
        let job = JobSpec {
            project: "closed".parse().unwrap(),
            label,
            ..spec()
        };
        serde_json::to_value(job).unwrap()
    };
    let nobody = json!({"id": "nobody", "organisation": "nothing", "roles": []});
    let nothing = json!({"id": "nothing", "title": "", "organisation": "nothing", "programme": "language", "members": []});
    let unsent = json!({
        "id": format!("closed/{}", Digest::of(b"never sent")), "name": "x", "kind": "dataset", "bytes": 1, "label": "open",
    });
    let site = json!({"id": "new", "owner": "nothing", "tenure": "member", "rated": 1, "price": 1});
    let award = json!({"id": "new", "project": "nothing", "won": 1, "compute": "1"});
    let gaon = json!({"id": "gaon", "name": "", "name_ko": "", "kind": "company", "home": "foreign"});
    let model = json!({"model": "gaon/new", "project": "closed", "files": {}});
    let terms = json!({"busy_percent": 0, "report_minutes": 0, "warn_minutes": 0, "reduce_minutes": 0, "reduce_percent": 0});
    let unknown = format!("closed/{}", Digest::of(b"never sent"));
    let upload = json!({"digest": Digest::of(b"never sent"), "bytes": 10});
    let own = vec![
        ("submit an open job", "POST", "/jobs", job(Label::Open)),
        ("submit a consortium job", "POST", "/jobs", job(Label::Consortium)),
        ("submit a restricted job", "POST", "/jobs", job(Label::Restricted)),
        ("submit a security job", "POST", "/jobs", job(Label::Security)),
        (
            "cancel a job that isn't there",
            "POST",
            "/jobs/job-999/cancel",
            Value::Null,
        ),
        (
            "register what was never sent",
            "POST",
            "/projects/closed/artifacts",
            unsent,
        ),
        (
            "begin an upload",
            "POST",
            "/projects/closed/uploads",
            upload.clone(),
        ),
        (
            "begin one for nothing",
            "POST",
            "/projects/nothing/uploads",
            upload,
        ),
        (
            "append without an offset",
            "PATCH",
            "/uploads/00000000000000000000000000000000",
            Value::Null,
        ),
        (
            "cancel what isn't there",
            "DELETE",
            "/uploads/00000000000000000000000000000000",
            Value::Null,
        ),
        ("collect leftovers", "POST", "/leftovers/collect", Value::Null),
        ("publish nothing", "POST", "/models", model),
        (
            "release what isn't there",
            "POST",
            "/releases",
            json!([unknown, "open"]),
        ),
        (
            "suspend what isn't there",
            "POST",
            "/organisations/nothing/standing",
            json!(["suspended", "x"]),
        ),
        ("admit who is in", "POST", "/organisations", gaon),
        ("add somebody of nothing", "POST", "/people", nobody),
        (
            "invite somebody to nothing",
            "POST",
            "/invitations",
            json!({"email": "guest@new.example", "guest": {"new": {"organisation": "nothing"}}}),
        ),
        ("take back no invitation", "DELETE", NO_INVITATION, Value::Null),
        (
            "give nobody a role",
            "POST",
            "/people/nobody/roles",
            json!([["office"], "x"]),
        ),
        (
            "suspend nobody",
            "POST",
            "/people/nobody/standing",
            json!(["suspended", "x"]),
        ),
        (
            "have nobody join",
            "POST",
            "/projects/closed/members",
            json!([["nobody"], []]),
        ),
        ("add a site of nothing", "POST", "/sites", site),
        (
            "take an offer for nothing",
            "POST",
            "/sites/nothing/offers",
            json!({"asking": {"gpu-hour": 1}, "ground": "x"}),
        ),
        (
            "rate no GPU",
            "POST",
            "/gpus",
            json!({"gpu": "a100", "rated": 0, "ground": "x"}),
        ),
        ("open a project of nothing", "POST", "/projects", nothing),
        (
            "appropriate nothing",
            "POST",
            "/appropriations",
            json!([2021, -1]),
        ),
        (
            "carry over nothing",
            "POST",
            "/money",
            json!({"carry": {"from": 2000, "to": 2001, "ground": "x"}}),
        ),
        ("award to nothing", "POST", "/awards", award),
        ("watch by no terms", "POST", "/watch", terms),
        ("give back nothing", "POST", "/jobs/job-999/give-back", json!("x")),
        ("adopt the policy", "POST", "/policy", json!(SHIPPED)),
        (
            "make a token for the officer",
            "POST",
            "/credentials",
            json!({"holder": {"person": "officer"}}),
        ),
        ("revoke an unknown token", "DELETE", UNKNOWN_TOKEN, Value::Null),
    ];
    let of_run = |more: Value| {
        let mut body = json!({"run_id": "00000000000000000000000000000000"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let text = || of_run(json!({"key": "a", "value": "b"}));
    let own = [
        own,
        vec![
            (
                "open an experiment",
                "POST",
                "//api/2.0/mlflow/experiments/create",
                json!({"name": "closed"}),
            ),
            (
                "begin a run in nothing",
                "POST",
                "//api/2.0/mlflow/runs/create",
                json!({"experiment_id": "nothing"}),
            ),
            (
                "update no run",
                "POST",
                "//api/2.0/mlflow/runs/update",
                of_run(json!({"status": "FINISHED"})),
            ),
            (
                "delete no run",
                "POST",
                "//api/2.0/mlflow/runs/delete",
                of_run(json!({})),
            ),
            (
                "restore no run",
                "POST",
                "//api/2.0/mlflow/runs/restore",
                of_run(json!({})),
            ),
            (
                "log a parameter to no run",
                "POST",
                "//api/2.0/mlflow/runs/log-parameter",
                text(),
            ),
            (
                "log a metric to no run",
                "POST",
                "//api/2.0/mlflow/runs/log-metric",
                of_run(json!({"key": "a", "value": 1})),
            ),
            (
                "log a batch to no run",
                "POST",
                "//api/2.0/mlflow/runs/log-batch",
                of_run(json!({})),
            ),
            ("tag no run", "POST", "//api/2.0/mlflow/runs/set-tag", text()),
            (
                "untag no run",
                "POST",
                "//api/2.0/mlflow/runs/delete-tag",
                of_run(json!({"key": "a"})),
            ),
        ],
    ]
    .concat();
    [own, proposals::deeds(), invoices::deeds()].concat()
}

const NO_INVITATION: &str =
    "/invitations/blake3:0000000000000000000000000000000000000000000000000000000000000000";
const UNKNOWN_TOKEN: &str =
    "/credentials/blake3:0000000000000000000000000000000000000000000000000000000000000000";
