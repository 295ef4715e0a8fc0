//! Two legs and the bus between, on a fake clock.

use super::*;
use crate::bus::BusError;
use crate::leg::{PayloadTypes, ReceiverConfig, SenderCodec, SenderConfig};
use crate::payload::Packing;
use crate::rtp::{Header, Packet};
use crate::unit::Codec;

const MS: Ns = 1_000_000;
const START: Ns = 1_000_000 * MS;
const VIEWER: &str = "192.0.2.2:4000";
const CAMERA: &str = "192.0.2.1:4000";

struct World {
    core: Core,
    now: Ns,
    camera: LegId,
    viewer: LegId,
    stream: u32,
    track: TrackId,
    sender: SenderId,
    seq: u16,
}

fn leg_config() -> LegConfig {
    LegConfig { secure: false, learn: true, silence_ms: 5000, rtcp_mux: true, label: String::new(), unix_offset_ns: 0 }
}

fn receiver_config(track: TrackId) -> ReceiverConfig {
    ReceiverConfig {
        id: ReceiverId(0),
        track,
        clock_hz: 0,
        payload_types: PayloadTypes { codecs: vec![(96, Codec::H264)], rtx: vec![], dtmf_pt: None },
        ssrc: None,
        rtx_ssrc: None,
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        nack: false,
        pli: true,
        fir: false,
        remb_bps: 0,
    }
}

fn sender_config(ssrc: u32) -> SenderConfig {
    let packing = Packing { mode: 1, max_payload_bytes: 1200, max_nal_bytes: 0 };
    SenderConfig {
        id: SenderId(0),
        codec: SenderCodec { codec: Codec::H264, pt: 100, clock_hz: 90_000, packing, rtx_pt: None, dtmf_pt: None },
        ssrc,
        rtx_ssrc: None,
        cname: "orbridge".into(),
        mid: None,
        mid_ext: None,
        audio_level_ext: None,
        max_bps: 0,
        history_ms: 1000,
    }
}

fn world() -> World {
    let (mut core, now) = (Core::new(7), START);
    let (camera, viewer) = (core.open_leg(leg_config(), now), core.open_leg(leg_config(), now));
    for (leg, peer) in [(camera, CAMERA), (viewer, VIEWER)] {
        core.with_leg(leg, now, |leg, out| leg.set_peer(peer.parse().unwrap(), None, now, out)).unwrap();
    }
    let stream = core.publish_stream("or-3/main", 12_000 * MS, 8 << 20, now).unwrap();
    let new = NewTrack { kind: MediaKind::Video, codec: Codec::H264, clock_hz: 90_000, channels: 1 };
    let track = core.add_track(stream, new).unwrap();
    core.add_receiver(camera, receiver_config(track), now).unwrap();
    let sender = core.add_sender(viewer, sender_config(0xCAFE), now).unwrap();
    World { core, now, camera, viewer, stream, track, sender, seq: 100 }
}

impl World {
    /// The camera sends one picture in one packet.
    fn picture(&mut self, frame: u32, keyframe: bool) {
        let header = Header { marker: true, pt: 96, seq: self.seq, timestamp: frame * 3000, ssrc: 5 };
        self.seq += 1;
        let mut bytes = Vec::new();
        header.write(&mut bytes, &[]);
        bytes.extend(if keyframe { [0x65, 0x88, 0x80, 1] } else { [0x41, 0x9a, 0x80, 1] });
        bytes.push(frame as u8);
        self.core.receive(self.camera, Path::Rtp, CAMERA.parse().unwrap(), &mut bytes, self.now);
    }

    /// Time goes on by so many milliseconds; everything is done when it is due.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        while let Some(wake) = self.core.next_wake().filter(|&wake| wake <= end) {
            self.now = self.now.max(wake);
            self.core.poll(self.now);
        }
        self.now = end;
    }

    /// The frame numbers that left for the viewer since last asked.
    fn seen(&mut self) -> Vec<u8> {
        let out = &mut self.core.out;
        let seen = out
            .datagrams
            .iter()
            .filter(|datagram| datagram.leg == self.viewer)
            .map(|datagram| &out.bytes[datagram.start..datagram.start + datagram.len])
            .filter(|bytes| bytes[1] & 0x7f == 100)
            .filter_map(|bytes| Packet::parse(bytes).unwrap().payload.last().copied())
            .collect();
        out.datagrams.clear();
        out.bytes.clear();
        seen
    }

    fn events(&mut self) -> Vec<String> {
        self.core.out.events.drain(..).map(|event| format!("{event:?}")).collect()
    }

    fn select(&mut self, track: Option<TrackId>) -> Result<(), PeerError> {
        self.core.select(self.sender, track, self.now)
    }
}

