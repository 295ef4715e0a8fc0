//! The registry and the readers, on a fake clock.

use super::*;
use crate::unit::Unit;
use std::sync::Arc;

pub const MS: Ns = 1_000_000;

pub fn unit(track: u32, arrival: Ns, keyframe: bool, bytes: usize) -> Unit {
    Unit {
        track: TrackId(track),
        codec: Codec::Vp8,
        pts: (arrival / 1_000_000 * 90) as i64,
        dts: (arrival / 1_000_000 * 90) as i64,
        keyframe,
        contiguous: true,
        capture: 0,
        arrival,
        payload: vec![0; bytes].into(),
        nals: Box::default(),
        level: None,
    }
}

pub fn audio(track: u32, arrival: Ns, bytes: usize) -> Unit {
    Unit { codec: Codec::Pcmu, ..unit(track, arrival, true, bytes) }
}

fn bus() -> Bus {
    let mut bus = Bus::default();
    bus.publish(1, "or-3/main", 12_000 * MS, 8 << 20, 0).unwrap();
    bus.add_track(1, TrackId(10), true, Codec::H264, 90_000, 1).unwrap();
    bus.add_track(1, TrackId(11), false, Codec::Opus, 48_000, 2).unwrap();
    bus
}

#[test]
fn a_name_has_one_publisher_and_a_stream_one_track_of_a_kind() {
    let mut bus = bus();
    assert_eq!(bus.publish(2, "or-3/main", 0, 0, 0), Err(BusError::NameTaken("or-3/main".into())));
    assert_eq!(bus.publish(2, "", 0, 0, 0), Err(BusError::BadName));
    assert_eq!(bus.publish(2, &"x".repeat(201), 0, 0, 0), Err(BusError::BadName));
    assert_eq!(bus.add_track(1, TrackId(12), true, Codec::Vp8, 90_000, 1), Err(BusError::KindTaken("video")));
    assert!(bus.add_track(1, TrackId(12), true, Codec::Opus, 48_000, 1).is_err());
    assert_eq!((bus.find("or-3/main", true), bus.find("or-3/main", false)), (Some(TrackId(10)), Some(TrackId(11))));
    assert_eq!(bus.find("or-4/main", true), None);
}

#[test]
fn a_closed_stream_gives_its_name_back_and_its_queues_run_dry() {
    let mut bus = bus();
    bus.open_reader(QueueId(5), 1000 * MS, 1000, Some(20 * MS));
    bus.listen(QueueId(5), TrackId(11)).unwrap();
    bus.hand(QueueId(5), &Arc::new(audio(11, 0, 1)), 0);
    let ended = bus.close_stream(1);
    assert_eq!(ended.len(), 2);
    assert!(bus.track(TrackId(11)).is_err() && bus.listen(QueueId(5), TrackId(11)).is_err());
    let queue = &mut bus.reader_mut(QueueId(5)).unwrap().queue;
    assert!(!queue.ended());
    queue.take(10, &mut vec![]);
    assert!(queue.ended());
    bus.publish(3, "or-3/main", 0, 0, 0).unwrap();
    assert!(bus.close_stream(1).is_empty() && bus.find("or-3/main", true).is_none());
}

#[test]
fn a_reader_is_woken_once_for_many_units_and_told_of_losses_once_a_second() {
    let mut bus = bus();
    bus.open_reader(QueueId(5), 100 * MS, 1 << 20, Some(20 * MS));
    bus.listen(QueueId(5), TrackId(11)).unwrap();
    bus.listen(QueueId(5), TrackId(11)).unwrap();
    assert_eq!(bus.track(TrackId(11)).unwrap().queues.len(), 1);
    let (mut wakes, mut reports) = (vec![], vec![]);
    for k in 0..200u64 {
        let handed = bus.hand(QueueId(5), &Arc::new(audio(11, k * 20 * MS, 1)), k * 20 * MS);
        wakes.extend(handed.wake_at);
        reports.extend(handed.overflowed.map(|units| (k * 20, units)));
    }
    assert_eq!(wakes, [20 * MS]);
    assert_eq!(reports, [(120, 1), (1120, 50), (2120, 50), (3120, 50)]);
}

#[test]
fn a_group_is_kept_with_its_sound_in_the_order_they_came() {
    let mut bus = bus();
    let feed = |bus: &mut Bus, unit: Unit, now: Ns| {
        let (unit, _) = bus.track_mut(unit.track).unwrap().take_in(unit, now);
        bus.keep_sound(&unit);
    };
    let both = [TrackId(10), TrackId(11)];
    let order = |bus: &Bus, tracks: &[TrackId], limit| -> Vec<(u32, Ns)> {
        bus.kept(tracks, limit).iter().map(|unit| (unit.track.0, unit.arrival)).collect()
    };
    feed(&mut bus, audio(11, 1, 5), 1);
    assert!(order(&bus, &both, 1000).is_empty(), "sound alone is not kept");
    feed(&mut bus, unit(10, 2, true, 50), 2);
    feed(&mut bus, audio(11, 3, 5), 3);
    feed(&mut bus, unit(10, 10, true, 50), 10);
    feed(&mut bus, audio(11, 11, 5), 11);
    // complete only at 15 since a packet of it came again, after its successor
    feed(&mut bus, unit(10, 15, false, 50), 15);
    feed(&mut bus, unit(10, 13, false, 50), 15);
    feed(&mut bus, audio(11, 14, 5), 15);
    feed(&mut bus, audio(11, 16, 5), 16);
    let all = [(10, 10), (11, 11), (11, 14), (10, 15), (10, 13), (11, 16)];
    assert_eq!(order(&bus, &both, 1000), all);
    assert_eq!(order(&bus, &both, 165), all);
    assert!(order(&bus, &both, 164).is_empty(), "it would overflow the queue");
    assert_eq!(order(&bus, &[TrackId(10)], 1000), [(10, 10), (10, 15), (10, 13)]);
    assert!(order(&bus, &[TrackId(11)], 1000).is_empty());
    bus.remove_track(TrackId(10));
    assert_eq!((bus.track(TrackId(11)).unwrap().sound.bytes(), order(&bus, &both, 1000).len()), (0, 0));
}
