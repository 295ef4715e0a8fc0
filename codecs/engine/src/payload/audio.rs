//! Audio that is one frame a packet: Opus (RFC 7587), G.711, G.722 (RFC 3551), L16 mono.
use super::{Finished, Input, PayloadError, Piece};
use crate::unit::{Codec, Unit};

/// See `payload::Depacketizer`.
#[derive(Debug)]
pub struct Depacketizer {}

impl Depacketizer {
    pub fn new(_codec: Codec) -> Depacketizer {
        todo!()
    }
    pub fn push(&mut self, _input: &Input<'_>, _out: &mut Vec<Finished>) {
        todo!()
    }
}

/// Ticks of the RTP clock that a frame lasts: 48 kHz for Opus, 8 kHz for G.711 and (RFC 3551 4.5.2) G.722, the
/// sampling rate for L16.
pub fn duration(_codec: Codec, _frame: &[u8]) -> Result<u32, PayloadError> {
    todo!()
}

/// The packet of a frame. See `payload::Packetizer::plan`.
pub fn plan(_unit: &Unit, _out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    todo!()
}
