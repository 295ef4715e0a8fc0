//! What is played of an input at each tick: units in their order, what is made up for those that are missing, and the
//! seams between.

use super::codec::Decoder;
use super::conceal::Repeater;
use super::input::{Counts, Epoch, Waiting};
use super::line::Line;
use super::opus;
use super::pace::Pace;
use super::resample::Upsampler;
use super::timing::Timing;
use super::{RATE_HZ, STEP};
use crate::unit::Ns;
use std::collections::VecDeque;

/// Made up at a time: while nothing is there as little as possible, since the next unit may come a moment later; but
/// libopus conceals whole frames better.
const STARVING_MS: usize = 10;
const BRIDGING_MS: usize = 20;
/// Opus' own concealment is trusted that long, then faded out over `FADE_MS`; in discontinuous transmission, where it
/// makes comfort noise, until the next update (every 400 ms) is long overdue.
const HOLD_MS: usize = 80;
const HOLD_DTX_MS: usize = 900;
const FADE_MS: usize = 60;
/// Starving that long, the playout ends; the next unit begins a new one.
const PARK_MS: usize = 300;
/// Between neighbouring units' pts (RTMP counts in milliseconds): no gap and no overlap.
const TOLERANCE_PER_S: u32 = 500;
/// Cross-fades at seams: 5 ms.
const SEAM_PER_S: u32 = 200;
const SPLICE: usize = (RATE_HZ / SEAM_PER_S) as usize;
/// The shell slept, or units came in a heap: the surplus is dropped at once.
const HOPELESS_NS: i64 = 250_000_000;
/// In pauses the depth is corrected by leaving out or repeating when it is wrong by this.
const TOO_DEEP_NS: i64 = 12_000_000;
const TOO_SHALLOW_NS: i64 = -8_000_000;
/// Full scale is 1: -50 dB.
const QUIET: f32 = 0.003;
/// Ticks after the start before the offset teaches anything about drift.
const SETTLED: u32 = 50;
/// Loss from which waiting for the next packet's FEC pays, and how fast loss is learnt.
const WORTH_FEC: f32 = 0.01;
const LOSS_WEIGHT: f32 = 0.02;
/// Units for which one with FEC proves that the sender makes it.
const FEC_PROOF: u32 = 250;

/// Where the line's end comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Real,
    /// Made up because nothing had come: what was missing may still be played, later.
    Starved,
    /// Made up although later units were there.
    Bridged,
}

/// The rest of the input, which playing consumes.
pub struct Source<'a> {
    pub epoch: &'a mut Epoch,
    pub queue: &'a mut VecDeque<Waiting>,
    pub timing: &'a Timing,
    pub counts: &'a mut Counts,
    /// Nobody speaks.
    pub pausing: bool,
}

pub struct Playout {
    playing: bool,
    ticks: u32,
    line: Line,
    up: Upsampler,
    pace: Pace,
    repeater: Repeater,
    /// Position of the line's end.
    next: i64,
    /// Position where the last decoded unit ended.
    real_end: i64,
    tail: Tail,
    /// Samples made up in a row.
    run: usize,
    /// The next decoded sample doesn't continue the line.
    seam: bool,
    dtx: bool,
    made_up: bool,
    /// Of this tick: the mixer's time less the media time played.
    offset: i64,
    /// A unit's position, and when it was captured.
    reference: Option<(i64, Ns)>,
    captured: Option<Ns>,
    loss: f32,
    fec_proof: u32,
    /// The end of the last step, played backwards into a step that doesn't continue it.
    before: [f32; SPLICE],
    splice: bool,
}

impl Default for Playout {
    fn default() -> Self {
        Playout {
            playing: false,
            ticks: 0,
            line: Line::default(),
            up: Upsampler::default(),
            pace: Pace::default(),
            repeater: Repeater::default(),
            next: 0,
            real_end: 0,
            tail: Tail::Real,
            run: 0,
            seam: false,
            dtx: false,
            made_up: false,
            offset: 0,
            reference: None,
            captured: None,
            loss: 0.0,
            fec_proof: 0,
            before: [0.0; SPLICE],
            splice: false,
        }
    }
}

