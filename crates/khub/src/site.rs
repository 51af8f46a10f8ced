//! `khub site`: the process beside a site's machines.

use crate::failure::Failure;
use crate::folder::token_in;
use ::site::{Programs, Site, SiteConfig, SiteError, Source};
use api::Client;
use std::path::PathBuf;

/// Run a site: fetch its orders from the hub, run its jobs, read its meter.
///
/// It needs no inbound port; it asks the hub and is never dialled.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub site --hub https://hub.example.kr --credential site.token --folder /srv/khub-site\n  \
    khub site ... --program 'language=torchrun --nproc-per-node 8 train.py'\n  \
    khub site ... --attach language"
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
    /// Start a program by this command instead of khub's own; may be given several times.
    ///
    /// It finds the job's folder in KHUB_JOB_FOLDER, and talks on its standard input and output or on the
    /// socket in KHUB_SOCKET.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named)]
    program: Vec<(String, String)>,
    /// Don't start this program: wait until somebody's own process connects; may be given several times.
    #[arg(long, value_name = "NAME")]
    attach: Vec<String>,
    /// Stop when standard input ends: whoever started this process then takes it along.
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let client = Client::new(&args.hub, &token_in(&args.credential, &[])?)?;
    let this = std::env::current_exe().map_err(Failure::new)?;
    let mut programs = Programs::of(vec![this.into(), "program".into()]);
    let commands = args
        .program
        .into_iter()
        .map(|(name, command)| (name, Source::Command(command)));
    let awaited = args.attach.into_iter().map(|name| (name, Source::Attach));
    programs.named.extend(commands.chain(awaited));
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

fn named(written: &str) -> Result<(String, String), String> {
    match written.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
            Ok((name.to_owned(), command.to_owned()))
        }
        _ => Err("it takes NAME=COMMAND, as in 'language=torchrun train.py'".to_owned()),
    }
}
