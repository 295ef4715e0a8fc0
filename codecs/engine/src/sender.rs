//! Outbound: units of the selected source to packets, paced, kept for retransmission, with continuous numbers.

use crate::unit::{Codec, TrackId};

/// Keys that may wait to be sent.
pub const MAX_DTMF_QUEUED: usize = 64;

/// Figures of a sender; `Sender.stats` in `_engine.pyi`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SenderStats {
    pub ssrc: u32,
    pub codec: Codec,
    pub track: Option<TrackId>,
    /// Retransmissions not included.
    pub packets: u64,
    pub bytes: u64,
    pub units: u64,
    pub keyframes: u64,
    /// By overflow of the queue.
    pub dropped_units: u64,
    /// Age of what waits longest to be sent.
    pub queue_ms: u32,
    /// Sequence numbers that NACKs named.
    pub nacks_received: u64,
    pub rtx_sent: u64,
    pub plis_received: u64,
    pub firs_received: u64,
    pub remote_loss_percent: f32,
    pub remote_jitter_ms: f32,
    pub rtt_ms: Option<f32>,
    /// None: the peer said nothing.
    pub remb_bps: Option<u64>,
    pub bitrate_bps: u64,
    pub fps: f32,
}
