//! `khub serve`: the hub alone.

use crate::failure::Failure;
use crate::folder::Folder;
use crate::show;
use server::{Hub, HubConfig, HubError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Place, StoreError};

/// Run the hub of a data folder.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub serve\n  khub serve --folder /srv/khub --listen 0.0.0.0:7777\n  \
    khub serve --database postgresql://khub@db.example/khub\n\n\
    Then, beside it: khub jobs, khub explain job-1, khub ledger verify, khub artifacts korean-reviews."
)]
pub(crate) struct Args {
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", default_value = "khub-data")]
    folder: PathBuf,
    /// Keep the log in this PostgreSQL database instead of the folder: postgresql://USER:PASSWORD@HOST/NAME.
    /// A second hub on the same database stands by, and takes over when the first is gone.
    #[arg(long, env = "KHUB_DATABASE", hide_env_values = true, value_name = "URL")]
    database: Option<Place>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
    /// The folder of what the pages can do without, as the structure viewer that `dev/molstar` brings; else
    /// `assets` in the data folder.
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// How many seconds a site may be silent before its jobs go on without it.
    #[arg(long, default_value_t = 15.0, value_parser = seconds)]
    lose_after: f64,
    /// How many seconds a request waits for news at most; less than what a proxy in front of the hub allows.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    longest_wait: f64,
    /// So many unknown tokens from one address within a minute lock it out; more where many people share one.
    #[arg(long, default_value_t = 30)]
    unknown_tokens: u32,
    /// How many requests of one account are answered in a second, with ten seconds' worth at once; 0 is no limit.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    rate: u32,
    /// Add a line of JSON for each answer to this file; `-` is the standard error.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text} is not a number of seconds"))?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("0 to 86400 seconds".to_owned())
    }
}

/// A hub with its log in the folder, or in `database`.
pub(crate) fn hub_config(folder: &Path, database: Option<&Place>) -> HubConfig {
    let config = HubConfig::new(folder);
    match database {
        Some(place) => HubConfig {
            log: place.clone(),
            ..config
        },
        None => config,
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let folder = Folder(args.folder.clone());
    let own = hub_config(&args.folder, args.database.as_ref());
    let config = HubConfig {
        listen: args.listen,
        lose_after: Duration::from_secs_f64(args.lose_after),
        longest_wait: Duration::from_secs_f64(args.longest_wait),
        unknown_tokens: args.unknown_tokens,
        rate: args.rate,
        access_log: args.access_log.clone(),
        assets: args.assets.clone().unwrap_or_else(|| own.assets.clone()),
        ..own
    };
    let hub = match Hub::start(&config) {
        Err(HubError::Store(StoreError::Busy { place })) if args.database.is_some() => {
            show::print(&format!("another hub writes to {place}; this one stands by\n"));
            let config = HubConfig {
                stand_by: true,
                ..config
            };
            Hub::start(&config)?
        }
        started => started?,
    };
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
