//! Streams by name, their tracks, and who listens to what. One publisher each, any number of subscribers.
//!
//! Holds no socket and reads no clock. It knows subscribers of two sorts: senders of legs (by number; `core` hands them
//! the units) and queues, which it keeps itself. A publisher never waits: whatever a subscriber can't take is dropped
//! in that subscriber's queue, counted there, and reported at most once a second.

pub mod cache;
pub mod queue;
pub mod reordering;
pub mod track;
pub mod wish;

use crate::nal::{ParameterSets, Syntax};
use crate::unit::{Codec, IdMap, Ns, QueueId, TrackId, UnitRef};
use cache::{GopCache, SoundCache};
use queue::{Pushed, UnitQueue};
use reordering::Reordering;
use std::collections::BTreeMap;
use track::Track;

const MAX_NAME_CHARS: usize = 200;
const REPORT_EVERY: Ns = 1_000_000_000;

/// What a caller asked wrongly.
#[derive(Debug, PartialEq, Eq)]
pub enum BusError {
    BadName,
    NameTaken(String),
    NoStream,
    NoTrack(TrackId),
    KindTaken(&'static str),
    NotAudio(TrackId),
    NotMixed(TrackId, Codec),
    NoParameterSet,
    KindDiffers { codec: Codec, video: bool },
}

impl std::fmt::Display for BusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BusError::BadName => write!(f, "a stream's name has 1 to {MAX_NAME_CHARS} characters"),
            BusError::NameTaken(name) => write!(f, "stream {name:?} already has a publisher"),
            BusError::NoStream => write!(f, "this stream is closed"),
            BusError::NoTrack(id) => write!(f, "there is no track {}", id.0),
            BusError::KindTaken(kind) => write!(f, "this stream already has a track of kind {kind}"),
            BusError::NotAudio(id) => write!(f, "track {} isn't audio: a mixer takes audio only", id.0),
            BusError::NotMixed(id, codec) => {
                write!(f, "track {} carries {}, which a mixer can't decode", id.0, codec.name())
            }
            BusError::NoParameterSet => {
                write!(f, "a parameter set is a VPS (H.265), SPS or PPS NAL unit without start code")
            }
            BusError::KindDiffers { codec, video } => {
                write!(f, "{} is no codec for {}", codec.name(), if *video { "video" } else { "audio" })
            }
        }
    }
}

#[derive(Debug)]
pub struct Stream {
    pub id: u32,
    pub name: String,
    pub opened: Ns,
    pub tracks: Vec<TrackId>,
    cache_limit: Ns,
    cache_bytes: usize,
}

/// A queue and when its reader wants to be woken.
#[derive(Debug)]
pub struct Reader {
    pub queue: UnitQueue,
    /// Woken at most this often; None: never, it comes by itself (a mixer).
    pub wake_every: Option<Ns>,
    /// When the reader is to be woken for what lies in the queue.
    pub wake_at: Option<Ns>,
    unreported: u32,
    reported: Option<Ns>,
}

#[derive(Default, Debug)]
pub struct Bus {
    names: BTreeMap<String, u32>,
    streams: IdMap<u32, Stream>,
    tracks: IdMap<TrackId, Track>,
    readers: IdMap<QueueId, Reader>,
}

/// What followed from handing a unit to a reader.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Wake the reader then; given once until it is woken.
    pub wake_at: Option<Ns>,
    pub wants_keyframe: bool,
    /// Units lost since it was last said.
    pub overflowed: Option<u32>,
}

