//! Packets as the RFCs draw them, then what must hold for any bytes.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn datagrams_are_told_apart_by_their_first_bytes() {
    let kinds = [
        (&[0x00, 0x01][..], DatagramKind::Stun),
        (&[0x01, 0x01], DatagramKind::Stun),
        (&[22, 254], DatagramKind::Dtls),
        (&[63], DatagramKind::Dtls),
        (&[0x40, 0], DatagramKind::TurnChannel),
        (&[0x80, 96], DatagramKind::Rtp),
        (&[0x80, 0x80 | 111], DatagramKind::Rtp),
        (&[0x80, 0x80 | 63], DatagramKind::Rtp),
        (&[0x81, 200], DatagramKind::Rtcp),
        (&[0x81, 206], DatagramKind::Rtcp),
        (&[0x80, 192], DatagramKind::Rtcp),
        (&[0x80, 224], DatagramKind::Rtp),
        (&[0x80], DatagramKind::Unknown),
        (&[16, 0], DatagramKind::Unknown),
        (&[0xC0, 0], DatagramKind::Unknown),
        (&[], DatagramKind::Unknown),
    ];
    for (bytes, kind) in kinds {
        assert_eq!(classify(bytes), kind, "{bytes:?}");
    }
}

#[test]
fn a_packet_with_everything() {
    let bytes = [
        0xB1, 0xE0, 0x12, 0x34, 0, 0, 0, 5, 0, 0, 0, 6, // padding, extension, one csrc; marker, pt 96
        0, 0, 0, 7, // csrc
        0xBE, 0xDE, 0, 2, 0x10, 0xFF, 0x00, 0x31, b'm', b'i', 0, 0, // ids 1 and 3 with padding between
        1, 2, 3, 0, 2, // payload, padding
    ];
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.marker, packet.pt, packet.seq), (true, 96, 0x1234));
    assert_eq!((packet.timestamp, packet.ssrc, packet.csrcs), (5, 6, &[0, 0, 0, 7][..]));
    assert_eq!((packet.payload, packet.padding), (&[1, 2, 3][..], 2));
    let elements: Vec<(u8, &[u8])> = packet.extensions().collect();
    assert_eq!(elements, [(1, &[0xFF][..]), (3, b"mi")]);
    assert_eq!(packet.extension(3), Some(&b"mi"[..]));
    assert_eq!(packet.extension(2), None);
    assert_eq!(header_len(&bytes), Ok(28));
}

#[test]
fn refuses_what_contradicts_itself() {
    assert_eq!(Packet::parse(&[]), Err(RtpError::Truncated { need: 12, have: 0 }));
    assert_eq!(Packet::parse(&[0x40; 20]), Err(RtpError::Version(1)));
    assert_eq!(Packet::parse(&[0x82; 19]), Err(RtpError::Truncated { need: 20, have: 19 }));
    let mut padded = [0; 14];
    padded[0] = 0xA0;
    assert_eq!(Packet::parse(&padded), Err(RtpError::Padding { count: 0, have: 2 }));
    padded[13] = 3;
    assert_eq!(Packet::parse(&padded), Err(RtpError::Padding { count: 3, have: 2 }));
    padded[13] = 2;
    assert_eq!(Packet::parse(&padded).map(|packet| packet.payload.len()), Ok(0));
}

#[test]
fn one_byte_elements_end_at_id_15() {
    let packet = Packet { extension: Some((ONE_BYTE, &[0x10, 1, 0xF0, 2, 0x20, 3, 0, 0])), ..PLAIN };
    assert_eq!(packet.extensions().collect::<Vec<_>>(), [(1, &[1][..])]);
    let cut = Packet { extension: Some((ONE_BYTE, &[0x10, 1, 0x23, 2])), ..PLAIN };
    assert_eq!(cut.extensions().collect::<Vec<_>>(), [(1, &[1][..])]);
}

#[test]
fn a_large_element_takes_two_byte_headers() {
    let header = Header { marker: false, pt: 0, seq: 0, timestamp: 0, ssrc: 0 };
    for elements in [&[(1, &[7; 17][..]), (2, &[8])][..], &[(15, &[1])], &[(200, &[])]] {
        let mut bytes = Vec::new();
        header.write(&mut bytes, elements);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.extension.map(|block| block.0), Some(TWO_BYTE));
        assert_eq!(packet.extensions().collect::<Vec<_>>(), elements);
    }
}

