//! `khub offers` and `khub gpus`: what sites' owners ask, and how fast a GPU of each sort is taken to be.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::{OfferView, RatingView};
use consortium::{Asking, Day, Factor, FlopsPerSecond, NewOffer, Price, SiteId, Won};

/// Look at a site's offers, and take another.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Take(Take),
}

/// List a site's offers: what its owner asked, and since when; the last is in force.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub offers list hangang-1")]
struct List {
    /// Whose.
    site: SiteId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Take another offer of a site's owner. Jobs that are placed from now on are paid at its price.
///
/// The price is in the unit of the contract. If the site's sort of GPU is rated (`khub gpus`), so is the site from now on.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub offers take hangang-1 --gpu-hour 3000 --ground 'contract 7' --as office\n  \
    khub offers take hangang-1 --pflops-month 12500000 --gpus 128 --ground 'the list of 2024' --as office"
)]
struct Take {
    /// Whose.
    site: SiteId,
    #[command(flatten)]
    asking: Asked,
    /// Won that a PFLOP-hour costs the consortium more than the same machines idle; all of the price if not given.
    #[arg(long, value_name = "WON")]
    marginal: Option<i64>,
    /// How many GPUs jobs may share from now on.
    #[arg(long)]
    gpus: Option<u32>,
    /// What the offer rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Asked {
    /// Won for one GPU, held for an hour.
    #[arg(long, value_name = "WON")]
    gpu_hour: Option<i64>,
    /// Won for 10^15 FLOP/s, held for an hour.
    #[arg(long, value_name = "WON")]
    pflop_hour: Option<i64>,
    /// Won for 10^15 FLOP/s, held for a month of 730 hours.
    #[arg(long, value_name = "WON")]
    pflops_month: Option<i64>,
}

impl Asked {
    fn asking(&self) -> Option<Asking> {
        let asked = [
            self.gpu_hour.map(|won| Asking::GpuHour(Won(won))),
            self.pflop_hour.map(|won| Asking::PflopHour(Won(won))),
            self.pflops_month.map(|won| Asking::PflopsMonth(Won(won))),
        ];
        asked.into_iter().flatten().next()
    }
}

/// How fast a GPU of each sort is taken to be.
#[derive(clap::Args)]
pub(crate) struct Gpus {
    #[command(subcommand)]
    command: GpusCommand,
}

#[derive(clap::Subcommand)]
enum GpusCommand {
    List(ListGpus),
    Rate(Rate),
}

/// List the sorts of GPUs that are rated.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub gpus list")]
struct ListGpus {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Say how fast a GPU of one sort is taken to be. Sites are rated by it with their next offer.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub gpus rate a100 --tflops 312 --ground 'bf16, its data sheet' --as office"
)]
struct Rate {
    /// Which sort, in the words of jobs and sites.
    gpu: String,
    /// What one is rated at, 10^12 FLOP/s.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    tflops: u64,
    /// What that rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

const TERA: u64 = 1_000_000_000_000;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Take(args) => take(args),
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let offers = args.connect.client()?.offers(&args.site)?;
    let row = |it: &OfferView| {
        vec![
            it.version.to_string(),
            Day::of(it.since).to_string(),
            it.terms.asking.to_string(),
            it.terms.price.0.to_string(),
            it.terms
                .marginal
                .map_or_else(String::new, |price| price.0.to_string()),
            it.terms.gpus.to_string(),
            gflops(it.terms.rated),
            it.ground.clone().unwrap_or_default(),
        ]
    };
    let head = [
        "offer",
        "since",
        "asked",
        "won/PFLOP-hour",
        "marginal",
        "GPUs",
        "GFLOP/s",
        "ground",
    ];
    show::told(&offers, args.json, |offers| {
        let rows: Vec<Vec<String>> = offers.iter().map(row).collect();
        show::table(&head, &rows)
    })
}

fn take(args: &Take) -> Result<(), Failure> {
    let asking = args.asking.asking();
    let offer = NewOffer {
        asking: asking.ok_or_else(|| Failure::new("no price is given"))?,
        marginal: args.marginal.map(Price),
        gpus: args.gpus,
        ground: args.ground.clone(),
    };
    let client = args.connect.client()?;
    client.take_offer(&args.site, &offer)?;
    if let Some(now) = client.offers(&args.site)?.last() {
        show::print(&format!(
            "{}: offer {}, {}, which is {} won a PFLOP-hour; {} GPUs, {} GFLOP/s\n",
            args.site,
            now.version,
            now.terms.asking,
            now.terms.price.0,
            now.terms.gpus,
            gflops(now.terms.rated)
        ));
    }
    Ok(())
}

pub(crate) fn gpus(args: &Gpus) -> Result<(), Failure> {
    match &args.command {
        GpusCommand::List(args) => list_gpus(args),
        GpusCommand::Rate(args) => rate(args),
    }
}

fn list_gpus(args: &ListGpus) -> Result<(), Failure> {
    let gpus = args.connect.client()?.gpus()?;
    let row = |it: &RatingView| {
        let since = Day::of(it.since).to_string();
        vec![
            it.gpu.clone(),
            tflops(it.rated),
            since,
            it.ground.clone().unwrap_or_default(),
        ]
    };
    show::told(&gpus, args.json, |gpus| {
        let rows: Vec<Vec<String>> = gpus.iter().map(row).collect();
        show::table(&["GPU", "TFLOP/s", "since", "ground"], &rows)
    })
}

fn rate(args: &Rate) -> Result<(), Failure> {
    let factor = Factor {
        gpu: args.gpu.clone(),
        rated: FlopsPerSecond(args.tflops * TERA),
        ground: args.ground.clone(),
    };
    args.connect.client()?.rate(&factor)?;
    show::print(&format!("{} is rated at {} TFLOP/s\n", args.gpu, args.tflops));
    Ok(())
}

fn gflops(rated: FlopsPerSecond) -> String {
    (rated.0 / 1_000_000_000).to_string()
}

fn tflops(rated: FlopsPerSecond) -> String {
    (rated.0 / TERA).to_string()
}
