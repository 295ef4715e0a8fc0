//! Outputs that hear the same: one sum, one limiter and one encoder for all of them.
//!
//! Who is heard changes while people talk, and an encoder's state must go on under its listeners' decoders. When
//! members of a group come to hear different things, the group is split and its encoder copied, state and all. When two
//! groups have heard the same for a second, their encoders have grown alike and the groups are joined. Neither is
//! heard. In a room of sixteen where two speak that makes three encodings instead of sixteen.

use super::codec::Encoder;
use super::input::Input;
use super::level;
use super::limit::Limiter;
use super::{RATE_HZ, STEP, TICK_NS};
use crate::unit::{Codec, Ns};

/// One bit for each input.
pub type Mask = u64;

/// Ticks of equal sums after which two encoders are alike.
const ALIKE_AFTER: u64 = 50;
/// Who comes into a sum fades in over 5 ms, who goes fades out over 10.
const FADE_IN: usize = 240;
const FADE_OUT: usize = 480;
/// Capture times are smoothed over a second, unless they are off by more than this.
const CAPTURE_WEIGHT: f64 = 0.02;
const CAPTURE_JUMP_NS: f64 = 500_000_000.0;

#[derive(Clone)]
pub struct Group {
    codec: Codec,
    bitrate_bps: u32,
    encoder: Encoder,
    loss: u8,
    limiter: Limiter,
    /// Whom it hears, whom it heard a tick before, and since which tick the same.
    mask: Mask,
    before: Mask,
    since: u64,
    /// Settled while outputs are being assigned.
    claimed: Option<Mask>,
    members: u32,
    wanted_loss: u8,
    mix: Box<[f32; STEP]>,
    /// How long ago what is mixed was captured, ns.
    delay: Option<f64>,
    pub payload: Vec<u8>,
    pub level: i8,
    pub capture: Ns,
}

impl Group {
    fn new(codec: Codec, bitrate_bps: u32, mask: Mask, tick: u64) -> Option<Self> {
        Some(Group {
            codec,
            bitrate_bps,
            encoder: Encoder::new(codec, bitrate_bps)?,
            loss: 0,
            limiter: Limiter::default(),
            mask,
            before: mask,
            since: tick,
            claimed: Some(mask),
            members: 0,
            wanted_loss: 0,
            mix: Box::new([0.0; STEP]),
            delay: None,
            payload: Vec::new(),
            level: -127,
            capture: 0,
        })
    }

    fn serves(&self, codec: Codec, bitrate_bps: u32, mask: Mask) -> bool {
        self.codec == codec && self.bitrate_bps == bitrate_bps && self.claimed.unwrap_or(self.mask) == mask
    }

    /// Takes the mask that its outputs claimed.
    fn settle(&mut self, tick: u64) {
        self.before = self.mask;
        if let Some(mask) = self.claimed.take() {
            if mask != self.mask {
                self.mask = mask;
                self.since = tick;
            }
        }
        if self.wanted_loss != self.loss {
            self.loss = self.wanted_loss;
            self.encoder.set_loss(self.loss);
        }
    }

    fn is_like(&self, other: &Group, tick: u64) -> bool {
        let settled = |group: &Group| group.since + ALIKE_AFTER <= tick;
        self.serves(other.codec, other.bitrate_bps, other.mask) && settled(self) && settled(other)
    }

    /// Sums, limits and encodes one step.
    fn encode(&mut self, inputs: &[Option<Box<Input>>], now: Ns) {
        self.mix.fill(0.0);
        let mut loudest: Option<(i8, Ns)> = None;
        for (slot, input) in inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            let (heard, was_heard) = (self.mask >> slot & 1 != 0, self.before >> slot & 1 != 0);
            if !heard && !was_heard {
                continue;
            }
            add(&mut self.mix, input.step(), heard, was_heard);
            if let Some(captured) = input.captured().filter(|_| heard) {
                let level = input.meter().dbov();
                if loudest.is_none_or(|(other, _)| level > other) {
                    loudest = Some((level, captured));
                }
            }
        }
        self.limiter.process(&mut self.mix);
        self.level = level::step_dbov(&self.mix);
        self.payload.clear();
        self.encoder.encode(&self.mix, &mut self.payload);
        self.note_capture(loudest.map(|(_, captured)| captured), now);
    }

    fn note_capture(&mut self, captured: Option<Ns>, now: Ns) {
        if let Some(captured) = captured {
            let delay = now as f64 - captured as f64;
            self.delay = Some(match self.delay {
                Some(before) if (delay - before).abs() < CAPTURE_JUMP_NS => before + CAPTURE_WEIGHT * (delay - before),
                _ => delay,
            });
        }
        let encoding = self.encoder.delay() as f64 * 1e9 / f64::from(RATE_HZ);
        self.capture = self.delay.map_or(0, |delay| (now as f64 - delay - encoding).max(0.0) as Ns);
    }
}

