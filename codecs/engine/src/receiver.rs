//! Inbound: the packets of one source in order, what is lost asked for again, and units made of them.

use crate::unit::Codec;

/// Figures of a receiver; `Receiver.stats` in `_engine.pyi`.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ReceiverStats {
    pub ssrc: Option<u32>,
    pub codec: Option<Codec>,
    /// Valid ones, retransmissions included.
    pub packets: u64,
    pub bytes: u64,
    /// Never came by themselves (RFC 3550 6.4.1); `recovered_rtx` of them came when asked for.
    pub lost: u64,
    pub recovered_rtx: u64,
    pub duplicates: u64,
    /// Came when they had been given up.
    pub late: u64,
    pub jitter_ms: f32,
    /// Of what was sent in the last 5 s, before retransmission.
    pub loss_percent: f32,
    pub units: u64,
    /// Sequence numbers named in NACKs.
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub firs_sent: u64,
    pub keyframes: u64,
    pub width: u32,
    pub height: u32,
    pub fps: f32,
    pub bitrate_bps: u64,
    /// Since the last unit.
    pub last_unit_ms: Option<u64>,
}
