//! RTCP: reports at their interval, feedback at once, and what the peer's says.
//!
//! Everything goes out as a compound that begins with a report and has our CNAME (RFC 3550 6.1); reduced-size RTCP is
//! understood but not sent, since not every device that offers it takes it.

use super::{random, Leg, MS};
use crate::output::{Event, Output, Reject};
use crate::receiver::KeyframeRequest;
use crate::rtcp::{self, Packet, ReportBlock};
use crate::unit::Ns;

/// The first report after address and keys are known: sources are told apart and REMB is said before a second passed.
pub const FIRST: Ns = 100 * MS;
/// Between reports while media flows (RFC 4585 lets AVPF do that; AVP devices take it), and on average when not.
const ACTIVE: Ns = 1000 * MS;
const IDLE: Ns = 4000 * MS;
/// A report out of turn doesn't come sooner after the last than this.
const LEAST: Ns = 100 * MS;
/// Media flowed within this.
const RECENT: Ns = 5000 * MS;
/// A round trip above this was not one.
const MAX_RTT: Ns = 10_000 * MS;
/// From 1900, the origin of NTP timestamps, to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
const SECOND: u64 = 1_000_000_000;

/// Whose a datagram of RTCP is: the SSRC that its first packet speaks for. None when any of it is malformed.
pub fn sender_of(bytes: &[u8]) -> Option<u32> {
    let mut sender = None;
    for packet in rtcp::parse(bytes) {
        let ssrc = match packet.ok()? {
            Packet::SenderReport { ssrc, .. } | Packet::ReceiverReport { ssrc, .. } => ssrc,
            Packet::Nack { sender, .. }
            | Packet::Pli { sender, .. }
            | Packet::Fir { sender, .. }
            | Packet::Remb { sender, .. }
            | Packet::Twcc { sender, .. } => sender,
            Packet::Bye { mut ssrcs } => ssrcs.next().unwrap_or(0),
            Packet::Sdes { mut cnames } => cnames.next().map_or(0, |chunk| chunk.0),
            Packet::Other { .. } => 0,
        };
        sender.get_or_insert(ssrc);
    }
    sender
}

impl Leg {
    fn ntp(&self, now: Ns) -> u64 {
        let unix = now + self.config.unix_offset_ns;
        let fraction = ((unix % SECOND) << 32) / SECOND;
        (unix / SECOND + NTP_TO_UNIX_S) << 32 | fraction
    }

    /// Who speaks in feedback and receiver reports.
    fn speaker(&self) -> u32 {
        self.senders.first().map_or(self.own_ssrc, |sender| sender.config().ssrc)
    }

    pub(super) fn report_soon(&mut self, now: Ns) {
        let soon = now.max(self.reported + LEAST);
        if let Some(at) = &mut self.report_at {
            *at = soon.min(*at);
        }
    }

    /// A compound report, and when the next one is due.
    pub(super) fn report(&mut self, now: Ns, out: &mut Output) {
        let heard = self.heard.is_some_and(|heard| now < heard + RECENT);
        let ntp = self.ntp(now);
        let mut sending = false;
        self.blocks.clear();
        for receiver in &mut self.receivers {
            self.blocks.extend(receiver.report_block(now));
        }
        let (speaker, blocks, senders, receivers) = (self.speaker(), &self.blocks, &mut self.senders, &self.receivers);
        let cname = &self.cname;
        self.wire.send_rtcp(out, |bytes| {
            for sender in senders.iter_mut() {
                sender.tidy(now);
                if let Some(info) = sender.report(ntp, now) {
                    let blocks: &[ReportBlock] = if sending { &[] } else { blocks };
                    rtcp::write_sender_report(bytes, sender.config().ssrc, &info, blocks);
                    sending = true;
                }
            }
            if !sending {
                rtcp::write_receiver_report(bytes, speaker, blocks);
            }
            for sender in senders.iter() {
                rtcp::write_cname(bytes, sender.config().ssrc, &sender.config().cname);
            }
            if senders.is_empty() {
                rtcp::write_cname(bytes, speaker, cname);
            }
            let limited = || receivers.iter().filter(|receiver| receiver.config().remb_bps > 0);
            let ssrcs: Vec<u32> = limited().filter_map(|receiver| receiver.ssrc()).collect();
            if !ssrcs.is_empty() {
                let bps = limited().map(|receiver| receiver.config().remb_bps).sum();
                rtcp::write_remb(bytes, speaker, bps, &ssrcs);
            }
        });
        self.reported = now;
        let interval = if heard || sending { ACTIVE } else { IDLE };
        // between 0.75 and 1.25 of it, so that many peers don't report at once (RFC 3550 6.2)
        self.report_at = Some(now + interval * 3 / 4 + random(&mut self.random) % (interval / 2));
    }

