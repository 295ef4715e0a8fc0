//! How much is to be buffered, and how fast to play to keep it so.
//!
//! The offset is the mixer's time less the media time being played. It has to be as large as the transit of nearly all
//! units (`timing`) plus one step: a unit is needed at the tick in whose 20 ms its first sample falls, and the phase
//! between ticks and units drifts through all values. A controller with proportional and integral part keeps the
//! offset there by playing a little faster or slower; its integral part is the sender's clock drift.

use super::timing::Timing;
use super::TICK_NS;

/// Over what `timing` says, for what the resampler looks ahead and a tick's own lateness.
const MARGIN_NS: i64 = 4_000_000;
/// Error, s, to change of rate, 1 (it halves in 9 s), and critically damped.
const PROPORTION: f64 = 0.08;
const INTEGRAL: f64 = PROPORTION * PROPORTION / 4.0;
/// Within 20 ms the pitch is off by less than 3 cents, which nobody hears; beyond, up to 5.
const NEAR_S: f64 = 0.02;
const MOST_CHANGE: f64 = 0.003;
const FAR_PROPORTION: f64 = 0.1;
/// Crystals are within 100 ppm; twice three of them and something to spare.
const MOST_DRIFT: f64 = 600e-6;
/// The proportional part alone holds the greatest drift with an error of this; a greater one comes from a target that
/// has moved, and teaches nothing about the clock.
const LEARNABLE_S: f64 = MOST_DRIFT / PROPORTION;
const TICK_S: f64 = TICK_NS as f64 / 1e9;

#[derive(Default)]
pub struct Pace {
    drift: f64,
    /// What the last tick's offset was above the target, ns.
    error: i64,
    /// Buffered beyond what timing asks, for the packet after a lost one to come in time with its FEC.
    extra: i64,
}

impl Pace {
    pub fn target(&self, timing: &Timing) -> i64 {
        timing.base() + TICK_NS as i64 + MARGIN_NS + timing.spread().max(self.extra)
    }

    /// The offset that isn't exceeded for a unit that came too late to be played in time: 124 ms after the fastest.
    pub fn most(timing: &Timing) -> i64 {
        timing.base() + TICK_NS as i64 + MARGIN_NS + Timing::most_spread()
    }

    pub fn set_extra(&mut self, ns: i64) {
        self.extra = ns;
    }

    /// The factor to the nominal rate for this tick. `learn`: the offset can be trusted, nothing is made up.
    pub fn rate(&mut self, offset: i64, timing: &Timing, learn: bool) -> f64 {
        self.error = offset - self.target(timing);
        let error_s = self.error as f64 / 1e9;
        if learn && error_s.abs() < LEARNABLE_S {
            self.drift = (self.drift + INTEGRAL * error_s * TICK_S).clamp(-MOST_DRIFT, MOST_DRIFT);
        }
        let near = PROPORTION * error_s.clamp(-NEAR_S, NEAR_S);
        let far = FAR_PROPORTION * (error_s.abs() - NEAR_S).max(0.0);
        let change = (near + far.copysign(error_s)).clamp(-MOST_CHANGE, MOST_CHANGE);
        1.0 + self.drift + change
    }

    pub fn error(&self) -> i64 {
        self.error
    }

    /// The error was reduced by hand.
    pub fn corrected(&mut self, by: i64) {
        self.error -= by;
    }

    /// How much faster the sender's clock runs than ours.
    pub fn drift_ppm(&self) -> f32 {
        (self.drift * 1e6) as f32
    }
}
