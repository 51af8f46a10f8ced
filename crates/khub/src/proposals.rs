//! `khub proposals`: what organisations would do in answer to a call, and what comes of it.

use crate::artifact::word;
use crate::budget;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::form::Form;
use crate::show;
use api::{Client, ProposalView, WhichProposals};
use consortium::{
    Amount, AwardId, Budget, CallId, Day, Judgement, PersonId, ProjectId, Proposal, ProposalId, Reviewer,
    Stage, Step,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Propose projects, and decide on what was proposed.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Propose(Propose),
    Withdraw(Withdraw),
    Award(Award),
    Wait(Wait),
    Decline(Decline),
}

/// List the proposals that you may read, each with what comes next for you.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub proposals list --mine\n  khub proposals list --call language-2026 --stage in-review --as office"
)]
struct List {
    /// Only those to one call.
    #[arg(long)]
    call: Option<CallId>,
    /// Only those that are: proposed, in-review, awarded, waiting, declined or withdrawn.
    #[arg(long, value_parser = word::<Stage>)]
    stage: Option<Stage>,
    /// Only your own.
    #[arg(long)]
    mine: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Print a proposal: its text, its budget, what its reviews say and what was decided, as far as you may know.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub proposals show gaon-university/morphemes")]
struct Show {
    /// Which: ORGANISATION/NAME.
    proposal: ProposalId,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Propose what a file says; again under the same name, it takes the place of what was there.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub proposals propose --example > proposal.toml\n  khub proposals propose proposal.toml"
)]
struct Propose {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    connect: Connect,
}

/// Take a proposal of yours back. Its name is free again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub proposals withdraw gaon-university/morphemes")]
struct Withdraw {
    /// Which: ORGANISATION/NAME.
    proposal: ProposalId,
    #[command(flatten)]
    connect: Connect,
}

/// Give a proposal an award, and open its project if it isn't there. Without more it gets what it asks for.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub proposals award gaon-university/morphemes --ground 'panel of 6 March' --as office\n  \
    khub proposals award gaon-university/morphemes --year 2026=30000000:15 --ends 2026-12-31 \\\n    \
    --ground 'panel of 6 March, less for data' --as office"
)]
struct Award {
    /// What it gets in a fiscal year, as YEAR=WON:PFLOP-HOURS; may be given several times.
    #[arg(long = "year", value_name = "PART", value_parser = budget::part)]
    years: Vec<(u16, Amount)>,
    #[command(flatten)]
    to: To,
}

/// Put a proposal on the waiting list: it gets what others of its programme don't use, the first first.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub proposals wait gaon-university/morphemes --won 10000000 --pflop-hours 5 \\\n    \
    --ground 'panel of 6 March' --as office"
)]
struct Wait {
    /// For so much money it waits.
    #[arg(long, default_value_t = 0)]
    won: i64,
    /// And for so much compute.
    #[arg(long, default_value_t = 0)]
    pflop_hours: i64,
    #[command(flatten)]
    to: To,
}

/// What is decided, of which proposal, and why.
#[derive(clap::Args)]
struct To {
    /// Which: ORGANISATION/NAME.
    proposal: ProposalId,
    /// The award's name; else the proposal's.
    #[arg(long, value_name = "NAME")]
    award: Option<AwardId>,
    /// The project that gets it; else one of the proposal's name.
    #[arg(long)]
    project: Option<ProjectId>,
    /// The award's last day; else the last of the last year.
    #[arg(long, value_name = "DAY")]
    ends: Option<Day>,
    /// Why; the proposal's people read it.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// Decide that a proposal gets nothing.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub proposals decline gaon-university/morphemes --ground 'panel of 6 March: no data' --as office"
)]
struct Decline {
    /// Which: ORGANISATION/NAME.
    proposal: ProposalId,
    /// Why; the proposal's people read it.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

const EXAMPLE: &str = include_str!("../proposal.toml");

/// A proposal as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: ProposalId,
    call: CallId,
    title: String,
    text: String,
    people: BTreeSet<PersonId>,
    #[serde(default)]
    budget: BTreeMap<String, budget::Part>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => {
            let view = args.connect.client()?.proposal(&args.proposal)?;
            show::told(&view, args.json, in_words)
        }
        Command::Propose(args) => propose(args),
        Command::Withdraw(args) => {
            let client = args.connect.client()?;
            client.withdraw(&args.proposal)?;
            tell(&client, &args.proposal)
        }
        Command::Award(args) => award(args),
        Command::Wait(args) => {
            let wanted = budget::amount(args.won, args.pflop_hours);
            args.to.judge(|to, _| Judgement::Wait {
                award: to.0,
                project: to.1,
                wanted,
                ends: to.2.ends(),
            })
        }
        Command::Decline(args) => {
            let client = args.connect.client()?;
            client.judge(&args.proposal, &Judgement::Decline, &args.ground)?;
            tell(&client, &args.proposal)
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let which = WhichProposals {
        call: args.call.clone(),
        stage: args.stage,
        mine: args.mine,
    };
    let proposals = args.connect.client()?.proposals(&which)?;
    let row = |view: &ProposalView| {
        let proposal = &view.proposal;
        vec![
            proposal.id.to_string(),
            proposal.title.clone(),
            proposal.call.to_string(),
            budget::both(budget::whole(&proposal.budget)),
            view.stage.to_string(),
            view.step.to_string(),
        ]
    };
    let head = ["proposal", "title", "call", "asks for", "stage", "next"];
    show::told(&proposals, args.json, |all| {
        show::table(&head, &all.iter().map(row).collect::<Vec<_>>())
    })
}

fn propose(args: &Propose) -> Result<(), Failure> {
    let Some(proposal) = args.form.filled(EXAMPLE, read)? else {
        return Ok(());
    };
    let client = args.connect.client()?;
    client.propose(&proposal)?;
    tell(&client, &proposal.id)
}

fn read(text: &str) -> Result<Proposal, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    Ok(Proposal {
        id: file.id,
        call: file.call,
        title: file.title,
        text: file.text.trim().to_owned(),
        people: file.people,
        budget: budget::of_parts(file.budget)?,
    })
}

