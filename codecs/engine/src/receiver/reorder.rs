//! Packets in sequence order: what comes early is held until what is before it came or is given up.

use crate::rtp::SeqUnwrapper;
use crate::unit::Ns;
use std::collections::VecDeque;

/// Packets and bytes that may be held, and how far apart the first and the last may lie; beyond, what is missing first
/// is given up.
const MAX_HELD: usize = 1024;
const MAX_HELD_BYTES: usize = 2 << 20;
const MAX_SPAN: usize = 2048;
/// A packet so far ahead or behind is no gap and no latecomer (RFC 3550 A.1: MAX_DROPOUT, MAX_MISORDER).
const MAX_AHEAD: u64 = 512;
const MAX_BEHIND: u64 = 512;
/// Buffers that are kept for the next gap, and the largest.
const MAX_SPARE: usize = 32;
const MAX_SPARE_BYTES: usize = 2048;

/// A packet's own values, beside its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub pt: u8,
    pub marker: bool,
    pub timestamp: u32,
    pub arrival: Ns,
    /// Of its audio level extension.
    pub level: Option<i8>,
    /// Came as a retransmission.
    pub recovered: bool,
}

/// A packet that was held.
#[derive(Debug)]
pub struct Held {
    pub meta: Meta,
    pub payload: Vec<u8>,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It is next and isn't kept: process it now. `gap`: something before it was given up.
    Next {
        gap: bool,
    },
    Held,
    Duplicate,
    /// It was given up.
    Late,
    /// It doesn't fit the numbers before it; nothing happened.
    Elsewhere,
}

#[derive(Default, Debug)]
pub struct Reorder {
    seqs: SeqUnwrapper,
    /// The next number to give out; 0 before the first (numbers begin at 65536).
    next: u64,
    /// By distance from `next`. Not empty: the first is missing, the last is there.
    held: VecDeque<Option<Held>>,
    held_count: usize,
    held_bytes: usize,
    /// The next packet given out follows a gap.
    gap: bool,
    /// Which of the 128 numbers before `next` came; the lowest bit is the last.
    came: u128,
    spare: Vec<Vec<u8>>,
}

impl Reorder {
    /// Forgets the numbers and what is held. What comes next follows a gap, unless nothing ever came.
    pub fn restart(&mut self) {
        while let Some(held) = self.held.pop_front() {
            held.into_iter().for_each(|held| self.recycle(held.payload));
        }
        (self.held_count, self.held_bytes, self.came) = (0, 0, 0);
        self.gap |= self.next != 0;
        self.next = 0;
        self.seqs = SeqUnwrapper::default();
    }

    /// The unwrapped number of what was lost or is sent again.
    pub fn peek(&self, seq: u16) -> u64 {
        self.seqs.peek(seq)
    }

    /// The highest number that came; None before the first.
    pub fn highest(&self) -> Option<u64> {
        self.seqs.highest()
    }

    /// The number that is waited for.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether so much is held that what is missing first must be given up.
    pub fn overfull(&self, most: usize) -> bool {
        self.held_count >= most.min(MAX_HELD) || self.held_bytes > MAX_HELD_BYTES || self.held.len() > MAX_SPAN
    }

    /// Nothing waits for anything.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// A packet arrived. After `Next`, and after `give_up`, `pop` has what follows it.
    pub fn insert(&mut self, seq: u16, meta: Meta, payload: &[u8]) -> Arrival {
        let number = self.seqs.peek(seq);
        if self.next == 0 {
            self.seqs.unwrap(seq);
            self.next = number + 1;
            self.came = 1;
            return Arrival::Next { gap: std::mem::take(&mut self.gap) };
        }
        if number < self.next {
            return self.behind(self.next - number);
        }
        if self.highest().is_some_and(|highest| number > highest + MAX_AHEAD) {
            return Arrival::Elsewhere;
        }
        self.seqs.unwrap(seq);
        match (number - self.next) as usize {
            0 => {
                self.held.pop_front();
                self.step(true);
                Arrival::Next { gap: std::mem::take(&mut self.gap) }
            }
            distance => self.hold(distance, meta, payload),
        }
    }

    fn behind(&mut self, back: u64) -> Arrival {
        if back > MAX_BEHIND {
            return Arrival::Elsewhere;
        }
        let bit = if back <= 128 { 1 << (back - 1) } else { 0 };
        if self.came & bit != 0 {
            return Arrival::Duplicate;
        }
        self.came |= bit;
        Arrival::Late
    }

