//! Packet indices: the rollover counter's guess and the replay window (RFC 3711 3.3.1, 3.3.2).

use super::MAX_SSRCS;

/// The index of a sequence number after `highest`: the nearest one.
///
/// Without a predecessor the rollover counter is 0; nor does it guess below 0, as libsrtp doesn't.
pub(super) fn guess(highest: Option<u64>, seq: u16) -> u64 {
    match highest {
        Some(highest) if highest >= 0x8000 => {
            highest.saturating_add_signed(i64::from(seq.wrapping_sub(highest as u16) as i16))
        }
        _ => u64::from(seq),
    }
}

/// The highest index of each SSRC of ours.
#[derive(Default)]
pub(super) struct Sources(Vec<(u32, Option<u64>)>);

impl Sources {
    /// None when the table is full.
    pub(super) fn find_or_add(&mut self, ssrc: u32) -> Option<&mut Option<u64>> {
        let at = match self.0.iter().position(|source| source.0 == ssrc) {
            Some(at) => at,
            None if self.0.len() == MAX_SSRCS => return None,
            None => {
                self.0.push((ssrc, None));
                self.0.len() - 1
            }
        };
        Some(&mut self.0[at].1)
    }
}

const WORDS: usize = 16;
/// Indices that are told apart behind the highest: two seconds of a 5 Mbit/s picture, for plain retransmissions over a
/// slow path. One word of the ring is always being filled.
const WINDOW: u64 = (WORDS as u64 - 1) * 64;

/// Which indices were seen.
#[derive(Clone, Default)]
pub(super) struct Window {
    highest: Option<u64>,
    /// A ring of bits: index i is bit i % 64 of word i / 64 % WORDS.
    seen: [u64; WORDS],
}

impl Window {
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Neither seen nor too old.
    pub(super) fn accepts(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => {
                highest - index < WINDOW && self.seen[word(index)] & 1 << (index % 64) == 0
            }
            _ => true,
        }
    }

    fn note(&mut self, index: u64) {
        let from = self.highest.map_or(index / 64, |highest| highest / 64);
        // words that the highest index enters begin empty
        for entered in (from + 1..=index / 64).take(WORDS) {
            self.seen[entered as usize % WORDS] = 0;
        }
        if index / 64 > from + WORDS as u64 {
            self.seen = [0; WORDS];
        }
        self.seen[word(index)] |= 1 << (index % 64);
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
    }
}

fn word(index: u64) -> usize {
    (index / 64) as usize % WORDS
}

/// The windows of a peer's SSRCs.
#[derive(Default)]
pub(super) struct Windows {
    sources: Vec<Source>,
    /// Counts packets, to know who was silent for longest.
    packets: u64,
}

struct Source {
    ssrc: u32,
    last_packet: u64,
    window: Window,
}

impl Windows {
    pub(super) fn find(&self, ssrc: u32) -> Option<&Window> {
        self.sources.iter().find(|source| source.ssrc == ssrc).map(|source| &source.window)
    }

    /// A packet whose tag fits. Its source may be new and take the place of the one that was silent for longest.
    pub(super) fn note(&mut self, ssrc: u32, index: u64) {
        self.packets += 1;
        let at = match self.sources.iter().position(|source| source.ssrc == ssrc) {
            Some(at) => at,
            None => self.place(ssrc),
        };
        self.sources[at].last_packet = self.packets;
        self.sources[at].window.note(index);
    }

    fn place(&mut self, ssrc: u32) -> usize {
        let source = Source { ssrc, last_packet: 0, window: Window::default() };
        if self.sources.len() < MAX_SSRCS {
            self.sources.push(source);
            return self.sources.len() - 1;
        }
        let oldest = (0..MAX_SSRCS).min_by_key(|&at| self.sources[at].last_packet).unwrap_or(0);
        self.sources[oldest] = source;
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn guesses_across_the_wrap() {
        assert_eq!(guess(None, 65_535), 65_535);
        assert_eq!(guess(Some(65_535), 0), 65_536);
        assert_eq!(guess(Some(65_536), 65_535), 65_535);
        assert_eq!(guess(Some(3 << 16 | 0x9000), 0x1001), 3 << 16 | 0x1001);
        assert_eq!(guess(Some(3 << 16 | 0x9000), 0x0FFF), 4 << 16 | 0x0FFF);
        // nothing was before the first rollover
        assert_eq!(guess(Some(3), 65_535), 65_535);
    }

    #[test]
    fn the_silent_source_is_forgotten_first() {
        let mut windows = Windows::default();
        for ssrc in 0..MAX_SSRCS as u32 {
            windows.note(ssrc, 1);
        }
        windows.note(0, 2);
        windows.note(1000, 1);
        assert!(windows.find(1).is_none());
        assert!(windows.find(0).is_some() && windows.find(1000).is_some());
        assert_eq!(windows.sources.len(), MAX_SSRCS);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((-1100i64..1100, 0u8..4), 1..300)) {
            let mut window = Window::default();
            let mut seen = HashSet::new();
            let mut at = 5_000i64;
            for (step, jump) in steps {
                at = (at + if jump == 0 { step } else { step.signum() }).max(0);
                let index = at as u64;
                let too_old = window.highest().is_some_and(|highest| highest >= index + WINDOW);
                prop_assert_eq!(window.accepts(index), !too_old && !seen.contains(&index));
                if window.accepts(index) {
                    window.note(index);
                    seen.insert(index);
                }
            }
        }
    }
}
