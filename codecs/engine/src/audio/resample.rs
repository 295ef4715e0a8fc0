//! Changing the sampling rate: up to 48 kHz by any factor near a nominal one, down from 48 kHz by 3 or 6.
//!
//! Both are windowed-sinc FIR filters (Kaiser, 60 dB). Upwards the factor may differ from step to step by a few parts
//! per million, which is how a sender's clock drift is taken up; the phase goes on without a seam.

use super::STEP;
use std::f64::consts::PI;
use std::sync::OnceLock;

/// Input samples that one output sample is made from.
pub const TAPS: usize = 32;
/// Tabulated positions between two input samples; the nearest is taken. What that costs is 73 dB below 1 kHz, 62 below
/// 3.4. Of the table's 128 KiB a stream needs six rows or so at a time, since its drift is slow.
const PHASES: usize = 1_024;
/// -6 dB, as a part of the lower sampling rate: 3.7 kHz of 8.
const CUTOFF: f64 = 0.46;
const KAISER_BETA: f64 = 6.0;
const LANES: usize = 8;

/// Modified Bessel function of the first kind, order 0.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

/// A low-pass filter's value `t` input samples from its middle; `half` is half its length.
fn kernel(t: f64, cutoff: f64, half: f64) -> f64 {
    let edge = t / half;
    if edge.abs() >= 1.0 {
        return 0.0;
    }
    let x = 2.0 * cutoff * t;
    let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    2.0 * cutoff * sinc * bessel_i0(KAISER_BETA * (1.0 - edge * edge).sqrt()) / bessel_i0(KAISER_BETA)
}

/// `PHASES + 1` filters of `TAPS`: row p is for an output sample p / PHASES after the input sample in its middle.
fn rows() -> &'static [[f32; TAPS]] {
    static ROWS: OnceLock<Vec<[f32; TAPS]>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let row = |phase: usize| {
            let at = (TAPS / 2 - 1) as f64 + phase as f64 / PHASES as f64;
            let values: [f64; TAPS] = std::array::from_fn(|i| kernel(i as f64 - at, CUTOFF, TAPS as f64 / 2.0));
            let sum: f64 = values.iter().sum();
            values.map(|value| (value / sum) as f32)
        };
        (0..=PHASES).map(row).collect()
    })
}

/// Scalar product in `LANES` independent sums, which the compiler makes vector instructions of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// Reads a line of samples at a rate of its own and makes 48 kHz of it.
#[derive(Clone, Debug, Default)]
pub struct Upsampler {
    /// Where the next output sample lies after the line's reading position, 0..1 input samples.
    fraction: f64,
}

impl Upsampler {
    /// Input samples after the reading position that `step` output samples need, `TAPS / 2` beyond the last included.
    pub fn needs(&self, step: f64) -> usize {
        (self.fraction + step * (STEP - 1) as f64) as usize + TAPS / 2 + 1
    }

    /// Makes one step. `input` begins `TAPS / 2 - 1` samples before the reading position and holds what `needs` says
    /// after it; `step`: input samples for each output sample. Returns how far the reading position moves.
    pub fn process(&mut self, input: &[f32], step: f64, out: &mut [f32; STEP]) -> usize {
        let rows = rows();
        let mut position = self.fraction;
        for sample in out.iter_mut() {
            let whole = position as usize;
            let phase = ((position - whole as f64) * PHASES as f64 + 0.5) as usize;
            *sample = dot(&input[whole..whole + TAPS], &rows[phase.min(PHASES)]);
            position += step;
        }
        let moved = position as usize;
        self.fraction = position - moved as f64;
        moved
    }

    pub fn fraction(&self) -> f64 {
        self.fraction
    }
}

/// From 48 kHz to a third or a sixth.
#[derive(Clone)]
pub struct Downsampler {
    factor: usize,
    filter: &'static [f32],
    /// The filter's length of past, then the step at hand.
    line: Vec<f32>,
}

impl Downsampler {
    /// `factor`: 3 or 6. The delay is 1 or 2 ms.
    pub fn new(factor: usize) -> Self {
        static BY_3: OnceLock<Vec<f32>> = OnceLock::new();
        static BY_6: OnceLock<Vec<f32>> = OnceLock::new();
        assert!(factor == 3 || factor == 6, "no filter for a factor of {factor}");
        let filter = if factor == 3 { &BY_3 } else { &BY_6 }.get_or_init(|| {
            let taps = TAPS * factor;
            let middle = (taps - 1) as f64 / 2.0;
            let values = (0..taps).map(|i| kernel(i as f64 - middle, CUTOFF / factor as f64, taps as f64 / 2.0));
            let values: Vec<f64> = values.collect();
            let sum: f64 = values.iter().sum();
            values.into_iter().map(|value| (value / sum) as f32).collect()
        });
        Downsampler { factor, filter, line: vec![0.0; filter.len() + STEP] }
    }

    /// Hands `STEP / factor` samples to `put`.
    pub fn process(&mut self, input: &[f32; STEP], mut put: impl FnMut(f32)) {
        let taps = self.filter.len();
        self.line.copy_within(STEP.., 0);
        self.line[taps..].copy_from_slice(input);
        for end in (0..STEP).step_by(self.factor) {
            put(dot(&self.line[end + self.factor..end + self.factor + taps], self.filter));
        }
    }

