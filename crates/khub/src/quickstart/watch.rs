//! What goes on, live: a bar for the rounds and a line for each site; without a terminal, a line a round.

use super::children::Sites;
use crate::failure::Failure;
use crate::show;
use api::{Client, JobView};
use consortium::{Job, JobId, Phase, SiteId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn until_placed(client: &Client, job: JobId, stop: &AtomicBool) -> Result<(), Failure> {
    while client.job(job)?.job.phase == Phase::Queued {
        pause(stop)?;
    }
    Ok(())
}

pub(crate) fn until_done(
    client: &Client,
    job: JobId,
    stop: &AtomicBool,
    sites: &mut Sites,
    tell: &dyn Fn(&str),
) -> Result<(), Failure> {
    let mut screen = Screen::new(&client.job(job)?.job);
    loop {
        let view = client.job(job)?;
        screen.show(&view, tell);
        sites.revive(&|text| screen.tell(text, tell))?;
        match &view.job.phase {
            Phase::Done => {
                screen.end();
                return Ok(());
            }
            Phase::Failed { reason } => {
                return Err(Failure::new(reason).hint("see sites/*/site.log in the data folder"));
            }
            Phase::Cancelled => return Err(Failure::new(format_args!("{job} was cancelled"))),
            _ => pause(stop)?,
        }
    }
}

fn pause(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::interrupted().hint("run it again to go on from here"));
    }
    std::thread::sleep(LOOK_EVERY);
    Ok(())
}

struct Screen {
    all: MultiProgress,
    rounds: ProgressBar,
    sites: BTreeMap<SiteId, ProgressBar>,
    money: ProgressBar,
    live: bool,
    told: u32,
}

impl Screen {
    fn new(job: &Job) -> Self {
        let all = MultiProgress::new();
        let live = !all.is_hidden();
        let style = |template: &str| ProgressStyle::with_template(template).expect("templates are fixed");
        let rounds = all.add(ProgressBar::new(job.spec.rounds.count.into()));
        rounds.set_style(style(
            "rounds    {bar:40.cyan/blue} {pos}/{len}  {elapsed} so far, {eta} to go",
        ));
        let line = || all.add(ProgressBar::new_spinner().with_style(style("{prefix:9} {msg}")));
        let sites = job
            .members
            .keys()
            .map(|site| (site.clone(), line().with_prefix(site.to_string())))
            .collect();
        let money = line().with_prefix("job");
        Self {
            rounds,
            sites,
            money,
            live,
            told: job.committed(),
            all,
        }
    }

    fn show(&mut self, view: &JobView, tell: &dyn Fn(&str)) {
        let count = view.job.spec.rounds.count;
        self.rounds.set_length(count.max(view.committed).into());
        self.rounds.set_position(view.committed.into());
        for (site, line) in &self.sites {
            let message = view.progress.get(site).map_or("starts".to_owned(), |p| {
                format!(
                    "loss {:.3}  {:>6} tokens/s  round {}",
                    p.loss,
                    show::grouped(p.tokens_per_s as u64),
                    p.round + 1
                )
            });
            line.set_message(message);
        }
        self.money.set_message(so_far(view));
        if !self.live && view.committed > self.told {
            self.told = view.committed;
            tell(&format!("{}\n", in_a_line(view)));
        }
    }

    /// A line for people that stays, above the bars if there are any.
    fn tell(&self, text: &str, tell: &dyn Fn(&str)) {
        if !self.live || self.all.println(text.trim_end()).is_err() {
            tell(text);
        }
    }

    fn end(&self) {
        for line in self.sites.values().chain([&self.money, &self.rounds]) {
            line.finish();
        }
    }
}

/// Won spent, and bytes moved against what a synchronous run would have moved by now.
fn so_far(view: &JobView) -> String {
    let moved = Moved::of(&view.job);
    format!(
        "{} spent  {} between sites, synchronous training would be at {}",
        view.spent,
        show::bytes(moved.bytes),
        show::bytes(moved.synchronous)
    )
}

fn in_a_line(view: &JobView) -> String {
    let last = view.job.rounds.iter().rev().find(|round| round.is_closed());
    let losses = last
        .into_iter()
        .flat_map(|round| round.updates.values())
        .map(|u| u.loss_micronats as f64 / 1e6);
    let losses: Vec<String> = losses.map(|loss| format!("{loss:.3}")).collect();
    let rounds = view.job.spec.rounds.count.max(view.committed);
    format!(
        "round {:>2}/{rounds}  loss {}  {}",
        view.committed,
        losses.join(" "),
        so_far(view)
    )
}

/// What crossed between sites, and what would have.
pub(crate) struct Moved {
    /// All that sites sent and received of updates, through the hub.
    pub(crate) bytes: u64,
    /// What data-parallel training of the same steps moves: a ring all-reduce of 16-bit gradients at every
    /// step, 2 (n - 1) P numbers for n sites and P weights (Patarasuk and Yuan, 2009).
    pub(crate) synchronous: u64,
}

impl Moved {
    pub(crate) fn of(job: &Job) -> Self {
        let totals = job.members.values().map(consortium::Member::total);
        let bytes = totals.map(|usage| usage.sent + usage.received).sum();
        let closed = job.rounds.iter().filter(|round| round.is_closed());
        let of_round = |round: &consortium::Round| {
            let sites = round.updates.len() as u64;
            let most = |f: fn(&consortium::Update) -> u64| round.updates.values().map(f).max().unwrap_or(0);
            2 * sites.saturating_sub(1) * most(|u| u.parameters) * 2 * most(|u| u.steps.into())
        };
        Self {
            bytes,
            synchronous: closed.map(of_round).sum(),
        }
    }
}
