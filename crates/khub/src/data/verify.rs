//! `khub data verify`: every file of a data set against its record.

use super::sets::{self, Found, Recorded, SETS};
use crate::failure::Failure;
use crate::show;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Check every file of the data sets that are here against the recorded sizes and digests.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub data verify\n  khub data verify nsmc --json")]
pub(super) struct Args {
    /// Which data set; all that are here by default.
    name: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What was found of a data set.
#[derive(Serialize)]
struct Checked {
    name: &'static str,
    path: PathBuf,
    how: &'static str,
    files: usize,
    differences: Vec<Difference>,
}

/// A file that is not as it is recorded.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    file: String,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.what)
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let wanted = match &args.name {
        Some(name) => vec![sets::named(name)?],
        None => SETS.iter().collect(),
    };
    let mut checked = Vec::new();
    for set in wanted {
        let Some(found) = set.find() else { continue };
        // A set may lie in one folder in several forms.
        let known = set.forms.iter().flat_map(|form| form.files());
        let known: BTreeSet<&str> = known.map(|file| file.path).collect();
        checked.push(check(set.name, found, &known)?);
    }
    if checked.is_empty() {
        let what = args.name.as_deref().unwrap_or("no data set");
        let nowhere = if args.name.is_some() {
            "nowhere here"
        } else {
            "here"
        };
        return Err(Failure::new(format_args!("{what} is {nowhere}")).hint(
            "KHUB_DATA with the folder that has it, or `khub data get`; `khub data list` tells what there is",
        ));
    }
    if args.json {
        show::json(&checked)?;
    } else {
        show::print(&checked.iter().map(Checked::in_words).collect::<String>());
    }
    let differing: Vec<&Checked> = checked.iter().filter(|set| !set.differences.is_empty()).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let count: usize = differing.iter().map(|set| set.differences.len()).sum();
    let names: Vec<&str> = differing.iter().map(|set| set.name).collect();
    let files = if count == 1 { "file is" } else { "files are" };
    let message = format_args!("{count} {files} not as recorded, in {}", names.join(", ")).to_string();
    Err(Failure::new(message).hint("remove what differs, and fetch it again from where it was whole"))
}

impl Checked {
    fn in_words(&self) -> String {
        let count = show::grouped(self.files as u64);
        let files = if self.files == 1 { "file" } else { "files" };
        let path = self.path.display();
        if self.differences.is_empty() {
            return format!(
                "{}: {count} {files} as recorded, in {path} ({})\n",
                self.name, self.how
            );
        }
        let mut text = format!("{}: not as recorded, in {path} ({})\n", self.name, self.how);
        for difference in &self.differences {
            text.push_str(&format!("  {difference}\n"));
        }
        text
    }
}

fn check(name: &'static str, found: Found, known: &BTreeSet<&str>) -> Result<Checked, Failure> {
    let files = found.form.files();
    let mut differences = differences(&found.path, &files)?;
    let mut there = Vec::new();
    walk(&found.path, "", &mut there).map_err(|error| Failure::file(&found.path, error))?;
    there.retain(|file| !known.contains(file.as_str()));
    differences.extend(there.into_iter().map(|file| Difference {
        file,
        what: "is no part of the data set".to_owned(),
    }));
    Ok(Checked {
        name,
        path: found.path,
        how: found.how,
        files: files.len(),
        differences,
    })
}

/// How files in `folder` differ from their record.
pub(super) fn differences(folder: &Path, files: &[Recorded]) -> Result<Vec<Difference>, Failure> {
    let mut differences = Vec::new();
    for file in files {
        if let Some(what) = file.difference(&folder.join(file.path))? {
            differences.push(Difference {
                file: file.path.to_owned(),
                what,
            });
        }
    }
    Ok(differences)
}

/// Adds the files below `folder` that are not hidden, by name, each with its path from where the walk began.
fn walk(folder: &Path, before: &str, files: &mut Vec<String>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{before}{name}");
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
