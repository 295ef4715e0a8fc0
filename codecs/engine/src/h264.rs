//! What is inside H.264 NAL units (ITU-T H.264, 08/2021): parameter sets, slice headers, key frames.
//!
//! `sps` reads sequence parameter sets, `sets` keeps a track's parameter sets, `bits` is the bit reader below both.
//! Deliberately not read: anything of a picture beyond the first three values of its slice headers, SVC and MVC
//! extensions, HRD parameters.

mod bits;
mod sets;
mod sps;

pub use sets::ParameterSets;
pub use sps::Sps;

use crate::payload::MAX_NALS;
use bits::Bits;
use std::fmt;

/// NAL unit types (table 7-1).
pub const SLICE: u8 = 1;
pub const IDR: u8 = 5;
pub const SEI: u8 = 6;
pub const SPS: u8 = 7;
pub const PPS: u8 = 8;
pub const AUD: u8 = 9;
pub const FILLER: u8 = 12;

/// The type of a NAL unit; 0 for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1F)
}

/// Slices of any kind: data partitions and IDR included.
pub fn is_slice(kind: u8) -> bool {
    (SLICE..=IDR).contains(&kind)
}

/// What is wrong with a NAL unit, or with the payload that should consist of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum H264Error {
    /// Ends before its syntax does.
    Truncated,
    /// Not the NAL unit type that was asked for.
    WrongType(u8),
    /// A value outside what the standard allows, by the name of its syntax element.
    Value(&'static str),
    /// A length prefix that reaches past the payload, an empty NAL unit, or more than `payload::MAX_NALS`.
    Length,
}

impl fmt::Display for H264Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            H264Error::Truncated => write!(f, "nal unit ends before its syntax does"),
            H264Error::WrongType(kind) => write!(f, "nal unit has type {kind}"),
            H264Error::Value(name) => write!(f, "{name} is outside its range"),
            H264Error::Length => write!(f, "length of a nal unit does not fit the payload"),
        }
    }
}

impl std::error::Error for H264Error {}

/// A picture parameter set's identity (7.3.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pps {
    pub id: u8,
    pub sps_id: u8,
}

impl Pps {
    /// `nal`: with its header byte, without start code.
    ///
    /// # Errors
    /// `WrongType`, `Truncated`, `Value`.
    pub fn parse(nal: &[u8]) -> Result<Pps, H264Error> {
        let mut bits = body(nal, |kind| kind == PPS)?;
        Ok(Pps {
            id: bits.ue_below(256, "pic_parameter_set_id")? as u8,
            sps_id: bits.ue_below(32, "seq_parameter_set_id")? as u8,
        })
    }
}

/// How the macroblocks of a slice may be predicted; SP counts as P, SI as I.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SliceKind {
    P,
    B,
    I,
}

/// The beginning of a slice header (7.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// 0 for the first slice of a picture (arbitrary slice order aside, which nobody sends).
    pub first_mb: u32,
    pub kind: SliceKind,
    pub pps_id: u8,
}

impl Slice {
    /// Types 1, 2 (data partition A) and 5.
    ///
    /// # Errors
    /// `WrongType`, `Truncated`, `Value`.
    pub fn parse(nal: &[u8]) -> Result<Slice, H264Error> {
        let mut bits = body(nal, |kind| matches!(kind, SLICE | 2 | IDR))?;
        let first_mb = bits.ue()?;
        let kind = match bits.ue_below(10, "slice_type")? % 5 {
            0 | 3 => SliceKind::P,
            1 => SliceKind::B,
            _ => SliceKind::I,
        };
        Ok(Slice { first_mb, kind, pps_id: bits.ue_below(256, "pic_parameter_set_id")? as u8 })
    }
}

/// What a picture's NAL units say together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Has a slice: is a picture and not only parameter sets.
    pub picture: bool,
    pub idr: bool,
    /// Has a recovery point SEI (D.1.8).
    pub recovery_point: bool,
    /// Has slices, and all of them are I.
    pub intra: bool,
    /// Has a B slice.
    pub bidirectional: bool,
    pub sps: bool,
    pub pps: bool,
    /// Its first slice begins with the first macroblock: nothing is missing before it.
    pub from_top: bool,
}

