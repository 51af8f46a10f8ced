//! How much runs have measured, so that nobody fills the disk. Only counts are held in memory; the points are in the
//! database alone.

use consortium::{ProjectId, Refusal, RefusalKind, Run, RunId, State};
use std::collections::{BTreeMap, BTreeSet};
use store::{Measured, Store, StoreError};

/// The most points of a run, and of a project's runs together.
const OF_RUN: u64 = 1_000_000;
const OF_PROJECT: u64 = 20_000_000;
/// The most names under which a run measures something: all of them are told wherever the run is.
const KEYS: usize = 2_000;
/// Of so many runs the names are remembered; of others they are read again.
const REMEMBERED: usize = 100;

/// What is counted, as of the last commit.
pub(crate) struct Tally {
    runs: BTreeMap<RunId, u64>,
    projects: BTreeMap<ProjectId, u64>,
    keys: BTreeMap<RunId, BTreeSet<String>>,
}

impl Tally {
    /// What the database has.
    pub(crate) fn of(store: &mut Store, state: &State) -> Result<Self, StoreError> {
        let runs = store.count_points()?;
        let mut projects = BTreeMap::new();
        for (id, points) in &runs {
            if let Some(run) = state.runs.all.get(id) {
                *projects.entry(run.project.clone()).or_default() += points;
            }
        }
        Ok(Self {
            runs,
            projects,
            keys: BTreeMap::new(),
        })
    }

    /// Counts the points that `run` would have, or says why it can't have them. What is sent twice counts twice until
    /// the hub starts again.
    pub(crate) fn take(
        &mut self,
        store: &mut Store,
        run: &Run,
        measured: &[Measured],
    ) -> Result<Result<(), Refusal>, StoreError> {
        let new = measured.len() as u64;
        let (id, project) = (run.id, &run.project);
        if self.runs.get(&id).copied().unwrap_or_default() + new > OF_RUN {
            let why = format!("run {id} would have measured more than {OF_RUN} points, which is the most");
            return Ok(Err(full(why, "log every tenth step, or begin another run")));
        }
        if self.projects.get(project).copied().unwrap_or_default() + new > OF_PROJECT {
            let why = format!(
                "the runs of project {project} would have measured more than {OF_PROJECT} points, which is the most"
            );
            return Ok(Err(full(
                why,
                "log fewer steps, and keep long histories as files",
            )));
        }
        let keys = self.keys_of(store, id)?;
        let unknown: BTreeSet<&String> = measured.iter().map(|point| &point.key).collect();
        let unknown: Vec<String> = unknown
            .into_iter()
            .filter(|key| !keys.contains(*key))
            .cloned()
            .collect();
        if keys.len() + unknown.len() > KEYS {
            let why = format!("run {id} would have more than {KEYS} metrics, which is the most");
            return Ok(Err(full(
                why,
                "a metric is a name with many steps, not a name for each step",
            )));
        }
        keys.extend(unknown);
        *self.runs.entry(id).or_default() += new;
        *self.projects.entry(project.clone()).or_default() += new;
        Ok(Ok(()))
    }

    fn keys_of(&mut self, store: &mut Store, run: RunId) -> Result<&mut BTreeSet<String>, StoreError> {
        if !self.keys.contains_key(&run) {
            if self.keys.len() >= REMEMBERED {
                self.keys.clear();
            }
            self.keys
                .insert(run, store.measured_keys(run)?.into_iter().collect());
        }
        Ok(self.keys.entry(run).or_default())
    }
}

fn full(why: String, hint: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        message: why,
        hint: Some(hint.to_owned()),
        policies: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consortium::{Label, RunStatus, Time};
    use store::Point;

    fn run() -> Run {
        Run {
            id: RunId([7; 16]),
            project: "reviews".parse().unwrap(),
            by: "minji".parse().unwrap(),
            name: String::new(),
            label: Label::Open,
            job: None,
            made_from: vec![],
            status: RunStatus::Running,
            started: Time(0),
            ended: None,
            deleted: None,
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            files: BTreeMap::new(),
            noted: 0,
        }
    }

    fn measured(keys: std::ops::Range<usize>) -> Vec<Measured> {
        let (step, at, value) = (0, 0, 1.0);
        let point = |key: usize| Measured {
            run: run().id,
            key: format!("m{key}"),
            point: Point { step, at, value },
        };
        keys.map(point).collect()
    }

    #[test]
    fn a_run_and_a_project_have_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, state) = Store::open(folder.path()).unwrap();
        let mut tally = Tally::of(&mut store, &state).unwrap();
        let mut take = |tally: &mut Tally, points: &[Measured]| {
            let taken = tally.take(&mut store, &run(), points).unwrap();
            taken.map_err(|refusal| refusal.message)
        };
        take(&mut tally, &measured(0..KEYS)).unwrap();
        let more = take(&mut tally, &measured(KEYS..KEYS + 1)).unwrap_err();
        assert!(more.contains("more than 2000 metrics"), "{more}");
        take(&mut tally, &measured(0..1)).unwrap();
        tally.runs.insert(run().id, OF_RUN - 1);
        take(&mut tally, &measured(0..1)).unwrap();
        let more = take(&mut tally, &measured(0..1)).unwrap_err();
        assert!(more.contains("more than 1000000 points"), "{more}");
        tally.runs.clear();
        tally.projects.insert(run().project, OF_PROJECT);
        let more = take(&mut tally, &measured(0..1)).unwrap_err();
        assert!(more.contains("project reviews would have"), "{more}");
    }
}
