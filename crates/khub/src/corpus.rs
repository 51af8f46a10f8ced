//! Finds text to train on: what was asked for, what lies nearby, what can be downloaded; last, the primer.

use crate::data::get::download;
use crate::data::sets::NSMC;
use crate::failure::Failure;
use std::env;
use std::path::{Path, PathBuf};

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
    if let Some(found) = NSMC.find().filter(|found| found.missing == 0) {
        return Ok(Text::Path {
            path: found.path,
            how: found.how,
        });
    }
    match download(NSMC, tell) {
        Ok(path) => Ok(Text::Path {
            path,
            how: "downloaded",
        }),
        Err(why) => {
            tell(&format!("NSMC can't be downloaded: {why}\n"));
            Ok(Text::Primer)
        }
    }
}