impl Summary {
    pub fn of<'a>(nals: impl Iterator<Item = &'a [u8]>) -> Summary {
        let mut summary = Summary::default();
        for nal in nals {
            match nal_type(nal) {
                kind if is_slice(kind) => summary.add_slice(kind, nal),
                SEI => summary.recovery_point |= has_recovery_point(nal),
                SPS => summary.sps = true,
                PPS => summary.pps = true,
                _ => {}
            }
        }
        summary
    }

    fn add_slice(&mut self, kind: u8, nal: &[u8]) {
        // partitions B and C carry no header of their own and say nothing new
        if matches!(kind, 3 | 4) {
            return;
        }
        let first = !self.picture;
        self.picture = true;
        self.idr |= kind == IDR;
        let slice = Slice::parse(nal).ok();
        let kind = slice.map(|slice| slice.kind);
        self.intra = kind == Some(SliceKind::I) && (first || self.intra);
        self.bidirectional |= kind == Some(SliceKind::B);
        if first {
            self.from_top = slice.is_some_and(|slice| slice.first_mb == 0);
        }
    }

    /// Decoding may begin here: an IDR picture, or one that is all I slices and has a recovery point or its own SPS
    /// and PPS (x264 with open GOPs, and room systems that refresh without IDR).
    pub fn keyframe(&self) -> bool {
        self.idr || self.intra && (self.recovery_point || self.sps && self.pps)
    }
}

/// Walks through the SEI messages (7.3.2.3.1); the recovery point has payload type 6.
fn has_recovery_point(nal: &[u8]) -> bool {
    let mut bits = Bits::new(&nal[1..]);
    while let (Ok(kind), Ok(size)) = (sei_number(&mut bits), sei_number(&mut bits)) {
        if kind == 6 {
            return true;
        }
        // ends with the unit at the latest; the trailing bits read as a message of type 128 without a size
        for _ in 0..size {
            if bits.u(8).is_err() {
                return false;
            }
        }
    }
    false
}

/// payloadType and payloadSize: bytes are added up until one is not 255.
fn sei_number(bits: &mut Bits<'_>) -> Result<u32, H264Error> {
    let mut value = 0;
    loop {
        let byte = bits.u(8)?;
        value += byte;
        if byte != 255 {
            return Ok(value);
        }
    }
}

/// Where the NAL units lie in a length-prefixed payload, as `Unit::nals`.
///
/// # Errors
/// `Length`: also for an empty NAL unit, and for more than `payload::MAX_NALS`.
pub fn index(payload: &[u8]) -> Result<Box<[(u32, u32)]>, H264Error> {
    let mut nals = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let (prefix, rest) = payload[at..].split_first_chunk::<4>().ok_or(H264Error::Length)?;
        let len = u32::from_be_bytes(*prefix);
        if len == 0 || len as usize > rest.len() || nals.len() == MAX_NALS {
            return Err(H264Error::Length);
        }
        nals.push(((at + 4) as u32, len));
        at += 4 + len as usize;
    }
    Ok(nals.into())
}

