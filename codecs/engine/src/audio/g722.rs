//! ITU-T G.722 (09/2012) at 64 kbit/s: sub-band ADPCM, 16 kHz, one byte for two samples.
//!
//! Names in capitals are the recommendation's blocks (section 6). Its RTP clock is 8,000 Hz (RFC 3551 4.5.2), which is
//! one tick a byte. Not done: the 56 and 48 kbit/s modes with a data channel, which RTP doesn't use.

/// QMF coefficients h0..h11 in the order of one phase; the other phase is the mirror (table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Decision levels of the low band's 60-level quantiser (table 14), times det / 4096.
const Q6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Codes of its intervals 1..=30 for negative and positive differences (table 14).
const IL_NEGATIVE: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
];
const IL_POSITIVE: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34,
    33, 32,
];
/// Inverse quantisers: 6 bits (tables 17, 18), 4 bits for the predictor, 2 bits for the high band (table 19).
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const QM4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Logarithmic scale factors: multipliers by code (tables 20, 21) and the antilogarithm.
const W_LOW: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const W_HIGH: [i32; 4] = [798, -214, 798, -214];
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn same_sign(a: i32, b: i32) -> bool {
    (a < 0) == (b < 0)
}

/// One sub-band's adaptive predictor and scale factor, the same in encoder and decoder.
#[derive(Clone, Copy)]
struct Band {
    /// The prediction, and the part of it that the zeros make.
    s: i32,
    sz: i32,
    /// Scale factor: logarithmic (NBL, NBH) and linear (DETL, DETH).
    nb: i32,
    det: i32,
    /// Two poles over past reconstructions, six zeros over past differences.
    poles: [i32; 2],
    zeros: [i32; 6],
    past_r: i32,
    past_p: [i32; 2],
    past_d: [i32; 6],
}

impl Band {
    const fn new(det: i32) -> Self {
        Band { s: 0, sz: 0, nb: 0, det, poles: [0; 2], zeros: [0; 6], past_r: 0, past_p: [0; 2], past_d: [0; 6] }
    }

    /// LOGSCL, SCALEL for the low band (limit 18,432, shift 8), LOGSCH, SCALEH for the high one (22,528, 10).
    fn scale(&mut self, w: i32, limit: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + w).clamp(0, limit);
        let mantissa = ANTILOG[(self.nb >> 6 & 31) as usize];
        let shift = shift - (self.nb >> 11);
        self.det = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Block 4: adapts the predictor to the quantised difference `d` and makes the next prediction.
    fn adapt(&mut self, d: i32) {
        // RECONS, PARREC
        let r = saturate(self.s + d);
        let p = saturate(self.sz + d);
        // UPPOL2
        let quadruple = saturate(self.poles[0] << 2);
        let correlated = same_sign(p, self.past_p[0]);
        let toward = if correlated { -quadruple } else { quadruple };
        let step = if same_sign(p, self.past_p[1]) { 128 } else { -128 };
        let second = (toward.min(32_767) >> 7) + step + ((self.poles[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        // UPPOL1
        let step = if correlated { 192 } else { -192 };
        let first = saturate(step + ((self.poles[0] * 32_640) >> 15));
        let limit = saturate(15_360 - second);
        self.poles = [first.clamp(-limit, limit), second];
        // UPZERO, DELAYA, FILTEZ
        let gain = if d == 0 { 0 } else { 128 };
        let mut sz = 0;
        let mut newer = d;
        for (zero, past) in self.zeros.iter_mut().zip(&mut self.past_d) {
            let wd = if same_sign(d, *past) { gain } else { -gain };
            *zero = saturate(wd + ((*zero * 32_640) >> 15));
            newer = std::mem::replace(past, newer);
            sz += (*zero * saturate(*past << 1)) >> 15;
        }
        self.sz = saturate(sz);
        // FILTEP, PREDIC
        let sp = ((self.poles[0] * saturate(r << 1)) >> 15) + ((self.poles[1] * saturate(self.past_r << 1)) >> 15);
        self.s = saturate(saturate(sp) + self.sz);
        self.past_r = r;
        self.past_p = [p, self.past_p[0]];
    }

    /// The low band after a 6-bit code: the predictor sees its four upper bits only (embedded coding).
    fn follow_low(&mut self, code: u8) {
        let upper = usize::from(code >> 2);
        let d = (self.det * QM4[upper]) >> 15;
        self.scale(W_LOW[upper], 18_432, 8);
        self.adapt(d);
    }

    /// The high band after a 2-bit code. Returns the quantised difference.
    fn follow_high(&mut self, code: u8) -> i32 {
        let d = (self.det * QM2[usize::from(code)]) >> 15;
        self.scale(W_HIGH[usize::from(code)], 22_528, 10);
        self.adapt(d);
        d
    }
}

/// The filter bank's memory, the newest two samples last.
type Delay = [i32; 24];

fn shift_in(delay: &mut Delay, first: i32, second: i32) {
    delay.copy_within(2.., 0);
    delay[22] = first;
    delay[23] = second;
}

/// Both phases of the filter over the delay line: (even samples, odd samples).
fn filter(delay: &Delay) -> (i32, i32) {
    let mut even = 0;
    let mut odd = 0;
    for (i, pair) in delay.chunks_exact(2).enumerate() {
        even += pair[0] * QMF[i];
        odd += pair[1] * QMF[11 - i];
    }
    (even, odd)
}

#[derive(Clone)]
pub struct Encoder {
    low: Band,
    high: Band,
    delay: Delay,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { low: Band::new(32), high: Band::new(8), delay: [0; 24] }
    }
}

impl Encoder {
    /// Samples of 16 kHz, an even number (an odd last one is left out); appends a byte for two.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        out.extend(samples.chunks_exact(2).map(|pair| {
            shift_in(&mut self.delay, i32::from(pair[0]), i32::from(pair[1]));
            let (even, odd) = filter(&self.delay);
            let low = self.encode_low((odd + even) >> 14);
            let high = self.encode_high((odd - even) >> 14);
            high << 6 | low
        }));
    }

    /// SUBTRA, QUANTL
    fn encode_low(&mut self, x: i32) -> u8 {
        let e = saturate(x - self.low.s);
        let magnitude = if e >= 0 { e } else { -(e + 1) };
        let det = self.low.det;
        let interval = Q6[1..].partition_point(|&level| magnitude >= (level * det) >> 12) + 1;
        let code = if e < 0 { IL_NEGATIVE[interval] } else { IL_POSITIVE[interval] };
        self.low.follow_low(code);
        code
    }

    /// SUBTRA, QUANTH
    fn encode_high(&mut self, x: i32) -> u8 {
        let e = saturate(x - self.high.s);
        let magnitude = if e >= 0 { e } else { -(e + 1) };
        let outer = magnitude >= (564 * self.high.det) >> 12;
        let code = match (e < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.follow_high(code);
        code
    }
}

