//! What the mixer tells of itself: loudness for the choice of the active speaker, and figures for people.

use super::OutputId;
use crate::unit::{Codec, TrackId};

/// Loudness of one input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    pub track: TrackId,
    /// RFC 6464's measure: -127..=0, 0 is the overload point. Smoothed over 100 ms.
    pub dbov: i8,
    /// Somebody speaks, or a tone sounds. Breathing, rustling and fans are not active, however long they last.
    pub active: bool,
}

#[derive(Clone, Debug)]
pub struct InputReport {
    pub track: TrackId,
    /// None before the first unit.
    pub codec: Option<Codec>,
    /// From the moment the fastest units of late arrive until their first sample is mixed; with the sender's
    /// packetisation time it makes the delay from mouth to mix, the network's aside.
    pub buffered_ms: u32,
    pub level_dbov: i8,
    pub active: bool,
    pub units: u64,
    /// Steps of 20 ms that were made up, wholly or in part, because nothing had come, decoding with FEC not counted.
    pub concealed_frames: u64,
    /// Frames that were rebuilt from the next packet's in-band FEC.
    pub fec_frames: u64,
    /// Units that came after their time, more than the buffer may grow.
    pub late_units: u64,
    /// Units that could not be decoded.
    pub broken_units: u64,
    /// Units dropped because too many waited.
    pub overflowed_units: u64,
    /// How much faster the sender's clock runs than ours.
    pub drift_ppm: f32,
}

#[derive(Clone, Debug)]
pub struct OutputReport {
    pub id: OutputId,
    pub track: TrackId,
    pub codec: Codec,
    pub units: u64,
}

#[derive(Clone, Debug, Default)]
pub struct MixerReport {
    pub inputs: Vec<InputReport>,
    pub outputs: Vec<OutputReport>,
    pub ticks: u64,
    /// Ticks that came 20 ms or more after their time.
    pub late_ticks: u64,
    /// Encoders at work: outputs that hear the same share one.
    pub encoders: u32,
}
