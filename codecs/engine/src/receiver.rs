//! Inbound: the packets of one source in order, what is lost asked for again, and units made of them.
//!
//! A receiver follows its source over new SSRCs, sequence and timestamp jumps and changes of codec; what comes out is
//! one continuous track. A picture of which something is lost for good doesn't come out, and the next unit is not
//! `contiguous`; whoever gets it asks for a key frame (`core`).
//!
//! Deliberately not implemented: forward error correction (RFC 5109 and the vendors'), TWCC feedback, simulcast.

mod capture;
mod claim;
mod keys;
mod level;
mod missing;
mod reorder;
mod statistics;
mod timeline;
mod units;

use crate::bus::track::Rate;
use crate::leg::{PayloadTypes, ReceiverConfig};
use crate::output::Output;
use crate::payload::{Depacketizer, Finished};
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::rtp::{self, Packet};
use crate::unit::{Codec, LegId, Ns};
use capture::CaptureClock;
pub use claim::Claim;
use claim::Meaning;
use keys::{KeyPress, Keys};
use missing::{Missing, Patience};
use reorder::{Arrival, Meta, Reorder};
use statistics::Statistics;
use std::collections::VecDeque;
use timeline::Timeline;
use units::nanoseconds;

const MS: Ns = 1_000_000;
/// While the source is heard within this, packets of the sources before it are ignored.
const ALIVE: Ns = 300 * MS;
/// Sources that are remembered as left.
const MAX_RETIRED: usize = 8;
/// A picture of a source that sets no markers is whole when nothing follows it for so long.
const PAUSE: Ns = 250 * MS;
/// Sound waits no longer than this for a retransmission, where one was negotiated.
const MAX_AUDIO_WAIT: Ns = 120 * MS;

/// Figures of a receiver; `Receiver.stats` in `_engine.pyi`.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ReceiverStats {
    pub ssrc: Option<u32>,
    pub codec: Option<Codec>,
    /// Valid ones, retransmissions included.
    pub packets: u64,
    pub bytes: u64,
    /// Of the running SSRC: never came by themselves (RFC 3550 6.4.1).
    pub lost: u64,
    /// Came when they were asked for.
    pub recovered_rtx: u64,
    pub duplicates: u64,
    /// Came when they had been given up.
    pub late: u64,
    pub jitter_ms: f32,
    /// Of what was sent in the last 5 s, before retransmission.
    pub loss_percent: f32,
    pub units: u64,
    /// Sequence numbers named in NACKs.
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub firs_sent: u64,
    pub keyframes: u64,
    pub width: u32,
    pub height: u32,
    pub fps: f32,
    pub bitrate_bps: u64,
    /// Since the last unit.
    pub last_unit_ms: Option<u64>,
}

/// One inbound track of a leg.
#[derive(Debug)]
pub struct Receiver {
    leg: LegId,
    config: ReceiverConfig,
    enabled: bool,
    ssrc: Option<u32>,
    rtx_ssrc: Option<u32>,
    /// The source said BYE.
    ended: bool,
    retired: VecDeque<u32>,
    /// The first packet with another SSRC than the source's that is heard, until the next one says what it is.
    newcomer: Option<(u32, u16, Meta, Vec<u8>)>,
    heard: Option<Ns>,
    statistics: Statistics,
    reorder: Reorder,
    missing: Missing,
    /// A packet that fits nowhere, until the next one says whether the source began anew there.
    stray: Option<(u16, Meta, Vec<u8>)>,
    timeline: Timeline,
    capture: CaptureClock,
    keys: Keys,
    depacketizer: Option<(Codec, Depacketizer)>,
    /// Something before the next packet that the depacketizer sees is gone.
    gap: bool,
    /// Something was lost since the last unit.
    damaged: bool,
    /// The source sets markers: without one, a picture's end is still to come.
    marks: bool,
    /// When the open picture's last packet was processed, if only the next picture tells its end.
    open_since: Option<Ns>,
    /// Middle bits of the last sender report's NTP timestamp, and its arrival.
    sender_report: Option<(u32, Ns)>,
    /// Numbers of `Fir` commands.
    fir_number: u8,
    /// As the leg last measured it.
    pub rtt: Option<Ns>,
    /// Payloads that can't be read, since the leg last asked.
    pub bad_payloads: u32,
    stats: ReceiverStats,
    rate: Rate,
    last_unit: Option<Ns>,
    finished: Vec<Finished>,
    presses: Vec<KeyPress>,
}

