//! RTCP: reports (RFC 3550), feedback (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb-03), reduced size
//! (RFC 5506).
//!
//! `parse` borrows and never allocates; `write_*` (in `rtcp::write`) append to a caller's buffer, one packet a function,
//! so that a compound is what is written in a row.
//!
//! Tolerated by rule: a compound that doesn't begin with a report, a report count above what fits, padding anywhere,
//! unknown types, up to three stray bytes at the end. Deliberately not implemented: XR, APP, SDES items but CNAME,
//! TMMBR, SLI, RPSI.

mod write;

pub use write::{
    write_bye, write_cname, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sender_report,
};

use std::fmt;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
/// Transport layer feedback (RFC 4585 6.1), and its formats.
const RTPFB: u8 = 205;
const NACK: u8 = 1;
const TWCC: u8 = 15;
/// Payload-specific feedback, and its formats.
const PSFB: u8 = 206;
const PLI: u8 = 1;
const FIR: u8 = 4;
/// Application layer feedback: REMB, where its identifier says so.
const AFB: u8 = 15;
const REMB: &[u8; 4] = b"REMB";

const BLOCK_BYTES: usize = 24;

/// What is wrong with a packet that somebody sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpError {
    /// Reaches past the datagram, or is shorter than its type needs.
    Truncated {
        pt: u8,
    },
    Version(u8),
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RtcpError::Truncated { pt } => write!(f, "rtcp packet of type {pt} is cut off"),
            RtcpError::Version(version) => write!(f, "rtcp version is {version}, not 2"),
        }
    }
}

impl std::error::Error for RtcpError {}

/// The sender's half of a sender report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// NTP timestamp, 32.32 seconds since 1900.
    pub ntp: u64,
    /// The same instant on the media clock.
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// What a receiver says of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Of 256, since the last report.
    pub fraction_lost: u8,
    /// 24 bit signed.
    pub lost: i32,
    /// Extended: cycles in the upper half.
    pub highest_seq: u32,
    /// Ticks.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report; 0 when none came.
    pub last_sr: u32,
    /// 1/65536 s since then.
    pub delay: u32,
}

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    SenderReport {
        ssrc: u32,
        info: SenderInfo,
        blocks: Blocks<'a>,
    },
    ReceiverReport {
        ssrc: u32,
        blocks: Blocks<'a>,
    },
    /// A source description; only CNAMEs are read.
    Sdes {
        cnames: Cnames<'a>,
    },
    Bye {
        ssrcs: Ssrcs<'a>,
    },
    /// Generic NACK (RFC 4585 6.2.1).
    Nack {
        sender: u32,
        media: u32,
        seqs: Nacks<'a>,
    },
    /// Picture loss indication (RFC 4585 6.3.1).
    Pli {
        sender: u32,
        media: u32,
    },
    /// Full intra request (RFC 5104 4.3.1): which SSRCs, each with its command number.
    Fir {
        sender: u32,
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate, for these SSRCs.
    Remb {
        sender: u32,
        bps: u64,
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): what follows
    /// its media SSRC.
    Twcc {
        sender: u32,
        media: u32,
        body: &'a [u8],
    },
    /// APP, XR, feedback of another format: skipped.
    Other {
        pt: u8,
        count: u8,
    },
}

/// The packets of a compound, or of a reduced-size datagram: an iterator. What comes before a malformed packet is
/// given; then comes one error, and the end.
pub fn parse(bytes: &[u8]) -> Compound<'_> {
    Compound(bytes)
}

/// See `parse`.
#[derive(Clone, Debug)]
pub struct Compound<'a>(&'a [u8]);

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        // stray bytes that can't be a header; a datagram of nothing else gives nothing
        let (&[first, pt, high, low], rest) = bytes.split_first_chunk::<4>()?;
        if first >> 6 != 2 {
            return Some(Err(RtcpError::Version(first >> 6)));
        }
        let len = 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some((body, rest)) = rest.split_at_checked(len) else { return Some(Err(RtcpError::Truncated { pt })) };
        self.0 = rest;
        let packet = parse_body(pt, first & 0x1F, unpadded(body, first & 0x20 != 0));
        if packet.is_none() {
            self.0 = &[];
        }
        Some(packet.ok_or(RtcpError::Truncated { pt }))
    }
}

/// A padding count that can't be right is none.
fn unpadded(body: &[u8], padded: bool) -> &[u8] {
    let count = usize::from(body.last().copied().unwrap_or(0));
    let len = if padded { body.len().checked_sub(count) } else { None };
    &body[..len.unwrap_or(body.len())]
}

