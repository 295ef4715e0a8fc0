//! Packets of Chromium and ffmpeg, then what must hold for any bytes.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// A packet without iterators, for comparing.
#[derive(Clone, PartialEq, Debug)]
enum Read {
    Sr(u32, SenderInfo, Vec<ReportBlock>),
    Rr(u32, Vec<ReportBlock>),
    Sdes(Vec<(u32, Vec<u8>)>),
    Bye(Vec<u32>),
    Nack(u32, u32, Vec<u16>),
    Pli(u32, u32),
    Fir(u32, Vec<(u32, u8)>),
    Remb(u32, u64, Vec<u32>),
    Twcc(u32, u32, Vec<u8>),
    Other(u8, u8),
    Bad(RtcpError),
}

fn read(bytes: &[u8]) -> Vec<Read> {
    parse(bytes)
        .map(|packet| match packet {
            Ok(Packet::SenderReport { ssrc, info, blocks }) => Read::Sr(ssrc, info, blocks.collect()),
            Ok(Packet::ReceiverReport { ssrc, blocks }) => Read::Rr(ssrc, blocks.collect()),
            Ok(Packet::Sdes { cnames }) => Read::Sdes(cnames.map(|(ssrc, name)| (ssrc, name.to_vec())).collect()),
            Ok(Packet::Bye { ssrcs }) => Read::Bye(ssrcs.collect()),
            Ok(Packet::Nack { sender, media, seqs }) => Read::Nack(sender, media, seqs.collect()),
            Ok(Packet::Pli { sender, media }) => Read::Pli(sender, media),
            Ok(Packet::Fir { sender, entries }) => Read::Fir(sender, entries.collect()),
            Ok(Packet::Remb { sender, bps, ssrcs }) => Read::Remb(sender, bps, ssrcs.collect()),
            Ok(Packet::Twcc { sender, media, body }) => Read::Twcc(sender, media, body.to_vec()),
            Ok(Packet::Other { pt, count }) => Read::Other(pt, count),
            Err(error) => Read::Bad(error),
        })
        .collect()
}

fn block(ssrc: u32, lost: i32) -> ReportBlock {
    ReportBlock { ssrc, fraction_lost: 12, lost, highest_seq: 0x1_0007, jitter: 33, last_sr: 44, delay: 55 }
}

const INFO: SenderInfo = SenderInfo { ntp: 0xE800_0001_8000_0000, timestamp: 90_000, packets: 5, octets: 6000 };

#[test]
fn a_compound_as_a_leg_sends_it() {
    let mut bytes = Vec::new();
    write_sender_report(&mut bytes, 1, &INFO, &[block(2, -3), block(3, 0x7F_FFFF + 9)]);
    write_cname(&mut bytes, 1, "or-3");
    write_nack(&mut bytes, 1, 2, &[65_535, 0, 15, 16, 40]);
    write_pli(&mut bytes, 1, 2);
    write_fir(&mut bytes, 1, &[(2, 7)]);
    write_remb(&mut bytes, 1, 2_500_000, &[2, 3]);
    write_bye(&mut bytes, &[1, 9]);
    assert_eq!(
        read(&bytes),
        [
            Read::Sr(1, INFO, vec![block(2, -3), block(3, 0x7F_FFFF)]),
            Read::Sdes(vec![(1, b"or-3".to_vec())]),
            Read::Nack(1, 2, vec![65_535, 0, 15, 16, 40]),
            Read::Pli(1, 2),
            Read::Fir(1, vec![(2, 7)]),
            // 18 bits of mantissa: 2,500,000 = 156250 << 4
            Read::Remb(1, 2_500_000, vec![2, 3]),
            Read::Bye(vec![1, 9]),
        ]
    );
}

