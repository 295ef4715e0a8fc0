//! Which UDP ports are free: a random start, and no port again right after it was closed, because the former peer may
//! still be sending to it.

use crate::unit::Ns;

/// Late packets of a call that ended stop within seconds; RFC 3550 6.3.5 lets a silent member live for 5 intervals of 5 s.
const QUARANTINE: Ns = 25_000_000_000;

#[derive(Debug)]
pub struct Ports {
    low: u16,
    slots: Vec<Slot>,
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Free,
    Used,
    ClosedAt(Ns),
}

impl Ports {
    /// `low..=high`; `seed` decides where the search begins.
    pub fn new(low: u16, high: u16, seed: u64) -> Ports {
        let span = usize::from(high - low) + 1;
        Ports { low, slots: vec![Slot::Free; span], next: (seed % span as u64) as usize }
    }

    /// Ports to try, the best first; `pair`: even ones whose odd neighbour is free too. Those that rest come last.
    pub fn candidates(&self, pair: bool, now: Ns) -> impl Iterator<Item = u16> + '_ {
        let order = || (self.next..self.slots.len()).chain(0..self.next);
        let fresh = order().filter(move |&at| self.closed_at(at, pair, now) == Some(0));
        let rested = std::iter::once_with(move || {
            let mut rested: Vec<(Ns, usize)> = order()
                .filter_map(|at| Some((self.closed_at(at, pair, now)?, at)))
                .filter(|&(closed, _)| closed > 0)
                .collect();
            rested.sort_by_key(|&(closed, _)| closed);
            rested.into_iter().map(|(_, at)| at)
        });
        fresh.chain(rested.flatten()).map(|at| self.low + at as u16)
    }

    /// None: not to be had. 0: free. Else when it, or its neighbour, was closed.
    fn closed_at(&self, at: usize, pair: bool, now: Ns) -> Option<Ns> {
        let one = |at: usize| match self.slots.get(at)? {
            Slot::Free => Some(0),
            Slot::Used => None,
            Slot::ClosedAt(since) if now >= since + QUARANTINE => Some(0),
            Slot::ClosedAt(since) => Some(*since),
        };
        if !pair {
            return one(at);
        }
        if (self.low as usize + at) % 2 == 1 {
            return None;
        }
        Some(one(at)?.max(one(at + 1)?))
    }

    pub fn take(&mut self, port: u16, pair: bool) {
        let at = usize::from(port - self.low);
        let end = at + if pair { 2 } else { 1 };
        self.slots[at..end].fill(Slot::Used);
        self.next = end % self.slots.len();
    }

    pub fn give_back(&mut self, port: u16, now: Ns) {
        if let Some(slot @ Slot::Used) = port.checked_sub(self.low).and_then(|at| self.slots.get_mut(usize::from(at))) {
            *slot = Slot::ClosedAt(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(ports: &Ports, pair: bool, now: Ns) -> Vec<u16> {
        ports.candidates(pair, now).collect()
    }

    #[test]
    fn pairs_are_even_and_neighbours_are_respected() {
        let mut ports = Ports::new(20_001, 20_006, 3);
        ports.take(20_003, false);
        assert_eq!(candidates(&ports, true, 0), [20_004]);
        ports.take(20_004, true);
        assert_eq!(candidates(&ports, false, 0), [20_006, 20_001, 20_002]);
        assert!(candidates(&ports, true, 0).is_empty());
    }

    #[test]
    fn a_closed_port_rests_but_is_better_than_none() {
        let mut ports = Ports::new(20_000, 20_003, 0);
        ports.take(20_000, true);
        ports.give_back(20_001, 10);
        ports.give_back(20_000, 11);
        ports.give_back(20_002, 11);
        assert_eq!(candidates(&ports, true, 20), [20_002, 20_000]);
        assert_eq!(candidates(&ports, false, 20), [20_002, 20_003, 20_001, 20_000]);
        assert_eq!(candidates(&ports, true, 11 + QUARANTINE), [20_002, 20_000]);
        assert_eq!(candidates(&ports, false, 10 + QUARANTINE), [20_002, 20_003, 20_001, 20_000]);
    }
}