impl Playout {
    /// The epoch has ended: what was to come won't be played.
    pub fn stop(&mut self) {
        self.splice |= self.playing;
        self.playing = false;
        self.reference = None;
    }

    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    pub fn captured(&self) -> Option<Ns> {
        self.captured
    }

    /// How long the fastest units wait before they are played, ns.
    pub fn depth(&self, timing: &Timing) -> i64 {
        if self.playing {
            (self.offset - timing.base()).max(0)
        } else {
            0
        }
    }

    /// Whether a unit comes in time. When it is late only because its sender's units all are, the playout waits for it.
    pub fn accepts(&mut self, epoch: &Epoch, timing: &Timing, position: i64, samples: usize) -> bool {
        if !self.playing || position >= self.next {
            return true;
        }
        if self.tail == Tail::Starved && position >= self.real_end {
            let back = epoch.to_ns(self.next - position);
            if self.offset + back <= Pace::most(timing) {
                self.next = position;
                self.offset += back;
                return true;
            }
        }
        position + samples as i64 > self.next
    }

    /// Plays 20 ms. False when there is nothing to play.
    pub fn tick(&mut self, mut source: Source, now: Ns, step: &mut [f32; STEP]) -> bool {
        if !self.playing {
            let Some(front) = source.queue.front() else {
                let sounding = self.splice;
                step.fill(0.0);
                self.splice_in(step);
                return sounding;
            };
            self.start(front.position, source.epoch, source.timing, now);
        }
        self.ticks = self.ticks.saturating_add(1);
        self.made_up = false;
        self.set_offset(source.epoch, now);
        if self.offset - self.pace.target(source.timing) > HOPELESS_NS {
            self.catch_up(&mut source, now);
        }
        self.captured = self
            .reference
            .map(|(position, captured)| captured.saturating_add_signed(source.epoch.to_ns(self.cursor() - position)));

        let learn = self.tail == Tail::Real && self.ticks > SETTLED;
        let nominal = f64::from(source.epoch.format.rate_hz) / f64::from(RATE_HZ);
        let input_step = nominal * self.pace.rate(self.offset, source.timing, learn);
        while self.line.ahead() < self.up.needs(input_step) {
            self.append(&mut source);
        }
        let moved = self.up.process(self.line.window(), input_step, step);
        self.line.advance(moved);
        if !step.iter().all(|sample| sample.is_finite()) {
            step.fill(0.0); // a decoder's nonsense must not get into the sum
        }
        self.splice_in(step);
        source.counts.concealed += u64::from(self.made_up);

        let park = source.epoch.format.rate_hz as usize * PARK_MS / 1_000 + self.hold(source.epoch);
        if self.tail == Tail::Starved && self.run > park && source.queue.is_empty() {
            self.playing = false;
        }
        true
    }

    fn start(&mut self, position: i64, epoch: &Epoch, timing: &Timing, now: Ns) {
        self.playing = true;
        self.ticks = 0;
        self.line.clear();
        self.up = Upsampler::default();
        self.repeater.stop();
        self.next = position;
        self.real_end = position;
        self.tail = Tail::Real;
        self.run = 0;
        self.seam = true;
        let due = epoch.to_samples(now as i64 - self.pace.target(timing));
        let most = i64::from(epoch.format.rate_hz) / 4;
        self.line.grow((position - due).clamp(0, most) as usize);
    }

    /// The position being played.
    fn cursor(&self) -> i64 {
        self.next - self.line.ahead() as i64
    }

    fn set_offset(&mut self, epoch: &Epoch, now: Ns) {
        let fraction_ns = self.up.fraction() * 1e9 / f64::from(epoch.format.rate_hz);
        self.offset = now as i64 - epoch.to_ns(self.cursor()) - fraction_ns as i64;
    }

    /// Leaves out what should have been played long ago.
    fn catch_up(&mut self, source: &mut Source, now: Ns) {
        let due = source.epoch.to_samples(now as i64 - self.pace.target(source.timing));
        self.line.shrink(self.line.ahead());
        self.next = self.next.max(due);
        self.seam = true;
        self.set_offset(source.epoch, now);
    }

