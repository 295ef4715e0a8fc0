//! The face of the mixer: inputs, outputs and the tick.

use super::report::{Level, MixerReport};
use crate::unit::{Codec, Ns, TrackId, Unit, UnitRef};

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
#[derive(Default)]
pub struct Mixer {}

impl Mixer {
    pub fn new() -> Self {
        Self::default()
    }

    /// These and no others, at most `MAX_INPUTS`. Who stays keeps its buffer and loudness. Doubles count once.
    pub fn set_inputs(&mut self, tracks: &[TrackId]) -> Result<(), MixError> {
        let _ = tracks;
        Ok(())
    }

    /// A unit of an input arrived. Cheap: decoding happens in `tick`. A unit of another track, or of a codec that isn't
    /// `Opus`, `G722`, `Pcma` or `Pcmu`, is dropped. `now`: usually `unit.arrival`.
    pub fn push(&mut self, unit: &UnitRef, now: Ns) {
        let _ = (unit, now);
    }

    /// It begins with the next tick, its pts at 0.
    pub fn add_output(&mut self, spec: OutputSpec) -> Result<(), MixError> {
        let _ = spec;
        Ok(())
    }

    /// False when there is none.
    pub fn remove_output(&mut self, id: OutputId) -> bool {
        let _ = id;
        false
    }

    pub fn set_exclude(&mut self, id: OutputId, exclude: &[TrackId]) -> Result<(), MixError> {
        let _ = (id, exclude);
        Ok(())
    }

    /// Expected loss on the way to this output's listener, for Opus' in-band FEC: 0..=100. 5 until told.
    pub fn set_loss(&mut self, id: OutputId, percent: u8) -> Result<(), MixError> {
        let _ = (id, percent);
        Ok(())
    }

    /// One step of 20 ms: appends one unit for each output, also when nobody speaks or there is no input.
    ///
    /// `now`: the moment this tick was due; a shell that was held up calls several times, with the due times. After a
    /// pause of more than 200 ms it may go on at the present: the outputs' pts jump by what was left out.
    ///
    /// Units: `pts` in the codec's RTP clock (48,000 for Opus, else 8,000), continuous, beginning at 0; `arrival` is
    /// `now`; `capture` that of the loudest input (or its arrival where the sender's isn't known), smoothed, less the
    /// encoder's look-ahead; `level` measured on the mix.
    pub fn tick(&mut self, now: Ns, out: &mut Vec<Unit>) {
        let _ = (now, out);
    }

    /// Loudness of every input, in the order of `set_inputs`. Clears `out` first.
    pub fn levels(&self, out: &mut Vec<Level>) {
        out.clear();
    }

    pub fn report(&self) -> MixerReport {
        MixerReport::default()
    }
}
