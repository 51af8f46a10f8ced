//! slurmrestd, with a token for whoever the request is made for.
//!
//! The version is the newest that both sides know. An answer's `errors` are a failure whatever its status: slurmrestd
//! says 200 with them, too. Versions 0.0.38, 0.0.42 and 0.0.45 have been run here, and 0.0.39 to 0.0.41 have the forms
//! of the later ones: an environment is a list, a number may be an object, a state may be a list.

use super::Trouble;
use super::slurm::{Account, DROPPED, ROOTED_OUT, Way, gres, tell, trouble};
use super::task::{Task, User};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The versions that are known here, `0.0.N`.
const KNOWN: std::ops::RangeInclusive<u32> = 37..=45;
/// From this one on an environment is a list, and `gres` is a `tres_per_node`.
const LISTS: u32 = 39;
/// How long a token is good, and how long before that another one is asked for.
const TOKEN_S: u64 = 900;
const TOKEN_SPARE_S: u64 = 300;

pub(super) struct Rest {
    url: String,
    agent: ureq::Agent,
    partition: Option<String>,
    version: Option<u32>,
    tokens: BTreeMap<String, (Instant, String)>,
}

impl Rest {
    pub(super) fn new(url: &str, partition: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            agent: config.new_agent(),
            partition,
            version: None,
            tokens: BTreeMap::new(),
        }
    }

    /// Whoever runs the site may have tokens for others.
    fn token(&mut self, name: &str) -> Result<String, Trouble> {
        if let Some((until, token)) = self.tokens.get(name)
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let (whose, long) = (format!("username={name}"), format!("lifespan={TOKEN_S}"));
        let answer = tell("scontrol", &["token", &whose, &long])?;
        let token = answer
            .trim()
            .strip_prefix("SLURM_JWT=")
            .unwrap_or_default()
            .to_owned();
        let until = Instant::now() + Duration::from_secs(TOKEN_S - TOKEN_SPARE_S);
        self.tokens.insert(name.to_owned(), (until, token.clone()));
        Ok(token)
    }

    fn own_name() -> Result<String, Trouble> {
        let own = super::own_user().map_err(|error| Trouble::Later(error.to_string()))?;
        Ok(own.name)
    }

    /// The newest version that both sides know.
    fn version(&mut self) -> Result<u32, Trouble> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let api = self.ask(&Self::own_name()?, "GET", "/openapi/v3", None)?;
        let version = newest(&api).ok_or_else(|| {
            let (first, last) = (KNOWN.start(), KNOWN.end());
            Trouble::Later(format!(
                "slurmrestd has none of the versions 0.0.{first} to 0.0.{last}"
            ))
        })?;
        self.version = Some(version);
        Ok(version)
    }

    fn ask(&mut self, name: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let token = self.token(name)?;
        let away = |error: &dyn std::fmt::Display| Trouble::Later(format!("slurmrestd: {error}"));
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .header("x-slurm-user-name", name)
            .header("x-slurm-user-token", token);
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = request.body(body).map_err(|e| away(&e))?;
        let mut response = self.agent.run(request).map_err(|e| away(&e))?;
        let status = response.status();
        let limited = response.body_mut().with_config().limit(1 << 30);
        let text = limited.read_to_string().map_err(|e| away(&e))?;
        if status == 401 {
            self.tokens.remove(name);
        }
        let answer: Value =
            serde_json::from_str(&text).map_err(|_| away(&format!("{status}: {}", text.trim())))?;
        match wrong(&answer) {
            Some(words) => Err(trouble(&format!("slurmrestd: {words}"))),
            None if status.is_success() => Ok(answer),
            None => Err(away(&status)),
        }
    }
}

impl Way for Rest {
    fn current(&mut self, names: &[&str]) -> Result<BTreeMap<String, String>, Trouble> {
        let path = format!("/slurm/v0.0.{}/jobs", self.version()?);
        let answer = self.ask(&Self::own_name()?, "GET", &path, None)?;
        let known = jobs(&answer)
            .filter_map(|job| Some((job["name"].as_str()?.to_owned(), word(&job["job_state"])?)));
        Ok(known.filter(|(name, _)| names.contains(&name.as_str())).collect())
    }

    fn accounted(&mut self, names: &[&str]) -> Result<Vec<Account>, Trouble> {
        // It parses no query with a bare comma.
        let path = format!(
            "/slurmdb/v0.0.{}/jobs?job_name={}",
            self.version()?,
            names.join("%2C")
        );
        let answer = match self.ask(&Self::own_name()?, "GET", &path, None) {
            // So 0.0.38 has it when there are no such jobs.
            Err(Trouble::Later(words)) if words.contains("Nothing found") => return Ok(Vec::new()),
            answer => answer?,
        };
        Ok(jobs(&answer).filter_map(accounted).collect())
    }

    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble> {
        let version = self.version()?;
        let body = submission(version, task, user, self.partition.as_deref())
            .map_err(|error| Trouble::Later(error.to_string()))?;
        let path = format!("/slurm/v0.0.{version}/job/submit");
        self.ask(&user.name, "POST", &path, Some(&body)).map(drop)
    }

