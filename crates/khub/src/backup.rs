//! `khub backup` and `khub restore`: a hub's whole data as a folder that can be put anywhere else.

use crate::failure::Failure;
use crate::folder::Data;
use crate::show;
use consortium::Digest;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use store::{Blobs, Bucket, BucketAddress, BucketConfig};

/// Copy the log and the artifacts into a folder; a hub may be running.
///
/// Run again on the same folder, it copies only the artifacts that are new. Credentials are not in it: the log
/// has their digests alone, and whoever holds a token keeps it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub backup /mnt/backup/khub\n  \
    khub backup /mnt/backup/khub --database postgresql://khub@db.example/khub\n  \
    khub backup /mnt/backup/khub --artifacts s3://khub/artifacts")]
pub(crate) struct Backup {
    /// Where to.
    to: PathBuf,
    /// Copy the artifacts from the bucket where the hub keeps them; without this they stay there alone. The environment has
    /// the keys, as for `khub serve`.
    #[arg(long, env = "KHUB_ARTIFACTS", value_name = "s3://BUCKET/PREFIX")]
    artifacts: Option<BucketAddress>,
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
const POINTS: &str = "points.jsonl";
const ARTIFACTS: &str = "artifacts";

pub(crate) fn backup(args: &Backup) -> Result<(), Failure> {
    fs::create_dir_all(&args.to).map_err(|e| Failure::file(&args.to, e))?;
    let (mut log, mut points) = (Part::of(&args.to, LOG)?, Part::of(&args.to, POINTS)?);
    // The log first: an artifact that it names was here before it did.
    let done = store::backup(args.data.log(), &mut log.file, &mut points.file)?;
    // Points of runs that the log of an older backup doesn't know harm nobody; a log without its points would.
    points.keep()?;
    log.keep()?;
    let (from, to) = (args.data.folder.join(ARTIFACTS), args.to.join(ARTIFACTS));
    let behind = Blobs::bucket_behind(&from).map_err(Failure::new)?;
    let copied = match (&args.artifacts, behind) {
        (None, Some(bucket)) => {
            tell("backed up", &done, "no");
            show::print(&format!(
                "the artifacts' bytes are in {bucket} alone; --artifacts {bucket} copies them, too\n"
            ));
            return Ok(());
        }
        (None, None) => copy(&from, &to)?,
        (Some(address), _) => {
            let bucket = Bucket::open(&BucketConfig::from_env(address.clone(), 0)).map_err(Failure::new)?;
            let target = Blobs::open(&to).map_err(Failure::new)?;
            bucket.copy_into(&target).map_err(Failure::new)?
        }
    };
    tell("backed up", &done, copied);
    Ok(())
}

pub(crate) fn restore(args: &Restore) -> Result<(), Failure> {
    let path = args.from.join(LOG);
    let file = File::open(&path).map_err(|e| Failure::unread(&path, &e))?;
    let copied = copy(&args.from.join(ARTIFACTS), &args.data.folder.join(ARTIFACTS))?;
    let points = args.from.join(POINTS);
    let mut measured = match File::open(&points) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        file => Some(BufReader::new(file.map_err(|e| Failure::file(&points, e))?)),
    };
    let measured = measured
        .as_mut()
        .map(|text| (points.as_path(), text as &mut dyn BufRead));
    let done = store::restore(args.data.log(), &path, &mut BufReader::new(file), measured)?;
    tell("restored", &done, copied);
    Ok(())
}

/// A file that gets its name when all of it is on the disk.
struct Part {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
}

impl Part {
    fn of(dir: &Path, name: &str) -> Result<Self, Failure> {
        let (path, part) = (dir.join(name), dir.join(format!("{name}.part")));
        let file = File::create(&part).map_err(|e| Failure::file(&part, e))?;
        let file = BufWriter::new(file);
        Ok(Self { path, part, file })
    }

    fn keep(mut self) -> Result<(), Failure> {
        let failed = |e| Failure::file(&self.part, e);
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        fs::rename(&self.part, &self.path).map_err(|e| Failure::file(&self.path, e))
    }
}

fn tell(what: &str, done: &store::BackedUp, copied: impl std::fmt::Display) {
    let store::BackedUp {
        records,
        head,
        points,
    } = done;
    let points = match points {
        0 => String::new(),
        points => format!("{points} points of runs, "),
    };
    show::print(&format!(
        "{what}: {records} records up to {head}, {points}and {copied} artifacts\n"
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
            let mut source = match File::open(&path) {
                // The hub collects what its log doesn't name.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(|e| Failure::file(&path, e))?,
            };
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
