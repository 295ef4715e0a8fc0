//! Which track a sender sends: chosen by Python, switched at a key frame.

use super::peers::PeerError;
use super::streams::LATE;
use super::{Core, Timer};
use crate::bus::BusError;
use crate::leg::Source;
use crate::output::Event;
use crate::unit::{Codec, LegId, Ns, SenderId, TrackId, UnitRef};

/// Until the new track's key frame comes, the old one goes on.
#[derive(Debug)]
pub(super) struct Selection {
    pub leg: LegId,
    pub codec: Codec,
    /// What is sent.
    current: Option<TrackId>,
    /// What is waited for.
    pending: Option<TrackId>,
}

impl Selection {
    pub fn new(leg: LegId, codec: Codec) -> Selection {
        Selection { leg, codec, current: None, pending: None }
    }

    /// What was chosen last.
    pub fn selected(&self) -> Option<TrackId> {
        self.pending.or(self.current)
    }

    fn hears(&self, track: TrackId) -> bool {
        self.current == Some(track) || self.pending == Some(track)
    }
}

impl Core {
    pub fn select(&mut self, sender: SenderId, track: Option<TrackId>, now: Ns) -> Result<(), PeerError> {
        let selection = self.senders.get(&sender).ok_or(PeerError::Closed)?;
        let (leg, codec) = (selection.leg, selection.codec);
        let Some(track) = track else {
            self.unbind(sender);
            self.guarded(leg, |leg, out| leg.stop_sending(sender, now, out)).ok_or(PeerError::Closed)?;
            self.settle(now);
            return Ok(());
        };
        if selection.selected() == Some(track) {
            return Ok(());
        }
        let wanted = self.bus.track(track).map_err(PeerError::Bus)?;
        if wanted.video != codec.is_video() {
            return Err(PeerError::Bus(BusError::KindDiffers { codec, video: wanted.video }));
        }
        if wanted.codec != codec {
            return Err(PeerError::CodecDiffers { track: wanted.codec, sender: codec });
        }
        let video = wanted.video;
        let Some(selection) = self.senders.get_mut(&sender) else { return Err(PeerError::Closed) };
        let forgotten = std::mem::take(&mut selection.pending);
        if selection.current == Some(track) {
            // Back to what is still being sent.
            self.unhear(sender, forgotten);
            return Ok(());
        }
        selection.pending = Some(track);
        self.unhear(sender, forgotten);
        if let Some(track) = self.bus.track_mut(track) {
            track.senders.push((leg, sender));
        }
        self.timers.cancel(Timer::LateSender(sender));
        if video {
            self.wish(track, now);
            self.timers.at(Timer::LateSender(sender), now + LATE);
        }
        self.settle(now);
        Ok(())
    }

    /// What `select` was told, as long as it lives.
    pub fn selected(&self, sender: SenderId) -> Option<TrackId> {
        self.senders.get(&sender).and_then(Selection::selected)
    }

    /// A unit of a track that this sender hears.
    pub(super) fn offer(&mut self, leg: LegId, sender: SenderId, unit: &UnitRef, now: Ns) {
        let Some(selection) = self.senders.get(&sender) else { return };
        if unit.codec != selection.codec {
            return;
        }
        if selection.pending == Some(unit.track) {
            if !unit.keyframe {
                return;
            }
            self.switch(leg, sender, unit.track, now);
        }
        self.guarded(leg, |leg, out| leg.send_unit(sender, unit, now, out));
    }

    /// What was waited for begins; the track before isn't heard any more.
    fn switch(&mut self, leg: LegId, sender: SenderId, track: TrackId, now: Ns) {
        let Ok(clock_hz) = self.bus.track(track).map(|track| track.clock_hz) else { return };
        let Some(selection) = self.senders.get_mut(&sender) else { return };
        selection.pending = None;
        let old = selection.current.replace(track);
        self.timers.cancel(Timer::LateSender(sender));
        self.unhear(sender, old);
        self.guarded(leg, |leg, _| leg.switch_source(sender, Source { track, clock_hz }, now));
    }

    /// No key frame came in time: what is kept, from its key frame on.
    pub(super) fn catch_up_sender(&mut self, sender: SenderId, now: Ns) {
        let Some(&Selection { leg, codec, pending: Some(track), .. }) = self.senders.get(&sender) else { return };
        let kept = self.bus.track(track).map_or_else(|_| Vec::new(), |track| track.cache.units().to_vec());
        if kept.first().is_none_or(|unit| unit.codec != codec) {
            return;
        }
        self.switch(leg, sender, track, now);
        self.guarded(leg, |leg, out| leg.send_group(sender, &kept, now, out));
        self.settle(now);
    }

    /// A track ended that this sender heard.
    pub(super) fn end_source(&mut self, leg: LegId, sender: SenderId, track: TrackId, now: Ns) {
        let Some(selection) = self.senders.get_mut(&sender) else { return };
        let was_chosen = selection.selected() == Some(track);
        if selection.pending == Some(track) {
            selection.pending = None;
            self.timers.cancel(Timer::LateSender(sender));
        }
        if selection.current == Some(track) {
            selection.current = None;
        }
        if was_chosen {
            // The one before the chosen one isn't gone back to: who chose knows better what to show now.
            self.unbind(sender);
            self.guarded(leg, |leg, out| leg.stop_sending(sender, now, out));
            self.out.events.push(Event::SourceEnded { sender, track });
        }
    }

    pub(super) fn forget_sender(&mut self, sender: SenderId) {
        self.unbind(sender);
        self.senders.remove(&sender);
    }

    fn unbind(&mut self, sender: SenderId) {
        self.timers.cancel(Timer::LateSender(sender));
        if let Some(selection) = self.senders.get_mut(&sender) {
            let (current, pending) = (selection.current.take(), selection.pending.take());
            self.unhear(sender, current);
            self.unhear(sender, pending);
        }
    }

    fn unhear(&mut self, sender: SenderId, track: Option<TrackId>) {
        let Some(track) = track else { return };
        if self.senders.get(&sender).is_some_and(|selection| selection.hears(track)) {
            return;
        }
        if let Some(track) = self.bus.track_mut(track) {
            track.senders.retain(|&(_, other)| other != sender);
        }
    }
}
