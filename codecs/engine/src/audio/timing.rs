//! How a sender's units come: the delay of the fastest, the spread of the others, and jumps of its clock.
//!
//! The transit of a unit is its arrival less its media time. Its absolute value means nothing; its least value of late
//! is the way without queueing, what others have more is jitter, and where it drifts, the clocks differ.

use crate::unit::Ns;

const REMEMBERED: usize = 256;
const MEMORY_NS: Ns = 10_000_000_000;
/// The part of the units that is to come in time.
const QUANTILE: f64 = 0.98;
/// The spread is followed up to here. What is slower couldn't be waited for, and says nothing of what can: it is a
/// stall.
const MOST_SPREAD_NS: i64 = 100_000_000;
/// A spread that was seen once is kept in mind: it halves in about 14 s.
const FORGET_S: f64 = 20.0;
/// Notes between two looks at the whole memory.
const LOOK_EVERY: u32 = 8;
/// Faster than the fastest by that much: the sender's clock has jumped forward.
const JUMP_AHEAD_NS: i64 = 300_000_000;
/// Slower by that much: a burst after a stalled network, or a jump back.
const STRAY_NS: i64 = 500_000_000;
/// A jump when this many strays in a row agree; in a burst the transits fall by one packet time each.
const AGREEING: usize = 4;
const AGREE_NS: i64 = 25_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    Regular,
    /// Hopelessly late; leave it out.
    Stray,
    /// The sender's clock has another zero from this unit on: begin anew.
    Jumped,
}

pub struct Timing {
    /// (arrival, transit), the oldest overwritten.
    seen: Vec<(Ns, i64)>,
    next: usize,
    until_look: u32,
    base: i64,
    spread: i64,
    looked: Ns,
    strays: Vec<i64>,
    scratch: Vec<i64>,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            seen: Vec::with_capacity(REMEMBERED),
            next: 0,
            until_look: 0,
            base: 0,
            spread: 0,
            looked: 0,
            strays: Vec::with_capacity(AGREEING),
            scratch: Vec::with_capacity(REMEMBERED),
        }
    }
}

impl Timing {
    /// Forgets the transits, as after a jump; the spread stays in mind.
    pub fn restart(&mut self) {
        self.seen.clear();
        self.next = 0;
        self.until_look = 0;
        self.strays.clear();
    }

    pub fn note(&mut self, transit: i64, now: Ns) -> Arrival {
        if !self.seen.is_empty() {
            let excess = transit.saturating_sub(self.base);
            if excess < -JUMP_AHEAD_NS {
                return Arrival::Jumped;
            }
            if excess > STRAY_NS {
                return self.note_stray(transit);
            }
        }
        self.strays.clear();
        if self.seen.len() < REMEMBERED {
            self.seen.push((now, transit));
        } else {
            self.seen[self.next] = (now, transit);
            self.next = (self.next + 1) % REMEMBERED;
        }
        if self.until_look == 0 || transit < self.base || transit - self.base > self.spread {
            self.look(now);
            self.until_look = LOOK_EVERY;
        }
        self.until_look -= 1;
        Arrival::Regular
    }

    fn note_stray(&mut self, transit: i64) -> Arrival {
        if self.strays.iter().any(|other| (other - transit).abs() > AGREE_NS) {
            self.strays.clear();
        }
        self.strays.push(transit);
        if self.strays.len() < AGREEING {
            return Arrival::Stray;
        }
        self.strays.clear();
        Arrival::Jumped
    }

    fn look(&mut self, now: Ns) {
        self.scratch.clear();
        let fresh = self.seen.iter().filter(|(at, _)| now.saturating_sub(*at) <= MEMORY_NS);
        self.scratch.extend(fresh.map(|&(_, transit)| transit));
        let Some(&base) = self.scratch.iter().min() else { return };
        self.scratch.retain(|transit| transit - base <= MOST_SPREAD_NS);
        let rank = ((self.scratch.len() - 1) as f64 * QUANTILE).ceil() as usize;
        let (_, &mut slow, _) = self.scratch.select_nth_unstable(rank);
        let spread = slow - base;
        if spread >= self.spread {
            self.spread = spread;
        } else {
            let elapsed_s = now.saturating_sub(self.looked) as f64 / 1e9;
            self.spread -= ((self.spread - spread) as f64 * (1.0 - (-elapsed_s / FORGET_S).exp())) as i64;
        }
        self.base = base;
        self.looked = now;
    }

    /// The fastest units' transit.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// How much more nearly all others need, ns; at most `most_spread`.
    pub fn spread(&self) -> i64 {
        self.spread
    }

    pub fn most_spread() -> i64 {
        MOST_SPREAD_NS
    }
}
