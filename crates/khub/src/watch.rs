//! `khub watch`: machines that are held idle, and what follows.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::JobLine;
use consortium::watch::{Notice, Terms};
use consortium::{JobId, Member};

/// Look for machines that are held idle: the consortium's terms, and the jobs they have met.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(Show),
    Set(Set),
    Off(Off),
    GiveBack(GiveBack),
}

/// Print the terms, and the jobs that hold machines idle.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub watch show")]
struct Show {
    #[command(flatten)]
    connect: Connect,
}

/// Set the consortium's terms.
///
/// A job whose machines are busy for less than --busy is idle. Idle for so long in a row, it is reported, then its people
/// are warned, then the award that pays for it is reduced.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub watch set --busy 10 --report 60 --warn 240 --reduce 1440 --by 10 --as office"
)]
struct Set {
    /// Who is busy for less is idle.
    #[arg(long, value_name = "PERCENT")]
    busy: u32,
    /// How many seconds are judged at a time.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    sample: u32,
    /// Idle for so long, a job is reported.
    #[arg(long, value_name = "MINUTES")]
    report: u32,
    /// Idle for so long, its people are warned.
    #[arg(long, value_name = "MINUTES")]
    warn: u32,
    /// Idle for so long, the award is reduced.
    #[arg(long, value_name = "MINUTES")]
    reduce: u32,
    /// By so much of what it has left.
    #[arg(long, value_name = "PERCENT")]
    by: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Watch nobody any more.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub watch off --as office")]
struct Off {
    #[command(flatten)]
    connect: Connect,
}

/// Give an award back what was taken because of a job.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub watch give-back job-7 --ground 'the driver told nothing of its GPUs' --as office"
)]
struct GiveBack {
    /// Because of which job.
    job: JobId,
    /// What that rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Show(args) => {
            let client = args.connect.client()?;
            let (terms, jobs) = (client.watch()?, client.jobs()?);
            show::print(&in_words(terms.as_ref(), &jobs));
        }
        Command::Set(args) => {
            let terms = Terms {
                busy_percent: args.busy,
                sample_seconds: args.sample,
                report_minutes: args.report,
                warn_minutes: args.warn,
                reduce_minutes: args.reduce,
                reduce_percent: args.by,
            };
            args.connect.client()?.set_watch(Some(&terms))?;
            show::print(&in_words(Some(&terms), &[]));
        }
        Command::Off(args) => {
            args.connect.client()?.set_watch(None)?;
            show::print(&in_words(None, &[]));
        }
        Command::GiveBack(args) => {
            args.connect.client()?.give_back(args.job, &args.ground)?;
            show::print(&format!("what was taken because of {} is given back\n", args.job));
        }
    }
    Ok(())
}

fn in_words(terms: Option<&Terms>, jobs: &[JobLine]) -> String {
    let Some(terms) = terms else {
        return "nobody is watched\n".to_owned();
    };
    let mut text = format!(
        "busy for less than {} %, judged by {} s, is idle; after {} minutes it is reported, after {} the job's people \
         are warned, after {} the award is reduced by {} % of what it has left\n",
        terms.busy_percent,
        terms.sample_seconds,
        terms.report_minutes,
        terms.warn_minutes,
        terms.reduce_minutes,
        terms.reduce_percent,
    );
    let rows: Vec<Vec<String>> = jobs.iter().filter_map(row).collect();
    if !rows.is_empty() {
        let head = ["job", "name", "project", "busy", "idle", "award"];
        text += &format!("\n{}", show::table(&head, &rows));
    }
    text
}

fn row(job: &JobLine) -> Option<Vec<String>> {
    let member = job
        .stays()
        .filter(|member| member.watch.notice.is_some())
        .last()?;
    let taken = member.watch.taken.as_ref();
    Some(vec![
        job.id.to_string(),
        job.name.clone(),
        job.project.to_string(),
        busy(member),
        idle(member),
        taken.map_or_else(String::new, |taken| {
            format!("{} less by {}", taken.award, taken.won)
        }),
    ])
}

/// How busy its machines were of late.
pub(crate) fn busy(member: &Member) -> String {
    let total = member.total();
    let so_far = || (total.watched > 0).then(|| total.busy * 100 / total.watched);
    let percent = member.watch.percent.map(u64::from).or_else(so_far);
    percent.map_or_else(|| "unknown".to_owned(), |percent| format!("{percent} %"))
}

/// For how long they have been idle, and what came of it; nothing if it's not worth a word.
pub(crate) fn idle(member: &Member) -> String {
    let watch = &member.watch;
    watch.notice.map_or_else(String::new, |notice| {
        format!("{}, {}", show::span(watch.idle as f64 / 1e3), said(notice))
    })
}

/// What came of it, in a word or two.
pub(crate) fn said(notice: Notice) -> &'static str {
    match notice {
        Notice::Reported => "reported",
        Notice::Warned => "warned",
        Notice::Reduced => "award reduced",
    }
}
