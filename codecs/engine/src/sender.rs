//! Outbound: units of the selected source to packets, paced, kept for retransmission, with continuous numbers.
//!
//! Deliberately not implemented: bandwidth estimation (the source is passed through and can't be thinned here), padding,
//! forward error correction.

mod clock;
mod feedback;
mod history;
mod keys;
mod pacer;

use crate::bus::track::Rate;
use crate::leg::wire::Wire;
use crate::leg::{SenderCodec, SenderConfig, Source};
use crate::output::{Event, Output};
use crate::payload::{Packetizer, PayloadError, Piece};
use crate::rtp::Header;
use crate::unit::{Codec, Ns, TrackId, UnitRef};
use clock::Clock;
use feedback::{write_packet, RESEND_BURST};
use history::{History, Kept};
use keys::Keys;
use pacer::Pacer;

use std::collections::VecDeque;

const MS: Ns = 1_000_000;
/// Keys that may wait to be sent.
pub const MAX_DTMF_QUEUED: usize = 64;
/// What may wait to be paced out: so long, and so many bytes; a kept group may take its time.
const MAX_QUEUE: Ns = 1000 * MS;
const MAX_QUEUE_BYTES: usize = 12 << 20;
/// Packets of a large picture: room for them is kept.
const USUAL_QUEUE: usize = 256;
/// An overflow is told at most this often.
const TELL_EVERY: Ns = 1000 * MS;
/// A kept group is sent this many times faster than it came, within these bounds.
const GROUP_SPEED: u64 = 4;
const GROUP_BPS: std::ops::RangeInclusive<u64> = 8_000_000..=60_000_000;
/// Figures of a sender; `Sender.stats` in `_engine.pyi`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SenderStats {
    pub ssrc: u32,
    pub codec: Codec,
    pub track: Option<TrackId>,
    /// Retransmissions not included.
    pub packets: u64,
    pub bytes: u64,
    pub units: u64,
    pub keyframes: u64,
    /// By overflow of the queue, or because no packet can carry them.
    pub dropped_units: u64,
    /// Of those, the ones with a NAL unit above what a datagram carries, to a peer that takes one a packet
    /// (packetization-mode 0); and the largest such NAL unit.
    pub too_large_units: u64,
    pub too_large_bytes: u32,
    /// Age of what waits longest to be sent.
    pub queue_ms: u32,
    /// Sequence numbers that NACKs named.
    pub nacks_received: u64,
    pub rtx_sent: u64,
    pub plis_received: u64,
    pub firs_received: u64,
    pub remote_loss_percent: f32,
    pub remote_jitter_ms: f32,
    pub rtt_ms: Option<f32>,
    /// None: the peer said nothing.
    pub remb_bps: Option<u64>,
    pub bitrate_bps: u64,
    pub fps: f32,
}

/// A packet that waits to be paced out.
#[derive(Debug)]
struct Queued {
    unit: UnitRef,
    piece: Piece,
    marker: bool,
    /// None: the time of sending decides.
    timestamp: Option<u32>,
    /// The first of its unit.
    first: bool,
    /// Leave a sequence number out before it.
    skip: bool,
    at: Ns,
}

/// One outbound track of a leg.
#[derive(Debug)]
pub struct Sender {
    config: SenderConfig,
    enabled: bool,
    source: Option<Source>,
    /// The next unit is the source's first.
    fresh: bool,
    /// Units are dropped up to the next key frame.
    gated: bool,
    /// It was asked for.
    wished: bool,
    /// Units are lost to an overflow until the gate opens; how many weren't told, and when the last were.
    overflowed: bool,
    untold: u32,
    told: Option<Ns>,
    seq: u16,
    rtx_seq: u16,
    clock: Clock,
    packetizer: Packetizer,
    pieces: Vec<Piece>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// A kept group is being sent, with what came since queued behind it.
    catching_up: bool,
    group_timestamp: u32,
    pacer: Pacer,
    history: History,
    keys: Keys,
    resend_budget: u64,
    resend_at: Ns,
    /// Of sender reports: packets and payload bytes, retransmissions not included.
    report_packets: u32,
    report_octets: u32,
    sent_last: Option<Ns>,
    stats: SenderStats,
    rate: Rate,
}

