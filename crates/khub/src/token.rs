//! `khub token new` and `khub token revoke`.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use consortium::{Actor, Holder, Scope};

/// Make and revoke tokens.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    New(New),
    Revoke(Revoke),
}

/// Make a token that speaks for you, and print it: the hub keeps its digest alone and can't show it again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub token new --days 30\n  HF_TOKEN=$(khub token new --days 1 --read-only)"
)]
struct New {
    /// After how many days it expires.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// It can't change anything.
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Make a token worthless: one of your own, or for the office anyone's.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub token revoke khub_3f2a...")]
struct Revoke {
    /// The token to revoke.
    which: String,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::New(args) => {
            let client = args.connect.client()?;
            let holder = match client.me()?.actor {
                Actor::Person(person) => Holder::Person(person),
                Actor::Site(site) => Holder::Site(site),
                Actor::Hub => return Err(Failure::new("the hub itself has no token")),
            };
            let scope = if args.read_only { Scope::Read } else { Scope::Full };
            let issued = client.issue_limited(holder, Some(args.days), scope)?;
            show::print(&format!("{}\n", issued.token));
        }
        Command::Revoke(args) => {
            args.connect.client()?.revoke(args.which.trim())?;
            show::print("revoked\n");
        }
    }
    Ok(())
}
