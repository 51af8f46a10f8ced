//! Runs that somebody asks for. First come those that they may read, by the policy; filter, order and parts see no
//! others. The state is held only for that first step.

use super::filter::{Attribute, Column, Filter, Order, Row};
use crate::hub::Shared;
use api::Problem;
use consortium::{Action, Actor, JobId, Label, ProjectId, Run, RunId, RunStatus, Sight, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Last;

/// A run, as closed as it is, with the newest of its points that were looked for.
pub(crate) struct Found {
    pub(crate) run: Arc<Run>,
    pub(crate) label: Label,
    pub(crate) last: Vec<Last>,
}

/// What is asked for.
#[derive(Default)]
pub(crate) struct Search {
    pub(crate) filter: Filter,
    pub(crate) order: Order,
    pub(crate) view: View,
}

/// Whether runs that are put aside are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Active,
    Deleted,
    All,
}

/// A part of an answer, with all points that are the newest of their names.
pub(crate) struct Part {
    pub(crate) runs: Vec<Found>,
    /// Whether there are more behind.
    pub(crate) more: bool,
}

impl Search {
    /// The runs of `projects`, `limit` at most behind `after`.
    pub(crate) async fn part(
        self,
        shared: &Arc<Shared>,
        actor: &Actor,
        projects: &[ProjectId],
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Part, Problem> {
        let mut found = visible(&*shared.read()?, actor, projects, self.view);
        let asked = self.filter.metrics().chain(self.order.metrics());
        let keys: Vec<String> = asked.map(str::to_owned).collect();
        if !keys.is_empty() {
            measure(shared, &mut found, Some(keys)).await?;
        }
        found.retain(|row| self.filter.takes(row));
        found.sort_by(|a, b| {
            let newest_first = || (b.run.started, a.run.id).cmp(&(a.run.started, b.run.id));
            self.order.compare(a, b).then_with(newest_first)
        });
        if let Some(after) = after {
            // Without it nobody knows where the part before ended: the order may be by what has changed since.
            let at = found.iter().position(|row| row.run.id == after);
            let unknown = || {
                let detail = "the part before ended with a run that isn't there any more";
                Problem::new(404, "not-found", detail).hint("ask from the beginning again")
            };
            found.drain(..=at.ok_or_else(unknown)?);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        measure(shared, &mut found, None).await?;
        Ok(Part { runs: found, more })
    }
}

/// One run, if `actor` may read it.
pub(crate) async fn one(shared: &Arc<Shared>, actor: &Actor, id: RunId) -> Result<Found, Problem> {
    let mut found = {
        let state = shared.read()?;
        state.run_for(actor, id)?;
        let run = state.runs.all.get(&id).cloned();
        run.map(|run| Found::of(&state, run))
            .into_iter()
            .collect::<Vec<_>>()
    };
    measure(shared, &mut found, None).await?;
    let gone = || Problem::new(404, "not-found", format!("there is no run {id}"));
    found.pop().ok_or_else(gone)
}

fn visible(state: &State, actor: &Actor, projects: &[ProjectId], view: View) -> Vec<Found> {
    let mut sight = Sight::new(state, actor, Action::Read);
    let mut found = Vec::new();
    for project in projects {
        let runs = state.runs.of_project(project);
        let wanted = runs.filter(|run| match view {
            View::Active => run.deleted.is_none(),
            View::Deleted => run.deleted.is_some(),
            View::All => true,
        });
        let seen = wanted.filter(|run| sight.sees_run(run));
        found.extend(seen.map(|run| Found::of(state, Arc::clone(run))));
    }
    found
}

async fn measure(
    shared: &Arc<Shared>,
    found: &mut [Found],
    keys: Option<Vec<String>>,
) -> Result<(), Problem> {
    let ids: Vec<RunId> = found.iter().map(|row| row.run.id).collect();
    let read = move |reader: &store::Reader| reader.last_points(&ids, keys.as_deref());
    let mut last: BTreeMap<RunId, Vec<Last>> = shared.read_log(read).await?;
    for row in found {
        row.last = last.remove(&row.run.id).unwrap_or_default();
    }
    Ok(())
}

impl Found {
    fn of(state: &State, run: Arc<Run>) -> Self {
        Self {
            label: state.label_of_run(&run),
            run,
            last: Vec::new(),
        }
    }

    /// Where a client finds its files, by the way that goes through the hub.
    pub(crate) fn files_at(&self) -> String {
        format!("mlflow-artifacts:/{}/{}/artifacts", self.run.project, self.run.id)
    }

    /// Its tags, and those by which khub tells what it knows.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.run.tags.clone();
        tags.insert(LABEL.to_owned(), self.label.to_string());
        tags.insert(NAME.to_owned(), self.run.name.clone());
        if let Some(job) = self.run.job {
            tags.insert(JOB.to_owned(), job.to_string());
        }
        tags
    }
}

/// Tags that are more than text.
pub(crate) const LABEL: &str = "khub.label";
pub(crate) const JOB: &str = "khub.job";
pub(crate) const MADE_FROM: &str = "khub.made_from";
pub(crate) const NAME: &str = "mlflow.runName";

impl Row for Found {
    fn text(&self, column: &Column) -> Option<String> {
        let run = &self.run;
        match column {
            Column::Param(key) => run.params.get(key).cloned(),
            Column::Tag(key) => match key.as_str() {
                LABEL => Some(self.label.to_string()),
                NAME => Some(run.name.clone()),
                JOB => run.job.as_ref().map(JobId::to_string),
                key => run.tags.get(key).cloned(),
            },
            Column::Attribute(attribute) => match attribute {
                Attribute::Id => Some(run.id.to_string()),
                Attribute::Name => Some(run.name.clone()),
                Attribute::User => Some(run.by.to_string()),
                Attribute::Status => Some(status(run.status).to_owned()),
                Attribute::Files => Some(self.files_at()),
                Attribute::Started | Attribute::Ended => None,
            },
            Column::Metric(_) => None,
        }
    }

    fn number(&self, column: &Column) -> Option<f64> {
        match column {
            Column::Metric(key) => {
                let at = self.last.iter().find(|last| last.key == *key);
                at.map(|last| last.point.value)
            }
            Column::Attribute(Attribute::Started) => Some(self.run.started.0 as f64),
            Column::Attribute(Attribute::Ended) => self.run.ended.map(|ended| ended.0 as f64),
            _ => None,
        }
    }
}

/// As MLflow writes it.
pub(crate) fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}
