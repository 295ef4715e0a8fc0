//! RTP packets (RFC 3550), their header extensions (RFC 8285), retransmissions (RFC 4588) and what a datagram is
//! (RFC 7983, 5761).
//!
//! Reading borrows, writing appends to a caller's buffer; nothing here allocates. Not here: order, loss and jitter
//! (`receiver`), keys (`srtp`).

use std::fmt;

/// Bytes of the fixed header.
pub const FIXED_HEADER_BYTES: usize = 12;

/// Profile of an extension block with one-byte element headers (RFC 8285 4.2).
const ONE_BYTE: u16 = 0xBEDE;
/// Profile of one with two-byte element headers (RFC 8285 4.3); the low four bits are the sender's.
const TWO_BYTE: u16 = 0x1000;

/// What is wrong with a packet that somebody sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtpError {
    /// Shorter than its own header says, or than any header.
    Truncated {
        need: usize,
        have: usize,
    },
    Version(u8),
    /// The padding count is 0 or larger than what follows the header.
    Padding {
        count: u8,
        have: usize,
    },
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RtpError::Truncated { need, have } => {
                write!(f, "rtp packet is cut off: {have} bytes where {need} are needed")
            }
            RtpError::Version(version) => write!(f, "rtp version is {version}, not 2"),
            RtpError::Padding { count, have } => {
                write!(f, "rtp padding of {count} bytes where {have} follow the header")
            }
        }
    }
}

impl std::error::Error for RtpError {}

/// What the first two bytes of a datagram say it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatagramKind {
    Stun,
    Dtls,
    /// TURN ChannelData.
    TurnChannel,
    Rtp,
    Rtcp,
    /// Empty, ZRTP, QUIC or anything else.
    Unknown,
}

/// RFC 7983 section 7 by the first byte, RFC 5761 section 4 by the second. Looks at nothing else.
pub fn classify(bytes: &[u8]) -> DatagramKind {
    match bytes {
        [0..=3, ..] => DatagramKind::Stun,
        [20..=63, ..] => DatagramKind::Dtls,
        [64..=79, ..] => DatagramKind::TurnChannel,
        // RTCP types 192..=223 would be RTP payload types 64..=95 with a marker, which RFC 5761 forbids with mux
        [128..=191, 192..=223, ..] => DatagramKind::Rtcp,
        [128..=191, _, ..] => DatagramKind::Rtp,
        _ => DatagramKind::Unknown,
    }
}

/// Bytes before the payload: fixed header, CSRCs and extension block. Works on encrypted packets (SRTP leaves these
/// in the clear, but not the padding count).
///
/// # Errors
/// `Truncated`, `Version`.
pub fn header_len(bytes: &[u8]) -> Result<usize, RtpError> {
    let truncated = |need| RtpError::Truncated { need, have: bytes.len() };
    let &[first, ..] = bytes else { return Err(truncated(FIXED_HEADER_BYTES)) };
    if first >> 6 != 2 {
        return Err(RtpError::Version(first >> 6));
    }
    let mut len = FIXED_HEADER_BYTES + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = bytes.get(len + 2..len + 4).ok_or(truncated(len + 4))?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    if bytes.len() < len {
        return Err(truncated(len));
    }
    Ok(len)
}

/// A packet, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    pub marker: bool,
    /// 0..=127.
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Contributing sources, four bytes each, at most 15.
    pub csrcs: &'a [u8],
    /// Profile and contents of the extension block.
    pub extension: Option<(u16, &'a [u8])>,
    /// Without the padding. May be empty.
    pub payload: &'a [u8],
    /// Bytes of padding that followed, its count included; 0 without.
    pub padding: u8,
}

