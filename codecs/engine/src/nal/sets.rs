//! The parameter sets of a track, in and out of its pictures.

use crate::unit::Codec;
use crate::{h264, h265};

/// Sets kept of each kind. Encoders use one or two; H.264's 32 and 256 would let a sender fill memory.
const MAX_SETS: usize = 32;
/// Bytes of one set; an SPS of H.264 with all scaling lists has under 500.
const MAX_SET_BYTES: usize = 1024;

/// Whose NAL units they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Syntax {
    #[default]
    H264,
    H265,
}

impl Syntax {
    /// None for a codec without parameter sets.
    pub fn of(codec: Codec) -> Option<Syntax> {
        match codec {
            Codec::H264 => Some(Syntax::H264),
            Codec::H265 => Some(Syntax::H265),
            _ => None,
        }
    }

    /// A parameter set, readable or not.
    pub fn is_set(self, nal: &[u8]) -> bool {
        match self {
            Syntax::H264 => matches!(h264::nal_type(nal), h264::SPS | h264::PPS),
            Syntax::H265 => matches!(h265::nal_type(nal), h265::VPS | h265::SPS | h265::PPS),
        }
    }

    /// Type and id of a parameter set; None for anything else and for what can't be read. Types are numbered so that a
    /// set's number is above those of what it refers to, in both standards.
    fn identity(self, nal: &[u8]) -> Option<(u8, u8)> {
        match self {
            Syntax::H264 => match h264::nal_type(nal) {
                h264::SPS => h264::Sps::parse(nal).ok().map(|sps| (h264::SPS, sps.id)),
                h264::PPS => h264::Pps::parse(nal).ok().map(|pps| (h264::PPS, pps.id)),
                _ => None,
            },
            Syntax::H265 => h265::identity(nal),
        }
    }

    /// Comes before everything else of its picture.
    fn is_delimiter(self, nal: &[u8]) -> bool {
        match self {
            Syntax::H264 => h264::nal_type(nal) == h264::AUD,
            Syntax::H265 => h265::nal_type(nal) == h265::AUD,
        }
    }
}

/// A type and id with the newest set that has them.
type Kept = ((u8, u8), Box<[u8]>);

/// The newest set of each type and id. Bounded: further ids and oversized sets are not kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ParameterSets {
    syntax: Syntax,
    /// In order of type and id.
    sets: Vec<Kept>,
}

impl ParameterSets {
    pub fn new(syntax: Syntax) -> ParameterSets {
        ParameterSets { syntax, sets: Vec::new() }
    }

    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Keep a NAL unit if it is a parameter set that can be read. True when it is new or differs from the one kept.
    pub fn keep(&mut self, nal: &[u8]) -> bool {
        let Some(identity) = self.syntax.identity(nal) else { return false };
        if nal.len() > MAX_SET_BYTES {
            return false;
        }
        match self.sets.binary_search_by_key(&identity, |set| set.0) {
            Ok(at) if *self.sets[at].1 == *nal => false,
            Ok(at) => {
                self.sets[at].1 = nal.into();
                true
            }
            Err(_) if self.of_type(identity.0).count() == MAX_SETS => false,
            Err(at) => {
                self.sets.insert(at, (identity, nal.into()));
                true
            }
        }
    }

