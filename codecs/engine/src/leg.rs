//! One RTP peer: its address, its keys, its receivers and senders. Sans-IO.
//!
//! A datagram goes into `receive`; units that it completed, datagrams to send, wishes and events come out in `Output`.
//! `poll` does what is due, and every call that can change it leaves the next deadline in `Output::wake`. A leg never
//! reads a clock: `now` never runs backwards.
//!
//! Not here: sockets (`io`), who gets which unit (`core`), parameter sets before key frames (`bus::track`).

use crate::output::{Output, Path};
use crate::payload::Packing;
use crate::receiver::ReceiverStats;
use crate::sender::SenderStats;
use crate::srtp::{Profile, SrtpError};
use crate::unit::{Codec, LegId, Ns, ReceiverId, SenderId, TrackId, UnitRef};
use std::fmt;
use std::net::SocketAddr;

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
    /// An RTP clock of 0 Hz, or a codec's with another one.
    Clock(u32),
    /// Another sender or receiver has it.
    SsrcTaken(u32),
    /// Outside 1..=255, or a MID above 16 bytes.
    Extension,
    NoDtmf,
    NotADigit(char),
    /// `MAX_DTMF_QUEUED` keys are waiting already.
    TooManyDigits,
    Srtp(SrtpError),
}

/// Figures of a leg.
#[derive(Clone, Debug)]
pub struct LegStats {
    /// Where media goes.
    pub peer: Option<SocketAddr>,
    pub locked: bool,
    /// Keys are set.
    pub secure: bool,
    pub profile: Option<Profile>,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// By `Reject`, those that happened.
    pub rejected: Vec<(crate::output::Reject, u64)>,
    pub rtt_ms: Option<f32>,
    /// Since the last valid packet.
    pub idle_ms: Option<u64>,
}

/// One RTP transport to one peer.
#[derive(Debug)]
pub struct Leg {}

impl Leg {
    /// `seed`: where sequence numbers, timestamps and our SSRC in receiver reports begin; must not be guessable.
    pub fn new(id: LegId, config: LegConfig, seed: u64, now: Ns) -> Leg {
        todo!()
    }

    pub fn id(&self) -> LegId {
        todo!()
    }

    // -- datagrams and time

    /// A datagram arrived on one of the leg's sockets. Its bytes are spoilt (decrypted in place).
    pub fn receive(&mut self, path: Path, from: SocketAddr, bytes: &mut [u8], now: Ns, out: &mut Output) {
        todo!()
    }

    /// Everything that is due.
    pub fn poll(&mut self, now: Ns, out: &mut Output) {
        todo!()
    }

    /// RTCP BYE for every sender. The leg must not be used afterwards.
    pub fn close(&mut self, now: Ns, out: &mut Output) {
        todo!()
    }

    // -- the peer

    /// Where signalling says the peer is. `rtcp`: None is the RTP port plus one, or the RTP address with mux.
    pub fn set_peer(&mut self, rtp: SocketAddr, rtcp: Option<SocketAddr>, now: Ns, out: &mut Output) {
        todo!()
    }

    pub fn set_rtcp_mux(&mut self, mux: bool) {
        todo!()
    }

    /// Master key followed by master salt, each way. The same keys again: nothing happens.
    pub fn set_keys(&mut self, profile: Profile, outbound: &[u8], inbound: &[u8]) -> Result<(), LegError> {
        todo!()
    }

    /// Plain RTP from now on, also on a leg that was opened `secure`.
    pub fn clear_keys(&mut self) {
        todo!()
    }

    // -- receivers

    pub fn add_receiver(&mut self, config: ReceiverConfig, now: Ns) -> Result<(), LegError> {
        todo!()
    }

    /// Nothing happens when there is none.
    pub fn remove_receiver(&mut self, id: ReceiverId) {
        todo!()
    }

    pub fn set_payload_types(&mut self, id: ReceiverId, payload_types: PayloadTypes) -> Result<(), LegError> {
        todo!()
    }

    pub fn set_receiver_enabled(&mut self, id: ReceiverId, enabled: bool) -> Result<(), LegError> {
        todo!()
    }

    pub fn set_remb(&mut self, id: ReceiverId, bps: u64, now: Ns, out: &mut Output) -> Result<(), LegError> {
        todo!()
    }

    /// PLI on odd attempts, FIR on even ones, whichever was negotiated when only one was. False when neither can go out:
    /// none negotiated, no packet received yet, no address or keys.
    pub fn request_keyframe(&mut self, id: ReceiverId, attempt: u32, now: Ns, out: &mut Output) -> bool {
        todo!()
    }

    pub fn receiver_ssrc(&self, id: ReceiverId) -> Option<u32> {
        todo!()
    }

    // -- senders

    pub fn add_sender(&mut self, config: SenderConfig, now: Ns) -> Result<(), LegError> {
        todo!()
    }

    /// Says BYE for it. Nothing happens when there is none.
    pub fn remove_sender(&mut self, id: SenderId, now: Ns, out: &mut Output) {
        todo!()
    }

    /// The SSRC, sequence numbers and timestamps go on.
    pub fn set_codec(&mut self, id: SenderId, codec: SenderCodec, now: Ns) -> Result<(), LegError> {
        todo!()
    }

    /// True when the sender now needs a key frame (it is video, was off, and has a source); the caller asks for it.
    pub fn set_sender_enabled(&mut self, id: SenderId, enabled: bool, now: Ns) -> Result<bool, LegError> {
        todo!()
    }

    pub fn set_max_bps(&mut self, id: SenderId, bps: u64, now: Ns) -> Result<(), LegError> {
        todo!()
    }

    /// From the next unit on they are this source's. Sequence numbers and timestamps stay continuous. Its first unit
    /// should be a key frame; the caller sees to that, and gives units of the source before until then.
    pub fn switch_source(&mut self, id: SenderId, source: Source, now: Ns) -> Result<(), LegError> {
        todo!()
    }

    /// What waits to be paced out is dropped; RTCP goes on.
    pub fn stop_sending(&mut self, id: SenderId, now: Ns, out: &mut Output) {
        todo!()
    }

    /// A unit of the source, in decoding order; one of another track is ignored. Key frames of H.264 carry their
    /// parameter sets. When the unit isn't `contiguous`, a sequence number is left out, so that the peer knows as much.
    ///
    /// After an overflow of its queue the sender drops units up to the next key frame, for which it leaves a wish in
    /// `Output::keyframe_wishes`.
    pub fn send_unit(&mut self, id: SenderId, unit: &UnitRef, now: Ns, out: &mut Output) {
        todo!()
    }

    /// The kept group of pictures of the source, key frame first, up to its newest picture: sent paced, above the rate
    /// it came in, with timestamps drawn together so that the viewer ends at live. Live units may follow at once; they
    /// queue behind it.
    pub fn send_group(&mut self, id: SenderId, units: &[UnitRef], now: Ns, out: &mut Output) {
        todo!()
    }

    /// Queue key presses. All of them or, with an error, none.
    pub fn send_dtmf(
        &mut self,
        id: SenderId,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
        now: Ns,
        out: &mut Output,
    ) -> Result<(), LegError> {
        todo!()
    }

    // -- figures

    /// Packets rejected for any reason.
    pub fn rejected(&self) -> u64 {
        todo!()
    }

    pub fn stats(&self, now: Ns) -> LegStats {
        todo!()
    }

    pub fn receiver_stats(&self, id: ReceiverId, now: Ns) -> Option<ReceiverStats> {
        todo!()
    }

    pub fn sender_stats(&self, id: SenderId, now: Ns) -> Option<SenderStats> {
        todo!()
    }
}
