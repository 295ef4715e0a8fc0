//! One input: its queue of units by media time, and what is played of it at each tick.
//!
//! Positions are samples at the codec's rate since the first unit of an epoch; an epoch ends when the codec changes or
//! the sender's clock jumps.

use super::codec::{self, Decoder, Format};
use super::level::Meter;
use super::playout::{Playout, Source};
use super::report::InputReport;
use super::timing::{Arrival, Timing};
use super::STEP;
use crate::unit::{Codec, Ns, TrackId, UnitRef};
use std::collections::VecDeque;

/// Units that may wait: more than a second of any packet time but the shortest.
const MOST_WAITING: usize = 64;
/// An epoch's pts stay this near to its first; others are a jump. Keeps the arithmetic far from overflow.
const FARTHEST_TICKS: i64 = 1 << 42;
const SECOND_NS: i128 = 1_000_000_000;

pub struct Waiting {
    pub position: i64,
    pub samples: usize,
    pub unit: UnitRef,
}

/// Counted since the input came.
#[derive(Default)]
pub struct Counts {
    pub units: u64,
    pub concealed: u64,
    pub fec: u64,
    pub late: u64,
    pub broken: u64,
    pub overflowed: u64,
}

/// What belongs to one run of one codec on one clock.
pub struct Epoch {
    pub codec: Codec,
    pub format: Format,
    pub decoder: Decoder,
    first_pts: i64,
}

impl Epoch {
    fn new(codec: Codec, first_pts: i64) -> Option<Self> {
        Some(Epoch { codec, format: codec::format(codec)?, decoder: Decoder::new(codec)?, first_pts })
    }

    /// None when the pts can't belong to this epoch.
    fn position(&self, pts: i64) -> Option<i64> {
        let ticks = pts.checked_sub(self.first_pts)?;
        let near = ticks.checked_abs()? < FARTHEST_TICKS;
        near.then(|| ticks * i64::from(self.format.rate_hz / self.format.clock_hz))
    }

    pub fn to_ns(&self, position: i64) -> i64 {
        (i128::from(position) * SECOND_NS / i128::from(self.format.rate_hz)) as i64
    }

    pub fn to_samples(&self, ns: i64) -> i64 {
        (i128::from(ns) * i128::from(self.format.rate_hz) / SECOND_NS) as i64
    }
}

pub struct Input {
    pub track: TrackId,
    /// No longer wanted: played once more, fading out.
    pub leaving: bool,
    epoch: Option<Epoch>,
    queue: VecDeque<Waiting>,
    timing: Timing,
    playout: Playout,
    meter: Meter,
    counts: Counts,
    step: Box<[f32; STEP]>,
    /// When the first sample of `step` was captured (or arrived).
    captured: Option<Ns>,
}

impl Input {
    pub fn new(track: TrackId) -> Self {
        Input {
            track,
            leaving: false,
            epoch: None,
            queue: VecDeque::with_capacity(MOST_WAITING + 1),
            timing: Timing::default(),
            playout: Playout::default(),
            meter: Meter::default(),
            counts: Counts::default(),
            step: Box::new([0.0; STEP]),
            captured: None,
        }
    }

    pub fn push(&mut self, unit: &UnitRef, now: Ns) {
        let Some(samples) = codec::samples(unit.codec, &unit.payload) else {
            self.counts.broken += 1;
            return;
        };
        self.counts.units += 1;
        let same = self.epoch.as_ref().is_some_and(|epoch| epoch.codec == unit.codec);
        let placed = if same { self.place(unit, now) } else { None };
        match placed {
            Some((position, Arrival::Regular)) => self.enqueue(position, samples, unit),
            Some((_, Arrival::Stray)) => self.counts.late += 1,
            Some((_, Arrival::Jumped)) | None => {
                self.begin_epoch(unit);
                if let Some((position, _)) = self.place(unit, now) {
                    self.enqueue(position, samples, unit);
                }
            }
        }
    }

    /// Where the unit belongs in this epoch, and how it came. Notes its transit.
    fn place(&mut self, unit: &UnitRef, now: Ns) -> Option<(i64, Arrival)> {
        let epoch = self.epoch.as_ref()?;
        let position = epoch.position(unit.pts)?;
        Some((position, self.timing.note(now as i64 - epoch.to_ns(position), now)))
    }

    fn begin_epoch(&mut self, unit: &UnitRef) {
        let same = self.epoch.take().filter(|epoch| epoch.codec == unit.codec);
        self.epoch = match same {
            // The decoder goes on: it is the same sound on another clock.
            Some(epoch) => Some(Epoch { first_pts: unit.pts, ..epoch }),
            None => Epoch::new(unit.codec, unit.pts),
        };
        self.queue.clear();
        self.timing.restart();
        self.playout.stop();
    }

    fn enqueue(&mut self, position: i64, samples: usize, unit: &UnitRef) {
        let Some(epoch) = &self.epoch else { return };
        if !self.playout.accepts(epoch, &self.timing, position, samples) {
            self.counts.late += 1;
            return;
        }
        let after = self.queue.partition_point(|waiting| waiting.position < position);
        if self.queue.get(after).is_some_and(|waiting| waiting.position == position) {
            return; // sent twice
        }
        self.queue.insert(after, Waiting { position, samples, unit: unit.clone() });
        if self.queue.len() > MOST_WAITING {
            self.counts.overflowed += 1;
            self.queue.pop_front();
        }
    }

    /// Plays 20 ms into `step`.
    pub fn tick(&mut self, now: Ns) {
        let source = self.epoch.as_mut().map(|epoch| Source {
            epoch,
            queue: &mut self.queue,
            timing: &self.timing,
            counts: &mut self.counts,
            pausing: !self.meter.active(),
        });
        let playing = source.is_some_and(|source| self.playout.tick(source, now, &mut self.step));
        self.captured = if playing { self.playout.captured() } else { None };
        if playing {
            self.meter.update(&self.step);
        } else {
            self.step.fill(0.0);
            self.meter.update_silent();
        }
    }

    pub fn step(&self) -> &[f32; STEP] {
        &self.step
    }

    pub fn captured(&self) -> Option<Ns> {
        self.captured
    }

    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    pub fn report(&self) -> InputReport {
        InputReport {
            track: self.track,
            codec: self.epoch.as_ref().map(|epoch| epoch.codec),
            buffered_ms: (self.playout.depth(&self.timing) / 1_000_000) as u32,
            level_dbov: self.meter.dbov(),
            active: self.meter.active(),
            units: self.counts.units,
            concealed_frames: self.counts.concealed,
            fec_frames: self.counts.fec,
            late_units: self.counts.late,
            broken_units: self.counts.broken,
            overflowed_units: self.counts.overflowed,
            drift_ppm: self.playout.pace().drift_ppm(),
        }
    }
}
