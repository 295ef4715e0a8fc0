//! Addresses, keys and goodbyes (A15 and A14 of the device cases, as far as media goes).

use crate::media::{check_pictures, film, film_pictures, number, picture, Camera, CAMERA, VIDEO, VIDEO_IN};
use crate::network::{config, Bad, World, MS};
use _engine::leg::{LegConfig, LegError};
use _engine::output::{Event, Path, Reject};
use _engine::srtp::{Profile, SrtpError};
use std::net::SocketAddr;

const PROFILES: [Profile; 4] =
    [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// RTP that the receiver of `film` takes.
fn rtp(ssrc: u32, seq: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 102];
    bytes.extend(seq.to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0x41, 0x9a, 0x24, 1, 2, 3]);
    bytes
}

fn locked_to(world: &World) -> Vec<SocketAddr> {
    let locks = world.peers[1].events.iter().filter_map(|event| match event.1 {
        Event::PeerLocked { peer, .. } => Some(peer),
        _ => None,
    });
    locks.collect()
}

fn key(profile: Profile, salt: u8) -> Vec<u8> {
    (0..profile.key_len() + profile.salt_len()).map(|n| n as u8 ^ salt).collect()
}

fn secured(profile: Profile, seed: u64, link: Bad) -> World {
    let secure = || LegConfig { secure: true, ..config() };
    let mut world = World::with(seed, link, [secure(), secure()]);
    film(&mut world, true, true, 1);
    world.peers[0].leg.set_keys(profile, &key(profile, 1), &key(profile, 2)).unwrap();
    world.peers[1].leg.set_keys(profile, &key(profile, 2), &key(profile, 1)).unwrap();
    world
}

#[test]
fn a_device_behind_a_nat_is_found_with_its_first_packet_and_stays() {
    let mut world = World::new(1, Bad::delay(10));
    // its SDP says 10.0.0.1:4000; a NAT makes this of it
    let outside = address("203.0.113.9:61234");
    world.seen_as[0] = Some(outside);
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 3, |_, _| {});
    assert_eq!(locked_to(&world), [outside]);
    let stats = world.peers[1].leg.stats(world.now);
    assert_eq!((stats.peer, stats.locked), (Some(outside), true));

    // a hijacker with the right payload type and SSRC, from elsewhere and from the address that SDP named
    let before = world.peers[1].units.len();
    for n in 0..500u64 {
        for from in ["198.51.100.1:9", "10.0.0.1:4000"] {
            world.inject(1, world.now + 1100 * MS + n * MS, false, address(from), rtp(0xCAFE, n as u16));
        }
    }
    film_pictures(&mut world, &mut camera, 60, |_, _| {});
    assert_eq!(locked_to(&world), [outside]);
    assert_eq!(check_pictures(&world, &camera), before + 60);
    let rejected = world.peers[1].leg.stats(world.now).rejected;
    assert_eq!(rejected, [(Reject::Foreign, 1000)]);
    // and that is said at most once a second
    assert!(world.count(1, |event| matches!(event, Event::Rejected { why: Reject::Foreign, .. })) <= 3);
}

#[test]
fn a_changed_port_is_followed_after_silence_only_with_the_same_ssrc() {
    let mut world = World::new(2, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 30, |_, _| {});
    let stranger = address("198.51.100.1:9");
    world.run_for(5100);
    assert_eq!(world.count(1, |event| matches!(event, Event::Silent { ms: 5000.., .. })), 0, "RTCP is heard");
    world.cut[0] = true;
    world.run_for(6000);
    assert_eq!(world.count(1, |event| matches!(event, Event::Silent { ms: 5000, .. })), 1);
    world.inject(1, world.now, false, stranger, rtp(0xBAD, 1));
    world.run_for(10);
    assert_eq!(world.peers[1].leg.stats(world.now).peer, Some(world.peers[0].address));
    // the device itself, from a new port
    world.cut[0] = false;
    let moved = address("10.0.0.1:4444");
    world.seen_as[0] = Some(moved);
    camera.wants_keyframe = true;
    film_pictures(&mut world, &mut camera, 3, |_, _| {});
    assert_eq!(locked_to(&world).last(), Some(&moved));
    assert_eq!(world.count(1, |event| matches!(event, Event::Heard { ms: 6000.., .. })), 1);
    assert!(number(world.peers[1].units.last().unwrap()) >= 31);
}

#[test]
fn signalling_moves_the_peer_at_once() {
    let mut world = World::new(3, Bad::delay(10));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    let moved = address("10.0.0.1:5000");
    world.seen_as[0] = Some(moved);
    world.act(1, |leg, now, out| leg.set_peer(moved, None, now, out));
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 10);
    assert_eq!(locked_to(&world), [address("10.0.0.1:4000"), moved]);
}

