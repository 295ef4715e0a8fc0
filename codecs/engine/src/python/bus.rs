//! Publisher and Subscription: media through Python, for the adapters that aren't RTP.

use super::arguments::{narrow, parse_codec, parse_kind, some_tracks};
use super::{closed, value_error};
use crate::core::NewTrack;
use crate::io::poll::{self, Signal};
use crate::io::Engine;
use crate::nal;
use crate::unit::{Codec, QueueId, TrackId, Unit, UnitRef};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

/// The one writer of a stream.
#[pyclass(module = "orbridge.codecs._engine", name = "Publisher", frozen)]
pub struct PyPublisher {
    engine: Arc<Engine>,
    id: u32,
    stream: String,
    /// What each track of ours is told to carry.
    tracks: Mutex<HashMap<u32, Codec>>,
    closed: AtomicBool,
}

impl PyPublisher {
    pub fn new(engine: Arc<Engine>, id: u32, stream: String) -> PyPublisher {
        PyPublisher { engine, id, stream, tracks: Mutex::default(), closed: AtomicBool::new(false) }
    }

    fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) || self.engine.shared.is_closing() {
            return Err(closed("publisher"));
        }
        Ok(())
    }
}

#[pymethods]
impl PyPublisher {
    #[getter]
    fn stream(&self) -> &str {
        &self.stream
    }

    /// A new track of the stream; its id.
    #[pyo3(signature = (kind, codec, *, clock_hz, channels = 1))]
    fn add_track(&self, py: Python<'_>, kind: &str, codec: &str, clock_hz: i64, channels: i64) -> PyResult<u32> {
        self.check()?;
        let (clock_hz, channels) = (narrow("clock_hz", clock_hz)?, narrow("channels", channels)?);
        if clock_hz == 0 || channels == 0 {
            return Err(value_error("clock_hz and channels are at least 1"));
        }
        let kind = parse_kind(kind)?;
        let codec = parse_codec(codec)?;
        let new = NewTrack { kind, codec, clock_hz, channels };
        let id =
            py.detach(|| self.engine.shared.with_core(|core, _| core.add_track(self.id, new))).map_err(value_error)?;
        self.tracks.lock().insert(id.0, codec);
        Ok(id.0)
    }

    /// End one track; its subscribers are told.
    fn remove_track(&self, py: Python<'_>, track_id: u32) -> PyResult<()> {
        self.check()?;
        if self.tracks.lock().remove(&track_id).is_none() {
            return Err(value_error(format!("track {track_id} isn't this publisher's")));
        }
        py.detach(|| self.engine.shared.with_core(|core, now| core.remove_track(TrackId(track_id), now)));
        Ok(())
    }

    /// One access unit from Python.
    #[pyo3(signature = (track_id, pts, payload, *, dts = None, keyframe = true, capture_ns = 0))]
    #[allow(clippy::too_many_arguments)]
    fn write(
        &self,
        py: Python<'_>,
        track_id: u32,
        pts: i64,
        payload: &[u8],
        dts: Option<i64>,
        keyframe: bool,
        capture_ns: u64,
    ) -> PyResult<()> {
        self.check()?;
        let codec = *self
            .tracks
            .lock()
            .get(&track_id)
            .ok_or_else(|| value_error(format!("track {track_id} isn't this publisher's")))?;
        if pts < 0 || dts.is_some_and(|dts| dts < 0) {
            return Err(value_error("pts and dts are never negative"));
        }
        if payload.is_empty() {
            return Err(value_error("an access unit has at least one byte"));
        }
        let nals = match codec {
            Codec::H264 | Codec::H265 => nal::index(payload).map_err(value_error)?,
            _ => Box::default(),
        };
        let unit = Unit {
            track: TrackId(track_id),
            codec,
            pts,
            dts: dts.unwrap_or(pts),
            keyframe: keyframe || !codec.is_video(),
            contiguous: true,
            capture: capture_ns,
            arrival: poll::now(),
            payload: payload.into(),
            nals,
            level: None,
        };
        py.detach(|| self.engine.shared.submit(&mut vec![unit]));
        Ok(())
    }

