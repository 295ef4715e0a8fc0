//! Pictures to packets and back, loss, and the habits of real senders.

use super::*;
use crate::h264::tests::{from_hex, prefixed};
use crate::h264::{PPS, SEI, SPS};
use crate::nal::index;
use crate::payload::{Finished, Frame, Input, Packetizer};
use crate::unit::{Codec, TrackId};
use proptest::collection::vec;
use proptest::prelude::*;

// slice headers of x264: first_mb_in_slice 0 and an I or P slice; then one that begins further down
const IDR_SLICE: &[u8] = &[0x65, 0x88, 0x84, 0x00, 0x10, 0xFF];
const P_SLICE: &[u8] = &[0x41, 0x9A, 0x23, 0x6C, 0x43, 0x7F];
/// first_mb_in_slice 40, P: 00000101001 00110
const LOWER_SLICE: &[u8] = &[0x41, 0x05, 0x26, 0xC0, 0x11];

fn sets() -> [Vec<u8>; 2] {
    [from_hex("6764000cacd94141fb011000000300100000030140f1429960"), from_hex("68ebe3cb22c0")]
}

fn large(slice: &[u8], len: usize) -> Vec<u8> {
    let mut nal = slice.to_vec();
    nal.extend((slice.len()..len).map(|at| (at % 251) as u8 | 1));
    nal
}

fn unit(nals: &[&[u8]]) -> Unit {
    let payload = prefixed(nals);
    let index = index(&payload).unwrap();
    Unit {
        track: TrackId(1),
        codec: Codec::H264,
        pts: 0,
        dts: 0,
        keyframe: false,
        contiguous: true,
        capture: 0,
        arrival: 0,
        payload: payload.into(),
        nals: index,
        level: None,
    }
}

const MODE_1: Packing = Packing { mode: 1, max_payload_bytes: 1200, max_nal_bytes: 0 };
const MODE_0: Packing = Packing { mode: 0, ..MODE_1 };

fn payloads(unit: &Unit, packing: &Packing) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    Packetizer::default().plan(unit, packing, &mut pieces).unwrap();
    for (at, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.last, at + 1 == pieces.len());
    }
    let written = |piece: &Piece| {
        let mut bytes = Vec::new();
        piece.write(unit, &mut bytes);
        assert_eq!(bytes.len(), piece.len());
        bytes
    };
    pieces.iter().map(written).collect()
}

/// A source: feeds packets of pictures.
#[derive(Default)]
struct Source {
    depacketizer: Depacketizer,
    out: Vec<Finished>,
}

impl Source {
    fn packet(&mut self, timestamp: i64, marker: bool, gap: bool, payload: &[u8]) -> &mut Source {
        let input = Input { timestamp, marker, gap, arrival: timestamp as u64 + 5, payload };
        self.depacketizer.push(&input, &mut self.out);
        self
    }

    fn picture(&mut self, timestamp: i64, payloads: &[Vec<u8>]) -> &mut Source {
        for (at, payload) in payloads.iter().enumerate() {
            self.packet(timestamp, at + 1 == payloads.len(), false, payload);
        }
        self
    }

    fn taken(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.out)
    }

    fn frames(&mut self) -> Vec<Frame> {
        let frame = |finished| match finished {
            Finished::Frame(frame) => frame,
            Finished::Dropped { timestamp, why } => panic!("{timestamp} was dropped: {why}"),
        };
        self.taken().into_iter().map(frame).collect()
    }
}

fn dropped(timestamp: i64, why: PayloadError) -> Finished {
    Finished::Dropped { timestamp, why }
}

#[test]
fn a_key_frame_in_mode_1_is_a_stap_and_equal_fragments() {
    let [sps, pps] = sets();
    let slice = large(IDR_SLICE, 5000);
    let picture = unit(&[&[AUD, 0xF0], &sps, &pps, &slice]);
    let packets = payloads(&picture, &MODE_1);
    let stap = [&[0x78, 0, sps.len() as u8][..], &sps, &[0, pps.len() as u8], &pps].concat();
    assert_eq!(packets[0], stap);
    assert_eq!(packets.len(), 6);
    assert_eq!(packets[1][..2], [0x7C, 0x85]);
    assert_eq!(packets[2][..2], [0x7C, 0x05]);
    assert_eq!(packets[5][..2], [0x7C, 0x45]);
    assert!(packets[1..5].iter().all(|packet| packet.len() == packets[1].len() && packet.len() <= 1200));

    let mut source = Source::default();
    let frames = source.picture(9000, &packets).frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(*frames[0].payload, *prefixed(&[&sps, &pps, &slice]));
    assert_eq!(frames[0].nals, index(&frames[0].payload).unwrap());
    assert!(frames[0].keyframe && frames[0].contiguous);
    assert_eq!((frames[0].timestamp, frames[0].arrival, frames[0].size), (9000, 9005, Some((320, 240))));
}

