//! `khub quickstart`: the whole path once. A consortium, three sites, one model trained on two of them, the
//! money, and who may see the result.

mod children;
mod data;
mod report;
mod watch;

use crate::failure::Failure;
use crate::folder::{Folder, write};
use crate::found::Founding;
use crate::{artifact, corpus, job, show};
use api::Client;
use children::Sites;
use consortium::{ArtifactKind, JobId, JobSpec, Label, RoundSpec};
use data::Prepared;
use report::Report;
use server::{Hub, HubConfig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Train one small Korean language model across two organisations' sites, in about two minutes.
///
/// Starts a hub and three sites on this machine, with an invented consortium; trains on real Korean text;
/// shows what it cost, and that a foreign partner doesn't get the restricted model.
/// Run again, it goes on where it was stopped.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub quickstart\n  khub quickstart --data my-texts.tsv --fresh\n  \
    khub quickstart --json > result.json\n\nThe text is looked for in --data, KHUB_DATA, ../shared/data, \
    khub's cache; else NSMC (Korean film reviews, CC0) is downloaded; else a primer of khub's own is taken."
)]
pub(crate) struct Args {
    /// Train on this: UTF-8 text, TSV, or a folder of them.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    folder: PathBuf,
    /// Remove what an earlier quickstart left in the data folder, and start clean.
    #[arg(long)]
    fresh: bool,
    /// Print the result as JSON on standard output; what goes on is told on standard error.
    #[arg(long)]
    json: bool,
    /// How many rounds to train.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many samples a site takes in a round; a multiple of 8.
    #[arg(long, default_value_t = 1_280, value_parser = clap::value_parser!(u64).range(8..))]
    samples: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let on_interrupt = move || {
        // Asked a second time, it doesn't wait for anything: sites end when this process does.
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(on_interrupt).map_err(Failure::new)?;
    let folder = Folder(args.folder.clone());
    if args.fresh {
        clean(&folder)?;
    }
    let tell = |text: &str| {
        if args.json {
            eprint!("{text}");
        } else {
            show::print(text);
        }
    };

    tell("khub quickstart: one Korean language model, trained at two organisations' sites\n\n");
    let text = corpus::find(args.data.as_deref(), &tell)?;
    tell(&format!("corpus    {}\n", text.described()));
    let prepared = data::prepare(&folder, &text)?;
    tell(&format!("tokens    {}\n", prepared.described()));

    // Declared in this order so that they end in the other: first the sites, then the hub.
    let hub = Hub::start(&HubConfig {
        lose_after: Duration::from_secs(5),
        ..HubConfig::new(&args.folder)
    })?;
    folder.announce(&hub)?;
    let example = Founding::example();
    example.carry_out(&hub, &folder)?;
    tell(&format!(
        "hub       {}, log and artifacts under {}\n",
        hub.url(),
        args.folder.display()
    ));
    let mut sites = Sites::start(&folder, &hub.url(), &example.sites)?;
    tell(&format!("sites     {}\n\n", sites.described()));

    let member = Client::new(&hub.url(), &folder.token(MEMBER)?)?;
    let (job, spec) = submit(&member, &folder, &prepared, args)?;
    watch::until_placed(&member, job, &stop)?;
    tell(&format!("{}\n", job::in_words(&member.explain(job)?)));
    watch::until_done(&member, job, &stop, &mut sites, &tell)?;

    let partner = Client::new(&hub.url(), &folder.token(PARTNER)?)?;
    let report = Report::new(&folder, &member, &partner, job, &spec, &text)?;
    let json = serde_json::to_string_pretty(&report.json).map_err(Failure::new)? + "\n";
    write(&folder.path("quickstart.json"), json.as_bytes())?;
    show::print(if args.json { &json } else { &report.text });
    report.verdict()
}

/// Brings the data to the project and asks for the job. Under the key of its content, so that a quickstart
/// that is run again finds the job it asked for.
fn submit(
    member: &Client,
    folder: &Folder,
    prepared: &Prepared,
    args: &Args,
) -> Result<(JobId, JobSpec), Failure> {
    let project = PROJECT.parse()?;
    let mut inputs = BTreeMap::new();
    for (name, kind) in [
        ("tokenizer.json", ArtifactKind::Tokenizer),
        ("train.tokens", ArtifactKind::Dataset),
        ("valid.tokens", ArtifactKind::Dataset),
    ] {
        // The reviews are open; what is made of them here is not.
        let id = artifact::bring(member, &prepared.file(name), &project, kind, Label::Open)?;
        inputs.insert(name.to_owned(), id.digest);
    }
    let spec = JobSpec {
        name: "korean-small".to_owned(),
        project,
        program: "language".to_owned(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 20,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs,
        rounds: RoundSpec {
            count: args.rounds,
            samples: args.samples,
            quorum: 1,
            grace_seconds: 20,
            ..RoundSpec::default()
        },
        settings: settings(),
    };
    let text = toml::to_string(&spec).map_err(Failure::new)?;
    write(&folder.path("quickstart/job.toml"), text.as_bytes())?;
    let key = format!("quickstart {}", blake3::hash(text.as_bytes()).to_hex());
    Ok((member.submit(&spec, &key)?, spec))
}

/// Of `example.toml`: the project that the job belongs to, the university's researcher, who submits it, and
/// the partner's.
const PROJECT: &str = "korean-reviews";
const MEMBER: &str = "minji";
const PARTNER: &str = "ingrid";

/// Found by trying: the best bits per byte that two threads reach in about a minute and a half. With so few
/// rounds the plain mean of the sites does better than DiLoCo's 0.7 and 0.9.
fn settings() -> serde_json::Value {
    serde_json::json!({
        "width": 192, "layers": 3, "heads": 6, "seq": 64, "batch": 8, "tied": true,
        "learning_rate": 0.006, "warmup": 80, "seed": 1,
        "outer": { "learning_rate": 1.0, "momentum": 0.0 },
    })
}

/// Removes what a quickstart wrote, and nothing else: the folder may be someone's home.
fn clean(folder: &Folder) -> Result<(), Failure> {
    let lock = folder.path("khub.lock");
    if std::fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err()) {
        let message = format_args!("a hub runs on {}", folder.0.display()).to_string();
        return Err(Failure::new(message).hint("stop it first, or choose another --folder"));
    }
    let ours = [
        "khub.db",
        "khub.db-wal",
        "khub.db-shm",
        "khub.head",
        "seals.jsonl",
        "hub.json",
        "quickstart.json",
    ];
    let folders = ["artifacts", "credentials", "logs", "sites", "quickstart"];
    let gone = |path: &Path, result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::file(path, error)),
        _ => Ok(()),
    };
    for path in ours.map(|name| folder.path(name)) {
        gone(&path, std::fs::remove_file(&path))?;
    }
    for path in folders.map(|name| folder.path(name)) {
        gone(&path, std::fs::remove_dir_all(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_start_has_nothing_of_the_log_before() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        let hub = Hub::start(&HubConfig::new(dir.path())).unwrap();
        Founding::example().carry_out(&hub, &folder).unwrap();
        drop(hub);
        let seals = folder.path("seals.jsonl");
        assert!(seals.exists(), "a hub that stops seals its log");
        clean(&folder).unwrap();
        // With a seal of another log, an audit would take the new one for forged.
        assert!(!seals.exists() && !folder.path("khub.db").exists());
        assert!(folder.path("seal.key").exists(), "the hub is the same");
    }
}
