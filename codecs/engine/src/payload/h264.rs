//! H.264 in RTP (RFC 6184), packetization modes 0 and 1.
use super::{Finished, Input, Packing, PayloadError, Piece};
use crate::unit::Unit;

/// Packets of one source, in order, to pictures. See `payload::Depacketizer`.
#[derive(Default, Debug)]
pub struct Depacketizer {}

impl Depacketizer {
    pub fn push(&mut self, _input: &Input<'_>, _out: &mut Vec<Finished>) {
        todo!()
    }
    pub fn flush(&mut self, _out: &mut Vec<Finished>) {
        todo!()
    }
}

/// The packets of a picture. See `payload::Packetizer::plan`.
pub fn plan(_unit: &Unit, _packing: &Packing, _out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    todo!()
}
