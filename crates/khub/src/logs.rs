//! `khub logs`: what a batch job writes.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use consortium::JobId;
use std::time::Duration;

/// How often a job is asked whether it has written more.
const AGAIN: Duration = Duration::from_millis(500);

/// Show what a batch job writes.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub logs job-7\n  khub logs -f job-7")]
pub(crate) struct Args {
    /// Which job.
    job: JobId,
    /// Go on until the job has ended.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let (mut attempt, mut next) = (0, 0);
    loop {
        let part = client.log(args.job, attempt, next)?;
        if part.attempt != attempt && attempt > 0 {
            eprintln!("{} runs once more", args.job);
        }
        show::print(&part.text);
        (attempt, next) = (part.attempt, part.next);
        if part.text.is_empty() {
            if part.ended || !args.follow {
                return Ok(());
            }
            std::thread::sleep(AGAIN);
        }
    }
}
