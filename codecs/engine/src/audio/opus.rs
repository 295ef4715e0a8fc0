//! Opus (RFC 6716) through the system's libopus: mono, 48 kHz.
//!
//! The states are plain memory without inner pointers: libopus documents that copying the bytes copies the state, which
//! is what `Encoder::clone` does. Published safe wrappers can't copy, and bring a libopus of their own.

use opusic_sys as sys;
use std::ffi::CStr;

/// A packet's greatest length in samples of 48 kHz: 120 ms.
pub const MAX_SAMPLES: usize = 5_760;
/// More bytes an encoder never makes for 20 ms (RFC 6716 3.4).
const MAX_PACKET_BYTES: usize = 1_275;
/// 0..=10; 5 costs half of 10 and is hard to tell from it in speech.
const COMPLEXITY: i32 = 5;
/// Our sound is made of 16 bits; what is below isn't worth coding.
const LSB_DEPTH: i32 = 16;
/// Expected loss, percent, until told. At less libopus sends no FEC at 32 kbit/s.
pub const DEFAULT_LOSS: u8 = 10;
const RATE_HZ: i32 = super::RATE_HZ as i32;

/// Not an Opus packet, or one that libopus can't decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// What the linked library calls itself.
pub fn version() -> &'static str {
    // SAFETY: a static string, ended by zero.
    unsafe { CStr::from_ptr(sys::opus_get_version_string()) }.to_str().unwrap_or("libopus")
}

/// Samples of 48 kHz in a packet. None when it isn't one.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let len = i32::try_from(packet.len()).ok().filter(|&len| len > 0)?;
    // SAFETY: reads at most `len` bytes.
    let samples = unsafe { sys::opus_packet_get_nb_samples(packet.as_ptr(), len, RATE_HZ) };
    usize::try_from(samples).ok().filter(|&samples| samples > 0 && samples <= MAX_SAMPLES)
}

/// Whether the packet carries its predecessor again (RFC 6716 4.2.5, the LBRR flag). Packets of one frame only: others
/// are more than 20 ms long and rare where FEC matters.
pub fn has_fec(packet: &[u8]) -> bool {
    let [toc, first, ..] = *packet else { return false };
    // 4.2: configurations 16 and up are CELT alone; codes 1 to 3 hold more frames.
    let config = toc >> 3;
    if config >= 16 || toc & 3 != 0 {
        return false;
    }
    // SILK frames of 20 ms in it (10 ms count as one): that many VAD bits come before the flag (4.2.3).
    let frames = match config {
        0..=11 => [1, 1, 2, 3][usize::from(config & 3)],
        _ => 1,
    };
    let mid = first >> (7 - frames) & 1 != 0;
    let stereo = toc & 4 != 0;
    mid || stereo && first >> (6 - 2 * frames).max(0) & 1 != 0
}

/// A comfort-noise update or an empty frame: the sender is in discontinuous transmission (RFC 6716 2.1.9).
pub fn is_dtx(packet: &[u8]) -> bool {
    packet.len() <= 2
}

/// Memory for a libopus state; u128 for malloc's alignment.
fn state(bytes: i32) -> Box<[u128]> {
    vec![0; (bytes.max(0) as usize).div_ceil(16)].into_boxed_slice()
}

pub struct Encoder {
    state: Box<[u128]>,
}

impl Clone for Encoder {
    fn clone(&self) -> Self {
        Encoder { state: self.state.clone() }
    }
}

impl Encoder {
    /// VoIP, with in-band FEC.
    pub fn new(bitrate_bps: u32) -> Self {
        // SAFETY: the state is as large as libopus asks and initialised before any other use.
        let (mut encoder, result) = unsafe {
            let mut encoder = Encoder { state: state(sys::opus_encoder_get_size(1)) };
            let result = sys::opus_encoder_init(encoder.raw(), RATE_HZ, 1, sys::OPUS_APPLICATION_VOIP);
            (encoder, result)
        };
        assert_eq!(result, sys::OPUS_OK, "libopus refuses 48 kHz mono");
        encoder.set(sys::OPUS_SET_BITRATE_REQUEST, bitrate_bps.clamp(6_000, 510_000) as i32);
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, COMPLEXITY);
        encoder.set(sys::OPUS_SET_LSB_DEPTH_REQUEST, LSB_DEPTH);
        encoder.set(sys::OPUS_SET_INBAND_FEC_REQUEST, 1);
        encoder.set_loss(DEFAULT_LOSS);
        encoder
    }

    fn raw(&mut self) -> *mut sys::OpusEncoder {
        self.state.as_mut_ptr().cast()
    }

    fn set(&mut self, request: i32, value: i32) {
        // SAFETY: an initialised state; every request used takes one int.
        let result = unsafe { sys::opus_encoder_ctl(self.raw(), request, value) };
        assert_eq!(result, sys::OPUS_OK, "libopus refuses {value} for request {request}");
    }

    /// Expected loss, which decides how much of the bit rate goes into FEC.
    pub fn set_loss(&mut self, percent: u8) {
        self.set(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, i32::from(percent.min(100)));
    }

    /// Appends one packet. `samples`: 20 ms.
    pub fn encode(&mut self, samples: &[f32; super::STEP], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + MAX_PACKET_BYTES, 0);
        // SAFETY: both buffers are as long as said.
        let len = unsafe {
            let packet = out[start..].as_mut_ptr();
            sys::opus_encode_float(self.raw(), samples.as_ptr(), super::STEP as i32, packet, MAX_PACKET_BYTES as i32)
        };
        assert!(len > 0, "libopus can't encode 20 ms of mono: error {len}");
        out.truncate(start + len as usize);
    }
}

