//! How often the media thread may wake. Under load a wake-up costs more than a packet: with 64 calls and no ration, three
//! packets came with each, and waiting was 37 % of all processor time. What comes while it pauses is taken in one go.
//!
//! The pause is the most that a packet waits for it. Half a millisecond as long as few packets come (20 cameras never
//! wait); two where there are so many that they would cost a quarter more otherwise.

use crate::unit::Ns;

/// Wake-ups in a row that nothing delays: a picture's packets of a few streams.
const IN_A_ROW: Ns = 4;
/// After those, one every so often: the less the more packets come.
const EVERY: std::ops::RangeInclusive<Ns> = 500_000..=2_000_000;
/// At so many packets a second the pause is a millisecond.
const PACKETS_PER_S: u64 = 15_000;
/// Packets are counted over this.
const WINDOW: Ns = 50_000_000;

/// A bucket of wake-ups, as the time at which it will be full again.
#[derive(Debug)]
pub struct Ration {
    full_at: Ns,
    every: Ns,
    /// Where the window began, and how many packets had come by then.
    since: Ns,
    before: u64,
}

impl Ration {
    pub fn new() -> Ration {
        Ration { full_at: 0, every: *EVERY.start(), since: 0, before: 0 }
    }

    /// The thread woke; so many packets have come since it began.
    pub fn spend(&mut self, now: Ns, packets: u64) {
        let passed = now.saturating_sub(self.since);
        if passed >= WINDOW {
            let per_s = packets.saturating_sub(self.before).saturating_mul(1_000_000_000) / passed;
            self.every = (per_s * 1_000_000 / PACKETS_PER_S).clamp(*EVERY.start(), *EVERY.end());
            (self.since, self.before) = (now, packets);
            // what was saved up, or owed, was so at the old pace
            self.full_at = self.full_at.min(now + IN_A_ROW * self.every);
        }
        self.full_at = self.full_at.max(now) + self.every;
    }

    /// How long it pauses before it waits for the next one.
    pub fn pause(&self, now: Ns) -> Ns {
        self.full_at.saturating_sub(now + IN_A_ROW * self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Ns = 1_000_000;

    /// When a thread wakes that finds something to do every `step`, while so many packets come a second.
    fn wakes(ration: &mut Ration, from: Ns, step: Ns, per_s: u64, count: usize) -> Vec<Ns> {
        let (mut now, before) = (from, ration.before);
        (0..count)
            .map(|_| {
                now += step.max(ration.pause(now));
                ration.spend(now, before + (now - from) * per_s / (1000 * MS));
                now
            })
            .collect()
    }

    fn longest(times: &[Ns]) -> Ns {
        times.windows(2).map(|two| two[1] - two[0]).max().unwrap()
    }

    #[test]
    fn a_few_in_a_row_are_never_delayed() {
        let mut ration = Ration::new();
        for second in 1..100 {
            let from = second * 1000 * MS;
            assert_eq!(wakes(&mut ration, from, 1000, 1000, 4), [from + 1000, from + 2000, from + 3000, from + 4000]);
        }
    }

    #[test]
    fn twenty_cameras_are_never_delayed() {
        // 600 pictures a second, each found in two wake-ups
        let times = wakes(&mut Ration::new(), 0, 833_000, 6600, 5000);
        assert_eq!(times[4999], 5000 * 833_000);
    }

    #[test]
    fn under_load_it_is_one_each_half_millisecond_and_less_with_more_packets() {
        for (per_s, every) in [(2000, 500_000), (15_000, 1_000_000), (33_000, 2_000_000), (900_000, 2_000_000)] {
            let times = wakes(&mut Ration::new(), 1000 * MS, 20_000, per_s, 8000);
            assert_eq!(longest(&times[4000..]), every);
            assert!((times[7999] - times[5999]).abs_diff(2000 * every) < 8 * MS, "{per_s}");
        }
    }

    #[test]
    fn no_change_of_load_makes_anybody_wait_longer() {
        let (mut ration, mut from) = (Ration::new(), 0);
        for per_s in [1000, 40_000, 1000, 15_000, 100_000, 0] {
            let times = wakes(&mut ration, from, 20_000, per_s, 3000);
            assert!(longest(&times) <= *EVERY.end());
            from = times[2999];
        }
        assert_eq!(ration.every, *EVERY.start());
    }
}