impl Receiver {
    pub fn new(leg: LegId, config: ReceiverConfig) -> Receiver {
        Receiver {
            leg,
            enabled: true,
            ssrc: config.ssrc,
            rtx_ssrc: config.rtx_ssrc,
            ended: false,
            retired: VecDeque::new(),
            newcomer: None,
            heard: None,
            statistics: Statistics::default(),
            reorder: Reorder::default(),
            missing: Missing::default(),
            stray: None,
            timeline: Timeline::new(config.clock_hz),
            capture: CaptureClock::default(),
            keys: Keys::default(),
            depacketizer: None,
            gap: false,
            damaged: false,
            marks: false,
            open_since: None,
            sender_report: None,
            fir_number: 0,
            rtt: None,
            bad_payloads: 0,
            stats: ReceiverStats::default(),
            rate: Rate::default(),
            last_unit: None,
            finished: Vec::new(),
            presses: Vec::new(),
            config,
        }
    }

    pub fn config(&self) -> &ReceiverConfig {
        &self.config
    }

    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    pub fn has_ssrc(&self, ssrc: u32) -> bool {
        self.ssrc == Some(ssrc) || self.rtx_ssrc == Some(ssrc)
    }

    pub fn set_payload_types(&mut self, payload_types: PayloadTypes) {
        self.config.payload_types = payload_types;
    }

    pub fn set_remb(&mut self, bps: u64) {
        self.config.remb_bps = bps;
    }

    /// Off: packets are counted and dropped.
    pub fn set_enabled(&mut self, enabled: bool) {
        if enabled && !self.enabled {
            self.begin_anew();
        }
        self.enabled = enabled;
    }

    // -- packets

    /// A packet that this receiver has claimed.
    pub fn take(&mut self, packet: &Packet<'_>, now: Ns, out: &mut Output) {
        let Some(meaning) = self.meaning(packet.pt) else { return };
        self.stats.packets += 1;
        self.stats.bytes += packet.payload.len() as u64;
        if let Meaning::Rtx(pt) = meaning {
            self.rtx_ssrc = Some(packet.ssrc);
            return self.take_rtx(packet, pt, now, out);
        }
        let level = self.config.audio_level_ext.and_then(|ext| packet.extension(ext)).and_then(rtp::audio_level);
        let meta = Meta {
            pt: packet.pt,
            marker: packet.marker,
            timestamp: packet.timestamp,
            arrival: now,
            level: level.map(|level| level.1),
            recovered: false,
        };
        let mut before = None;
        if self.ssrc != Some(packet.ssrc) {
            if self.alive(now) {
                if meaning == Meaning::Dtmf {
                    // beside the source, whose numbers say nothing of its order
                    return self.press(packet.pt, packet.timestamp, packet.payload, now, out);
                }
                before =
                    self.newcomer.take().filter(|held| (held.0, held.1.wrapping_add(1)) == (packet.ssrc, packet.seq));
                if before.is_none() {
                    self.newcomer = Some((packet.ssrc, packet.seq, meta, packet.payload.to_vec()));
                    return;
                }
            }
            self.follow(packet.ssrc);
        }
        self.heard = Some(now);
        if !self.enabled {
            return;
        }
        if let Some((_, seq, meta, payload)) = before {
            self.accept(seq, meta, &payload, out);
        }
        self.accept(packet.seq, meta, packet.payload, out);
    }

    fn take_rtx(&mut self, packet: &Packet<'_>, pt: u8, now: Ns, out: &mut Output) {
        let Some((seq, payload)) = rtp::rtx_original(packet.payload) else { return };
        if !self.enabled || self.reorder.highest().is_none() {
            return;
        }
        let (timestamp, marker) = (packet.timestamp, packet.marker);
        let meta = Meta { pt, marker, timestamp, arrival: now, level: None, recovered: true };
        self.accept(seq, meta, payload, out);
    }

