//! Events as tuples, as `_engine.pyi` lists them.

use crate::output::{Event, Reject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::IntoPyObjectExt;

pub fn reason(why: Reject) -> &'static str {
    match why {
        Reject::Rtp => "rtp",
        Reject::Rtcp => "rtcp",
        Reject::SrtpAuth => "srtp_auth",
        Reject::SrtpReplay => "srtp_replay",
        Reject::Payload => "payload",
        Reject::Foreign => "foreign",
    }
}

pub fn to_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    let tuple = match event {
        Event::Datagram { leg, bytes, from } => {
            ("datagram", leg.0, PyBytes::new(py, &bytes), from.ip().to_string(), from.port()).into_bound_py_any(py)
        }
        Event::PeerLocked { leg, peer } => {
            ("peer_locked", leg.0, peer.ip().to_string(), peer.port()).into_bound_py_any(py)
        }
        Event::Silent { leg, ms } => ("silent", leg.0, ms).into_bound_py_any(py),
        Event::Heard { leg, ms } => ("heard", leg.0, ms).into_bound_py_any(py),
        Event::Bye { leg, ssrc } => ("bye", leg.0, ssrc).into_bound_py_any(py),
        Event::KeyframeWanted { track, attempt } => ("keyframe_wanted", track.0, attempt).into_bound_py_any(py),
        Event::KeyframeCame { track, ms } => ("keyframe_came", track.0, ms).into_bound_py_any(py),
        Event::Size { track, width, height } => ("size", track.0, width, height).into_bound_py_any(py),
        Event::Reordered { track, ms } => ("reordered", track.0, ms).into_bound_py_any(py),
        Event::Dtmf { leg, digit, ms } => ("dtmf", leg.0, digit, ms).into_bound_py_any(py),
        Event::Overflowed { subscriber, units } => ("overflowed", subscriber, units).into_bound_py_any(py),
        Event::SourceEnded { sender, track } => ("source_ended", sender.0, track.0).into_bound_py_any(py),
        Event::Levels { mixer, levels } => {
            let levels: Vec<(u32, i8, bool)> =
                levels.into_iter().map(|(track, dbov, active)| (track.0, dbov, active)).collect();
            ("levels", mixer, levels).into_bound_py_any(py)
        }
        Event::LegFailed { leg, text } => ("leg_failed", leg.0, text).into_bound_py_any(py),
        Event::Rejected { leg, why, count } => ("rejected", leg.0, reason(why), count).into_bound_py_any(py),
        Event::Fault { leg, text } => ("fault", leg.0, text).into_bound_py_any(py),
    }?;
    Ok(tuple.cast_into::<PyTuple>()?)
}
