//! `khub bench reads`: a hub that has been there for years, and how long each of its answers takes.
//!
//! The years are made in a minute by the hub's own rules with a moved clock: 215 organisations, their people, projects and
//! sites, and jobs that were asked for, placed, joined, metered and ended. The log is what such a hub would have. Then a hub
//! is started on it, in a process of its own, and read over HTTP by everyone at once while somebody goes on writing.

use super::process::Process;
use super::quantile;
use crate::failure::Failure;
use crate::members;
use crate::show;
use api::{ApiError, Client};
use consortium::{
    Actor, ArtifactId, ArtifactKind, Award, Batch, Command, Credential, Digest, Exit, FlopSeconds,
    FlopsPerSecond, Holder, Home, JobId, JobSpec, Kind, Label, Month, Organisation, OrganisationId, Output,
    Person, Phase, Presence, Price, Programme, Project, Reading, Request, Role, RoundSpec, Site, State,
    Tenure, Time, Usage, Won,
};
use serde_json::{Value, json};
use server::desk;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use store::{Place, Store};

/// Reads of a hub with years behind it: how long each takes.
#[derive(clap::Args)]
pub(super) struct Args {
    /// An empty folder for the hub.
    #[arg(long)]
    folder: PathBuf,
    /// An empty PostgreSQL database for its log.
    #[arg(long)]
    database: Option<Place>,
    #[arg(long, default_value_t = 100_000)]
    jobs: u32,
    #[arg(long, default_value_t = 5_000)]
    people: u32,
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Reads a second, of all clients together.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// How often something hidden and something that isn't there are asked for.
    #[arg(long, default_value_t = 500)]
    pairs: u32,
}

const PROGRAMMES: [Programme; 5] = [
    Programme::Language,
    Programme::Folding,
    Programme::Speech,
    Programme::Flight,
    Programme::Worlds,
];
const SITES: u32 = 20;
const GPUS: u32 = 64;
const PROJECTS: u32 = 400;
/// Jobs that are still there at the end: more than the sites have GPUs, so most of them wait.
const LATE: u32 = 4_000;
/// Jobs that are there at once before that.
const AT_ONCE: u32 = 400;
/// How often each is metered: with what is put aside and given back, twelve postings a job.
const READINGS: u64 = 4;
/// An artifact comes of every fifth job.
const WITH_OUTPUT: u64 = 5;
const HOUR: u64 = 3_600_000;
/// Projects of which nobody else may know.
const CLOSED: u32 = 3;
/// Commands a second while others read.
const WRITES: u64 = 20;

/// Prints one line of JSON.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let made = make(args)?;
    let hub = Process::serve(&args.folder, args.database.as_ref())?;
    let url = hub.url()?;
    let told = read(args, &url, &made.asks)?;
    let asks: BTreeMap<String, Value> = made
        .asks
        .iter()
        .zip(&told)
        .map(|(ask, times)| (format!("{} {}", ask.who, ask.path), summary(times)))
        .collect();
    let all: Vec<f64> = told.into_iter().flatten().collect();
    let hidden = hidden(args, &url, made.month)?;
    let report = json!({
        "organisations": made.organisations, "people": args.people, "jobs": args.jobs, "postings": made.postings,
        "records": made.records, "all": summary(&all), "asks": asks, "hidden": hidden,
    });
    show::print(&format!("{report}\n"));
    Ok(())
}

/// Milliseconds, and how many there were.
fn summary(times: &[f64]) -> Value {
    let at = |part: f64| quantile(times.iter().copied(), part);
    json!({ "n": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "longest_ms": at(1.0) })
}

/// A read, and who asks it.
struct Ask {
    who: &'static str,
    path: String,
}