#[test]
fn levels_and_retransmissions() {
    assert_eq!(audio_level(&audio_level_value(true, -30)), Some((true, -30)));
    assert_eq!(audio_level(&audio_level_value(false, -128)), Some((false, -127)));
    assert_eq!(audio_level(&[]), None);
    assert_eq!(rtx_original(&[0x12, 0x34, 9]), Some((0x1234, &[9][..])));
    assert_eq!(rtx_original(&[0x12]), None);
}

#[test]
fn numbers_go_on_across_the_wrap() {
    let mut seqs = SeqUnwrapper::default();
    let numbers: Vec<u64> = [65_534, 65_535, 1, 0, 65_533, 2].map(|seq| seqs.unwrap(seq)).to_vec();
    assert_eq!(numbers, [131_070, 131_071, 131_073, 131_072, 131_069, 131_074]);
    assert_eq!(seqs.highest(), Some(131_074));
    let mut times = TimestampUnwrapper::default();
    let wrap = 1i64 << 32;
    let values: Vec<i64> = [u32::MAX, 2_999, u32::MAX - 10].map(|time| times.unwrap(time)).to_vec();
    assert_eq!(values, [2 * wrap - 1, 2 * wrap + 2_999, 2 * wrap - 11]);
}

const PLAIN: Packet<'static> = Packet {
    marker: false,
    pt: 0,
    seq: 0,
    timestamp: 0,
    ssrc: 0,
    csrcs: &[],
    extension: None,
    payload: &[],
    padding: 0,
};

proptest! {
    #[test]
    fn what_is_read_is_written_the_same(mut bytes in vec(any::<u8>(), 0..120), version: bool) {
        if let (true, Some(first)) = (version, bytes.first_mut()) {
            *first = *first & 0x3F | 0x80;
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.extensions().count() <= bytes.len());
            let mut written = Vec::new();
            packet.write(&mut written);
            // padding bytes before the count are free, and written as zeros
            let padding = bytes.len() - usize::from(packet.padding);
            prop_assert_eq!(&written[..padding], &bytes[..padding]);
            prop_assert_eq!(Packet::parse(&written), Ok(packet));
        }
    }

    #[test]
    fn what_is_written_is_read(
        marker: bool, pt in 0u8..128, seq: u16, timestamp: u32, ssrc: u32,
        elements in vec((1u8..=255, vec(any::<u8>(), 0..40)), 0..5), payload in vec(any::<u8>(), 0..40),
    ) {
        let header = Header { marker, pt, seq, timestamp, ssrc };
        let elements: Vec<(u8, &[u8])> = elements.iter().map(|(id, value)| (*id, value.as_slice())).collect();
        let mut bytes = vec![0xEE];
        let len = header.write(&mut bytes, &elements);
        prop_assert_eq!(header_len(&bytes[1..]), Ok(len));
        bytes.extend_from_slice(&payload);
        let packet = Packet::parse(&bytes[1..]).unwrap();
        prop_assert_eq!(packet.extensions().collect::<Vec<_>>(), elements);
        prop_assert_eq!(packet.payload, &payload[..]);
        let read = Header { marker: packet.marker, pt: packet.pt, seq: packet.seq, timestamp: packet.timestamp, ssrc: packet.ssrc };
        prop_assert_eq!(read, header);
    }

    #[test]
    fn numbers_follow_any_walk(start: u16, steps in vec(-32_000i64..32_000, 0..200)) {
        let mut seqs = SeqUnwrapper::default();
        let mut at = 0x1_0000 + i64::from(start);
        prop_assert_eq!(seqs.unwrap(start), at as u64);
        let mut highest = at;
        for step in steps {
            at = (highest + step).max(0);
            prop_assert_eq!(seqs.unwrap(at as u16), at as u64);
            highest = highest.max(at);
        }
    }

    #[test]
    fn times_are_never_negative(times in vec(any::<u32>(), 0..200)) {
        let mut unwrapper = TimestampUnwrapper::default();
        for time in times {
            let value = unwrapper.unwrap(time);
            prop_assert!(value >= 0);
            prop_assert_eq!(value as u32, time);
        }
    }
}
