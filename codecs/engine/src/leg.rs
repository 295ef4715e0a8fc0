//! One RTP peer: its address, its keys, its receivers and senders. Sans-IO.
//!
//! A datagram goes into `receive`; units that it completed, datagrams to send, wishes and events come out in `Output`.
//! `poll` does what is due, and every call that can change it leaves the next deadline in `Output::wake`. A leg never
//! reads a clock: `now` never runs backwards.
//!
//! Not here: sockets (`io`), who gets which unit (`core`), parameter sets before key frames (`bus::track`).
//!
//! `config` is what callers say, `address` learns where the peer is, `wire` encrypts and sends, `inbound` takes
//! datagrams apart, `reports` speaks RTCP.

mod address;
mod config;
mod inbound;
mod rejects;
mod reports;
pub mod wire;

use crate::output::{Event, Output, Reject};
use crate::receiver::{Receiver, ReceiverStats};
use crate::rtcp::ReportBlock;
use crate::sender::{Sender, SenderStats};
use crate::srtp::Profile;
use crate::unit::{LegId, Ns, ReceiverId, SenderId, UnitRef};
use rejects::Rejects;
use std::net::SocketAddr;
use wire::Wire;

pub use config::{LegConfig, LegError, PayloadTypes, ReceiverConfig, SenderCodec, SenderConfig, Source};

const MS: Ns = 1_000_000;

/// Figures of a leg.
#[derive(Clone, Debug)]
pub struct LegStats {
    /// Where media goes.
    pub peer: Option<SocketAddr>,
    pub locked: bool,
    /// Keys are set.
    pub secure: bool,
    pub profile: Option<Profile>,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// By `Reject`, those that happened.
    pub rejected: Vec<(Reject, u64)>,
    pub rtt_ms: Option<f32>,
    /// Since the last valid packet.
    pub idle_ms: Option<u64>,
}

/// One RTP transport to one peer.
#[derive(Debug)]
pub struct Leg {
    id: LegId,
    config: LegConfig,
    wire: Wire,
    receivers: Vec<Receiver>,
    senders: Vec<Sender>,
    rejects: Rejects,
    /// State of a splitmix64 generator.
    random: u64,
    /// Of reports, when there is no sender to speak for.
    own_ssrc: u32,
    cname: String,
    rtt: Option<Ns>,
    /// The next RTCP report; None while nothing can go out.
    report_at: Option<Ns>,
    reported: Ns,
    packets_in: u64,
    bytes_in: u64,
    /// The last valid packet.
    heard: Option<Ns>,
    /// Since when somebody should be heard.
    listening: Option<Ns>,
    silent: bool,
    /// SSRC of the last valid RTCP of the peer, who may send nothing else.
    rtcp_ssrc: Option<u32>,
    /// SSRC of the last valid RTP, for a leg without receivers.
    rtp_ssrc: Option<u32>,
    /// STUN and DTLS that may still come up, refilled with time.
    datagrams: u64,
    datagrams_at: Ns,
    seqs: Vec<u16>,
    blocks: Vec<ReportBlock>,
}

impl Leg {
    /// `seed`: where sequence numbers, timestamps and our SSRC in receiver reports begin; must not be guessable.
    pub fn new(id: LegId, config: LegConfig, seed: u64, now: Ns) -> Leg {
        let silence = Ns::from(config.silence_ms) * MS;
        let mut leg = Leg {
            id,
            wire: Wire::new(id, config.secure, config.rtcp_mux, config.learn, silence),
            config,
            receivers: Vec::new(),
            senders: Vec::new(),
            rejects: Rejects::default(),
            random: seed,
            own_ssrc: 0,
            cname: String::new(),
            rtt: None,
            report_at: None,
            reported: 0,
            packets_in: 0,
            bytes_in: 0,
            heard: None,
            listening: None,
            silent: false,
            rtcp_ssrc: None,
            rtp_ssrc: None,
            datagrams: inbound::DATAGRAM_BURST,
            datagrams_at: now,
            seqs: Vec::new(),
            blocks: Vec::new(),
        };
        leg.own_ssrc = leg.random() as u32 | 1;
        // RFC 7022 4.2: short-term, persistent only as long as the leg
        leg.cname = format!("{:016x}", leg.random());
        leg
    }

    pub fn id(&self) -> LegId {
        self.id
    }

    fn random(&mut self) -> u64 {
        random(&mut self.random)
    }

