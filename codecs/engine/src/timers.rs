//! When something wants to be looked at again: a heap with lazy deletion, so that thousands of legs cost nothing while
//! they sleep.

use crate::unit::Ns;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

/// At most one deadline for each key; the earliest wins.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Ns, K)>>,
    due: HashMap<K, Ns>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new(), due: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// Nothing happens when the key is due earlier already.
    pub fn at(&mut self, key: K, when: Ns) {
        let due = self.due.entry(key).or_insert(Ns::MAX);
        if when < *due {
            *due = when;
            self.heap.push(Reverse((when, key)));
        }
    }

    pub fn cancel(&mut self, key: K) {
        self.due.remove(&key);
        if self.heap.len() > 64 && self.heap.len() > 4 * self.due.len() {
            self.heap = self.due.iter().map(|(&key, &when)| Reverse((when, key))).collect();
        }
    }

    pub fn first(&mut self) -> Option<Ns> {
        while let Some(&Reverse((when, key))) = self.heap.peek() {
            if self.due.get(&key) == Some(&when) {
                return Some(when);
            }
            self.heap.pop();
        }
        None
    }

    /// A key that is due; it must be armed again.
    pub fn pop(&mut self, now: Ns) -> Option<K> {
        if self.first()? > now {
            return None;
        }
        let Reverse((_, key)) = self.heap.pop()?;
        self.due.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_of_a_key_wins_and_comes_once() {
        let mut timers = Timers::default();
        timers.at(1, 50);
        timers.at(1, 30);
        timers.at(1, 40);
        timers.at(2, 35);
        timers.at(3, 10);
        timers.cancel(3);
        assert_eq!(timers.first(), Some(30));
        assert_eq!(timers.pop(29), None);
        assert_eq!((timers.pop(100), timers.pop(100), timers.pop(100)), (Some(1), Some(2), None));
        timers.at(1, 60);
        assert_eq!(timers.first(), Some(60));
    }

    #[test]
    fn cancelled_deadlines_leave_nothing_behind() {
        let mut timers = Timers::default();
        for key in 0..100_000u32 {
            timers.at(key, u64::from(key));
            timers.cancel(key);
        }
        assert!(timers.heap.len() <= 64 && timers.due.is_empty());
    }
}
