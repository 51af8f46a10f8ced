//! `khub runs`: what people have logged of their tries with MLflow's clients.

mod plot;

use crate::connect::Connect;
use crate::failure::Failure;
use crate::{folder, show};
use api::{Client, PointView, RunView};
use consortium::{Day, ProjectId, RunId, Time};
use plot::Curve;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Look at runs: what was logged to your projects with MLflow's clients.
#[derive(clap::Args)]
#[command(
    after_help = "To log one:\n  MLFLOW_TRACKING_URI=http://hub:7777 MLFLOW_TRACKING_TOKEN=khub_... python train.py\n  \
    docs/tracking.md has five lines of Python"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Compare(Compare),
}

/// List runs that you may read, newest first, of one project or all.
///
/// A filter has MLflow's words: metrics.NAME, params.NAME, tags.NAME and attributes.NAME, joined by AND.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub runs list\n  \
    khub runs list --project korean-reviews --filter \"metrics.loss < 0.5\" --order 'metrics.loss ASC'")]
struct List {
    /// Only those of one project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Only those of which this holds.
    #[arg(long, default_value = "")]
    filter: String,
    /// In this order.
    #[arg(long, default_value = "")]
    order: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Print a run: its parameters, the newest of each metric, its files, and a curve.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub runs show 0f3c\n  khub runs show 0f3c --metric val/loss --svg loss.svg"
)]
struct Show {
    /// Which: its 32 digits, or as many of the first as tell it from others.
    run: String,
    #[command(flatten)]
    curve: OfCurve,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Put runs beside one another: the parameters in which they differ, the newest of each metric, and their curves.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub runs compare 0f3c 91ab --metric loss --svg loss.svg")]
struct Compare {
    /// Which.
    #[arg(required = true, num_args = 2..=8, value_name = "RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    curve: OfCurve,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct OfCurve {
    /// The metric that is drawn; else the loss, or the one with the most points.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Draw it to a file instead of the terminal.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => one(args),
        Command::Compare(args) => compare(args),
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let runs = search(&client, args.project.as_ref(), &args.filter, &args.order)?;
    if args.json {
        return show::json(&runs);
    }
    let row = |it: &RunView| {
        let run = &it.run;
        let text = run.id.to_string();
        let metrics = it.metrics.iter().take(3);
        let metrics: Vec<String> = metrics
            .map(|it| format!("{} {}", it.key, short(it.last.value.0)))
            .collect();
        vec![
            format!("{text:.8}"),
            run.name.clone(),
            run.project.to_string(),
            run.by.to_string(),
            run.label.to_string(),
            run.status.to_string(),
            day(run.started),
            metrics.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    let head = [
        "run", "name", "project", "by", "label", "status", "began", "metrics",
    ];
    show::print(&show::table(&head, &rows));
    Ok(())
}

fn one(args: &Show) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let view = find(&client, &args.run)?;
    let drawn = args.curve.draw(&client, std::slice::from_ref(&view))?;
    if args.json {
        return show::json(&view);
    }
    show::print(&in_words(&view));
    show::print(&drawn);
    Ok(())
}

/// Runs side by side, for programs.
#[derive(Serialize)]
struct Compared<'a> {
    runs: &'a [RunView],
    /// The parameters that aren't the same in all of them.
    differ: BTreeSet<&'a str>,
}

fn compare(args: &Compare) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let views: Vec<RunView> = args
        .runs
        .iter()
        .map(|text| find(&client, text))
        .collect::<Result<_, _>>()?;
    let differ = differing(&views);
    let drawn = args.curve.draw(&client, &views)?;
    if args.json {
        return show::json(&Compared { runs: &views, differ });
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, cell: &dyn Fn(&RunView) -> String| {
        let cells = views.iter().map(cell);
        rows.push([name.to_owned()].into_iter().chain(cells).collect());
    };
    add("name", &|it| it.run.name.clone());
    add("status", &|it| it.run.status.to_string());
    for key in &differ {
        add(key, &|it| it.run.params.get(*key).cloned().unwrap_or_default());
    }
    let metrics: BTreeSet<&str> = views
        .iter()
        .flat_map(|it| &it.metrics)
        .map(|it| it.key.as_str())
        .collect();
    for key in metrics {
        add(key, &|it| {
            let found = it.metrics.iter().find(|metric| metric.key == key);
            found.map(|metric| short(metric.last.value.0)).unwrap_or_default()
        });
    }
    let ids: Vec<String> = views
        .iter()
        .map(|it| format!("{:.8}", it.run.id.to_string()))
        .collect();
    let head: Vec<&str> = [""].into_iter().chain(ids.iter().map(String::as_str)).collect();
    show::print(&show::table(&head, &rows));
    show::print(&drawn);
    Ok(())
}

/// The parameters that aren't the same in all runs.
fn differing(views: &[RunView]) -> BTreeSet<&str> {
    let all = views.iter().flat_map(|it| it.run.params.keys());
    let differs = |key: &&String| {
        let mut values = views.iter().map(|it| it.run.params.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    all.filter(differs).map(String::as_str).collect()
}

fn in_words(view: &RunView) -> String {
    let run = &view.run;
    let mut facts = vec![
        ("run", run.id.to_string()),
        ("name", run.name.clone()),
        ("project", run.project.to_string()),
        ("by", run.by.to_string()),
        ("label", run.label.to_string()),
        ("status", run.status.to_string()),
        ("began", day(run.started)),
    ];
    if let Some(ended) = run.ended {
        let seconds = ended.since(run.started) as f64 / 1e3;
        facts.push(("took", show::span(seconds)));
    }
    if let Some(job) = run.job {
        facts.push(("job", job.to_string()));
    }
    if run.deleted.is_some() {
        facts.push(("deleted", "yes; its person can restore it".to_owned()));
    }
    let facts: Vec<Vec<String>> = facts
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let pairs = |texts: &BTreeMap<String, String>| -> Vec<Vec<String>> {
        let pairs = texts
            .iter()
            .map(|(key, value)| vec![key.clone(), one_line(value)]);
        pairs.collect()
    };
    let metric = |it: &api::MetricView| {
        let (last, points) = (it.last, show::grouped(it.points));
        vec![it.key.clone(), short(last.value.0), last.step.to_string(), points]
    };
    let metrics: Vec<Vec<String>> = view.metrics.iter().map(metric).collect();
    let files: Vec<Vec<String>> = run
        .files
        .iter()
        .map(|(path, digest)| vec![path.clone(), digest.to_string()])
        .collect();
    let mut text = show::table(&["", ""], &facts);
    for (head, rows) in [
        (&["metric", "newest", "step", "points"][..], metrics),
        (&["parameter", "value"], pairs(&run.params)),
        (&["tag", "value"], pairs(&run.tags)),
        (&["file", "digest"], files),
    ] {
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&show::table(head, &rows));
        }
    }
    text.trim_start().to_owned()
}

impl OfCurve {
    /// The curves for the terminal, or that they are in a file.
    fn draw(&self, client: &Client, views: &[RunView]) -> Result<String, Failure> {
        let Some(key) = self.metric.clone().or_else(|| usual(views)) else {
            return match &self.svg {
                None => Ok(String::new()),
                Some(_) => Err(Failure::new(
                    "there is no metric with more than one point to draw",
                )),
            };
        };
        let mut curves = Vec::new();
        for view in views {
            let points: Vec<PointView> = client.sampled(view.run.id, &key, SAMPLES)?;
            let points = points.iter().map(|point| (point.step as f64, point.value.0));
            let name = match view.run.name.as_str() {
                "" => view.run.id.to_string(),
                name => name.to_owned(),
            };
            curves.push(Curve::new(name, points));
        }
        if curves.iter().all(Curve::is_empty) {
            let why = format!("no run has a point of the metric {key:?} that can be drawn");
            return Err(Failure::new(why).hint("`khub runs show RUN` lists a run's metrics"));
        }
        match &self.svg {
            None => Ok(format!("\n{}", plot::text(&key, &curves))),
            Some(path) => {
                folder::write(path, plot::svg(&key, &curves).as_bytes())?;
                Ok(format!("\n{key} is drawn in {}\n", path.display()))
            }
        }
    }
}

/// A curve has no more points than this; the hub thins a longer history out.
const SAMPLES: u32 = 1_000;

/// The metric that people look at first.
fn usual(views: &[RunView]) -> Option<String> {
    let metrics = views
        .iter()
        .flat_map(|view| &view.metrics)
        .filter(|it| it.points > 1);
    let rank = |it: &&api::MetricView| (it.key == "loss", it.key.contains("loss"), it.points);
    metrics.max_by_key(rank).map(|it| it.key.clone())
}

/// The run with this name or the beginning of one.
fn find(client: &Client, text: &str) -> Result<RunView, Failure> {
    if let Ok(id) = text.parse::<RunId>() {
        return Ok(client.run_of(id)?);
    }
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let hint = "`khub runs list` lists the runs that you may read";
    if text.len() < 4 || text.len() > 32 || !digits {
        return Err(Failure::new(format_args!(
            "{text:?} begins no run's name: 4 to 32 of 0-9 and a-f"
        ))
        .hint(hint));
    }
    let mut found = search(client, None, &format!("attributes.run_id LIKE '{text}%'"), "")?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(Failure::new(format_args!("there is no run {text}")).hint(hint)),
        (Some(_), more) => {
            let why = format!("{} runs begin with {text}", more + 1);
            Err(Failure::new(why).hint("give more of its digits"))
        }
    }
}