impl Sender {
    /// `random`: where sequence numbers and timestamps begin.
    pub fn new(config: SenderConfig, mut random: impl FnMut() -> u64) -> Sender {
        let codec = config.codec;
        let stats = SenderStats {
            ssrc: config.ssrc,
            codec: codec.codec,
            track: None,
            packets: 0,
            bytes: 0,
            units: 0,
            keyframes: 0,
            dropped_units: 0,
            too_large_units: 0,
            too_large_bytes: 0,
            queue_ms: 0,
            nacks_received: 0,
            rtx_sent: 0,
            plis_received: 0,
            firs_received: 0,
            remote_loss_percent: 0.0,
            remote_jitter_ms: 0.0,
            rtt_ms: None,
            remb_bps: None,
            bitrate_bps: 0,
            fps: 0.0,
        };
        Sender {
            enabled: true,
            source: None,
            fresh: true,
            gated: false,
            wished: false,
            overflowed: false,
            untold: 0,
            told: None,
            // below 32768, so that nobody who misses the first packets guesses the rollover counter wrong (RFC 3711 3.3.1)
            seq: random() as u16 >> 1,
            rtx_seq: random() as u16 >> 1,
            clock: Clock::new(codec.clock_hz, random() as u32),
            packetizer: Packetizer::default(),
            pieces: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            catching_up: false,
            group_timestamp: 0,
            pacer: Pacer::new(config.max_bps),
            history: History::new(Ns::from(config.history_ms) * MS),
            keys: Keys::default(),
            resend_budget: RESEND_BURST,
            resend_at: 0,
            report_packets: 0,
            report_octets: 0,
            sent_last: None,
            stats,
            rate: Rate::default(),
            config,
        }
    }

    pub fn config(&self) -> &SenderConfig {
        &self.config
    }

    pub fn has_ssrc(&self, ssrc: u32) -> bool {
        self.config.ssrc == ssrc || self.config.rtx_ssrc == Some(ssrc)
    }

    fn is_video(&self) -> bool {
        self.config.codec.codec.is_video()
    }

    pub fn set_codec(&mut self, codec: SenderCodec, now: Ns) {
        if codec.codec != self.config.codec.codec {
            self.drop_queue();
            self.gated = codec.codec.is_video();
            self.wished = false;
        }
        self.clock.set_hz(codec.clock_hz, now);
        if codec.dtmf_pt.is_none() {
            self.keys.clear();
        }
        self.config.codec = codec;
        self.stats.codec = codec.codec;
    }

    /// True when it now needs a key frame.
    pub fn set_enabled(&mut self, enabled: bool) -> bool {
        let resumes = enabled && !self.enabled;
        self.enabled = enabled;
        if !enabled {
            self.drop_queue();
        }
        if resumes {
            self.fresh = true;
            self.gated = self.is_video();
            // the caller asks
            self.wished = self.gated;
            self.restart_clock();
        }
        resumes && self.gated && self.source.is_some()
    }

    pub fn set_max_bps(&mut self, bps: u64, now: Ns) {
        self.config.max_bps = bps;
        self.pacer.set_max_bps(bps, now);
    }

    pub fn switch_source(&mut self, source: Source) {
        self.source = Some(source);
        self.fresh = true;
        self.gated = self.is_video();
        self.wished = self.gated;
        self.restart_clock();
    }

    pub fn stop(&mut self) {
        self.source = None;
        self.drop_queue();
    }

    fn restart_clock(&mut self) {
        let source_hz = self.source.map_or(self.config.codec.clock_hz, |source| source.clock_hz);
        self.clock.restart(source_hz);
    }

    // -- units

    /// See `Leg::send_unit`.
    pub fn send_unit(&mut self, unit: &UnitRef, now: Ns, wire: &mut Wire, out: &mut Output) {
        if !self.enabled || self.source.is_none_or(|source| source.track != unit.track) {
            return;
        }
        if unit.codec != self.config.codec.codec {
            self.stats.dropped_units += 1;
            return;
        }
        if !self.is_video() {
            return self.send_frame(unit, now, wire, out);
        }
        if !wire.ready() {
            // no keys or no address yet: begin with a key frame when there are
            (self.gated, self.wished) = (true, false);
            return;
        }
        if self.overflows(now) {
            let dropped = self.drop_queue();
            self.lose(dropped);
            (self.gated, self.wished, self.overflowed) = (true, false, true);
        }
        self.overflowed &= !unit.keyframe;
        self.lose(u32::from(self.overflowed));
        self.tell_overflow(now, out);
        if self.gated && !unit.keyframe {
            if !std::mem::replace(&mut self.wished, true) {
                out.keyframe_wishes.push(self.config.id);
            }
            return;
        }
        self.gated = false;
        let timestamp = if self.catching_up { None } else { Some(self.clock.stamp(unit, now)) };
        self.enqueue(unit, timestamp, now);
        self.pump(now, wire, out);
    }

