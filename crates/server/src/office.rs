//! The programme office's side, and what everyone may know of the consortium.

use crate::extract::{Answer, Ask, At, Bearer, Body, Json, Key};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Part, fits};
use crate::views;
use api::{
    Credential, Done, Health, Issued, LedgerView, Me, OrganisationView, PersonView, ProjectView, ReleaseView,
    SiteView,
};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::watch::Terms;
use consortium::{
    Abilities, Account, Action, ArtifactId, Command, Digest, Home, Kind, Label, OrganisationId,
    PeopleCommand, PersonId, Programme, ProjectId, Sight, SiteId, Standing, Tenure, Won,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    let released = |(artifact, to): (ArtifactId, Label)| Command::Release { artifact, to };
    let money = |(year, won): (u16, Won)| Command::Appropriate { year, won };
    let stand = |organisation, (standing, ground)| Command::SetStanding {
        organisation,
        standing,
        ground,
    };
    let set_roles = |person, (roles, ground)| {
        Command::People(PeopleCommand::SetRoles {
            person,
            roles,
            ground,
        })
    };
    let stand_person = |person, (standing, ground)| {
        Command::People(PeopleCommand::SetStanding {
            person,
            standing,
            ground,
        })
    };
    let enrol = |project, (join, leave)| Command::People(PeopleCommand::Enrol { project, join, leave });
    let give_back = |job, ground| Command::GiveBack { job, ground };
    Routes::about("consortium")
        .get("/health", "Whether the hub is there", health)
        .get("/me", "Who the bearer of the token is", me)
        .get("/organisations", "Who is in, and how they stand", organisations)
        .command("/organisations", "Let an organisation in", Command::Admit)
        .command_at(
            "/organisations/{organisation}/standing",
            "Suspend an organisation, let it go, or have it back: the standing, and what that rests on",
            stand,
        )
        .get("/releases", "What is proposed to be made less closed", releases)
        .command(
            "/releases",
            "Propose to make an artifact less closed, or agree to it",
            released,
        )
        .command(
            "/people",
            "Let a person act for an organisation",
            Command::AddPerson,
        )
        .get(
            "/people",
            "Who acts for whom, in which roles and projects",
            people,
        )
        .command_at(
            "/people/{person}/roles",
            "Give a person other roles: all that they shall have, and what that rests on",
            set_roles,
        )
        .command_at(
            "/people/{person}/standing",
            "Keep a person out, or have them back: the standing, and what that rests on",
            stand_person,
        )
        .command_at(
            "/projects/{project}/members",
            "Change who works in a project: who joins, and who leaves",
            enrol,
        )
        .get(
            "/sites",
            "The places with machines, and what their owners ask",
            sites,
        )
        .command("/sites", "Add a place with machines", Command::AddSite)
        .get("/projects", "The projects that one may know of", projects)
        .command("/projects", "Open a project", Command::OpenProject)
        .command(
            "/appropriations",
            "Book the ministry's money for a fiscal year: the year, and the money",
            money,
        )
        .get("/policy", "The policy in force, in Cedar", policy)
        .command("/policy", "Put another policy in force", Command::AdoptPolicy)
        .get(
            "/watch",
            "When machines count as held idle, and what follows; null if nobody is watched",
            watch,
        )
        .command(
            "/watch",
            "Watch for machines that are held idle, or don't any more",
            Command::SetWatch,
        )
        .command_at(
            "/jobs/{job}/give-back",
            "Give an award back what was taken because of a job, on some ground",
            give_back,
        )
        .post("/credentials", "Make a token", issue)
        .delete(
            "/credentials/{digest}",
            "Make a token worthless, by its digest",
            revoke,
        )
        .get(
            "/ledger",
            "What each account holds, and whether they balance",
            ledger,
        )
}

