//! What a packet costs on its way through two legs, without sockets: plain RTP in, access unit, SRTP out.
//!
//! `cargo run --release --no-default-features --example leg_cost`. Pictures of eleven packets of 1,200 bytes, as in the
//! relay benchmark. Allocations are counted, too.

use _engine::leg::{Leg, LegConfig, PayloadTypes, ReceiverConfig, SenderCodec, SenderConfig, Source};
use _engine::output::{Output, Path};
use _engine::payload::Packing;
use _engine::srtp::Profile;
use _engine::unit::{Codec, LegId, Ns, ReceiverId, SenderId, TrackId, UnitRef};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PACKETS: usize = 11;
const PICTURES: usize = 30_000;
const SENDER: SenderId = SenderId(1);
const TRACK: TrackId = TrackId(1);

fn config(secure: bool) -> LegConfig {
    LegConfig { secure, learn: true, silence_ms: 5000, rtcp_mux: true, label: String::new(), unix_offset_ns: 0 }
}

fn source(now: Ns) -> Leg {
    let mut leg = Leg::new(LegId(1), config(false), 1, now);
    let receiver = ReceiverConfig {
        id: ReceiverId(1),
        track: TRACK,
        clock_hz: 90_000,
        payload_types: PayloadTypes { codecs: vec![(96, Codec::H264)], ..PayloadTypes::default() },
        ssrc: None,
        rtx_ssrc: None,
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        nack: true,
        pli: true,
        fir: false,
        remb_bps: 0,
    };
    leg.add_receiver(receiver, now).expect("a receiver that is right");
    leg
}

fn viewer(profile: Option<Profile>, now: Ns, out: &mut Output) -> Leg {
    let mut leg = Leg::new(LegId(2), config(profile.is_some()), 2, now);
    let packing = Packing { mode: 1, max_payload_bytes: 1200, max_nal_bytes: 0 };
    let codec = SenderCodec { codec: Codec::H264, pt: 96, clock_hz: 90_000, packing, rtx_pt: Some(97), dtmf_pt: None };
    let sender = SenderConfig {
        id: SENDER,
        codec,
        ssrc: 7,
        rtx_ssrc: Some(8),
        cname: "a".into(),
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        max_bps: 0,
        history_ms: 1000,
    };
    leg.add_sender(sender, now).expect("a sender that is right");
    leg.switch_source(SENDER, Source { track: TRACK, clock_hz: 90_000 }, now).expect("a sender that is there");
    leg.set_peer(([127, 0, 0, 1], 9).into(), None, now, out);
    if let Some(profile) = profile {
        let key = vec![1; profile.key_len() + profile.salt_len()];
        leg.set_keys(profile, &key, &key).expect("a key of the right length");
    }
    leg
}

/// One packet of a picture in a single slice.
fn write(bytes: &mut Vec<u8>, picture: usize, at: usize) {
    let last = at + 1 == PACKETS;
    bytes.clear();
    bytes.extend([0x80, 96 | u8::from(last) << 7]);
    bytes.extend(((picture * PACKETS + at) as u16).to_be_bytes());
    bytes.extend((picture as u32 * 3000).to_be_bytes());
    bytes.extend(99u32.to_be_bytes());
    // a key frame first, then slices that refer to it
    let (kind, begin) = if picture == 0 { (5, 0x88) } else { (1, 0x9a) };
    bytes.extend([0x7C, u8::from(at == 0) << 7 | u8::from(last) << 6 | kind, begin, 0x84]);
    bytes.resize(1200, 0x55);
}

/// (ns a packet, packets out for each in, allocations a packet)
fn relay(profile: Option<Profile>) -> (f64, f64, f64) {
    let mut out = Output::default();
    let mut now: Ns = 1_000_000_000;
    let (mut source, mut viewer) = (source(now), viewer(profile, now, &mut out));
    let from = ([127, 0, 0, 1], 5).into();
    let mut packet = Vec::new();
    let mut packets_out = 0;
    let mut spent = 0;
    let before = ALLOCATIONS.load(Relaxed);
    for picture in 0..PICTURES {
        for at in 0..PACKETS {
            write(&mut packet, picture, at);
            let began = Instant::now();
            source.receive(Path::Rtp, from, &mut packet, now, &mut out);
            while let Some(unit) = out.units.pop() {
                viewer.send_unit(SENDER, &UnitRef::new(unit), now, &mut out);
            }
            spent += began.elapsed().as_nanos();
        }
        packets_out += out.datagrams.len();
        out.bytes.clear();
        out.datagrams.clear();
        out.events.clear();
        out.keyframe_wishes.clear();
        now += 33_333_333;
        source.poll(now, &mut out);
        viewer.poll(now, &mut out);
    }
    let packets = (PICTURES * PACKETS) as f64;
    let allocations = (ALLOCATIONS.load(Relaxed) - before) as f64;
    (spent as f64 / packets, packets_out as f64 / packets, allocations / packets)
}

fn main() {
    let profiles = [None, Some(Profile::AeadAes128Gcm), Some(Profile::AeadAes256Gcm), Some(Profile::Aes128CmSha1_80)];
    for _ in 0..3 {
        for profile in profiles {
            let (ns, out, allocations) = relay(profile);
            let name = profile.map_or("plain", Profile::name);
            println!("{name:26} {ns:7.0} ns a packet, {out:.3} out for one in, {allocations:.2} allocations a packet");
        }
    }
}