    /// The source has another SSRC from now on. While the old one is heard it takes two packets in a row (RFC 3550
    /// A.1): a single one is somebody's mistake, and would silence the source for as long as it is ignored after it.
    fn follow(&mut self, ssrc: u32) {
        if let Some(old) = self.ssrc.replace(ssrc) {
            if self.retired.len() == MAX_RETIRED {
                self.retired.pop_front();
            }
            self.retired.push_back(old);
            (self.rtx_ssrc, self.marks) = (None, false);
            self.begin_anew();
            self.timeline.restart();
        }
        self.retired.retain(|&retired| retired != ssrc);
        self.newcomer = None;
        self.ended = false;
        self.sender_report = None;
    }

    fn begin_anew(&mut self) {
        self.reorder.restart();
        self.missing.clear();
        self.statistics = Statistics::default();
        self.stray = None;
    }

    fn accept(&mut self, seq: u16, meta: Meta, payload: &[u8], out: &mut Output) {
        let (number, highest) = (self.reorder.peek(seq), self.reorder.highest());
        let arrival = self.reorder.insert(seq, meta, payload);
        match arrival {
            Arrival::Elsewhere => return self.elsewhere(seq, meta, payload, out),
            Arrival::Duplicate => {
                self.stats.duplicates += 1;
                return;
            }
            Arrival::Late => self.stats.late += 1,
            Arrival::Next { .. } | Arrival::Held => {}
        }
        if !meta.recovered {
            let clock_hz = self.clock_hz(meta.pt);
            self.statistics.note(number, meta.timestamp, clock_hz, meta.arrival);
        }
        match highest {
            Some(highest) if number > highest + 1 => self.missing.add(highest + 1, number, meta.arrival),
            Some(highest) if number < highest && self.missing.found(number, meta.recovered, self.rtt, meta.arrival) => {
                self.stats.recovered_rtx += 1;
            }
            _ => {}
        }
        match arrival {
            Arrival::Next { gap } => {
                self.process(meta, payload, gap, out);
                self.drain(out);
            }
            Arrival::Held => {
                while !self.reorder.is_idle() && self.reorder.overfull(self.patience().packets) {
                    self.give_up(out);
                }
            }
            _ => {}
        }
    }

    /// Two packets in a row that fit nowhere are a new beginning; one is somebody's mistake (RFC 3550 A.1).
    fn elsewhere(&mut self, seq: u16, meta: Meta, payload: &[u8], out: &mut Output) {
        if meta.recovered {
            self.stats.late += 1;
            return;
        }
        match self.stray.take() {
            Some((before, stray, bytes)) if seq == before.wrapping_add(1) => {
                self.begin_anew();
                self.accept(before, stray, &bytes, out);
                self.accept(seq, meta, payload, out);
            }
            _ => self.stray = Some((seq, meta, payload.to_vec())),
        }
    }

    fn drain(&mut self, out: &mut Output) {
        while let Some((held, gap)) = self.reorder.pop() {
            self.process(held.meta, &held.payload, gap, out);
            self.reorder.recycle(held.payload);
        }
    }

    fn give_up(&mut self, out: &mut Output) {
        self.reorder.give_up();
        self.missing.give_up(self.reorder.next());
        self.drain(out);
    }

    fn is_video(&self) -> bool {
        self.config.payload_types.codecs.first().is_some_and(|codec| codec.1.is_video())
    }

    fn patience(&self) -> Patience {
        match (self.is_video(), self.config.nack) {
            (true, true) => self.missing.patience(self.rtt),
            (true, false) => missing::VIDEO,
            (false, true) => {
                let patience = self.missing.patience(self.rtt);
                Patience { wait: patience.wait.min(MAX_AUDIO_WAIT), ..patience }
            }
            (false, false) => missing::AUDIO,
        }
    }

    /// Of RTP timestamps with this payload type.
    fn clock_hz(&self, pt: u8) -> u32 {
        match self.meaning(pt) {
            Some(Meaning::Media(codec)) => codec.rtp_clock_hz().unwrap_or(self.config.clock_hz),
            // telephone events share their source's clock
            _ => {
                let running = self.depacketizer.as_ref().and_then(|running| running.0.rtp_clock_hz());
                running.unwrap_or(self.config.clock_hz)
            }
        }
    }

    // -- time

