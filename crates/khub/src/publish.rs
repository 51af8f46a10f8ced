//! `khub publish`: a folder as a model under a name, from which `transformers` loads it.

use crate::artifact::{bring_made_from, word};
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use consortium::{ArtifactKind, Digest, Label, ModelId, ProjectId, Publication};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Publish a folder as a model, for all whom its label lets read it.
///
/// The files become artifacts of the project, and together a revision of the model, which never changes;
/// publishing another folder under the name makes the next one. With HF_ENDPOINT set to the hub's address and
/// HF_TOKEN to a khub token, `transformers` and `huggingface_hub` fetch it by its name.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub export --model small --hf small-hf\n  \
    khub publish small-hf --model gaon-university/korean-small --project korean-reviews\n  \
    HF_ENDPOINT=http://127.0.0.1:7777 HF_TOKEN=$(cat khub-data/credentials/minji) hf download gaon-university/korean-small")]
pub(crate) struct Args {
    /// The folder to publish, as `khub export` or `save_pretrained` writes it. Files with a dot in front are left out.
    from: PathBuf,
    /// The name: ORGANISATION/MODEL, the organisation being the project's.
    #[arg(long)]
    model: ModelId,
    /// Which project keeps the files.
    #[arg(long)]
    project: ProjectId,
    /// How far it may go: open, consortium, restricted (sensitive) or security.
    #[arg(long, default_value = "restricted", value_parser = word::<Label>)]
    label: Label,
    /// Digests of the project's artifacts that it was made from; what they forbid, it forbids.
    #[arg(long, value_name = "DIGEST")]
    made_from: Vec<Digest>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = show::transfers(args.connect.client()?);
    let mut found = BTreeMap::new();
    collect(&args.from, "", &mut found)?;
    if found.is_empty() {
        let hint = "`khub export --model M --hf DIR` writes a folder of a model";
        return Err(Failure::file(&args.from, "there is no file to publish").hint(hint));
    }
    let mut files = BTreeMap::new();
    for (name, path) in found {
        let kind = match name.contains("token") {
            true => ArtifactKind::Tokenizer,
            false => ArtifactKind::Model,
        };
        let made_from = args.made_from.clone();
        let id = bring_made_from(&client, &path, &args.project, kind, args.label, made_from)?;
        files.insert(name, id.digest);
    }
    let count = files.len();
    client.publish(&Publication {
        model: args.model.clone(),
        project: args.project.clone(),
        files,
    })?;
    show::print(&format!("{}: {count} files\n", args.model));
    Ok(())
}

/// The files below `dir`, under their paths.
fn collect(dir: &Path, prefix: &str, into: &mut BTreeMap<String, PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(dir).map_err(|e| Failure::unread(dir, &e))? {
        let path = entry.map_err(|e| Failure::file(dir, e))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') {
            continue;
        }
        match path.is_dir() {
            true => collect(&path, &format!("{prefix}{name}/"), into)?,
            false => drop(into.insert(format!("{prefix}{name}"), path)),
        }
    }
    Ok(())
}
