//! Mixer and MixerOutput.

use super::{closed, report, value_error};
use crate::audio::{MixError, OutputId, OutputSpec, MAX_INPUTS};
use crate::core::{MediaKind, NewTrack};
use crate::io::Engine;
use crate::mixer_thread::{Cell, MixerThreads, QUEUE_BYTES, QUEUE_LIMIT};
use crate::unit::{Codec, TrackId};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

/// Decodes every input once and gives each output everybody but whom it excludes.
#[pyclass(module = "orbridge.codecs._engine", name = "Mixer", frozen)]
pub struct PyMixer {
    engine: Arc<Engine>,
    cell: Arc<Cell>,
    closed: Arc<AtomicBool>,
}

fn mix_error(error: MixError) -> PyErr {
    value_error(match error {
        MixError::TooManyInputs(count) => format!("a mixer has at most {MAX_INPUTS} inputs, not {count}"),
        MixError::Codec(codec) => format!("the mixer has no encoder for {}", codec.name()),
        MixError::OutputExists(id) | MixError::UnknownOutput(id) => format!("output {} is taken or unknown", id.0),
    })
}

fn track_ids(ids: Vec<u32>) -> Vec<TrackId> {
    ids.into_iter().map(TrackId).collect()
}

impl PyMixer {
    pub fn open(engine: Arc<Engine>, threads: Arc<MixerThreads>, label: &str) -> PyResult<PyMixer> {
        let limit = (QUEUE_LIMIT, QUEUE_BYTES);
        let queue =
            engine.shared.with_core(|core, now| core.subscribe(&[], limit, None, false, now)).map_err(value_error)?;
        let cell = threads.open(queue, label)?;
        Ok(PyMixer { engine, cell, closed: Arc::default() })
    }

    fn check(&self) -> PyResult<()> {
        if self.closed.load(Relaxed) || self.engine.shared.is_closing() {
            return Err(closed("mixer"));
        }
        Ok(())
    }
}

#[pymethods]
impl PyMixer {
    #[getter]
    fn id(&self) -> u32 {
        self.cell.queue.0
    }

    /// These tracks and no others.
    fn set_inputs(&self, py: Python<'_>, track_ids: Vec<u32>) -> PyResult<()> {
        self.check()?;
        let tracks = self::track_ids(track_ids);
        py.detach(|| {
            let mut inner = self.cell.inner.lock();
            if tracks.len() > MAX_INPUTS {
                return Err(mix_error(MixError::TooManyInputs(tracks.len())));
            }
            self.engine
                .shared
                .with_core(|core, _| {
                    for track in &tracks {
                        let heard = core.bus.track(*track)?;
                        if heard.video {
                            return Err(crate::bus::BusError::NotAudio(*track));
                        }
                        if crate::audio::codec::format(heard.codec).is_none() {
                            return Err(crate::bus::BusError::NotMixed(*track, heard.codec));
                        }
                    }
                    for &gone in inner.inputs.iter().filter(|track| !tracks.contains(track)) {
                        core.bus.unlisten(self.cell.queue, gone);
                    }
                    tracks.iter().try_for_each(|&track| core.bus.listen(self.cell.queue, track))
                })
                .map_err(value_error)?;
            inner.mixer.set_inputs(&tracks).map_err(mix_error)?;
            inner.inputs = tracks;
            Ok(())
        })
    }

    /// Publish a stream with everybody but some.
    #[pyo3(signature = (stream, codec, *, exclude = Vec::new(), bitrate_bps = 32_000))]
    fn add_output(
        &self,
        py: Python<'_>,
        stream: &str,
        codec: &str,
        exclude: Vec<u32>,
        bitrate_bps: i64,
    ) -> PyResult<PyMixerOutput> {
        self.check()?;
        let bitrate_bps = super::arguments::within("bitrate_bps", bitrate_bps, 6000, 510_000)? as u32;
        let codec = super::arguments::parse_codec(codec)?;
        let (clock_hz, channels) = match codec {
            Codec::Opus => (48_000, 2),
            Codec::G722 | Codec::Pcma | Codec::Pcmu => (8000, 1),
            other => return Err(mix_error(MixError::Codec(other))),
        };
        py.detach(|| {
            let mut inner = self.cell.inner.lock();
            let new = NewTrack { kind: MediaKind::Audio, codec, clock_hz, channels };
            let (stream, track) = self
                .engine
                .shared
                .with_core(|core, now| {
                    let id = core.publish_stream(stream, 0, 0, now)?;
                    Ok((id, core.add_track(id, new)?))
                })
                .map_err(|error: crate::bus::BusError| value_error(error))?;
            let spec = OutputSpec { id: OutputId(stream), track, codec, bitrate_bps, exclude: track_ids(exclude) };
            if let Err(error) = inner.mixer.add_output(spec) {
                self.engine.shared.with_core(|core, now| core.close_stream(stream, now));
                return Err(mix_error(error));
            }
            inner.outputs.push((OutputId(stream), stream));
            Ok(PyMixerOutput {
                engine: self.engine.clone(),
                cell: self.cell.clone(),
                mixer_closed: self.closed.clone(),
                stream,
                track,
                closed: AtomicBool::new(false),
            })
        })
    }

    /// Inputs, outputs, ticks.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        report::mixer(py, &self.engine, &self.cell)
    }

    /// End it and the streams of its outputs.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            py.detach(|| {
                self.cell.close();
                let outputs = std::mem::take(&mut self.cell.inner.lock().outputs);
                self.engine.shared.with_core(|core, now| {
                    core.close_reader(self.cell.queue);
                    for (_, stream) in outputs {
                        core.close_stream(stream, now);
                    }
                });
            });
        }
    }
}

/// One mix, published as a stream.
#[pyclass(module = "orbridge.codecs._engine", name = "MixerOutput", frozen)]
pub struct PyMixerOutput {
    engine: Arc<Engine>,
    cell: Arc<Cell>,
    mixer_closed: Arc<AtomicBool>,
    stream: u32,
    track: TrackId,
    closed: AtomicBool,
}

#[pymethods]
impl PyMixerOutput {
    #[getter]
    fn track_id(&self) -> u32 {
        self.track.0
    }

    /// Inputs that this mix leaves out.
    fn set_exclude(&self, py: Python<'_>, track_ids: Vec<u32>) -> PyResult<()> {
        if self.closed.load(Relaxed) || self.mixer_closed.load(Relaxed) || self.engine.shared.is_closing() {
            return Err(closed("mixer output"));
        }
        let tracks = self::track_ids(track_ids);
        py.detach(|| self.cell.inner.lock().mixer.set_exclude(OutputId(self.stream), &tracks)).map_err(mix_error)
    }

    /// End this mix and its stream.
    fn close(&self, py: Python<'_>) {
        if !self.closed.swap(true, Relaxed) {
            py.detach(|| {
                let mut inner = self.cell.inner.lock();
                inner.mixer.remove_output(OutputId(self.stream));
                inner.outputs.retain(|&(_, stream)| stream != self.stream);
                drop(inner);
                self.engine.shared.with_core(|core, now| core.close_stream(self.stream, now));
            });
        }
    }
}
