//! `khub ledger verify` and `khub ledger show`.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::folder::Data;
use crate::show;
use api::PostingView;
use consortium::{Account, Amount, FlopSeconds, JobId, Won};
use store::{Place, Reader, Verified};

/// Look at the ledger.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Verify(Verify),
    Show(Show),
}

/// Check the whole log of a data folder: every record's hash, and that the postings balance.
///
/// Reads the folder itself and needs no hub; one may be running.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub ledger verify --folder khub-data")]
struct Verify {
    #[command(flatten)]
    data: Data,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Show a job's postings, or what every account holds.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub ledger show job-1\n  khub ledger show --as office")]
struct Show {
    /// Which job; without one, every account (for the office and auditors).
    job: Option<JobId>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Verify(args) => {
            let verified = verify(args.data.log())?;
            if args.json {
                let (records, postings, head) = (verified.records, verified.postings, verified.head);
                return show::json(
                    &serde_json::json!({ "records": records, "postings": postings, "head": head }),
                );
            }
            show::print(&format!("{}\n", in_words(&verified)));
            Ok(())
        }
        Command::Show(args) => show(args),
    }
}

/// Checks the whole log at `place`.
pub(crate) fn verify(place: impl Into<Place>) -> Result<Verified, Failure> {
    Ok(Reader::open(place)?.verify()?)
}

pub(crate) fn in_words(verified: &Verified) -> String {
    format!(
        "the ledger balances: {} records, every hash as chained; {} postings sum to zero; head {}",
        verified.records, verified.postings, verified.head
    )
}

fn show(args: &Show) -> Result<(), Failure> {
    let client = args.connect.client()?;
    let Some(job) = args.job else {
        let ledger = client.ledger()?;
        if args.json {
            return show::json(&ledger);
        }
        let row = |(account, balance): &(Account, Amount)| {
            vec![
                account.to_string(),
                balance.won.to_string(),
                balance.compute.pflop_hours(),
            ]
        };
        let rows: Vec<Vec<String>> = ledger.accounts.iter().map(row).collect();
        show::print(&show::table(&["account", "won", "PFLOP-hours"], &rows));
        return Ok(());
    };
    let postings = client.postings(job)?;
    if args.json {
        return show::json(&postings);
    }
    show::print(&postings_in_words(&postings));
    Ok(())
}

/// What came into each account and went out of it, with the number of postings: a long job has thousands.
pub(crate) fn postings_in_words(postings: &[PostingView]) -> String {
    let mut accounts: Vec<(String, Movement)> = Vec::new();
    for posting in postings {
        let account = posting.account.to_string();
        let i = accounts
            .iter()
            .position(|(name, _)| *name == account)
            .unwrap_or_else(|| {
                accounts.push((account, Movement::default()));
                accounts.len() - 1
            });
        accounts[i].1.add(posting);
    }
    let row = |(account, moved): &(String, Movement)| {
        let Movement {
            postings,
            into,
            out,
            compute,
        } = moved;
        vec![
            account.clone(),
            postings.to_string(),
            into.0.to_string(),
            out.0.to_string(),
            (*into - *out).0.to_string(),
            compute.pflop_hours(),
        ]
    };
    let rows: Vec<Vec<String>> = accounts.iter().map(row).collect();
    show::table(
        &["account", "postings", "won in", "won out", "won", "PFLOP-hours"],
        &rows,
    )
}

/// What moved through one account.
#[derive(Default)]
struct Movement {
    postings: usize,
    into: Won,
    out: Won,
    compute: FlopSeconds,
}

impl Movement {
    fn add(&mut self, posting: &PostingView) {
        self.postings += 1;
        self.compute += posting.compute;
        if posting.won < Won(0) {
            self.out += -posting.won;
        } else {
            self.into += posting.won;
        }
    }
}