pub struct Decoder {
    state: Box<[u128]>,
}

impl Default for Decoder {
    /// Stereo packets come out mixed down.
    fn default() -> Self {
        // SAFETY: the state is as large as libopus asks and initialised before any other use.
        let (decoder, result) = unsafe {
            let mut decoder = Decoder { state: state(sys::opus_decoder_get_size(1)) };
            let result = sys::opus_decoder_init(decoder.raw(), RATE_HZ, 1);
            (decoder, result)
        };
        assert_eq!(result, sys::OPUS_OK, "libopus refuses 48 kHz mono");
        decoder
    }
}

impl Decoder {
    fn raw(&mut self) -> *mut sys::OpusDecoder {
        self.state.as_mut_ptr().cast()
    }

    /// `out`: as long as `packet_samples` says. Returns how many samples it wrote.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, Broken> {
        if packet.is_empty() {
            return Err(Broken); // libopus would take it for a loss
        }
        self.run(packet, out, false)
    }

    /// The `out.len()` samples before `packet`, from its FEC. Must be the length of a packet.
    pub fn decode_fec(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, Broken> {
        self.run(packet, out, true)
    }

    /// Makes `out.len()` samples up, a multiple of 2.5 ms; comfort noise in discontinuous transmission.
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<usize, Broken> {
        self.run(&[], out, false)
    }

    fn run(&mut self, packet: &[u8], out: &mut [f32], fec: bool) -> Result<usize, Broken> {
        let len = i32::try_from(packet.len()).map_err(|_| Broken)?;
        let data = if packet.is_empty() { std::ptr::null() } else { packet.as_ptr() };
        let room = out.len().min(MAX_SAMPLES) as i32;
        // SAFETY: libopus reads `len` bytes (none at null) and writes at most `room` samples.
        let samples = unsafe { sys::opus_decode_float(self.raw(), data, len, out.as_mut_ptr(), room, i32::from(fec)) };
        usize::try_from(samples).map_err(|_| Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::STEP;

    fn voiced(step: usize) -> [f32; STEP] {
        std::array::from_fn(|i| {
            let t = (step * STEP + i) as f32 / 48_000.0;
            // syllables: libopus takes what goes on for too long for background
            let syllable = (25.1 * t).sin().max(0.0);
            (1..15).map(|n| (754.0 * n as f32 * t).sin() / n as f32).sum::<f32>() * syllable * 0.15
        })
    }

    fn packets(encoder: &mut Encoder, steps: std::ops::Range<usize>) -> Vec<Vec<u8>> {
        let encode = |step| {
            let mut packet = Vec::new();
            encoder.encode(&voiced(step), &mut packet);
            packet
        };
        steps.map(encode).collect()
    }

    #[test]
    fn a_copied_encoder_goes_on_as_the_original_does() {
        let mut original = Encoder::new(32_000);
        packets(&mut original, 0..50);
        let mut copy = original.clone();
        assert_eq!(packets(&mut copy, 50..100), packets(&mut original, 50..100));
        // and for itself
        drop(original);
        packets(&mut copy, 100..110);
    }

    #[test]
    fn expected_loss_brings_fec_which_rebuilds_a_lost_packet() {
        let mut encoder = Encoder::new(32_000);
        encoder.set_loss(20);
        let packets = packets(&mut encoder, 0..100);
        assert!(packets.iter().filter(|packet| has_fec(packet)).count() > 40);
        // in the middle of a syllable
        let lost = (50..90).find(|&n| (n - 2..n + 3).all(|n| has_fec(&packets[n]))).unwrap();
        let power = |samples: &[f32]| samples.iter().map(|x| x * x).sum::<f32>();
        let (mut whole, mut lossy) = (Decoder::default(), Decoder::default());
        let (mut expected, mut rebuilt) = ([0.0; STEP], [0.0; STEP]);
        for packet in &packets[..lost] {
            whole.decode(packet, &mut expected).unwrap();
            lossy.decode(packet, &mut rebuilt).unwrap();
        }
        whole.decode(&packets[lost], &mut expected).unwrap();
        assert_eq!(lossy.decode_fec(&packets[lost + 1], &mut rebuilt), Ok(STEP));
        let error: Vec<f32> = expected.iter().zip(&rebuilt).map(|(a, b)| a - b).collect();
        assert!(power(&error) < 0.2 * power(&expected), "{} of {}", power(&error), power(&expected));
    }

    #[test]
    fn without_expected_loss_there_is_no_fec() {
        let mut encoder = Encoder::new(32_000);
        encoder.set_loss(0);
        assert!(!packets(&mut encoder, 0..60).iter().any(|packet| has_fec(packet)));
    }

    #[test]
    fn what_is_no_packet_has_no_length() {
        assert_eq!(packet_samples(&[]), None);
        // code 3 with 63 frames of 20 ms
        assert_eq!(packet_samples(&[0xff, 63]), None);
        // one frame of 20 ms, empty
        assert_eq!(packet_samples(&[0xf8]), Some(960));
        assert_eq!(Decoder::default().decode(&[], &mut [0.0; STEP]), Err(Broken));
        assert!(version().contains("libopus"));
    }
}
