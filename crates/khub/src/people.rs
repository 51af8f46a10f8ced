//! `khub people`: who acts for whom, in which roles and projects, and how that changes.

use crate::artifact::word;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::members::written;
use crate::show;
use api::{InvitationView, PersonView};
use consortium::{Day, Guest, Holder, OrganisationId, Person, PersonId, ProjectId, Role, Scope, Standing};
use std::collections::BTreeSet;

/// Look at the people, let one in or invite one, and change their roles, standing and projects.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Add(Add),
    Invite(Invite),
    Invitations(Invitations),
    Withdraw(Withdraw),
    Roles(SetRoles),
    Standing(SetStanding),
    Enrol(Enrol),
}

/// List the people. For the office and auditors.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub people list --as office\n  khub people list --json --as auditor")]
struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Let a person act for an organisation, and print their first token.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub people add minho --organisation gaon-university --project korean-reviews --as office\n  \
    khub people add sora --organisation khub-office --role auditor --as office"
)]
struct Add {
    /// Their name in addresses.
    person: PersonId,
    /// Whom they act for.
    #[arg(long)]
    organisation: OrganisationId,
    /// What they may do beyond their projects; may be given several times.
    #[arg(long, value_name = "ROLE", value_parser = word::<Role>)]
    role: Vec<Role>,
    /// A project they work in; may be given several times.
    #[arg(long, value_name = "PROJECT")]
    project: Vec<ProjectId>,
    /// After how many days the token expires.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Invite somebody by a code that is good once and for 14 days, and print it. Send it to them yourself.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub people invite minho@gaon.example --organisation gaon-university --project korean-reviews --as office\n  \
    khub people invite minji@gaon.example --person minji --as office"
)]
struct Invite {
    /// Their address.
    email: String,
    /// Whom they will act for.
    #[arg(long, required_unless_present = "person")]
    organisation: Option<OrganisationId>,
    /// What they may do beyond their projects; may be given several times.
    #[arg(long, value_name = "ROLE", value_parser = word::<Role>)]
    role: Vec<Role>,
    /// A project they will work in; may be given several times.
    #[arg(long, value_name = "PROJECT")]
    project: Vec<ProjectId>,
    /// The name they have if they choose no other.
    #[arg(id = "called", long = "name", value_name = "NAME")]
    name: Option<PersonId>,
    /// Somebody who is there already and is to sign in another way.
    #[arg(long, conflicts_with_all = ["organisation", "role", "project", "called"])]
    person: Option<PersonId>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// List who is invited and hasn't come yet.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub people invitations --as office")]
struct Invitations {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Take an invitation back.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub people withdraw minho@gaon.example --as office")]
struct Withdraw {
    /// The address that was invited.
    email: String,
    #[command(flatten)]
    connect: Connect,
}

/// Give a person other roles: office, auditor, cleared. Those that aren't named they have no more.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub people roles minji auditor cleared --ground 'decision 14' --as office\n  \
    khub people roles minji --ground 'her term is over' --as office"
)]
struct SetRoles {
    /// Who.
    person: PersonId,
    /// All that they shall have; none takes all away.
    #[arg(value_parser = word::<Role>)]
    roles: Vec<Role>,
    /// What that rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// Keep a person out for a while or for good, or have them back. What they have under way goes on.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub people standing ingrid left --ground 'her letter of 3 May' --as office"
)]
struct SetStanding {
    /// Who.
    person: PersonId,
    /// How they stand from now on: active, suspended or left.
    #[arg(value_parser = word::<Standing>)]
    standing: Standing,
    /// What that rests on.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// Change who works in a project.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub people enrol korean-reviews --join minho --leave minji --as office")]
struct Enrol {
    /// Which project.
    project: ProjectId,
    /// Who comes; may be given several times.
    #[arg(long, value_name = "PERSON", required_unless_present = "leave")]
    join: Vec<PersonId>,
    /// Who goes; may be given several times.
    #[arg(long, value_name = "PERSON")]
    leave: Vec<PersonId>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let said = match &args.command {
        Command::List(args) => return list(args),
        Command::Add(args) => return add(args),
        Command::Invite(args) => return invite(args),
        Command::Invitations(args) => return invitations(args),
        Command::Withdraw(args) => withdraw(args)?,
        Command::Roles(args) => {
            let roles = args.roles.iter().copied().collect();
            args.connect
                .client()?
                .set_roles(&args.person, &roles, &args.ground)?;
            format!("{} has {}\n", args.person, words(&roles, "no role"))
        }
        Command::Standing(args) => {
            let client = args.connect.client()?;
            client.set_person_standing(&args.person, args.standing, &args.ground)?;
            format!("{} is {}\n", args.person, args.standing)
        }
        Command::Enrol(args) => {
            let [join, leave] = [&args.join, &args.leave].map(|people| people.iter().cloned().collect());
            args.connect.client()?.enrol(&args.project, &join, &leave)?;
            format!("{}: {} in, {} out\n", args.project, join.len(), leave.len())
        }
    };
    show::print(&said);
    Ok(())
}

fn list(args: &List) -> Result<(), Failure> {
    let people = args.connect.client()?.people()?;
    let row = |it: &PersonView| {
        let projects: Vec<&str> = it.projects.iter().map(ProjectId::as_str).collect();
        vec![
            it.person.id.to_string(),
            it.person.organisation.to_string(),
            words(&it.person.roles, ""),
            it.standing.to_string(),
            projects.join(", "),
            it.ground.clone().unwrap_or_default(),
        ]
    };
    let head = ["id", "organisation", "roles", "standing", "projects", "ground"];
    show::told(&people, args.json, |people| {
        let rows: Vec<Vec<String>> = people.iter().map(row).collect();
        show::table(&head, &rows)
    })
}

fn add(args: &Add) -> Result<(), Failure> {
    let client = args.connect.client()?;
    client.add_person(&Person {
        id: args.person.clone(),
        organisation: args.organisation.clone(),
        roles: args.role.iter().copied().collect(),
    })?;
    for project in &args.project {
        client.enrol(project, &[args.person.clone()].into(), &BTreeSet::new())?;
    }
    let holder = Holder::Person(args.person.clone());
    let issued = client.issue_limited(holder, Some(args.days), Scope::Full)?;
    show::print(&format!("{}\n", issued.token));
    Ok(())
}

fn invite(args: &Invite) -> Result<(), Failure> {
    let guest = match (&args.organisation, &args.person) {
        (_, Some(person)) => Guest::Known(person.clone()),
        (Some(organisation), None) => Guest::New {
            organisation: organisation.clone(),
            roles: args.role.iter().copied().collect(),
            projects: args.project.iter().cloned().collect(),
            name: args.name.clone(),
        },
        (None, None) => return Err(Failure::new("an invitation needs --organisation or --person")),
    };
    let invited = args.connect.client()?.invite(&args.email, &guest)?;
    show::told(&invited, args.json, |it| {
        format!(
            "{}\ngood once, until {}; whoever has it comes in where they sign in on the hub's pages, or by `khub login --hub URL --invitation CODE`\n",
            it.code,
            Day::of(it.expires)
        )
    })
}

fn invitations(args: &Invitations) -> Result<(), Failure> {
    let all = args.connect.client()?.invitations()?;
    if args.json {
        return show::json(&all);
    }
    let row = |it: &InvitationView| {
        let InvitationView {
            invitation, expired, ..
        } = it;
        let (whom, roles, projects) = match &invitation.guest {
            Guest::Known(person) => (person.to_string(), String::new(), String::new()),
            Guest::New {
                organisation,
                roles,
                projects,
                ..
            } => {
                let projects: Vec<&str> = projects.iter().map(ProjectId::as_str).collect();
                (organisation.to_string(), words(roles, ""), projects.join(", "))
            }
        };
        let until = Day::of(invitation.expires);
        let by = invitation.by.as_ref().map(ToString::to_string);
        let until = if *expired {
            format!("over since {until}")
        } else {
            until.to_string()
        };
        vec![
            invitation.email.clone(),
            whom,
            roles,
            projects,
            by.unwrap_or_default(),
            until,
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = ["address", "for", "roles", "projects", "by", "until"];
    show::print(&show::table(&head, &rows));
    Ok(())
}

fn withdraw(args: &Withdraw) -> Result<String, Failure> {
    let client = args.connect.client()?;
    let all = client.invitations()?;
    let found = all.iter().find(|it| it.invitation.email == args.email);
    let found = found.ok_or_else(|| {
        Failure::new(format_args!("{} isn't invited", args.email))
            .hint("`khub people invitations` lists who is")
    })?;
    client.withdraw_invitation(&found.digest)?;
    Ok(format!("{} is invited no more\n", args.email))
}

fn words(roles: &BTreeSet<Role>, none: &str) -> String {
    if roles.is_empty() {
        return none.to_owned();
    }
    roles.iter().map(written).collect::<Vec<_>>().join(", ")
}
