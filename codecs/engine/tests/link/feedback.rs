//! RTCP between two legs: reports and their interval, REMB, requests for key frames.

use crate::media::*;
use crate::network::{Bad, World, MS};
use _engine::leg::ReceiverConfig;
use _engine::rtcp::{self, Packet};
use _engine::unit::Ns;

/// When a peer's RTCP had a packet that `which` picks.
fn times(world: &World, peer: usize, which: impl Fn(&Packet<'_>) -> bool) -> Vec<Ns> {
    let tap = world.tap.as_ref().unwrap().iter();
    let rtcp = tap.filter(|packet| packet.from == peer && (192..=223).contains(&packet.bytes[1]));
    let picked = rtcp.filter(|packet| rtcp::parse(&packet.bytes).any(|packet| which(&packet.unwrap())));
    picked.map(|packet| packet.at).collect()
}

#[test]
fn reports_come_early_then_about_every_second_each_with_a_cname() {
    let mut world = World::new(1, Bad::delay(10));
    world.tap = Some(vec![]);
    film(&mut world, true, true, 1);
    let began = world.now;
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 600, |_, _| {});
    let reports = times(&world, 0, |packet| matches!(packet, Packet::SenderReport { .. }));
    assert!(reports[0] - began < 200 * MS);
    assert!((17..=27).contains(&reports.len()), "{}", reports.len());
    assert!(reports.windows(2).all(|pair| (700..1300).contains(&((pair[1] - pair[0]) / MS))));
    let answers = times(
        &world,
        1,
        |packet| matches!(packet, Packet::ReceiverReport { blocks, .. } if blocks.clone().count() == 1),
    );
    assert!((15..=27).contains(&answers.len()), "{}", answers.len());
    for peer in [0, 1] {
        let names =
            times(&world, peer, |packet| matches!(packet, Packet::Sdes { cnames } if cnames.clone().count() == 1));
        let all =
            times(&world, peer, |packet| matches!(packet, Packet::SenderReport { .. } | Packet::ReceiverReport { .. }));
        assert_eq!(names, all);
    }
    // nothing flows: seldom, but the path stays open
    world.tap = Some(vec![]);
    world.run_for(60_000);
    let idle = times(&world, 0, |packet| matches!(packet, Packet::ReceiverReport { .. } | Packet::SenderReport { .. }));
    assert!((10..=70).contains(&idle.len()), "{}", idle.len());
}

#[test]
fn remb_is_said_with_the_first_report_and_heard() {
    let mut world = World::new(2, Bad::delay(10));
    world.tap = Some(vec![]);
    world.act(0, |leg, now, _| leg.add_sender(video_sender(true, 1), now)).unwrap();
    let source = _engine::leg::Source { track: CAMERA, clock_hz: 90_000 };
    world.act(0, |leg, now, _| leg.switch_source(VIDEO, source, now)).unwrap();
    let receiver = ReceiverConfig { remb_bps: 4_000_000, ssrc: Some(0xCAFE), ..video_receiver(true) };
    world.act(1, |leg, now, _| leg.add_receiver(receiver, now)).unwrap();
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 10, |_, _| {});
    let heard = |world: &World| world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap().remb_bps.unwrap();
    assert!((3_990_000..=4_000_000).contains(&heard(&world)));
    world.act(1, |leg, now, out| leg.set_remb(VIDEO_IN, 1_000_000, now, out)).unwrap();
    film_pictures(&mut world, &mut camera, 5, |_, _| {});
    assert!((990_000..=1_000_000).contains(&heard(&world)));
}

#[test]
fn requests_climb_the_ladder_that_was_negotiated() {
    for (pli, fir, expected) in
        [(true, true, (2, 2)), (true, false, (4, 0)), (false, true, (0, 4)), (false, false, (0, 0))]
    {
        let mut world = World::new(3, Bad::delay(10));
        film(&mut world, true, true, 1);
        world.peers[1].leg.remove_receiver(VIDEO_IN);
        world.act(1, |leg, now, _| leg.add_receiver(ReceiverConfig { pli, fir, ..video_receiver(true) }, now)).unwrap();
        let mut camera = Camera::new(CAMERA, 0);
        film_pictures(&mut world, &mut camera, 5, |_, _| {});
        for attempt in 1..=4 {
            let sent = world.act(1, |leg, now, out| leg.request_keyframe(VIDEO_IN, attempt, now, out));
            assert_eq!(sent, pli || fir);
            world.run_for(50);
        }
        let sender = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
        assert_eq!((sender.plis_received, sender.firs_received), expected);
        assert_eq!(world.peers[0].wishes.len() as u64, expected.0 + expected.1);
        let receiver = world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap();
        assert_eq!((receiver.plis_sent, receiver.firs_sent), expected);
    }
}

#[test]
fn asking_for_everything_again_and_again_costs_no_more_than_the_budget() {
    let mut world = World::new(4, Bad::delay(10));
    film(&mut world, true, true, 1);
    world.tap = Some(vec![]);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 60, |_, _| {});
    let from = world.peers[1].address;
    let before: usize = world.peers[0].sent.iter().map(|sent| sent.1).sum();
    let began = world.now;
    // a peer (or who has taken its address) that asks for the last 512 packets, a thousand times a second
    let newest = world
        .tap
        .as_ref()
        .unwrap()
        .iter()
        .rev()
        .find(|packet| packet.from == 0 && packet.bytes[1] & 0x7F == 102)
        .unwrap();
    let newest = u16::from_be_bytes([newest.bytes[2], newest.bytes[3]]);
    let seqs: Vec<u16> = (0..512).map(|back| newest.wrapping_sub(511 - back)).collect();
    let mut nack = vec![];
    rtcp::write_nack(&mut nack, 1, 0xCAFE, &seqs);
    for ms in 0..1000 {
        world.inject(0, began + ms * MS, false, from, nack.clone());
    }
    world.run_for(1000);
    let resent = world.peers[0].sent.iter().map(|sent| sent.1).sum::<usize>() - before;
    // 2.9 Mbit/s of media: a burst and a second of as much
    assert!(resent < 600_000, "{resent}");
    assert!(world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap().nacks_received == 512_000);
}

#[test]
fn a_request_that_comes_twice_is_answered_once() {
    let mut world = World::new(5, Bad::delay(30).lost(50));
    world.links[1] = Bad { doubled: 1000, ..Bad::delay(30) };
    film(&mut world, true, true, 1);
    let mut camera = Camera::new(CAMERA, 0);
    film_pictures(&mut world, &mut camera, 300, |_, _| {});
    let sender = world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap();
    let receiver = world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap();
    assert!(receiver.nacks_sent > 100 && sender.nacks_received == 2 * receiver.nacks_sent);
    assert_eq!(sender.rtx_sent, receiver.nacks_sent);
}
