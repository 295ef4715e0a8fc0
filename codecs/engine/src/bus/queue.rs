//! A subscriber's own queue: bounded in milliseconds and bytes, so that a slow one hurts only itself.

use crate::unit::{Ns, TrackId, UnitRef};
use std::collections::VecDeque;

/// Units on their way to a reader that takes them when it likes: a Python subscription or a mixer.
///
/// Overflow on video drops to the next key frame and asks for one; on audio it drops the oldest. Audio is never dropped
/// to make room for video.
#[derive(Debug)]
pub struct UnitQueue {
    lanes: Vec<Lane>,
    limit: Ns,
    limit_bytes: usize,
    bytes: usize,
    order: u64,
    began: bool,
    pub counts: Counts,
}

#[derive(Default, Debug, Clone, Copy)]
pub struct Counts {
    pub taken: u64,
    pub dropped: u64,
}

#[derive(Debug)]
struct Lane {
    track: TrackId,
    video: bool,
    units: VecDeque<Entry>,
    bytes: usize,
    gate: Gate,
    ended: bool,
}

#[derive(Debug)]
struct Entry {
    order: u64,
    /// When it was queued; not its arrival, because a cached group is old when it is queued.
    at: Ns,
    unit: UnitRef,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    Open,
    /// Waiting for the first key frame: what passes by isn't lost, it was never promised.
    First,
    /// Waiting for the key frame after an overflow: what passes by is lost.
    Overflowed,
}

/// What `push` did.
#[derive(Default, Debug, PartialEq, Eq, Clone, Copy)]
pub struct Pushed {
    pub queued: bool,
    /// Units lost by overflow, the pushed one included.
    pub dropped: u32,
    /// A key frame is needed before this lane goes on.
    pub wants_keyframe: bool,
}

impl UnitQueue {
    pub fn new(limit: Ns, limit_bytes: usize) -> UnitQueue {
        UnitQueue { lanes: Vec::new(), limit, limit_bytes, bytes: 0, order: 0, began: false, counts: Counts::default() }
    }

    pub fn add_track(&mut self, track: TrackId, video: bool) {
        if self.lane(track).is_none() {
            self.began = true;
            let gate = if video { Gate::First } else { Gate::Open };
            self.lanes.push(Lane { track, video, units: VecDeque::new(), bytes: 0, gate, ended: false });
        }
    }

    /// What is queued of it is dropped uncounted: nobody wants it any more.
    pub fn remove_track(&mut self, track: TrackId) {
        if let Some(at) = self.lane(track) {
            self.bytes -= self.lanes.swap_remove(at).bytes;
        }
    }

    /// The track is gone. What is queued of it can still be taken.
    pub fn end_track(&mut self, track: TrackId) {
        if let Some(at) = self.lane(track) {
            self.lanes[at].ended = true;
            self.tidy();
        }
    }

    /// It once heard a track and there is nothing left to come.
    pub fn ended(&self) -> bool {
        self.began && self.lanes.is_empty()
    }

    fn tidy(&mut self) {
        self.lanes.retain(|lane| !lane.ended || !lane.units.is_empty());
    }

    pub fn tracks(&self) -> Vec<TrackId> {
        self.lanes.iter().map(|lane| lane.track).collect()
    }

    /// A video lane of this track has had no key frame yet. After an overflow it had one: only a newer one helps.
    pub fn awaits_first(&self, track: TrackId) -> bool {
        self.lane(track).is_some_and(|at| self.lanes[at].gate == Gate::First)
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.units.is_empty())
    }

    pub fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.units.len()).sum()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Age of the oldest unit.
    pub fn age(&self, now: Ns) -> Ns {
        self.lanes
            .iter()
            .filter_map(|lane| lane.units.front())
            .map(|entry| now.saturating_sub(entry.at))
            .max()
            .unwrap_or(0)
    }

    pub fn push(&mut self, unit: &UnitRef, now: Ns) -> Pushed {
        let mut done = Pushed::default();
        let Some(at) = self.lane(unit.track) else { return done };
        let lane = &mut self.lanes[at];
        if unit.keyframe {
            lane.gate = Gate::Open;
        }
        match lane.gate {
            Gate::Open => {}
            Gate::First => return done,
            Gate::Overflowed => {
                done.dropped = 1;
                self.counts.dropped += 1;
                return done;
            }
        }
        self.order += 1;
        lane.bytes += unit.payload.len();
        self.bytes += unit.payload.len();
        lane.units.push_back(Entry { order: self.order, at: now, unit: unit.clone() });
        done.queued = true;
        while lane_is_late(&self.lanes[at], self.limit, now) {
            self.shed(at, &mut done);
        }
        while self.bytes > self.limit_bytes {
            let Some(at) = self.fattest() else { break };
            self.shed(at, &mut done);
        }
        self.counts.dropped += u64::from(done.dropped);
        done
    }

    /// The oldest units, in the order they were queued, at most `limit`.
    pub fn take(&mut self, limit: usize, into: &mut Vec<UnitRef>) {
        for _ in 0..limit {
            let Some(lane) = self
                .lanes
                .iter_mut()
                .filter(|lane| !lane.units.is_empty())
                .min_by_key(|lane| lane.units.front().map_or(u64::MAX, |entry| entry.order))
            else {
                break;
            };
            let Some(entry) = lane.units.pop_front() else { break };
            lane.bytes -= entry.unit.payload.len();
            self.bytes -= entry.unit.payload.len();
            self.counts.taken += 1;
            into.push(entry.unit);
        }
        self.tidy();
    }

    /// Video before audio, whoever holds most first.
    fn fattest(&self) -> Option<usize> {
        (0..self.lanes.len())
            .filter(|&at| !self.lanes[at].units.is_empty())
            .max_by_key(|&at| (self.lanes[at].video, self.lanes[at].bytes))
    }

    /// Drops at least one unit of a lane that has one.
    fn shed(&mut self, at: usize, done: &mut Pushed) {
        let lane = &mut self.lanes[at];
        let keep_from = if lane.video {
            // The newest key frame that isn't the oldest unit; without one everything goes.
            lane.units.iter().rposition(|entry| entry.unit.keyframe).filter(|&at| at > 0).unwrap_or(lane.units.len())
        } else {
            1
        };
        for entry in lane.units.drain(..keep_from) {
            lane.bytes -= entry.unit.payload.len();
            self.bytes -= entry.unit.payload.len();
            done.dropped += 1;
        }
        if lane.video && lane.units.is_empty() {
            lane.gate = Gate::Overflowed;
            done.wants_keyframe = true;
            done.queued = false;
        }
    }

    fn lane(&self, track: TrackId) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.track == track)
    }
}