/// How long each of the asks took, ms. A read is late from the moment at which it was due, so that a slow one isn't
/// counted once while all that had to come after it waits unseen.
fn read(args: &Args, url: &str, asks: &[Ask]) -> Result<Vec<Vec<f64>>, Failure> {
    let over = AtomicBool::new(false);
    let apart = Duration::from_secs_f64(f64::from(args.clients) / f64::from(args.rate));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(url, &over));
        let reader = |client: u32| {
            move || -> Result<Vec<(usize, f64)>, Failure> {
                let mut times = Vec::new();
                let mut hubs = BTreeMap::new();
                for n in 0.. {
                    let due = begin + apart * n + apart * client / args.clients;
                    if due.duration_since(begin).as_secs_f64() > args.seconds {
                        return Ok(times);
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let which = (n * args.clients + client) as usize % asks.len();
                    let Ask { who, path } = &asks[which];
                    if !hubs.contains_key(who) {
                        hubs.insert(who, Client::new(url, &token(who))?);
                    }
                    hubs[who].text(path)?;
                    times.push((which, due.elapsed().as_secs_f64() * 1e3));
                }
                Ok(times)
            }
        };
        let readers: Vec<_> = (0..args.clients).map(|it| scope.spawn(reader(it))).collect();
        let mut times = vec![Vec::new(); asks.len()];
        let ended: Vec<_> = readers
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .collect();
        over.store(true, Ordering::Relaxed);
        writer.join().expect("no panic")?;
        for read in ended {
            for (which, took) in read? {
                times[which].push(took);
            }
        }
        Ok(times)
    })
}

/// What a partner may not know of, and what nobody has, asked for in turns: whether the time tells them apart.
fn hidden(args: &Args, url: &str, month: Month) -> Result<BTreeMap<String, Value>, Failure> {
    let partner = Client::new(url, &token("partner"))?;
    let time = |path: &str| -> Result<f64, Failure> {
        let start = Instant::now();
        match partner.text(path) {
            Err(ApiError::Refused(problem)) if problem.status == 404 => {
                Ok(start.elapsed().as_secs_f64() * 1e3)
            }
            other => Err(Failure::new(format_args!("{path} isn't hidden: {other:?}"))),
        }
    };
    let invoice = format!("/api/v1/invoices/{month}/site-NAME");
    let kinds = [
        ("project", "/api/v1/projects/closed-NAME/artifacts"),
        ("award", "/api/v1/awards/closed-NAME"),
        ("invoice", &invoice),
    ];
    let mut told = BTreeMap::new();
    for (kind, path) in kinds {
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for turn in 0..args.pairs {
            let name = turn % CLOSED;
            let ask = |name: u32| time(&path.replace("NAME", &name.to_string()));
            // In turns the one and the other first: what comes second may be faster.
            let (a, b) = match turn % 2 {
                0 => (ask(name)?, ask(CLOSED + SITES + name)?),
                _ => {
                    let b = ask(CLOSED + SITES + name)?;
                    (ask(name)?, b)
                }
            };
            there.push(a);
            missing.push(b);
        }
        let later = there
            .iter()
            .flat_map(|a| missing.iter().map(move |b| a.total_cmp(b)));
        let later = later.map(|order| 0.5 + 0.5 * f64::from(order as i8)).sum::<f64>();
        let pairs = f64::from(args.pairs).powi(2).max(1.0);
        let line =
            json!({ "hidden": summary(&there), "missing": summary(&missing), "told_apart": later / pairs });
        told.insert(kind.to_owned(), line);
    }
    Ok(told)
}

/// Once a second a job comes and the one before it goes, which moves the queue; the other commands don't.
fn write(url: &str, over: &AtomicBool) -> Result<(), Failure> {
    let office = Client::new(url, &token("office"))?;
    let researcher = Client::new(url, &token("researcher"))?;
    let mut last = None;
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        if n % WRITES == 0 {
            let job = researcher.submit(&spec(&project(7), Label::Open)?, &format!("bench-{n}"))?;
            if let Some(before) = last.replace(job) {
                researcher.cancel(before)?;
            }
        } else {
            office.appropriate(2025, Won(1))?;
        }
        n += 1;
        std::thread::sleep(Duration::from_millis(1_000 / WRITES));
    }
    Ok(())
}

