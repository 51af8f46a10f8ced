//! Finds text to train on: what was asked for, what lies nearby, what can be downloaded; last, the primer.

use crate::failure::Failure;
use crate::folder::write;
use crate::show;
use sha1::{Digest, Sha1};
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Text that was found.
#[derive(Debug)]
pub(crate) enum Text {
    /// A file or a folder.
    Path {
        path: PathBuf,
        /// How it was found.
        how: &'static str,
    },
    /// khub's own.
    Primer,
}

impl Text {
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Path { path, how } => format!("{} ({how})", path.display()),
            Self::Primer => "khub's own bilingual primer (nothing else was found)".to_owned(),
        }
    }
}

/// A public file, and the SHA-1 that git gives it as a blob of the repository's commit.
struct Source {
    name: &'static str,
    blob: &'static str,
}

/// NSMC: Korean film reviews, by Lucy Park, CC0.
const NSMC: &str = "https://raw.githubusercontent.com/e9t/nsmc/cc0670e872d4ac27bfe36c87456783004b39ef6c";
const FILES: [Source; 2] = [
    Source {
        name: "ratings_train.txt",
        blob: "ac0dba272895dc1d0b3dd5f11afbeaeb7abe7876",
    },
    Source {
        name: "ratings_test.txt",
        blob: "b6cfcd8cd1557bcd9bf06617b0e429ed73e9a367",
    },
];

/// Where the text comes from: `given`, else KHUB_DATA, ../shared/data, the cache, a download, the primer.
pub(crate) fn find(given: Option<&Path>, tell: &dyn Fn(&str)) -> Result<Text, Failure> {
    if let Some(path) = given {
        return Ok(Text::Path {
            path: path.to_owned(),
            how: "--data",
        });
    }
    if let Some(folder) = env::var_os("KHUB_DATA").map(PathBuf::from) {
        let nsmc = folder.join("nsmc");
        let path = if nsmc.exists() { nsmc } else { folder };
        return Ok(Text::Path {
            path,
            how: "KHUB_DATA",
        });
    }
    let shared = Path::new("../shared/data/nsmc");
    if shared.exists() {
        return Ok(Text::Path {
            path: shared.to_owned(),
            how: "found",
        });
    }
    let Some(cache) = cache() else {
        return Ok(Text::Primer);
    };
    if FILES.iter().all(|file| cache.join(file.name).exists()) {
        return Ok(Text::Path {
            path: cache,
            how: "cached",
        });
    }
    let from = env::var("KHUB_NSMC_URL").unwrap_or_else(|_| NSMC.to_owned());
    match download(&from, &cache, tell) {
        Ok(()) => Ok(Text::Path {
            path: cache,
            how: "downloaded",
        }),
        Err(why) => {
            tell(&format!("NSMC can't be downloaded: {why}\n"));
            Ok(Text::Primer)
        }
    }
}

fn cache() -> Option<PathBuf> {
    let named = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
    Some(cache.join("khub").join("nsmc"))
}

/// Fetches the files into `cache`. A file is kept only if its digest is right.
fn download(from: &str, cache: &Path, tell: &dyn Fn(&str)) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_global(Some(Duration::from_secs(90)))
        .build()
        .into();
    for file in &FILES {
        let url = format!("{from}/{}", file.name);
        tell(&format!("fetching  {url}\n"));
        let mut response = agent.get(&url).call().map_err(|e| e.to_string())?;
        let body = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec()
            .map_err(|e| e.to_string())?;
        let found = blob(&body);
        if found != file.blob {
            let size = show::bytes(body.len() as u64);
            return Err(format!(
                "{url} gave {size} with digest {found}, not {}",
                file.blob
            ));
        }
        write(&cache.join(file.name), &body).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// git's name for these bytes.
fn blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_have_the_names_that_git_gives_them() {
        // `git hash-object` of an empty file and of "khub\n".
        assert_eq!(blob(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob(b"khub\n"), "e218280c35c75f37881899d40bc5f806e4acc415");
    }
}
