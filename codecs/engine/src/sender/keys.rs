//! Key presses as telephone events (RFC 4733 2.5.1): one packet every 20 ms, the last one three times.

use super::feedback::write_header;
use super::{Sender, MAX_DTMF_QUEUED};
use crate::leg::wire::Wire;
use crate::leg::LegError;
use crate::output::Output;
use crate::payload::dtmf::{event_of, TelephoneEvent};
use crate::rtp::Header;
use crate::unit::Ns;
use std::collections::VecDeque;

const MS: Ns = 1_000_000;
const STEP_MS: u32 = 20;
const LAST_TIMES: u32 = 3;
/// Shorter ones aren't recognised everywhere (Q.24 asks for 40 ms of each), longer ones end where the duration does.
const DURATION_MS: std::ops::RangeInclusive<u32> = 40..=5000;
/// The repeats of the last packet fit in the least one.
const GAP_MS: std::ops::RangeInclusive<u32> = 60..=5000;
/// -dBm0, as phones send it.
const VOLUME: u8 = 10;

#[derive(Clone, Copy, Debug)]
struct Press {
    event: u8,
    duration_ms: u32,
    gap_ms: u32,
}

#[derive(Debug)]
struct Running {
    press: Press,
    timestamp: Option<u32>,
    /// Packets sent.
    sent: u32,
}

/// A packet to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPacket {
    pub payload: [u8; 4],
    pub timestamp: u32,
    pub marker: bool,
}

#[derive(Default, Debug)]
pub struct Keys {
    queue: VecDeque<Press>,
    running: Option<Running>,
    next: Ns,
}

impl Keys {
    /// Something is pressed or waits: no sound meanwhile.
    pub fn busy(&self) -> bool {
        self.running.is_some() || !self.queue.is_empty()
    }

    /// All digits or, with an error, none.
    pub fn press(&mut self, digits: &str, duration_ms: u32, gap_ms: u32, now: Ns) -> Result<(), LegError> {
        if self.queue.len() + digits.chars().count() > MAX_DTMF_QUEUED {
            return Err(LegError::TooManyDigits);
        }
        if let Some(other) = digits.chars().find(|&digit| event_of(digit).is_none()) {
            return Err(LegError::NotADigit(other));
        }
        if !self.busy() {
            self.next = self.next.max(now);
        }
        let clamp = |value: u32, range: std::ops::RangeInclusive<u32>| value.clamp(*range.start(), *range.end());
        let (duration_ms, gap_ms) = (clamp(duration_ms, DURATION_MS), clamp(gap_ms, GAP_MS));
        self.queue.extend(digits.chars().filter_map(event_of).map(|event| Press { event, duration_ms, gap_ms }));
        Ok(())
    }

    pub fn clear(&mut self) {
        self.queue.clear();
        self.running = None;
    }

    pub fn wake(&self) -> Option<Ns> {
        self.busy().then_some(self.next)
    }

    /// The packet that is due, if one is. `stamp`: a timestamp for a press that begins now.
    pub fn poll(&mut self, clock_hz: u32, now: Ns, stamp: impl FnOnce() -> u32) -> Option<KeyPacket> {
        if !self.busy() || now < self.next {
            return None;
        }
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let press = self.queue.pop_front()?;
                // a wake-up that came late doesn't shorten what follows
                self.next = now;
                self.running.insert(Running { press, timestamp: None, sent: 0 })
            }
        };
        let timestamp = *running.timestamp.get_or_insert_with(stamp);
        running.sent += 1;
        let press = running.press;
        let steps = press.duration_ms.div_ceil(STEP_MS);
        let end = running.sent >= steps;
        let ms = (running.sent * STEP_MS).min(press.duration_ms);
        let duration = (u64::from(ms) * u64::from(clock_hz) / 1000).min(u64::from(u16::MAX)) as u16;
        let event = TelephoneEvent { event: press.event, end, volume: VOLUME, duration };
        let packet = KeyPacket { payload: event.to_bytes(), timestamp, marker: running.sent == 1 };
        self.next += Ns::from(STEP_MS) * MS;
        if running.sent + 1 == steps + LAST_TIMES {
            // the gap is counted from the release
            self.next += Ns::from(press.gap_ms.saturating_sub((LAST_TIMES - 1) * STEP_MS)) * MS;
            self.running = None;
        }
        Some(packet)
    }
}

