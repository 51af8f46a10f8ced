//! The data sets that khub knows: the one place with their sources, sizes and digests.
//!
//! Each form of a set has a file beside this one with a line for each of its files: its bytes, its digest, its
//! path. `-` stands for bytes that nobody has recorded; a digest of git's counts them too.

use crate::failure::Failure;
use serde::Serialize;
use sha1::{Digest as _, Sha1};
use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A data set.
#[derive(Debug, Serialize)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) source: &'static str,
    /// How its files may be cut; the first is how the consortium's sites have it.
    #[serde(skip)]
    pub(crate) forms: &'static [Form],
    /// Where the files of the last form are served; none if nobody serves them.
    #[serde(skip)]
    pub(crate) download: Option<Download>,
}

/// Where files are served.
#[derive(Debug)]
pub(crate) struct Download {
    url: &'static str,
    /// Names another server, such as a mirror.
    variable: &'static str,
}

/// One way to cut a data set in files.
#[derive(Debug)]
pub(crate) struct Form {
    record: &'static str,
}

/// A file as it is recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) path: &'static str,
    pub(crate) bytes: Option<u64>,
    pub(crate) digest: Digest,
}

/// The digest of a file, in hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Digest {
    Blake3(&'static str),
    /// The SHA-1 that names the file in a git repository.
    Git(&'static str),
}

/// A data set on this machine.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// How it was found.
    pub(crate) how: &'static str,
    pub(crate) form: &'static Form,
    /// How many of its files are not there.
    pub(crate) missing: usize,
}

/// NSMC: Korean film reviews, by Lucy Park.
pub(crate) static NSMC: &Set = &SETS[0];

pub(crate) static SETS: [Set; 3] = [
    Set {
        name: "nsmc",
        what: "307,325 Korean film reviews with their ratings, split by film",
        licence: "CC0",
        source: "github.com/e9t/nsmc at cc0670e; the download gives its own split of 200,000 of them",
        forms: &[
            Form {
                record: include_str!("nsmc.files"),
            },
            Form {
                record: include_str!("nsmc-published.files"),
            },
        ],
        download: Some(Download {
            url: "https://raw.githubusercontent.com/e9t/nsmc/cc0670e872d4ac27bfe36c87456783004b39ef6c",
            variable: "KHUB_NSMC_URL",
        }),
    },
    Set {
        name: "proteins",
        what: "2,090 protein chains of 20 to 100 residues: backbone atoms as PDB, split by likeness",
        licence: "MIT",
        source: "chosen from github.com/psipred/cgdms; nobody serves these files",
        forms: &[Form {
            record: include_str!("proteins.files"),
        }],
        download: None,
    },
    Set {
        name: "traces",
        what: "15,264 GPU jobs of 15 virtual clusters over 125 days, in Standard Workload Format",
        licence: "MIT",
        source: "the Philly arrivals as resampled by github.com/stanford-futuredata/gavel at c4fa400; nobody \
                 serves this file",
        forms: &[Form {
            record: include_str!("traces.files"),
        }],
        download: None,
    },
];

/// The data set called `name`.
pub(crate) fn named(name: &str) -> Result<&'static Set, Failure> {
    SETS.iter().find(|set| set.name == name).ok_or_else(|| {
        let names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
        Failure::new(format_args!("khub knows no data set {name:?}")).hint(format!(
            "one of {}; `khub data list` describes them",
            names.join(", ")
        ))
    })
}

impl Set {
    /// The place with the whole set, else the first with a part of it.
    pub(crate) fn find(&'static self) -> Option<Found> {
        let places = [
            (env::var_os("KHUB_DATA").map(PathBuf::from), "KHUB_DATA"),
            (Some(PathBuf::from("../shared/data")), "found"),
            (cache(), "cached"),
        ];
        let found = places.into_iter().filter_map(|(folder, how)| {
            let path = folder?.join(self.name);
            let count = |form: &'static Form| (form.missing(&path), form);
            let (missing, form) = self.forms.iter().map(count).min_by_key(|(missing, _)| *missing)?;
            (missing < form.files().len()).then_some(Found {
                path,
                how,
                form,
                missing,
            })
        });
        found.min_by_key(|found| found.missing > 0)
    }

