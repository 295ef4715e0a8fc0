//! Legs' receivers and senders, tied to tracks.

use super::selection::Selection;
use super::Core;
use crate::bus::BusError;
use crate::leg::{LegError, PayloadTypes, ReceiverConfig, SenderCodec, SenderConfig};
use crate::unit::{Codec, LegId, Ns, ReceiverId, SenderId};

/// Why something about a receiver or sender was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum PeerError {
    /// The leg, receiver or sender is gone.
    Closed,
    Leg(LegError),
    Bus(BusError),
    /// A payload type of the other kind than the track's.
    Kind {
        video: bool,
    },
    /// The track carries another codec than the sender sends.
    CodecDiffers {
        track: Codec,
        sender: Codec,
    },
}

impl std::fmt::Display for PeerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerError::Closed => write!(f, "this leg is closed"),
            PeerError::Leg(error) => error.fmt(f),
            PeerError::Bus(error) => error.fmt(f),
            PeerError::CodecDiffers { track, sender } => {
                write!(f, "the track carries {}, the sender sends {}", track.name(), sender.name())
            }
            PeerError::Kind { video } => {
                write!(f, "a payload type isn't {}, but the track is", if *video { "video" } else { "audio" })
            }
        }
    }
}

impl Core {
    /// Feeds a track from a leg. `config.id` and `config.clock_hz` are filled in here.
    pub fn add_receiver(&mut self, leg: LegId, mut config: ReceiverConfig, now: Ns) -> Result<ReceiverId, PeerError> {
        let track = self.bus.track(config.track).map_err(PeerError::Bus)?;
        check_kind(&config.payload_types, track.video)?;
        config.clock_hz = track.clock_hz;
        let (id, target) = (ReceiverId(self.new_id()), config.track);
        config.id = id;
        self.with_leg(leg, now, |leg, _| leg.add_receiver(config, now))
            .ok_or(PeerError::Closed)?
            .map_err(PeerError::Leg)?;
        if let Some(slot) = self.legs.get_mut(&leg) {
            slot.receivers.push(id);
        }
        self.receivers.insert(id, (leg, target));
        if let Some(track) = self.bus.track_mut(target) {
            track.sources.push((leg, id));
        }
        Ok(id)
    }

    pub fn set_payload_types(
        &mut self,
        leg: LegId,
        id: ReceiverId,
        types: PayloadTypes,
        now: Ns,
    ) -> Result<(), PeerError> {
        let &(_, track) = self.receivers.get(&id).ok_or(PeerError::Closed)?;
        if let Ok(track) = self.bus.track(track) {
            check_kind(&types, track.video)?;
        }
        self.with_leg(leg, now, |leg, _| leg.set_payload_types(id, types))
            .ok_or(PeerError::Closed)?
            .map_err(PeerError::Leg)
    }

    pub fn remove_receiver(&mut self, leg: LegId, id: ReceiverId, now: Ns) {
        self.with_leg(leg, now, |leg, _| leg.remove_receiver(id));
        self.forget_receiver(id);
        if let Some(slot) = self.legs.get_mut(&leg) {
            slot.receivers.retain(|&other| other != id);
        }
    }

    /// `config.id` is filled in here.
    pub fn add_sender(&mut self, leg: LegId, mut config: SenderConfig, now: Ns) -> Result<SenderId, PeerError> {
        let id = SenderId(self.new_id());
        config.id = id;
        let codec = config.codec.codec;
        self.with_leg(leg, now, |leg, _| leg.add_sender(config, now))
            .ok_or(PeerError::Closed)?
            .map_err(PeerError::Leg)?;
        if let Some(slot) = self.legs.get_mut(&leg) {
            slot.senders.push(id);
        }
        self.senders.insert(id, Selection::new(leg, codec));
        Ok(id)
    }

    pub fn set_codec(&mut self, leg: LegId, id: SenderId, codec: SenderCodec, now: Ns) -> Result<(), PeerError> {
        self.with_leg(leg, now, |leg, _| leg.set_codec(id, codec, now))
            .ok_or(PeerError::Closed)?
            .map_err(PeerError::Leg)?;
        if let Some(selection) = self.senders.get_mut(&id) {
            selection.codec = codec.codec;
        }
        Ok(())
    }

    /// Switched on it asks for a key frame.
    pub fn set_sender_enabled(&mut self, leg: LegId, id: SenderId, enabled: bool, now: Ns) -> Result<(), PeerError> {
        let wants = self
            .with_leg(leg, now, |leg, _| leg.set_sender_enabled(id, enabled, now))
            .ok_or(PeerError::Closed)?
            .map_err(PeerError::Leg)?;
        if let (true, Some(track)) = (wants, self.selected(id)) {
            self.wish(track, now);
            self.settle(now);
        }
        Ok(())
    }

    pub fn remove_sender(&mut self, leg: LegId, id: SenderId, now: Ns) {
        self.with_leg(leg, now, |leg, out| leg.remove_sender(id, now, out));
        self.forget_sender(id);
        if let Some(slot) = self.legs.get_mut(&leg) {
            slot.senders.retain(|&other| other != id);
        }
    }
}

fn check_kind(types: &PayloadTypes, video: bool) -> Result<(), PeerError> {
    if types.codecs.iter().any(|(_, codec)| codec.is_video() != video) {
        return Err(PeerError::Kind { video });
    }
    Ok(())
}
