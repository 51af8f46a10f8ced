//! Awards: the business of their project's people and of whoever may audit.

use crate::extract::{Answer, Ask, At, Bearer, Json};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Part, fits};
use crate::views::audits;
use api::{AwardView, Problem};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{
    Action, Actor, Award, AwardId, Command, Course, Holdings, ProjectId, Sight, State as Consortium, Time,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

pub(crate) fn routes() -> Routes {
    Routes::about("awards")
        .get("/awards", "Awards, where they are, and what comes next", awards)
        .command("/awards", "Give money and compute to a project", Command::Grant)
        .get("/awards/{award}", "An award", award)
        .command_at(
            "/awards/{award}/changes",
            "Amend, extend or close an award, or say something about what is to be taken back",
            Command::Award,
        )
}

/// Which awards are asked for.
#[derive(Deserialize, JsonSchema)]
struct Which {
    /// Only those of one project.
    project: Option<ProjectId>,
}

async fn awards(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<AwardId>>,
    Ask(which): Ask<Which>,
) -> Answer<Vec<AwardView>> {
    let state = shared.read()?;
    let audits = audits(&state, &bearer.actor);
    let of_project = |award: &&Award| fits(which.project.as_ref(), &award.project);
    let mut sight = Sight::new(&state, &bearer.actor, Action::Contribute);
    let seen = state.awards.values().filter(of_project);
    let seen = seen.filter(|award| audits || works_on(&state, &mut sight, award));
    let (holdings, now) = (state.holdings(), shared.now());
    let views = part.of(seen, |award| &award.id).filter_map(|award| {
        let holdings = holdings.get(&award.id)?;
        view(&state, &bearer.actor, award, *holdings, now)
    });
    Ok(Json(views.collect()))
}

async fn award(State(shared): State<Arc<Shared>>, bearer: Bearer, At(id): At<AwardId>) -> Answer<AwardView> {
    let state = shared.read()?;
    let mut sight = Sight::new(&state, &bearer.actor, Action::Contribute);
    let known = state.awards.get(&id);
    let seen = known.filter(|award| audits(&state, &bearer.actor) || works_on(&state, &mut sight, award));
    let found = seen.and_then(|award| {
        let holdings = *state.holdings().get(&id)?;
        view(&state, &bearer.actor, award, holdings, shared.now())
    });
    let missing = || Problem::new(404, "not-found", format!("there is no award {id}"));
    Ok(Json(found.ok_or_else(missing)?))
}

fn view(
    state: &Consortium,
    actor: &Actor,
    award: &Award,
    holdings: Holdings,
    now: Time,
) -> Option<AwardView> {
    let course = state.courses.get(&award.id).cloned().unwrap_or_default();
    let reads = |id: &_| {
        let case = state.proposals.get(id);
        case.is_some_and(|case| {
            state
                .permit(actor, Action::Read, &Resource::Proposal(case))
                .is_ok()
        })
    };
    Some(AwardView {
        award: award.clone(),
        programme: state.projects.get(&award.project)?.programme,
        holdings,
        step: state.next_step_of_award(&award.id, actor, now),
        course: Course {
            proposal: course.proposal.filter(reads),
            ..course
        },
    })
}

/// Whether the award is of a project that whoever looks contributes to.
fn works_on<'a>(state: &'a Consortium, sight: &mut Sight<'a>, award: &Award) -> bool {
    let project = state.projects.get(&award.project);
    project.is_some_and(|project| sight.sees_project(project))
}
