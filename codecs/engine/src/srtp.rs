//! SRTP and SRTCP: AES-CM with HMAC-SHA1 (RFC 3711), AEAD AES-GCM (RFC 7714), over aws-lc-rs.
//!
//! `session` holds derived keys and knows the bytes; `window` the packet indices: rollover and replay. Key schedules are
//! made once per key, nothing is allocated per packet, everything happens in place.
//!
//! Deliberately not implemented: MKI, key derivation rates, F8, NULL ciphers, AES-192 and AES-256 counter mode (RFC
//! 6188), unauthenticated SRTP.

mod session;
mod window;

use crate::rtp;
use session::{Labels, Session};
use std::fmt;
use window::{guess, Sources};

/// What the two sides agreed on in SDES (RFC 4568, 7714 section 14) or DTLS-SRTP (RFC 5764).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    Aes128CmSha1_80,
    Aes128CmSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

/// The most bytes that `protect_rtp` or `protect_rtcp` appends.
pub const MAX_OVERHEAD: usize = 20;
/// SSRCs of one direction of one key that are kept apart. A peer may use more in its life: the one that was silent for
/// longest is forgotten. Ours may not, since a forgotten rollover counter would use up an index twice.
pub const MAX_SSRCS: usize = 64;

impl Profile {
    const ALL: [Profile; 4] =
        [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

    /// SDES and DTLS-SRTP names: `AES_CM_128_HMAC_SHA1_80`, with or without `SRTP_`, and OpenSSL's
    /// `SRTP_AES128_CM_SHA1_80`. Any case.
    pub fn from_name(name: &str) -> Option<Profile> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SRTP_").unwrap_or(&upper);
        let bare = match bare {
            "AES128_CM_SHA1_80" | "AES128_CM_HMAC_SHA1_80" => Profile::Aes128CmSha1_80.name(),
            "AES128_CM_SHA1_32" | "AES128_CM_HMAC_SHA1_32" => Profile::Aes128CmSha1_32.name(),
            other => other,
        };
        Profile::ALL.into_iter().find(|profile| profile.name() == bare)
    }

    /// The SDES name.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Profile::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Master key bytes.
    pub fn key_len(self) -> usize {
        if self == Profile::AeadAes256Gcm {
            32
        } else {
            16
        }
    }

    /// Master salt bytes.
    pub fn salt_len(self) -> usize {
        if self.is_aead() {
            12
        } else {
            14
        }
    }

    /// Bytes that SRTP adds to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 => 10,
            Profile::Aes128CmSha1_32 => 4,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that SRTCP adds to a compound: a tag (80 bits with both HMAC profiles, RFC 4568 6.2.2) and the index.
    pub fn rtcp_overhead(self) -> usize {
        4 + if self.is_aead() { 16 } else { 10 }
    }

    fn is_aead(self) -> bool {
        matches!(self, Profile::AeadAes128Gcm | Profile::AeadAes256Gcm)
    }
}

/// Why a packet was not taken, or a context not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrtpError {
    /// Not an RTP or RTCP packet, or too short for its tag.
    Malformed,
    /// Tag does not fit: forged, damaged, or other keys.
    Auth,
    /// Seen already, or older than the window.
    Replay,
    /// Master key and salt together have another length than the profile's.
    KeyLength { need: usize, have: usize },
    /// 2^48 packets or 2^31 compounds went out with one key (RFC 3711 9.2).
    KeyExhausted,
    /// More than `MAX_SSRCS` of our own under one key.
    TooManySsrcs,
    /// The crypto library refused (out of memory).
    Crypto,
}

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SrtpError::Malformed => write!(f, "not an srtp packet"),
            SrtpError::Auth => write!(f, "srtp tag does not match"),
            SrtpError::Replay => write!(f, "srtp packet was seen before or is too old"),
            SrtpError::KeyLength { need, have } => {
                write!(f, "srtp key and salt have {have} bytes where the profile needs {need}")
            }
            SrtpError::KeyExhausted => write!(f, "srtp key has reached the end of its life"),
            SrtpError::TooManySsrcs => write!(f, "more than {MAX_SSRCS} outbound ssrcs under one srtp key"),
            SrtpError::Crypto => write!(f, "the crypto library refused"),
        }
    }
}

impl std::error::Error for SrtpError {}

/// Bytes of an SRTCP packet that stay in the clear (RFC 3711 3.4), and those of its index.
const RTCP_HEADER_BYTES: usize = 8;
const RTCP_INDEX_BYTES: usize = 4;
/// The E bit: this SRTCP packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Outbound: one per key. Keeps a rollover counter per SSRC.
///
/// Under one key an SSRC's sequence numbers must not be used again for other bytes: a retransmission with the same
/// sequence number is the same packet, and a new source continues the numbers. They should begin below 32768 (RFC 3711
/// 3.3.1), so that a receiver that misses the first packets still guesses the rollover counter.
pub struct Protector {
    rtp: Session,
    rtcp: Session,
    sources: Sources,
    /// One for all SSRCs, which only makes gaps in each.
    rtcp_index: u32,
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protector").finish_non_exhaustive()
    }
}

