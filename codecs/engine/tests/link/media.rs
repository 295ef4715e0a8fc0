//! Pictures and sound to send, and configurations to send them with.

use crate::network::{Random, World, MS};
use _engine::leg::{PayloadTypes, ReceiverConfig, SenderCodec, SenderConfig, Source};
use _engine::payload::Packing;
use _engine::unit::{Codec, Ns, ReceiverId, SenderId, TrackId, Unit, UnitRef};
use std::sync::Arc;

pub const VIDEO: SenderId = SenderId(11);
pub const AUDIO: SenderId = SenderId(12);
pub const VIDEO_IN: ReceiverId = ReceiverId(21);
pub const AUDIO_IN: ReceiverId = ReceiverId(22);
pub const CAMERA: TrackId = TrackId(31);
pub const MICROPHONE: TrackId = TrackId(32);
pub const SEEN: TrackId = TrackId(41);
pub const HEARD: TrackId = TrackId(42);

// written by x264 164 for 320x240
const SPS: [u8; 25] = [
    0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
    0x01, 0x40, 0xf1, 0x42, 0x99, 0x60,
];
const PPS: [u8; 6] = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

pub fn packing(mode: u8) -> Packing {
    Packing { mode, max_payload_bytes: 1200, max_nal_bytes: 0 }
}

pub fn video_sender(rtx: bool, mode: u8) -> SenderConfig {
    SenderConfig {
        id: VIDEO,
        codec: SenderCodec {
            codec: Codec::H264,
            pt: 102,
            clock_hz: 90_000,
            packing: packing(mode),
            rtx_pt: rtx.then_some(103),
            dtmf_pt: None,
        },
        ssrc: 0xCAFE,
        rtx_ssrc: rtx.then_some(0xCAFF),
        cname: "camera".into(),
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        max_bps: 0,
        history_ms: 1000,
    }
}

pub fn video_receiver(nack: bool) -> ReceiverConfig {
    ReceiverConfig {
        id: VIDEO_IN,
        track: SEEN,
        clock_hz: 90_000,
        payload_types: PayloadTypes { codecs: vec![(102, Codec::H264)], rtx: vec![(103, 102)], dtmf_pt: None },
        ssrc: None,
        rtx_ssrc: None,
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        nack,
        pli: true,
        fir: true,
        remb_bps: 0,
    }
}

pub fn audio_sender() -> SenderConfig {
    SenderConfig {
        id: AUDIO,
        codec: SenderCodec {
            codec: Codec::Pcma,
            pt: 8,
            clock_hz: 8000,
            packing: packing(1),
            rtx_pt: None,
            dtmf_pt: Some(101),
        },
        ssrc: 0xBEEF,
        rtx_ssrc: None,
        cname: "microphone".into(),
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        max_bps: 0,
        history_ms: 1000,
    }
}

pub fn audio_receiver() -> ReceiverConfig {
    ReceiverConfig {
        id: AUDIO_IN,
        track: HEARD,
        clock_hz: 8000,
        payload_types: PayloadTypes { codecs: vec![(8, Codec::Pcma)], rtx: vec![], dtmf_pt: Some(101) },
        pli: false,
        fir: false,
        ..video_receiver(false)
    }
}

/// Peer 0 films, peer 1 sees.
pub fn film(world: &mut World, rtx: bool, nack: bool, mode: u8) {
    world.act(0, |leg, now, _| leg.add_sender(video_sender(rtx, mode), now)).unwrap();
    world.act(0, |leg, now, _| leg.switch_source(VIDEO, Source { track: CAMERA, clock_hz: 90_000 }, now)).unwrap();
    world.act(1, |leg, now, _| leg.add_receiver(video_receiver(nack), now)).unwrap();
}

/// Peer 0 speaks, peer 1 hears.
pub fn speak(world: &mut World) {
    world.act(0, |leg, now, _| leg.add_sender(audio_sender(), now)).unwrap();
    world.act(0, |leg, now, _| leg.switch_source(AUDIO, Source { track: MICROPHONE, clock_hz: 8000 }, now)).unwrap();
    world.act(1, |leg, now, _| leg.add_receiver(audio_receiver(), now)).unwrap();
}

