//! Vectors of libsrtp 2 and the RFCs, then what must hold for any packet.

use super::*;
use crate::h264::tests::from_hex;
use proptest::prelude::*;

/// What libsrtp made, through pylibsrtp 1.0: byte i of the master key and salt is 7 i + 3; the second of two packets
/// with sequence numbers 65535 and 0, so the rollover counter is 1; the second of two compounds.
const LIBSRTP: [(Profile, &str, &str); 4] = [
    (
        Profile::Aes128CmSha1_80,
        "90e0000001020304cafebabebede000110aa00009aa1cfd548e61e136e6900bdec21",
        "80c90001cafebabe039f9d36df62177280000002720565594947d1b61f8c",
    ),
    (
        Profile::Aes128CmSha1_32,
        "90e0000001020304cafebabebede000110aa00009aa1cfd548e61e13",
        "80c90001cafebabe039f9d36df62177280000002720565594947d1b61f8c",
    ),
    (
        Profile::AeadAes128Gcm,
        "90e0000001020304cafebabebede000110aa00003a589d195c819adb40660de83a2978a7ed650a00",
        "80c90001cafebabe8af995fe4441c44a2cf6c74376ad4ce9fd4356a861a1cdb980000002",
    ),
    (
        Profile::AeadAes256Gcm,
        "90e0000001020304cafebabebede000110aa0000ea8f0a43cc1c3df223ff3b4c9e32fbbdf50b8f3f",
        "80c90001cafebabe0de5ffb0135fa2b1004e203990f5d0c3ffd25c4ce7a632ee80000002",
    ),
];
/// Marker, pt 96, an extension block, four bytes of payload.
const RTP: &str = "90e0000001020304cafebabebede000110aa0000726f6f6d";
/// An empty receiver report and a BYE.
const RTCP: &str = "80c90001cafebabe81cb0001cafebabe";

fn master(profile: Profile) -> Vec<u8> {
    (0..profile.key_len() + profile.salt_len()).map(|at| (7 * at + 3) as u8).collect()
}

fn pair(profile: Profile) -> (Protector, Unprotector) {
    let master = master(profile);
    (Protector::new(profile, &master).unwrap(), Unprotector::new(profile, &master).unwrap())
}

