//! The Python module: the only files that know PyO3. `codecs/_engine.pyi` is the contract.
//!
//! Every method gives up the GIL before it takes the core's lock, so that neither of the two is ever waited for while
//! the other is held.

mod arguments;
mod bus;
mod engine;
mod events;
mod leg;
mod link;
mod mixer;
mod receiver;
mod report;
mod sender;

use crate::h264::Sps;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

create_exception!(orbridge.codecs._engine, ClosedError, PyException, "A call on a handle that was closed.");

fn value_error(text: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(text.to_string())
}

fn closed(what: &str) -> PyErr {
    ClosedError::new_err(format!("this {what} is closed"))
}

/// Versions and build profile.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("crypto", "aws-lc")?;
    info.set_item("opus", crate::audio::opus::version())?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    Ok(info)
}

/// What an H.264 sequence parameter set says.
#[pyfunction]
fn h264_sps<'py>(py: Python<'py>, nal: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let sps = Sps::parse(nal).map_err(value_error)?;
    let dict = PyDict::new(py);
    dict.set_item("width", sps.width)?;
    dict.set_item("height", sps.height)?;
    dict.set_item("profile_idc", sps.profile_idc)?;
    dict.set_item("constraint_flags", sps.constraint_flags)?;
    dict.set_item("level_idc", sps.level_idc)?;
    dict.set_item("max_reorder_frames", sps.max_reorder_frames)?;
    Ok(dict)
}

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("ClosedError", module.py().get_type::<ClosedError>())?;
    module.add_class::<engine::PyEngine>()?;
    module.add_class::<leg::PyLeg>()?;
    module.add_class::<receiver::PyReceiver>()?;
    module.add_class::<sender::PySender>()?;
    module.add_class::<bus::PyPublisher>()?;
    module.add_class::<bus::PySubscription>()?;
    module.add_class::<mixer::PyMixer>()?;
    module.add_class::<mixer::PyMixerOutput>()?;
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_function(wrap_pyfunction!(h264_sps, module)?)
}
