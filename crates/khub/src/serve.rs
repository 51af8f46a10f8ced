//! `khub serve`: the hub alone.

use crate::failure::Failure;
use crate::folder::Folder;
use crate::show;
use server::{Hub, HubConfig};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Run the hub of a data folder.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub serve\n  khub serve --folder /srv/khub --listen 0.0.0.0:7777\n\n\
    Then, beside it: khub jobs, khub explain job-1, khub ledger verify, khub artifacts korean-reviews."
)]
pub(crate) struct Args {
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", default_value = "khub-data")]
    folder: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let folder = Folder(args.folder.clone());
    let hub = Hub::start(&HubConfig {
        listen: args.listen,
        ..HubConfig::new(&args.folder)
    })?;
    folder.announce(&hub)?;
    let stop = hub.stopper();
    ctrlc::set_handler(stop).map_err(Failure::new)?;
    show::print(&format!(
        "the hub of {} answers at {}\nstop it with Ctrl-C\n",
        args.folder.display(),
        hub.url()
    ));
    Ok(hub.wait()?)
}
