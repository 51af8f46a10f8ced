//! `khub submit`, `jobs`, `queue`, `explain`, `cancel`, `sites`.

use crate::artifact::{self, word};
use crate::connect::Connect;
use crate::failure::Failure;
use crate::script;
use crate::show;
use api::{JobLine, Training};
use consortium::explain::{Explanation, Start, Waiting};
use consortium::{ArtifactKind, Digest, JobId, JobSpec, Label, Phase, ProjectId, Time};
use std::path::{Path, PathBuf};

/// Ask for a job.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub submit job.toml\n  khub submit khub-data/quickstart/job.toml --key again-1\n  \
    khub submit train.sh --project korean-reviews --label open --input reviews.tsv=data/reviews.tsv"
)]
pub(crate) struct Submit {
    /// The job, as TOML; or a script, which begins with `#!` and says in `#SBATCH` lines what it needs.
    file: PathBuf,
    /// Under the same key a job is made at most once; without one, by the file's content. A script without one
    /// makes a job each time.
    #[arg(long)]
    key: Option<String>,
    /// Of a script: the project that pays; instead of its --account.
    #[arg(long)]
    project: Option<ProjectId>,
    /// Of a script: how far its results may go: open, consortium, restricted (sensitive) or security.
    #[arg(long, value_parser = word::<Label>)]
    label: Option<Label>,
    /// Of a script: its wall time; instead of its --time.
    #[arg(long)]
    minutes: Option<u32>,
    /// Of a script: what it finds as inputs/NAME, a file or the digest of an artifact; may be given several times.
    #[arg(long, value_name = "NAME=FILE", value_parser = input)]
    input: Vec<(String, String)>,
    /// Of a script: the container's image that it runs in, a path at the site, an address as docker://alpine, or inputs/NAME;
    /// instead of its --container.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// List the jobs you may know about.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub jobs\n  khub jobs --json | jq '.[0].phase'\n  khub jobs job-1 --json | jq '.job.rounds'"
)]
pub(crate) struct List {
    /// Only this one; as JSON all that is known of it, with its rounds and the sites it could have had.
    job: Option<JobId>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Say why a job is where it is: every site, with the reason for or against it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub explain job-1\n  khub explain job-1 --json")]
pub(crate) struct Explain {
    /// Which job.
    job: JobId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Show the queue in its order: who waits, what their organisation holds, and for what they wait.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub queue\n  khub queue --json | jq '.[0].why'")]
pub(crate) struct Queue {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// End a job; what it has not used goes back to the award.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub cancel job-1")]
pub(crate) struct Cancel {
    /// Which job.
    job: JobId,
    #[command(flatten)]
    connect: Connect,
}

/// List the consortium's sites and their offers.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub sites")]
pub(crate) struct Sites {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn submit(args: &Submit) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|e| Failure::unread(&args.file, &e))?;
    if text.starts_with("#!") {
        return submit_script(args, text);
    }
    if !args.input.is_empty() {
        let why = "--input is for scripts: a job in TOML has its inputs in the table [inputs]";
        return Err(Failure::file(&args.file, why));
    }
    if args.image.is_some() {
        let why = "--image is for scripts: a job in TOML has its image in the table [batch]";
        return Err(Failure::file(&args.file, why));
    }
    let spec: JobSpec = toml::from_str(&text).map_err(|e| {
        Failure::file(&args.file, e.to_string().trim_end())
            .hint("compare it with a job that works: `khub quickstart` leaves khub-data/quickstart/job.toml")
    })?;
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| blake3::hash(text.as_bytes()).to_hex().to_string());
    let job = args.connect.client()?.submit(&spec, &key)?;
    show::print(&format!("{job}\n"));
    Ok(())
}

/// Like sbatch, it makes a job each time it is called.
fn submit_script(args: &Submit, text: String) -> Result<(), Failure> {
    let mut asked = script::read(&text).map_err(|why| Failure::file(&args.file, why))?;
    for name in &asked.ignored {
        eprintln!("{name} means nothing here and is left out");
    }
    asked.project = args.project.clone().or(asked.project);
    asked.label = args.label.or(asked.label);
    asked.image = args.image.clone().or(asked.image);
    asked.minutes = args.minutes.or(asked.minutes);
    let mut spec = asked
        .spec(&args.file, text)
        .map_err(|why| Failure::file(&args.file, why))?;
    let client = args.connect.client()?;
    for (name, from) in &args.input {
        let digest = match from.parse::<Digest>() {
            Ok(digest) => digest,
            Err(_) => {
                artifact::bring(
                    &client,
                    Path::new(from),
                    &spec.project,
                    ArtifactKind::Dataset,
                    spec.label,
                )?
                .digest
            }
        };
        spec.inputs.insert(name.clone(), digest);
    }
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| format!("{}-{}", now().0, std::process::id()));
    let elements = spec.batch.as_ref().map_or(0, |batch| batch.array.len()) as u64;
    let job = client.submit(&spec, &key)?;
    match elements {
        0 | 1 => show::print(&format!("{job}\n")),
        _ => show::print(&format!("{job} to {}\n", JobId(job.0 + elements - 1))),
    }
    Ok(())
}