    /// `keep` every NAL unit of a picture. True when anything changed.
    pub fn keep_all<'a>(&mut self, nals: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut changed = false;
        for nal in nals {
            changed |= self.keep(nal);
        }
        changed
    }

    /// At least one of each type is known.
    pub fn complete(&self) -> bool {
        let types: &[u8] = match self.syntax {
            Syntax::H264 => &[h264::SPS, h264::PPS],
            Syntax::H265 => &[h265::VPS, h265::SPS, h265::PPS],
        };
        types.iter().all(|&kind| self.of_type(kind).next().is_some())
    }

    /// VPS first, then SPS, then PPS, in order of id.
    pub fn nals(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().map(|set| &*set.1)
    }

    /// Width and height in the SPS with the lowest id, after cropping.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self.syntax {
            Syntax::H264 => {
                let sps = h264::Sps::parse(self.of_type(h264::SPS).next()?).ok()?;
                Some((sps.width, sps.height))
            }
            Syntax::H265 => {
                let sps = h265::Sps::parse(self.of_type(h265::SPS).next()?).ok()?;
                Some((sps.width, sps.height))
            }
        }
    }

    fn of_type(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().filter(move |set| set.0 .0 == kind).map(|set| &*set.1)
    }

    /// Payload and index of a picture that has all sets before everything else but its access unit delimiter. None
    /// when the picture carries a set of each id that is known.
    ///
    /// Call `keep_all` with the picture first: its own sets are then moved to the front, so that none precedes
    /// what it refers to.
    #[allow(clippy::type_complexity)] // the two fields of a Unit
    pub fn prepended(&self, payload: &[u8], nals: &[(u32, u32)]) -> Option<(Box<[u8]>, Box<[(u32, u32)]>)> {
        let carried: Vec<&[u8]> = nals.iter().map(|&nal| slice(payload, nal)).collect();
        let has = |set: &[u8]| carried.iter().any(|nal| self.syntax.identity(nal) == self.syntax.identity(set));
        if self.nals().all(has) {
            return None;
        }
        let leads = usize::from(carried.first().is_some_and(|nal| self.syntax.is_delimiter(nal)));
        let rest = carried[leads..].iter().copied().filter(|nal| !self.nals().any(|set| set == *nal));
        let mut out = Vec::with_capacity(payload.len() + self.nals().map(|set| set.len() + 4).sum::<usize>());
        let mut index = Vec::with_capacity(nals.len() + self.sets.len());
        for nal in carried[..leads].iter().copied().chain(self.nals()).chain(rest) {
            out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
            index.push((out.len() as u32, nal.len() as u32));
            out.extend_from_slice(nal);
        }
        Some((out.into(), index.into()))
    }
}

fn slice(payload: &[u8], (start, len): (u32, u32)) -> &[u8] {
    &payload[start as usize..start as usize + len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::tests::{from_hex, prefixed, IDR_HEX, PPS_HEX, SPS_HEX};
    use crate::h265::tests as hevc;
    use crate::nal::index;
    use proptest::prelude::*;

    #[test]
    fn prepends_what_a_picture_lacks() {
        let mut sets = ParameterSets::default();
        assert!(!sets.complete());
        assert!(sets.keep(&from_hex(SPS_HEX)));
        assert!(sets.keep(&from_hex(PPS_HEX)));
        assert!(!sets.keep(&from_hex(PPS_HEX)));
        assert!(!sets.keep(&from_hex(IDR_HEX)));
        assert!(sets.complete());
        assert_eq!(sets.size(), Some((320, 240)));

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

    #[test]
    fn prepends_all_three_kinds_of_h265() {
        let mut sets = ParameterSets::new(Syntax::H265);
        let [vps, sps, pps, idr] = [hevc::VPS_HEX, hevc::SPS_1080, hevc::PPS_HEX, hevc::IDR_HEX].map(from_hex);
        assert!(sets.keep(&pps) && sets.keep(&sps) && !sets.complete());
        assert!(sets.keep(&vps) && !sets.keep(&vps) && !sets.keep(&idr) && sets.complete());
        assert_eq!(sets.size(), Some((1920, 1080)));
        let delimiter: &[u8] = &[0x46, 0x01, 0x50];
        let payload = prefixed(&[delimiter, &sps, &idr]);
        let (payload, nals) = sets.prepended(&payload, &index(&payload).unwrap()).unwrap();
        assert_eq!(*payload, *prefixed(&[delimiter, &vps, &sps, &pps, &idr]));
        assert_eq!(sets.prepended(&payload, &nals), None);
        // an H.264 picture means nothing here
        assert!(!sets.keep(&from_hex(SPS_HEX)) && !sets.keep(&from_hex(PPS_HEX)));
    }

    proptest! {
        #[test]
        fn no_nal_units_panic(
            h265 in any::<bool>(),
            nals in proptest::collection::vec(
                (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, rest)| {
                    // half of them parameter sets of either standard
                    let kind = [0x67, 0x68, 0x40, 0x42, 0x44].get(usize::from(kind % 10)).copied().unwrap_or(kind);
                    std::iter::once(kind).chain(rest).collect::<Vec<u8>>()
                }),
                0..6,
            ),
        ) {
            let mut sets = ParameterSets::new(if h265 { Syntax::H265 } else { Syntax::H264 });
            sets.keep_all(nals.iter().map(Vec::as_slice));
            let filled: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
            let payload = prefixed(&filled);
            let nals = index(&payload).unwrap();
            prop_assert_eq!(nals.len(), filled.len());
            if let Some((payload, nals)) = sets.prepended(&payload, &nals) {
                prop_assert_eq!(index(&payload).unwrap(), nals);
            }
        }
    }
}
