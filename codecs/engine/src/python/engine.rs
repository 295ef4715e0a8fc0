//! Engine: the media thread, its sockets and the bus.

use super::arguments::{parse_host, parse_kind, some_tracks, within};
use super::bus::{PyPublisher, PySubscription};
use super::leg::PyLeg;
use super::mixer::PyMixer;
use super::{closed, events, report, value_error};
use crate::io::{poll, Config, Engine};
use crate::leg::LegConfig;
use crate::mixer_thread::MixerThreads;
use crate::unit::{LegId, TrackId};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// The media thread, its sockets and the bus.
#[pyclass(module = "orbridge.codecs._engine", name = "Engine", frozen)]
pub struct PyEngine {
    engine: Arc<Engine>,
    mixers: Arc<MixerThreads>,
}

impl PyEngine {
    fn check(&self) -> PyResult<()> {
        if self.engine.shared.is_closing() {
            return Err(closed("engine"));
        }
        Ok(())
    }
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (*, udp_ports = (20_000, 29_999), gso = true, receive_buffer_bytes = 4_194_304))]
    fn new(py: Python<'_>, udp_ports: (i64, i64), gso: bool, receive_buffer_bytes: i64) -> PyResult<PyEngine> {
        let (low, high) = udp_ports;
        if low < 1024 || low >= high || high > 65_535 {
            return Err(value_error(format!(
                "udp_ports ({low}, {high}) must be two ports from 1024 up, the lower first"
            )));
        }
        let buffer = within("receive_buffer_bytes", receive_buffer_bytes, 65_536, 1 << 30)?;
        let config = Config { udp_ports: (low as u16, high as u16), gso, receive_buffer_bytes: buffer as u32 };
        let engine = Arc::new(py.detach(|| Engine::start(&config))?);
        let mixers = Arc::new(MixerThreads::new(engine.shared.clone()));
        Ok(PyEngine { engine, mixers })
    }

    /// Readable when `drain` has something.
    fn fileno(&self) -> i32 {
        self.engine.shared.events.signal.raw()
    }

    /// Events, oldest first.
    #[pyo3(signature = (limit = 4096))]
    fn drain<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let taken = py.detach(|| self.engine.shared.events.take(limit));
        taken.into_iter().map(|event| events::to_tuple(py, event)).collect()
    }

    /// Bind a UDP socket, or a pair, on a free port.
    #[pyo3(signature = (host, *, rtcp = "mux", secure = false, learn = true, silence_ms = 5000, dscp = 0, label = ""))]
    #[allow(clippy::too_many_arguments)]
    fn open_leg(
        &self,
        py: Python<'_>,
        host: &str,
        rtcp: &str,
        secure: bool,
        learn: bool,
        silence_ms: i64,
        dscp: i64,
        label: &str,
    ) -> PyResult<PyLeg> {
        self.check()?;
        let address = parse_host(host)?;
        let pair = match rtcp {
            "mux" => false,
            "pair" => true,
            _ => return Err(value_error(format!("rtcp {rtcp:?} is neither \"mux\" nor \"pair\""))),
        };
        let dscp = within("dscp", dscp, 0, 63)? as u8;
        let silence_ms = within("silence_ms", silence_ms, 100, 3_600_000)? as u32;
        let unix_offset_ns = poll::unix_offset();
        let config = LegConfig { secure, learn, silence_ms, rtcp_mux: !pair, label: label.to_owned(), unix_offset_ns };
        let shared = &self.engine.shared;
        let (id, rtp, rtcp) = py.detach(|| {
            shared.open_sockets(address, pair, dscp, |core, _, _, now| {
                Ok::<LegId, std::io::Error>(core.open_leg(config, now))
            })
        })?;
        Ok(PyLeg::new(self.engine.clone(), id, rtp, rtcp.unwrap_or(rtp).port()))
    }

    /// A new stream without tracks.
    #[pyo3(signature = (stream, *, cache_ms = 12_000, cache_bytes = 8_388_608))]
    fn publish(&self, py: Python<'_>, stream: &str, cache_ms: i64, cache_bytes: i64) -> PyResult<PyPublisher> {
        self.check()?;
        let cache_ms = within("cache_ms", cache_ms, 0, 120_000)?;
        let cache_bytes = within("cache_bytes", cache_bytes, 0, 1 << 30)? as usize;
        let opened = py.detach(|| {
            self.engine
                .shared
                .with_core(|core, now| core.publish_stream(stream, cache_ms * 1_000_000, cache_bytes, now))
        });
        Ok(PyPublisher::new(self.engine.clone(), opened.map_err(value_error)?, stream.to_owned()))
    }

    /// Id of that stream's current track.
    fn track(&self, py: Python<'_>, stream: &str, kind: &str) -> PyResult<Option<u32>> {
        self.check()?;
        let kind = parse_kind(kind)?;
        Ok(py.detach(|| self.engine.shared.with_core(|core, _| core.bus.find(stream, kind.is_video()))).map(|id| id.0))
    }

    /// Name of the stream that a track belongs to.
    fn stream_of(&self, py: Python<'_>, track_id: u32) -> PyResult<Option<String>> {
        self.check()?;
        Ok(py.detach(|| {
            self.engine.shared.with_core(|core, _| {
                let track = core.bus.track(TrackId(track_id)).ok()?;
                core.bus.stream(track.stream).map(|stream| stream.name.clone())
            })
        }))
    }

    /// One dict a stream, of all or of those named.
    #[pyo3(signature = (names = None))]
    fn streams<'py>(&self, py: Python<'py>, names: Option<Vec<String>>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.check()?;
        report::streams(py, &self.engine, names.as_deref())
    }

    /// Units of these tracks for Python.
    #[pyo3(signature = (track_ids, *, queue_ms = 2000, queue_bytes = 4_194_304, wake_ms = 20, from_cache = true))]
    #[allow(clippy::too_many_arguments)]
    fn subscribe(
        &self,
        py: Python<'_>,
        track_ids: Vec<u32>,
        queue_ms: i64,
        queue_bytes: i64,
        wake_ms: i64,
        from_cache: bool,
    ) -> PyResult<PySubscription> {
        self.check()?;
        let queue_ms = within("queue_ms", queue_ms, 10, 600_000)?;
        let queue_bytes = within("queue_bytes", queue_bytes, 1024, 1 << 30)? as usize;
        let wake_ms = within("wake_ms", wake_ms, 0, 10_000)?;
        let tracks = some_tracks(track_ids)?;
        py.detach(|| PySubscription::open(self.engine.clone(), &tracks, queue_ms, queue_bytes, wake_ms, from_cache))
    }

    /// A mixer on its own thread.
    #[pyo3(signature = (*, label = ""))]
    fn open_mixer(&self, py: Python<'_>, label: &str) -> PyResult<PyMixer> {
        self.check()?;
        py.detach(|| PyMixer::open(self.engine.clone(), self.mixers.clone(), label))
    }

    /// Ask a track's source for a key frame.
    fn want_keyframe(&self, py: Python<'_>, track_id: u32) -> PyResult<()> {
        self.check()?;
        py.detach(|| self.engine.shared.with_core(|core, now| core.want_keyframe(TrackId(track_id), now)))
            .map_err(value_error)
    }

    /// SPS and PPS known from signalling.
    fn set_parameter_sets(&self, py: Python<'_>, track_id: u32, nals: Vec<Bound<'_, PyBytes>>) -> PyResult<()> {
        self.check()?;
        let nals: Vec<Vec<u8>> = nals.iter().map(|nal| nal.as_bytes().to_vec()).collect();
        py.detach(|| self.engine.shared.with_core(|core, _| core.set_parameter_sets(TrackId(track_id), &nals)))
            .map_err(value_error)
    }

    /// Totals.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let shared = &self.engine.shared;
        let (totals, cpu_ns, mixer_cpu_ns) =
            py.detach(|| (shared.with_core(|core, _| core.totals()), self.engine.cpu_ns(), self.mixers.cpu_ns()));
        let counters = &shared.counters;
        let dict = PyDict::new(py);
        dict.set_item("legs", totals.legs)?;
        dict.set_item("streams", totals.streams)?;
        dict.set_item("subscribers", totals.subscribers)?;
        for (name, counter) in [
            ("packets_in", &counters.packets_in),
            ("packets_out", &counters.packets_out),
            ("bytes_in", &counters.bytes_in),
            ("bytes_out", &counters.bytes_out),
            ("dropped_out", &counters.dropped_out),
            ("units_dropped", &counters.units_dropped),
            ("send_calls", &counters.send_calls),
            ("refused", &counters.refused),
            ("wakeups", &counters.wakeups),
        ] {
            dict.set_item(name, counter.load(Relaxed))?;
        }
        dict.set_item("cpu_ns", cpu_ns)?;
        dict.set_item("mixer_cpu_ns", mixer_cpu_ns)?;
        dict.set_item("rejected", totals.rejected)?;
        dict.set_item("events_dropped", shared.events.dropped())?;
        dict.set_item("loop_max_us", counters.loop_max_ns.swap(0, Relaxed) / 1000)?;
        Ok(dict)
    }

    /// Stop the threads and close every socket.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            self.mixers.close();
            self.engine.close();
        });
    }
}

impl Drop for PyEngine {
    fn drop(&mut self) {
        self.mixers.close();
        self.engine.close();
    }
}
