//! The processes of a run: the hub, two sites, and the relays before them.

use super::network::{Link, Network, hub_address};
use super::{Args, Fault};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The quickstart's sites that may have the restricted model.
const SITES: [&str; 2] = ["hangang-1", "namsan-1"];
const PORT: u16 = 7_777;

/// All that runs.
pub(super) struct Cast<'a> {
    khub: PathBuf,
    folder: PathBuf,
    network: &'a Network,
    link: Link,
    hub: Option<Child>,
    sites: [Option<Child>; 2],
    relays: Vec<Child>,
    /// Until when a link is cut.
    cut: Option<(usize, Instant)>,
    /// What the sites' programs wrote of their steps, as seen last; they are gone when the job has ended.
    metrics: BTreeMap<String, String>,
}

/// How a job stands.
pub(super) struct Now {
    pub(super) committed: u32,
    /// The job, once it is done.
    pub(super) outcome: Option<Value>,
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) seconds: f64,
    pub(super) bits_per_byte: f64,
    pub(super) rounds: usize,
    pub(super) updates: usize,
    pub(super) attempts: u64,
    pub(super) resets: usize,
    /// The part of the time that a site's program took steps, of its steps and what it waited for orders.
    pub(super) computing: BTreeMap<String, f64>,
}

impl<'a> Cast<'a> {
    /// The quickstart's consortium and data, without its training.
    pub(super) fn found(khub: &Path, root: &Path, network: &'a Network) -> Result<Self, String> {
        let folder = root.join("target/faults");
        let mut quickstart = Command::new(khub);
        quickstart.args([
            "quickstart",
            "--fresh",
            "--json",
            "--rounds",
            "1",
            "--samples",
            "8",
            "--folder",
        ]);
        let said = quickstart.arg(&folder).stdin(Stdio::null()).output();
        let said = said.map_err(|e| format!("{}: {e}", khub.display()))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            return Err(format!(
                "the quickstart that the runs begin with failed: {}",
                why.trim()
            ));
        }
        Ok(Self {
            khub: khub.to_owned(),
            folder,
            network,
            link: Link::default(),
            hub: None,
            sites: [None, None],
            relays: Vec::new(),
            cut: None,
            metrics: BTreeMap::new(),
        })
    }

    /// Starts the hub and the sites, on such links.
    pub(super) fn start(&mut self, link: Link) -> Result<(), String> {
        self.link = link;
        self.network.shape(link)?;
        if self.network.relays(link) {
            for site in 0..2 {
                let this = std::env::current_exe().map_err(|e| e.to_string())?;
                let mut relay = self.network.at_site(site, &this);
                relay.args(["faults", "relay", "--listen", &format!("127.0.0.1:{PORT}")]);
                relay.args(["--to", &format!("{}:{PORT}", hub_address(site))]);
                relay.args(["--delay-ms", &link.delay_ms.to_string()]);
                relay.args(["--loss-percent", &link.loss_percent.to_string()]);
                self.relays.push(self.spawn(relay, &format!("relay-{site}"))?);
            }
        }
        self.keep_running()
    }

    /// Stops all of them.
    pub(super) fn stop(&mut self) {
        let sites = self.sites.iter_mut().filter_map(Option::take);
        for mut child in sites.chain(self.hub.take()).chain(self.relays.drain(..)) {
            end(&mut child);
        }
        self.metrics.clear();
    }

    /// Starts again what has ended, as whatever runs services would, and mends a link whose time has come.
    pub(super) fn keep_running(&mut self) -> Result<(), String> {
        if let Some((site, until)) = self.cut
            && Instant::now() >= until
        {
            self.network.cut(site, false)?;
            self.cut = None;
            println!("the link of site {site} is mended");
        }
        if !runs(&mut self.hub) {
            let mut hub = self.network.at_hub(&self.khub);
            hub.args([
                "serve",
                "--lose-after",
                "5",
                "--listen",
                &format!("0.0.0.0:{PORT}"),
            ]);
            hub.arg("--folder").arg(&self.folder);
            self.hub = Some(self.spawn(hub, "hub")?);
            self.wait_for_hub()?;
        }
        for (i, name) in SITES.iter().enumerate() {
            if runs(&mut self.sites[i]) {
                continue;
            }
            let address = match self.network.relays(self.link) {
                true => "127.0.0.1".to_owned(),
                false => hub_address(i),
            };
            let mut site = self.network.at_site(i, &self.khub);
            site.args([
                "site",
                "--threads",
                "1",
                "--hub",
                &format!("http://{address}:{PORT}"),
            ]);
            site.arg("--credential")
                .arg(self.folder.join("credentials").join(name));
            site.arg("--folder").arg(self.folder.join("sites").join(name));
            self.sites[i] = Some(self.spawn(site, name)?);
        }
        Ok(())
    }

    /// Lets something go wrong.
    pub(super) fn suffer(&mut self, fault: &Fault) -> Result<(), String> {
        match *fault {
            Fault::KillHub => kill(&mut self.hub),
            Fault::KillSite(site) => kill(&mut self.sites[site]),
            Fault::Cut(site, seconds) => {
                self.network.cut(site, true)?;
                self.cut = Some((site, Instant::now() + Duration::from_secs(seconds)));
            }
        }
        Ok(())
    }

    /// Asks for the quickstart's job again, with other rounds.
    pub(super) fn submit(&mut self, name: &str, args: &Args) -> Result<String, String> {
        let Args {
            rounds,
            samples,
            quorum,
            codec,
            ..
        } = args;
        let asked = self.folder.join("quickstart/job.toml");
        let text = fs::read_to_string(&asked).map_err(|e| format!("{}: {e}", asked.display()))?;
        let mut spec: toml::Table = text.parse().map_err(|e| format!("{}: {e}", asked.display()))?;
        let how = format!(
            "count = {rounds}\nsamples = {samples}\nquorum = {quorum}\ngrace_seconds = 10\nfragments = 4\noverlap = 1\n\
             codec = \"{codec}\"\ncheckpoint_every = 8\n"
        );
        let how: toml::Table = how.parse().map_err(|e| format!("the rounds: {e}"))?;
        spec.insert("rounds".into(), how.into());
        spec.insert("name".into(), name.into());
        // A hundred rounds may take a slow link half an hour.
        spec.insert("wall_minutes".into(), 60.into());
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, spec.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
        let said = self.ask(&["submit", &file.to_string_lossy()])?;
        Ok(said.trim().to_owned())
    }

    /// How the job stands; a hub that is being started again is asked again.
    pub(super) fn look(&mut self, job: &str) -> Result<Now, String> {
        for name in SITES {
            let file = self.folder.join(format!("sites/{name}/jobs/{job}/metrics.jsonl"));
            if let Ok(text) = fs::read_to_string(file) {
                self.metrics.insert(name.to_owned(), text);
            }
        }
        let Ok(said) = self.ask(&["jobs", job, "--json"]) else {
            return Ok(Now {
                committed: 0,
                outcome: None,
            });
        };
        let view: Value = serde_json::from_str(&said).map_err(|e| format!("khub jobs: {e}"))?;
        let phase = &view["job"]["phase"]["phase"];
        let committed = view["committed"].as_u64().unwrap_or(0) as u32;
        match phase.as_str() {
            Some("failed" | "cancelled") => Err(format!("{job}: {}", view["job"]["phase"])),
            Some("done") => Ok(Now {
                committed,
                outcome: Some(view["job"].clone()),
            }),
            _ => Ok(Now {
                committed,
                outcome: None,
            }),
        }
    }

    /// Checks what must hold of a finished job, and reads its numbers.
    pub(super) fn outcome(&self, job: &str, log: &Value, seconds: f64) -> Result<Outcome, String> {
        let rounds = log["rounds"].as_array().cloned().unwrap_or_default();
        let mut counted = Vec::new();
        for round in &rounds {
            let number = &round["number"];
            let told = round["outer"].as_object().cloned().unwrap_or_default();
            let mut digests = told.values();
            let first = digests.next();
            if digests.any(|other| Some(other) != first) {
                return Err(format!("the sites came to different weights in round {number}"));
            }
            let updates = round["updates"].as_object().cloned().unwrap_or_default();
            for site in updates.keys() {
                let part = &round["members"][site.as_str()];
                counted.push((part["first"].as_u64(), part["end"].as_u64()));
            }
        }
        let told = rounds.last().and_then(|last| last["outer"].as_object());
        if told.is_none_or(|told| told.len() < 2) {
            return Err("not both sites came to the end".into());
        }
        counted.sort_unstable();
        if counted.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("a sample counts twice".into());
        }
        let members = log["members"].as_object().cloned().unwrap_or_default();
        Ok(Outcome {
            seconds,
            bits_per_byte: self.report(job)?["bits_per_byte_last"]
                .as_f64()
                .unwrap_or(f64::NAN),
            rounds: rounds.len(),
            updates: counted.len(),
            attempts: members
                .values()
                .filter_map(|member| member["attempt"].as_u64())
                .sum(),
            resets: members
                .values()
                .filter(|member| !member["reset"].is_null())
                .count(),
            computing: self
                .metrics
                .iter()
                .map(|(site, text)| (site.clone(), computing(text)))
                .collect(),
        })
    }

    /// The job's own report.
    fn report(&self, job: &str) -> Result<Value, String> {
        let said = self.ask(&["artifacts", "korean-reviews", "--json"])?;
        let all: Vec<Value> = serde_json::from_str(&said).map_err(|e| format!("khub artifacts: {e}"))?;
        let of_job = |artifact: &&Value| named(&artifact["job"]) == job && artifact["name"] == "report.json";
        let report = all
            .iter()
            .find(of_job)
            .ok_or_else(|| format!("{job} has no report"))?;
        let id = &report["id"];
        let id = match (id["project"].as_str(), id["digest"].as_str()) {
            (Some(project), Some(digest)) => format!("{project}/{digest}"),
            _ => id.as_str().unwrap_or_default().to_owned(),
        };
        let file = self.folder.join("report.json");
        self.ask(&["fetch", &id, "--output", &file.to_string_lossy()])?;
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// A command at the hub, as the quickstart's researcher.
    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.network.at_hub(&self.khub);
        command.args(arguments).arg("--folder").arg(&self.folder);
        command.args(["--hub", &format!("http://127.0.0.1:{PORT}")]);
        let said = command
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{command:?}: {e}"))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let why = String::from_utf8_lossy(&said.stderr);
        Err(format!("khub {}: {}", arguments.join(" "), why.trim()))
    }

    fn wait_for_hub(&self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.ask(&["sites", "--json"]) {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() > until => return Err(format!("the hub doesn't answer: {why}")),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn spawn(&self, mut command: Command, name: &str) -> Result<Child, String> {
        let log = self.folder.join(format!("faults-{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|e| format!("{}: {e}", log.display()))?;
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command.spawn().map_err(|e| format!("{command:?}: {e}"))
    }
}

impl Drop for Cast<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A job's number as its name, whichever way JSON has it.
fn named(id: &Value) -> String {
    match id {
        Value::Number(number) => format!("job-{number}"),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// The part of the time that steps took, of that and of what was waited for orders until the last round was applied.
/// What was waited before the first step is the job's beginning and no part of it.
fn computing(metrics: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut steps, mut waited) = (0.0, 0.0);
    for line in lines {
        if steps > 0.0 {
            waited += line["waited_s"].as_f64().unwrap_or(0.0);
        }
        // Lines of rounds that were applied have none, and what they took is no computing.
        if line["step"].is_u64() {
            steps += line["seconds"].as_f64().unwrap_or(0.0);
        }
    }
    steps / f64::max(steps + waited, 1e-9)
}

fn runs(child: &mut Option<Child>) -> bool {
    child
        .as_mut()
        .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
}

/// `ip netns exec` becomes the process itself, so this is a kill -9 of khub.
fn kill(child: &mut Option<Child>) {
    if let Some(child) = child {
        end(child);
    }
}

fn end(child: &mut Child) {
    // One that has ended can't be killed, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_is_no_computing() {
        let of = |what: &str, seconds: f64, waited: f64| {
            format!("{{\"{what}\":3,\"seconds\":{seconds},\"waited_s\":{waited}}}\n")
        };
        let metrics = [
            of("step", 1.0, 9.0),
            of("step", 2.0, 0.5),
            of("applied", 4.0, 0.25),
            of("step", 3.0, 0.0),
            of("applied", 4.0, 0.25),
            "{\"sec".to_owned(),
        ]
        .concat();
        assert!((computing(&metrics) - 6.0 / 7.0).abs() < 1e-9);
        assert_eq!(computing(""), 0.0);
    }
}
