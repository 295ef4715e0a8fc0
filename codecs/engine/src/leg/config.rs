//! What callers say to a leg, and what of it is wrong.

use crate::payload::Packing;
use crate::sender::MAX_DTMF_QUEUED;
use crate::srtp::SrtpError;
use crate::unit::{Codec, ReceiverId, SenderId, TrackId};
use std::fmt;

/// MIDs are a few characters; RFC 8843 sets no limit, header extensions do.
const MAX_MID_BYTES: usize = 32;

/// How a leg deals with its peer. See `Engine.open_leg` in `_engine.pyi`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegConfig {
    /// RTP and RTCP are dropped, and nothing is sent, until keys are set.
    pub secure: bool,
    /// Symmetric RTP (RFC 4961): take the peer's address from what arrives.
    pub learn: bool,
    /// Without anything valid for so long the peer is silent.
    pub silence_ms: u32,
    /// RTCP goes to the RTP address (RFC 5761).
    pub rtcp_mux: bool,
    /// For people; means nothing here.
    pub label: String,
    /// Added to `Ns` it gives nanoseconds since 1970 UTC, for the NTP timestamps of sender reports.
    pub unix_offset_ns: u64,
}

/// What payload types mean on the way in.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PayloadTypes {
    pub codecs: Vec<(u8, Codec)>,
    /// Retransmission's payload type, then whose (RFC 4588).
    pub rtx: Vec<(u8, u8)>,
    pub dtmf_pt: Option<u8>,
}

/// See `Leg.add_receiver` in `_engine.pyi`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiverConfig {
    pub id: ReceiverId,
    pub track: TrackId,
    /// Of the track: every unit's pts is in its ticks, whatever the codec that arrives.
    pub clock_hz: u32,
    pub payload_types: PayloadTypes,
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub mid: Option<String>,
    pub mid_ext: Option<u8>,
    pub audio_level_ext: Option<u8>,
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    /// 0: no REMB is sent.
    pub remb_bps: u64,
}

/// The part of a sender that a re-offer may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderCodec {
    pub codec: Codec,
    pub pt: u8,
    pub clock_hz: u32,
    pub packing: Packing,
    pub rtx_pt: Option<u8>,
    pub dtmf_pt: Option<u8>,
}

/// See `Leg.add_sender` in `_engine.pyi`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SenderConfig {
    pub id: SenderId,
    pub codec: SenderCodec,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub cname: String,
    pub mid: Option<String>,
    pub mid_ext: Option<u8>,
    pub audio_level_ext: Option<u8>,
    /// 0: a picture is spread over 10 ms at most.
    pub max_bps: u64,
    pub history_ms: u32,
}

/// What a sender sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    pub track: TrackId,
    /// Of its units' pts.
    pub clock_hz: u32,
}

/// What a caller asked wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegError {
    NoReceiver(ReceiverId),
    NoSender(SenderId),
    /// Above 127.
    PayloadType(u8),
    /// RTX stands for a payload type that isn't listed.
    RtxOfNothing(u8),
    /// Without a payload format here.
    Codec(Codec),
    /// 0 Hz, or not what the codec has in RTP.
    Clock(u32),
    /// Another sender has it.
    SsrcTaken(u32),
    /// Extension id 0, or a MID that is empty or above `MAX_MID_BYTES`.
    Extension,
    NoDtmf,
    NotADigit(char),
    /// `MAX_DTMF_QUEUED` keys are waiting already.
    TooManyDigits,
    Srtp(SrtpError),
}

impl fmt::Display for LegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LegError::NoReceiver(id) => write!(f, "this leg has no receiver {}", id.0),
            LegError::NoSender(id) => write!(f, "this leg has no sender {}", id.0),
            LegError::PayloadType(pt) => write!(f, "payload type {pt} is not within 0 to 127"),
            LegError::RtxOfNothing(pt) => write!(f, "rtx names payload type {pt}, which is not listed"),
            LegError::Codec(codec) => write!(f, "{} has no rtp payload format here", codec.name()),
            LegError::Clock(hz) => write!(f, "an rtp clock of {hz} Hz does not fit the codec"),
            LegError::SsrcTaken(ssrc) => write!(f, "ssrc {ssrc} belongs to another sender of this leg"),
            LegError::Extension => {
                write!(f, "a header extension has id 1 to 255, and a mid 1 to {MAX_MID_BYTES} characters")
            }
            LegError::NoDtmf => write!(f, "no telephone-event was negotiated"),
            LegError::NotADigit(other) => write!(f, "{other:?} is none of the keys 0-9, *, #, A-D"),
            LegError::TooManyDigits => write!(f, "more than {MAX_DTMF_QUEUED} keys would wait to be sent"),
            LegError::Srtp(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LegError {}

impl From<SrtpError> for LegError {
    fn from(error: SrtpError) -> LegError {
        LegError::Srtp(error)
    }
}

impl PayloadTypes {
    pub(super) fn check(&self) -> Result<(), LegError> {
        let all = self.codecs.iter().map(|codec| codec.0).chain(self.rtx.iter().map(|rtx| rtx.0)).chain(self.dtmf_pt);
        if let Some(pt) = all.into_iter().find(|&pt| pt > 127) {
            return Err(LegError::PayloadType(pt));
        }
        let listed = |pt| self.codecs.iter().any(|codec| codec.0 == pt);
        if let Some(&(_, of)) = self.rtx.iter().find(|rtx| !listed(rtx.1)) {
            return Err(LegError::RtxOfNothing(of));
        }
        match self.codecs.iter().find(|codec| !codec.1.in_rtp()) {
            Some(&(_, codec)) => Err(LegError::Codec(codec)),
            None => Ok(()),
        }
    }
}

impl SenderCodec {
    pub(super) fn check(&self) -> Result<(), LegError> {
        let pts = [Some(self.pt), self.rtx_pt, self.dtmf_pt];
        if let Some(pt) = pts.into_iter().flatten().find(|&pt| pt > 127) {
            return Err(LegError::PayloadType(pt));
        }
        if !self.codec.in_rtp() {
            return Err(LegError::Codec(self.codec));
        }
        match self.codec.rtp_clock_hz() {
            Some(hz) if hz != self.clock_hz => Err(LegError::Clock(self.clock_hz)),
            _ if self.clock_hz == 0 => Err(LegError::Clock(0)),
            _ => Ok(()),
        }
    }
}

pub(super) fn check_extensions(ids: [Option<u8>; 2], mid: Option<&String>) -> Result<(), LegError> {
    let mid_fits = mid.is_none_or(|mid| (1..=MAX_MID_BYTES).contains(&mid.len()));
    if mid_fits && !ids.contains(&Some(0)) {
        Ok(())
    } else {
        Err(LegError::Extension)
    }
}
