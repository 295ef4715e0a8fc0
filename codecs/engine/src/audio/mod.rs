//! Sound: decoding, mixing and encoding, in steps of 20 ms at 48 kHz, mono.
//!
//! Sans-IO: no thread, clock or socket. A shell pushes the units of the input tracks as they come and calls
//! `Mixer::tick` every 20 ms; what `tick` appends are the output tracks' units. With one input and one output the mixer
//! is the transcoder.
//!
//! | file | what it is responsible for |
//! |---|---|
//! | `mixer`, `report` | the face: inputs, outputs, the tick; what the mixer tells of itself |
//! | `input`, `timing`, `pace` | one input: its queue, how its units come, how fast they are played |
//! | `playout`, `line`, `conceal` | what is played at each tick, and what is made up for what is missing |
//! | `level` | loudness and voice activity |
//! | `groups`, `limit` | outputs that hear the same: their sum, its limiter, their common encoder |
//! | `codec`, `g711`, `g722`, `opus` | decoders and encoders |
//! | `resample` | 8 and 16 kHz to 48 and back, and a little faster or slower |

pub mod codec;
mod conceal;
pub mod g711;
pub mod g722;
mod groups;
mod input;
mod level;
mod limit;
mod line;
mod mixer;
pub mod opus;
mod pace;
mod playout;
mod report;
pub mod resample;
mod timing;

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
