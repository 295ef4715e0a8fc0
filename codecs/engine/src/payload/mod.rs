//! RTP payload formats: packets in order to access units, and access units to packets.
//!
//! Inbound, a `Depacketizer` takes the packets of one source in sequence order and appends what it finished. Outbound,
//! `plan` describes the packets of a unit by `Piece`s, a few bytes and a range each, so that a packet is written
//! straight from the shared unit and a retransmission is written again from the same piece. No payload is copied
//! between.

pub mod audio;
pub mod dtmf;
pub mod h264;
pub mod vp8;

use crate::unit::{Codec, Ns, Unit};
use std::fmt;

/// A picture above this is dropped (`PayloadError::TooLarge`): a 4K key frame at high quality is a tenth of it.
pub const MAX_UNIT_BYTES: usize = 8 << 20;
/// NAL units in one picture: 4K in one slice a macroblock row is 135 a field; the rest is an attack.
pub const MAX_NALS: usize = 1024;
/// What a UDP datagram over IPv4 can carry less RTP header, extensions and SRTP tag.
pub const MAX_DATAGRAM_PAYLOAD: usize = 65_507 - 128;

/// Why a unit was dropped, or could not be planned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PayloadError {
    /// A packet of it was lost.
    Incomplete,
    /// A payload shorter than its own headers say.
    Truncated,
    /// A fragment without its start, or a start within a fragmented NAL unit.
    FragmentOrder,
    /// A NAL unit type or descriptor that this format, or what we speak of it, doesn't have.
    Unsupported(u8),
    /// More than `MAX_UNIT_BYTES` or `MAX_NALS`.
    TooLarge,
    /// Nothing in it: an empty payload, or an empty NAL unit.
    Empty,
    /// The source ended this picture with a marker and went on with it; from now on only a new timestamp ends one.
    MarkerWithin,
    /// Outbound: a NAL unit that can't be sent alone (packetization-mode 0) in one datagram.
    NalTooLarge(u32),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PayloadError::Incomplete => write!(f, "a packet of the picture was lost"),
            PayloadError::Truncated => write!(f, "payload is shorter than its headers say"),
            PayloadError::FragmentOrder => write!(f, "fragment without its start, or start within a fragment"),
            PayloadError::Unsupported(kind) => write!(f, "payload structure {kind} is not supported"),
            PayloadError::TooLarge => write!(f, "picture is above the size limit"),
            PayloadError::Empty => write!(f, "payload is empty"),
            PayloadError::MarkerWithin => write!(f, "marker bit before the picture's end"),
            PayloadError::NalTooLarge(len) => write!(f, "nal unit of {len} bytes does not fit in one datagram"),
        }
    }
}

impl std::error::Error for PayloadError {}

/// One packet, next in sequence order.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Unwrapped.
    pub timestamp: i64,
    pub marker: bool,
    /// Something between this packet and the one pushed before is missing for good.
    pub gap: bool,
    pub arrival: Ns,
    pub payload: &'a [u8],
}

/// One picture or audio frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub timestamp: i64,
    /// Decoding may begin here.
    pub keyframe: bool,
    /// No packet, and no unit, of this source was lost or dropped since the frame before.
    pub contiguous: bool,
    /// When its last packet arrived.
    pub arrival: Ns,
    /// As `Unit::payload`.
    pub payload: Box<[u8]>,
    /// As `Unit::nals`.
    pub nals: Box<[(u32, u32)]>,
    /// Picture size, when this frame says it (an SPS in it, a VP8 key frame).
    pub size: Option<(u32, u32)>,
    /// Ticks that an audio frame lasts; 0 for video.
    pub duration: u32,
}

/// What `Depacketizer::push` appends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finished {
    Frame(Frame),
    /// A unit, or the rest of one, was dropped. The next frame is not `contiguous`.
    Dropped {
        timestamp: i64,
        why: PayloadError,
    },
}

/// Packets of one source and codec to frames.
#[derive(Debug)]
pub enum Depacketizer {
    H264(h264::Depacketizer),
    Vp8(vp8::Depacketizer),
    Audio(audio::Depacketizer),
}

impl Depacketizer {
    /// None for a codec without a payload format here (H.265).
    pub fn new(codec: Codec) -> Option<Depacketizer> {
        match codec {
            Codec::H264 => Some(Depacketizer::H264(h264::Depacketizer::default())),
            Codec::Vp8 => Some(Depacketizer::Vp8(vp8::Depacketizer::default())),
            Codec::Opus | Codec::G722 | Codec::Pcma | Codec::Pcmu | Codec::L16 => {
                Some(Depacketizer::Audio(audio::Depacketizer::new(codec)))
            }
            Codec::H265 | Codec::Vp9 | Codec::Av1 | Codec::Aac => None,
        }
    }

