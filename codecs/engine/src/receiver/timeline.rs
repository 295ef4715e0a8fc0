//! A source's timestamps to continuous media time, over wraps, jumps, new SSRCs and other clocks.

use crate::rtp::TimestampUnwrapper;
use crate::unit::Ns;

/// A timestamp that moved so much more or less than time passed is a jump of the source's, not the network's doing.
const JUMP_NS: i64 = 3_000_000_000;
/// pts of the first packet: what was sent before it has room below.
const FIRST_PTS: i64 = 1 << 32;

/// Where a packet lies in media time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Ticks of the track's clock.
    pub pts: i64,
    /// The packets before and this one have no common clock: what was learned of the relation of media time to
    /// arrival no longer holds.
    pub restarted: bool,
}

/// Takes packets in sequence order.
#[derive(Debug)]
pub struct Timeline {
    track_hz: u32,
    clock_hz: u32,
    timestamps: TimestampUnwrapper,
    /// A timestamp and its pts.
    anchor: Option<(i64, i64)>,
    last: Option<(i64, Ns)>,
    /// The largest pts given; a restart goes on from here.
    furthest: i64,
}

impl Timeline {
    pub fn new(track_hz: u32) -> Timeline {
        Timeline {
            track_hz,
            clock_hz: track_hz,
            timestamps: TimestampUnwrapper::default(),
            anchor: None,
            last: None,
            furthest: FIRST_PTS,
        }
    }

    /// The next packet comes from another SSRC, or nothing may be concluded from its timestamp.
    pub fn restart(&mut self) {
        self.timestamps = TimestampUnwrapper::default();
        self.anchor = None;
    }

    /// `clock_hz`: of the packet's payload type. `arrival` may lie before the previous one's (held back packets).
    pub fn place(&mut self, timestamp: u32, clock_hz: u32, arrival: Ns) -> Placed {
        if clock_hz != self.clock_hz {
            self.clock_hz = clock_hz;
            self.restart();
        }
        let mut ticks = self.timestamps.unwrap(timestamp);
        let jumped = self.anchor.is_some() && self.last.is_some_and(|last| self.jumps(last, ticks, arrival));
        if jumped {
            self.restart();
            ticks = self.timestamps.unwrap(timestamp);
        }
        let (anchor_ticks, anchor_pts) = *self.anchor.get_or_insert_with(|| {
            let pts = self.last.map_or(FIRST_PTS, |(_, last_arrival)| {
                let passed = arrival.saturating_sub(last_arrival);
                self.furthest + (scale(passed as i64, 1_000_000_000, self.track_hz)).max(1)
            });
            (ticks, pts)
        });
        let restarted = self.last.is_none() || anchor_ticks == ticks && anchor_pts > self.furthest;
        let pts = (anchor_pts + scale(ticks - anchor_ticks, self.clock_hz, self.track_hz)).max(0);
        self.last = Some((ticks, arrival));
        self.furthest = self.furthest.max(pts);
        Placed { pts, restarted }
    }

    /// The pts that a timestamp of the running source has (a sender report's). None before its first packet.
    pub fn peek(&self, timestamp: u32) -> Option<i64> {
        let (anchor_ticks, anchor_pts) = self.anchor?;
        Some(anchor_pts + scale(self.timestamps.peek(timestamp) - anchor_ticks, self.clock_hz, self.track_hz))
    }

    fn jumps(&self, (last_ticks, last_arrival): (i64, Ns), ticks: i64, arrival: Ns) -> bool {
        let moved = scale(ticks - last_ticks, self.clock_hz, 1_000_000_000);
        let passed = arrival as i64 - last_arrival as i64;
        (moved - passed).abs() > JUMP_NS
    }
}

/// Ticks of one clock in ticks of another.
fn scale(ticks: i64, from_hz: u32, to_hz: u32) -> i64 {
    if from_hz == to_hz {
        return ticks;
    }
    (i128::from(ticks) * i128::from(to_hz) / i128::from(from_hz)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Ns = 1_000_000;

    /// Places timestamps that come 20 ms apart.
    fn steps(timeline: &mut Timeline, from: Ns, clock_hz: u32, timestamps: &[u32]) -> Vec<i64> {
        let mut at = from;
        timestamps
            .iter()
            .map(|&timestamp| {
                at += 20 * MS;
                timeline.place(timestamp, clock_hz, at).pts
            })
            .collect()
    }

    #[test]
    fn goes_on_over_the_wrap() {
        let mut timeline = Timeline::new(8000);
        let first = u32::MAX - 159;
        let pts = steps(&mut timeline, 0, 8000, &[first, first.wrapping_add(160), first.wrapping_add(320)]);
        assert_eq!((pts[1] - pts[0], pts[2] - pts[1]), (160, 160));
        assert_eq!(timeline.peek(first.wrapping_add(480)), Some(pts[2] + 160));
    }

    #[test]
    fn a_jump_a_new_source_and_another_clock_go_on_with_what_time_passed() {
        let mut timeline = Timeline::new(48_000);
        let mut pts = steps(&mut timeline, 0, 48_000, &[1000, 1960]);
        pts.extend(steps(&mut timeline, 40 * MS, 48_000, &[90_000_000, 90_000_960]));
        timeline.restart();
        pts.extend(steps(&mut timeline, 80 * MS, 48_000, &[5, 965]));
        pts.extend(steps(&mut timeline, 120 * MS, 8000, &[7, 167]));
        let distances: Vec<i64> = pts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(distances, [960; 7]);
    }

    #[test]
    fn a_pause_that_the_timestamps_tell_is_no_jump() {
        let mut timeline = Timeline::new(8000);
        let first = timeline.place(0, 8000, 0);
        let after = timeline.place(8000 * 60, 8000, 60_000 * MS);
        assert_eq!(after.pts - first.pts, 8000 * 60);
        assert!(first.restarted && !after.restarted);
        // and one that they don't tell is
        let silent = timeline.place(8000 * 60 + 160, 8000, 120_000 * MS);
        assert!(silent.restarted);
        assert_eq!(silent.pts - after.pts, 8000 * 60);
    }

    #[test]
    fn b_pictures_go_back_a_little() {
        let mut timeline = Timeline::new(90_000);
        let pts = steps(&mut timeline, 0, 90_000, &[3000, 9000, 6000, 12_000]);
        assert_eq!([pts[1] - pts[0], pts[2] - pts[0], pts[3] - pts[0]], [6000, 3000, 9000]);
    }

    proptest! {
        #[test]
        fn never_negative_and_never_far_from_what_time_passed(steps in proptest::collection::vec((any::<u32>(), 0u64..100, 0usize..3), 1..200)) {
            let mut timeline = Timeline::new(90_000);
            let mut now = 0;
            for (timestamp, ms, clock) in steps {
                now += ms * MS;
                let placed = timeline.place(timestamp, [8000, 48_000, 90_000][clock], now);
                prop_assert!(placed.pts >= 0);
                let most = FIRST_PTS + scale((now + 4 * 200 * JUMP_NS as u64) as i64, 1_000_000_000, 90_000);
                prop_assert!(placed.pts <= most);
            }
        }
    }
}