fn lane_is_late(lane: &Lane, limit: Ns, now: Ns) -> bool {
    lane.units.front().is_some_and(|entry| now.saturating_sub(entry.at) > limit)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{audio, unit, MS};
    use super::*;
    use std::sync::Arc;

    const VIDEO: u32 = 1;
    const AUDIO: u32 = 2;

    fn queue(limit_ms: u64, bytes: usize) -> UnitQueue {
        let mut queue = UnitQueue::new(limit_ms * MS, bytes);
        queue.add_track(TrackId(VIDEO), true);
        queue.add_track(TrackId(AUDIO), false);
        queue
    }

    fn taken(queue: &mut UnitQueue) -> Vec<(u32, Ns)> {
        let mut units = vec![];
        queue.take(1000, &mut units);
        units.iter().map(|unit| (unit.track.0, unit.arrival)).collect()
    }

    #[test]
    fn video_begins_at_a_key_frame_and_both_come_in_order() {
        let mut q = queue(1000, 10_000);
        assert!(!q.push(&Arc::new(unit(VIDEO, 1, false, 10)), 1).queued);
        assert!(q.awaits_first(TrackId(VIDEO)));
        q.push(&Arc::new(audio(AUDIO, 2, 10)), 2);
        q.push(&Arc::new(unit(VIDEO, 3, true, 10)), 3);
        q.push(&Arc::new(audio(AUDIO, 4, 10)), 4);
        q.push(&Arc::new(unit(VIDEO, 5, false, 10)), 5);
        assert_eq!(taken(&mut q), [(AUDIO, 2), (VIDEO, 3), (AUDIO, 4), (VIDEO, 5)]);
        assert_eq!((q.bytes(), q.counts.dropped, q.counts.taken), (0, 0, 4));
    }

    #[test]
    fn slow_video_drops_to_the_next_key_frame_and_asks_for_one() {
        let mut q = queue(100, 10_000);
        q.push(&Arc::new(unit(VIDEO, 0, true, 10)), 0);
        for ms in [40, 80] {
            assert_eq!(q.push(&Arc::new(unit(VIDEO, ms * MS, false, 10)), ms * MS).dropped, 0);
        }
        let late = q.push(&Arc::new(unit(VIDEO, 120 * MS, false, 10)), 120 * MS);
        assert_eq!(late, Pushed { queued: false, dropped: 4, wants_keyframe: true });
        assert!(!q.awaits_first(TrackId(VIDEO)));
        assert_eq!(q.push(&Arc::new(unit(VIDEO, 160 * MS, false, 10)), 160 * MS).dropped, 1);
        q.push(&Arc::new(unit(VIDEO, 200 * MS, true, 10)), 200 * MS);
        assert_eq!(taken(&mut q), [(VIDEO, 200 * MS)]);
        assert_eq!(q.counts.dropped, 5);
    }

    #[test]
    fn a_key_frame_already_queued_is_kept() {
        let mut q = queue(100, 10_000);
        q.push(&Arc::new(unit(VIDEO, 0, true, 10)), 0);
        q.push(&Arc::new(unit(VIDEO, 50 * MS, true, 10)), 50 * MS);
        let pushed = q.push(&Arc::new(unit(VIDEO, 110 * MS, false, 10)), 110 * MS);
        assert_eq!(pushed, Pushed { queued: true, dropped: 1, wants_keyframe: false });
        assert_eq!(taken(&mut q), [(VIDEO, 50 * MS), (VIDEO, 110 * MS)]);
    }

    #[test]
    fn audio_drops_the_oldest() {
        let mut q = queue(100, 10_000);
        let dropped: u32 = (0..10).map(|k| q.push(&Arc::new(audio(AUDIO, k * 20 * MS, 10)), k * 20 * MS).dropped).sum();
        assert_eq!(dropped, 4);
        assert_eq!(taken(&mut q).first(), Some(&(AUDIO, 80 * MS)));
    }

    #[test]
    fn never_audio_for_video() {
        let mut q = queue(1000, 100);
        for k in 0..5 {
            q.push(&Arc::new(audio(AUDIO, k, 10)), k);
        }
        let big = q.push(&Arc::new(unit(VIDEO, 6, true, 90)), 6);
        assert_eq!(big, Pushed { queued: false, dropped: 1, wants_keyframe: true });
        assert_eq!(taken(&mut q).len(), 5);
    }

    #[test]
    fn a_removed_track_takes_its_bytes_along() {
        let mut q = queue(1000, 100);
        q.push(&Arc::new(audio(AUDIO, 1, 10)), 1);
        q.remove_track(TrackId(AUDIO));
        assert_eq!((q.bytes(), q.len(), q.is_empty()), (0, 0, true));
        assert_eq!(q.push(&Arc::new(audio(AUDIO, 1, 10)), 1), Pushed::default());
    }
}
