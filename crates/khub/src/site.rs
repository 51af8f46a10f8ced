//! `khub site`: the process beside a site's machines.

use crate::failure::Failure;
use crate::folder::token_in;
use ::site::{
    Batches, Container, ExchangeConfig, Programs, Rates, Site, SiteConfig, SiteError, SlurmConfig, Source,
};
use api::Client;
use consortium::PersonId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Run a site: fetch its orders from the hub, run its jobs, read its meter.
///
/// It needs no inbound port: it asks the hub, and is never dialled unless it serves other sites of its jobs.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub site --hub https://hub.example.kr --credential site.token --folder /srv/khub-site\n  \
    khub site ... --program 'language=torchrun --nproc-per-node 8 train.py'\n  \
    khub site ... --attach language\n  \
    khub site ... --own folding=/srv/structures\n  \
    khub site ... --serve 0.0.0.0:7443 --reach seoul.example.kr --rate 200 --rate hub=50\n  \
    khub site ... --slurm --slurm-rest http://localhost:6820 --users users.toml"
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
    /// The folder of this site's own data for a program; may be given several times.
    ///
    /// Jobs that ask for it train on these data where they are: they never leave the site. The program finds the
    /// folder in KHUB_OWN_DATA.
    #[arg(long, value_name = "NAME=DIR", value_parser = folder_of)]
    own: Vec<(String, PathBuf)>,
    /// GPUs of this machine, which batch jobs share.
    #[arg(long, default_value_t = 0, conflicts_with = "slurm")]
    gpus: u32,
    /// Run batch jobs on Slurm, by its commands; SLURM_CONF says which, if there are several.
    #[arg(long)]
    slurm: bool,
    /// Run batch jobs on Slurm through slurmrestd at this address.
    #[arg(long, value_name = "URL", requires = "slurm")]
    slurm_rest: Option<String>,
    /// Slurm's partition, if not the default one.
    #[arg(long, value_name = "NAME", requires = "slurm")]
    partition: Option<String>,
    /// What runs containers here; looked for by default.
    #[arg(long, value_enum, value_name = "NAME")]
    containers: Option<Containers>,
    /// Who has which name at this site, as TOML: a line `minji = "kmj"` for each person.
    ///
    /// Without it, people have their own names on Slurm; and on a machine of its own, batch jobs run as whoever runs
    /// this process.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Hand what its jobs' sites share to the other sites directly, at this address of the machine.
    ///
    /// Over TLS, with certificates that the hub tells the sites of a job of each other. Whatever no site hands out comes
    /// from the hub, so this spares the hub's link and is never needed.
    #[arg(long, value_name = "ADDRESS:PORT")]
    serve: Option<SocketAddr>,
    /// The name or address, and perhaps the port, by which other sites reach that; it is the address by default.
    #[arg(long, value_name = "HOST[:PORT]", requires = "serve")]
    reach: Option<String>,
    /// Use links no faster than so many Mbit/s each way: that to every other site, or with a name that to one site or to
    /// the `hub`; may be given several times.
    #[arg(long, value_name = "[NAME=]MBIT", value_parser = rate)]
    rate: Vec<(Option<String>, f64)>,
    /// Stop when standard input ends: whoever started this process then takes it along.
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Containers {
    Apptainer,
    Singularity,
    Enroot,
    None,
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
    programs.data.extend(args.own);
    let slurm = args.slurm.then(|| SlurmConfig {
        rest: args.slurm_rest.clone(),
        partition: args.partition.clone(),
    });
    let batches = Batches {
        slurm,
        gpus: args.gpus,
        users: args.users.as_deref().map(users).transpose()?,
        containers: match args.containers {
            None => Container::found(),
            Some(Containers::Apptainer) => Some(Container::Apptainer),
            Some(Containers::Singularity) => Some(Container::Singularity),
            Some(Containers::Enroot) => Some(Container::Enroot),
            Some(Containers::None) => None,
        },
    };
    let exchange = ExchangeConfig {
        serve: args.serve,
        reach: args.reach,
        rates: rates(args.rate)?,
    };
    let site = Site::new(SiteConfig {
        client,
        folder: args.folder,
        programs,
        threads: args.threads,
        batches,
        exchange,
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

fn users(path: &Path) -> Result<BTreeMap<PersonId, String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::unread(path, &e))?;
    toml::from_str(&text).map_err(|e| Failure::file(path, e.to_string().trim_end()))
}

fn rate(written: &str) -> Result<(Option<String>, f64), String> {
    let (name, mbit) = match written.split_once('=') {
        Some((name, mbit)) => (Some(name.to_owned()), mbit),
        None => (None, written),
    };
    match mbit.parse() {
        Ok(mbit) if mbit > 0.0 && f64::is_finite(mbit) => Ok((name, mbit)),
        _ => Err("it takes Mbit/s, as in 200 or hub=50 or busan-1=20".to_owned()),
    }
}

fn rates(given: Vec<(Option<String>, f64)>) -> Result<Rates, Failure> {
    let mut rates = Rates::default();
    for (name, mbit) in given {
        let rate = mbit * 1e6;
        match name.as_deref() {
            None => rates.others = Some(rate),
            Some("hub") => rates.hub = Some(rate),
            Some(name) => {
                let site = name.parse().map_err(|error| {
                    Failure::new(format_args!("--rate {name}={mbit}: {error}")).hint("name a site, or hub")
                })?;
                rates.sites.insert(site, rate);
            }
        }
    }
    Ok(rates)
}

fn named(written: &str) -> Result<(String, String), String> {
    match written.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
            Ok((name.to_owned(), command.to_owned()))
        }
        _ => Err("it takes NAME=COMMAND, as in 'language=torchrun train.py'".to_owned()),
    }
}

fn folder_of(written: &str) -> Result<(String, PathBuf), String> {
    match written.split_once('=') {
        Some((name, folder)) if !name.is_empty() && Path::new(folder).is_dir() => {
            // A program has a working folder of its own.
            let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
            Ok((name.to_owned(), folder))
        }
        Some((name, folder)) if !name.is_empty() => Err(format!("there is no folder {folder}")),
        _ => Err("it takes NAME=DIR, as in folding=/srv/structures".to_owned()),
    }
}
