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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Packetizer;
    use crate::unit::{Codec, TrackId};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A key frame's first bytes (RFC 6386 9.1): 640x360, scale bits set.
    const KEY: &[u8] = &[0x50, 0x01, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x42, 0x68, 0x81, 7, 7];
    const DELTA: &[u8] = &[0x51, 0x01, 0x00, 1, 2, 3];

    fn unit(frame: &[u8]) -> Unit {
        Unit {
            track: TrackId(1),
            codec: Codec::Vp8,
            pts: 0,
            dts: 0,
            keyframe: true,
            contiguous: true,
            capture: 0,
            arrival: 0,
            payload: frame.into(),
            nals: Box::default(),
            level: None,
        }
    }

    fn payloads(packetizer: &mut Packetizer, frame: &[u8], max_payload_bytes: usize) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let unit = unit(frame);
        packetizer.plan(&unit, &Packing { mode: 1, max_payload_bytes, max_nal_bytes: 0 }, &mut pieces).unwrap();
        assert_eq!(pieces.iter().filter(|piece| piece.last).count(), 1);
        let written = |piece: &Piece| {
            let mut bytes = Vec::new();
            piece.write(&unit, &mut bytes);
            bytes
        };
        pieces.iter().map(written).collect()
    }

    fn push(depacketizer: &mut Depacketizer, timestamp: i64, marker: bool, gap: bool, payload: &[u8]) -> Vec<Finished> {
        let mut out = Vec::new();
        depacketizer.push(&Input { timestamp, marker, gap, arrival: 1, payload }, &mut out);
        out
    }

    #[test]
    fn descriptors_of_the_rfc() {
        let read = |bytes: &[u8]| Descriptor::parse(bytes).map(|d| (d.start, d.partition, d.picture_id, d.len));
        assert_eq!(read(&[0x10, 9]), Ok((true, 0, None, 1)));
        // RFC 7741 4.2: X, I with 7 bits; with 15 bits; everything; TID or KEYIDX alone share a byte
        assert_eq!(read(&[0x90, 0x80, 0x11, 9]), Ok((true, 0, Some(0x11), 3)));
        assert_eq!(read(&[0x80, 0x80, 0x91, 0x22, 9]), Ok((false, 0, Some(0x1122), 4)));
        assert_eq!(read(&[0x83, 0xF0, 0x91, 0x22, 1, 2, 9]), Ok((false, 3, Some(0x1122), 6)));
        assert_eq!(read(&[0x80, 0x20, 1, 9]), Ok((false, 0, None, 3)));
        assert_eq!(read(&[0x80, 0x10, 1, 9]), Ok((false, 0, None, 3)));
        for cut in [&[][..], &[0x10], &[0x80], &[0x90, 0x80, 0x91], &[0x90, 0x80, 0x91, 0x22], &[0x90, 0xF0, 1, 2]] {
            assert_eq!(Descriptor::parse(cut), Err(PayloadError::Truncated), "{cut:?}");
        }
    }

    #[test]
    fn key_frames_say_their_size() {
        assert_eq!(keyframe_size(KEY), Some((640, 360)));
        assert_eq!(keyframe_size(DELTA), None);
        assert_eq!(keyframe_size(&KEY[..9]), None);
        let mut depacketizer = Depacketizer::default();
        let out = push(&mut depacketizer, 5, true, false, &[&[0x10][..], KEY].concat());
        assert!(matches!(&out[..], [Finished::Frame(frame)]
            if frame.keyframe && frame.size == Some((640, 360)) && *frame.payload == *KEY));
    }

    #[test]
    fn picture_ids_count_and_wrap() {
        let mut packetizer = Packetizer { vp8: PictureIds(0x7FFF) };
        assert_eq!(payloads(&mut packetizer, KEY, 1200)[0][..4], [0x90, 0x80, 0xFF, 0xFF]);
        assert_eq!(payloads(&mut packetizer, KEY, 1200)[0][..4], [0x90, 0x80, 0x80, 0x00]);
    }

    #[test]
    fn loss_drops_the_picture_it_hit() {
        let start = [&[0x10][..], DELTA].concat();
        let mut depacketizer = Depacketizer::default();
        assert!(push(&mut depacketizer, 0, false, false, &start).is_empty());
        let out = push(&mut depacketizer, 0, true, true, &[0x00, 9]);
        assert_eq!(out, [Finished::Dropped { timestamp: 0, why: PayloadError::Incomplete }]);
        // the beginning of the next one too
        let out = push(&mut depacketizer, 3000, true, true, &[0x00, 9]);
        assert_eq!(out, [Finished::Dropped { timestamp: 3000, why: PayloadError::Incomplete }]);
        let out = push(&mut depacketizer, 6000, true, false, &start);
        assert!(matches!(&out[..], [Finished::Frame(frame)] if !frame.contiguous && !frame.keyframe));
        let out = push(&mut depacketizer, 9000, true, true, &[]);
        assert_eq!(out, [Finished::Dropped { timestamp: 9000, why: PayloadError::Truncated }]);
    }

    proptest! {
        #[test]
        fn pictures_come_back(frame in vec(any::<u8>(), 1..9000), max_payload_bytes in 128usize..1500) {
            let packets = payloads(&mut Packetizer::default(), &frame, max_payload_bytes);
            prop_assert!(packets.iter().all(|packet| packet.len() <= max_payload_bytes));
            prop_assert!(packets[..packets.len() - 1].iter().all(|packet| packet.len() == packets[0].len()));
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            for (at, payload) in packets.iter().enumerate() {
                out.extend(push(&mut depacketizer, 1, at + 1 == packets.len(), false, payload));
            }
            prop_assert!(matches!(&out[..], [Finished::Frame(got)] if *got.payload == *frame));
        }

        #[test]
        fn no_packets_panic(packets in vec((0i64..3, any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..20)), 0..20)) {
            let mut depacketizer = Depacketizer::default();
            let mut out = Vec::new();
            for (timestamp, marker, gap, payload) in &packets {
                out.extend(push(&mut depacketizer, *timestamp, *marker, *gap, payload));
            }
            depacketizer.flush(&mut out);
            let empty = |finished: &Finished| matches!(finished, Finished::Frame(frame) if frame.payload.is_empty());
            prop_assert!(!out.iter().any(empty));
        }
    }
}