/// The RBSP of a NAL unit of the right type.
fn body(nal: &[u8], wanted: impl Fn(u8) -> bool) -> Result<Bits<'_>, H264Error> {
    let kind = nal_type(nal);
    if !wanted(kind) {
        return Err(H264Error::WrongType(kind));
    }
    Ok(Bits::new(&nal[1..]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn summary(nals: &[&str]) -> Summary {
        let nals: Vec<Vec<u8>> = nals.iter().map(|hex| from_hex(hex)).collect();
        Summary::of(nals.iter().map(Vec::as_slice))
    }

    // the first bytes of NAL units that x264 164 wrote with --open-gop
    const SPS_HEX: &str = "6764000cacd94141fb011000000300100000030140f1429960";
    const PPS_HEX: &str = "68ebe3cb22c0";
    const RECOVERY: &str = "060601c480";
    const IDR_HEX: &str = "6588840010fffef781bf32cb643faac94b44";
    const I: &str = "4188990047fffef7881f32cb";
    const P: &str = "419a236c437ffea78e470ab5";
    const B: &str = "019e626a437f0003f860e46d";

    #[test]
    fn idr_and_recovery_points_begin_decoding() {
        let first = summary(&[SPS_HEX, PPS_HEX, IDR_HEX]);
        assert!(first.keyframe() && first.idr && first.intra && first.sps && first.pps && first.from_top);
        assert!(summary(&[RECOVERY, I]).keyframe());
        assert!(summary(&[SPS_HEX, PPS_HEX, I]).keyframe());
        assert!(!summary(&[I]).keyframe());
        assert!(!summary(&[RECOVERY, I, P]).keyframe());
        assert!(!summary(&[RECOVERY, P]).keyframe());
        assert!(!summary(&[SPS_HEX, PPS_HEX]).keyframe());
        assert!(!summary(&[SPS_HEX, PPS_HEX]).picture);
    }

    #[test]
    fn b_slices_are_seen() {
        assert!(summary(&[B]).bidirectional);
        assert!(!summary(&[P]).bidirectional);
        // x264's buffering period SEI, then a recovery point in the same unit
        assert!(summary(&["06000593c6d0465106 01c480".replace(' ', "").as_str(), I]).recovery_point);
        assert!(!summary(&["06000593c6d0465180", I]).recovery_point);
    }

    #[test]
    fn identities_of_sets_and_slices() {
        assert_eq!(Pps::parse(&from_hex(PPS_HEX)), Ok(Pps { id: 0, sps_id: 0 }));
        assert_eq!(Slice::parse(&from_hex(P)), Ok(Slice { first_mb: 0, kind: SliceKind::P, pps_id: 0 }));
        assert_eq!(Slice::parse(&from_hex(PPS_HEX)), Err(H264Error::WrongType(8)));
        assert_eq!(Slice::parse(&[0x41]), Err(H264Error::Truncated));
    }

    #[test]
    fn index_refuses_lengths_that_do_not_fit() {
        assert_eq!(index(&[0, 0, 0, 1, 0x65, 0, 0, 0, 2, 0x41, 9]).as_deref(), Ok(&[(4, 1), (9, 2)][..]));
        assert_eq!(index(&[]).as_deref(), Ok(&[][..]));
        for bad in [&[0, 0, 0, 2, 0x65][..], &[0, 0, 0, 0], &[0, 0, 1], &[0xFF, 0xFF, 0xFF, 0xFF, 1]] {
            assert_eq!(index(bad), Err(H264Error::Length));
        }
    }

    #[test]
    fn prepends_what_a_picture_lacks() {
        let mut sets = ParameterSets::default();
        assert!(!sets.complete());
        assert!(sets.keep(&from_hex(SPS_HEX)));
        assert!(sets.keep(&from_hex(PPS_HEX)));
        assert!(!sets.keep(&from_hex(PPS_HEX)));
        assert!(!sets.keep(&from_hex(IDR_HEX)));
        assert!(sets.complete());
        assert_eq!(sets.sps().map(|sps| (sps.width, sps.height)), Some((320, 240)));

        let payload = prefixed(&[&[0x09, 0xF0], &from_hex(PPS_HEX), &from_hex(IDR_HEX)]);
        let (payload, nals) = sets.prepended(&payload, &index(&payload).unwrap()).unwrap();
        let expected = prefixed(&[&[0x09, 0xF0], &from_hex(SPS_HEX), &from_hex(PPS_HEX), &from_hex(IDR_HEX)]);
        assert_eq!(*payload, *expected);
        assert_eq!(nals, index(&expected).unwrap());
        assert_eq!(sets.prepended(&payload, &nals), None);
    }

    #[test]
    fn sets_are_bounded() {
        let mut sets = ParameterSets::default();
        // pps ids 0..=255 as ue(v) followed by sps id 0
        for id in 0u32..256 {
            let code = u64::from(id + 1) << 1 | 1;
            let width = 2 * (id + 1).ilog2() + 2;
            let mut nal = vec![0x68];
            nal.extend_from_slice(&(code << (64 - width)).to_be_bytes());
            sets.keep(&nal);
        }
        assert_eq!(sets.nals().count(), 32);
    }

    pub(crate) fn prefixed(nals: &[&[u8]]) -> Vec<u8> {
        let mut payload = Vec::new();
        for nal in nals {
            payload.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload
    }

    proptest! {
        #[test]
        fn no_nal_units_panic(nals in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let summary = Summary::of(nals.iter().map(Vec::as_slice));
            prop_assert!(!summary.intra || summary.picture);
            let mut sets = ParameterSets::default();
            sets.keep_all(nals.iter().map(Vec::as_slice));
            let filled: Vec<&[u8]> = nals.iter().map(Vec::as_slice).filter(|nal| !nal.is_empty()).collect();
            let payload = prefixed(&filled);
            let nals = index(&payload).unwrap();
            prop_assert_eq!(nals.len(), filled.len());
            if let Some((payload, nals)) = sets.prepended(&payload, &nals) {
                prop_assert_eq!(index(&payload).unwrap(), nals);
            }
        }

        #[test]
        fn index_never_panics(payload in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..64)) {
            if let Ok(nals) = index(&payload) {
                let rebuilt: Vec<&[u8]> = nals.iter().map(|&(s, l)| &payload[s as usize..(s + l) as usize]).collect();
                prop_assert_eq!(prefixed(&rebuilt), payload);
            }
        }
    }
}