/// A picture whose last NAL unit holds `number` and pseudo-random bytes; a key frame has its parameter sets.
pub fn picture(track: TrackId, number: u32, pts: i64, capture: Ns, keyframe: bool, bytes: usize) -> UnitRef {
    let mut slice = if keyframe { vec![0x65, 0x88, 0x84] } else { vec![0x41, 0x9a, 0x24] };
    slice.extend(number.to_be_bytes());
    let mut random = Random(u64::from(number));
    slice.extend((0..bytes.div_ceil(8)).flat_map(|_| random.next().to_be_bytes()));
    let nals: Vec<&[u8]> = if keyframe { vec![&SPS, &PPS, &slice] } else { vec![&slice] };
    let (mut payload, mut index) = (vec![], vec![]);
    for nal in nals {
        payload.extend((nal.len() as u32).to_be_bytes());
        index.push((payload.len() as u32, nal.len() as u32));
        payload.extend(nal);
    }
    Arc::new(Unit {
        track,
        codec: Codec::H264,
        pts,
        dts: pts,
        keyframe,
        contiguous: true,
        capture,
        arrival: capture,
        payload: payload.into(),
        nals: index.into(),
        level: None,
    })
}

/// The number in a picture.
pub fn number(unit: &Unit) -> u32 {
    let slice = unit.nal_units().last().unwrap();
    u32::from_be_bytes(slice[3..7].try_into().unwrap())
}

/// An encoder: 30 pictures a second, a key frame first and whenever wanted.
pub struct Camera {
    pub track: TrackId,
    pub sent: Vec<UnitRef>,
    pub wants_keyframe: bool,
    pub bytes: usize,
    first_pts: i64,
    started: Option<Ns>,
}

impl Camera {
    pub fn new(track: TrackId, first_pts: i64) -> Camera {
        Camera { track, sent: vec![], wants_keyframe: true, bytes: 12_000, first_pts, started: None }
    }

    pub fn next(&mut self, now: Ns) -> UnitRef {
        let started = *self.started.get_or_insert(now);
        let pts = self.first_pts + ((now - started) * 9 / 100_000) as i64;
        let keyframe = std::mem::take(&mut self.wants_keyframe);
        let bytes = if keyframe { 4 * self.bytes } else { self.bytes };
        let unit = picture(self.track, self.sent.len() as u32, pts, now, keyframe, bytes);
        self.sent.push(unit.clone());
        unit
    }
}

/// Films for so many pictures, calling `each` after every one.
pub fn film_pictures(
    world: &mut World,
    camera: &mut Camera,
    count: usize,
    mut each: impl FnMut(&mut World, &mut Camera),
) {
    for _ in 0..count {
        let unit = camera.next(world.now);
        world.send(0, VIDEO, &unit);
        world.run_until(world.now + 33_333_333);
        each(world, camera);
    }
}

/// Every unit that came is one that was sent, whole and in order. How many.
pub fn check_pictures(world: &World, camera: &Camera) -> usize {
    let mut last = None;
    for unit in &world.peers[1].units {
        let number = number(unit);
        let sent = &camera.sent[number as usize];
        assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
        assert_eq!((unit.payload.len(), unit.keyframe, unit.codec), (sent.payload.len(), sent.keyframe, sent.codec));
        assert!(unit.payload == sent.payload, "picture {number} is not what was sent");
        // not contiguous wherever something is missing, and only there
        let follows = last.map_or(number == 0, |last| number == last + 1);
        assert!(unit.contiguous == follows || last.is_none(), "picture {number} after {last:?}: {}", unit.contiguous);
        last = Some(number);
    }
    world.peers[1].units.len()
}

/// 20 ms of sound with its number in it.
pub fn frame(number: u32, now: Ns) -> UnitRef {
    let mut payload = vec![0xD5; 160];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    Arc::new(Unit {
        track: MICROPHONE,
        codec: Codec::Pcma,
        pts: i64::from(number) * 160,
        dts: i64::from(number) * 160,
        keyframe: true,
        contiguous: true,
        capture: now.saturating_sub(20 * MS),
        arrival: now,
        payload: payload.into(),
        nals: Box::default(),
        level: Some(-30),
    })
}
