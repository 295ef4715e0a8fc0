//! The access unit: the only thing that travels on the bus, and the names of what it belongs to.
//!
//! Three times are kept apart, and nothing here reads a clock: media time (`pts`, ticks of the track's clock),
//! arrival time and capture time (`Ns`, this host's CLOCK_MONOTONIC).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Nanoseconds of CLOCK_MONOTONIC. Below the shells time is always an argument.
pub type Ns = u64;

/// Unique while the engine lives; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TrackId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct LegId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ReceiverId(pub u32);
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SenderId(pub u32);
/// A subscriber that takes units itself: a Python subscription or a mixer. Shares its numbers with senders.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct QueueId(pub u32);

/// A map by one of these ids. They are ours, so nobody can choose them to collide.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Fibonacci hashing of one integer.
#[derive(Default, Clone, Copy)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }
    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    H264,
    H265,
    Vp8,
    Vp9,
    Av1,
    Opus,
    G722,
    Pcma,
    Pcmu,
    L16,
    /// MPEG-4 AAC, one raw access unit without ADTS header.
    Aac,
}

const ALL: [Codec; 11] = [
    Codec::H264,
    Codec::H265,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Av1,
    Codec::Opus,
    Codec::G722,
    Codec::Pcma,
    Codec::Pcmu,
    Codec::L16,
    Codec::Aac,
];

impl Codec {
    /// IANA name, upper case; AAC, which RTP calls by its payload formats, by its own.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Av1 => "AV1",
            Codec::Opus => "OPUS",
            Codec::G722 => "G722",
            Codec::Pcma => "PCMA",
            Codec::Pcmu => "PCMU",
            Codec::L16 => "L16",
            Codec::Aac => "AAC",
        }
    }

    /// Any case of `name`.
    pub fn from_name(name: &str) -> Option<Codec> {
        ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Legs packetise it. The others travel on the bus only: their payloads are opaque here.
    pub fn in_rtp(self) -> bool {
        !matches!(self, Codec::H265 | Codec::Vp9 | Codec::Av1 | Codec::Aac)
    }

    /// Of RTP timestamps; None for L16 and AAC, which have what was negotiated.
    pub fn rtp_clock_hz(self) -> Option<u32> {
        match self {
            Codec::H264 | Codec::H265 | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => Some(90_000),
            Codec::Opus => Some(48_000),
            // G.722 samples at 16 kHz (RFC 3551 4.5.2)
            Codec::G722 | Codec::Pcma | Codec::Pcmu => Some(8000),
            Codec::L16 | Codec::Aac => None,
        }
    }

    pub fn is_video(self) -> bool {
        matches!(self, Codec::H264 | Codec::H265 | Codec::Vp8 | Codec::Vp9 | Codec::Av1)
    }
}

/// One picture or one audio frame. Immutable once published.
#[derive(Debug)]
pub struct Unit {
    pub track: TrackId,
    pub codec: Codec,
    /// Ticks of the track's clock, unwrapped, never negative.
    pub pts: i64,
    pub dts: i64,
    /// Decoding may begin here. Always true for audio.
    pub keyframe: bool,
    /// Nothing of this track was lost just before.
    pub contiguous: bool,
    /// When it was captured; 0 when unknown.
    pub capture: Ns,
    /// When its last byte arrived.
    pub arrival: Ns,
    /// H.264, H.265: NAL units, each after its length in four bytes, big endian; all else: one frame, of AV1 a
    /// temporal unit.
    pub payload: Box<[u8]>,
    /// H.264, H.265: where each NAL unit lies in `payload` (start after the length, length). Empty else.
    pub nals: Box<[(u32, u32)]>,
    /// dBov of an audio frame, -127..=0, when its sender said so (RFC 6464) or it was measured.
    pub level: Option<i8>,
}

pub type UnitRef = Arc<Unit>;

impl Unit {
    /// The NAL units of an H.264 or H.265 picture.
    pub fn nal_units(&self) -> impl Iterator<Item = &[u8]> {
        self.nals.iter().map(|&(start, len)| &self.payload[start as usize..(start + len) as usize])
    }
}