fn search(
    client: &Client,
    project: Option<&ProjectId>,
    filter: &str,
    order: &str,
) -> Result<Vec<RunView>, Failure> {
    let projects = match project {
        Some(project) => vec![project.clone()],
        None => client.projects()?.into_iter().map(|it| it.id).collect(),
    };
    let mut runs = Vec::new();
    for project in projects {
        runs.extend(client.runs(&project, filter, order)?);
    }
    if order.is_empty() {
        runs.sort_by_key(|it| (std::cmp::Reverse(it.run.started), it.run.id));
    }
    Ok(runs)
}

fn day(at: Time) -> String {
    Day::of(at).to_string()
}

/// As many digits as people compare by.
fn short(value: f64) -> String {
    let size = value.abs();
    match value {
        _ if value == 0.0 => "0".to_owned(),
        _ if !value.is_finite() => api::Number(value).to_string(),
        _ if (1e-3..1e6).contains(&size) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(80).collect();
    if short.len() < text.len() {
        format!("{short} …")
    } else {
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.0 / 3.0, "0.3333"),
            (12_345.0, "12345"),
            (1.5e-7, "1.500e-7"),
            (-2e9, "-2.000e9"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(one_line("a\nb"), "a …");
        assert_eq!(one_line("a"), "a");
    }
}
