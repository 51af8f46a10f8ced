//! A hub's data folder: where its log, artifacts, credentials and address are.

use crate::failure::Failure;
use consortium::Holder;
use serde::{Deserialize, Serialize};
use server::Hub;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use store::Place;

/// A hub's data folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) PathBuf);

/// Where a command that needs no hub finds one's data.
#[derive(clap::Args)]
pub(crate) struct Data {
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    pub(crate) folder: PathBuf,
    /// The PostgreSQL database that has the log instead of the folder.
    #[arg(long, env = "KHUB_DATABASE", hide_env_values = true, value_name = "URL")]
    database: Option<Place>,
}

impl Data {
    /// Where the log is.
    pub(crate) fn log(&self) -> Place {
        self.database.clone().unwrap_or_else(|| Place::from(&self.folder))
    }
}

const LOGIN: &str = "login.json";

/// Where the folder's hub answers, in `hub.json`; the hub writes it when it starts.
#[derive(Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) url: String,
}

/// Who has signed in by `khub login`, in `login.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Login {
    /// At which hub; none if it is the folder's own.
    pub(crate) hub: Option<String>,
    /// Under which name the token is kept.
    pub(crate) name: String,
}

impl Folder {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Tells commands that are started beside the hub where it answers.
    pub(crate) fn announce(&self, hub: &Hub) -> Result<(), Failure> {
        let text = serde_json::to_string(&Address { url: hub.url() }).map_err(Failure::new)?;
        write(&self.path("hub.json"), text.as_bytes())
    }

    pub(crate) fn address(&self) -> Result<Address, Failure> {
        let path = self.path("hub.json");
        let hint = "`khub quickstart` or `khub serve` starts one; --folder or --hub names another";
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::new(format_args!("no hub has run on {} yet", self.0.display())).hint(hint)
            }
            _ => Failure::file(&path, error).hint(hint),
        })?;
        serde_json::from_slice(&text).map_err(|e| Failure::file(&path, e).hint(hint))
    }

    /// The token kept under `name`.
    pub(crate) fn token(&self, name: &str) -> Result<String, Failure> {
        token_in(&self.path("credentials").join(name), &self.names())
    }

    /// A token for `holder`, kept under `name`: the one that is there, if the hub knows it.
    pub(crate) fn credential(&self, hub: &Hub, name: &str, holder: Holder) -> Result<String, Failure> {
        if let Ok(token) = self.token(name)
            && hub.knows(&token, &holder)
        {
            return Ok(token);
        }
        let token = hub.issue(holder)?;
        self.keep_token(name, &token)?;
        Ok(token)
    }

    /// Who has signed in, if somebody has.
    pub(crate) fn login(&self) -> Result<Option<Login>, Failure> {
        let path = self.path(LOGIN);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file(&path, error)),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                Failure::file(&path, error).hint("remove it, and sign in again with `khub login`")
            }),
        }
    }

    /// Keeps the token of whoever has signed in.
    pub(crate) fn keep_login(&self, login: &Login, token: &str) -> Result<(), Failure> {
        self.keep_token(&login.name, token)?;
        let text = serde_json::to_string(login).map_err(Failure::new)?;
        write(&self.path(LOGIN), text.as_bytes())
    }

    /// Nobody is signed in any more.
    pub(crate) fn forget_login(&self, login: &Login) -> Result<(), Failure> {
        for path in [self.path("credentials").join(&login.name), self.path(LOGIN)] {
            fs::remove_file(&path).map_err(|e| Failure::file(&path, e))?;
        }
        Ok(())
    }

    fn keep_token(&self, name: &str, token: &str) -> Result<(), Failure> {
        let folder = self.path("credentials");
        fs::create_dir_all(&folder).map_err(|e| Failure::file(&folder, e))?;
        write_secret(&folder.join(name), token)
    }

    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("credentials"))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = files
            .map(|file| file.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// The token in the file at `path`.
pub(crate) fn token_in(path: &Path, others: &[String]) -> Result<String, Failure> {
    let hint = match others {
        [] => "check its name, or ask the programme office for a credential".to_owned(),
        names => format!("--as with a name that has one here: {}", names.join(", ")),
    };
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(format_args!("there is no credential {}", path.display())).hint(hint)
        }
        _ => Failure::file(path, error).hint(hint),
    })?;
    Ok(text.trim().to_owned())
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let part = path.with_extension("part");
    let failed = |e| Failure::file(path, e);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(&part, bytes).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}

/// Only its owner may read it.
fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|e| Failure::file(path, e))?;
    // One that was there before keeps its mode otherwise.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(|e| Failure::file(path, e))?;
    writeln!(file, "{secret}").map_err(|e| Failure::file(path, e))
}