    /// Feedback in a compound of its own.
    fn send_feedback(&mut self, out: &mut Output, write: impl FnOnce(&mut Vec<u8>, u32)) -> bool {
        let speaker = self.speaker();
        let cname = self.senders.first().map_or(&self.cname, |sender| &sender.config().cname);
        self.wire.send_rtcp(out, |bytes| {
            rtcp::write_receiver_report(bytes, speaker, &[]);
            rtcp::write_cname(bytes, speaker, cname);
            write(bytes, speaker);
        })
    }

    pub(super) fn send_nacks(&mut self, now: Ns, out: &mut Output) {
        for at in 0..self.receivers.len() {
            let mut seqs = std::mem::take(&mut self.seqs);
            seqs.clear();
            self.receivers[at].nacks(now, &mut seqs);
            if let Some(media) = self.receivers[at].ssrc().filter(|_| !seqs.is_empty()) {
                self.send_feedback(out, |bytes, speaker| rtcp::write_nack(bytes, speaker, media, &seqs));
            }
            self.seqs = seqs;
        }
    }

    pub(super) fn send_keyframe_request(&mut self, request: KeyframeRequest, out: &mut Output) -> bool {
        self.send_feedback(out, |bytes, speaker| match request {
            KeyframeRequest::Pli(media) => rtcp::write_pli(bytes, speaker, media),
            KeyframeRequest::Fir(media, number) => rtcp::write_fir(bytes, speaker, &[(media, number)]),
        })
    }

    pub(super) fn say_bye(&mut self, ssrcs: &[u32], out: &mut Output) {
        self.send_feedback(out, |bytes, _| rtcp::write_bye(bytes, ssrcs));
    }

    // -- what the peer says

    pub(super) fn take_rtcp(&mut self, bytes: &[u8], now: Ns, out: &mut Output) -> Result<(), Reject> {
        for packet in rtcp::parse(bytes) {
            match packet.map_err(|_| Reject::Rtcp)? {
                Packet::SenderReport { ssrc, info, blocks } => {
                    for receiver in self.receivers.iter_mut().filter(|receiver| receiver.ssrc() == Some(ssrc)) {
                        receiver.sender_report(&info, now);
                    }
                    blocks.for_each(|block| self.take_block(&block, now));
                }
                Packet::ReceiverReport { blocks, .. } => blocks.for_each(|block| self.take_block(&block, now)),
                Packet::Bye { ssrcs } => {
                    for ssrc in ssrcs {
                        if self.receivers.iter_mut().any(|receiver| receiver.bye(ssrc)) {
                            out.events.push(Event::Bye { leg: self.id, ssrc });
                        }
                    }
                }
                Packet::Nack { media, seqs, .. } => {
                    if let Some(sender) = self.senders.iter_mut().find(|sender| sender.config().ssrc == media) {
                        sender.retransmit(seqs, self.rtt, now, &mut self.wire, out);
                    }
                }
                Packet::Pli { media, .. } => self.keyframe_wanted(media, false, out),
                Packet::Fir { entries, .. } => {
                    entries.for_each(|(media, _)| self.keyframe_wanted(media, true, out));
                }
                Packet::Remb { bps, ssrcs, .. } => {
                    for ssrc in ssrcs {
                        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.config().ssrc == ssrc) {
                            sender.set_remb(bps);
                        }
                    }
                }
                Packet::Sdes { .. } | Packet::Twcc { .. } | Packet::Other { .. } => {}
            }
        }
        Ok(())
    }

    fn keyframe_wanted(&mut self, media: u32, fir: bool, out: &mut Output) {
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.config().ssrc == media) {
            sender.keyframe_wanted(fir, out);
        }
    }

    fn take_block(&mut self, block: &ReportBlock, now: Ns) {
        let Some(at) = self.senders.iter().position(|sender| sender.config().ssrc == block.ssrc) else { return };
        let passed = ((self.ntp(now) >> 16) as u32).wrapping_sub(block.last_sr).wrapping_sub(block.delay);
        let rtt = (u64::from(passed) * SECOND) >> 16;
        // a negative one (the peer rounds) is near the top of the 32 bits
        let measured = block.last_sr != 0 && rtt <= MAX_RTT;
        if measured {
            let smoothed = self.rtt.map_or(rtt, |before| (3 * before + rtt) / 4);
            self.rtt = Some(smoothed);
            self.receivers.iter_mut().for_each(|receiver| receiver.rtt = Some(smoothed));
        }
        self.senders[at].take_report(block, self.rtt.filter(|_| measured));
    }
}
