//! Receiver: feeds a track from a leg.

use super::arguments::{payload_types, within, MAX_BPS};
use super::link::{leg_error, peer_error, Link};
use super::{closed, report};
use crate::unit::ReceiverId;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What one track of a leg's peer brings.
#[pyclass(module = "orbridge.codecs._engine", name = "Receiver", frozen)]
pub struct PyReceiver {
    link: Link,
    id: ReceiverId,
    closed: AtomicBool,
}

impl PyReceiver {
    pub fn new(link: Link, id: ReceiverId) -> PyReceiver {
        PyReceiver { link, id, closed: AtomicBool::new(false) }
    }

    fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) {
            return Err(closed("receiver"));
        }
        self.link.check()
    }
}

#[pymethods]
impl PyReceiver {
    #[getter]
    fn id(&self) -> u32 {
        self.id.0
    }

    #[getter]
    fn ssrc(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.check()?;
        self.link.with_leg(py, |leg, _, _| leg.receiver_ssrc(self.id))
    }

    /// After a re-offer.
    #[pyo3(signature = (payload_types, rtx = None, dtmf_pt = None))]
    fn set_payload_types(
        &self,
        py: Python<'_>,
        payload_types: HashMap<i64, String>,
        rtx: Option<HashMap<i64, i64>>,
        dtmf_pt: Option<i64>,
    ) -> PyResult<()> {
        self.check()?;
        let types = self::payload_types(payload_types, rtx, dtmf_pt)?;
        self.link
            .with_core(py, |core, now| core.set_payload_types(self.link.leg, self.id, types, now))
            .map_err(peer_error)
    }

    /// False: packets are counted and dropped (hold).
    fn set_enabled(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        self.check()?;
        self.link.with_leg(py, |leg, _, _| leg.set_receiver_enabled(self.id, enabled))?.map_err(leg_error)
    }

    /// What the peer is told that we can take.
    fn set_remb(&self, py: Python<'_>, bps: i64) -> PyResult<()> {
        self.check()?;
        let bps = within("bps", bps, 0, MAX_BPS)?;
        self.link.with_leg(py, |leg, now, out| leg.set_remb(self.id, bps, now, out))?.map_err(leg_error)
    }

    /// Figures.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let stats = self.link.with_leg(py, |leg, now, _| leg.receiver_stats(self.id, now))?;
        report::receiver(py, &stats.ok_or_else(|| closed("receiver"))?)
    }

    /// Stop feeding the track.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            self.link.with_core(py, |core, now| core.remove_receiver(self.link.leg, self.id, now));
        }
    }
}