    /// Delay in samples of 48 kHz.
    pub fn delay(&self) -> usize {
        self.filter.len() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of `hz` at `rate_hz`, `count` samples of it.
    fn tone(hz: f64, rate_hz: f64, count: usize) -> Vec<f32> {
        (0..count).map(|i| (0.5 * (2.0 * PI * hz * i as f64 / rate_hz).sin()) as f32).collect()
    }

    /// Power of the best fitting tone of `hz`, and of the rest, dB.
    fn split(samples: &[f32], rate_hz: f64, hz: f64) -> (f64, f64) {
        let n = samples.len() as f64;
        let part = |f: fn(f64) -> f64| {
            let products =
                samples.iter().enumerate().map(|(i, &x)| f64::from(x) * f(2.0 * PI * hz * i as f64 / rate_hz));
            products.sum::<f64>() * 2.0 / n
        };
        let inside = (part(f64::sin).powi(2) + part(f64::cos).powi(2)) / 2.0;
        let all = samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        (10.0 * inside.max(1e-12).log10(), 10.0 * (all - inside).max(1e-12).log10())
    }

    /// A second of 48 kHz from `rate_hz`, which runs `skew` faster.
    fn up(hz: f64, rate_hz: f64, skew: f64) -> Vec<f32> {
        let input = tone(hz, rate_hz, (rate_hz * 1.2) as usize);
        let mut upsampler = Upsampler::default();
        let mut position = TAPS / 2 - 1;
        let mut all = Vec::new();
        let step = rate_hz / 48_000.0 * (1.0 + skew);
        for _ in 0..50 {
            let mut out = [0.0; STEP];
            let window = &input[position - (TAPS / 2 - 1)..];
            assert!(upsampler.needs(step) + TAPS / 2 - 1 <= window.len());
            // no more than what it says it needs
            position += upsampler.process(&window[..upsampler.needs(step) + TAPS / 2 - 1], step, &mut out);
            all.extend(out);
        }
        all
    }

    fn down(hz: f64, factor: usize) -> Vec<f32> {
        let mut downsampler = Downsampler::new(factor);
        let mut all = Vec::new();
        for step in tone(hz, 48_000.0, 51 * STEP).chunks_exact(STEP) {
            downsampler.process(step.try_into().unwrap(), |sample| all.push(sample));
        }
        all.split_off(STEP / factor) // the filter's beginning
    }

    #[test]
    fn upwards_a_tone_stays_itself() {
        for rate_hz in [8_000.0, 16_000.0, 48_000.0] {
            for (hz, snr_db, loss_db) in [(300.0, 60.0, 0.05), (1_000.0, 60.0, 0.05), (3_200.0, 52.0, 0.6)] {
                let (inside, outside) = split(&up(hz, rate_hz, 0.0), 48_000.0, hz);
                assert!(inside - outside > snr_db, "{hz} of {rate_hz}: {inside:.1} over {outside:.1} dB");
                assert!((inside + 9.03).abs() < loss_db, "{hz} of {rate_hz}: {inside:.2} dB");
            }
        }
    }

    #[test]
    fn upwards_a_skewed_clock_shifts_the_tone_and_adds_nothing() {
        for skew in [200e-6, -200e-6, 3e-3] {
            for rate_hz in [8_000.0, 16_000.0, 48_000.0] {
                let hz = 1_000.0 * (1.0 + skew);
                // the first output sample lies on input sample TAPS / 2 - 1
                let start = 2.0 * PI * 1_000.0 * (TAPS / 2 - 1) as f64 / rate_hz;
                let ideal = |k: usize| 0.5 * (start + 2.0 * PI * hz * k as f64 / 48_000.0).sin();
                let errors =
                    up(1_000.0, rate_hz, skew).into_iter().enumerate().map(|(k, x)| (f64::from(x) - ideal(k)).abs());
                let worst = errors.fold(0.0, f64::max);
                assert!(worst < 0.5 * 1e-3, "{rate_hz} at {skew}: off by {worst}");
            }
        }
    }

    #[test]
    fn downwards_a_tone_stays_itself_and_what_does_not_fit_is_gone() {
        for (factor, passed, stopped) in [
            (6, [300.0, 1_000.0, 3_200.0], [4_500.0, 7_000.0, 15_000.0]),
            (3, [300.0, 1_000.0, 6_400.0], [9_000.0, 12_000.0, 20_000.0]),
        ] {
            let rate_hz = 48_000.0 / factor as f64;
            for hz in passed {
                let (inside, outside) = split(&down(hz, factor), rate_hz, hz);
                assert!(
                    inside - outside > 60.0 && (inside + 9.03).abs() < 0.6,
                    "{hz} by {factor}: {inside:.1}, {outside:.1} dB"
                );
            }
            for hz in stopped {
                let all = down(hz, factor).iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / rate_hz;
                let left = 10.0 * all.max(1e-12).log10();
                assert!(left < -9.03 - 55.0, "{hz} by {factor} leaves {left:.1} dB");
            }
        }
    }
}
