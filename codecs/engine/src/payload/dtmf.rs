//! Telephone events (RFC 4733): keys pressed on a phone or a room system's remote control.
//!
//! Deliberately not implemented: tones (section 4), several events in one packet.

use super::PayloadError;

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// One packet's payload (2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// 0..=15 are the keys, 16 is flash.
    pub event: u8,
    /// The key was released.
    pub end: bool,
    /// -dBm0, 0..=63.
    pub volume: u8,
    /// Ticks since the packet's timestamp, of the payload type's clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Of a payload with more than four bytes the first event is read.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(payload: &[u8]) -> Result<TelephoneEvent, PayloadError> {
        let (bytes, _) = payload.split_first_chunk::<4>().ok_or(PayloadError::Truncated)?;
        Ok(TelephoneEvent {
            event: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3F,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    pub fn to_bytes(&self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume.min(63), high, low]
    }

    /// `0`-`9`, `*`, `#`, `A`-`D`; None for any other event.
    pub fn digit(&self) -> Option<char> {
        DIGITS.get(usize::from(self.event)).map(|&digit| char::from(digit))
    }
}

/// The event of a key, `a`-`d` in either case; None for any other character.
pub fn event_of(digit: char) -> Option<u8> {
    DIGITS.iter().position(|&key| char::from(key) == digit.to_ascii_uppercase()).map(|at| at as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_last_packet_of_a_key_press() {
        // key 5, end, volume -10 dBm0, 100 ms at 8 kHz
        let event = TelephoneEvent::parse(&[5, 0x8A, 0x03, 0x20]).unwrap();
        assert_eq!(event, TelephoneEvent { event: 5, end: true, volume: 10, duration: 800 });
        assert_eq!(event.digit(), Some('5'));
        assert_eq!(TelephoneEvent::parse(&[5, 0x8A, 3]), Err(PayloadError::Truncated));
    }

    #[test]
    fn keys_and_events_name_each_other() {
        for event in 0..16 {
            let digit = TelephoneEvent { event, end: false, volume: 0, duration: 0 }.digit().unwrap();
            assert_eq!(event_of(digit), Some(event));
        }
        assert_eq!(event_of('d'), Some(15));
        assert_eq!(event_of('x'), None);
        assert_eq!(TelephoneEvent { event: 16, end: false, volume: 0, duration: 0 }.digit(), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(event: u8, end: bool, volume in 0u8..64, duration: u16) {
            let written = TelephoneEvent { event, end, volume, duration };
            prop_assert_eq!(TelephoneEvent::parse(&written.to_bytes()), Ok(written));
        }

        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(TelephoneEvent::parse(&payload).is_ok(), payload.len() >= 4);
        }
    }
}