impl Protector {
    /// `master`: master key followed by master salt.
    ///
    /// # Errors
    /// `KeyLength`, `Crypto`.
    pub fn new(profile: Profile, master: &[u8]) -> Result<Protector, SrtpError> {
        Ok(Protector {
            rtp: Session::derive(profile, master, Labels::Rtp)?,
            rtcp: Session::derive(profile, master, Labels::Rtcp)?,
            sources: Sources::default(),
            rtcp_index: 0,
        })
    }

    /// Encrypt the RTP packet `buffer[start..]` in place and append its tag.
    ///
    /// # Errors
    /// `Malformed`, `KeyExhausted`, `TooManySsrcs`, `Crypto`; don't send the bytes then.
    pub fn protect_rtp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let (header, ssrc, seq) = rtp_header(&buffer[start..])?;
        let highest = self.sources.find_or_add(ssrc).ok_or(SrtpError::TooManySsrcs)?;
        let index = guess(*highest, seq);
        if index >> 48 != 0 {
            return Err(SrtpError::KeyExhausted);
        }
        *highest = Some(highest.map_or(index, |highest| highest.max(index)));
        self.rtp.seal_rtp(buffer, start, header, ssrc, index)
    }

    /// Encrypt the RTCP compound `buffer[start..]` in place and append index and tag.
    ///
    /// # Errors
    /// `Malformed`, `KeyExhausted`, `Crypto`; don't send the bytes then.
    pub fn protect_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(&buffer[start..])?;
        if self.rtcp_index == RTCP_ENCRYPTED - 1 {
            return Err(SrtpError::KeyExhausted);
        }
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(buffer, start, ssrc, self.rtcp_index)
    }
}

/// Inbound: one per key. Rollover counters and replay windows per SSRC, made only for packets whose tag fits, so that a
/// forger can't fill the table.
pub struct Unprotector {
    rtp: Session,
    rtcp: Session,
    rtp_sources: window::Windows,
    rtcp_sources: window::Windows,
    /// A new source's first packet, for the second guess of its rollover counter.
    second_guess: Vec<u8>,
}

impl fmt::Debug for Unprotector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unprotector").finish_non_exhaustive()
    }
}

impl Unprotector {
    /// `master`: master key followed by master salt.
    ///
    /// # Errors
    /// `KeyLength`, `Crypto`.
    pub fn new(profile: Profile, master: &[u8]) -> Result<Unprotector, SrtpError> {
        Ok(Unprotector {
            rtp: Session::derive(profile, master, Labels::Rtp)?,
            rtcp: Session::derive(profile, master, Labels::Rtcp)?,
            rtp_sources: window::Windows::default(),
            rtcp_sources: window::Windows::default(),
            second_guess: Vec::new(),
        })
    }

    /// Check and decrypt an SRTP packet in place; gives the length of the RTP packet. On an error the bytes are spoilt.
    ///
    /// # Errors
    /// `Malformed`, `Auth`, `Replay`.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (header, ssrc, seq) = rtp_header(packet)?;
        let window = self.rtp_sources.find(ssrc);
        let known = window.is_some();
        let mut index = guess(window.and_then(|window| window.highest()), seq);
        if window.is_some_and(|window| !window.accepts(index)) {
            return Err(SrtpError::Replay);
        }
        if known {
            self.rtp.open_rtp(packet, header, ssrc, index)?;
        } else {
            self.second_guess.clear();
            self.second_guess.extend_from_slice(packet);
            if self.rtp.open_rtp(packet, header, ssrc, index).is_err() {
                // keys came after the media, and the sender wrapped between (libsrtp, aiortc begin anywhere in 16 bits)
                if seq >= 0x8000 {
                    return Err(SrtpError::Auth);
                }
                index += 1 << 16;
                packet.copy_from_slice(&self.second_guess);
                self.rtp.open_rtp(packet, header, ssrc, index)?;
            }
        }
        self.rtp_sources.note(ssrc, index);
        Ok(packet.len() - self.rtp.rtp_tag_len())
    }

    /// The same for SRTCP; gives the length of the compound.
    ///
    /// # Errors
    /// `Malformed`, `Auth`, `Replay`.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let index = self.rtcp.rtcp_index(packet)?;
        let number = u64::from(index & !RTCP_ENCRYPTED);
        if self.rtcp_sources.find(ssrc).is_some_and(|window| !window.accepts(number)) {
            return Err(SrtpError::Replay);
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, index)?;
        self.rtcp_sources.note(ssrc, number);
        Ok(len)
    }
}

/// Header length, SSRC and sequence number.
fn rtp_header(packet: &[u8]) -> Result<(usize, u32, u16), SrtpError> {
    let header = rtp::header_len(packet).map_err(|_| SrtpError::Malformed)?;
    let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
    Ok((header, ssrc, u16::from_be_bytes([packet[2], packet[3]])))
}

/// The SSRC of the first packet of a compound.
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    match packet.split_first_chunk::<RTCP_HEADER_BYTES>() {
        Some((&[first, _, _, _, a, b, c, d], _)) if first >> 6 == 2 => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(SrtpError::Malformed),
    }
}

#[cfg(test)]
mod tests;
