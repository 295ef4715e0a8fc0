//! The last group of pictures of a video track, for viewers who come late to a source that gives no key frame on request,
//! and the sound that belongs to it.

use crate::unit::{Ns, UnitRef};
use std::collections::VecDeque;

/// From the last key frame on. Bounded in time and bytes; a group that outgrows it is dropped, not cut, because a group
/// without its beginning can't be decoded (some devices send one key frame a call).
#[derive(Debug)]
pub struct GopCache {
    units: Vec<UnitRef>,
    bytes: usize,
    limit: Ns,
    limit_bytes: usize,
}

impl GopCache {
    pub fn new(limit: Ns, limit_bytes: usize) -> GopCache {
        GopCache { units: Vec::new(), bytes: 0, limit, limit_bytes }
    }

    pub fn push(&mut self, unit: &UnitRef) {
        if unit.keyframe {
            self.clear();
        } else if !unit.contiguous {
            // What follows a gap refers to pictures that are missing.
            self.clear();
            return;
        } else if self.units.is_empty() {
            return;
        }
        self.bytes += unit.payload.len();
        self.units.push(unit.clone());
        if self.bytes > self.limit_bytes || self.span() > self.limit {
            self.clear();
        }
    }

    /// From a key frame to the newest picture, or nothing.
    pub fn units(&self) -> &[UnitRef] {
        &self.units
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn span(&self) -> Ns {
        match (self.units.first(), self.units.last()) {
            (Some(first), Some(last)) => last.arrival.saturating_sub(first.arrival),
            _ => 0,
        }
    }

    pub fn clear(&mut self) {
        // A rare long group must not leave its capacity behind for ever.
        if self.units.capacity() > 1024 {
            self.units = Vec::new();
        } else {
            self.units.clear();
        }
        self.bytes = 0;
    }
}

/// The newest sound of a track, bounded in time and bytes: the oldest goes. Given out only beside a group of pictures,
/// from the group's beginning on.
#[derive(Debug)]
pub struct SoundCache {
    units: VecDeque<UnitRef>,
    bytes: usize,
    limit: Ns,
    limit_bytes: usize,
}

impl SoundCache {
    pub fn new(limit: Ns, limit_bytes: usize) -> SoundCache {
        SoundCache { units: VecDeque::new(), bytes: 0, limit, limit_bytes }
    }

    pub fn push(&mut self, unit: &UnitRef) {
        self.bytes += unit.payload.len();
        self.units.push_back(unit.clone());
        while self.bytes > self.limit_bytes || self.span() > self.limit {
            let Some(oldest) = self.units.pop_front() else { break };
            self.bytes -= oldest.payload.len();
        }
    }

    /// What arrived then or later.
    pub fn since(&self, arrival: Ns) -> impl Iterator<Item = &UnitRef> {
        self.units.iter().filter(move |unit| unit.arrival >= arrival)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn span(&self) -> Ns {
        match (self.units.front(), self.units.back()) {
            (Some(first), Some(last)) => last.arrival.saturating_sub(first.arrival),
            _ => 0,
        }
    }

    pub fn clear(&mut self) {
        self.units.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{unit, MS};
    use super::*;
    use std::sync::Arc;

    fn push(cache: &mut GopCache, at: Ns, keyframe: bool, bytes: usize) {
        cache.push(&Arc::new(unit(1, at, keyframe, bytes)));
    }

    #[test]
    fn keeps_from_the_last_key_frame() {
        let mut cache = GopCache::new(1000 * MS, 10_000);
        push(&mut cache, 0, false, 10);
        assert!(cache.units().is_empty());
        push(&mut cache, 1, true, 100);
        push(&mut cache, 2, false, 10);
        push(&mut cache, 3, true, 50);
        push(&mut cache, 4, false, 20);
        assert_eq!((cache.units().len(), cache.bytes()), (2, 70));
        assert!(cache.units()[0].keyframe);
    }

    #[test]
    fn drops_a_group_that_outgrows_bytes_or_time_until_the_next_key_frame() {
        let mut cache = GopCache::new(1000 * MS, 1000);
        push(&mut cache, 0, true, 900);
        push(&mut cache, 1, false, 101);
        assert_eq!((cache.units().len(), cache.bytes()), (0, 0));
        push(&mut cache, 2, false, 1);
        assert!(cache.units().is_empty());
        push(&mut cache, 10 * MS, true, 1);
        push(&mut cache, 1010 * MS, false, 1);
        assert_eq!(cache.units().len(), 2);
        push(&mut cache, 1011 * MS, false, 1);
        assert!(cache.units().is_empty());
    }

    #[test]
    fn drops_a_group_with_a_hole() {
        let mut cache = GopCache::new(1000 * MS, 1000);
        push(&mut cache, 0, true, 9);
        let mut after_loss = unit(1, 1, false, 9);
        after_loss.contiguous = false;
        cache.push(&Arc::new(after_loss));
        push(&mut cache, 2, false, 9);
        assert!(cache.units().is_empty());
    }

    #[test]
    fn sound_is_bounded_by_dropping_the_oldest() {
        let mut cache = SoundCache::new(100 * MS, 1000);
        for k in 0..20u64 {
            cache.push(&Arc::new(unit(1, k * 20 * MS, true, 10)));
        }
        let kept: Vec<Ns> = cache.since(0).map(|unit| unit.arrival / MS).collect();
        assert_eq!(kept, [280, 300, 320, 340, 360, 380]);
        assert_eq!((cache.since(350 * MS).count(), cache.bytes(), cache.span()), (2, 60, 100 * MS));
        cache.push(&Arc::new(unit(1, 400 * MS, true, 990)));
        assert_eq!((cache.since(0).count(), cache.bytes()), (2, 1000));
        cache.push(&Arc::new(unit(1, 420 * MS, true, 1001)));
        assert_eq!((cache.since(0).count(), cache.bytes()), (0, 0));
    }
}