pub(crate) fn list(args: &List) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let jobs = match args.job {
        None => client.jobs()?,
        Some(id) => {
            let view = client.job(id)?;
            if args.json {
                return show::json(&view);
            }
            vec![JobLine::of(&view.job)]
        }
    };
    if args.json {
        return show::json(&jobs);
    }
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let head = [
        "job", "name", "project", "label", "phase", "rounds", "updates", "sites", "spent",
    ];
    show::print(&show::table(&head, &rows));
    Ok(())
}

fn row(job: &JobLine) -> Vec<String> {
    let sites: Vec<&str> = job.members.keys().map(consortium::SiteId::as_str).collect();
    let of_training = |tell: fn(&Training) -> String| job.training.as_ref().map_or_else(String::new, tell);
    vec![
        job.id.to_string(),
        job.name.clone(),
        job.project.to_string(),
        job.label.to_string(),
        phase(&job.phase).to_owned(),
        of_training(|it| format!("{}/{}", it.committed, it.rounds.count)),
        of_training(updates),
        if sites.is_empty() {
            "none yet".to_owned()
        } else {
            sites.join(", ")
        },
        job.spent.to_string(),
    ]
}

/// Codec, fragments, overlap and mode, as `int4 1/4 +1 inspected`; `auto int4 1/4 +1` where the links decide.
fn updates(training: &Training) -> String {
    let Training { rounds, codec, .. } = training;
    let mut text = rounds.codec.to_string();
    if let Some(codec) = codec {
        text += &format!(" {codec}");
    }
    if rounds.fragments > 1 {
        text += &format!(" 1/{}", rounds.fragments);
    }
    if rounds.overlap > 0 {
        text += &format!(" +{}", rounds.overlap);
    }
    if let Some(mode) = &rounds.mode {
        text += &format!(" {}", mode.name());
    }
    text
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Running => "running",
        Phase::Finishing => "finishing",
        Phase::Stopping { .. } => "stopping",
        Phase::Done => "done",
        Phase::Failed { .. } => "failed",
        Phase::Cancelled => "cancelled",
    }
}

pub(crate) fn explain(args: &Explain) -> Result<(), Failure> {
    let explanation = args.connect.client()?.explain(args.job)?;
    if args.json {
        return show::json(&explanation);
    }
    show::print(&in_words(&explanation));
    Ok(())
}