#[test]
fn mode_0_sends_every_nal_unit_alone() {
    let [sps, pps] = sets();
    let slice = large(IDR_SLICE, 5000);
    let packets = payloads(&unit(&[&sps, &pps, &[FILLER, 1], &slice]), &MODE_0);
    assert_eq!(packets, [sps, pps, slice]);
    let huge = unit(&[&large(IDR_SLICE, 70_000)]);
    let mut pieces = Vec::new();
    assert_eq!(plan(&huge, &MODE_0, &mut pieces), Err(PayloadError::NalTooLarge(70_000)));
    assert!(pieces.is_empty());
}

#[test]
fn a_peers_nal_limit_is_kept_by_fragmenting_earlier() {
    let picture = unit(&[&large(P_SLICE, 1150)]);
    assert_eq!(payloads(&picture, &MODE_1).len(), 1);
    assert_eq!(payloads(&picture, &Packing { max_nal_bytes: 800, ..MODE_1 }).len(), 2);
    // Webex: far above the MTU
    let large = unit(&[&large(P_SLICE, 3000)]);
    let packets = payloads(&large, &Packing { max_nal_bytes: 3_133_440, ..MODE_1 });
    assert!(packets.len() == 3 && packets.iter().all(|packet| packet.len() <= 1200));
    // nonsense costs no packet a byte
    assert!(payloads(&large, &Packing { max_nal_bytes: 1, ..MODE_1 }).len() < 30);
}

#[test]
fn a_unit_of_delimiters_alone_sends_nothing() {
    assert_eq!(payloads(&unit(&[&[AUD, 0xF0]]), &MODE_1), Vec::<Vec<u8>>::new());
    assert_eq!(payloads(&unit(&[]), &MODE_0), Vec::<Vec<u8>>::new());
    // what would be read as a STAP-A
    assert_eq!(payloads(&unit(&[&[24, 0, 1, 0x41], P_SLICE]), &MODE_1), [P_SLICE]);
}

#[test]
fn stap_b_and_fu_b_are_read_in_order() {
    let mut source = Source::default();
    let stap = [&[25, 0, 1, 0, 6][..], P_SLICE].concat();
    let frames = source.packet(0, true, false, &stap).frames();
    assert_eq!(*frames[0].payload, *prefixed(&[P_SLICE]));
    let start = [&[0x5D, 0x81, 0, 1][..], &P_SLICE[1..4]].concat();
    let end = [&[0x5C, 0x41][..], &P_SLICE[4..]].concat();
    let frames = source.packet(9, false, false, &start).packet(9, true, false, &end).frames();
    assert_eq!(*frames[0].payload, *prefixed(&[P_SLICE]));
}

#[test]
fn pictures_end_with_the_timestamp_where_no_marker_comes() {
    let mut source = Source::default();
    source.packet(0, false, false, IDR_SLICE).packet(3000, false, false, P_SLICE);
    assert_eq!(source.frames().iter().map(|frame| frame.timestamp).collect::<Vec<_>>(), [0]);
    source.depacketizer.flush(&mut source.out);
    let frames = source.frames();
    assert_eq!((frames[0].timestamp, frames[0].contiguous), (3000, true));
    source.depacketizer.flush(&mut source.out);
    assert!(source.frames().is_empty());
}

#[test]
fn parameter_sets_wait_for_their_picture() {
    let [sps, pps] = sets();
    let mut source = Source::default();
    // with markers of their own and another timestamp
    source.packet(0, true, false, &sps).packet(10, true, false, &pps).packet(3000, true, false, IDR_SLICE);
    let frames = source.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(*frames[0].payload, *prefixed(&[&sps, &pps, IDR_SLICE]));
    assert_eq!(frames[0].timestamp, 3000);
    // and don't pile up where no picture ever comes
    for timestamp in 0..10_000 {
        source.packet(timestamp, true, false, &sps);
    }
    source.packet(10_000, true, false, IDR_SLICE);
    assert_eq!(*source.frames()[0].payload, *prefixed(&[&sps, IDR_SLICE]));
}

