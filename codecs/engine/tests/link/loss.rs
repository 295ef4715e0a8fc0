//! Loss, reordering, doubling and delay, with and without retransmission.

use crate::media::{check_pictures, film, film_pictures, Camera, VIDEO, VIDEO_IN};
use crate::network::{Asker, Bad, World, MS};
use _engine::receiver::ReceiverStats;
use _engine::sender::SenderStats;

struct Run {
    delivered: usize,
    receiver: ReceiverStats,
    sender: SenderStats,
    asked: usize,
    keyframes: usize,
    /// The longest that a picture took beyond the way, ms.
    worst_ms: u64,
}

fn run(seed: u64, link: Bad, rtx: bool, nack: bool, pictures: usize) -> Run {
    let mut world = World::new(seed, link);
    film(&mut world, rtx, nack, 1);
    let (mut camera, mut asker) = (Camera::new(crate::media::CAMERA, 1 << 33), Asker::default());
    let (mut wishes, mut seen, mut worst) = (0, 0, 0);
    film_pictures(&mut world, &mut camera, pictures, |world, camera| {
        asker.look(world, 1, VIDEO_IN);
        camera.wants_keyframe |= world.peers[0].wishes.len() > wishes;
        wishes = world.peers[0].wishes.len();
        for unit in &world.peers[1].units[seen..] {
            let sent = camera.sent[crate::media::number(unit) as usize].arrival;
            worst = worst.max((world.now - 33 * MS).saturating_sub(sent + link.delay) / MS);
        }
        seen = world.peers[1].units.len();
    });
    world.run_for(1000);
    assert_eq!(world.peers[1].leg.rejected(), 0, "a loss is nobody's malformed packet");
    Run {
        delivered: check_pictures(&world, &camera),
        receiver: world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap(),
        sender: world.peers[0].leg.sender_stats(VIDEO, world.now).unwrap(),
        asked: asker.asked.len(),
        keyframes: camera.sent.iter().filter(|unit| unit.keyframe).count(),
        worst_ms: worst,
    }
}

#[test]
fn without_loss_everything_comes_and_nothing_is_asked() {
    for ms in [1, 20, 100] {
        let run = run(1, Bad { jitter: 5 * MS, ..Bad::delay(ms) }, true, true, 300);
        assert_eq!((run.delivered, run.receiver.lost, run.receiver.nacks_sent), (300, 0, 0));
        assert_eq!((run.asked, run.keyframes, run.sender.rtx_sent), (0, 1, 0));
    }
}

#[test]
fn five_percent_are_recovered_at_every_round_trip() {
    for (seed, one_way) in [(2, 10), (3, 50), (4, 100)] {
        let run = run(seed, Bad::delay(one_way).lost(50), true, true, 900);
        assert!(run.delivered >= 895, "{} of 900 at {one_way} ms", run.delivered);
        let lost = run.receiver.lost;
        assert!((300..900).contains(&lost), "{lost}");
        assert!(run.receiver.recovered_rtx * 100 >= lost * 99, "{} of {lost}", run.receiver.recovered_rtx);
        // each lost packet is asked for little more often than the loss of askings and answers makes necessary
        assert!(run.receiver.nacks_sent * 10 <= lost * 13, "{} for {lost}", run.receiver.nacks_sent);
        assert!(run.sender.rtx_sent <= run.receiver.nacks_sent);
    }
}

#[test]
fn plain_resending_recovers_as_well() {
    let run = run(5, Bad::delay(20).lost(50), false, true, 600);
    assert!(run.delivered >= 597, "{} of 600", run.delivered);
    assert!(run.receiver.recovered_rtx > 200 && run.sender.rtx_sent > 200);
}

#[test]
fn thirty_percent_are_mostly_recovered_without_a_storm() {
    let run = run(6, Bad::delay(10).lost(300), true, true, 900);
    assert!(run.delivered >= 800, "{} of 900", run.delivered);
    let (lost, asked) = (run.receiver.lost, run.receiver.nacks_sent);
    assert!(asked <= 3 * lost, "{asked} for {lost}");
    // 30 s: a wish of which the answer is lost is repeated after 500 ms at the soonest
    assert!(run.asked <= 60 && run.keyframes <= 62, "{} {}", run.asked, run.keyframes);
}

