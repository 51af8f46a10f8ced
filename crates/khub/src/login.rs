//! `khub login` and `khub logout`: whose token this machine keeps for a hub.

use crate::failure::Failure;
use crate::folder::{Folder, Login};
use crate::show;
use api::{Client, DeviceCodes, DeviceTold};
use consortium::{Actor, PersonId, Scope};
use std::path::PathBuf;
use std::time::Duration;

/// Sign in to a hub: confirm a code on its pages, or bring an invitation the first time.
///
/// The token is kept in the data folder, for its owner alone to read; commands beside it then ask that hub as
/// you, until `khub logout`. One by a code is good for 30 days, and a first one by an invitation for 90.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub login --hub https://hub.example\n  khub login --read-only\n  \
    khub login --hub https://hub.example --invitation invitation_3f2a... --name minho"
)]
pub(crate) struct Args {
    /// The hub's address; else the hub of the data folder.
    #[arg(long, env = "KHUB_HUB", value_name = "URL")]
    hub: Option<String>,
    /// The token can't change anything.
    #[arg(long)]
    read_only: bool,
    /// Come in by this invitation, where no provider is to be signed in with.
    #[arg(long, value_name = "CODE", conflicts_with = "read_only")]
    invitation: Option<String>,
    /// The name to come under; else the one that the invitation proposes.
    #[arg(long, requires = "invitation")]
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
    let stranger = Client::new(&url, "")?;
    let (name, token) = match &args.invitation {
        Some(code) => {
            let welcome = stranger.accept(code, args.name.as_ref())?;
            (welcome.person.to_string(), welcome.token)
        }
        None => {
            let scope = if args.read_only { Scope::Read } else { Scope::Full };
            let token = confirmed(&stranger, scope)?;
            (name_of(&Client::new(&url, &token)?.me()?.actor), token)
        }
    };
    let login = Login {
        hub: args.hub.clone(),
        name,
    };
    folder.keep_login(&login, &token)?;
    show::print(&format!("signed in at {url} as {}\n", login.name));
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

/// A token, once the person has confirmed the code.
fn confirmed(stranger: &Client, scope: Scope) -> Result<String, Failure> {
    let codes = stranger.device(scope)?;
    let DeviceCodes {
        verification_uri,
        verification_uri_complete,
        user_code,
        expires_in,
        interval,
        ..
    } = &codes;
    let minutes = expires_in / 60;
    show::print(&format!(
        "open {verification_uri} in a browser, sign in there, and confirm the code\n\n    {user_code}\n\n\
         or open {verification_uri_complete}\nwaiting, for {minutes} minutes; stop it with Ctrl-C\n"
    ));
    let mut wait = Duration::from_secs(*interval).max(LEAST_WAIT);
    loop {
        std::thread::sleep(wait);
        match stranger.device_token(&codes)? {
            DeviceTold::Token(token) => return Ok(token),
            DeviceTold::Pending => {}
            DeviceTold::SlowDown => wait += SLOWER,
            DeviceTold::Denied => {
                return Err(Failure::new("whoever is signed in there has refused the code"));
            }
            DeviceTold::Expired => {
                return Err(Failure::new("the code holds no more").hint("`khub login` shows a new one"));
            }
        }
    }
}

/// Whatever a hub says, it isn't asked more often.
const LEAST_WAIT: Duration = Duration::from_millis(200);
/// RFC 8628, section 3.5.
const SLOWER: Duration = Duration::from_secs(5);

fn name_of(actor: &Actor) -> String {
    match actor {
        Actor::Hub => "hub".to_owned(),
        Actor::Person(person) => person.to_string(),
        Actor::Site(site) => site.to_string(),
    }
}
