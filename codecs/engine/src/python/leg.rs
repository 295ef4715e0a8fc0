//! Leg: one RTP transport to one peer.

use super::arguments::{narrow, parse_host, payload_types, port, within, MAX_BPS};
use super::link::{leg_error, peer_error, Link};
use super::receiver::PyReceiver;
use super::sender::{sender_codec, PySender};
use super::{closed, report, value_error};
use crate::io::Engine;
use crate::leg::{ReceiverConfig, SenderConfig};
use crate::output::Path;
use crate::srtp::Profile;
use crate::unit::{LegId, ReceiverId, SenderId, TrackId};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// One RTP transport to one peer.
#[pyclass(module = "orbridge.codecs._engine", name = "Leg", frozen)]
pub struct PyLeg {
    link: Link,
    address: Mutex<SocketAddr>,
    /// Of a pair; otherwise RTCP uses the RTP port.
    rtcp_port: Option<u16>,
}

impl PyLeg {
    pub fn new(engine: Arc<Engine>, leg: LegId, address: SocketAddr, rtcp_port: u16) -> PyLeg {
        let rtcp_port = (rtcp_port != address.port()).then_some(rtcp_port);
        PyLeg { link: Link { engine, leg, closed: Arc::default() }, address: Mutex::new(address), rtcp_port }
    }
}

#[pymethods]
impl PyLeg {
    #[getter]
    fn id(&self) -> u32 {
        self.link.leg.0
    }

    #[getter]
    fn host(&self) -> String {
        self.address().ip().to_string()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.address().port()
    }

    #[getter]
    fn rtcp_port(&self) -> u16 {
        self.rtcp_port.unwrap_or_else(|| self.address().port())
    }

    /// Swap the sockets of two legs.
    fn exchange_sockets(&self, other: PyRef<'_, PyLeg>) -> PyResult<()> {
        self.link.check()?;
        other.link.check()?;
        if self.link.leg == other.link.leg || !Arc::ptr_eq(&self.link.engine, &other.link.engine) {
            return Err(value_error("sockets are exchanged between two legs of one engine"));
        }
        if self.rtcp_port.is_some() || other.rtcp_port.is_some() {
            return Err(value_error("sockets are exchanged between legs with rtcp=\"mux\""));
        }
        let (ours, theirs) = (self.address(), other.address());
        *self.address.lock() = theirs;
        *other.address.lock() = ours;
        self.link.engine.shared.exchange_sockets(self.link.leg, other.link.leg);
        Ok(())
    }

    /// Where signalling says the peer is.
    #[pyo3(signature = (host, port, *, rtcp_host = None, rtcp_port = None))]
    fn set_peer(
        &self,
        py: Python<'_>,
        host: &str,
        port: i64,
        rtcp_host: Option<&str>,
        rtcp_port: Option<i64>,
    ) -> PyResult<()> {
        let rtp = self.peer(host, port)?;
        let rtcp = match (rtcp_host, rtcp_port) {
            (None, None) => None,
            (Some(_), None) => return Err(value_error("rtcp_host needs rtcp_port")),
            (rtcp_host, Some(rtcp_port)) => Some(self.peer(rtcp_host.unwrap_or(host), rtcp_port)?),
        };
        self.link.with_leg(py, |leg, now, out| leg.set_peer(rtp, rtcp, now, out))
    }

    /// Whether RTCP goes to the RTP address (RFC 5761).
    fn set_rtcp_mux(&self, py: Python<'_>, mux: bool) -> PyResult<()> {
        self.link.with_leg(py, |leg, _, _| leg.set_rtcp_mux(mux))
    }

    /// Master key followed by master salt, each way.
    fn set_keys(&self, py: Python<'_>, profile: &str, outbound: &[u8], inbound: &[u8]) -> PyResult<()> {
        let profile =
            Profile::from_name(profile).ok_or_else(|| value_error(format!("SRTP profile {profile:?} is not known")))?;
        self.link.with_leg(py, |leg, _, _| leg.set_keys(profile, outbound, inbound))?.map_err(leg_error)
    }

    /// Plain RTP from now on.
    fn clear_keys(&self, py: Python<'_>) -> PyResult<()> {
        self.link.with_leg(py, |leg, _, _| leg.clear_keys())
    }

    /// STUN or DTLS out of the RTP socket.
    fn send_datagram(&self, py: Python<'_>, data: &[u8], host: &str, port: i64) -> PyResult<()> {
        let to = self.peer(host, port)?;
        if data.is_empty() || data.len() > 65_000 {
            return Err(value_error("a datagram has 1 to 65000 bytes"));
        }
        self.link.check()?;
        let leg = self.link.leg;
        self.link.with_core(py, |core, _| core.out.push_datagram(leg, Path::Rtp, to, data));
        Ok(())
    }

