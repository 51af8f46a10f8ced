//! `khub collect`: bytes that no record of the log names.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::LeftoversView;

/// Remove bytes in the hub's store that no record of its log names, or show which they are.
///
/// They are left by crashes, and by uploads that were broken off or never kept in a project. The hub does this by
/// itself once an hour. What is being uploaded, and what was uploaded within a day, stays.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub collect --dry-run --as office\n  khub collect --as office")]
pub(crate) struct Args {
    /// Only show what would go.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let found = match args.dry_run {
        true => client.leftovers()?,
        false => client.collect()?,
    };
    let verb = if args.dry_run { "would go" } else { "gone" };
    show::told(&found, args.json, |found| in_words(found, verb))
}

fn in_words(found: &LeftoversView, verb: &str) -> String {
    let rows: Vec<Vec<String>> = found
        .unnamed
        .iter()
        .map(|it| vec![it.digest.to_string(), show::bytes(it.bytes)])
        .collect();
    let table = match rows.as_slice() {
        [] => String::new(),
        rows => show::table(&["bytes that nothing names", "size"], rows),
    };
    let total = show::bytes(found.bytes);
    let (uploads, fragments) = (found.uploads, found.fragments);
    format!("{table}{verb}: {total}; among them {uploads} expired uploads and {fragments} fragments\n")
}
