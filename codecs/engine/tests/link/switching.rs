//! Sources that change: on our side by choice, on the peer's side by surprise; queues that overflow; modes.

use crate::media::*;
use crate::network::{Bad, Random, World, MS};
use _engine::leg::{SenderCodec, Source};
use _engine::output::Event;
use _engine::receiver::ReceiverStats;
use _engine::rtp::Packet;
use _engine::unit::{Codec, Ns, TrackId, Unit, UnitRef};

const SLIDES: TrackId = TrackId(33);

fn receiver(world: &World) -> ReceiverStats {
    world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap()
}

fn switch(world: &mut World, track: TrackId) {
    world.act(0, |leg, now, _| leg.switch_source(VIDEO, Source { track, clock_hz: 90_000 }, now)).unwrap();
}

/// (seq, timestamp, marker) of peer 0's RTP.
fn sent_rtp(world: &World) -> Vec<(u16, u32, bool)> {
    let tap = world.tap.as_ref().unwrap();
    let rtp = tap.iter().filter(|packet| packet.from == 0 && !(192..=223).contains(&packet.bytes[1]));
    rtp.map(|packet| Packet::parse(&packet.bytes).unwrap())
        .map(|packet| (packet.seq, packet.timestamp, packet.marker))
        .collect()
}

#[test]
fn a_switch_leaves_one_continuous_stream() {
    let mut world = World::new(1, Bad::delay(10));
    world.tap = Some(vec![]);
    film(&mut world, true, true, 1);
    let (mut camera, mut slides) = (Camera::new(CAMERA, 1 << 40), Camera::new(SLIDES, 5));
    let mut switches = 0;
    for _ in 0..6 {
        for track in [CAMERA, SLIDES] {
            switch(&mut world, track);
            let source = if track == CAMERA { &mut camera } else { &mut slides };
            source.wants_keyframe = true;
            film_pictures(&mut world, source, 10, |_, _| {});
            switches += 1;
        }
    }
    let packets = sent_rtp(&world);
    for pair in packets.windows(2) {
        assert_eq!(pair[1].0, pair[0].0.wrapping_add(1));
        let step = pair[1].1.wrapping_sub(pair[0].1);
        // the next picture's time comes after a marker, whoever made the picture
        assert!(if pair[0].2 { (2900..=3100).contains(&step) } else { step == 0 }, "{pair:?}");
    }
    let stats = receiver(&world);
    assert_eq!((stats.units, stats.keyframes, stats.lost), (120, switches, 0));
    let units = &world.peers[1].units;
    assert!(units.iter().all(|unit| unit.contiguous));
    assert!(units.windows(2).all(|pair| (2900..=3100).contains(&(pair[1].pts - pair[0].pts))));
}

#[test]
fn nothing_of_a_new_source_goes_out_before_its_key_frame_and_nothing_of_another_ever() {
    let mut world = World::new(2, Bad::delay(10));
    film(&mut world, true, true, 1);
    let (mut camera, mut slides) = (Camera::new(CAMERA, 0), Camera::new(SLIDES, 0));
    slides.wants_keyframe = false;
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    film_pictures(&mut world, &mut slides, 5, |_, _| {});
    switch(&mut world, SLIDES);
    film_pictures(&mut world, &mut slides, 5, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 5);
    slides.wants_keyframe = true;
    film_pictures(&mut world, &mut slides, 5, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 10);
    world.act(0, |leg, now, out| leg.stop_sending(VIDEO, now, out));
    film_pictures(&mut world, &mut slides, 5, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 10);
}

