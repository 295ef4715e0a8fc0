//! Legs and bus together: who gets what. No socket, no clock, no thread.
//!
//! A datagram goes into its leg; the units that it completes go through the bus to the senders of other legs, and their
//! datagrams lie in `out` when the same call returns. Everything that a leg does is guarded: a panic in it, which is a
//! broken invariant of ours, closes that leg alone and is reported as `Event::Fault`.

mod figures;
mod peers;
mod route;
mod selection;
mod streams;

use crate::bus::Bus;
use crate::leg::{Leg, LegConfig};
use crate::output::{Event, Output, Path};
use crate::timers::Timers;
use crate::unit::{IdMap, LegId, Ns, QueueId, ReceiverId, SenderId, TrackId, Unit};
use selection::Selection;
use std::any::Any;
use std::net::SocketAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub use figures::{LegFigures, Totals};
pub use peers::PeerError;
pub use streams::{MediaKind, NewTrack};

/// What waits for a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Timer {
    Leg(LegId),
    /// The next request for a key frame.
    Wish(TrackId),
    /// A reader is to be woken for what is in its queue.
    Reader(QueueId),
    /// No key frame came for somebody who joined late: the kept group is sent.
    LateSender(SenderId),
    LateReader(QueueId, TrackId),
}

#[derive(Default)]
pub struct Core {
    pub bus: Bus,
    /// Datagrams to send and events to tell; whoever sends them clears them.
    pub out: Output,
    /// Legs that are gone: their sockets may close once `out` is sent.
    pub closed: Vec<LegId>,
    /// Readers to wake.
    pub wakes: Vec<QueueId>,
    legs: IdMap<LegId, Slot>,
    senders: IdMap<SenderId, Selection>,
    receivers: IdMap<ReceiverId, (LegId, TrackId)>,
    timers: Timers<Timer>,
    next_id: u32,
    /// Of legs that are gone.
    rejected_before: u64,
    seed: u64,
    scratch: route::Scratch,
}

struct Slot {
    leg: Leg,
    /// The deadline that is armed; `Ns::MAX`: none.
    due: Ns,
    senders: Vec<SenderId>,
    receivers: Vec<ReceiverId>,
}

impl Core {
    /// `seed`: for what must not be guessed from outside, such as sequence numbers' beginnings.
    pub fn new(seed: u64) -> Core {
        Core { seed, ..Core::default() }
    }

    /// One number space, so that an event's number names one thing.
    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    pub fn open_leg(&mut self, config: LegConfig, now: Ns) -> LegId {
        let id = LegId(self.new_id());
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let leg = Leg::new(id, config, self.seed, now);
        self.legs.insert(id, Slot { leg, due: Ns::MAX, senders: Vec::new(), receivers: Vec::new() });
        id
    }

    /// A datagram arrived. It may be changed (decrypted in place).
    pub fn receive(&mut self, leg: LegId, path: Path, from: SocketAddr, bytes: &mut [u8], now: Ns) {
        self.guarded(leg, |leg, out| leg.receive(path, from, bytes, now, out));
        self.settle(now);
    }

    /// Something that Python does with a leg. None: it is gone.
    pub fn with_leg<R>(&mut self, leg: LegId, now: Ns, act: impl FnOnce(&mut Leg, &mut Output) -> R) -> Option<R> {
        let result = self.guarded(leg, act);
        self.settle(now);
        result
    }

    /// Says goodbye (RTCP BYE) and forgets the leg with its senders and receivers.
    pub fn close_leg(&mut self, leg: LegId, now: Ns) {
        self.guarded(leg, |leg, out| leg.close(now, out));
        self.settle(now);
        self.forget_leg(leg);
    }

    /// Everything that is due.
    pub fn poll(&mut self, now: Ns) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Leg(leg) => {
                    if let Some(slot) = self.legs.get_mut(&leg) {
                        slot.due = Ns::MAX;
                    }
                    self.guarded(leg, |leg, out| leg.poll(now, out));
                    self.settle(now);
                }
                Timer::Wish(track) => self.repeat_wish(track, now),
                Timer::Reader(reader) => self.wake_reader(reader),
                Timer::LateSender(sender) => self.catch_up_sender(sender, now),
                Timer::LateReader(reader, track) => self.catch_up_reader(reader, track, now),
            }
        }
    }

    pub fn next_wake(&mut self) -> Option<Ns> {
        self.timers.first()
    }

    /// Somebody has to send, tell or close something.
    pub fn has_output(&self) -> bool {
        !self.out.datagrams.is_empty()
            || !self.out.events.is_empty()
            || !self.closed.is_empty()
            || !self.wakes.is_empty()
    }

    /// Every leg says goodbye.
    pub fn close(&mut self, now: Ns) {
        for leg in self.legs.keys().copied().collect::<Vec<_>>() {
            self.close_leg(leg, now);
        }
    }

    /// Runs `act` on a leg so that its panic hurts only that leg, and arms its timer.
    fn guarded<R>(&mut self, id: LegId, act: impl FnOnce(&mut Leg, &mut Output) -> R) -> Option<R> {
        let slot = self.legs.get_mut(&id)?;
        let (bytes, datagrams) = (self.out.bytes.len(), self.out.datagrams.len());
        let (leg, out) = (&mut slot.leg, &mut self.out);
        out.wake = None;
        match catch_unwind(AssertUnwindSafe(|| act(leg, out))) {
            Ok(result) => {
                if let Some(wake) = self.out.wake.take().filter(|&wake| wake < slot.due) {
                    slot.due = wake;
                    self.timers.at(Timer::Leg(id), wake);
                }
                Some(result)
            }
            Err(panic) => {
                self.out.bytes.truncate(bytes);
                self.out.datagrams.truncate(datagrams);
                self.out.events.push(Event::Fault { leg: id, text: panic_text(&*panic) });
                self.forget_leg(id);
                None
            }
        }
    }

    fn forget_leg(&mut self, id: LegId) {
        let Some(slot) = self.legs.remove(&id) else { return };
        self.rejected_before += slot.leg.rejected();
        self.timers.cancel(Timer::Leg(id));
        for sender in slot.senders {
            self.forget_sender(sender);
        }
        for receiver in slot.receivers {
            self.forget_receiver(receiver);
        }
        self.closed.push(id);
    }

    fn forget_receiver(&mut self, receiver: ReceiverId) {
        if let Some((_, track)) = self.receivers.remove(&receiver) {
            if let Some(track) = self.bus.track_mut(track) {
                track.sources.retain(|&(_, other)| other != receiver);
            }
        }
    }

    /// What a leg finished and wished for while it ran.
    fn settle(&mut self, now: Ns) {
        while !self.out.units.is_empty() || !self.out.keyframe_wishes.is_empty() {
            let mut units: Vec<Unit> = std::mem::take(&mut self.scratch.units);
            std::mem::swap(&mut units, &mut self.out.units);
            for unit in units.drain(..) {
                self.route(unit, now);
            }
            self.scratch.units = units;
            for sender in std::mem::take(&mut self.out.keyframe_wishes) {
                if let Some(track) = self.senders.get(&sender).and_then(Selection::selected) {
                    self.wish(track, now);
                }
            }
        }
    }
}

pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests;
