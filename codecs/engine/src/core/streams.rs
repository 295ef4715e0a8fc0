//! Streams, tracks and readers, with what follows for those who listen.

use super::{Core, Timer};
use crate::bus::{Bus, BusError};
use crate::output::Event;
use crate::unit::{Codec, Ns, QueueId, SenderId, TrackId, Unit};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaKind {
    Audio,
    Video,
}

impl MediaKind {
    pub fn is_video(self) -> bool {
        self == MediaKind::Video
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NewTrack {
    pub kind: MediaKind,
    pub codec: Codec,
    pub clock_hz: u32,
    pub channels: u8,
}

/// A source that gives a key frame on request does so within this; after it, what is kept is sent.
pub(super) const LATE: Ns = 150_000_000;

impl Core {
    /// A new stream; its number.
    pub fn publish_stream(
        &mut self,
        name: &str,
        cache_limit: Ns,
        cache_bytes: usize,
        now: Ns,
    ) -> Result<u32, BusError> {
        let id = self.new_id();
        self.bus.publish(id, name, cache_limit, cache_bytes, now)?;
        Ok(id)
    }

    pub fn add_track(&mut self, stream: u32, new: NewTrack) -> Result<TrackId, BusError> {
        let id = TrackId(self.new_id());
        self.bus.add_track(stream, id, new.kind.is_video(), new.codec, new.clock_hz, new.channels)?;
        Ok(id)
    }

    pub fn remove_track(&mut self, id: TrackId, now: Ns) {
        if let Some(track) = self.bus.remove_track(id) {
            self.end_track(&track, now);
        }
    }

    pub fn close_stream(&mut self, id: u32, now: Ns) {
        for track in self.bus.close_stream(id) {
            self.end_track(&track, now);
        }
    }

    fn end_track(&mut self, track: &crate::bus::track::Track, now: Ns) {
        self.timers.cancel(Timer::Wish(track.id));
        for &(leg, sender) in &track.senders {
            self.end_source(leg, sender, track.id, now);
        }
        for &queue in &track.queues {
            // A subscription sees that it ended when it takes; a mixer, which is never woken, is told.
            match self.bus.reader(queue).map(|reader| reader.wake_every) {
                Some(Some(_)) => self.wakes.push(queue),
                Some(None) => self.out.events.push(Event::SourceEnded { sender: SenderId(queue.0), track: track.id }),
                None => {}
            }
        }
    }

    /// A unit that Python or a mixer wrote.
    pub fn publish(&mut self, unit: Unit, now: Ns) {
        self.route(unit, now);
        self.settle(now);
    }

    pub fn set_parameter_sets(&mut self, track: TrackId, nals: &[Vec<u8>]) -> Result<(), BusError> {
        self.bus.track(track)?;
        let Some(track) = self.bus.track_mut(track) else { return Ok(()) };
        for nal in nals {
            if !track.parameter_sets.syntax().is_set(nal) {
                return Err(BusError::NoParameterSet);
            }
            track.parameter_sets.keep(nal);
        }
        Ok(())
    }

    /// A reader of these tracks. `limit`: nanoseconds and bytes; `wake_every`: None for who comes by itself.
    /// `from_cache`: see `hear`.
    pub fn subscribe(
        &mut self,
        tracks: &[TrackId],
        limit: (Ns, usize),
        wake_every: Option<Ns>,
        from_cache: bool,
        now: Ns,
    ) -> Result<QueueId, BusError> {
        for &track in tracks {
            self.bus.track(track)?;
        }
        let id = QueueId(self.new_id());
        self.bus.open_reader(id, limit.0, limit.1, wake_every);
        self.hear(id, tracks, from_cache, now)?;
        self.settle(now);
        Ok(id)
    }

    /// From now on a reader hears these tracks and no others. What is queued of the others is dropped.
    pub fn reselect(&mut self, id: QueueId, tracks: &[TrackId], from_cache: bool, now: Ns) -> Result<(), BusError> {
        for &track in tracks {
            self.bus.track(track)?;
        }
        let Some(reader) = self.bus.reader(id) else { return Ok(()) };
        let heard = reader.queue.tracks();
        for &gone in heard.iter().filter(|track| !tracks.contains(track)) {
            self.timers.cancel(Timer::LateReader(id, gone));
            self.bus.unlisten(id, gone);
        }
        let added: Vec<TrackId> = tracks.iter().copied().filter(|track| !heard.contains(track)).collect();
        self.hear(id, &added, from_cache, now)?;
        self.settle(now);
        Ok(())
    }

    /// A reader begins to hear tracks: with what is kept of them when it wants that and there is something, else with the
    /// next key frame of each video, which is asked for. What is kept is sent at once where nobody can be asked (what
    /// Python writes, RTMP), and after a while where a leg's source could have given a key frame and didn't.
    fn hear(&mut self, id: QueueId, tracks: &[TrackId], from_cache: bool, now: Ns) -> Result<(), BusError> {
        for &track in tracks {
            self.bus.listen(id, track)?;
        }
        let limit_bytes = self.bus.reader(id).map_or(0, |reader| reader.queue.limit_bytes());
        let written = |bus: &Bus, id: TrackId| bus.track(id).is_ok_and(|track| track.sources.is_empty());
        let unasked: Vec<TrackId> = tracks.iter().copied().filter(|&id| from_cache && written(&self.bus, id)).collect();
        for unit in self.bus.kept(&unasked, limit_bytes) {
            self.hand(id, &unit, now);
        }
        for &track in tracks {
            if self.bus.reader(id).is_some_and(|reader| reader.queue.awaits_first(track)) {
                self.wish(track, now);
                if from_cache && !unasked.contains(&track) {
                    self.timers.at(Timer::LateReader(id, track), now + LATE);
                }
            }
        }
        Ok(())
    }

    pub(super) fn catch_up_reader(&mut self, id: QueueId, track: TrackId, now: Ns) {
        let Some(reader) = self.bus.reader(id) else { return };
        if reader.queue.awaits_first(track) {
            for unit in self.bus.kept(&[track], reader.queue.limit_bytes()) {
                self.hand(id, &unit, now);
            }
        }
    }

    pub fn close_reader(&mut self, id: QueueId) {
        let heard = self.bus.reader(id).map_or_else(Vec::new, |reader| reader.queue.tracks());
        for track in heard {
            self.timers.cancel(Timer::LateReader(id, track));
        }
        self.timers.cancel(Timer::Reader(id));
        self.bus.close_reader(id);
    }

    pub(super) fn wake_reader(&mut self, id: QueueId) {
        if let Some(reader) = self.bus.reader_mut(id) {
            reader.wake_at = None;
            if !reader.queue.is_empty() {
                self.wakes.push(id);
            }
        }
    }
}
