//! `khub bench hub`: a hub of its own, in a process of its own, under many clients at once.
//!
//! Every client books one won at a time under a key of its own. So a command that was confirmed and lost, or
//! done twice, shows in the pool's balance.

use super::process::Process;
use super::{quantile, submit};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::found::Founding;
use crate::serve::hub_config;
use crate::show;
use api::{ApiError, Client};
use consortium::{Account, Won};
use serde_json::{Value, json};
use server::Hub;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::{Place, Reader};

/// A hub under many clients: commands a second, kills, take-over.
#[derive(clap::Args)]
pub(super) struct Args {
    /// An empty folder for the hub.
    #[arg(long)]
    folder: PathBuf,
    /// An empty PostgreSQL database for its log.
    #[arg(long)]
    database: Option<Place>,
    #[arg(long, default_value_t = 32)]
    clients: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often to kill the hub in the middle of it.
    #[arg(long, default_value_t = 0)]
    kills: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Submit simple jobs instead, and count those that come to a site.
    #[arg(long)]
    submits: bool,
    /// Measure how long a second hub takes to take over from one that is killed, and from one that is stopped.
    #[arg(long, requires = "database")]
    take_over: bool,
}

/// What everyone's commands are booked in.
const YEAR: u16 = 2021;

/// Prints one line of JSON.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let bench = Bench::found(args)?;
    let mut report = json!({ "clients": args.clients, "database": args.database.is_some() });
    if args.kills > 0 {
        report["kills"] = bench.kills(args.kills, args.seed)?;
    } else if args.submits {
        let hub = bench.serve()?;
        let folder = Folder(args.folder.clone());
        report["submits"] = submit::run(&hub.url()?, &folder, args.clients, args.seconds)?;
    } else {
        report["throughput"] = bench.throughput(args.seconds)?;
    }
    if args.take_over {
        report["take_over"] = bench.take_over()?;
    }
    report["verified"] = bench.verify()?;
    show::print(&format!("{report}\n"));
    Ok(())
}

struct Bench<'a> {
    args: &'a Args,
    token: String,
    /// How many won were confirmed, and how many of them each client has asked for: its next key.
    confirmed: AtomicU64,
    next: Vec<AtomicU64>,
    /// What the pool had before.
    founded: Won,
}

impl<'a> Bench<'a> {
    fn found(args: &'a Args) -> Result<Self, Failure> {
        let folder = Folder(args.folder.clone());
        let hub = Hub::start(&hub_config(&args.folder, args.database.as_ref()))?;
        let founding = match args.submits {
            true => submit::founding(),
            false => Founding::example(),
        };
        founding.carry_out(&hub, &folder)?;
        let token = folder.token("office")?;
        let founded = pool(&Client::new(&hub.url(), &token)?)?;
        Ok(Self {
            args,
            token,
            confirmed: AtomicU64::new(0),
            next: (0..args.clients).map(|_| AtomicU64::new(0)).collect(),
            founded,
        })
    }

    fn serve(&self) -> Result<Process, Failure> {
        Process::serve(&self.args.folder, self.args.database.as_ref())
    }

    fn client(&self, hub: &Process) -> Result<Client, Failure> {
        Ok(Client::new(&hub.url()?, &self.token)?)
    }

    fn throughput(&self, seconds: f64) -> Result<Value, Failure> {
        let hub = self.serve()?;
        let url = hub.url()?;
        let stop = AtomicBool::new(false);
        let times = std::thread::scope(|scope| -> Result<Vec<f64>, Failure> {
            let writers: Vec<_> = (0..self.args.clients)
                .map(|client| {
                    let (url, stop) = (&url, &stop);
                    scope.spawn(move || self.write(client, url, stop))
                })
                .collect();
            std::thread::sleep(Duration::from_secs_f64(seconds));
            stop.store(true, Ordering::Relaxed);
            let mut times = Vec::new();
            for writer in writers {
                times.extend(writer.join().expect("a client doesn't panic")?);
            }
            Ok(times)
        })?;
        let at = |part: f64| quantile(times.iter().copied(), part) * 1e3;
        Ok(json!({
            "commands_per_s": (times.len() as f64 / seconds).round(),
            "p50_ms": at(0.5), "p99_ms": at(0.99),
        }))
    }

