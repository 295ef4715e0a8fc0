//! Figures of legs for people.

use super::Core;
use crate::leg::LegStats;
use crate::receiver::ReceiverStats;
use crate::sender::SenderStats;
use crate::unit::{LegId, Ns, ReceiverId, SenderId, TrackId};

pub struct LegFigures {
    pub leg: LegStats,
    pub receivers: Vec<(ReceiverId, ReceiverStats)>,
    pub senders: Vec<(SenderId, SenderStats)>,
}

pub struct Totals {
    pub legs: usize,
    pub streams: usize,
    pub subscribers: usize,
    pub rejected: u64,
}

impl Core {
    pub fn totals(&self) -> Totals {
        let selecting = self.senders.values().filter(|selection| selection.selected().is_some()).count();
        Totals {
            legs: self.legs.len(),
            streams: self.bus.streams().count(),
            subscribers: selecting + self.bus.reader_count(),
            rejected: self.rejected_before + self.legs.values().map(|slot| slot.leg.rejected()).sum::<u64>(),
        }
    }

    /// The worst loss that a listener of this track reported lately, in percent.
    pub fn loss_of_listeners(&self, track: TrackId) -> f32 {
        let Ok(track) = self.bus.track(track) else { return 0.0 };
        track
            .senders
            .iter()
            .filter_map(|(leg, sender)| Some(self.legs.get(leg)?.leg.remote_loss_percent(*sender)))
            .fold(0.0, f32::max)
    }

    pub fn leg_figures(&self, id: LegId, now: Ns) -> Option<LegFigures> {
        let slot = self.legs.get(&id)?;
        let receivers = slot.receivers.iter().filter_map(|&id| Some((id, slot.leg.receiver_stats(id, now)?))).collect();
        let senders = slot.senders.iter().filter_map(|&id| Some((id, slot.leg.sender_stats(id, now)?))).collect();
        Some(LegFigures { leg: slot.leg.stats(now), receivers, senders })
    }
}
