//! What the peer says and what it is answered: retransmission (RFC 4588, or the packet itself again where RTX wasn't
//! negotiated), key frames, reports.

use super::history::Kept;
use super::Sender;
use crate::leg::wire::Wire;
use crate::leg::SenderConfig;
use crate::output::Output;
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::rtp::{self, Header};
use crate::unit::Ns;

const MS: Ns = 1_000_000;
/// The same packet isn't sent again sooner, whatever the round trip.
const RESEND_EVERY: Ns = 5 * MS;
/// Retransmissions may take as much as the media, or this, and that many bytes at once.
const RESEND_BPS: u64 = 1_000_000;
pub(super) const RESEND_BURST: u64 = 128 << 10;

/// A sender that sent nothing for so long isn't reported as one (RFC 3550 6.3.8: two intervals).
const ACTIVE: Ns = 5000 * MS;

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

    /// PLI or FIR: someone needs a key frame of what is sent.
    pub fn keyframe_wanted(&mut self, fir: bool, out: &mut Output) {
        self.stats.plis_received += u64::from(!fir);
        self.stats.firs_received += u64::from(fir);
        if self.enabled && self.source.is_some() && self.is_video() {
            out.keyframe_wishes.push(self.config.id);
        }
    }

    pub fn set_remb(&mut self, bps: u64) {
        self.stats.remb_bps = Some(bps);
    }

    pub fn take_report(&mut self, block: &ReportBlock, rtt: Option<Ns>) {
        self.stats.remote_loss_percent = f32::from(block.fraction_lost) * 100.0 / 256.0;
        self.stats.remote_jitter_ms = block.jitter as f32 * 1000.0 / self.clock.hz() as f32;
        if let Some(rtt) = rtt {
            self.stats.rtt_ms = Some(rtt as f32 / 1e6);
        }
    }

    /// What a sender report says; None for who sends nothing.
    pub fn report(&self, ntp: u64, now: Ns) -> Option<SenderInfo> {
        if self.sent_last.is_none_or(|at| now > at + ACTIVE) {
            return None;
        }
        let timestamp = self.clock.report(now)?;
        Some(SenderInfo { ntp, timestamp, packets: self.report_packets, octets: self.report_octets })
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