    /// Books won after won until it is told to stop or the hub is gone. How long each took.
    fn write(&self, client: usize, url: &str, stop: &AtomicBool) -> Result<Vec<f64>, Failure> {
        let hub = Client::new(url, &self.token)?;
        let mut times = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = self.next[client].load(Ordering::Relaxed);
            let start = Instant::now();
            match hub.appropriate_once(YEAR, Won(1), &format!("{client} {n}")) {
                Ok(_) => {
                    times.push(start.elapsed().as_secs_f64());
                    self.confirmed.fetch_add(1, Ordering::Relaxed);
                    self.next[client].store(n + 1, Ordering::Relaxed);
                }
                // Gone, or going: the same key is asked for again at the next.
                Err(ApiError::Refused(problem)) if problem.status != 503 => return Err((*problem).into()),
                Err(_) => break,
            }
        }
        Ok(times)
    }

    fn kills(&self, kills: u32, seed: u64) -> Result<Value, Failure> {
        let mut dice = seed;
        let start = Instant::now();
        for round in 0..kills {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let wait = Duration::from_millis(20 + (dice >> 33) % 250);
            let hub = self.serve()?;
            self.settle(&hub, round)?;
            let url = hub.url()?;
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| -> Result<(), Failure> {
                let write = |client| {
                    let (url, stop) = (&url, &stop);
                    scope.spawn(move || self.write(client, url, stop))
                };
                let writers: Vec<_> = (0..self.args.clients).map(write).collect();
                std::thread::sleep(wait);
                hub.kill();
                writers
                    .into_iter()
                    .try_for_each(|writer| writer.join().expect("a client doesn't panic").map(drop))
            })?;
        }
        self.settle(&self.serve()?, kills)?;
        Ok(json!({ "rounds": kills, "seconds": start.elapsed().as_secs_f64() }))
    }

    /// Has each client ask again for what it was not told, and compares the pool with what was confirmed.
    fn settle(&self, hub: &Process, round: u32) -> Result<(), Failure> {
        let client = self.client(hub)?;
        for (i, next) in self.next.iter().enumerate() {
            let n = next.fetch_add(1, Ordering::Relaxed);
            client.appropriate_once(YEAR, Won(1), &format!("{i} {n}"))?;
            self.confirmed.fetch_add(1, Ordering::Relaxed);
        }
        self.compare(pool(&client)?, round)
    }

    fn compare(&self, pool: Won, round: u32) -> Result<(), Failure> {
        let expected = self.founded + Won(self.confirmed.load(Ordering::Relaxed).cast_signed());
        if pool == expected {
            return Ok(());
        }
        Err(Failure::new(format_args!(
            "after kill {round} the pool has {pool}, and {expected} was confirmed"
        )))
    }

    /// A second hub stands by; the first is killed, and in another round stopped and woken up afterwards.
    fn take_over(&self) -> Result<Value, Failure> {
        let mut report = json!({});
        for stopped in [false, true] {
            let first = self.serve()?;
            let second = Process::start(&self.args.folder, self.args.database.as_ref())?;
            second.until("stands by")?;
            let start = Instant::now();
            first.signal(if stopped { "STOP" } else { "KILL" })?;
            let client = Client::new(&second.url()?, &self.token)?;
            self.book(&client)?;
            let name = if stopped { "stopped_s" } else { "killed_s" };
            report[name] = json!(start.elapsed().as_secs_f64());
            if stopped {
                first.signal("CONT")?;
                let old = self.client(&first)?;
                if self.book(&old).is_ok() {
                    return Err(Failure::new("a hub that was woken up still writes"));
                }
            }
            self.compare(pool(&client)?, 0)?;
        }
        Ok(report)
    }

    fn book(&self, client: &Client) -> Result<(), Failure> {
        let n = self.next[0].load(Ordering::Relaxed);
        client.appropriate_once(YEAR, Won(1), &format!("0 {n}"))?;
        self.next[0].store(n + 1, Ordering::Relaxed);
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn verify(&self) -> Result<Value, Failure> {
        let place = self.args.database.clone();
        let verified = Reader::open(place.unwrap_or_else(|| Place::from(&self.args.folder)))?.verify()?;
        self.compare(
            verified.ledger.balance(&Account::Pool(Some(YEAR))).won,
            self.args.kills,
        )?;
        Ok(json!({ "records": verified.records, "confirmed": self.confirmed.load(Ordering::Relaxed) }))
    }
}

fn pool(client: &Client) -> Result<Won, Failure> {
    let accounts = client.ledger()?.accounts;
    let pool = accounts
        .iter()
        .find(|(account, _)| *account == Account::Pool(Some(YEAR)));
    Ok(pool.map(|(_, balance)| balance.won).unwrap_or_default())
}