#[test]
fn a_loss_before_us_is_seen_behind_us() {
    let mut world = World::new(3, Bad::delay(10));
    film(&mut world, false, false, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    let lost = camera.next(world.now);
    world.run_for(33);
    let mut after = copy(&camera.next(world.now));
    after.contiguous = false;
    world.send(0, VIDEO, &UnitRef::new(after));
    world.run_for(100);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert_eq!(number(&lost), 5);
    assert_eq!(check_pictures(&world, &camera), 11);
    assert_eq!(receiver(&world).lost, 1);
}

#[test]
fn the_group_that_is_kept_brings_a_late_viewer_to_live() {
    let mut world = World::new(4, Bad::delay(10));
    world.tap = Some(vec![]);
    film(&mut world, true, true, 1);
    // a source with a key frame every ten seconds, joined after five
    let mut camera = Camera::new(CAMERA, 1 << 35);
    let kept: Vec<UnitRef> = (0..150u64).map(|n| camera.next(world.now + n * 33_333_333)).collect();
    world.now += 150 * 33_333_333;
    let joined = world.now;
    world.act(0, |leg, now, out| leg.send_group(VIDEO, &kept, now, out));
    film_pictures(&mut world, &mut camera, 60, |_, _| {});
    world.run_for(500);
    assert_eq!(check_pictures(&world, &camera), 210);
    let first = world.peers[1].units[0].arrival;
    assert!(first - joined < 60 * MS, "first picture after {} ms", (first - joined) / MS);
    // 1.8 MB at four times its rate; from then on pictures come when they are made
    let late = |unit: &Unit| unit.arrival.saturating_sub(camera.sent[number(unit) as usize].arrival);
    let live = world.peers[1].units.iter().filter(|unit| number(unit) >= 150).find(|unit| late(unit) < 15 * MS);
    let live = live.map(|unit| (unit.arrival - joined) / MS);
    assert!(live.is_some_and(|ms| ms < 2000), "{live:?}");
    let last = world.peers[1].units.last().unwrap();
    assert!(late(last) < 15 * MS);
    // and their timestamps have the distance that their arrivals have: a viewer's buffer need not grow
    let stamps: Vec<(Ns, u32)> = world
        .tap
        .as_ref()
        .unwrap()
        .iter()
        .filter(|packet| packet.from == 0)
        .filter_map(|packet| Some((packet.at, Packet::parse(&packet.bytes).ok()?)))
        .filter(|packet| packet.1.pt == 102 && packet.1.marker)
        .map(|packet| (packet.0, packet.1.timestamp))
        .collect();
    let offset =
        |at: &(Ns, u32)| i64::from(at.1.wrapping_sub(stamps[0].1)) - ((at.0 - stamps[0].0) * 9 / 100_000) as i64;
    let spread = stamps.iter().map(offset).fold((0, 0), |(low, high), it| (low.min(it), high.max(it)));
    assert!(spread.1 - spread.0 < 90 * 40, "{spread:?}");
}

#[test]
fn a_slow_link_drops_to_the_next_key_frame_and_asks_for_it() {
    let mut world = World::new(5, Bad::delay(10));
    film(&mut world, true, true, 1);
    world.peers[0].leg.set_max_bps(VIDEO, 1_500_000, world.now).unwrap();
    let mut camera = Camera::new(CAMERA, 0);
    let mut wishes = 0;
    film_pictures(&mut world, &mut camera, 600, |world, camera| {
        // key frames cost four pictures: not for every wish
        camera.wants_keyframe |= world.peers[0].wishes.len() > wishes;
        wishes = world.peers[0].wishes.len();
        let stats = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
        assert!(stats.queue_ms <= 1100, "{}", stats.queue_ms);
    });
    world.run_for(3000);
    let stats = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
    assert!(stats.dropped_units > 200 && wishes >= 3, "{} {wishes}", stats.dropped_units);
    let told = world.peers[0].events.iter().filter_map(|event| match event.1 {
        Event::Overflowed { subscriber, units } if subscriber == VIDEO.0 => Some(u64::from(units)),
        _ => None,
    });
    let told: Vec<u64> = told.collect();
    assert!(
        told.len() <= 21 && (stats.dropped_units - 30..=stats.dropped_units).contains(&told.iter().sum()),
        "{told:?}"
    );
    let sent: usize = world.peers[0].sent.iter().map(|sent| sent.1).sum();
    let bps = sent as u64 * 8 / 20;
    assert!((1_200_000..1_800_000).contains(&bps), "{bps}");
    // whoever watches sees whole pictures, each after what it refers to
    let mut last = None;
    for unit in &world.peers[1].units {
        let follows = last.is_none_or(|last| number(unit) == last + 1);
        assert!(follows || unit.keyframe, "{} after {last:?}", number(unit));
        last = Some(number(unit));
    }
    assert!(world.peers[1].units.len() > 200);
}

#[test]
fn usual_pictures_are_not_delayed_and_large_ones_are_spread() {
    let mut world = World::new(6, Bad::default());
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    camera.bytes = 100_000;
    film_pictures(&mut world, &mut camera, 1, |_, _| {});
    let first = world.peers[0].sent[0].0;
    let times: Vec<u64> =
        world.peers[0].sent.iter().filter(|sent| sent.1 > 500).map(|sent| (sent.0 - first) / MS).collect();
    assert!(times.len() > 300 && *times.last().unwrap() <= 11, "{:?}", times.last());
    let most = (1..=11).map(|ms| times.iter().filter(|&&at| at == ms).count()).max().unwrap();
    assert!(most < 50, "{most}");
    camera.bytes = 12_000;
    film_pictures(&mut world, &mut camera, 100, |world, camera| {
        let last = world.peers[1].units.last().unwrap();
        assert_eq!(last.arrival, camera.sent[number(last) as usize].arrival, "picture {}", number(last));
    });
}

#[test]
fn a_source_that_starts_again_is_followed() {
    let mut world = World::new(7, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 20, |_, _| {});
    // the device crashed and came back: another leg with another SSRC, other numbers, the same address
    let mut config = video_sender(true, 1);
    config.ssrc = 0xD00D;
    config.rtx_ssrc = Some(0xD00E);
    for round in 0..3 {
        world.act(0, |leg, now, out| {
            leg.remove_sender(VIDEO, now, out);
            leg.add_sender(config.clone(), now).unwrap();
        });
        config.ssrc += 16;
        config.rtx_ssrc = Some(config.ssrc + 1);
        switch(&mut world, CAMERA);
        camera.wants_keyframe = true;
        film_pictures(&mut world, &mut camera, 20, |_, _| {});
        assert_eq!(check_pictures_after_restart(&world), 20 * (round + 2));
    }
    let stats = receiver(&world);
    assert_eq!((stats.ssrc, stats.lost), (Some(0xD00D + 32), 0));
}

/// All came; pts goes on as time does.
fn check_pictures_after_restart(world: &World) -> usize {
    let units = &world.peers[1].units;
    for pair in units.windows(2) {
        let step = pair[1].pts - pair[0].pts;
        assert!((2700..3300).contains(&step), "{step}");
        assert!(pair[1].contiguous || pair[1].keyframe);
    }
    units.len()
}

#[test]
fn a_second_source_with_the_same_payload_type_does_not_make_us_flap() {
    let mut world = World::new(8, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut other = video_sender(false, 1);
    (other.id, other.ssrc) = (AUDIO, 0x0DD);
    world.act(0, |leg, now, _| leg.add_sender(other, now)).unwrap();
    world.act(0, |leg, now, _| leg.switch_source(AUDIO, Source { track: SLIDES, clock_hz: 90_000 }, now)).unwrap();
    let (mut camera, mut slides) = (Camera::new(CAMERA, 0), Camera::new(SLIDES, 0));
    let mut ssrcs = vec![];
    for _ in 0..100 {
        for (sender, source) in [(VIDEO, &mut camera), (AUDIO, &mut slides)] {
            let unit = source.next(world.now);
            world.send(0, sender, &unit);
            world.run_for(16);
            ssrcs.extend(receiver(&world).ssrc);
        }
    }
    ssrcs.dedup();
    assert_eq!(ssrcs, [0xCAFE, 0x0DD]);
}

#[test]
fn jumps_of_numbers_and_timestamps_are_bridged() {
    let mut world = World::new(9, Bad::delay(0));
    film(&mut world, true, true, 1);
    let mut random = Random(99);
    let from = world.peers[0].address;
    let (mut seq, mut timestamp) = (60_000u16, 4_000_000_000u32);
    for n in 0..200u32 {
        if n % 50 == 49 {
            (seq, timestamp) = (random.next() as u16, random.next() as u32);
        }
        let unit = picture(CAMERA, n, 0, 0, n % 50 == 49 || n == 0, 500);
        for (at, nal) in unit.nal_units().enumerate() {
            let marker = u8::from(at + 1 == unit.nals.len()) << 7;
            let mut bytes = vec![0x80, 102 | marker];
            bytes.extend(seq.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend(77u32.to_be_bytes());
            bytes.extend(nal);
            seq = seq.wrapping_add(1);
            world.inject(1, world.now, false, from, bytes);
        }
        timestamp = timestamp.wrapping_add(3000);
        world.run_for(33);
    }
    let units = &world.peers[1].units;
    assert_eq!(units.iter().map(number).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    assert!(units.windows(2).all(|pair| (2900..=3100).contains(&(pair[1].pts - pair[0].pts))));
}

#[test]
fn a_mode_0_peer_gets_every_nal_unit_alone() {
    let mut world = World::new(10, Bad::delay(10));
    world.tap = Some(vec![]);
    film(&mut world, false, false, 0);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 20, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 20);
    let tap = world.tap.take().unwrap();
    let rtp: Vec<Packet<'_>> = tap
        .iter()
        .filter(|packet| packet.from == 0)
        .filter_map(|packet| Packet::parse(&packet.bytes).ok())
        .filter(|packet| packet.pt == 102)
        .collect();
    assert_eq!(rtp.len(), 22);
    assert!(rtp.iter().all(|packet| (1..24).contains(&(packet.payload[0] & 0x1F))));
}

#[test]
fn what_builds_on_a_picture_too_large_for_mode_0_is_left_out_too() {
    let mut world = World::new(11, Bad::delay(10));
    film(&mut world, false, false, 0);
    let mut camera = Camera::new(CAMERA, 0);
    camera.bytes = 20_000; // a key frame has four times as much
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert!(world.peers[1].units.is_empty());
    let stats = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
    assert_eq!((stats.too_large_units, stats.units), (1, 0));
    assert!((65_507..=80_100).contains(&stats.too_large_bytes), "{}", stats.too_large_bytes);
    (camera.bytes, camera.wants_keyframe) = (10_000, true);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 10);
}

#[test]
fn a_renegotiated_codec_keeps_ssrc_and_numbers() {
    let mut world = World::new(11, Bad::delay(10));
    world.tap = Some(vec![]);
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    let codec = SenderCodec { pt: 120, rtx_pt: None, ..video_sender(false, 1).codec };
    world.act(0, |leg, now, _| leg.set_codec(VIDEO, codec, now)).unwrap();
    let mut types = video_receiver(true).payload_types;
    types.codecs.push((120, Codec::H264));
    world.peers[1].leg.set_payload_types(VIDEO_IN, types).unwrap();
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 20);
    assert!(sent_rtp(&world).windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
}

#[test]
fn hold_and_resume_from_either_side() {
    let mut world = World::new(12, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    world.peers[1].leg.set_receiver_enabled(VIDEO_IN, false).unwrap();
    film_pictures(&mut world, &mut camera, 300, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 10);
    world.peers[1].leg.set_receiver_enabled(VIDEO_IN, true).unwrap();
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 20);
    assert_eq!(receiver(&world).nacks_sent, 0);

    assert_eq!(world.peers[0].leg.set_sender_enabled(VIDEO, false, world.now), Ok(false));
    film_pictures(&mut world, &mut camera, 300, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 20);
    assert_eq!(world.peers[0].leg.set_sender_enabled(VIDEO, true, world.now), Ok(true));
    film_pictures(&mut world, &mut camera, 3, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 20, "it waits for a key frame");
    camera.wants_keyframe = true;
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(world.peers[1].units.len(), 30);
    assert_eq!(receiver(&world).nacks_sent, 0);
}

fn copy(unit: &Unit) -> Unit {
    Unit { payload: unit.payload.clone(), nals: unit.nals.clone(), ..*unit }
}

#[test]
fn two_receivers_of_one_payload_type_take_a_source_each() {
    let mut world = World::new(13, Bad::delay(10));
    film(&mut world, true, true, 1);
    let second = _engine::leg::ReceiverConfig { id: AUDIO_IN, track: HEARD, ..video_receiver(true) };
    world.act(1, |leg, now, _| leg.add_receiver(second, now)).unwrap();
    let mut other = video_sender(false, 1);
    (other.id, other.ssrc) = (AUDIO, 0x0DD);
    world.act(0, |leg, now, _| leg.add_sender(other, now)).unwrap();
    world.act(0, |leg, now, _| leg.switch_source(AUDIO, Source { track: SLIDES, clock_hz: 90_000 }, now)).unwrap();
    let (mut camera, mut slides) = (Camera::new(CAMERA, 0), Camera::new(SLIDES, 0));
    for _ in 0..20 {
        for (sender, source) in [(VIDEO, &mut camera), (AUDIO, &mut slides)] {
            let unit = source.next(world.now);
            world.send(0, sender, &unit);
            world.run_for(16);
        }
    }
    for (receiver, track, ssrc) in [(VIDEO_IN, SEEN, 0xCAFE), (AUDIO_IN, HEARD, 0x0DD)] {
        assert_eq!(world.peers[1].leg.receiver_ssrc(receiver), Some(ssrc));
        assert_eq!(world.peers[1].units.iter().filter(|unit| unit.track == track).count(), 20);
    }
}
