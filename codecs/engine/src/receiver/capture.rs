//! When a unit was captured, on our clock, so that the tracks of one source keep together.
//!
//! Two things are learned of a source: how long before its arrival a packet's timestamp lies (the least of it: the rest
//! is the network's jitter), and how much of that passed between capture and sending, which its sender reports tell. The
//! first follows the drift of its clock, the second hardly ever changes.
//!
//! The NTP timestamps are not used: a report's arrival says when its RTP timestamp was, with no more error than the
//! network's jitter, and a device whose wall clock is set in mid-call, or whose audio and video reports come from
//! different clocks, does no harm.

use crate::unit::Ns;

/// The least transit is the least of the last one to two of these.
const BUCKET: Ns = 2_000_000_000;
/// More than this no device takes between capture and sending; a report that says more is wrong.
const MAX_DELAY: i64 = 1_000_000_000;
/// A report may itself be late, and then says less than nothing.
const MAX_LATENESS: i64 = 500_000_000;
/// Reports of which the median counts.
const REPORTS: usize = 5;
/// A change is followed at this part of time's pace, so that it isn't seen or heard.
const SLEW: i64 = 50;
/// Above this it can't be followed slowly.
const STEP: i64 = 500_000_000;

#[derive(Default, Debug)]
pub struct CaptureClock {
    /// Least arrival minus media time of the running bucket and the one before.
    least: Option<(i64, i64)>,
    bucket_until: Ns,
    delays: Vec<i64>,
    delay: i64,
    /// Capture minus media time, as it is given out, and when it last was.
    offset: Option<(i64, Ns)>,
    pub bad_reports: u64,
}

impl CaptureClock {
    /// The source's timestamps have another relation to time from now on.
    pub fn restart(&mut self) {
        self.least = None;
        self.offset = None;
    }

    /// A packet came. One that was sent again is late, which the least transit doesn't notice.
    pub fn packet(&mut self, media_ns: i64, arrival: Ns) {
        let transit = arrival as i64 - media_ns;
        self.least = Some(match self.least {
            None => {
                self.bucket_until = arrival + BUCKET;
                (transit, transit)
            }
            Some((running, _)) if arrival >= self.bucket_until => {
                self.bucket_until = arrival + BUCKET;
                (transit, running)
            }
            Some((running, before)) => (running.min(transit), before),
        });
    }

    /// A sender report whose RTP timestamp is `media_ns`.
    pub fn report(&mut self, media_ns: i64, arrival: Ns) {
        let Some(least) = self.least() else { return };
        let delay = least - (arrival as i64 - media_ns);
        if !(-MAX_LATENESS..=MAX_DELAY).contains(&delay) {
            self.bad_reports += 1;
            return;
        }
        if self.delays.len() == REPORTS {
            self.delays.remove(0);
        }
        self.delays.push(delay);
        let mut sorted = self.delays.clone();
        sorted.sort_unstable();
        if self.delays.len() == 1 {
            // from now on it is known what was guessed
            self.offset = None;
        }
        self.delay = sorted[sorted.len() / 2].max(0);
    }

    /// When what has this media time was captured. 0: nothing is known yet.
    pub fn capture(&mut self, media_ns: i64, arrival: Ns) -> Ns {
        let Some(least) = self.least() else { return 0 };
        let wanted = least - self.delay;
        let offset = match self.offset {
            Some((offset, at)) if (wanted - offset).abs() < STEP => {
                let reach = arrival.saturating_sub(at) as i64 / SLEW;
                offset + (wanted - offset).clamp(-reach, reach)
            }
            _ => wanted,
        };
        self.offset = Some((offset, arrival.max(self.offset.map_or(0, |offset| offset.1))));
        (media_ns + offset).clamp(1, arrival.max(1) as i64) as Ns
    }

    fn least(&self) -> Option<i64> {
        self.least.map(|(running, before)| running.min(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A source that captures every `every` ms on a clock that is `ppm` fast, and sends `delay` ms later.
    struct Source {
        clock: CaptureClock,
        ppm: i64,
        delay: i64,
        origin: i64,
    }

    impl Source {
        fn new(ppm: i64, delay: i64, origin: i64) -> Source {
            Source { clock: CaptureClock::default(), ppm, delay, origin }
        }

        fn media(&self, true_ns: i64) -> i64 {
            self.origin + true_ns + true_ns / 1_000_000 * self.ppm
        }

        /// What was captured at `true_ns` arrives; the error in ms of the capture time that comes out.
        fn frame(&mut self, true_ns: i64, jitter: i64) -> i64 {
            let arrival = (true_ns + self.delay * MS + jitter) as Ns;
            let media = self.media(true_ns);
            self.clock.packet(media, arrival);
            (self.clock.capture(media, arrival) as i64 - true_ns) / MS
        }

        fn report(&mut self, true_ns: i64, jitter: i64, wrong_by: i64) {
            let media = self.media(true_ns) + wrong_by;
            self.clock.report(media, (true_ns + jitter) as Ns);
        }
    }

    fn jitter(n: i64) -> i64 {
        (n * 7919 % 23) * MS
    }

    #[test]
    fn sound_and_picture_keep_together_for_hours_of_drift() {
        // the picture takes 120 ms to encode, and its clock is 400 ppm off the sound's
        let (mut audio, mut video) = (Source::new(200, 20, 5 << 32), Source::new(-200, 120, 77 << 32));
        let mut worst = 0;
        for n in 0..3 * 3600 * 50i64 {
            let at = 1_000_000_000 + n * 20 * MS;
            let sound = audio.frame(at, jitter(n));
            let picture = if n % 2 == 0 { Some(video.frame(at, jitter(n + 5))) } else { None };
            if n % 250 == 3 {
                audio.report(at, jitter(n + 1), 0);
                video.report(at, jitter(n + 2), 0);
            }
            if n > 1500 {
                worst = picture.map_or(worst, |picture| worst.max((picture - sound).abs()));
            }
        }
        assert!(worst <= 25, "{worst} ms");
    }

    #[test]
    fn a_report_that_is_two_seconds_off_changes_nothing() {
        let mut source = Source::new(0, 100, 1 << 33);
        let mut errors = vec![];
        for n in 0..3000i64 {
            let at = 1_000_000_000 + n * 20 * MS;
            errors.push(source.frame(at, 0));
            if n % 250 == 249 {
                let wrong_by = if n > 1500 { 2_000 * MS } else { 0 };
                source.report(at, 0, wrong_by);
            }
        }
        assert_eq!((errors[10], errors[1499], errors[2999]), (100, 0, 0));
        assert!(errors[300..].iter().all(|&error| error == 0));
        assert!(source.clock.bad_reports > 0);
    }

    #[test]
    fn a_longer_way_is_followed_slowly() {
        let mut source = Source::new(0, 20, 1 << 33);
        let mut last = None;
        for n in 0..1500i64 {
            let at = 1_000_000_000 + n * 20 * MS;
            let error = source.frame(at, if n < 500 { 0 } else { 60 * MS });
            assert!(last.is_none_or(|last: i64| (error - last).abs() <= 1), "{last:?} {error}");
            last = Some(error);
        }
        assert_eq!(last, Some(80));
    }

    #[test]
    fn never_after_the_arrival() {
        let mut clock = CaptureClock::default();
        assert_eq!(clock.capture(0, 5), 0);
        clock.packet(1000, 5000);
        clock.report(i64::MAX / 2, 6000);
        assert!(clock.capture(900_000, 6000) <= 6000);
    }
}
