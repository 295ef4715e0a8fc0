//! Packets in their order to units and key presses.

use super::claim::Meaning;
use super::keys::KeyPress;
use super::reorder::Meta;
use super::{level, Receiver};
use crate::output::{Event, Output};
use crate::payload::dtmf::TelephoneEvent;
use crate::payload::{Depacketizer, Finished, Frame, Input, PayloadError};
use crate::unit::{Codec, Ns, Unit};

impl Receiver {
    /// A packet in its order.
    pub(super) fn process(&mut self, meta: Meta, payload: &[u8], gap: bool, out: &mut Output) {
        self.gap |= gap;
        self.damaged |= gap;
        match self.meaning(meta.pt) {
            // padding that keeps a path or a bandwidth estimate alive
            _ if payload.is_empty() => {}
            Some(Meaning::Media(codec)) => self.process_media(codec, meta, payload, out),
            Some(Meaning::Dtmf) => self.press(meta.pt, meta.timestamp, payload, meta.arrival, out),
            // renegotiated while the packet was held
            Some(Meaning::Rtx(_)) | None => {}
        }
    }

    pub(super) fn press(&mut self, pt: u8, timestamp: u32, payload: &[u8], arrival: Ns, out: &mut Output) {
        let Ok(event) = TelephoneEvent::parse(payload) else {
            self.bad_payloads += 1;
            return;
        };
        let clock_hz = self.clock_hz(pt);
        self.keys.take(timestamp, &event, clock_hz, arrival, &mut self.presses);
        self.tell_presses(out);
    }

    fn process_media(&mut self, codec: Codec, meta: Meta, payload: &[u8], out: &mut Output) {
        if self.depacketizer.as_ref().is_none_or(|running| running.0 != codec) {
            self.gap |= self.depacketizer.is_some();
            self.depacketizer = Depacketizer::new(codec).map(|depacketizer| (codec, depacketizer));
        }
        let Some((_, depacketizer)) = &mut self.depacketizer else { return };
        let clock_hz = codec.rtp_clock_hz().unwrap_or(self.config.clock_hz);
        let placed = self.timeline.place(meta.timestamp, clock_hz, meta.arrival);
        if placed.restarted {
            self.capture.restart();
        }
        self.capture.packet(nanoseconds(placed.pts, self.config.clock_hz), meta.arrival);
        let gap = std::mem::take(&mut self.gap);
        let input = Input { timestamp: placed.pts, marker: meta.marker, gap, arrival: meta.arrival, payload };
        depacketizer.push(&input, &mut self.finished);
        self.marks |= meta.marker;
        self.open_since = (codec.is_video() && !self.marks).then_some(meta.arrival);
        self.publish(codec, meta.level.or_else(|| level::of_g711(codec, payload)), out);
    }

    pub(super) fn publish(&mut self, codec: Codec, level: Option<i8>, out: &mut Output) {
        let mut finished = std::mem::take(&mut self.finished);
        for finished in finished.drain(..) {
            match finished {
                Finished::Frame(frame) => {
                    let unit = self.unit(codec, frame, level);
                    out.units.push(unit);
                }
                // what a loss did isn't the payload's fault
                Finished::Dropped { why: PayloadError::Incomplete | PayloadError::MarkerWithin, .. } => {}
                Finished::Dropped { .. } if self.damaged => {}
                Finished::Dropped { .. } => self.bad_payloads += 1,
            }
        }
        self.finished = finished;
    }

    fn unit(&mut self, codec: Codec, frame: Frame, level: Option<i8>) -> Unit {
        let media_ns = nanoseconds(frame.timestamp, self.config.clock_hz);
        self.damaged = false;
        self.stats.units += 1;
        self.stats.codec = Some(codec);
        self.stats.keyframes += u64::from(frame.keyframe && codec.is_video());
        if let Some((width, height)) = frame.size {
            (self.stats.width, self.stats.height) = (width, height);
        }
        self.rate.add(frame.payload.len(), frame.arrival);
        self.last_unit = Some(frame.arrival);
        Unit {
            track: self.config.track,
            codec,
            pts: frame.timestamp,
            dts: frame.timestamp,
            keyframe: frame.keyframe,
            contiguous: frame.contiguous,
            capture: self.capture.capture(media_ns, frame.arrival),
            arrival: frame.arrival,
            payload: frame.payload,
            nals: frame.nals,
            level: level.filter(|_| !codec.is_video()),
        }
    }

    pub(super) fn tell_presses(&mut self, out: &mut Output) {
        let leg = self.leg;
        out.events.extend(self.presses.drain(..).map(|KeyPress { digit, ms }| Event::Dtmf { leg, digit, ms }));
    }
}

/// Media time; days of it don't overflow.
pub(super) fn nanoseconds(pts: i64, clock_hz: u32) -> i64 {
    let hz = i64::from(clock_hz);
    pts / hz * 1_000_000_000 + pts % hz * 1_000_000_000 / hz
}
