//! Key presses out of telephone events (RFC 4733): each once, whatever is lost, repeated or comes late.

use crate::payload::dtmf::TelephoneEvent;
use crate::unit::Ns;
use std::collections::VecDeque;

const MS: Ns = 1_000_000;
/// A key that is held is reported after this.
const HELD: Ns = 5_000 * MS;
/// All three last packets were lost: no update for so long means that the key was released (they come every 20 to 50 ms).
const VANISHED: Ns = 400 * MS;
/// Presses that are remembered, so that late packets of theirs are known.
const REMEMBERED: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPress {
    pub digit: char,
    pub ms: u32,
}

#[derive(Default, Debug)]
pub struct Keys {
    pressed: Option<Pressed>,
    /// (timestamp, event) of those that are done.
    done: VecDeque<(u32, u8)>,
}

#[derive(Debug)]
struct Pressed {
    /// Of the press, or of its last segment (2.5.1.3).
    timestamp: u32,
    event: u8,
    digit: char,
    /// Ticks of earlier segments.
    before: u32,
    duration: u16,
    since: Ns,
    updated: Ns,
    told: bool,
}

impl Keys {
    /// A packet, in sequence order. At most two presses end with it: one that vanished, and its own.
    pub fn take(&mut self, timestamp: u32, event: &TelephoneEvent, clock_hz: u32, now: Ns, out: &mut Vec<KeyPress>) {
        let Some(digit) = event.digit() else { return };
        if self.done.contains(&(timestamp, event.event)) {
            return;
        }
        match &mut self.pressed {
            Some(pressed) if pressed.event == event.event && pressed.timestamp == timestamp => {}
            Some(pressed) if pressed.continued_by(timestamp, event) => {
                pressed.before += u32::from(pressed.duration);
                pressed.timestamp = timestamp;
                pressed.duration = 0;
            }
            _ => {
                self.end(clock_hz, out);
                self.pressed = Some(Pressed {
                    timestamp,
                    event: event.event,
                    digit,
                    before: 0,
                    duration: 0,
                    since: now,
                    updated: now,
                    told: false,
                });
            }
        }
        if let Some(pressed) = &mut self.pressed {
            pressed.duration = pressed.duration.max(event.duration);
            pressed.updated = now;
        }
        if event.end {
            self.end(clock_hz, out);
        }
        self.poll(clock_hz, now, out);
    }

    /// What is held too long, or whose end was lost.
    pub fn poll(&mut self, clock_hz: u32, now: Ns, out: &mut Vec<KeyPress>) {
        let Some(pressed) = &mut self.pressed else { return };
        if now >= pressed.updated + VANISHED {
            self.end(clock_hz, out);
        } else if now >= pressed.since + HELD && !pressed.told {
            pressed.told = true;
            out.push(pressed.press(clock_hz));
        }
    }

    pub fn wake(&self) -> Option<Ns> {
        let pressed = self.pressed.as_ref()?;
        let vanished = pressed.updated + VANISHED;
        Some(if pressed.told { vanished } else { vanished.min(pressed.since + HELD) })
    }

    fn end(&mut self, clock_hz: u32, out: &mut Vec<KeyPress>) {
        let Some(pressed) = self.pressed.take() else { return };
        if !pressed.told {
            out.push(pressed.press(clock_hz));
        }
        if self.done.len() == REMEMBERED {
            self.done.pop_front();
        }
        self.done.push_back((pressed.timestamp, pressed.event));
    }
}

impl Pressed {
    /// A long press goes on as a new event where the duration's 16 bits end.
    fn continued_by(&self, timestamp: u32, event: &TelephoneEvent) -> bool {
        // 2.5.1.3 wants exactly 0xFFFF; senders end the segment with the last packet that fits
        let passed = timestamp.wrapping_sub(self.timestamp);
        self.event == event.event && self.duration > 0xF000 && passed.abs_diff(u32::from(self.duration)) < 0x0FFF
    }