/// None when the body is shorter than its type needs.
fn parse_body(pt: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    Some(match (pt, count) {
        (SENDER_REPORT, _) => {
            let (ssrc, rest) = take32(body)?;
            let (ntp, rest) = rest.split_first_chunk::<8>()?;
            let (timestamp, rest) = take32(rest)?;
            let (packets, rest) = take32(rest)?;
            let (octets, rest) = take32(rest)?;
            let info = SenderInfo { ntp: u64::from_be_bytes(*ntp), timestamp, packets, octets };
            Packet::SenderReport { ssrc, info, blocks: Blocks(first_of(rest, count, BLOCK_BYTES)) }
        }
        (RECEIVER_REPORT, _) => {
            let (ssrc, rest) = take32(body)?;
            Packet::ReceiverReport { ssrc, blocks: Blocks(first_of(rest, count, BLOCK_BYTES)) }
        }
        (SDES, _) => Packet::Sdes { cnames: Cnames { bytes: body, chunks: count } },
        (BYE, _) => Packet::Bye { ssrcs: Ssrcs(first_of(body, count, 4)) },
        (RTPFB | PSFB, _) => {
            let (sender, rest) = take32(body)?;
            let (media, rest) = take32(rest)?;
            parse_feedback(pt, count, sender, media, rest)
        }
        _ => Packet::Other { pt, count },
    })
}

fn parse_feedback(pt: u8, format: u8, sender: u32, media: u32, body: &[u8]) -> Packet<'_> {
    match (pt, format) {
        (RTPFB, NACK) => Packet::Nack { sender, media, seqs: Nacks { bytes: body, base: 0, mask: 0 } },
        (RTPFB, TWCC) => Packet::Twcc { sender, media, body },
        (PSFB, PLI) => Packet::Pli { sender, media },
        (PSFB, FIR) => Packet::Fir { sender, entries: FirEntries(body) },
        (PSFB, AFB) => parse_remb(sender, body).unwrap_or(Packet::Other { pt, count: format }),
        _ => Packet::Other { pt, count: format },
    }
}

/// Section 2.2 of the REMB draft: identifier, number of SSRCs, exponent and mantissa, SSRCs.
fn parse_remb(sender: u32, body: &[u8]) -> Option<Packet<'_>> {
    let (head, rest) = body.split_first_chunk::<8>()?;
    if head[..4] != *REMB {
        return None;
    }
    let mantissa = u64::from(head[5] & 0x03) << 16 | u64::from(head[6]) << 8 | u64::from(head[7]);
    let exponent = u32::from(head[5] >> 2);
    // 18 bits shifted by up to 63: what doesn't fit is "no limit"
    let bps = if mantissa.leading_zeros() >= exponent { mantissa << exponent } else { u64::MAX };
    Some(Packet::Remb { sender, bps, ssrcs: Ssrcs(first_of(rest, head[4], 4)) })
}

/// `count` items of `size` bytes, or as many as there are.
fn first_of(bytes: &[u8], count: u8, size: usize) -> &[u8] {
    let fits = bytes.len() / size;
    &bytes[..fits.min(usize::from(count)) * size]
}

fn take32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// Iterator of report blocks.
#[derive(Clone, Debug)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (bytes, rest) = self.0.split_first_chunk::<BLOCK_BYTES>()?;
        self.0 = rest;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(ReportBlock {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // 24 bits, sign extended
            lost: (word(4) << 8) as i32 >> 8,
            highest_seq: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay: word(20),
        })
    }
}

/// Iterator of SSRCs.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a>(&'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = take32(self.0)?;
        self.0 = rest;
        Some(ssrc)
    }
}

/// Iterator of sequence numbers, as the items name them: at most 17 an item.
#[derive(Clone, Debug)]
pub struct Nacks<'a> {
    bytes: &'a [u8],
    /// Packet ID of the item that is being read, and what is left of its bitmask.
    base: u16,
    mask: u16,
}

impl Iterator for Nacks<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (item, rest) = self.bytes.split_first_chunk::<4>()?;
            self.bytes = rest;
            self.base = u16::from_be_bytes([item[0], item[1]]);
            self.mask = u16::from_be_bytes([item[2], item[3]]);
            return Some(self.base);
        }
        let bit = self.mask.trailing_zeros() as u16;
        self.mask &= self.mask - 1;
        Some(self.base.wrapping_add(bit + 1))
    }
}

/// Iterator of (ssrc, command number).
#[derive(Clone, Debug)]
pub struct FirEntries<'a>(&'a [u8]);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]), entry[4]))
    }
}

/// Iterator of (ssrc, cname), the name as it came: no promise of UTF-8.
#[derive(Clone, Debug)]
pub struct Cnames<'a> {
    bytes: &'a [u8],
    chunks: u8,
}

impl<'a> Iterator for Cnames<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<(u32, &'a [u8])> {
        while self.chunks > 0 {
            self.chunks -= 1;
            let (ssrc, mut rest) = take32(self.bytes)?;
            let mut cname = None;
            // items until a zero byte, which is followed by up to three more (6.5)
            loop {
                let (&kind, after) = rest.split_first()?;
                if kind == 0 {
                    let used = self.bytes.len() - after.len();
                    self.bytes = self.bytes.get(used.next_multiple_of(4)..).unwrap_or(&[]);
                    break;
                }
                let (&len, after) = after.split_first()?;
                let (text, after) = after.split_at_checked(usize::from(len))?;
                if kind == 1 {
                    cname = Some(text);
                }
                rest = after;
            }
            if let Some(cname) = cname {
                return Some((ssrc, cname));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