#[test]
fn a_lost_packet_drops_its_picture_only() {
    let packets = payloads(&unit(&[&large(P_SLICE, 5000)]), &MODE_1);
    for lost in 0..packets.len() {
        let mut source = Source::default();
        source.picture(0, &packets);
        for (at, payload) in packets.iter().enumerate() {
            if at != lost {
                source.packet(3000, at + 1 == packets.len(), at == lost + 1, payload);
            }
        }
        let last_lost = lost + 1 == packets.len();
        source.packet(6000, false, last_lost, &packets[0]);
        for (at, payload) in packets.iter().enumerate().skip(1) {
            source.packet(6000, at + 1 == packets.len(), false, payload);
        }
        let out = source.taken();
        let kinds: Vec<(i64, bool)> = out
            .iter()
            .map(|finished| match finished {
                Finished::Frame(frame) => (frame.timestamp, frame.contiguous),
                Finished::Dropped { timestamp, .. } => (-timestamp, false),
            })
            .collect();
        assert_eq!(kinds, [(0, true), (-3000, false), (6000, false)], "lost {lost}");
    }
}

#[test]
fn a_gap_between_pictures_drops_none_that_begins_at_its_top() {
    let mut source = Source::default();
    source.packet(0, true, false, IDR_SLICE).packet(6000, true, true, P_SLICE).packet(9000, true, false, P_SLICE);
    let frames = source.frames();
    assert_eq!(frames.iter().map(|frame| frame.contiguous).collect::<Vec<_>>(), [true, false, true]);
    // one that lost its upper slice
    source.packet(12_000, true, true, LOWER_SLICE).packet(15_000, true, false, P_SLICE);
    let out = source.taken();
    assert_eq!(out[0], dropped(12_000, PayloadError::Incomplete));
    assert!(matches!(&out[1], Finished::Frame(frame) if !frame.contiguous));
    // parameter sets before the gap stay
    let [sps, pps] = sets();
    source.packet(18_000, false, false, &sps).packet(18_000, false, false, &pps).packet(18_000, true, true, IDR_SLICE);
    assert_eq!(*source.frames()[0].payload, *prefixed(&[&sps, &pps, IDR_SLICE]));
}

#[test]
fn whoever_joins_within_a_picture_waits_for_the_next() {
    let mut source = Source::default();
    source.packet(0, true, false, LOWER_SLICE).packet(3000, true, false, IDR_SLICE);
    let out = source.taken();
    assert_eq!(out[0], dropped(0, PayloadError::Incomplete));
    assert!(matches!(&out[1], Finished::Frame(frame) if frame.keyframe && frame.timestamp == 3000));
}

#[test]
fn a_marker_on_every_slice_is_found_out() {
    let mut source = Source::default();
    for timestamp in [0, 3000, 6000] {
        source.packet(timestamp, true, false, P_SLICE).packet(timestamp, true, false, LOWER_SLICE);
    }
    source.depacketizer.flush(&mut source.out);
    let out = source.taken();
    assert!(matches!(&out[0], Finished::Frame(frame) if frame.timestamp == 0 && frame.nals.len() == 1));
    assert_eq!(out[1], dropped(0, PayloadError::MarkerWithin));
    for (finished, timestamp) in out[2..].iter().zip([3000, 6000]) {
        assert!(matches!(finished, Finished::Frame(frame) if frame.timestamp == timestamp && frame.nals.len() == 2));
    }
    assert_eq!(out.len(), 4);
}

#[test]
fn malformed_packets_drop_their_picture_with_a_reason() {
    let cases: [(&[u8], PayloadError); 10] = [
        (&[], PayloadError::Empty),
        (&[24], PayloadError::Empty),
        (&[24, 0], PayloadError::Truncated),
        (&[24, 0, 9, 0x41], PayloadError::Truncated),
        (&[24, 0, 0], PayloadError::Empty),
        (&[24, 0, 1, 28], PayloadError::Unsupported(28)),
        (&[26, 0, 0, 0], PayloadError::Unsupported(26)),
        (&[0x7C], PayloadError::Truncated),
        (&[0x7C, 0x80 | 24, 0, 1, 0x41], PayloadError::Unsupported(24)),
        (&[0x7C, 0x05, 1, 2], PayloadError::FragmentOrder),
    ];
    for (payload, why) in cases {
        let mut source = Source::default();
        source.packet(0, false, false, P_SLICE).packet(0, true, false, payload).packet(3000, true, false, P_SLICE);
        let out = source.taken();
        assert_eq!(out[0], dropped(0, why), "{payload:?}");
        assert!(matches!(&out[1], Finished::Frame(frame) if !frame.contiguous && frame.timestamp == 3000));
        assert_eq!(out.len(), 2);
    }
}

