//! Whether a track's pictures come in another order than they are shown (B-pictures), measured from their times.
//!
//! Measured and not read from a parameter set: what an SPS allows says nothing about what an encoder does, and a
//! browser shows such a track badly, so that somebody has to be told.

use crate::unit::Ns;

/// A pts that falls back so far begins a new time line: 16 pictures, the most that H.264 and H.265 reorder, at 8 fps.
const RESTART_NS: i64 = 2_000_000_000;
/// Without a reordered picture for so long it has ended.
const ENDED_AFTER: Ns = 5_000_000_000;
/// Told at most this often.
const TELL_EVERY: Ns = 1_000_000_000;

#[derive(Debug)]
pub struct Reordering {
    clock_hz: u32,
    highest: Option<i64>,
    units: u64,
    longest_ticks: i64,
    /// Of the reordering that goes on now; 0 when none does.
    running_ticks: i64,
    seen_at: Ns,
    told_ticks: i64,
    told_at: Option<Ns>,
}

impl Reordering {
    pub fn new(clock_hz: u32) -> Reordering {
        Reordering {
            clock_hz,
            highest: None,
            units: 0,
            longest_ticks: 0,
            running_ticks: 0,
            seen_at: 0,
            told_ticks: 0,
            told_at: None,
        }
    }

    /// Units whose pts was below the highest before them in decoding order.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// How long a picture must be held back at most so that all leave in the order they are shown.
    pub fn longest_ms(&self) -> u32 {
        self.ms(self.longest_ticks)
    }

    /// The next unit in decoding order. What is news: the milliseconds when reordering began or needs more than was
    /// told, 0 when it ended.
    pub fn see(&mut self, pts: i64, now: Ns) -> Option<u32> {
        let highest = *self.highest.get_or_insert(pts);
        let behind = highest.saturating_sub(pts);
        let restart = i128::from(behind) * 1_000_000_000 > i128::from(RESTART_NS) * i128::from(self.clock_hz);
        if behind > 0 && !restart {
            self.units += 1;
            self.longest_ticks = self.longest_ticks.max(behind);
            self.running_ticks = self.running_ticks.max(behind);
            self.seen_at = now;
        } else {
            self.highest = Some(pts);
            if now.saturating_sub(self.seen_at) > ENDED_AFTER {
                self.running_ticks = 0;
            }
        }
        self.news(now)
    }

    fn news(&mut self, now: Ns) -> Option<u32> {
        let differs = self.running_ticks != self.told_ticks;
        if !differs || self.told_at.is_some_and(|at| now < at + TELL_EVERY) {
            return None;
        }
        (self.told_ticks, self.told_at) = (self.running_ticks, Some(now));
        Some(self.ms(self.running_ticks))
    }

    /// Rounded up: a buffer that long is long enough, and what exists isn't 0.
    fn ms(&self, ticks: i64) -> u32 {
        let ms = (i128::from(ticks) * 1000 + i128::from(self.clock_hz) - 1) / i128::from(self.clock_hz);
        u32::try_from(ms).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Ns = 40_000_000;

    /// Pictures at 25 fps by their display numbers, in decoding order; what was told, with the picture it came at.
    fn told(seen: &mut Reordering, from: usize, order: impl IntoIterator<Item = i64>) -> Vec<(usize, u32)> {
        let order = order.into_iter().enumerate();
        order.filter_map(|(at, n)| Some((at, seen.see(n * 3600, (from + at) as Ns * FRAME)?))).collect()
    }

    /// I B P B P ... with `b` B-pictures between, decoded after the P they refer to.
    fn with_b(count: i64, b: i64) -> impl Iterator<Item = i64> {
        (0..count / (b + 1)).flat_map(move |group| {
            let p = (group + 1) * (b + 1);
            std::iter::once(p).chain(p - b..p)
        })
    }

    #[test]
    fn b_pictures_are_counted_measured_and_told_once() {
        let mut seen = Reordering::new(90_000);
        assert_eq!(told(&mut seen, 0, with_b(300, 2)), [(1, 80)]);
        assert_eq!((seen.units(), seen.longest_ms()), (200, 80));
    }

    #[test]
    fn in_order_is_silent_and_a_source_that_starts_again_is_not_reordered() {
        let mut seen = Reordering::new(90_000);
        assert!(told(&mut seen, 0, 0..500).is_empty());
        assert!(told(&mut seen, 500, 0..500).is_empty());
        assert_eq!((seen.units(), seen.longest_ms()), (0, 0));
    }

    #[test]
    fn more_delay_and_the_end_are_told_at_most_once_a_second() {
        let mut seen = Reordering::new(90_000);
        // 40 ms at first, 120 ms right after: said when a second has passed
        let order = [1, 0, 5, 2, 3, 4].into_iter().chain(6..300);
        let events = told(&mut seen, 0, order);
        // the newest reordered picture is number 5, its end is sure at the first picture more than 5 s later
        assert_eq!(events, [(1, 40), (26, 120), (131, 0)]);
        assert_eq!((seen.units(), seen.longest_ms()), (4, 120));
        assert_eq!(told(&mut seen, 300, [301, 300]), [(1, 40)]);
    }

    proptest! {
        #[test]
        fn any_times_are_taken(clock in 1u32.., all in proptest::collection::vec((0i64.., any::<Ns>()), 0..50)) {
            let mut seen = Reordering::new(clock);
            let mut now = 0u64;
            for (pts, passed) in all {
                now = now.saturating_add(passed >> 8);
                seen.see(pts, now);
            }
            prop_assert!(seen.longest_ms() <= 2001);
        }
    }
}
