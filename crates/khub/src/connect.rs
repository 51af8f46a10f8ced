//! Which hub a command talks to, and as whom.

use crate::failure::Failure;
use crate::folder::Folder;
use api::Client;
use std::path::PathBuf;

/// Options of every command that asks a hub.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Hub")]
pub(crate) struct Connect {
    /// The hub's address; else the one of `khub login`, else the hub of the data folder.
    #[arg(long, env = "KHUB_HUB", value_name = "URL")]
    hub: Option<String>,
    /// The token itself; else the credential --as in the data folder.
    #[arg(long, env = "KHUB_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Ask as the holder of this credential in the data folder; else as whoever is signed in by `khub login`, else as minji.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    pub(crate) folder: PathBuf,
}

/// Who asks in the quickstart's folder, unless another is named.
const FIRST: &str = "minji";

impl Connect {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let folder = Folder(self.folder.clone());
        let login = folder.login()?;
        let signed_in_at = || login.as_ref()?.hub.clone();
        let url = match self.hub.clone().or_else(signed_in_at) {
            Some(url) => url,
            None => folder.address()?.url,
        };
        let token = match (&self.token, &self.name, &login) {
            (Some(token), ..) => token.clone(),
            (None, Some(name), _) => folder.token(name)?,
            (None, None, Some(login)) => folder.token(&login.name)?,
            (None, None, None) => folder.token(FIRST)?,
        };
        Ok(Client::new(&url, &token)?)
    }
}