#[test]
fn a_picture_without_end_is_bounded() {
    let mut source = Source::default();
    let fragment = vec![0x7C; 60_000];
    source.packet(0, false, false, &[&[0x7C, 0x85][..], &IDR_SLICE[1..]].concat());
    let middle = [&[0x7C, 0x05][..], &fragment].concat();
    for _ in 0..1000 {
        source.packet(0, false, false, &middle);
    }
    assert_eq!(source.taken(), [dropped(0, PayloadError::TooLarge)]);
    for _ in 0..=MAX_NALS {
        source.packet(1, false, false, &[SEI, 1]);
    }
    assert_eq!(source.taken(), [dropped(1, PayloadError::TooLarge)]);
}

#[test]
fn a_fragmented_unit_without_end_bit_is_whole_when_nothing_was_lost() {
    let mut source = Source::default();
    source.packet(0, false, false, &[0x7C, 0x85, 0x88, 0x84]).packet(0, true, false, P_SLICE);
    assert_eq!(*source.frames()[0].payload, *prefixed(&[&[0x65, 0x88, 0x84], P_SLICE]));
}

fn nal() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(P_SLICE), Just(IDR_SLICE), Just(&[SPS, 66][..]), Just(&[PPS][..]), Just(&[SEI, 5][..])];
    (kind, 0usize..3000, any::<u8>()).prop_map(|(head, len, fill)| {
        let mut nal = head.to_vec();
        nal.resize(head.len() + len, fill | 1);
        nal
    })
}

proptest! {
    #[test]
    fn pictures_survive_both_modes(
        nals in vec(nal(), 1..8), mode in 0u8..2, max_payload_bytes in 100usize..1500, max_nal_bytes in 0usize..1500,
    ) {
        let nals: Vec<&[u8]> = std::iter::once(IDR_SLICE).chain(nals.iter().map(Vec::as_slice)).collect();
        let picture = unit(&nals);
        let packing = Packing { mode, max_payload_bytes, max_nal_bytes };
        let packets = payloads(&picture, &packing);
        if mode == 1 {
            prop_assert!(packets.iter().all(|packet| packet.len() <= max_payload_bytes.max(MIN_PAYLOAD_BYTES)));
        } else {
            prop_assert_eq!(packets.len(), nals.len());
        }
        let frames = Source::default().picture(1, &packets).frames();
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(&frames[0].payload, &picture.payload);
        prop_assert_eq!(&frames[0].nals, &picture.nals);
    }

    #[test]
    fn no_packets_panic(
        packets in vec((0i64..3, any::<bool>(), any::<bool>(), vec(prop_oneof![any::<u8>(), Just(0x7C), Just(24)], 0..40)), 0..20),
    ) {
        let mut source = Source::default();
        for (timestamp, marker, gap, payload) in &packets {
            source.packet(*timestamp, *marker, *gap, payload);
        }
        source.depacketizer.flush(&mut source.out);
        for finished in source.taken() {
            if let Finished::Frame(frame) = finished {
                prop_assert!(!frame.nals.is_empty());
                prop_assert_eq!(&frame.nals, &index(&frame.payload).unwrap());
            }
        }
    }

    #[test]
    fn any_loss_gives_whole_pictures_only(
        sizes in vec(10usize..6000, 1..8), lost in vec(any::<bool>(), 64), marker: bool,
    ) {
        let mut source = Source::default();
        let mut pictures = Vec::new();
        let (mut at, mut gap) = (0, false);
        for (number, &size) in sizes.iter().enumerate() {
            let picture = unit(&[&large(P_SLICE, size)]);
            let packets = payloads(&picture, &MODE_1);
            for (n, payload) in packets.iter().enumerate() {
                if lost[at % lost.len()] {
                    gap = true;
                } else {
                    source.packet(number as i64, marker && n + 1 == packets.len(), gap, payload);
                    gap = false;
                }
                at += 1;
            }
            pictures.push(picture.payload);
        }
        // what follows last may be missing: the receiver would know only from the next packet
        if gap {
            source.packet(sizes.len() as i64, false, true, P_SLICE);
        }
        source.depacketizer.flush(&mut source.out);
        for finished in source.taken() {
            if let Finished::Frame(frame) = finished {
                let expected = pictures.get(frame.timestamp as usize);
                prop_assert!(expected.is_none_or(|picture| *picture == frame.payload));
            }
        }
    }
}
