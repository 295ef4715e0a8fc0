//! ITU-T G.711: A-law and mu-law, 8 kHz, one byte a sample.

/// Linear values of the 256 A-law codes, 16 bits (13 significant).
static FROM_ALAW: [i16; 256] = table(true);
/// Linear values of the 256 mu-law codes, 16 bits (14 significant).
static FROM_ULAW: [i16; 256] = table(false);

const fn table(alaw: bool) -> [i16; 256] {
    let mut values = [0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = if alaw { expand_alaw(code as u8) } else { expand_ulaw(code as u8) };
        code += 1;
    }
    values
}

/// G.711 table 1. Even bits are inverted on the line; the sign bit is set for positive values.
const fn expand_alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = ((code & 15) as i16) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// G.711 table 2. All bits are inverted on the line; the sign bit (then) is set for negative values.
const fn expand_ulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((((code & 15) as i16) << 3) + ULAW_BIAS) << ((code >> 4) & 7);
    if code & 0x80 != 0 {
        ULAW_BIAS - magnitude
    } else {
        magnitude - ULAW_BIAS
    }
}

const ULAW_BIAS: i16 = 0x84;
/// The largest magnitude that the eighth segment holds.
const ULAW_CLIP: i16 = 32_635;

pub fn from_alaw(code: u8) -> i16 {
    FROM_ALAW[code as usize]
}

pub fn from_ulaw(code: u8) -> i16 {
    FROM_ULAW[code as usize]
}

pub fn to_alaw(sample: i16) -> u8 {
    // One's complement makes the negative half the mirror of the positive one, -1 beside 0.
    let (sign, magnitude) = if sample >= 0 { (0x80, sample) } else { (0, !sample) };
    let magnitude = magnitude as u16;
    let code = if magnitude < 0x100 {
        magnitude >> 4
    } else {
        let segment = magnitude.ilog2() as u16 - 7;
        segment << 4 | (magnitude >> (segment + 3)) & 15
    };
    (code as u8 | sign) ^ 0x55
}

pub fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample.saturating_abs().min(ULAW_CLIP) + ULAW_BIAS) as u16;
    let segment = magnitude.ilog2() as u16 - 7;
    !(sign | (segment << 4 | (magnitude >> (segment + 3)) & 15) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommendations_values() {
        // G.711 tables 1a, 1b, 2a, 2b scaled to 16 bits: smallest, largest, a segment's edge.
        assert_eq!((from_alaw(0xd5), from_alaw(0x55)), (8, -8));
        assert_eq!((from_alaw(0xaa), from_alaw(0x2a)), (32_256, -32_256));
        assert_eq!((from_ulaw(0xff), from_ulaw(0x7f)), (0, 0));
        assert_eq!((from_ulaw(0x80), from_ulaw(0x00)), (32_124, -32_124));
        assert_eq!((from_ulaw(0xef), from_ulaw(0x6f)), (132, -132));
        assert_eq!((to_alaw(0), to_alaw(-1), to_alaw(i16::MAX), to_alaw(i16::MIN)), (0xd5, 0x55, 0xaa, 0x2a));
        assert_eq!((to_ulaw(0), to_ulaw(i16::MAX), to_ulaw(i16::MIN)), (0xff, 0x80, 0x00));
    }

    #[test]
    fn every_code_survives() {
        for code in 0..=255u8 {
            assert_eq!(to_alaw(from_alaw(code)), code);
            // mu-law has two zeros; the negative one is never made
            let again = to_ulaw(from_ulaw(code));
            assert_eq!(again, if code == 0x7f { 0xff } else { code });
        }
    }

    #[test]
    fn every_sample_gets_the_nearest_code_of_its_sign() {
        for sample in i16::MIN..=i16::MAX {
            let error = |value: i16| (i32::from(value) - i32::from(sample)).abs();
            let step = i32::from(sample).abs().max(256) / 16;
            assert!(error(from_alaw(to_alaw(sample))) <= step / 2 + 8, "A-law {sample}");
            assert!(
                error(from_ulaw(to_ulaw(sample)))
                    <= step.max(132 / 4) / 2 + 132 / 8 + 600 * i32::from(sample.saturating_abs() > 32_000),
                "mu-law {sample}"
            );
        }
    }
}