#[test]
fn rtcp_goes_to_its_own_port_without_mux() {
    let pair = || LegConfig { rtcp_mux: false, ..config() };
    let mut world = World::with(4, Bad::delay(10), [pair(), pair()]);
    film(&mut world, false, true, 1);
    world.tap = Some(vec![]);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 60, |_, _| {});
    let tap = world.tap.take().unwrap();
    assert!(
        tap.iter().any(|packet| packet.rtcp && packet.from == 0)
            && tap.iter().any(|packet| packet.rtcp && packet.from == 1)
    );
    for packet in &tap {
        assert_eq!(packet.rtcp, (192..=223).contains(&packet.bytes[1]));
    }
    let stats = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
    assert!(stats.rtt_ms.is_some_and(|rtt| (19.0..22.0).contains(&rtt)), "{:?}", stats.rtt_ms);
}

#[test]
fn every_profile_carries_pictures_and_retransmissions_over_a_bad_link() {
    for (seed, profile) in PROFILES.into_iter().enumerate() {
        let link = Bad { held_back: 20, held_back_by: 2 * MS, doubled: 20, ..Bad::delay(20) }.lost(50);
        let mut world = secured(profile, seed as u64, link);
        let mut camera = Camera::new(CAMERA, 0);
        film_pictures(&mut world, &mut camera, 300, |_, _| {});
        world.run_for(500);
        let come = check_pictures(&world, &camera);
        assert!(come >= 298, "{come} with {profile:?}");
        let stats = world.peers[1].leg.stats(world.now);
        assert_eq!(stats.profile, Some(profile));
        // doubled packets are replays; nothing is forged
        assert!(stats.rejected.iter().all(|reason| reason.0 == Reject::SrtpReplay), "{:?}", stats.rejected);
    }
}

#[test]
fn a_secure_leg_is_deaf_and_mute_until_it_has_keys_then_begins_with_a_key_frame() {
    let secure = || LegConfig { secure: true, ..config() };
    let mut world = World::with(5, Bad::delay(5), [secure(), secure()]);
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert!(world.peers[0].sent.is_empty());
    world.inject(1, world.now, false, address("10.0.0.1:4000"), rtp(1, 1));
    world.run_for(1);
    assert_eq!((world.peers[1].leg.stats(world.now).packets_in, locked_to(&world).len()), (0, 0));
    let profile = Profile::AeadAes128Gcm;
    world.peers[0].leg.set_keys(profile, &key(profile, 1), &key(profile, 2)).unwrap();
    world.peers[1].leg.set_keys(profile, &key(profile, 2), &key(profile, 1)).unwrap();
    film_pictures(&mut world, &mut camera, 30, |world, camera| {
        camera.wants_keyframe |= !world.peers[0].wishes.is_empty()
    });
    let first = &world.peers[1].units[0];
    assert!(first.keyframe && number(first) <= 7);
    // plain media on a leg with keys is forged
    let mut forged = rtp(0xBAD, 1);
    forged.extend([7; 100]);
    world.inject(1, world.now, false, address("10.0.0.1:4000"), forged);
    world.run_for(1);
    assert!(world.peers[1].leg.stats(world.now).rejected.contains(&(Reject::SrtpAuth, 1)));
}

#[test]
fn the_same_keys_again_change_nothing_and_new_ones_are_taken() {
    let profile = Profile::Aes128CmSha1_80;
    let mut world = secured(profile, 6, Bad::delay(5));
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    for salt in [0, 0, 7] {
        world.peers[0].leg.set_keys(profile, &key(profile, 1 ^ salt), &key(profile, 2)).unwrap();
        world.peers[1].leg.set_keys(profile, &key(profile, 2), &key(profile, 1 ^ salt)).unwrap();
        film_pictures(&mut world, &mut camera, 10, |_, _| {});
    }
    assert_eq!(check_pictures(&world, &camera), 40);
    let wrong = world.peers[0].leg.set_keys(profile, &[1, 2, 3], &key(profile, 2));
    assert_eq!(wrong, Err(LegError::Srtp(SrtpError::KeyLength { need: 30, have: 3 })));
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 45);
}

#[test]
fn keys_that_are_cleared_leave_plain_media() {
    let mut world = secured(Profile::AeadAes256Gcm, 7, Bad::delay(5));
    world.peers.iter_mut().for_each(|peer| peer.leg.clear_keys());
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 10);
    assert!(!world.peers[1].leg.stats(world.now).secure);
}

#[test]
fn ice_decides_the_path_of_a_secure_leg_that_does_not_learn() {
    let secure = || LegConfig { secure: true, learn: false, ..config() };
    let mut world = World::with(8, Bad::delay(5), [secure(), secure()]);
    film(&mut world, true, true, 1);
    let profile = Profile::AeadAes128Gcm;
    world.peers[0].leg.set_keys(profile, &key(profile, 1), &key(profile, 2)).unwrap();
    world.peers[1].leg.set_keys(profile, &key(profile, 2), &key(profile, 1)).unwrap();
    // the peer sends over its new path before the nomination is heard
    world.seen_as[0] = Some(address("203.0.113.4:7000"));
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 10);
    assert_eq!(world.peers[1].leg.stats(world.now).peer, Some(address("10.0.0.1:4000")));
}

