//! The line of decoded samples between a decoder and the resampler: what was played lately, then what is to come.

use super::resample::TAPS;

/// Samples kept of what was played: 40 ms of 48 kHz, for the concealment's search and the resampler's taps.
pub const PAST: usize = 1_920;
/// Samples played before the line is moved to its beginning.
const MOVE_AFTER: usize = 4 * PAST;

pub struct Line {
    samples: Vec<f32>,
    /// Index of the next sample to play; never below `PAST`.
    read: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { samples: vec![0.0; PAST], read: PAST }
    }
}

impl Line {
    /// Nothing to come, silence behind.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.samples.resize(PAST, 0.0);
        self.read = PAST;
    }

    /// Samples to come.
    pub fn ahead(&self) -> usize {
        self.samples.len() - self.read
    }

    /// Appends `count` zeros and returns them to be written.
    pub fn grow(&mut self, count: usize) -> &mut [f32] {
        let start = self.samples.len();
        self.samples.resize(start + count, 0.0);
        &mut self.samples[start..]
    }

    /// Takes back up to `count` of the samples appended last; what was played stays.
    pub fn shrink(&mut self, count: usize) {
        let len = (self.samples.len() - count.min(self.ahead())).max(PAST);
        self.samples.truncate(len);
    }

    /// Takes out the first `skip` of the last `count` samples.
    pub fn cut(&mut self, count: usize, skip: usize) {
        let start = self.samples.len() - count;
        self.samples.copy_within(start + skip.., start);
        self.samples.truncate(self.samples.len() - skip);
    }

    /// The last `count` samples to be changed, and the `PAST` before them.
    pub fn split_tail(&mut self, count: usize) -> (&[f32], &mut [f32]) {
        let start = self.samples.len() - count;
        let (before, tail) = self.samples.split_at_mut(start);
        (&before[start - PAST.min(start)..], tail)
    }

    /// What the resampler reads: `TAPS / 2 - 1` samples that were played, then those to come.
    pub fn window(&self) -> &[f32] {
        &self.samples[self.read - (TAPS / 2 - 1)..]
    }

    /// `count` samples were played.
    pub fn advance(&mut self, count: usize) {
        self.read += count;
        if self.read > PAST + MOVE_AFTER {
            let gone = self.read - PAST;
            self.samples.copy_within(gone.., 0);
            self.samples.truncate(self.samples.len() - gone);
            self.read = PAST;
        }
    }
}
