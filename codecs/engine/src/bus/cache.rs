//! The last group of pictures of a video track, for viewers who come late to a source that gives no key frame on request.

use crate::unit::{Ns, UnitRef};

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
}