    // -- time

    /// Everything that is due.
    pub fn poll(&mut self, now: Ns, out: &mut Output) {
        for receiver in &mut self.receivers {
            receiver.poll(now, out);
        }
        for sender in &mut self.senders {
            sender.poll(now, &mut self.wire, out);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now, out);
        }
        if let Some(since) = self.silent_from().filter(|&since| now >= since + self.silence()) {
            self.silent = true;
            out.events.push(Event::Silent { leg: self.id, ms: ms(now - since) });
        }
        self.rejects.poll(now, self.id, out);
        self.settle(now, out);
    }

    fn silence(&self) -> Ns {
        Ns::from(self.config.silence_ms) * MS
    }

    /// Since when nothing was heard, while that isn't told yet.
    fn silent_from(&self) -> Option<Ns> {
        self.listening.filter(|_| !self.silent).map(|since| self.heard.map_or(since, |heard| heard.max(since)))
    }

    /// What follows from anything that happened: feedback, and when to be called again.
    fn settle(&mut self, now: Ns, out: &mut Output) {
        self.send_nacks(now, out);
        for at in 0..self.receivers.len() {
            for _ in 0..std::mem::take(&mut self.receivers[at].bad_payloads) {
                self.rejects.note(Reject::Payload, now, self.id, out);
            }
        }
        let ready = self.wire.ready();
        if ready && self.report_at.is_none() && !(self.receivers.is_empty() && self.senders.is_empty()) {
            self.report_at = Some(now + reports::FIRST);
        }
        let silent = self.silent_from().map(|since| since + self.silence());
        let mut wake = [self.report_at, silent, self.rejects.wake()].into_iter().flatten().min();
        let mut earlier = |at: Option<Ns>| wake = wake.into_iter().chain(at).min();
        self.receivers.iter().for_each(|receiver| earlier(receiver.wake()));
        self.senders.iter().for_each(|sender| earlier(sender.wake(ready)));
        out.wake = wake;
    }

    /// RTCP BYE for every sender. The leg must not be used afterwards.
    pub fn close(&mut self, now: Ns, out: &mut Output) {
        self.rejects.poll(now, self.id, out);
        let own = self.own_ssrc;
        let ssrcs: Vec<u32> = self.senders.iter().map(|sender| sender.config().ssrc).collect();
        self.say_bye(if ssrcs.is_empty() { std::slice::from_ref(&own) } else { &ssrcs }, out);
        out.wake = None;
    }

    // -- the peer

    /// Where signalling says the peer is. `rtcp`: None is the port after RTP's; with mux it isn't used.
    pub fn set_peer(&mut self, rtp: SocketAddr, rtcp: Option<SocketAddr>, now: Ns, out: &mut Output) {
        self.wire.rtp.signal(rtp);
        self.wire.rtcp.signal(rtcp.unwrap_or_else(|| next_port(rtp)));
        self.listening.get_or_insert(now);
        self.settle(now, out);
    }

    pub fn set_rtcp_mux(&mut self, mux: bool) {
        self.wire.mux = mux;
    }

    /// Master key followed by master salt, each way. The same keys again: nothing happens.
    ///
    /// # Errors
    /// `Srtp`; the keys before stay then.
    pub fn set_keys(&mut self, profile: Profile, outbound: &[u8], inbound: &[u8]) -> Result<(), LegError> {
        self.wire.set_keys(profile, outbound, inbound)
    }

    /// Plain RTP from now on, also on a leg that was opened `secure`.
    pub fn clear_keys(&mut self) {
        self.wire.clear_keys();
    }

    // -- receivers

    /// # Errors
    /// `PayloadType`, `RtxOfNothing`, `Codec`, `Clock`, `Extension`.
    pub fn add_receiver(&mut self, config: ReceiverConfig, now: Ns) -> Result<(), LegError> {
        config.payload_types.check()?;
        config::check_extensions([config.mid_ext, config.audio_level_ext], config.mid.as_ref())?;
        if config.clock_hz == 0 {
            return Err(LegError::Clock(0));
        }
        let mut receiver = Receiver::new(self.id, config);
        receiver.rtt = self.rtt;
        self.receivers.push(receiver);
        // REMB, before the peer settles on a low rate
        self.report_soon(now);
        Ok(())
    }

    /// Nothing happens when there is none.
    pub fn remove_receiver(&mut self, id: ReceiverId) {
        self.receivers.retain(|receiver| receiver.config().id != id);
    }

    /// # Errors
    /// `NoReceiver`, `PayloadType`, `RtxOfNothing`, `Codec`.
    pub fn set_payload_types(&mut self, id: ReceiverId, payload_types: PayloadTypes) -> Result<(), LegError> {
        payload_types.check()?;
        self.receiver(id)?.set_payload_types(payload_types);
        Ok(())
    }

    /// # Errors
    /// `NoReceiver`.
    pub fn set_receiver_enabled(&mut self, id: ReceiverId, enabled: bool) -> Result<(), LegError> {
        self.receiver(id)?.set_enabled(enabled);
        Ok(())
    }

    /// Said to the peer at once, and with every report.
    ///
    /// # Errors
    /// `NoReceiver`.
    pub fn set_remb(&mut self, id: ReceiverId, bps: u64, now: Ns, out: &mut Output) -> Result<(), LegError> {
        self.receiver(id)?.set_remb(bps);
        self.report_soon(now);
        self.settle(now, out);
        Ok(())
    }

    /// PLI on odd attempts, FIR on even ones, whichever was negotiated when only one was. False when neither can go out:
    /// none negotiated, no packet received yet, no address or keys.
    pub fn request_keyframe(&mut self, id: ReceiverId, attempt: u32, now: Ns, out: &mut Output) -> bool {
        if !self.wire.ready() {
            return false;
        }
        let request = self.receiver(id).ok().and_then(|receiver| receiver.keyframe_request(attempt));
        let sent = request.is_some_and(|request| self.send_keyframe_request(request, out));
        self.settle(now, out);
        sent
    }

    pub fn receiver_ssrc(&self, id: ReceiverId) -> Option<u32> {
        self.receivers.iter().find(|receiver| receiver.config().id == id).and_then(Receiver::ssrc)
    }

    fn receiver(&mut self, id: ReceiverId) -> Result<&mut Receiver, LegError> {
        self.receivers.iter_mut().find(|receiver| receiver.config().id == id).ok_or(LegError::NoReceiver(id))
    }

    // -- senders

    /// # Errors
    /// `PayloadType`, `Codec`, `Clock`, `Extension`, `SsrcTaken`.
    pub fn add_sender(&mut self, config: SenderConfig, now: Ns) -> Result<(), LegError> {
        config.codec.check()?;
        config::check_extensions([config.mid_ext, config.audio_level_ext], config.mid.as_ref())?;
        for ssrc in [Some(config.ssrc), config.rtx_ssrc].into_iter().flatten() {
            if self.senders.iter().any(|sender| sender.has_ssrc(ssrc)) {
                return Err(LegError::SsrcTaken(ssrc));
            }
        }
        let state = &mut self.random;
        self.senders.push(Sender::new(config, || random(state)));
        self.report_soon(now);
        Ok(())
    }

    /// Says BYE for it. Nothing happens when there is none.
    pub fn remove_sender(&mut self, id: SenderId, now: Ns, out: &mut Output) {
        if let Some(at) = self.senders.iter().position(|sender| sender.config().id == id) {
            let ssrc = self.senders[at].config().ssrc;
            self.say_bye(&[ssrc], out);
            self.senders.remove(at);
        }
        self.settle(now, out);
    }

    /// The SSRC, sequence numbers and timestamps go on.
    ///
    /// # Errors
    /// `NoSender`, `PayloadType`, `Codec`, `Clock`.
    pub fn set_codec(&mut self, id: SenderId, codec: SenderCodec, now: Ns) -> Result<(), LegError> {
        codec.check()?;
        self.sender(id)?.set_codec(codec, now);
        Ok(())
    }

    /// True when the sender now needs a key frame (it is video, was off, and has a source); the caller asks for it.
    ///
    /// # Errors
    /// `NoSender`.
    pub fn set_sender_enabled(&mut self, id: SenderId, enabled: bool, now: Ns) -> Result<bool, LegError> {
        let needs_keyframe = self.sender(id)?.set_enabled(enabled);
        self.report_soon(now);
        Ok(needs_keyframe)
    }

    /// # Errors
    /// `NoSender`.
    pub fn set_max_bps(&mut self, id: SenderId, bps: u64, now: Ns) -> Result<(), LegError> {
        self.sender(id)?.set_max_bps(bps, now);
        Ok(())
    }

    /// From the next unit on they are this source's; video from its next key frame on, what comes before is dropped.
    /// Sequence numbers and timestamps stay continuous. So the caller gives units of the source before until it has a
    /// key frame of the new one, then calls this.
    ///
    /// # Errors
    /// `NoSender`, `Clock`.
    pub fn switch_source(&mut self, id: SenderId, source: Source, now: Ns) -> Result<(), LegError> {
        if source.clock_hz == 0 {
            return Err(LegError::Clock(0));
        }
        self.sender(id)?.switch_source(source);
        // the relation of timestamps to time is another now
        self.report_soon(now);
        Ok(())
    }

    /// What waits to be paced out is dropped; RTCP goes on.
    pub fn stop_sending(&mut self, id: SenderId, now: Ns, out: &mut Output) {
        if let Ok(sender) = self.sender(id) {
            sender.stop();
        }
        self.settle(now, out);
    }

    /// A unit of the source, in decoding order; one of another track is ignored. Key frames of H.264 carry their
    /// parameter sets. When the unit isn't `contiguous`, a sequence number is left out, so that the peer knows as much.
    ///
    /// After an overflow of its queue, or before address and keys are known, the sender drops units up to the next key
    /// frame, for which it leaves a wish in `Output::keyframe_wishes`.
    pub fn send_unit(&mut self, id: SenderId, unit: &UnitRef, now: Ns, out: &mut Output) {
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.config().id == id) {
            sender.send_unit(unit, now, &mut self.wire, out);
        }
        self.settle(now, out);
    }

    /// The kept group of pictures of the source, key frame first, up to its newest picture: sent paced, above the rate
    /// it came in, with timestamps drawn together so that the viewer ends at live. Live units may follow at once; they
    /// queue behind it.
    pub fn send_group(&mut self, id: SenderId, units: &[UnitRef], now: Ns, out: &mut Output) {
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.config().id == id) {
            sender.send_group(units, now, &mut self.wire, out);
        }
        self.settle(now, out);
    }

    /// Queue key presses: all of them or, with an error, none.
    ///
    /// # Errors
    /// `NoSender`, `NoDtmf`, `NotADigit`, `TooManyDigits`.
    pub fn send_dtmf(
        &mut self,
        id: SenderId,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
        now: Ns,
        out: &mut Output,
    ) -> Result<(), LegError> {
        let queued = self.sender(id)?.send_dtmf(digits, duration_ms, gap_ms, now);
        self.settle(now, out);
        queued
    }

    fn sender(&mut self, id: SenderId) -> Result<&mut Sender, LegError> {
        self.senders.iter_mut().find(|sender| sender.config().id == id).ok_or(LegError::NoSender(id))
    }

    // -- figures

    /// Packets rejected for any reason.
    pub fn rejected(&self) -> u64 {
        self.rejects.total()
    }

    pub fn stats(&self, now: Ns) -> LegStats {
        LegStats {
            peer: self.wire.rtp.target(),
            locked: self.wire.rtp.locked(),
            secure: self.wire.secured(),
            profile: self.wire.profile(),
            packets_in: self.packets_in,
            bytes_in: self.bytes_in,
            packets_out: self.wire.packets_out,
            bytes_out: self.wire.bytes_out,
            rejected: self.rejects.list(),
            rtt_ms: self.rtt.map(|rtt| rtt as f32 / 1e6),
            idle_ms: self.heard.map(|heard| now.saturating_sub(heard) / MS),
        }
    }

    pub fn receiver_stats(&self, id: ReceiverId, now: Ns) -> Option<ReceiverStats> {
        self.receivers.iter().find(|receiver| receiver.config().id == id).map(|receiver| receiver.stats(now))
    }

    /// What the peer said it lost of this sender's packets lately (RFC 3550 6.4.1, fraction lost).
    pub fn remote_loss_percent(&self, id: SenderId) -> f32 {
        self.senders.iter().find(|sender| sender.config().id == id).map_or(0.0, |sender| sender.remote_loss_percent())
    }

    pub fn sender_stats(&self, id: SenderId, now: Ns) -> Option<SenderStats> {
        self.senders.iter().find(|sender| sender.config().id == id).map(|sender| sender.stats(now))
    }
}

fn next_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().saturating_add(1))
}

fn ms(ns: Ns) -> u32 {
    u32::try_from(ns / MS).unwrap_or(u32::MAX)
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