#[derive(Clone)]
pub struct Decoder {
    low: Band,
    high: Band,
    delay: Delay,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { low: Band::new(32), high: Band::new(8), delay: [0; 24] }
    }
}

impl Decoder {
    /// Any bytes are valid. Hands two samples of 16 kHz to `put` for each.
    pub fn decode(&mut self, payload: &[u8], mut put: impl FnMut(i16)) {
        for &code in payload {
            let (low, high) = (code & 63, code >> 6);
            // INVQBL, RECONS, LIMIT
            let r_low = (self.low.s + ((self.low.det * QM6[usize::from(low)]) >> 15)).clamp(-16_384, 16_383);
            self.low.follow_low(low);
            let predicted = self.high.s;
            let r_high = (predicted + self.high.follow_high(high)).clamp(-16_384, 16_383);
            shift_in(&mut self.delay, r_low + r_high, r_low - r_high);
            let (even, odd) = filter(&self.delay);
            put(saturate(odd >> 11) as i16);
            put(saturate(even >> 11) as i16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODED: u64 = 0x4d2c_623d_509b_d64e;
    const DECODED: u64 = 0x5207_cb9c_5738_0e63;

    /// FNV-1a.
    fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }

    /// A second of noise whose loudness sweeps from nothing to full scale, in integers only.
    fn noise() -> Vec<i16> {
        let mut state = 1u32;
        let mut next = |n: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((i32::from((state >> 16) as i16) * (n % 4_000)) / 4_000) as i16
        };
        (0..16_000).map(&mut next).collect()
    }

    #[test]
    fn agrees_with_ffmpeg_bit_by_bit() {
        // ffmpeg 5.1.9: `ffmpeg -f s16le -ar 16000 -i noise.s16 -c:a g722 -f g722 coded`, and coded back to s16le
        let mut coded = Vec::new();
        Encoder::default().encode(&noise(), &mut coded);
        assert_eq!(hash(coded.iter().copied()), CODED);
        let mut decoded = Vec::new();
        Decoder::default().decode(&coded, |sample| decoded.extend(sample.to_le_bytes()));
        assert_eq!(decoded.len(), 32_000);
        assert_eq!(hash(decoded), DECODED);
    }

    #[test]
    fn every_byte_is_a_code_and_the_arithmetic_holds() {
        // overflow checks are on in tests: the extremes must stay within 32 bits
        let mut decoder = Decoder::default();
        for code in 0..=255u8 {
            decoder.decode(&[code; 500], |_| ());
        }
        let mut coded = Vec::new();
        let mut encoder = Encoder::default();
        for period in 1..100 {
            let square: Vec<i16> = (0..400).map(|i| if i / period % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
            encoder.encode(&square, &mut coded);
        }
        decoder.decode(&coded, |_| ());
    }
}
