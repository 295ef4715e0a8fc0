//! Retransmission (RFC 4588, or the packet itself again where RTX wasn't negotiated), and how a packet is written.

use super::history::Kept;
use super::Sender;
use crate::leg::wire::Wire;
use crate::leg::SenderConfig;
use crate::output::Output;
use crate::rtp::{self, Header};
use crate::unit::Ns;

const MS: Ns = 1_000_000;
/// The same packet isn't sent again sooner, whatever the round trip.
const RESEND_EVERY: Ns = 5 * MS;
/// Retransmissions may take as much as the media, or this, and that many bytes at once.
const RESEND_BPS: u64 = 1_000_000;
pub(super) const RESEND_BURST: u64 = 128 << 10;

impl Sender {
    /// Sends again what a NACK names, as far as it is kept and the budget lasts.
    pub fn retransmit(
        &mut self,
        seqs: impl Iterator<Item = u16>,
        rtt: Option<Ns>,
        now: Ns,
        wire: &mut Wire,
        out: &mut Output,
    ) {
        self.refill_resend(now);
        // an answer that is still on its way isn't repeated
        let patience = rtt.map_or(RESEND_EVERY, |rtt| (rtt / 2).max(RESEND_EVERY));
        for seq in seqs {
            self.stats.nacks_received += 1;
            let Some(kept) = self.history.find(seq) else { continue };
            let len = kept.piece.len() as u64;
            if kept.resent != 0 && now < kept.resent + patience || len > self.resend_budget || !self.enabled {
                continue;
            }
            self.resend_budget -= len;
            kept.resent = now;
            let kept = &*kept;
            let codec = &self.config.codec;
            let rtx = codec.rtx_pt.filter(|_| kept.pt == codec.pt).zip(self.config.rtx_ssrc);
            let (marker, timestamp) = (kept.marker, kept.timestamp);
            let config = &self.config;
            let sent = match rtx {
                Some((pt, ssrc)) => {
                    let header = Header { marker, pt, seq: self.rtx_seq, timestamp, ssrc };
                    self.rtx_seq = self.rtx_seq.wrapping_add(1);
                    wire.send_rtp(out, |bytes| {
                        write_header(config, &header, kept.unit.level, bytes);
                        bytes.extend_from_slice(&seq.to_be_bytes());
                        kept.piece.write(&kept.unit, bytes);
                    })
                }
                None => {
                    let header = Header { marker, pt: kept.pt, seq, timestamp, ssrc: config.ssrc };
                    wire.send_rtp(out, |bytes| write_packet(config, &header, kept, bytes))
                }
            };
            self.stats.rtx_sent += u64::from(sent);
        }
    }

    fn refill_resend(&mut self, now: Ns) {
        let bps = { self.rate }.read(now).1.max(RESEND_BPS);
        let passed = now.saturating_sub(self.resend_at).min(1000 * MS);
        self.resend_budget = (self.resend_budget + passed / 1000 * bps / 8_000_000).min(RESEND_BURST.max(bps / 16));
        self.resend_at = now;
    }
}

/// Header with the extensions that were negotiated.
pub(super) fn write_header(config: &SenderConfig, header: &Header, level: Option<i8>, out: &mut Vec<u8>) {
    let value;
    let mut elements: [(u8, &[u8]); 2] = [(0, &[]); 2];
    let mut count = 0;
    if let (Some(ext), Some(mid)) = (config.mid_ext, &config.mid) {
        elements[count] = (ext, mid.as_bytes());
        count += 1;
    }
    if let (Some(ext), Some(level)) = (config.audio_level_ext, level) {
        // whoever measured says nothing of voice; loud is near enough for who only wants to know who speaks
        value = rtp::audio_level_value(level > -50, level);
        elements[count] = (ext, &value);
        count += 1;
    }
    header.write(out, &elements[..count]);
}

pub(super) fn write_packet(config: &SenderConfig, header: &Header, kept: &Kept, out: &mut Vec<u8>) {
    write_header(config, header, kept.unit.level, out);
    kept.piece.write(&kept.unit, out);
}
