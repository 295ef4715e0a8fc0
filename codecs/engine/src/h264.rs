//! What is inside H.264 NAL units (ITU-T H.264, 08/2021): parameter sets, slice headers, key frames.
//!
//! `sps` reads sequence parameter sets; what H.265 shares is in `nal`.
//! Deliberately not read: anything of a picture beyond the first three values of its slice headers, SVC and MVC
//! extensions, HRD parameters.

mod sps;

pub use sps::Sps;

use crate::nal::{Bits, NalError};

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
    pub fn parse(nal: &[u8]) -> Result<Pps, NalError> {
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
    pub fn parse(nal: &[u8]) -> Result<Slice, NalError> {
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
fn sei_number(bits: &mut Bits<'_>) -> Result<u32, NalError> {
    let mut value = 0;
    loop {
        let byte = bits.u(8)?;
        value += byte;
        if byte != 255 {
            return Ok(value);
        }
    }
}

/// The RBSP of a NAL unit of the right type.
fn body(nal: &[u8], wanted: impl Fn(u8) -> bool) -> Result<Bits<'_>, NalError> {
    let kind = nal_type(nal);
    if !wanted(kind) {
        return Err(NalError::WrongType(kind));
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
    pub(crate) const SPS_HEX: &str = "6764000cacd94141fb011000000300100000030140f1429960";
    pub(crate) const PPS_HEX: &str = "68ebe3cb22c0";
    const RECOVERY: &str = "060601c480";
    pub(crate) const IDR_HEX: &str = "6588840010fffef781bf32cb643faac94b44";
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
        assert_eq!(Slice::parse(&from_hex(PPS_HEX)), Err(NalError::WrongType(8)));
        assert_eq!(Slice::parse(&[0x41]), Err(NalError::Truncated));
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
        }
    }
}