#[test]
fn bytes_as_the_rfcs_draw_them() {
    let mut bytes = Vec::new();
    write_pli(&mut bytes, 0x0102_0304, 0x0506_0708);
    assert_eq!(bytes, [0x81, 206, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.clear();
    write_fir(&mut bytes, 1, &[(0x0506_0708, 9)]);
    assert_eq!(bytes, [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 5, 6, 7, 8, 9, 0, 0, 0]);
    bytes.clear();
    write_nack(&mut bytes, 1, 2, &[100, 101, 116]);
    assert_eq!(bytes, [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 100, 0x80, 0x01]);
    bytes.clear();
    // draft-alvestrand-rmcat-remb-03 2.2; exponent 3 and mantissa 0x1E848 are 1,000,000
    write_remb(&mut bytes, 1, 1_000_000, &[7]);
    assert_eq!(
        bytes,
        [&[0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0][..], b"REMB", &[1, 0x0B, 0xD0, 0x90, 0, 0, 0, 7]].concat()
    );
    bytes.clear();
    write_cname(&mut bytes, 1, "ab");
    assert_eq!(bytes, [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]);
    bytes.clear();
    write_receiver_report(&mut bytes, 1, &[]);
    write_bye(&mut bytes, &[]);
    write_nack(&mut bytes, 1, 2, &[]);
    assert_eq!(bytes, [0x80, 201, 0, 1, 0, 0, 0, 1, 0x80, 203, 0, 0]);
}

#[test]
fn what_comes_before_a_bad_packet_counts() {
    let mut bytes = Vec::new();
    write_pli(&mut bytes, 1, 2);
    bytes.extend_from_slice(&[0x81, 205, 0, 9, 0, 0]);
    assert_eq!(read(&bytes), [Read::Pli(1, 2), Read::Bad(RtcpError::Truncated { pt: 205 })]);
    bytes.truncate(12);
    bytes.extend_from_slice(&[0x41, 205, 0, 0]);
    write_pli(&mut bytes, 1, 2);
    assert_eq!(read(&bytes), [Read::Pli(1, 2), Read::Bad(RtcpError::Version(1))]);
    // a sender report that is too short for its own fields
    assert_eq!(read(&[0x80, 200, 0, 1, 0, 0, 0, 1]), [Read::Bad(RtcpError::Truncated { pt: 200 })]);
    assert_eq!(read(&[0x80, 200]), []);
}

#[test]
fn counts_above_what_fits_and_odd_padding_are_tolerated() {
    let mut report = Vec::new();
    write_receiver_report(&mut report, 1, &[block(2, 0)]);
    report[0] = 0x80 | 31;
    assert_eq!(read(&report), [Read::Rr(1, vec![block(2, 0)])]);
    let mut nack = Vec::new();
    write_nack(&mut nack, 1, 2, &[5]);
    nack.extend_from_slice(&[0, 0, 0, 4]);
    nack[0] |= 0x20;
    nack[3] += 1;
    assert_eq!(read(&nack), [Read::Nack(1, 2, vec![5])]);
    // a count that reaches before the packet is no padding: its word is read as one more item
    let last = nack.len() - 1;
    nack[last] = 200;
    assert_eq!(read(&nack), [Read::Nack(1, 2, vec![5, 0, 4, 7, 8])]);
}

#[test]
fn foreign_packets_are_passed_over() {
    // APP "room", XR, TMMBR, an application layer feedback that is not REMB, transport-wide feedback
    let foreign = [
        &[0x80, 204, 0, 2, 0, 0, 0, 1, b'r', b'o', b'o', b'm'][..],
        &[0x80, 207, 0, 1, 0, 0, 0, 1],
        &[0x83, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0x8F, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4],
        &[0x8F, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9],
    ]
    .concat();
    assert_eq!(
        read(&foreign),
        [
            Read::Other(204, 0),
            Read::Other(207, 0),
            Read::Other(205, 3),
            Read::Other(206, 15),
            Read::Twcc(1, 2, vec![9, 9, 9, 9])
        ]
    );
}

#[test]
fn sdes_of_several_chunks_and_items() {
    // chunk 1 has a tool before its cname, chunk 2 no cname, chunk 3 one
    let bytes = [
        &[0x83, 202, 0, 9][..],
        &[0, 0, 0, 1, 6, 2, b'x', b'y', 1, 1, b'a', 0],
        &[0, 0, 0, 2, 2, 1, b'n', 0],
        &[0, 0, 0, 3, 1, 5, b'h', b'e', b'l', b'l', b'o', 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(read(&bytes), [Read::Sdes(vec![(1, b"a".to_vec()), (3, b"hello".to_vec())])]);
}

#[test]
fn estimates_beyond_64_bits_are_no_limit() {
    let bytes = [&[0x8F, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0][..], b"REMB", &[0, 0xFF, 0xFF, 0xFF]].concat();
    assert_eq!(read(&bytes), [Read::Remb(1, u64::MAX, vec![])]);
}

fn blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    let one = (any::<u32>(), any::<u8>(), -0x80_0000i32..0x80_0000, any::<[u32; 4]>());
    vec(one, 0..4).prop_map(|blocks| {
        blocks
            .into_iter()
            .map(|(ssrc, fraction_lost, lost, [highest_seq, jitter, last_sr, delay])| ReportBlock {
                ssrc,
                fraction_lost,
                lost,
                highest_seq,
                jitter,
                last_sr,
                delay,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in vec(prop_oneof![any::<u8>(), Just(0x81), 200u8..208, 0u8..8], 0..120)) {
        let packets = read(&bytes);
        prop_assert!(packets.len() <= bytes.len() / 4);
        let errors = packets.iter().filter(|packet| matches!(packet, Read::Bad(_))).count();
        prop_assert!(errors == 0 || errors == 1 && matches!(packets.last(), Some(Read::Bad(_))));
    }

    #[test]
    fn reports_are_read_as_written(ssrc: u32, ntp: u64, words: [u32; 3], blocks in blocks(), cname in "[ -~]{0,40}") {
        let info = SenderInfo { ntp, timestamp: words[0], packets: words[1], octets: words[2] };
        let mut bytes = Vec::new();
        write_sender_report(&mut bytes, ssrc, &info, &blocks);
        write_receiver_report(&mut bytes, ssrc, &blocks);
        write_cname(&mut bytes, ssrc, &cname);
        let expected =
            [Read::Sr(ssrc, info, blocks.clone()), Read::Rr(ssrc, blocks), Read::Sdes(vec![(ssrc, cname.into_bytes())])];
        prop_assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn nacks_name_what_they_were_given(start: u16, steps in vec(1u16..40, 1..100)) {
        let mut seqs = vec![start];
        for step in steps {
            seqs.push(seqs[seqs.len() - 1].wrapping_add(step));
        }
        let mut bytes = Vec::new();
        write_nack(&mut bytes, 1, 2, &seqs);
        prop_assert_eq!(read(&bytes), [Read::Nack(1, 2, seqs)]);
    }

    #[test]
    fn estimates_are_rounded_down(bps: u64) {
        let mut bytes = Vec::new();
        write_remb(&mut bytes, 1, bps, &[4]);
        let packets = read(&bytes);
        prop_assert!(matches!(&packets[..], [Read::Remb(1, read, ssrcs)]
            if *read <= bps && bps - *read <= bps >> 17 && ssrcs == &[4]));
    }
}