impl Bus {
    pub fn publish(
        &mut self,
        id: u32,
        name: &str,
        cache_limit: Ns,
        cache_bytes: usize,
        now: Ns,
    ) -> Result<(), BusError> {
        if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
            return Err(BusError::BadName);
        }
        if self.names.contains_key(name) {
            return Err(BusError::NameTaken(name.to_owned()));
        }
        self.names.insert(name.to_owned(), id);
        let stream = Stream { id, name: name.to_owned(), opened: now, tracks: Vec::new(), cache_limit, cache_bytes };
        self.streams.insert(id, stream);
        Ok(())
    }

    pub fn add_track(
        &mut self,
        stream: u32,
        id: TrackId,
        video: bool,
        codec: Codec,
        clock_hz: u32,
        channels: u8,
    ) -> Result<(), BusError> {
        let stream = self.streams.get_mut(&stream).ok_or(BusError::NoStream)?;
        if codec.is_video() != video {
            return Err(BusError::KindDiffers { codec, video });
        }
        if stream.tracks.iter().any(|id| self.tracks.get(id).is_some_and(|track| track.video == video)) {
            return Err(BusError::KindTaken(if video { "video" } else { "audio" }));
        }
        stream.tracks.push(id);
        let track = Track {
            id,
            stream: stream.id,
            video,
            codec,
            clock_hz,
            channels,
            sources: Vec::new(),
            senders: Vec::new(),
            queues: Vec::new(),
            cache: GopCache::new(stream.cache_limit, stream.cache_bytes),
            sound: SoundCache::new(stream.cache_limit, stream.cache_bytes),
            wish: Default::default(),
            parameter_sets: ParameterSets::new(Syntax::of(codec).unwrap_or_default()),
            size: None,
            reordering: Reordering::new(clock_hz),
            counts: Default::default(),
            rate: Default::default(),
        };
        self.tracks.insert(id, track);
        Ok(())
    }

    /// Gives the track back, so that its subscribers can be told.
    pub fn remove_track(&mut self, id: TrackId) -> Option<Track> {
        let track = self.tracks.remove(&id)?;
        if let Some(stream) = self.streams.get_mut(&track.stream) {
            stream.tracks.retain(|&other| other != id);
            for beside in &stream.tracks {
                if let Some(beside) = self.tracks.get_mut(beside) {
                    // The sound of a group of pictures that is gone.
                    beside.sound.clear();
                }
            }
        }
        for queue in &track.queues {
            if let Some(reader) = self.readers.get_mut(queue) {
                // What is queued stays to be taken; the lane ends with it.
                reader.queue.end_track(id);
            }
        }
        Some(track)
    }

    pub fn close_stream(&mut self, id: u32) -> Vec<Track> {
        let Some(stream) = self.streams.get(&id) else { return Vec::new() };
        self.names.remove(&stream.name);
        let ended = stream.tracks.clone().into_iter().filter_map(|track| self.remove_track(track)).collect();
        self.streams.remove(&id);
        ended
    }

    /// Keeps the sound that comes while a group of pictures of its stream is kept, and drops it with the group.
    pub fn keep_sound(&mut self, unit: &UnitRef) {
        let Some(sibling) = self.sibling(unit.track) else { return };
        let video = self.tracks.get(&unit.track).is_some_and(|track| track.video);
        let grouped = !self.tracks.get(if video { &unit.track } else { &sibling }).is_none_or(|t| t.cache.is_empty());
        let Some(sound) = self.tracks.get_mut(if video { &sibling } else { &unit.track }) else { return };
        if !grouped || video && unit.keyframe {
            sound.sound.clear();
        }
        if grouped && !video {
            sound.sound.push(unit);
        }
    }

    /// The audio beside a video track, or the other way round.
    fn sibling(&self, id: TrackId) -> Option<TrackId> {
        let stream = self.streams.get(&self.tracks.get(&id)?.stream)?;
        stream.tracks.iter().copied().find(|&other| other != id)
    }

    /// What is kept for a reader that begins to hear these tracks, stream by stream in the order it came: of each video
    /// its group of pictures, of each audio what came since its stream's group began. Nothing of a stream whose kept units are more
    /// than `limit_bytes`: a queue that long would drop them again.
    pub fn kept(&self, tracks: &[TrackId], limit_bytes: usize) -> Vec<UnitRef> {
        let mut kept: Vec<UnitRef> = Vec::new();
        let mut left = limit_bytes;
        for id in tracks {
            let Some(track) = self.tracks.get(id).filter(|track| track.video) else { continue };
            let Some(first) = track.cache.units().first() else { continue };
            let sound = self.sibling(*id).filter(|sound| tracks.contains(sound)).and_then(|id| self.tracks.get(&id));
            let mut sound = sound.into_iter().flat_map(|sound| sound.sound.since(first.arrival)).peekable();
            let mut group: Vec<&UnitRef> = Vec::new();
            // Merged and not sorted: a picture whose packet came again is complete later than the one after it.
            for picture in track.cache.units() {
                while let Some(earlier) = sound.next_if(|unit| unit.arrival < picture.arrival) {
                    group.push(earlier);
                }
                group.push(picture);
            }
            group.extend(sound);
            let bytes: usize = group.iter().map(|unit| unit.payload.len()).sum();
            if bytes <= left {
                left -= bytes;
                kept.extend(group.into_iter().cloned());
            }
        }
        kept
    }

    pub fn find(&self, name: &str, video: bool) -> Option<TrackId> {
        let stream = self.named(name)?;
        stream.tracks.iter().copied().find(|id| self.tracks.get(id).is_some_and(|track| track.video == video))
    }

    pub fn stream(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    pub fn named(&self, name: &str) -> Option<&Stream> {
        self.streams.get(self.names.get(name)?)
    }

    /// In the order of their names.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.names.values().filter_map(|id| self.streams.get(id))
    }

    pub fn track(&self, id: TrackId) -> Result<&Track, BusError> {
        self.tracks.get(&id).ok_or(BusError::NoTrack(id))
    }

    pub fn track_mut(&mut self, id: TrackId) -> Option<&mut Track> {
        self.tracks.get_mut(&id)
    }

    pub fn open_reader(&mut self, id: QueueId, limit: Ns, limit_bytes: usize, wake_every: Option<Ns>) {
        let queue = UnitQueue::new(limit, limit_bytes);
        self.readers.insert(id, Reader { queue, wake_every, wake_at: None, unreported: 0, reported: None });
    }

    pub fn close_reader(&mut self, id: QueueId) {
        if let Some(reader) = self.readers.remove(&id) {
            for track in reader.queue.tracks() {
                if let Some(track) = self.tracks.get_mut(&track) {
                    track.queues.retain(|&queue| queue != id);
                }
            }
        }
    }

    pub fn reader(&self, id: QueueId) -> Option<&Reader> {
        self.readers.get(&id)
    }

    pub fn reader_mut(&mut self, id: QueueId) -> Option<&mut Reader> {
        self.readers.get_mut(&id)
    }

    pub fn reader_count(&self) -> usize {
        self.readers.len()
    }

    /// Let a queue hear a track. Hearing it already is fine.
    pub fn listen(&mut self, queue: QueueId, track: TrackId) -> Result<(), BusError> {
        let heard = self.tracks.get_mut(&track).ok_or(BusError::NoTrack(track))?;
        if let Some(reader) = self.readers.get_mut(&queue) {
            if !heard.queues.contains(&queue) {
                reader.queue.add_track(track, heard.video);
                heard.queues.push(queue);
            }
        }
        Ok(())
    }

    pub fn unlisten(&mut self, queue: QueueId, track: TrackId) {
        if let Some(track) = self.tracks.get_mut(&track) {
            track.queues.retain(|&other| other != queue);
        }
        if let Some(reader) = self.readers.get_mut(&queue) {
            reader.queue.remove_track(track);
        }
    }

    /// One unit into one queue.
    pub fn hand(&mut self, queue: QueueId, unit: &UnitRef, now: Ns) -> Handed {
        let Some(reader) = self.readers.get_mut(&queue) else { return Handed::default() };
        let Pushed { queued, dropped, wants_keyframe } = reader.queue.push(unit, now);
        let mut handed = Handed { wants_keyframe, ..Handed::default() };
        reader.unreported = reader.unreported.saturating_add(dropped);
        if reader.unreported > 0 && reader.reported.is_none_or(|at| now >= at + REPORT_EVERY) {
            handed.overflowed = Some(std::mem::take(&mut reader.unreported));
            reader.reported = Some(now);
        }
        if let (true, None, Some(every)) = (queued, reader.wake_at, reader.wake_every) {
            reader.wake_at = Some(now + every);
            handed.wake_at = reader.wake_at;
        }
        handed
    }
}

#[cfg(test)]
pub(crate) mod tests;
