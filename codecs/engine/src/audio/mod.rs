//! Sound: decoding, mixing and encoding, in steps of 20 ms at 48 kHz, mono.
//!
//! Sans-IO: no thread, clock or socket. A shell pushes the units of the input tracks as they come and calls
//! `Mixer::tick` every 20 ms; what `tick` appends are the output tracks' units. With one input and one output the mixer
//! is the transcoder.
//!
//! | file | what it is responsible for |
//! |---|---|
//! | `mixer` | the face: inputs, outputs, the tick |
//! | `report` | what the mixer tells of itself |

mod mixer;
mod report;

pub use mixer::{MixError, Mixer, OutputId, OutputSpec};
pub use report::{InputReport, Level, MixerReport, OutputReport};

use crate::unit::Ns;

/// Samples a second of everything between decoders and encoders.
pub const RATE_HZ: u32 = 48_000;
/// Samples of one step.
pub const STEP: usize = 960;
/// How often `Mixer::tick` is to be called.
pub const TICK_NS: Ns = 20_000_000;
/// Inputs of one mixer.
pub const MAX_INPUTS: usize = 64;
