//! What was sent, for retransmission: the shared unit and where the packet lies in it, no copy of the packet.

use crate::payload::Piece;
use crate::unit::{Ns, UnitRef};
use std::collections::VecDeque;

const MAX_PACKETS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;

/// A packet that was sent.
#[derive(Clone, Debug)]
pub struct Kept {
    pub unit: UnitRef,
    pub piece: Piece,
    pub pt: u8,
    pub marker: bool,
    pub timestamp: u32,
    pub sent: Ns,
    /// 0: not yet.
    pub resent: Ns,
}

/// Bounded in time, packets and payload bytes.
#[derive(Debug)]
pub struct History {
    limit: Ns,
    /// In sequence order up to `newest`; None: a number that was left out, or isn't to be sent again.
    packets: VecDeque<Option<Kept>>,
    newest: u16,
    bytes: usize,
}

impl History {
    pub fn new(limit: Ns) -> History {
        History { limit, packets: VecDeque::new(), newest: 0, bytes: 0 }
    }

    /// `seq` follows the one before.
    pub fn push(&mut self, seq: u16, kept: Option<Kept>) {
        if self.limit == 0 {
            return;
        }
        let now = kept.as_ref().map_or(0, |kept| kept.sent);
        self.bytes += kept.as_ref().map_or(0, |kept| kept.piece.len());
        self.packets.push_back(kept);
        self.newest = seq;
        self.forget(now);
    }

    /// What is older than the limit goes, and lets its unit go.
    pub fn forget(&mut self, now: Ns) {
        while let Some(first) = self.packets.front() {
            let old = first.as_ref().is_none_or(|kept| kept.sent + self.limit < now);
            if !old && self.packets.len() <= MAX_PACKETS && self.bytes <= MAX_BYTES {
                break;
            }
            let gone = self.packets.pop_front().flatten();
            self.bytes -= gone.map_or(0, |kept| kept.piece.len());
        }
    }

    pub fn find(&mut self, seq: u16) -> Option<&mut Kept> {
        let back = usize::from(self.newest.wrapping_sub(seq));
        let at = self.packets.len().checked_sub(back + 1)?;
        self.packets[at].as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::audio;
    use crate::unit::{Codec, TrackId, Unit};
    use std::sync::Arc;

    const MS: Ns = 1_000_000;

    fn kept(sent: Ns, bytes: usize) -> Kept {
        let unit = Unit {
            track: TrackId(1),
            codec: Codec::Opus,
            pts: 0,
            dts: 0,
            keyframe: true,
            contiguous: true,
            capture: 0,
            arrival: 0,
            payload: vec![0; bytes].into(),
            nals: Box::default(),
            level: None,
        };
        let mut pieces = vec![];
        audio::plan(&unit, &mut pieces).unwrap();
        Kept { unit: Arc::new(unit), piece: pieces[0], pt: 96, marker: false, timestamp: 0, sent, resent: 0 }
    }

    #[test]
    fn finds_by_number_over_the_wrap() {
        let mut history = History::new(1000 * MS);
        for n in 0..10u16 {
            let seq = 65_530u16.wrapping_add(n);
            history.push(seq, (n != 4).then(|| kept(Ns::from(n) * MS, 100)));
        }
        assert_eq!(history.find(65_535).map(|kept| kept.sent), Some(5 * MS));
        assert_eq!(history.find(3).map(|kept| kept.sent), Some(9 * MS));
        for absent in [65_534, 65_529, 4, 30_000] {
            assert!(history.find(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn keeps_no_more_than_time_packets_and_bytes_allow() {
        let mut history = History::new(1000 * MS);
        for n in 0..100u16 {
            history.push(n, Some(kept(Ns::from(n) * 100 * MS, 10)));
        }
        assert_eq!((history.packets.len(), history.bytes), (11, 110));
        let unit = kept(10_000 * MS, 10);
        history.push(100, Some(unit.clone()));
        history.forget(12_000 * MS);
        assert_eq!((history.packets.len(), Arc::strong_count(&unit.unit)), (0, 1));
        for n in 0..200u16 {
            history.push(n, Some(kept(0, 60_000)));
        }
        assert_eq!(history.packets.len(), MAX_BYTES / 60_000);
        for n in 0..9000u16 {
            history.push(n, Some(kept(0, 1)));
        }
        assert!(history.packets.len() <= MAX_PACKETS);
    }
}
