//! `khub backup` and `khub restore`: a hub's whole data as a folder that can be put anywhere else.

use crate::failure::Failure;
use crate::folder::Data;
use crate::show;
use consortium::Digest;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use store::Blobs;

/// Copy the log and the artifacts into a folder; a hub may be running.
///
/// Run again on the same folder, it copies only the artifacts that are new. Credentials are not in it: the log
/// has their digests alone, and whoever holds a token keeps it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub backup /mnt/backup/khub\n  \
    khub backup /mnt/backup/khub --database postgresql://khub@db.example/khub")]
pub(crate) struct Backup {
    /// Where to.
    to: PathBuf,
    #[command(flatten)]
    data: Data,
}

/// Put a backup back, in an empty place: a new folder, or a database without a log.
///
/// The log is checked record by record, each artifact by its digest. A log from SQLite can be restored to
/// PostgreSQL and the other way round.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub restore /mnt/backup/khub --folder khub-data\n  \
    khub restore /mnt/backup/khub --database postgresql://khub@db.example/khub"
)]
pub(crate) struct Restore {
    /// Where from.
    from: PathBuf,
    #[command(flatten)]
    data: Data,
}

const LOG: &str = "log.jsonl";
const ARTIFACTS: &str = "artifacts";

pub(crate) fn backup(args: &Backup) -> Result<(), Failure> {
    fs::create_dir_all(&args.to).map_err(|e| Failure::file(&args.to, e))?;
    let (path, part) = (args.to.join(LOG), args.to.join("log.jsonl.part"));
    let failed = |e| Failure::file(&part, e);
    let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
    // The log first: an artifact that it names was here before it did.
    let done = store::backup(args.data.log(), &mut file)?;
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    fs::rename(&part, &path).map_err(|e| Failure::file(&path, e))?;
    let copied = copy(&args.data.folder.join(ARTIFACTS), &args.to.join(ARTIFACTS))?;
    tell("backed up", &done, copied);
    Ok(())
}

pub(crate) fn restore(args: &Restore) -> Result<(), Failure> {
    let path = args.from.join(LOG);
    let file = File::open(&path).map_err(|e| Failure::unread(&path, &e))?;
    let copied = copy(&args.from.join(ARTIFACTS), &args.data.folder.join(ARTIFACTS))?;
    let done = store::restore(args.data.log(), &path, &mut BufReader::new(file))?;
    tell("restored", &done, copied);
    Ok(())
}

fn tell(what: &str, done: &store::BackedUp, copied: u64) {
    let (records, head) = (done.records, done.head);
    show::print(&format!(
        "{what}: {records} records up to {head}, and {copied} artifacts\n"
    ));
}

/// Copies what `to` doesn't have, each checked against its name. Returns how many it copied.
fn copy(from: &Path, to: &Path) -> Result<u64, Failure> {
    if !from.is_dir() {
        return Ok(0);
    }
    let target = Blobs::open(to).map_err(Failure::new)?;
    let mut copied = 0;
    for folder in names(from)?.into_iter().filter(|name| name.len() == 2) {
        for file in names(&from.join(&folder))? {
            let Ok(digest) = format!("blake3:{folder}{file}").parse::<Digest>() else {
                continue;
            };
            if target.has(&digest) {
                continue;
            }
            let path = from.join(&folder).join(&file);
            let mut source = File::open(&path).map_err(|e| Failure::file(&path, e))?;
            let kept = target.put(&mut source, Some(digest), u64::MAX);
            kept.map_err(|e| Failure::file(&path, e))?;
            copied += 1;
        }
    }
    Ok(copied)
}

fn names(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(dir).map_err(|e| Failure::file(dir, e))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
