//! Outbound timestamps: continuous whatever the source does.

use crate::unit::{Ns, Unit};

/// A pts that moved so much more or less than time passed is a jump of the source's.
const JUMP_NS: i64 = 3_000_000_000;

#[derive(Debug)]
pub struct Clock {
    clock_hz: u32,
    /// Of the source's pts.
    source_hz: u32,
    /// A pts of the running source and its timestamp.
    anchor: Option<(i64, u32)>,
    last_pts: i64,
    /// The newest timestamp given, and when.
    newest: u32,
    newest_at: Option<Ns>,
    /// A timestamp and when what has it was captured, for sender reports.
    captured: Option<(u32, Ns)>,
}

impl Clock {
    /// `first`: random (RFC 3550 5.1).
    pub fn new(clock_hz: u32, first: u32) -> Clock {
        Clock {
            clock_hz,
            source_hz: clock_hz,
            anchor: None,
            last_pts: 0,
            newest: first,
            newest_at: None,
            captured: None,
        }
    }

    pub fn hz(&self) -> u32 {
        self.clock_hz
    }

    /// Another clock after a re-offer: timestamps go on where they are.
    pub fn set_hz(&mut self, clock_hz: u32, now: Ns) {
        if clock_hz != self.clock_hz {
            if self.newest_at.is_some() {
                (self.newest, self.newest_at) = (self.running(now), Some(now));
            }
            self.clock_hz = clock_hz;
            self.anchor = None;
        }
    }

    /// The next unit has no common time with those before.
    pub fn restart(&mut self, source_hz: u32) {
        self.source_hz = source_hz;
        self.anchor = None;
    }

    /// Where the timestamps are at `now`, if nothing is sent: later than everything given.
    pub fn running(&self, now: Ns) -> u32 {
        let Some(at) = self.newest_at else { return self.newest };
        self.newest.wrapping_add((self.ticks(now.saturating_sub(at))).max(1))
    }

    /// The timestamp of a unit of the source.
    pub fn stamp(&mut self, unit: &Unit, now: Ns) -> u32 {
        if let (Some(_), Some(at)) = (self.anchor, self.newest_at) {
            let moved = i128::from(unit.pts - self.last_pts) * 1_000_000_000 / i128::from(self.source_hz);
            let passed = i128::from(now) - i128::from(at);
            if (moved - passed).abs() > i128::from(JUMP_NS) {
                self.anchor = None;
            }
        }
        let anchored = self.anchor;
        let running = self.running(now);
        let (pts, timestamp) = *self.anchor.get_or_insert((unit.pts, running));
        let moved = i128::from(unit.pts - pts) * i128::from(self.clock_hz) / i128::from(self.source_hz);
        let stamp = timestamp.wrapping_add(moved as u32);
        self.last_pts = unit.pts;
        self.captured = Some((stamp, if unit.capture == 0 { unit.arrival } else { unit.capture }));
        if anchored.is_none() || (stamp.wrapping_sub(self.newest) as i32) > 0 {
            self.newest = stamp;
            self.newest_at = Some(now);
        }
        stamp
    }

    /// The timestamp of something that has no pts here, at `at`, not before `now`: a picture of a kept group, a key.
    pub fn stamp_at(&mut self, at: Ns) -> u32 {
        let stamp = self.running(at);
        self.newest = stamp;
        self.newest_at = Some(at);
        self.captured = Some((stamp, at));
        // live units go on from there
        self.anchor = None;
        stamp
    }

    /// The timestamp that belongs to this instant, for a sender report: what is captured now gets it. None before the
    /// first unit.
    pub fn report(&self, now: Ns) -> Option<u32> {
        let (stamp, captured) = self.captured?;
        let passed = i128::from(now) - i128::from(captured);
        Some(stamp.wrapping_add((passed * i128::from(self.clock_hz) / 1_000_000_000) as u32))
    }

    fn ticks(&self, ns: Ns) -> u32 {
        (u128::from(ns) * u128::from(self.clock_hz) / 1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{Codec, TrackId};

    const MS: Ns = 1_000_000;

    fn unit(pts: i64, capture: Ns) -> Unit {
        Unit {
            track: TrackId(1),
            codec: Codec::H264,
            pts,
            dts: pts,
            keyframe: false,
            contiguous: true,
            capture,
            arrival: capture,
            payload: Box::default(),
            nals: Box::default(),
            level: None,
        }
    }

    #[test]
    fn goes_on_over_a_switch_and_a_jump_with_what_time_passed() {
        let mut clock = Clock::new(90_000, u32::MAX - 1000);
        let first = clock.stamp(&unit(5_000_000, 0), 1000 * MS);
        assert_eq!(first, u32::MAX - 1000);
        assert_eq!(clock.stamp(&unit(5_003_000, 0), 1034 * MS).wrapping_sub(first), 3000);
        clock.restart(1000);
        let second = clock.stamp(&unit(77, 0), 1074 * MS);
        assert_eq!(second.wrapping_sub(first), 3000 + 3600);
        assert_eq!(clock.stamp(&unit(77 + 40, 0), 1114 * MS).wrapping_sub(second), 3600);
        let jumped = clock.stamp(&unit(900_000, 0), 1154 * MS);
        assert_eq!(jumped.wrapping_sub(second), 7200);
    }

    #[test]
    fn b_pictures_have_smaller_timestamps_than_those_before() {
        let mut clock = Clock::new(90_000, 0);
        let stamps =
            [0, 9000, 3000, 6000, 18_000].map(|pts| clock.stamp(&unit(1 << 32 | pts, 0), pts as u64 * 11 * 1000));
        assert_eq!(stamps, [0, 9000, 3000, 6000, 18_000]);
    }

    #[test]
    fn what_is_stamped_by_time_and_what_follows_never_go_back() {
        let mut clock = Clock::new(8000, 100);
        clock.stamp(&unit(0, 0), 1000 * MS);
        assert_eq!(clock.stamp_at(1020 * MS), 260);
        assert_eq!(clock.stamp_at(1020 * MS), 261);
        assert_eq!(clock.stamp(&unit(160_000, 0), 1040 * MS), 421);
    }

    #[test]
    fn a_report_says_what_is_captured_now() {
        let mut clock = Clock::new(90_000, 7);
        assert_eq!(clock.report(0), None);
        clock.stamp(&unit(0, 900 * MS), 1000 * MS);
        assert_eq!(clock.report(1000 * MS), Some(7 + 9000));
        assert_eq!(clock.report(890 * MS), Some(7u32.wrapping_sub(900)));
    }
}
