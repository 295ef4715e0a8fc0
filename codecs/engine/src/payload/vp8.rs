//! VP8 in RTP (RFC 7741).
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

/// The outbound 15-bit PictureID, one more for every picture.
#[derive(Clone, Default, Debug)]
pub struct PictureIds(u16);

impl PictureIds {
    pub fn next(&mut self) -> u16 {
        todo!()
    }
}

/// The packets of a picture. See `payload::Packetizer::plan`.
pub fn plan(_unit: &Unit, _packing: &Packing, _picture_id: u16, _out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    todo!()
}

/// Width and height of a key frame; None for any other frame.
pub fn keyframe_size(_frame: &[u8]) -> Option<(u32, u32)> {
    todo!()
}