impl Sender {
    pub fn send_dtmf(&mut self, digits: &str, duration_ms: u32, gap_ms: u32, now: Ns) -> Result<(), LegError> {
        if self.config.codec.dtmf_pt.is_none() {
            return Err(LegError::NoDtmf);
        }
        self.keys.press(digits, duration_ms, gap_ms, now)
    }

    pub(super) fn send_keys(&mut self, now: Ns, wire: &mut Wire, out: &mut Output) {
        let Some(pt) = self.config.codec.dtmf_pt else { return };
        while let Some(packet) = self.keys.poll(self.clock.hz(), now, || self.clock.stamp_at(now)) {
            let (marker, seq, timestamp, ssrc) = (packet.marker, self.seq, packet.timestamp, self.config.ssrc);
            let header = Header { marker, pt, seq, timestamp, ssrc };
            let config = &self.config;
            let sent = wire.send_rtp(out, |bytes| {
                write_header(config, &header, None, bytes);
                bytes.extend_from_slice(&packet.payload);
            });
            if sent {
                self.count_sent(packet.payload.len(), now);
                self.history.push(seq, None);
                // sound begins again with a marker
                self.fresh = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &mut Keys, from: u64) -> Vec<(u64, KeyPacket)> {
        let mut packets = vec![];
        let mut at = from * MS;
        while let Some(wake) = keys.wake() {
            at = at.max(wake);
            packets.extend(keys.poll(8000, at, || (at / MS) as u32 * 8).map(|packet| (at / MS, packet)));
        }
        packets
    }

    #[test]
    fn a_press_counts_up_and_ends_three_times() {
        let mut keys = Keys::default();
        keys.press("5", 160, 80, 1000 * MS).unwrap();
        let packets = run(&mut keys, 1000);
        let shown: Vec<(u64, bool, bool, u16)> = packets
            .iter()
            .map(|(at, packet)| {
                assert_eq!(packet.timestamp, 8000);
                let event = TelephoneEvent::parse(&packet.payload).unwrap();
                assert_eq!(event.event, 5);
                (*at, packet.marker, event.end, event.duration)
            })
            .collect();
        let mut expected: Vec<_> = (1..=7u16).map(|n| (980 + u64::from(n) * 20, n == 1, false, n * 160)).collect();
        expected.extend([(1140, false, true, 1280), (1160, false, true, 1280), (1180, false, true, 1280)]);
        assert_eq!(shown, expected);
    }

    #[test]
    fn digits_follow_with_their_gaps_and_new_timestamps() {
        let mut keys = Keys::default();
        keys.press("12", 100, 80, 0).unwrap();
        keys.press("#", 100, 0, 0).unwrap();
        let starts: Vec<u64> =
            run(&mut keys, 0).iter().filter(|packet| packet.1.marker).map(|packet| packet.0).collect();
        assert_eq!(starts, [0, 180, 360]);
        assert!(!keys.busy());
    }

    #[test]
    fn refuses_what_is_no_digit_and_too_many() {
        let mut keys = Keys::default();
        assert_eq!(keys.press("12x", 100, 50, 0), Err(LegError::NotADigit('x')));
        assert!(!keys.busy());
        assert_eq!(keys.press(&"1".repeat(MAX_DTMF_QUEUED + 1), 100, 50, 0), Err(LegError::TooManyDigits));
        assert_eq!(keys.press(&"1".repeat(MAX_DTMF_QUEUED), 100, 50, 0), Ok(()));
        assert_eq!(keys.press("1", 100, 50, 0), Err(LegError::TooManyDigits));
    }
}
