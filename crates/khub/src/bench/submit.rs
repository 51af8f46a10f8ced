//! `khub bench hub --submits`: simple jobs from their submission to their site, over HTTP.
//!
//! Each client submits one job at a time, and the next when a site has joined that one. Sites are clients, too: they hold one
//! request for orders open, and of each job that comes they join it and say that it is done.

use super::quantile;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::found::Founding;
use api::{ApiError, Client};
use consortium::{Batch, Exit, JobId, JobSpec, Label, Presence, SiteId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const SITES: [&str; 2] = ["alpha", "beta"];
/// What each site does at once.
const HANDS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);

/// A project with more money than can be spent, and two sites with room.
const CONSORTIUM: &str = r#"
organisations = [{ id = "office", name = "Office", name_ko = "사업단", kind = "public", home = "domestic" }]
people = [
  { id = "office", organisation = "office", roles = ["office"] },
  { id = "minji", organisation = "office" },
]
appropriations = [{ year = 2021, won = 44_500_000_000 }]
sites = [
  { id = "alpha", owner = "office", tenure = "national", rated = 8_000_000_000_000, price = 9_000_000, gpus = 512 },
  { id = "beta", owner = "office", tenure = "national", rated = 8_000_000_000_000, price = 9_000_000, gpus = 512 },
]
projects = [{ id = "reviews", title = "Reviews", organisation = "office", programme = "language", members = ["minji"] }]
awards = [{ id = "reviews-2021", project = "reviews", won = 44_000_000_000, compute = "28800000000000000000000000" }]
"#;

pub(super) fn founding() -> Founding {
    Founding::parse(CONSORTIUM).expect("it is part of the program")
}

/// The jobs that a site has joined.
#[derive(Default)]
struct Dispatched {
    jobs: Mutex<BTreeSet<JobId>>,
    changed: Condvar,
}

/// Submits for so long; how many jobs a second came to their site, and how long one takes.
pub(super) fn run(url: &str, folder: &Folder, clients: usize, seconds: f64) -> Result<Value, Failure> {
    // Sites go on until the last job has come to one.
    let (stop, over, dispatched) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        Dispatched::default(),
    );
    let member = Client::new(url, &folder.token("minji")?)?;
    let sites: BTreeMap<&str, Client> = SITES
        .iter()
        .map(|site| Ok((*site, Client::new(url, &folder.token(site)?)?)))
        .collect::<Result<_, Failure>>()?;
    let (stop, over, dispatched) = (&stop, &over, &dispatched);
    let times: Vec<Took> = std::thread::scope(|scope| {
        for (name, client) in &sites {
            let (give, take) = channel();
            let take = Mutex::new(take);
            scope.spawn(move || listen(name, client, &give, over));
            scope.spawn(move || {
                std::thread::scope(|scope| {
                    for _ in 0..HANDS {
                        scope.spawn(|| work(client, &take, dispatched));
                    }
                });
            });
        }
        let member = &member;
        let submitters: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || submit(member, client, dispatched, stop)))
            .collect();
        std::thread::sleep(Duration::from_secs_f64(seconds));
        stop.store(true, Ordering::Relaxed);
        let joined = submitters
            .into_iter()
            .map(|it| it.join().expect("a client doesn't panic"));
        let all: Vec<Result<Vec<Took>, Failure>> = joined.collect();
        over.store(true, Ordering::Relaxed);
        let all: Result<Vec<Vec<Took>>, Failure> = all.into_iter().collect();
        all.map(|all| all.into_iter().flatten().collect())
    })?;
    let per_s = (times.len() as f64 / seconds).round();
    let of = |what: fn(&Took) -> f64, part: f64| quantile(times.iter().map(what), part) * 1e3;
    Ok(json!({
        "jobs_per_s": per_s,
        "submit_p50_ms": of(|took| took.submit, 0.5), "submit_p99_ms": of(|took| took.submit, 0.99),
        "dispatch_p50_ms": of(|took| took.dispatch, 0.5), "dispatch_p99_ms": of(|took| took.dispatch, 0.99),
    }))
}

/// Seconds until the submission was safe, and until a site had joined the job.
#[derive(Clone, Copy)]
struct Took {
    submit: f64,
    dispatch: f64,
}

fn submit(
    hub: &Client,
    client: usize,
    dispatched: &Dispatched,
    stop: &AtomicBool,
) -> Result<Vec<Took>, Failure> {
    let spec = JobSpec {
        name: "simple".into(),
        project: "reviews".parse().map_err(Failure::new)?,
        program: String::new(),
        label: Label::Open,
        sites: 1,
        wall_minutes: 1,
        gpus: Some(1),
        gpu: None,
        due_minutes: None,
        inputs: BTreeMap::new(),
        rounds: consortium::RoundSpec::default(),
        settings: Value::Null,
        batch: Some(Box::new(Batch {
            script: "#!/bin/sh\ntrue\n".into(),
            ..Batch::default()
        })),
    };
    let mut times = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let start = Instant::now();
        let job = hub.submit(&spec, &format!("{client} {n}"))?;
        let submit = start.elapsed().as_secs_f64();
        dispatched.wait_for(job)?;
        times.push(Took {
            submit,
            dispatch: start.elapsed().as_secs_f64(),
        });
    }
    Ok(times)
}

/// Hears a site's orders, and hands on each job once.
fn listen(name: &str, client: &Client, give: &Sender<JobId>, over: &AtomicBool) {
    let site: SiteId = name.parse().expect("a site's name");
    let (mut known, mut seen) = (String::new(), BTreeSet::new());
    while !over.load(Ordering::Relaxed) {
        let Ok(answer) = client.orders(&site, 0, &known, Duration::from_secs(1)) else {
            continue; // the submitters say it if the hub is gone
        };
        let Some((tag, orders)) = answer else { continue };
        known = tag;
        for job in orders.jobs {
            if job.presence == Presence::Expected && seen.insert(job.id) {
                let _ = give.send(job.id);
            }
        }
    }
}

/// Joins jobs and says that they are done, until nobody hands on any more.
fn work(client: &Client, take: &Mutex<Receiver<JobId>>, dispatched: &Dispatched) {
    loop {
        let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let joined = client.join(job);
        if joined.is_ok() {
            dispatched.note(job);
        }
        let ended: Result<_, ApiError> =
            joined.and_then(|attempt| client.end(job, attempt, &Exit::Done, &[]));
        if let Err(error) = ended {
            eprintln!("{job}: {error}");
        }
    }
}

impl Dispatched {
    fn note(&self, job: JobId) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job);
        self.changed.notify_all();
    }

    fn wait_for(&self, job: JobId) -> Result<(), Failure> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self
            .changed
            .wait_timeout_while(jobs, PATIENCE, |jobs| !jobs.remove(&job));
        let (jobs, waited) = waiting.unwrap_or_else(PoisonError::into_inner);
        drop(jobs);
        if waited.timed_out() {
            return Err(Failure::new(format_args!(
                "{job} came to no site in {PATIENCE:?}"
            )));
        }
        Ok(())
    }
}
