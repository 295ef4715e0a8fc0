//! A track: what it carries now, who listens, what is kept for who comes late, and its figures.

use super::cache::{GopCache, SoundCache};
use super::reordering::Reordering;
use super::wish::Wish;
use crate::nal::{ParameterSets, Syntax};
use crate::payload::vp8;
use crate::unit::{Codec, LegId, Ns, QueueId, ReceiverId, SenderId, TrackId, Unit, UnitRef};

#[derive(Debug)]
pub struct Track {
    pub id: TrackId,
    pub stream: u32,
    pub video: bool,
    /// Follows what arrives.
    pub codec: Codec,
    pub clock_hz: u32,
    pub channels: u8,
    /// The receivers that feed it, newest last; none for a track written by Python or a mixer.
    pub sources: Vec<(LegId, ReceiverId)>,
    pub senders: Vec<(LegId, SenderId)>,
    pub queues: Vec<QueueId>,
    pub cache: GopCache,
    /// Of audio beside video: since the picture's last key frame.
    pub sound: SoundCache,
    pub wish: Wish,
    pub parameter_sets: ParameterSets,
    pub size: Option<(u32, u32)>,
    /// Of video; audio is never reordered.
    pub reordering: Reordering,
    pub counts: TrackCounts,
    pub rate: Rate,
}

#[derive(Default, Clone, Copy, Debug)]
pub struct TrackCounts {
    pub units: u64,
    pub bytes: u64,
    pub keyframes: u64,
    /// Places where something was missing.
    pub lost_units: u64,
    /// Asked of the source.
    pub keyframe_requests: u64,
}

impl Track {
    pub fn watched(&self) -> bool {
        !self.senders.is_empty() || !self.queues.is_empty()
    }

    /// Counts and keeps one unit, with the parameter sets that a key frame lacks put before it, so that whoever joins
    /// there can decode. True when the parameter sets changed.
    pub fn take_in(&mut self, mut unit: Unit, now: Ns) -> (UnitRef, bool) {
        self.codec = unit.codec;
        self.counts.units += 1;
        self.counts.bytes += unit.payload.len() as u64;
        self.counts.lost_units += u64::from(!unit.contiguous);
        self.rate.add(unit.payload.len(), now);
        if !self.video {
            return (unit.into(), false);
        }
        self.counts.keyframes += u64::from(unit.keyframe);
        let mut changed = false;
        if Syntax::of(unit.codec) == Some(self.parameter_sets.syntax()) {
            changed = self.parameter_sets.keep_all(unit.nal_units());
            if unit.keyframe {
                if let Some((payload, nals)) = self.parameter_sets.prepended(&unit.payload, &unit.nals) {
                    (unit.payload, unit.nals) = (payload, nals);
                }
            }
        }
        let unit = UnitRef::new(unit);
        self.cache.push(&unit);
        (unit, changed)
    }

    /// The picture's size if it is news.
    pub fn new_size(&mut self, unit: &UnitRef) -> Option<(u32, u32)> {
        let size = match unit.codec {
            Codec::H264 | Codec::H265 => self.parameter_sets.size(),
            Codec::Vp8 => vp8::keyframe_size(&unit.payload),
            _ => None,
        }?;
        (self.size.replace(size) != Some(size)).then_some(size)
    }
}

/// Units and bits per second over the last whole second or so.
#[derive(Default, Clone, Copy, Debug)]
pub struct Rate {
    since: Ns,
    units: u32,
    bytes: u64,
    last: (f32, u64),
}

const WINDOW: Ns = 1_000_000_000;

impl Rate {
    pub fn add(&mut self, bytes: usize, now: Ns) {
        self.turn(now);
        self.units += 1;
        self.bytes += bytes as u64;
    }

    /// (units per second, bits per second)
    pub fn read(&mut self, now: Ns) -> (f32, u64) {
        self.turn(now);
        self.last
    }

    fn turn(&mut self, now: Ns) {
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        self.last = if passed > 2 * WINDOW {
            (0.0, 0)
        } else {
            let seconds = passed as f64 / 1e9;
            ((f64::from(self.units) / seconds) as f32, (self.bytes as f64 * 8.0 / seconds) as u64)
        };
        (self.since, self.units, self.bytes) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_and_falls_to_nothing() {
        let mut rate = Rate::default();
        for frame in 0..90u64 {
            rate.add(1000, 10_000_000_000 + frame * 33_333_333);
        }
        let (fps, bps) = rate.read(13_010_000_000);
        assert!((29.0..31.0).contains(&fps) && (232_000..248_000).contains(&bps), "{fps} {bps}");
        assert_eq!(rate.read(20_000_000_000), (0.0, 0));
    }
}
