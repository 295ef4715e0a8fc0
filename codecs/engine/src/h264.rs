//! What is inside H.264 NAL units (ITU-T H.264): parameter sets, slice headers, key frames.
use std::fmt;

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

/// What is wrong with a parameter set or unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum H264Error {
    /// Ends before its syntax does.
    Truncated,
    /// Not the NAL unit type that was asked for.
    WrongType(u8),
    /// A value outside what the standard allows, by the name of its syntax element.
    Value(&'static str),
    /// A length prefix that reaches past the payload, or an empty NAL unit.
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

/// A sequence parameter set, as far as anybody here needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sps {
    pub id: u8,
    pub profile_idc: u8,
    /// constraint_set0_flag is bit 7.
    pub constraint_flags: u8,
    pub level_idc: u8,
    /// Luma samples after cropping.
    pub width: u32,
    pub height: u32,
    /// Pictures that may come before one in decoding order and after it in output order: 0 means no B-pictures that
    /// reorder. From the VUI, else what the standard infers (7.4.2.1.1, A.3.1, E.2.1).
    pub max_reorder_frames: u8,
    /// Pictures per second as a fraction, where the VUI says so.
    pub fps: Option<(u32, u32)>,
}

impl Sps {
    /// `nal`: with its header byte, without start code.
    pub fn parse(_nal: &[u8]) -> Result<Sps, H264Error> {
        todo!()
    }
}

/// A picture parameter set's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pps {
    pub id: u8,
    pub sps_id: u8,
}

impl Pps {
    pub fn parse(_nal: &[u8]) -> Result<Pps, H264Error> {
        todo!()
    }
}

/// The beginning of a slice header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// 0 for the first slice of a picture (without arbitrary slice order).
    pub first_mb: u32,
    /// I or SI.
    pub intra: bool,
    pub pps_id: u8,
}

impl Slice {
    /// Types 1, 2 and 5.
    pub fn parse(_nal: &[u8]) -> Result<Slice, H264Error> {
        todo!()
    }
}

/// What a picture's NAL units say together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Has a slice: is a picture and not only parameter sets.
    pub picture: bool,
    pub idr: bool,
    /// Has a recovery point SEI (D.2.8).
    pub recovery_point: bool,
    /// All its slices are I.
    pub intra: bool,
    pub sps: bool,
    pub pps: bool,
}

impl Summary {
    pub fn of<'a>(_nals: impl Iterator<Item = &'a [u8]>) -> Summary {
        todo!()
    }

    /// Decoding may begin here: an IDR picture, or one that is all I slices and has a recovery point or its own SPS
    /// and PPS (room systems with gradual refresh never send IDR).
    pub fn keyframe(&self) -> bool {
        self.idr || self.picture && self.intra && (self.recovery_point || self.sps && self.pps)
    }
}

/// Where the NAL units lie in a length-prefixed payload, as `Unit::nals`.
///
/// # Errors
/// `Length`: also for an empty NAL unit, and for more than `payload::MAX_NALS`.
pub fn index(_payload: &[u8]) -> Result<Box<[(u32, u32)]>, H264Error> {
    todo!()
}

/// The parameter sets of a track, by id, the newest of each. Bounded.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ParameterSets {}

impl ParameterSets {
    /// Keep a NAL unit if it is an SPS or PPS. True when it is new or differs from the one kept.
    pub fn keep(&mut self, _nal: &[u8]) -> bool {
        todo!()
    }
    /// `keep` every NAL unit of a picture. True when anything changed.
    pub fn keep_all<'a>(&mut self, _nals: impl Iterator<Item = &'a [u8]>) -> bool {
        todo!()
    }
    /// At least one SPS and one PPS are known.
    pub fn complete(&self) -> bool {
        todo!()
    }
    /// SPS first, then PPS, in order of id.
    pub fn nals(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
    /// The first SPS that can be read.
    pub fn sps(&self) -> Option<Sps> {
        todo!()
    }
    /// A unit's payload and NAL index with the sets that it doesn't carry itself put before it (after a leading access
    /// unit delimiter). None when it lacks none of those known.
    #[allow(clippy::type_complete)]
    pub fn prepended(&self, _payload: &[u8], _nals: &[(u32, u32)]) -> Option<(Box<[u8]>, Box<[(u32, u32)]>)> {
        todo!()
    }
}
