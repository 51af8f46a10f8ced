//! `khub uploads`: what is on its way to the hub.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::UploadView;

/// List your uploads, or cancel one.
///
/// An upload goes on with `khub put` of the same file to the same project, from anywhere. A week after its beginning it
/// goes from this list, and what isn't complete then is lost.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub uploads\n  khub uploads --cancel 6f1c2a9e5b0d4e7f8a3b6c1d2e9f0a4b")]
pub(crate) struct Args {
    /// Cancel this one: its bytes go.
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.connect.client()?;
    if let Some(id) = &args.cancel {
        client.cancel_upload(id)?;
    }
    show::told(&client.uploads()?, args.json, |uploads| {
        let rows: Vec<Vec<String>> = uploads.iter().map(row).collect();
        show::table(&["upload", "project", "there", "of", "of what"], &rows)
    })
}

fn row(upload: &UploadView) -> Vec<String> {
    vec![
        upload.id.clone(),
        upload.project.to_string(),
        show::bytes(upload.offset),
        show::bytes(upload.bytes),
        upload.digest.to_string(),
    ]
}
