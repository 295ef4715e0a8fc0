//! Fuzzing of every byte format that comes from outside: real packets, mutated, into the parsers, with an exact oracle
//! each. A panic anywhere fails.
//!
//! A short seeded run belongs to `cargo test`. The long one: `ORBRIDGE_FUZZ_SECONDS=600 cargo test --release
//! --no-default-features --test fuzz_formats` (seconds a target; the targets run side by side). A failure prints the
//! case's seed; `ORBRIDGE_FUZZ_SEED=<seed>` runs that case alone.

use _engine::nal::{ParameterSets, Syntax};
use _engine::payload::dtmf::TelephoneEvent;
use _engine::payload::vp8::{keyframe_size, Descriptor};
use _engine::payload::{
    audio, Depacketizer, Finished, Frame, Input, Packetizer, Packing, Piece, MAX_NALS, MAX_UNIT_BYTES,
};
use _engine::srtp::{Profile, Protector, Unprotector};
use _engine::unit::{Codec, TrackId, Unit};
use _engine::{h264, h265, nal, rtcp, rtp};
use std::time::{Duration, Instant};

/// Cases of a short run.
const SHORT_CASES: u64 = 20_000;

/// xorshift64*: the same cases everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }

    /// One of the seeds with up to four changes, or none.
    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).clone();
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = *self.pick(&[0, 1, 3, 0x7F, 0x80, 0xFF]),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.next() as u8),
                4 => drop(bytes.splice(at..at, self.bytes(20))),
                5 => bytes.extend_from_slice(&self.pick(seeds).clone()),
                _ => bytes = bytes.split_off(at),
            }
        }
        bytes
    }
}

/// Says which case failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with ORBRIDGE_FUZZ_SEED={}", self.0);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn fuzz(mut target: impl FnMut(&mut Random)) {
    if let Some(seed) = setting("ORBRIDGE_FUZZ_SEED") {
        return target(&mut Random(seed.max(1)));
    }
    let end = setting("ORBRIDGE_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seeds = Random(0x6F72_6272_6964_6765);
    let mut cases = 0;
    while end.map_or(cases < SHORT_CASES, |end| Instant::now() < end) {
        let case = Case(seeds.next().max(1));
        target(&mut Random(case.0));
        cases += 1;
    }
    println!("{cases} cases");
}

fn rtp_seeds() -> Vec<Vec<u8>> {
    let header = rtp::Header { marker: true, pt: 96, seq: 65_535, timestamp: 90_000, ssrc: 7 };
    let elements: [&[(u8, &[u8])]; 4] =
        [&[], &[(1, &[0x9E]), (3, b"video")], &[(15, &[1; 20]), (2, &[])], &[(14, &[5; 16])]];
    let with = |elements: &[(u8, &[u8])]| {
        let mut bytes = Vec::new();
        header.write(&mut bytes, elements);
        bytes.extend_from_slice(b"payload");
        bytes
    };
    let mut seeds: Vec<Vec<u8>> = elements.iter().map(|elements| with(elements)).collect();
    // CSRCs, extension and padding together
    seeds.push(
        [&[0xB2, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], &[0; 8], &[0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0], b"xy\0\0\x03"]
            .concat(),
    );
    seeds
}

#[test]
fn rtp_packets() {
    let seeds = rtp_seeds();
    fuzz(|random| {
        let bytes = random.mutated(&seeds);
        let _kind = rtp::classify(&bytes);
        let Ok(packet) = rtp::Packet::parse(&bytes) else { return };
        assert!(packet.extensions().all(|(id, value)| id != 0 && value.len() <= bytes.len()));
        let mut written = Vec::new();
        packet.write(&mut written);
        assert_eq!(written.len(), bytes.len());
        assert_eq!(rtp::Packet::parse(&written), Ok(packet));
        assert_eq!(rtp::header_len(&bytes), Ok(bytes.len() - packet.payload.len() - usize::from(packet.padding)));
    });
}

#[test]
fn rtcp_compounds() {
    let info = rtcp::SenderInfo { ntp: 1 << 63, timestamp: 1, packets: 2, octets: 3 };
    let block =
        rtcp::ReportBlock { ssrc: 1, fraction_lost: 2, lost: -3, highest_seq: 4, jitter: 5, last_sr: 6, delay: 7 };
    let mut seeds = vec![Vec::new(); 8];
    rtcp::write_sender_report(&mut seeds[0], 1, &info, &[block, block]);
    rtcp::write_receiver_report(&mut seeds[1], 1, &[block]);
    rtcp::write_cname(&mut seeds[2], 1, "or-3");
    rtcp::write_bye(&mut seeds[3], &[1, 2]);
    rtcp::write_nack(&mut seeds[4], 1, 2, &[1, 5, 100]);
    rtcp::write_pli(&mut seeds[5], 1, 2);
    rtcp::write_fir(&mut seeds[6], 1, &[(2, 3)]);
    rtcp::write_remb(&mut seeds[7], 1, 1_000_000, &[2, 3]);
    seeds.push(seeds.concat());
    fuzz(|random| {
        let bytes = random.mutated(&seeds);
        let packets: Vec<_> = rtcp::parse(&bytes).collect();
        assert!(packets.len() <= bytes.len() / 4);
        let mut items = 0;
        for (at, packet) in packets.iter().enumerate() {
            items += match packet {
                Ok(rtcp::Packet::SenderReport { blocks, .. } | rtcp::Packet::ReceiverReport { blocks, .. }) => {
                    blocks.clone().count()
                }
                Ok(rtcp::Packet::Sdes { cnames }) => cnames.clone().count(),
                Ok(rtcp::Packet::Bye { ssrcs } | rtcp::Packet::Remb { ssrcs, .. }) => ssrcs.clone().count(),
                Ok(rtcp::Packet::Nack { seqs, .. }) => seqs.clone().count(),
                Ok(rtcp::Packet::Fir { entries, .. }) => entries.clone().count(),
                Ok(_) => 0,
                Err(_) => {
                    assert_eq!(at, packets.len() - 1);
                    0
                }
            };
        }
        // a NACK item names 17 packets in four bytes, nothing says more
        assert!(items <= bytes.len() / 4 * 17);
    });
}

