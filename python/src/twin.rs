//! Jobs of khub's own language models: what PyTorch needs to train the very same model.

use crate::failed;
use crate::seat::Seat;
use language::ModelConfig;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::Arc;
use sync::JobFolder;

/// A tensor's name, its shape, and whether it is transposed on its way.
type Placed = (String, Vec<usize>, bool);

#[pyclass(module = "khub._khub", frozen)]
pub(crate) struct Twin(pub(crate) Arc<language::Twin>);

#[pymethods]
impl Twin {
    #[new]
    fn new(folder: PathBuf) -> PyResult<Self> {
        language::Twin::open(&JobFolder::new(folder))
            .map(|twin| Self(Arc::new(twin)))
            .map_err(failed)
    }

    /// The settings with their defaults, as JSON.
    #[getter]
    fn settings(&self) -> PyResult<String> {
        serde_json::to_string(self.0.settings()).map_err(failed)
    }

    /// `config.json` of `transformers`.
    #[getter]
    fn config(&self) -> PyResult<String> {
        self.0
            .config()
            .to_transformers(0)
            .map(|json| json.to_string())
            .map_err(failed)
    }

    #[getter]
    fn layout(&self) -> PyResult<Vec<Placed>> {
        placed(self.0.config())
    }

    /// How many samples there are.
    fn __len__(&self) -> usize {
        usize::try_from(self.0.samples()).unwrap_or(usize::MAX)
    }

    /// The tokens of a sample, as 32-bit integers.
    fn sample<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Bound<'py, PyBytes>> {
        let tokens = self.0.sample(number);
        let tokens = tokens.ok_or_else(|| failed(format_args!("there is no sample {number}")))?;
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        Ok(PyBytes::new(py, &bytes))
    }

    /// The learning rate of a step of the schedule.
    fn rate(&self, step: u64) -> f32 {
        self.0.rate(step)
    }

    /// Gives the seat the weights before the first round.
    fn begin(&self, py: Python<'_>, seat: &Seat) -> PyResult<()> {
        let weights = py.detach(|| self.0.first_weights());
        seat.begin(&weights)
    }

    /// Judges what was trained and writes the job's results; returns what was written, as JSON.
    fn finish(&self, py: Python<'_>, seat: &Seat) -> PyResult<String> {
        let written = py.detach(|| self.0.finish(&seat.agreed()));
        serde_json::to_string(&written.map_err(failed)?).map_err(failed)
    }
}

/// The tensors of a model of khub's families, whose shape is told as JSON.
#[pyfunction]
pub(crate) fn layout(config: &str) -> PyResult<Vec<Placed>> {
    let config: ModelConfig = serde_json::from_str(config).map_err(failed)?;
    placed(&config)
}

fn placed(config: &ModelConfig) -> PyResult<Vec<Placed>> {
    let placed = config.placed().map_err(failed)?.into_iter();
    Ok(placed.map(|one| (one.name, one.shape, one.transposed)).collect())
}