    fn press(&self, clock_hz: u32) -> KeyPress {
        let ticks = u64::from(self.before) + u64::from(self.duration);
        KeyPress { digit: self.digit, ms: (ticks * 1000 / u64::from(clock_hz.max(1))) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(digit: u8, end: bool, duration: u16) -> TelephoneEvent {
        TelephoneEvent { event: digit, end, volume: 10, duration }
    }

    /// The packets of one press of 160 ms that begins at `at` ms: every 20 ms, then the end three times.
    fn press(digit: u8, at: u64) -> Vec<(u64, u32, TelephoneEvent)> {
        let start = (at * 8) as u32;
        let mut packets: Vec<_> =
            (1..8u64).map(|n| (at + n * 20, start, event(digit, false, n as u16 * 160))).collect();
        packets.extend([160, 180, 200].map(|after| (at + after, start, event(digit, true, 1280))));
        packets
    }

    fn play(packets: &[(u64, u32, TelephoneEvent)], until: u64) -> Vec<KeyPress> {
        let (mut keys, mut out) = (Keys::default(), vec![]);
        let mut packets = packets.iter().peekable();
        for ms in 0..until {
            while let Some((_, timestamp, event)) = packets.next_if(|packet| packet.0 <= ms) {
                keys.take(*timestamp, event, 8000, ms * MS, &mut out);
            }
            keys.poll(8000, ms * MS, &mut out);
        }
        assert_eq!(keys.wake(), None);
        out
    }

    #[test]
    fn once_a_press_also_for_the_same_key_twice() {
        let packets = [press(5, 100), press(5, 340), press(11, 580)].concat();
        let keys: String = play(&packets, 3000).iter().map(|press| press.digit).collect();
        assert_eq!(keys, "55#");
        assert_eq!(play(&press(5, 100), 1000), [KeyPress { digit: '5', ms: 160 }]);
    }

    #[test]
    fn a_held_key_is_told_after_five_seconds_and_not_again() {
        let mut packets: Vec<_> =
            (1..300u64).map(|n| (n * 20, 0, event(1, false, (n * 160).min(0xFFFF) as u16))).collect();
        packets.push((6000, 0, event(1, true, 48_000)));
        let (mut keys, mut out) = (Keys::default(), vec![]);
        for (ms, timestamp, event) in &packets {
            keys.take(*timestamp, event, 8000, ms * MS, &mut out);
            assert_eq!(out.len(), usize::from(*ms >= 5020), "{ms}");
        }
        assert_eq!(keys.wake(), None);
    }

    #[test]
    fn segments_of_a_long_press_are_one() {
        // 12 s at 8 kHz: a second segment begins after 65,440 ticks
        let packets: Vec<_> = (1..=600u64)
            .map(|n| {
                let ticks = n * 160;
                let (timestamp, duration) = if ticks <= 65_440 { (0, ticks) } else { (65_440, ticks - 65_440) };
                (n * 20, timestamp, event(3, n == 600, duration as u16))
            })
            .collect();
        assert_eq!(play(&packets, 14_000).len(), 1);
    }

    proptest! {
        #[test]
        fn no_loss_that_leaves_a_packet_of_each_press_loses_or_doubles_one(
            digits in proptest::collection::vec(0u8..16, 1..12),
            lost in proptest::collection::vec(any::<u64>(), 12),
        ) {
            let mut packets = vec![];
            for (n, &digit) in digits.iter().enumerate() {
                let whole = press(digit, 1000 + n as u64 * 240);
                let keep = lost[n] % whole.len() as u64;
                packets.extend(whole.into_iter().enumerate().filter(|(at, _)| {
                    *at as u64 == keep || lost[n] >> (8 + at) & 1 == 0
                }).map(|packet| packet.1));
            }
            let keys: Vec<char> = play(&packets, 8000).iter().map(|press| press.digit).collect();
            let pressed: Vec<char> = digits.iter().map(|&digit| event(digit, false, 0).digit().unwrap()).collect();
            prop_assert_eq!(keys, pressed);
        }
    }
}
