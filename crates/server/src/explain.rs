//! Why someone may or may not do something: each decision with the text of the policies that made it.

use crate::extract::{Answer, Ask, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::views::audits;
use api::{Problem, Ruling, RulingPolicy};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{Action, Actor, ArtifactId, JobId, ModelId, Run, State as Consortium};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("consortium")
        .get(
            "/policy/explanation",
            "What somebody may do with something, and which policies decide",
            explanation,
        )
        .or(&[404])
}

#[derive(Deserialize, JsonSchema)]
struct Question {
    /// A person's name, or `site:` and a site's.
    #[schemars(extend("pattern" = "^(site:)?[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"))]
    who: String,
    /// `consortium`, a project, a job, a run, `site:` and a site's name, an artifact (PROJECT/DIGEST), a model or a proposal
    /// (ORGANISATION/NAME).
    what: String,
}

/// Everyone may ask about themselves; about others whoever may audit.
async fn explanation(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(question): Ask<Question>,
) -> Answer<Vec<Ruling>> {
    let state = shared.read()?;
    let invalid = |e: consortium::BadId| Problem::new(400, "invalid", e.to_string());
    let who = match question.who.strip_prefix("site:") {
        Some(site) => Actor::Site(site.parse().map_err(invalid)?),
        None => Actor::Person(question.who.parse().map_err(invalid)?),
    };
    if who != bearer.actor {
        state.permit(&bearer.actor, Action::Audit, &Resource::Consortium)?;
    }
    let known = match &who {
        Actor::Hub => true,
        Actor::Person(person) => state.people.contains_key(person),
        Actor::Site(site) => state.sites.contains_key(site),
    };
    if !known {
        return Err(Problem::new(404, "not-found", format!("there is no {who}")).into());
    }
    let asks = asks(&state, &bearer.actor, &who, &question.what)?;
    let rulings = asks.iter().map(|(name, action, resource)| {
        let decision = state.policy.ask(&state, &who, *action, resource);
        let policies = decision.policies.iter().map(|id| RulingPolicy {
            id: id.clone(),
            text: state.policy.text_of(id).unwrap_or_default(),
        });
        let reads = || state.permit(&bearer.actor, Action::Read, resource).is_ok();
        let is_closed = matches!(resource, Resource::Artifact(_)) && !reads();
        Ruling {
            who: who.to_string(),
            action: *action,
            what: if is_closed {
                resource.without_name()
            } else {
                name.clone()
            },
            allowed: decision.allowed,
            policies: policies.collect(),
        }
    });
    Ok(Json(rulings.collect()))
}

/// What can be done with `what`, under its name for people. What isn't there and what the asker's subject may
/// not know of look alike to everyone but those who may audit, who see it all anyway.
fn asks<'a>(
    state: &'a Consortium,
    asker: &Actor,
    who: &Actor,
    what: &str,
) -> Result<Vec<(String, Action, Resource<'a>)>, Problem> {
    let missing = || {
        Problem::new(404, "not-found", format!("there is nothing called {what}")).hint(
            "consortium, a project, a job as job-7, a run by its 32 digits, a site as site:NAME, an artifact as \
             PROJECT/DIGEST, a model or a proposal as ORGANISATION/NAME",
        )
    };
    if what == "consortium" {
        let whole = |action| (what.to_owned(), action, Resource::Consortium);
        return Ok(vec![whole(Action::Administer), whole(Action::Audit)]);
    }
    let artifact = |id: &ArtifactId| {
        let artifact = state.artifacts.get(id)?;
        let resource = Resource::Artifact(artifact);
        Some((resource.to_string(), Action::Read, resource))
    };
    if let Ok(id) = what.parse::<JobId>() {
        let job = state.jobs.get(&id).ok_or_else(missing)?;
        let actions: &[Action] = match who {
            Actor::Site(_) => &[Action::Read, Action::Hold],
            _ => &[Action::Read],
        };
        let ask = |action: &Action| (id.to_string(), *action, Resource::Job(job));
        return Ok(actions.iter().map(ask).collect());
    }
    if let Some(name) = what.strip_prefix("site:") {
        let site = name.parse().ok().and_then(|id| state.sites.get(&id));
        let site = site.ok_or_else(missing)?;
        return Ok(vec![(format!("site {name}"), Action::Bill, Resource::Site(site))]);
    }
    if let Some(run) = what.parse().ok().and_then(|id| state.runs.all.get(&id)) {
        return of_run(state, asker, run).ok_or_else(missing);
    }
    if let Ok(id) = what.parse::<ArtifactId>() {
        return Ok(vec![artifact(&id).ok_or_else(missing)?]);
    }
    if let Ok(id) = what.parse::<ModelId>() {
        let Some(model) = state.models.get(&id) else {
            return of_proposal(state, asker, who, what).ok_or_else(missing);
        };
        let files = model
            .revisions
            .last()
            .into_iter()
            .flat_map(|last| last.files.values());
        let files = files.filter_map(|digest| {
            artifact(&ArtifactId {
                project: model.project.clone(),
                digest: *digest,
            })
        });
        return Ok(files.collect());
    }
    let project = what.parse().ok().and_then(|id| state.projects.get(&id));
    let project = project.ok_or_else(missing)?;
    Ok(vec![(
        format!("project {what}"),
        Action::Contribute,
        Resource::Project(project),
    )])
}

/// What can be done with the run. Whoever may not read it hears of it only if they may audit.
fn of_run<'a>(
    state: &'a Consortium,
    asker: &Actor,
    run: &'a Run,
) -> Option<Vec<(String, Action, Resource<'a>)>> {
    let resource = Resource::Run(run);
    let reads = state.permit(asker, Action::Read, &resource).is_ok();
    (reads || audits(state, asker)).then(|| vec![(format!("run {}", run.id), Action::Read, resource)])
}

/// What can be done with the proposal `what`, if the asker may read it. Of others, what they may do tells who has a
/// conflict and who reviews it.
fn of_proposal<'a>(
    state: &'a Consortium,
    asker: &Actor,
    who: &Actor,
    what: &str,
) -> Option<Vec<(String, Action, Resource<'a>)>> {
    let case = state.proposals.get(&what.parse().ok()?)?;
    let needs = if asker == who {
        Action::Read
    } else {
        Action::ReadReviewers
    };
    let resource = Resource::Proposal(case);
    state.permit(asker, needs, &resource).ok()?;
    let actions = [
        Action::Read,
        Action::Review,
        Action::Decide,
        Action::ReadReviews,
        Action::ReadReviewers,
    ];
    Some(
        actions
            .map(|action| (format!("proposal {what}"), action, resource))
            .into(),
    )
}
