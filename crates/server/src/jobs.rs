//! Jobs, for the people who ask for them.

use crate::extract::{Answer, Ask, At, Bearer, Body, Json, Key};
use crate::hub::Shared;
use crate::openapi::Routes;
use crate::part::{Limit, Part, fits};
use crate::views;
use api::{Done, JobLine, JobView, PostingView, Problem};
use axum::extract::State;
use consortium::explain::{Explanation, Line, Waiting, explain_by};
use consortium::policy::Resource;
use consortium::{
    Account, Action, Actor, Command, Job, JobId, JobSpec, OrganisationId, PersonId, ProjectId, Sight,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use tokio::time::timeout_at;

pub(crate) fn routes() -> Routes {
    Routes::about("jobs")
        .get("/jobs", "The jobs that one may know about, newest first", list)
        .post("/jobs", "Ask for a job", submit)
        .get("/queue", "Who waits, first in the queue first", queue)
        .get("/jobs/{job}", "A job, now or when something has happened", show)
        .get("/jobs/{job}/explanation", "Why a job is where it is", explanation)
        .get("/jobs/{job}/postings", "What a job moved in the ledger", postings)
        .post("/jobs/{job}/cancel", "End a job", cancel)
}

async fn submit(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    Body(spec): Body<JobSpec>,
) -> Answer<Done> {
    shared.carry_out(bearer.actor, key, Command::Submit(spec)).await
}

/// Which part of a long list.
#[derive(Deserialize, JsonSchema)]
struct Page {
    /// Only jobs before this one: the last of the page before.
    before: Option<JobId>,
    /// How many at most.
    #[serde(default)]
    limit: Limit,
    /// Only those of one project.
    project: Option<ProjectId>,
    /// Only those that somebody has asked for.
    submitter: Option<PersonId>,
}

/// Newest first.
async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(page): Ask<Page>,
) -> Answer<Vec<JobLine>> {
    let state = shared.read()?;
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let before = page.before.unwrap_or(JobId(u64::MAX));
    let newest_first: Box<dyn Iterator<Item = &Job>> = match (&page.project, &page.submitter) {
        (Some(project), _) => Box::new(state.jobs_of(project).rev().filter(|job| job.id < before)),
        (_, Some(person)) => Box::new(state.jobs_by(person).rev().filter(|job| job.id < before)),
        _ => Box::new(state.jobs.range(..before).rev().map(|(_, job)| job)),
    };
    let asked = newest_first.filter(|job| fits(page.submitter.as_ref(), &job.submitter));
    let seen = asked.filter(|job| sight.sees_job(job));
    let part = seen.take(page.limit.get());
    Ok(Json(part.map(JobLine::of).collect()))
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Wait until the log has a record after this one.
    #[serde(default)]
    after: u64,
    /// How many seconds at most.
    #[serde(default)]
    wait: u64,
}

async fn show(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(wanted): Ask<Wanted>,
) -> Answer<JobView> {
    // Who may not know the job doesn't wait for it.
    readable(&*shared.read()?, &bearer.actor, job)?;
    let until = shared.until(wanted.wait);
    let mut changed = shared.changed.subscribe();
    tokio::select! {
        // Late or never: the answer is how things stand then.
        _ = timeout_at(until, changed.wait_for(|seq| *seq > wanted.after)) => {}
        () = shared.until_stopped() => {}
    }
    let state = shared.read()?;
    Ok(Json(views::job(&shared, readable(&state, &bearer.actor, job)?)))
}

async fn explanation(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
) -> Answer<Explanation> {
    let state = shared.read()?;
    let job = readable(&state, &bearer.actor, job)?;
    Ok(Json(explain_by(&state, job, || shared.outlook(&state))))
}

/// Whose jobs of those that wait. Parts of the list go by the place.
#[derive(Deserialize, JsonSchema)]
struct OfQueue {
    /// Only those of one project.
    project: Option<ProjectId>,
    /// Only those of one organisation's projects.
    organisation: Option<OrganisationId>,
}

async fn queue(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<u64>>,
    Ask(wanted): Ask<OfQueue>,
) -> Answer<Vec<Waiting>> {
    let state = shared.read()?;
    let mut sight = Sight::new(&state, &bearer.actor, Action::Read);
    let outlook = shared.outlook(&state);
    let mut line = Line::new(&state, &outlook);
    let is_of = |job: &Job, organisation: &OrganisationId| {
        let project = state.projects.get(&job.spec.project);
        project.is_some_and(|project| project.organisation == *organisation)
    };
    let seen = line.places().filter(|(_, job)| {
        fits(wanted.project.as_ref(), &job.spec.project)
            && wanted.organisation.as_ref().is_none_or(|it| is_of(job, it))
            && sight.sees_job(job)
    });
    let part: Vec<(u64, &Job)> = part.of(seen, |(place, _)| place).collect();
    let told = part.into_iter().map(|(place, job)| line.tell(place, job));
    Ok(Json(told.collect()))
}

/// Which of a job's postings. Parts of the list go by the log's record, of which all are told together.
#[derive(Deserialize, JsonSchema)]
struct OfPostings {
    /// Only those to or from one account.
    account: Option<Account>,
}

async fn postings(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(part): Ask<Part<u64>>,
    Ask(wanted): Ask<OfPostings>,
) -> Answer<Vec<PostingView>> {
    {
        let state = shared.read()?;
        readable(&state, &bearer.actor, job)?;
    }
    let postings = shared.read_log(move |reader| reader.postings(Some(job))).await?;
    let postings = postings
        .into_iter()
        .filter(|posting| fits(wanted.account.as_ref(), &posting.account))
        .map(|posting| PostingView {
            seq: posting.seq,
            at: posting.at,
            account: posting.account,
            won: posting.won,
            compute: posting.compute,
        });
    Ok(Json(part.of_groups(postings.collect(), |posting| &posting.seq)))
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    key: Option<Key>,
    At(job): At<JobId>,
) -> Answer<Done> {
    shared.carry_out(bearer.actor, key, Command::Cancel(job)).await
}

pub(crate) fn readable<'a>(
    state: &'a consortium::State,
    actor: &Actor,
    id: JobId,
) -> Result<&'a Job, Problem> {
    let job = state.jobs.get(&id);
    let job = job.ok_or_else(|| {
        Problem::new(404, "not-found", format!("there is no job {id}"))
            .hint("`khub jobs` lists those you may read")
    })?;
    state.permit(actor, Action::Read, &Resource::Job(job))?;
    Ok(job)
}