impl Routes {
    /// A POST that is one command of the rules, made from the body.
    pub(crate) fn command<T: DeserializeOwned + JsonSchema + Send + 'static>(
        self,
        path: &'static str,
        summary: &'static str,
        make: impl Fn(T) -> Command + Clone + Send + Sync + 'static,
    ) -> Self {
        let handler = move |State(shared): State<Arc<Shared>>,
                            bearer: Bearer,
                            key: Option<Key>,
                            Body(body): Body<T>| async move {
            shared.carry_out(bearer.actor, key, make(body)).await
        };
        self.post(path, summary, handler)
    }

    /// A POST that is one command of the rules about what stands in the address, made from that and the body.
    pub(crate) fn command_at<A, T>(
        self,
        path: &'static str,
        summary: &'static str,
        make: impl Fn(A, T) -> Command + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        T: DeserializeOwned + JsonSchema + Send + 'static,
    {
        let handler = move |State(shared): State<Arc<Shared>>,
                            bearer: Bearer,
                            key: Option<Key>,
                            At(at): At<A>,
                            Body(body): Body<T>| async move {
            shared.carry_out(bearer.actor, key, make(at, body)).await
        };
        self.post(path, summary, handler)
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Answer<Health> {
    // A hub that has broken off isn't healthy.
    drop(shared.read()?);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(Health {
        version,
        seq: *shared.changed.borrow(),
    }))
}

async fn me(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Answer<Me> {
    let state = shared.read()?;
    Ok(Json(views::me(&state, bearer.actor)))
}

/// Which organisations.
#[derive(Deserialize, JsonSchema)]
struct OfOrganisations {
    /// Only those of one kind.
    kind: Option<Kind>,
    /// Only those that are at home there.
    home: Option<Home>,
    /// Only those that stand so.
    standing: Option<Standing>,
}

async fn organisations(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<OrganisationId>>,
    Ask(wanted): Ask<OfOrganisations>,
) -> Answer<Vec<OrganisationView>> {
    let state = shared.read()?;
    let audits = views::audits(&state, &bearer.actor);
    let standing = |id| state.standings.get(id).map(|it| it.standing).unwrap_or_default();
    let fitting = state.organisations.values().filter(|it| {
        fits(wanted.kind.as_ref(), &it.kind)
            && fits(wanted.home.as_ref(), &it.home)
            && fits(wanted.standing.as_ref(), &standing(&it.id))
    });
    let views = part.of(fitting, |it| &it.id).map(|organisation| {
        let stands = state.standings.get(&organisation.id);
        OrganisationView {
            organisation: organisation.clone(),
            standing: standing(&organisation.id),
            since: stands.map(|it| it.since),
            ground: stands.filter(|_| audits).map(|it| it.ground.clone()),
        }
    });
    Ok(Json(views.collect()))
}

/// Which people.
#[derive(Deserialize, JsonSchema)]
struct OfPeople {
    /// Only those of one organisation.
    organisation: Option<OrganisationId>,
    /// Only those who stand so.
    standing: Option<Standing>,
}

/// For those who may audit: who works in which project tells what is closed.
async fn people(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<PersonId>>,
    Ask(wanted): Ask<OfPeople>,
) -> Answer<Vec<PersonView>> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Audit, &Resource::Consortium)?;
    let fitting = state.people.values().filter(|it| {
        fits(wanted.organisation.as_ref(), &it.organisation)
            && fits(wanted.standing.as_ref(), &state.person_standing(&it.id))
    });
    let views = part.of(fitting, |person| &person.id);
    let rolls = views::Rolls::of(&state);
    Ok(Json(views.map(|person| rolls.view(person)).collect()))
}

/// What waits for a second person, for those who may be that person: of the office, and such as may read it.
async fn releases(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<ArtifactId>>,
    Ask(wanted): Ask<OfProject>,
) -> Answer<Vec<ReleaseView>> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Administer, &Resource::Consortium)?;
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let fitting = state
        .proposed
        .iter()
        .filter(|(id, _)| fits(wanted.project.as_ref(), &id.project));
    let views = fitting.filter_map(|(id, proposed)| {
        let artifact = state.artifacts.get(id)?;
        sight.sees_artifact(artifact).then(|| ReleaseView {
            artifact: artifact.clone(),
            proposed: proposed.clone(),
        })
    });
    Ok(Json(part.of(views, |view| &view.artifact.id).collect()))
}

/// Which of what projects have.
#[derive(Deserialize, JsonSchema)]
struct OfProject {
    /// Only those of one project.
    project: Option<ProjectId>,
}

/// Which sites.
#[derive(Deserialize, JsonSchema)]
struct OfSites {
    /// Only those of one organisation.
    owner: Option<OrganisationId>,
    /// Only those that the consortium came by in this way.
    tenure: Option<Tenure>,
}

