//! `khub artifacts`, `put`, `fetch`.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::{Client, measure};
use consortium::{ArtifactId, ArtifactKind, Digest, Label, Output, ProjectId};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// List a project's artifacts that you may read.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub artifacts korean-reviews")]
pub(crate) struct List {
    /// Which project.
    project: ProjectId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Keep a file in a project.
///
/// A large file that breaks off goes on by itself when the hub is back; and given again, it goes on where it was.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub put train.tokens --project korean-reviews --kind dataset --label restricted"
)]
pub(crate) struct Put {
    /// Which file.
    file: PathBuf,
    /// Which project keeps it.
    #[arg(long)]
    project: ProjectId,
    /// What it is: dataset, tokenizer, model, report or metrics.
    #[arg(long, default_value = "dataset", value_parser = word::<ArtifactKind>)]
    kind: ArtifactKind,
    /// How far it may go: open, consortium, restricted (sensitive) or security.
    #[arg(long, default_value = "restricted", value_parser = word::<Label>)]
    label: Label,
    #[command(flatten)]
    connect: Connect,
}

/// Make an artifact less closed than it is; without one, list what waits for a second person.
///
/// One of the programme office proposes it, and another agrees by asking for the same. What was made from it keeps its own
/// label.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub release korean-reviews/blake3:3f2a... --to open --as office\n  khub release --as office"
)]
pub(crate) struct Release {
    /// Which: PROJECT/DIGEST, as `khub artifacts` prints it.
    #[arg(requires = "to")]
    artifact: Option<ArtifactId>,
    /// The label it shall have: open, consortium or restricted.
    #[arg(long, requires = "artifact", value_parser = word::<Label>)]
    to: Option<Label>,
    #[command(flatten)]
    connect: Connect,
}

/// Fetch an artifact's bytes, if the policy lets you read them.
///
/// What breaks off goes on by itself when the hub is back; and asked again, it goes on where it was.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub fetch korean-reviews/blake3:3f2a... --output model.safetensors")]
pub(crate) struct Fetch {
    /// Which: PROJECT/DIGEST, as `khub artifacts` prints it.
    artifact: ArtifactId,
    /// Where to put it.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn list(args: &List) -> Result<(), Failure> {
    let artifacts = args.connect.client()?.artifacts(&args.project)?;
    if args.json {
        return show::json(&artifacts);
    }
    let row = |a: &consortium::Artifact| {
        vec![
            a.name.clone(),
            show::bytes(a.bytes),
            a.label.to_string(),
            a.id.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = artifacts.iter().map(row).collect();
    show::print(&show::table(&["name", "size", "label", "artifact"], &rows));
    Ok(())
}

pub(crate) fn put(args: &Put) -> Result<(), Failure> {
    let client = show::transfers(args.connect.client()?);
    let id = bring(&client, &args.file, &args.project, args.kind, args.label)?;
    show::print(&format!("{id}\n"));
    Ok(())
}

pub(crate) fn release(args: &Release) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let (Some(artifact), Some(to)) = (&args.artifact, args.to) else {
        let row = |it: &api::ReleaseView| {
            vec![
                it.artifact.name.clone(),
                it.artifact.label.to_string(),
                it.proposed.to.to_string(),
                it.proposed.by.to_string(),
                it.artifact.id.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = client.releases()?.iter().map(row).collect();
        let head = ["name", "label", "proposed", "by", "artifact"];
        show::print(&show::table(&head, &rows));
        return Ok(());
    };
    client.release(artifact, to)?;
    let waits = |it: &api::ReleaseView| it.artifact.id == *artifact;
    show::print(&match client.releases()?.iter().any(waits) {
        true => "proposed; somebody else of the programme office has to ask for the same\n".to_owned(),
        false => format!("{artifact} is {to} now\n"),
    });
    Ok(())
}

pub(crate) fn fetch(args: &Fetch) -> Result<(), Failure> {
    let client = show::transfers(args.connect.client()?);
    let bytes = client.save(&args.artifact, &args.output)?;
    show::print(&format!("{} ({})\n", args.output.display(), show::bytes(bytes)));
    Ok(())
}

/// Keeps the file at `path` in `project` under its own name.
pub(crate) fn bring(
    client: &Client,
    path: &Path,
    project: &ProjectId,
    kind: ArtifactKind,
    label: Label,
) -> Result<ArtifactId, Failure> {
    bring_made_from(client, path, project, kind, label, Vec::new())
}

/// The same, with what it was made from.
pub(crate) fn bring_made_from(
    client: &Client,
    path: &Path,
    project: &ProjectId,
    kind: ArtifactKind,
    label: Label,
    made_from: Vec<Digest>,
) -> Result<ArtifactId, Failure> {
    let (digest, bytes) = measure(path).map_err(|e| Failure::unread(path, &e))?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let id = ArtifactId {
        project: project.clone(),
        digest,
    };
    client.put(
        path,
        &Output {
            id: id.clone(),
            name,
            kind,
            bytes,
            label,
            made_from,
        },
    )?;
    Ok(id)
}

/// A word of the rules, as they write it in JSON.
pub(crate) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string())
}
