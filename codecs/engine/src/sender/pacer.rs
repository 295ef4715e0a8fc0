//! When the packets of a picture leave: the first ones at once, the rest spread, so that a large key frame doesn't
//! overrun the shallow buffers on its way.

use crate::unit::Ns;

const MS: Ns = 1_000_000;
/// What leaves at once after a pause without a configured rate: a usual picture whole.
const BURST_BYTES: i64 = 30_000;
/// The longest that a picture is spread over without a configured rate.
const SPREAD_MS: i64 = 10;
/// At least this much a millisecond without a configured rate (80 Mbit/s).
const LEAST_PER_MS: i64 = 10_000;
/// Wake-ups while something waits.
const TICK: Ns = MS;
/// What leaves at once with a configured rate.
const CAPPED_BURST_MS: i64 = 5;
const CAPPED_BURST_LEAST: i64 = 2_500;

/// A bucket of bytes.
#[derive(Debug)]
pub struct Pacer {
    /// Configured; 0: none.
    max_bps: u64,
    /// Catching up with a kept group.
    group_bps: Option<u64>,
    bytes_per_ms: i64,
    tokens: i64,
    at: Ns,
}

impl Pacer {
    pub fn new(max_bps: u64) -> Pacer {
        let mut pacer = Pacer { max_bps, group_bps: None, bytes_per_ms: LEAST_PER_MS, tokens: 0, at: 0 };
        pacer.set_rate();
        pacer.tokens = pacer.burst();
        pacer
    }

    pub fn set_max_bps(&mut self, bps: u64, now: Ns) {
        self.may_send(now);
        self.max_bps = bps;
        self.set_rate();
    }

    /// A kept group is sent at this rate until `set_group(None)`.
    pub fn set_group(&mut self, bps: Option<u64>, now: Ns) {
        self.may_send(now);
        self.group_bps = bps;
        self.set_rate();
    }

    fn set_rate(&mut self) {
        self.bytes_per_ms = self.cap().map_or(LEAST_PER_MS, |bps| (bps / 8000).clamp(1, 1 << 40) as i64);
        self.tokens = self.tokens.min(self.burst());
    }

    fn cap(&self) -> Option<u64> {
        let max = (self.max_bps > 0).then_some(self.max_bps);
        match (max, self.group_bps) {
            (Some(max), Some(group)) => Some(max.min(group)),
            (max, group) => max.or(group),
        }
    }

    fn burst(&self) -> i64 {
        match self.cap() {
            Some(_) => (CAPPED_BURST_MS * self.bytes_per_ms).max(CAPPED_BURST_LEAST),
            // what accrues between two wake-ups must fit
            None => BURST_BYTES.max(self.bytes_per_ms),
        }
    }

    /// `queued` bytes wait now that a picture was added: without a configured rate all of them leave within 10 ms.
    pub fn plan(&mut self, queued: usize) {
        if self.cap().is_none() {
            self.bytes_per_ms = (queued as i64 / SPREAD_MS + 1).max(LEAST_PER_MS);
        }
    }

    /// Whether a packet may leave now.
    pub fn may_send(&mut self, now: Ns) -> bool {
        if now > self.at {
            let passed = (now - self.at).min(1000 * MS) as i64;
            self.tokens = (self.tokens + passed * self.bytes_per_ms / MS as i64).min(self.burst());
            self.at = now;
        }
        self.tokens > 0
    }

    /// It left.
    pub fn sent(&mut self, bytes: usize) {
        self.tokens -= bytes as i64;
    }

    /// When the next packet may leave.
    pub fn next(&self) -> Ns {
        let needed = (1 - self.tokens).max(0);
        let wait = (needed * MS as i64 + self.bytes_per_ms - 1) / self.bytes_per_ms;
        self.at + (wait as Ns).max(TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of `count` packets of 1,200 bytes leaves, in ms, with the wake-ups that the pacer asks for.
    fn leave(pacer: &mut Pacer, from: Ns, count: usize) -> Vec<u64> {
        let (mut now, mut times) = (from, vec![]);
        pacer.plan(count * 1200);
        while times.len() < count {
            if pacer.may_send(now) {
                pacer.sent(1200);
                times.push((now - from) / MS);
            } else {
                now = pacer.next();
            }
        }
        times
    }

    #[test]
    fn a_usual_picture_leaves_at_once() {
        let mut pacer = Pacer::new(0);
        for picture in 0..100 {
            assert_eq!(leave(&mut pacer, picture * 33 * MS, 11), [0; 11]);
        }
    }

    #[test]
    fn a_large_one_within_ten_milliseconds_and_evenly() {
        for count in [30, 100, 500, 3000] {
            let times = leave(&mut Pacer::new(0), 1000 * MS, count);
            assert_eq!(times[24], 0);
            assert!(times[count - 1] <= 11, "{count}: {}", times[count - 1]);
            let most = (1..=11).map(|ms| times.iter().filter(|&&at| at == ms).count()).max().unwrap_or(0);
            assert!(most <= (count / 9).max(10), "{count}: {most} in one ms");
        }
    }

    #[test]
    fn a_configured_rate_is_kept() {
        let mut pacer = Pacer::new(2_000_000);
        let times = leave(&mut pacer, 1000 * MS, 200);
        // 240,000 bytes at 250 a millisecond
        assert!((940..=965).contains(&times[199]), "{}", times[199]);
        pacer.set_max_bps(4_000_000, 5000 * MS);
        let times = leave(&mut pacer, 10_000 * MS, 200);
        assert!((470..=482).contains(&times[199]), "{}", times[199]);
    }

    #[test]
    fn a_group_has_its_own_rate_below_the_configured_one() {
        let mut pacer = Pacer::new(0);
        pacer.set_group(Some(8_000_000), 0);
        let times = leave(&mut pacer, 1000 * MS, 100);
        assert!((110..=121).contains(&times[99]), "{}", times[99]);
        pacer.set_group(None, 2000 * MS);
        assert_eq!(leave(&mut pacer, 5000 * MS, 11), [0; 11]);
    }
}
