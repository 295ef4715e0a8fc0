//! What the sans-IO parts give back: datagrams to send, units to publish, wishes and events.
//!
//! A leg appends to one `Output` that the shell drains and reuses, so that nothing is allocated per packet.

use crate::unit::{LegId, Ns, SenderId, TrackId, Unit};
use std::net::SocketAddr;

/// Which of a leg's sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    Rtp,
    Rtcp,
}

/// A datagram in `Output::bytes`. Neighbours with one destination and length leave in one GSO call.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub leg: LegId,
    pub path: Path,
    pub to: SocketAddr,
    pub start: usize,
    pub len: usize,
}

/// Why something from outside was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reject {
    Rtp,
    Rtcp,
    SrtpAuth,
    SrtpReplay,
    Payload,
    Foreign,
}

/// What people and the routing core hear about. `codecs/_engine.pyi` documents each, field by field.
#[derive(Clone, Debug)]
pub enum Event {
    Datagram { leg: LegId, bytes: Vec<u8>, from: SocketAddr },
    PeerLocked { leg: LegId, peer: SocketAddr },
    Silent { leg: LegId, ms: u32 },
    Heard { leg: LegId, ms: u32 },
    Bye { leg: LegId, ssrc: u32 },
    KeyframeWanted { track: TrackId, attempt: u32 },
    KeyframeCame { track: TrackId, ms: u32 },
    Size { track: TrackId, width: u32, height: u32 },
    Reordered { track: TrackId, ms: u32 },
    Dtmf { leg: LegId, digit: char, ms: u32 },
    Overflowed { subscriber: u32, units: u32 },
    SourceEnded { sender: SenderId, track: TrackId },
    Levels { mixer: u32, levels: Vec<(TrackId, i8, bool)> },
    LegFailed { leg: LegId, text: String },
    Rejected { leg: LegId, why: Reject, count: u32 },
    Fault { leg: LegId, text: String },
}

#[derive(Default, Debug)]
pub struct Output {
    pub bytes: Vec<u8>,
    pub datagrams: Vec<Datagram>,
    /// Finished units of tracks that this leg feeds, in order.
    pub units: Vec<Unit>,
    /// A peer wants a key frame from what this sender has selected (PLI, FIR), or the sender itself does after a drop.
    pub keyframe_wishes: Vec<SenderId>,
    pub events: Vec<Event>,
    /// When `poll` wants to be called again at the latest.
    pub wake: Option<Ns>,
}

impl Output {
    pub fn push_datagram(&mut self, leg: LegId, path: Path, to: SocketAddr, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.datagrams.push(Datagram { leg, path, to, start, len: bytes.len() });
    }
}