impl<'a> Packet<'a> {
    /// Read a whole (decrypted) packet.
    ///
    /// # Errors
    /// Any `RtpError`. Unreadable header extension elements are no error: they end `extensions()`.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, RtpError> {
        let header = header_len(bytes)?;
        let csrcs_end = FIXED_HEADER_BYTES + 4 * usize::from(bytes[0] & 0x0F);
        let extension = (bytes[0] & 0x10 != 0)
            .then(|| (u16::from_be_bytes([bytes[csrcs_end], bytes[csrcs_end + 1]]), &bytes[csrcs_end + 4..header]));
        let mut payload = &bytes[header..];
        let mut padding = 0;
        if bytes[0] & 0x20 != 0 {
            padding = payload.last().copied().unwrap_or(0);
            if padding == 0 || usize::from(padding) > payload.len() {
                return Err(RtpError::Padding { count: padding, have: payload.len() });
            }
            payload = &payload[..payload.len() - usize::from(padding)];
        }
        Ok(Packet {
            marker: bytes[1] & 0x80 != 0,
            pt: bytes[1] & 0x7F,
            seq: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: be32(bytes, 4),
            ssrc: be32(bytes, 8),
            csrcs: &bytes[FIXED_HEADER_BYTES..csrcs_end],
            extension,
            payload,
            padding,
        })
    }

    /// The header extension elements, in either form of RFC 8285; none for any other profile.
    pub fn extensions(&self) -> Extensions<'a> {
        match self.extension {
            Some((ONE_BYTE, bytes)) => Extensions { bytes, two_byte: false },
            Some((profile, bytes)) if profile & 0xFFF0 == TWO_BYTE => Extensions { bytes, two_byte: true },
            _ => Extensions { bytes: &[], two_byte: false },
        }
    }

    /// The first element with this id.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|element| element.0 == id).map(|element| element.1)
    }

    /// Append the packet, exactly as it would be parsed again (padding bytes are zero).
    ///
    /// # Panics
    /// In debug builds when a field is outside its documented range (our own mistake).
    pub fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.csrcs.len() % 4 == 0 && self.csrcs.len() <= 60 && self.pt < 128);
        let flags = u8::from(self.padding > 0) << 5 | u8::from(self.extension.is_some()) << 4;
        out.push(0x80 | flags | (self.csrcs.len() / 4) as u8);
        out.push(u8::from(self.marker) << 7 | self.pt);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(self.csrcs);
        if let Some((profile, bytes)) = self.extension {
            debug_assert!(bytes.len() % 4 == 0 && bytes.len() / 4 <= usize::from(u16::MAX));
            out.extend_from_slice(&profile.to_be_bytes());
            out.extend_from_slice(&((bytes.len() / 4) as u16).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(self.payload);
        if self.padding > 0 {
            out.resize(out.len() + usize::from(self.padding) - 1, 0);
            out.push(self.padding);
        }
    }
}

/// Iterator of (id, value). Stops at the first element that reaches past the block.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    bytes: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.bytes.split_first()?;
            // RFC 8285 4.1.2 and 4.3: a zero byte between elements is padding
            if first == 0 {
                self.bytes = rest;
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let (&len, rest) = rest.split_first()?;
                (first, usize::from(len), rest)
            } else {
                (first >> 4, usize::from(first & 0x0F) + 1, rest)
            };
            // RFC 8285 4.2: id 15 ends processing; id 0 with a length is not an element either
            if !self.two_byte && (id == 15 || id == 0) {
                self.bytes = &[];
                return None;
            }
            let Some((value, rest)) = rest.split_at_checked(len) else {
                self.bytes = &[];
                return None;
            };
            self.bytes = rest;
            return Some((id, value));
        }
    }
}

/// What every outbound packet starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub marker: bool,
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    /// Append header and extension elements; the payload follows. Returns the bytes written.
    ///
    /// One-byte element headers when every id is 1..=14 and every value 1..=16 bytes, else two-byte ones. Without
    /// elements there is no extension block.
    ///
    /// # Panics
    /// In debug builds when an id is 0 or a value exceeds 255 bytes (our own mistake).
    pub fn write(&self, out: &mut Vec<u8>, elements: &[(u8, &[u8])]) -> usize {
        let start = out.len();
        out.push(0x80 | u8::from(!elements.is_empty()) << 4);
        out.push(u8::from(self.marker) << 7 | self.pt & 0x7F);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        if !elements.is_empty() {
            write_elements(out, elements);
        }
        out.len() - start
    }
}