    /// See `Leg::send_group`.
    pub fn send_group(&mut self, units: &[UnitRef], now: Ns, wire: &mut Wire, out: &mut Output) {
        let [first, .., last] = units else {
            return units.iter().for_each(|unit| self.send_unit(unit, now, wire, out));
        };
        let ours = self.source.is_some_and(|source| units.iter().all(|unit| unit.track == source.track));
        if !ours || !first.keyframe || !self.enabled || !wire.ready() || first.codec != self.config.codec.codec {
            return;
        }
        let bytes: u64 = units.iter().map(|unit| unit.payload.len() as u64).sum();
        let span = last.arrival.saturating_sub(first.arrival).max(MS);
        let own_bps = u128::from(bytes) * 8_000_000_000 / u128::from(span);
        let bps = (own_bps as u64).saturating_mul(GROUP_SPEED).clamp(*GROUP_BPS.start(), *GROUP_BPS.end());
        self.pacer.set_group(Some(bps), now);
        self.catching_up = true;
        self.gated = false;
        for unit in units {
            self.enqueue(unit, None, now);
        }
        self.pump(now, wire, out);
    }

    /// Sound isn't paced: a frame is a packet.
    fn send_frame(&mut self, unit: &UnitRef, now: Ns, wire: &mut Wire, out: &mut Output) {
        if self.keys.busy() {
            return;
        }
        let timestamp = self.clock.stamp(unit, now);
        self.enqueue(unit, Some(timestamp), now);
        while let Some(queued) = self.queue.pop_front() {
            self.send_queued(queued, now, wire, out);
        }
    }

    /// Plans the packets of a unit and puts them into the queue.
    fn enqueue(&mut self, unit: &UnitRef, timestamp: Option<u32>, now: Ns) {
        let fresh = std::mem::take(&mut self.fresh);
        self.pieces.clear();
        if let Err(error) = self.packetizer.plan(unit, &self.config.codec.packing, &mut self.pieces) {
            self.stats.dropped_units += 1;
            if let PayloadError::NalTooLarge(bytes) = error {
                self.stats.too_large_units += 1;
                self.stats.too_large_bytes = self.stats.too_large_bytes.max(bytes);
            }
            // What builds on it can't be decoded. A key frame isn't asked for in its place: it wouldn't be smaller.
            (self.gated, self.wished) = (unit.codec.is_video(), unit.keyframe);
            return;
        }
        // the peer learns of a loss from the numbers; what starts decoding anew needs nothing from before
        let begins = fresh || unit.keyframe && unit.codec.is_video();
        let skip = !unit.contiguous && !begins;
        self.stats.units += 1;
        self.stats.keyframes += u64::from(unit.keyframe && unit.codec.is_video());
        self.rate.add(unit.payload.len(), now);
        let video = unit.codec.is_video();
        for (n, &piece) in self.pieces.iter().enumerate() {
            self.queued_bytes += piece.len();
            let first = n == 0;
            // of sound it begins a talk spurt (RFC 3551 4.1)
            let marker = if video { piece.last } else { fresh };
            let unit = unit.clone();
            self.queue.push_back(Queued { unit, piece, marker, timestamp, first, skip: skip && first, at: now });
        }
        self.pacer.plan(self.queued_bytes);
    }

    /// Sends what the pacer lets go.
    fn pump(&mut self, now: Ns, wire: &mut Wire, out: &mut Output) {
        while !self.queue.is_empty() && self.pacer.may_send(now) {
            let Some(queued) = self.queue.pop_front() else { break };
            self.pacer.sent(queued.piece.len());
            self.send_queued(queued, now, wire, out);
        }
        if self.queue.is_empty() && self.catching_up {
            self.catching_up = false;
            self.pacer.set_group(None, now);
            // a group fills it with thousands of packets, a picture with some
            self.queue.shrink_to(USUAL_QUEUE);
        }
    }

