//! The hub for scripts: what it answers, as JSON for Python to read.

use crate::failed;
use consortium::{ArtifactId, JobSpec};
use pyo3::prelude::*;
use serde::Serialize;
use std::path::PathBuf;

#[pyclass(module = "khub._khub", frozen)]
pub(crate) struct Client(api::Client);

#[pymethods]
impl Client {
    #[new]
    fn new(hub: &str, token: &str) -> PyResult<Self> {
        api::Client::new(hub, token).map(Self).map_err(failed)
    }

    fn me(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |client| client.me())
    }

    fn jobs(&self, py: Python<'_>) -> PyResult<String> {
        self.ask(py, |client| client.jobs())
    }

    fn job(&self, py: Python<'_>, job: &str) -> PyResult<String> {
        let job = job.parse().map_err(failed)?;
        self.ask(py, |client| client.job(job))
    }

    /// The job, once the log has a record after `after`, or as it is after so many seconds.
    fn job_after(&self, py: Python<'_>, job: &str, after: u64, seconds: u64) -> PyResult<String> {
        let job = job.parse().map_err(failed)?;
        let wait = std::time::Duration::from_secs(seconds);
        self.ask(py, |client| client.job_after(job, after, wait))
    }

    fn explain(&self, py: Python<'_>, job: &str) -> PyResult<String> {
        let job = job.parse().map_err(failed)?;
        self.ask(py, |client| client.explain(job))
    }

    fn cancel(&self, py: Python<'_>, job: &str) -> PyResult<()> {
        let job = job.parse().map_err(failed)?;
        self.ask(py, |client| client.cancel(job)).map(drop)
    }

    fn artifacts(&self, py: Python<'_>, project: &str) -> PyResult<String> {
        let project = project.parse().map_err(failed)?;
        self.ask(py, |client| client.artifacts(&project))
    }

    /// Puts an artifact's bytes at `path`, whole or not at all.
    fn fetch(&self, py: Python<'_>, project: &str, digest: &str, path: PathBuf) -> PyResult<u64> {
        let id = ArtifactId {
            project: project.parse().map_err(failed)?,
            digest: digest.parse().map_err(failed)?,
        };
        py.detach(|| self.0.save(&id, &path)).map_err(failed)
    }

    /// Asks for a job, told as JSON; under the same key at most once.
    fn submit(&self, py: Python<'_>, spec: &str, key: &str) -> PyResult<String> {
        let spec: JobSpec = serde_json::from_str(spec).map_err(failed)?;
        py.detach(|| self.0.submit(&spec, key))
            .map(|job| job.to_string())
            .map_err(failed)
    }
}

impl Client {
    fn ask<T: Serialize + Send>(
        &self,
        py: Python<'_>,
        question: impl Fn(&api::Client) -> Result<T, api::ApiError> + Send + Sync,
    ) -> PyResult<String> {
        let answer = py.detach(|| question(&self.0)).map_err(failed)?;
        serde_json::to_string(&answer).map_err(failed)
    }
}
