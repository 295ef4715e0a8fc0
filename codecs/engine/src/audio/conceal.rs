//! Fading repetition: what is played in place of lost sound, and what a seam is cross-faded from.
//!
//! In the spirit of G.711 Appendix I: the last pitch period goes on and fades out. Without its delay of 3.75 ms: the
//! step where the repetition begins is levelled out within the period instead.

/// Search range of the pitch: 400 Hz down to 66 Hz.
const SHORTEST_LAG_US: usize = 2_500;
const LONGEST_LAG_US: usize = 15_000;
/// What is compared at each lag.
const TEMPLATE_US: usize = 10_000;
/// Full loudness that long, then a straight fade to nothing.
const HOLD_US: usize = 10_000;
const FADE_US: usize = 60_000;

fn samples(us: usize, rate_hz: u32) -> usize {
    us * rate_hz as usize / 1_000_000
}

#[derive(Default)]
pub struct Repeater {
    /// One period, its end blended into its beginning.
    cycle: Vec<f32>,
    at: usize,
    /// Samples made in this run.
    made: usize,
    rate_hz: u32,
    /// The step at the beginning, and over how many samples it is levelled out.
    step: f32,
    level_over: usize,
}

impl Repeater {
    /// Begins a run after `past`, at least 25 ms of it.
    pub fn start(&mut self, past: &[f32], rate_hz: u32) {
        let lag = pitch(past, rate_hz);
        let end = past.len();
        self.cycle.clear();
        self.cycle.extend_from_slice(&past[end - lag..]);
        // What comes before the period in the past leads into its beginning: fade to that at its end.
        let blend = lag / 4;
        for i in 0..blend {
            let part = (i + 1) as f32 / (blend + 1) as f32;
            let lead = past[end - lag - blend + i];
            let slot = &mut self.cycle[lag - blend + i];
            *slot += part * (lead - *slot);
        }
        self.step = past[end - 1] - past[end - lag - 1];
        self.level_over = blend.max(1);
        self.at = 0;
        self.made = 0;
        self.rate_hz = rate_hz;
    }

    pub fn running(&self) -> bool {
        !self.cycle.is_empty()
    }

    pub fn stop(&mut self) {
        self.cycle.clear();
    }

    /// The next sample of the run.
    fn next(&mut self) -> f32 {
        let hold = samples(HOLD_US, self.rate_hz);
        let fade = samples(FADE_US, self.rate_hz);
        let gain = 1.0 - (self.made.saturating_sub(hold) as f32 / fade as f32).min(1.0);
        let mut value = self.cycle[self.at];
        if self.made < self.level_over {
            value += self.step * (1.0 - (self.made + 1) as f32 / (self.level_over + 1) as f32);
        }
        self.at = (self.at + 1) % self.cycle.len();
        self.made = self.made.saturating_add(1);
        value * gain
    }

    /// Goes on with the run.
    pub fn fill(&mut self, out: &mut [f32]) {
        for slot in out {
            *slot = self.next();
        }
    }

    /// Goes on with the run, fading over to what is in `out`, and ends it.
    pub fn fade_into(&mut self, out: &mut [f32]) {
        let steps = (out.len() + 1) as f32;
        for (i, slot) in out.iter_mut().enumerate() {
            let part = (i + 1) as f32 / steps;
            *slot = part * *slot + (1.0 - part) * self.next();
        }
        self.stop();
    }
}

/// The lag in samples at which the end of `past` resembles itself most.
fn pitch(past: &[f32], rate_hz: u32) -> usize {
    let shortest = samples(SHORTEST_LAG_US, rate_hz);
    let longest = samples(LONGEST_LAG_US, rate_hz);
    let template = samples(TEMPLATE_US, rate_hz);
    // First coarsely, as if at 8 kHz, then between the neighbours of the best.
    let stride = (rate_hz / 8_000).max(1) as usize;
    let best = |lags: &mut dyn Iterator<Item = usize>, stride: usize| {
        let mut best = (f32::MIN, longest);
        for lag in lags {
            let score = resemblance(past, lag, template, stride);
            if score > best.0 {
                best = (score, lag);
            }
        }
        best.1
    };
    let coarse = best(&mut (shortest..=longest).step_by(stride), stride);
    if stride == 1 {
        return coarse;
    }
    let from = (coarse - stride).max(shortest);
    best(&mut (from..=(coarse + stride).min(longest)), 2)
}

/// Normalised cross-correlation of the last `template` samples with those `lag` earlier; every `stride`th counts.
fn resemblance(past: &[f32], lag: usize, template: usize, stride: usize) -> f32 {
    let end = past.len();
    let recent = &past[end - template..];
    let earlier = &past[end - template - lag..end - lag];
    let mut product = 0.0;
    let mut energy = 1e-9;
    for (a, b) in recent.iter().zip(earlier).step_by(stride) {
        product += a * b;
        energy += b * b;
    }
    product / energy.sqrt()
}