#[test]
fn a_picture_leaves_in_the_call_that_brought_it() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    world.picture(0, true);
    assert_eq!(world.seen(), [0]);
    world.picture(1, false);
    assert_eq!(world.seen(), [1]);
    assert_eq!(world.core.selected(world.sender), Some(world.track));
}

#[test]
fn a_viewer_waits_for_a_key_frame_that_is_asked_for_until_it_comes() {
    let mut world = world();
    world.picture(0, false);
    world.events();
    world.select(Some(world.track)).unwrap();
    world.pass(1600);
    let wanted: Vec<String> = world.events().into_iter().filter(|event| event.contains("KeyframeWanted")).collect();
    assert_eq!(wanted.len(), 3, "at once, after 500 ms, after another second: {wanted:?}");
    world.picture(1, false);
    assert!(world.seen().is_empty());
    world.picture(2, true);
    assert_eq!(world.seen(), [2]);
    assert!(world.events().iter().any(|event| event.contains("KeyframeCame") && event.contains("1600")));
    world.pass(5000);
    assert!(!world.events().iter().any(|event| event.contains("KeyframeWanted")));
}

#[test]
fn who_comes_late_gets_the_kept_group_after_150_ms_then_live() {
    let mut world = world();
    for frame in 0..5 {
        world.picture(frame, frame == 0);
        world.pass(33);
    }
    world.select(Some(world.track)).unwrap();
    world.pass(149);
    assert!(world.seen().is_empty());
    world.pass(1);
    world.picture(5, false);
    world.pass(300);
    assert_eq!(world.seen(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_reader_of_a_leg_waits_for_a_key_frame_and_gets_the_kept_group_when_none_comes() {
    for answers in [true, false] {
        let mut world = world();
        for (frame, keyframe) in [(1, true), (2, false), (3, false)] {
            world.picture(frame, keyframe);
            world.pass(33);
        }
        let reader = world.core.subscribe(&[world.track], (2000 * MS, 1 << 20), Some(0), true, world.now).unwrap();
        let taken = |world: &mut World| -> Vec<u8> {
            queued(&mut world.core, reader).into_iter().map(|(_, last)| last).collect()
        };
        assert!(taken(&mut world).is_empty(), "what it would be sent now is old");
        assert!(world.core.bus.track(world.track).unwrap().wish.next().is_some());
        world.pass(100);
        world.picture(4, answers);
        world.pass(100);
        world.picture(5, false);
        let expected: &[u8] = if answers { &[4, 5] } else { &[1, 2, 3, 4, 5] };
        assert_eq!(taken(&mut world), expected, "answers: {answers}");
        world.core.close_reader(reader);
        assert!(!world.core.bus.track(world.track).unwrap().watched());
    }
}

#[test]
fn the_old_source_goes_on_until_the_new_ones_key_frame() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    world.picture(0, true);
    let stream = world.core.publish_stream("other", 0, 0, START).unwrap();
    let new = NewTrack { kind: MediaKind::Video, codec: Codec::H264, clock_hz: 90_000, channels: 1 };
    let other = world.core.add_track(stream, new).unwrap();
    world.select(Some(other)).unwrap();
    world.picture(1, false);
    assert_eq!(world.core.selected(world.sender), Some(other));
    // Back before it came: nothing was interrupted.
    world.select(Some(world.track)).unwrap();
    world.picture(2, false);
    assert_eq!(world.seen(), [0, 1, 2]);
    assert!(!world.core.bus.track(other).unwrap().watched());
    world.select(None).unwrap();
    world.picture(3, true);
    assert!(world.seen().is_empty());
    assert!(!world.core.bus.track(world.track).unwrap().watched());
}

#[test]
fn the_end_of_a_source_is_told_once() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    world.picture(0, true);
    world.events();
    world.core.close_stream(world.stream, world.now);
    assert_eq!(world.events(), [format!("SourceEnded {{ sender: {:?}, track: {:?} }}", world.sender, world.track)]);
    assert_eq!(world.core.selected(world.sender), None);
    world.picture(1, true);
    let refused = world.select(Some(world.track));
    assert_eq!(refused, Err(PeerError::Bus(BusError::NoTrack(world.track))));
}

#[test]
fn a_panic_in_a_leg_closes_that_leg_alone() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    let doomed = world.core.open_leg(leg_config(), world.now);
    let sender = world.core.add_sender(doomed, sender_config(1), world.now).unwrap();
    world.core.select(sender, Some(world.track), world.now).unwrap();
    world.events();
    let result = world.core.with_leg(doomed, world.now, |_, out| {
        out.push_datagram(doomed, Path::Rtp, CAMERA.parse().unwrap(), b"half");
        panic!("an invariant of ours")
    });
    assert_eq!(result, None::<()>);
    assert_eq!(world.events(), [format!("Fault {{ leg: {doomed:?}, text: \"an invariant of ours\" }}")]);
    assert_eq!((world.core.closed.as_slice(), world.core.totals().legs), ([doomed].as_slice(), 2));
    assert!(!world.core.out.datagrams.iter().any(|datagram| datagram.leg == doomed));
    assert_eq!(world.core.select(sender, None, world.now), Err(PeerError::Closed));
    world.picture(0, true);
    assert_eq!(world.seen(), [0]);
}