fn token(who: &str) -> String {
    format!("khub_bench_{who}")
}

/// What was made.
struct Made {
    asks: Vec<Ask>,
    organisations: usize,
    postings: u64,
    records: u64,
    /// In which the last job ended.
    month: Month,
}

fn make(args: &Args) -> Result<Made, Failure> {
    let place = args.database.clone();
    let (store, state) = Store::open(place.unwrap_or_else(|| Place::from(&args.folder)))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_err(Failure::new)?.as_millis() as u64;
    let batches = u64::from(args.jobs / AT_ONCE + 2);
    let mut years = Years {
        store,
        state,
        now: Time(now - batches * 6 * HOUR),
        postings: 0,
    };
    years.found(args.people)?;
    let early = args.jobs.saturating_sub(LATE);
    let mut made = 0;
    while made < early {
        let some = AT_ONCE.min(early - made);
        years.pass(some, made)?;
        made += some;
    }
    years.now = Time(now);
    years.late(args.jobs - made, made)?;
    years.store.snapshot(&years.state)?;
    Ok(Made {
        asks: years.asks(),
        organisations: years.state.organisations.len(),
        postings: years.postings,
        records: years.store.seq(),
        month: Month::of(years.now),
    })
}

/// A log that grows, and the time that it has come to.
struct Years {
    store: Store,
    state: State,
    now: Time,
    postings: u64,
}

impl Years {
    /// Has the rules carry it all out, and keeps what comes of it. A refusal is a defect of this bench.
    fn ask(&mut self, requests: &[Request]) -> Result<Vec<desk::Granted>, Failure> {
        let desk::Turn { entries, answers } = desk::carry_out(&mut self.state, requests, self.now);
        self.store.append(&entries)?;
        let events = entries.iter().flat_map(|entry| &entry.events);
        self.postings += 2 * events
            .filter(|it| matches!(it, consortium::Event::Posted(_)))
            .count() as u64;
        answers
            .into_iter()
            .map(|answer| answer.map_err(|refusal| Failure::new(format_args!("{refusal:?}"))))
            .collect()
    }

    fn found(&mut self, people: u32) -> Result<(), Failure> {
        let organisations = organisations();
        let ids: Vec<OrganisationId> = organisations.iter().map(|it| it.id.clone()).collect();
        let mut commands: Vec<Command> = organisations.iter().cloned().map(Command::Admit).collect();
        commands.push(Command::AddPerson(Person {
            id: name("office")?,
            organisation: ids[0].clone(),
            roles: [Role::Office, Role::Auditor].into(),
        }));
        for i in 0..people {
            commands.push(Command::AddPerson(Person {
                id: name(&person(i))?,
                organisation: ids[i as usize % ids.len()].clone(),
                roles: [].into(),
            }));
        }
        let at_home = organisations.iter().filter(|it| it.home == Home::Domestic);
        for (i, owner) in (0..SITES).zip(at_home) {
            commands.push(Command::AddSite(Site {
                id: name(&format!("site-{i}"))?,
                owner: owner.id.clone(),
                tenure: [Tenure::Rented, Tenure::Member, Tenure::National][i as usize % 3],
                rated: FlopsPerSecond(40_000_000_000_000_000),
                price: Price(i64::from(9_000 + 100 * i)),
                gpus: GPUS,
                gpu: None,
                marginal: None,
            }));
        }
        commands.push(Command::Appropriate {
            year: 2025,
            won: Won(44_500_000_000_000),
        });
        for i in 0..PROJECTS {
            let owner = i as usize % ids.len();
            let all = PROGRAMMES;
            commands.push(Command::OpenProject(Project {
                id: name(&project(i))?,
                title: format!("Project {i}"),
                organisation: ids[owner].clone(),
                programme: all[i as usize % all.len()],
                members: (0..12)
                    .map(|k| name(&person((i + k * PROJECTS) % people)))
                    .collect::<Result<_, _>>()?,
            }));
            commands.push(Command::Grant(Award {
                id: name(&format!("award-{i}"))?,
                project: name(&project(i))?,
                won: Won(100_000_000_000),
                compute: FlopSeconds::from_pflop_hours(10_000_000),
            }));
        }
        for i in 0..CLOSED {
            commands.push(Command::OpenProject(Project {
                id: name(&format!("closed-{i}"))?,
                title: "Nobody else's".into(),
                organisation: ids[0].clone(),
                programme: Programme::Flight,
                members: [name("office")?].into(),
            }));
            commands.push(Command::Grant(Award {
                id: name(&format!("closed-{i}"))?,
                project: name(&format!("closed-{i}"))?,
                won: Won(100_000_000_000),
                compute: FlopSeconds::from_pflop_hours(10_000_000),
            }));
        }
        let foreign = organisations
            .iter()
            .position(|it| it.home == Home::Foreign)
            .unwrap_or_default();
        let holders = [
            ("office", Holder::Person(name("office")?)),
            ("researcher", Holder::Person(name(&person(7))?)),
            ("partner", Holder::Person(name(&person(foreign as u32))?)),
        ];
        for (who, holder) in holders {
            commands.push(Command::IssueCredential {
                token: Digest::of(token(who).as_bytes()),
                credential: Credential::full(holder),
            });
        }
        let requests: Vec<Request> = commands
            .into_iter()
            .map(|it| Request::new(Actor::Hub, it))
            .collect();
        self.ask(&requests)?;
        let closed = (0..CLOSED).map(|i| {
            let spec = spec(&format!("closed-{i}"), Label::Restricted)?;
            Ok(Request::new(
                Actor::Person(name("office")?),
                Command::Submit(spec),
            ))
        });
        let closed: Vec<Request> = closed.collect::<Result<_, Failure>>()?;
        self.ask(&closed).map(drop)
    }

