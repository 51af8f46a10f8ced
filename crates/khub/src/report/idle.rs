//! `khub report --idle`: machines that were held idle, what was said of it and what was taken, from the log.

use super::{Args, Format, lines, replay};
use crate::failure::Failure;
use crate::show;
use crate::watch::said;
use consortium::{Event, Month, State, Time};
use store::Reader;

const HEAD: [&str; 10] = [
    "month",
    "job",
    "project",
    "organisation",
    "site",
    "what",
    "idle_minutes",
    "busy_percent",
    "won",
    "pflop_hours",
];

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let rows = rows(&Reader::open(args.data.log())?, &|month| args.wants(month))?;
    match args.format {
        Format::Table => show::print(&show::table(&HEAD, &rows)),
        Format::Csv => show::print(&lines(&HEAD, &rows)),
        Format::Focus | Format::Page => {
            return Err(Failure::new("machines held idle are told as a table or as CSV")
                .hint("--format table or --format csv"));
        }
    }
    Ok(())
}

fn rows(reader: &Reader, wants: &dyn Fn(Month) -> bool) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    replay(reader, &mut |state, event, at| {
        if wants(Month::of(at)) {
            rows.extend(row(state, event, at));
        }
    })?;
    Ok(rows)
}

fn row(state: &State, event: &Event, at: Time) -> Option<Vec<String>> {
    let (job, site, what, idle, percent, taken) = match event {
        Event::HeldIdle {
            job,
            site,
            notice,
            idle,
            percent,
            taken,
        } => {
            let (idle, percent) = ((idle / 60_000).to_string(), percent.to_string());
            (
                job,
                site.to_string(),
                said(*notice),
                idle,
                percent,
                taken.as_ref(),
            )
        }
        Event::GivenBack { job, .. } => {
            let taken = state
                .jobs
                .get(job)?
                .stays()
                .find_map(|member| member.watch.taken.as_ref());
            (
                job,
                String::new(),
                "given back",
                String::new(),
                String::new(),
                taken,
            )
        }
        _ => return None,
    };
    let project = &state.jobs.get(job)?.spec.project;
    let organisation = state
        .projects
        .get(project)
        .map(|project| project.organisation.to_string());
    Some(vec![
        Month::of(at).to_string(),
        job.to_string(),
        project.to_string(),
        organisation.unwrap_or_default(),
        site,
        what.to_owned(),
        idle,
        percent,
        taken.map_or_else(String::new, |taken| taken.won.0.to_string()),
        taken.map_or_else(String::new, |taken| taken.compute.pflop_hours()),
    ])
}
