//! The Rust half of the wheel `khub`: everything on which the sites have to agree to the bit. The line to the
//! site, the codec, the outer step, the checkpoint and the data order are those of khub's own programs;
//! `khub/` beside it is PyTorch's half, which moves tensors in and out.
//!
//! ```text
//! seat.rs    a program's place at its site: orders in, answers out, rounds applied and saved
//! state.rs   what it keeps between rounds
//! twin.rs    jobs of khub's own language models, trained by PyTorch
//! client.rs  the hub, for scripts and notebooks
//! ```

#![allow(clippy::needless_pass_by_value, reason = "what comes from Python is ours")]

mod client;
mod seat;
mod state;
mod twin;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::fmt::Display;

pyo3::create_exception!(
    khub,
    Error,
    PyRuntimeError,
    "What khub says when it can't do what was asked."
);

/// An error of ours in Python.
pub(crate) fn failed(why: impl Display) -> PyErr {
    Error::new_err(why.to_string())
}

#[pymodule]
fn _khub(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Error", module.py().get_type::<Error>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<seat::Seat>()?;
    module.add_class::<twin::Twin>()?;
    module.add_class::<client::Client>()?;
    module.add_function(wrap_pyfunction!(twin::layout, module)?)?;
    module.add_function(wrap_pyfunction!(samples, module)?)
}

/// Which samples of `count` stand at positions `first` to `end` of the data order: the same at every site.
#[pyfunction]
fn samples(count: u64, seed: u64, first: u64, end: u64) -> PyResult<Vec<u64>> {
    if !(1..=1 << 62).contains(&count) {
        return Err(failed(format_args!(
            "an order of {count} samples: it takes 1 or more"
        )));
    }
    let order = train::Order::new(count, seed);
    Ok((first..end).map(|position| order.sample(position)).collect())
}