    /// Feed a track of a Publisher from this leg.
    #[pyo3(signature = (track_id, *, payload_types, rtx = None, dtmf_pt = None, ssrc = None, rtx_ssrc = None, mid = None,
        mid_ext = None, audio_level_ext = None, nack = false, pli = false, fir = false, remb_bps = 0))]
    #[allow(clippy::too_many_arguments)]
    fn add_receiver(
        &self,
        py: Python<'_>,
        track_id: u32,
        payload_types: HashMap<i64, String>,
        rtx: Option<HashMap<i64, i64>>,
        dtmf_pt: Option<i64>,
        ssrc: Option<i64>,
        rtx_ssrc: Option<i64>,
        mid: Option<String>,
        mid_ext: Option<i64>,
        audio_level_ext: Option<i64>,
        nack: bool,
        pli: bool,
        fir: bool,
        remb_bps: i64,
    ) -> PyResult<PyReceiver> {
        self.link.check()?;
        let config = ReceiverConfig {
            id: ReceiverId(0),
            track: TrackId(track_id),
            clock_hz: 0,
            payload_types: self::payload_types(payload_types, rtx, dtmf_pt)?,
            ssrc: ssrc.map(|value| narrow("ssrc", value)).transpose()?,
            rtx_ssrc: rtx_ssrc.map(|value| narrow("rtx_ssrc", value)).transpose()?,
            mid,
            mid_ext: mid_ext.map(|value| narrow("mid_ext", value)).transpose()?,
            audio_level_ext: audio_level_ext.map(|value| narrow("audio_level_ext", value)).transpose()?,
            nack,
            pli,
            fir,
            remb_bps: within("remb_bps", remb_bps, 0, MAX_BPS)?,
        };
        let leg = self.link.leg;
        let id = self.link.with_core(py, |core, now| core.add_receiver(leg, config, now)).map_err(peer_error)?;
        Ok(PyReceiver::new(self.link.clone(), id))
    }

    /// Send one codec to the peer; silent until `select`.
    #[pyo3(signature = (codec, pt, *, clock_hz, ssrc, cname, packetization_mode = 1, max_payload_bytes = 1200, max_nal_bytes = 0,
        rtx_pt = None, rtx_ssrc = None, dtmf_pt = None, mid = None, mid_ext = None, audio_level_ext = None, max_bps = 0, history_ms = 1000))]
    #[allow(clippy::too_many_arguments)]
    fn add_sender(
        &self,
        py: Python<'_>,
        codec: &str,
        pt: i64,
        clock_hz: i64,
        ssrc: i64,
        cname: String,
        packetization_mode: i64,
        max_payload_bytes: i64,
        max_nal_bytes: i64,
        rtx_pt: Option<i64>,
        rtx_ssrc: Option<i64>,
        dtmf_pt: Option<i64>,
        mid: Option<String>,
        mid_ext: Option<i64>,
        audio_level_ext: Option<i64>,
        max_bps: i64,
        history_ms: i64,
    ) -> PyResult<PySender> {
        self.link.check()?;
        if !(100..=65_000).contains(&max_payload_bytes) {
            return Err(value_error(format!("max_payload_bytes must be 100 to 65000, not {max_payload_bytes}")));
        }
        if !(0..=60_000).contains(&history_ms) {
            return Err(value_error(format!("history_ms must be 0 to 60000, not {history_ms}")));
        }
        let codec = sender_codec(
            codec,
            pt,
            clock_hz,
            packetization_mode,
            max_payload_bytes as usize,
            max_nal_bytes,
            rtx_pt,
            dtmf_pt,
        )?;
        let config = SenderConfig {
            id: SenderId(0),
            codec,
            ssrc: narrow("ssrc", ssrc)?,
            rtx_ssrc: rtx_ssrc.map(|value| narrow("rtx_ssrc", value)).transpose()?,
            cname,
            mid,
            mid_ext: mid_ext.map(|value| narrow("mid_ext", value)).transpose()?,
            audio_level_ext: audio_level_ext.map(|value| narrow("audio_level_ext", value)).transpose()?,
            max_bps: within("max_bps", max_bps, 0, MAX_BPS)?,
            history_ms: history_ms as u32,
        };
        let (leg, ssrc) = (self.link.leg, config.ssrc);
        let id = self.link.with_core(py, |core, now| core.add_sender(leg, config, now)).map_err(peer_error)?;
        Ok(PySender::new(self.link.clone(), id, ssrc, max_payload_bytes as usize))
    }

    /// Figures of the leg, its receivers and senders.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.link.check()?;
        let leg = self.link.leg;
        let figures = self.link.with_core(py, |core, now| core.leg_figures(leg, now)).ok_or_else(|| closed("leg"))?;
        report::leg(py, &figures, self.address())
    }

    /// Sends RTCP BYE, then closes.
    fn close(&self, py: Python<'_>) {
        if !self.link.closed.swap(true, Relaxed) {
            let leg = self.link.leg;
            self.link.with_core(py, |core, now| core.close_leg(leg, now));
        }
    }
}

impl PyLeg {
    fn address(&self) -> SocketAddr {
        *self.address.lock()
    }

    /// An address that this leg's socket can reach.
    fn peer(&self, host: &str, port: i64) -> PyResult<SocketAddr> {
        let address = SocketAddr::new(parse_host(host)?, self::port(port)?);
        let ours = self.address();
        if address.is_ipv4() != ours.is_ipv4() {
            return Err(value_error(format!("{address} can't be reached from {ours}: IPv4 and IPv6 don't mix")));
        }
        Ok(address)
    }
}