    /// By its number, which the controller tells.
    fn cancel(&mut self, task: &Task) -> Result<(), Trouble> {
        let version = self.version()?;
        let name = Self::own_name()?;
        let answer = self.ask(&name, "GET", &format!("/slurm/v0.0.{version}/jobs"), None)?;
        let numbers = jobs(&answer)
            .filter(|job| job["name"] == task.name.as_str())
            .filter_map(|job| number(&job["job_id"]));
        for job in numbers.collect::<Vec<_>>() {
            self.ask(&name, "DELETE", &format!("/slurm/v0.0.{version}/job/{job}"), None)?;
        }
        Ok(())
    }
}

/// What a submission says. `requeue` is not heeded by 0.0.38, so `run.sh` has to be sure of starting once.
fn submission(version: u32, task: &Task, user: &User, partition: Option<&str>) -> std::io::Result<Value> {
    let script = std::fs::read_to_string(task.run())?;
    let mut environment = vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOME", user.home.clone()),
        ("USER", user.name.clone()),
    ];
    environment.extend(task.environment());
    let output = task.file("slurm").display().to_string();
    let mut job = json!({
        "name": task.name, "comment": task.name, "account": task.account, "tasks": 1, "requeue": false,
        "current_working_directory": task.folder.display().to_string(),
        "standard_output": output, "standard_error": output,
    });
    if version >= LISTS {
        let list: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        job["environment"] = list.into();
        job["time_limit"] = json!({ "set": true, "infinite": false, "number": task.minutes });
        if let Some(gres) = gres(task) {
            job["tres_per_node"] = format!("gres/{gres}").into();
        }
    } else {
        let map: BTreeMap<_, _> = environment.into_iter().collect();
        job["environment"] = json!(map);
        job["time_limit"] = task.minutes.into();
        if let Some(gres) = gres(task) {
            job["gres"] = gres.into();
        }
    }
    if let Some(partition) = partition {
        job["partition"] = partition.into();
    }
    Ok(json!({ "script": script, "job": job }))
}

/// The newest known version that the description of the API has.
fn newest(api: &Value) -> Option<u32> {
    let paths = api["paths"].as_object()?;
    let versions = paths.keys().filter_map(|path| {
        let version = path.strip_prefix("/slurm/v0.0.")?.strip_suffix("/job/submit")?;
        version.parse().ok()
    });
    versions.filter(|version| KNOWN.contains(version)).max()
}

/// The answer's errors, in words.
fn wrong(answer: &Value) -> Option<String> {
    let errors = answer["errors"].as_array().filter(|errors| !errors.is_empty())?;
    let words = errors.iter().map(|error| {
        let said = [&error["error"], &error["description"]].map(|text| text.as_str().unwrap_or_default());
        said.join(" ").trim().to_owned()
    });
    Some(words.collect::<Vec<_>>().join("; "))
}

fn jobs(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["jobs"].as_array().into_iter().flatten()
}

fn accounted(job: &Value) -> Option<Account> {
    let time = &job["time"];
    Some(Account {
        name: job["name"].as_str()?.to_owned(),
        state: match word(&job["state"]["current"])? {
            state if state == "CANCELLED" => match job["kill_request_user"].as_str() {
                None => DROPPED.to_owned(),
                Some("root" | "0") => ROOTED_OUT.to_owned(),
                Some(_) => state,
            },
            state => state,
        },
        seconds: number(&time["elapsed"])?,
        is_over: number(&time["end"]).is_some_and(|end| end > 0),
        code: 1,
    })
}

/// The first of several.
fn word(value: &Value) -> Option<String> {
    let first = value
        .as_array()
        .map_or(value, |list| list.first().unwrap_or(&Value::Null));
    first.as_str().map(str::to_owned)
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value["number"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_know_is_taken() {
        let api = |versions: &[u32]| {
            let path = |version: &u32| (format!("/slurm/v0.0.{version}/job/submit"), json!({}));
            json!({ "paths": versions.iter().map(path).collect::<serde_json::Map<_, _>>() })
        };
        assert_eq!(newest(&api(&[36, 37, 38])), Some(38));
        assert_eq!(newest(&api(&[40, 41, 42, 99])), Some(42));
        assert_eq!(newest(&api(&[35])), None);
    }

    #[test]
    fn errors_are_a_failure_whatever_the_status() {
        assert_eq!(wrong(&json!({ "errors": [] })), None);
        let refused = json!({ "errors": [{ "error_code": 2045, "error": "Invalid account" }], "job_id": 0 });
        assert_eq!(wrong(&refused).as_deref(), Some("Invalid account"));
    }

    #[test]
    fn old_and_new_answers_are_read() {
        let old =
            json!({ "name": "n", "state": { "current": "RUNNING" }, "time": { "elapsed": 7, "end": 0 } });
        let new = json!({ "name": "n", "state": { "current": ["COMPLETED"] },
            "time": { "elapsed": 7, "end": { "set": true, "number": 9 } } });
        let read =
            [old, new].map(|job| accounted(&job).map(|start| (start.state, start.seconds, start.is_over)));
        assert_eq!(
            read,
            [
                Some(("RUNNING".into(), 7, false)),
                Some(("COMPLETED".into(), 7, true))
            ]
        );
    }
}