fn rtp_packet(ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn protected(protector: &mut Protector, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    protector.protect_rtp(&mut buffer, 0).unwrap();
    buffer
}

#[test]
fn agrees_with_libsrtp() {
    for (profile, rtp, rtcp) in LIBSRTP {
        let (mut protector, mut unprotector) = pair(profile);
        let mut first = from_hex(RTP);
        first[2..4].copy_from_slice(&[0xFF, 0xFF]);
        let mut first = protected(&mut protector, &first);
        // what is in the buffer before the packet is left alone
        let mut buffer = vec![1, 2, 3];
        buffer.extend_from_slice(&from_hex(RTP));
        protector.protect_rtp(&mut buffer, 3).unwrap();
        assert_eq!(buffer[..3], [1, 2, 3]);
        assert_eq!(buffer[3..], from_hex(rtp), "{profile:?}");
        assert_eq!(buffer.len() - 3, from_hex(RTP).len() + profile.rtp_overhead());
        assert!(unprotector.unprotect_rtp(&mut first).is_ok());
        let len = unprotector.unprotect_rtp(&mut buffer[3..]).unwrap();
        assert_eq!(buffer[3..3 + len], from_hex(RTP));

        let mut compound = Vec::new();
        for _ in 0..2 {
            compound = from_hex(RTCP);
            protector.protect_rtcp(&mut compound, 0).unwrap();
        }
        assert_eq!(compound, from_hex(rtcp), "{profile:?}");
        assert_eq!(compound.len(), from_hex(RTCP).len() + profile.rtcp_overhead());
        let len = unprotector.unprotect_rtcp(&mut compound).unwrap();
        assert_eq!(compound[..len], from_hex(RTCP));
    }
}

#[test]
fn a_packet_is_taken_once() {
    for (profile, _, rtcp) in LIBSRTP {
        let (mut protector, mut unprotector) = pair(profile);
        let packets: Vec<Vec<u8>> =
            (0..3).map(|seq| protected(&mut protector, &rtp_packet(1, seq, b"some payload"))).collect();
        for at in [0, 2, 1] {
            assert!(unprotector.unprotect_rtp(&mut packets[at].clone()).is_ok());
        }
        for packet in packets {
            assert_eq!(unprotector.unprotect_rtp(&mut packet.clone()), Err(SrtpError::Replay));
        }
        assert!(unprotector.unprotect_rtcp(&mut from_hex(rtcp)).is_ok());
        assert_eq!(unprotector.unprotect_rtcp(&mut from_hex(rtcp)), Err(SrtpError::Replay));
    }
}

#[test]
fn a_retransmission_of_an_old_packet_is_the_same_bytes() {
    let (mut protector, _) = pair(Profile::AeadAes128Gcm);
    let old = protected(&mut protector, &rtp_packet(1, 65_535, b"x"));
    let _new = protected(&mut protector, &rtp_packet(1, 0, b"y"));
    assert_eq!(protected(&mut protector, &rtp_packet(1, 65_535, b"x")), old);
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (profile, _, rtcp) in LIBSRTP {
        let (mut protector, _) = pair(profile);
        let rtp = protected(&mut protector, &rtp_packet(1, 7, b"picture"));
        let rtcp = from_hex(rtcp);
        for bit in 0..rtp.len() * 8 {
            let mut forged = rtp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(pair(profile).1.unprotect_rtp(&mut forged).is_err(), "{profile:?} rtp bit {bit}");
        }
        for bit in 0..rtcp.len() * 8 {
            let mut forged = rtcp.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(pair(profile).1.unprotect_rtcp(&mut forged).is_err(), "{profile:?} rtcp bit {bit}");
        }
    }
}

#[test]
fn a_forgery_changes_nothing() {
    let (mut protector, mut unprotector) = pair(Profile::Aes128CmSha1_80);
    for ssrc in 0..1000 {
        let mut forged = rtp_packet(ssrc, 1, &[0; 40]);
        assert_eq!(unprotector.unprotect_rtp(&mut forged), Err(SrtpError::Auth));
    }
    assert!(unprotector.rtp_sources.find(0).is_none());
    // a forged packet far ahead doesn't move the rollover counter
    assert!(unprotector.unprotect_rtp(&mut protected(&mut protector, &rtp_packet(5, 100, b"a"))).is_ok());
    assert!(unprotector.unprotect_rtp(&mut rtp_packet(5, 30_000, &[0; 40])).is_err());
    assert!(unprotector.unprotect_rtp(&mut protected(&mut protector, &rtp_packet(5, 101, b"b"))).is_ok());
}

#[test]
fn keys_that_come_after_the_wrap_still_fit() {
    for (profile, ..) in LIBSRTP {
        let (mut protector, mut unprotector) = pair(profile);
        let _missed = protected(&mut protector, &rtp_packet(1, 65_530, b"before the keys"));
        let mut first = protected(&mut protector, &rtp_packet(1, 4, b"heard"));
        assert!(unprotector.unprotect_rtp(&mut first).is_ok(), "{profile:?}");
        let mut next = protected(&mut protector, &rtp_packet(1, 5, b"heard"));
        assert!(unprotector.unprotect_rtp(&mut next).is_ok());
    }
}

#[test]
fn our_own_ssrcs_are_bounded_and_never_forgotten() {
    let (mut protector, _) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..MAX_SSRCS as u32 {
        protected(&mut protector, &rtp_packet(ssrc, 1, b""));
    }
    let mut one_more = rtp_packet(9999, 1, b"");
    assert_eq!(protector.protect_rtp(&mut one_more, 0), Err(SrtpError::TooManySsrcs));
}

#[test]
fn an_index_is_never_used_beyond_its_end() {
    let (mut protector, _) = pair(Profile::AeadAes128Gcm);
    *protector.sources.find_or_add(1).unwrap() = Some((1 << 48) - 1);
    assert_eq!(protector.protect_rtp(&mut rtp_packet(1, 0, b""), 0), Err(SrtpError::KeyExhausted));
    protector.rtcp_index = (1 << 31) - 2;
    assert_eq!(protector.protect_rtcp(&mut from_hex(RTCP), 0), Ok(()));
    assert_eq!(protector.protect_rtcp(&mut from_hex(RTCP), 0), Err(SrtpError::KeyExhausted));
}

#[test]
fn names_of_profiles() {
    for profile in Profile::ALL {
        assert_eq!(Profile::from_name(profile.name()), Some(profile));
        assert_eq!(Profile::from_name(&format!("SRTP_{}", profile.name().to_lowercase())), Some(profile));
    }
    assert_eq!(Profile::from_name("SRTP_AES128_CM_SHA1_80"), Some(Profile::Aes128CmSha1_80));
    assert_eq!(Profile::from_name("SRTP_AES128_CM_HMAC_SHA1_32"), Some(Profile::Aes128CmSha1_32));
    assert_eq!(Profile::from_name("F8_128_HMAC_SHA1_80"), None);
    let short = Protector::new(Profile::AeadAes128Gcm, &[0; 30]).map(drop);
    assert_eq!(short, Err(SrtpError::KeyLength { need: 28, have: 30 }));
}

proptest! {
    #[test]
    fn what_was_protected_is_given_back(
        at in 0usize..4,
        start_seq: u16,
        ssrc: u32,
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..8),
    ) {
        let (mut protector, mut unprotector) = pair(Profile::ALL[at]);
        for (at, payload) in payloads.iter().enumerate() {
            let packet = rtp_packet(ssrc, start_seq.wrapping_add(at as u16), payload);
            let mut bytes = protected(&mut protector, &packet);
            prop_assert!(payload.len() < 4 || bytes[12..12 + payload.len()] != payload[..]);
            let len = unprotector.unprotect_rtp(&mut bytes).unwrap();
            prop_assert_eq!(&bytes[..len], &packet[..]);
        }
    }

    #[test]
    fn no_bytes_panic(at in 0usize..4, mut bytes in proptest::collection::vec(any::<u8>(), 0..80), version: bool) {
        if let (true, Some(first)) = (version, bytes.first_mut()) {
            *first = *first & 0x3F | 0x80;
        }
        let (mut protector, mut unprotector) = pair(Profile::ALL[at]);
        prop_assert!(unprotector.unprotect_rtp(&mut bytes.clone()).is_err());
        prop_assert!(unprotector.unprotect_rtcp(&mut bytes.clone()).is_err());
        let _refused_or_not = protector.protect_rtp(&mut bytes.clone(), 0);
        let _refused_or_not = protector.protect_rtcp(&mut bytes, 0);
    }
}
