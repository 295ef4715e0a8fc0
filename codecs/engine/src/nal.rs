//! What H.264 and H.265 have in common: NAL units one after the other, bits inside them, parameter sets kept by id.

mod bits;
mod sets;

pub use sets::{ParameterSets, Syntax};

use crate::payload::MAX_NALS;
pub(crate) use bits::Bits;
use std::fmt;

/// What is wrong with a NAL unit, or with the payload that should consist of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NalError {
    /// Ends before its syntax does.
    Truncated,
    /// Not the NAL unit type that was asked for.
    WrongType(u8),
    /// A value outside what the standard allows, by the name of its syntax element.
    Value(&'static str),
    /// A length prefix that reaches past the payload, an empty NAL unit, or more than `payload::MAX_NALS`.
    Length,
}

impl fmt::Display for NalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NalError::Truncated => write!(f, "nal unit ends before its syntax does"),
            NalError::WrongType(kind) => write!(f, "nal unit has type {kind}"),
            NalError::Value(name) => write!(f, "{name} is outside its range"),
            NalError::Length => write!(f, "length of a nal unit does not fit the payload"),
        }
    }
}

impl std::error::Error for NalError {}

/// Where the NAL units lie in a length-prefixed payload, as `Unit::nals`.
///
/// # Errors
/// `Length`: also for an empty NAL unit, and for more than `payload::MAX_NALS`.
pub fn index(payload: &[u8]) -> Result<Box<[(u32, u32)]>, NalError> {
    let mut nals = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let (prefix, rest) = payload[at..].split_first_chunk::<4>().ok_or(NalError::Length)?;
        let len = u32::from_be_bytes(*prefix);
        if len == 0 || len as usize > rest.len() || nals.len() == MAX_NALS {
            return Err(NalError::Length);
        }
        nals.push(((at + 4) as u32, len));
        at += 4 + len as usize;
    }
    Ok(nals.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::tests::prefixed;
    use proptest::prelude::*;

    #[test]
    fn index_refuses_lengths_that_do_not_fit() {
        assert_eq!(index(&[0, 0, 0, 1, 0x65, 0, 0, 0, 2, 0x41, 9]).as_deref(), Ok(&[(4, 1), (9, 2)][..]));
        assert_eq!(index(&[]).as_deref(), Ok(&[][..]));
        for bad in [&[0, 0, 0, 2, 0x65][..], &[0, 0, 0, 0], &[0, 0, 1], &[0xFF, 0xFF, 0xFF, 0xFF, 1]] {
            assert_eq!(index(bad), Err(NalError::Length));
        }
    }

    proptest! {
        #[test]
        fn index_never_panics(payload in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..64)) {
            if let Ok(nals) = index(&payload) {
                let rebuilt: Vec<&[u8]> = nals.iter().map(|&(s, l)| &payload[s as usize..(s + l) as usize]).collect();
                prop_assert_eq!(prefixed(&rebuilt), payload);
            }
        }
    }
}