#[test]
fn srtp_packets() {
    let profile = Profile::AeadAes128Gcm;
    let profiles = [profile, Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes256Gcm];
    let key = |profile: Profile| vec![9; profile.key_len() + profile.salt_len()];
    let mut seeds = Vec::new();
    for profile in profiles {
        let mut protector = Protector::new(profile, &key(profile)).unwrap();
        let mut sealed = rtp_seeds();
        sealed.iter_mut().for_each(|packet| protector.protect_rtp(packet, 0).unwrap());
        let mut compound = Vec::new();
        rtcp::write_pli(&mut compound, 1, 2);
        protector.protect_rtcp(&mut compound, 0).unwrap();
        sealed.push(compound);
        seeds.push(sealed);
    }
    fuzz(|random| {
        let at = random.below(profiles.len());
        let mut unprotector = Unprotector::new(profiles[at], &key(profiles[at])).unwrap();
        let bytes = random.mutated(&seeds[at]);
        let genuine = seeds[at].contains(&bytes);
        let taken = unprotector.unprotect_rtp(&mut bytes.clone()).is_ok();
        let taken = taken || unprotector.unprotect_rtcp(&mut bytes.clone()).is_ok();
        // only what was sealed is opened; and all of that
        assert_eq!(taken, genuine, "{bytes:?}");
    });
}

/// Starts of NAL units as x264 writes them, the parameter sets whole.
fn nal_seeds() -> Vec<Vec<u8>> {
    let hex =
        |text: &str| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    [
        "6764000cacd94141fb011000000300100000030140f1429960",
        "677a001ebcd940a43fe223f0110000030001000003003c0f162d96",
        "6764000dacd94141fb01100000030010000003014602001e840007a1392ca01e28532c",
        "67420029e2900a00cb602dc04040690789115000",
        "68ebe3cb22c0",
        "68cb83cb20",
        "060601c480",
        "06000593c6d0465106 01c480",
        "6588840010fffef781bf32cb643faac94b44",
        "4188990047fffef7881f32cb",
        "419a236c437ffea78e470ab5",
        "019e626a437f0003f860e46d",
        "09f0",
        "40010c01ffff016000000300900000030000030078959409",
        "420101016000000300900000030000030078a003c0801107cb965654a4c2f0168080000003008000000c84",
        "4201010408000003009d0800000300005ab0052201f1c447b6595952930bc05a020000030002000003003c10",
        "4401c073c189",
        "460150",
    ]
    .map(|text| hex(&text.replace(' ', "")))
    .into()
}

#[test]
fn nal_units() {
    let seeds = nal_seeds();
    fuzz(|random| {
        let nals: Vec<Vec<u8>> = (0..random.below(6)).map(|_| random.mutated(&seeds)).collect();
        for nal in &nals {
            if let Ok(sps) = h264::Sps::parse(nal) {
                assert!(sps.width > 0 && sps.height > 0 && sps.max_reorder_frames <= 16);
            }
            let _either = (h264::Pps::parse(nal), h264::Slice::parse(nal));
            if let Ok(sps) = h265::Sps::parse(nal) {
                assert!(sps.width > 0 && sps.height > 0 && sps.id < 16);
            }
        }
        let filled: Vec<&[u8]> = nals.iter().map(Vec::as_slice).filter(|nal| !nal.is_empty()).collect();
        let mut payload = Vec::new();
        for nal in &filled {
            payload.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            payload.extend_from_slice(nal);
        }
        let index = nal::index(&payload).unwrap();
        assert_eq!(index.len(), filled.len());
        for syntax in [Syntax::H264, Syntax::H265] {
            let mut sets = ParameterSets::new(syntax);
            sets.keep_all(filled.iter().copied());
            if let Some((more, nals)) = sets.prepended(&payload, &index) {
                assert_eq!(nal::index(&more).unwrap(), nals);
            }
        }
        let cut = random.mutated(&[payload]);
        if let Ok(index) = nal::index(&cut) {
            let end = index.last().map_or(0, |&(start, len)| start + len);
            assert_eq!(end as usize, cut.len());
        }
    });
}

