//! The four codecs behind one decoder and one encoder.

use super::opus::{self, Broken};
use super::resample::Downsampler;
use super::{g711, g722, RATE_HZ, STEP};
use crate::unit::Codec;

/// Longer units are taken for garbage: no sender packs more into one packet.
const MAX_UNIT_MS: usize = 200;

/// How a codec's sound lies in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Of its pts.
    pub clock_hz: u32,
    /// Of what its decoder gives, in the same rate as its encoder takes.
    pub rate_hz: u32,
}

/// None for codecs that aren't mixed.
pub fn format(codec: Codec) -> Option<Format> {
    let (clock_hz, rate_hz) = match codec {
        Codec::Opus => (RATE_HZ, RATE_HZ),
        Codec::G722 => (8_000, 16_000),
        Codec::Pcma | Codec::Pcmu => (8_000, 8_000),
        _ => return None,
    };
    Some(Format { clock_hz, rate_hz })
}

/// Samples in a unit, at the codec's rate. None when it can't be one.
pub fn samples(codec: Codec, payload: &[u8]) -> Option<usize> {
    let per_byte = match codec {
        Codec::Opus => return opus::packet_samples(payload),
        Codec::G722 => 2,
        Codec::Pcma | Codec::Pcmu => 1,
        _ => return None,
    };
    (1..=8 * MAX_UNIT_MS).contains(&payload.len()).then_some(payload.len() * per_byte)
}

pub enum Decoder {
    Opus(opus::Decoder),
    G722(Box<g722::Decoder>),
    Pcma,
    Pcmu,
}

impl Decoder {
    pub fn new(codec: Codec) -> Option<Self> {
        Some(match codec {
            Codec::Opus => Decoder::Opus(opus::Decoder::default()),
            Codec::G722 => Decoder::G722(Box::default()),
            Codec::Pcma => Decoder::Pcma,
            Codec::Pcmu => Decoder::Pcmu,
            _ => return None,
        })
    }

    /// `out`: as long as `samples` says; full scale is 1.
    pub fn decode(&mut self, payload: &[u8], out: &mut [f32]) -> Result<(), Broken> {
        match self {
            Decoder::Opus(decoder) => {
                let written = decoder.decode(payload, out)?;
                out[written..].fill(0.0);
            }
            Decoder::G722(decoder) => {
                let mut slots = out.iter_mut();
                decoder.decode(payload, |value| {
                    if let Some(slot) = slots.next() {
                        *slot = from_i16(value);
                    }
                });
            }
            Decoder::Pcma => expand(payload, out, g711::from_alaw),
            Decoder::Pcmu => expand(payload, out, g711::from_ulaw),
        }
        Ok(())
    }
}

fn expand(payload: &[u8], out: &mut [f32], value: impl Fn(u8) -> i16) {
    for (&code, slot) in payload.iter().zip(out) {
        *slot = from_i16(value(code));
    }
}

fn from_i16(value: i16) -> f32 {
    f32::from(value) / 32_768.0
}

/// Saturates.
fn to_i16(value: f32) -> i16 {
    (value * 32_768.0).round() as i16
}

/// Takes steps of 48 kHz. A clone goes on exactly as the original would.
#[derive(Clone)]
pub enum Encoder {
    Opus(opus::Encoder),
    G722(Downsampler, Box<g722::Encoder>),
    Pcma(Downsampler),
    Pcmu(Downsampler),
}

impl Encoder {
    pub fn new(codec: Codec, bitrate_bps: u32) -> Option<Self> {
        Some(match codec {
            Codec::Opus => Encoder::Opus(opus::Encoder::new(bitrate_bps)),
            Codec::G722 => Encoder::G722(Downsampler::new(3), Box::default()),
            Codec::Pcma => Encoder::Pcma(Downsampler::new(6)),
            Codec::Pcmu => Encoder::Pcmu(Downsampler::new(6)),
            _ => return None,
        })
    }

    /// Appends the unit of one step.
    pub fn encode(&mut self, step: &[f32; STEP], out: &mut Vec<u8>) {
        match self {
            Encoder::Opus(encoder) => encoder.encode(step, out),
            Encoder::G722(down, encoder) => {
                let mut samples = [0; STEP / 3];
                let mut slots = samples.iter_mut();
                down.process(step, |value| {
                    if let Some(slot) = slots.next() {
                        *slot = to_i16(value);
                    }
                });
                encoder.encode(&samples, out);
            }
            Encoder::Pcma(down) => down.process(step, |value| out.push(g711::to_alaw(to_i16(value)))),
            Encoder::Pcmu(down) => down.process(step, |value| out.push(g711::to_ulaw(to_i16(value)))),
        }
    }

    pub fn set_loss(&mut self, percent: u8) {
        if let Encoder::Opus(encoder) = self {
            encoder.set_loss(percent);
        }
    }

    /// From a sample going in to the same coming out of a decoder, in samples of 48 kHz.
    pub fn delay(&self) -> usize {
        match self {
            // OPUS_GET_LOOKAHEAD of the VoIP application, the same in every version: 6.5 ms
            Encoder::Opus(_) => 312,
            // both filter banks together: 22 samples of 16 kHz
            Encoder::G722(down, _) => down.delay() + 22 * 3,
            Encoder::Pcma(down) | Encoder::Pcmu(down) => down.delay(),
        }
    }
}