#[test]
fn a_closed_leg_leaves_nothing_behind() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    world.picture(0, true);
    world.core.close_leg(world.viewer, world.now);
    world.core.close_leg(world.camera, world.now);
    assert_eq!(world.core.closed, [world.viewer, world.camera]);
    let track = world.core.bus.track(world.track).unwrap();
    assert!(track.senders.is_empty() && track.sources.is_empty());
    world.pass(60_000);
    assert_eq!(world.core.next_wake(), None);
    assert!(world.core.senders.is_empty() && world.core.receivers.is_empty() && world.core.legs.is_empty());
}

#[test]
fn a_hole_in_the_pictures_asks_for_a_key_frame() {
    let mut world = world();
    world.select(Some(world.track)).unwrap();
    world.picture(0, true);
    world.pass(1000);
    world.events();
    world.seq += 1;
    world.picture(2, false);
    world.pass(400);
    assert!(world.events().iter().any(|event| event.contains("KeyframeWanted")));
}

proptest::proptest! {
    #[test]
    fn no_datagram_makes_a_leg_fall(
        datagrams in proptest::collection::vec((proptest::bool::ANY, proptest::collection::vec(0u8.., 0..80)), 1..60)
    ) {
        let mut world = world();
        world.select(Some(world.track)).unwrap();
        for (k, (rtcp, mut bytes)) in datagrams.into_iter().enumerate() {
            // Half of them get past the first look: version 2, our payload type or an RTCP type, a known SSRC.
            if k % 2 == 0 && bytes.len() >= 12 {
                bytes[0] = 0x80 | bytes[0] & 0x3f;
                bytes[1] = if rtcp { 192 + bytes[1] % 32 } else { bytes[1] & 0x80 | 96 };
                bytes[8..12].copy_from_slice(&5u32.to_be_bytes());
            }
            let leg = if k % 3 == 0 { world.viewer } else { world.camera };
            world.core.receive(leg, Path::Rtp, CAMERA.parse().unwrap(), &mut bytes, world.now);
            world.pass(k as u64 % 50);
        }
        let faults: Vec<String> = world.events().into_iter().filter(|event| event.contains("Fault")).collect();
        proptest::prop_assert!(faults.is_empty(), "{:?}", faults);
    }
}

/// Track and first payload byte of what a reader has, taken out.
fn queued(core: &mut Core, reader: QueueId) -> Vec<(TrackId, u8)> {
    let mut units = Vec::new();
    core.bus.reader_mut(reader).unwrap().queue.take(1000, &mut units);
    units.iter().map(|unit| (unit.track, *unit.payload.last().unwrap())).collect()
}

fn written(track: TrackId, codec: Codec, number: u8, keyframe: bool, now: Ns) -> Unit {
    Unit {
        track,
        codec,
        pts: i64::from(number) * 3600,
        dts: i64::from(number) * 3600,
        keyframe,
        contiguous: true,
        capture: 0,
        arrival: now,
        payload: vec![0, number].into(),
        nals: Box::default(),
        level: None,
    }
}