    fn send_queued(&mut self, queued: Queued, now: Ns, wire: &mut Wire, out: &mut Output) {
        self.queued_bytes -= queued.piece.len();
        if queued.skip {
            self.history.push(self.seq, None);
            self.seq = self.seq.wrapping_add(1);
        }
        if queued.timestamp.is_none() && queued.first {
            self.group_timestamp = self.clock.stamp_at(now);
        }
        let kept = Kept {
            timestamp: queued.timestamp.unwrap_or(self.group_timestamp),
            marker: queued.marker,
            unit: queued.unit,
            piece: queued.piece,
            pt: self.config.codec.pt,
            sent: now,
            resent: 0,
        };
        let seq = self.seq;
        let header =
            Header { marker: kept.marker, pt: kept.pt, seq, timestamp: kept.timestamp, ssrc: self.config.ssrc };
        if !wire.send_rtp(out, |bytes| write_packet(&self.config, &header, &kept, bytes)) {
            return;
        }
        self.count_sent(kept.piece.len(), now);
        let repairs = self.is_video() || self.config.codec.rtx_pt.is_some();
        if repairs {
            self.history.push(seq, Some(kept));
        }
    }

    fn count_sent(&mut self, payload_bytes: usize, now: Ns) {
        self.seq = self.seq.wrapping_add(1);
        self.stats.packets += 1;
        self.stats.bytes += payload_bytes as u64;
        self.report_packets = self.report_packets.wrapping_add(1);
        self.report_octets = self.report_octets.wrapping_add(payload_bytes as u32);
        self.sent_last = Some(now);
    }

    fn overflows(&self, now: Ns) -> bool {
        let age = self.queue.front().map_or(0, |queued| now.saturating_sub(queued.at));
        age > MAX_QUEUE && !self.catching_up || self.queued_bytes > MAX_QUEUE_BYTES
    }

    fn lose(&mut self, units: u32) {
        self.stats.dropped_units += u64::from(units);
        self.untold = self.untold.saturating_add(units);
    }

    /// At most once a second.
    fn tell_overflow(&mut self, now: Ns, out: &mut Output) {
        if self.untold > 0 && self.told.is_none_or(|told| now >= told + TELL_EVERY) {
            let units = std::mem::take(&mut self.untold);
            out.events.push(Event::Overflowed { subscriber: self.config.id.0, units });
            self.told = Some(now);
        }
    }

    /// Drops whole units; one of which something is sent already is finished. How many.
    fn drop_queue(&mut self) -> u32 {
        let Some(whole) = self.queue.iter().position(|queued| queued.first) else { return 0 };
        let dropped = self.queue.drain(whole..);
        let mut units = 0;
        for queued in dropped {
            units += u32::from(queued.first);
            self.queued_bytes -= queued.piece.len();
        }
        units
    }

    // -- time

    pub fn poll(&mut self, now: Ns, wire: &mut Wire, out: &mut Output) {
        self.pump(now, wire, out);
        if self.keys.wake().is_some_and(|at| at <= now) && self.enabled && wire.ready() {
            self.send_keys(now, wire, out);
        }
    }

    pub fn wake(&self, ready: bool) -> Option<Ns> {
        let queue = (!self.queue.is_empty()).then(|| self.pacer.next());
        let keys = if self.enabled && ready { self.keys.wake() } else { None };
        queue.into_iter().chain(keys).min()
    }

    /// Lets go of what is too old to be sent again, also when nothing new is sent.
    pub fn tidy(&mut self, now: Ns) {
        self.history.forget(now);
    }

    pub fn remote_loss_percent(&self) -> f32 {
        self.stats.remote_loss_percent
    }

    pub fn stats(&self, now: Ns) -> SenderStats {
        let (fps, bitrate_bps) = { self.rate }.read(now);
        let age = self.queue.front().map_or(0, |queued| now.saturating_sub(queued.at));
        let queue_ms = u32::try_from(age / MS).unwrap_or(u32::MAX);
        SenderStats { track: self.source.map(|source| source.track), queue_ms, fps, bitrate_bps, ..self.stats }
    }
}