    /// So many jobs come, run for some hours, and are done.
    fn pass(&mut self, some: u32, from: u32) -> Result<(), Failure> {
        let jobs = self.submit(some, from)?;
        let joined = self.at_sites(&jobs, |_, job| Command::Join { job })?;
        for n in 1..=READINGS {
            self.now = self.now.plus(HOUR);
            let total = Usage {
                millis: n * HOUR,
                ..Usage::default()
            };
            let reading = Reading { attempt: 1, total };
            self.at_sites(&joined, |_, job| Command::Meter { job, reading })?;
        }
        self.at_sites(&joined, |state, job| {
            let output = |job: JobId| Output {
                id: ArtifactId {
                    project: state.jobs[&job].spec.project.clone(),
                    digest: Digest::of(job.to_string().as_bytes()),
                },
                name: "model.safetensors".into(),
                kind: ArtifactKind::Model,
                bytes: 1 << 20,
                label: Label::Open,
                made_from: Vec::new(),
            };
            let outputs = (job.0 % WITH_OUTPUT == 0)
                .then(|| output(job))
                .into_iter()
                .collect();
            Command::End {
                job,
                attempt: 1,
                exit: Exit::Done,
                outputs,
            }
        })?;
        self.now = self.now.plus(HOUR);
        Ok(())
    }

    /// Jobs that are still there: those that found machines run, the others wait.
    fn late(&mut self, some: u32, from: u32) -> Result<(), Failure> {
        let jobs = self.submit(some, from)?;
        self.at_sites(&jobs, |_, job| Command::Join { job }).map(drop)
    }

    fn submit(&mut self, some: u32, from: u32) -> Result<Vec<JobId>, Failure> {
        let requests = (from..from + some).map(|i| {
            let owner = i * 7 % PROJECTS;
            let submitter = Actor::Person(name(&person(owner))?);
            let label = match self.is_foreign(&submitter) {
                true => Label::Open,
                false => [Label::Open, Label::Consortium, Label::Restricted][i as usize % 3],
            };
            Ok(Request::new(
                submitter,
                Command::Submit(spec(&project(owner), label)?),
            ))
        });
        let requests: Vec<Request> = requests.collect::<Result<_, Failure>>()?;
        let granted = self.ask(&requests)?;
        Ok(granted.into_iter().filter_map(|it| it.job).collect())
    }

