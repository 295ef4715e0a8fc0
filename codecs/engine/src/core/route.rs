//! A unit's way from its track to everybody who listens, and key-frame wishes on their way back.

use super::{Core, Timer};
use crate::bus::BusError;
use crate::output::Event;
use crate::unit::{LegId, Ns, QueueId, ReceiverId, SenderId, TrackId, Unit, UnitRef};

/// Kept between units so that nothing is allocated for each.
#[derive(Default)]
pub(super) struct Scratch {
    pub units: Vec<Unit>,
    senders: Vec<(LegId, SenderId)>,
    queues: Vec<QueueId>,
}

impl Core {
    pub(super) fn route(&mut self, unit: Unit, now: Ns) {
        // A unit of a track that ended while it was on its way.
        let Some(track) = self.bus.track_mut(unit.track) else { return };
        let id = unit.track;
        let (unit, sets_changed) = track.take_in(unit, now);
        if track.video && unit.keyframe {
            if let Some(ms) = track.wish.came(now) {
                self.timers.cancel(Timer::Wish(id));
                self.out.events.push(Event::KeyframeCame { track: id, ms });
            }
        }
        if track.video && (unit.keyframe || sets_changed) {
            if let Some((width, height)) = track.new_size(&unit) {
                self.out.events.push(Event::Size { track: id, width, height });
            }
        }
        if track.video {
            if let Some(ms) = track.reordering.see(unit.pts, now) {
                self.out.events.push(Event::Reordered { track: id, ms });
            }
        }
        let broken = track.video && !unit.contiguous && !unit.keyframe;
        // A leg's source gives a key frame on request, so nobody needs what it sent before.
        let written = track.sources.is_empty();
        let mut senders = std::mem::take(&mut self.scratch.senders);
        let mut queues = std::mem::take(&mut self.scratch.queues);
        senders.extend_from_slice(&track.senders);
        queues.extend_from_slice(&track.queues);
        if written {
            self.bus.keep_sound(&unit);
        }
        for (leg, sender) in senders.drain(..) {
            self.offer(leg, sender, &unit, now);
        }
        for queue in queues.drain(..) {
            self.hand(queue, &unit, now);
        }
        (self.scratch.senders, self.scratch.queues) = (senders, queues);
        if broken {
            // Whoever decodes this shows damage until the next key frame, and doesn't know: to it nothing was lost.
            self.wish(id, now);
        }
    }

    /// One unit into one reader's queue, with what follows.
    pub(super) fn hand(&mut self, queue: QueueId, unit: &UnitRef, now: Ns) {
        let handed = self.bus.hand(queue, unit, now);
        if let Some(at) = handed.wake_at {
            self.timers.at(Timer::Reader(queue), at);
        }
        if let Some(units) = handed.overflowed {
            self.out.events.push(Event::Overflowed { subscriber: queue.0, units });
        }
        if handed.wants_keyframe {
            self.wish(unit.track, now);
        }
    }

    /// Somebody needs a key frame of this track.
    pub fn want_keyframe(&mut self, track: TrackId, now: Ns) -> Result<(), BusError> {
        self.bus.track(track)?;
        self.wish(track, now);
        self.settle(now);
        Ok(())
    }

    pub(super) fn wish(&mut self, id: TrackId, now: Ns) {
        let Some(track) = self.bus.track_mut(id).filter(|track| track.video) else { return };
        let watched = track.watched();
        let attempt = track.wish.want(now, watched);
        self.ask(id, attempt, now);
    }

    pub(super) fn repeat_wish(&mut self, id: TrackId, now: Ns) {
        let Some(track) = self.bus.track_mut(id) else { return };
        let watched = track.watched();
        let attempt = track.wish.poll(now, watched);
        self.ask(id, attempt, now);
        self.settle(now);
    }

    fn ask(&mut self, id: TrackId, attempt: Option<u32>, now: Ns) {
        let Some(track) = self.bus.track_mut(id) else { return };
        let next = track.wish.next();
        let source: Option<(LegId, ReceiverId)> = track.sources.last().copied();
        if let Some(attempt) = attempt {
            track.counts.keyframe_requests += 1;
            self.out.events.push(Event::KeyframeWanted { track: id, attempt });
            if let Some((leg, receiver)) = source {
                self.guarded(leg, |leg, out| leg.request_keyframe(receiver, attempt, now, out));
            }
        }
        if let Some(next) = next {
            self.timers.at(Timer::Wish(id), next);
        }
    }
}