fn add(mix: &mut [f32; STEP], step: &[f32; STEP], heard: bool, was_heard: bool) {
    match (heard, was_heard) {
        (true, false) => {
            for (i, (sum, sample)) in mix.iter_mut().zip(step).enumerate() {
                *sum += sample * ((i + 1) as f32 / FADE_IN as f32).min(1.0);
            }
        }
        (false, true) => {
            for (i, (sum, sample)) in mix.iter_mut().zip(step).take(FADE_OUT).enumerate() {
                *sum += sample * (1.0 - (i + 1) as f32 / FADE_OUT as f32);
            }
        }
        _ => {
            for (sum, sample) in mix.iter_mut().zip(step) {
                *sum += sample;
            }
        }
    }
}

/// What the assignment needs of an output, and where it puts its answer.
pub struct Seat {
    pub codec: Codec,
    pub bitrate_bps: u32,
    pub loss: u8,
    pub group: Option<usize>,
}

#[derive(Default)]
pub struct Groups {
    groups: Vec<Option<Box<Group>>>,
    /// Splits of this tick: the group, the mask, the copy.
    splits: Vec<(usize, Mask, usize)>,
}

impl Groups {
    pub fn get(&self, index: usize) -> Option<&Group> {
        self.groups.get(index)?.as_deref()
    }

    pub fn count(&self) -> usize {
        self.groups.iter().flatten().count()
    }

    /// Before outputs are assigned.
    pub fn open(&mut self) {
        self.splits.clear();
        for group in self.groups.iter_mut().flatten() {
            group.claimed = None;
            group.members = 0;
            group.wanted_loss = 0;
        }
    }

    /// Gives an output the group that hears `mask`. First those that have a group, then the new ones.
    pub fn assign(&mut self, seat: &mut Seat, mask: Mask, tick: u64) {
        let index = match seat.group {
            Some(index) => self.stay(index, mask, tick),
            None => self.join(seat, mask, tick),
        };
        seat.group = index;
        if let Some(group) = index.and_then(|index| self.groups[index].as_mut()) {
            group.members += 1;
            group.wanted_loss = group.wanted_loss.max(seat.loss);
        }
    }

    fn stay(&mut self, index: usize, mask: Mask, tick: u64) -> Option<usize> {
        let group = self.groups[index].as_mut()?;
        if *group.claimed.get_or_insert(mask) == mask {
            return Some(index);
        }
        if let Some(&(_, _, copy)) = self.splits.iter().find(|split| split.0 == index && split.1 == mask) {
            return Some(copy);
        }
        let mut copy = group.clone();
        copy.claimed = Some(mask);
        copy.members = 0;
        copy.wanted_loss = 0;
        copy.since = tick;
        let copy = self.put(copy);
        self.splits.push((index, mask, copy));
        Some(copy)
    }

    /// A new output has no past to keep: it goes where its mask is heard.
    fn join(&mut self, seat: &Seat, mask: Mask, tick: u64) -> Option<usize> {
        let fits = |group: &Option<Box<Group>>| {
            group.as_ref().is_some_and(|group| group.members > 0 && group.serves(seat.codec, seat.bitrate_bps, mask))
        };
        if let Some(index) = self.groups.iter().position(fits) {
            return Some(index);
        }
        let group = Group::new(seat.codec, seat.bitrate_bps, mask, tick)?;
        Some(self.put(Box::new(group)))
    }

    fn put(&mut self, group: Box<Group>) -> usize {
        let free = self.groups.iter().position(Option::is_none).unwrap_or(self.groups.len());
        if free == self.groups.len() {
            self.groups.push(None);
        }
        self.groups[free] = Some(group);
        free
    }

    /// After outputs are assigned: groups take their masks; those without members end.
    pub fn close(&mut self, tick: u64) {
        for slot in &mut self.groups {
            match slot {
                Some(group) if group.members > 0 => group.settle(tick),
                _ => *slot = None,
            }
        }
    }

    /// A group that has grown like an earlier one: (it, the earlier one). The caller moves its outputs.
    pub fn alike(&self, tick: u64) -> Option<(usize, usize)> {
        let groups = || self.groups.iter().enumerate().filter_map(|(index, group)| Some((index, group.as_deref()?)));
        groups().find_map(|(index, group)| {
            let (earlier, _) =
                groups().take_while(|&(other, _)| other < index).find(|(_, other)| group.is_like(other, tick))?;
            Some((index, earlier))
        })
    }

    pub fn end(&mut self, index: usize) {
        self.groups[index] = None;
    }

    pub fn encode(&mut self, inputs: &[Option<Box<Input>>], now: Ns) {
        for group in self.groups.iter_mut().flatten() {
            group.encode(inputs, now);
        }
    }
}

/// The length of a tick in the pts of a codec.
pub fn pts_step(clock_hz: u32) -> i64 {
    (u64::from(clock_hz) * TICK_NS / 1_000_000_000) as i64
}