    /// Where it is kept after a download.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        Some(cache()?.join(self.name))
    }
}

impl Download {
    /// The address that the files' paths are appended to.
    pub(crate) fn address(&self) -> String {
        env::var(self.variable).unwrap_or_else(|_| self.url.to_owned())
    }
}

impl Form {
    pub(crate) fn files(&self) -> Vec<Recorded> {
        let file = |line: &'static str| Recorded::parse(line).expect("a test reads every line");
        self.record.lines().map(file).collect()
    }

    /// The recorded bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files().iter().filter_map(|file| file.bytes).sum()
    }

    fn missing(&self, folder: &Path) -> usize {
        let files = self.files().into_iter();
        files.filter(|file| !folder.join(file.path).is_file()).count()
    }
}

impl Recorded {
    fn parse(line: &'static str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let bytes = match words.next()? {
            "-" => None,
            bytes => Some(bytes.parse().ok()?),
        };
        let (kind, digits) = words.next()?.split_once(':')?;
        let digest = match kind {
            "blake3" => Digest::Blake3(digits),
            "git" => Digest::Git(digits),
            _ => return None,
        };
        let path = words.next()?;
        Some(Self { path, bytes, digest })
    }

    /// How the file at `path` differs from this record; None if it doesn't.
    pub(crate) fn difference(&self, path: &Path) -> Result<Option<String>, Failure> {
        let failed = |error| Failure::file(path, error);
        let bytes = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("is missing".to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        if let Some(recorded) = self.bytes.filter(|recorded| *recorded != bytes) {
            return Ok(Some(format!("has {bytes} bytes, not {recorded}")));
        }
        let (found, recorded) = match self.digest {
            Digest::Blake3(digits) => (blake3_of(path), digits),
            Digest::Git(digits) => (blob_of(path), digits),
        };
        let found = found.map_err(failed)?;
        Ok((found != recorded).then(|| format!("has other bytes: digest {found}, not {recorded}")))
    }
}

/// The folder with the data sets that were downloaded.
fn cache() -> Option<PathBuf> {
    let named = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
    Some(cache.join("khub"))
}

/// The BLAKE3 digest of a file.
pub(crate) fn blake3_of(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// git's name for the bytes of a file.
pub(crate) fn blob_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", file.metadata()?.len()));
    io::copy(&mut file, &mut hasher)?;
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn blobs_have_the_names_that_git_gives_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        // `git hash-object` of an empty file and of "khub\n".
        for (text, name) in [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("khub\n", "e218280c35c75f37881899d40bc5f806e4acc415"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(blob_of(&path).unwrap(), name);
        }
    }

    #[test]
    fn every_record_reads() {
        for set in &SETS {
            for line in set.forms.iter().flat_map(|form| form.record.lines()) {
                let file = Recorded::parse(line).unwrap_or_else(|| panic!("{}: {line}", set.name));
                let (digits, length) = match file.digest {
                    Digest::Blake3(digits) => (digits, 64),
                    Digest::Git(digits) => (digits, 40),
                };
                assert!(
                    digits.len() == length && digits.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{line}"
                );
                let inside = Path::new(file.path)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                assert!(inside, "{line}");
            }
        }
        let sums: Vec<(usize, u64)> = SETS
            .iter()
            .map(|set| (set.forms[0].files().len(), set.forms[0].bytes()))
            .collect();
        assert_eq!(sums[0], (2, 27_790_106));
        assert_eq!(sums[1].0, 2_004 + 86);
        assert_eq!(sums[2], (1, 911_232));
    }
}
