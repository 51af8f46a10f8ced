//! `khub policy show` and `khub policy explain`.

use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::Ruling;

/// Look at the policy.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(Show),
    Explain(Explain),
}

/// Print the policy in force, in Cedar.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub policy show")]
struct Show {
    #[command(flatten)]
    connect: Connect,
}

/// Tell what someone may do with something, and which policies say so.
///
/// Everyone may ask about themselves; the office and auditors about anyone.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub policy explain ingrid gaon-university/korean-small --as office\n  \
    khub policy explain site:fjord-1 job-1 --as office\n  khub policy explain jun site:namsan-1 --as office\n  khub policy explain minji korean-reviews"
)]
struct Explain {
    /// A person, or site:NAME.
    who: String,
    /// consortium, a project, a job, a run, site:NAME, an artifact (PROJECT/DIGEST), a model or a proposal (ORGANISATION/NAME).
    what: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Show(args) => {
            show::print(&args.connect.client()?.policy()?);
            Ok(())
        }
        Command::Explain(args) => {
            let rulings = args.connect.client()?.explain_policy(&args.who, &args.what)?;
            if args.json {
                return show::json(&rulings);
            }
            show::print(&in_words(&rulings));
            Ok(())
        }
    }
}

/// Each ruling, then the text of each policy once.
fn in_words(rulings: &[Ruling]) -> String {
    let mut text = String::new();
    let mut policies: Vec<(&str, &str)> = Vec::new();
    for ruling in rulings {
        let verb = if ruling.allowed { "may" } else { "may not" };
        let ids: Vec<&str> = ruling.policies.iter().map(|policy| policy.id.as_str()).collect();
        let because = match ids.as_slice() {
            [] => "no policy permits it".to_owned(),
            ids => ids.join(", "),
        };
        text.push_str(&format!(
            "{} {verb} {} {}: {because}\n",
            ruling.who,
            ruling.action.verb(),
            ruling.what
        ));
        for policy in &ruling.policies {
            if !policies.iter().any(|(id, _)| *id == policy.id) {
                policies.push((&policy.id, &policy.text));
            }
        }
    }
    for (_, policy) in policies {
        text.push_str(&format!("\n{}\n", policy.trim_end()));
    }
    text
}
