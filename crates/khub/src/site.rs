//! `khub site`: the process beside a site's machines.

use crate::failure::Failure;
use crate::folder::token_in;
use ::site::{Site, SiteConfig, SiteError};
use api::Client;
use std::path::PathBuf;

/// Run a site: fetch its orders from the hub, run its jobs, read its meter.
///
/// It needs no inbound port; it asks the hub and is never dialled.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub site --hub https://hub.example.kr --credential site.token --folder /srv/khub-site"
)]
pub(crate) struct Args {
    /// The hub's address.
    #[arg(long, env = "KHUB_HUB", value_name = "URL")]
    hub: String,
    /// The file with the site's token.
    #[arg(long, value_name = "FILE")]
    credential: PathBuf,
    /// Where the site keeps its jobs.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Threads for a program; all of the machine's by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Stop when standard input ends: whoever started this process then takes it along.
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let client = Client::new(&args.hub, &token_in(&args.credential, &[])?)?;
    let this = std::env::current_exe().map_err(Failure::new)?;
    let programs = vec![this.into(), "program".into()];
    let site = Site::new(SiteConfig {
        client,
        folder: args.folder,
        programs,
        threads: args.threads,
    })
    .map_err(|error| match error {
        SiteError::NotASite(_) => Failure::file(&args.credential, error)
            .hint("--credential with the site's own, which the programme office gives out"),
        other => other.into(),
    })?;
    if args.with_parent {
        let stop = site.stopper();
        std::thread::spawn(move || {
            // Whatever comes is of no interest, only that it ends.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            stop();
        });
    }
    ctrlc::set_handler(site.stopper()).map_err(Failure::new)?;
    Ok(site.run(&|line| eprintln!("{line}"))?)
}
