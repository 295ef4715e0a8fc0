//! Arguments from Python, checked: what is wrong becomes a ValueError with a sentence.

use super::value_error;
use crate::core::MediaKind;
use crate::leg::PayloadTypes;
use crate::unit::{Codec, TrackId};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::net::IpAddr;

/// Ten gigabits a second.
pub const MAX_BPS: i64 = 10_000_000_000;

/// An integer that fits its field on the wire.
pub fn narrow<T: TryFrom<i64>>(name: &str, value: i64) -> PyResult<T> {
    T::try_from(value).map_err(|_| value_error(format!("{name} is out of range: {value}")))
}

pub fn within(name: &str, value: i64, low: i64, high: i64) -> PyResult<u64> {
    if (low..=high).contains(&value) {
        return Ok(value as u64);
    }
    Err(value_error(format!("{name} must be {low} to {high}, not {value}")))
}

pub fn port(value: i64) -> PyResult<u16> {
    within("port", value, 1, 65_535).map(|value| value as u16)
}

/// Up to ten seconds, in milliseconds.
pub fn seconds(name: &str, ms: i64) -> PyResult<u32> {
    within(name, ms, 1, 10_000).map(|ms| ms as u32)
}

pub fn parse_host(host: &str) -> PyResult<IpAddr> {
    host.parse().map_err(|_| value_error(format!("host {host:?} is not an IPv4 or IPv6 address")))
}

pub fn parse_kind(kind: &str) -> PyResult<MediaKind> {
    match kind {
        "audio" => Ok(MediaKind::Audio),
        "video" => Ok(MediaKind::Video),
        _ => Err(value_error(format!("kind {kind:?} is neither \"audio\" nor \"video\""))),
    }
}

pub fn parse_codec(name: &str) -> PyResult<Codec> {
    Codec::from_name(name).ok_or_else(|| value_error(format!("codec {name:?} is not known to the engine")))
}

/// What a subscription hears: at least one track.
pub fn some_tracks(ids: Vec<u32>) -> PyResult<Vec<TrackId>> {
    if ids.is_empty() {
        return Err(value_error("a subscription needs at least one track"));
    }
    Ok(ids.into_iter().map(TrackId).collect())
}

pub fn payload_types(
    types: HashMap<i64, String>,
    rtx: Option<HashMap<i64, i64>>,
    dtmf_pt: Option<i64>,
) -> PyResult<PayloadTypes> {
    let mut codecs = Vec::with_capacity(types.len());
    for (pt, name) in types {
        codecs.push((narrow("payload type", pt)?, parse_codec(&name)?));
    }
    let mut pairs = Vec::new();
    for (pt, of) in rtx.unwrap_or_default() {
        pairs.push((narrow("rtx payload type", pt)?, narrow("payload type", of)?));
    }
    codecs.sort_unstable_by_key(|&(pt, _): &(u8, Codec)| pt);
    pairs.sort_unstable();
    Ok(PayloadTypes { codecs, rtx: pairs, dtmf_pt: dtmf_pt.map(|pt| narrow("dtmf_pt", pt)).transpose()? })
}
