//! `khub reviews`: what the bearer was asked to review, and asking others.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::proposals::{said, tell};
use crate::show;
use api::ReviewView;
use consortium::{OrganisationId, PersonId, ProposalId};
use std::path::PathBuf;

/// Review proposals, and ask for reviews.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Ask(Ask),
    Declare(Declare),
    Give(Give),
}

/// List what you were asked to review, with what comes next.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub reviews list")]
struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Ask somebody for a review, once the call is closed. Whoever has a conflict that is known can't be asked.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub reviews ask gaon-university/morphemes --reviewer sora --as office")]
struct Ask {
    /// Of which proposal: ORGANISATION/NAME.
    proposal: ProposalId,
    /// Whom.
    #[arg(long, value_name = "PERSON")]
    reviewer: PersonId,
    #[command(flatten)]
    connect: Connect,
}

/// Say whether you have a conflict with a proposal. With one you have no more to do with it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub reviews declare gaon-university/morphemes --none\n  \
    khub reviews declare gaon-university/morphemes --conflict 'my former student leads it'"
)]
#[group(id = "whether", required = true, args = ["none", "conflict"])]
struct Declare {
    /// With which proposal: ORGANISATION/NAME.
    proposal: ProposalId,
    /// There is none; then you may read the proposal.
    #[arg(long)]
    none: bool,
    /// There is this one.
    #[arg(long, value_name = "WHICH")]
    conflict: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Hand a review in; again, it takes the place of the one before, until the proposal is judged.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub reviews give gaon-university/morphemes --score 4 --text 'Sound, and the data is there.'\n  \
    khub reviews give gaon-university/morphemes --score 2 --file review.txt"
)]
#[group(id = "why", required = true, args = ["text", "file"])]
struct Give {
    /// Of which proposal: ORGANISATION/NAME.
    proposal: ProposalId,
    /// From 1, not to be awarded, to 5, to be awarded before others.
    #[arg(long)]
    score: u8,
    /// Why. The proposal's people read it after the judgement, without your name.
    #[arg(long)]
    text: Option<String>,
    /// The same in a file.
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Ask(args) => {
            let client = args.connect.client()?;
            client.ask_review(&args.proposal, &args.reviewer)?;
            tell(&client, &args.proposal)
        }
        Command::Declare(args) => {
            let client = args.connect.client()?;
            client.declare(&args.proposal, args.conflict.as_deref())?;
            match args.none {
                true => tell(&client, &args.proposal),
                false => {
                    show::print(&format!("you have no more to do with {}\n", args.proposal));
                    Ok(())
                }
            }
        }
        Command::Give(args) => {
            let text = match (&args.text, &args.file) {
                (Some(text), _) => text.clone(),
                (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| Failure::unread(file, &e))?,
                (None, None) => String::new(),
            };
            let client = args.connect.client()?;
            client.review(&args.proposal, args.score, &text)?;
            tell(&client, &args.proposal)
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let reviews = args.connect.client()?.reviews()?;
    let row = |view: &ReviewView| {
        let people: Vec<&str> = view.people.iter().map(PersonId::as_str).collect();
        let of: Vec<&str> = view.organisations.iter().map(OrganisationId::as_str).collect();
        vec![
            view.proposal.to_string(),
            view.title.clone().unwrap_or_default(),
            people.join(", "),
            of.join(", "),
            said(&view.own).0.to_owned(),
            view.step.to_string(),
        ]
    };
    let head = ["proposal", "title", "people", "organisations", "you are", "next"];
    show::told(&reviews, args.json, |all| {
        show::table(&head, &all.iter().map(row).collect::<Vec<_>>())
    })
}
