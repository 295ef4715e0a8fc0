//! H.264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A, packetization modes 0 and 1.
//!
//! Inbound both modes are taken whatever was negotiated; STAP-B and FU-B are read as if they were in order, because
//! some senders use them without interleaving. Deliberately not implemented: interleaved mode, MTAP.
//!
//! What travels and what doesn't, by rule: access unit delimiters and filler data are left out both ways, since RTP
//! bounds pictures by timestamps and nobody decodes filler. SEI stays, because a decoder that joins without an IDR
//! picture needs the recovery point, and some receivers their user data. Everything else passes as it came, reserved and
//! SVC types too: decoders ignore what they don't know (7.4.1 of H.264).

mod depacketizer;

pub use depacketizer::Depacketizer;

use super::{Body, Packing, PayloadError, Piece, MAX_DATAGRAM_PAYLOAD, MAX_HEAD_BYTES, MAX_NALS, MAX_UNIT_BYTES};
use crate::h264::{nal_type, AUD, FILLER};
use crate::unit::Unit;

const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// F and NRI of a NAL unit header.
const F_NRI: u8 = 0xE0;

/// A limit below this is raised to it, so that a silly `max-rcmd-nalu-size` can't cost a packet a byte.
const MIN_PAYLOAD_BYTES: usize = 128;

/// Whether this NAL unit type travels at all. 0 and 24 to 31 are packet types here or unspecified: sent alone, such a
/// NAL unit would be taken for an aggregate or a fragment.
fn travels(kind: u8) -> bool {
    (1..STAP_A).contains(&kind) && kind != AUD && kind != FILLER
}

/// The packets of a picture. See `payload::Packetizer::plan`.
///
/// # Errors
/// `NalTooLarge` (mode 0), `TooLarge`; nothing is appended then.
pub fn plan(unit: &Unit, packing: &Packing, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    if unit.payload.len() > MAX_UNIT_BYTES || unit.nals.len() > MAX_NALS {
        return Err(PayloadError::TooLarge);
    }
    let before = out.len();
    let planned = if packing.mode == 0 { plan_single(unit, out) } else { plan_fragments(unit, packing, out) };
    if planned.is_err() {
        out.truncate(before);
    } else if out.len() > before {
        let last = out.len() - 1;
        out[last].last = true;
    }
    planned
}

/// Mode 0: every NAL unit alone. One above the MTU is IP's to fragment (RFC 6184 6.2).
fn plan_single(unit: &Unit, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    for (&(start, len), nal) in unit.nals.iter().zip(unit.nal_units()) {
        if !travels(nal_type(nal)) {
            continue;
        }
        if len as usize > MAX_DATAGRAM_PAYLOAD {
            return Err(PayloadError::NalTooLarge(len));
        }
        out.push(Piece::range(&[], start as usize, len as usize));
    }
    Ok(())
}

/// Mode 1: small neighbours share a STAP-A, large NAL units become FU-As of equal size.
fn plan_fragments(unit: &Unit, packing: &Packing, out: &mut Vec<Piece>) -> Result<(), PayloadError> {
    // a receiver's NAL limit may be far above the MTU (Webex offers 3,133,440), never a reason to exceed it
    let nal_limit = if packing.max_nal_bytes == 0 { usize::MAX } else { packing.max_nal_bytes };
    let limit = packing.max_payload_bytes.min(nal_limit).clamp(MIN_PAYLOAD_BYTES, MAX_DATAGRAM_PAYLOAD);
    let mut run = Run::default();
    for (at, (&(start, len), nal)) in unit.nals.iter().zip(unit.nal_units()).enumerate() {
        let (start, len) = (start as usize, len as usize);
        if !travels(nal_type(nal)) {
            run.end(out);
        } else if len > limit {
            run.end(out);
            fragment(nal, start, limit, out);
        } else {
            if run.count > 0 && run.bytes + 2 + len > limit {
                run.end(out);
            }
            run.add(at, start, nal);
        }
    }
    run.end(out);
    Ok(())
}

/// FU-A (5.8). Equal sizes, so that a picture's packets leave in one GSO call.
fn fragment(nal: &[u8], start: usize, limit: usize, out: &mut Vec<Piece>) {
    let header = nal[0];
    let total = nal.len() - 1;
    let count = total.div_ceil(limit - 2);
    let size = total.div_ceil(count);
    for (at, from) in (0..total).step_by(size).enumerate() {
        let len = size.min(total - from);
        let start_bit = u8::from(at == 0) << 7;
        let end_bit = u8::from(from + len == total) << 6;
        let head = [header & F_NRI | FU_A, start_bit | end_bit | header & 0x1F];
        out.push(Piece::range(&head, start + 1 + from, len));
    }
}

/// Neighbouring NAL units that fit in one packet.
#[derive(Default)]
struct Run {
    first: usize,
    count: usize,
    /// Of the STAP-A that they would be.
    bytes: usize,
    /// F of any, the highest NRI (5.7).
    header: u8,
    /// Where the first one lies, for when it stays alone.
    start: usize,
    len: usize,
}

impl Run {
    fn add(&mut self, at: usize, start: usize, nal: &[u8]) {
        if self.count == 0 {
            *self = Run { first: at, count: 0, bytes: 1, header: STAP_A, start, len: nal.len() };
        }
        self.count += 1;
        self.bytes += 2 + nal.len();
        let nri = (self.header & 0x60).max(nal[0] & 0x60);
        self.header = (self.header | nal[0]) & 0x80 | nri | STAP_A;
    }

    fn end(&mut self, out: &mut Vec<Piece>) {
        match self.count {
            0 => {}
            1 => out.push(Piece::range(&[], self.start, self.len)),
            count => {
                let mut head = [0; MAX_HEAD_BYTES];
                head[0] = self.header;
                let len = (self.bytes - 1) as u32;
                let body = Body::Nals { first: self.first as u16, count: count as u16, len };
                out.push(Piece { head, head_len: 1, last: false, body });
            }
        }
        self.count = 0;
    }
}

#[cfg(test)]
mod tests;
