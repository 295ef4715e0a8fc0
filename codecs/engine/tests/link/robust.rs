//! Nothing that arrives makes a leg panic, and nothing makes it keep more than it may.

use crate::media::*;
use crate::network::{config, Bad, World, MS};
use _engine::leg::LegConfig;
use _engine::output::Path;
use _engine::srtp::Profile;
use proptest::prelude::*;

/// Headers that come near enough to be taken for what they imitate.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..80);
    let pt = prop_oneof![Just(102u8), Just(103), Just(8), Just(101), Just(230), Just(136), any::<u8>()];
    let ssrc = prop_oneof![Just(0xCAFEu32), Just(0xCAFF), Just(0xBEEF), any::<u32>()];
    let rtp = (128u8..192, pt, any::<u16>(), any::<u32>(), ssrc.clone(), body.clone()).prop_map(
        |(first, pt, seq, timestamp, ssrc, body)| {
            let mut bytes = vec![if first % 4 == 0 { first } else { 0x80 }, pt];
            bytes.extend(seq.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend(ssrc.to_be_bytes());
            bytes.extend(body);
            bytes
        },
    );
    let rtcp =
        (128u8..192, 200u8..208, ssrc.clone(), ssrc, body.clone()).prop_map(|(first, pt, sender, media, mut body)| {
            body.truncate(body.len() / 4 * 4);
            let mut bytes = vec![first & 0xDF, pt];
            bytes.extend((body.len() as u16 / 4 + 2).to_be_bytes());
            bytes.extend(sender.to_be_bytes());
            bytes.extend(media.to_be_bytes());
            bytes.extend(body);
            bytes
        });
    prop_oneof![4 => rtp, 2 => rtcp, 1 => body]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn no_sequence_of_datagrams_panics(
        steps in proptest::collection::vec((datagram(), 0u64..60, any::<bool>(), 0usize..3), 1..120),
        keys in any::<bool>(),
    ) {
        let mut world = World::with(1, Bad::delay(5), [config(), LegConfig { silence_ms: 100, ..config() }]);
        film(&mut world, true, true, 1);
        speak(&mut world);
        world.act(1, |leg, now, _| {
            leg.add_sender(video_sender(true, 1), now).unwrap();
            leg.switch_source(VIDEO, _engine::leg::Source { track: CAMERA, clock_hz: 90_000 }, now).unwrap();
        });
        if keys {
            let profile = Profile::AeadAes128Gcm;
            world.peers[1].leg.set_keys(profile, &[1; 28], &[2; 28]).unwrap();
        }
        let mut camera = Camera::new(CAMERA, 0);
        for (bytes, ms, rtcp, from) in steps {
            let from = ["10.0.0.1:4000", "10.0.0.1:4001", "192.0.2.1:9"][from].parse().unwrap();
            let mut bytes = bytes;
            let path = if rtcp { Path::Rtcp } else { Path::Rtp };
            world.act(1, |leg, now, out| leg.receive(path, from, &mut bytes, now, out));
            let unit = camera.next(world.now);
            world.act(1, |leg, now, out| leg.send_unit(VIDEO, &unit, now, out));
            world.run_for(ms);
        }
        let told = world.count(1, |event| matches!(event, _engine::output::Event::Rejected { .. }));
        prop_assert!(told as u64 <= world.now / (1000 * MS), "{told}");
    }

    #[test]
    fn real_packets_that_are_cut_doubled_and_damaged_do_not_panic(
        damage in proptest::collection::vec((0usize..400, 0usize..1200, any::<u8>(), 0u8..3), 1..100),
    ) {
        let mut world = World::new(2, Bad::delay(5));
        world.tap = Some(vec![]);
        film(&mut world, true, true, 1);
        speak(&mut world);
        let mut camera = Camera::new(CAMERA, 0);
        for n in 0..20 {
            let sound = frame(n, world.now);
            world.send(0, AUDIO, &sound);
            film_pictures(&mut world, &mut camera, 1, |_, _| {});
        }
        let tap = world.tap.take().unwrap();
        let from = world.peers[0].address;
        for (which, at, value, how) in damage {
            let mut bytes = tap[which % tap.len()].bytes.clone();
            let at = at % bytes.len();
            match how {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= value,
                _ => bytes.insert(at, value),
            }
            world.inject(1, world.now, false, from, bytes);
            world.run_for(3);
        }
        // the call goes on: a damaged number may stand up to 512 packets ahead of its source and be believed, so that
        // what is behind it counts as late until the source is there
        film_pictures(&mut world, &mut camera, 90, |_, camera| camera.wants_keyframe |= camera.sent.len() % 15 == 0);
        world.run_for(1000);
        let last = world.peers[1].units.iter().rev().find(|unit| unit.track == SEEN).map(number);
        prop_assert_eq!(last, Some(109));
    }
}

#[test]
fn a_flood_is_cheap_and_leaves_nothing_behind() {
    let mut world = World::new(3, Bad::delay(5));
    film(&mut world, true, true, 1);
    let from = world.peers[0].address;
    // 200,000 packets of ever new sources, numbers and times, as far apart as can be
    let mut random = crate::network::Random(7);
    let began = std::time::Instant::now();
    for _ in 0..200_000u32 {
        let mut bytes = vec![0x80, 102];
        bytes.extend(random.next().to_be_bytes());
        bytes.extend(random.next().to_be_bytes());
        world.act(1, |leg, now, out| leg.receive(Path::Rtp, from, &mut bytes, now, out));
        world.now += MS / 10;
        world.peers[1].units.clear();
    }
    let each = began.elapsed().as_nanos() / 200_000;
    assert!(each < 100_000, "{each} ns a packet");
    // and the source is still heard
    let mut camera = Camera::new(CAMERA, 0);
    world.run_for(1000);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(world.peers[1].units.last().map(number), Some(9));
}
