//! Figures of legs for people.

use super::Core;
use crate::leg::LegStats;
use crate::receiver::ReceiverStats;
use crate::sender::SenderStats;
use crate::unit::{LegId, Ns, ReceiverId, SenderId};

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

    pub fn leg_figures(&self, id: LegId, now: Ns) -> Option<LegFigures> {
        let slot = self.legs.get(&id)?;
        let receivers = slot.receivers.iter().filter_map(|&id| Some((id, slot.leg.receiver_stats(id, now)?))).collect();
        let senders = slot.senders.iter().filter_map(|&id| Some((id, slot.leg.sender_stats(id, now)?))).collect();
        Some(LegFigures { leg: slot.leg.stats(now), receivers, senders })
    }
}
