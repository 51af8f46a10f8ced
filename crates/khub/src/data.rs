//! `khub data`: data sets from their source, checked, and text as tokens.

pub(crate) mod get;
pub(crate) mod prepare;
pub(crate) mod sets;
mod verify;

use crate::failure::Failure;
use crate::show;
use clap::Subcommand;
use serde::Serialize;
use sets::{SETS, Set};
use std::path::PathBuf;

/// Find, fetch, check and prepare data.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub data list\n  khub data get nsmc --to data\n  \
        khub data prepare data/nsmc -o reviews\n\nA data set is looked for in KHUB_DATA, in ../shared/data and in \
        khub's cache."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Get(get::Args),
    Verify(verify::Args),
    Prepare(prepare::Args),
}

/// List the data sets that khub knows, and where they are here.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub data list\n  khub data list --json")]
struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Get(args) => get::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Prepare(args) => prepare::run(args),
    }
}

/// A data set, for the list.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    set: &'static Set,
    files: usize,
    bytes: u64,
    /// Whether `khub data get` can download it.
    download: bool,
    found: Option<Place>,
}

/// Where a data set is.
#[derive(Serialize)]
struct Place {
    /// How it was found: KHUB_DATA, found (in ../shared/data) or cached.
    how: &'static str,
    path: PathBuf,
    missing_files: usize,
}

impl Entry {
    fn new(set: &'static Set) -> Self {
        Self {
            set,
            files: set.forms[0].files().len(),
            bytes: set.forms[0].bytes(),
            download: set.download.is_some(),
            found: set.find().map(|found| Place {
                how: found.how,
                missing_files: found.missing,
                path: found.path,
            }),
        }
    }

    fn place(&self) -> String {
        match &self.found {
            None if self.download => format!("nowhere; `khub data get {}` downloads it", self.set.name),
            None => "nowhere".to_owned(),
            Some(place) => {
                let missing = match place.missing_files {
                    0 => String::new(),
                    1 => ", a file missing".to_owned(),
                    count => format!(", {} files missing", show::grouped(count as u64)),
                };
                format!("{} ({}{missing})", place.path.display(), place.how)
            }
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let entries: Vec<Entry> = SETS.iter().map(Entry::new).collect();
    if args.json {
        return show::json(&entries);
    }
    let mut text = String::new();
    for entry in &entries {
        let Set {
            name,
            what,
            licence,
            source,
            ..
        } = entry.set;
        let size = show::bytes(entry.bytes);
        let place = entry.place();
        text.push_str(&format!(
            "{name}\n  what     {what}\n  size     {size}\n  licence  {licence}\n  source   {source}\n  \
             here     {place}\n"
        ));
    }
    show::print(&text);
    Ok(())
}
