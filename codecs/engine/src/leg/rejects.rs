//! What was dropped and why: counted, told at most once a second.

use crate::output::{Event, Output, Reject};
use crate::unit::{LegId, Ns};

const REASONS: [Reject; 6] =
    [Reject::Rtp, Reject::Rtcp, Reject::SrtpAuth, Reject::SrtpReplay, Reject::Payload, Reject::Foreign];
const REPORT_EVERY: Ns = 1_000_000_000;

#[derive(Default, Debug)]
pub struct Rejects {
    counts: [u64; REASONS.len()],
    told: [u64; REASONS.len()],
    next: Ns,
    /// Something is untold.
    pending: bool,
}

impl Rejects {
    pub fn note(&mut self, why: Reject, now: Ns, leg: LegId, out: &mut Output) {
        let at = REASONS.iter().position(|&reason| reason == why).unwrap_or(0);
        self.counts[at] += 1;
        self.pending = true;
        self.poll(now, leg, out);
    }

    /// Tells the reason that came up most since it was told last.
    pub fn poll(&mut self, now: Ns, leg: LegId, out: &mut Output) {
        if !self.pending || now < self.next {
            return;
        }
        let untold = |at: usize| self.counts[at] - self.told[at];
        let most = (0..REASONS.len()).max_by_key(|&at| untold(at)).unwrap_or(0);
        let count = u32::try_from(untold(most)).unwrap_or(u32::MAX);
        out.events.push(Event::Rejected { leg, why: REASONS[most], count });
        self.told[most] = self.counts[most];
        self.pending = self.told != self.counts;
        self.next = now + REPORT_EVERY;
    }

    pub fn wake(&self) -> Option<Ns> {
        self.pending.then_some(self.next)
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that happened.
    pub fn list(&self) -> Vec<(Reject, u64)> {
        REASONS.into_iter().zip(self.counts).filter(|reason| reason.1 > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_everything_at_most_one_event_a_second() {
        let (mut rejects, mut out) = (Rejects::default(), Output::default());
        let leg = LegId(7);
        for ms in 0..1000u64 {
            let why = if ms % 10 == 0 { Reject::Rtcp } else { Reject::Foreign };
            rejects.note(why, ms * 1_000_000, leg, &mut out);
        }
        assert_eq!(out.events.len(), 1);
        while let Some(at) = rejects.wake() {
            rejects.poll(at, leg, &mut out);
        }
        let told: Vec<(Reject, u32)> = out
            .events
            .iter()
            .map(|event| match event {
                Event::Rejected { leg: LegId(7), why, count } => (*why, *count),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(Reject::Rtcp, 1), (Reject::Foreign, 900), (Reject::Rtcp, 99)]);
        assert_eq!(rejects.total(), 1000);
        assert_eq!(rejects.list(), [(Reject::Rtcp, 100), (Reject::Foreign, 900)]);
    }
}
