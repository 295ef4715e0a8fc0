//! How often the media thread may wake. Under load a wake-up costs more than a packet: with 64 calls, three packets came
//! with each and waiting was 37 % of all processor time. What comes while it pauses is taken in one go.

use crate::unit::Ns;

/// Wake-ups in a row that nothing delays: a picture's packets of a few streams.
const IN_A_ROW: Ns = 4;
/// After those, one every so often. It is the most that a packet waits for it.
const EVERY: Ns = 500_000;

/// A bucket of wake-ups, as the time at which it will be full again.
#[derive(Debug, Default)]
pub struct Ration {
    full_at: Ns,
}

impl Ration {
    /// The thread woke.
    pub fn spend(&mut self, now: Ns) {
        self.full_at = self.full_at.max(now) + EVERY;
    }

    /// How long it pauses before it waits for the next one.
    pub fn pause(&self, now: Ns) -> Ns {
        self.full_at.saturating_sub(now + IN_A_ROW * EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a thread wakes that finds something to do every `step`.
    fn wakes(ration: &mut Ration, from: Ns, step: Ns, count: usize) -> Vec<Ns> {
        let mut now = from;
        (0..count)
            .map(|_| {
                now += step.max(ration.pause(now));
                ration.spend(now);
                now
            })
            .collect()
    }

    #[test]
    fn a_few_in_a_row_are_never_delayed() {
        let mut ration = Ration::default();
        for second in 1..100 {
            let from = second * 1_000_000_000;
            assert_eq!(wakes(&mut ration, from, 1000, 4), [from + 1000, from + 2000, from + 3000, from + 4000]);
        }
    }

    #[test]
    fn under_load_it_is_one_each_half_millisecond() {
        let mut ration = Ration::default();
        let times = wakes(&mut ration, 1_000_000_000, 20_000, 2000);
        assert!(times.windows(2).all(|two| two[1] - two[0] <= EVERY));
        assert_eq!((times[1999] - times[10]) / 1989, EVERY);
    }

    #[test]
    fn two_thousand_a_second_pass() {
        let mut ration = Ration::default();
        assert_eq!(wakes(&mut ration, 0, EVERY, 1000)[999], 1000 * EVERY);
    }
}