async fn sites(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<SiteId>>,
    Ask(wanted): Ask<OfSites>,
) -> Answer<Vec<SiteView>> {
    let state = shared.read()?;
    let fitting = state.sites.values().filter(|site| {
        fits(wanted.owner.as_ref(), &site.owner) && fits(wanted.tenure.as_ref(), &site.tenure)
    });
    let jobs = views::jobs_that_hold(&state, &bearer.actor);
    let views = part.of(fitting, |site| &site.id).map(|site| SiteView {
        site: site.clone(),
        silent_ms: shared
            .silence(&site.id)
            .map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        // Where a site answers is for the sites of its jobs alone.
        abilities: state.abilities.get(&site.id).map(|told| Abilities {
            contact: None,
            ..told.clone()
        }),
        job: jobs.get(&site.id).copied(),
    });
    Ok(Json(views.collect()))
}

/// Which projects.
#[derive(Deserialize, JsonSchema)]
struct OfProjects {
    /// Only those of one organisation.
    organisation: Option<OrganisationId>,
    /// Only those under one programme.
    programme: Option<Programme>,
}

/// The projects of which the asker may know anything: who works in one, whoever may audit, and whoever may read
/// some artifact or job of it.
async fn projects(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<ProjectId>>,
    Ask(wanted): Ask<OfProjects>,
) -> Answer<Vec<ProjectView>> {
    let state = shared.read()?;
    let known = views::known_projects(&state, &bearer.actor);
    let known = known.into_iter().filter_map(|id| state.projects.get(id));
    let known = known.filter(|project| {
        fits(wanted.organisation.as_ref(), &project.organisation)
            && fits(wanted.programme.as_ref(), &project.programme)
    });
    let views = part.of(known, |project| &project.id).map(|project| ProjectView {
        id: project.id.clone(),
        title: project.title.clone(),
        organisation: project.organisation.clone(),
        programme: project.programme,
    });
    Ok(Json(views.collect()))
}

async fn policy(State(shared): State<Arc<Shared>>, _: Bearer) -> Answer<String> {
    Ok(Json(shared.read()?.policy.text().to_owned()))
}

/// The terms are everyone's to know.
async fn watch(State(shared): State<Arc<Shared>>, _: Bearer) -> Answer<Option<Terms>> {
    Ok(Json(shared.read()?.watch))
}

async fn issue(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Body(credential): Body<Credential>,
) -> Answer<Issued> {
    let expires = credential
        .days
        .map(|days| shared.now().plus(u64::from(days) * 24 * 3_600 * 1_000));
    let credential = consortium::Credential {
        expires,
        scope: credential.scope,
        ..consortium::Credential::full(credential.holder)
    };
    let token = shared.issue(bearer.actor, credential).await?;
    Ok(Json(Issued { token }))
}

/// Tokens are named by their digest, so that the token itself is in no address and no log.
async fn revoke(State(shared): State<Arc<Shared>>, bearer: Bearer, At(token): At<Digest>) -> Answer<Done> {
    let command = Command::RevokeCredential { token };
    shared.carry_out(bearer.actor, None, command).await
}

/// Which accounts.
#[derive(Deserialize, JsonSchema)]
struct OfAccounts {
    /// Only those that hold something, or only those that don't.
    empty: Option<bool>,
}

async fn ledger(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<Account>>,
    Ask(wanted): Ask<OfAccounts>,
) -> Answer<LedgerView> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Audit, &Resource::Consortium)?;
    let balances = state.ledger.balances();
    let asked = balances.filter(|(_, balance)| fits(wanted.empty.as_ref(), &balance.is_none()));
    let accounts = part.of(asked, |(account, _)| account);
    Ok(Json(LedgerView {
        accounts: accounts
            .map(|(account, balance)| (account.clone(), balance))
            .collect(),
        wrong: state.ledger.audit().err(),
    }))
}

impl Shared {
    /// Carries out a command for a handler.
    pub(crate) async fn carry_out(
        &self,
        actor: consortium::Actor,
        key: Option<Key>,
        command: Command,
    ) -> Answer<Done> {
        let request = consortium::Request {
            actor,
            key: key.map(|Key(key)| key),
            command,
        };
        let granted = self.ask(request).await?;
        Ok(Json(Done {
            seq: granted.seq,
            job: granted.job,
            attempt: granted.attempt,
        }))
    }
}
