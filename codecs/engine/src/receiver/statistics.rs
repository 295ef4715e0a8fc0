//! Loss and jitter of one source as RFC 3550 counts them (6.4.1, A.3, A.8).

use crate::rtcp::ReportBlock;
use crate::unit::Ns;

const SECOND: Ns = 1_000_000_000;
/// What `loss_percent` looks back on.
const WINDOW: usize = 5;

/// Of packets that came by themselves; retransmissions on an SSRC of their own are another source to the RFC.
#[derive(Default, Debug)]
pub struct Statistics {
    first: Option<u64>,
    highest: u64,
    received: u64,
    /// At the last report.
    expected_prior: u64,
    received_prior: u64,
    jitter_ns: f64,
    /// Timestamp and arrival of the last packet that began a new timestamp.
    last: Option<(u32, Ns)>,
    /// (expected, received) at the beginning of each of the last seconds, newest last.
    seconds: [(u64, u64); WINDOW],
    second: Ns,
}

impl Statistics {
    /// A packet with this unwrapped number came for the first time.
    pub fn note(&mut self, seq: u64, timestamp: u32, clock_hz: u32, arrival: Ns) {
        let first = *self.first.get_or_insert(seq);
        // what was sent before the first one that came counts as expected, too
        self.first = Some(first.min(seq));
        self.turn(arrival);
        self.received += 1;
        if seq > self.highest || self.received == 1 {
            self.highest = seq;
            self.note_jitter(timestamp, clock_hz, arrival);
        }
    }

    /// A.8, once for each timestamp: the packets of a picture leave its sender when it likes.
    fn note_jitter(&mut self, timestamp: u32, clock_hz: u32, arrival: Ns) {
        if let Some((last_timestamp, last_arrival)) = self.last {
            if timestamp == last_timestamp {
                return;
            }
            let moved = i64::from(timestamp.wrapping_sub(last_timestamp) as i32) * 1_000_000_000;
            let transit = (arrival as i64 - last_arrival as i64) - moved / i64::from(clock_hz.max(1));
            // a step of the source's clock is not jitter
            if transit.unsigned_abs() < SECOND {
                self.jitter_ns += (transit.unsigned_abs() as f64 - self.jitter_ns) / 16.0;
            }
        }
        self.last = Some((timestamp, arrival));
    }

    fn turn(&mut self, now: Ns) {
        if self.second == 0 {
            self.second = now;
        }
        let passed = now.saturating_sub(self.second) / SECOND;
        for _ in 0..passed.min(WINDOW as u64) {
            self.seconds.rotate_left(1);
            self.seconds[WINDOW - 1] = (self.expected(), self.received);
        }
        self.second += passed * SECOND;
    }

    fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.highest + 1 - first)
    }

    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    pub fn jitter_ms(&self) -> f32 {
        (self.jitter_ns / 1e6) as f32
    }

    /// Of the last five seconds.
    pub fn loss_percent(&self) -> f32 {
        let (expected, received) = self.seconds[0];
        let expected = self.expected() - expected;
        let lost = expected.saturating_sub(self.received - received);
        if expected == 0 {
            return 0.0;
        }
        lost as f32 * 100.0 / expected as f32
    }

    /// What the next report says; the fraction is since the one before. None before the first packet.
    pub fn report(&mut self, ssrc: u32, clock_hz: u32) -> Option<ReportBlock> {
        self.first?;
        let expected = self.expected() - self.expected_prior.min(self.expected());
        let lost = expected.saturating_sub(self.received - self.received_prior);
        (self.expected_prior, self.received_prior) = (self.expected(), self.received);
        let fraction_lost = (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8;
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            lost: self.lost().min(0x7F_FFFF) as i32,
            // numbers begin at 65536: the first cycle is the RFC's zeroth
            highest_seq: self.highest.saturating_sub(0x1_0000) as u32,
            jitter: (self.jitter_ns * f64::from(clock_hz) / 1e9) as u32,
            last_sr: 0,
            delay: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Ns = 1_000_000;

    #[test]
    fn counts_what_is_missing_and_says_the_fraction_since_the_last_report() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.report(1, 90_000), None);
        for seq in (65_536..65_636).filter(|seq| seq % 10 != 6) {
            statistics.note(seq, (seq - 65_536) as u32 * 1800, 90_000, SECOND + (seq - 65_536) * 20 * MS);
        }
        let block = statistics.report(7, 90_000).unwrap();
        assert_eq!((block.ssrc, block.lost, block.highest_seq), (7, 9, 99));
        assert_eq!(block.fraction_lost, (9 * 256 / 99) as u8);
        assert!(statistics.jitter_ms() < 0.001);
        for seq in 65_636..65_646 {
            statistics.note(seq, (seq - 65_536) as u32 * 1800, 90_000, SECOND + (seq - 65_536) * 20 * MS);
        }
        let block = statistics.report(7, 90_000).unwrap();
        assert_eq!((block.fraction_lost, block.lost), (0, 9));
    }

    #[test]
    fn a_late_packet_is_no_loss() {
        let mut statistics = Statistics::default();
        for seq in [65_540, 65_542, 65_541, 65_539] {
            statistics.note(seq, 0, 8000, SECOND);
        }
        assert_eq!(statistics.lost(), 0);
        assert_eq!(statistics.report(1, 8000).unwrap().fraction_lost, 0);
    }

    #[test]
    fn jitter_follows_arrivals_not_the_packets_of_one_picture() {
        let mut statistics = Statistics::default();
        let mut seq = 65_536;
        for picture in 0..200i64 {
            let late = if picture % 2 == 0 { 0 } else { 10 * MS };
            for packet in 0..10 {
                let arrival = SECOND + picture as u64 * 40 * MS + late + packet * MS;
                statistics.note(seq, picture as u32 * 3600, 90_000, arrival);
                seq += 1;
            }
        }
        assert!((9.5..10.5).contains(&statistics.jitter_ms()), "{}", statistics.jitter_ms());
    }

    #[test]
    fn loss_percent_forgets_after_five_seconds() {
        let mut statistics = Statistics::default();
        let mut worst = 0f32;
        for ms in 0..10_000u64 {
            // the second second is lost by half
            if !(1000..2000).contains(&ms) || ms % 2 == 0 {
                statistics.note(65_536 + ms, ms as u32 * 8, 8000, SECOND + ms * MS);
            }
            worst = worst.max(statistics.loss_percent());
        }
        assert!((20.0..34.0).contains(&worst), "{worst}");
        assert_eq!(statistics.loss_percent(), 0.0);
        assert_eq!(statistics.lost(), 500);
    }
}
