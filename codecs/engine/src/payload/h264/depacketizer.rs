//! Packets of one source, in order, to pictures.

use super::{travels, FU_A, FU_B, F_NRI, STAP_A, STAP_B};
use crate::h264::{is_slice, nal_type, Sps, Summary, PPS, SPS};
use crate::payload::{Finished, Frame, Input, PayloadError, MAX_NALS, MAX_UNIT_BYTES};
use crate::unit::Ns;

/// Parameter sets that may wait for the picture after them; more are dropped.
const MAX_CARRIED: usize = 32;
/// Room beyond the last picture's size when the next one begins, so that it seldom has to move while it grows.
const HEADROOM_BYTES: usize = 512;

/// See `payload::Depacketizer`.
///
/// A picture ends with the marker, or with the next timestamp for sources that set none. A marker on parameter sets alone
/// ends nothing: they belong to the picture that follows, whatever timestamp it has. A source that sets the marker within
/// its pictures (one on every slice) is recognised by the slice that follows, and believed no more.
///
/// A picture with a packet lost is dropped whole: half a picture shows as grey or smeared blocks until the next key
/// frame, and what the receiver does about the loss is the same.
#[derive(Debug)]
pub struct Depacketizer {
    /// Of the picture that is open.
    timestamp: Option<i64>,
    arrival: Ns,
    /// Becomes the unit's as it is: copying a picture would cost more than encrypting it, because it is in no cache.
    payload: Vec<u8>,
    nals: Vec<(u32, u32)>,
    /// Of the picture before, all of it.
    last_bytes: usize,
    /// A NAL unit in fragments is open: `payload` has its length (still 0) from here on.
    fragment: Option<usize>,
    /// The open picture was dropped; the rest of it is passed over.
    dropping: bool,
    /// A packet before the open picture was lost, or it is the first one heard: its own beginning may be missing.
    after_gap: bool,
    /// The next frame follows the previous one.
    contiguous: bool,
    /// Timestamp of the picture that a marker ended last.
    ended: Option<i64>,
    markers_lie: bool,
}

impl Default for Depacketizer {
    fn default() -> Depacketizer {
        Depacketizer {
            timestamp: None,
            arrival: 0,
            payload: Vec::new(),
            nals: Vec::new(),
            last_bytes: 0,
            fragment: None,
            dropping: false,
            after_gap: true,
            contiguous: true,
            ended: None,
            markers_lie: false,
        }
    }
}

impl Depacketizer {
    /// See `payload::Depacketizer::push`.
    pub fn push(&mut self, input: &Input<'_>, out: &mut Vec<Finished>) {
        if input.gap {
            self.note_gap(out);
        }
        if self.timestamp.is_some_and(|open| open != input.timestamp) {
            self.end_by_timestamp(out);
        }
        self.timestamp = Some(input.timestamp);
        self.after_gap |= input.gap;
        self.arrival = input.arrival;
        if !self.dropping {
            if let Err(why) = self.take(input.payload) {
                self.drop_open(why, out);
            }
        }
        if input.marker && !self.markers_lie && (self.dropping || self.has_slice()) {
            self.ended = self.timestamp;
            self.end(out);
        }
    }

    /// See `payload::Depacketizer::flush`.
    pub fn flush(&mut self, out: &mut Vec<Finished>) {
        if self.dropping || self.has_slice() {
            self.end(out);
        }
    }

    /// Something is missing before the packet that comes now: it may belong to what is open.
    fn note_gap(&mut self, out: &mut Vec<Finished>) {
        self.contiguous = false;
        // parameter sets that came whole stay useful to the picture that follows
        if self.timestamp.is_some() && !self.dropping && (self.has_slice() || self.fragment.is_some()) {
            self.drop_open(PayloadError::Incomplete, out);
        }
    }

    fn end_by_timestamp(&mut self, out: &mut Vec<Finished>) {
        if self.dropping || self.has_slice() {
            self.end(out);
        } else {
            self.carry();
        }
    }

    /// Keep the parameter sets of a picture that never came for the next one.
    fn carry(&mut self) {
        if self.fragment.take().is_some() {
            self.contiguous = false;
        }
        let old = std::mem::take(&mut self.payload);
        let kept = std::mem::take(&mut self.nals);
        if kept.len() <= MAX_CARRIED {
            for (start, len) in kept {
                let nal = &old[start as usize..(start + len) as usize];
                let again = self.units().any(|kept| kept == nal);
                if matches!(nal_type(nal), SPS | PPS) && !again {
                    self.append(nal);
                }
            }
        }
        self.timestamp = None;
    }

    fn has_slice(&self) -> bool {
        let begins = self.nals.iter().map(|nal| nal.0 as usize).chain(self.fragment.map(|at| at + 4));
        begins.into_iter().any(|at| is_slice(self.payload[at] & 0x1F))
    }

    /// One RTP payload (RFC 6184 5.4).
    fn take(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let (&first, rest) = payload.split_first().ok_or(PayloadError::Empty)?;
        if self.payload.capacity() == 0 {
            self.payload.reserve_exact((self.last_bytes + self.last_bytes / 8).max(payload.len()) + HEADROOM_BYTES);
        }
        match first & 0x1F {
            1..STAP_A => self.take_nal(payload),
            STAP_A => self.take_aggregate(rest),
            STAP_B => self.take_aggregate(rest.get(2..).ok_or(PayloadError::Truncated)?),
            FU_A => self.take_fragment(first, rest, 1),
            FU_B => self.take_fragment(first, rest, 3),
            kind => Err(PayloadError::Unsupported(kind)),
        }
    }

