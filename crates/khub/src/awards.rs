//! `khub awards`: what projects were given, where it is, and what becomes of what they don't use.

use crate::budget;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::{AwardView, Client};
use consortium::{Amount, Award, AwardCommand, AwardId, AwardStep, Budget, Day, ProjectId};

/// Look at awards, change them, and take back what isn't used.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Grant(Grant),
    Amend(Amend),
    Extend(Extend),
    Close(Grounded),
    Notice(GiveNotice),
    DropNotice(Grounded),
    Appeal(Grounded),
    Answer(Answer),
}

/// List the awards of your projects, or all for the office: what is used, set aside and left.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub awards list\n  khub awards list --project korean-reviews --json")]
struct List {
    /// Only those of one project.
    #[arg(long)]
    project: Option<ProjectId>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Print an award: where its money and compute are, its budget by year, and what comes next.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub awards show korean-reviews-2021")]
struct Show {
    /// Which.
    award: AwardId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Give money and compute to a project at once, without a call.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub awards grant reviews-more --project korean-reviews --won 1000000 --pflop-hours 2 --as office"
)]
struct Grant {
    /// The award's name.
    award: AwardId,
    /// To which project.
    #[arg(long)]
    project: ProjectId,
    #[command(flatten)]
    much: Much,
    #[command(flatten)]
    connect: Connect,
}

/// So much money and compute.
#[derive(clap::Args)]
struct Much {
    /// Money.
    #[arg(long, default_value_t = 0)]
    won: i64,
    /// Compute.
    #[arg(long, default_value_t = 0)]
    pflop_hours: i64,
}

/// Give an award another budget. A year that was given already is corrected at once.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub awards amend morphemes --year 2026=30000000:15 --year 2027=10000000:5 \\\n    \
    --ground 'letter of 3 May' --as office"
)]
struct Amend {
    /// What it gets in a fiscal year, as YEAR=WON:PFLOP-HOURS; all years, also those that stay as they are.
    #[arg(long = "year", value_name = "PART", value_parser = budget::part, required = true)]
    years: Vec<(u16, Amount)>,
    #[command(flatten)]
    of: Grounded,
}

/// Let an award end later.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub awards extend morphemes --until 2027-06-30 --ground 'letter of 3 May' --as office"
)]
struct Extend {
    /// Its last day, in Korea.
    #[arg(long, value_name = "DAY")]
    until: Day,
    #[command(flatten)]
    of: Grounded,
}

/// Announce that what an award doesn't use will be taken back, two weeks ahead at least.
///
/// Until then its people may use it, or appeal. What is taken back goes to those who wait in its programme, the first
/// first, and the rest to the pool.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub awards notice morphemes --won 10000000 --until 2026-10-30 \\\n    \
    --ground 'unused since May' --as office"
)]
struct GiveNotice {
    #[command(flatten)]
    much: Much,
    /// On the evening of this day it is taken back.
    #[arg(long, value_name = "DAY")]
    until: Day,
    #[command(flatten)]
    of: Grounded,
}

/// Decide on an appeal. Whoever gave the notice can't.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub awards answer morphemes --dismiss --ground 'the outage took a day' --as office"
)]
#[group(id = "decision", required = true, args = ["uphold", "dismiss"])]
struct Answer {
    /// The notice is void.
    #[arg(long)]
    uphold: bool,
    /// It will be taken back.
    #[arg(long)]
    dismiss: bool,
    #[command(flatten)]
    of: Grounded,
}

/// Of which award, and what that rests on.
#[derive(clap::Args)]
struct Grounded {
    /// Which.
    award: AwardId,
    /// What that rests on: a letter, a decision, an outage.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => {
            let view = args.connect.client()?.award(&args.award)?;
            show::told(&view, args.json, in_words)
        }
        Command::Grant(args) => {
            let amount = args.much.amount();
            let client = args.connect.client()?;
            client.grant(&Award {
                id: args.award.clone(),
                project: args.project.clone(),
                won: amount.won,
                compute: amount.compute,
            })?;
            tell(&client, &args.award)
        }
        Command::Amend(args) => args.of.change(|ground| AwardCommand::Amend {
            budget: Budget::from_iter(args.years.iter().copied()),
            ground,
        }),
        Command::Extend(args) => args.of.change(|ground| AwardCommand::Extend {
            ends: args.until.ends(),
            ground,
        }),
        Command::Close(args) => args.change(|ground| AwardCommand::Close { ground }),
        Command::Notice(args) => args.of.change(|ground| AwardCommand::GiveNotice {
            amount: args.much.amount(),
            until: args.until.ends(),
            ground,
        }),
        Command::DropNotice(args) => args.change(|ground| AwardCommand::DropNotice { ground }),
        Command::Appeal(args) => args.change(|ground| AwardCommand::Appeal { ground }),
        Command::Answer(args) => args.of.change(|ground| AwardCommand::AnswerAppeal {
            upheld: args.uphold,
            ground,
        }),
    }
}

