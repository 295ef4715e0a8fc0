//! What is missing, when to ask for it (NACK, RFC 4585 6.2.1), and when to give it up.

use crate::unit::Ns;
use std::collections::VecDeque;

const MS: Ns = 1_000_000;
/// Numbers asked for in one go, how often each, and how many a second: a network that loses much must not be given
/// more to carry than it loses.
const MAX_ASKED: usize = 128;
const MAX_TIMES: u8 = 10;
const MAX_PER_SECOND: u64 = 500;
/// Between two askings of one receiver.
const ASK_EVERY: Ns = 10 * MS;
/// How long a packet may only be out of order; follows what is seen of that.
const REORDERED: Ns = 5 * MS;
const MAX_REORDERED: Ns = 30 * MS;
/// So many given up in a row although they were asked for: nobody answers, and waiting only delays.
const FUTILE: u32 = 60;
/// Round trip until one was measured, and the largest believed in.
const GUESSED_RTT: Ns = 100 * MS;
const MAX_RTT: Ns = 1000 * MS;
/// Room for three askings at a round trip of 200 ms, and for ten at one of 20: to wait for a key frame instead takes longer.
const MIN_WAIT: Ns = 250 * MS;
const MAX_WAIT: Ns = 800 * MS;

/// How long to wait for what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For so many packets after the gap, and so long, at most.
    pub packets: usize,
    pub wait: Ns,
    /// Ask for it.
    pub ask: bool,
}

/// Sound: what comes late is concealed; waiting longer would delay everything after.
pub const AUDIO: Patience = Patience { packets: 2, wait: 30 * MS, ask: false };
/// Pictures that nobody sends again.
pub const VIDEO: Patience = Patience { packets: usize::MAX, wait: 30 * MS, ask: false };

#[derive(Debug)]
struct Gone {
    number: u64,
    since: Ns,
    times: u8,
    asked_at: Ns,
    ask_at: Ns,
}

/// Ascending numbers.
#[derive(Debug)]
pub struct Missing {
    numbers: VecDeque<Gone>,
    reordered: Ns,
    /// Smoothed time from an asking to its answer.
    answer: Option<Ns>,
    futile: u32,
    /// Not before this is anything to be asked.
    due: Option<Ns>,
    asked_last: Option<Ns>,
    budget: u64,
    budget_at: Ns,
    /// Numbers asked for, repeats included.
    pub asked: u64,
}

impl Default for Missing {
    fn default() -> Missing {
        Missing {
            numbers: VecDeque::new(),
            reordered: REORDERED,
            answer: None,
            futile: 0,
            due: None,
            asked_last: None,
            budget: MAX_PER_SECOND,
            budget_at: 0,
            asked: 0,
        }
    }
}