    fn hold(&mut self, distance: usize, meta: Meta, payload: &[u8]) -> Arrival {
        if self.held.len() <= distance {
            self.held.resize_with(distance + 1, || None);
        }
        if self.held[distance].is_some() {
            return Arrival::Duplicate;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(payload);
        self.held_count += 1;
        self.held_bytes += payload.len();
        self.held[distance] = Some(Held { meta, payload: buffer });
        Arrival::Held
    }

    fn step(&mut self, came: bool) {
        self.next += 1;
        self.came = self.came << 1 | u128::from(came);
    }

    /// The next held packet, if nothing is missing before it, and whether it follows a gap. Give the payload back with
    /// `recycle`.
    pub fn pop(&mut self) -> Option<(Held, bool)> {
        if !matches!(self.held.front(), Some(Some(_))) {
            return None;
        }
        let held = self.held.pop_front().flatten()?;
        self.step(true);
        self.held_count -= 1;
        self.held_bytes -= held.payload.len();
        Some((held, std::mem::take(&mut self.gap)))
    }

    /// Waits no more for what is missing before the first held packet. How many numbers that was.
    pub fn give_up(&mut self) -> u64 {
        let mut given_up = 0;
        while let Some(None) = self.held.front() {
            self.held.pop_front();
            self.step(false);
            given_up += 1;
        }
        self.gap |= given_up > 0;
        given_up
    }

    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_BYTES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(timestamp: u32) -> Meta {
        Meta { pt: 0, marker: false, timestamp, arrival: 0, level: None, recovered: false }
    }

    /// Inserts a packet whose payload names it; what comes out, with gaps as `!`.
    fn feed(reorder: &mut Reorder, seq: u16, out: &mut String) -> Arrival {
        let payload = seq.to_string();
        let arrival = reorder.insert(seq, meta(0), payload.as_bytes());
        if let Arrival::Next { gap } = arrival {
            write(out, payload.as_bytes(), gap);
            drain(reorder, out);
        }
        arrival
    }

    fn drain(reorder: &mut Reorder, out: &mut String) {
        while let Some((held, gap)) = reorder.pop() {
            write(out, &held.payload, gap);
            reorder.recycle(held.payload);
        }
    }

    fn write(out: &mut String, payload: &[u8], gap: bool) {
        out.push_str(if gap { " !" } else { " " });
        out.push_str(std::str::from_utf8(payload).unwrap());
    }

    #[test]
    fn gives_out_in_order_over_the_wrap() {
        let (mut reorder, mut out) = (Reorder::default(), String::new());
        for seq in [65_534, 65_535, 1, 2, 0, 3] {
            feed(&mut reorder, seq, &mut out);
        }
        assert_eq!(out, " 65534 65535 0 1 2 3");
        assert!(reorder.is_idle());
    }

    #[test]
    fn what_is_given_up_is_late_when_it_comes() {
        let (mut reorder, mut out) = (Reorder::default(), String::new());
        for seq in [10, 12, 13, 15] {
            feed(&mut reorder, seq, &mut out);
        }
        assert!(reorder.overfull(3) && !reorder.overfull(4));
        assert_eq!(reorder.give_up(), 1);
        drain(&mut reorder, &mut out);
        assert_eq!(out, " 10 !12 13");
        assert_eq!(feed(&mut reorder, 11, &mut out), Arrival::Late);
        assert_eq!(feed(&mut reorder, 11, &mut out), Arrival::Duplicate);
        assert_eq!(feed(&mut reorder, 12, &mut out), Arrival::Duplicate);
        assert_eq!(feed(&mut reorder, 15, &mut out), Arrival::Duplicate);
        assert_eq!(feed(&mut reorder, 14, &mut out), Arrival::Next { gap: false });
        assert_eq!(out, " 10 !12 13 14 15");
    }

    #[test]
    fn a_jump_is_told_and_changes_nothing_until_the_restart() {
        let (mut reorder, mut out) = (Reorder::default(), String::new());
        feed(&mut reorder, 100, &mut out);
        assert_eq!(feed(&mut reorder, 20_000, &mut out), Arrival::Elsewhere);
        assert_eq!(feed(&mut reorder, 60_000, &mut out), Arrival::Elsewhere);
        feed(&mut reorder, 101, &mut out);
        reorder.restart();
        feed(&mut reorder, 20_000, &mut out);
        assert_eq!(out, " 100 101 !20000");
    }

    proptest! {
        #[test]
        fn never_gives_out_twice_or_out_of_order(steps in proptest::collection::vec((0u16..40, any::<bool>()), 1..300)) {
            let mut reorder = Reorder::default();
            let (mut base, mut last) = (65_500u16, None::<u16>);
            let mut given = Vec::new();
            for (ahead, give_up) in steps {
                let seq = base.wrapping_add(ahead);
                base = base.wrapping_add(u16::from(ahead > 20));
                let arrival = reorder.insert(seq, meta(u32::from(seq)), &[]);
                if arrival == (Arrival::Next { gap: false }) || arrival == (Arrival::Next { gap: true }) {
                    given.push(seq);
                }
                if give_up {
                    reorder.give_up();
                }
                while let Some((held, _)) = reorder.pop() {
                    given.push(held.meta.timestamp as u16);
                }
                for seq in given.drain(..) {
                    prop_assert!(last.is_none_or(|last| (seq.wrapping_sub(last) as i16) > 0));
                    last = Some(seq);
                }
                prop_assert!(reorder.held_count <= 64 && reorder.is_idle() == (reorder.held_count == 0));
            }
        }
    }
}
