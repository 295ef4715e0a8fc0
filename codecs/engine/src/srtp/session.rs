//! The keys of one direction of one protocol, derived from a master key, and the bytes they make.

use super::{Profile, SrtpError, RTCP_ENCRYPTED, RTCP_HEADER_BYTES, RTCP_INDEX_BYTES};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, AES_256_GCM, NONCE_LEN};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext, UnboundCipherKey, AES_128, AES_256};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, iv::FixedLength};

const GCM_TAG_BYTES: usize = 16;
/// SRTCP's with HMAC-SHA1, also where SRTP's is shorter.
const RTCP_TAG_BYTES: usize = 10;
const AUTH_KEY_BYTES: usize = 20;

/// Key derivation labels (RFC 3711 4.3.2): encryption, authentication and salt of SRTP are 0, 1 and 2, of SRTCP 3, 4
/// and 5.
#[derive(Clone, Copy)]
pub(super) enum Labels {
    Rtp = 0,
    Rtcp = 3,
}

pub(super) enum Session {
    Cm { key: EncryptingKey, salt: [u8; 14], auth: hmac::Key, rtp_tag: usize },
    Gcm { key: LessSafeKey, salt: [u8; NONCE_LEN] },
}

impl Session {
    pub(super) fn derive(profile: Profile, master: &[u8], labels: Labels) -> Result<Session, SrtpError> {
        let need = profile.key_len() + profile.salt_len();
        let (key, salt) = match master.split_at_checked(profile.key_len()) {
            Some(split) if master.len() == need => split,
            _ => return Err(SrtpError::KeyLength { need, have: master.len() }),
        };
        let label = labels as u8;
        let mut session_key = [0; 32];
        let session_key = &mut session_key[..key.len()];
        let mut auth = [0; AUTH_KEY_BYTES];
        let mut session_salt = [0; 14];
        derive_key(key, salt, label, session_key)?;
        derive_key(key, salt, label + 1, &mut auth)?;
        derive_key(key, salt, label + 2, &mut session_salt[..salt.len()])?;
        Session::from_keys(profile, session_key, &auth, &session_salt[..salt.len()])
    }

    /// From session keys. `auth` is nothing to GCM.
    pub(super) fn from_keys(profile: Profile, key: &[u8], auth: &[u8], salt: &[u8]) -> Result<Session, SrtpError> {
        let crypto = |_| SrtpError::Crypto;
        let have = key.len() + salt.len();
        let length = SrtpError::KeyLength { need: profile.key_len() + profile.salt_len(), have };
        if profile.is_aead() {
            let algorithm = if profile == Profile::AeadAes256Gcm { &AES_256_GCM } else { &AES_128_GCM };
            let key = LessSafeKey::new(UnboundKey::new(algorithm, key).map_err(crypto)?);
            return Ok(Session::Gcm { key, salt: salt.try_into().map_err(|_| length)? });
        }
        Ok(Session::Cm {
            key: counter_mode(key)?,
            salt: salt.try_into().map_err(|_| length)?,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth),
            rtp_tag: profile.rtp_overhead(),
        })
    }

    pub(super) fn rtp_tag_len(&self) -> usize {
        match self {
            Session::Cm { rtp_tag, .. } => *rtp_tag,
            Session::Gcm { .. } => GCM_TAG_BYTES,
        }
    }

    /// Encrypt `buffer[start + header..]` and append the tag.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let (head, body) = buffer[start..].split_at_mut(header);
        match self {
            Session::Cm { key, salt, auth, rtp_tag } => {
                counter_encrypt(key, cm_iv(salt, ssrc, index), body)?;
                let tag = rtp_tag_of(auth, &buffer[start..], index);
                buffer.extend_from_slice(&tag.as_ref()[..*rtp_tag]);
            }
            Session::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body);
                buffer.extend_from_slice(tag.map_err(|_| SrtpError::Crypto)?.as_ref());
            }
        }
        Ok(())
    }

    /// Check the tag at the packet's end and decrypt what lies between header and tag.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let end = packet.len().checked_sub(self.rtp_tag_len()).filter(|&end| end >= header);
        let (packet, tag) = packet.split_at_mut(end.ok_or(SrtpError::Malformed)?);
        match self {
            Session::Cm { key, salt, auth, .. } => {
                let right = rtp_tag_of(auth, packet, index);
                verify_slices_are_equal(&right.as_ref()[..tag.len()], tag).map_err(|_| SrtpError::Auth)?;
                counter_encrypt(key, cm_iv(salt, ssrc, index), &mut packet[header..])
            }
            Session::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let (head, body) = packet.split_at_mut(header);
                let opened = key.open_in_place_separate_tag(nonce, Aad::from(&*head), tag, body);
                opened.map(drop).map_err(|_| SrtpError::Auth)
            }
        }
    }

    /// Encrypt `buffer[start + 8..]`; append index and tag (CM), tag and index (GCM).
    pub(super) fn seal_rtcp(&self, buffer: &mut Vec<u8>, start: usize, ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        let (head, body) = buffer[start..].split_at_mut(RTCP_HEADER_BYTES);
        match self {
            Session::Cm { key, salt, auth, .. } => {
                counter_encrypt(key, cm_iv(salt, ssrc, u64::from(index)), body)?;
                buffer.extend_from_slice(&word);
                let tag = hmac::sign(auth, &buffer[start..]);
                buffer.extend_from_slice(&tag.as_ref()[..RTCP_TAG_BYTES]);
            }
            Session::Gcm { key, salt } => {
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(rtcp_aad(head, word)), body);
                buffer.extend_from_slice(tag.map_err(|_| SrtpError::Crypto)?.as_ref());
                buffer.extend_from_slice(&word);
            }
        }
        Ok(())
    }

    /// Index and E bit of an SRTCP packet.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let behind = if matches!(self, Session::Cm { .. }) { RTCP_TAG_BYTES } else { 0 };
        let end = packet.len().checked_sub(behind).ok_or(SrtpError::Malformed)?;
        let word = packet[..end].last_chunk::<RTCP_INDEX_BYTES>().ok_or(SrtpError::Malformed)?;
        Ok(u32::from_be_bytes(*word))
    }

    /// Check and decrypt; `index` with its E bit, without which the packet is only authenticated (a=crypto's
    /// UNENCRYPTED_SRTCP, which Tandberg's E20 offers). Gives the length of the compound.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let encrypted = index & RTCP_ENCRYPTED != 0;
        let number = index & !RTCP_ENCRYPTED;
        let trailer =
            RTCP_INDEX_BYTES + if matches!(self, Session::Cm { .. }) { RTCP_TAG_BYTES } else { GCM_TAG_BYTES };
        let len = packet.len().checked_sub(trailer).filter(|&len| len >= RTCP_HEADER_BYTES);
        let len = len.ok_or(SrtpError::Malformed)?;
        match self {
            Session::Cm { key, salt, auth, .. } => {
                let (signed, tag) = packet.split_at_mut(len + RTCP_INDEX_BYTES);
                let right = hmac::sign(auth, signed);
                verify_slices_are_equal(&right.as_ref()[..RTCP_TAG_BYTES], tag).map_err(|_| SrtpError::Auth)?;
                if encrypted {
                    counter_encrypt(key, cm_iv(salt, ssrc, u64::from(number)), &mut signed[RTCP_HEADER_BYTES..len])?;
                }
            }
            Session::Gcm { key, salt } => {
                let nonce = gcm_rtcp_nonce(salt, ssrc, number);
                let (compound, trailer) = packet.split_at_mut(len);
                let tag = &trailer[..GCM_TAG_BYTES];
                let opened = if encrypted {
                    let (head, body) = compound.split_at_mut(RTCP_HEADER_BYTES);
                    key.open_in_place_separate_tag(nonce, Aad::from(rtcp_aad(head, index.to_be_bytes())), tag, body)
                } else {
                    // RFC 7714 9.3: everything is associated data, nothing is ciphertext
                    let aad = [&*compound, &index.to_be_bytes()].concat();
                    key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, &mut [])
                };
                opened.map(drop).map_err(|_| SrtpError::Auth)?;
            }
        }
        Ok(len)
    }
}

