//! `khub login` and `khub logout`: whose token this machine keeps for a hub.

use crate::failure::Failure;
use crate::folder::{Folder, Login};
use crate::show;
use api::Client;
use consortium::PersonId;
use std::path::PathBuf;

/// Sign in to a hub: by an invitation, the first time.
///
/// The token is kept in the data folder, for its owner alone to read; commands beside it then ask that hub as
/// you, until `khub logout`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub login --hub https://hub.example --invitation invitation_3f2a... --name minho"
)]
pub(crate) struct Args {
    /// The hub's address; else the hub of the data folder.
    #[arg(long, env = "KHUB_HUB", value_name = "URL")]
    hub: Option<String>,
    /// Come in by this invitation.
    #[arg(long, value_name = "CODE")]
    invitation: String,
    /// The name to come under; else the one that the invitation proposes.
    #[arg(long)]
    name: Option<PersonId>,
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    folder: PathBuf,
}

/// Sign out: the token that `khub login` has kept is worth nothing any more, and is removed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub logout")]
pub(crate) struct Logout {
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", value_name = "DIR", default_value = "khub-data")]
    folder: PathBuf,
}

pub(crate) fn login(args: &Args) -> Result<(), Failure> {
    let folder = Folder(args.folder.clone());
    let url = match &args.hub {
        Some(url) => url.clone(),
        None => folder.address()?.url,
    };
    let welcome = Client::new(&url, "")?.accept(&args.invitation, args.name.as_ref())?;
    let login = Login {
        hub: args.hub.clone(),
        name: welcome.person.to_string(),
    };
    folder.keep_login(&login, &welcome.token)?;
    show::print(&format!("signed in at {url} as {}\n", welcome.person));
    Ok(())
}

pub(crate) fn logout(args: &Logout) -> Result<(), Failure> {
    let folder = Folder(args.folder.clone());
    let login = folder.login()?.ok_or_else(|| {
        let nobody = format_args!("nobody has signed in with {}", args.folder.display()).to_string();
        Failure::new(nobody).hint("--folder names another data folder")
    })?;
    let url = match &login.hub {
        Some(url) => url.clone(),
        None => folder.address()?.url,
    };
    match Client::new(&url, &folder.token(&login.name)?)?.sign_out() {
        // Whatever the reason, it is worth nothing any more.
        Err(error) if error.status() == Some(401) => {}
        done => done.map(drop)?,
    }
    folder.forget_login(&login)?;
    show::print(&format!("signed out at {url}\n"));
    Ok(())
}
