//! Sound: order without delay, key presses, levels, and sound and picture together.

use crate::media::*;
use crate::network::{Bad, World, MS};
use _engine::leg::{ReceiverConfig, SenderConfig};
use _engine::output::Event;
use _engine::unit::{Ns, Unit};

/// Speaks for so many frames.
fn talk(world: &mut World, from: u32, count: u32) {
    for n in from..from + count {
        let unit = frame(n, world.now);
        world.send(0, AUDIO, &unit);
        world.run_for(20);
    }
}

fn number_of(unit: &Unit) -> u32 {
    u32::from_be_bytes(unit.payload[..4].try_into().unwrap())
}

#[test]
fn frames_come_in_order_and_a_loss_delays_the_next_by_a_frame_at_most() {
    let link = Bad { held_back: 50, held_back_by: 25 * MS, doubled: 20, ..Bad::delay(30) }.lost(30);
    let mut world = World::new(1, link);
    speak(&mut world);
    talk(&mut world, 0, 1500);
    world.run_for(200);
    let units = &world.peers[1].units;
    assert!(units.len() > 1430, "{}", units.len());
    let mut last: Option<u32> = None;
    for unit in units {
        let number = number_of(unit);
        assert!(last.is_none_or(|last| number > last));
        assert_eq!(unit.contiguous, last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
        assert_eq!(unit.pts - units[0].pts, i64::from(number - number_of(&units[0])) * 160);
        last = Some(number);
    }
    let stats = world.peers[1].leg.receiver_stats(AUDIO_IN, world.now).unwrap();
    assert_eq!((stats.nacks_sent, stats.late), (0, 0));
    assert!(stats.loss_percent > 0.5 && stats.loss_percent < 8.0, "{}", stats.loss_percent);
}

#[test]
fn reports_measure_loss_jitter_and_round_trip_on_both_sides() {
    let mut world = World::new(2, Bad { jitter: 8 * MS, ..Bad::delay(40) }.lost(100));
    speak(&mut world);
    talk(&mut world, 0, 1000);
    let sender = world.peers[0].leg.sender_stats(AUDIO, world.now).unwrap();
    let receiver = world.peers[1].leg.receiver_stats(AUDIO_IN, world.now).unwrap();
    assert!((2.0..22.0).contains(&sender.remote_loss_percent), "{}", sender.remote_loss_percent);
    assert!((5.0..15.0).contains(&receiver.loss_percent), "{}", receiver.loss_percent);
    assert!((1.0..5.0).contains(&receiver.jitter_ms), "{}", receiver.jitter_ms);
    assert!((sender.remote_jitter_ms - receiver.jitter_ms).abs() < 2.0);
    let rtt = sender.rtt_ms.unwrap();
    assert!((80.0..97.0).contains(&rtt), "{rtt}");
    assert_eq!(world.peers[0].leg.stats(world.now).rtt_ms.map(|ms| (ms / 20.0).round()), Some(4.0));
}

#[test]
fn levels_and_mids_cross_and_a_missing_level_is_measured() {
    let mut world = World::new(3, Bad::delay(10));
    let mid = Some("audio0".to_owned());
    let sender = SenderConfig { mid: mid.clone(), mid_ext: Some(3), audio_level_ext: Some(1), ..audio_sender() };
    let with_level = ReceiverConfig { mid, mid_ext: Some(3), audio_level_ext: Some(1), ..audio_receiver() };
    world.act(0, |leg, now, _| leg.add_sender(sender, now)).unwrap();
    let source = _engine::leg::Source { track: MICROPHONE, clock_hz: 8000 };
    world.act(0, |leg, now, _| leg.switch_source(AUDIO, source, now)).unwrap();
    // a receiver that comes first and would take the payload type alone, but has another mid
    let other =
        ReceiverConfig { id: VIDEO_IN, track: SEEN, mid: Some("x".into()), mid_ext: Some(3), ..audio_receiver() };
    world.act(1, |leg, now, _| leg.add_receiver(other, now)).unwrap();
    world.act(1, |leg, now, _| leg.add_receiver(with_level, now)).unwrap();
    talk(&mut world, 0, 3);
    let heard: Vec<_> = world.peers[1].units.iter().map(|unit| (unit.track, unit.level)).collect();
    assert_eq!(heard, [(HEARD, Some(-30)); 3]);
    world.peers[1].leg.remove_receiver(AUDIO_IN);
    talk(&mut world, 3, 3);
    assert_eq!(world.peers[1].units.len(), 3, "nobody takes what says another mid");

    let mut world = World::new(3, Bad::delay(10));
    speak(&mut world);
    talk(&mut world, 0, 3);
    // nearly silence, with a few bytes of number in it
    assert!(world.peers[1].units.iter().all(|unit| unit.level.is_some_and(|level| level < -15)));
}

#[test]
fn keys_cross_a_bad_link_once_each_while_sound_pauses() {
    for seed in 0..20 {
        let link = Bad { held_back: 50, held_back_by: 25 * MS, doubled: 50, ..Bad::delay(30) }.lost(200);
        let mut world = World::new(seed, link);
        speak(&mut world);
        talk(&mut world, 0, 10);
        let digits = "11#0*9A";
        world.act(0, |leg, now, out| leg.send_dtmf(AUDIO, digits, 160, 80, now, out)).unwrap();
        talk(&mut world, 10, 150);
        world.run_for(1000);
        let heard: String = world.peers[1]
            .events
            .iter()
            .filter_map(|event| match event.1 {
                Event::Dtmf { digit, ms, .. } => {
                    assert!((20..=160).contains(&ms), "{ms}");
                    Some(digit)
                }
                _ => None,
            })
            .collect();
        assert_eq!(heard, digits, "seed {seed}");
        // sound goes on behind them, on one timeline
        let units = &world.peers[1].units;
        assert!(number_of(units.last().unwrap()) >= 155);
        let pause = units.windows(2).map(|pair| pair[1].pts - pair[0].pts).max().unwrap();
        assert!((1600 * 8..2000 * 8).contains(&pause), "{pause}");
    }
}

#[test]
fn keys_with_an_ssrc_of_their_own_do_not_disturb_the_sound() {
    let mut world = World::new(6, Bad::delay(10));
    speak(&mut world);
    let keys = SenderConfig { id: VIDEO, ssrc: 0xD1617, ..audio_sender() };
    world.act(0, |leg, now, _| leg.add_sender(keys, now)).unwrap();
    talk(&mut world, 0, 10);
    world.act(0, |leg, now, out| leg.send_dtmf(VIDEO, "42", 100, 80, now, out)).unwrap();
    talk(&mut world, 10, 50);
    let pressed = |digit| world.count(1, |event| matches!(event, Event::Dtmf { digit: which, .. } if *which == digit));
    assert_eq!((pressed('4'), pressed('2')), (1, 1));
    assert_eq!(world.peers[1].units.iter().map(number_of).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
}

/// Sound and picture of one device: how far apart what was captured together comes out, in ms.
fn lip_sync(world: &World, lag: [Ns; 2]) -> i64 {
    let error = |unit: &Unit, lag: Ns| unit.capture as i64 - (unit.arrival - lag) as i64;
    let last = |track| world.peers[1].units.iter().rev().find(|unit| unit.track == track).unwrap();
    (error(last(HEARD), lag[0]) - error(last(SEEN), lag[1])) / MS as i64
}

/// A device whose picture takes 140 ms to encode, its sound 20.
fn device(world: &mut World, seconds: u64) {
    let until = world.now + seconds * 1000 * MS;
    let mut n = 0u32;
    while world.now < until {
        let sound = frame(n, world.now);
        world.send(0, AUDIO, &sound);
        if n % 2 == 0 {
            let capture = world.now - 140 * MS;
            let picture = picture(CAMERA, n, (capture * 9 / 100_000) as i64, capture, n % 100 == 0, 8000);
            world.send(0, VIDEO, &picture);
        }
        world.run_for(20);
        n += 1;
    }
}

#[test]
fn sound_and_picture_come_out_as_they_were_captured() {
    let mut world = World::new(4, Bad { jitter: 20 * MS, ..Bad::delay(30) });
    film(&mut world, true, true, 1);
    speak(&mut world);
    device(&mut world, 30);
    let way = 30 * MS;
    let apart = lip_sync(&world, [way + 20 * MS, way + 140 * MS]);
    assert!((-25..=25).contains(&apart), "{apart} ms");
}

#[test]
fn without_reports_nothing_is_worse_than_the_device_made_it() {
    let mut world = World::new(5, Bad { jitter: 20 * MS, ..Bad::delay(30) });
    film(&mut world, true, true, 1);
    speak(&mut world);
    // reports are lost for the first seconds
    world.tap = Some(vec![]);
    device(&mut world, 1);
    for unit in &world.peers[1].units {
        assert!(unit.capture <= unit.arrival && unit.capture + 200 * MS > unit.arrival);
    }
}