/// What any frame promises, and that it can be sent again and be read as the same.
fn check_frame(codec: Codec, frame: Frame, packing: &Packing) {
    assert!(!frame.payload.is_empty() && frame.payload.len() <= MAX_UNIT_BYTES && frame.nals.len() <= MAX_NALS);
    if codec == Codec::H264 {
        assert_eq!(nal::index(&frame.payload).unwrap(), frame.nals);
    }
    let unit = Unit {
        track: TrackId(1),
        codec,
        pts: frame.timestamp,
        dts: frame.timestamp,
        keyframe: frame.keyframe,
        contiguous: frame.contiguous,
        capture: 0,
        arrival: 0,
        payload: frame.payload,
        nals: frame.nals,
        level: None,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    Packetizer::default().plan(&unit, packing, &mut pieces).unwrap();
    let mut depacketizer = Depacketizer::new(codec).unwrap();
    let mut out = Vec::new();
    if codec == Codec::H264 {
        // a first picture that doesn't begin at its top would be taken for the rest of one
        let idr = [0x65, 0x88, 0x84, 0x00];
        depacketizer.push(&Input { timestamp: 0, marker: true, gap: false, arrival: 0, payload: &idr }, &mut out);
        assert!(matches!(out.pop(), Some(Finished::Frame(frame)) if frame.keyframe));
    }
    for piece in &pieces {
        let mut payload = Vec::new();
        piece.write(&unit, &mut payload);
        assert_eq!(payload.len(), piece.len());
        depacketizer
            .push(&Input { timestamp: 1, marker: piece.last, gap: false, arrival: 0, payload: &payload }, &mut out);
    }
    depacketizer.flush(&mut out);
    let same = |finished: &Finished| matches!(finished, Finished::Frame(frame) if frame.payload == unit.payload && frame.nals == unit.nals);
    assert!(out.len() == 1 && same(&out[0]), "{codec:?} {:?} became {out:?}", unit.payload);
}

fn payload_seeds(codec: Codec) -> Vec<Vec<u8>> {
    match codec {
        Codec::H264 => {
            let mut seeds = nal_seeds();
            for nal in nal_seeds() {
                let (header, body) = nal.split_at(1);
                let (first, last) = body.split_at(body.len() / 2);
                let kind = header[0] & 0x1F;
                seeds.push([&[header[0] & 0xE0 | 28, 0x80 | kind], first].concat());
                seeds.push([&[header[0] & 0xE0 | 28, kind], first].concat());
                seeds.push([&[header[0] & 0xE0 | 28, 0x40 | kind], last].concat());
                seeds.push([&[header[0] & 0xE0 | 29, 0x80 | kind, 0, 1], first].concat());
                seeds.push([&[24, 0, nal.len() as u8], &nal[..], &[0, 2, 0x41, 0x9A]].concat());
                seeds.push([&[25, 0, 0, 0, nal.len() as u8], &nal[..]].concat());
            }
            seeds
        }
        Codec::Vp8 => vec![
            vec![0x10, 0x50, 1, 0, 0x9D, 1, 0x2A, 0x80, 2, 0x68, 1, 7, 7],
            vec![0x90, 0x80, 0x80, 1, 0x51, 1, 0, 9],
            vec![0x80, 0x80, 0x80, 1, 9, 9, 9],
            vec![0x93, 0xF0, 0x91, 0x22, 1, 2, 9],
        ],
        _ => vec![vec![0x78, 1, 2], vec![3, 3, 1, 2], vec![0xFF; 40]],
    }
}

#[test]
fn payloads_of_every_codec() {
    let codecs = [Codec::H264, Codec::H264, Codec::H264, Codec::Vp8, Codec::Opus, Codec::Pcmu, Codec::G722, Codec::L16];
    let seeds = codecs.map(payload_seeds);
    fuzz(|random| {
        let at = random.below(codecs.len());
        let codec = codecs[at];
        let mut depacketizer = Depacketizer::new(codec).unwrap();
        let mut out = Vec::new();
        let mut timestamp = 0;
        for _ in 0..random.below(16) {
            let payload = random.mutated(&seeds[at]);
            timestamp += i64::from(random.below(4) == 0);
            let (marker, gap) = (random.below(4) == 0, random.below(12) == 0);
            let before = out.len();
            depacketizer.push(&Input { timestamp, marker, gap, arrival: 3, payload: &payload }, &mut out);
            assert!(out.len() - before <= 3, "one packet gave {:?}", &out[before..]);
            let _either = (Descriptor::parse(&payload), keyframe_size(&payload), TelephoneEvent::parse(&payload));
            let _either = audio::duration(codec, &payload);
        }
        depacketizer.flush(&mut out);
        let packing =
            Packing { mode: random.below(2) as u8, max_payload_bytes: 128 + random.below(64), max_nal_bytes: 0 };
        for finished in out {
            if let Finished::Frame(frame) = finished {
                check_frame(codec, frame, &packing);
            }
        }
    });
}