/// RFC 3711 4.3.1 with a key derivation rate of 0, whose PRF is AES in counter mode; a 96-bit salt (RFC 7714) is
/// followed by zeros.
fn derive_key(master_key: &[u8], master_salt: &[u8], label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    out.fill(0);
    counter_encrypt(&counter_mode(master_key)?, iv, out)
}

fn counter_mode(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(|_| SrtpError::Crypto)?;
    EncryptingKey::ctr(key).map_err(|_| SrtpError::Crypto)
}

fn counter_encrypt(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) -> Result<(), SrtpError> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(bytes, context).map(drop).map_err(|_| SrtpError::Crypto)
}

/// RFC 3711 4.1.1: salt * 2^16 XOR ssrc * 2^64 XOR index * 2^16.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..14].copy_from_slice(salt);
    let value = u128::from_be_bytes(bytes) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
    value.to_be_bytes()
}

/// HMAC over the packet and its rollover counter (RFC 3711 4.2).
fn rtp_tag_of(auth: &hmac::Key, packet: &[u8], index: u64) -> hmac::Tag {
    let mut context = hmac::Context::with_key(auth);
    context.update(packet);
    context.update(&((index >> 16) as u32).to_be_bytes());
    context.sign()
}

/// RFC 7714 8.1: salt XOR two zero bytes, ssrc, rollover counter, sequence number.
fn gcm_rtp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    let [_, _, index @ ..] = index.to_be_bytes();
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..], &index);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 9.1: salt XOR two zero bytes, ssrc, two zero bytes, index without the E bit.
fn gcm_rtcp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u32) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[8..], &index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 9.2: the header and the word with E bit and index.
fn rtcp_aad(head: &[u8], word: [u8; RTCP_INDEX_BYTES]) -> [u8; RTCP_HEADER_BYTES + RTCP_INDEX_BYTES] {
    let mut aad = [0; RTCP_HEADER_BYTES + RTCP_INDEX_BYTES];
    aad[..RTCP_HEADER_BYTES].copy_from_slice(head);
    aad[RTCP_HEADER_BYTES..].copy_from_slice(&word);
    aad
}

fn xor(bytes: &mut [u8], mask: &[u8]) {
    bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}
