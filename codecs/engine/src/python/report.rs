//! Figures as dicts, as `_engine.pyi` lists them. Taken under the core's lock, made into dicts without it.

use super::events::reason;
use crate::bus::track::TrackCounts;
use crate::bus::Stream;
use crate::core::LegFigures;
use crate::io::Engine;
use crate::leg::LegStats;
use crate::mixer_thread::Cell;
use crate::receiver::ReceiverStats;
use crate::sender::SenderStats;
use crate::srtp::Profile;
use crate::unit::Codec;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::net::SocketAddr;

struct StreamFigures {
    name: String,
    age_ms: u64,
    subscribers: usize,
    tracks: Vec<TrackFigures>,
}

struct TrackFigures {
    id: u32,
    video: bool,
    codec: Codec,
    clock_hz: u32,
    channels: u8,
    counts: TrackCounts,
    rate: (f32, u64),
    size: Option<(u32, u32)>,
    /// Units, and the longest delay in milliseconds.
    reordering: (u64, u32),
    cache_ms: u64,
    cache_bytes: usize,
}

pub fn streams<'py>(py: Python<'py>, engine: &Engine, names: Option<&[String]>) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let figures = py.detach(|| {
        engine.shared.with_core(|core, now| {
            let mut figures: Vec<StreamFigures> = Vec::new();
            let copy = |stream: &Stream| (stream.name.clone(), stream.opened, stream.tracks.clone());
            let listed: Vec<_> = match names {
                Some(names) => names.iter().filter_map(|name| core.bus.named(name)).map(copy).collect(),
                None => core.bus.streams().map(copy).collect(),
            };
            for (name, opened, ids) in listed {
                let mut entry = StreamFigures {
                    name,
                    age_ms: now.saturating_sub(opened) / 1_000_000,
                    subscribers: 0,
                    tracks: Vec::new(),
                };
                for id in ids {
                    let Some(track) = core.bus.track_mut(id) else { continue };
                    entry.subscribers += track.senders.len() + track.queues.len();
                    entry.tracks.push(TrackFigures {
                        id: track.id.0,
                        video: track.video,
                        codec: track.codec,
                        clock_hz: track.clock_hz,
                        channels: track.channels,
                        counts: track.counts,
                        rate: track.rate.read(now),
                        size: track.size,
                        reordering: (track.reordering.units(), track.reordering.longest_ms()),
                        cache_ms: track.cache.span().max(track.sound.span()) / 1_000_000,
                        cache_bytes: track.cache.bytes() + track.sound.bytes(),
                    });
                }
                figures.push(entry);
            }
            figures
        })
    });
    figures.into_iter().map(|stream| stream_dict(py, stream)).collect()
}

fn stream_dict(py: Python<'_>, stream: StreamFigures) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", stream.name)?;
    dict.set_item("age_ms", stream.age_ms)?;
    dict.set_item("subscribers", stream.subscribers)?;
    let tracks: PyResult<Vec<_>> = stream.tracks.into_iter().map(|track| track_dict(py, &track)).collect();
    dict.set_item("tracks", tracks?)?;
    Ok(dict)
}

fn track_dict<'py>(py: Python<'py>, track: &TrackFigures) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", track.id)?;
    dict.set_item("kind", if track.video { "video" } else { "audio" })?;
    dict.set_item("codec", track.codec.name())?;
    dict.set_item("clock_hz", track.clock_hz)?;
    dict.set_item("channels", track.channels)?;
    dict.set_item("units", track.counts.units)?;
    dict.set_item("bytes", track.counts.bytes)?;
    dict.set_item("keyframes", track.counts.keyframes)?;
    dict.set_item("lost_units", track.counts.lost_units)?;
    dict.set_item("bitrate_bps", track.rate.1)?;
    dict.set_item("fps", track.rate.0)?;
    dict.set_item("width", track.size.map_or(0, |size| size.0))?;
    dict.set_item("height", track.size.map_or(0, |size| size.1))?;
    dict.set_item("reordered", track.reordering.0)?;
    dict.set_item("reorder_ms", track.reordering.1)?;
    dict.set_item("cache_ms", track.cache_ms)?;
    dict.set_item("cache_bytes", track.cache_bytes)?;
    dict.set_item("keyframe_requests", track.counts.keyframe_requests)?;
    Ok(dict)
}

pub fn mixer<'py>(py: Python<'py>, engine: &Engine, cell: &Cell) -> PyResult<Bound<'py, PyDict>> {
    let (report, streams) = py.detach(|| {
        let report = cell.inner.lock().mixer.report();
        let streams: Vec<String> = engine.shared.with_core(|core, _| {
            report
                .outputs
                .iter()
                .map(|output| core.bus.stream(output.id.0).map_or_else(String::new, |stream| stream.name.clone()))
                .collect()
        });
        (report, streams)
    });
    let inputs: PyResult<Vec<_>> = report
        .inputs
        .iter()
        .map(|input| {
            let dict = PyDict::new(py);
            dict.set_item("track", input.track.0)?;
            dict.set_item("codec", input.codec.map(Codec::name))?;
            dict.set_item("buffered_ms", input.buffered_ms)?;
            dict.set_item("level_dbov", input.level_dbov)?;
            dict.set_item("active", input.active)?;
            dict.set_item("units", input.units)?;
            dict.set_item("concealed_frames", input.concealed_frames)?;
            dict.set_item("fec_frames", input.fec_frames)?;
            dict.set_item("late_units", input.late_units)?;
            dict.set_item("broken_units", input.broken_units)?;
            dict.set_item("overflowed_units", input.overflowed_units)?;
            dict.set_item("drift_ppm", input.drift_ppm)?;
            Ok(dict)
        })
        .collect();
    let outputs: PyResult<Vec<_>> = report
        .outputs
        .iter()
        .zip(streams)
        .map(|(output, stream)| {
            let dict = PyDict::new(py);
            dict.set_item("stream", stream)?;
            dict.set_item("codec", output.codec.name())?;
            dict.set_item("units", output.units)?;
            Ok(dict)
        })
        .collect();
    let dict = PyDict::new(py);
    dict.set_item("inputs", inputs?)?;
    dict.set_item("outputs", outputs?)?;
    dict.set_item("ticks", report.ticks)?;
    dict.set_item("late_ticks", report.late_ticks)?;
    dict.set_item("encoders", report.encoders)?;
    Ok(dict)
}

