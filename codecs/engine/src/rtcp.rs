//! RTCP: reports (RFC 3550), feedback (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb-03), reduced size
//! (RFC 5506).
//!
//! Reading borrows and never allocates; writing appends to a caller's buffer, one packet a function, so that a compound
//! is what is written in a row.
use std::fmt;

/// What is wrong with a packet that somebody sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpError {
    /// Reaches past the datagram, or is shorter than its type needs.
    Truncated { pt: u8 },
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
    SenderReport { ssrc: u32, info: SenderInfo, blocks: Blocks<'a> },
    ReceiverReport { ssrc: u32, blocks: Blocks<'a> },
    /// A source description; only CNAMEs are read.
    Sdes { cnames: Cnames<'a> },
    Bye { ssrcs: Ssrcs<'a> },
    /// Generic NACK (RFC 4585 6.2.1).
    Nack { sender: u32, media: u32, seqs: Nacks<'a> },
    /// Picture loss indication (RFC 4585 6.3.1).
    Pli { sender: u32, media: u32 },
    /// Full intra request (RFC 5104 4.3.1): which SSRCs, each with its command number.
    Fir { sender: u32, entries: FirEntries<'a> },
    /// Receiver estimated maximum bitrate, for these SSRCs.
    Remb { sender: u32, bps: u64, ssrcs: Ssrcs<'a> },
    /// Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), after its media
    /// SSRC; `twcc` reads it.
    Twcc { sender: u32, media: u32, body: &'a [u8] },
    /// APP, XR, feedback of another format: skipped.
    Other { pt: u8, count: u8 },
}

/// Iterator of report blocks.
#[derive(Clone, Debug)]
pub struct Blocks<'a>(#[allow(dead_code)] &'a [u8]);
/// Iterator of SSRCs.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a>(#[allow(dead_code)] &'a [u8]);
/// Iterator of sequence numbers.
#[derive(Clone, Debug)]
pub struct Nacks<'a>(#[allow(dead_code)] &'a [u8]);
/// Iterator of (ssrc, command number).
#[derive(Clone, Debug)]
pub struct FirEntries<'a>(#[allow(dead_code)] &'a [u8]);
/// Iterator of (ssrc, cname).
#[derive(Clone, Debug)]
pub struct Cnames<'a>(#[allow(dead_code)] &'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;
    fn next(&mut self) -> Option<ReportBlock> {
        todo!()
    }
}
impl Iterator for Ssrcs<'_> {
    type Item = u32;
    fn next(&mut self) -> Option<u32> {
        todo!()
    }
}
impl Iterator for Nacks<'_> {
    type Item = u16;
    fn next(&mut self) -> Option<u16> {
        todo!()
    }
}
impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);
    fn next(&mut self) -> Option<(u32, u8)> {
        todo!()
    }
}
impl<'a> Iterator for Cnames<'a> {
    type Item = (u32, &'a [u8]);
    fn next(&mut self) -> Option<(u32, &'a [u8])> {
        todo!()
    }
}

/// The packets of a compound, or of a reduced-size datagram: an iterator. What comes before a malformed packet is
/// given; then comes one error, and the end.
pub fn parse(bytes: &[u8]) -> Compound<'_> {
    Compound(bytes)
}

#[derive(Clone, Debug)]
pub struct Compound<'a>(#[allow(dead_code)] &'a [u8]);

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, RtcpError>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Sender report. At most 31 blocks (the rest is left out).
pub fn write_sender_report(_out: &mut Vec<u8>, _ssrc: u32, _info: &SenderInfo, _blocks: &[ReportBlock]) {
    todo!()
}
/// Receiver report. At most 31 blocks.
pub fn write_receiver_report(_out: &mut Vec<u8>, _ssrc: u32, _blocks: &[ReportBlock]) {
    todo!()
}
/// Source description with a CNAME (cut to 255 bytes).
pub fn write_cname(_out: &mut Vec<u8>, _ssrc: u32, _cname: &str) {
    todo!()
}
/// At most 31 SSRCs.
pub fn write_bye(_out: &mut Vec<u8>, _ssrcs: &[u32]) {
    todo!()
}
/// Generic NACK for sequence numbers in ascending order (across the wrap); neighbours share an item.
pub fn write_nack(_out: &mut Vec<u8>, _sender: u32, _media: u32, _seqs: &[u16]) {
    todo!()
}
pub fn write_pli(_out: &mut Vec<u8>, _sender: u32, _media: u32) {
    todo!()
}
/// `entries`: (ssrc, command number: one more for every new request, the same when repeated).
pub fn write_fir(_out: &mut Vec<u8>, _sender: u32, _entries: &[(u32, u8)]) {
    todo!()
}
/// The mantissa has 18 bits: `bps` is rounded down.
pub fn write_remb(_out: &mut Vec<u8>, _sender: u32, _bps: u64, _ssrcs: &[u32]) {
    todo!()
}