    /// Makes the line longer.
    fn append(&mut self, source: &mut Source) {
        while source.queue.front().is_some_and(|front| front.position + front.samples as i64 <= self.next) {
            source.queue.pop_front();
            source.counts.late += 1;
        }
        let rate = source.epoch.format.rate_hz;
        let Some(front) = source.queue.front() else {
            let ms = if matches!(source.epoch.decoder, Decoder::Opus(_)) { BRIDGING_MS } else { STARVING_MS };
            return self.conceal(source.epoch, rate as usize * ms / 1_000, Tail::Starved);
        };
        let gap = front.position - self.next;
        if gap > i64::from(rate / TOLERANCE_PER_S) {
            self.bridge(source, gap as usize);
        } else if let Some(front) = source.queue.pop_front() {
            self.decode(source, front);
        }
    }

    /// Something is lost before the unit at the queue's front.
    fn bridge(&mut self, source: &mut Source, gap: usize) {
        let most = source.epoch.format.rate_hz as usize * BRIDGING_MS / 1_000;
        let Some(front) = source.queue.front() else { return };
        let with_fec = matches!(source.epoch.decoder, Decoder::Opus(_)) && opus::has_fec(&front.unit.payload);
        if with_fec && gap <= front.samples {
            return self.recover(source, gap);
        }
        let made_up = if with_fec { gap - front.samples } else { gap };
        self.conceal(source.epoch, made_up.min(most), Tail::Bridged);
    }

    /// Rebuilds the packet before the queue's front from its FEC; the last `gap` samples of it are missing.
    fn recover(&mut self, source: &mut Source, gap: usize) {
        let (Decoder::Opus(decoder), Some(front)) = (&mut source.epoch.decoder, source.queue.front()) else { return };
        let out = self.line.grow(front.samples);
        let written = decoder.decode_fec(&front.unit.payload, out).unwrap_or(0);
        out[written..].fill(0.0);
        self.line.cut(front.samples, front.samples - gap);
        self.seam |= gap < front.samples || self.run > 0;
        self.fade_seam(gap, source.epoch.format.rate_hz);
        self.next += gap as i64;
        self.tail = Tail::Bridged;
        self.run = 0;
        source.counts.fec += 1;
    }

    /// Makes `count` samples up.
    fn conceal(&mut self, epoch: &mut Epoch, count: usize, tail: Tail) {
        let hold = self.hold(epoch);
        let rate = epoch.format.rate_hz;
        let fade = rate as usize * FADE_MS / 1_000;
        self.made_up |= !self.dtx && self.run < hold + fade;
        match &mut epoch.decoder {
            Decoder::Opus(_) if self.run >= hold + fade => {
                self.line.grow(count);
            }
            Decoder::Opus(decoder) => {
                // whole multiples of 2.5 ms
                let rounded = count.div_ceil(120) * 120;
                let out = self.line.grow(rounded);
                let written = decoder.conceal(out).unwrap_or(0);
                out[written..].fill(0.0);
                for (i, sample) in out.iter_mut().enumerate() {
                    let over = (self.run + i).saturating_sub(hold);
                    *sample *= 1.0 - (over as f32 / fade as f32).min(1.0);
                }
                self.line.shrink(rounded - count);
                self.seam |= self.run + count > hold;
            }
            _ => {
                self.line.grow(count);
                let (past, out) = self.line.split_tail(count);
                if !self.repeater.running() {
                    self.repeater.start(past, rate);
                }
                self.repeater.fill(out);
            }
        }
        self.next += count as i64;
        self.run = self.run.saturating_add(count);
        self.tail = tail;
    }

    /// Samples that concealment goes on at full loudness.
    fn hold(&self, epoch: &Epoch) -> usize {
        epoch.format.rate_hz as usize * if self.dtx { HOLD_DTX_MS } else { HOLD_MS } / 1_000
    }