    /// End the stream and its tracks.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            py.detach(|| self.engine.shared.with_core(|core, now| core.close_stream(self.id, now)));
        }
    }
}

/// Units for Python, in batches, woken on a timer.
#[pyclass(module = "orbridge.codecs._engine", name = "Subscription", frozen)]
pub struct PySubscription {
    engine: Arc<Engine>,
    id: QueueId,
    signal: Arc<Signal>,
    closed: AtomicBool,
}

impl PySubscription {
    pub fn open(
        engine: Arc<Engine>,
        tracks: &[TrackId],
        queue_ms: u64,
        queue_bytes: usize,
        wake_ms: u64,
        from_cache: bool,
    ) -> PyResult<PySubscription> {
        let signal = Arc::new(Signal::new()?);
        let limit = (queue_ms * 1_000_000, queue_bytes);
        let shared = &engine.shared;
        let id = shared.subscribe(tracks, limit, wake_ms * 1_000_000, from_cache, &signal).map_err(value_error)?;
        Ok(PySubscription { engine, id, signal, closed: AtomicBool::new(false) })
    }

    fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) || self.engine.shared.is_closing() {
            return Err(closed("subscription"));
        }
        Ok(())
    }
}

type UnitTuple<'py> = (u32, i64, i64, bool, bool, u64, u64, Bound<'py, PyBytes>);

#[pymethods]
impl PySubscription {
    #[getter]
    fn id(&self) -> u32 {
        self.id.0
    }

    /// Readable when `take` has something or the subscription ended.
    fn fileno(&self) -> i32 {
        self.signal.raw()
    }

    /// What is queued, oldest first.
    #[pyo3(signature = (limit = 256))]
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<UnitTuple<'py>>> {
        self.check()?;
        let units: Vec<UnitRef> = py.detach(|| self.engine.shared.take_units(self.id, &self.signal, limit));
        Ok(units
            .iter()
            .map(|unit| {
                let payload = PyBytes::new(py, &unit.payload);
                (unit.track.0, unit.pts, unit.dts, unit.keyframe, unit.contiguous, unit.capture, unit.arrival, payload)
            })
            .collect())
    }

    /// Hear these tracks and no others from now on.
    #[pyo3(signature = (track_ids, *, from_cache = false))]
    fn select(&self, py: Python<'_>, track_ids: Vec<u32>, from_cache: bool) -> PyResult<()> {
        self.check()?;
        let tracks = some_tracks(track_ids)?;
        let selected =
            py.detach(|| self.engine.shared.with_core(|core, now| core.reselect(self.id, &tracks, from_cache, now)));
        selected.map_err(value_error)
    }

    /// Every track of it is gone and everything was taken.
    #[getter]
    fn ended(&self, py: Python<'_>) -> bool {
        self.check().is_err()
            || py.detach(|| {
                self.engine
                    .shared
                    .with_core(|core, _| core.bus.reader(self.id).is_none_or(|reader| reader.queue.ended()))
            })
    }

    /// tracks, queued_units, queued_bytes, queue_ms, taken, dropped.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let figures = py.detach(|| {
            self.engine.shared.with_core(|core, now| {
                let queue = &core.bus.reader(self.id)?.queue;
                Some((queue.tracks(), queue.len(), queue.bytes(), queue.age(now) / 1_000_000, queue.counts))
            })
        });
        let (tracks, units, bytes, ms, counts) = figures.ok_or_else(|| closed("subscription"))?;
        let dict = PyDict::new(py);
        dict.set_item("tracks", tracks.iter().map(|track| track.0).collect::<Vec<_>>())?;
        dict.set_item("queued_units", units)?;
        dict.set_item("queued_bytes", bytes)?;
        dict.set_item("queue_ms", ms)?;
        dict.set_item("taken", counts.taken)?;
        dict.set_item("dropped", counts.dropped)?;
        Ok(dict)
    }

    /// Stop hearing.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            py.detach(|| self.engine.shared.close_reader(self.id));
        }
    }
}

impl Drop for PySubscription {
    fn drop(&mut self) {
        // A forgotten subscription must not go on filling a queue that nobody reads.
        if !*self.closed.get_mut() {
            self.engine.shared.close_reader(self.id);
        }
    }
}
