//! The face of the mixer: inputs, outputs and the tick.

use super::codec;
use super::groups::{self, Groups, Mask, Seat};
use super::input::Input;
use super::opus;
use super::report::{Level, MixerReport, OutputReport};
use super::{MAX_INPUTS, TICK_NS};
use crate::unit::{Codec, Ns, TrackId, Unit, UnitRef};

/// In larger rooms the noise of who doesn't speak is left out.
const MANY_INPUTS: usize = 4;
/// A shell that was away longer has left ticks out; a shorter delay it makes up for.
const PAUSE_NS: Ns = 200_000_000;

/// The caller's name for an output; must be unique in its mixer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct OutputId(pub u32);

/// What one output is.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub id: OutputId,
    /// Put into the units it makes.
    pub track: TrackId,
    /// `Opus`, `G722`, `Pcma` or `Pcmu`.
    pub codec: Codec,
    /// Opus only: 6,000 to 510,000, clamped. The others run at 64 kbit/s.
    pub bitrate_bps: u32,
    /// Inputs that this output doesn't hear. Tracks that aren't inputs (yet) are fine.
    pub exclude: Vec<TrackId>,
}

/// What the caller did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MixError {
    /// More than `MAX_INPUTS`.
    TooManyInputs(usize),
    /// No encoder for this codec.
    Codec(Codec),
    /// The id is taken.
    OutputExists(OutputId),
    UnknownOutput(OutputId),
}

impl std::fmt::Display for MixError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MixError::TooManyInputs(count) => write!(f, "{count} inputs are more than the {MAX_INPUTS} a mixer takes"),
            MixError::Codec(codec) => write!(f, "a mixer can't encode {}", codec.name()),
            MixError::OutputExists(id) => write!(f, "the mixer has an output {} already", id.0),
            MixError::UnknownOutput(id) => write!(f, "the mixer has no output {}", id.0),
        }
    }
}

impl std::error::Error for MixError {}

/// Decodes every input once and gives each output everybody but whom it excludes.
///
/// ```text
/// mixer.set_inputs(&[a, b])?;
/// mixer.add_output(OutputSpec { .. })?;
/// loop {                                     // every 20 ms, on an absolute schedule
///     for (unit, arrived) in queue { mixer.push(&unit, arrived) }
///     mixer.tick(due, &mut units);           // one unit an output is appended
/// }
/// ```
pub struct Mixer {
    /// By slot: bit n of a mask is slot n.
    inputs: Vec<Option<Box<Input>>>,
    /// Slots in the order of `set_inputs`.
    order: Vec<(TrackId, usize)>,
    outputs: Vec<Output>,
    groups: Groups,
    ticks: u64,
    late_ticks: u64,
    due: Option<Ns>,
}

struct Output {
    spec: OutputSpec,
    seat: Seat,
    excluded: Mask,
    pts: i64,
    pts_step: i64,
    units: u64,
}

impl Default for Mixer {
    fn default() -> Self {
        Self::new()
    }
}

impl Mixer {
    pub fn new() -> Self {
        Mixer {
            inputs: Vec::new(),
            order: Vec::new(),
            outputs: Vec::new(),
            groups: Groups::default(),
            ticks: 0,
            late_ticks: 0,
            due: None,
        }
    }

    /// These and no others, at most `MAX_INPUTS`. Who stays keeps its buffer and loudness. Doubles count once.
    pub fn set_inputs(&mut self, tracks: &[TrackId]) -> Result<(), MixError> {
        let mut wanted: Vec<TrackId> = Vec::with_capacity(tracks.len());
        for &track in tracks {
            if !wanted.contains(&track) {
                wanted.push(track);
            }
        }
        if wanted.len() > MAX_INPUTS {
            return Err(MixError::TooManyInputs(wanted.len()));
        }
        for input in self.inputs.iter_mut().flatten() {
            input.leaving = !wanted.contains(&input.track);
        }
        self.order.clear();
        for track in wanted {
            let slot = self.slot_of(track).unwrap_or_else(|| self.new_slot(track));
            self.order.push((track, slot));
        }
        self.resolve_excludes();
        Ok(())
    }