fn write_elements(out: &mut Vec<u8>, elements: &[(u8, &[u8])]) {
    let one_byte = elements.iter().all(|(id, value)| (1..=14).contains(id) && (1..=16).contains(&value.len()));
    let profile = if one_byte { ONE_BYTE } else { TWO_BYTE };
    out.extend_from_slice(&profile.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    for &(id, value) in elements {
        debug_assert!(id != 0 && value.len() <= 255);
        if one_byte {
            out.push(id << 4 | (value.len() - 1) as u8);
        } else {
            out.push(id);
            out.push(value.len() as u8);
        }
        out.extend_from_slice(value);
    }
    while (out.len() - length_at - 2) % 4 != 0 {
        out.push(0);
    }
    let words = ((out.len() - length_at - 2) / 4) as u16;
    out[length_at..length_at + 2].copy_from_slice(&words.to_be_bytes());
}

/// Client-to-mixer audio level (RFC 6464): (voice activity, dBov -127..=0).
pub fn audio_level(value: &[u8]) -> Option<(bool, i8)> {
    let &byte = value.first()?;
    Some((byte & 0x80 != 0, -((byte & 0x7F) as i8)))
}

/// The value of an audio level element; `dbov` outside -127..=0 is clamped.
pub fn audio_level_value(voice: bool, dbov: i8) -> [u8; 1] {
    [u8::from(voice) << 7 | dbov.clamp(-127, 0).unsigned_abs()]
}

/// A retransmission's original sequence number and payload (RFC 4588 section 4). None for the padding-only packets
/// that bandwidth probing sends on an RTX SSRC.
pub fn rtx_original(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (osn, rest) = payload.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*osn), rest))
}

/// Sequence numbers without the wrap.
///
/// The first one becomes 65536 + seq, so that packets that were sent before it still have a number. Every further one
/// is taken for the value nearest to the highest so far (RFC 3550 A.1 without its probation).
#[derive(Clone, Copy, Default, Debug)]
pub struct SeqUnwrapper {
    highest: Option<u64>,
}

impl SeqUnwrapper {
    /// The number of this packet, remembered when it is the highest so far.
    pub fn unwrap(&mut self, seq: u16) -> u64 {
        let number = self.peek(seq);
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        number
    }

    /// The number `unwrap` would give, without remembering it (for what a NACK or an RTX packet names).
    pub fn peek(&self, seq: u16) -> u64 {
        let Some(highest) = self.highest else { return 0x1_0000 + u64::from(seq) };
        let step = seq.wrapping_sub(highest as u16) as i16;
        // never below 0: a number starts at 65536 and can fall behind the highest by 32768 at most
        highest.saturating_add_signed(i64::from(step))
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Media timestamps without the wrap.
///
/// The first one becomes 2^32 + timestamp, so that none is ever negative; every further one is taken for the value
/// nearest to the previous one.
#[derive(Clone, Copy, Default, Debug)]
pub struct TimestampUnwrapper {
    last: Option<i64>,
}

impl TimestampUnwrapper {
    pub fn unwrap(&mut self, timestamp: u32) -> i64 {
        let value = self.peek(timestamp);
        self.last = Some(value);
        value
    }

    /// What `unwrap` would give, without remembering it (for a sender report's timestamp).
    pub fn peek(&self, timestamp: u32) -> i64 {
        let Some(last) = self.last else { return (1 << 32) + i64::from(timestamp) };
        let value = last + i64::from(timestamp.wrapping_sub(last as u32) as i32);
        // a source that runs backwards for hours: start again one wrap higher rather than below 0
        if value < 0 {
            value + (1 << 32)
        } else {
            value
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
