//! VP8 in RTP (RFC 7741).
//!
//! Temporal layers are taken as they come: all of them. Deliberately not implemented: partitions sent apart for decoding
//! a damaged picture, since a picture with a packet lost is dropped whole.

use super::{Finished, Frame, Input, Packing, PayloadError, Piece, MAX_DATAGRAM_PAYLOAD, MAX_UNIT_BYTES};
use crate::unit::{Ns, Unit};

/// X, then I, then M with a 15-bit PictureID.
const DESCRIPTOR_BYTES: usize = 4;
/// A limit below this is raised to it.
const MIN_PAYLOAD_BYTES: usize = 128;
/// A buffer that a key frame made larger than this is given back after a small picture.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// A payload descriptor (4.2), as far as order matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// The payload begins a partition.
    pub start: bool,
    /// Partition index.
    pub partition: u8,
    pub picture_id: Option<u16>,
    /// Bytes of the descriptor.
    pub len: usize,
}

impl Descriptor {
    /// # Errors
    /// `Truncated`, also when no payload follows.
    pub fn parse(payload: &[u8]) -> Result<Descriptor, PayloadError> {
        let byte = |at: usize| payload.get(at).copied().ok_or(PayloadError::Truncated);
        let first = byte(0)?;
        let mut len = 1;
        let mut picture_id = None;
        if first & 0x80 != 0 {
            let flags = byte(1)?;
            len = 2;
            if flags & 0x80 != 0 {
                let high = byte(len)?;
                len += 1;
                picture_id = Some(u16::from(high & 0x7F));
                if high & 0x80 != 0 {
                    picture_id = Some(u16::from(high & 0x7F) << 8 | u16::from(byte(len)?));
                    len += 1;
                }
            }
            // TL0PICIDX, then one byte shared by TID, Y and KEYIDX
            len += usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0);
        }
        byte(len)?;
        Ok(Descriptor { start: first & 0x10 != 0, partition: first & 0x07, picture_id, len })
    }
}

/// Width and height of a key frame (RFC 6386 9.1); None for any other frame.
pub fn keyframe_size(frame: &[u8]) -> Option<(u32, u32)> {
    let (header, _) = frame.split_first_chunk::<10>()?;
    if header[0] & 1 != 0 || header[3..6] != [0x9D, 0x01, 0x2A] {
        return None;
    }
    // the upper two bits are the scale
    let side = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]) & 0x3FFF);
    Some((side(6), side(8)))
}

/// Packets of one source, in order, to pictures. See `payload::Depacketizer`.
#[derive(Debug)]
pub struct Depacketizer {
    /// Of the picture that is open.
    timestamp: Option<i64>,
    arrival: Ns,
    payload: Vec<u8>,
    /// The open picture was dropped; the rest of it is passed over.
    dropping: bool,
    contiguous: bool,
}

impl Default for Depacketizer {
    fn default() -> Depacketizer {
        Depacketizer { timestamp: None, arrival: 0, payload: Vec::new(), dropping: false, contiguous: true }
    }
}

impl Depacketizer {
    /// See `payload::Depacketizer::push`.
    pub fn push(&mut self, input: &Input<'_>, out: &mut Vec<Finished>) {
        if input.gap {
            self.contiguous = false;
            if self.timestamp.is_some() && !self.dropping {
                self.drop_open(PayloadError::Incomplete, out);
            }
        }
        if self.timestamp.is_some_and(|open| open != input.timestamp) {
            self.end(out);
        }
        let first = self.timestamp.is_none();
        self.timestamp = Some(input.timestamp);
        self.arrival = input.arrival;
        if !self.dropping {
            if let Err(why) = self.take(input.payload, first) {
                self.drop_open(why, out);
            }
        }
        if input.marker {
            self.end(out);
        }
    }

    /// See `payload::Depacketizer::flush`.
    pub fn flush(&mut self, out: &mut Vec<Finished>) {
        self.end(out);
    }

    fn take(&mut self, payload: &[u8], first: bool) -> Result<(), PayloadError> {
        let descriptor = Descriptor::parse(payload)?;
        if first && !(descriptor.start && descriptor.partition == 0) {
            return Err(PayloadError::Incomplete);
        }
        let body = &payload[descriptor.len..];
        if self.payload.len() + body.len() > MAX_UNIT_BYTES {
            return Err(PayloadError::TooLarge);
        }
        self.payload.extend_from_slice(body);
        Ok(())
    }

    fn drop_open(&mut self, why: PayloadError, out: &mut Vec<Finished>) {
        out.push(Finished::Dropped { timestamp: self.timestamp.unwrap_or(0), why });
        self.clear();
        self.dropping = true;
        self.contiguous = false;
    }

    fn end(&mut self, out: &mut Vec<Finished>) {
        let timestamp = self.timestamp.take();
        if let Some(timestamp) = timestamp.filter(|_| !self.dropping) {
            out.push(Finished::Frame(Frame {
                timestamp,
                keyframe: self.payload[0] & 1 == 0,
                contiguous: self.contiguous,
                arrival: self.arrival,
                payload: self.payload.as_slice().into(),
                nals: Box::default(),
                size: keyframe_size(&self.payload),
                duration: 0,
            }));
            self.contiguous = true;
        }
        self.dropping = false;
        self.clear();
    }

    fn clear(&mut self) {
        let used = self.payload.len();
        self.payload.clear();
        if self.payload.capacity() > KEPT_BUFFER_BYTES.max(8 * used) {
            self.payload.shrink_to(KEPT_BUFFER_BYTES);
        }
    }
}

/// The outbound PictureIDs: 15 bits, one more for every picture.
#[derive(Clone, Default, Debug)]
pub struct PictureIds(u16);

impl PictureIds {
    pub fn take(&mut self) -> u16 {
        let id = self.0;
        self.0 = (id + 1) & 0x7FFF;
        id
    }
}

/// The packets of a picture, of equal size so that they leave in one GSO call. See `payload::Packetizer::plan`.
///
/// # Errors
/// `Empty`, `TooLarge`; nothing is appended then.
pub fn plan(unit: &Unit, packing: &Packing, picture_id: u16, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    let total = unit.payload.len();
    if total == 0 {
        return Err(PayloadError::Empty);
    }
    if total > MAX_UNIT_BYTES {
        return Err(PayloadError::TooLarge);
    }
    let limit = packing.max_payload_bytes.clamp(MIN_PAYLOAD_BYTES, MAX_DATAGRAM_PAYLOAD) - DESCRIPTOR_BYTES;
    let size = total.div_ceil(total.div_ceil(limit));
    let [high, low] = picture_id.to_be_bytes();
    for from in (0..total).step_by(size) {
        let start = u8::from(from == 0) << 4;
        let len = size.min(total - from);
        let mut piece = Piece::range(&[0x80 | start, 0x80, 0x80 | high, low], from, len);
        piece.last = from + len == total;
        out.push(piece);
    }
    Ok(())
}
