//! SRTP and SRTCP: AES-CM with HMAC-SHA1 (RFC 3711), AEAD AES-GCM (RFC 7714), over aws-lc-rs.
use std::fmt;

/// What the two sides agreed on in SDES or DTLS-SRTP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    Aes128CmSha1_80,
    Aes128CmSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

/// The most bytes that `protect_rtp` or `protect_rtcp` appends.
pub const MAX_OVERHEAD: usize = 20;

impl Profile {
    /// SDES and DTLS-SRTP names: `AES_CM_128_HMAC_SHA1_80`, with or without `SRTP_`, and OpenSSL's
    /// `SRTP_AES128_CM_SHA1_80`. Any case.
    pub fn from_name(_name: &str) -> Option<Profile> {
        todo!()
    }
    /// The SDES name.
    pub fn name(self) -> &'static str {
        todo!()
    }
    /// Master key bytes.
    pub fn key_len(self) -> usize {
        todo!()
    }
    /// Master salt bytes.
    pub fn salt_len(self) -> usize {
        todo!()
    }
    /// Bytes that SRTP adds to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        todo!()
    }
    /// Bytes that SRTCP adds to a compound.
    pub fn rtcp_overhead(self) -> usize {
        todo!()
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
            SrtpError::Crypto => write!(f, "the crypto library refused"),
        }
    }
}

impl std::error::Error for SrtpError {}

/// Outbound: one per key. Keeps a rollover counter per SSRC; a leg must not use an SSRC's sequence numbers twice for
/// different packets under one key.
pub struct Protector {}

impl Protector {
    /// `master`: master key followed by master salt.
    pub fn new(_profile: Profile, _master: &[u8]) -> Result<Protector, SrtpError> {
        todo!()
    }
    /// Encrypt the RTP packet `buffer[start..]` in place and append its tag.
    pub fn protect_rtp(&mut self, _buffer: &mut Vec<u8>, _start: usize) -> Result<(), SrtpError> {
        todo!()
    }
    /// Encrypt the RTCP compound `buffer[start..]` in place and append index and tag.
    pub fn protect_rtcp(&mut self, _buffer: &mut Vec<u8>, _start: usize) -> Result<(), SrtpError> {
        todo!()
    }
}

/// Inbound: one per key. Rollover counters and replay windows per SSRC, made only for packets whose tag fits, at most
/// `MAX_SSRCS`.
pub struct Unprotector {}

impl Unprotector {
    /// `master`: master key followed by master salt.
    pub fn new(_profile: Profile, _master: &[u8]) -> Result<Unprotector, SrtpError> {
        todo!()
    }
    /// Check and decrypt an SRTP packet in place; returns the RTP packet's length. On an error the bytes are spoilt.
    pub fn unprotect_rtp(&mut self, _packet: &mut [u8]) -> Result<usize, SrtpError> {
        todo!()
    }
    /// The same for SRTCP; returns the compound's length.
    pub fn unprotect_rtcp(&mut self, _packet: &mut [u8]) -> Result<usize, SrtpError> {
        todo!()
    }
}