#[test]
fn stun_and_dtls_go_up_within_bounds() {
    let mut world = World::new(9, Bad::delay(5));
    let from = address("192.0.2.77:3478");
    world.inject(1, world.now, false, from, vec![0, 1, 0, 0]);
    world.inject(1, world.now, false, from, vec![22, 254, 253, 0]);
    world.run_for(1);
    let up: Vec<u8> = world.peers[1]
        .events
        .iter()
        .filter_map(|event| match &event.1 {
            Event::Datagram { bytes, from: whose, .. } if *whose == from => Some(bytes[0]),
            _ => None,
        })
        .collect();
    assert_eq!(up, [0, 22]);
    for n in 0..20_000 {
        world.inject(1, world.now + n * MS / 10, false, from, vec![1; 20]);
    }
    world.run_for(2000);
    let up = world.count(1, |event| matches!(event, Event::Datagram { .. }));
    assert!((400..700).contains(&up), "{up}");
}

#[test]
fn goodbyes_are_heard() {
    let mut world = World::new(10, Bad::delay(5));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    world.act(0, |leg, now, out| leg.close(now, out));
    world.run_for(10);
    assert_eq!(world.count(1, |event| matches!(event, Event::Bye { ssrc: 0xCAFE, .. })), 1);
}

#[test]
fn malformed_datagrams_are_counted_by_kind() {
    let mut world = World::new(11, Bad::delay(5));
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    let from = world.peers[0].address;
    // cut off; padding above its size; RTCP that reaches past its end; a payload that is no H.264
    let mut padded = rtp(0xCAFE, 9);
    padded[0] |= 0x20;
    *padded.last_mut().unwrap() = 200;
    for bytes in [vec![0x80, 102, 0, 1], padded, vec![0x81, 200, 0, 99, 0, 0, 0, 1], vec![200; 30], vec![]] {
        world.inject(1, world.now, false, from, bytes);
    }
    world.run_for(1);
    let rejected = world.peers[1].leg.stats(world.now).rejected;
    assert_eq!(rejected, [(Reject::Rtp, 4), (Reject::Rtcp, 1)]);
    assert_eq!(world.peers[1].leg.rejected(), 5);
    // the call goes on
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert_eq!(check_pictures(&world, &camera), 10);
    // a payload type that nobody listed is neither media nor an error
    let before = world.peers[1].leg.rejected();
    let mut unknown = rtp(0x1234, 1);
    unknown[1] = 13;
    world.act(1, |leg, now, out| leg.receive(Path::Rtp, from, &mut unknown, now, out));
    assert_eq!(world.peers[1].leg.rejected(), before);
}

#[test]
fn what_a_caller_asks_wrongly_is_said() {
    let mut world = World::new(12, Bad::delay(5));
    film(&mut world, true, true, 1);
    let mut sender = crate::media::video_sender(true, 1);
    assert_eq!(world.act(0, |leg, now, _| leg.add_sender(sender.clone(), now)), Err(LegError::SsrcTaken(0xCAFE)));
    sender.codec.pt = 200;
    assert_eq!(world.act(0, |leg, now, _| leg.add_sender(sender.clone(), now)), Err(LegError::PayloadType(200)));
    sender.codec.pt = 100;
    sender.codec.clock_hz = 9000;
    assert_eq!(world.act(0, |leg, now, _| leg.add_sender(sender, now)), Err(LegError::Clock(9000)));
    let mut receiver = crate::media::video_receiver(true);
    receiver.payload_types.rtx = vec![(99, 98)];
    assert_eq!(world.act(1, |leg, now, _| leg.add_receiver(receiver, now)), Err(LegError::RtxOfNothing(98)));
    let dtmf = world.act(0, |leg, now, out| leg.send_dtmf(VIDEO, "1", 100, 80, now, out));
    assert_eq!(dtmf, Err(LegError::NoDtmf));
    let unknown = _engine::unit::ReceiverId(999);
    assert_eq!(world.peers[1].leg.set_receiver_enabled(unknown, true), Err(LegError::NoReceiver(unknown)));
    assert!(!world.act(1, |leg, now, out| leg.request_keyframe(unknown, 1, now, out)));
    let before_media = world.act(1, |leg, now, out| leg.request_keyframe(VIDEO_IN, 1, now, out));
    assert!(!before_media, "no source is known yet");
    let unit = picture(CAMERA, 0, 0, 0, true, 100);
    world.act(0, |leg, now, out| leg.send_unit(_engine::unit::SenderId(999), &unit, now, out));
    assert_eq!(world.peers[0].sent.len(), 0);
}