impl Missing {
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.due = None;
    }

    /// How long to wait when lost packets are sent again on request; `rtt` as RTCP measured it.
    pub fn patience(&self, rtt: Option<Ns>) -> Patience {
        if self.futile >= FUTILE {
            return Patience { ask: true, ..VIDEO };
        }
        let wait = (4 * self.rtt(rtt) + 80 * MS).clamp(MIN_WAIT, MAX_WAIT);
        Patience { packets: usize::MAX, wait, ask: true }
    }

    fn rtt(&self, measured: Option<Ns>) -> Ns {
        self.answer.or(measured).unwrap_or(GUESSED_RTT)
    }

    /// Packets `from..until` were passed over.
    pub fn add(&mut self, from: u64, until: u64, now: Ns) {
        let ask_at = now + self.reordered;
        self.numbers.extend((from..until).map(|number| Gone { number, since: now, times: 0, asked_at: 0, ask_at }));
        if from < until {
            self.due = Some(self.due.map_or(ask_at, |due| due.min(ask_at)));
        }
    }

    /// One of them came. True when it had been asked for.
    pub fn found(&mut self, number: u64, recovered: bool, rtt: Option<Ns>, now: Ns) -> bool {
        let Ok(at) = self.numbers.binary_search_by_key(&number, |gone| gone.number) else { return false };
        let Some(gone) = self.numbers.remove(at) else { return false };
        let since_asked = now.saturating_sub(gone.asked_at);
        let expected = self.rtt(rtt);
        if gone.times == 0 || !recovered && since_asked < expected / 2 {
            // only out of order: be so patient, and forget it slowly
            let took = now.saturating_sub(gone.since);
            let patient = self.reordered.max(took + took / 4) - self.reordered / 64;
            self.reordered = patient.clamp(REORDERED, MAX_REORDERED);
        } else if gone.times == 1 {
            self.answer = Some(self.answer.map_or(since_asked, |answer| (answer + since_asked) / 2));
        } else {
            // nobody knows which asking was answered (Karn); if this is the rule, answers take longer than is thought
            self.answer = Some((expected + expected / 16).min(MAX_RTT));
        }
        if gone.times > 0 {
            self.futile = 0;
        }
        gone.times > 0
    }

    /// Numbers below `next` are given up.
    pub fn give_up(&mut self, next: u64) {
        while self.numbers.front().is_some_and(|gone| gone.number < next) {
            if self.numbers.pop_front().is_some_and(|gone| gone.times > 0) {
                self.futile = self.futile.saturating_add(1);
            }
        }
    }

    /// Since when the first one is missed.
    pub fn since(&self) -> Option<Ns> {
        self.numbers.front().map(|gone| gone.since)
    }

    /// When `ask` may have something.
    pub fn due(&self) -> Option<Ns> {
        self.due.map(|due| self.asked_last.map_or(due, |last| due.max(last + ASK_EVERY)))
    }

    /// Appends the sequence numbers to ask for now, ascending.
    pub fn ask(&mut self, rtt: Option<Ns>, now: Ns, out: &mut Vec<u16>) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        let again = (self.rtt(rtt) * 5 / 4).max(20 * MS);
        self.refill(now);
        let before = out.len();
        let mut due = None;
        for gone in self.numbers.iter_mut().filter(|gone| gone.times < MAX_TIMES) {
            if gone.ask_at <= now && out.len() - before < MAX_ASKED && self.budget > 0 {
                self.budget -= 1;
                out.push(gone.number as u16);
                gone.times += 1;
                gone.asked_at = now;
                gone.ask_at = now + again;
            }
            due = Some(due.map_or(gone.ask_at, |due: Ns| due.min(gone.ask_at)));
        }
        self.due = due;
        self.asked_last = Some(now);
        self.asked += (out.len() - before) as u64;
    }

    fn refill(&mut self, now: Ns) {
        let passed = now.saturating_sub(self.budget_at);
        let more = passed.saturating_mul(MAX_PER_SECOND) / 1_000_000_000;
        if more > 0 {
            self.budget = (self.budget + more).min(MAX_PER_SECOND);
            self.budget_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks at every millisecond; what was asked when.
    fn asked(missing: &mut Missing, rtt: Option<Ns>, ms: std::ops::Range<u64>) -> Vec<(u64, Vec<u16>)> {
        let mut all = vec![];
        for at in ms {
            let mut seqs = vec![];
            missing.ask(rtt, at * MS, &mut seqs);
            if !seqs.is_empty() {
                all.push((at, seqs));
            }
        }
        all
    }

    #[test]
    fn asks_after_a_moment_and_again_after_a_round_trip_and_a_bit() {
        let mut missing = Missing::default();
        missing.add(65_536 + 7, 65_536 + 9, 1000 * MS);
        let times = asked(&mut missing, Some(80 * MS), 1000..1250);
        assert_eq!(times, [(1005, vec![7, 8]), (1105, vec![7, 8]), (1205, vec![7, 8])]);
        assert!(missing.found(65_543, true, None, 1250 * MS));
        assert_eq!(asked(&mut missing, Some(80 * MS), 1300..1310), [(1305, vec![8])]);
    }

    #[test]
    fn reordering_is_not_loss_and_teaches_patience() {
        let mut missing = Missing::default();
        for n in 0..50 {
            let at = 1000 + n * 20;
            missing.add(n, n + 1, at * MS);
            assert_eq!(asked(&mut missing, None, at..at + 4), []);
            assert!(!missing.found(n, false, None, (at + 4) * MS));
        }
        missing.add(100, 101, 5000 * MS);
        missing.found(100, false, None, 5016 * MS);
        missing.add(101, 102, 6000 * MS);
        assert_eq!(asked(&mut missing, None, 6000..6018), []);
    }

    #[test]
    fn an_outage_is_no_storm() {
        let mut missing = Missing::default();
        for second in 0..10u64 {
            missing.add(second * 1000, second * 1000 + 1000, second * 1000 * MS);
            asked(&mut missing, Some(20 * MS), second * 1000..second * 1000 + 1000);
        }
        assert!(missing.asked <= 11 * MAX_PER_SECOND, "{}", missing.asked);
        missing.clear();
        // a long quiet time saves nothing up
        let before = missing.asked;
        missing.add(15_000, 17_000, 100_000 * MS);
        asked(&mut missing, Some(2000 * MS), 100_000..101_000);
        assert!(missing.asked - before <= 2 * MAX_PER_SECOND, "{}", missing.asked - before);
        missing.clear();
        missing.add(20_000, 20_001, 200_000 * MS);
        assert_eq!(asked(&mut missing, Some(20 * MS), 200_000..210_000).len(), usize::from(MAX_TIMES));
    }

    #[test]
    fn waits_as_long_as_an_answer_takes_unless_nobody_answers() {
        let mut missing = Missing::default();
        assert_eq!(missing.patience(Some(200 * MS)).wait, MAX_WAIT);
        missing.add(1, 2, 0);
        asked(&mut missing, Some(200 * MS), 0..10);
        missing.found(1, true, Some(200 * MS), 25 * MS);
        assert_eq!(missing.patience(Some(200 * MS)).wait, MIN_WAIT);
        missing.add(10, 10 + u64::from(FUTILE), 100 * MS);
        asked(&mut missing, None, 100..120);
        missing.give_up(1000);
        assert_eq!(missing.patience(None), Patience { ask: true, ..VIDEO });
        missing.add(1000, 1001, 500 * MS);
        asked(&mut missing, None, 500..520);
        missing.found(1000, true, None, 530 * MS);
        assert!(missing.patience(None).wait >= MIN_WAIT);
    }
}