pub(crate) fn queue(args: &Queue) -> Result<(), Failure> {
    let waiting = args.connect.client()?.queue()?;
    if args.json {
        return show::json(&waiting);
    }
    let now = now();
    let row = |waits: &Waiting| {
        vec![
            waits.place.to_string(),
            waits.job.to_string(),
            waits.name.clone(),
            waits.project.to_string(),
            waits
                .organisation
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            format!("{:.1} %", waits.share_millionths as f64 / 1e4),
            show::span(now.since(waits.since) as f64 / 1e3),
            waits.why.clone(),
        ]
    };
    let head = [
        "place",
        "job",
        "name",
        "project",
        "organisation",
        "holds",
        "waits",
        "for what",
    ];
    let rows: Vec<Vec<String>> = waiting.iter().map(row).collect();
    show::print(&show::table(&head, &rows));
    Ok(())
}

fn now() -> Time {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// When it is to be expected to start, and what would have to change for that; nothing of a job that has.
fn outlook(explanation: &Explanation) -> String {
    let from_now = |at: Time| show::span(at.since(now()) as f64 / 1e3);
    let start = match explanation.start {
        None => return String::new(),
        Some(Start::By(at)) => format!(
            "expected to start in {} at the latest, if nobody comes who goes before it",
            from_now(at)
        ),
        Some(Start::After(at)) => format!("not expected to start in the next {}", from_now(at)),
        Some(Start::Never) => "not expected to start as things are".to_owned(),
    };
    let changes = explanation.changes.iter().map(|change| format!("  {change}\n"));
    let changes: String = changes.collect();
    if changes.is_empty() {
        return format!("{start}\n");
    }
    format!("{start}\nwhat would bring it nearer:\n{changes}")
}

/// An explanation as a sentence and a table.
pub(crate) fn in_words(explanation: &Explanation) -> String {
    let row = |reason: &consortium::explain::Reason| {
        vec![
            reason.candidate.site.to_string(),
            reason.owner.clone(),
            reason.because.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = explanation.sites.iter().map(row).collect();
    let idle = explanation.idle.as_ref();
    let rejected = explanation.rejected.iter().map(|words| format!("{words}\n"));
    format!(
        "{}\n{}{}{}{}",
        explanation.summary,
        idle.map_or_else(String::new, |idle| format!("{idle}\n")),
        rejected.collect::<String>(),
        show::table(&["site", "owner", "reason"], &rows),
        outlook(explanation)
    )
}

pub(crate) fn cancel(args: &Cancel) -> Result<(), Failure> {
    args.connect.client()?.cancel(args.job)?;
    show::print(&format!("{} is cancelled\n", args.job));
    Ok(())
}

pub(crate) fn sites(args: &Sites) -> Result<(), Failure> {
    let sites = args.connect.client()?.sites()?;
    if args.json {
        return show::json(&sites);
    }
    let row = |view: &api::SiteView| {
        let heard = view
            .silent_ms
            .map_or("never".to_owned(), |ms| format!("{} s ago", ms / 1_000));
        let job = view.job.map_or_else(String::new, |job| job.to_string());
        let gflops = view.site.rated.0 / 1_000_000_000;
        let (site, price, able) = (&view.site, view.site.price.0, view.abilities.as_ref());
        vec![
            site.id.to_string(),
            site.owner.to_string(),
            gflops.to_string(),
            price.to_string(),
            heard,
            job,
            able.map_or_else(String::new, |able| {
                able.containers.iter().cloned().collect::<Vec<_>>().join(", ")
            }),
            able.map_or_else(String::new, |able| able.limits.clone()),
        ]
    };
    let head = [
        "site",
        "owner",
        "GFLOP/s",
        "won/PFLOP-hour",
        "heard",
        "job",
        "containers",
        "limits",
    ];
    let rows: Vec<Vec<String>> = sites.iter().map(row).collect();
    show::print(&show::table(&head, &rows));
    Ok(())
}

fn input(written: &str) -> Result<(String, String), String> {
    match written.split_once('=') {
        Some((name, from)) if !name.is_empty() && !from.is_empty() => Ok((name.to_owned(), from.to_owned())),
        _ => Err("it takes NAME=FILE or NAME=DIGEST, as in reviews.tsv=data/reviews.tsv".to_owned()),
    }
}
