//! Telephone events (RFC 4733).
use super::PayloadError;

/// One packet's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// 0..=15 are the keys, 16 is flash.
    pub event: u8,
    /// The key was released.
    pub end: bool,
    /// -dBm0, 0..=63.
    pub volume: u8,
    /// Ticks since the packet's timestamp, at the clock of the payload type.
    pub duration: u16,
}

impl TelephoneEvent {
    /// # Errors
    /// `Truncated`. More than four bytes (several events in one packet, which nobody sends) is read as its first.
    pub fn parse(_payload: &[u8]) -> Result<TelephoneEvent, PayloadError> {
        todo!()
    }
    pub fn to_bytes(&self) -> [u8; 4] {
        todo!()
    }
    /// `0`-`9`, `*`, `#`, `A`-`D`; None for any other event.
    pub fn digit(&self) -> Option<char> {
        todo!()
    }
}

/// The event of a key; lower case a-d too.
pub fn event_of(_digit: char) -> Option<u8> {
    todo!()
}