    fn is_foreign(&self, actor: &Actor) -> bool {
        let Actor::Person(id) = actor else { return false };
        let organisation = self.state.people.get(id).map(|person| &person.organisation);
        let organisation = organisation.and_then(|id| self.state.organisations.get(id));
        organisation.is_some_and(|it| it.home == Home::Foreign)
    }

    /// Has each of the jobs' sites ask something; the jobs that are at a site.
    fn at_sites(
        &mut self,
        jobs: &[JobId],
        what: impl Fn(&State, JobId) -> Command,
    ) -> Result<Vec<JobId>, Failure> {
        let mut requests = Vec::new();
        let mut there = Vec::new();
        for id in jobs {
            let job = &self.state.jobs[id];
            let here = job
                .members
                .iter()
                .filter(|(_, member)| member.presence != Presence::Left);
            for (site, _) in here.filter(|_| job.phase == Phase::Running) {
                there.push(*id);
                requests.push(Request::new(Actor::Site(site.clone()), what(&self.state, *id)));
            }
        }
        self.ask(&requests)?;
        Ok(there)
    }

    /// What people look at, by those who see all, something and little.
    fn asks(&self) -> Vec<Ask> {
        let waits = self
            .state
            .jobs
            .values()
            .rev()
            .find(|job| job.phase == Phase::Queued);
        let waits = waits.map_or(JobId(1), |job| job.id);
        let mut asks = Vec::new();
        let mut add = |whose: &[&'static str], path: &str| {
            for who in whose {
                asks.push(Ask {
                    who,
                    path: format!("/api/v1{path}"),
                });
            }
        };
        let everyone = ["office", "researcher", "partner"];
        for path in [
            "/me",
            "/jobs",
            "/queue",
            "/sites",
            "/projects",
            "/organisations",
            "/awards",
            "/calls",
        ] {
            add(&everyone, path);
        }
        for path in [
            "/jobs?project=project-7",
            "/projects/project-7/artifacts",
            "/awards/award-7",
        ] {
            add(&["office", "researcher"], path);
        }
        add(&["researcher"], &format!("/jobs?submitter={}", person(7)));
        add(&everyone, "/programmes/language/board");
        add(&["office"], &format!("/jobs/{waits}"));
        add(&["office"], &format!("/jobs/{waits}/explanation"));
        for path in [
            "/jobs/job-2/postings",
            "/people",
            "/ledger",
            "/ledger?empty=false",
            "/money",
            "/releases",
        ] {
            add(&["office"], path);
        }
        asks.push(Ask {
            who: "office",
            path: "/metrics".into(),
        });
        asks
    }
}

/// A simple job: of one GPU, for some hours, at any site that may hold it.
fn spec(project: &str, label: Label) -> Result<JobSpec, Failure> {
    Ok(JobSpec {
        name: format!("job of {project}"),
        project: name(project)?,
        program: String::new(),
        label,
        sites: 1,
        wall_minutes: 600,
        gpus: Some(1),
        gpu: None,
        due_minutes: None,
        inputs: BTreeMap::new(),
        rounds: RoundSpec::default(),
        settings: Value::Null,
        batch: Some(Box::new(Batch {
            script: "#!/bin/sh\npython train.py\n".into(),
            ..Batch::default()
        })),
    })
}

/// The example's, behind the office's own.
fn organisations() -> Vec<Organisation> {
    let office = Organisation {
        id: "khub-office".parse().expect("a name"),
        name: "K-Hub programme office".into(),
        name_ko: "K-Hub 사업단".into(),
        kind: Kind::Public,
        home: Home::Domestic,
    };
    let mut all = vec![office];
    all.extend(members::example(1));
    all
}

fn person(i: u32) -> String {
    format!("person-{i}")
}

fn project(i: u32) -> String {
    format!("project-{i}")
}

fn name<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(Failure::new)
}
