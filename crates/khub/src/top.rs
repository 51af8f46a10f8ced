//! `khub top`: what the machines do at this moment.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use crate::watch;
use api::{JobLine, SiteView};
use consortium::{Member, Phase, Presence};

/// Show what the machines do: the GPUs of each site, and the jobs that hold them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub top\n  watch -n 2 khub top")]
pub(crate) struct Args {
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let (sites, jobs) = (client.sites()?, client.jobs()?);
    let rows: Vec<Vec<String>> = sites.iter().map(|site| of_site(site, &jobs)).collect();
    show::print(&show::table(&["site", "GPUs", "held", "heard"], &rows));
    let held = jobs
        .iter()
        .filter(|job| job.phase.is_active() && job.phase != Phase::Queued);
    let rows: Vec<Vec<String>> = held.map(of_job).collect();
    if !rows.is_empty() {
        let head = [
            "job", "name", "project", "person", "sites", "GPUs", "used", "spent", "busy", "idle",
        ];
        show::print(&format!("\n{}", show::table(&head, &rows)));
    }
    Ok(())
}

/// What jobs hold that the asker may know of.
fn of_site(view: &SiteView, jobs: &[JobLine]) -> Vec<String> {
    let site = &view.site;
    let here = |job: &&JobLine| {
        let member = job.members.get(&site.id);
        job.phase.is_active() && member.is_some_and(|member| member.presence != Presence::Left)
    };
    let held: u32 = jobs
        .iter()
        .filter(here)
        .map(|job| job.gpus.unwrap_or(site.gpus))
        .sum();
    let heard = view.silent_ms.map_or("never".to_owned(), |ms| {
        format!("{} ago", show::span(ms as f64 / 1e3))
    });
    vec![
        site.id.to_string(),
        site.gpus.to_string(),
        held.to_string(),
        heard,
    ]
}

fn of_job(job: &JobLine) -> Vec<String> {
    let sites: Vec<String> = job.members.keys().map(ToString::to_string).collect();
    let longest = job.members.values().map(|member| member.total().millis).max();
    let told = |tell: fn(&Member) -> String| {
        job.members
            .values()
            .map(tell)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    };
    vec![
        job.id.to_string(),
        job.name.clone(),
        job.project.to_string(),
        job.submitter.to_string(),
        sites.join(" "),
        job.gpus.map_or("all".to_owned(), |gpus| gpus.to_string()),
        show::span(longest.unwrap_or(0) as f64 / 1e3),
        job.spent.to_string(),
        told(watch::busy),
        told(watch::idle),
    ]
}
