//! Sender: sends a selected track to a leg's peer.

use super::arguments::{narrow, parse_codec, seconds, within, MAX_BPS};
use super::link::{leg_error, peer_error, Link};
use super::{closed, report, value_error};
use crate::leg::SenderCodec;
use crate::payload::Packing;
use crate::unit::{SenderId, TrackId};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What one line of a leg's peer is sent.
#[pyclass(module = "orbridge.codecs._engine", name = "Sender", frozen)]
pub struct PySender {
    link: Link,
    id: SenderId,
    ssrc: u32,
    /// Kept over a re-offer.
    max_payload: Mutex<usize>,
    closed: AtomicBool,
}

impl PySender {
    pub fn new(link: Link, id: SenderId, ssrc: u32, max_payload: usize) -> PySender {
        PySender { link, id, ssrc, max_payload: Mutex::new(max_payload), closed: AtomicBool::new(false) }
    }

    fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) {
            return Err(closed("sender"));
        }
        self.link.check()
    }
}

#[pymethods]
impl PySender {
    #[getter]
    fn id(&self) -> u32 {
        self.id.0
    }

    #[getter]
    fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Send this track from its next key frame on; None: stop.
    #[pyo3(signature = (track_id))]
    fn select(&self, py: Python<'_>, track_id: Option<u32>) -> PyResult<()> {
        self.check()?;
        self.link.with_core(py, |core, now| core.select(self.id, track_id.map(TrackId), now)).map_err(peer_error)
    }

    /// What `select` was told, while that track lives.
    #[getter]
    fn selected(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.check()?;
        Ok(self.link.with_core(py, |core, _| core.selected(self.id)).map(|track| track.0))
    }

    /// False: nothing is sent (hold).
    fn set_enabled(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        self.check()?;
        self.link
            .with_core(py, |core, now| core.set_sender_enabled(self.link.leg, self.id, enabled, now))
            .map_err(peer_error)
    }

    /// After a re-offer; the SSRC stays.
    #[pyo3(signature = (codec, pt, *, clock_hz, packetization_mode = 1, max_nal_bytes = 0, rtx_pt = None, dtmf_pt = None))]
    #[allow(clippy::too_many_arguments)]
    fn set_codec(
        &self,
        py: Python<'_>,
        codec: &str,
        pt: i64,
        clock_hz: i64,
        packetization_mode: i64,
        max_nal_bytes: i64,
        rtx_pt: Option<i64>,
        dtmf_pt: Option<i64>,
    ) -> PyResult<()> {
        self.check()?;
        let max_payload = *self.max_payload.lock();
        let codec = sender_codec(codec, pt, clock_hz, packetization_mode, max_payload, max_nal_bytes, rtx_pt, dtmf_pt)?;
        self.link.with_core(py, |core, now| core.set_codec(self.link.leg, self.id, codec, now)).map_err(peer_error)
    }

    /// Pacing rate; 0: a picture over at most 10 ms.
    fn set_max_bps(&self, py: Python<'_>, bps: i64) -> PyResult<()> {
        self.check()?;
        let bps = within("bps", bps, 0, MAX_BPS)?;
        self.link.with_leg(py, |leg, now, _| leg.set_max_bps(self.id, bps, now))?.map_err(leg_error)
    }

    /// Key presses as RFC 4733 events, queued.
    #[pyo3(signature = (digits, duration_ms = 160, gap_ms = 80))]
    fn send_dtmf(&self, py: Python<'_>, digits: &str, duration_ms: i64, gap_ms: i64) -> PyResult<()> {
        self.check()?;
        let (duration, gap) = (seconds("duration_ms", duration_ms)?, seconds("gap_ms", gap_ms)?);
        self.link
            .with_leg(py, |leg, now, out| leg.send_dtmf(self.id, digits, duration, gap, now, out))?
            .map_err(leg_error)
    }

    /// Figures.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let stats = self.link.with_leg(py, |leg, now, _| leg.sender_stats(self.id, now))?;
        report::sender(py, &stats.ok_or_else(|| closed("sender"))?)
    }

    /// Stop sending; says BYE.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            self.link.with_core(py, |core, now| core.remove_sender(self.link.leg, self.id, now));
        }
    }
}

#[allow(clippy::too_many_arguments)]
pub fn sender_codec(
    codec: &str,
    pt: i64,
    clock_hz: i64,
    packetization_mode: i64,
    max_payload_bytes: usize,
    max_nal_bytes: i64,
    rtx_pt: Option<i64>,
    dtmf_pt: Option<i64>,
) -> PyResult<SenderCodec> {
    if !(0..=1).contains(&packetization_mode) {
        return Err(value_error(format!("packetization_mode must be 0 or 1, not {packetization_mode}")));
    }
    let max_nal_bytes: u32 = narrow("max_nal_bytes", max_nal_bytes)?;
    Ok(SenderCodec {
        codec: parse_codec(codec)?,
        pt: narrow("pt", pt)?,
        clock_hz: narrow("clock_hz", clock_hz)?,
        packing: Packing { mode: packetization_mode as u8, max_payload_bytes, max_nal_bytes: max_nal_bytes as usize },
        rtx_pt: rtx_pt.map(|value| narrow("rtx_pt", value)).transpose()?,
        dtmf_pt: dtmf_pt.map(|value| narrow("dtmf_pt", value)).transpose()?,
    })
}