    fn decode(&mut self, source: &mut Source, front: Waiting) {
        let rate = source.epoch.format.rate_hz;
        let overlap = (self.next - front.position).max(0) as usize;
        let skip = if overlap > (rate / TOLERANCE_PER_S) as usize { overlap } else { 0 };
        let kept = front.samples - skip;
        let is_opus = matches!(source.epoch.decoder, Decoder::Opus(_));
        if source.epoch.decoder.decode(&front.unit.payload, self.line.grow(front.samples)).is_err() {
            source.counts.broken += 1;
            self.line.shrink(front.samples);
            self.conceal(source.epoch, kept, Tail::Bridged);
            self.next = front.position + front.samples as i64;
            return;
        }
        self.line.cut(front.samples, skip);
        self.seam |= skip > 0 || self.repeater.running();
        self.fade_seam(kept, rate);
        let lost = !self.dtx && front.position - self.real_end > i64::from(rate / TOLERANCE_PER_S);
        self.loss += LOSS_WEIGHT * (f32::from(u8::from(lost)) - self.loss);
        self.next = front.position + front.samples as i64;
        self.real_end = self.next;
        self.tail = Tail::Real;
        self.run = 0;
        self.dtx = is_opus && opus::is_dtx(&front.unit.payload);
        let captured = if front.unit.capture > 0 { front.unit.capture } else { front.unit.arrival };
        self.reference = Some((front.position, captured));
        self.wish_for_fec(is_opus, &front, source.epoch);
        if source.pausing {
            self.correct_depth(source.epoch, kept);
        }
    }

    /// Fades from the line's past, going on by repetition, into the last `count` samples.
    fn fade_seam(&mut self, count: usize, rate_hz: u32) {
        if !self.seam {
            return;
        }
        self.seam = false;
        let (past, fresh) = self.line.split_tail(count);
        if !self.repeater.running() {
            self.repeater.start(past, rate_hz);
        }
        let fade = (rate_hz / SEAM_PER_S) as usize;
        self.repeater.fade_into(&mut fresh[..fade.min(count)]);
    }

    /// Waits for one packet more where packets get lost and carry their predecessors.
    fn wish_for_fec(&mut self, is_opus: bool, front: &Waiting, epoch: &Epoch) {
        self.fec_proof = match is_opus && opus::has_fec(&front.unit.payload) {
            true => FEC_PROOF,
            false => self.fec_proof.saturating_sub(1),
        };
        let wait = if self.fec_proof > 0 && self.loss > WORTH_FEC { front.samples } else { 0 };
        self.pace.set_extra(epoch.to_ns(wait as i64));
    }

    /// In a pause, leaves out part of the last `count` samples or repeats what was before, when the depth is wrong.
    fn correct_depth(&mut self, epoch: &Epoch, count: usize) {
        let error = self.pace.error();
        if self.ticks < SETTLED || (TOO_SHALLOW_NS..=TOO_DEEP_NS).contains(&error) {
            return;
        }
        let rate = epoch.format.rate_hz;
        let wrong = epoch.to_samples(error.abs() / 2) as usize;
        let (_, fresh) = self.line.split_tail(count);
        if fresh.iter().map(|x| x * x).sum::<f32>() > QUIET * QUIET * count as f32 {
            return;
        }
        if error > 0 {
            let drop = wrong.min(count / 2);
            self.line.shrink(drop);
            self.pace.corrected(epoch.to_ns(drop as i64));
        } else {
            let more = wrong.min(rate as usize / 100);
            self.repeater.start(self.line.split_tail(0).0, rate);
            self.repeater.fill(self.line.grow(more));
            self.pace.corrected(-epoch.to_ns(more as i64));
        }
        self.seam = true;
    }

    /// After a cut the end of the last step fades out backwards, so that the wave goes on without a jump.
    fn splice_in(&mut self, step: &mut [f32; STEP]) {
        if std::mem::take(&mut self.splice) {
            for (i, (sample, before)) in step.iter_mut().zip(self.before.iter().rev()).enumerate() {
                let part = (i + 1) as f32 / (SPLICE + 1) as f32;
                *sample = part * *sample + (1.0 - part) * before;
            }
        }
        self.before.copy_from_slice(&step[STEP - SPLICE..]);
    }
}