/// A core with streams of one VP8 and one Opus track each.
fn streams(count: usize) -> (Core, Vec<[TrackId; 2]>) {
    let mut core = Core::new(7);
    let tracks = (0..count).map(|n| {
        let stream = core.publish_stream(&format!("or-{n}"), 12_000 * MS, 8 << 20, START).unwrap();
        [(MediaKind::Video, Codec::Vp8, 90_000), (MediaKind::Audio, Codec::Opus, 48_000)].map(
            |(kind, codec, clock_hz)| core.add_track(stream, NewTrack { kind, codec, clock_hz, channels: 1 }).unwrap(),
        )
    });
    let tracks = tracks.collect();
    (core, tracks)
}

#[test]
fn a_reader_gets_the_kept_group_and_its_sound_at_once_and_asks_for_nothing() {
    let (mut core, tracks) = streams(1);
    let [video, audio] = tracks[0];
    for n in 0..6u8 {
        let now = START + u64::from(n) * 40 * MS;
        core.publish(written(video, Codec::Vp8, n, n == 3, now), now);
        core.publish(written(audio, Codec::Opus, 100 + n, true, now), now);
    }
    let now = START + 210 * MS;
    let reader = core.subscribe(&[video, audio], (2000 * MS, 1 << 20), Some(0), true, now).unwrap();
    core.poll(now);
    assert_eq!(core.wakes, [reader], "woken in the same moment");
    let group: Vec<_> = (3..6).flat_map(|n| [(video, n), (audio, 100 + n)]).collect();
    assert_eq!(queued(&mut core, reader), group);
    assert!(core.out.events.is_empty(), "{:?}", core.out.events);
    core.publish(written(video, Codec::Vp8, 6, false, now), now);
    assert_eq!(queued(&mut core, reader), [(video, 6)], "live goes on behind it");
    // who wants none of it, and who could not hold it, waits for a key frame
    for (limit_bytes, from_cache) in [(1 << 20, false), (5, true)] {
        core.out.events.clear();
        let other = core.subscribe(&[video, audio], (2000 * MS, limit_bytes), Some(0), from_cache, now).unwrap();
        core.publish(written(video, Codec::Vp8, 7, false, now), now);
        assert!(queued(&mut core, other).is_empty());
        assert!(core.bus.track(video).unwrap().wish.next().is_some());
    }
}

#[test]
fn a_reader_turns_to_other_tracks_at_a_key_frame_or_with_what_is_kept() {
    let (mut core, tracks) = streams(2);
    let ([one, sound], [two, second_sound]) = (tracks[0], tracks[1]);
    let now = START + 500 * MS;
    for (track, n, keyframe) in [(one, 1, true), (two, 21, true), (two, 22, false)] {
        core.publish(written(track, Codec::Vp8, n, keyframe, now), now);
    }
    let reader = core.subscribe(&[one, sound], (2000 * MS, 1 << 20), Some(0), true, now).unwrap();
    assert_eq!(queued(&mut core, reader), [(one, 1)]);
    core.out.events.clear();
    core.publish(written(one, Codec::Vp8, 2, false, now), now);
    core.publish(written(sound, Codec::Opus, 102, true, now), now);
    core.reselect(reader, &[two, sound], false, now).unwrap();
    let wanted = |event: &Event| matches!(event, Event::KeyframeWanted { track, attempt: 1 } if *track == two);
    assert!(core.out.events.iter().any(wanted), "{:?}", core.out.events);
    core.publish(written(one, Codec::Vp8, 3, true, now), now);
    core.publish(written(two, Codec::Vp8, 23, false, now), now);
    assert_eq!(queued(&mut core, reader), [(sound, 102)], "what is still heard wasn't touched");
    core.publish(written(two, Codec::Vp8, 24, true, now), now);
    core.publish(written(two, Codec::Vp8, 25, false, now), now);
    assert_eq!(queued(&mut core, reader), [(two, 24), (two, 25)]);
    core.reselect(reader, &[one, second_sound], true, now).unwrap();
    assert_eq!(queued(&mut core, reader), [(one, 3)]);
    assert!(!core.bus.track(two).unwrap().watched() && !core.bus.track(sound).unwrap().watched());
    let refused = core.reselect(reader, &[two, TrackId(999)], true, now);
    assert_eq!(refused, Err(BusError::NoTrack(TrackId(999))));
    core.publish(written(one, Codec::Vp8, 4, false, now), now);
    assert_eq!(queued(&mut core, reader), [(one, 4)], "and nothing changed");
    core.close_reader(reader);
    assert!(!core.bus.track(one).unwrap().watched());
}
