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
    /// Boxed, because the two take 1.7 kB that most legs, which are GCM, don't need.
    Cm {
        key: Box<EncryptingKey>,
        salt: [u8; 14],
        auth: Box<hmac::Key>,
        rtp_tag: usize,
    },
    Gcm {
        key: LessSafeKey,
        salt: [u8; NONCE_LEN],
    },
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
            key: Box::new(counter_mode(key)?),
            salt: salt.try_into().map_err(|_| length)?,
            auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::tests::from_hex;

    /// RFC 3711 B.3.
    #[test]
    fn keys_are_derived_as_in_rfc_3711() {
        let key = from_hex("e1f97a0d3e018be0d64fa32c06de4139");
        let salt = from_hex("0ec675ad498afeebb6960b3aabe6");
        let derived = |label, len| {
            let mut out = vec![0; len];
            derive_key(&key, &salt, label, &mut out).map(|()| out)
        };
        assert_eq!(derived(0, 16), Ok(from_hex("c61e7a93744f39ee10734afe3ff7a087")));
        assert_eq!(derived(2, 14), Ok(from_hex("30cbbc08863d8c85d49db34a9ae1")));
        assert_eq!(derived(1, 20), Ok(from_hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4")));
    }

    /// RFC 3711 B.2: ssrc and index 0, the payload is zeros and becomes the key stream.
    #[test]
    fn key_stream_of_rfc_3711() {
        let key = from_hex("2b7e151628aed2a6abf7158809cf4f3c");
        let salt = from_hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd");
        let session = Session::from_keys(Profile::Aes128CmSha1_80, &key, &[0; 20], &salt).unwrap();
        let mut packet = vec![0; 12 + 48];
        session.seal_rtp(&mut packet, 0, 12, 0, 0).unwrap();
        let stream = "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0";
        assert_eq!(packet[12..60], from_hex(stream));
    }

    const SALT: &str = "517569642070726f2071756f";
    const RTP: &str =
        "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
    const RTCP: &str = concat!(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61",
        "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
    );

    /// RFC 7714 16.1 (AES-128) and 16.2 (AES-256).
    #[test]
    fn rtp_of_rfc_7714() {
        for (profile, key_len, sealed) in [
            (
                Profile::AeadAes128Gcm,
                16,
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                Profile::AeadAes256Gcm,
                32,
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ] {
            let key: Vec<u8> = (0..key_len).collect();
            let session = Session::from_keys(profile, &key, &[], &from_hex(SALT)).unwrap();
            let mut packet = from_hex(RTP);
            session.seal_rtp(&mut packet, 0, 12, 0x5501_A0B2, 0xF17B).unwrap();
            assert_eq!(packet[..12], from_hex(RTP)[..12]);
            assert_eq!(packet[12..], from_hex(sealed), "{profile:?}");
            session.open_rtp(&mut packet, 12, 0x5501_A0B2, 0xF17B).unwrap();
            assert_eq!(packet[..packet.len() - 16], from_hex(RTP));
        }
    }

    /// RFC 7714 17.1 (AES-128) and 17.3 (AES-256).
    #[test]
    fn rtcp_of_rfc_7714() {
        for (profile, key_len, sealed) in [
            (
                Profile::AeadAes128Gcm,
                16,
                "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                Profile::AeadAes256Gcm,
                32,
                "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
            ),
        ] {
            let key: Vec<u8> = (0..key_len).collect();
            let session = Session::from_keys(profile, &key, &[], &from_hex(SALT)).unwrap();
            let mut packet = from_hex(RTCP);
            session.seal_rtcp(&mut packet, 0, 0x4D61_7273, 0x5D4).unwrap();
            assert_eq!(packet[8..], from_hex(sealed), "{profile:?}");
            let index = session.rtcp_index(&packet).unwrap();
            assert_eq!(session.open_rtcp(&mut packet, 0x4D61_7273, index), Ok(from_hex(RTCP).len()));
            assert_eq!(packet[..from_hex(RTCP).len()], from_hex(RTCP));
        }
    }

    /// SRTCP without the E bit, as a peer with UNENCRYPTED_SRTCP sends it: made with the pieces above.
    #[test]
    fn unencrypted_rtcp_is_checked_and_left() {
        let rtcp = from_hex(RTCP);
        let index = 7u32;
        let gcm = Session::from_keys(Profile::AeadAes128Gcm, &[1; 16], &[], &from_hex(SALT)).unwrap();
        let Session::Gcm { key, salt } = &gcm else { panic!("not gcm") };
        let aad = [&rtcp[..], &index.to_be_bytes()].concat();
        let nonce = gcm_rtcp_nonce(salt, 0x4D61_7273, index);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut []).unwrap();
        let mut packet = [&rtcp[..], tag.as_ref(), &index.to_be_bytes()].concat();
        assert_eq!(gcm.open_rtcp(&mut packet, 0x4D61_7273, index), Ok(rtcp.len()));
        assert_eq!(packet[..rtcp.len()], rtcp);
        packet[20] ^= 1;
        assert_eq!(gcm.open_rtcp(&mut packet, 0x4D61_7273, index), Err(SrtpError::Auth));

        let cm = Session::from_keys(Profile::Aes128CmSha1_32, &[1; 16], &[2; 20], &[3; 14]).unwrap();
        let Session::Cm { auth, .. } = &cm else { panic!("not cm") };
        let signed = [&rtcp[..], &index.to_be_bytes()].concat();
        let mut packet = [&signed[..], &hmac::sign(auth, &signed).as_ref()[..RTCP_TAG_BYTES]].concat();
        assert_eq!(cm.rtcp_index(&packet), Ok(index));
        assert_eq!(cm.open_rtcp(&mut packet, 0x4D61_7273, index), Ok(rtcp.len()));
        assert_eq!(packet[..rtcp.len()], rtcp);
    }
}
