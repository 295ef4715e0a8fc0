//! The parameter sets of a track, in and out of its pictures.

use super::{nal_type, Pps, Sps, AUD, PPS, SPS};

/// Sets kept of each kind. Encoders use one or two; the standard's 32 and 256 would let a sender fill memory.
const MAX_SETS: usize = 32;
/// Bytes of one set; one with all scaling lists has under 500.
const MAX_SET_BYTES: usize = 1024;

/// The newest SPS and PPS of each id. Bounded: further ids and oversized sets are not kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ParameterSets {
    sps: Vec<(u8, Box<[u8]>)>,
    pps: Vec<(u8, Box<[u8]>)>,
}

impl ParameterSets {
    /// Keep a NAL unit if it is an SPS or PPS that can be read. True when it is new or differs from the one kept.
    pub fn keep(&mut self, nal: &[u8]) -> bool {
        let Some((kind, id)) = identity(nal) else { return false };
        if nal.len() > MAX_SET_BYTES {
            return false;
        }
        let sets = if kind == SPS { &mut self.sps } else { &mut self.pps };
        match sets.binary_search_by_key(&id, |set| set.0) {
            Ok(at) if *sets[at].1 == *nal => false,
            Ok(at) => {
                sets[at].1 = nal.into();
                true
            }
            Err(_) if sets.len() == MAX_SETS => false,
            Err(at) => {
                sets.insert(at, (id, nal.into()));
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

    /// At least one SPS and one PPS are known.
    pub fn complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// SPS first, then PPS, in order of id.
    pub fn nals(&self) -> impl Iterator<Item = &[u8]> {
        self.sps.iter().chain(&self.pps).map(|set| &*set.1)
    }

    /// The SPS with the lowest id.
    pub fn sps(&self) -> Option<Sps> {
        self.sps.first().and_then(|set| Sps::parse(&set.1).ok())
    }

    /// Payload and index of a picture that has all sets before everything else but its access unit delimiter. None
    /// when the picture carries a set of each id that is known.
    ///
    /// Call `keep_all` with the picture first: its own sets are then moved to the front, so that a PPS never precedes
    /// its SPS.
    #[allow(clippy::type_complexity)] // the two fields of a Unit
    pub fn prepended(&self, payload: &[u8], nals: &[(u32, u32)]) -> Option<(Box<[u8]>, Box<[(u32, u32)]>)> {
        let carried: Vec<&[u8]> = nals.iter().map(|&nal| slice(payload, nal)).collect();
        let has = |set: &[u8]| carried.iter().any(|nal| identity(nal) == identity(set));
        if self.nals().all(has) {
            return None;
        }
        let leads = usize::from(carried.first().is_some_and(|nal| nal_type(nal) == AUD));
        let rest = carried[leads..].iter().copied().filter(|nal| !self.nals().any(|set| set == *nal));
        let mut out = Vec::with_capacity(payload.len() + self.nals().map(|set| set.len() + 4).sum::<usize>());
        let mut index = Vec::with_capacity(nals.len() + self.sps.len() + self.pps.len());
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

/// Type and id of a parameter set; None for anything else and for what can't be read.
fn identity(nal: &[u8]) -> Option<(u8, u8)> {
    match nal_type(nal) {
        SPS => Sps::parse(nal).ok().map(|sps| (SPS, sps.id)),
        PPS => Pps::parse(nal).ok().map(|pps| (PPS, pps.id)),
        _ => None,
    }
}