impl Much {
    fn amount(&self) -> Amount {
        budget::amount(self.won, self.pflop_hours)
    }
}

impl Grounded {
    /// Asks for what `make` makes of the ground, and says how the award stands then.
    fn change(&self, make: impl FnOnce(String) -> AwardCommand) -> Result<(), Failure> {
        let client = self.connect.client()?;
        client.change_award(&self.award, &make(self.ground.clone()))?;
        tell(&client, &self.award)
    }
}

fn tell(client: &Client, id: &AwardId) -> Result<(), Failure> {
    let view = client.award(id)?;
    let left = budget::both(view.holdings.left);
    show::print(&format!("{id} has {left} left\n{}", next(&view)));
    Ok(())
}

fn list(args: &List) -> Result<(), Failure> {
    let awards = args.connect.client()?.awards(args.project.as_ref())?;
    let row = |view: &AwardView| {
        let it = &view.holdings;
        let mut row = vec![view.award.id.to_string(), view.award.project.to_string()];
        row.extend([it.given, it.used, it.held, it.left].map(budget::both));
        row.push(view.step.to_string());
        row
    };
    let head = ["award", "project", "given", "used", "set aside", "left", "next"];
    show::told(&awards, args.json, |all| {
        show::table(&head, &all.iter().map(row).collect::<Vec<_>>())
    })
}

fn next(view: &AwardView) -> String {
    let command = command(view).map(|command| format!(": {command}"));
    format!("next: {}{}\n", view.step, command.unwrap_or_default())
}

/// How what comes next is done; none if there is nothing to do but wait.
pub(crate) fn command(view: &AwardView) -> Option<String> {
    let id = &view.award.id;
    match view.step {
        AwardStep::Appeal { .. } => Some(format!("khub awards appeal {id} --ground WHY")),
        AwardStep::AnswerAppeal => Some(format!(
            "khub awards answer {id} --uphold or --dismiss --ground WHY"
        )),
        AwardStep::Spend { .. } => Some(format!("khub submit FILE --project {}", view.award.project)),
        AwardStep::Await | AwardStep::AwaitAnswer | AwardStep::TakenBack { .. } | AwardStep::Nothing => None,
    }
}

fn in_words(view: &AwardView) -> String {
    let (award, it, course) = (&view.award, &view.holdings, &view.course);
    let of = |name: &str, amount: Amount| {
        vec![
            name.to_owned(),
            amount.won.to_string(),
            bar(amount.won.0.into(), it.given.won.0.into()),
            budget::hours(amount.compute),
            bar(amount.compute.0, it.given.compute.0),
        ]
    };
    let rows = [
        of("given", it.given),
        of("used", it.used),
        of("set aside", it.held),
        of("taken, idle", it.reduced),
        of("left", it.left),
    ];
    let given: Budget = course
        .budget
        .iter()
        .filter(|(year, _)| course.given.contains(year))
        .map(|(year, amount)| (*year, *amount))
        .collect();
    let mut text = format!(
        "{} of project {}, programme {}\n\n{}",
        award.id,
        award.project,
        view.programme,
        show::table(&["", "won", "", "PFLOP-h", ""], &rows),
    );
    if !course.budget.is_empty() {
        text += "\n";
        text += &budget::table(&[("budget", &course.budget), ("given", &given)]);
    }
    if let Some(proposal) = &course.proposal {
        text += &format!("\nfor proposal {proposal}\n");
    }
    if let Some(notice) = &course.notice {
        text += &format!(
            "\nnotice by {}: {} is taken back on {}, if it isn't used: {}\n",
            notice.by,
            budget::both(notice.amount),
            budget::day(notice.until),
            notice.ground
        );
        if let Some(appeal) = &notice.appeal {
            let dismissed = if appeal.dismissed { ", dismissed" } else { "" };
            text += &format!("appeal by {}{dismissed}: {}\n", appeal.by, appeal.ground);
        }
    }
    text + "\n" + &next(view)
}

/// A part of a whole, in twentieths.
fn bar(part: i128, whole: i128) -> String {
    let twentieths = if whole > 0 {
        part.saturating_mul(20) / whole
    } else {
        0
    };
    "#".repeat(usize::try_from(twentieths.clamp(0, 20)).unwrap_or(0))
}
