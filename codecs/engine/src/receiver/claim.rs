//! Whose a packet is (RFC 8843 9.2, as far as several receivers share a leg).

use super::{Receiver, ALIVE};
use crate::rtp::Packet;
use crate::unit::{Codec, Ns};

/// What a payload type means to a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Media(Codec),
    /// A retransmission of this payload type.
    Rtx(u8),
    Dtmf,
}

/// Whose a packet is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Claim {
    None,
    /// Of a source that was left, while the new one is heard.
    Retired,
    /// The payload type is known, but the source that signalling named is heard, or retransmissions have another SSRC.
    Stranger,
    /// The payload type is known, but another source is heard.
    Change,
    /// The payload type is known, and nobody is heard.
    PayloadType,
    Mid,
    Ssrc,
}

impl Receiver {
    pub(super) fn meaning(&self, pt: u8) -> Option<Meaning> {
        let types = &self.config.payload_types;
        if let Some(&(_, codec)) = types.codecs.iter().find(|codec| codec.0 == pt) {
            return Some(Meaning::Media(codec));
        }
        if types.dtmf_pt == Some(pt) {
            return Some(Meaning::Dtmf);
        }
        types.rtx.iter().find(|rtx| rtx.0 == pt).map(|rtx| Meaning::Rtx(rtx.1))
    }

    pub fn claim(&self, packet: &Packet<'_>, now: Ns) -> Claim {
        let Some(meaning) = self.meaning(packet.pt) else { return Claim::None };
        if self.has_ssrc(packet.ssrc) {
            return Claim::Ssrc;
        }
        if let (Some(mid), Some(said)) = (&self.config.mid, self.config.mid_ext.and_then(|ext| packet.extension(ext))) {
            return if said == mid.as_bytes() { Claim::Mid } else { Claim::None };
        }
        let alive = self.alive(now);
        match meaning {
            Meaning::Rtx(_) if self.rtx_ssrc.is_some() => Claim::Stranger,
            // some devices give their keys an SSRC of their own
            Meaning::Rtx(_) | Meaning::Dtmf => Claim::PayloadType,
            _ if alive && self.retired.contains(&packet.ssrc) => Claim::Retired,
            _ if alive && self.config.ssrc.is_some() => Claim::Stranger,
            _ if alive => Claim::Change,
            _ => Claim::PayloadType,
        }
    }

    /// The source is heard, or was a moment ago.
    pub(super) fn alive(&self, now: Ns) -> bool {
        !self.ended && self.heard.is_some_and(|heard| now < heard + ALIVE)
    }
}
