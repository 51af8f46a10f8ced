//! Which hub a command talks to, and as whom.

use crate::failure::Failure;
use crate::folder::Folder;
use api::Client;
use std::path::PathBuf;

/// Options of every command that asks a hub.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Hub")]
pub(crate) struct Connect {
    /// The hub's address; else the hub of the data folder.
    #[arg(long, env = "KHUB_HUB", value_name = "URL")]
    hub: Option<String>,
    /// The token itself; else the credential --as in the data folder.
    #[arg(long, env = "KHUB_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Ask as the holder of this credential in the data folder.
    #[arg(long = "as", value_name = "NAME", default_value = "minji")]
    name: String,
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    pub(crate) folder: PathBuf,
}

impl Connect {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let folder = Folder(self.folder.clone());
        let url = match &self.hub {
            Some(url) => url.clone(),
            None => folder.address()?.url,
        };
        let token = match &self.token {
            Some(token) => token.clone(),
            None => folder.token(&self.name)?,
        };
        Ok(Client::new(&url, &token)?)
    }
}