    /// Everything that is due but NACKs, for which the leg asks with `nacks`.
    pub fn poll(&mut self, now: Ns, out: &mut Output) {
        while self.give_up_at().is_some_and(|at| at <= now) {
            self.give_up(out);
        }
        if self.keys.wake().is_some_and(|at| at <= now) {
            let clock_hz = self.config.payload_types.dtmf_pt.map_or(8000, |pt| self.clock_hz(pt));
            self.keys.poll(clock_hz, now, &mut self.presses);
            self.tell_presses(out);
        }
        if self.open_since.is_some_and(|since| now >= since + PAUSE) && self.reorder.is_idle() {
            self.open_since = None;
            if let Some((codec, depacketizer)) = &mut self.depacketizer {
                let codec = *codec;
                depacketizer.flush(&mut self.finished);
                self.publish(codec, None, out);
            }
        }
    }

    fn give_up_at(&self) -> Option<Ns> {
        if self.reorder.is_idle() {
            return None;
        }
        // something is held, so something is missing before it; were the list to say otherwise, nothing may wait
        Some(self.missing.since().map_or(0, |since| since + self.patience().wait))
    }

    /// Appends what to ask for now.
    pub fn nacks(&mut self, now: Ns, seqs: &mut Vec<u16>) {
        if self.config.nack {
            self.missing.ask(self.rtt, now, seqs);
        }
    }

    pub fn wake(&self) -> Option<Ns> {
        let nack = if self.config.nack { self.missing.due() } else { None };
        let open = self.open_since.filter(|_| self.reorder.is_idle()).map(|since| since + PAUSE);
        [self.give_up_at(), nack, self.keys.wake(), open].into_iter().flatten().min()
    }

    // -- RTCP

    /// A sender report of this receiver's source.
    pub fn sender_report(&mut self, info: &SenderInfo, now: Ns) {
        self.sender_report = Some(((info.ntp >> 16) as u32, now));
        if let Some(pts) = self.timeline.peek(info.timestamp) {
            self.capture.report(nanoseconds(pts, self.config.clock_hz), now);
        }
    }

    /// The source said BYE: another one may take its place at once.
    pub fn bye(&mut self, ssrc: u32) -> bool {
        let ours = self.ssrc == Some(ssrc);
        self.ended |= ours;
        ours
    }

    /// What a report says of the source. None before it was heard.
    pub fn report_block(&mut self, now: Ns) -> Option<ReportBlock> {
        let clock_hz = self.depacketizer.as_ref().and_then(|running| running.0.rtp_clock_hz());
        let mut block = self.statistics.report(self.ssrc?, clock_hz.unwrap_or(self.config.clock_hz))?;
        if let Some((ntp, arrival)) = self.sender_report {
            block.last_sr = ntp;
            block.delay = u32::try_from(((now - arrival) << 16) / 1_000_000_000).unwrap_or(u32::MAX);
        }
        Some(block)
    }

    /// PLI on odd attempts, FIR on even ones, as far as negotiated. None when neither can help.
    pub fn keyframe_request(&mut self, attempt: u32) -> Option<KeyframeRequest> {
        let ssrc = self.ssrc?;
        let pli = self.config.pli && (attempt % 2 == 1 || !self.config.fir);
        if pli {
            self.stats.plis_sent += 1;
            return Some(KeyframeRequest::Pli(ssrc));
        }
        if !self.config.fir {
            return None;
        }
        self.stats.firs_sent += 1;
        // never the same number twice: the key frame that answered it may have been lost
        self.fir_number = self.fir_number.wrapping_add(1);
        Some(KeyframeRequest::Fir(ssrc, self.fir_number))
    }

    pub fn stats(&self, now: Ns) -> ReceiverStats {
        let (fps, bitrate_bps) = { self.rate }.read(now);
        ReceiverStats {
            ssrc: self.ssrc,
            lost: self.statistics.lost(),
            jitter_ms: self.statistics.jitter_ms(),
            loss_percent: self.statistics.loss_percent(),
            nacks_sent: self.missing.asked,
            last_unit_ms: self.last_unit.map(|at| now.saturating_sub(at) / MS),
            fps,
            bitrate_bps,
            ..self.stats
        }
    }
}

/// How to ask the source for a key frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyframeRequest {
    Pli(u32),
    /// SSRC and command number.
    Fir(u32, u8),
}
