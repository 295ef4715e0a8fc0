//! Loudness and voice activity of one input.

use super::STEP;

/// Smoothing over 100 ms in steps of 20: 1 - exp(-20 / 100).
const SMOOTHING: f32 = 0.181;
const QUIETEST_DBOV: f32 = -127.0;
/// Voice must be this loud to begin and may fall to that while it lasts.
const BEGIN_DBOV: f32 = -50.0;
const LAST_DBOV: f32 = -56.0;
/// And must stand out from the noise by this.
const ABOVE_FLOOR_DB: f32 = 6.0;
/// The noise floor rises that much a step (1.5 dB a second) and falls at once.
const FLOOR_RISE_DB: f32 = 0.03;
/// Similarity to itself one period ago from which sound counts as periodic: voiced speech is above 0.75, coloured
/// noise below 0.55.
const PERIODIC: f32 = 0.65;
/// Steps that activity outlasts the last periodic one: consonants and short pauses are part of speech.
const HANG: u32 = 25;
/// Steps that a sound counts as heard after it was.
const HEARD_HOLD: u32 = 50;
const ACTIVE_HOLD: u32 = 150;
/// What no one hears beside others, and what is heard whatever it is.
const INAUDIBLE_DBOV: f32 = -62.0;
const LOUD_DBOV: f32 = -45.0;

/// At 8 kHz: the samples of a step, and the longest period searched (50 Hz).
const COARSE: usize = STEP / 6;
const LONGEST: usize = 160;
/// 500 Hz: shorter periods show at their multiples.
const SHORTEST: usize = 16;

pub struct Meter {
    power: f32,
    floor_dbov: f32,
    /// The last samples at 8 kHz.
    coarse: [f32; LONGEST + COARSE],
    /// A high pass against rumble and direct current: last input and output.
    rumble: (f32, f32),
    /// Periodic steps among the last, the newest in bit 0.
    periodic: u8,
    since_periodic: u32,
    active: bool,
    /// Steps since it was above each, saturating.
    since_audible: u32,
    since_loud: u32,
    since_active: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            power: 0.0,
            floor_dbov: -70.0,
            coarse: [0.0; LONGEST + COARSE],
            rumble: (0.0, 0.0),
            periodic: 0,
            since_periodic: u32::MAX,
            active: false,
            since_audible: u32::MAX,
            since_loud: u32::MAX,
            since_active: u32::MAX,
        }
    }
}

/// Power of samples whose full scale is 1, as dBov (RFC 6464: a full-scale square wave is 0).
fn to_dbov(power: f32) -> f32 {
    (10.0 * power.max(1e-13).log10()).clamp(QUIETEST_DBOV, 0.0)
}

fn power(samples: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for chunk in samples.chunks_exact(8) {
        for (sum, sample) in sums.iter_mut().zip(chunk) {
            *sum += sample * sample;
        }
    }
    sums.iter().sum::<f32>() / samples.len() as f32
}

/// Loudness of one step, for the unit that carries it.
pub fn step_dbov(step: &[f32; STEP]) -> i8 {
    to_dbov(power(step)).round() as i8
}

impl Meter {
    pub fn update(&mut self, step: &[f32; STEP]) {
        let now = power(step);
        self.power += SMOOTHING * (now - self.power);
        let loudness = to_dbov(now);
        self.coarsen(step);
        // The search costs more than all else here; silence needs none.
        let periodic = loudness > LAST_DBOV && self.is_periodic();
        self.periodic = self.periodic << 1 | u8::from(periodic);
        if !periodic {
            self.floor_dbov = loudness.min(self.floor_dbov + FLOOR_RISE_DB).max(-90.0);
        }
        self.judge(loudness, periodic);
    }

    /// A step in which nothing was played.
    pub fn update_silent(&mut self) {
        self.power -= SMOOTHING * self.power;
        self.periodic <<= 1;
        self.coarse = [0.0; LONGEST + COARSE];
        self.rumble = (0.0, 0.0);
        self.judge(QUIETEST_DBOV, false);
    }

    fn judge(&mut self, loudness: f32, periodic: bool) {
        let counted = |since: u32, happened: bool| if happened { 0 } else { since.saturating_add(1) };
        let stands_out = loudness > self.floor_dbov + ABOVE_FLOOR_DB;
        self.since_periodic = counted(self.since_periodic, periodic && stands_out);
        if !self.active {
            let recent = (self.periodic & 0b1111).count_ones();
            self.active = periodic && recent >= 2 && loudness > BEGIN_DBOV && stands_out;
        } else if self.since_periodic > HANG {
            self.active = false;
        }
        self.since_audible = counted(self.since_audible, loudness > INAUDIBLE_DBOV);
        self.since_loud = counted(self.since_loud, loudness > LOUD_DBOV);
        self.since_active = counted(self.since_active, self.active);
    }

    /// To 8 kHz by averaging, without what is below about 80 Hz.
    fn coarsen(&mut self, step: &[f32; STEP]) {
        self.coarse.copy_within(COARSE.., 0);
        for (slot, group) in self.coarse[LONGEST..].iter_mut().zip(step.chunks_exact(6)) {
            let input = group.iter().sum::<f32>() / 6.0;
            let output = 0.94 * (self.rumble.1 + input - self.rumble.0);
            self.rumble = (input, output);
            *slot = output;
        }
    }

    fn is_periodic(&self) -> bool {
        let recent = &self.coarse[LONGEST..];
        let energy: f32 = recent.iter().map(|x| x * x).sum();
        (SHORTEST..=LONGEST).any(|lag| {
            let earlier = &self.coarse[LONGEST - lag..LONGEST - lag + COARSE];
            let mut products = [0.0f32; 8];
            let mut energies = [0.0f32; 8];
            for (a, b) in recent.chunks_exact(8).zip(earlier.chunks_exact(8)) {
                for i in 0..8 {
                    products[i] += a[i] * b[i];
                    energies[i] += b[i] * b[i];
                }
            }
            let product: f32 = products.iter().sum();
            let earlier_energy: f32 = energies.iter().sum();
            product > 0.0 && product * product > PERIODIC * PERIODIC * energy * earlier_energy
        })
    }

    /// -127..=0.
    pub fn dbov(&self) -> i8 {
        to_dbov(self.power).round() as i8
    }

    /// Somebody speaks, or a tone sounds.
    pub fn active(&self) -> bool {
        self.active
    }

    /// Worth a place in the mix. Among `many`, background noise isn't: sixteen open microphones' noise adds up.
    pub fn audible(&self, many: bool) -> bool {
        self.since_audible <= HEARD_HOLD && (!many || self.since_loud <= HEARD_HOLD || self.since_active <= ACTIVE_HOLD)
    }
}