#[test]
fn without_retransmission_a_loss_costs_until_the_next_key_frame_and_wishes_are_few() {
    let run = run(7, Bad::delay(50).lost(10), false, false, 900);
    assert!(run.delivered >= 700, "{} of 900", run.delivered);
    assert_eq!((run.receiver.nacks_sent, run.sender.rtx_sent), (0, 0));
    assert!((5..=60).contains(&run.asked), "{}", run.asked);
    assert!(run.keyframes <= run.asked + 1);
    // what is lost holds nothing up
    assert!(run.worst_ms <= 80, "{} ms", run.worst_ms);
}

#[test]
fn reordering_and_doubling_are_undone_without_asking() {
    let link = Bad { held_back: 100, held_back_by: 3 * MS, doubled: 100, jitter: MS, ..Bad::delay(20) };
    for nack in [false, true] {
        let run = run(8, link, nack, nack, 600);
        assert_eq!((run.delivered, run.receiver.lost), (600, 0), "nack {nack}");
        assert_eq!((run.receiver.nacks_sent, run.asked), (0, 0));
        assert!(run.receiver.duplicates > 300, "{}", run.receiver.duplicates);
    }
}

#[test]
fn wide_reordering_is_asked_for_at_first_only() {
    let link = Bad { held_back: 50, held_back_by: 15 * MS, ..Bad::delay(20) };
    let run = run(9, link, true, true, 900);
    assert_eq!(run.delivered, 900);
    assert!(run.receiver.nacks_sent < 60, "{}", run.receiver.nacks_sent);
}

#[test]
fn an_outage_ends_in_one_wish_and_no_storm() {
    let mut world = World::new(10, Bad::delay(20));
    film(&mut world, true, true, 1);
    let (mut camera, mut asker) = (Camera::new(crate::media::CAMERA, 0), Asker::default());
    let mut wishes = 0;
    for part in 0..3 {
        world.cut[0] = part == 1;
        film_pictures(&mut world, &mut camera, 60, |world, camera| {
            asker.look(world, 1, VIDEO_IN);
            camera.wants_keyframe |= world.peers[0].wishes.len() > wishes;
            wishes = world.peers[0].wishes.len();
        });
    }
    world.run_for(1000);
    assert!(check_pictures(&world, &camera) >= 60 + 55);
    let stats = world.peers[1].leg.receiver_stats(VIDEO_IN, world.now).unwrap();
    assert_eq!((asker.asked.len(), stats.plis_sent), (1, 1));
    assert!(stats.nacks_sent < 600, "{}", stats.nacks_sent);
}

#[test]
fn nobody_answers_so_nobody_waits() {
    // NACK was negotiated, but the peer keeps no history
    let mut world = World::new(11, Bad::delay(50).lost(20));
    let mut config = crate::media::video_sender(true, 1);
    config.history_ms = 0;
    world.act(0, |leg, now, _| leg.add_sender(config, now)).unwrap();
    let source = _engine::leg::Source { track: crate::media::CAMERA, clock_hz: 90_000 };
    world.act(0, |leg, now, _| leg.switch_source(VIDEO, source, now)).unwrap();
    world.act(1, |leg, now, _| leg.add_receiver(crate::media::video_receiver(true), now)).unwrap();
    let mut camera = Camera::new(crate::media::CAMERA, 0);
    let mut late = 0;
    let mut seen = 0;
    film_pictures(&mut world, &mut camera, 1800, |world, camera| {
        camera.wants_keyframe |= camera.sent.len() % 30 == 0;
        let took = |unit: &_engine::unit::Unit| world.now - camera.sent[crate::media::number(unit) as usize].arrival;
        if camera.sent.len() > 900 {
            late += world.peers[1].units[seen..].iter().filter(|unit| took(unit) > 160 * MS).count();
        }
        seen = world.peers[1].units.len();
    });
    check_pictures(&world, &camera);
    assert_eq!(late, 0);
}
