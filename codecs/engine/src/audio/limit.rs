//! A peak limiter for sums: looks at the whole step before it plays it, so that nothing wraps and little is bent.

use super::STEP;

/// Peaks go up to here; what a single input plays below it stays untouched.
const CEILING: f32 = 0.98;
/// The gain falls within the first 2.5 ms of a step.
const ATTACK: usize = 120;
/// And rises by 0.1 dB a step: 5 dB a second, too slow to be heard as pumping.
const RELEASE: f32 = 1.0116;

#[derive(Clone)]
pub struct Limiter {
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Limiter { gain: 1.0 }
    }
}

impl Limiter {
    pub fn process(&mut self, step: &mut [f32; STEP]) {
        let peak = step.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        let before = self.gain;
        let risen = (before * RELEASE).min(1.0);
        let target = if peak * risen > CEILING { CEILING / peak } else { risen };
        if before == 1.0 && target == 1.0 {
            return;
        }
        // Down quickly, up over the whole step.
        let ramp = if target < before { ATTACK } else { STEP };
        for (i, sample) in step.iter_mut().enumerate() {
            let part = ((i + 1) as f32 / ramp as f32).min(1.0);
            *sample = bend(*sample * (before + part * (target - before)));
        }
        self.gain = target;
    }
}

/// For peaks within the attack: straight up to the ceiling, then ever flatter, never above 1.
fn bend(x: f32) -> f32 {
    if x.abs() <= CEILING {
        return x;
    }
    let over = (x.abs() - CEILING) / (1.0 - CEILING);
    (CEILING + (1.0 - CEILING) * over / (1.0 + over)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(amplitude: f32, step: usize) -> [f32; STEP] {
        std::array::from_fn(|i| amplitude * (((step * STEP + i) as f32) * 0.0576).sin())
    }

    #[test]
    fn a_sound_below_the_ceiling_is_untouched() {
        let mut limiter = Limiter::default();
        let mut step = tone(0.97, 0);
        limiter.process(&mut step);
        assert_eq!(step, tone(0.97, 0));
    }

    #[test]
    fn sums_far_above_full_scale_stay_within_it_and_keep_their_shape() {
        let mut limiter = Limiter::default();
        for n in 0..50 {
            let mut step = tone(5.0, n);
            limiter.process(&mut step);
            assert!(step.iter().all(|x| x.abs() <= 1.0), "step {n}");
            if n > 0 {
                // settled: only scaled, by one factor
                let loudest = tone(5.0, n).iter().fold(0.0f32, |a, b| a.max(b.abs()));
                let scale = CEILING / loudest;
                for (got, full) in step.iter().zip(tone(5.0, n)).skip(ATTACK) {
                    assert!((got - full * scale).abs() < 0.02, "step {n}: {got} for {full}");
                }
            }
        }
    }

    #[test]
    fn the_gain_comes_back_slowly() {
        let mut limiter = Limiter::default();
        limiter.process(&mut tone(2.0, 0));
        let low = limiter.gain;
        assert!((low - 0.49).abs() < 0.01);
        for n in 1..=10 {
            limiter.process(&mut tone(0.1, n));
        }
        assert!(limiter.gain < low * 1.13, "1 dB in 200 ms at most");
        for n in 11..100 {
            limiter.process(&mut tone(0.1, n));
        }
        assert_eq!(limiter.gain, 1.0);
    }
}