fn award(args: &Award) -> Result<(), Failure> {
    let years = Budget::from_iter(args.years.iter().copied());
    args.to.judge(|(award, project, ends), asked| Judgement::Award {
        award,
        project,
        budget: if years.is_empty() {
            asked.clone()
        } else {
            years.clone()
        },
        ends: ends.ends(),
    })
}

impl To {
    /// Decides what `make` makes of the award's name, its project, its last day and what the proposal asks for.
    fn judge(
        &self,
        make: impl FnOnce((AwardId, ProjectId, Day), &Budget) -> Judgement,
    ) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let asked = client.proposal(&self.proposal)?.proposal.budget;
        let name = &self.proposal.name;
        let award = match &self.award {
            Some(award) => award.clone(),
            None => name.as_str().parse()?,
        };
        let nothing = || {
            Failure::new("the proposal asks for no year, so its award has no last one")
                .hint("say when it ends with --ends")
        };
        let ends = self
            .ends
            .or_else(|| budget::last_day(&asked))
            .ok_or_else(nothing)?;
        let project = self.project.clone().unwrap_or_else(|| name.clone());
        let judgement = make((award, project, ends), &asked);
        client.judge(&self.proposal, &judgement, &self.ground)?;
        tell(&client, &self.proposal)
    }
}

/// Says how far a proposal is now, and what comes next.
pub(crate) fn tell(client: &Client, id: &ProposalId) -> Result<(), Failure> {
    let view = client.proposal(id)?;
    show::print(&format!("{id} is {}\n{}", view.stage, next(id, &view.step)));
    Ok(())
}

/// What comes next, with the command for it.
pub(crate) fn next(id: &ProposalId, step: &Step) -> String {
    let command = command(id, step).map(|command| format!(": {command}"));
    format!("next: {step}{}\n", command.unwrap_or_default())
}

/// How it is done; none if there is nothing to do but wait.
pub(crate) fn command(id: &ProposalId, step: &Step) -> Option<String> {
    Some(match step {
        Step::Revise { .. } => "khub proposals propose FILE".to_owned(),
        Step::AskReviewers { .. } => format!("khub reviews ask {id} --reviewer PERSON"),
        Step::Declare => format!("khub reviews declare {id} --none, or --conflict WHICH"),
        Step::Review => {
            format!("khub proposals show {id}, then khub reviews give {id} --score 1 to 5 --text WHY")
        }
        Step::Judge => format!("khub proposals award {id}, or wait, or decline"),
        Step::Spend { award, .. } => format!("khub awards show {award}"),
        Step::AwaitClosing { .. }
        | Step::AwaitReviews { .. }
        | Step::AwaitJudgement
        | Step::AwaitTurn { .. }
        | Step::Nothing => return None,
    })
}

fn in_words(view: &ProposalView) -> String {
    let proposal = &view.proposal;
    let people: Vec<&str> = proposal.people.iter().map(PersonId::as_str).collect();
    let mut text = format!(
        "{}: {}\nto call {}, by {}; {}\n\n{}\n\n{}",
        proposal.id,
        proposal.title,
        proposal.call,
        people.join(", "),
        view.stage,
        proposal.text,
        budget::table(&[("asks for", &proposal.budget)]),
    );
    if !view.reviewers.is_empty() {
        let row = |(person, it): (&PersonId, &Reviewer)| {
            let (state, more) = said(it);
            vec![person.to_string(), state.to_owned(), more]
        };
        let rows: Vec<Vec<String>> = view.reviewers.iter().map(row).collect();
        text += &format!("\n{}", show::table(&["reviewer", "is", "says"], &rows));
    } else if !view.reviews.is_empty() {
        let row = |it: &api::Opinion| vec![it.score.to_string(), it.text.clone()];
        let rows: Vec<Vec<String>> = view.reviews.iter().map(row).collect();
        text += &format!("\n{}", show::table(&["score", "review"], &rows));
    }
    if let Some(judged) = &view.judged {
        text += &format!(
            "\njudged on {} by {}: {}\n",
            budget::day(judged.at),
            judged.by,
            judged.ground
        );
    }
    text + "\n" + &next(&proposal.id, &view.step)
}

/// How far somebody is with a review, and what they have said.
pub(crate) fn said(reviewer: &Reviewer) -> (&'static str, String) {
    match reviewer {
        Reviewer::Asked => ("asked", String::new()),
        Reviewer::Free => ("without conflict", String::new()),
        Reviewer::Conflicted { conflict } => ("in conflict", conflict.clone()),
        Reviewer::Reviewed(review) => ("done", format!("score {}: {}", review.score, review.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_proposal_and_what_is_wrong_is_told() {
        let proposal = read(EXAMPLE).unwrap();
        assert_eq!(proposal.id.to_string(), "gaon-university/morphemes");
        assert_eq!(proposal.budget[&2026], budget::amount(40_000_000, 20));
        for (old, new, told) in [
            ("gaon-university/", "", "is no project"),
            ("won =", "krw =", "unknown field `krw`"),
            ("\"minji\"", "\"Minji\"", "\"Minji\" is no person"),
        ] {
            let why = read(&EXAMPLE.replace(old, new)).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