    /// Take the next packet. Appends up to two results: a unit that the new timestamp ended, and this packet's own.
    pub fn push(&mut self, input: &Input<'_>, out: &mut Vec<Finished>) {
        match self {
            Depacketizer::H264(inner) => inner.push(input, out),
            Depacketizer::Vp8(inner) => inner.push(input, out),
            Depacketizer::Audio(inner) => inner.push(input, out),
        }
    }

    /// The source paused: end what is open (a source without markers would hold its last picture back for ever).
    pub fn flush(&mut self, out: &mut Vec<Finished>) {
        match self {
            Depacketizer::H264(inner) => inner.flush(out),
            Depacketizer::Vp8(inner) => inner.flush(out),
            Depacketizer::Audio(_) => {}
        }
    }
}

/// What the peer can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packing {
    /// H.264 `packetization-mode`, 0 or 1; nothing to the other codecs.
    pub mode: u8,
    /// RTP payload bytes a packet should not exceed.
    pub max_payload_bytes: usize,
    /// H.264 `max-rcmd-nalu-size`, 0 for none: in mode 1 no packet's payload exceeds it either.
    pub max_nal_bytes: usize,
}

/// The most bytes a payload format puts before the unit's own.
pub const MAX_HEAD_BYTES: usize = 6;

/// One packet's payload: a few bytes of its own, then a part of the unit. Copy it into the retransmission history
/// beside the unit's `Arc`; `write` gives the same bytes every time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    head: [u8; MAX_HEAD_BYTES],
    head_len: u8,
    /// The last packet of its unit: carries the marker for video.
    pub last: bool,
    body: Body,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    /// `payload[start..start + len]`.
    Range { start: u32, len: u32 },
    /// NAL units `first..first + count`, each after its length in two bytes (STAP-A); `len` bytes in all.
    Nals { first: u16, count: u16, len: u32 },
}

impl Piece {
    /// Bytes that `write` appends.
    #[allow(clippy::len_without_is_empty)] // a piece is never empty
    pub fn len(&self) -> usize {
        let body = match self.body {
            Body::Range { len, .. } | Body::Nals { len, .. } => len,
        };
        usize::from(self.head_len) + body as usize
    }

    /// Append the RTP payload. `unit` is the one that was planned.
    ///
    /// # Panics
    /// When `unit` is another one and too short (our own mistake).
    pub fn write(&self, unit: &Unit, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[..usize::from(self.head_len)]);
        match self.body {
            Body::Range { start, len } => out.extend_from_slice(&unit.payload[start as usize..(start + len) as usize]),
            Body::Nals { first, count, .. } => {
                for &(start, len) in &unit.nals[usize::from(first)..usize::from(first + count)] {
                    out.extend_from_slice(&(len as u16).to_be_bytes());
                    out.extend_from_slice(&unit.payload[start as usize..(start + len) as usize]);
                }
            }
        }
    }

    fn range(head: &[u8], start: usize, len: usize) -> Piece {
        let mut bytes = [0; MAX_HEAD_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        Piece {
            head: bytes,
            head_len: head.len() as u8,
            last: false,
            body: Body::Range { start: start as u32, len: len as u32 },
        }
    }
}

/// Units of one outbound track to pieces.
#[derive(Clone, Default, Debug)]
pub struct Packetizer {
    vp8: vp8::PictureIds,
}

impl Packetizer {
    /// Append the pieces of a unit, in order; the last one has `last`. A unit of which nothing is to be sent (only
    /// access unit delimiters) gives none.
    ///
    /// # Errors
    /// `NalTooLarge`, `Unsupported`, `Empty`, `TooLarge`; nothing is appended then.
    pub fn plan(&mut self, unit: &Unit, packing: &Packing, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
        match unit.codec {
            Codec::H264 => h264::plan(unit, packing, out),
            Codec::Vp8 => vp8::plan(unit, packing, self.vp8.take(), out),
            Codec::Opus | Codec::G722 | Codec::Pcma | Codec::Pcmu | Codec::L16 => audio::plan(unit, out),
            Codec::H265 | Codec::Vp9 | Codec::Av1 | Codec::Aac => Err(PayloadError::Unsupported(0)),
        }
    }
}
