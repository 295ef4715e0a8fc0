//! Loudness of G.711 frames, whose senders hardly ever say it.

use crate::audio::g711;
use crate::unit::Codec;

/// dBov of a frame (RFC 6464: 0 is a full-scale square wave); None for other codecs.
pub fn of_g711(codec: Codec, frame: &[u8]) -> Option<i8> {
    let sample: fn(u8) -> i16 = match codec {
        Codec::Pcma => g711::from_alaw,
        Codec::Pcmu => g711::from_ulaw,
        _ => return None,
    };
    let sum: u64 = frame.iter().map(|&code| u64::from(sample(code).unsigned_abs()).pow(2)).sum();
    let power = sum as f32 / (frame.len().max(1) as f32 * 32_768.0 * 32_768.0);
    Some((10.0 * power.max(1e-13).log10()).round().clamp(-127.0, 0.0) as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_least_and_full_scale_the_most() {
        // 0xD5 and 0xFF are the codes of the smallest positive value, 0xAA and 0x80 those of the largest
        assert!(of_g711(Codec::Pcma, &[0xD5; 160]).is_some_and(|level| level < -70));
        assert_eq!(of_g711(Codec::Pcmu, &[0xFF; 160]), Some(-127));
        assert_eq!(of_g711(Codec::Pcma, &[0xAA; 160]), Some(0));
        assert_eq!(of_g711(Codec::Pcmu, &[0x80; 160]), Some(0));
        assert_eq!(of_g711(Codec::Opus, &[0; 160]), None);
    }
}