fn reason_dict<'py>(py: Python<'py>, stats: &LegStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for &(why, count) in &stats.rejected {
        dict.set_item(reason(why), count)?;
    }
    Ok(dict)
}

pub fn leg<'py>(py: Python<'py>, figures: &LegFigures, local: SocketAddr) -> PyResult<Bound<'py, PyDict>> {
    let stats = &figures.leg;
    let dict = PyDict::new(py);
    dict.set_item("host", local.ip().to_string())?;
    dict.set_item("port", local.port())?;
    dict.set_item("peer", stats.peer.map(|peer| (peer.ip().to_string(), peer.port())))?;
    dict.set_item("locked", stats.locked)?;
    dict.set_item("secure", stats.secure)?;
    dict.set_item("profile", stats.profile.map(Profile::name))?;
    dict.set_item("packets_in", stats.packets_in)?;
    dict.set_item("bytes_in", stats.bytes_in)?;
    dict.set_item("packets_out", stats.packets_out)?;
    dict.set_item("bytes_out", stats.bytes_out)?;
    dict.set_item("rejected", reason_dict(py, stats)?)?;
    dict.set_item("rtt_ms", stats.rtt_ms)?;
    dict.set_item("idle_ms", stats.idle_ms)?;
    let receivers: PyResult<Vec<_>> =
        figures.receivers.iter().map(|(id, stats)| with_id(id.0, receiver(py, stats)?)).collect();
    dict.set_item("receivers", receivers?)?;
    let senders: PyResult<Vec<_>> =
        figures.senders.iter().map(|(id, stats)| with_id(id.0, sender(py, stats)?)).collect();
    dict.set_item("senders", senders?)?;
    Ok(dict)
}

fn with_id(id: u32, dict: Bound<'_, PyDict>) -> PyResult<Bound<'_, PyDict>> {
    dict.set_item("id", id)?;
    Ok(dict)
}

pub fn receiver<'py>(py: Python<'py>, stats: &ReceiverStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("ssrc", stats.ssrc)?;
    dict.set_item("codec", stats.codec.map(Codec::name))?;
    dict.set_item("packets", stats.packets)?;
    dict.set_item("bytes", stats.bytes)?;
    dict.set_item("lost", stats.lost)?;
    dict.set_item("recovered_rtx", stats.recovered_rtx)?;
    dict.set_item("duplicates", stats.duplicates)?;
    dict.set_item("late", stats.late)?;
    dict.set_item("jitter_ms", stats.jitter_ms)?;
    dict.set_item("loss_percent", stats.loss_percent)?;
    dict.set_item("units", stats.units)?;
    dict.set_item("nacks_sent", stats.nacks_sent)?;
    dict.set_item("plis_sent", stats.plis_sent)?;
    dict.set_item("firs_sent", stats.firs_sent)?;
    dict.set_item("keyframes", stats.keyframes)?;
    dict.set_item("width", stats.width)?;
    dict.set_item("height", stats.height)?;
    dict.set_item("fps", stats.fps)?;
    dict.set_item("bitrate_bps", stats.bitrate_bps)?;
    dict.set_item("last_unit_ms", stats.last_unit_ms)?;
    Ok(dict)
}

pub fn sender<'py>(py: Python<'py>, stats: &SenderStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("ssrc", stats.ssrc)?;
    dict.set_item("codec", stats.codec.name())?;
    dict.set_item("track", stats.track.map(|track| track.0))?;
    dict.set_item("packets", stats.packets)?;
    dict.set_item("bytes", stats.bytes)?;
    dict.set_item("units", stats.units)?;
    dict.set_item("keyframes", stats.keyframes)?;
    dict.set_item("dropped_units", stats.dropped_units)?;
    dict.set_item("too_large_units", stats.too_large_units)?;
    dict.set_item("too_large_bytes", stats.too_large_bytes)?;
    dict.set_item("queue_ms", stats.queue_ms)?;
    dict.set_item("nacks_received", stats.nacks_received)?;
    dict.set_item("rtx_sent", stats.rtx_sent)?;
    dict.set_item("plis_received", stats.plis_received)?;
    dict.set_item("firs_received", stats.firs_received)?;
    dict.set_item("remote_loss_percent", stats.remote_loss_percent)?;
    dict.set_item("remote_jitter_ms", stats.remote_jitter_ms)?;
    dict.set_item("rtt_ms", stats.rtt_ms)?;
    dict.set_item("remb_bps", stats.remb_bps)?;
    dict.set_item("bitrate_bps", stats.bitrate_bps)?;
    dict.set_item("fps", stats.fps)?;
    Ok(dict)
}