    fn slot_of(&self, track: TrackId) -> Option<usize> {
        self.inputs.iter().position(|input| input.as_ref().is_some_and(|input| input.track == track))
    }

    /// A free slot; where there is none, one of those that are leaving.
    fn new_slot(&mut self, track: TrackId) -> usize {
        let free = self.inputs.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            if self.inputs.len() < MAX_INPUTS {
                self.inputs.push(None);
                return self.inputs.len() - 1;
            }
            let leaving = |input: &Option<Box<Input>>| input.as_ref().is_some_and(|input| input.leaving);
            self.inputs.iter().position(leaving).expect("no more inputs than slots stay")
        });
        self.inputs[slot] = Some(Box::new(Input::new(track)));
        slot
    }

    fn resolve_excludes(&mut self) {
        for output in &mut self.outputs {
            output.excluded = excluded(&output.spec.exclude, &self.inputs);
        }
    }

    /// A unit of an input arrived. Cheap: decoding happens in `tick`. A unit of another track, or of a codec that isn't
    /// `Opus`, `G722`, `Pcma` or `Pcmu`, is dropped. `now`: usually `unit.arrival`.
    pub fn push(&mut self, unit: &UnitRef, now: Ns) {
        if let Some(&(_, slot)) = self.order.iter().find(|(track, _)| *track == unit.track) {
            if let Some(input) = &mut self.inputs[slot] {
                input.push(unit, now);
            }
        }
    }

    /// It begins with the next tick, its pts at 0.
    pub fn add_output(&mut self, spec: OutputSpec) -> Result<(), MixError> {
        if self.outputs.iter().any(|output| output.spec.id == spec.id) {
            return Err(MixError::OutputExists(spec.id));
        }
        let format = codec::format(spec.codec).ok_or(MixError::Codec(spec.codec))?;
        // The others know one bit rate only; let no wish keep equal ones apart.
        let bitrate_bps = if spec.codec == Codec::Opus { spec.bitrate_bps } else { 0 };
        self.outputs.push(Output {
            seat: Seat { codec: spec.codec, bitrate_bps, loss: opus::DEFAULT_LOSS, group: None },
            excluded: excluded(&spec.exclude, &self.inputs),
            pts: 0,
            pts_step: groups::pts_step(format.clock_hz),
            units: 0,
            spec,
        });
        Ok(())
    }

    /// False when there is none.
    pub fn remove_output(&mut self, id: OutputId) -> bool {
        let before = self.outputs.len();
        self.outputs.retain(|output| output.spec.id != id);
        self.outputs.len() < before
    }

    pub fn set_exclude(&mut self, id: OutputId, exclude: &[TrackId]) -> Result<(), MixError> {
        let excluded = excluded(exclude, &self.inputs);
        let output = self.output(id)?;
        output.spec.exclude = exclude.to_vec();
        output.excluded = excluded;
        Ok(())
    }

    /// Loss on the ways to the outputs' listeners, as they reported it, for Opus' in-band FEC. Never expects less than
    /// what it began with: a network that lost nothing for a while may lose the next burst.
    pub fn hear_of_loss(&mut self, percent: impl Fn(TrackId) -> f32) {
        for output in &mut self.outputs {
            let reported = percent(output.spec.track).clamp(0.0, 100.0).ceil() as u8;
            output.seat.loss = reported.max(opus::DEFAULT_LOSS);
        }
    }

    fn output(&mut self, id: OutputId) -> Result<&mut Output, MixError> {
        self.outputs.iter_mut().find(|output| output.spec.id == id).ok_or(MixError::UnknownOutput(id))
    }

    /// One step of 20 ms: appends one unit for each output, also when nobody speaks or there is no input.
    ///
    /// `now`: the moment this tick was due; a shell that was held up calls several times, with the due times. After a
    /// pause of more than 200 ms it may go on at the present: the outputs' pts jump by what was left out.
    ///
    /// Units: `pts` in the codec's RTP clock (48,000 for Opus, else 8,000), continuous, beginning at 0; `arrival` is
    /// `now`; `capture` that of the loudest input (or its arrival where the sender's isn't known), smoothed, less the
    /// encoder's delay; 0 until somebody was heard; `level` measured on the mix.
    pub fn tick(&mut self, now: Ns, out: &mut Vec<Unit>) {
        let skipped = self.keep_time(now);
        for input in self.inputs.iter_mut().flatten() {
            input.tick(now);
        }
        self.seat_outputs();
        self.groups.encode(&self.inputs, now);
        for output in &mut self.outputs {
            output.pts += skipped * output.pts_step;
            let Some(group) = output.seat.group.and_then(|index| self.groups.get(index)) else { continue };
            out.push(Unit {
                track: output.spec.track,
                codec: output.spec.codec,
                pts: output.pts,
                dts: output.pts,
                keyframe: true,
                contiguous: skipped == 0,
                capture: group.capture,
                arrival: now,
                payload: group.payload.as_slice().into(),
                nals: Box::default(),
                level: Some(group.level),
            });
            output.pts += output.pts_step;
            output.units += 1;
        }
        for input in &mut self.inputs {
            if input.as_ref().is_some_and(|input| input.leaving) {
                *input = None;
            }
        }
        self.ticks += 1;
    }

    /// Returns how many ticks were left out.
    fn keep_time(&mut self, now: Ns) -> i64 {
        let late = self.due.map_or(0, |due| now.saturating_sub(due));
        self.late_ticks += u64::from(late >= TICK_NS);
        self.due = Some(now + TICK_NS);
        if late > PAUSE_NS {
            (late / TICK_NS) as i64
        } else {
            0
        }
    }

    /// Gives each output the group that hears what it is to hear.
    fn seat_outputs(&mut self) {
        let many = self.order.len() > MANY_INPUTS;
        let mut audible: Mask = 0;
        for &(_, slot) in &self.order {
            let heard = self.inputs[slot].as_ref().is_some_and(|input| input.meter().audible(many));
            audible |= Mask::from(heard) << slot;
        }
        self.groups.open();
        for seated in [true, false] {
            for output in self.outputs.iter_mut().filter(|output| output.seat.group.is_some() == seated) {
                self.groups.assign(&mut output.seat, audible & !output.excluded, self.ticks);
            }
        }
        self.groups.close(self.ticks);
        while let Some((index, earlier)) = self.groups.alike(self.ticks) {
            for output in self.outputs.iter_mut().filter(|output| output.seat.group == Some(index)) {
                output.seat.group = Some(earlier);
            }
            self.groups.end(index);
        }
    }

    /// Loudness of every input, in the order of `set_inputs`. Clears `out` first.
    pub fn levels(&self, out: &mut Vec<Level>) {
        out.clear();
        let inputs = self.order.iter().filter_map(|&(_, slot)| self.inputs[slot].as_ref());
        out.extend(inputs.map(|input| Level {
            track: input.track,
            dbov: input.meter().dbov(),
            active: input.meter().active(),
        }));
    }

    pub fn report(&self) -> MixerReport {
        let outputs = self.outputs.iter().map(|output| OutputReport {
            id: output.spec.id,
            track: output.spec.track,
            codec: output.spec.codec,
            units: output.units,
        });
        let inputs = self.order.iter().filter_map(|&(_, slot)| self.inputs[slot].as_ref());
        MixerReport {
            inputs: inputs.map(|input| input.report()).collect(),
            outputs: outputs.collect(),
            ticks: self.ticks,
            late_ticks: self.late_ticks,
            encoders: self.groups.count() as u32,
        }
    }
}

fn excluded(tracks: &[TrackId], inputs: &[Option<Box<Input>>]) -> Mask {
    let is_excluded = |input: &Option<Box<Input>>| input.as_ref().is_some_and(|input| tracks.contains(&input.track));
    inputs.iter().enumerate().fold(0, |mask, (slot, input)| mask | Mask::from(is_excluded(input)) << slot)
}