    fn take_nal(&mut self, nal: &[u8]) -> Result<(), PayloadError> {
        self.close_fragment();
        let kind = nal_type(nal);
        if !travels(kind) {
            return Ok(());
        }
        self.check_room(nal.len())?;
        self.check_start(nal)?;
        self.append(nal);
        Ok(())
    }

    /// The NAL units of a STAP, each after its length (5.7.1).
    fn take_aggregate(&mut self, mut rest: &[u8]) -> Result<(), PayloadError> {
        if rest.is_empty() {
            return Err(PayloadError::Empty);
        }
        while !rest.is_empty() {
            let (len, after) = rest.split_first_chunk::<2>().ok_or(PayloadError::Truncated)?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (nal, after) = after.split_at_checked(len).ok_or(PayloadError::Truncated)?;
            match nal_type(nal) {
                _ if nal.is_empty() => return Err(PayloadError::Empty),
                1..STAP_A => self.take_nal(nal)?,
                kind => return Err(PayloadError::Unsupported(kind)),
            }
            rest = after;
        }
        Ok(())
    }

    /// FU-A and, with its decoding order number, FU-B (5.8).
    fn take_fragment(&mut self, indicator: u8, rest: &[u8], head: usize) -> Result<(), PayloadError> {
        let header = *rest.first().ok_or(PayloadError::Truncated)?;
        let body = rest.get(head..).ok_or(PayloadError::Truncated)?;
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        if start {
            if !(1..STAP_A).contains(&(header & 0x1F)) {
                return Err(PayloadError::Unsupported(header & 0x1F));
            }
            self.close_fragment();
            self.check_room(body.len() + 1)?;
            let first = indicator & F_NRI | header & 0x1F;
            // the slice header lies in the first fragment's first bytes
            let mut begin = [first; 17];
            let known = body.len().min(16);
            begin[1..=known].copy_from_slice(&body[..known]);
            self.check_start(&begin[..=known])?;
            self.fragment = Some(self.payload.len());
            self.payload.extend_from_slice(&[0, 0, 0, 0, first]);
        } else if self.fragment.is_none() {
            return Err(PayloadError::FragmentOrder);
        } else if self.payload.len() + body.len() > MAX_UNIT_BYTES {
            return Err(PayloadError::TooLarge);
        }
        self.payload.extend_from_slice(body);
        if end {
            self.close_fragment();
        }
        Ok(())
    }

    /// A fragmented NAL unit is whole. Also without an end bit, when something else follows: nothing was lost, so nothing
    /// of it is missing.
    fn close_fragment(&mut self) {
        let Some(at) = self.fragment.take() else { return };
        if !travels(self.payload[at + 4] & 0x1F) {
            self.payload.truncate(at);
            return;
        }
        let len = (self.payload.len() - at - 4) as u32;
        self.payload[at..at + 4].copy_from_slice(&len.to_be_bytes());
        self.nals.push((at as u32 + 4, len));
    }

    fn check_room(&self, len: usize) -> Result<(), PayloadError> {
        if self.nals.len() >= MAX_NALS || self.payload.len() + 4 + len > MAX_UNIT_BYTES {
            return Err(PayloadError::TooLarge);
        }
        Ok(())
    }

    /// The first slice of a picture, where there is reason to doubt that it is the first.
    fn check_start(&mut self, nal: &[u8]) -> Result<(), PayloadError> {
        let again = self.ended.is_some() && self.ended == self.timestamp;
        if !(self.after_gap || again) || !is_slice(nal_type(nal)) || self.has_slice() {
            return Ok(());
        }
        let summary = Summary::of(std::iter::once(nal));
        if summary.from_top {
            return Ok(());
        }
        if again && !self.after_gap {
            self.markers_lie = true;
            return Err(PayloadError::MarkerWithin);
        }
        Err(PayloadError::Incomplete)
    }

    fn append(&mut self, nal: &[u8]) {
        self.payload.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        self.nals.push((self.payload.len() as u32, nal.len() as u32));
        self.payload.extend_from_slice(nal);
    }

    /// Give the open picture up and say so at once; what else belongs to it is passed over.
    fn drop_open(&mut self, why: PayloadError, out: &mut Vec<Finished>) {
        out.push(Finished::Dropped { timestamp: self.timestamp.unwrap_or(0), why });
        self.clear();
        self.dropping = true;
        self.contiguous = false;
    }

    /// The open picture is complete, or was dropped.
    fn end(&mut self, out: &mut Vec<Finished>) {
        self.close_fragment();
        let timestamp = self.timestamp.take();
        if let Some(timestamp) = timestamp.filter(|_| !self.dropping) {
            let frame = self.frame(timestamp);
            out.push(Finished::Frame(frame));
            self.contiguous = true;
        }
        self.dropping = false;
        self.after_gap = false;
        self.clear();
    }

    fn frame(&mut self, timestamp: i64) -> Frame {
        let summary = Summary::of(self.units());
        self.last_bytes = self.payload.len();
        let sps = self.units().find(|nal| nal_type(nal) == SPS).and_then(|nal| Sps::parse(nal).ok());
        Frame {
            timestamp,
            keyframe: summary.keyframe(),
            contiguous: self.contiguous,
            arrival: self.arrival,
            payload: std::mem::take(&mut self.payload).into_boxed_slice(),
            nals: self.nals.as_slice().into(),
            size: sps.map(|sps| (sps.width, sps.height)),
            duration: 0,
        }
    }

    fn units(&self) -> impl Iterator<Item = &[u8]> {
        self.nals.iter().map(|&(start, len)| &self.payload[start as usize..(start + len) as usize])
    }

    fn clear(&mut self) {
        self.payload.clear();
        self.nals.clear();
        self.fragment = None;
    }
}
